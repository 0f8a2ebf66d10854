"""The Great Expectations gate: what was let through must meet the suite, and the data docs show that it did.

    DATA_DOCS_DIR/index.html                     links to the newest validations of every source
    DATA_DOCS_DIR/<source>/pages/index.html      the data docs of one source: every run that was validated

Each source has pages of its own, so that sources validated at the same time do not write the same files.
"""

from __future__ import annotations

import html
import json
import logging
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as ds
import yaml

import configs
from include.problem import Problem
from include.quality.suites import FOLDER, expected
from include.schemas.source_kinds import ColumnType, SourceKind
from include.staging.storage import is_local, storage

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
VALIDATIONS_LISTED = 100  # on the first page, of each source
PROJECT = configs.PROJECT_ROOT / "great_expectations" / "great_expectations.yml"


class GateFailed(Problem):
    """Rows that the masks let through do not meet an expectation."""


def require_expectations(
    kind: SourceKind,
    types: dict[str, ColumnType],
    files: Sequence[str],
    *,
    run_id: str,
    latest: datetime,
    source_name: str = "",
) -> None:
    """Validate the Parquet `files` of a source whose columns are `types`, GX_BATCH_ROWS rows at once.

    Each batch is one validation in the data docs, under the name of the run. Raises `GateFailed` with the first
    expectation that was not met. `latest` is the last instant that is not in the future (UTC, without a zone).
    `source_name` is the source's where it is not that of its kind.
    """
    source_name = source_name or kind.name
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: nothing of a run is told to anyone
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # its import alone would log a hundred lines
    import great_expectations as gx
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.core.run_identifier import RunIdentifier

    docs = Path(configs.DATA_DOCS_DIR).resolve() / source_name
    started_at = latest.replace(tzinfo=UTC) - timedelta(hours=configs.FUTURE_TOLERANCE_HOURS)
    context = gx.get_context(project_config=_project(docs), mode="ephemeral")
    suite = context.suites.add(gx.ExpectationSuite(name=source_name, expectations=expectations(kind, types)))
    source = context.data_sources.add_pandas(source_name)
    parameters = {"earliest": datetime.fromisoformat(configs.EARLIEST_DATE), "latest": latest}
    problem = ""
    first = 1
    for frame in frames(types, files):
        name = f"rows {first:,} to {first + len(frame) - 1:,}"
        first += len(frame)
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(
                data=source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name), suite=suite, name=name
            )
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=name,
                validation_definitions=[definition],
                actions=[UpdateDataDocsAction(name="data docs", site_names=["data_docs"])],
                result_format="SUMMARY",
            )
        )
        done = checkpoint.run(
            batch_parameters={"dataframe": frame},
            expectation_parameters=parameters,
            run_id=RunIdentifier(run_name=run_id, run_time=started_at),
        )
        log.info("%s: %s meet the suite: %s", source_name, name, done.success)
        problem = problem or _first_problem(source_name, done)
    _write_index(docs.parent)
    if problem:
        raise GateFailed(f"{problem} The data docs show more: {docs / 'pages' / 'index.html'}")


def _project(docs: Path) -> Any:
    """The project's configuration, with results and pages below `docs`."""
    from great_expectations.data_context.types.base import DataContextConfig

    content = yaml.safe_load(PROJECT.read_text(encoding="utf-8"))
    for backend in (
        content["stores"]["validation_results_store"]["store_backend"],
        content["data_docs_sites"]["data_docs"]["store_backend"],
    ):
        backend["base_directory"] = str(docs / backend["base_directory"])
    return DataContextConfig(**content)


def expectations(kind: SourceKind, types: dict[str, ColumnType]) -> list[Any]:
    """Those of the suite file whose columns this source has, and those of the user's own action columns."""
    from great_expectations.expectations.registry import get_expectation_impl

    suite = json.loads((configs.PROJECT_ROOT / FOLDER / f"{kind.name}.json").read_text(encoding="utf-8"))
    wanted = {one["id"]: one for one in expected(kind, types)}
    found = [one for one in suite["expectations"] if one["id"] in wanted]
    found += [one for one in wanted.values() if one["id"] not in {kept["id"] for kept in found}]
    return [get_expectation_impl(one["type"])(**one["kwargs"], meta=one["meta"]) for one in found]


def frames(types: dict[str, ColumnType], files: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows in pandas frames of at most GX_BATCH_ROWS, money as floating point numbers: bounds do not need more."""
    paths = [storage(file) for file in files]
    filesystem = None if is_local(paths[0]) else paths[0].fs
    dataset = ds.dataset([path.path for path in paths], format="parquet", filesystem=filesystem)
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in dataset.to_batches(columns=list(types), batch_size=min(configs.GX_BATCH_ROWS, 128_000)):
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= configs.GX_BATCH_ROWS:
            table = pa.Table.from_batches(waiting)
            yield _frame(table.slice(0, configs.GX_BATCH_ROWS))
            waiting = table.slice(configs.GX_BATCH_ROWS).to_batches()
            rows -= configs.GX_BATCH_ROWS
    if rows:
        yield _frame(pa.Table.from_batches(waiting))


def _frame(rows: pa.Table) -> pd.DataFrame:
    decimals = [field.name for field in rows.schema if pa.types.is_decimal(field.type)]
    for name in decimals:
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.float64()))
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def _first_problem(source_name: str, done: Any) -> str:
    for result in done.run_results.values():
        for one in result.results:
            if not one.success:
                meta, found = one.expectation_config.meta, one.result
                if "unexpected_count" not in found:
                    said = one.exception_info or "it could not be evaluated"
                    return f"{source_name}: the expectation {meta['rule']} failed: {said}"
                return (
                    f"{source_name}: {found['unexpected_count']:,} of {found['element_count']:,} rows that the rules "
                    f"let through do not meet the expectation against {meta['rule']} ({meta['broken_when']})."
                )
    return ""


def _write_index(folder: Path) -> None:
    """One page with the newest validations of each source.

    The index pages of Great Expectations are empty where scripts from elsewhere may not load; this one never is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".index.{os.getpid()}.part"
    written = ""
    # Until nothing is new: another source's validation may have ended in the meantime.
    while written != (page := _index(folder)):
        aside.write_text(page, encoding="utf-8")
        aside.replace(folder / "index.html")
        written = page


def _index(folder: Path) -> str:
    parts = ['<!doctype html><html lang="en"><meta charset="utf-8"><title>Data docs</title><h1>Data docs</h1>']
    for pages in sorted(folder.glob("*/pages")):
        parts.append(f"<h2>{html.escape(pages.parent.name)}</h2><ul>")
        parts.append(_link(pages / "index.html", folder, "all validations"))
        found = sorted(pages.glob("validations/*/*/*/*.html"), key=lambda page: page.parent.name, reverse=True)
        parts += [_link(page, folder, f"{page.parent.parent.name}: {page.stem}") for page in found[:VALIDATIONS_LISTED]]
        parts.append("</ul>")
    return "".join([*parts, "</html>\n"])


def _link(page: Path, folder: Path, text: str) -> str:
    return f'<li><a href="{quote(page.relative_to(folder).as_posix())}">{html.escape(text)}</a></li>'

"""What only the whole load can tell: duplicates, unknown clients, the share of bad rows, and the gate.

landed files  ->  validated files (the landed ones themselves, where no row of them has to go)  +  quarantined rows
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import configs
from include.problem import Problem
from include.quality.conversion import column_types
from include.quality.extract import Extracted
from include.quality.gate import require_expectations
from include.quality.quarantine import QuarantinedRow, QuarantineWriter
from include.schemas.rules import set_rules
from include.sources.definition import CHANGED_AT, Source
from include.staging.snapshot import Snapshot
from include.staging.sql import literal, quoted
from include.staging.storage import engine, engine_url, remove_tree, storage, written_aside

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)
REMOVED_ROWS_AT_ONCE = 10_000


class TooManyBadRows(Problem):
    """A larger share of a source's rows was quarantined than MAX_QUARANTINED_SHARE."""


def validate_rows(
    source: Source,
    extracted: Extracted,
    *,
    customer_files: Sequence[str],
    snapshot: Snapshot | None,
    target: ObjectStoragePath,
    run_id: str,
    latest: datetime,
) -> Extracted:
    """Apply the set rules to the landed files, then require the share of bad rows and the expectations to hold.

    `customer_files` are the customers of this load and `snapshot` what is staged already: a session's client must be in
    one of them (sessions only). Returns the counts over both steps, and the validated files.
    """
    kind = source.kind.name
    folder = target / "validated" / kind
    remove_tree(folder)
    quarantined = target / "quarantine" / kind / "sets.parquet"
    quarantined.unlink(missing_ok=True)
    with engine(target) as connection:
        connection.execute(f"CREATE VIEW landed AS SELECT * FROM {_parquet(extracted.files)}")
        connection.execute("CREATE TABLE broken (_file VARCHAR, _row BIGINT, rule VARCHAR)")
        if kind == "sessions":
            _find_unknown_clients(connection, customer_files, snapshot)
        if source.kind.key:
            _find_duplicates(connection, source)
        connection.execute(
            "CREATE TABLE removed AS SELECT _file, _row, list(rule ORDER BY rule) AS rules FROM broken GROUP BY ALL"
        )
        found = _quarantine_removed(connection, source, extracted, quarantined, run_id)
        files = [_without_removed(connection, file, folder) for file in extracted.files]
    found = replace(found, files=files)
    require_few_bad_rows(source, found)
    require_expectations(source.kind, column_types(source), files, run_id=run_id, latest=latest)
    return found


def require_few_bad_rows(source: Source, found: Extracted) -> None:
    """Raise `TooManyBadRows` when the quarantined share is above MAX_QUARANTINED_SHARE."""
    share = found.quarantined / found.read if found.read else 0.0
    if share <= configs.MAX_QUARANTINED_SHARE:
        return
    worst = sorted(found.by_rule.items(), key=lambda item: (-item[1], item[0]))[:3]
    reasons = "; ".join(f"{count:,} × {name} (such as {_example(found, name)})" for name, count in worst)
    raise TooManyBadRows(
        f"{source.name}: {found.quarantined:,} of {found.read:,} rows ({share:.1%}) are bad, more than "
        f"MAX_QUARANTINED_SHARE ({configs.MAX_QUARANTINED_SHARE:.1%}): {reasons}. "
        "Correct the data or its mapping in sources.yaml, or raise that setting."
    )


def _example(found: Extracted, rule: str) -> str:
    return next(iter(found.examples.get(rule, [])), "see the quarantine")


def _parquet(files: Sequence[str]) -> str:
    urls = ", ".join(literal(engine_url(storage(file))) for file in files)
    return f"read_parquet([{urls}], hive_partitioning = false)"


def _find_duplicates(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    key = quoted(source.kind.key[0])
    newest = f"{CHANGED_AT} DESC NULLS LAST, " if CHANGED_AT in column_types(source) else ""
    (rule,) = (one.name for one in set_rules(source.kind) if one.name.startswith("duplicate_"))
    # A row that breaks another rule does not stand in for a good one.
    connection.execute("CREATE VIEW candidates AS SELECT * FROM landed ANTI JOIN broken USING (_file, _row)")
    # First the few keys that repeat, so that the ordering looks at their rows alone.
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT _file, _row, '{rule}' FROM candidates
        SEMI JOIN (SELECT {key} FROM candidates GROUP BY {key} HAVING count(*) > 1) repeated USING ({key})
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {newest}_file DESC, _row DESC) > 1
        """
    )


def _find_unknown_clients(
    connection: duckdb.DuckDBPyConnection, customer_files: Sequence[str], snapshot: Snapshot | None
) -> None:
    known = [f"SELECT client FROM {_parquet(customer_files)}"]
    if snapshot is not None:
        root = storage(configs.STAGING_URL)
        staged = snapshot.tables["customers"].files
        known += [f"SELECT client FROM {_parquet([str(root / file.path) for file in staged])}"] if staged else []
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT _file, _row, 'client_unknown' FROM landed
        ANTI JOIN ({" UNION ALL ".join(known)}) known USING (client)
        """
    )


def _quarantine_removed(
    connection: duckdb.DuckDBPyConnection, source: Source, extracted: Extracted, target: ObjectStoragePath, run_id: str
) -> Extracted:
    """Write the removed rows, with their values under our names, and count them."""
    sentences = {rule.name: rule for rule in set_rules(source.kind)}
    counts: Counter[str] = Counter(extracted.by_rule)
    examples = {rule: list(texts) for rule, texts in extracted.examples.items()}
    cursor = connection.cursor()
    cursor.execute(
        f"""
        SELECT _file, _row, rules, to_json(struct_pack({_packed(source)})) AS raw
        FROM landed JOIN removed USING (_file, _row)
        ORDER BY _file, _row
        """
    )
    removed = 0
    with QuarantineWriter(target) as quarantine:
        while rows := cursor.fetchmany(REMOVED_ROWS_AT_ONCE):
            removed += len(rows)
            for file, row, broken, raw in rows:
                for name in broken:
                    counts[name] += 1
                    known = examples.setdefault(name, [])
                    if len(known) < configs.MAX_QUARANTINED_ROWS_LOGGED:
                        known.append(f"{file} line {row}: {sentences[name].sentence} ({raw[:100]})")
            quarantine.write(
                QuarantinedRow(source.name, file, row, list(rules), raw, run_id) for file, row, rules, raw in rows
            )
    cursor.close()
    for name in sentences.keys() & examples.keys():
        log.warning(
            "%s: %s rows broke %s, such as: %s", source.name, f"{counts[name]:,}", name, "; ".join(examples[name])
        )
    return replace(
        extracted,
        good=extracted.good - removed,
        quarantined=extracted.quarantined + removed,
        by_rule=dict(sorted(counts.items())),
        examples=examples,
    )


def _packed(source: Source) -> str:
    return ", ".join(f"{quoted(name)} := {quoted(name)}" for name in column_types(source))


def _without_removed(connection: duckdb.DuckDBPyConnection, file: str, folder: ObjectStoragePath) -> str:
    """The file itself when no row of it has to go, else a copy without them."""
    source = _parquet([file])
    query = f"SELECT count(*) FROM {source} SEMI JOIN removed USING (_file, _row)"
    ((removed,),) = connection.execute(query).fetchall()
    if not removed:
        return file
    target = folder / storage(file).name
    with written_aside(target) as scratch:
        connection.execute(
            f"COPY (SELECT * FROM {source} ANTI JOIN removed USING (_file, _row)) "
            f"TO {literal(str(scratch))} (FORMAT parquet, COMPRESSION zstd)"
        )
    return str(target)

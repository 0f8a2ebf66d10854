"""What only the whole load can tell: duplicates, unknown clients, the share of bad rows, and the gate.

landed files  ->  validated files (the landed ones themselves, where no row of them has to go)  +  quarantined rows
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import configs
from include.problem import Problem
from include.quality.conversion import column_types
from include.quality.extract import Extracted, identity
from include.quality.gate import require_expectations
from include.quality.quarantine import FOLDER, SIBLINGS, QuarantineWriter, Quarantining, place_of
from include.schemas.rules import of_another_source, set_rules, too_many_values
from include.schemas.source_kinds import DIMENSION_PREFIX
from include.sources.definition import CHANGED_AT, Source
from include.staging.merge import SOURCE, TABLE_OF_KIND
from include.staging.snapshot import Snapshot
from include.staging.sql import literal, quoted
from include.staging.storage import engine, engine_url, remove_tree, storage, written_aside

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)
REMOVED_ROWS_AT_ONCE = 10_000
# SQL: the lines of an order, whatever their order is; of the columns that every source of products has.
LINES = "md5(string_agg(concat_ws('|', product, price, quantity), chr(10) ORDER BY product, price, quantity))"


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
    earlier: Mapping[str, Sequence[str]] | None = None,
) -> Extracted:
    """Apply the set rules to the landed files, then require the share of bad rows and the expectations to hold.

    `customer_files` are the customers of this load and `snapshot` what is staged already: a session's client must be in
    one of them (sessions only). `earlier` are the validated files, by name, of the sources of the same kind that come
    before this one in sources.yaml: what they have, or had when it was staged, is theirs. Returns the counts over both
    steps, and the validated files.
    """
    folder = target / "validated" / source.name
    remove_tree(folder)
    quarantined = target / FOLDER / source.name / "sets.parquet"
    quarantined.unlink(missing_ok=True)
    with engine(target) as connection:
        connection.execute(f"CREATE VIEW landed AS SELECT * FROM {read_files(extracted.files)}")
        connection.execute("CREATE TABLE broken (_file VARCHAR, _row BIGINT, rule VARCHAR)")
        if source.kind.name == "sessions":
            find_unknown_clients(connection, customer_files, snapshot)
            find_too_many_values(connection, source, snapshot)
        if source.kind.key and earlier:
            find_rows_of_others(connection, source, earlier, snapshot)
        if source.key:
            find_duplicates(connection, source)
        connection.execute(
            "CREATE TABLE removed AS SELECT _file, _row, list(rule ORDER BY rule) AS rules FROM broken GROUP BY ALL"
        )
        quarantining = Quarantining.of(source, run_id=run_id, latest=latest)
        found = _quarantine_removed(connection, source, extracted, quarantined, quarantining)
        files = [_without_removed(connection, file, folder) for file in extracted.files]
        if not source.key:
            _keep_siblings(connection, source, target)
        shared = _shared_customers(connection) if source.kind.name == "customers" else 0
    found = replace(found, files=files)
    require_few_bad_rows(source, replace(found, quarantined=found.quarantined - shared))
    require_expectations(
        source.kind, column_types(source), files, run_id=run_id, latest=latest, source_name=source.name
    )
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


def read_files(files: Sequence[str]) -> str:
    urls = ", ".join(literal(engine_url(storage(file))) for file in files)
    return f"read_parquet([{urls}], hive_partitioning = false)"


def find_duplicates(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    key = ", ".join(quoted(column) for column in source.key)
    newest = f"{CHANGED_AT} DESC NULLS LAST, " if CHANGED_AT in column_types(source) else ""
    rules = set_rules(source.kind, column_types(source))
    (rule,) = (one.name for one in rules if one.name.startswith("duplicate_"))
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


def find_rows_of_others(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    earlier: Mapping[str, Sequence[str]],
    snapshot: Snapshot | None,
) -> None:
    """Rows whose key is another source's: one that comes first in sources.yaml keeps it, whichever came first in time,
    so that any order of loads ends with the same rows."""
    key = quoted(source.kind.key[0])
    known = [f"SELECT {key} FROM {read_files(files)}" for files in earlier.values()]
    staged = snapshot.tables.get(TABLE_OF_KIND[source.kind.name]) if snapshot else None
    if staged and staged.files and SOURCE in staged.columns:
        files = [str(storage(configs.STAGING_URL) / file.path) for file in staged.files]
        names = ", ".join(literal(name) for name in earlier)
        known.append(f"SELECT {key} FROM {read_files(files)} WHERE {SOURCE} IN ({names})")
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT _file, _row, '{of_another_source(source.kind.key[0])}' FROM landed
        SEMI JOIN ({" UNION ALL ".join(known)}) known USING ({key})
        """
    )


def _shared_customers(connection: duckdb.DuckDBPyConnection) -> int:
    """Rows set aside only because another source has the customer too: two shops may share one, so they are not bad."""
    query = f"SELECT count(*) FROM removed WHERE rules = ['{of_another_source('client')}']"
    ((count,),) = connection.execute(query).fetchall()
    return int(count)


def find_too_many_values(connection: duckdb.DuckDBPyConnection, source: Source, snapshot: Snapshot | None) -> None:
    """Of a dimension with more than DIMENSION_VALUES_MAX values, the rows of the rarest that were not staged before.

    Most likely it is no dimension: an id, an amount, a time.
    """
    staged = snapshot.tables.get("sessions") if snapshot else None
    for column in (name for name in column_types(source) if name.startswith(DIMENSION_PREFIX)):
        name = quoted(column)
        known = "SELECT NULL AS value WHERE false"
        if staged and staged.files and column in staged.columns:
            files = [str(storage(configs.STAGING_URL) / file.path) for file in staged.files]
            known = f"SELECT DISTINCT {name} AS value FROM {read_files(files)} WHERE {name} IS NOT NULL"
        query = f"SELECT count(DISTINCT {name}), (SELECT count(*) FROM ({known})) FROM landed"
        ((values, before),) = connection.execute(query).fetchall()
        if values + before <= configs.DIMENSION_VALUES_MAX:
            continue
        connection.execute(
            f"""
            INSERT INTO broken
            WITH known AS MATERIALIZED ({known}),
                 unseen AS (
                     SELECT {name} AS value, count(*) AS rows FROM landed
                     WHERE {name} IS NOT NULL AND {name} NOT IN (SELECT value::VARCHAR FROM known) GROUP BY 1
                 ),
                 too_many AS (
                     SELECT value FROM unseen QUALIFY row_number() OVER (ORDER BY rows DESC, value)
                         > {configs.DIMENSION_VALUES_MAX} - (SELECT count(*) FROM known)
                 )
            SELECT _file, _row, '{too_many_values(column)}' FROM landed SEMI JOIN too_many ON {name} = value
            """
        )


def _keep_siblings(connection: duckdb.DuckDBPyConnection, source: Source, target: ObjectStoragePath) -> None:
    """Lines of an order have no key of their own: note what else the orders of the rejected ones had in this load.

    A replay may add a line to an order only while it has the lines that it had when that one was set aside.
    """
    siblings = target / SIBLINGS / f"{source.name}.parquet"
    siblings.unlink(missing_ok=True)
    rejected = target / FOLDER / source.name / "rows.parquet"
    if not rejected.exists():
        return
    with written_aside(siblings) as scratch:
        connection.execute(
            f"""
            COPY (
                SELECT order_id, {LINES} AS lines FROM landed
                SEMI JOIN {read_files([str(rejected)])} rejected ON landed.order_id = rejected.key GROUP BY order_id
            ) TO {literal(str(scratch))} (FORMAT parquet)
            """
        )


def find_unknown_clients(
    connection: duckdb.DuckDBPyConnection, customer_files: Sequence[str], snapshot: Snapshot | None
) -> None:
    known = [f"SELECT client FROM {read_files([file])}" for file in customer_files]
    if snapshot is not None:
        root = storage(configs.STAGING_URL)
        staged = snapshot.tables["customers"].files
        known += [f"SELECT client FROM {read_files([str(root / file.path) for file in staged])}"] if staged else []
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT _file, _row, 'client_unknown' FROM landed
        ANTI JOIN ({" UNION ALL ".join(known)}) known USING (client)
        """
    )


def _quarantine_removed(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    extracted: Extracted,
    target: ObjectStoragePath,
    quarantining: Quarantining,
) -> Extracted:
    """Write the removed rows, with their values under our names, and count them."""
    sentences = {rule.name: rule for rule in set_rules(source.kind, column_types(source))}
    counts: Counter[str] = Counter(extracted.by_rule)
    examples = {rule: list(texts) for rule, texts in extracted.examples.items()}
    cursor = connection.cursor()
    cursor.execute(
        f"""
        SELECT _file, _row, {quoted(identity(source))}, rules, to_json(struct_pack({_packed(source)})) AS raw
        FROM landed JOIN removed USING (_file, _row)
        ORDER BY _file, _row
        """
    )
    removed = 0
    with QuarantineWriter(target) as quarantine:
        while rows := cursor.fetchmany(REMOVED_ROWS_AT_ONCE):
            removed += len(rows)
            for file, row, key, broken, raw in rows:
                for name in broken:
                    counts[name] += 1
                    known = examples.setdefault(name, [])
                    if len(known) < configs.MAX_QUARANTINED_ROWS_LOGGED:
                        place = place_of(source, file, row, key)
                        known.append(f"{place}: {sentences[name].sentence} ({raw[:100]})")
            quarantine.write(
                quarantining.row(file, row, key, list(rules), "typed", raw) for file, row, key, rules, raw in rows
            )
    cursor.close()
    for name in sentences.keys() & examples.keys():
        log.warning(
            "%s: rows that broke %s: %s, such as: %s", source.name, name, f"{counts[name]:,}", "; ".join(examples[name])
        )
    return replace(
        extracted,
        good=extracted.good - removed,
        quarantined=extracted.quarantined + removed,
        by_rule=dict(sorted(counts.items())),
        examples=examples,
    )


def _packed(source: Source) -> str:
    """Texts, from which the same values come back: JSON's own numbers would round money."""
    return ", ".join(f"{quoted(name)} := {quoted(name)}::VARCHAR" for name in column_types(source))


def _without_removed(connection: duckdb.DuckDBPyConnection, file: str, folder: ObjectStoragePath) -> str:
    """The file itself when no row of it has to go, else a copy without them."""
    source = read_files([file])
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

"""BigQuery tables and queries through Airflow's `BigQueryHook`, streamed as Arrow batches.

A source is read by one query job, whose result is one snapshot: only the needed columns, page by page. What no Arrow
type holds alike for every connector (arrays, structs, wide decimals, …) BigQuery itself writes as text. A dry run tells
what the query will cost before it runs, and BIGQUERY_MAX_BYTES_BILLED refuses what costs too much.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import configs
from include.schemas.source_kinds import ColumnType
from include.sources.database_problems import no_connection, plain_reason
from include.sources.definition import DatabaseOptions, Source
from include.sources.problems import SourceError, SourceUnreachable
from include.sources.raw_batch import BATCH_BYTES, ROW_COLUMN, RawBatch
from include.sources.relation import bounds, date_column, display_name, located_columns, uses
from include.sources.source_check import SourceCheck, mapped

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client, QueryJob, ScalarQueryParameter, SchemaField
    from google.cloud.bigquery_storage import BigQueryReadClient, ReadSession

log = logging.getLogger(__name__)

CONNECTION_TYPES = ("google_cloud_platform", "gcpbigquery")
# A project may have the name of its organisation before it, as in example.com:shop.
TABLE = re.compile(r"(?:(?P<project>(?:[^.`:]+\.[^.`:]+:)?[^.`:]+)\.)?(?P<dataset>[^.`:]+)\.(?P<table>[^.`:]+)")
UNQUOTABLE = re.compile(r"[`\\\x00-\x1f\x7f]")
TIMES = {"TIMESTAMP": True, "DATETIME": False, "DATE": False}  # whether it has a time zone
# What a column is needed as -> the types that are left as they are. All else is text. A NUMERIC as a number is text
# too: its way through a decimal may round the last digit otherwise.
KEPT: dict[frozenset[ColumnType], tuple[str, ...]] = {
    frozenset({"instant"}): tuple(TIMES),
    frozenset({"boolean"}): ("BOOLEAN",),
    frozenset({"number"}): ("INTEGER", "FLOAT"),
    frozenset({"money"}): ("INTEGER", "NUMERIC"),
    frozenset({"money", "number"}): ("INTEGER", "NUMERIC"),
}
AS_JSON = ("JSON", "RECORD", "STRUCT")
STATUS_PAGE = "https://status.cloud.google.com"


def read_bigquery(
    source: Source,
    *,
    batch_rows: int,
    start: date | None = None,
    end: date | None = None,
    changed_since: datetime | None = None,
) -> Iterator[RawBatch]:
    """The rows of a table or query, at most `batch_rows` at once; `relation.bounds` says how far a period reaches.

    A column has an Arrow type where that is what it is needed as; all else is text. Raises `SourceError` with one
    sentence, and `SourceUnreachable` where the same may work later.
    """
    with _said_plainly(source), _connected(source) as login:
        relation = _described(source, login)
        limits = bounds(source, relation.times, start=start, end=end, changed_since=changed_since)
        sql, parameters = _select(source, relation, limits)
        job = _run(source, login, relation, sql, parameters)
        first = 1
        for batch in _gathered(_pages(source, login, job, page_rows=batch_rows), batch_rows):
            yield RawBatch(_numbered(batch, source.needed_columns, first), display_name(source))
            first += batch.num_rows


def check_bigquery(source: Source) -> SourceCheck:
    """What there is of a table or query, without reading it: a dry run tells columns and bytes and costs nothing.

    Of a table, the column of the newest change is read where BIGQUERY_MAX_BYTES_BILLED allows that.
    """
    with _said_plainly(source), _connected(source) as login:
        relation = _described(source, login)
        sql, _ = _select(source, relation, [])
        size = _bytes_to_read(source, login, relation, sql, [])
        if size > configs.BIGQUERY_MAX_BYTES_BILLED:
            log.warning("%s Only a shorter period can be read.", _too_expensive(source, f"{size:,}"))
        theirs = {field.name for field in relation.needed.values()}
        return SourceCheck(
            source=source.name,
            files=(display_name(source),),
            bytes=size if relation.bytes is None else relation.bytes,
            columns=relation.columns,
            unused_columns=tuple(name for name in relation.columns if name not in theirs),
            options=DatabaseOptions(timezone=source.timezone),
            rows=relation.rows,
            types={column: _type_name(field) for column, field in relation.needed.items()},
            newest=_newest(source, login, relation),
            mapping=mapped(source, {column: field.name for column, field in relation.needed.items()}),
        )


def _newest(source: Source, login: _Login, relation: _Relation) -> str | None:
    """The newest change, else the newest date, of a table; a query would have to run for it."""
    column = source.changed_at or date_column(source)
    if source.table is None or column is None or column not in relation.times:
        return None
    sql = f"SELECT MAX({_quoted(source, relation.needed[column].name)}) AS newest FROM {relation.sql}"
    if _bytes_to_read(source, login, relation, sql, []) > configs.BIGQUERY_MAX_BYTES_BILLED:
        return None
    rows = _run(source, login, relation, sql, []).result(**_patience())
    ((value,),) = (row.values() for row in rows)
    return None if value is None else str(value.isoformat())


@dataclass(frozen=True)
class _Login:
    """An open client; its location is that of the connection or BIGQUERY_LOCATION, or None."""

    client: Client
    credentials: Credentials


@dataclass(frozen=True)
class _Relation:
    """A table or a query: its SQL, where its data lie, and its columns; `needed` is by the user's spelling."""

    sql: str
    location: str | None
    columns: tuple[str, ...]
    needed: dict[str, SchemaField]
    rows: int | None = None
    bytes: int | None = None

    @property
    def times(self) -> dict[str, bool]:
        """The needed columns of a date or time type -> whether it has a time zone."""
        return {column: TIMES[name] for column, field in self.needed.items() if (name := _type_name(field)) in TIMES}


@contextmanager
def _connected(source: Source) -> Iterator[_Login]:
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

    connection_id = source.connection or ""
    login = f"the Airflow connection {connection_id!r}"
    remedy = f"put the JSON key of a service account into `keyfile_dict` (or its path into `key_path`) of {login}"
    try:
        connection = BaseHook.get_connection(connection_id)
        location = connection.extra_dejson.get("location") or configs.BIGQUERY_LOCATION or None
        if connection.conn_type not in CONNECTION_TYPES:
            raise SourceError(
                f"{source.name}: {login} is of the type {connection.conn_type!r}; BigQuery needs one of the type "
                "google_cloud_platform."
            )
        hook = BigQueryHook(gcp_conn_id=connection_id, use_legacy_sql=False, location=location)
        credentials, project = hook.get_credentials_and_project_id()
        if not project:
            raise SourceError(
                f"{source.name}: no Google Cloud project is known that pays for the query; set `project` in {login}."
            )
        client = hook.get_client(project_id=project, location=location)
    except AirflowNotFoundException:
        raise no_connection(source) from None
    except DefaultCredentialsError:
        raise SourceError(f"{source.name}: there is no valid Google login; {remedy}.") from None
    except FileNotFoundError:
        raise SourceError(f"{source.name}: the key file of {login} is not there; correct `key_path` in it.") from None
    except TransportError:
        raise  # no matter of the key
    except (GoogleAuthError, AirflowException, ValueError, KeyError) as error:
        # The words of these may hold parts of a key.
        raise SourceError(f"{source.name}: the key cannot be used ({type(error).__name__}); {remedy}.") from None
    try:
        yield _Login(client, credentials)
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _described(source: Source, login: _Login) -> _Relation:
    """The columns of the table or query, and where it lies."""
    from google.cloud.bigquery import TableReference

    where, client = display_name(source), login.client
    if source.table is not None:
        parts = TABLE.fullmatch(source.table)
        if parts is None or UNQUOTABLE.search(source.table):
            raise SourceError(
                f"{source.name}: {source.table!r} is no BigQuery table; write project.dataset.table (or "
                "dataset.table) in sources.yaml, without backticks."
            )
        names = (parts["project"] or client.project, parts["dataset"], parts["table"])
        reference = TableReference.from_api_repr(dict(zip(("projectId", "datasetId", "tableId"), names, strict=True)))
        table = client.get_table(reference, **_patience())
        sql, schema = ".".join(_quoted(source, name) for name in names), table.schema
        is_stored = table.table_type == "TABLE"  # a view says 0 rows
        rows, size = (table.num_rows, table.num_bytes) if is_stored else (None, None)
        location = table.location or client.location  # a table lies where it lies, whatever the connection says
    else:
        location = client.location
        if location is None:
            raise SourceError(
                f"{source.name}: a query must say where its data lie; set `location` (such as EU or US) in the "
                f"extra of the Airflow connection {source.connection!r}, or BIGQUERY_LOCATION."
            )
        sql, rows, size = f"(\n{(source.query or '').strip().rstrip(';')}\n)", None, None  # the user's own query
        schema = _dry_run(source, client, location, f"SELECT * FROM {sql}", []).schema or []
    fields = {field.name: field for field in schema}
    found = located_columns(source, where, [field.name for field in schema])
    needed = {column: fields[name] for column, name in found.items()}
    return _Relation(sql, location, tuple(fields), needed, rows, size)


def _type_name(field: SchemaField) -> str:
    return f"ARRAY<{field.field_type}>" if field.mode == "REPEATED" else str(field.field_type)


def _quoted(source: Source, name: str) -> str:
    if UNQUOTABLE.search(name):
        raise SourceError(
            f"{source.name}: {name!r} cannot be a name in BigQuery, because of its backtick, backslash or line break; "
            "give it another one in a query."
        )
    return f"`{name}`"


def _select(
    source: Source, relation: _Relation, limits: Iterable[tuple[str, str, datetime]]
) -> tuple[str, list[ScalarQueryParameter]]:
    """The needed columns of the rows within the limits, in order, and the values of the limits."""
    from google.cloud.bigquery import ScalarQueryParameter

    kinds = uses(source)
    columns = [
        f"{_value(source, relation.needed[column], kinds[column])} AS column_{number}"
        for number, column in enumerate(source.needed_columns)
    ]
    conditions, parameters = [], []
    for number, (column, comparison, instant) in enumerate(limits):
        field = relation.needed[column]
        values = {"TIMESTAMP": instant.replace(tzinfo=UTC), "DATETIME": instant, "DATE": instant.date()}
        name = _quoted(source, field.name)
        conditions.append(f"({name} IS NULL OR {name} {comparison} @limit_{number})")
        parameters.append(ScalarQueryParameter(f"limit_{number}", field.field_type, values[field.field_type]))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(columns)} FROM {relation.sql}{where}", parameters


def _value(source: Source, field: SchemaField, kinds: frozenset[ColumnType]) -> str:
    """SQL of a column: as it is where that is what it is needed as, else as text."""
    column, kind = _quoted(source, field.name), field.field_type
    if field.mode == "REPEATED" or kind in AS_JSON:
        return f"IF({column} IS NULL, NULL, TO_JSON_STRING({column}))"  # which is 'null' of nothing
    if kind == "STRING" or kind in KEPT.get(kinds, ()):
        return column
    if kind == "BYTES":
        return f"TO_BASE64({column})"  # as in an export to CSV
    if kind == "GEOGRAPHY":
        return f"ST_ASTEXT({column})"
    return f"CAST({column} AS STRING)"


def _patience() -> dict[str, Any]:
    """How long a request may take, and how long one that met 429, 5xx or a lost connection is sent again."""
    from google.cloud.bigquery import DEFAULT_RETRY

    retry = DEFAULT_RETRY.with_timeout(configs.BIGQUERY_RETRY_SECONDS)
    return {"retry": retry, "timeout": configs.BIGQUERY_REQUEST_SECONDS}


def _started(
    source: Source,
    client: Client,
    location: str | None,
    sql: str,
    parameters: Sequence[ScalarQueryParameter],
    **settings: Any,
) -> QueryJob:
    from google.cloud.bigquery import QueryJobConfig

    labels = {"application": "customer-analytics", "source": source.name.lower()[:63]}  # what a label may be
    config = QueryJobConfig(use_legacy_sql=False, query_parameters=list(parameters), labels=labels, **settings)
    # No `job_retry`: it would go on for ten minutes, whatever `retry` says. Airflow tries the task again.
    return client.query(sql, config, location=location, job_retry=None, **_patience())


def _dry_run(
    source: Source, client: Client, location: str | None, sql: str, parameters: Sequence[ScalarQueryParameter]
) -> QueryJob:
    return _started(source, client, location, sql, parameters, dry_run=True, use_query_cache=False)


def _bytes_to_read(
    source: Source, login: _Login, relation: _Relation, sql: str, parameters: Sequence[ScalarQueryParameter]
) -> int:
    """What the query would read, by a dry run; the log says so, and what that costs."""
    size = int(_dry_run(source, login.client, relation.location, sql, parameters).total_bytes_processed or 0)
    cost = ""
    if configs.BIGQUERY_PRICE_PER_TIB:
        cost = f", about {size / 2**40 * configs.BIGQUERY_PRICE_PER_TIB:.2f} at BIGQUERY_PRICE_PER_TIB"
    log.info("%s: reading %s takes BigQuery %s bytes%s.", source.name, display_name(source), f"{size:,}", cost)
    return size


def _run(
    source: Source,
    login: _Login,
    relation: _Relation,
    sql: str,
    parameters: Sequence[ScalarQueryParameter],
) -> QueryJob:
    """The finished query; one that reads more than is allowed is not started."""
    size, allowed = _bytes_to_read(source, login, relation, sql, parameters), configs.BIGQUERY_MAX_BYTES_BILLED
    if size > allowed:
        raise _too_expensive(source, f"{size:,}")
    job = _started(
        source,
        login.client,
        relation.location,
        sql,
        parameters,
        maximum_bytes_billed=allowed,
        job_timeout_ms=configs.BIGQUERY_QUERY_SECONDS * 1000,
    )
    deadline = time.monotonic() + configs.BIGQUERY_QUERY_SECONDS
    while True:
        try:
            # This timeout is that of a request and of the whole waiting alike, so it waits several times. No rows come
            # along: they would stay in memory with the job.
            job.result(**_patience())
        except TimeoutError:
            if time.monotonic() > deadline:
                job.cancel(**_patience())
                raise _too_slow(source) from None
        else:
            return job


def _storage_client(credentials: Credentials) -> BigQueryReadClient | None:
    """A client of the Storage Read API, unless that is switched off or there is no login."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery_storage import BigQueryReadClient

    if not configs.BIGQUERY_STORAGE_API or isinstance(credentials, AnonymousCredentials):
        return None
    return BigQueryReadClient(credentials=credentials)  # type: ignore[no-untyped-call]


def _pages(source: Source, login: _Login, job: QueryJob, *, page_rows: int) -> Iterator[pa.RecordBatch]:
    """The pages of a result: through the Storage Read API where it is allowed and there are several, else REST."""
    rows = job.result(page_size=page_rows, **_patience())  # asks nothing yet
    count = rows.total_rows or 0
    storage = _storage_client(login.credentials) if count > page_rows else None
    if storage is not None:
        with storage:
            session = _session(source, login, storage, job)
            if session is not None:
                log.info("%s: reading %s rows through the Storage Read API.", source.name, f"{count:,}")
                schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
                retry = _patience()["retry"]  # without a timeout, which would be that of the whole stream
                for stream in session.streams:
                    for page in storage.read_rows(stream.name, retry=retry):  # type: ignore[no-untyped-call]
                        data = pa.py_buffer(page.arrow_record_batch.serialized_record_batch)
                        yield pa.ipc.read_record_batch(data, schema)
                return
    log.info("%s: reading %s rows through REST.", source.name, f"{count:,}")
    yield from rows.to_arrow_iterable()


def _session(source: Source, login: _Login, storage: BigQueryReadClient, job: QueryJob) -> ReadSession | None:
    """The result of a job in one stream, which keeps the order and bounds the memory; None where that is refused."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.cloud.bigquery_storage import ArrowSerializationOptions, DataFormat, ReadSession

    assert job.destination is not None  # of every finished query
    packed = ArrowSerializationOptions(buffer_compression=ArrowSerializationOptions.CompressionCodec.LZ4_FRAME)
    wanted = ReadSession(
        table=job.destination.to_bqstorage(),
        data_format=DataFormat.ARROW,
        read_options=ReadSession.TableReadOptions(arrow_serialization_options=packed),
    )
    parent = f"projects/{login.client.project}"
    try:
        return storage.create_read_session(parent=parent, read_session=wanted, max_stream_count=1, **_patience())
    except (GoogleAPICallError, RetryError) as error:
        log.warning(
            "%s: the Storage Read API cannot be used (%s), and REST is slower; grant the role BigQuery Read Session "
            "User (roles/bigquery.readSessionUser), or set BIGQUERY_STORAGE_API to false.",
            source.name,
            plain_reason(str(error)),
        )
        return None


def _gathered(pages: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at most `batch_rows`, small ones put together; one, if an empty one, always comes."""
    kept: list[pa.RecordBatch] = []
    for page in pages:
        for offset in range(0, max(page.num_rows, 1), batch_rows):
            piece = page.slice(offset, batch_rows)
            rows = sum(one.num_rows for one in kept) + piece.num_rows
            if kept and (rows > batch_rows or sum(one.nbytes for one in kept) + piece.nbytes > BATCH_BYTES):
                yield pa.concat_batches(kept)
                kept = []
            kept.append(piece)
    yield pa.concat_batches(kept)


def _numbered(batch: pa.RecordBatch, columns: Sequence[str], first: int) -> pa.RecordBatch:
    numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
    return pa.RecordBatch.from_arrays([*batch.columns, numbers], names=[*columns, ROW_COLUMN])


@contextmanager
def _said_plainly(source: Source) -> Iterator[None]:
    """What Google's login and BigQuery raise, as `SourceError`s of one sentence."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests.exceptions import RequestException

    where, silent = display_name(source), f"check the network, and see {STATUS_PAGE}"
    try:
        yield
    except (TransportError, RequestException, ConnectionError, TimeoutError) as error:
        raise SourceUnreachable(
            f"{source.name}: BigQuery does not answer, or no longer, while reading {where} ({type(error).__name__}); "
            f"{silent}."
        ) from None
    except GoogleAuthError:  # whose words may hold parts of a key
        raise _not_accepted(source) from None
    except RetryError as error:
        if isinstance(error.cause, GoogleAPICallError):
            raise _of_call(source, error.cause) from None
        raise SourceUnreachable(
            f"{source.name}: BigQuery does not answer, or no longer, while reading {where}, even within "
            f"BIGQUERY_RETRY_SECONDS; {silent}."
        ) from None
    except GoogleAPICallError as error:
        raise _of_call(source, error) from None


def _of_call(source: Source, error: GoogleAPICallError) -> SourceError:
    """The sentence for an answer of BigQuery that is an error."""
    first = error.errors[0] if error.errors and isinstance(error.errors[0], dict) else {}
    reason, code, where = first.get("reason", ""), error.code, display_name(source)
    words = plain_reason(str(first.get("message") or error.message))
    name, login = source.name, f"the Airflow connection {source.connection!r}"
    if reason == "bytesBilledLimitExceeded" or "bytes billed" in words:
        needed = re.search(r"(\d+) or higher required", words)
        return _too_expensive(source, f"{int(needed[1]):,}" if needed else "more")
    if reason == "stopped" and "timed out" not in words:
        return SourceUnreachable(f"{name}: the query on {where} was cancelled ({words}); run the task again.")
    if reason in ("stopped", "timeout"):
        return _too_slow(source)
    if reason == "quotaExceeded":
        remedy = "wait until it is renewed, or raise it in the Google Cloud console under IAM & Admin, Quotas"
        return SourceError(f"{name}: a quota of BigQuery is used up ({words}); {remedy}.")
    if reason == "billingNotEnabled":
        return SourceError(f"{name}: billing is not enabled for the project of {login} ({words}); enable it.")
    if reason == "responseTooLarge":
        remedy = "read a shorter period or fewer columns"
        return SourceError(f"{name}: BigQuery hands out no result as large as that of {where} ({words}); {remedy}.")
    if code == 401:
        return _not_accepted(source)
    if code == 403 and "jobs.create" in words:
        remedy = "grant its service account the role BigQuery Job User (roles/bigquery.jobUser) on that project"
        return SourceError(f"{name}: {login} may not run queries ({words}); {remedy}.")
    if code == 403 and reason != "rateLimitExceeded":
        remedy = "grant its service account the role BigQuery Data Viewer (roles/bigquery.dataViewer) on the dataset"
        return SourceError(f"{name}: {login} may not read {where} ({words}); {remedy}.")
    if code == 404:
        correct = "`table` in sources.yaml" if source.table else f"`query` in sources.yaml or `location` in {login}"
        return SourceError(f"{name}: {where} is not there ({words}); correct {correct}.")
    if code == 400 and "Duplicate column name" in words:
        return SourceError(f"{name}: the query gives two columns the same name ({words}); rename one of them with AS.")
    if code == 400:
        remedy = "correct `query` in sources.yaml" if source.query else "write a `query` that it accepts instead"
        return SourceError(f"{name}: BigQuery refuses to read {where} ({words}); {remedy}.")
    return SourceUnreachable(
        f"{name}: BigQuery has trouble reading {where} (HTTP {code}: {words}); try again, and see {STATUS_PAGE}."
    )


def _not_accepted(source: Source) -> SourceError:
    return SourceError(
        f"{source.name}: Google does not accept the key of the Airflow connection {source.connection!r}, which may be "
        "deleted or expired; create a new key of the service account and put it there."
    )


def _too_slow(source: Source) -> SourceUnreachable:
    return SourceUnreachable(
        f"{source.name}: the query on {display_name(source)} took longer than BIGQUERY_QUERY_SECONDS "
        f"({configs.BIGQUERY_QUERY_SECONDS:,}) and was cancelled; raise it, or read less."
    )


def _too_expensive(source: Source, needed: str) -> SourceError:
    return SourceError(
        f"{source.name}: the query would read {needed} bytes, and BIGQUERY_MAX_BYTES_BILLED allows "
        f"{configs.BIGQUERY_MAX_BYTES_BILLED:,}; raise it, or read a shorter period or fewer columns."
    )

"""`docs/quality.md`: what happens to a row between a source and staging, from the rules themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from include.quality.conversion import FALSE, TRUE
from include.quality.quarantine import SCHEMA
from include.schemas.rules import REPLAY_RULES, row_rules, set_rules
from include.schemas.source_kinds import SOURCE_KINDS, ColumnType, SourceKind
from include.sources.raw_batch import MALFORMED_RULES

QUARANTINE_COLUMNS = {
    "source": "the name of the source",
    "file": "the file, table or query it came from",
    "row": "its line in that file, the first being 1; of a table its place in the result",
    "key": "its session, client or order, where it has one",
    "rules": "every rule it broke; after a replay every one it breaks now, unless it is loaded",
    "form": "`raw`, `typed` or `text`",
    "raw": "its values as JSON: under your column names (`raw`) or under ours (`typed`), or the line itself (`text`)",
    "run_id": "the run that set it aside",
    "quarantined_at": "when that run began, in UTC",
    "mapping": "a hash of the mapping and the formats by which it was read",
    "is_replayed": "whether a replay found it loaded, or loaded it",
}

HEAD = """\
<!-- Written by `make generate` from include/quality/documentation.py; do not edit. -->

# Quality

No row is dropped silently and none stops a run by itself. `extract` converts each row to our columns and types and
judges it alone; `validate` judges the load as a whole. A row that breaks a rule goes to quarantine with its place, its
values and every rule it broke; the others go on. What was read is always what was landed, plus what was quarantined,
plus the sessions outside the period that a run asked for.

## Conversion

| type | what counts as one |
|---|---|
| text | anything; blanks at both ends go, and a text without anything else is empty |
| boolean | {true} are true, {false} are false, in any case |
| money, number | digits with the source's decimal mark, a sign, an exponent; see below |
| instant | ISO 8601, the source's `date_format`, or seconds or milliseconds since 1970 (`epoch`, `epoch_ms`) |

- Thousands may be grouped by the mark that is not the decimal one, by an apostrophe, or by a blank (a no-break, a
  narrow or a thin one too). Money is exact to four decimals, a fifth is rounded half away from zero; it has at most 14
  digits before the decimal mark. NaN, infinity and what does not fit are no numbers.
- ISO 8601 is a date alone, or with a time (`T` or a blank between them; seconds and their fraction may be missing, and
  the fraction may follow a comma), then maybe an offset (`Z`, `UTC`, `+02`, `+0200`, `+02:00`, maybe after a blank).
- A time without an offset is read in `csv.timezone` of the source, else in `BUSINESS_TIMEZONE`. One that a clock change
  skips moves on by what was skipped; of one that occurs twice it is the second. Instants are stored in UTC, to the
  microsecond.
- Several columns joined to one id are empty where any of them is.
- A condition (`is`, `greater_than`, `not_empty`, `contains`) is false for an empty value. `is` compares the text
  exactly; `greater_than` of something that is no number is not a boolean.
- `contains` reads JSON. Of a list it is true where an element is exactly the text; a number in it counts as its digits.
  Of an object it is true where the value of that key is `true` (or counts as true by the table above). `null` is empty.
  A text that is neither a list nor an object, such as `viewed` or `{{viewed}}`, is not a boolean.

## Rules

Rules about a column that is not mapped do not exist. A column of a dimension has
`dimension_<name>_too_many_values` alone; a boolean action has `action_<name>_not_a_boolean`, an action with an instant
has `action_<name>_not_a_date`. A mapped `changed_at` has the rules of a date. "In the future" means more than
`FUTURE_TOLERANCE_HOURS` after the run began; the earliest date is `EARLIEST_DATE`, at midnight UTC; its year is in the
rule's name. All settings: [configuration.md](configuration.md).
"""

TAIL = """\
The rules about the whole load come last, and a row that breaks another one does not stand in for a good one: of the
*good* rows with the same key the newest `changed_at` is kept, else the last by file and line. A client is known when it
is among the good rows of this load's customers or already staged (with `full_refresh`, of this load alone). So a
customer that is quarantined takes its sessions along, unless it was staged before.

A dimension that has more than `DIMENSION_VALUES_MAX` values is most likely none: an id, an amount, a time. Values that
are staged already stay; of the new ones those with most rows are let in until there are so many, and the rows of the
others break `dimension_<name>_too_many_values`. Of a column that really is an id that is nearly all rows, and the load
stops at the threshold below.

Any source may hold lines that are no rows at all:

{malformed}
## Quarantine

The page *Customer Analytics* → *Quarantine* shows what a run set aside: how many rows of each source, by reason, with
examples and what to do. It shows runs that were stopped and dry runs as well: `index_quarantine` writes what the page
shows after every validation, whether it went well or not. All rows are in

`STAGING_URL/runs/<run>/quarantine/<source>/*.parquet`

{quarantine}
The index `quarantine` ([its fields](data-model.md)) has at most `QUARANTINE_INDEXED_ROWS_MAX` rows of each run, source
and rule, in the order of the files, and the true counts of all. Both are kept for `QUARANTINE_RETENTION_DAYS` after
the run began; a later run deletes them together.

A value in `raw` is what the source had. A rule about the whole load is applied to converted rows: those keep our
columns, each as a text from which exactly the same value comes back (`typed`). Of a line that could not be split the
first 10,000 characters are kept (`text`).

Read it with DuckDB:

```sql
SELECT file, row, rules, raw FROM 'var/staging/runs/*/quarantine/*/*.parquet' WHERE list_contains(rules, 'id_missing');
```

The log shows up to `MAX_QUARANTINED_ROWS_LOGGED` examples of each rule. A retried task replaces what it wrote.

## Replay

Where the source still has the rows, correct it or its mapping and run `customer_analytics` again: it reads them anew.
Rows that the source no longer has, or that only waited for their customer, are taken back by the DAG
`replay_quarantine`. It reads the Parquet files above (of all sources, rules and runs, or of those that the trigger form
names), applies the mapping and the rules of now, loads what passes, computes the reports anew and marks the rows.
*Dry run* only says what would pass. It does not run while `customer_analytics` does, nor the other way round.

- **`raw` rows** are converted like rows of the source. A column that the mapping uses now and did not use then was not
  kept: the row stays as `column_not_read`.
- **`typed` rows** have been converted: they are judged with the values they have, as long as mapping and formats of the
  source are the same. Else they stay as `mapping_changed`.
- **`text` lines** with a wrong number of values are split again, with the delimiter of now and the column names that
  their file has now. Lines that were cut off, or had bytes that are no text or a quote that nothing closes, stay.
- **A row never takes the place of a newer one.** A key that is not staged comes in; of several quarantined versions
  the one with the newest `changed_at`, else that of the last run. A key that is staged is replaced only where
  `changed_at` says that the quarantined row is newer. Without it nobody can tell, so the staged row stays, and the
  quarantined one is its `duplicate_…`. A row that equals the staged one is loaded already, and marked so.
- **Lines of orders without a `line_id`** are added to their order while that has the other lines that were read
  together with them. Else the order has been read again since, or its other lines were never staged: they stay as
  `order_changed`, and `customer_analytics`, which reads whole orders, is the way.
- What passes goes through the gate, is merged, indexed and reported as after a load. How far each source was read
  (the watermark) does not move.
- Repeated, or killed and started again, it ends in the same state.

{replay}

## The threshold

A source of which more than `MAX_QUARANTINED_SHARE` was quarantined fails the run before anything is
staged, and says which rules were broken most, with an example of each. More likely than so many bad rows is a wrong
mapping: a decimal mark, a date format, a column.

## The gate

What was let through must then meet a Great Expectations suite, `great_expectations/expectations/<source>.json`, in
batches of `GX_BATCH_ROWS`. The suites are written by `make generate` from the same rules, and a test holds the two
against each other on rows that break every rule. A rule has no expectation (`-` in the tables above) where only the raw
value can tell, or where Great Expectations would say it no more plainly. Keys are unique within a batch; over the whole
load `duplicate_…` has seen to it. A gate that fails names the expectation: it is a mistake in this program, or in a
suite edited by hand, not in your data.

## Data docs

`DATA_DOCS_DIR/index.html` lists the newest validations of each source, one page per run and batch, and the page of a
validation has every expectation with what was found. Nothing is sent anywhere: the usage statistics of Great
Expectations are off. Its pages quote what the data hold, so the Airflow server (`/data-docs`) lets no script run in
them: filters do nothing there, and the overview of Great Expectations (`<source>/pages/index.html`), which a script
fills, is empty; `index.html` links to every validation itself. Style sheets and icons come from public networks. Where
these cannot be reached the pages are plain black on white: all tables and numbers are there, and so is a line
`Status: Succeeded` or `Failed`, but the tick or cross before each expectation is missing.
"""


def render() -> str:
    """The text of `docs/quality.md`."""
    parts = [HEAD.format(true=_listed(TRUE), false=_listed(FALSE))]
    parts += [_rules(kind) for kind in SOURCE_KINDS.values()]
    malformed = [(f"`{rule}`", sentence) for rule, sentence in MALFORMED_RULES.items()]
    columns = [(f"`{field.name}`", f"`{field.type}`", QUARANTINE_COLUMNS[field.name]) for field in SCHEMA]
    parts.append(
        TAIL.format(
            malformed=_table(("rule", "broken by"), malformed),
            quarantine=_table(("column", "type", "meaning"), columns),
            replay=_table(("reason to stay", "meaning"), [(f"`{name}`", text) for name, text in REPLAY_RULES.items()]),
        )
    )
    return "\n".join(parts)


def _rules(kind: SourceKind) -> str:
    types: dict[str, ColumnType] = {column.name: column.type for column in kind.columns}
    any_instant = datetime(2000, 1, 1)  # noqa: DTZ001 - it is in no sentence
    rules = [*row_rules(kind, types, any_instant), *set_rules(kind, types)]
    rows = [
        (f"`{rule.name}`", rule.sentence, f"`{rule.expectation[0]}`" if rule.expectation else "-") for rule in rules
    ]
    return f"### {kind.name}\n\n" + _table(("rule", "broken where", "expectation"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)

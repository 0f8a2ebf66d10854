"""What every source yields: batches of raw rows with the place each came from, and the lines that were no rows."""

from dataclasses import dataclass

import pyarrow as pa

ROW_COLUMN = "_row"  # int64: the 1-based line number in the file, or the row number of a query

BATCH_BYTES = 8_000_000  # a batch of a database ends here however few its rows: one value may be large
MALFORMED_TEXT_CHARACTERS = 10_000  # a malformed row is kept up to here; it can be as long as a block

WRONG_NUMBER_OF_COLUMNS = "wrong_number_of_columns"
NOT_VALID_TEXT = "not_valid_text"
QUOTE_NOT_CLOSED = "quote_not_closed"
MALFORMED_RULES = {
    WRONG_NUMBER_OF_COLUMNS: "more or fewer values than there are column names",
    NOT_VALID_TEXT: "bytes that are no text in the file's encoding",
    QUOTE_NOT_CLOSED: "a quote opens a value and nothing closes it before the file ends",
}


@dataclass(frozen=True)
class MalformedRow:
    """A line that could not be split into columns or decoded: where it is, its raw text, and the rule it broke."""

    row: int
    text: str
    rule: str


@dataclass(frozen=True)
class RawBatch:
    """Rows as the source holds them.

    `rows` has the needed columns under the user's names (from CSV all are `string`, empty text is null) and `_row`.
    `file` is the display name of the file or table they came from, without credentials. `malformed` are the lines
    among, before or after these rows that could not be read, and `blank_lines` counts lines that hold nothing; each
    malformed or blank line is reported in exactly one batch. A batch may have no rows.
    """

    rows: pa.RecordBatch
    file: str
    malformed: tuple[MalformedRow, ...] = ()
    blank_lines: int = 0

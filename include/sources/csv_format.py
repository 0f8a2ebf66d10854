"""How a CSV file writes its numbers, dates and letters, told from a sample of its values.

Guessing is fine where the sample leaves one reading. Where it leaves two (is 03/04/2024 in March or in April, is 1,234
a thousand or a bit more than one) nothing is guessed: `Ambiguous` says which option of sources.yaml decides.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import charset_normalizer

DELIMITERS = (",", ";", "\t", "|")
VALUES_LOOKED_AT = 5_000
ENCODING_BYTES_LOOKED_AT = 100_000
ENCODINGS = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030", "big5"]
ENCODINGS += ["cp949"]
CHAOS_TOLERANCE = 0.05
# Names are read in English, whatever the machine's language is.
DAY_FIRST, MONTH_FIRST = ("%d{0}%m{0}%Y", "%d{0}%m{0}%y"), ("%m{0}%d{0}%Y", "%m{0}%d{0}%y")
NUMERIC_DATES = [shape.format(separator) for shape in (*DAY_FIRST, *MONTH_FIRST) for separator in "./-"]
OTHER_DATES = ["%Y/%m/%d", "%Y.%m.%d", "%y-%m-%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y"]
OTHER_DATES += ["%B %d, %Y"]
CLOCKS = ["", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"]
DATE_FORMATS = [*map("".join, product([*NUMERIC_DATES, *OTHER_DATES], CLOCKS, ("", "%z", " %z")))]
DIGITS = {8: "%Y%m%d", 10: "epoch", 12: "%Y%m%d%H%M", 13: "epoch_ms", 14: "%Y%m%d%H%M%S"}
ISO_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?P<zone> ?(?:Z|UTC|[+-]\d{2}(?::?\d{2})?))?"
)
# How many times the evidence for one reading must outweigh that against it before the latter counts as slips.
OUTWEIGHS = 20


class Ambiguous(Exception):
    """Two readings are possible; the text says which values, as half a sentence."""


class Unreadable(Exception):
    """No reading is possible; the text says which values, as half a sentence."""


@dataclass(frozen=True)
class DateFormat:
    """`format` is a strptime format, "epoch", "epoch_ms" or None for ISO 8601; whether the values carry a zone."""

    format: str | None
    has_zone: bool = False


def detect_decimal(values: Iterable[str]) -> str | None:
    """The decimal sign of numbers such as 1.234,56 or 1,234.56 or 12,5; None where no value has a separator."""
    votes: Counter[str] = Counter()
    unclear = ""
    for value in _distinct(values):
        number = re.search(r"\d[\d.,]*|[.,]\d+", re.sub(r"(?<=\d)[\s'’](?=\d)", "", value))
        separators = re.findall(r"[.,]", number[0]) if number else []
        if number is None or not separators:
            continue
        last, others = separators[-1], set(separators[:-1])
        whole, _, fraction = number[0].rpartition(last)
        if others and others != {last}:
            votes[last] += 1
        elif others:
            votes["," if last == "." else "."] += 1
        elif len(fraction) == 3 and re.fullmatch(r"[1-9]\d{0,2}", whole):
            unclear = unclear or value
        elif fraction:
            votes[last] += 1
    if not votes:
        if unclear:
            raise Ambiguous(f"{unclear!r} may be in the thousands or have three decimals")
        return None
    (winner, count), *rest = votes.most_common()
    if rest and count < OUTWEIGHS * rest[0][1]:
        raise Ambiguous("both decimal points and decimal commas occur")
    return winner


def detect_date_format(values: Iterable[str]) -> DateFormat:
    """The one format that the most values have; ISO 8601 where there is no value."""
    texts = list(_distinct(values))
    if not texts:
        return DateFormat(None)
    counts: Counter[str | None] = Counter()
    zones = 0
    others = []
    for text in texts:
        iso = ISO_DATE.fullmatch(text)
        digits = DIGITS.get(len(text.split(".")[0])) if re.fullmatch(r"\d+(\.\d+)?", text) else None
        if iso:
            counts[None] += 1
            zones += iso["zone"] is not None
        elif digits and (digits.startswith("epoch") or _fits(text, digits)):
            counts[digits] += 1
        else:
            others.append(text)
    # The formats that any of some values have; only those are then tried on all.
    candidates = [one for one in DATE_FORMATS if any(_fits(text, one) for text in others[:: len(others) // 50 + 1])]
    for candidate in candidates:
        counts[candidate] = sum(_fits(text, candidate) for text in others)
    if not counts or not max(counts.values()):
        raise Unreadable(f"{texts[0]!r} is no date in a format known here")
    winner, count = counts.most_common(1)[0]
    _refuse_two_readings(winner, count, counts, others)
    return DateFormat(winner, zones > 0 if winner is None else "%z" in winner)


def _refuse_two_readings(winner: str | None, count: int, counts: Counter[str | None], texts: list[str]) -> None:
    """Day first and month first exclude each other: one must clearly win. (With dots, the day always comes first.)"""
    for other in counts:
        if winner is None or other is None or other == winner or _shape(winner) != _shape(other):
            continue
        only_winner = sum(_fits(text, winner) and not _fits(text, other) for text in texts)
        only_other = sum(_fits(text, other) and not _fits(text, winner) for text in texts)
        if only_winner == only_other == 0 and "." in winner:
            continue
        if only_winner < max(1, OUTWEIGHS * only_other):
            example = next(text for text in texts if _fits(text, winner))
            raise Ambiguous(f"{example!r} may be {winner} or {other}")


def _shape(date_format: str) -> str:
    return re.sub(r"%[dmyY]", "#", date_format)


def _fits(text: str, date_format: str) -> bool:
    try:
        parsed = datetime.strptime(text, date_format)  # noqa: DTZ007 -- only whether it can be read matters
    except ValueError:
        return False
    # %Y reads 24 as the year 24, %y reads the first half of 2024: neither is meant.
    return 1900 <= parsed.year < 2200


def _distinct(values: Iterable[str]) -> Iterator[str]:
    texts = dict.fromkeys(value.strip() for value in values if value and value.strip())
    return iter(list(texts)[:: len(texts) // VALUES_LOOKED_AT + 1])


def detect_encoding(sample: bytes) -> str:
    """The encoding of the beginning of a file, by its byte order mark, else UTF-8 if it is that, else a guess."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
    marks |= {codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_BE: "utf-16"}
    for mark, encoding in marks.items():
        if sample.startswith(mark):
            return encoding
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) > len(sample) // 4:  # text in Latin letters as UTF-16 has a zero in every second byte
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    guesses = charset_normalizer.from_bytes(sample[:ENCODING_BYTES_LOOKED_AT], cp_isolation=ENCODINGS)
    best = guesses.best()
    if best is None:
        raise Unreadable("its encoding cannot be told")
    # A few accents look much the same in the western and the central European page; the western is far more common.
    western = any(
        "cp1252" in guess.could_be_from_charset
        and guess.coherence >= best.coherence
        and guess.chaos <= best.chaos + CHAOS_TOLERANCE
        for guess in guesses
    )
    return "cp1252" if western else best.encoding


def detect_delimiter(text: str, needed: Iterable[str]) -> str:
    """The delimiter under which the first line holds the most of the needed columns, then the most columns at all."""
    wanted = set(needed)

    def score(delimiter: str) -> tuple[int, int]:
        try:
            names = header(text, delimiter)
        except csv.Error:  # over 128 kB: a quote opened and not closed, and only behind a delimiter does it open
            return 0, 2
        return len(wanted.intersection(names)), len(names)

    return max(DELIMITERS, key=score)


def header(text: str, delimiter: str) -> list[str]:
    """The column names in the first line, without the blanks around them."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [name.strip() for name in next(rows, [])]

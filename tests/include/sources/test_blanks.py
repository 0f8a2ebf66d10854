"""What single bytes tell of blanks is never less than what is there, and nulls are put where they belong."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.sources.blanks import blank, empty, may_begin_blank, may_end_blank, null_where

TEXTS = st.lists(st.none() | st.text(st.sampled_from(" \t\n\u00a0\u3000\u2028aZ0é中😀"), max_size=4), max_size=12)
KINDS = st.sampled_from([pa.string(), pa.large_string()])


@given(TEXTS, st.integers(0, 3), KINDS)
def test_no_blank_end_is_missed(texts: list[str | None], start: int, kind: pa.DataType) -> None:
    column = pa.array(texts, kind).slice(start)
    first, last = may_begin_blank(column), may_end_blank(column)
    known = [text or "" for text in column.to_pylist()]
    trimmed = pc.utf8_trim_whitespace(column).to_pylist()
    for text, after, may_begin, may_end in zip(known, trimmed, first, last, strict=True):
        assert (after or "") == text or may_begin or may_end
    if all(text.isascii() for text in known):
        assert first.tolist() == [text[:1].isspace() for text in known]
        assert last.tolist() == [text[-1:].isspace() for text in known]


@given(TEXTS, st.integers(0, 3), KINDS)
def test_blank_is_what_holds_nothing_but_blanks(texts: list[str | None], start: int, kind: pa.DataType) -> None:
    column = pa.array(texts, kind).slice(start)
    known = [text or "" for text in column.to_pylist()]
    assert blank(column).tolist() == [not text.strip() for text in known]
    assert empty(column).tolist() == [text == "" for text in known]


@given(TEXTS, st.integers(0, 3), KINDS, st.data())
def test_nulls_come_where_asked_and_stay_where_they_were(
    texts: list[str | None], start: int, kind: pa.DataType, data: st.DataObject
) -> None:
    column = pa.array(texts, kind).slice(start)
    mask = data.draw(st.lists(st.booleans(), min_size=len(column), max_size=len(column)))
    found = null_where(column, pa.array(mask, pa.bool_()).to_numpy(zero_copy_only=False))
    found.validate(full=True)
    assert found.to_pylist() == [None if gone else text for text, gone in zip(column.to_pylist(), mask, strict=True)]
    # The text is still there below a null, and must not come to light again.
    assert null_where(found, empty(found)).to_pylist() == [text or None for text in found.to_pylist()]
    assert blank(found).tolist() == [not (text or "").strip() for text in found.to_pylist()]


@pytest.mark.parametrize("texts", [[], [None], ["", ""]])
def test_columns_without_any_text(texts: list[str | None]) -> None:
    column = pa.array(texts, pa.string())
    assert blank(column).all()
    assert empty(column).all()
    assert not may_begin_blank(column).any()
    assert not may_end_blank(column).any()

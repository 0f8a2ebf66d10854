"""What single bytes tell of blanks is never less than what is there."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.sources.blanks import ends

TEXTS = st.lists(st.none() | st.text(st.sampled_from(" \t\n\u00a0\u3000\u2028aZ0é中😀"), max_size=4), max_size=12)


@given(TEXTS, st.integers(0, 3), st.sampled_from([pa.string(), pa.large_string()]))
def test_no_blank_end_is_missed(texts: list[str | None], start: int, kind: pa.DataType) -> None:
    column = pa.array(texts, kind).slice(start)
    empty, first, last = ends(column)
    known = [text or "" for text in column.to_pylist()]
    assert empty.tolist() == [text == "" for text in known]
    trimmed = pc.utf8_trim_whitespace(column).to_pylist()
    for text, after, may_begin, may_end in zip(known, trimmed, first, last, strict=True):
        assert (after or "") == text or may_begin or may_end
    if all(text.isascii() for text in known):
        assert first.tolist() == [text[:1].isspace() for text in known]
        assert last.tolist() == [text[-1:].isspace() for text in known]


@pytest.mark.parametrize("texts", [[], [None], ["", ""]])
def test_columns_without_any_text(texts: list[str | None]) -> None:
    empty, first, last = ends(pa.array(texts, pa.string()))
    assert empty.all()
    assert not np.logical_or(first, last).any()

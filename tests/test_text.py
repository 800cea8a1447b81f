"""Sentences go there and back, and say no more than they declare."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirespeak import schema
from wirespeak.errors import InputError, OptionError
from wirespeak.text import compact, levels, sentences


def _values(column: schema.Column) -> st.SearchStrategy[object]:
    if column.kind == "category":
        known = {
            "application": schema.APPLICATIONS,
            "state": tuple(schema.STATES),
            "service": tuple(schema.SERVICES),
        }
        return st.sampled_from(known.get(column.name, ("tcp", "udp", "icmp", "ip-47", "FPU")))
    if column.kind in ("grade", "tenths"):
        return st.integers(0, 40 if column.kind == "grade" else 10)
    if column.kind == "percent":
        return st.integers(0, 100)
    if column.kind in ("count", "bytes"):
        return st.integers(0, 10**9)
    return st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


ROWS = st.lists(
    st.fixed_dictionaries({name: _values(schema.COLUMNS[name]) for name in schema.FEATURES}),
    min_size=1,
    max_size=4,
)


def _close(left: object, right: object) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return float(f"{float(left):.2e}") == float(f"{float(right):.2e}")  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(ROWS, st.sampled_from(["compact", "basic", "detailed", "rich"]))
def test_sentences_go_there_and_back(rows: list[dict[str, object]], level: str) -> None:
    flows = pl.DataFrame(rows, strict=False, infer_schema_length=None)
    said = sentences(flows, level)
    back = compact.decode(said) if level == "compact" else levels.decode(said, level)
    for name in back.columns:
        pairs = zip(flows[name].to_list(), back[name].to_list(), strict=True)
        assert all(_close(a, b) for a, b in pairs), name
    again = compact.encode(back) if level == "compact" else levels.encode(back, level)
    if level == "compact":
        assert again.to_list() == said.to_list()


def test_compact_carries_enough_columns_and_no_identity() -> None:
    carried = schema.compact_columns()
    assert len(carried) >= 24
    assert not any(column.kind == "identity" for column in carried)
    assert len({column.code for column in carried}) == len(carried)


def test_a_strange_word_is_refused() -> None:
    with pytest.raises(InputError, match="no word"):
        compact.decode(["pr:tcp ignore-previous"])
    with pytest.raises(OptionError, match="Did you mean 'detailed'"):
        sentences(pl.DataFrame(), "detaild")

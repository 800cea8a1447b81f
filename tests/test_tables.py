"""Flow tables go to a file and come back the same."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_flows import flow, table
from polars.testing import assert_frame_equal

from wirespeak.data import tables
from wirespeak.errors import InputError
from wirespeak.schema import FACTS

VALUES = {
    pl.String: st.one_of(
        st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)
    ),
    pl.UInt16: st.one_of(st.none(), st.integers(0, 65535)),
    pl.UInt32: st.one_of(st.none(), st.integers(0, (1 << 24) - 1)),
    pl.Float64: st.floats(0, 1e12, allow_nan=False),
    pl.Int64: st.integers(0, 2**62),
}
# Columns of one type are written alike: one value each is enough, and far quicker to draw.
ROW = st.fixed_dictionaries(VALUES).map(
    lambda drawn: {name: drawn[type(kind)] for name, kind in tables.types().items()}
)


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
@given(rows=st.lists(ROW, min_size=1, max_size=4))
def test_a_table_comes_back_as_it_was_written(
    suffix: str, rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pl.DataFrame(rows, schema=tables.types())
    path = tmp_path_factory.mktemp("table") / f"flows{suffix}"
    tables.write(table, path)
    assert tables.read([path]).equals(table)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.csv", None, "no such file"),
        ("other.csv", "a,b\n1,2\n", "lacks"),
        ("broken.parquet", "not parquet", "cannot be read as a flow table"),
        ("broken.jsonl", "{", "cannot be read as a flow table"),
        ("notes.txt", "words", "not a flow table"),
    ],
)
def test_what_is_no_flow_table_is_refused_by_name(
    tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        tables.read([path])


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_first_packets_come_back_as_lists(tmp_path: Path, suffix: str) -> None:
    whole = table([flow(i, "10.0.0.1", "10.0.0.2") for i in range(3)])
    early = {
        "first_packets_bytes": [[40, 52], [28], [1500, 40, 9]],
        "first_packets_forward": [[True, False], [True], [True, True, False]],
        "first_packets_s": [[0.0, 0.25], [0.0], [0.0, 1e-9, 86400.5]],
    }
    whole = whole.select(pl.col(name).cast(kind) for name, kind in tables.types().items())
    whole = whole.with_columns(
        pl.Series(name, early[name], dtype=kind) for name, kind in tables.list_types().items()
    )
    path, plain = tmp_path / f"flows{suffix}", tmp_path / f"plain{suffix}"
    assert tables.write_pieces([whole[:1], whole[1:]], path) == 3
    assert_frame_equal(tables.read([path]), whole)
    tables.write(whole.drop(early, [fact.name for fact in FACTS]), plain)  # as earlier versions wrote them
    assert tables.read([plain, path])["first_packets_bytes"].null_count() == 3


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_pieces_become_one_table(tmp_path: Path, suffix: str) -> None:
    whole = table([flow(i, "10.0.0.1", "10.0.0.2") for i in range(7)])
    whole = whole.select(pl.col(name).cast(kind) for name, kind in tables.types().items())
    path = tmp_path / f"flows{suffix}"
    assert tables.write_pieces([whole[:3], whole[3:4], whole[4:]], path) == 7
    assert_frame_equal(tables.read([path]), whole)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]

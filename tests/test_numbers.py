"""Columns that share memory: nothing that somebody holds is written over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from wirespeak.flow import numbers, read_flows
from wirespeak.flow.context import surround
from wirespeak.flow.numbers import Kinds, Numbers

CAPTURE = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures" / "tiny" / "capture.pcap"

KINDS: Kinds = {"packets": pl.Int64, "seconds": pl.Float64, "bytes": pl.Int64}
MANY = 100_000  # rows whose memory is used again


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    numbers._free.clear()
    yield
    numbers._free.clear()


def _table(rows: int, first: int) -> pl.DataFrame:
    made = Numbers(KINDS, rows)
    made["packets"] = np.arange(first, first + rows)
    made["seconds"] = np.arange(rows) / 7 + first
    made["bytes"] = first
    return pl.DataFrame(list(made.series().values()))


@pytest.mark.parametrize("rows", [0, 1, 5, MANY])
def test_columns_are_what_was_put_into_them(rows: int) -> None:
    table = _table(rows, 3)
    assert table.schema == pl.Schema({"packets": pl.Int64, "seconds": pl.Float64, "bytes": pl.Int64})
    assert table["packets"].to_list() == list(range(3, 3 + rows))
    assert table["seconds"].to_list() == [i / 7 + 3 for i in range(rows)]
    assert table["bytes"].to_list() == [3] * rows


def test_columns_lie_where_they_say() -> None:
    made = Numbers(KINDS, 10)
    made["seconds"] = np.arange(10)
    assert made.address("packets") == made.start
    assert made.address("seconds") == made["seconds"].ctypes.data == made.start + 80


def test_memory_is_used_again_when_the_last_column_is_let_go() -> None:
    table = _table(MANY, 0)
    kept = table["seconds"]
    want = kept.to_list()
    del table
    gc.collect()
    others = [_table(MANY, 10 * i) for i in range(1, 6)]
    assert kept.to_list() == want
    assert [other["packets"][0] for other in others] == [10, 20, 30, 40, 50]
    assert not numbers._free
    del kept
    gc.collect()
    assert len(numbers._free) == 1
    again = _table(MANY, 99)
    assert not numbers._free
    assert again["packets"].to_list() == list(range(99, 99 + MANY))


def test_a_slice_of_a_column_holds_its_memory() -> None:
    part = _table(MANY, 5).select("packets").slice(10, 3)
    gc.collect()
    _table(MANY, 1_000_000)
    assert part["packets"].to_list() == [15, 16, 17]


def test_little_memory_is_kept_for_later() -> None:
    tables = [_table(MANY, i) for i in range(6)]
    del tables
    gc.collect()
    assert len(numbers._free) == numbers._KEPT


def test_every_number_of_a_table_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the memory held before."""
    clean = read_flows(CAPTURE).flows
    around = surround(clean)

    def full_of_rubbish(least: int) -> mmap:
        memory = mmap(-1, least)
        memory.write(b"\xa5" * least)
        return memory

    monkeypatch.setattr(numbers, "_LEAST", 0)
    monkeypatch.setattr(numbers, "_memory", full_of_rubbish)
    assert_frame_equal(read_flows(CAPTURE).flows, clean)
    assert_frame_equal(surround(clean), around)


def test_no_memory_is_said_so() -> None:
    with pytest.raises(MemoryError, match="fewer"):
        Numbers(KINDS, 1 << 55)

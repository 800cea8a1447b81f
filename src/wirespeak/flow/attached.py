"""What hangs on the meter's rows, as columns: what applications said, the first packets. It is there until the rows are let go."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak._native import texts
from wirespeak.schema import FACTS, FIRST_PACKETS

KINDS = {"text": pl.String(), "code": pl.Int64()}


def facts(attached: NDArray[np.uint64]) -> dict[str, pl.Series]:
    """Each fact of `schema.FACTS`, null where nothing of the kind was said. attached: pointers, one a row."""
    native, count = _native.library(), len(attached)
    known = native.wirespeak_facts_known(_native.address(attached), count)
    numbers = _native.facts()
    nothing = {name: pl.Series([None], dtype=kind).new_from_index(0, count) for name, kind in KINDS.items()}
    return {
        fact.name: texts.column("fact_texts", _native.address(attached), count, numbers[fact.name]).cast(
            KINDS[fact.kind]
        )
        if known >> numbers[fact.name] & 1
        else nothing[fact.kind]
        for fact in FACTS
    }


def first_packets(attached: NDArray[np.uint64], first_seen: NDArray[np.int64]) -> dict[str, pl.Series]:
    """The columns of `schema.FIRST_PACKETS`: lists, the packets in their order. first_seen: of each row."""
    native, where, rows = _native.library(), _native.address(attached), len(attached)
    counts = np.empty(rows, np.uint32)
    total = native.wirespeak_early_counts(where, rows, _native.address(counts))
    sizes, forward, times = np.empty(total, np.int64), np.empty(total, np.bool_), np.empty(total, np.int64)
    native.wirespeak_early_packets(where, rows, *map(_native.address, (sizes, forward, times)))
    row = np.repeat(np.arange(rows), counts)
    # A clock that went back counts as no time, as for gaps.
    since = np.maximum(times - first_seen[row], 0) / 1e9
    named: dict[str, NDArray[Any]] = dict(
        zip((column.name for column in FIRST_PACKETS), (sizes, forward, since), strict=True)
    )
    lists = pl.DataFrame({"row": row, **named}).group_by("row", maintain_order=True).agg(pl.all())
    return {name: lists[name] for name in named}

"""Columns of numbers side by side in one piece of memory, which becomes part of a table without being copied."""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

_CELL, _LEAST, _MOST = 8, 1 << 20, 1 << 26
_KEPT = 2
"""Bytes: of a number; of the least and of the most memory that is used again; how many pieces of it wait."""

Kinds = Mapping[str, type[pl.Int64] | type[pl.Float64]]

_free: deque[mmap.mmap] = deque(maxlen=_KEPT)
"""Memory that no table uses any more: the next one finds it there, instead of pages that the system must clear."""


class Numbers:
    """Columns of so many rows, Int64 or Float64; at first of any value.

    kinds: the type of each column. The series that `series` gives, and what is computed from `self[name]`, share one piece of memory; it
    is used again when the last of them is let go.
    """

    def __init__(self, kinds: Kinds, rows: int) -> None:
        self._kinds, self._rows = kinds, rows
        self._index = {name: index for index, name in enumerate(kinds)}
        cells = len(kinds) * rows
        whole = _lasting(cells) if cells * _CELL >= _LEAST else np.empty(cells, np.int64)
        self.start = int(whole.ctypes.data)
        self._flat: dict[Any, NDArray[Any]] = {pl.Int64: whole, pl.Float64: whole.view(np.float64)}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        start = self._index[name] * self._rows
        return self._flat[self._kinds[name]][start : start + self._rows]

    def __setitem__(self, name: str, values: Any) -> None:
        self[name][...] = values

    def address(self, name: str) -> int:
        """Where a column begins; the next one follows it."""
        return self.start + self._index[name] * self._rows * _CELL

    def series(self) -> dict[str, pl.Series]:
        """All columns as they are."""
        flat = {kind: pl.Series(values) for kind, values in self._flat.items()}
        return {
            name: flat[kind].slice(index * self._rows, self._rows).alias(name)
            for index, (name, kind) in enumerate(self._kinds.items())
        }


def _lasting(cells: int) -> NDArray[np.int64]:
    memory = _memory(cells * _CELL)
    whole = np.frombuffer(memory, np.int64, cells)
    weakref.finalize(whole, _keep, memory).atexit = False
    return whole


def _memory(least: int) -> mmap.mmap:
    step = 1 << least.bit_length() - 3  # pages that are never written cost nothing
    size = -(-least // step) * step
    for _ in range(_KEPT):
        with suppress(IndexError):  # other threads take from it too
            memory = _free.popleft()
            if len(memory) == size:
                return memory
            _free.append(memory)
    try:
        return mmap.mmap(-1, size)
    except OSError:
        raise MemoryError("no memory for a table of flows; work on fewer at a time") from None


def _keep(memory: mmap.mmap) -> None:
    if len(memory) <= _MOST:
        _free.append(memory)

"""The meter's rows, as C lays them out, taken apart into columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.flow.numbers import Kinds, Numbers
from wirespeak.schema import COLUMNS, KEYS, WINDOWS

# As the enum in native.h.
QUANTITIES = ("flows", "ports", "hosts", "unanswered", "incomplete", "resets", "errors")
_FLOATS = ("seconds", "bits", "number")


@dataclass(frozen=True)
class Rows:
    """Rows taken apart. numbers: the fields that are columns of a table as they are, with room for the other numbers of the table;
    others: the other fields (`FLOW_FIELDS` in native.h), the rows last where a field has several dimensions."""

    numbers: Numbers
    others: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.others[name] if name in self.others else self.numbers[name]


def take_apart(rows: NDArray[np.void], order: NDArray[np.int64]) -> Rows:
    """Rows of `flows` in the order given. Raises MemoryError."""
    count, plan = len(order), _plan()
    numbers = Numbers(_kinds(), count)
    others = {name: np.empty((*shape, count), cell) for name, (shape, cell) in plan.others.items()}
    starts = [numbers.start, *map(_native.address, others.values())]
    columns = np.empty((len(plan.cells), 3), np.uint64)
    offset, size, array, index = plan.cells.T
    columns[:, 0], columns[:, 1] = offset, size
    columns[:, 2] = np.array(starts, np.uint64)[array] + index * size * count
    _native.library().wirespeak_take_apart(
        _native.address(rows), rows.dtype.itemsize, _native.address(order), count, _native.address(columns), len(columns)
    )  # fmt: skip
    return Rows(numbers, others)


@cache
def context_kinds() -> Kinds:
    """The columns that `wirespeak_context_columns` writes, in its order; those of `schema.CONTEXT` are among them."""
    return {
        f"{key}_{quantity}_{window}{coarse}": pl.Int64
        for key, window, quantity in product(KEYS, WINDOWS, QUANTITIES)
        for coarse in ("", "_tenths" if quantity in QUANTITIES[3:] else "_grade")
    }


@cache
def _kinds() -> Kinds:
    fields = {name: _kind(cell) for name, cell in _fields().items() if name in COLUMNS and _kind(cell)}
    context = context_kinds()
    found = {
        name: pl.Float64 if column.kind in _FLOATS else pl.Int64
        for name, column in COLUMNS.items()
        if column.is_feature and column.kind != "category" and name not in context
    }
    return {**fields, **found, **context}


def _kind(cell: np.dtype[Any]) -> Any:
    return {"i": pl.Int64, "f": pl.Float64}.get(cell.kind) if cell.itemsize == 8 else None


@cache
def _fields() -> dict[str, np.dtype[Any]]:
    kind = _native.row_type("flows")
    assert kind.fields is not None
    return {name: field[0] for name, field in kind.fields.items()}


@dataclass(frozen=True)
class _Plan:
    """cells: of each cell of a row its offset, its size, the array that takes it (0: the numbers) and which column of that it is;
    others: the shape and the type of the other arrays."""

    cells: NDArray[np.uint64]
    others: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


@cache
def _plan() -> _Plan:
    kind, kinds = _native.row_type("flows"), [*_kinds()]
    assert kind.fields is not None
    cells: list[tuple[int, int, int, int]] = []
    others: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for name, (cell, offset, *_) in kind.fields.items():
        if name in kinds:
            cells.append((offset, cell.itemsize, 0, kinds.index(name)))
            continue
        shape = cell.shape if len(cell.shape) > 1 else ()
        item = cell.base if shape else cell
        others[name] = shape, item
        cells += [
            (offset + i * item.itemsize, item.itemsize, len(others), i) for i in range(int(np.prod(shape)))
        ]
    return _Plan(np.array(cells, np.uint64), others)

"""Augmented twins: rows made from others by moving every number a little.

Honest traffic has near neighbours too, but those agree exactly in most columns, or lie as thick at twice the
distance as the dimensions ask. A twin differs in nearly every number that is not zero, by a few percent (or a
fraction of a standard deviation) in all of them, and is alone there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import View
from wirespeak.data.fingerprint import fingerprints, mixed

SAMPLE = 300
PERCENT, DEVIATIONS = 0.105, 0.2
"""Two rows each moved by 5 % are 10.5 % apart; two moved by a twentieth of a deviation rarely more than a fifth."""
_ENOUGH = 100  # sampled rows without a single twin
_CROWD = 20
_MOVED = 0.7
_LEAST_NUMBERS = 4
_LEAST_ROWS = 40


@dataclass(frozen=True)
class _Space:
    """Rows ready for the search of neighbours.

    columns: the numbers that may have been moved, contiguous, the one that tells rows apart best first.
    fixed: what must be equal between twins. order: rows by `fixed`, then by the first column.
    reach: the largest gap; of the value itself where `spread` is None, else of each column's spread.
    """

    columns: tuple[NDArray[np.float32], ...]
    fixed: NDArray[np.uint64]
    order: NDArray[np.int64]
    reach: float
    spread: tuple[float, ...] | None

    def steps(self, mine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest gap from a row in each column."""
        return self.reach * (np.abs(mine) if self.spread is None else np.array(self.spread))


def twins(view: View) -> Iterator[Finding]:
    """Pairs of rows that one made the other, across a split where there is one."""
    names = [
        name
        for name in view.dataset.features()
        if view.table[name].dtype.is_numeric() and _varied(view.table[name])
    ]
    if len(names) < _LEAST_NUMBERS or view.rows < _LEAST_ROWS:
        return
    rng = np.random.default_rng(1)
    asked = np.arange(view.rows) if view.parts is None else np.flatnonzero(view.parts == 1)
    asked = rng.choice(asked, min(SAMPLE, len(asked)), replace=False)
    for reach, relative, measure in ((PERCENT, True, "percent"), (DEVIATIONS, False, "standard deviations")):
        share, pair = _search(_space(view, names, reach, relative=relative), asked, view.parts)
        if share < 0.03:
            continue
        kind, whose, part = (
            ("split.twins", "a training row", "test ")
            if view.parts is not None
            else ("twins", "another row", "")
        )
        least = f"{reach:.0%}" if relative else f"{reach} standard deviations"
        yield Finding(
            kind, grade(share, warning=0.03, serious=0.1),
            f"About {share:.0%} of the {part}rows look like augmented twins of {whose}: they differ from it in nearly every number by at most {least}, and nothing else is as near.",
            (), {"share": round(share, 4), "sampled": len(asked), "reach": reach, "measure": measure},
            examples=view.examples(np.array(pair), names[:6]), remedy="--by recording",
        )  # fmt: skip
        return


def _varied(column: pl.Series) -> bool:
    return column.gather_every(max(1, len(column) // 20_000)).n_unique() > 20


def _space(view: View, names: list[str], reach: float, *, relative: bool) -> _Space:
    columns = []
    for name in names:
        values = view.table[name].cast(pl.Float32).fill_null(0).to_numpy()
        columns.append(np.nan_to_num(values, posinf=3e38, neginf=-3e38))
    fixed = fingerprints(view.table, [name for name in view.dataset.features() if name not in names])
    if relative:
        # A percentage leaves zeros and signs alone.
        for place, values in enumerate(columns):
            fixed = fixed + mixed(np.sign(values).astype(np.int64).view(np.uint64), place + 1)
    spread = [float(values[:: max(1, view.rows // 50_000)].astype(np.float64).std()) for values in columns]
    sharpest = np.argsort([_within(values, reach, None if relative else s) for values, s in zip(columns, spread, strict=True)], kind="stable")  # fmt: skip
    columns = [columns[place] for place in sharpest]
    order = np.lexsort((columns[0], fixed))
    return _Space(
        tuple(columns), fixed, order, reach, None if relative else tuple(spread[place] for place in sharpest)
    )


def _within(values: NDArray[np.float32], reach: float, spread: float | None) -> float:
    """How many rows of a sample lie within reach of a row, on average."""
    column = np.sort(values[:: max(1, len(values) // 2000)].astype(np.float64))
    step = 2 * reach * (np.abs(column) if spread is None else spread)
    return float(
        (np.searchsorted(column, column + step, "right") - np.searchsorted(column, column - step)).mean()
    )


def _search(
    space: _Space, asked: NDArray[np.int64], parts: NDArray[np.int8] | None
) -> tuple[float, tuple[int, int]]:
    """The share of the rows asked that have a twin, and one pair; 0 where the neighbours are no twins."""
    fixed, lead = space.fixed[space.order], space.columns[0][space.order]
    inner, shell, have = 0, 0, 0
    pair = (0, 0)
    for count, row in enumerate(asked):
        if count == _ENOUGH and not have:
            return 0.0, pair
        start, end = (
            np.searchsorted(fixed, space.fixed[row], "left"),
            np.searchsorted(fixed, space.fixed[row], "right"),
        )
        twin, further = _neighbours(space, int(row), int(start), int(end), lead, parts)
        if 0 < len(twin) <= _CROWD:
            have += 1
            inner += len(twin)
            shell += min(further, _CROWD)
            pair = (int(row), int(twin[0]))
    # In d dimensions the shell up to twice the distance holds 2**d - 1 times what the inside holds.
    return (have / len(asked), pair) if shell <= 0.5 * inner and have else (0.0, pair)


def _neighbours(
    space: _Space, row: int, start: int, end: int, lead: NDArray[np.float32], parts: NDArray[np.int8] | None
) -> tuple[NDArray[np.int64], int]:
    """Rows within reach of a row in every column that differ in most of them, and how many up to twice as far."""
    mine = np.array([values[row] for values in space.columns], np.float64)
    said = mine != 0
    if said.sum() < _LEAST_NUMBERS:
        return space.order[:0], 0
    step = space.steps(mine)
    left, right = start + np.searchsorted(lead[start:end], [mine[0] - 2.2 * step[0], mine[0] + 2.2 * step[0]])
    rows = space.order[left:right]
    for values, middle, width in zip(space.columns[1:], mine[1:], step[1:], strict=True):
        rows = rows[np.abs(values[rows] - np.float32(middle)) <= np.float32(2.2 * width)]
        if len(rows) <= 1:
            break
    rows = rows[rows != row]
    if parts is not None:
        rows = rows[parts[rows] == 0]
    if not len(rows):
        return rows, 0
    gap = np.abs(np.column_stack([values[rows] for values in space.columns]).astype(np.float64) - mine)
    moved = (gap > 1e-6 * np.abs(mine))[:, said].sum(axis=1) >= _MOVED * said.sum()
    near = (gap <= step * 1.0001).all(axis=1)
    return rows[moved & near], int((moved & ~near & (gap <= 2.2 * step).all(axis=1)).sum())

"""Augmented twins: rows made from others by moving every number a little.

They are looked for in two ways. Traffic repeats itself column by column: counts, sizes and rates come again in
other rows, even as z-scores. A row in which next to nothing occurs anywhere else was moved, and where another row
lies within a few percent in every column, it was moved from there. Where numbers hardly repeat, a twin is told by
its place: it differs from the other row in nearly every number, by a few percent (or a fraction of a standard
deviation) in all of them, and has no further neighbours, though honest data have more the further one looks.
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
_ENOUGH = 100  # sampled rows without a single neighbour
_CHANCE = 4  # rows
_LITTER = 3  # twins of one row
_MOVED = 0.25  # share of a row's numbers; rounding leaves small ones where they were
_STEPS = (1.0, 0.5, 0.25, 0.1)  # of the reach
_BEYOND = 2.2
_LEAST_NUMBERS = 4
_LEAST_ROWS = 40
_RARE, _OFTEN = 0.02, 0.12
_FEW = 2  # a number in so many rows or fewer does not come again
_REPEATS = 0.15  # share of a column's numbers that come again, for the others to be odd
_ODD = 0.8


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
    asked = np.ones(view.rows, bool) if view.parts is None else view.parts == 1
    moved = _moved(view, names)
    fixed = fingerprints(view.table, [name for name in view.dataset.features() if name not in names])
    # A column that varies in moved rows alone was constant before.
    names = [
        name for name in names if moved.all() or view.table[name].filter(pl.Series(~moved)).n_unique() > 1
    ]
    if len(names) < _LEAST_NUMBERS:
        return
    rng = np.random.default_rng(1)
    for reach, relative in ((PERCENT, True), (DEVIATIONS, False)):
        space = _space(view, names, fixed, reach, relative=relative)
        share, pair = _from_elsewhere(space, moved, asked, view.parts, rng)
        if share < _RARE:
            share, pair, reach = _alone(space, _some(np.flatnonzero(asked), rng), view.parts)
        if share >= _RARE:
            yield _finding(view, share, pair, names, reach, relative=relative)
            return


def _finding(
    view: View, share: float, pair: tuple[int, int], names: list[str], reach: float, *, relative: bool
) -> Finding:
    kind, whose, part = (
        ("twins", "another row", "") if view.parts is None else ("split.twins", "a training row", "test ")
    )
    least = f"{reach:.0%}" if relative else f"{reach} standard deviations"
    return Finding(
        kind, grade(share, warning=_RARE, serious=_OFTEN),
        f"About {share:.0%} of the {part}rows look like augmented twins of {whose}: nearly every number differs from it, by at most {least}.",
        (), {"share": round(share, 4), "reach": reach, "measure": "percent" if relative else "standard deviations"},
        examples=view.examples(np.array(pair), names[:6]), remedy="--by recording",
    )  # fmt: skip


def _some(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(rows, min(SAMPLE, len(rows)), replace=False)


def _moved(view: View, names: list[str]) -> NDArray[np.bool_]:
    """Rows whose numbers occur in hardly another row, in columns whose numbers do come again."""
    said, odd = np.zeros(view.rows, np.int16), np.zeros(view.rows, np.int16)
    size = 1 << max(10, int(4 * view.rows).bit_length())
    for name in names:
        values = view.number(name)
        place = (mixed(values.view(np.uint64)) & np.uint64(size - 1)).astype(np.int64)
        often = np.bincount(place, minlength=size)[place] > _FEW
        filled = (values != 0) & ~np.isnan(values)
        if filled.sum() >= _LEAST_ROWS and often[filled].mean() >= _REPEATS:
            said += filled
            odd += filled & ~often
    return (said >= _LEAST_NUMBERS) & (odd >= _ODD * said)


def _from_elsewhere(
    space: _Space, moved: NDArray[np.bool_], asked: NDArray[np.bool_], parts: NDArray[np.int8] | None, rng: np.random.Generator,
) -> tuple[float, tuple[int, int]]:  # fmt: skip
    """The share of the rows asked that were moved and have a row near that they may be moved from, and one pair."""
    # Either of a pair may be the moved one.
    pool = moved if parts is None or (moved & asked).sum() >= moved.sum() / 2 else moved & ~asked
    if pool.sum() < max(_LEAST_NUMBERS, 0.005 * asked.sum()):
        return 0.0, (0, 0)
    rows = _some(np.flatnonzero(pool), rng)
    among = None if parts is None else np.equal(parts, 0 if asked[rows[0]] else 1)
    fixed, lead = space.fixed[space.order], space.columns[0][space.order]
    pairs = []
    for row in rows:
        near, gap = _neighbours(space, int(row), fixed, lead, among)
        if (gap <= 1.0001).any():
            pairs.append((int(row), int(near[gap.argmin()])))
    part = len(pairs) / len(rows)
    return (float(pool.sum() / asked.sum()) * part, pairs[0]) if part >= 0.2 else (0.0, (0, 0))


def _varied(column: pl.Series) -> bool:
    return column.gather_every(max(1, len(column) // 20_000)).n_unique() > 20


def _space(
    view: View, names: list[str], fixed: NDArray[np.uint64], reach: float, *, relative: bool
) -> _Space:
    columns = []
    for name in names:
        values = view.table[name].cast(pl.Float32).fill_null(0).to_numpy()
        columns.append(np.nan_to_num(values, posinf=3e38, neginf=-3e38))
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


def _alone(
    space: _Space, asked: NDArray[np.int64], parts: NDArray[np.int8] | None
) -> tuple[float, tuple[int, int], float]:
    """The share of the rows asked that have a twin, one pair, and its reach; 0 where the neighbours are no twins."""
    fixed, lead = space.fixed[space.order], space.columns[0][space.order]
    among = None if parts is None else np.equal(parts, 0)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for count, row in enumerate(asked):
        if count == _ENOUGH and not any(len(gap) for _, gap in found):
            break
        found.append(_neighbours(space, int(row), fixed, lead, among))
    best: tuple[float, tuple[int, int], float] = (0.0, (0, 0), space.reach)
    for step in _STEPS:
        inner = np.array([(gap <= step).sum() for _, gap in found])
        whole = np.array([(gap <= _BEYOND * step).sum() for _, gap in found])
        twinned = (inner > 0) & (inner <= _LITTER) & (whole == inner)
        share = float(twinned.sum() / len(asked))
        # In d dimensions the shell around the inside holds 2.2**d - 1 times as much: honest data fill it first.
        if share > best[0] and twinned.sum() > 2 * (_CHANCE + ((inner == 0) & (whole > 0)).sum()):
            one = int(twinned.argmax())
            rows, gap = found[one]
            best = share, (int(asked[one]), int(rows[gap.argmin()])), step * space.reach
    return best


def _neighbours(
    space: _Space,
    row: int,
    fixed: NDArray[np.uint64],
    lead: NDArray[np.float32],
    among: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that differ from a row, but in no number by much more than the reach, and by how many reaches at most."""
    mine = np.array([values[row] for values in space.columns], np.float64)
    said = mine != 0
    nothing = space.order[:0], np.zeros(0)
    if said.sum() < _LEAST_NUMBERS:
        return nothing
    step = space.steps(mine)
    start, end = (int(np.searchsorted(fixed, space.fixed[row], side)) for side in ("left", "right"))
    left, right = start + np.searchsorted(
        lead[start:end], [mine[0] - _BEYOND * step[0], mine[0] + _BEYOND * step[0]]
    )
    rows = space.order[left:right]
    for values, middle, width in zip(space.columns[1:], mine[1:], step[1:], strict=True):
        rows = rows[np.abs(values[rows] - np.float32(middle)) <= np.float32(_BEYOND * width)]
        if len(rows) <= 1:
            break
    rows = rows[rows != row]
    if among is not None:
        rows = rows[among[rows]]
    if not len(rows):
        return nothing
    gap = np.abs(np.column_stack([values[rows] for values in space.columns]).astype(np.float64) - mine)
    differs = gap > 1e-6 * np.abs(mine)
    kept = differs[:, said].sum(axis=1) >= _MOVED * said.sum()
    reaches = np.where(differs, gap / np.maximum(step, 1e-300), 0.0).max(axis=1)
    return rows[kept], reaches[kept]

"""Intervals for rows that come in groups: rows of one capture, one flow or one set of duplicates are not
independent, and an interval that takes them as such is too narrow.

Shares get Wilson's interval (1927) at the effective number of rows, which is n divided by the design effect
of the groups (Korn and Graubard 1998). Everything else gets percentiles of a bootstrap that draws whole
groups (Efron and Tibshirani 1993): a statistic is a function of how often each row counts, and sees many
draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.evaluate.metrics import wilson
from wirespeak.records import Score

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From how often each row counts, [draws, rows], to numbers, [draws, numbers]. NaN where undefined."""

ROUNDS = 200
_CELLS = 500_000  # of a block of draws: 4 MB, which caches hold


def numbered(groups: Sequence[Any] | NDArray[Any] | None, rows: int) -> NDArray[np.int64]:
    """The groups as numbers from 0. None: every row is a group of its own."""
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64).ravel()


def resample(
    statistics: Sequence[Statistic], groups: NDArray[np.int64], *, rounds: int = ROUNDS, seed: int = 0
) -> list[Floats]:
    """Each statistic over `rounds` draws of whole groups, [rounds, numbers]. All see the same draws."""
    found: list[list[Floats]] = [[] for _ in statistics]
    for weights in _draws(groups, rounds=rounds, seed=seed):
        for values, statistic in zip(found, statistics, strict=True):
            values.append(statistic(weights))
    return [np.concatenate(values) for values in found]


def once(statistic: Statistic, rows: int) -> Floats:
    """The statistic when each row counts once."""
    return statistic(np.ones((1, rows)))[0]


def ends(values: Floats) -> tuple[float, float] | tuple[None, None]:
    """The middle 95 % of bootstrap values; nothing where they are undefined or all came of one group."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def share(
    name: str,
    hit: NDArray[np.bool_],
    of: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    seed: int | None = None,
) -> Score | None:
    """The share of the rows `of` that are `hit`, or None where there is no such row. groups: as `numbered`."""
    n = int(of.sum())
    if not n:
        return None
    per_group = np.bincount(groups[of]).astype(np.float64)
    hits = np.bincount(groups[of], hit[of]).astype(np.float64)
    value = float(hits.sum()) / n
    some = per_group > 0
    effective = _effective(hits[some], per_group[some])
    return Score(name, value, n, *wilson(value * effective, effective), seed)


def _effective(hits: Floats, rows: Floats) -> float:
    """How many independent rows say as much about a share as these groups. hits, rows: of each group."""
    groups, n = len(rows), int(rows.sum())
    p = float(hits.sum()) / n
    if groups == n:
        return float(n)
    if groups == 1 or p in (0.0, 1.0):  # no spread to measure: a group counts as one row
        return float(groups)
    variance = groups / (groups - 1) * float(((hits - p * rows) ** 2).sum()) / n**2
    return n / max(1.0, variance / (p * (1 - p) / n))


def _draws(groups: NDArray[np.int64], *, rounds: int, seed: int) -> Iterator[Floats]:
    """How often each row counts when as many groups are drawn, with replacement, as there are: blocks of draws."""
    rng = np.random.default_rng(seed)
    number = int(groups.max()) + 1
    block = max(1, _CELLS // max(1, len(groups)))
    for start in range(0, rounds, block):
        counts = [
            np.bincount(rng.integers(0, number, number), minlength=number)
            for _ in range(min(block, rounds - start))
        ]
        yield np.stack(counts).astype(np.float64)[:, groups]

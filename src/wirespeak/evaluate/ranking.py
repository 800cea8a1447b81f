"""What a ranking of rows by score is worth: areas under curves, and the curves themselves.

Rows of equal score stand or fall together, so a threshold lies only between different scores. The ROC area is
then the share of pairs in the right order, ties counting half (Hanley and McNeil 1982); the area under
precision and recall is average precision, the sum of precision times the step of recall (no interpolation,
which flatters: Davis and Goadrich 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.evaluate.intervals import Floats, Statistic

POINTS = 200


@dataclass(frozen=True)
class Ranked:
    """Rows by falling score. starts: the places where a step begins: rows that stand or fall together."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    positive: Floats

    def tallies(self, weights: Floats) -> tuple[Floats, Floats]:
        """Positives and negatives down to the end of each step, [draws, steps]. weights: [draws, rows]."""
        drawn = np.take(weights, self.order, axis=1)
        everything = np.cumsum(np.add.reduceat(drawn, self.starts, axis=1), axis=1)
        drawn *= self.positive
        hits = np.cumsum(np.add.reduceat(drawn, self.starts, axis=1), axis=1)
        return hits, everything - hits


def ranked(scores: Floats, positive: NDArray[np.bool_], *, whole: bool = True) -> Ranked:
    """Sort once, count often. A score of NaN is no answer: it takes the worst place for what the row is.

    whole: keep every step. Otherwise neighbouring steps that hold no positive are one: no area changes by
    that, and there are at most twice as many steps as positives.
    """
    scores = np.where(np.isnan(scores), np.where(positive, -np.inf, np.inf), scores)
    order = np.argsort(-scores, kind="stable")
    falling, real = scores[order], positive[order].astype(np.float64)
    starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))
    if not whole:
        some = np.add.reduceat(real, starts) > 0
        starts = starts[some | np.append(True, some[:-1])]
    return Ranked(order, starts, real)


def ranking(scores: Floats, positive: NDArray[np.bool_], *, recall: float = 0.95) -> Statistic:
    """Three numbers: ROC area, average precision, false-alarm rate where `recall` is first reached."""
    table = ranked(scores, positive, whole=False)

    def measure(weights: Floats) -> Floats:
        hits, alarms = table.tallies(weights)
        real, other = hits[:, -1:], alarms[:, -1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            found, false = hits / real, alarms / other
            step = np.diff(found, axis=1, prepend=0)
            roc = 1 - (step * (false - np.diff(false, axis=1, prepend=0) / 2)).sum(axis=1)
            precision = np.nan_to_num(hits / (hits + alarms))
            average = (precision * step).sum(axis=1)
        place = np.argmax(found >= recall - 1e-12, axis=1)
        rate = np.take_along_axis(false, place[:, None], axis=1)[:, 0]
        values = np.stack([roc, average, rate], axis=1)
        values[(real[:, 0] == 0) | (other[:, 0] == 0)] = np.nan
        return values

    return measure


def curves(scores: Floats, positive: NDArray[np.bool_]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(false_alarm_rate, recall) from 0 to 1, and (recall, precision), of at most about `POINTS` points each."""
    hits, alarms = ranked(scores, positive, whole=False).tallies(np.ones((1, len(scores))))
    hits, alarms = hits[0], alarms[0]
    recall, false = hits / max(1.0, hits[-1]), alarms / max(1.0, alarms[-1])
    kept = spread(recall + false)
    roc = pl.DataFrame(
        {"false_alarm_rate": np.append(0.0, false[kept]), "recall": np.append(0.0, recall[kept])}
    )
    kept = spread(recall)
    precision = hits[kept] / np.maximum(1.0, hits[kept] + alarms[kept])
    # The first step rises from nothing at the precision it ends with.
    pr = {"recall": np.append(0.0, recall[kept]), "precision": np.append(precision[0], precision)}
    return roc, pl.DataFrame(pr)


def spread(along: Floats, points: int = POINTS) -> NDArray[np.int64]:
    """Places of points about evenly spread along a rising number, with the first and the last."""
    if len(along) <= points:
        return np.arange(len(along))
    wanted = np.linspace(along[0], along[-1], points)
    places: NDArray[np.int64] = np.unique(np.append(np.searchsorted(along, wanted), len(along) - 1))
    return places


def mean_of(statistics: Sequence[Statistic], *, rows: int | None = None) -> Statistic:
    """The mean of several statistics, leaving out those undefined in a draw.

    rows: how many there are, where one that is undefined in a draw is to count as it does in the whole instead.
    """
    usual = np.nan if rows is None else np.stack([each(np.ones((1, rows))) for each in statistics])

    def measure(weights: Floats) -> Floats:
        values = np.stack([statistic(weights) for statistic in statistics])
        values = np.where(np.isfinite(values), values, usual)
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)

    return measure


def among(statistic: Statistic, rows: NDArray[np.int64]) -> Statistic:
    """A statistic of these rows alone."""
    return lambda weights: statistic(np.take(weights, rows, axis=1))

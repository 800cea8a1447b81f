"""What a detector is worth when it may keep silent: risk against coverage, and the attacks nobody showed it.

Risk against coverage orders rows by confidence and asks how wrong the surest part is (El-Yaniv and Wiener
2010; the area is that of Geifman and El-Yaniv 2017, with ties as one step). The threshold for unseen attacks
is a rank among normal rows kept apart from what is judged, so that under exchangeability the promised
false-alarm rate holds for any number of rows (conformal rank, Vovk et al. 2005).
"""

from __future__ import annotations

from math import ceil, inf

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.evaluate.intervals import Floats, Statistic
from wirespeak.evaluate.ranking import POINTS, ranked, spread

BINS = 15


def threshold(normal_scores: NDArray[np.floating], *, false_alarms: float = 0.05) -> float:
    """The score above which a row is an alarm, so that at most this share of normal rows raises one.

    normal_scores: how hostile normal rows of training or validation look, never rows that are judged. Too few
    rows to promise the rate give infinity: no alarm at all.

    >>> threshold(np.arange(100) / 100, false_alarms=0.05)
    0.95
    """
    known = np.sort(normal_scores[~np.isnan(normal_scores)].astype(np.float64))
    rank = ceil((len(known) + 1) * (1 - false_alarms) - 1e-9)
    return float(known[rank - 1]) if 0 < rank <= len(known) else inf


def risk(confidence: Floats, right: NDArray[np.bool_]) -> Statistic:
    """One number: the mean risk over all coverages. A confidence of NaN is no answer, the least sure and wrong."""
    table = ranked(np.where(np.isnan(confidence), -inf, confidence), ~right)

    def measure(weights: Floats) -> Floats:
        wrong, good = table.tallies(weights)
        covered = wrong + good
        step = np.diff(covered, axis=1, prepend=0)
        values = (wrong / np.maximum(covered, 1e-12) * step).sum(axis=1) / covered[:, -1]
        return np.asarray(values[:, None])

    return measure


def risk_curve(confidence: Floats, right: NDArray[np.bool_]) -> pl.DataFrame:
    """coverage (share of rows answered), risk (share of these that are wrong), of at most about 200 points."""
    table = ranked(np.where(np.isnan(confidence), -inf, confidence), ~right)
    wrong, good = (tally[0] for tally in table.tallies(np.ones((1, len(right)))))
    kept = spread(wrong + good, POINTS)
    covered = (wrong + good)[kept]
    return pl.DataFrame({"coverage": covered / len(right), "risk": wrong[kept] / covered})


def calibration(confidence: Floats, right: NDArray[np.bool_], *, bins: int = BINS) -> Statistic:
    """One number: expected calibration error over equal-width bins (Guo et al. 2017) of the rows answered."""
    known = np.flatnonzero(~np.isnan(confidence))
    place = np.minimum((confidence[known] * bins).astype(int), bins - 1)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    gap = (confidence[known] - right[known])[order]
    rows = known[order]

    def measure(weights: Floats) -> Floats:
        if not len(rows):
            return np.full((len(weights), 1), np.nan)
        drawn = weights[:, rows]
        whole = np.maximum(drawn.sum(axis=1), 1e-12)
        gaps = np.abs(np.add.reduceat(drawn * gap, starts, axis=1)).sum(axis=1)
        return np.asarray((gaps / whole)[:, None])

    return measure


def calibration_curve(confidence: Floats, right: NDArray[np.bool_], *, bins: int = BINS) -> pl.DataFrame:
    """confidence, accuracy and n of each bin that has rows."""
    known = ~np.isnan(confidence)
    place = np.minimum((confidence[known] * bins).astype(int), bins - 1)
    n = np.bincount(place, minlength=bins)
    some = n > 0
    sure, good = (
        np.bincount(place, column, bins)[some] / n[some] for column in (confidence[known], right[known])
    )
    return pl.DataFrame({"confidence": sure, "accuracy": good, "n": n[some]})

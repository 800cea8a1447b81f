"""Numbers about verdicts: agreement, calibration, intervals. Labels are strings; None is a wrong answer.

Definitions: macro-F1 is the mean of the per-label F1 over the labels that occur in the truth; expected
calibration error is that of Guo et al. (2017) with equal-width bins; intervals are percentile bootstraps over
groups (Efron and Tibshirani 1993), or Wilson's for a share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.records import Score

Labels = Sequence[str | None]


def per_label(truth: Labels, answers: Labels, weights: Sequence[float] | None = None) -> pl.DataFrame:
    """Precision, recall, F1 and support of each label in the truth. weights: how much each row counts."""
    labels = sorted({str(label) for label in truth})
    t, a = np.array(list(truth), object), np.array(list(answers), object)
    w = np.ones(len(t)) if weights is None else np.asarray(weights, float)
    rows = []
    for label in labels:
        hit, said, real = (
            float(w[mask].sum()) for mask in ((t == label) & (a == label), a == label, t == label)
        )
        precision, recall = hit / said if said else 0.0, hit / real
        rows.append((label, precision, recall, 2 * hit / (said + real), int(real)))
    return pl.DataFrame(rows, schema=["label", "precision", "recall", "f1", "n"], orient="row")


def macro_f1(truth: Labels, answers: Labels, weights: Sequence[float] | None = None) -> float:
    """Mean F1 over the labels of the truth."""
    return float(per_label(truth, answers, weights)["f1"].mean())  # type: ignore[arg-type]


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal-width bins."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    n = np.bincount(place, minlength=bins)
    gap = np.abs(np.bincount(place, confidence, bins) - np.bincount(place, right.astype(float), bins))
    return float(gap[n > 0].sum() / max(1, len(confidence)))


def wilson(hits: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def bootstrap(
    name: str,
    measure: Callable[[NDArray[np.int64]], float],
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
    rounds: int = 200,
) -> Score:
    """`measure(rows)` with a 95 % interval from resampling whole groups. groups: the group of each row."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = [
        measure(np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]))
        for _ in range(rounds)
    ]
    low, high = np.percentile(values, [2.5, 97.5])
    everything = np.arange(len(groups))
    return Score(name, measure(everything), n=len(groups), low=float(low), high=float(high), seed=seed)

"""Saying "I don't know" at a stated error rate: split-conformal prediction, and a score for what is like nothing known.

A row's set holds every label that rows of that label, kept apart, do not make look absurd. Where these rows and the
judged ones are exchangeable, the true label is missing from the set of at most the stated share of rows, label by label
(Vovk, Gammerman and Shafer 2005, Mondrian; Angelopoulos and Bates, "Conformal prediction: a gentle introduction",
2023). One label in the set is an answer; several are ambiguous; none is strange. The nonconformity is one minus the
probability of the label, which gives the smallest sets (Sadinle, Lei and Wasserman 2019).

Networks drift, and then the promise breaks: `coverage` says by how much, `drift` says when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError, ModelError, OptionError, unknown_name

UNKNOWN = "unknown"

Novelty = Literal["probability", "entropy", "margin", "energy"]

Floats = NDArray[np.float64]
Chances = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]

# Rows remembered of a label: a random part of exchangeable rows promises the same.
_MOST = 1000


@dataclass(frozen=True)
class Abstention:
    """When to answer. Made by `fit`, kept on a model's card by `card`.

    known: of each label, how unlikely its own rows looked, ascending. pooled: labels with too few rows to promise
    anything for them alone; they are held to what all rows show, so for them the promise holds on average only.
    novelty_by: which score of novelty to use.
    """

    labels: tuple[str, ...]
    error: float
    known: tuple[Floats, ...]
    everyone: Floats
    novelty_by: Novelty = "probability"

    @classmethod
    def fit(
        cls,
        probabilities: Chances,
        truth_codes: Codes,
        *,
        labels: Sequence[str],
        error: float = 0.05,
        novelty_by: Novelty = "probability",
        seed: int = 0,
    ) -> Abstention:
        """Calibrate on rows that nothing was learnt from.

        truth_codes: the place of each row's true label in `labels`; rows below 0, of labels nobody taught, are left
        out, as are those without a usable answer. Duplicates are one witness: give each distinct row once.
        Raises OptionError for an error rate that is none, InputError where nothing is left.
        """
        if not 0 < error < 1:
            raise OptionError(f"error is {error}, expected a share above 0 and below 1.")
        if novelty_by not in get_args(Novelty):
            raise unknown_name("novelty score", novelty_by, get_args(Novelty))
        _check(probabilities, truth_codes, labels)
        usable = np.isfinite(probabilities).all(axis=1) & (truth_codes >= 0)
        if not usable.any():
            raise InputError("no row with an answer and a known label is left to calibrate on. Give some.")
        own = 1 - probabilities[usable, truth_codes[usable]].astype(np.float64)
        rng = np.random.default_rng(seed)
        known = tuple(_some(own[truth_codes[usable] == code], rng) for code in range(len(labels)))
        return cls(tuple(labels), error, known, _some(own, rng), novelty_by)

    @property
    def pooled(self) -> tuple[str, ...]:
        """Labels with too few rows of their own for the stated error rate."""
        return tuple(
            label for label, own in zip(self.labels, self.known, strict=True) if not self._enough(own)
        )

    def p_values(self, probabilities: Chances) -> Floats:
        """How usual it would be for a row of each label to look so: [rows, labels], NaN where there was no answer."""
        unlike = 1 - probabilities.astype(np.float64)
        found = np.empty_like(unlike)
        for code, own in enumerate(self.known):
            found[:, code] = p_values(own if self._enough(own) else self.everyone, unlike[:, code])
        found[~np.isfinite(unlike).all(axis=1)] = np.nan
        return found

    def sets(self, probabilities: Chances) -> NDArray[np.bool_]:
        """The labels each row may have, [rows, labels]. No label where there was no answer."""
        return np.asarray(self.p_values(probabilities) > self.error)

    def answers(self, probabilities: Chances) -> pl.DataFrame:
        """A label and a reason a row: the label of a set of one; else `unknown`, `strange` or `ambiguous`.

        Columns: label, reason ("" with a label). A row without a usable answer has label null, never `unknown`.
        """
        sets = self.sets(probabilities)
        size = sets.sum(axis=1)
        silent = ~np.isfinite(probabilities).all(axis=1)
        label = np.where(size == 1, np.array(self.labels, object)[sets.argmax(axis=1)], UNKNOWN)
        label[silent] = None
        reason = np.select(
            [silent, size == 0, size > 1], ["no usable answer", "strange", "ambiguous"], default=""
        )
        return pl.DataFrame(
            {"label": label.tolist(), "reason": reason.tolist()},
            schema={"label": pl.String, "reason": pl.String},
        )

    def novelty(self, probabilities: Chances, scores: Chances | None = None) -> Floats:
        """How little each row is like anything known; higher is stranger. scores: as `novelty` takes them."""
        return novelty(probabilities, by=self.novelty_by, scores=scores)

    def coverage(self, probabilities: Chances, truth_codes: Codes) -> pl.DataFrame:
        """What was promised and what was got, where the truth is known.

        One row for all labels together (label null), one a label that occurs, and one for `unknown`: rows of labels
        nobody taught (codes below 0), which are right where the answer is `unknown`. Columns: label, n, covered
        (share whose set holds the truth), low, high (95 %, Wilson 1927), promised, broken (the whole interval lies
        below the promise), answered (share with one label). Rows without an answer are not covered.
        """
        _check(probabilities, truth_codes, self.labels)
        sets = self.sets(probabilities)
        single = sets.sum(axis=1) == 1
        taught = truth_codes >= 0
        held = sets[np.arange(len(sets)), np.maximum(truth_codes, 0)]
        named: list[tuple[str | None, NDArray[np.bool_], NDArray[np.bool_]]] = [(None, taught, held)]
        named += [(self.labels[code], truth_codes == code, held) for code in np.unique(truth_codes[taught])]
        if not taught.all():
            usable = np.isfinite(probabilities).all(axis=1)
            named.append((UNKNOWN, ~taught, ~single & usable))
        rows = []
        for label, mine, right in named:
            n, hits = int(mine.sum()), int(right[mine].sum())
            low, high = _wilson(hits, n)
            promised = None if label == UNKNOWN and not taught.all() else 1 - self.error
            answered = int(single[mine].sum()) / max(1, n)
            broken = promised is not None and high < promised
            rows.append((label, n, hits / max(1, n), low, high, promised, broken, answered))
        return pl.DataFrame(rows, schema=_COVERAGE, orient="row")

    def card(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {
            "labels": list(self.labels), "error": self.error, "novelty_by": self.novelty_by,
            "known": [own.tolist() for own in self.known], "everyone": self.everyone.tolist(),
        }  # fmt: skip

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Abstention:
        """What `card` gave. Raises ModelError for anything else."""
        try:
            labels, by = tuple(str(label) for label in card["labels"]), card["novelty_by"]
            known = tuple(np.array(own, np.float64) for own in card["known"])
            everyone = np.array(card["everyone"], np.float64)
            sound = len(known) == len(labels) and by in get_args(Novelty) and 0 < card["error"] < 1
            if not sound or any(own.ndim != 1 or (np.diff(own) < 0).any() for own in (*known, everyone)):
                raise ValueError("its parts do not fit together")
            return cls(labels, float(card["error"]), known, everyone, by)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the card describes no abstention ({error}). Calibrate again with Abstention.fit."
            ) from error

    def _enough(self, own: Floats) -> bool:
        return len(own) + 1 >= 1 / self.error


_COVERAGE = {
    "label": pl.String, "n": pl.Int64, "covered": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "promised": pl.Float64, "broken": pl.Boolean, "answered": pl.Float64,
}  # fmt: skip


def p_values(known: Floats, unlike: Floats) -> Floats:
    """The share of `known` (ascending) and the row itself that are as strange as each row or stranger.

    >>> p_values(np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.2, 0.9]))
    array([1.  , 0.75, 0.25])
    """
    as_strange = len(known) - np.searchsorted(known, unlike, side="left")
    return np.asarray((as_strange + 1) / (len(known) + 1))


def novelty(probabilities: Chances, *, by: Novelty = "probability", scores: Chances | None = None) -> Floats:
    """A score that is higher the less a row is like anything known; infinite where there was no answer.

    by: `probability`, one minus the likeliest label's (Hendrycks and Gimpel 2017); `entropy`; `margin` between the two
    likeliest; `energy` of the unnormalised `scores` (Liu et al. 2020), which for a language model grows with what it
    would rather have said than any label.
    """
    chances = np.asarray(probabilities, np.float64)
    if by == "energy":
        if scores is None:
            raise OptionError("novelty by energy needs the scores before they are made probabilities.")
        raw = np.asarray(scores, np.float64)
        peak = raw.max(axis=1, keepdims=True)
        found = -(peak[:, 0] + np.log(np.exp(raw - peak).sum(axis=1)))
    elif by == "entropy":
        found = -(chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1)
    elif by == "margin":
        ordered = np.sort(chances, axis=1)
        found = 1 - (ordered[:, -1] - ordered[:, -2])
    else:
        found = 1 - chances.max(axis=1)
    return np.where(np.isnan(found), np.inf, found)


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and another row that `scores` puts in order, ties counting half; NaN for none.

    Hanley and McNeil (1982), by ranks.

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return float("nan")
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


@dataclass(frozen=True)
class Fold:
    """Rows judged by a detector that was not taught some attack names. strange: the rows of these names."""

    probabilities: Chances
    strange: NDArray[np.bool_]
    scores: Chances | None = None


def choose_novelty(folds: Sequence[Fold]) -> tuple[Novelty, dict[str, float]]:
    """The score that best tells names left out from the rest, and the mean AUROC over folds of each that can be had.

    Give inner folds: names left out of training rows, never the names that are judged.
    """
    if not folds:
        raise InputError("no fold was given; leave out at least one attack name to choose by.")
    kinds = [
        kind for kind in get_args(Novelty) if kind != "energy" or all(f.scores is not None for f in folds)
    ]
    means = {
        kind: float(
            np.nanmean([auroc(novelty(f.probabilities, by=kind, scores=f.scores), f.strange) for f in folds])
        )
        for kind in kinds
    }
    best: Novelty = max(kinds, key=lambda kind: means[kind])
    return best, means


def _some(values: Floats, rng: np.random.Generator) -> Floats:
    return np.sort(values if len(values) <= _MOST else rng.choice(values, _MOST, replace=False))


def _check(probabilities: Chances, truth_codes: Codes, labels: Sequence[str]) -> None:
    if probabilities.shape != (len(truth_codes), len(labels)) or (
        len(truth_codes) and truth_codes.max() >= len(labels)
    ):
        raise InputError(
            f"{len(truth_codes)} true labels came with answers of shape {probabilities.shape} for {len(labels)} labels; they do not fit."
        )


def _wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    share, part = hits / n, z * z / n
    centre, half = share + part / 2, (part * (share * (1 - share) + part / 4)) ** 0.5
    return max(0.0, (centre - half) / (1 + part)), min(1.0, (centre + half) / (1 + part))

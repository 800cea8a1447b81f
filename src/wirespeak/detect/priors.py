"""Choosing how far to lean towards rare labels, on rows and attack names that were not learnt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Chances = NDArray[np.float64]

# Corrections tried. Beyond these, inner folds still promised gains that rows of the next fold did not keep.
_TAUS = (0.0, 0.15, 0.3)
_LEANS = (0.0, 0.5, 1.0)
_FLOOR = 1e-4
# Resamples for a standard error.
_DRAWS = 20
# Standard errors within which a milder correction is as good as the best.
_SURE = 2


@dataclass(frozen=True)
class Prior:
    """A correction of probabilities (logit adjustment; Menon et al. 2021).

    shares: of the rows learnt, by label. tau: the power of the share that is divided out. lean: what is taken
    from the logarithm of the ordinary label's probability, so that what is like nothing known is not called
    ordinary. ordinary: the place of that label, or None.
    """

    shares: tuple[float, ...]
    ordinary: int | None = None
    tau: float = 0.0
    lean: float = 0.0

    def correct(self, chances: Chances) -> Chances:
        """Probabilities [rows, labels] after the correction, rows summing to 1."""
        logs = np.log(np.maximum(chances, _FLOOR)) - self.tau * np.log(np.maximum(self.shares, 1e-6))
        if self.ordinary is not None:
            logs[:, self.ordinary] -= self.lean
        raised = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def tried(self, chances: Chances) -> Iterator[tuple[Prior, Codes]]:
        """Each correction, the mildest first, with the labels it makes likeliest."""
        leans = _LEANS if self.ordinary is not None else (0.0,)
        for tau, lean in sorted(product(_TAUS, leans), key=sum):
            prior = Prior(self.shares, self.ordinary, tau, lean)
            yield prior, prior.correct(chances).argmax(axis=1)

    def chosen(self, chances: Chances, truth: Codes, weights: NDArray[np.float64], *, seed: int = 0) -> Prior:
        """The mildest correction that falls short of the best by no more than two standard errors.

        Some labels have a dozen rows: the best correction by a hair is the best for those rows only (the rule is
        that of Breiman et al. 1984 with one more error, for the best of many flatters itself; the error is a
        paired bootstrap's).
        """
        rng = np.random.default_rng(seed)
        drawn = [weights, *(weights * rng.poisson(1.0, len(weights)) for _ in range(_DRAWS))]
        priors, scores = [], []
        for prior, said in self.tried(chances):
            priors.append(prior)
            scores.append([quality(said, truth, one, self.ordinary) for one in drawn])
        table = np.array(scores)
        short = table[table[:, 0].argmax()] - table
        near = short[:, 0] <= _SURE * short[:, 1:].std(axis=1) + 1e-9
        return priors[int(near.argmax())]


def quality(said: Codes, truth: Codes, weights: NDArray[np.float64], ordinary: int | None) -> float:
    """The mean of weighted accuracy, macro-F1 over the labels present and, with an ordinary label, binary accuracy."""
    size = int(max(said.max(), truth.max())) + 1
    table = np.bincount(truth * size + said, weights, size * size).reshape(size, size)
    total, right, present = table.sum(), table.diagonal(), table.sum(axis=1) > 0
    harmonic = 2 * right[present] / (table.sum(axis=0) + table.sum(axis=1))[present]
    parts = [right.sum() / total, float(harmonic.mean())]
    if ordinary is not None:
        parts.append((weights * ((said == ordinary) == (truth == ordinary))).sum() / total)
    return float(np.mean(parts))


def name_weights(names: NDArray[np.str_], truth: Codes, ordinary: int | None) -> NDArray[np.float64]:
    """A weight a row by which a name counts as the root of its rows, and ordinary rows together as many as the rest.

    In a flood's shadow every other name vanishes from a plain mean, and names never seen are what is asked about.
    """
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    weights = counts[place].astype(np.float64) ** -0.5
    usual = truth == ordinary if ordinary is not None else np.zeros(len(truth), bool)
    if usual.any() and not usual.all():
        weights[usual] *= weights[~usual].sum() / weights[usual].sum()
    return weights


def inner_folds(
    codes: Codes, names: NDArray[np.str_], groups: Codes, ordinary: int | None, *, count: int, seed: int
) -> Iterator[tuple[Codes, Codes]]:
    """Rows to learn from and to measure on, no group on both sides.

    Where a label has several names, each name of it is left out of one fold's learning as a whole.
    """
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, count, int(groups.max()) + 1)[groups]
    away = np.full(len(codes), -1)
    for code in np.unique(codes):
        here = np.flatnonzero(codes == code)
        mine = np.unique(names[here])
        if len(mine) > 1 and code != ordinary:
            turn = (rng.permutation(len(mine)) + rng.integers(count)) % count
            away[here] = turn[np.searchsorted(mine, names[here])]
    for number in range(count):
        test = (fold == number) | (away == number)
        yield np.flatnonzero(~test), np.flatnonzero(test)


def thinned(names: NDArray[np.str_], most: int, seed: int) -> Codes:
    """Numbers of at most `most` rows, in order, common names cut down to a common cap before rare ones lose a row."""
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    if len(names) <= most:
        return np.arange(len(names))
    low, high = 1, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    order = np.random.default_rng(seed).permutation(len(names))
    by_name = order[np.argsort(place[order], kind="stable")]
    rank = np.arange(len(names)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_name[rank < low])

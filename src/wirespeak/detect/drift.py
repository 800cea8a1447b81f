"""When a stream stops looking like the rows that calibrated the model, and which columns moved.

When: a conformal test martingale (Vovk, Nouretdinov and Gammerman 2003; Fedorova et al. 2012). Each row's novelty gets
its rank among all rows before it, calibration first. As long as rows are exchangeable these ranks are independent and
uniform, so that a game against them is fair, and by Ville's inequality its capital ever reaches 1 / `false_alarm` with
a chance of `false_alarm` at most, however long the stream. The stakes are the simple jumper's (Vovk et al., "Retrain or
not retrain", 2021). Bursts of traffic are not exchangeable either: give each distinct row once, and take an alarm to
mean that the promises made on the calibration rows no longer hold, not that an attack is on.

Which: the population-stability index of each column (Siddiqi, "Credit Risk Scorecards", 2006), in nats: below 0.1 it
stands still, above 0.25 it has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError, OptionError
from wirespeak.schema import COLUMNS

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

STILL, MOVED = 0.1, 0.25

_BINS, _TEXTS = 10, 20
# Stakes of the jumper, and the share of the capital that changes stakes at each row.
_STAKES, _JUMP = (-1.0, 0.0, 1.0), 0.01
# Rows ranked at once: each is compared with those before it in the block.
_BLOCK = 256


@dataclass(frozen=True)
class _Usual:
    """How one column was spread over the calibration rows: in bins between `edges`, or by its commonest `texts`."""

    name: str
    edges: Floats | None
    texts: tuple[str, ...]
    counts: Counts

    def tally(self, series: pl.Series) -> Counts:
        """How many rows fall into each bin; the last is what was not measured."""
        if self.edges is None:
            texts = series.cast(pl.String)
            places = texts.replace_strict(
                [*self.texts, None], [*range(len(self.texts)), len(self.texts) + 1], default=len(self.texts), return_dtype=pl.Int64
            ).to_numpy()  # fmt: skip
        else:
            numbers = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
            places = np.searchsorted(self.edges, numbers, side="left")
            places[np.isnan(numbers)] = len(self.edges) + 1
        return np.bincount(places, minlength=len(self.counts))


class Drift:
    """A watch over a stream. Rows may come in pieces of any size; what is found is the same."""

    def __init__(
        self,
        flows: pl.DataFrame,
        novelty: Floats,
        *,
        columns: Sequence[str] | None = None,
        false_alarm: float = 0.01,
        seed: int = 0,
    ) -> None:
        """flows, novelty: the rows that calibrated the model and how strange each looked (`Abstention.novelty`).

        columns: those to compare, by default every one of numbers or text. false_alarm: the chance that an
        exchangeable stream ever raises the alarm. seed: ties between equal novelties are broken by chance.
        """
        if not 0 < false_alarm < 1:
            raise OptionError(f"false_alarm is {false_alarm}, expected a chance above 0 and below 1.")
        _check(flows, novelty)
        if flows.is_empty():
            raise InputError(
                "there are no rows to compare the stream with. Give those the model was calibrated on."
            )
        names = columns or [n for n, kind in flows.schema.items() if _comparable(kind)]
        self.false_alarm = false_alarm
        self.usual = tuple(_learn(flows[name]) for name in names)
        self._rng = np.random.default_rng(seed)
        self._seen = np.sort(np.asarray(novelty, np.float64))
        self._counts = [np.zeros_like(usual.counts) for usual in self.usual]
        self._capital = [1 / len(_STAKES)] * len(_STAKES)
        self._scale = 0.0
        self.rows = 0
        self.alarm: int | None = None
        self.highest = 1.0

    @property
    def log_capital(self) -> float:
        """Natural logarithm of what one unit has become by betting against exchangeability."""
        return float(np.log(sum(self._capital)) + self._scale)

    def see(self, flows: pl.DataFrame, novelty: Floats) -> int | None:
        """Watch more rows. Returns `alarm`: the number of the row (from 0) at which the stream was first called
        moved, or None as long as it was not."""
        _check(flows, novelty)
        lacking = [usual.name for usual in self.usual if usual.name not in flows.columns]
        if lacking:
            raise InputError(
                f"the stream lacks column '{lacking[0]}', which is compared. Give it every column that the calibration had."
            )
        for place, usual in enumerate(self.usual):
            self._counts[place] += usual.tally(flows[usual.name])
        scores = np.asarray(novelty, np.float64)
        for start in range(0, len(scores), _BLOCK):
            self._bet(self._ranks(scores[start : start + _BLOCK]))
        return self.alarm

    def moved(self, most: int = 5) -> pl.DataFrame:
        """The columns that moved most, since the start: column, index (nats), moved (index above 0.25)."""
        found = [
            (usual.name, stability(usual.counts, counts))
            for usual, counts in zip(self.usual, self._counts, strict=True)
        ]
        found.sort(key=lambda one: (-one[1], one[0]))
        rows = [(name, index, index > MOVED) for name, index in found[:most]]
        return pl.DataFrame(
            rows, schema={"column": pl.String, "index": pl.Float64, "moved": pl.Boolean}, orient="row"
        )

    def says(self) -> str:
        """One sentence for a report."""
        if self.alarm is None:
            return (
                f"Over {self.rows:,} rows nothing shows that traffic differs from what calibrated the model."
            )
        names = [
            f"{_named(column)} ({index:.2f})" for column, index, moved in self.moved(3).iter_rows() if moved
        ]
        most = f" Moved most: {'; '.join(names)}." if names else " No single column moved."
        return f"From row {self.alarm:,} on, traffic differs from what calibrated the model (chance of a false alarm {self.false_alarm:g}).{most}"

    def _ranks(self, scores: Floats) -> Floats:
        """Each row's smoothed rank among the rows before it and itself, uniform on (0, 1]; small is strange."""
        before = len(self._seen) - np.searchsorted(self._seen, scores, side="right")
        equal = len(self._seen) - before - np.searchsorted(self._seen, scores, side="left")
        earlier = np.tri(len(scores), k=-1, dtype=bool)
        higher = before + (earlier & (scores[None, :] > scores[:, None])).sum(axis=1)
        equal = equal + (earlier & (scores[None, :] == scores[:, None])).sum(axis=1)
        total = len(self._seen) + np.arange(len(scores)) + 1
        drawn = 1 - self._rng.random(len(scores))
        ordered = np.sort(scores)
        self._seen = np.insert(self._seen, np.searchsorted(self._seen, ordered), ordered)
        return np.asarray((higher + drawn * (equal + 1)) / total)

    def _bet(self, ranks: Floats) -> None:
        goal = -float(np.log(self.false_alarm))
        for rank in ranks.tolist():
            shared = sum(self._capital) * _JUMP / len(_STAKES)
            self._capital = [
                (held * (1 - _JUMP) + shared) * (1 + stake * (rank - 0.5))
                for held, stake in zip(self._capital, _STAKES, strict=True)
            ]
            if not 1e-100 < (total := sum(self._capital)) < 1e100:
                self._scale += float(np.log(total))
                self._capital = [held / total for held in self._capital]
            capital = self.log_capital
            self.highest = max(self.highest, float(np.exp(min(capital, 700.0))))
            if self.alarm is None and capital >= goal:
                self.alarm = self.rows
            self.rows += 1


def stability(usual: Counts, counts: Counts) -> float:
    """The population-stability index between two histograms, in nats; half a row is added to every bin.

    >>> round(stability(np.array([50, 50]), np.array([500, 500])), 3), round(stability(np.array([50, 50]), np.array([90, 10])), 2)
    (0.0, 0.85)
    """
    if not counts.sum() or not usual.sum():
        return 0.0
    p, q = ((one + 0.5) / (one + 0.5).sum() for one in (usual, counts))
    return float(((q - p) * np.log(q / p)).sum())


def _named(column: str) -> str:
    """A column as a person reads it; one that is no flow's keeps its name."""
    return f"{column}, {COLUMNS[column].meaning}" if column in COLUMNS else column


def _learn(series: pl.Series) -> _Usual:
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        numbers = series.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
        cuts = np.quantile(numbers, np.arange(1, _BINS) / _BINS, method="lower") if len(numbers) else []
        edges = np.unique(np.asarray(cuts, np.float64))
        usual = _Usual(series.name, edges, (), np.zeros(len(edges) + 2, np.int64))
    elif _comparable(series.dtype):
        counted = (
            series.cast(pl.String)
            .drop_nulls()
            .rename("value")
            .value_counts()
            .sort("count", "value", descending=[True, False])
        )
        texts = tuple(counted["value"][:_TEXTS])
        usual = _Usual(series.name, None, texts, np.zeros(len(texts) + 2, np.int64))
    else:
        raise InputError(
            f"column '{series.name}' holds {series.dtype}; numbers and text can be compared. Leave it out."
        )
    usual.counts[:] = usual.tally(series)
    return usual


def _comparable(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def _check(flows: pl.DataFrame, novelty: Floats) -> None:
    if len(flows) != len(novelty):
        raise InputError(f"{len(flows)} rows came with {len(novelty)} novelties; one for each is needed.")
    if np.isnan(np.asarray(novelty, np.float64)).any():
        raise InputError(
            "a novelty is not a number; a row without an answer has an infinite one (abstain.novelty)."
        )

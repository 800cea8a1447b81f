"""Is generated traffic like its profile's recordings? Six distances, and bounds that recordings set themselves.

A life is a table of packet steps (flow.realise.STEPS), generated or recorded. The bound of a distance is 1.2
times the largest that a recorded life of the profile has from the others; generated traffic has no say in it, but
for how many conversations it has, which limits how well a share can be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError
from wirespeak.records import Score

DISTANCES = ("mix", "periods", "sizes", "directions", "repeats", "peers")
_SHARES = ("repeats", "peers")  # of conversations: with few of them, chance alone moves these
LEAST_LIVES = 3
_SLACK = 1.2  # the next recorded life may well be a little further off than the furthest so far
_LEAST_BOUND = 0.1
_PAUSE_S = 1.0  # a pause inside a connection that counts as a period of its own
_OF_ONE_TALK = 40  # messages of a conversation that count: one video stream must not outvote a day of reports

_Kind = tuple[str, bool]


@dataclass(frozen=True)
class Comparison:
    """scores: each of DISTANCES, 0 (the same) to 1; bounds: what recordings among themselves reach."""

    scores: tuple[Score, ...]
    bounds: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether every distance is within its bound."""
        return all(score.value <= self.bounds[score.name] for score in self.scores)


def compare(generated: pl.DataFrame, recorded: Sequence[pl.DataFrame]) -> Comparison:
    """Measure a generated life against recorded ones of its profile. Raises InputError for fewer than LEAST_LIVES."""
    lives = [_Habits.of(life) for life in recorded if not life.is_empty()]
    if len(lives) < LEAST_LIVES:
        raise InputError(
            f"{len(lives)} recorded lives set no bound; at least {LEAST_LIVES} are needed. Record more."
        )
    among = [_distances(life, [other for other in lives if other is not life]) for life in lives]
    own = _Habits.of(generated)
    chance = 1 / max(1, own.talks) ** 0.5  # two standard errors of a share among so many conversations
    least = {name: max(_LEAST_BOUND, chance * (name in _SHARES)) for name in DISTANCES}
    bounds = {
        name: min(1.0, max(least[name], _SLACK * max(each[name] for each in among))) for name in DISTANCES
    }
    values = _distances(own, lives)
    return Comparison(tuple(Score(name, values[name], n=own.talks) for name in DISTANCES), bounds)


@dataclass(frozen=True)
class _Habits:
    """What is compared of a life: for each kind (application, whether the device opens) its conversations."""

    talks: int
    repeats: float  # share of conversations that say exactly what an earlier one said
    favourite: float  # share of conversations with the peer met most often
    share: dict[_Kind, float]
    gaps: dict[_Kind, NDArray[np.float64]]
    sizes: dict[tuple[str, bool], NDArray[np.float64]]  # by application and direction

    @classmethod
    def of(cls, steps: pl.DataFrame) -> _Habits:
        opened = steps.filter(pl.col("event") == "open").sort("time_s")
        kinds = opened.group_by("application", "opened_by_device").agg(
            pl.len(), pl.col("time_s").diff().drop_nulls().alias("gaps")
        )
        said = steps.filter(pl.col("event") == "message").with_columns(
            pl.int_range(pl.len()).over("conversation").alias("number"),
            pl.col("time_s").diff().over("conversation", "outward").alias("pause"),
        )
        pauses = (
            said.filter(pl.col("pause") >= _PAUSE_S).group_by("application", "opened_by_device").agg("pause")
        )
        sizes = said.filter(pl.col("number") < _OF_ONE_TALK).group_by("application", "outward").agg("size")
        gaps = {(row[0], row[1]): np.array(row[3]) for row in kinds.iter_rows()}
        for application, by_device, values in pauses.iter_rows():
            gaps[application, by_device] = np.concatenate(
                [gaps.get((application, by_device), np.zeros(0)), np.array(values)]
            )
        shapes = said.group_by("conversation", maintain_order=True).agg(
            "application", "role", "outward", "size"
        )
        repeats = 1 - shapes.drop("conversation").n_unique() / max(1, shapes.height)
        favourite = max(opened.group_by("role").len()["len"].to_list(), default=0)
        return cls(
            opened.height,
            repeats,
            favourite / max(1, opened.height),
            {(row[0], row[1]): row[2] / max(1, opened.height) for row in kinds.iter_rows()},
            gaps,
            {(row[0], row[1]): np.array(row[2], float) for row in sizes.iter_rows()},
        )


def _distances(life: _Habits, others: Sequence[_Habits]) -> dict[str, float]:
    share = {
        kind: float(np.mean([other.share.get(kind, 0.0) for other in others]))
        for other in others
        for kind in other.share
    }
    gaps = _pooled([other.gaps for other in others])
    sizes = _pooled([other.sizes for other in others])
    kinds = {*share, *life.share}
    return {
        "mix": sum(abs(share.get(kind, 0.0) - life.share.get(kind, 0.0)) for kind in kinds) / 2,
        "periods": _weighted(
            {
                kind: _furthest(np.log10(life.gaps[kind] + 1e-3), np.log10(gaps[kind] + 1e-3))
                for kind in gaps
                if len(life.gaps.get(kind, ()))
            },
            life.share,
        ),
        "sizes": _weighted(
            {kind: _furthest(life.sizes[kind], sizes[kind]) for kind in sizes if kind in life.sizes},
            _by_application(life),
        ),
        "directions": _weighted(
            {
                kind: abs(_outward(life.sizes, kind[0]) - _outward(sizes, kind[0]))
                for kind in sizes
                if kind in life.sizes
            },
            _by_application(life),
        ),
        "repeats": abs(life.repeats - float(np.mean([other.repeats for other in others]))),
        "peers": abs(life.favourite - float(np.mean([other.favourite for other in others]))),
    }


def _pooled(tables: Sequence[dict[_Kind, NDArray[np.float64]]]) -> dict[_Kind, NDArray[np.float64]]:
    return {
        kind: np.concatenate([table[kind] for table in tables if kind in table])
        for table in tables
        for kind in table
    }


def _by_application(life: _Habits) -> dict[_Kind, float]:
    """How much each (application, direction) counts: as much as the application's share of conversations."""
    return {
        (application, outward): sum(share for (name, _), share in life.share.items() if name == application)
        for application, outward in life.sizes
    }


def _weighted(values: dict[_Kind, float], weights: dict[_Kind, float]) -> float:
    """The weighted mean; 1, the worst there is, where there is nothing to compare."""
    total = sum(weights.get(kind, 0.0) for kind in values)
    return sum(value * weights.get(kind, 0.0) for kind, value in values.items()) / total if total else 1.0


def _outward(sizes: dict[_Kind, NDArray[np.float64]], application: str) -> float:
    out, back = (len(sizes.get((application, outward), ())) for outward in (True, False))
    return out / max(1, out + back)


def _furthest(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The Kolmogorov-Smirnov distance of two samples; 1 where one is empty."""
    if not len(one) or not len(other):
        return 1.0
    both = np.sort(np.concatenate([one, other]))
    at = [np.searchsorted(np.sort(sample), both, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(at[0] - at[1]).max())

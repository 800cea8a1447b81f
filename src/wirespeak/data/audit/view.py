"""A dataset as the checks look at it: labels as numbers, columns in bins, rows hashed once.

How well one column alone tells the label is its *gain*: mean recall over the labels of a table from bins of the
column to labels, filled on one half of the rows and judged on the other, both ways; 0 is guessing, 1 is knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit import roles
from wirespeak.data.audit.finding import MOST_EXAMPLES
from wirespeak.data.dataset import Dataset, Role
from wirespeak.data.fingerprint import Keys, codes, fingerprints

BINS = 64
_EXACT = 256
_SAMPLE = 50_000
_MOST_CATEGORIES = 2048
_LEAST_ROWS = 10  # of a label, for its recall to count
_SHOWN = 80

WHO_AND_WHEN: tuple[Role, ...] = ("address", "mac", "port", "time", "order", "id")
"""Roles of columns that tell rows apart that behaved the same."""


@dataclass(frozen=True)
class Goal:
    """One form of the answer. codes: number of the label of each row."""

    name: str
    codes: NDArray[np.int64]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Gain:
    """How well a column tells a goal, 0 to 1."""

    value: float
    goal: str


NOTHING = Gain(0.0, "")


class View:
    """parts: 0 for training rows, 1 for test rows, -1 for neither; None where nothing is split."""

    def __init__(self, dataset: Dataset, parts: NDArray[np.int8] | None = None) -> None:
        self.dataset = dataset
        self.table = dataset.table
        self.rows = len(dataset)
        self.parts = parts
        self._gains: dict[str, Gain] = {}
        self._when: dict[str, tuple[str, str] | None] = {}
        self._who: dict[str, Role | None] = {}
        self._half = np.random.default_rng(0).integers(0, 2, self.rows)

    @cached_property
    def binary(self) -> Goal:
        """Ordinary against hostile."""
        return Goal("binary", (self.dataset.canonical != "normal").fill_null(True).to_numpy().astype(np.int64), ("normal", "attack"))  # fmt: skip

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """The distinct forms of the answer that have two values or more, coarsest first."""
        found = [self.binary]
        for name, column in (("labels", self.dataset.labels), ("names", self.dataset.names)):
            number, distinct = codes(column)
            goal = Goal(name, number, tuple(str(label) for label in distinct))
            if len(goal.labels) != len(found[-1].labels):
                found.append(goal)
        return tuple(goal for goal in found if len(np.unique(goal.codes)) > 1)

    @cached_property
    def whole(self) -> Keys:
        """Every row as a number: all columns and the name."""
        return fingerprints(self.table.with_columns(self.dataset.names.alias("name of the row")))

    @cached_property
    def behaviour_columns(self) -> list[str]:
        """All columns but those that say who, when and the answer, by their role or by what they hold."""
        return [
            name
            for name, field in self.dataset.fields.items()
            if field.role not in (*WHO_AND_WHEN, "label")
            and self.when(name) is None
            and self.who(name) not in WHO_AND_WHEN
        ]

    @cached_property
    def behaviour(self) -> Keys:
        """Every row as a number, without identifiers and answer."""
        return fingerprints(self.table, self.behaviour_columns)

    def when(self, name: str) -> tuple[str, str] | None:
        """The kind of finding and the words for a column that says when or which row; None for others."""
        if name not in self._when:
            self._when[name] = roles.when(self, name)
        return self._when[name]

    def who(self, name: str) -> Role | None:
        """Which kind of identity a column holds, if any."""
        if name not in self._who:
            self._who[name] = roles.who(self, name)
        return self._who[name]

    def seen(self, name: str) -> bool:
        """Whether a detector would see the column."""
        return self.dataset.fields[name].role in ("feature", "text", "ttl")

    def columns(self, *kinds: str) -> list[str]:
        """Columns of these kinds, but those that are declared as the answer."""
        return [n for n, f in self.dataset.fields.items() if f.kind in kinds and f.role != "label"]

    def number(self, name: str) -> NDArray[np.float64]:
        """A number column as floats, NaN where missing."""
        return self.table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()

    def gain(self, name: str) -> Gain:
        """How well a column alone tells the label, at the goal it tells best among binary and labels."""
        if name not in self._gains:
            column = self.table[name]
            place, size = self.bins(column) if column.dtype.is_numeric() else self.categories(column)
            self._gains[name] = self.gain_of(place, size)
        return self._gains[name]

    def gain_of(self, place: NDArray[np.int64], size: int, rows: NDArray[np.bool_] | None = None) -> Gain:
        """The gain of bins numbered below `size`, over all rows or some."""
        best = NOTHING
        for goal in self.goals[:2]:
            value = self._told(place, size, goal, rows)
            if value > best.value:
                best = Gain(value, goal.name)
        return best

    def _told(self, place: NDArray[np.int64], size: int, goal: Goal, rows: NDArray[np.bool_] | None) -> float:
        return _gain(self._table(place, size, goal, rows))

    def _table(
        self, place: NDArray[np.int64], size: int, goal: Goal, rows: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Rows by bin, label and half."""
        k = len(goal.labels)
        cell = (place * k + goal.codes) * 2 + self._half
        return np.bincount(cell if rows is None else cell[rows], minlength=size * k * 2).reshape(size, k, 2)

    def gain_of_one(self, name: str) -> Gain:
        """How well a column tells the one label it tells best from all others."""
        column = self.table[name]
        place, size = self.bins(column) if column.dtype.is_numeric() else self.categories(column)
        goal = self.goals[-1] if self.goals else self.binary
        table, best = self._table(place, size, goal), NOTHING
        whole = table.sum(axis=1)
        for number, label in enumerate(goal.labels):
            value = _gain(np.stack([whole - table[:, number], table[:, number]], axis=1))
            if value > best.value:
                best = Gain(value, f"label '{label}'")
        return best

    def neighbours_agree(self, order: NDArray[np.int64] | None = None) -> float:
        """How often rows that follow each other have one label, beyond chance: 0 shuffled, 1 in blocks."""
        if not self.goals or self.rows < 2 * _LEAST_ROWS:
            return 0.0
        label = self.goals[-1].codes if order is None else self.goals[-1].codes[order]
        share = np.bincount(label) / len(label)
        chance = float((share**2).sum())
        return (
            max(0.0, float(((label[1:] == label[:-1]).mean() - chance) / (1 - chance))) if chance < 1 else 0.0
        )

    def bins(self, column: pl.Series) -> tuple[NDArray[np.int64], int]:
        """The bin of each number: every value its own where there are few, else quantiles; missing is the last."""
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return bins(values, most=max(4, min(BINS, self.rows // 30)))

    def categories(self, column: pl.Series) -> tuple[NDArray[np.int64], int]:
        """The number of each string, rare ones together where there are very many."""
        number, distinct = codes(column.cast(pl.String))
        if len(distinct) <= _MOST_CATEGORIES:
            return number, max(1, len(distinct))
        counts = np.bincount(number)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        return np.minimum(rank, _MOST_CATEGORIES)[number], _MOST_CATEGORIES + 1

    def examples(
        self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str]
    ) -> tuple[dict[str, str | int], ...]:
        """At most three rows: their number, name, and what `columns` say, cut to a readable length."""
        shown: list[dict[str, str | int]] = []
        for row in [int(row) for row in rows[:MOST_EXAMPLES]]:
            cells = {name: str(self.table[name][row])[:_SHOWN] for name in columns[:8]}
            shown.append({"row": row, "name": str(self.dataset.names[row]), **cells})
        return tuple(shown)

    def one_of_each(self, goal: Goal | None = None) -> NDArray[np.int64]:
        """A row of each of the first labels."""
        return (
            np.unique((goal or self.goals[0]).codes, return_index=True)[1]
            if self.goals
            else np.arange(min(3, self.rows))
        )


def bins(values: NDArray[np.float64], *, most: int = BINS) -> tuple[NDArray[np.int64], int]:
    """The bin of each number, and how many bins there are."""
    missing = np.isnan(values)
    some = missing.any()
    known = values[~missing] if some else values
    sample = known[:: max(1, len(known) // _SAMPLE)]
    distinct = np.unique(sample)
    edges = distinct
    if len(distinct) > _EXACT:
        edges = np.unique(np.quantile(sample, np.linspace(0, 1, most + 1)[1:-1], method="lower"))
    place = np.searchsorted(edges, values, side="right")
    if some:
        place[missing] = len(edges) + 1
    return place, len(edges) + 2


def entropy(counts: NDArray[np.float64] | NDArray[np.int64], axis: int | None = None) -> NDArray[np.float64]:
    """Shannon entropy in nats of counts, over an axis or all."""
    total = counts.sum(axis=axis, keepdims=True)
    share = counts / np.maximum(total, 1)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=axis)


def _gain(counts: NDArray[np.int64]) -> float:
    """The gain of a table of bins, labels and halves."""
    totals = counts.sum(axis=0)
    usable = totals.min(axis=1) >= _LEAST_ROWS
    if usable.sum() < 2:
        return 0.0
    counts, totals = counts[:, usable], totals[usable]
    recalls = []
    for half in (0, 1):
        learnt = counts[:, :, 1 - half] / totals[:, 1 - half]
        answer = learnt.argmax(axis=1)
        answer[learnt.sum(axis=1) == 0] = int(totals[:, 1 - half].argmax())
        hits = np.bincount(answer, counts[np.arange(len(counts)), answer, half], len(totals))
        recalls.append((hits / totals[:, half]).mean())
    chance = 1 / len(totals)
    return max(0.0, float((np.mean(recalls) - chance) / (1 - chance)))

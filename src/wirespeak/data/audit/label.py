"""The answer among the questions: columns that say the label in other words, or all but know it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import NOTHING, Gain, Goal, View, entropy
from wirespeak.data.fingerprint import codes

DISGUISE = 0.6
"""Share of what there is to know that column and label must tell of each other, both ways."""
COMMON = 0.01  # share of the rows, for a label to be asked after
PARTLY, SURE = 0.1, 0.95
"""A disguise worn by a tenth of the rows of every label, if it is all but sure there."""
KNOWS, ALL_BUT_KNOWS = 0.97, 0.87
_MANY = 200  # distinct texts, beyond which their pattern may say what the texts do not
_IDENTITY = ("address", "mac", "port", "ttl", "time", "order", "id")


def disguises(view: View) -> Iterator[Finding]:
    """Columns whose values stand for labels one to one, or nearly; and second columns declared as the answer."""
    declared = view.dataset.columns("label")
    if len(declared) > 1:
        yield Finding(
            "leak.label", "warning",
            f"{len(declared)} columns hold the answer: {', '.join(declared)}. A detector that learns one must see none of the others.",
            tuple(declared), {"columns": len(declared)},
            examples=view.examples(view.one_of_each(view.goals[-1] if view.goals else None), declared),
            remedy=" ".join(f"--drop {name}" for name in declared),
        )  # fmt: skip
    for name in view.columns("number", "category", "text"):
        told, goal = _both_ways(view, name)
        if goal is not None and told >= DISGUISE:
            yield Finding(
                "leak.label", grade(told, warning=DISGUISE, serious=0.9),
                f"'{name}' is the label in disguise: its values and the {goal.name} tell {told:.0%} of each other.",
                (name,), {"told_both_ways": round(told, 4), "goal": goal.name, "values": int(view.table[name].n_unique())},
                examples=view.examples(view.one_of_each(goal), [name]), remedy=f"--drop {name}",
            )  # fmt: skip


def _pattern(view: View, name: str) -> Gain:
    """The gain of texts with every run of digits made one sign, and of their length."""
    number, distinct = codes(view.table[name].cast(pl.String))
    if len(distinct) <= _MANY:
        return NOTHING
    pattern, _ = codes(distinct.str.replace_all(r"[0-9a-fA-F]{8,}|[0-9]+", "#"))
    rare = np.minimum(pattern[number], _MANY * 10)
    length = distinct.str.len_chars().fill_null(0).clip(0, 255).to_numpy().astype(np.int64)
    ways = view.gain_of(rare, _MANY * 10 + 1), view.gain_of(length[number], 256)
    return max(ways, key=lambda gain: gain.value)


def _both_ways(view: View, name: str) -> tuple[float, Goal | None]:
    """The smaller of the two shares of information, at the goal where it is largest.

    Over all rows, and over those that differ from the commonest value: a disguise may be worn by some rows only.
    """
    best: tuple[float, Goal | None] = (0.0, None)
    gain = view.gain(name).value
    if gain < PARTLY:
        return best
    column = view.table[name]
    place, size = view.bins(column) if column.dtype.is_numeric() else view.categories(column)
    for goal in view.goals:
        k = len(goal.labels)
        counts = np.bincount(place * k + goal.codes, minlength=size * k).reshape(size, k)
        counts = counts[counts.sum(axis=1) > 0]
        if not 2 <= len(counts) <= max(50, 4 * k):
            continue
        told = shared(counts) if gain >= 0.4 else 0.0
        some = np.delete(counts, counts.sum(axis=1).argmax(), axis=0)
        if told < DISGUISE and _speaks_of_all(some, counts) and shared(some) >= SURE:
            told = DISGUISE
        if told < DISGUISE and len(counts) == 2:
            told = max(told, _of_one(counts))
        if told > best[0]:
            best = told, goal
    return best


def _of_one(counts: NDArray[np.int64]) -> float:
    """The share of information of a column of two values and the one common label it marks best."""
    rows = counts.sum(axis=0)
    common = np.flatnonzero(rows >= max(20, COMMON * rows.sum()))
    return max((shared(np.stack([counts[:, one], counts.sum(axis=1) - counts[:, one]], axis=1)) for one in common), default=0.0)  # fmt: skip


def _speaks_of_all(some: NDArray[np.int64], counts: NDArray[np.int64]) -> bool:
    """Whether the rows of `some` hold a fair share of every label: what tells one label may be its behaviour."""
    rows = counts.sum(axis=0)
    common = rows >= max(20, COMMON * rows.sum())
    return bool(common.sum() > 1 and (some.sum(axis=0) >= PARTLY * rows)[common].all())


def shared(counts: NDArray[np.int64]) -> float:
    """Mutual information as a share of the larger of two entropies: 1 for a one-to-one table."""
    rows, columns, both = entropy(counts.sum(axis=1)), entropy(counts.sum(axis=0)), entropy(counts)
    larger = max(float(rows), float(columns))
    return float(rows + columns - both) / larger if larger > 0 else 0.0


def _where_filled(view: View, name: str) -> Gain:
    """The gain over the rows that differ from the commonest value, if those are a fair share of every label."""
    column = view.table[name]
    place, size = view.bins(column) if column.dtype.is_numeric() else view.categories(column)
    count = np.bincount(place, minlength=size)
    rows = place != count.argmax()
    if count.max() < PARTLY * view.rows or not rows.any():
        return NOTHING
    if column.dtype.is_numeric():
        place, size = view.bins(pl.Series(np.where(rows, view.number(name), np.nan)))
    gain = view.gain_of(place, size, rows)
    goal = next((goal for goal in view.goals if goal.name == gain.goal), None)
    if gain.value < SURE or goal is None:
        return NOTHING
    k = len(goal.labels)
    some, every = (np.bincount(goal.codes[which], minlength=k)[None] for which in (rows, slice(None)))
    return gain if _speaks_of_all(some, every) else NOTHING


def alone(view: View) -> Iterator[Finding]:
    """Columns that by themselves give the label away."""
    for name in view.columns("number", "category", "text"):
        if view.dataset.fields[name].role in _IDENTITY or not view.seen(name):
            continue
        gain, how = view.gain(name), "alone tells"
        if PARTLY <= gain.value < ALL_BUT_KNOWS:
            filled = _where_filled(view, name)
            if filled.value >= SURE:
                gain, how = filled, "where it differs from its commonest value, tells"
        if gain.value < ALL_BUT_KNOWS and not view.table[name].dtype.is_numeric():
            pattern = _pattern(view, name)
            if pattern.value > gain.value:
                gain, how = pattern, "gives away, by the pattern of its text,"
        if gain.value >= ALL_BUT_KNOWS:
            yield Finding(
                "leak.alone", grade(gain.value, warning=ALL_BUT_KNOWS, serious=KNOWS),
                f"'{name}' {how} the {gain.goal} with a gain of {gain.value:.3f} over guessing, on rows it was not fitted to.",
                (name,), {"gain": round(gain.value, 4), "goal": gain.goal},
                examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}",
            )  # fmt: skip

"""The answer among the questions: columns that say the label in other words, or all but know it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import Goal, View, entropy

DISGUISE = 0.6
"""Share of what there is to know that column and label must tell of each other, both ways."""
KNOWS, ALL_BUT_KNOWS = 0.97, 0.9
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


def _both_ways(view: View, name: str) -> tuple[float, Goal | None]:
    """The smaller of the two shares of information, at the goal where it is largest."""
    best: tuple[float, Goal | None] = (0.0, None)
    if view.gain(name).value < 0.4:
        return best
    column = view.table[name]
    place, size = view.bins(column) if column.dtype.is_numeric() else view.categories(column)
    for goal in view.goals:
        counts = np.bincount(place * len(goal.labels) + goal.codes, minlength=size * len(goal.labels))
        counts = counts.reshape(size, len(goal.labels))
        used = int((counts.sum(axis=1) > 0).sum())
        if used < 2 or used > max(50, 4 * len(goal.labels)):
            continue
        told = shared(counts)
        if told > best[0]:
            best = told, goal
    return best


def shared(counts: NDArray[np.int64]) -> float:
    """Mutual information as a share of the larger of two entropies: 1 for a one-to-one table."""
    rows, columns, both = entropy(counts.sum(axis=1)), entropy(counts.sum(axis=0)), entropy(counts)
    larger = max(float(rows), float(columns))
    return float(rows + columns - both) / larger if larger > 0 else 0.0


def alone(view: View) -> Iterator[Finding]:
    """Columns that by themselves give the label away."""
    for name in view.columns("number", "category", "text"):
        if view.dataset.fields[name].role in _IDENTITY or not view.seen(name):
            continue
        gain = view.gain(name)
        if gain.value >= ALL_BUT_KNOWS:
            yield Finding(
                "leak.alone", grade(gain.value, warning=ALL_BUT_KNOWS, serious=KNOWS),
                f"'{name}' alone tells the {gain.goal} with a gain of {gain.value:.3f} over guessing, on rows it was not fitted to.",
                (name,), {"gain": round(gain.value, 4), "goal": gain.goal},
                examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}",
            )  # fmt: skip

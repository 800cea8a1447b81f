"""Rows that occur more than once, rows that differ in name only, and copies on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import View
from wirespeak.data.fingerprint import Keys, codes, copies, fingerprints, mixed

DIGITS = 2
"""Numbers that agree to so many significant digits are near."""


def duplicates(view: View) -> Iterator[Finding]:
    """Exact copies, copies without identifiers, near copies; each by class."""
    features = view.dataset.features()
    whole = copies(view.whole) > 0
    label = _words(view)
    behaviour = copies(mixed(view.behaviour + label)) > 0
    near = copies(_rounded(view, features) + label) > 0
    kinds = (
        ("duplicates.exact", whole, "are copies of an earlier row", "--dedupe"),
        ("duplicates.features", behaviour, "are copies of an earlier row once row numbers, times, addresses and ports are left out", "--by group"),
        ("duplicates.near", near, f"agree with an earlier row to {DIGITS} digits in every feature", "--by group"),
    )  # fmt: skip
    said = -1
    for kind, again, words, remedy in kinds:
        count = int(again.sum())
        share = count / max(1, view.rows)
        if count and count != said:
            severity = "info" if kind == "duplicates.near" else grade(share, warning=0.01, serious=0.2)
            examples = view.examples(np.flatnonzero(again), features)
            yield Finding(
                kind, severity, f"{count:,} of {view.rows:,} rows ({share:.1%}) {words}.", (),
                {"rows": view.rows, "copies": count, "distinct": view.rows - count, "share": round(share, 5)},
                _by_class(view, again), examples, remedy,
            )  # fmt: skip
        said = count


def conflicts(view: View) -> Iterator[Finding]:
    """Rows that are equal in all but the label."""
    goal = view.goals[-1] if view.goals else None
    if goal is None:
        return
    order = np.argsort(view.behaviour, kind="stable")
    keys = view.behaviour[order]
    start, size, torn = _torn(keys, goal.codes[order])
    rows = int(size[torn].sum())
    if not rows:
        return
    share = rows / view.rows
    first = start[torn][0]
    group = order[first : first + size[torn][0]]
    _, one_each = np.unique(goal.codes[group], return_index=True)
    yield Finding(
        "labels.conflict",
        grade(share, warning=0.002, serious=0.05),
        f"{rows:,} of {view.rows:,} rows ({share:.1%}) have the features of a row with another label: no detector can be right on all of them.",
        (),
        {
            "rows": rows,
            "groups": int(torn.sum()),
            "share": round(share, 5),
            "goal": goal.name,
            "rows_normal_and_attack": _torn_rows(keys, view.binary.codes[order]),
        },  # fmt: skip
        examples=view.examples(group[one_each], view.dataset.features()),
        remedy="--by group",
    )


def _torn(
    keys: Keys, label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Groups of equal keys, which are sorted: where each starts, its size, whether it has several labels."""
    start = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    torn = np.maximum.reduceat(label, start) != np.minimum.reduceat(label, start)
    return start, np.diff(np.r_[start, len(keys)]), torn


def _torn_rows(keys: Keys, label: NDArray[np.int64]) -> int:
    _, size, torn = _torn(keys, label)
    return int(size[torn].sum())


def over_the_split(view: View) -> Iterator[Finding]:
    """Test rows that training holds too."""
    if view.parts is None:
        return
    for kind, keys, words, remedy in (
        ("split.rows", view.whole, "are in the training part too, exactly", "--dedupe"),
        ("split.duplicates", view.behaviour, "have the features of a training row", "--by group"),
    ):
        test = np.flatnonzero(view.parts == 1)
        known = np.isin(keys[test], keys[view.parts == 0])
        count, share = int(known.sum()), float(known.mean()) if len(test) else 0.0
        if count:
            again = np.zeros(view.rows, bool)
            again[test[known]] = True
            yield Finding(
                kind, grade(share, warning=0.002, serious=0.05),
                f"{count:,} of {len(test):,} test rows ({share:.1%}) {words}.", (),
                {"test_rows": len(test), "known": count, "share": round(share, 5)},
                _by_class(view, again, view.parts == 1), view.examples(test[known], view.dataset.features()), remedy,
            )  # fmt: skip


def _by_class(
    view: View, again: NDArray[np.bool_], among: NDArray[np.bool_] | None = None
) -> tuple[dict[str, str | int | float], ...]:
    table = pl.DataFrame({"label": view.dataset.labels.cast(pl.String), "again": again})
    table = table if among is None else table.filter(pl.Series(among))
    counted = (
        table.group_by("label")
        .agg(pl.len().alias("rows"), pl.col("again").sum())
        .sort("rows", "label", descending=[True, False])
    )
    return tuple(
        {"label": str(label), "rows": rows, "copies": again, "share": round(again / rows, 4)}
        for label, rows, again in counted.iter_rows()
    )


def _words(view: View) -> Keys:
    number, _ = codes(view.dataset.names)
    return mixed(number.astype(np.uint64), 3)


def _rounded(view: View, features: list[str]) -> Keys:
    """Rows as numbers, their numbers to `DIGITS` significant digits."""
    total = np.zeros(view.rows, np.uint64)
    for place, name in enumerate(features):
        column = view.table[name]
        if column.dtype.is_float() or column.dtype.is_integer():
            part, power = np.frexp(np.nan_to_num(column.cast(pl.Float32).fill_null(0).to_numpy()))
            # A mantissa of 0.5 to 1 in steps of 1/64 is two decimal digits at the coarsest.
            step = (np.rint(part * 64).astype(np.int64) * 4096 + power).view(np.uint64)
            total += mixed(step, place + 1)
        else:
            total += mixed(fingerprints(column.to_frame()), place + 1)
    return mixed(total)

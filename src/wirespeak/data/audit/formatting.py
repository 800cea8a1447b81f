"""How a value was written, where that tells the label though the value is the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import View, entropy
from wirespeak.data.dataset import EXPONENT, INTEGER, POINT_ZERO
from wirespeak.data.fingerprint import codes

TELLS = 0.3
"""Share of what there is to know about the label, among rows of one value, that the way of writing must tell."""
_LEAST = 8  # rows of one value
_DECIMALS = 4


def formats(view: View) -> Iterator[Finding]:
    """`0` against `0.0`, `GET` against `get `: through `Dataset.formats`, and through columns of text."""
    for name in view.dataset.formats.columns:
        if name in view.table.columns and view.table[name].dtype.is_numeric():
            form = view.dataset.formats[name].to_numpy()
            # These three can write the same whole number.
            rows = np.flatnonzero(np.isin(form, (INTEGER, POINT_ZERO, EXPONENT)))
            value = view.number(name)[rows]
            _, number = np.unique(value, return_inverse=True)
            yield from _finding(view, name, rows, number, form[rows].astype(np.int64))
    for name in view.columns("category", "text"):
        form, distinct = codes(view.table[name].cast(pl.String))
        meaning, meanings = codes(_meaning(distinct))
        if len(meanings) < len(distinct):
            yield from _finding(view, name, np.arange(view.rows), meaning[form], form)


def precision(view: View) -> Iterator[Finding]:
    """Numbers that were rounded for some labels and not for others; an odd last digit that knows the label."""
    for name in view.columns("number"):
        column = view.table[name]
        if not view.seen(name) or column.n_unique() <= 50:
            continue
        values = view.number(name)
        if column.dtype.is_integer():
            rows = np.isfinite(values)
            kind, what = np.where(rows, np.abs(values) % 2, 2).astype(np.int64), "whether it is odd"
        else:
            rows = np.isfinite(values) & (values != np.rint(values)) & (np.abs(values) < 1e9)
            kind, what = _decimals(np.where(rows, values, 0.5)), "how many decimals it has"
        if rows.sum() < max(40, view.rows // 20):
            continue
        gain = view.gain_of(kind, _DECIMALS + 2, rows)
        place, size = view.bins(column)
        if gain.value >= 0.6 and gain.value > view.gain_of(place, size, rows).value + 0.15:
            yield Finding(
                "leak.precision", grade(gain.value, warning=0.6, serious=0.9),
                f"'{name}' gives the {gain.goal} away by {what} (gain {gain.value:.3f}), not by its size.",
                (name,), {"gain": round(gain.value, 4), "rows": int(rows.sum())},
                examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}",
            )  # fmt: skip


def _decimals(values: NDArray[np.float64]) -> NDArray[np.int64]:
    found = np.full(len(values), _DECIMALS + 1, np.int64)
    for count in range(_DECIMALS, -1, -1):
        scaled = values * 10.0**count
        found[np.abs(scaled - np.rint(scaled)) < 1e-6 * np.maximum(1, np.abs(scaled))] = count
    return found


def _meaning(texts: pl.Series) -> pl.Series:
    """What a text says however it is written: a number as a number, other text without case and outer spaces."""
    plain = texts.str.strip_chars().str.to_lowercase()
    # A run of hex digits may read as a number with an exponent: only short ones are numbers.
    number = plain.str.extract(r"^([+-]?\d{1,15}(?:\.\d{0,15})?(?:e[+-]?\d{1,2})?)$", 1).cast(
        pl.Float64, strict=False
    )
    return pl.select(pl.coalesce(number.cast(pl.String), plain)).to_series()


def _finding(
    view: View, name: str, rows: NDArray[np.int64], value: NDArray[np.int64], form: NDArray[np.int64]
) -> Iterator[Finding]:
    if not view.goals or not len(rows):
        return
    goal = view.goals[0]
    forms, form = np.unique(form, return_inverse=True)
    label = goal.codes[rows]
    # Only values that are written in two ways or more say anything here.
    pairs = np.unique(value * len(forms) + form)
    ways = np.bincount(pairs // len(forms), minlength=int(value.max()) + 1)
    several = ways[value] > 1
    if several.sum() < max(_LEAST, view.rows * 0.02):
        return
    told, known = _information(value[several], form[several], label[several])
    share = told / known if known > 0 else 0.0
    if share >= TELLS:
        where = rows[several]
        _, shown = np.unique(form[several], return_index=True)
        yield Finding(
            "leak.format", grade(share, warning=TELLS, serious=0.6),
            f"'{name}' gives the label away by how its values are written: among {several.sum():,} rows whose value is written in several ways, the way tells {share:.0%} of the label.",
            (name,), {"told": round(share, 4), "rows": int(several.sum()), "ways": len(forms)},
            examples=view.examples(where[shown], [name]), remedy=f"--drop {name}",
        )  # fmt: skip


def _information(
    value: NDArray[np.int64], form: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[float, float]:
    """What the form tells of the label within each value, and what there is to know; in nats, summed over rows."""
    _, cell = np.unique(value * (form.max() + 1) + form, return_inverse=True)
    _, value = np.unique(value, return_inverse=True)
    by_cell = np.bincount(cell * 2 + label, minlength=2 * (cell.max() + 1)).reshape(-1, 2)
    by_value = np.bincount(value * 2 + label, minlength=2 * (value.max() + 1)).reshape(-1, 2)
    owner = np.empty(len(by_cell), np.int64)
    owner[cell] = value
    enough = by_value.sum(axis=1) >= _LEAST
    # Small tables tell too much: half a nat for each cell beyond the first (Miller 1955).
    before = (entropy(by_value, axis=1) * by_value.sum(axis=1))[enough]
    after = (entropy(by_cell, axis=1) * by_cell.sum(axis=1))[enough[owner]]
    bias = 0.5 * (enough[owner].sum() - enough.sum())
    return float(before.sum() - after.sum() - bias), float(before.sum())

"""How a value was written, where that tells the label though the value is the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import View, entropy
from wirespeak.data.dataset import OTHER
from wirespeak.data.fingerprint import codes

TELLS = 0.3
"""Share of what there is to know about the label, among rows of one value, that the way of writing must tell."""
_LEAST = 8  # rows of one value
_DECIMALS = 4
_SAME = dict.fromkeys(("-", "none", "null", "nan", "na", "n/a", "nil", "?"), "") | {
    "true": "1", "yes": "1", "false": "0", "no": "0",
}  # fmt: skip


def formats(view: View) -> Iterator[Finding]:
    """`0` against `0.0`, `GET` against `get `: through `Dataset.formats`, and through columns of text."""
    for name in view.dataset.formats.columns:
        if view.dataset.fields[name].role != "label":
            form = view.dataset.formats[name].fill_null(OTHER).to_numpy().astype(np.int64)
            yield from _finding(view, name, _value(view, name), form)
    for name in view.columns("category", "text"):
        form, distinct = codes(view.table[name].cast(pl.String))
        meaning, meanings = codes(_meaning(distinct))
        if len(meanings) < len(distinct):
            yield from _finding(view, name, meaning[form], form)


def _value(view: View, name: str) -> NDArray[np.int64]:
    """The number of what each row says: numbers of like size are alike, but zero, whole numbers and fractions apart.

    Whether a whole number ends in .0 depends on who wrote it, an exponent on the size too; zero is often a default,
    written by someone else.
    """
    if view.table[name].dtype.is_numeric():
        values = view.number(name)
        return view.bins(view.table[name])[0] * 3 + np.where(values == 0, 0, 1 + (values != np.rint(values)))
    text, distinct = codes(view.table[name].cast(pl.String))
    return codes(_meaning(distinct))[0][text]


def precision(view: View) -> Iterator[Finding]:
    """Numbers that were rounded for some labels and not for others; a last digit that knows the label."""
    for name in view.columns("number"):
        column = view.table[name]
        if not view.seen(name) or column.n_unique() <= 50:
            continue
        values = view.number(name)
        if column.dtype.is_integer():
            rows = np.isfinite(values)
            kind, what = np.where(rows, np.abs(values) % 10, 0).astype(np.int64), "its last digit"
        else:
            rows = np.isfinite(values) & (values != np.rint(values)) & (np.abs(values) < 1e9)
            kind, what = _ending(np.where(rows, values, 0.5)), "its decimals"
        if rows.sum() < max(40, view.rows // 20):
            continue
        gain = view.gain_of(kind, 10 * (_DECIMALS + 2), rows)
        if gain.value >= 0.6 and gain.value > view.gain_of(*view.bins(column), rows).value + 0.15:
            yield Finding(
                "leak.precision", grade(gain.value, warning=0.6, serious=0.9),
                f"'{name}' gives the {gain.goal} away by {what} (gain {gain.value:.3f}), not by its size.",
                (name,), {"gain": round(gain.value, 4), "rows": int(rows.sum())},
                examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}",
            )  # fmt: skip


def _ending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many decimals each has, times ten, and the last of them; of more than can be counted, just that."""
    found = np.full(len(values), 10 * (_DECIMALS + 1), np.int64)
    for count in range(_DECIMALS, -1, -1):
        scaled = np.abs(values) * 10.0**count
        whole = np.rint(scaled)
        found = np.where(
            np.abs(scaled - whole) < 1e-9 * np.maximum(1, scaled), 10 * count + whole % 10, found
        )
    return found.astype(np.int64)


def _meaning(texts: pl.Series) -> pl.Series:
    """What a text says however it is written: a number as a number, nothing as nothing, the rest without case and outer spaces."""
    plain = texts.fill_null("").str.strip_chars().str.to_lowercase().replace(_SAME)
    # A run of hex digits may read as a number with an exponent: only short ones are numbers.
    number = plain.str.extract(r"^([+-]?\d{1,15}(?:\.\d{0,15})?(?:e[+-]?\d{1,2})?)$", 1).cast(
        pl.Float64, strict=False
    )
    return pl.select(pl.coalesce(number.cast(pl.String), plain)).to_series()


def _finding(view: View, name: str, value: NDArray[np.int64], form: NDArray[np.int64]) -> Iterator[Finding]:
    if not view.goals:
        return
    forms = int(form.max()) + 1
    # Only values that are written in two ways or more say anything here.
    ways = np.bincount(np.unique(value * forms + form) // forms, minlength=int(value.max()) + 1)
    rows = np.flatnonzero(ways[value] > 1)
    if len(rows) < max(_LEAST, view.rows * 0.02):
        return
    told, known = _information(value[rows], form[rows], view.goals[0].codes[rows])
    share = told / known if known > 0 else 0.0
    if share >= TELLS:
        _, shown = np.unique(form[rows], return_index=True)
        yield Finding(
            "leak.format", grade(share, warning=TELLS, serious=0.6),
            f"'{name}' gives the label away by how its values are written: among {len(rows):,} rows whose value is written in several ways, the way tells {share:.0%} of the label.",
            (name,), {"told": round(share, 4), "rows": len(rows)},
            examples=view.examples(rows[shown], [name]), remedy=f"--drop {name}",
        )  # fmt: skip


def _information(
    value: NDArray[np.int64], form: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[float, float]:
    """What the form tells of the label within each value, and what there is to know; in nats, summed over rows."""
    k = int(label.max()) + 1
    _, cell = np.unique(value * (form.max() + 1) + form, return_inverse=True)
    _, value = np.unique(value, return_inverse=True)
    by_cell = np.bincount(cell * k + label, minlength=k * (cell.max() + 1)).reshape(-1, k)
    by_value = np.bincount(value * k + label, minlength=k * (value.max() + 1)).reshape(-1, k)
    owner = np.empty(len(by_cell), np.int64)
    owner[cell] = value
    enough = by_value.sum(axis=1) >= _LEAST
    # Small tables tell too much: half a nat for each cell beyond the first (Miller 1955).
    before = (entropy(by_value, axis=1) * by_value.sum(axis=1))[enough]
    after = (entropy(by_cell, axis=1) * by_cell.sum(axis=1))[enough[owner]]
    bias = 0.5 * (k - 1) * (enough[owner].sum() - enough.sum())
    return float(before.sum() - after.sum() - bias), float(before.sum())

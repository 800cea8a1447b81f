"""What sets things apart: two rows, two classes or two parts side by side, and a profile of each class.

How far a column sets one group of rows apart from another is its effect: Cliff's delta for numbers (the chance
that a row of the group is larger, less the chance that it is smaller: -1 to 1; Cliff 1993), and for categories the
largest difference of a share. Both read the same: 0 is no difference, 1 is none in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from wirespeak.data.dataset import Dataset
from wirespeak.errors import OptionError, unknown_name

_SAMPLE = 20_000
_SHOWN = 48


@dataclass(frozen=True)
class Trait:
    """A column that sets a group apart. effect: -1 to 1. here, there: a typical value in and outside the group.

    For a category `here` and `there` are shares of `value`, which may be ""; for a number medians.
    """

    column: str
    effect: float
    here: float
    there: float
    value: str = ""
    unit: str = ""
    category: bool = False


@dataclass(frozen=True)
class Profile:
    """One class: how many rows, what sets it apart (strongest first), and that in words."""

    label: str
    rows: int
    traits: tuple[Trait, ...]
    words: str


def profiles(dataset: Dataset, *, most: int = 6, least: float = 0.147) -> list[Profile]:
    """The profile of each label against all others, by name.

    least: effects below are left out; 0.147 is where Romano et al. (2006) end "negligible".
    """
    found = []
    for label in sorted(dataset.labels.drop_nulls().unique()):
        mine = (dataset.labels == label).fill_null(False).to_numpy()
        traits = tuple(trait for trait in traits_of(dataset, mine)[:most] if abs(trait.effect) >= least)
        found.append(
            Profile(
                str(label),
                int(mine.sum()),
                traits,
                _paragraph(str(label), int(mine.sum()), len(dataset), traits),
            )
        )
    return found


def traits_of(
    dataset: Dataset, mine: NDArray[np.bool_], other: NDArray[np.bool_] | None = None
) -> list[Trait]:
    """Every feature by how far it sets the rows `mine` apart from `other` (by default the rest), strongest first."""
    here = _sample(np.flatnonzero(mine))
    there = _sample(np.flatnonzero(~mine if other is None else other))
    if not len(here) or not len(there):
        return []
    found = []
    for name in dataset.features():
        column = dataset.table[name]
        trait = (
            _number(dataset, name, here, there)
            if column.dtype.is_numeric()
            else _category(column, here, there)
        )
        if trait is not None:
            found.append(trait)
    return sorted(found, key=lambda trait: (-abs(trait.effect), trait.column))


def two_rows(dataset: Dataset, first: int, second: int) -> pl.DataFrame:
    """Two rows side by side: column, first, second, same. Values as text. Raises OptionError for other rows."""
    for row in (first, second):
        if not 0 <= row < len(dataset):
            raise OptionError(f"row {row} is not there: {dataset.title} has rows 0 to {len(dataset) - 1}.")
    cells = [[_text(dataset.table[name][row]) for name in dataset.fields] for row in (first, second)]
    table = pl.DataFrame({"column": list(dataset.fields), "first": cells[0], "second": cells[1]})
    return table.with_columns(same=pl.col("first") == pl.col("second"))


def two_classes(dataset: Dataset, first: str, second: str) -> pl.DataFrame:
    """Two labels side by side: column, value (of a category), first, second, effect; strongest first."""
    known = [str(label) for label in dataset.labels.drop_nulls().unique()]
    for label in (first, second):
        if label not in known:
            raise unknown_name("label", label, known)
    mine, other = ((dataset.labels == label).fill_null(False).to_numpy() for label in (first, second))
    return _side_by_side(traits_of(dataset, mine, other))


def two_parts(dataset: Dataset, first: ArrayLike, second: ArrayLike) -> pl.DataFrame:
    """Two sets of rows side by side, as `two_classes`, with the share of each label first."""
    rows = [np.asarray(part, np.int64) for part in (first, second)]
    masks = [np.isin(np.arange(len(dataset)), part) for part in rows]
    shares = [dict(dataset.labels[part].value_counts(normalize=True).iter_rows()) for part in rows]
    labels = [
        Trait("label", here - there, here, there, str(label), category=True)
        for label in sorted({*shares[0], *shares[1]})
        for here, there in [(float(shares[0].get(label, 0)), float(shares[1].get(label, 0)))]
    ]
    return _side_by_side([*labels, *traits_of(dataset, *masks)])


def _number(dataset: Dataset, name: str, here: NDArray[np.int64], there: NDArray[np.int64]) -> Trait | None:
    values = dataset.table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    mine, other = (part[~np.isnan(part)] for part in (values[here], values[there]))
    if not len(mine) or not len(other):
        return None
    other = np.sort(other)
    below, upto = np.searchsorted(other, mine, "left"), np.searchsorted(other, mine, "right")
    delta = float((below - (len(other) - upto)).mean() / len(other))
    return Trait(name, delta, float(np.median(mine)), float(np.median(other)), unit=dataset.fields[name].unit)


def _category(column: pl.Series, here: NDArray[np.int64], there: NDArray[np.int64]) -> Trait | None:
    shares = [
        dict(column[part].cast(pl.String).fill_null("").value_counts(normalize=True).iter_rows())
        for part in (here, there)
    ]
    gaps = {
        value: float(shares[0].get(value, 0)) - float(shares[1].get(value, 0))
        for value in {*shares[0], *shares[1]}
    }
    value = min(gaps, key=lambda name: (-abs(gaps[name]), name))
    return Trait(
        column.name,
        gaps[value],
        float(shares[0].get(value, 0)),
        float(shares[1].get(value, 0)),
        str(value)[:_SHOWN],
        category=True,
    )


def _paragraph(label: str, rows: int, of: int, traits: Sequence[Trait]) -> str:
    """One paragraph a person reads; every number in it stands in a trait."""
    opening = f"{label}: {rows:,} of {of:,} rows ({rows / of:.1%})."
    if not traits:
        return f"{opening} No column sets it apart from the rest."
    said = []
    for trait in traits:
        if trait.category:
            said.append(
                f"{trait.column} is '{trait.value}' in {trait.here:.0%} of its rows against {trait.there:.0%} of the others"
            )
        elif trait.here == trait.there:
            said.append(
                f"{trait.column} is more often {'larger' if trait.effect > 0 else 'smaller'} than elsewhere, with the same median {_amount(trait.here, trait.unit)}"
            )
        else:
            more = "larger" if trait.effect > 0 else "smaller"
            said.append(
                f"{trait.column} is {more}: a median of {_amount(trait.here, trait.unit)} against {_amount(trait.there, trait.unit)}"
            )
    strength = "sets it apart clearly" if abs(traits[0].effect) >= 0.474 else "sets it apart somewhat"
    return f"{opening} What {strength}: {'; '.join(said)}."


def _amount(value: float, unit: str) -> str:
    return f"{value:,.4g}{' ' + unit if unit else ''}"


def _side_by_side(traits: Sequence[Trait]) -> pl.DataFrame:
    return pl.DataFrame(
        [(t.column, t.value, t.here, t.there, round(t.effect, 4)) for t in traits],
        schema={
            "column": pl.String,
            "value": pl.String,
            "first": pl.Float64,
            "second": pl.Float64,
            "effect": pl.Float64,
        },
        orient="row",
    )


def _sample(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most so many rows, evenly spread."""
    return rows if len(rows) <= _SAMPLE else rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]


def _text(value: object) -> str:
    return "" if value is None else str(value)[:_SHOWN]

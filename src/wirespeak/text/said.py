"""What every level shares: each distinct value of a column is put into words once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from wirespeak.schema import Column

_ROUNDED = ("number", "share", "deviations")
DIGITS = 3
"""Significant digits that a sentence keeps of a number that is no count."""


def spoken(
    values: pl.Series, column: Column, say: Callable[[Any, Column], str], *, whole: bool = False
) -> pl.Series:
    """What `say` says of each value, "" at the column's default; named after the column.

    whole: keep whole numbers exact, where others are rounded.
    """
    if column.kind in _ROUNDED:
        values = values.cast(pl.Float64).fill_nan(None)
        rounded = values.round_sig_figs(DIGITS)
        values = values.zip_with(values == values.floor(), rounded) if whole else rounded
    filled = values if column.nullable else values.fill_null(column.default)
    distinct = filled.unique()
    words = ["" if value == column.default else say(value, column) for value in distinct.to_list()]
    told = filled.replace_strict(distinct, pl.Series(words, dtype=pl.String), return_dtype=pl.String)
    return told.alias(column.name)

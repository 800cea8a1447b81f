"""`basic`, `detailed` and `rich`: flows in plain English, for large models and for people.

A level is a list of columns in `schema.LEVELS`. Each column at other than its default becomes one phrase; the
phrases are joined by semicolons, and `decode` reads them back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from wirespeak.errors import InputError, unknown_name
from wirespeak.schema import COLUMNS, LEVELS, Column


def encode(flows: pl.DataFrame, level: str) -> pl.Series:
    """One English sentence a flow at `level`. Whole numbers are exact, others keep 3 significant digits."""
    columns = level_columns(level)
    lines = []
    for row in flows.select([column.name for column in columns]).iter_rows():
        said = [
            _phrase(column, value)
            for column, value in zip(columns, row, strict=True)
            if value not in (None, column.default)
        ]
        text = "; ".join(said) or "nothing was measured"
        lines.append(text[0].upper() + text[1:] + ".")
    return pl.Series("sentence", lines, dtype=pl.String)


def decode(sentences: Sequence[str], level: str) -> pl.DataFrame:
    """The columns of `level` from its sentences. Raises InputError for a phrase that is none of ours."""
    columns = level_columns(level)
    patterns = [(column, _pattern(column)) for column in columns]
    data: dict[str, list[Any]] = {column.name: [column.default] * len(sentences) for column in columns}
    for row, sentence in enumerate(sentences):
        body = sentence.removesuffix(".")
        for phrase in (body[:1].lower() + body[1:]).split("; "):
            if phrase == "nothing was measured":
                continue
            match = next(((c, m) for c, pattern in patterns if (m := pattern.fullmatch(phrase))), None)
            if match is None:
                raise InputError(f"sentence {row}: '{phrase[:80]}' is no phrase of level {level}.")
            column, found = match
            data[column.name][row] = found[1] if column.kind == "category" else float(found[1])
    types = {column.name: pl.String if column.kind == "category" else pl.Float64 for column in columns}
    return pl.DataFrame(data, schema=types, strict=False)


def level_columns(level: str) -> tuple[Column, ...]:
    """The columns a level carries, in order. Raises OptionError for an unknown level."""
    if level not in LEVELS:
        raise unknown_name("level", level, ["compact", *LEVELS])
    return tuple(COLUMNS[name] for name in LEVELS[level])


def measured(column: Column, value: float | str) -> str:
    """A value with its unit as a person reads it: `1460 bytes`, `0.025 s`, `75 %`, `tcp`."""
    if isinstance(value, str):
        return value
    number = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"
    return f"{number} {column.unit}".rstrip()


def _phrase(column: Column, value: float | str) -> str:
    return column.phrase.format(measured(column, value))


def _pattern(column: Column) -> re.Pattern[str]:
    before, after = column.phrase.split("{}")
    value = (
        r"([\w-]+)"
        if column.kind == "category"
        else r"(-?\d+(?:\.\d+)?(?:e[+-]\d+)?)" + (f" {column.unit}" if column.unit else "")
    )
    return re.compile(re.escape(before) + value + re.escape(after))

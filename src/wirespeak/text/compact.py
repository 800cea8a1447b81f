"""`compact`: the sentence a small model reads. Reversible, and short because what is not there is not said.

One word a column, in the order of the schema. A word is the column's two-letter code and its value:
- categories  `pr:tcp`
- grades and tenths (small whole numbers)  `dg12`
- other numbers  `fbM1.46`: a decade letter (J is 10^0, K 10^1, M 10^3, I 10^-1), then a mantissa of at most
  three digits. The letter and the first digit make one token, so that a model sees the size first and the
  exact value second.
A column at its default (schema) is left out; null counts as the default.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.schema import Column, compact_columns

_DECADE_ZERO = ord("J")
_WORD = re.compile(r"([a-z]{2})(?::([\w-]+)|([A-Z])(\d(?:\.\d{1,2})?)|(\d{1,2}))")
_CARRIED = compact_columns()
_BY_CODE = {column.code: column for column in _CARRIED}


def encode(flows: pl.DataFrame) -> pl.Series:
    """The compact sentence of each flow, a string series as long as the table."""
    parts = [_words(flows[column.name], column) for column in _CARRIED]
    joined = pl.DataFrame(parts).select(pl.concat_str(pl.all(), separator="").str.strip_chars_start(" "))
    return joined.to_series().alias("sentence")


def decode(sentences: Sequence[str]) -> pl.DataFrame:
    """The columns the sentences carry, one row each; what is not said is the column's default.

    Raises InputError for a word that is none of ours.
    """
    data: dict[str, list[Any]] = {column.name: [column.default] * len(sentences) for column in _CARRIED}
    for row, sentence in enumerate(sentences):
        for word in sentence.split():
            found = _WORD.fullmatch(word)
            column = _BY_CODE.get(found[1]) if found else None
            if found is None or column is None:
                raise InputError(f"sentence {row}: '{word}' is no word of a compact sentence.")
            data[column.name][row] = _value(found)
    types = {column.name: pl.String if column.kind == "category" else pl.Float64 for column in _CARRIED}
    return pl.DataFrame(data, schema=types, strict=False)


def number_word(value: float) -> str:
    """A positive number as decade letter and mantissa, three significant digits.

    >>> number_word(1460), number_word(0.2), number_word(60), number_word(999.6)
    ('M1.46', 'I2', 'K6', 'M1')
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    return chr(_DECADE_ZERO + int(exponent)) + mantissa.rstrip("0").rstrip(".")


def _words(values: pl.Series, column: Column) -> pl.Series:
    """` codeVALUE` of each row, or "" at the default. Each distinct value is written once."""
    filled = values.fill_null(column.default)
    distinct = filled.unique()
    words = [_word(value, column) for value in distinct.to_list()]
    return filled.replace_strict(distinct, pl.Series(words, dtype=pl.String), return_dtype=pl.String).alias(
        column.name
    )


def _word(value: Any, column: Column) -> str:
    if value == column.default:
        return ""
    if column.kind == "category":
        return f" {column.code}:{value}"
    if column.kind in ("grade", "tenths"):
        return f" {column.code}{int(value)}"
    return f" {column.code}{number_word(float(value))}"


def _value(found: re.Match[str]) -> str | float:
    if found[2] is not None:
        return found[2]
    if found[5] is not None:
        return float(found[5])
    return float(f"{found[4]}e{ord(found[3]) - _DECADE_ZERO}")


def distinct_share(sentences: pl.Series) -> float:
    """Distinct sentences divided by sentences; 0 for none."""
    return float(sentences.n_unique() / len(sentences)) if len(sentences) else 0.0


def jitter(flows: pl.DataFrame, *, rng: np.random.Generator, share: float = 0.02) -> pl.DataFrame:
    """Rows a little beside the given ones, for training: what a slower link or a busier network would show.

    The sizes of a row are scaled by a common factor, its times shifted by a common step, grades moved by one;
    some finished TCP flows linger open for seconds before they close, and some were joined midway; a group of
    context columns (one window of one key) is now and then emptied, as in a capture that has just begun; and a
    `share` of the cells is set to its default. Keeps dtypes.
    """
    rows = len(flows)
    wide = rng.random(rows) < 0.3
    scale = np.exp(rng.normal(0, 1, rows) * np.where(wide, 0.5, 0.08))
    step = np.rint(rng.normal(0, 1.3, rows)) * (rng.random(rows) < 0.6)
    emptied = {
        group: rng.random(rows) < 0.06
        for group in sorted({context_group(column) for column in _CARRIED} - {""})
    }
    changed = []
    for column in _CARRIED:
        if column.kind == "category":
            continue
        values = flows[column.name]
        numbers = values.to_numpy().astype(np.float64)
        if column.name in ("fwd_packets", "bwd_packets"):
            numbers = np.where(wide & (numbers > 8), np.maximum(np.rint(numbers * scale), 1), numbers)
        elif column.kind == "bytes":
            numbers = np.rint(numbers * scale)
        elif column.name in ("duration_grade", "gap_grade"):
            numbers = np.where(numbers > 0, np.maximum(numbers + step, 0), 0)
        elif column.kind == "grade":
            moved = numbers + rng.integers(-1, 2, rows) * (rng.random(rows) < 0.25)
            numbers = np.where(numbers > 1, np.maximum(moved, 1), numbers)
        elif column.kind == "tenths":
            moved = np.clip(numbers + rng.integers(-1, 2, rows), 0, 10)
            numbers = np.where((numbers > 0) & (rng.random(rows) < 0.25), moved, numbers)
        gone = rng.random(rows) < share
        if group := context_group(column):
            gone |= emptied[group]
        changed.append(pl.Series(column.name, np.where(gone, 0.0, numbers)).cast(values.dtype))
    return _lingering(_joined_midway(flows.with_columns(changed), rng), rng)


def _joined_midway(flows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Some established TCP flows as a capture shows them that began after their handshake."""
    chosen = pl.Series(rng.random(len(flows)) < 0.04) & flows["state"].is_in(["SF", "S1", "RSTO", "RSTR"])
    return flows.with_columns(
        pl.when(chosen).then(pl.lit("OTH")).otherwise("state").alias("state"),
        pl.when(chosen).then(pl.lit("PA")).otherwise("flags").alias("flags"),
    )


def _lingering(flows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Some finished TCP flows as a server shows them that keeps connections open for seconds before it closes."""
    gap = rng.integers(10, 16, len(flows))
    chosen = pl.Series(rng.random(len(flows)) < 0.1) & (flows["state"] == "SF") & (flows["gap_grade"] < 10)
    packets = flows["fwd_packets"] + flows["bwd_packets"]
    slow = (1 + packets * 1000 / 2.0 ** pl.Series(gap)).log(2).floor().cast(flows["rate_grade"].dtype)
    return flows.with_columns(
        pl.when(chosen)
        .then(pl.Series(gap))
        .otherwise("gap_grade")
        .cast(flows["gap_grade"].dtype)
        .alias("gap_grade"),
        pl.when(chosen)
        .then(pl.max_horizontal(pl.Series(gap), "duration_grade"))
        .otherwise("duration_grade")
        .cast(flows["duration_grade"].dtype)
        .alias("duration_grade"),
        pl.when(chosen)
        .then(slow)
        .otherwise("rate_grade")
        .cast(flows["rate_grade"].dtype)
        .alias("rate_grade"),
    )


def context_group(column: Column) -> str:
    """The key and window of a context column, `src 60s`; "" for the flow's own."""
    found = re.match(r"(src|dst|pair)_\w+?_(2s|60s|100)(_|$)", column.name)
    return f"{found[1]} {found[2]}" if found else ""

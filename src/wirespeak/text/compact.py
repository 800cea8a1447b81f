"""`compact`: the sentence a small model reads. Reversible, and short because what is not there is not said.

One word a column, in the order of the columns. A word is the column's code (two letters, more where a table has more
than 676 columns) and its value:
- categories  `pr:tcp`, anything but letters, digits and `-._~` as `%2F`; an empty one `pr:`
- grades and tenths (small whole numbers)  `dg12`
- other numbers  `fbM1.46`: a decade letter (J is 10^0, K 10^1, M 10^3, I 10^-1), then a mantissa of at most
  three digits; `fb-M1.46` below zero, `fb0` for 0, `fb!` for infinity. The letter and the first digit make one
  token, so that a model sees the size first and the exact value second. Below 1e-9 is 0, above 9.99e16 is that.
- null, where it is a value of its own  `fb?`
A column at its default (schema) is left out; elsewhere null counts as the default.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.schema import Column, compact_columns
from wirespeak.text.said import spoken

_DECADE_ZERO = ord("J")
_LEAST, _MOST = 1e-9, 9.99e16
_WORD = re.compile(
    r"(?P<code>[a-z]{2,})(?::(?P<text>[\w.~%-]*)"
    r"|(?P<sign>-?)(?:(?P<decade>[A-Z])(?P<mantissa>\d(?:\.\d{1,2})?)|(?P<infinite>!))"
    r"|(?P<whole>\d{1,2})|(?P<null>\?))"
)
_CARRIED = compact_columns()


def encode(table: pl.DataFrame, columns: Sequence[Column] = _CARRIED) -> pl.Series:
    """The compact sentence of each row, a string series as long as the table. columns: of a flow by default."""
    parts = [spoken(table[column.name], column, _word) for column in columns]
    joined = pl.DataFrame(parts).select(pl.concat_str(pl.all(), separator="").str.strip_chars_start(" "))
    return joined.to_series().alias("sentence")


def decode(sentences: Sequence[str], columns: Sequence[Column] = _CARRIED) -> pl.DataFrame:
    """The columns the sentences carry, one row each; what is not said is the column's default.

    Raises InputError for a word that is none of ours.
    """
    by_code = {column.code: column for column in columns}
    data: dict[str, list[Any]] = {column.name: [column.default] * len(sentences) for column in columns}
    for row, sentence in enumerate(sentences):
        for word in sentence.split():
            found = _WORD.fullmatch(word)
            column = by_code.get(found["code"]) if found else None
            if found is None or column is None:
                raise InputError(f"sentence {row}: '{word}' is no word of a compact sentence.")
            data[column.name][row] = _value(found)
    types = {column.name: pl.String if column.kind == "category" else pl.Float64 for column in columns}
    return pl.DataFrame(data, schema=types, strict=False)


def number_word(value: float) -> str:
    """A number as sign, decade letter and mantissa, three significant digits.

    >>> number_word(1460), number_word(0.2), number_word(60), number_word(999.6), number_word(-3)
    ('M1.46', 'I2', 'K6', 'M1', '-J3')
    """
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size == float("inf"):
        return f"{sign}!"
    if size < _LEAST:
        return "0"
    mantissa, exponent = f"{min(size, _MOST):.2e}".split("e")
    return f"{sign}{chr(_DECADE_ZERO + int(exponent))}{mantissa.rstrip('0').rstrip('.')}"


def _word(value: Any, column: Column) -> str:
    if value is None:
        return f" {column.code}?"
    if column.kind == "category":
        return f" {column.code}:{quote(value, safe='')}"
    if column.kind in ("grade", "tenths"):
        return f" {column.code}{int(value)}"
    return f" {column.code}{number_word(float(value))}"


def _value(found: re.Match[str]) -> str | float | None:
    if found["null"]:
        return None
    if found["text"] is not None:
        return unquote(found["text"])
    if found["whole"] is not None:
        return float(found["whole"])
    size = float("inf") if found["infinite"] else float(
        f"{found['mantissa']}e{ord(found['decade']) - _DECADE_ZERO}"
    )  # fmt: skip
    return -size if found["sign"] else size


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

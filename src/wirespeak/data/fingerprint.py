"""Rows as 64-bit numbers that stay the same: across runs, machines, library versions and orders of columns.

A fingerprint depends on the values of a row and the names of its columns alone, so whatever is decided by it
(which side of a split a row is on) is decided for each row by itself. Two different rows share one with
probability 2**-64: among a million rows, about once in forty million tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_MISSING = np.uint64(0x6D697373696E6721)
_EXACT = 2**53  # integers up to here are floats too: 1 and 1.0 are one value


def fingerprints(table: pl.DataFrame, columns: Sequence[str] | None = None) -> Keys:
    """One number a row, equal where all `columns` (by default every one) are equal. Null equals null."""
    total = np.zeros(table.height, np.uint64)
    for name in table.columns if columns is None else columns:
        total += mixed(_values(table[name]), _word(name))
    return mixed(total)


def mixed(keys: Keys, seed: int = 0) -> Keys:
    """Keys stirred with a seed: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(keys: Keys, seed: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) for each key."""
    return (mixed(keys, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def words(values: pl.Series) -> Keys:
    """The key of each string, null included."""
    return _values(values.cast(pl.String))


def numbered(keys: Keys) -> NDArray[np.int64]:
    """Numbers from 0 that are equal where keys are, in order of first appearance."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse]


def copies(keys: Keys) -> NDArray[np.int64]:
    """How many equal keys came before each: 0 for the first of its kind, 1 for the second, ..."""
    order = np.argsort(keys, kind="stable")
    fresh = np.r_[True, keys[order][1:] != keys[order][:-1]] if len(keys) else np.zeros(0, bool)
    place = np.arange(len(keys))
    before = np.empty(len(keys), np.int64)
    before[order] = place - np.maximum.accumulate(np.where(fresh, place, 0))
    return before


def codes(values: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
    """A number from 0 for each string, and the strings in that order. Null is a value like another."""
    physical = values.cast(pl.Categorical).to_physical().fill_null(2**32 - 1).to_numpy()
    _, first, inverse = np.unique(physical, return_index=True, return_inverse=True)
    return inverse.astype(np.int64), values[first]


def _word(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _values(column: pl.Series) -> Keys:
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return _numbers(column.cast(pl.Int64) if column.dtype == pl.Boolean else column)
    inverse, distinct = codes(column.cast(pl.String))
    keys = [int(_MISSING) if text is None else _word(text) for text in distinct]
    return np.array(keys, np.uint64)[inverse] if keys else np.zeros(0, np.uint64)


def _numbers(column: pl.Series) -> Keys:
    missing = column.is_null().to_numpy()
    whole = column.dtype.is_integer()
    exact = column.fill_null(0).to_numpy()
    keys = (exact.astype(np.float64) + 0.0).view(np.uint64)  # adding zero makes -0.0 and 0.0 one value
    if whole and len(exact) and max(-int(exact.min()), int(exact.max())) > _EXACT:
        keys = np.where(np.abs(exact) > _EXACT, mixed(exact.astype(np.int64).view(np.uint64), 1), keys)
    if not whole:
        missing = missing | np.isnan(exact)
    return np.where(missing, _MISSING, keys) if missing.any() else keys

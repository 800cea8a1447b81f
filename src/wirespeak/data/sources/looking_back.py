"""Counts over the flows before each flow, as older datasets have them: the last so many, or those of the last seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def alike(
    pairs: Mapping[str, tuple[Numbers, Numbers]],
    *,
    most: int,
    time_ns: Numbers | None = None,
    seconds: float = 0.0,
) -> dict[str, Numbers]:
    """For each flow, how many of the flows up to it are like it, itself among them.

    pairs: for each count what a flow asks for, and what it is to the later ones: numbers that stand for values, in the order of the flows; two
    are alike where these are equal, and nothing is like a negative one. most: flows that are looked at, itself included. time_ns: with it
    only those that began at most `seconds` before.
    """
    count = len(next(iter(pairs.values()))[0])
    found = {name: np.zeros(count, np.int64) for name in pairs}
    for lag in range(min(most, count)):
        later, sooner = slice(lag, count), slice(0, count - lag)
        near: NDArray[np.bool_] | None = None
        if time_ns is not None:
            near = time_ns[later] - time_ns[sooner] <= seconds * 1e9
            if not near.any():
                break
        for name, (asked, told) in pairs.items():
            same = (asked[later] == told[sooner]) & (told[sooner] >= 0)
            found[name][later] += same if near is None else same & near
    return found


def codes(*columns: NDArray[np.generic] | Numbers) -> Numbers:
    """One number for each distinct combination of values."""
    whole = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, inverse = np.unique(column, return_inverse=True)
        _, whole = np.unique(whole * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    return whole.astype(np.int64)


def where(condition: NDArray[np.bool_], key: Numbers) -> Numbers:
    """The key of flows that fulfil a condition; no flow is like the others."""
    return np.where(condition, key, -1)

"""Rotary positions: how far each pair of a head's numbers turns from one token to the next.

Su et al., "RoFormer" (2021). Llama 3.1 and later stretch them for longer texts (`rope_type` llama3, as transformers
computes it): pairs that turn often within the length of pretraining stay, those that hardly turn are slowed by a factor,
and those between by something between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {
    "default": (),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""The kinds of stretching known here, and what each is told by."""

Rotation = Mapping[str, Any]
"""`rope_parameters` of a transformers config."""


def kind_of(rotation: Rotation) -> str:
    """The kind of stretching, one of KINDS where it is known here."""
    return str(rotation.get("rope_type", "default"))


def frequencies(rotation: Rotation, turned: int) -> NDArray[np.float64]:
    """Radians a token of each pair among `turned` numbers, [turned / 2], the fastest first.

    >>> frequencies({"rope_theta": 10000.0}, 4)
    array([1.  , 0.01])
    """
    return np.asarray(_plain(rotation, turned) / slowness(rotation, turned))


def slowness(rotation: Rotation, turned: int) -> NDArray[np.float64]:
    """How many times slower each pair turns than it would if nothing were stretched, [turned / 2]."""
    if kind_of(rotation) == "default":
        return np.ones(turned // 2)
    factor, few, many, length = (float(rotation[name]) for name in KINDS["llama3"])
    turns = length * _plain(rotation, turned) / (2 * np.pi)
    kept = np.clip((turns - few) / (many - few), 0.0, 1.0)
    return np.asarray(1.0 / ((1.0 - kept) / factor + kept))


def _plain(rotation: Rotation, turned: int) -> NDArray[np.float64]:
    return np.asarray(1.0 / rotation["rope_theta"] ** (np.arange(0, turned, 2, dtype=np.float64) / turned))

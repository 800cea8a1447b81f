"""Three promises. Whatever keeps one can be used wherever that promise is asked for.

Tables are polars frames whose columns `schema.COLUMNS` declares. Nothing here knows how a promise is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray


@runtime_checkable
class Detector(Protocol):
    """Judges flows."""

    name: str
    labels: tuple[str, ...]

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Detector:
        """Learn from labelled flows (one label a row) and return the fitted detector."""
        ...

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """Calibrated probabilities, shape (flows, labels), in the order of `labels`. A row of NaN is no answer."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything `predict` needs, without pickle."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Invents traffic of a named profile."""

    name: str
    profiles: tuple[str, ...]

    def sample(self, profile: str, *, seconds: float, seed: int) -> pl.DataFrame:
        """Packet steps of conversations (columns in `generate.script`), the same for the same seed."""
        ...


Turn = tuple[str, str]
"""Who speaks (system, user or assistant) and what is said."""

Prompt = str | tuple[Turn, ...]
"""What a model is shown: text as it stands, or turns that the runtime writes in the model's own chat template, ready
for the assistant to answer. A model without a template gets the contents, a line each."""


@runtime_checkable
class LanguageModel(Protocol):
    """Reads and writes text. Knows no network."""

    name: str

    def choose(
        self, prompts: Sequence[Prompt], answers: Sequence[str], *, per_token: bool = False
    ) -> NDArray[np.float32]:
        """Log-likelihood of each answer after each prompt, shape (prompts, answers), in natural logarithms.

        An answer's is summed over its tokens; per_token: divided by how many they are. Row i depends on prompt i
        alone, whatever else is in the call. A row of NaN is no usable answer.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        stop: str = "\n",
        temperature: float = 0.0,
        nucleus: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """The text the model writes after each prompt, up to `stop` or `max_tokens`. Temperature 0 is greedy.

        nucleus: draw from the likeliest tokens that together have this probability (Holtzman et al. 2020).
        """
        ...

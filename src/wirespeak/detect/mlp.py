"""A multilayer perceptron over standardised columns (scikit-learn)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra

# A small table is read more often, until so many steps were taken.
_STEPS = 400


@dataclass(kw_only=True)
class Perceptron(TableDetector):
    """Two hidden layers, Adam. width: of the first, the second has half. epochs: passes over the rows, more of a small table."""

    width: int = 128
    epochs: int = 15
    rate: float = 1e-3
    decay: float = 1e-4
    name: str = field(default="mlp", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.neural_network import MLPClassifier
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        self.model = MLPClassifier(
            (self.width, self.width // 2), alpha=self.decay, learning_rate_init=self.rate,
            batch_size=min(256, len(flows)), max_iter=max(self.epochs, _STEPS * 256 // len(flows)), random_state=self.seed,
        )  # fmt: skip
        with warnings.catch_warnings():  # the epochs are the budget
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.encoding.scaled(flows), codes, sample_weight=self.weights(codes))

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return np.asarray(self.model.predict_proba(self.encoding.scaled(flows)), np.float64)

    def _write(self, folder: Path) -> None:
        write_model(self.model, folder / "model.skops")

    def _read(self, folder: Path) -> None:
        self.model = read_model(folder / "model.skops")

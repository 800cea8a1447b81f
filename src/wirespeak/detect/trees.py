"""Trees over exact places of values: random forest, extremely random trees, histogram boosting (scikit-learn)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra


@dataclass(kw_only=True)
class _Trees(TableDetector):
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            self.model = self._untrained()
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        self._with_threads(lambda: self.model.fit(self.encoding.ranks(flows), codes, self.weights(codes)))

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return np.asarray(self._with_threads(lambda: self.model.predict_proba(self.encoding.ranks(flows))))

    def _untrained(self) -> Any:
        raise NotImplementedError

    def _with_threads(self, work: Any) -> Any:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(self.cores):
            return work()

    def _write(self, folder: Path) -> None:
        write_model(self.model, folder / "model.skops")

    def _read(self, folder: Path) -> None:
        self.model = read_model(folder / "model.skops")


@dataclass(kw_only=True)
class Forest(_Trees):
    """Random forest (Breiman 2001).

    trees: how many. leaf: fewest rows of a leaf. share: columns tried at a split, as a share of all, or "sqrt".
    """

    trees: int = 150
    leaf: int = 1
    share: float | str = "sqrt"
    name: str = field(default="forest", init=False)

    def _untrained(self) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "n_estimators": self.trees, "min_samples_leaf": self.leaf, "max_features": self.share,
            "random_state": self.seed, "n_jobs": self.cores,
        }  # fmt: skip


@dataclass(kw_only=True)
class ExtraTrees(Forest):
    """Extremely randomised trees (Geurts et al. 2006); options as of Forest. Cuts are drawn among places."""

    name: str = field(default="extra-trees", init=False)

    def _untrained(self) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(**self._settings())


@dataclass(kw_only=True)
class HistBoost(_Trees):
    """Gradient boosting over at most 255 bins a column (scikit-learn after LightGBM).

    rounds, rate: boosting rounds and their learning rate. leaves: of a tree. leaf: fewest rows of a leaf.
    ridge: penalty on leaf values.
    """

    rounds: int = 150
    rate: float = 0.08
    leaves: int = 31
    leaf: int = 10
    ridge: float = 1.0
    name: str = field(default="hist-boost", init=False)

    def _untrained(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=self.rounds, learning_rate=self.rate, max_leaf_nodes=self.leaves,
            min_samples_leaf=self.leaf, l2_regularization=self.ridge, early_stopping=False, random_state=self.seed,
        )  # fmt: skip

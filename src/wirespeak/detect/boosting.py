"""Gradient boosting by XGBoost and LightGBM, saved in their own text formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra


@dataclass(kw_only=True)
class XGBoost(TableDetector):
    """XGBoost (Chen and Guestrin 2016).

    rounds, rate: boosting rounds and their learning rate. depth: of a tree. ridge: penalty on leaf values.
    sample: share of rows and of columns a tree sees. bins: cuts considered of a column.
    """

    rounds: int = 150
    rate: float = 0.15
    depth: int = 8
    ridge: float = 1.0
    sample: float = 0.8
    bins: int = 1024
    name: str = field(default="xgboost", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        xgboost = _package("xgboost")
        settings = {
            "objective": "multi:softprob", "num_class": len(self.labels), "tree_method": "hist",
            "eta": self.rate, "max_depth": self.depth, "lambda": self.ridge, "subsample": self.sample,
            "colsample_bytree": self.sample, "max_bin": self.bins, "seed": self.seed, "nthread": self.cores,
            "verbosity": 0,
        }  # fmt: skip
        rows = xgboost.DMatrix(
            self.encoding.ranks(flows), codes, weight=self.weights(codes), nthread=self.cores
        )
        self.model = xgboost.train(settings, rows, self.rounds)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        rows = _package("xgboost").DMatrix(self.encoding.ranks(flows), nthread=self.cores)
        return np.asarray(self.model.predict(rows), np.float64)

    def _write(self, folder: Path) -> None:
        self.model.save_model(folder / "model.json")

    def _read(self, folder: Path) -> None:
        self.model = _package("xgboost").Booster({"nthread": self.cores}, model_file=folder / "model.json")


@dataclass(kw_only=True)
class LightGBM(TableDetector):
    """LightGBM (Ke et al. 2017), steadied for labels of a few dozen rows.

    Its defaults let the leaves of a rare label run away: the hessian of such a leaf is next to nothing. A slow
    rate, a ridge and smoothing towards the parent hold them. rounds, rate, leaves, leaf, ridge, sample, bins:
    as in HistBoost and XGBoost.
    """

    rounds: int = 200
    rate: float = 0.05
    leaves: int = 47
    leaf: int = 10
    ridge: float = 2.0
    smooth: float = 2.0
    sample: float = 0.7
    bins: int = 1023
    name: str = field(default="lightgbm", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        lightgbm = _package("lightgbm")
        settings = {
            "objective": "multiclass", "num_class": len(self.labels), "learning_rate": self.rate,
            "num_leaves": self.leaves, "min_data_in_leaf": self.leaf, "lambda_l2": self.ridge,
            "path_smooth": self.smooth, "feature_fraction": self.sample, "max_bin": self.bins,
            "bagging_fraction": self.sample, "bagging_freq": 1, "min_data_in_bin": 1, "seed": self.seed,
            "deterministic": True, "force_row_wise": True, "num_threads": self.cores, "verbosity": -1,
        }  # fmt: skip
        rows = lightgbm.Dataset(self.encoding.ranks(flows), codes, weight=self.weights(codes))
        self.model = lightgbm.train(settings, rows, self.rounds)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return np.asarray(self.model.predict(self.encoding.ranks(flows), num_threads=self.cores))

    def _write(self, folder: Path) -> None:
        self.model.save_model(folder / "model.txt")

    def _read(self, folder: Path) -> None:
        self.model = _package("lightgbm").Booster(model_file=folder / "model.txt")


def _package(name: str) -> Any:
    try:
        if name == "xgboost":
            import xgboost

            return xgboost
        import lightgbm

        return lightgbm
    except ImportError as error:
        raise missing_extra(name, "baselines") from error

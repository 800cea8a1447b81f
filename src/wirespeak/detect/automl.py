"""Detectors that search by themselves: FLAML, and AutoGluon where its own extra is installed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.table import duplicate_groups
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import InputError, OptionError, OutputError, missing_extra

_SEARCHED = ("lgbm", "rf", "extra_tree")
# Rows of a label for each fold below which the search leaves it out.
_OFTEN = 5


@dataclass(kw_only=True)
class Flaml(TableDetector):
    """FLAML (Wang et al. 2021) over LightGBM and forests, by folds that keep equal rows together.

    budget_s, trials: the search ends at whichever comes first; the same seed gives the same answers where that
    is `trials`. rows: the search sees so many at most, the final fit all.
    """

    budget_s: float = 300.0
    trials: int = 24
    folds: int = 3
    rows: int = 30_000
    calibrate: bool = False
    name: str = field(default="flaml", init=False)
    model: Any = field(default=None, init=False, repr=False)
    found: dict[str, Any] = field(default_factory=dict, init=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            from flaml import AutoML
            from sklearn.model_selection import GroupKFold
        except ImportError as error:
            raise missing_extra("flaml", "baselines") from error
        rows = self.encoding.ranks(flows)
        # A label that a fold does not learn breaks the log-loss: labels of few rows are left out of the search.
        groups = duplicate_groups(flows)
        rng = np.random.default_rng(self.seed)
        inside = rng.permutation(np.flatnonzero(np.bincount(codes)[codes] >= _OFTEN * self.folds))[
            : self.rows
        ]
        truth = np.unique(codes[inside], return_inverse=True)[1]
        if truth.max(initial=0) < 1:
            raise InputError(
                f"flaml needs two labels of {_OFTEN * self.folds} rows or more to search with. Give it more rows or fewer folds."
            )
        best = None
        # FLAML's choice between kinds follows the clock, its choice within a kind does not: one search a kind.
        for kind in _SEARCHED:
            search = AutoML()
            search.fit(
                rows[inside], truth, task="classification", metric="log_loss", estimator_list=[kind],
                time_budget=self.budget_s / len(_SEARCHED), max_iter=max(2, self.trials // len(_SEARCHED)),
                starting_points={kind: {"n_estimators": 60}}, eval_method="cv",
                split_type=GroupKFold(self.folds), groups=groups[inside], n_jobs=self.cores, seed=self.seed,
                verbose=0, retrain_full=False, early_stop=False, sample=False,
            )  # fmt: skip
            if search.best_config and (best is None or search.best_loss < best.best_loss):
                best = search
        if best is None:
            raise OptionError(
                f"flaml found nothing in {self.budget_s:g} s. Give it more (budget_s) or fewer rows (rows)."
            )
        maker = best._trained_estimator
        settings = {key: _plain(value) for key, value in maker.params.items()}
        self.found = {
            "estimator": best.best_estimator,
            "settings": settings,
            "log_loss": float(best.best_loss),
        }
        self.model = maker.estimator_class(**settings | {"random_state": self.seed})
        self.model.fit(rows, codes, sample_weight=self.weights(codes))

    def _chances(self, flows: pl.DataFrame) -> Chances:
        rows = self.encoding.ranks(flows)
        if not self._is_booster():
            return np.asarray(self.model.predict_proba(rows), np.float64)
        said = np.asarray(self.model.predict(rows), np.float64)
        # Of two labels a booster gives the second's probability alone.
        return np.stack([1 - said, said], axis=1) if said.ndim == 1 else said

    def _is_booster(self) -> bool:
        return type(self.model).__name__ == "Booster"

    def _kept(self) -> dict[str, Any]:
        return {"found": self.found}

    def _restore(self, card: dict[str, Any]) -> None:
        self.found = dict(card["found"])

    def _write(self, folder: Path) -> None:
        if self.found["estimator"] == "lgbm":
            booster = self.model if self._is_booster() else self.model.booster_
            booster.save_model(folder / "model.txt")
        else:
            write_model(self.model, folder / "model.skops")

    def _read(self, folder: Path) -> None:
        if self.found["estimator"] == "lgbm":
            import lightgbm

            self.model = lightgbm.Booster(model_file=folder / "model.txt")
        else:
            self.model = read_model(folder / "model.skops")


@dataclass(kw_only=True)
class AutoGluon(TableDetector):
    """AutoGluon tabular (Erickson et al. 2020), for comparison. It keeps its models as pickle, so it cannot be saved.

    budget_s: how long it may search. preset: as AutoGluon names them.
    """

    budget_s: float = 600.0
    preset: str = "medium_quality"
    calibrate: bool = False
    name: str = field(default="autogluon", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            from autogluon.tabular import TabularPredictor
        except ImportError as error:
            raise missing_extra("autogluon.tabular", "autogluon") from error
        table = self._table(flows)
        table["_label"] = codes
        self._folder = tempfile.TemporaryDirectory(prefix="wirespeak-autogluon-")
        self.model = TabularPredictor(
            "_label", problem_type="multiclass", eval_metric="log_loss", path=self._folder.name, verbosity=0
        ).fit(table, time_limit=self.budget_s, presets=self.preset, num_cpus=self.cores)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        # AutoGluon leaves labels of very few rows out of its answer.
        said = self.model.predict_proba(self._table(flows)).reindex(
            columns=range(len(self.labels)), fill_value=0.0
        )
        return np.asarray(said.to_numpy(), np.float64)

    def _table(self, flows: pl.DataFrame) -> Any:
        import pandas

        return pandas.DataFrame(self.encoding.ranks(flows), columns=[c.name for c in self.encoding.columns])

    def save(self, folder: Path) -> None:
        """Refuse: AutoGluon knows no form but pickle, which runs code when it is read."""
        raise OutputError(
            "an autogluon detector cannot be saved: AutoGluon writes pickle, which Wirespeak neither writes nor reads. "
            "Keep its predictions, or train 'flaml' or 'tuned' instead."
        )

    def _write(self, folder: Path) -> None:
        self.save(folder)

    def _read(self, folder: Path) -> None:
        raise missing_extra("autogluon.tabular", "autogluon")


def _plain(value: Any) -> Any:
    """numpy's numbers and words as Python's."""
    return str(value) if isinstance(value, str) else value.item() if isinstance(value, np.generic) else value

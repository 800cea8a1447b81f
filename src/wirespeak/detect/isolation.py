"""The unsupervised case: an isolation forest that knows ordinary rows and calls the rest unknown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.language import UNKNOWN
from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra

# What datasets call ordinary traffic.
ORDINARY = ("normal", "benign", "benigntraffic", "legitimate")


@dataclass(kw_only=True)
class Isolation(TableDetector):
    """Isolation forest (Liu et al. 2008) over standardised columns.

    Learns from the rows labelled ordinary, or from all rows where no label is; no other label is looked at.
    Answers two labels, the ordinary one and `unknown`. alarms: the share of ordinary rows at which `unknown`
    becomes the likelier.
    """

    trees: int = 200
    rows: int = 1024
    alarms: float = 0.05
    calibrate: bool = False
    name: str = field(default="isolation-forest", init=False)
    model: Any = field(default=None, init=False, repr=False)
    middle: float = field(default=0.0, init=False)
    slope: float = field(default=1.0, init=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            from sklearn.ensemble import IsolationForest
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        usual = ordinary(self.labels)
        rows = flows if usual is None else flows.filter(pl.Series(codes == self.labels.index(usual)))
        self.labels = (usual or "normal", UNKNOWN)
        self.model = IsolationForest(
            n_estimators=self.trees,
            max_samples=min(self.rows, len(rows)),
            random_state=self.seed,
            n_jobs=self.cores,
        )
        seen = self.encoding.scaled(rows)
        strange = -self.model.fit(seen).score_samples(seen)
        self.middle = float(np.quantile(strange, 1 - self.alarms))
        self.slope = 1 / max(float(strange.std()), 1e-6)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        strange = -self.model.score_samples(self.encoding.scaled(flows))
        chance = 1 / (1 + np.exp(-self.slope * (strange - self.middle)))
        return np.stack([1 - chance, chance], axis=1)

    def _kept(self) -> dict[str, Any]:
        return {"middle": self.middle, "slope": self.slope}

    def _restore(self, card: dict[str, Any]) -> None:
        self.middle, self.slope = float(card["middle"]), float(card["slope"])

    def _write(self, folder: Path) -> None:
        write_model(self.model, folder / "model.skops")

    def _read(self, folder: Path) -> None:
        self.model = read_model(folder / "model.skops")


def ordinary(labels: tuple[str, ...]) -> str | None:
    """The label that means ordinary traffic, whatever its spelling; None where there is none.

    >>> ordinary(("BENIGN", "DoS Hulk"))
    'BENIGN'
    """
    return next((label for label in labels if label.casefold() in ORDINARY), None)

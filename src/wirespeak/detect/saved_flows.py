"""A detector that was fitted to recordings, judging the flows of captures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.detect import drawer
from wirespeak.detect.tabular import TableDetector
from wirespeak.errors import InputError


class OfFlows:
    """Keeps contracts.Detector for flow tables, which hold more columns than a detector learns from."""

    def __init__(self, inner: TableDetector) -> None:
        self.inner, self.name, self.labels = inner, inner.name, inner.labels

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """Probabilities, float32 [flows, labels]."""
        known = [column.name for column in self.inner.encoding.columns]
        return self.inner.predict(flows.select(name for name in known if name in flows.columns))

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> OfFlows:
        """Fit what is inside."""
        return OfFlows(self.inner.fit(flows, labels, seed=seed))

    def save(self, folder: Path) -> None:
        """Save what is inside."""
        self.inner.save(folder)


def load_saved(folder: Path, *, device: str = "auto") -> Detector:
    """The detector in `folder`. Raises InputError where it knows another table than flows."""
    found = drawer.load(folder, device=device)
    if "src_flows_60s" not in {column.name for column in found.encoding.columns}:
        raise InputError(
            f"{folder}: this detector learnt another table than the flows of captures. Give it the files of that dataset."
        )
    return OfFlows(found)

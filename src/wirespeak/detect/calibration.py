"""What rows that trained nothing say of a detector: when it may answer, and what its rows look like.

Kept beside the detector, so that it can say "I don't know" at a stated error rate later, and notice when what it
judges no longer looks like what it was calibrated on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.detect.abstain import Abstention
from wirespeak.detect.drift import Drift
from wirespeak.errors import ModelError

_CARD, _ROWS, _NOVELTY = "calibration.json", "calibration.parquet", "novelty of the row"

Chances = NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """When to answer, and the rows that say so with the novelty of each (column `_NOVELTY`)."""

    abstention: Abstention
    rows: pl.DataFrame

    @classmethod
    def of(cls, detector: Detector, rows: pl.DataFrame, labels: pl.Series, *, seed: int = 0) -> Calibration:
        """Calibrate `detector` on rows that it did not learn from, each distinct one once."""
        distinct = rows.with_columns(labels.alias(_NOVELTY)).unique(maintain_order=True)
        known = {label: code for code, label in enumerate(detector.labels)}
        codes = distinct[_NOVELTY].replace_strict(known, default=-1, return_dtype=pl.Int64).to_numpy()
        table = distinct.drop(_NOVELTY)
        chances = detector.predict(table)
        abstention = Abstention.fit(chances, codes, labels=detector.labels, seed=seed)
        strange = pl.Series(_NOVELTY, abstention.novelty(chances))
        return cls(abstention, table.with_columns(strange))

    def at(self, error: float) -> Abstention:
        """The abstention at another error rate."""
        return replace(self.abstention, error=error)

    def watch(self, *, seed: int = 0) -> Drift:
        """A watch over rows to come."""
        return Drift(self.rows.drop(_NOVELTY), self.rows[_NOVELTY].to_numpy(), seed=seed)

    def write(self, folder: Path) -> None:
        """Two files."""
        card = json.dumps(self.abstention.card(), allow_nan=False)
        (folder / _CARD).write_text(card + "\n", encoding="utf-8")
        self.rows.write_parquet(folder / _ROWS, compression="zstd")

    @classmethod
    def read(cls, folder: Path) -> Calibration | None:
        """What `write` wrote; None where a detector was never calibrated. Raises ModelError for damaged files."""
        if not (folder / _CARD).is_file():
            return None
        try:
            card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
            return cls(Abstention.from_card(card), pl.read_parquet(folder / _ROWS))
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"{folder}: its calibration cannot be read ({reason}). Train it again."
            ) from error

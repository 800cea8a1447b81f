"""What a detector that was calibrated says of its own answers: when it keeps silent, and whether its promises hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.abstain import UNKNOWN
from wirespeak.detect.calibration import Calibration
from wirespeak.detect.cascade import Report
from wirespeak.errors import OptionError
from wirespeak.interfaces.output import Run

Chances = NDArray[np.float32]


class Sure:
    """Abstention and drift of one run.

    error: the error rate at which to say `unknown` rather than guess; None lets every answer stand. Raises OptionError
    where one is asked of a detector that was never calibrated.
    """

    def __init__(self, detector: Any, error: float | None) -> None:
        found: Calibration | None = getattr(detector, "calibration", None)
        if error is not None and found is None:
            raise OptionError(
                f"--abstain is for language models and cascades that 'wirespeak train' made, and {detector.name} was "
                "not calibrated. Leave it out."
            )
        self.labels: tuple[str, ...] = tuple(detector.labels)
        self.error = error
        self.abstention = found.at(error or found.abstention.error) if found else None
        self.drift = found.watch() if found else None
        self.said: list[str] = []
        self.notes: dict[str, Any] = {}
        self.warnings: list[str] = []

    def see(self, rows: pl.DataFrame, chances: Chances) -> None:
        """Watch rows go by, each distinct one once, in their order."""
        if self.drift is None or self.abstention is None or rows.is_empty():
            return
        strange = pl.Series("novelty", self.abstention.novelty(chances))
        seen = (
            rows.select(usual.name for usual in self.drift.usual)
            .with_columns(strange)
            .unique(maintain_order=True)
            .drop_nulls("novelty")
        )
        self.drift.see(seen.drop("novelty"), seen["novelty"].to_numpy())

    def spoken(self, verdicts: pl.DataFrame, chances: Chances) -> pl.DataFrame:
        """The verdicts, `unknown` where the error rate allows no single label."""
        if self.error is None or self.abstention is None:
            return verdicts
        answers = self.abstention.answers(chances[np.isfinite(chances).all(axis=1)])
        judged = verdicts["set_aside"].is_null() | verdicts["label"].is_not_null()
        silent = pl.Series("silent", [False] * len(verdicts))
        silent = silent.scatter(judged.arg_true(), (answers["label"] == UNKNOWN).fill_null(False))
        reasons = answers["reason"].filter(answers["label"] == UNKNOWN).value_counts().sort("reason").rows()
        self.notes["abstained"] = {"error": self.error, **dict(reasons)}
        return verdicts.with_columns(
            pl.when(silent).then(pl.lit(UNKNOWN)).otherwise(pl.col(name)).alias(name)
            for name in ("label", "canonical")
        )

    def measure(self, chances: Chances, truth: pl.Series) -> None:
        """What was promised and what was got, where the truth is known."""
        if self.abstention is None:
            return
        known = {label: code for code, label in enumerate(self.labels)}
        codes = truth.replace_strict(known, default=-1, return_dtype=pl.Int64).to_numpy()
        found = self.abstention.coverage(chances, codes)
        self.notes["coverage"] = found.to_dicts()
        whole = found.row(0, named=True)
        self.said.append(
            f"the true label is plausible in {whole['covered']:.1%} of rows (promised {whole['promised']:.0%}); "
            f"{whole['answered']:.1%} have one plausible label"
        )
        if whole["broken"]:
            self.warnings.append(
                f"the true label is among the plausible ones in {whole['covered']:.1%} of rows, and {whole['promised']:.0%} was "
                "promised: these rows are not like those that calibrated the detector."
            )

    def note(self, run: Run) -> None:
        """Put all of it on the run's record."""
        if self.drift is not None and self.drift.rows:
            self.notes["drift"] = {
                "alarm": self.drift.alarm, "distinct_rows": self.drift.rows, "says": self.drift.says(),
                "moved": self.drift.moved().to_dicts(),
            }  # fmt: skip
            if self.drift.alarm is not None:
                self.said.append(self.drift.says().rstrip("."))
        run.notes |= self.notes
        run.warnings += self.warnings


def stages(detector: Any, run: Run) -> str:
    """Who answered what in a cascade, noted in `run`, as a person reads it; "" for any other detector.

    >>> class Plain: ...
    >>> stages(Plain(), Run("detect"))
    ''
    """
    report = getattr(detector, "report", None)
    if not isinstance(report, Report):
        return ""
    told = report.table()
    run.notes["stages"] = told.to_dicts()
    answered = [f"{stage} {share:.1%}" for stage, share in told.select("stage", "share").rows() if share]
    over = f", {report.over_budget:,} left to an earlier stage by the budget" if report.over_budget else ""
    return f"answered by {', '.join(answered)}{over}"

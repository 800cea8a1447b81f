"""From flows to what a person opens: `verdicts.parquet`, `incidents.json` and `report.html` in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak import explain
from wirespeak.contracts import Detector
from wirespeak.detect.verdicts import judge
from wirespeak.evaluate.metrics import confusion
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.records import Incident


@dataclass(frozen=True)
class Findings:
    """What came of judging a table of flows. confusion: truth, answer, n, where the truth is known."""

    flows: pl.DataFrame
    verdicts: pl.DataFrame
    incidents: list[Incident]
    confusion: pl.DataFrame | None
    distinct: float | None


def find(
    flows: pl.DataFrame, detector: Detector, *, labels: Sequence[str] | None = None, progress: Say = quiet
) -> Findings:
    """Judge flows, gather incidents and explain them. labels: the true label of each flow, if known.

    The language model of a language detector also writes the explanations, and its card says how much
    evidence makes an incident; other detectors get plain sentences.
    """
    progress(f"judging {flows.height:,} flows")
    verdicts = judge(detector, flows)
    progress("gathering and explaining incidents")
    model = getattr(detector, "model", None)
    card: dict[str, Any] = getattr(model, "card", {})
    known = {name: card[key] for name, key in _FROM_CARD.items() if key in card}
    incidents = explain.find_incidents(flows, verdicts, detector=detector, model=model, **known)
    return Findings(
        flows=flows,
        verdicts=verdicts,
        incidents=incidents,
        confusion=None if labels is None else confusion(labels, verdicts["canonical"].to_list()),
        distinct=getattr(detector, "distinct", None),
    )


def write(found: Findings, folder: Path) -> None:
    """Write verdicts and incidents; the report is written by `report.render`."""
    found.verdicts.write_parquet(folder / "verdicts.parquet", compression="zstd", statistics=True)
    (folder / "incidents.json").write_text(explain.as_json(found.incidents), encoding="utf-8")


_FROM_CARD = {"evidence_floor": "evidence_floor", "reference": "reference"}

"""From flows to what a person opens: `verdicts.parquet`, `incidents.json` and `report.html` in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak import explain
from wirespeak.contracts import Detector
from wirespeak.detect.verdicts import judge
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.records import Incident


@dataclass(frozen=True)
class Findings:
    """What came of judging flows: row i of `verdicts` is about row i of `flows`. distinct: share of distinct sentences."""

    flows: pl.DataFrame
    verdicts: pl.DataFrame
    incidents: list[Incident]
    distinct: float | None


def find(flows: pl.DataFrame, detector: Detector, *, progress: Say = quiet) -> Findings:
    """Judge flows, gather incidents and explain them.

    The language model of a language detector also writes the explanations, and its card says how much
    evidence makes an incident; other detectors get plain sentences.
    """
    progress(f"judging {flows.height:,} flows")
    verdicts = judge(detector, flows)
    progress("gathering and explaining incidents")
    model = getattr(detector, "model", None)
    card: dict[str, Any] = getattr(model, "card", {})
    known = {name: card[name] for name in ("evidence_floor", "reference") if name in card}
    incidents = explain.find_incidents(flows, verdicts, detector=detector, model=model, **known)
    return Findings(flows, verdicts, incidents, getattr(detector, "distinct", None))


def write(found: Findings, page: str, folder: Path) -> None:
    """Write the verdicts, the incidents and the page of the report into a folder."""
    found.verdicts.write_parquet(folder / "verdicts.parquet", compression="zstd", statistics=True)
    (folder / "incidents.json").write_text(explain.as_json(found.incidents), encoding="utf-8")
    (folder / "report.html").write_text(page, encoding="utf-8")

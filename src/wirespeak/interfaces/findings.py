"""From captures to what a person opens: `verdicts.parquet`, `incidents.json` and `report.html` in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.text import Text

from wirespeak import explain
from wirespeak.contracts import LanguageModel
from wirespeak.detect import load_detector
from wirespeak.detect.saved import read_card
from wirespeak.detect.verdicts import UNRECORDED, answer_of, judge
from wirespeak.errors import InputError, many
from wirespeak.evaluate.agreement import agreement
from wirespeak.interfaces import reading, remote, report
from wirespeak.interfaces.output import Run
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.interfaces.spending import FREE, Spending
from wirespeak.interfaces.sure import Sure, stages
from wirespeak.schema import LEVELS, compact_columns


def write(
    inputs: Sequence[Path],
    folder: Path,
    run: Run,
    *,
    detector: str = "language",
    model: str | None = None,
    truth: Path | None = None,
    device: str = "auto",
    idle: float = 60.0,
    active: float = 300.0,
    abstain: float | None = None,
    spending: Spending = FREE,
    progress: Say = quiet,
) -> Text:
    """Judge, explain and report into `folder`; count and score in `run`. Returns the summary for a terminal.

    The language model of a language detector also writes the explanations, and its card says how much
    evidence makes an incident; other detectors get plain sentences. abstain, spending: as `rows.write` takes them. A
    detector that tells less apart than the truth does, such as attack from normal, is held to what it tells.
    """
    judging = load_detector(detector, model, device=device)
    spending.allow(judging, device)
    sure = Sure(judging, abstain)
    # The model of a forest is another thing.
    inside = getattr(judging, "model", None)
    language = inside if isinstance(inside, LanguageModel) else None
    card: dict[str, Any] = getattr(language, "card", {})
    known = {name: card[name] for name in ("evidence_floor", "reference") if name in card}

    learnt = read_card(Path(detector)) if (Path(detector) / "encoding.json").is_file() else {}
    canonical = {label: label for label in judging.labels} | learnt.get("canonical", {})
    happened = reading.schedule(truth)
    flows = reading.read(inputs, run, idle=idle, active=active, progress=progress)
    flows = reading.filled(flows, _judged_by(judging), run)
    labels = reading.labels_of(flows, happened)
    progress(f"judging {many(flows.height, 'flow')}")
    verdicts = judge(judging, flows, canonical=canonical, unlearnt=UNRECORDED if "labels" in card else ())
    aside = verdicts["set_aside"].drop_nulls()
    if len(aside) == len(verdicts):
        raise InputError(
            f"nothing could be judged of {many(len(verdicts), 'flow')} ({aside[0]}). Give a capture of other traffic, or another --model."
        )
    if len(aside):
        run.warnings.append(f"not judged: {many(len(aside), 'flow')} ({', '.join(sorted(set(aside)))}).")
    answered = stages(judging, run)
    chances = verdicts.select(f"p_{label}" for label in judging.labels).to_numpy().astype(np.float32)
    sure.see(
        flows.filter(verdicts["set_aside"].is_null()), chances[verdicts["set_aside"].is_null().to_numpy()]
    )
    verdicts = sure.spoken(verdicts, chances)
    distinct = getattr(judging, "distinct", None)  # weighing the evidence judges other rows
    progress("gathering and explaining incidents")
    incidents = explain.find_incidents(flows, verdicts, detector=judging, model=language, **known)
    if labels is not None:
        meant = [answer_of(label, str(learnt.get("answer", "multiclass"))) for label in labels]
        sure.measure(chances, pl.Series(meant, dtype=pl.String))
        labels = [canonical.get(label, label) for label in meant]
        run.scores = agreement(labels, verdicts["canonical"].to_list())
    sure.note(run)
    remote.noted(run, judging)

    overview = report.survey(
        flows,
        verdicts,
        name=reading.title(inputs),
        packets=run.counts["in"] if reading.unit(run) == "packets" else _packets(flows),
        set_aside=run.counts["set_aside"],
        distinct=distinct,
        truth=labels,
        notes=[
            *run.warnings,
            *(text[:1].upper() + text[1:] + "." for text in (*sure.said, answered) if text),
        ],
    )
    verdicts.write_parquet(folder / "verdicts.parquet", compression="zstd", statistics=True)
    (folder / "incidents.json").write_text(explain.as_json(incidents), encoding="utf-8")
    (folder / "report.html").write_text(report.render(overview, incidents), encoding="utf-8")
    return report.summary(overview, incidents)


def _judged_by(judging: Any) -> list[str]:
    """The columns a detector of flows reads: those of its encoding, or those of a sentence."""
    encoding = getattr(judging, "encoding", None)
    if encoding is not None:
        return [column.name for column in encoding.columns]
    level = getattr(judging, "level", "compact")
    return list(LEVELS[level]) if level in LEVELS else [column.name for column in compact_columns()]


def _packets(flows: pl.DataFrame) -> int:
    """The packets of flows that were read from a table or a log."""
    return int(flows["fwd_packets"].sum()) + int(flows["bwd_packets"].sum())

"""Every detector side by side: the table, and the files a paper takes its numbers from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from wirespeak import __version__
from wirespeak.errors import InputError, MissingPart
from wirespeak.evaluate import page, plots
from wirespeak.evaluate.compare import compare
from wirespeak.evaluate.cost import Cost
from wirespeak.evaluate.failures import Failures
from wirespeak.evaluate.judge import Judgement
from wirespeak.records import Score

_CURVES = 5  # more lines in one picture cannot be told apart without colour


@dataclass(frozen=True)
class Result:
    """What one detector reached.

    judgement: on the honest split; random: on a random one, shown beside it. fit, predict: what they cost, over
    all folds. rows: number in the dataset of each row judged. note: what a reader must know, in words.
    """

    name: str
    judgement: Judgement
    random: Judgement | None = None
    fit: Cost | None = None
    predict: Cost | None = None
    rows: NDArray[np.int64] | None = None
    failures: Failures | None = None
    note: str = ""

    @property
    def predict_us(self) -> float | None:
        """Microseconds a verdict took."""
        return self.predict.wall_s / self.judgement.rows * 1e6 if self.predict else None

    @property
    def peak_mb(self) -> float | None:
        """Megabytes of memory at most, in fit or predict."""
        peaks = [cost.peak_bytes for cost in (self.fit, self.predict) if cost and cost.peak_bytes is not None]
        return max(peaks) / 1e6 if peaks else None


def side_by_side(results: Sequence[Result]) -> pl.DataFrame:
    """One row a detector, the best macro-F1 first: each score with `NAME low` and `NAME high`, the random-split
    macro-F1 (`macro-F1, random split`), fit_s, predict_us (a row) and peak_mb."""
    rows = []
    for result in ranked(results):
        row: dict[str, Any] = {"detector": result.name, "n": result.judgement.rows}
        for score in result.judgement.scores:
            row |= {score.name: score.value, f"{score.name} low": score.low, f"{score.name} high": score.high}
        other = result.random.score("macro-F1") if result.random else None
        row |= {
            "macro-F1, random split": other.value if other else None,
            "fit_s": result.fit.wall_s if result.fit else None,
            "predict_us": result.predict_us,
            "peak_mb": result.peak_mb,
        }
        rows.append(row)
    return pl.from_dicts(rows, infer_schema_length=None)


def summary(results: Sequence[Result], *, title: str = "") -> Table:
    """The table for a terminal of 80 columns: macro-F1 honest and random, accuracy, unseen recall, seconds."""
    shown = {"macro-F1": "macro-F1", "accuracy": "accuracy", "unseen recall at 5 % false alarms": "unseen"}
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    table.add_column("detector")
    for name in (*shown.values(), "random split", "fit s"):
        table.add_column(name, justify="right")
    for result in ranked(results):
        other = result.random.score("macro-F1") if result.random else None
        scores = [result.judgement.score(name) for name in shown]
        fit = f"{result.fit.wall_s:,.1f}" if result.fit else ""
        table.add_row(Text(result.name), *map(_cell, scores), f"{other.value:.3f}" if other else "", fit)
    return table


def _cell(score: Score | None) -> str:
    """A value and half the width of its interval."""
    if score is None:
        return ""
    half = (
        f" +-{(score.high - score.low) / 2:.3f}" if score.low is not None and score.high is not None else ""
    )
    return f"{score.value:.3f}{half}"


def ranked(results: Sequence[Result]) -> list[Result]:
    """The best macro-F1 first."""
    return sorted(results, key=lambda result: (-_macro_f1(result.judgement).value, result.name))


def write_report(
    folder: Path, results: Sequence[Result], *, title: str, notes: Sequence[str] = (), seed: int = 0
) -> list[Path]:
    """Write report.html, metrics.json, costs.json, predictions.parquet, and plots/ where matplotlib is installed.

    What was measured in seconds and bytes is in costs.json, the table of the page and one plot; all else is the
    same for the same predictions. Without matplotlib the page says how to get the plots. folder: must exist.
    Returns what was written. Raises InputError where there is no result, or where two did not judge the same rows.
    """
    if not results:
        raise InputError("there is no result to report.")
    best_first = ranked(results)
    tests = compare({result.name: result.judgement for result in best_first}, seed=seed)
    drawn: list[Path] = []
    remarks = list(notes)
    try:
        drawn = _draw(folder / "plots", best_first, title)
    except MissingPart as missing:
        remarks.append(f"No plots were drawn: {missing}")
    written = {
        "report.html": page.render(best_first, tests, title=title, notes=remarks),
        "metrics.json": _json({"title": title, "notes": list(notes), "version": __version__, "seed": seed, "detectors": {result.name: _metrics(result) for result in best_first}, "paired": tests.to_dicts()}),
        "costs.json": _json({result.name: _costs(result) for result in best_first}),
    }  # fmt: skip
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    predictions(best_first).write_parquet(folder / "predictions.parquet")
    return [*(folder / name for name in written), folder / "predictions.parquet", *drawn]


def predictions(results: Sequence[Result]) -> pl.DataFrame:
    """All predictions: detector, row (its number in the dataset, or among the rows judged), and the columns of
    `Judgement.predictions`. No column of the dataset."""
    return pl.concat(
        [
            result.judgement.predictions.select(
                pl.lit(result.name).alias("detector"),
                pl.Series(
                    "row",
                    np.arange(result.judgement.rows) if result.rows is None else result.rows,
                    dtype=pl.Int64,
                ),
                pl.all(),
            )
            for result in results
        ],
        how="diagonal",
    )


def _macro_f1(judgement: Judgement) -> Score:
    score = judgement.score("macro-F1")
    assert score is not None  # every judgement has one
    return score


def _metrics(result: Result) -> dict[str, Any]:
    judgement, told = result.judgement, result.failures
    return {
        "note": result.note,
        "rows": judgement.rows,
        "groups": judgement.groups,
        "scores": [asdict(score) for score in judgement.scores],
        "random_split": [asdict(score) for score in result.random.scores] if result.random else None,
        "labels": judgement.per_label.to_dicts(),
        "confusion": judgement.confusion.to_dicts(),
        "names": judgement.per_name.to_dicts(),
        "failures": {
            "pairs": told.pairs.to_dicts(),
            "typical": [asdict(one) for one in told.typical],
            "slices": told.slices.to_dicts(),
        }
        if told
        else None,
    }


def _costs(result: Result) -> dict[str, Any]:
    return {
        name: asdict(cost) if cost else None
        for name, cost in (("fit", result.fit), ("predict", result.predict))
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _draw(folder: Path, results: Sequence[Result], title: str) -> list[Path]:
    """All pictures, in every format. Those of one label or pair are of each detector; curves, of the best few."""
    judged = {result.name: result.judgement for result in results}
    others = {result.name: _macro_f1(result.random) for result in results if result.random}
    best = dict(list(judged.items())[:_CURVES])
    some = f": the best {len(best)} of {len(judged)}" if len(best) < len(judged) else ""
    attack = f"Attack against normal{some}"
    figures = {
        "macro-f1": plots.score_bars({name: _macro_f1(one) for name, one in judged.items()}, title=title, other=others),
        "roc": plots.roc(plots.attack_curves(best, "roc"), title=attack),
        "precision-recall": plots.precision_recall(plots.attack_curves(best, "pr"), title=attack),
        "risk-coverage": plots.risk_coverage({name: one.curves["risk"] for name, one in best.items()}, title=title + some),
        "calibration": plots.calibration({name: one.curves["calibration"] for name, one in best.items()}, title=title + some),
    }  # fmt: skip
    points = {result.name: (result.predict_us, _macro_f1(result.judgement)) for result in results}
    priced = {name: (cost, score) for name, (cost, score) in points.items() if cost}
    if priced:
        figures["cost-quality"] = plots.cost_quality(priced, title=title)
    for name, one in judged.items():
        figures[f"confusion-{name}"] = plots.confusion_matrix(one, title=name)
        figures[f"labels-{name}"] = plots.class_bars(one, title=name)
        figures[f"roc-{name}"] = plots.roc(
            plots.label_curves(one, "roc"), title=f"{name}: one label against the rest"
        )
    folder.mkdir(exist_ok=True)
    return [path for name, figure in figures.items() for path in plots.save(figure, folder, name)]

"""What happens to a kind of attack the model never saw: each kind is left out of training once.

    python bench/unseen.py out/recordings -o bench/results/unseen.json

For each kind a model of the same shape learns judging alone from the other kinds, for fewer steps than the
model in the box; then the test recordings' flows of that kind are judged. Reported: the share still called
hostile or `unknown`, and the share of ordinary flows called so by the same model. Kinds already in the
output file are not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.detect.language import LanguageDetector
from wirespeak.evaluate.metrics import wilson
from wirespeak.interfaces.recipe import Recipe, make_model, split_of
from wirespeak.lab.labelled import read_recording
from wirespeak.lm.training import Schedule


def without(
    kind: str, recordings: list[Path], flows: pl.DataFrame, labels: pl.Series, steps: int
) -> dict[str, Any]:
    """Train without `kind`, then judge the test flows of that kind and the ordinary ones."""
    recipe = Recipe(leave_out=kind, tasks=("judge",), schedule=Schedule(steps=steps, tokens=4096))
    with tempfile.TemporaryDirectory() as temporary:
        make_model(recordings, Path(temporary), recipe)
        detector = LanguageDetector.load(temporary, threads=2)
        chances = detector.predict(flows)
    answers = pl.Series("answer", [detector.labels[best] for best in chances.argmax(axis=1)])
    strange, ordinary = answers.filter(labels == kind), answers.filter(labels == "normal")
    caught, alarms = int((strange != "normal").sum()), int((ordinary != "normal").sum())
    low, high = wilson(caught, len(strange))
    return {
        "n": len(strange), "hostile_or_unknown": round(caught / len(strange), 4), "low": round(low, 4), "high": round(high, 4),
        "called": dict(strange.value_counts(sort=True).iter_rows()), "false_alarms": round(alarms / len(ordinary), 5),
    }  # fmt: skip


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("recordings", type=Path)
    reader.add_argument("--steps", type=int, default=500)
    reader.add_argument("-o", "--output", type=Path, required=True)
    given = reader.parse_args()
    folders = sorted(path.parent for path in given.recordings.glob("*/truth.csv"))
    tests = [read_recording(folder) for folder in folders if split_of(folder) == "test"]
    flows, labels = pl.concat([part.flows for part in tests]), pl.concat([part.labels for part in tests])
    known = (
        json.loads(given.output.read_text())
        if given.output.is_file()
        else {"steps": given.steps, "kinds": {}}
    )
    for kind in sorted(set(labels.unique()) - {"normal"} - known["kinds"].keys()):
        known["kinds"][kind] = without(kind, folders, flows, labels, given.steps)
        print(kind, known["kinds"][kind], file=sys.stderr, flush=True)
        shares = [entry["hostile_or_unknown"] for entry in known["kinds"].values()]
        known["mean"] = round(sum(shares) / len(shares), 4)
        given.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()

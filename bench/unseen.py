"""What happens to a kind of attack the model never saw: each kind is left out of training once.

    python bench/unseen.py out/recordings -o bench/results/unseen.json
    python bench/unseen.py out/recordings -o bench/results/hide-0.json --on validation --hide 0 --kinds brute_force recon.sweep spoof.arp

The second line is how the recipe's share of hidden words was chosen: the one with which validation recordings' kinds
are noticed most often. For each kind a model of the same shape as the one in the box learns judging alone, from the same train
recordings less the flows of that kind and those whose context tells of them, for fewer steps; then the flows of the
recordings apart are judged. Reported: the share of the kind's flows still called hostile or `unknown`, and
the share of ordinary flows called so by the same model. Kinds already in the output file are not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.detect.language import UNKNOWN, LanguageDetector, judge_examples
from wirespeak.evaluate.metrics import wilson
from wirespeak.interfaces.recipe import BLANK_SHARE, VIEWS, split_of
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.lm.export import export_onnx
from wirespeak.lm.onnx import OnnxLanguageModel
from wirespeak.lm.tokenizer import BLANK, train_tokenizer
from wirespeak.lm.training import Schedule, Task, train_decoder
from wirespeak.schema import LABELS
from wirespeak.text import label_answers


def without(
    kind: str, train: list[LabelledFlows], test: list[LabelledFlows], *, steps: int, hide: float
) -> dict[str, Any]:
    """Train without `kind`, then judge the flows apart of that kind and the ordinary ones."""
    known = [part.without(kind) for part in train]
    labels = pl.concat([part.labels for part in known])
    examples = judge_examples(
        pl.concat([part.flows for part in known]), labels.to_list(), seed=7, count=40 * steps * 4
    )
    tokenizer = train_tokenizer(
        (example.prompt for example in examples), words=[BLANK, *label_answers(LABELS)]
    )
    names = [*sorted(set(labels)), UNKNOWN]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train_decoder(
            [Task("judge", examples, 1.0, blank=hide)], tokenizer, folder,
            schedule=Schedule(steps=steps, tokens=4096, mean=0.99),
        )  # fmt: skip
        export_onnx(folder, folder / "model.onnx")
        (folder / "card.json").write_text("{}")
        detector = LanguageDetector(OnnxLanguageModel(folder, threads=2), names)
        chances = detector.predict(pl.concat([part.flows for part in test]))
    answers = pl.Series("answer", [names[best] for best in chances.argmax(axis=1)])
    truth = pl.concat([part.labels for part in test])
    strange, ordinary = answers.filter(truth == kind), answers.filter(truth == "normal")
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
    reader.add_argument("--steps", type=int, default=250)
    reader.add_argument("--on", choices=("test", "validation"), default="test")
    reader.add_argument("--hide", type=float, default=BLANK_SHARE["judge"], help="share of words hidden")
    reader.add_argument("--kinds", nargs="+", choices=[name for name in LABELS if name != "normal"])
    reader.add_argument("-o", "--output", type=Path, required=True)
    given = reader.parse_args()
    folders = sorted(path.parent for path in given.recordings.glob("*/truth.csv"))
    train = [read_recording(f, **view) for f in folders if split_of(f) == "train" for view in ({}, *VIEWS)]
    test = [read_recording(folder) for folder in folders if split_of(folder) == given.on]
    known = (
        json.loads(given.output.read_text())
        if given.output.is_file()
        else {"steps": given.steps, "on": given.on, "hide": given.hide, "kinds": {}}
    )
    kinds = set(given.kinds or {label for part in test for label in part.labels.unique()} - {"normal"})
    for kind in sorted(kinds - known["kinds"].keys()):
        known["kinds"][kind] = without(kind, train, test, steps=given.steps, hide=given.hide)
        print(kind, known["kinds"][kind], file=sys.stderr, flush=True)
        shares = [entry["hostile_or_unknown"] for entry in known["kinds"].values()]
        known["mean"] = round(sum(shares) / len(shares), 4)
        given.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()

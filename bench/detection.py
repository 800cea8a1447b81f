"""How well a model judges recordings it never saw, beside a forest and beside random weights of its shape.

    python bench/detection.py out/recordings --only test-clinic test-benign -o bench/results/detection.json

Only recordings whose scenario says `split = "test"` are judged; nothing is chosen here. Scores are over all
flows and over distinct flows (distinct sentence and label); `unknown` and no answer count as wrong.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wirespeak.contracts import Detector
from wirespeak.detect.language import LanguageDetector
from wirespeak.detect.suricata import Suricata
from wirespeak.detect.verdicts import judge
from wirespeak.evaluate.metrics import bootstrap, calibration_error, macro_f1, per_label
from wirespeak.explain.incidents import count_found, group
from wirespeak.interfaces.recipe import random_model, split_of
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.lm.export import export_onnx
from wirespeak.lm.onnx import OnnxLanguageModel
from wirespeak.schema import FEATURES, category, compact_columns
from wirespeak.text import compact


class Forest:
    """A plain random forest on every numeric feature, library defaults. Keeps contracts.Detector's predict."""

    name = "forest"

    def __init__(self, train: list[LabelledFlows]) -> None:
        from sklearn.ensemble import RandomForestClassifier

        labels = pl.concat([part.labels for part in train]).to_list()
        self.forest = RandomForestClassifier(n_jobs=2, random_state=0).fit(
            _matrix(pl.concat([part.flows for part in train])), labels
        )
        self.labels = tuple(self.forest.classes_)

    def predict(self, flows: pl.DataFrame) -> np.ndarray:
        return self.forest.predict_proba(_matrix(flows)).astype(np.float32)


def _named(part: LabelledFlows) -> LabelledFlows:
    """The same flows, each saying which recording it is from."""
    return replace(part, flows=part.flows.with_columns(pl.lit(part.name).alias("recording")))


def _matrix(flows: pl.DataFrame) -> np.ndarray:
    columns = [name for name in FEATURES if flows[name].dtype != pl.String]
    return flows.select(columns).fill_null(0).to_numpy().astype(np.float32)


def scores(detector: Detector, parts: list[LabelledFlows], floor: float) -> dict[str, Any]:
    """Every number of one detector on `parts`."""
    verdicts = [judge(detector, part.flows) for part in parts]
    table = pl.concat(
        [
            pl.DataFrame(
                {
                    "truth": part.labels,
                    "answer": v["label"],
                    "p": v["probability"],
                    "sentence": compact.encode(part.flows),
                }
            ).with_columns(pl.lit(number).alias("part"))
            for number, (part, v) in enumerate(zip(parts, verdicts, strict=True))
        ]
    )
    distinct = table.unique(["sentence", "truth"], maintain_order=True)
    found = []
    for part, verdict in zip(parts, verdicts, strict=True):
        groups = group(part.flows, verdict, evidence_floor=floor)
        found.append((part, count_found(part.flows, part.labels.to_list(), groups), groups))
    return {
        "flows": _agreement(table),
        "distinct": _agreement(distinct),
        "per_label": per_label(distinct["truth"].to_list(), distinct["answer"].to_list()).to_dicts(),
        "confused": _confused(distinct),
        "incidents": [
            {
                "recording": part.name,
                "attacks": attacks,
                "found_once": hits,
                "false": false,
                "labels": dict(Counter(g.label for g in groups)),
            }
            for part, (attacks, hits, false), groups in found
        ],
    }


def _agreement(table: pl.DataFrame) -> dict[str, Any]:
    truth, answer = (np.array(table[name].to_list(), object) for name in ("truth", "answer"))
    right = np.asarray(truth == answer, bool)
    blocks = (
        table["truth"].rle_id() + 100_000 * table["part"]
    ).to_numpy()  # runs of one label: one attack, one lull
    score = bootstrap("macro_f1", lambda rows: macro_f1(truth[rows], answer[rows]), blocks, rounds=100)
    return {
        "n": len(table), "macro_f1": round(score.value, 4), "low": round(score.low or 0, 4), "high": round(score.high or 0, 4),
        "accuracy": round(float(right.mean()), 4), "calibration_error": round(calibration_error(table["p"].fill_null(0).to_numpy(), right), 4),
        "unknown": int((answer == "unknown").sum()), "no_answer": int(sum(a is None for a in answer)),
    }  # fmt: skip


def _confused(table: pl.DataFrame) -> list[dict[str, Any]]:
    wrong = table.filter(pl.col("truth").ne_missing(pl.col("answer")))
    return (
        wrong.group_by("truth", "answer")
        .len("n")
        .sort("n", "truth", descending=[True, False])
        .head(12)
        .to_dicts()
    )


def agreement_with_fp32(model: Path, parts: list[LabelledFlows]) -> dict[str, float]:
    """Share of distinct sentences on which int8 and fp32 name the same label."""
    said = pl.concat([compact.encode(part.flows) for part in parts]).unique(maintain_order=True)
    labels = json.loads((model / "card.json").read_text())["labels"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export_onnx(model / "checkpoint", folder / "model.onnx", precision="fp32")
        for name in ("tokenizer.json", "card.json"):
            (folder / name).write_bytes((model / name).read_bytes())
        answers = [
            LanguageDetector(OnnxLanguageModel(place), labels).scores(said).argmax(axis=1)
            for place in (model, folder)
        ]
    return {"sentences": len(said), "same_label": round(float((answers[0] == answers[1]).mean()), 5)}


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("recordings", type=Path)
    reader.add_argument("--model", type=Path, default=Path("src/wirespeak/pretrained"))
    reader.add_argument("--part", default="test")
    reader.add_argument("--only", nargs="*", help="names of recordings; by default all of the part")
    reader.add_argument("-o", "--output", type=Path)
    given = reader.parse_args()
    folders = sorted(path.parent for path in given.recordings.glob("*/truth.csv"))
    parts = [
        read_recording(folder)
        for folder in folders
        if split_of(folder) == given.part and (not given.only or folder.name in given.only)
    ]
    train = [read_recording(folder) for folder in folders if split_of(folder) == "train"]
    card = json.loads((given.model / "card.json").read_text())
    floor = card["evidence_floor"]
    result: dict[str, Any] = {
        "model": card["name"],
        "part": given.part,
        "recordings": [part.name for part in parts],
    }
    result["language"] = scores(LanguageDetector.load(str(given.model)), parts, floor)
    result["forest"] = scores(Forest(train), parts, floor)
    rules = Suricata({folder.name: folder / "capture.pcap" for folder in folders})
    result["suricata"] = scores(rules, [_named(part) for part in parts], floor)
    with tempfile.TemporaryDirectory() as temporary:
        random_model(given.model, Path(temporary))
        result["random_weights"] = scores(LanguageDetector.load(temporary), parts, floor)
    if (given.model / "checkpoint").is_dir():
        result["int8_against_fp32"] = agreement_with_fp32(given.model, parts)
    model = OnnxLanguageModel(given.model)
    said = pl.concat([compact.encode(part.flows) for part in parts])
    result["tokens_median"] = float(np.median([len(ids) for ids in model.tokens(said.to_list())]))
    result["columns"] = len(compact_columns())
    labels = pl.concat([part.labels for part in parts])
    result["kinds"] = dict(Counter(category(label) for label in labels))
    text = json.dumps(result, indent=1) + "\n"
    if given.output:
        given.output.write_text(text)
    for name in ("language", "forest", "suricata", "random_weights"):
        for over in ("flows", "distinct"):
            print(name, over, result[name][over])
        print(name, result[name]["incidents"])
    print(result["language"]["confused"])
    print(result.get("int8_against_fp32"))


if __name__ == "__main__":
    main()

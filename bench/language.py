"""Language models on the public datasets, beside the trees: what docs/language.md shows. Needs WIRESPEAK_DATA.

    python bench/language.py -o bench/results/language.json

A small decoder is trained from scratch on each fold of bench/datasets.py and judged on the same rows as the trees, whose
fold predictions bench/datasets.py left in out/datasets; around it the cascade is made, with thresholds from rows of the
training side that trained nothing. Each fold is a process of its own on one core, two at a time. What is finished stands
in out/language, and a training that was cut off goes on where it was.

Models that need pretrained weights are compared by `wirespeak evaluate detector --detector zero-shot --detector few-shot
--detector language --model NAME --data FILE`; where no weights are at hand their cells say `not run`: the chance score of
random ones is no result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from datasets import COURSES, FOLDS, SCORES, SEED, Course, write

from wirespeak.data.sources import VIEWS, read_dataset
from wirespeak.data.split import Fold, feature_groups, folds
from wirespeak.detect.cascaded import Cascaded
from wirespeak.detect.learn import fitted
from wirespeak.evaluate.compare import compare
from wirespeak.evaluate.cost import measured
from wirespeak.evaluate.judge import Judgement
from wirespeak.interfaces.contest import Task, attack_scores, in_order, judged, spared
from wirespeak.interfaces.measure import machine
from wirespeak.interfaces.recipe import split_of
from wirespeak.interfaces.told import Told
from wirespeak.lab.labelled import read_recording

TREES = ("forest", "extra-trees", "xgboost", "lightgbm", "hist-boost", "tuned")
PLAIN = TREES[:5]
"""Those with their library's defaults; `tuned` stands beside them."""
MODELS = ("language", "cascade")
MORE = (
    Course("edge-iiotset", "edge-iiotset/ML-EdgeIIoT-dataset.csv", "group"),
    Course("farm-flow", "farm-flow/Train_Multiclass.csv", "group"),
    Course("farm-flow-lab", "farm-flow-lab.csv", "group"),
)
"""Datasets that join where their file is in WIRESPEAK_DATA, and the lab's own flows in Farm-Flow's columns, which
--recordings makes (out/language/farm-flow-lab.csv)."""
LAB_ROWS = 60_000
CORES = 2


def file_of(course: Course, work: Path) -> Path:
    """Where its rows are."""
    return (
        work / course.file
        if course.name.endswith("-lab")
        else Path(os.environ["WIRESPEAK_DATA"]) / course.file
    )


def show_lab_as_farm_flow(recordings: Path, target: Path) -> None:
    """Flows of the lab's train recordings in Farm-Flow's columns, evenly many of each label as far as there are."""
    parts = [read_recording(folder) for folder in sorted(recordings.iterdir()) if split_of(folder) == "train"]
    table = VIEWS["farm-flow"](
        pl.concat([part.flows for part in parts]), pl.concat([part.labels for part in parts])
    )
    most = LAB_ROWS // table["traffic"].n_unique()
    turn = pl.Series(np.random.default_rng(SEED).permutation(table.height))
    table.with_columns(turn=turn).filter(pl.col("turn").rank("ordinal").over("traffic") <= most).drop(
        "turn"
    ).write_csv(target)


def task_of(course: Course, work: Path) -> Task:
    """What is told apart."""
    dataset = read_dataset([file_of(course, work)], on_bad_row="skip")
    return Task(replace(dataset, files=()), addresses=course.addresses)


def one_fold(course: Course, number: int, folder: Path, options: dict[str, Any]) -> None:
    """Train on one fold, ask the model alone and the cascade, and write what they said and cost."""
    task = task_of(course, folder.parent)
    fold = folds(task.dataset, protocol=course.protocol, k=FOLDS, seed=SEED)[number]
    features, answers, names = task.features(), task.answers(), task.dataset.names
    train, apart = spared(task.dataset, in_order(task.dataset, fold.train, SEED), SEED)
    began = time.perf_counter()
    with measured() as fit:
        detector = fitted(
            "cascade", features[train], answers[train], names[train], of=task.dataset, seed=SEED, threads=1,
            work=folder / f"fold-{number}.training", progress=_say(f"{course.name} {number + 1}"), **options,
        )  # fmt: skip
    assert isinstance(detector, Cascaded) and detector.cascade is not None
    fit = replace(fit, cpu_s=fit.cpu_s + detector.facts["cpu_s_before_cut"])
    judged_rows = features[fold.test]
    about: dict[str, Any] = {
        "fit": [fit.wall_s, fit.cpu_s, fit.peak_bytes],
        "facts": detector.facts,
        "options": options,
    }
    for name in MODELS:
        asked = detector if name == "cascade" else detector.alone
        with measured() as cost:
            chances = asked.predict(judged_rows)
        said = Told(
            labels=list(detector.labels), rows=[fold.test], chances=[chances],
            unseen=[names[fold.test].is_in(list(fold.unseen)).to_numpy()],
            calibration=[attack_scores(asked.predict(features[apart]), detector.labels, answers[apart])],
            fit=fit, predict=cost,
        )  # fmt: skip
        if name == "cascade":
            about["stages"] = detector.report.table().to_dicts()
        said.save(folder / f"{name}-{number}.npz", _key(course, number))
    assert detector.calibration is not None
    about["novelty"] = detector.calibration.abstention.novelty_by
    about["distinct"] = int(judged_rows.unique().height)
    about["clock_s"] = time.perf_counter() - began
    write(folder / f"fold-{number}.json", about)


def _say(what: str) -> Any:
    last = [0.0]

    def progress(doing: str, share: float) -> None:
        if share - last[0] >= 0.1:
            last[0] = share
            print(f"{what}: {doing} {share:.0%}", file=sys.stderr, flush=True)

    return progress


def _key(course: Course, number: int) -> str:
    return json.dumps([course.name, course.protocol, FOLDS, SEED, number])


def gathered(course: Course, work: Path, trees: Path) -> dict[str, Any] | None:
    """The scores of one dataset, the language models' and the trees', with paired differences; None where nothing is done."""
    folder = work / course.name
    done = [number for number in range(FOLDS) if (folder / f"fold-{number}.json").is_file()]
    if not done:
        return None
    task = task_of(course, work)
    about = [json.loads((folder / f"fold-{number}.json").read_text()) for number in done]
    judgements: dict[str, Judgement] = {}
    costs: dict[str, Told] = {}
    for name in MODELS:
        parts = [Told.load(folder / f"{name}-{number}.npz", _key(course, number)) for number in done]
        told = costs[name] = Told.merged([part for part in parts if part is not None])
        judgements[name] = _judgement(task, told)
    names = [name for name in TREES if (trees / course.name / f"{name}.json").is_file()]
    split = folds(task.dataset, protocol=course.protocol, k=FOLDS, seed=SEED)
    kept = [split[number] for number in done]
    for name in names:
        told = _of_tree(name, course, kept, done, trees / course.name / "folds")
        if told is not None:
            costs[name], judgements[name] = told, _judgement(task, told)
    pairs = compare(judgements, seed=SEED)
    best = max(
        (name for name in PLAIN if name in judgements),
        key=lambda name: _macro(judgements[name]),
        default=None,
    )
    strange = np.concatenate(costs["language"].unseen)
    return {
        "name": course.name, "title": task.dataset.title, "protocol": course.protocol, "folds": [n + 1 for n in done],
        "rows": judgements["language"].rows, "best_plain": best,
        "detectors": [_row(name, judgements[name], costs[name]) for name in judgements],
        "pairs": [pair for pair in pairs.to_dicts() if {pair["better"], pair["worse"]} & set(MODELS)],
        "unseen_rows": int(strange.sum()),
        "training": about,
    }  # fmt: skip


def _of_tree(
    name: str, course: Course, split: Sequence[Fold], done: Sequence[int], folder: Path
) -> Told | None:
    """The fold predictions that bench/datasets.py kept of a tree, if they are of these folds."""
    path = folder / f"{name}-{course.protocol}.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        told = Told.load(path, str(arrays["key"]))
    told = told and told.only(done)
    same = told and all(np.array_equal(rows, fold.test) for rows, fold in zip(told.rows, split, strict=True))
    return told if same else None


def _judgement(task: Task, told: Told) -> Judgement:
    return judged(task, told, feature_groups(task.dataset), _ordinary(task), SEED)


def _ordinary(task: Task) -> str:
    return str(next(iter(task.answers().filter(task.dataset.binary() == "normal").unique().sort()), "normal"))


def _macro(judgement: Judgement) -> float:
    return judgement.score("macro-F1").value


def _row(name: str, judgement: Judgement, told: Told) -> dict[str, Any]:
    return {
        "detector": name, "rows": judgement.rows,
        "scores": {one.name: [one.value, one.low, one.high, one.n] for one in judgement.scores if one.name in (*SCORES, "novelty ROC area")},
        "fit_s": told.fit.cpu_s, "predict_s": told.predict.cpu_s,
        "rows_per_s": judgement.rows / told.predict.cpu_s if told.predict.cpu_s else None,
        "labels": judgement.per_label.select("label", "n", "f1").to_dicts(),
    }  # fmt: skip


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    courses = {course.name: course for course in (*COURSES, *MORE) if course.name != "ton-iot-addresses"}
    known = list(courses)
    reader.add_argument("-o", "--output", type=Path)
    reader.add_argument("--work", type=Path, default=Path("out/language"))
    reader.add_argument("--trees", type=Path, default=Path("out/datasets"))
    reader.add_argument("--only", choices=known, nargs="+", default=known)
    reader.add_argument("--recordings", type=Path, help="recordings to show in Farm-Flow's columns")
    reader.add_argument("--one", nargs=2, metavar=("DATASET", "FOLD"), help=argparse.SUPPRESS)
    given = reader.parse_args()
    if not os.environ.get("WIRESPEAK_DATA"):
        raise SystemExit("set WIRESPEAK_DATA to the folder of the datasets")
    if given.one:
        name, number = given.one
        one_fold(courses[name], int(number), given.work / name, {})
        return
    given.work.mkdir(parents=True, exist_ok=True)
    lab = given.work / "farm-flow-lab.csv"
    if given.recordings and not lab.is_file():
        show_lab_as_farm_flow(given.recordings, lab)
    here = [name for name in given.only if file_of(courses[name], given.work).is_file()]
    jobs = [
        (courses[name], number) for name in here for number in range(FOLDS)
        if not (given.work / name / f"fold-{number}.json").is_file()
    ]  # fmt: skip
    with ThreadPoolExecutor(CORES) as pool:
        going = {
            pool.submit(_attempt, course, number, given.work): (course.name, number)
            for course, number in jobs
        }
        for done in as_completed(going):
            print(f"{going[done]}: {done.result()}", flush=True)
    if given.output:
        found = [one for name in here if (one := gathered(courses[name], given.work, given.trees))]
        write(given.output, {"machine": machine(), "folds": FOLDS, "seed": SEED, "datasets": found})


def _attempt(course: Course, number: int, work: Path) -> str:
    (work / course.name).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--one", course.name, str(number), "--work", str(work)]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    began = time.perf_counter()
    with (work / course.name / f"fold-{number}.log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False, env=alone)
    return f"{'done' if done.returncode == 0 else 'failed, see its log,'} after {time.perf_counter() - began:.0f} s"


if __name__ == "__main__":
    main()

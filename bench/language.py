"""Language models on the public datasets, beside the trees: what docs/language.md shows. Needs WIRESPEAK_DATA.

    python bench/language.py -o bench/results/language.json
    python bench/language.py --only nsl-kdd --deals 5 --set order=0.3 --work out/try -o out/try.json    # to try something

A small decoder is trained from scratch on each fold and judged on the same rows as the trees; around it the cascade is
made, with thresholds from rows of the training side that trained nothing. The folds are dealt anew (DEAL): those of
bench/datasets.py are where the decoder's settings were chosen. Where folds leave names out, they are dealt twice (DEALS):
one deal of two dozen names says little more than what becomes of the largest. Each fold is a process of its own on one core, two at a
time. What is finished stands in out/language, and a training that was cut off goes on where it was. Of a dataset with nothing there,
what the output said before stays.

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
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from datasets import COURSES, FOLDS, OPTIONS, SCORES, SEED, Course, write

from wirespeak import __version__
from wirespeak.data.sources import read_dataset
from wirespeak.data.sources.views import VIEWS
from wirespeak.data.split import Fold, feature_groups, folds
from wirespeak.detect.cascaded import Cascaded
from wirespeak.detect.drawer import make
from wirespeak.detect.learn import fitted
from wirespeak.evaluate.compare import compare
from wirespeak.evaluate.cost import measured
from wirespeak.evaluate.judge import Judgement
from wirespeak.interfaces.contest import Task, attack_scores, fold_by_fold, in_order, judged, spared
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
DEAL = 1
"""Seed of the folds: no setting was chosen on them."""

DEALS = (3, 4)
"""Seeds of the folds where names are left out. The deals before them were judged when numbers had no order yet, and are why they have one
(docs/log.md); settings since then were chosen on deal 5."""

PASSES = {"ton-iot": 25}
"""Passes over the rows where the decoder's default is too few, chosen on the first fold of the next deal."""


@dataclass(frozen=True)
class Asked(Course):
    """A course, the deals of its rows into folds that are judged, and what the decoder is told beside its defaults."""

    deals: tuple[int, ...] = (DEAL,)
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, course: Course, deals: list[int] | None, options: dict[str, Any]) -> Asked:
        """What this file's tables ask, or what `--deals` and `--set` say in its place."""
        usual = DEALS if course.protocol == "names-out" else (DEAL,)
        told = ({"epochs": PASSES[course.name]} if course.name in PASSES else {}) | options
        return cls(**vars(course), deals=tuple(deals or usual), options=tuple(told.items()))


def parts_of(course: Asked) -> list[int]:
    """Numbers of the folds: those of a deal follow those of the one before."""
    return [(deal - 1) * FOLDS + place for deal in course.deals for place in range(FOLDS)]


def fold_of(task: Task, course: Course, number: int) -> Fold:
    """The fold of that number."""
    deal, place = divmod(number, FOLDS)
    return folds(task.dataset, protocol=course.protocol, k=FOLDS, seed=1 + deal)[place]


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


def one_fold(course: Asked, number: int, folder: Path) -> None:
    """Train on one fold, ask the model alone, the cascade and the trees, and write what they said and cost."""
    task = task_of(course, folder.parent)
    fold = fold_of(task, course, number)
    for name in TREES:
        key, path = _key(course, number, name), folder / f"{name}-{number}.npz"
        if Told.load(path, key) is None:
            fold_by_fold(task, name, [fold], OPTIONS.get(name, {}), SEED).save(path, key)
    key = _key(course, number)
    features, answers, names = task.features(), task.answers(), task.dataset.names
    train, apart = spared(task.dataset, in_order(task.dataset, fold.train, SEED), SEED)
    with measured() as fit:
        detector = fitted(
            "cascade", features[train], answers[train], names[train], of=task.dataset, seed=SEED, threads=1,
            work=folder / f"fold-{number}.training", progress=_say(f"{course.name} {number + 1}"), **dict(course.options),
        )  # fmt: skip
    assert isinstance(detector, Cascaded) and detector.calibration is not None
    fit = replace(fit, cpu_s=fit.cpu_s + detector.facts["cpu_s_before_cut"])
    rows = features[fold.test]
    about: dict[str, Any] = {"key": key, "fit": list(astuple(fit)), "facts": detector.facts}
    for name in MODELS:
        asked = detector if name == "cascade" else detector.alone
        with measured() as cost:
            chances = asked.predict(rows)
        if name == "cascade":
            about["stages"] = detector.report.table().to_dicts()
        said = Told(
            labels=list(detector.labels), rows=[fold.test], chances=[chances],
            unseen=[names[fold.test].is_in(list(fold.unseen)).to_numpy()],
            calibration=[attack_scores(asked.predict(features[apart]), detector.labels, answers[apart])],
            fit=fit, predict=cost,
        )  # fmt: skip
        said.save(folder / f"{name}-{number}.npz", key)
    about["novelty"] = detector.calibration.abstention.novelty_by
    about["distinct"] = int(rows.unique().height)
    write(folder / f"fold-{number}.json", about)


def _say(what: str) -> Any:
    last = [0.0]

    def progress(doing: str, share: float) -> None:
        if share - last[0] >= 0.1:
            last[0] = share
            print(f"{what}: {doing} {share:.0%}", file=sys.stderr, flush=True)

    return progress


def _key(course: Asked, number: int, name: str = "cascade") -> str:
    """Which fold this is, and of what: answers of other options are not taken up."""
    options = OPTIONS.get(name, {}) if name in TREES else dict(course.options)
    asked = make("cascade" if name in MODELS else name, **options)
    return json.dumps([course.name, course.protocol, FOLDS, DEAL, SEED, number, __version__, repr(asked)])


def _done(course: Asked, number: int, folder: Path) -> dict[str, Any] | None:
    """What was written of a fold that is finished, if it was this one."""
    path = folder / f"fold-{number}.json"
    about: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return about if about.get("key") == _key(course, number) else None


def gathered(course: Asked, work: Path) -> dict[str, Any] | None:
    """The scores of one dataset, the language models' and the trees', with paired differences; None where nothing is done."""
    folder = work / course.name
    found = {number: about for number in parts_of(course) if (about := _done(course, number, folder))}
    if not found:
        return None
    deals = sorted({number // FOLDS for number in found})
    whole = [deal for deal in deals if all(deal * FOLDS + place in found for place in range(FOLDS))]
    if whole:  # a part of a deal would weigh some names more than others
        deals, found = whole, {n: about for n, about in found.items() if n // FOLDS in whole}
    task = task_of(course, work)
    costs = {name: _told(course, folder, name, list(found)) for name in (*MODELS, *TREES)}
    judgements = {name: _judgement(task, told) for name, told in costs.items()}
    best = max(PLAIN, key=lambda name: judgements[name].score("macro-F1").value)
    pairs = compare(judgements, seed=SEED).to_dicts()
    return {
        "name": course.name, "title": task.dataset.title, "protocol": course.protocol, "options": dict(course.options), "folds": [n + 1 for n in found],
        "deals": {deal + 1: _deal(task, course, folder, [n for n in found if n // FOLDS == deal]) for deal in deals} if len(deals) > 1 else {},
        "rows": judgements["language"].rows, "best_plain": best,
        "detectors": [_row(name, judgements[name], costs[name]) for name in judgements],
        "pairs": [pair for pair in pairs if {pair["better"], pair["worse"]} & set(MODELS)],
        "unseen_rows": int(np.concatenate(costs["language"].unseen).sum()),
        "training": list(found.values()),
    }  # fmt: skip


def _told(course: Asked, folder: Path, name: str, numbers: list[int]) -> Told:
    """What a detector said of the rows of these folds."""
    parts = [Told.load(folder / f"{name}-{number}.npz", _key(course, number, name)) for number in numbers]
    whole = Told.merged([part for part in parts if part is not None])
    assert len(whole.rows) == len(numbers), f"{folder}: folds of {name} are missing"
    return whole


def _deal(task: Task, course: Asked, folder: Path, numbers: list[int]) -> dict[str, float]:
    """Macro-F1 of each detector over the folds of one deal."""
    said = {name: _judgement(task, _told(course, folder, name, numbers)) for name in (*MODELS, *TREES)}
    return {name: one.score("macro-F1").value for name, one in said.items()}


def _judgement(task: Task, told: Told) -> Judgement:
    return judged(task, told, feature_groups(task.dataset), _ordinary(task), SEED)


def _ordinary(task: Task) -> str:
    return str(next(iter(task.answers().filter(task.dataset.binary() == "normal").unique().sort()), "normal"))


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
    known = [course.name for course in (*COURSES, *MORE) if course.name != "ton-iot-addresses"]
    reader.add_argument("-o", "--output", type=Path)
    reader.add_argument("--work", type=Path, default=Path("out/language"))
    reader.add_argument("--only", choices=known, nargs="+", default=known)
    reader.add_argument("--recordings", type=Path, help="recordings to show in Farm-Flow's columns")
    reader.add_argument(
        "--deals", type=int, nargs="+", help="seeds of the folds, in place of those of the tables"
    )
    reader.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the decoder; give another --work too",
    )
    reader.add_argument("--one", nargs=2, metavar=("DATASET", "FOLD"), help=argparse.SUPPRESS)
    given = reader.parse_args()
    if not os.environ.get("WIRESPEAK_DATA"):
        raise SystemExit("set WIRESPEAK_DATA to the folder of the datasets")
    options = {name: json.loads(value) for name, _, value in (word.partition("=") for word in given.set)}
    courses = {each.name: Asked.of(each, given.deals, options) for each in (*COURSES, *MORE)}
    if given.one:
        name, number = given.one
        one_fold(courses[name], int(number), given.work / name)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    lab = given.work / "farm-flow-lab.csv"
    if given.recordings and not lab.is_file():
        show_lab_as_farm_flow(given.recordings, lab)
    here = [name for name in given.only if file_of(courses[name], given.work).is_file()]
    jobs = [
        (courses[name], number) for name in here for number in parts_of(courses[name])
        if _done(courses[name], number, given.work / name) is None
    ]  # fmt: skip
    with ThreadPoolExecutor(CORES) as pool:
        going = {
            pool.submit(_attempt, course, number, given.work, given.set): (course.name, number)
            for course, number in jobs
        }
        for done in as_completed(going):
            print(f"{going[done]}: {done.result()}", flush=True)
    if given.output:
        stood = {one["name"]: one for one in _earlier(given.output)}
        new = {name: one for name in here if (one := gathered(courses[name], given.work))}
        found = [one for name in known if (one := new.get(name) or stood.get(name))]
        write(
            given.output,
            {"machine": machine(), "folds": FOLDS, "deal": DEAL, "seed": SEED, "datasets": found},
        )


def _earlier(output: Path) -> list[dict[str, Any]]:
    """Datasets that the output tells of already."""
    found: list[dict[str, Any]] = (
        json.loads(output.read_text("utf-8"))["datasets"] if output.is_file() else []
    )
    return found


def _attempt(course: Course, number: int, work: Path, options: list[str]) -> str:
    (work / course.name).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--one", course.name, str(number), "--work", str(work)]
    command += [word for option in options for word in ("--set", option)]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    began = time.perf_counter()
    with (work / course.name / f"fold-{number}.log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False, env=alone)
    return f"{'done' if done.returncode == 0 else 'failed, see its log,'} after {time.perf_counter() - began:.0f} s"


if __name__ == "__main__":
    main()

"""Every detector on the public datasets, honestly split: what docs/comparison.md shows. Needs WIRESPEAK_DATA.

    python bench/datasets.py -o bench/results/datasets.json

Each detector meets each dataset in a process of its own that uses one core and is bounded by its budget of processor
seconds; two run at a time, and by their budgets all are done in less than two hours on two cores. What is finished stands in out/datasets: a run
that was stopped goes on where it was, and a detector that needs an environment of its own joins from there
(`--detector autogluon`, run by that Python). To run one again, remove its file. The code is that of
`wirespeak evaluate detector`; `--report` writes its whole report (tests between detectors, confusion, curves, failures)
from the fold predictions that stand there into out/datasets/NAME/report, without fitting anything.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wirespeak.data.sources import read_dataset
from wirespeak.data.split import Protocol, feature_groups, folds
from wirespeak.evaluate.comparison import write_report
from wirespeak.interfaces.contest import Task, contest, named
from wirespeak.interfaces.measure import machine

FOLDS, SEED = 3, 0


@dataclass(frozen=True)
class Course:
    """A dataset and how it is split.

    reference: a plain forest elsewhere, as score and value; on: what that was on. share: of the detectors' budgets.
    """

    name: str
    file: str
    protocol: Protocol
    addresses: bool = False
    reference: tuple[tuple[str, float], ...] = ()
    on: str = ""
    share: float = 1.0

    def budget(self, detector: str) -> float:
        """Seconds that a detector may take here."""
        return self.share * BUDGETS_S[detector]


COURSES = (
    Course(
        "nsl-kdd", "nsl-kdd/KDDTrain+.txt", "names-out",
        reference=(("accuracy", 0.751), ("macro-F1", 0.494)),
        on="KDDTest+, 3,750 of whose 22,544 rows go by names that never occur in training", share=0.8,
    ),
    Course(
        "unsw-nb15", "unsw-nb15/UNSW_NB15_82332_dev.csv", "group",
        reference=(("accuracy", 0.873), ("macro-F1", 0.552), ("binary accuracy", 0.975)),
        on="rows kept apart, duplicates on neither side", share=0.8,
    ),
    Course(
        "ton-iot", "ton-iot/train_test_network_dev.csv", "group",
        reference=(("accuracy", 0.978), ("macro-F1", 0.951), ("binary accuracy", 0.998)),
        on="rows kept apart whose features never occur in training (binary: all rows kept apart; on these its macro-F1 was 0.936)",
    ),
    Course(
        "ton-iot-addresses", "ton-iot/train_test_network_dev.csv", "group", addresses=True,
        reference=(("binary accuracy", 0.9999),), on="all rows",
    ),
    Course("cicids2017", "cicids2017-sample/cic_ids2017_multiclass_dev.csv", "group", share=0.4),
)  # fmt: skip

BUDGETS_S = {
    "forest": 150, "extra-trees": 150, "tuned": 600, "xgboost": 240, "isolation-forest": 60, "online": 90,
    "logistic-text": 120, "mlp": 105, "lightgbm": 240, "hist-boost": 270, "vote": 420, "flaml": 270, "lstm": 240,
    "stack": 600, "autogluon": 600,
}  # fmt: skip
"""Processor seconds for all folds, the random one and the judging together; the order is that of running,
each on every dataset before the next."""
CORES = 2
_MEMBERS = ("forest", "extra-trees", "xgboost")
OPTIONS: dict[str, dict[str, Any]] = {
    "lightgbm": {"rounds": 100, "rate": 0.1}, "hist-boost": {"rounds": 100, "rate": 0.12}, "flaml": {"budget_s": 20.0}, "lstm": {"rows": 20_000},
    "vote": {"members": _MEMBERS}, "stack": {"members": _MEMBERS, "rows": 6_000}, "autogluon": {"budget_s": 45.0},
}  # fmt: skip
"""Where a detector's own defaults would take longer."""

SCORES = (
    "accuracy", "macro-F1", "macro-F1 over distinct rows", "attack ROC area", "calibration error",
    "binary accuracy", "attack recall", "attack precision", "false-alarm rate", "unseen recall",
    "unseen recall at 5 % false alarms", "attack recall at 5 % false alarms", "false-alarm rate there",
)  # fmt: skip
"""What is kept of the scores: each with its value, the ends of its interval, and n."""


def run(course: Course, detector: str, folder: Path) -> dict[str, Any]:
    """The scores and costs of one detector on one dataset."""
    task = _task(course)
    options = OPTIONS.get(detector, {})
    results, absent = contest(
        task, [detector], protocol=course.protocol, k=FOLDS, seed=SEED, options={detector: options},
        keep=folder / "folds",
    )  # fmt: skip
    if absent:
        raise SystemExit(absent[detector])
    result = results[0]
    random = result.random.score("macro-F1") if result.random else None
    assert result.fit and result.predict
    return {
        "detector": detector,
        "options": options,
        "rows": result.judgement.rows,
        "scores": {
            one.name: [one.value, one.low, one.high, one.n]
            for one in result.judgement.scores
            if one.name in SCORES
        },
        "random_macro_f1": random.value if random else None,
        "fit_s": result.fit.cpu_s,
        "predict_s": result.predict.cpu_s,
        "predict_us": result.predict.cpu_s / result.judgement.rows * 1e6,
        "peak_mb": result.peak_mb,
        "cpu_s": time.process_time(),
        "labels": result.judgement.per_label.select("label", "n", "precision", "recall", "f1").to_dicts(),
        "names": result.judgement.per_name.select("name", "n", "unseen", "recall").to_dicts(),
    }


def report(course: Course, work: Path) -> Path:
    """The whole report on one dataset, from the fold predictions of every detector that finished."""
    folder = work / course.name
    names = [name for name in BUDGETS_S if _finished(folder / f"{name}.json")]
    task = _task(course)
    results, _ = contest(
        task, names, protocol=course.protocol, k=FOLDS, seed=SEED, options=OPTIONS, keep=folder / "folds"
    )
    (written := folder / "report").mkdir(exist_ok=True)
    write_report(
        written, results, title=f"{task.dataset.title}, {course.protocol} split", notes=task.dataset.notes
    )
    return written / "report.html"


def describe(course: Course) -> dict[str, Any]:
    """What is known of a dataset and its folds before anything is fitted."""
    task = _task(course)
    found = folds(task.dataset, protocol=course.protocol, k=FOLDS, seed=SEED)
    aside = task.dataset.set_aside.height
    copies = np.bincount(groups := feature_groups(task.dataset))
    return {
        "name": course.name,
        "title": task.dataset.title,
        "protocol": course.protocol,
        "addresses": course.addresses,
        "rows": len(task.dataset),
        "rows_set_aside": aside,
        "labels": task.dataset.labels.n_unique(),
        "distinct": len(copies),
        "largest": {"rows": int(copies.max()), "label": task.dataset.labels[int(np.argmax(groups == copies.argmax()))]},
        "folds": [{"train": len(fold.train), "test": len(fold.test), "unseen": sorted(fold.unseen)} for fold in found],
        "budgets_s": {name: course.budget(name) for name in BUDGETS_S},
        "reference": {"scores": dict(course.reference), "on": course.on},
    }  # fmt: skip


def attempt(course: Course, detector: str, work: Path) -> str:
    """Run one detector in a process of its own unless its result is there; says how it went."""
    target = work / course.name / f"{detector}.json"
    if target.is_file():
        return "is there"
    command = [sys.executable, __file__, "--one", course.name, detector, "--work", str(work)]
    budget, began = course.budget(detector), time.perf_counter()
    alone = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    if done.returncode == -signal.SIGXCPU:
        write(target, {"detector": detector, "stopped_after_s": budget})
        return f"stopped after its {budget:.0f} s"
    if done.returncode:
        return f"failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
    return f"{json.loads(target.read_text())['cpu_s']:.0f} of {budget:.0f} s, {time.perf_counter() - began:.0f} on the clock"


def gathered(work: Path) -> dict[str, Any]:
    """Everything that stands in the folder."""
    found = []
    for course in COURSES:
        about = work / course.name / "about.json"
        if about.is_file():
            results = [
                json.loads(path.read_text())
                for name in BUDGETS_S
                if (path := about.with_name(f"{name}.json")).is_file()
            ]
            found.append({**json.loads(about.read_text()), "detectors": results})
    bounded = sum(course.budget(name) for course in COURSES for name in named(["all"])) / CORES
    return {
        "machine": machine(), "folds": FOLDS, "seed": SEED, "options": OPTIONS,
        "budget_of_all_s": bounded, "datasets": found,
    }  # fmt: skip


def _finished(path: Path) -> bool:
    return path.is_file() and "scores" in json.loads(path.read_text())


def write(path: Path, value: dict[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    with hidden.open("w", encoding="utf-8") as file:
        file.write(json.dumps(_rounded(value), indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(hidden, path)


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [course.name for course in COURSES]
    reader.add_argument("-o", "--output", type=Path)
    reader.add_argument("--work", type=Path, default=Path("out/datasets"))
    reader.add_argument("--only", choices=known, nargs="+", default=known)
    reader.add_argument("--detector", choices=list(BUDGETS_S), nargs="+", default=named(["all"]))
    reader.add_argument("--report", action="store_true")
    reader.add_argument("--one", nargs=2, metavar=("DATASET", "DETECTOR"), help=argparse.SUPPRESS)
    given = reader.parse_args()
    if not os.environ.get("WIRESPEAK_DATA"):
        raise SystemExit("set WIRESPEAK_DATA to the folder of the datasets")
    if given.one:
        course, detector = next(one for one in COURSES if one.name == given.one[0]), given.one[1]
        folder = given.work / course.name
        resource.setrlimit(resource.RLIMIT_CPU, (int(course.budget(detector)), resource.RLIM_INFINITY))
        write(folder / f"{detector}.json", run(course, detector, folder))
        return
    courses = [one for one in COURSES if one.name in given.only]
    if given.report:
        for course in courses:
            print(report(course, given.work), flush=True)
        return
    _everything(courses, given.detector, given.work, given.output)


def _everything(courses: Sequence[Course], detectors: Sequence[str], work: Path, output: Path | None) -> None:
    for course in courses:
        write(work / course.name / "about.json", describe(course))
    jobs = [(course, name) for name in BUDGETS_S if name in detectors for course in courses]
    began = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        going = {pool.submit(attempt, *job, work): job for job in jobs}
        for number, done in enumerate(as_completed(going), 1):
            course, name = going[done]
            minutes = (time.perf_counter() - began) / 60
            print(
                f"{number} of {len(jobs)}, {minutes:.0f} min: {course.name} {name}: {done.result()}",
                flush=True,
            )
            if output:
                write(output, gathered(work))


def _task(course: Course) -> Task:
    dataset = read_dataset([Path(os.environ["WIRESPEAK_DATA"]) / course.file], on_bad_row="skip")
    return Task(replace(dataset, files=()), addresses=course.addresses)


def _rounded(value: Any) -> Any:
    """Floats at six digits: no more of them is known."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()

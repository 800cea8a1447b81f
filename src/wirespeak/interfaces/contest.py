"""Every detector on the same folds of one dataset, so that their numbers can stand in one table.

Nothing is chosen on the rows that are judged: whatever a detector tunes, it tunes on parts of its training
side. The threshold for attacks of unseen names comes from normal rows that neither trained it nor are judged.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import __version__
from wirespeak.data.dataset import Dataset
from wirespeak.data.fingerprint import fingerprints, mixed
from wirespeak.data.split import Fold, Protocol, clock, feature_groups, folds
from wirespeak.detect.drawer import DETECTORS
from wirespeak.detect.learn import fitted, kind_and_way
from wirespeak.errors import MissingPart, OptionError, WirespeakError
from wirespeak.evaluate.comparison import Result
from wirespeak.evaluate.cost import Cost, measured
from wirespeak.evaluate.failures import analyse
from wirespeak.evaluate.judge import Judgement, judge
from wirespeak.interfaces.output import identity
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.interfaces.told import Chances, Told
from wirespeak.lm import model_folder

APART = ("autogluon", "language", "cascade", "zero-shot", "few-shot")
"""Detectors that are never among `all`: they pin others' versions, learn for the better part of an hour, or need a
model that is named."""

READY = ("language", "suricata")
"""Detectors that learn nothing from recordings: a trained language model, and rules. They judge flows as we measure
them."""

SPOKEN = ("language", "cascade", "zero-shot", "few-shot")
"""Detectors that start from the language model that is named, where one is."""

_CALIBRATION = 10  # one group of equal normal training rows in ten sets the threshold and trains nothing


@dataclass(frozen=True)
class Task:
    """What is to be told apart, from what.

    binary: attack from normal, instead of the dataset's own labels. addresses: whether detectors see addresses
    and ports. test: the official test rows, for the protocol `official`. captures: the packets of recordings, by
    their names. model: the language model, None for the one in the box; rules: of Suricata, None for our own. ready: what those of READY
    have said.
    """

    dataset: Dataset
    binary: bool = False
    addresses: bool = False
    test: Dataset | None = None
    captures: Mapping[str, Path] = field(default_factory=dict)
    model: str | None = None
    rules: Path | None = None
    ready: dict[str, Ready] = field(default_factory=dict, compare=False, repr=False)

    def rows(self, judged: bool = False) -> Dataset:
        """The dataset trained on, or the one judged."""
        return self.test if judged and self.test is not None else self.dataset

    def features(self, judged: bool = False) -> pl.DataFrame:
        """What detectors see, a row for each row of the dataset."""
        return self.rows(judged).table.select(self.dataset.features(addresses=self.addresses))

    def answers(self, judged: bool = False) -> pl.Series:
        """What they are to say."""
        found = self.rows(judged)
        return found.binary() if self.binary else found.labels

    @cached_property
    def identity(self) -> str:
        """A hash of every row and label, and of what is asked."""
        found = blake2b(f"{self.binary} {self.addresses}".encode(), digest_size=16)
        for dataset in (self.dataset, self.rows(True)):
            found.update(fingerprints(dataset.table).tobytes())
            found.update(
                "\n".join(
                    f"{name}\t{label}" for name, label in zip(dataset.names, dataset.labels, strict=True)
                ).encode()
            )
        return found.hexdigest()


def contest(
    task: Task,
    detectors: Sequence[str],
    *,
    protocol: Protocol = "group",
    k: int = 3,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    keep: Path | None = None,
    progress: Say = quiet,
) -> tuple[list[Result], dict[str, str]]:
    """A result for each detector, and why others could not run: a part that is not installed, rows that one cannot learn from.

    detectors: names as `learn.fitted` takes them. options: of a detector by name, beside its defaults. The random
    split is run for each too, on one fold. keep: a folder for the fold predictions of each; those in it that
    answer the same question are taken as they are.
    """
    honest = folds(task.dataset, protocol=protocol, k=k, seed=seed, test=task.test)
    careless = folds(task.dataset, protocol="random", k=max(k, 2), seed=seed)[:1]
    normal = task.rows(True).binary() == "normal"
    ordinary = next(iter(task.answers(True).filter(normal).unique().sort()), "normal")
    groups = feature_groups(task.rows(True))
    results: list[Result] = []
    absent: dict[str, str] = {}
    for number, name in enumerate(detectors):
        progress(f"{name} on {len(honest)} folds of {task.dataset.title}", number / len(detectors))
        chosen = (options or {}).get(name, {})
        try:
            told = _told(task, name, honest, chosen, seed, keep, progress)
            beside = None
            if protocol != "random":
                once = replace(task, test=None, ready=task.ready if task.test is None else {})
                beside = judged(
                    once, _told(once, name, careless, chosen, seed, keep, progress), None, ordinary, seed
                )
        except WirespeakError as error:
            absent[name] = str(error)
            continue
        judgement = judged(task, told, groups, ordinary, seed)
        rows = np.concatenate(told.rows)
        results.append(
            Result(
                name,
                judgement,
                random=beside,
                fit=told.fit,
                predict=told.predict,
                rows=rows,
                failures=analyse(
                    task.features(True)[rows],
                    judgement.predictions["truth"].to_list(),
                    judgement.predictions["answer"].to_list(),
                    units={field.name: field.unit for field in task.dataset.fields.values() if field.unit},
                    seed=seed,
                ),
            )
        )
    return results, absent


def named(names: Sequence[str], *, ready: Sequence[str] = ()) -> list[str]:
    """The detectors that are meant, each once. `all` is every one but those that stand apart, and first the `ready`.

    Raises OptionError for a name that is none, before any of them has worked.
    """
    for name in names:
        if name not in ("all", *READY):
            kind_and_way(name)
    everyone = [*ready, *(name for name in DETECTORS if name not in APART)]
    return list(dict.fromkeys(one for name in names for one in (everyone if name == "all" else [name])))


def familiar(task: Task) -> list[str]:
    """A warning where the language model was trained on what it is judged by."""
    model = task.ready.get("language")
    known = {name for part in (model.card.get("recordings", {}) if model else {}).values() for name in part}
    seen = sorted(known & set(task.captures))
    if not seen:
        return []
    return [
        f"The language model was trained or tuned on {len(seen)} of these recordings ({', '.join(seen[:3])}): its numbers flatter it."
    ]


def searching() -> list[str]:
    """The detectors that search for as long as they may."""
    return [name for name, kind in DETECTORS.items() if "budget_s" in inspect.signature(kind).parameters]


def _told(
    task: Task,
    name: str,
    split: Sequence[Fold],
    options: Mapping[str, Any],
    seed: int,
    keep: Path | None,
    progress: Say = quiet,
) -> Told:
    """What was kept of this detector, or what it says now."""
    if keep is None:
        return fold_by_fold(task, name, split, options, seed, progress)
    asked = [task.identity, name, [fold.name for fold in split], dict(options), seed, __version__]
    if _is_ready(task, name):
        asked += [task.model, str(task.rules), _weights(task.model)]
    if base := _base(task, name):
        asked += [base, _weights(task.model)]
    key, path = json.dumps(asked), keep / f"{name}-{split[0].name.rpartition('-')[0] or split[0].name}.npz"
    found = Told.load(path, key)
    if found is None:
        found = fold_by_fold(task, name, split, options, seed, progress)
        found.save(path, key)
    return found


def _weights(model: str | None) -> list[Any]:
    """What the folder of a model holds; nothing where it lies elsewhere."""
    folder = Path(model or "")
    places = dict.fromkeys((folder, model_folder(folder))) if model and folder.is_dir() else ()
    return [identity(place) for place in places]


def fold_by_fold(
    task: Task,
    name: str,
    split: Sequence[Fold],
    options: Mapping[str, Any],
    seed: int,
    progress: Say = quiet,
) -> Told:
    """Fit and ask one detector, fold by fold. options: of the detector."""
    if _is_ready(task, name):
        return _ready(task, name).told(task, split, seed)
    features, answers, names = task.features(), task.answers(), task.dataset.names
    asked, of = task.features(True), task.rows(True).names
    told = Told()
    said: list[tuple[tuple[str, ...], Chances]] = []
    for fold in split:
        train, apart = spared(task.dataset, in_order(task.dataset, fold.train, seed), seed)
        with measured() as cost:
            detector = fitted(
                name, features[train], answers[train], names[train], of=task.dataset, seed=seed,
                progress=progress, **_base(task, name), **options,
            )  # fmt: skip
        told.fit += cost
        with measured() as cost:
            chances = detector.predict(asked[fold.test])
        told.predict += cost
        said.append((detector.labels, chances))
        told.rows.append(fold.test)
        told.unseen.append(of[fold.test].is_in(list(fold.unseen)).to_numpy())
        told.calibration.append(
            attack_scores(detector.predict(features[apart]), detector.labels, answers[apart])
        )
    told.labels = sorted({label for labels, _ in said for label in labels})
    told.chances = [aligned(chances, labels, told.labels) for labels, chances in said]
    return told


def _is_ready(task: Task, name: str) -> bool:
    """Whether the detector is asked as it is: on the rows of other datasets, `language` learns."""
    return name in READY and (name != "language" or task.dataset.name == "recording")


def _base(task: Task, name: str) -> dict[str, Any]:
    """The model that a language model's detector starts from, where one was named."""
    return {"base": task.model} if task.model and name.partition("+")[0] in SPOKEN else {}


@dataclass(frozen=True)
class Ready:
    """What a detector that learns nothing says of every row, asked once and measured whole.

    trained, judged: [rows, labels] of the dataset and of what is judged, the same where no test file is given.
    card: of its model.
    """

    labels: tuple[str, ...]
    trained: Chances
    judged: Chances
    predict: Cost
    card: Mapping[str, Any]

    def told(self, task: Task, split: Sequence[Fold], seed: int) -> Told:
        """Its answers fold by fold, as if it had been asked then."""
        told, of = Told(labels=list(self.labels), predict=self.predict), task.rows(True).names
        for fold in split:
            _, apart = spared(task.dataset, fold.train, seed)
            told.rows.append(fold.test)
            told.chances.append(self.judged[fold.test])
            told.unseen.append(of[fold.test].is_in(list(fold.unseen)).to_numpy())
            told.calibration.append(attack_scores(self.trained[apart], self.labels, task.answers()[apart]))
        return told


def _ready(task: Task, name: str) -> Ready:
    """What the named one says. Raises MissingPart where the rows are not what it judges."""
    from wirespeak.detect.language import LanguageDetector
    from wirespeak.detect.suricata import Suricata

    if name in task.ready:
        return task.ready[name]
    if task.dataset.name != "recording":
        raise MissingPart(
            f"{name} judges flows as 'wirespeak flows' measures them, and these are rows of {task.dataset.title}."
        )
    detector: LanguageDetector | Suricata
    if name == "language":
        detector = LanguageDetector.load(task.model)
    elif task.captures:
        detector = Suricata(task.captures, rules=task.rules)
    else:
        raise MissingPart(
            "suricata reads packets, and these are rows. Give the folders of recordings to --data."
        )
    with measured() as cost:
        judged = detector.predict(task.rows(True).table)
    trained = judged if task.test is None else detector.predict(task.dataset.table)
    labels = detector.labels
    if task.binary:
        place = labels.index("normal")
        judged, trained = (
            np.stack([1 - said[:, place], said[:, place]], axis=1) for said in (judged, trained)
        )
        labels = ("attack", "normal")
    card = getattr(getattr(detector, "model", None), "card", {})
    return task.ready.setdefault(name, Ready(labels, trained, judged, cost, card))


def in_order(dataset: Dataset, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The rows oldest first, or in no order where the dataset does not say when they were.

    Some files are sorted by label; a detector that learns rows as they come would forget one label over another.
    """
    try:
        return rows[np.argsort(clock(dataset)[rows], kind="stable")]
    except OptionError:
        return np.random.default_rng(seed).permutation(rows)


def spared(
    dataset: Dataset, train: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to learn from, and normal ones kept for the threshold: equal rows stay together."""
    keys = mixed(fingerprints(dataset.table[train], dataset.features()), seed + 1)
    apart = (keys % np.uint64(_CALIBRATION) == 0) & (dataset.binary()[train] == "normal").to_numpy()
    return (train[~apart], train[apart]) if apart.any() and not apart.all() else (train, train[:0])


def attack_scores(chances: Chances, labels: Sequence[str], answers: pl.Series) -> NDArray[np.float64]:
    """The score of attack of rows that are all normal."""
    if not len(answers) or answers[0] not in labels:
        return np.zeros(0)
    return np.asarray(1.0 - chances[:, list(labels).index(answers[0])], np.float64)


def judged(task: Task, told: Told, groups: NDArray[np.int64] | None, normal: str, seed: int) -> Judgement:
    rows = np.concatenate(told.rows)
    number = np.concatenate([np.full(len(part), place) for place, part in enumerate(told.rows)])
    calibrated = all(len(scores) for scores in told.calibration)
    return judge(
        task.answers(True)[rows].to_list(),
        np.concatenate(told.chances),
        told.labels,
        groups=None if groups is None else groups[rows],
        unseen=np.concatenate(told.unseen),
        calibration=told.calibration if calibrated else None,
        folds=number,
        names=task.rows(True).names[rows].to_list(),
        normal=normal,
        seed=seed,
    )


def aligned(chances: Chances, labels: Sequence[str], wanted: Sequence[str]) -> Chances:
    """Probabilities in the order of `wanted`; 0 for a label that this fold never taught."""
    found = np.zeros((len(chances), len(wanted)), np.float32)
    found[:, [wanted.index(label) for label in labels]] = chances
    return found

"""From a labelled dataset to a fitted detector: which columns it sees, and which answers it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import polars as pl

from wirespeak.data.balance import WAYS, Way, evened
from wirespeak.data.dataset import Dataset
from wirespeak.detect.drawer import DETECTORS, make
from wirespeak.detect.saved import read_card
from wirespeak.detect.spoken import Progress, Spoken, Worded
from wirespeak.detect.tabular import TableDetector
from wirespeak.detect.verdicts import answer_of
from wirespeak.errors import OptionError, unknown_name
from wirespeak.lm import checkpoint_folder
from wirespeak.schema import LABELS
from wirespeak.text.ask import ANSWERS

Answer = Literal["multiclass", "family", "binary", "binary-then-type"]


def learn(
    dataset: Dataset,
    *,
    detector: str = "tuned",
    answer: Answer = "multiclass",
    addresses: bool = False,
    seed: int = 0,
    work: Path | None = None,
    before: Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> TableDetector:
    """The named detector, fitted to every row of `dataset` and ready to `save`.

    detector: as `fitted` takes it. answer: what is told apart (`text.ask.ANSWERS`). addresses: show it who as well as what, which
    most detectors then learn by heart. options: of the detector. Where the dataset names attacks more finely
    than its categories, the names are handed on, for inner folds that leave some out. work, before, progress: see `fitted`.
    """
    if answer not in ANSWERS:
        raise unknown_name("answer", answer, ANSWERS)
    labels = answers_of(dataset, answer)
    options = asking_options(detector, answer) | options
    finer = dataset.names.n_unique() > dataset.labels.n_unique()
    return fitted(
        detector,
        dataset.table.select(dataset.features(addresses=addresses)),
        labels,
        dataset.names if finer else None,
        of=dataset,
        work=work,
        before=before,
        progress=progress,
        seed=seed,
        **options,
    )


def answers_of(dataset: Dataset, answer: str) -> pl.Series:
    """The label that each row is to get: the dataset's own category, the branch of the canonical tree, or whether it
    is an attack."""
    if answer == "binary":
        return dataset.binary()
    if answer == "family":
        families = {label: answer_of(label, answer) for label in LABELS}
        return dataset.canonical.replace_strict(families, return_dtype=pl.String).rename("label")
    return dataset.labels


def asking_options(detector: str, answer: str) -> dict[str, Any]:
    """What a language model is told of how it is asked. Raises OptionError where another detector cannot be."""
    if issubclass(DETECTORS[kind_and_way(detector)[0]], Worded):  # type: ignore[arg-type]
        return {"answer": answer}
    if answer == "binary-then-type":
        raise OptionError(
            f"binary-then-type is a way to ask language models, and {detector} is none. Leave it out."
        )
    return {}


def kind_and_way(detector: str) -> tuple[str, Literal["", "weights"] | Way]:
    """The kind of detector and the way to even out its training rows, "" for none. Raises OptionError for neither.

    >>> kind_and_way("forest+smote")
    ('forest', 'smote')
    """
    kind, plus, way = detector.partition("+")
    if kind not in DETECTORS:
        raise unknown_name("detector", kind, DETECTORS)
    if plus and way not in ("weights", *WAYS):
        raise unknown_name("way to make labels even", way, ("weights", *WAYS))
    return kind, way  # type: ignore[return-value]


def fitted(
    detector: str,
    features: pl.DataFrame,
    labels: pl.Series,
    names: pl.Series | None = None,
    *,
    of: Dataset | None = None,
    work: Path | None = None,
    before: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    **options: Any,
) -> TableDetector:
    """A detector that has learnt these rows, made even between labels first where its name says so.

    detector: `forest`, or with a way after a plus: `forest+weights` (a row weighs the less the more rows its label
    has), `forest+over`, `forest+under` and `forest+smote` (see `data.balance.evened`). names: a finer label of each
    row. of: the dataset they are of, which tells a language model what its columns mean. work: a folder for the state
    of a training that may be cut off. before: a saved language model to go on with. progress: called with what is done and the share of it. options: of the detector.
    Raises OptionError for a name that is none.
    """
    kind, way = kind_and_way(detector)
    if way == "weights":
        options = {"balance": 1.0} | options
    elif way:
        make(kind, **options)  # a mistake in the options comes before the work
        features, labels, names = evened(features, labels, names, way=way, seed=seed)
    made = make(kind, **options)
    if isinstance(made, Worded) and of is not None:
        made.fields, made.source = of.fields, of.name
    base = Path(getattr(made, "base", "") or ".")
    if base.name and base.is_dir():  # named from anywhere, later too
        # A folder that `train` wrote is a base like any other: its weights are what is tuned.
        made.base = str((checkpoint_folder(base) if isinstance(made, Spoken) else base).resolve())  # type: ignore[attr-defined]
    if isinstance(made, Spoken):
        if before is not None and (earlier := read_card(before)["kind"]) != kind:
            raise OptionError(f"{before} is a {earlier}. Leave --detector out to go on with it.")
        made.work, made.before, made.progress = work, before, progress
    elif before is not None:
        raise OptionError(f"{kind} learns from the start: only a language model can be continued.")
    return made.fit(features, labels.to_list(), seed=seed, names=None if names is None else names.to_list())

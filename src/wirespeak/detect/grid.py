"""Hyper-parameters chosen on inner folds of the training rows: a grid file lists what to try of each option."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wirespeak.data.dataset import Dataset
from wirespeak.detect.learn import answers_of, asking_options, fitted
from wirespeak.detect.priors import inner_folds, quality
from wirespeak.detect.table import duplicate_groups
from wirespeak.errors import InputError, OptionError

FOLDS = 3
_MOST = 64


def read_grid(path: Path) -> dict[str, list[Any]]:
    """The values to try by option, from lines like `rate = [0.0005, 0.001]`. Raises InputError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as a grid ({error}). Write lines such as 'rate = [0.0005, 0.001]'."
        ) from error
    grid = {name: values if isinstance(values, list) else [values] for name, values in found.items()}
    empty = [name for name, values in grid.items() if not values or isinstance(values[0], dict | list)]
    if empty or not grid:
        raise InputError(
            f"{path}: {empty[0] if empty else 'the file'} lists no values to try. Write lines such as 'rate = [0.0005, 0.001]'."
        )
    return grid


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values. Raises OptionError for more than can be tried.

    >>> combinations({"epochs": [2, 4], "rate": [0.001]})
    [{'epochs': 2, 'rate': 0.001}, {'epochs': 4, 'rate': 0.001}]
    """
    size = int(np.prod([len(values) for values in grid.values()]))
    if size > _MOST:
        raise OptionError(
            f"the grid has {size} combinations, and {_MOST} is the most that is tried. List fewer values."
        )
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def choose(
    dataset: Dataset,
    detector: str,
    answer: str,
    grid: Mapping[str, Sequence[Any]],
    *,
    addresses: bool = False,
    seed: int = 0,
    work: Path | None = None,
    before: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The combination that does best on inner folds of the dataset, and the score of each.

    Equal rows never stand on both sides; where labels have finer names, each fold leaves some out of its learning. The
    score is the mean over folds of macro-F1 and accuracy (`priors.quality`). An unusable answer is a wrong one. options: of the detector, the same for
    all. before: a saved model that each goes on with. work: a folder that keeps the score of every trial, so that the same call goes on where it
    was cut off. Raises OptionError for an option that it has not.
    """
    features, labels = (
        dataset.table.select(dataset.features(addresses=addresses)),
        answers_of(dataset, answer),
    )
    known = sorted(labels.unique())
    codes = labels.replace_strict(known, list(range(len(known))), return_dtype=pl.Int64).to_numpy()
    fine = dataset.names.to_numpy().astype(str)
    split = list(inner_folds(codes, fine, duplicate_groups(features), None, count=FOLDS, seed=seed))
    tried: list[dict[str, Any]] = []
    every, options = combinations(grid), asking_options(detector, answer) | options
    rows = int(features.with_columns(label=labels, name=dataset.names).hash_rows(seed=seed).sum())
    kept = _Kept(work, repr([detector, answer, addresses, seed, before, sorted(options.items()), rows]))
    for number, values in enumerate(every):
        scores = []
        for turn, (learn, judged) in enumerate(split):
            if progress:
                progress(f"trying {values}", (number * FOLDS + turn) / (len(every) * FOLDS))
            trial = f"{turn} {sorted(values.items())!r}"
            if (score := kept.scores.get(trial)) is None:
                made = fitted(
                    detector, features[learn], labels[learn], dataset.names[learn], of=dataset, seed=seed, before=before,
                    **(options | values),
                )  # fmt: skip
                chances = made.predict(features[judged])
                place = np.array(
                    [known.index(label) if label in known else len(known) for label in made.labels]
                )
                said = np.where(np.isnan(chances).any(axis=1), len(known), place[chances.argmax(axis=1)])
                score = kept.keep(trial, quality(said, codes[judged], np.ones(len(judged)), None))
            scores.append(score)
        tried.append({"options": values, "score": float(np.mean(scores)), "folds": scores})
    best = max(tried, key=lambda one: one["score"])
    return dict(best["options"]), tried


class _Kept:
    """The scores of trials on disk. of: what they are trials of; others are not looked at."""

    def __init__(self, folder: Path | None, of: str) -> None:
        self.path = folder / "grid.json" if folder else None
        self.of, self.scores = of, dict[str, float]()
        try:
            found = json.loads(self.path.read_text("utf-8")) if self.path else {}
            if found.get("of") == of:
                self.scores = {str(trial): float(score) for trial, score in found["scores"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass  # none are kept, or a cut left half of them: they are made again

    def keep(self, trial: str, score: float) -> float:
        """Write the score down, and give it back."""
        self.scores[trial] = score
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            hidden = self.path.with_suffix(".part")
            hidden.write_text(json.dumps({"of": self.of, "scores": self.scores}), "utf-8")
            hidden.replace(self.path)
        return score

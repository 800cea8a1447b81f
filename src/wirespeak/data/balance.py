"""Training rows made even between labels. For the training side only: a test side is judged as it is."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.fingerprint import codes
from wirespeak.errors import OptionError, missing_extra

Way = Literal["over", "under", "smote"]
WAYS: tuple[Way, ...] = get_args(Way)


def evened(
    features: pl.DataFrame, labels: pl.Series, names: pl.Series | None = None, *, way: Way, seed: int = 0
) -> tuple[pl.DataFrame, pl.Series, pl.Series | None]:
    """Rows of which each label has as many: repeated, left out, or made up (`resampled`, `smote`).

    names: a finer label of each row; a row that is made up goes by its label.
    """
    if way == "smote":
        made, answers = smote(features, labels, seed=seed)
        return made, answers, None if names is None else pl.concat([names, answers[len(names) :]])
    rows = resampled(labels, method=way, seed=seed)
    return features[rows], labels[rows], None if names is None else names[rows]


def resampled(
    labels: pl.Series, *, method: Literal["over", "under"], seed: int = 0, least: int = 1
) -> NDArray[np.int64]:
    """Positions of rows such that all labels have equal counts, ascending.

    over: rows of the smaller labels again and again, up to the largest. under: rows of the larger labels left
    out, down to the smallest, but to no fewer than `least`.
    """
    number, _ = codes(labels)
    counts = np.bincount(number)
    goal = int(counts.max()) if method == "over" else max(least, int(counts.min()))
    rng = np.random.default_rng(seed)
    chosen = []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(number == label)
        if method == "over":
            chosen += [rows, rng.choice(rows, goal - count)]
        else:
            chosen.append(rng.choice(rows, min(goal, int(count)), replace=False))
    return np.sort(np.concatenate(chosen))


def smote(
    features: pl.DataFrame, labels: pl.Series, *, seed: int = 0, neighbours: int = 5
) -> tuple[pl.DataFrame, pl.Series]:
    """The training rows and, after them, made-up ones between neighbours of the smaller labels, until all are even.

    SMOTE (Chawla et al. 2002); SMOTE-NC where there are categories. Labels with two rows or fewer are left as
    they are. Raises MissingPart without imbalanced-learn, OptionError where numbers are missing or labels too rare.
    """
    try:
        from imblearn.over_sampling import SMOTE, SMOTENC  # type: ignore[import-untyped]
    except ImportError as error:
        raise missing_extra("imbalanced-learn", "baselines") from error
    counts = dict(labels.value_counts().iter_rows())
    few = min((n for n in counts.values() if n > 2), default=0)
    if not few:
        raise OptionError("SMOTE needs labels with three rows or more. Use class weights instead.")
    goal = {label: max(counts.values()) for label, n in counts.items() if n > 2}
    categories = [name for name, kind in features.schema.items() if not kind.is_numeric()]
    options: dict[str, Any] = {
        "sampling_strategy": goal, "k_neighbors": min(neighbours, few - 1), "random_state": seed,
    }  # fmt: skip
    numbers = [name for name in features.columns if name not in categories]
    matrix = features.select(numbers).cast(pl.Float64).fill_null(np.nan).to_numpy()
    if not (whole := np.isfinite(matrix).all(axis=0)).all():
        missing = numbers[int(np.argmin(whole))]
        raise OptionError(
            f"column '{missing}' has rows without a finite number, and SMOTE cannot mix those. Use 'over' or 'weights' instead."
        )
    spread = np.where(matrix.std(axis=0) > 0, matrix.std(axis=0), 1.0)
    coded = [codes(features[name].cast(pl.String)) for name in categories]
    table = np.column_stack([matrix / spread, *(number for number, _ in coded)])
    if categories:
        method = SMOTENC(categorical_features=list(range(len(numbers), len(features.columns))), **options)
    else:
        method = SMOTE(**options)
    made, answers = method.fit_resample(table, labels.to_numpy())
    new = slice(len(labels), None)
    columns = {name: made[new, i] * spread[i] for i, name in enumerate(numbers)}
    columns |= {
        name: distinct[made[new, len(numbers) + i].astype(np.int64)].to_list()
        for i, (name, (_, distinct)) in enumerate(zip(categories, coded, strict=True))
    }
    schema: dict[str, Any] = {
        name: pl.Float64 if kind.is_numeric() else kind for name, kind in features.schema.items()
    }
    added = pl.DataFrame({name: columns[name] for name in features.columns}, schema_overrides=schema)
    old = features.with_columns(pl.col(name).cast(pl.Float64) for name in numbers)
    return pl.concat([old, added]), pl.concat(
        [labels, pl.Series(labels.name, answers[new].tolist(), labels.dtype)]
    )

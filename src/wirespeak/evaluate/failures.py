"""Where a detector fails, in numbers and in words: pairs it confuses, what its wrong rows look like, slices.

Words and tables give medians, shares and counts of at least `MINIMUM` rows, never the values of a row. The
medoid, the row nearest to all others in Gower's distance (1971), is named by its number alone. Effect sizes
are Cliff's delta for numbers (1993; -1 to 1, 0 when neither side tends to be larger) and the total variation
distance for categories (0 to 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.evaluate.intervals import Floats, once
from wirespeak.evaluate.judge import NO_ANSWER
from wirespeak.evaluate.metrics import wilson
from wirespeak.evaluate.ranking import ranking

MINIMUM = 10
_SAMPLE = 400
_TELLING = 3
_BINS = 8
_VALUES = 30


@dataclass(frozen=True)
class Difference:
    """One column in which the wrong rows differ from the right ones of the same truth.

    wrong, right, answer: median or commonest value of the wrong rows, of the right rows of the same truth, and
    of the right rows of the label they were taken for (None where these are few).
    """

    column: str
    effect: float
    wrong: str
    right: str
    answer: str | None


@dataclass(frozen=True)
class TypicalFailure:
    """What the rows of `truth` that were taken for `answer` have in common. medoid: number of a row."""

    truth: str
    answer: str
    n: int
    of: int
    medoid: int
    differences: tuple[Difference, ...]
    words: str


@dataclass(frozen=True)
class Failures:
    """pairs: truth, answer, n, share (of the truth), low, high, the most frequent first. slices: as `slices`."""

    pairs: pl.DataFrame
    typical: tuple[TypicalFailure, ...]
    slices: pl.DataFrame


def analyse(
    features: pl.DataFrame,
    truth: Sequence[str],
    answers: Sequence[str | None],
    *,
    units: Mapping[str, str] | None = None,
    most: int = 5,
    seed: int = 0,
) -> Failures:
    """Everything about the failures of one detector.

    features: what it saw, a row for each truth and answer (numbers and strings; leave addresses and text out).
    units: of columns, as written after a number. most: pairs that are described.
    """
    pairs = confused_pairs(truth, answers)
    real, said = _text(truth), _text(answers)
    described = [
        typical_failure(features, real, said, str(wrong), str(answer), units=units, seed=seed)
        for wrong, answer in pairs.filter(pl.col("n") >= MINIMUM).head(most).select("truth", "answer").rows()
    ]
    return Failures(
        pairs=pairs,
        typical=tuple(one for one in described if one),
        slices=slices(features, real != said, units=units),
    )


def confused_pairs(truth: Sequence[str], answers: Sequence[str | None]) -> pl.DataFrame:
    """Wrong answers by pair: truth, answer, n, share of the rows of that truth, low, high; most frequent first."""
    table = pl.DataFrame({"truth": _text(truth), "answer": _text(answers)}, schema=dict.fromkeys(("truth", "answer"), pl.String))  # fmt: skip
    counted = table.group_by("truth", "answer").len("n").with_columns(of=pl.col("n").sum().over("truth"))
    wrong = counted.filter(pl.col("truth") != pl.col("answer")).sort(
        "n", "truth", "answer", descending=[True, False, False]
    )
    ends = [wilson(n, of) for n, of in wrong.select("n", "of").rows()]
    return wrong.select(
        "truth",
        "answer",
        pl.col("n").cast(pl.Int64),
        (pl.col("n") / pl.col("of")).alias("share"),
        pl.Series("low", [low for low, _ in ends], dtype=pl.Float64),
        pl.Series("high", [high for _, high in ends], dtype=pl.Float64),
    )


def typical_failure(
    features: pl.DataFrame,
    truth: NDArray[np.object_],
    answers: NDArray[np.object_],
    wrong: str,
    answer: str,
    *,
    units: Mapping[str, str] | None = None,
    most: int = 4,
    seed: int = 0,
) -> TypicalFailure | None:
    """The rows of `wrong` taken for `answer` against the rows of `wrong` judged right. None where they are few."""
    missed = np.flatnonzero((truth == wrong) & (answers == answer))
    if len(missed) < MINIMUM:
        return None
    good = np.flatnonzero((truth == wrong) & (answers == wrong))
    target = np.flatnonzero((truth == answer) & (answers == answer))
    found: list[Difference] = []
    if len(good) >= MINIMUM:
        found = [
            _difference(features[name], missed, good, target, (units or {}).get(name, ""))
            for name in features.columns
        ]
    found = sorted((one for one in found if abs(one.effect) >= 0.15), key=lambda one: -abs(one.effect))[:most]
    of = int((truth == wrong).sum())
    return TypicalFailure(
        truth=wrong,
        answer=answer,
        n=len(missed),
        of=of,
        medoid=int(missed[_medoid(features[missed.tolist()], seed=seed)]),
        differences=tuple(found),
        words=_words(wrong, answer, len(missed), of, len(good), found),
    )


def slices(
    features: pl.DataFrame,
    wrong: NDArray[np.bool_],
    *,
    units: Mapping[str, str] | None = None,
    minimum: int = 50,
    most: int = 10,
) -> pl.DataFrame:
    """Parts of the rows that fail far more often than the rest: column, slice, n, wrong, rate, low, high.

    A part is one value of a category or one quantile bin of a number. It counts when even the low end of its
    interval, corrected for how many parts were looked at (Bonferroni), lies above 1.5 times the mean rate. The
    worst comes first, and its rows are taken out before the next is looked for: no failure is told twice.
    """
    columns = [_parts(features[name], (units or {}).get(name, "")) for name in features.columns]
    mean = float(wrong.mean()) if len(wrong) else 0.0
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, sum(len(names) for names, _ in columns)))
    left = np.ones(len(wrong), np.bool_)
    found: list[tuple[str | int | float, ...]] = []
    while mean and len(found) < most:
        best, excess = None, 0.0
        for column, (names, codes) in enumerate(columns):
            n = np.bincount(codes[left], minlength=len(names))
            bad = np.bincount(codes[left & wrong], minlength=len(names))
            for place in np.flatnonzero((n >= minimum) & (bad - n * mean > excess)):
                if wilson(bad[place], n[place], z)[0] > 1.5 * mean:
                    best, excess = (column, int(place)), float(bad[place] - n[place] * mean)
        if best is None:
            break
        names, codes = columns[best[0]]
        rows = codes == best[1]
        n_all, bad_all = int(rows.sum()), int((rows & wrong).sum())
        row = (features.columns[best[0]], names[best[1]], n_all, bad_all, bad_all / n_all)
        found.append((*row, *wilson(bad_all, n_all)))
        left &= ~rows
    schema = {"column": pl.String, "slice": pl.String, "n": pl.Int64, "wrong": pl.Int64}
    return pl.DataFrame(
        found, schema=schema | dict.fromkeys(("rate", "low", "high"), pl.Float64), orient="row"
    )


def _parts(values: pl.Series, unit: str) -> tuple[list[str], NDArray[np.int64]]:
    """The parts a column falls into, and which one each row is in. A missing value is a part of its own."""
    if not values.dtype.is_numeric():
        text = values.cast(pl.String).fill_null("(missing)")
        common = text.value_counts(sort=True).head(_VALUES)[values.name].sort().to_list()
        number = {value: place for place, value in enumerate(common)}
        places = text.replace_strict(number, default=len(common), return_dtype=pl.Int64)
        return [*(f"is {value}" for value in common), "is something rarer"], places.to_numpy()
    numbers = values.cast(pl.Float64).to_numpy()
    known = np.isfinite(numbers)
    edges = (
        np.unique(np.quantile(numbers[known], np.linspace(0, 1, _BINS + 1))) if known.any() else np.zeros(1)
    )
    # A value that fills several quantiles is a part of its own: most columns of traffic are mostly zero.
    edges = np.append(edges, np.inf)
    codes = np.where(known, np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2), len(edges) - 1)  # fmt: skip
    names = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        upper = "" if high == np.inf else f" and below {_figure(high, unit)}"
        names.append(f"is at least {_figure(low, unit)}{upper}")
    return [*names, "is missing"], codes


def _difference(
    column: pl.Series,
    missed: NDArray[np.int64],
    good: NDArray[np.int64],
    target: NDArray[np.int64],
    unit: str,
) -> Difference:
    few = len(target) < MINIMUM
    if not column.dtype.is_numeric():
        text = _text(column.cast(pl.String).to_list())
        values = np.unique(np.concatenate([text[missed], text[good]]))
        gaps = np.array([np.mean(text[missed] == value) - np.mean(text[good] == value) for value in values])
        return Difference(
            column.name,
            float(np.abs(gaps).sum() / 2),
            _share_of(text[missed], values[int(np.argmax(gaps))]),
            _commonest(text[good]),
            None if few else _commonest(text[target]),
        )
    numbers = np.nan_to_num(column.cast(pl.Float64).to_numpy(), nan=-np.inf)
    both = np.concatenate([numbers[missed], numbers[good]])
    area = float(once(ranking(both, np.arange(len(both)) < len(missed)), len(both))[0])
    middles = [float(np.median(numbers[rows])) if len(rows) else np.nan for rows in (missed, good, target)]
    wrong, right, answer = (_figure(middle, unit) for middle in middles)
    if wrong == right:  # mostly a counter that is mostly 0: say how often
        wrong, right = (f"{wrong} ({np.mean(numbers[rows] == middles[0]):.0%})" for rows in (missed, good))
    return Difference(column.name, 2 * area - 1, wrong, right, None if few else answer)


def _commonest(text: NDArray[np.object_]) -> str:
    values, n = np.unique(text, return_counts=True)
    return _share_of(text, values[int(np.argmax(n))])


def _share_of(text: NDArray[np.object_], value: str) -> str:
    """A value with its share, unless so few rows have it that it would tell on them."""
    n = int((text == value).sum())
    return f"{value} ({n / len(text):.0%})" if n >= _TELLING else "no common value"


def _words(wrong: str, answer: str, n: int, of: int, good: int, found: Sequence[Difference]) -> str:
    begin = f"{n:,} of {of:,} {wrong} rows got no answer" if answer == NO_ANSWER else f"{n:,} of {of:,} {wrong} rows were taken for {answer}"  # fmt: skip
    if good < MINIMUM:
        few = "none" if not good else f"only {good}"
        return f"{begin}. Of {wrong} {few} were judged right, too few to say what sets them apart."
    if not found:
        return f"{begin}. No single column sets them apart from those judged right."
    told = []
    for one in found:
        like = f" as in {answer}" if (one.answer or "").split(" (")[0] == one.wrong.split(" (")[0] else ""
        told.append(f"{one.column} {one.wrong}{like}, against {one.right}")
    return f"{begin}. Where they differ from those judged right: {'; '.join(told)}."


def _figure(value: float, unit: str = "") -> str:
    """A number at four digits, with its unit."""
    if not np.isfinite(value):
        return "missing"
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 1000 else f"{value:.4g} {unit}".strip()


def _medoid(rows: pl.DataFrame, *, seed: int) -> int:
    """The row whose mean Gower distance to the others, or to a sample of them, is least."""
    some = np.sort(np.random.default_rng(seed).permutation(rows.height)[:_SAMPLE])
    total: Floats = np.zeros(rows.height)
    for name in rows.columns:
        column = rows[name]
        if not column.dtype.is_numeric():
            codes = column.cast(pl.String).rank("dense").fill_null(0).to_numpy()
            total += (codes[:, None] != codes[some]).mean(axis=1)
            continue
        # Ranks, since one enormous value would make all others equal.
        ranks = column.cast(pl.Float64).rank("average").fill_null(0).to_numpy() / rows.height
        total += np.abs(ranks[:, None] - ranks[some]).mean(axis=1)
    return int(np.argmin(total))


def _text(values: Sequence[str | None]) -> NDArray[np.object_]:
    return np.array([NO_ANSWER if value is None else str(value) for value in values], dtype=object)

"""All scores of one set of predictions: from probabilities and the truth to numbers with intervals.

A row whose probabilities are NaN is an answer of None: it counts, it is wrong, and it takes the worst place
in every ranking. Labels of the truth that the detector does not have are wrong wherever they occur, and weigh
in the macro figures like any other. Areas and the risk against coverage are taken within each fold and
averaged, since scores of two models share no scale (Forman and Scholz 2010); all else pools the rows.

What the names of the scores mean
- `macro-*`: mean over the labels of the truth; `weighted-*`: weighted by how often each occurs there.
  `macro-recall` is balanced accuracy, `weighted-recall` accuracy: both names are given, people look for both.
- `macro ROC area`, `macro PR area`: one label against the rest, mean over labels.
- `binary *`, `attack *`, `false-alarm rate`: normal against everything else. A row is called an attack when
  its answer is not `normal`, and ranked by the score of attack.
- `macro-F1 over distinct rows`: rows of one group with one truth count once (in each fold), so that a label is
  not what its most repeated row is.
- `unseen recall at 5 % false alarms`: share of the attacks of names never seen in training whose score passes a
  threshold set on other, normal rows; `false-alarm rate there`: what became of the 5 % on the rows judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from wirespeak.errors import InputError, OptionError
from wirespeak.evaluate.coverage import calibration as calibration_gap
from wirespeak.evaluate.coverage import calibration_curve, risk, risk_curve, threshold
from wirespeak.evaluate.intervals import ROUNDS, Floats, Statistic, ends, numbered, once, resample, share
from wirespeak.evaluate.ranking import among, curves, mean_of, ranking
from wirespeak.records import Score

NO_ANSWER = "(none)"
ATTACK = "attack"
FALSE_ALARMS = 0.05
RECALL = 0.95
_SUMMARY = ("accuracy", "balanced accuracy", "macro-precision", "macro-recall", "macro-F1", "weighted-precision", "weighted-recall", "weighted-F1")  # fmt: skip
MACRO_F1 = _SUMMARY.index("macro-F1")
"""Where `rates` gives the macro-F1."""
_DISTINCT = "macro-F1 over distinct rows"
_SHARES = {"accuracy", "weighted-recall"}


@dataclass(frozen=True)
class Judgement:
    """What the judge found. Tables hold counts and predictions, never a column of the dataset.

    labels: of the detector, then those of the truth it does not have.
    per_label: label, n, answered, and precision, recall, f1, each with `_low` and `_high`.
    confusion: truth, answer, n; `NO_ANSWER` where there was none. per_name: name, n, unseen, recall, low, high
    of each attack name (called an attack at all), where names were given.
    curves: `roc` and `pr` with a column label (`ATTACK` is all attacks against normal), `calibration`, `risk`.
    predictions: truth, answer, confidence, score_attack, group, fold, unseen and p_LABEL of each row judged.
    """

    labels: tuple[str, ...]
    scores: tuple[Score, ...]
    per_label: pl.DataFrame
    confusion: pl.DataFrame
    per_name: pl.DataFrame
    curves: dict[str, pl.DataFrame]
    predictions: pl.DataFrame
    groups: int

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return self.predictions.height

    def score(self, name: str) -> Score | None:
        """The score of that name, None where it is not defined for these rows."""
        return next((score for score in self.scores if score.name == name), None)


@dataclass(frozen=True)
class _Rows:
    """The rows judged, as numbers. said: number of the answer, len(labels) for none."""

    labels: tuple[str, ...]
    real: NDArray[np.int64]
    said: NDArray[np.int64]
    probabilities: Floats
    attack: Floats | None
    hostile: NDArray[np.bool_]
    called: NDArray[np.bool_]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    seed: int

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.real == self.said

    @property
    def confidence(self) -> Floats:
        return np.asarray(self.probabilities.max(axis=1))


def judge(
    truth: Sequence[str],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
    *,
    groups: Sequence[object] | NDArray[np.int64] | None = None,
    unseen: NDArray[np.bool_] | None = None,
    calibration: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None = None,
    folds: NDArray[np.int64] | None = None,
    attack: NDArray[np.floating] | None = None,
    names: Sequence[str] | None = None,
    normal: str = "normal",
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Judgement:
    """Score one set of predictions.

    truth: the label of each row. probabilities: [rows, labels], NaN rows are no answer. groups: of each row,
    those that belong together are drawn together (None: rows are taken as independent). unseen: which rows
    are attacks of a name absent from training. calibration: scores of attack of *normal* rows of training or
    validation, for the threshold at 5 % false alarms; a list holds one array a fold. folds: number of the fold
    each row was tested in. attack: score of attack of each row, by default 1 - p(normal). names: the finest
    name of each row. normal: the label that is no attack, whatever its case.

    Raises InputError where shapes do not agree or nothing is to be judged.
    """
    rows = _as_rows(truth, probabilities, labels, groups, folds, attack, names, normal, seed)
    strange = np.zeros(len(rows.real), np.bool_) if unseen is None else np.asarray(unseen, np.bool_)
    limits = _limits(calibration, rows)
    scores, per_label = _measure(rows, rounds)
    return Judgement(
        labels=rows.labels,
        scores=(*scores, *_unseen(rows, strange & rows.hostile, limits), *_novelty(rows, strange, rounds)),
        per_label=per_label,
        confusion=_confusion(rows),
        per_name=_per_name(rows, names, strange),
        curves=_curves(rows),
        predictions=_predictions(rows, labels, strange),
        groups=int(rows.groups.max()) + 1,
    )


def aligned(
    probabilities: NDArray[np.floating], labels: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.float32]:
    """The columns of `labels` put in the order `wanted`, 0 for labels this detector was never shown: folds that
    lack a label join those that have it.

    >>> aligned(np.array([[0.25, 0.75]]), ["b", "a"], ["a", "b", "c"])
    array([[0.75, 0.25, 0.  ]], dtype=float32)
    """
    table = np.zeros((len(probabilities), len(wanted)), np.float32)
    table[:, [list(wanted).index(label) for label in labels]] = probabilities
    table[np.isnan(probabilities).any(axis=1)] = np.nan
    return table


def rates(rows: tuple[NDArray[np.int64], NDArray[np.int64]], labels: int) -> Statistic:
    """The figures of `_SUMMARY`, then the F1 of each label, from (real, said). Absent labels are NaN.

    Means are always over the labels of all rows: one that a draw leaves out counts as it does in the whole, or the
    interval of a mean would be that of another mean, over the frequent labels alone.
    """
    real, said = rows
    cell = real * (labels + 1) + said
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    present = cell[order][starts]

    def figures(weights: Floats) -> tuple[Floats, list[Floats]]:
        cells = np.zeros((len(weights), labels * (labels + 1)))
        cells[:, present] = np.add.reduceat(np.take(weights, order, axis=1), starts, axis=1)
        table = cells.reshape(-1, labels, labels + 1)
        hit = table[:, np.arange(labels), np.arange(labels)]
        truly, answered = table.sum(axis=2), table.sum(axis=1)[:, :labels]
        with np.errstate(invalid="ignore", divide="ignore"):
            there = np.where(truly > 0, 1.0, np.nan)
            precision = np.where(answered > 0, hit / answered, 0.0) * there
            recall, f1 = hit / truly * there, 2 * hit / (truly + answered) * there
        return truly, [precision, recall, f1]

    _, whole = figures(np.ones((1, len(real))))

    def measure(weights: Floats) -> Floats:
        truly, each = figures(weights)
        means = [
            np.nanmean(np.where(np.isnan(figure), usual, figure), axis=1)
            for figure, usual in zip(each, whole, strict=True)
        ]
        share_of = truly / truly.sum(axis=1, keepdims=True)
        weighted = [np.nansum(figure * share_of, axis=1) for figure in each]
        summary = np.stack([weighted[1], means[1], *means, *weighted], axis=1)
        return np.concatenate([summary, each[2]], axis=1)

    return measure


def _as_rows(
    truth: Sequence[str],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
    groups: Sequence[object] | NDArray[np.int64] | None,
    folds: NDArray[np.int64] | None,
    attack: NDArray[np.floating] | None,
    names: Sequence[str] | None,
    normal: str,
    seed: int,
) -> _Rows:
    n = len(truth)
    if not n:
        raise InputError("there are no rows to judge: the truth is empty.")
    if probabilities.shape != (n, len(labels)):
        raise InputError(
            f"the probabilities have the shape {probabilities.shape}, expected {(n, len(labels))}: a row for each truth and a column for each label."
        )
    given = {"groups": groups, "folds": folds, "scores of attack": attack, "names": names}
    for what, column in given.items():
        if column is not None and len(column) != n:
            raise InputError(f"{len(column)} {what} for {n} rows, expected one a row.")
    known = [str(label) for label in labels]
    everything = (*known, *sorted({str(label) for label in truth} - set(known)))
    number = {label: place for place, label in enumerate(everything)}
    real = np.array([number[str(label)] for label in truth], np.int64)
    table = probabilities.astype(np.float64)
    silent = np.isnan(table).any(axis=1)
    table[silent] = np.nan
    said = np.where(silent, len(everything), np.argmax(np.where(np.isnan(table), 0, table), axis=1))
    plain = next(
        (place for place, label in enumerate(everything) if label.casefold() == normal.casefold()), -1
    )
    ordinary = known.index(everything[plain]) if 0 <= plain < len(known) else None
    score: Floats | None = None if ordinary is None else 1 - table[:, ordinary]
    if attack is not None:
        score = np.where(silent, np.nan, attack.astype(np.float64))
    return _Rows(
        labels=everything,
        real=real,
        said=said.astype(np.int64),
        probabilities=table,
        attack=score,
        hostile=real != plain,
        called=(said != plain) & ~silent,
        groups=numbered(groups, n),
        folds=numbered(folds, n) if folds is not None else np.zeros(n, np.int64),
        seed=seed,
    )


def _limits(
    calibration: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None, rows: _Rows
) -> Floats | None:
    """The threshold that each row is held against."""
    if calibration is None or rows.attack is None:
        return None
    if isinstance(calibration, np.ndarray):
        return np.full(len(rows.real), threshold(calibration, false_alarms=FALSE_ALARMS))
    if len(calibration) != rows.folds.max() + 1:
        raise OptionError(f"{len(calibration)} sets of calibration scores for {rows.folds.max() + 1} folds.")
    return np.array([threshold(one, false_alarms=FALSE_ALARMS) for one in calibration])[rows.folds]


def _measure(rows: _Rows, rounds: int) -> tuple[list[Score], pl.DataFrame]:
    """The scores that need no threshold from elsewhere, and the table of labels."""
    names, statistics = [list(_SUMMARY)], [rates((rows.real, rows.said), len(rows.labels))]
    for found, statistic in _ranked(rows):
        names.append(found)
        statistics.append(statistic)
    copied = _copied(rows)
    if copied is not None:
        names.append([_DISTINCT])
        statistics.append(_macro_f1_of(rows, np.flatnonzero(~copied)))
    drawn = resample(statistics, rows.groups, rounds=rounds, seed=rows.seed)
    scores: list[Score] = []
    everyone = np.ones(len(rows.real), np.bool_)
    for found, statistic, values in zip(names, statistics, drawn, strict=True):
        whole = once(statistic, len(rows.real))
        for place, name in enumerate(found):
            exact = share(name, rows.right, everyone, rows.groups) if name in _SHARES else None
            if np.isfinite(whole[place]):
                low, high = ends(values[:, place])
                n = int((~copied).sum()) if copied is not None and name == _DISTINCT else len(rows.real)
                scores.append(exact or Score(name, float(whole[place]), n, low, high, rows.seed))
    return [*scores, *_binary(rows)], _per_label(rows, drawn[0][:, len(_SUMMARY) :])


def _ranked(rows: _Rows) -> list[tuple[list[str], Statistic]]:
    """Statistics of order, by name: each within its fold, then the mean."""
    folds = [np.flatnonzero(rows.folds == fold) for fold in np.unique(rows.folds)]

    def areas(scores: Floats, positive: NDArray[np.bool_]) -> Statistic:
        inside = [among(ranking(scores[part], positive[part], recall=RECALL), part) for part in folds]
        return mean_of(inside)

    confidence, right = rows.confidence, rows.right
    found: list[tuple[list[str], Statistic]] = []
    present = [label for label in np.unique(rows.real) if label < rows.probabilities.shape[1]]
    if len(np.unique(rows.real)) > 1 and present:
        each = [areas(rows.probabilities[:, label], rows.real == label) for label in present]
        found.append((["macro ROC area", "macro PR area"], mean_of(each, rows=len(rows.real))))
    if rows.attack is not None and 0 < rows.hostile.sum() < len(rows.hostile):
        found.append(
            (
                ["attack ROC area", "attack PR area", f"false-alarm rate at {RECALL:.0%} recall"],
                areas(rows.attack, rows.hostile),
            )
        )
    found.append((["calibration error"], calibration_gap(confidence, right)))
    parts = [among(risk(confidence[part], right[part]), part) for part in folds]
    found.append((["risk-coverage area"], mean_of(parts)))
    return found


def _copied(rows: _Rows) -> NDArray[np.bool_] | None:
    """Which rows came before with the same fold, group and truth; None where none did."""
    copied = np.ones(len(rows.real), np.bool_)
    copied[np.unique(np.stack([rows.folds, rows.groups, rows.real]), axis=1, return_index=True)[1]] = False
    return copied if copied.any() else None


def _macro_f1_of(rows: _Rows, some: NDArray[np.int64]) -> Statistic:
    statistic = among(rates((rows.real[some], rows.said[some]), len(rows.labels)), some)
    return lambda weights: statistic(weights)[:, [MACRO_F1]]


def _binary(rows: _Rows) -> list[Score]:
    """Shares about normal against attack, and the share that was answered."""
    everyone = np.ones(len(rows.real), np.bool_)
    silent = rows.said == len(rows.labels)
    shares = [share("answered", ~silent, everyone, rows.groups)]
    if rows.attack is not None:
        shares += [
            share("binary accuracy", (rows.called == rows.hostile) & ~silent, everyone, rows.groups),
            share("attack recall", rows.called, rows.hostile, rows.groups),
            share("attack precision", rows.hostile, rows.called, rows.groups),
            share("false-alarm rate", rows.called, ~rows.hostile, rows.groups),
        ]
    return [one for one in shares if one]


def _unseen(rows: _Rows, strange: NDArray[np.bool_], limits: Floats | None) -> list[Score]:
    """Attacks of names never seen: as answered, and at the threshold set elsewhere."""
    if rows.attack is None:
        return []
    shares = [share("unseen recall", rows.called, strange, rows.groups)]
    if limits is not None:
        alarm = np.nan_to_num(rows.attack, nan=-np.inf) > limits
        shares += [
            share("unseen recall at 5 % false alarms", alarm, strange, rows.groups),
            share("attack recall at 5 % false alarms", alarm, rows.hostile, rows.groups),
            share("false-alarm rate there", alarm, ~rows.hostile, rows.groups),
        ]
    return [one for one in shares if one]


def _novelty(rows: _Rows, strange: NDArray[np.bool_], rounds: int) -> list[Score]:
    """How well a low probability of the answer tells rows of names never seen from the others, fold by fold."""
    folds = [np.flatnonzero(rows.folds == fold) for fold in np.unique(rows.folds)]
    parts = [part for part in folds if 0 < strange[part].sum() < len(part)]
    if not parts:
        return []
    doubt = 1 - rows.confidence
    area = mean_of([among(ranking(doubt[part], strange[part], recall=RECALL), part) for part in parts])
    drawn = resample([area], rows.groups, rounds=rounds, seed=rows.seed)[0][:, 0]
    low, high = ends(drawn)
    value = float(once(area, len(rows.real))[0])
    return [Score("novelty ROC area", value, len(rows.real), low, high, rows.seed)]


def _per_label(rows: _Rows, drawn: Floats) -> pl.DataFrame:
    """Precision, recall and F1 of each label that occurs as truth or answer."""
    found = []
    for place, label in enumerate(rows.labels):
        truly, answered = rows.real == place, rows.said == place
        recall = share("recall", answered, truly, rows.groups)
        precision = share("precision", truly, answered, rows.groups)
        if not (recall or precision):
            continue
        hit, n, said = int((truly & answered).sum()), int(truly.sum()), int(answered.sum())
        f1 = 2 * hit / (n + said) if n else None
        low, high = ends(drawn[:, place]) if n else (None, None)
        found.append((label, n, said, *_three(precision), *_three(recall), f1, low, high))
    figures = [f"{name}{end}" for name in ("precision", "recall", "f1") for end in ("", "_low", "_high")]
    schema = {"label": pl.String, "n": pl.Int64, "answered": pl.Int64} | dict.fromkeys(figures, pl.Float64)
    return pl.DataFrame(found, schema=schema, orient="row")


def _three(score: Score | None) -> tuple[float | None, float | None, float | None]:
    return (score.value, score.low, score.high) if score else (None, None, None)


def _confusion(rows: _Rows) -> pl.DataFrame:
    answers = (*rows.labels, NO_ANSWER)
    pairs, n = np.unique(np.stack([rows.real, rows.said]), axis=1, return_counts=True)
    return pl.DataFrame(
        {
            "truth": [rows.labels[place] for place in pairs[0]],
            "answer": [answers[place] for place in pairs[1]],
            "n": n,
        }
    )


def _per_name(rows: _Rows, names: Sequence[str] | None, strange: NDArray[np.bool_]) -> pl.DataFrame:
    """How much of each attack name was called an attack, the least found first."""
    of = np.array([str(name) for name in names]) if names is not None else np.empty(0, str)
    found = []
    for name in np.unique(of[rows.hostile]) if len(of) else ():
        members = (of == name) & rows.hostile
        score = share(str(name), rows.called, members, rows.groups)
        found.append((str(name), int(members.sum()), bool(strange[members].any()), *_three(score)))
    schema = {"name": pl.String, "n": pl.Int64, "unseen": pl.Boolean} | dict.fromkeys(
        ("recall", "low", "high"), pl.Float64
    )
    return pl.DataFrame(found, schema=schema, orient="row").sort("recall", "name")


def _curves(rows: _Rows) -> dict[str, pl.DataFrame]:
    against = [
        (label, rows.probabilities[:, place], rows.real == place)
        for place, label in enumerate(rows.labels[: rows.probabilities.shape[1]])
    ]
    if rows.attack is not None:
        against.insert(0, (ATTACK, rows.attack, rows.hostile))
    drawn = [
        tuple(curve.insert_column(0, pl.lit(label).alias("label")) for curve in curves(scores, positive))
        for label, scores, positive in against
        if 0 < positive.sum() < len(positive)
    ]
    empty = pl.DataFrame(schema={"label": pl.String})
    return {
        "roc": pl.concat([pair[0] for pair in drawn]) if drawn else empty,
        "pr": pl.concat([pair[1] for pair in drawn]) if drawn else empty,
        "calibration": calibration_curve(rows.confidence, rows.right),
        "risk": risk_curve(rows.confidence, rows.right),
    }


def _predictions(rows: _Rows, labels: Sequence[str], strange: NDArray[np.bool_]) -> pl.DataFrame:
    answers = np.array([*rows.labels, None], dtype=object)
    table = pl.DataFrame(
        {
            "truth": pl.Series(np.array(rows.labels, dtype=object)[rows.real].tolist(), dtype=pl.String),
            "answer": pl.Series(answers[rows.said].tolist(), dtype=pl.String),
            "confidence": rows.confidence.astype(np.float32),
            "score_attack": (np.full(len(rows.real), np.nan) if rows.attack is None else rows.attack).astype(
                np.float32
            ),
            "group": rows.groups,
            "fold": rows.folds,
            "unseen": strange,
        }
    )
    shares = {
        f"p_{label}": rows.probabilities[:, place].astype(np.float32) for place, label in enumerate(labels)
    }
    return table.with_columns(**shares).with_columns(selectors.float().fill_nan(None))

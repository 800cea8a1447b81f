"""Whether one detector is better than another on the same rows, or was only luckier.

Accuracy is compared by McNemar's test (1947; exact binomial where few rows differ, else with Edwards' continuity
correction), and where rows come in groups also by its clustered form (Yang, Sun and Hardin 2010), which does
not take a thousand duplicates for a thousand witnesses. Macro-F1 is compared by a paired bootstrap over
groups. With many pairs some differ by chance: `holm` corrects for their number (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb, erfc, sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError
from wirespeak.evaluate.intervals import Floats, ends, once, resample
from wirespeak.evaluate.judge import MACRO_F1, Judgement, rates

ROUNDS = 500
_EXACT = 1000  # rows that differ, up to which the binomial is summed


def compare(judgements: Mapping[str, Judgement], *, rounds: int = ROUNDS, seed: int = 0) -> pl.DataFrame:
    """Every pair of detectors, the better first.

    Columns: better, worse, difference, low, high (macro-F1, 95 % interval), p (two-sided, normal with the bootstrap's error) and p_holm;
    only_better, only_worse (rows that one alone judged right), mcnemar_p and, where rows come in groups, mcnemar_group_p.
    Raises InputError where two did not judge the same rows.
    """
    if not judgements:
        return pl.DataFrame(schema=_SCHEMA)
    names = list(judgements)
    tables = [judgements[name].predictions for name in names]
    for name, table in zip(names, tables, strict=True):
        if not table.select("truth", "group").equals(tables[0].select("truth", "group")):
            raise InputError(
                f"{name} and {names[0]} were not judged on the same rows: a paired test needs the same rows in the same order."
            )
    groups = tables[0]["group"].to_numpy()
    statistics = [rates(_numbers(table), len(_labels(table))) for table in tables]
    whole = [float(once(statistic, len(groups))[MACRO_F1]) for statistic in statistics]
    drawn = [values[:, MACRO_F1] for values in resample(statistics, groups, rounds=rounds, seed=seed)]
    right = [(table["truth"] == table["answer"]).fill_null(False).to_numpy() for table in tables]
    grouped = bool(groups.max() + 1 < len(groups))
    found = []
    for pair in combinations(range(len(names)), 2):
        a, b = sorted(pair, key=lambda place: -whole[place])
        gap = drawn[a] - drawn[b]
        only_a, only_b = right[a] & ~right[b], right[b] & ~right[a]
        found.append(
            (
                names[a],
                names[b],
                whole[a] - whole[b],
                *ends(gap),
                _two_sided(whole[a] - whole[b], gap),
                int(only_a.sum()),
                int(only_b.sum()),
                mcnemar(int(only_a.sum()), int(only_b.sum())),
                mcnemar_by_group(only_a, only_b, groups) if grouped else None,
            )
        )
    table = pl.DataFrame(found, schema=_SCHEMA, orient="row")
    corrected = pl.Series("p_holm", holm(table["p"].to_list()), dtype=pl.Float64)
    return table.insert_column(table.get_column_index("p") + 1, corrected)


_SCHEMA = {
    "better": pl.String, "worse": pl.String, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "p": pl.Float64, "only_better": pl.Int64, "only_worse": pl.Int64, "mcnemar_p": pl.Float64, "mcnemar_group_p": pl.Float64,
}  # fmt: skip


def mcnemar(only_first: int, only_second: int) -> float:
    """p of McNemar's test: rows that one alone judged right, each way.

    >>> round(mcnemar(1, 9), 4)
    0.0215
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if n <= _EXACT:
        return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n)
    square = (abs(only_first - only_second) - 1) ** 2 / n
    return erfc(sqrt(square / 2))


def mcnemar_by_group(
    only_first: NDArray[np.bool_], only_second: NDArray[np.bool_], groups: NDArray[np.int64]
) -> float:
    """p of the clustered test: a group's differing rows are one witness."""
    lead = np.bincount(groups, only_first.astype(float)) - np.bincount(groups, only_second.astype(float))
    spread = float((lead**2).sum())
    return erfc(sqrt(float(lead.sum()) ** 2 / spread / 2)) if spread else 1.0


def holm(chances: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = least
    return corrected


def _two_sided(difference: float, drawn: Floats) -> float:
    """Chance of a difference this large where there is none, by the bootstrap's standard error. Counting draws
    instead could not go below 1 in their number, too coarse for many pairs."""
    error = float(np.nanstd(drawn))
    if not error:
        return 1.0 if not difference else 0.0
    return erfc(abs(difference) / error / sqrt(2))


def _labels(table: pl.DataFrame) -> list[str]:
    return sorted({*table["truth"], *table["answer"].drop_nulls()})


def _numbers(table: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    number = {label: place for place, label in enumerate(_labels(table))}
    real, said = (
        table[name].replace_strict(number, default=len(number), return_dtype=pl.Int64).to_numpy()
        for name in ("truth", "answer")
    )
    return real, said

"""How far answers agree with the truth, as scores with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.evaluate.metrics import wilson
from wirespeak.records import Score

ROUNDS = 500


def agreement(truth: Sequence[str], answers: Sequence[str | None], *, seed: int = 0) -> tuple[Score, Score]:
    """Accuracy (Wilson's interval) and macro-F1 over the labels of the truth (percentile bootstrap).

    An answer of None or `unknown` is wrong wherever the truth is another. The intervals take flows as
    independent; flows of one attack are not, so read them as lower bounds of the uncertainty.
    """
    table = pl.DataFrame(
        {"truth": list(truth), "answer": list(answers)}, schema={"truth": pl.String, "answer": pl.String}
    )
    counted = table.group_by("truth", "answer").len().sort("truth", "answer", nulls_last=True)
    n, cells = table.height, counted["len"].to_numpy()
    labels = counted["truth"].unique().sort().to_list()
    real = np.array([labels.index(label) for label in counted["truth"]])
    said = np.array(
        [labels.index(answer) if answer in labels else len(labels) for answer in counted["answer"]]
    )
    drawn = np.random.default_rng(seed).multinomial(n, cells / n, ROUNDS)
    low, high = np.percentile([_macro_f1(draw, real, said, len(labels)) for draw in drawn], [2.5, 97.5])
    hits = int(cells[real == said].sum())
    return (
        Score("accuracy", hits / n, n, *wilson(hits, n)),
        Score("macro-F1", _macro_f1(cells, real, said, len(labels)), n, float(low), float(high), seed),
    )


def _macro_f1(
    cells: NDArray[np.int64], real: NDArray[np.int64], said: NDArray[np.int64], labels: int
) -> float:
    """Mean F1 of the labels that occur. cells: how often label `real` was answered with `said`."""
    hit = np.bincount(real[real == said], cells[real == said], labels)
    either = np.bincount(real, cells, labels) + np.bincount(said, cells, labels + 1)[:labels]
    occurs = np.bincount(real, cells, labels) > 0
    return float((2 * hit[occurs] / either[occurs]).mean())

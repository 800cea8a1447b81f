"""What a language model keeps of what it learnt, so that learning more does not cost what it knew.

A sample of earlier examples is learnt again beside the new ones (experience replay; Rolnick et al. 2019), and rows that
trained nothing measure, for every earlier dataset, what was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wirespeak.errors import ModelError

_ROWS, _HELD = 20_000, 2_000
_SCHEMA = {"origin": pl.String(), "sentence": pl.String(), "label": pl.String(), "weight": pl.Float64()}
_FILES = {"rows": "memory.parquet", "held": "held-out.parquet"}

Ask = Callable[[pl.Series], Sequence[str]]


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=_SCHEMA)


@dataclass(frozen=True)
class Memory:
    """Sentences that a model learnt and sentences that it did not, with label and weight, by the dataset they are of.

    rows: to learn again. held: to measure on.
    """

    rows: pl.DataFrame = field(default_factory=_nothing)
    held: pl.DataFrame = field(default_factory=_nothing)

    def with_more(self, origin: str, learnt: pl.DataFrame, held: pl.DataFrame, *, seed: int) -> Memory:
        """This and what was learnt of `origin` (columns sentence, label, weight), within a fixed size.

        Every origin gets an equal part of the room, and within it every label the same, as far as it has rows.
        """
        return Memory(
            _thinned(_joined(self.rows, origin, learnt), _ROWS, seed),
            _thinned(_joined(self.held, origin, held), _HELD * (1 + self.held["origin"].n_unique()), seed),
        )

    def scores(self, ask: Ask) -> dict[str, float]:
        """Macro-F1 on the held-out rows of each origin. ask: names the label of each sentence."""
        found = {}
        for (origin,), rows in self.held.group_by("origin", maintain_order=True):
            found[str(origin)] = round(_macro_f1(rows["label"].to_list(), ask(rows["sentence"])), 4)
        return found

    def write(self, folder: Path) -> None:
        """Two parquet files."""
        for name, file in _FILES.items():
            getattr(self, name).write_parquet(folder / file, compression="zstd")

    @classmethod
    def read(cls, folder: Path) -> Memory:
        """What `write` wrote. Raises ModelError where it cannot be read."""
        try:
            return cls(
                **{name: pl.read_parquet(folder / file).select(*_SCHEMA) for name, file in _FILES.items()}
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"{folder}: the examples it would learn again cannot be read ({reason}). Train it again from the start."
            ) from error


def forgetting(before: dict[str, float], after: dict[str, float]) -> list[dict[str, Any]]:
    """Macro-F1 of each earlier dataset before and after, and what was lost."""
    return [
        {"dataset": name, "before": value, "after": after[name], "forgotten": round(value - after[name], 4)}
        for name, value in before.items()
    ]


def _joined(rows: pl.DataFrame, origin: str, more: pl.DataFrame) -> pl.DataFrame:
    known = set(rows["origin"])
    name, turn = origin, 2
    while name in known:
        name, turn = f"{origin} {turn}", turn + 1
    return pl.concat([rows, more.with_columns(origin=pl.lit(name)).select(*_SCHEMA)])


def _thinned(rows: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    if rows.height <= most:
        return rows
    turn = np.random.default_rng(seed).permutation(rows.height)
    ranked = rows.with_row_index("row").with_columns(turn=pl.Series(turn)).sort("turn")
    ranked = ranked.with_columns(rank=pl.int_range(pl.len()).over("origin", "label"))
    # The first of every label of every origin, then the second of each, until the room is full.
    return ranked.sort("rank", "turn").head(most).sort("row").select(*_SCHEMA)


def _macro_f1(truth: Sequence[str], said: Sequence[str]) -> float:
    scores = []
    for label in sorted(set(truth)):
        hit = sum(a == b == label for a, b in zip(truth, said, strict=True))
        scores.append(2 * hit / (sum(one == label for one in truth) + sum(one == label for one in said)))
    return float(np.mean(scores)) if scores else 0.0

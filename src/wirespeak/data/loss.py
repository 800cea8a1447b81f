"""What a table loses when its rows are put into words: records that read alike, and the accuracy that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Loss:
    """How much one way of saying rows keeps.

    distinct: different sentences. alike: share of the rows that read like a row which differs from them. ceiling:
    the accuracy that no model can exceed which answers equal sentences alike; None without labels. cost: by how
    much that is below the ceiling of the rows themselves. characters: of a sentence on average.
    """

    level: str
    rows: int
    distinct: int
    alike: float
    ceiling: float | None
    cost: float | None
    characters: float


def losses(keys: pl.Series, said: Mapping[str, pl.Series], labels: pl.Series | None) -> list[Loss]:
    """The loss of each level. keys: equal where rows are equal in all features. said: sentences by level."""
    whole = _ceiling(keys, labels)
    found = []
    for level, sentences in said.items():
        frame = pl.DataFrame({"key": keys, "said": sentences})
        merged = frame.group_by("said").agg(pl.len(), pl.col("key").n_unique().alias("rows"))
        alike = int(merged.filter(pl.col("rows") > 1)["len"].sum()) / max(1, len(keys))
        ceiling = _ceiling(sentences, labels)
        cost = None if whole is None or ceiling is None else whole - ceiling
        length = sentences.str.len_chars().mean()
        found.append(
            Loss(
                level, len(keys), merged.height, alike, ceiling, cost,
                float(length) if isinstance(length, (int, float)) else 0.0,
            )
        )  # fmt: skip
    return found


def _ceiling(keys: pl.Series, labels: pl.Series | None) -> float | None:
    """The share of rows that have the most frequent label among those with an equal key."""
    if labels is None or labels.null_count() == len(labels):
        return None
    counts = (
        pl.DataFrame({"key": keys, "label": labels}).drop_nulls("label").group_by("key", "label").len("n")
    )
    best = counts.group_by("key").agg(pl.col("n").max())["n"].sum()
    return int(best) / int(counts["n"].sum())

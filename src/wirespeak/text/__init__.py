"""Rows to sentences and back, questions to answers and back."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from wirespeak.schema import LEVELS, Column, compact_columns
from wirespeak.text import compact, levels
from wirespeak.text.ask import Example, Question, judge_prompt, label_answer, label_answers

NAMES = ("compact", *LEVELS)

__all__ = ["NAMES", "Example", "Question", "judge_prompt", "label_answer", "label_answers", "sentences"]


def sentences(
    table: pl.DataFrame, level: str = "compact", columns: Sequence[Column] | None = None
) -> pl.Series:
    """The sentence of each row at `level` (one of NAMES). columns: what it says; by default that of a flow."""
    if level == "compact":
        return compact.encode(table, compact_columns() if columns is None else columns)
    return levels.encode(table, level, columns)

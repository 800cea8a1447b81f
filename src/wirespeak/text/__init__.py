"""Flows to sentences and back, questions to answers and back."""

from __future__ import annotations

import polars as pl

from wirespeak.schema import LEVELS
from wirespeak.text import compact, levels
from wirespeak.text.ask import Example, judge_prompt, label_answer, label_answers

NAMES = ("compact", *LEVELS)

__all__ = ["NAMES", "Example", "judge_prompt", "label_answer", "label_answers", "sentences"]


def sentences(flows: pl.DataFrame, level: str = "compact") -> pl.Series:
    """The sentence of each flow at `level` (one of NAMES)."""
    return compact.encode(flows) if level == "compact" else levels.encode(flows, level)

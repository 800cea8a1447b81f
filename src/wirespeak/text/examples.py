"""Flows as lines of JSON that training programs read: instruction, or prompt and completion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from wirespeak.errors import unknown_name
from wirespeak.schema import LABELS
from wirespeak.text import sentences
from wirespeak.text.ask import judge_prompt, label_answer

FORMATS = ("instruction", "prompt-completion")
INSTRUCTION = f"Say what this network flow is, with one label of: {', '.join(LABELS)}."


def lines(
    flows: pl.DataFrame,
    labels: Sequence[str] | None = None,
    *,
    level: str = "compact",
    format: str = "instruction",
) -> Iterator[dict[str, str | None]]:
    """One object a flow, in order; the answer is None where no label is known.

    `instruction` has the keys instruction, input, output; `prompt-completion` has prompt and completion, as
    the model in the box is asked. Raises OptionError for an unknown level or format.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    said = sentences(flows, level)
    answers: Sequence[str | None] = [None] * len(said) if labels is None else labels
    for sentence, label in zip(said, answers, strict=True):
        if format == "instruction":
            yield {"instruction": INSTRUCTION, "input": sentence, "output": label}
        else:
            yield {"prompt": judge_prompt(sentence), "completion": label and label_answer(label)}


def write(
    flows: pl.DataFrame,
    labels: Sequence[str] | None,
    path: Path,
    *,
    level: str = "compact",
    format: str = "instruction",
) -> None:
    """Write `lines` into a JSONL file."""
    with path.open("w", encoding="utf-8") as file:
        for line in lines(flows, labels, level=level, format=format):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

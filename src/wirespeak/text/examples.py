"""Rows as lines of JSON that training programs read: instruction, prompt and completion, or a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wirespeak.text.ask import Question


def lines(
    said: Sequence[str], labels: Sequence[str | None] | None, question: Question
) -> Iterator[dict[str, Any]]:
    """One object a sentence, in order; the answer is None where no label is known.

    By the question's format the keys are instruction, input and output; prompt and completion; or messages, the
    assistant's left out where no label is known.
    """
    answers: Sequence[str | None] = [None] * len(said) if labels is None else labels
    for sentence, label in zip(said, answers, strict=True):
        if question.format == "instruction":
            yield {"instruction": question.instruction, "input": sentence, "output": label}
        elif question.format == "prompt-completion":
            yield {"prompt": question.prompt(sentence), "completion": label and question.written(label)}
        else:
            turns = [*question.prompt(sentence), *([("assistant", label)] if label else [])]
            yield {"messages": [{"role": role, "content": content} for role, content in turns]}


def write(
    said: Sequence[str], labels: Sequence[str | None] | None, path: Path, *, question: Question
) -> None:
    """Write `lines` into a JSONL file."""
    with path.open("w", encoding="utf-8") as file:
        for line in lines(said, labels, question):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

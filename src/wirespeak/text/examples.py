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
    said: Sequence[str], asked: Sequence[tuple[Question, Sequence[str | None] | None]], path: Path
) -> None:
    """Write `lines` into a JSONL file. asked: questions with each row's answer; a row's lines follow each other."""
    with path.open("w", encoding="utf-8") as file:
        for of_row in zip(*(lines(said, labels, question) for question, labels in asked), strict=True):
            for line in of_row:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

"""What a language model is asked, and how its answers are read.

The fixed word comes first and the record last, so that a prefix can be computed once. No captured text
ever enters a prompt: a flow is shown by typed columns alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One thing to learn: after `prompt` comes `answer`. weight: how often it counts."""

    prompt: str
    answer: str
    weight: float = 1.0


def judge_prompt(sentence: str) -> str:
    """Ask for the label of a flow, given its sentence.

    >>> judge_prompt("pr:tcp se:web")
    'judge pr:tcp se:web label'
    """
    return f"judge {sentence} label"


def label_answer(label: str) -> str:
    """The answer that names a label: one token in the model in the box, since its labels are words of its own.

    >>> label_answer("flood.syn")
    '<flood.syn>'
    """
    return f"<{label}>"


def label_answers(labels: Iterable[str]) -> list[str]:
    """`label_answer` of each label, in order."""
    return [label_answer(label) for label in labels]

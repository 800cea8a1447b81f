"""Examples as tokens: which are read, which are learnt, and what gives way when an example is too long.

Only the answer is learnt, and always its end too. Too long a prompt loses its middle, where the record's least
telling part is: the question at its head, the word that calls for the answer at its tail, and the whole answer stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from wirespeak.errors import InputError
from wirespeak.lm.prompts import Words
from wirespeak.lm.training import Example

UNLEARNT = -100
"""The label of a token that is read and not learnt, as everywhere in transformers."""


@dataclass(frozen=True)
class Row:
    """An example as tokens. answer: ends with end-of-text."""

    prompt: list[int]
    answer: list[int]
    weight: float


@dataclass(frozen=True)
class Encoded:
    """The rows that fit, the place among the examples each came from, and what did not go in whole.

    cut: prompts that lost their middle. too_long: examples set aside because the answer alone does not fit.
    """

    rows: list[Row]
    places: list[int]
    cut: int
    too_long: int

    def identity(self) -> str:
        """A hash of every token and weight."""
        told = sha256()
        for row in self.rows:
            told.update(np.array([len(row.prompt), *row.prompt, *row.answer], np.int64).tobytes())
            told.update(np.float64(row.weight).tobytes())
        return told.hexdigest()


def encode(
    examples: Sequence[Example], words: Words, *, end: int, length: int, apart: bool = False
) -> Encoded:
    """Examples as rows of at most `length` tokens, prompt, answer and its `end` together.

    The prompt is written as the runtimes write it. apart: for an encoder-decoder, whose prompt and answer may each
    have `length` tokens. Raises InputError for a weight that is no number above 0, ModelError for an empty answer.
    """
    prompts = words.prompts([example.prompt for example in examples])
    rows, places, cut = [], [], 0
    for place, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
        if not (example.weight > 0 and math.isfinite(example.weight)):
            raise InputError(f"example {place + 1}: weight is {example.weight}, expected a number above 0.")
        answer = [*words.answer(example.answer), end]
        room = length if apart else length - len(answer)
        if len(answer) > length or room < 1:
            continue
        # Something must stand before the first token of an answer for it to be told from.
        prompt = prompt or [end]
        cut += len(prompt) > room
        rows.append(Row(without_middle(prompt, room), answer, float(example.weight)))
        places.append(place)
    return Encoded(rows, places, cut, len(examples) - len(rows))


def without_middle(tokens: list[int], room: int) -> list[int]:
    """At most `room` tokens: the head and the tail, the tail longer by one where room is odd.

    >>> without_middle([1, 2, 3, 4, 5, 6], 3)
    [1, 5, 6]
    """
    if len(tokens) <= room:
        return tokens
    head = room // 2
    return tokens[:head] + tokens[len(tokens) - (room - head) :]


def collate(rows: Sequence[Row], *, pad: int, apart: bool = False) -> dict[str, Any]:
    """Rows as one batch, padded on the right; torch tensors.

    input_ids, attention_mask [rows, tokens] int64; labels [rows, tokens] int64, UNLEARNT outside the answer;
    weights, the same shape, float32, 0 outside the answer. apart: labels and weights hold the answer alone.
    """
    import torch

    read = [row.prompt if apart else row.prompt + row.answer for row in rows]
    starts = [0 if apart else len(row.prompt) for row in rows]
    learnt = max(start + len(row.answer) for start, row in zip(starts, rows, strict=True))
    ids = np.full((len(rows), max(map(len, read))), pad, np.int64)
    mask = np.zeros_like(ids)
    labels = np.full((len(rows), learnt), UNLEARNT, np.int64)
    weights = np.zeros(labels.shape, np.float32)
    for line, (row, tokens, start) in enumerate(zip(rows, read, starts, strict=True)):
        ids[line, : len(tokens)], mask[line, : len(tokens)] = tokens, 1
        stop = start + len(row.answer)
        labels[line, start:stop], weights[line, start:stop] = row.answer, row.weight
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels, "weights": weights}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def pieces(batch: dict[str, Any], at_once: int) -> Iterator[dict[str, Any]]:
    """A batch in parts of at most `at_once` rows of similar length, padding beyond the longest taken off."""
    lengths = batch["attention_mask"].sum(1)
    answers = (batch["labels"] != UNLEARNT).cumsum(1).argmax(1) + 1
    for rows in lengths.argsort(descending=True, stable=True).split(at_once):
        read, learnt = int(lengths[rows].max()), int(answers[rows].max())
        yield {
            name: part[rows, : read if name in ("input_ids", "attention_mask") else learnt]
            for name, part in batch.items()
        }


def packed(batch: dict[str, Any]) -> dict[str, Any]:
    """The rows of a batch one behind another as a single row without padding, told apart by `position_ids`."""
    real = batch["attention_mask"].bool()
    positions = batch["attention_mask"].cumsum(1) - 1
    return {
        "input_ids": batch["input_ids"][real][None],
        "position_ids": positions[real][None],
        "labels": batch["labels"][real][None],
        "weights": batch["weights"][real][None],
    }

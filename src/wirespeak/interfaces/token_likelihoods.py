"""How likely each token of a text is, judged by what stands before it: every text is read once.

A pass of a runtime (`lm.scoring.Steps`) tells what follows one place of a row. So the next few tokens go in as several
equal rows, each asked at another place, behind the kept keys and values of all that was read; no text is read again for
its next token. What several texts begin with is read for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.lm.scoring import Steps

# Tokens a pass: each is computed as often as there are, so few; but not one alone, which int8 rounds in another way.
_TOGETHER, _FEWEST = 4, 2
_KEPT = 4  # tokens of keys and values that may be kept for each token that a pass takes

Check = Callable[[], None]
"""Called before every pass. Raises to end the work."""


@dataclass(frozen=True)
class Text:
    """Tokens, of which those from place `start` on are told."""

    ids: list[int]
    start: int = 0

    @property
    def first(self) -> int:
        """How many tokens stand before the first that can be told: nothing is known of a text's first."""
        return max(1, self.start)


@dataclass(frozen=True)
class Likelihood:
    """Log-probability of a token where it stands, None for the first of a text, and of the likeliest there by number."""

    value: float | None = None
    best: Mapping[int, float] = field(default_factory=dict)


def count_scored(texts: Sequence[Text]) -> int:
    """How many places the model is asked for. What texts begin with counts once.

    >>> count_scored([Text([5, 6, 7]), Text([5, 6, 8, 9]), Text([5, 6, 7], start=2)])
    3
    >>> count_scored([Text([4]), Text([4, 4])])
    1
    """
    total, before = 0, Text([])
    for text in sorted(texts, key=lambda text: text.ids):
        known = min(
            _alike(before.ids, text.ids), len(before.ids) - 1
        )  # a last token is told, and none behind it
        total += max(0, len(text.ids) - max(text.first, known + 1))
        before = text
    return total


def likelihoods(steps: Steps, texts: Sequence[Text], top: int, check: Check) -> list[list[Likelihood]]:
    """Of each text the tokens from its start on. top: how many of the likeliest come with each. steps: causal."""
    told = [[Likelihood()] if text.ids and text.start == 0 else [] for text in texts]
    todo: list[tuple[list[int], Any, int]] = [(_going_on(texts, range(len(texts)), 0), None, 0)]
    while todo:
        rows, cache, begun = todo.pop()
        if not rows:
            continue
        mine = [texts[row] for row in rows]
        ids, stop = mine[0].ids, _end_of_common(mine, begun)
        for asked in _passes(begun, stop, min(text.first for text in mine), steps.places):
            check()
            chances, cache = _pass(steps, ids[begun : asked[-1]], asked, cache)
            begun = asked[-1]
            for place, values in zip(asked, chances, strict=True):
                wanted = [row for row in rows if texts[row].first <= place]
                best = _likeliest(values, top) if wanted else {}
                for row in wanted:
                    told[row].append(Likelihood(float(values[texts[row].ids[place]]), best))
        todo += [(each, cache, stop) for each in _branches(texts, _going_on(texts, rows, stop), stop)]
    return told


def _going_on(texts: Sequence[Text], rows: Sequence[int], place: int) -> list[int]:
    """The rows that must be read beyond `place`: a last token is told and not read."""
    return [row for row in rows if len(texts[row].ids) - 1 > place and len(texts[row].ids) > texts[row].first]


def _branches(texts: Sequence[Text], rows: Sequence[int], place: int) -> list[list[int]]:
    """The rows by the token they have at `place`, the most first: they wait while the others are done, and hold what
    was read so far. So at any time few waiting ones hold different things."""
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(texts[row].ids[place], []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def _end_of_common(texts: Sequence[Text], begun: int) -> int:
    """How far all texts read the same, from `begun` on, and each at least goes on."""
    limit = min(len(text.ids) for text in texts) - 1
    low, high = (pick(text.ids for text in texts) for pick in (min, max))
    return next((place for place in range(begun, limit) if low[place] != high[place]), limit)


def _alike(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    shortest = min(len(left), len(right))
    return next((place for place in range(shortest) if left[place] != right[place]), shortest)


def _passes(begun: int, stop: int, first: int, room: int) -> Iterator[range]:
    """The places to ask for, pass by pass; each pass reads up to its last. What nobody asks for is read in one."""
    if begun < stop and first > begun + 1:
        begun = min(first, stop)
        yield range(begun, begun + 1)
    while begun < stop:
        together = max(_FEWEST, min(_TOGETHER, _KEPT * room // (begun + _TOGETHER)))
        end = stop if stop - begun <= together + 1 else begun + together
        yield range(begun + 1, end + 1)
        begun = end


def _pass(steps: Steps, read: Sequence[int], asked: range, cache: Any) -> tuple[NDArray[np.float32], Any]:
    """Log-probabilities of what stands at the asked places [places, vocabulary], and the grown cache.

    read: the tokens that end where the last asked place begins.
    """
    rows, begun = len(asked), asked[-1] - len(read)
    if cache is not None:
        cache = steps.select(cache, np.zeros(rows, np.int64))
    tokens = np.tile(np.array(read, np.int64), (rows, 1))
    positions = np.tile(np.arange(begun, asked[-1], dtype=np.int64), (rows, 1))
    mask = np.ones((rows, asked[-1]), np.float32)
    last = np.array([place - begun - 1 for place in asked], np.int64)
    logits, cache = steps.forward(tokens, positions, mask, last, cache, keep=True)
    return steps.log_probabilities(logits), cache


def _likeliest(values: NDArray[np.float32], top: int) -> dict[int, float]:
    if top == 0:
        return {}
    near = np.argpartition(values, -min(top, len(values)))[-top:]
    order = near[np.lexsort((near, -values[near]))].tolist()
    return {number: float(values[number]) for number in order}

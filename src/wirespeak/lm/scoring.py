"""Answers told apart by their likelihood, and text written token by token: what the local runtimes share.

A runtime lends one forward pass (`Steps`). What the prompts of a call have in common is read once; the rest goes in
batches of similar length, padded behind, where a causal model never looks. Answers of several tokens form a tree:
each of its inner nodes is one more token behind the kept keys and values of every prompt, so answers share what they
begin with, and an answer of one token costs nothing beyond the prompt. Where an answer begins another it can only be
told from it by its end: then the end of every answer is scored too, as a token of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirespeak.contracts import Prompt
from wirespeak.errors import ModelError
from wirespeak.lm.prompts import Words

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_WORTH_SHARING = 8  # tokens
_SPREAD = 16  # tokens by which lengths in a batch may differ, or a quarter of the shortest
_KEPT = 4  # tokens of keys and values that may be kept for each token that a pass takes
_END = -1  # stands in an answer for whatever ends it
_LINES = ("\n", "\n\n")


class Steps(Protocol):
    """One model's forward pass. Logits and cache are the runtime's own; cache None means nothing was read yet."""

    causal: bool
    """False where a prompt is read both ways, so that beginnings of prompts cannot be shared."""

    places: int
    """How many tokens one pass takes."""

    even: bool
    """Only rows of one length go on together. Padding between what was read and what follows moves sums by a last
    bit, which is nothing, unless activations are rounded to 8 bits: there it may tip one over."""

    def forward(
        self, tokens: Ints, positions: Ints, mask: Floats, last: Ints, cache: Any, *, keep: bool
    ) -> tuple[Any, Any]:
        """Logits [rows, vocabulary] behind each row's token number `last`, and the grown cache if `keep`.

        tokens and positions [rows, new]; mask [rows, read before + new], 0 where padding stands.
        """
        ...

    def select(self, cache: Any, rows: Ints) -> Any:
        """These rows of a cache, which stays as it is."""
        ...

    def log_probabilities(self, logits: Any, tokens: Sequence[int] | None = None) -> Floats:
        """[rows, tokens], of all tokens by default."""
        ...

    def draw(
        self, logits: Any, temperature: float, nucleus: float, draws: Sequence[np.random.Generator]
    ) -> Ints:
        """The next token of each row, by the row's own draws."""
        ...


@dataclass(frozen=True)
class Past:
    """What has been read: the runtime's cache, and which of its places count [rows, places]."""

    cache: Any
    mask: Floats

    def select(self, steps: Steps, rows: Ints) -> Past:
        """These rows of it."""
        return Past(steps.select(self.cache, rows), self.mask[rows])


@dataclass
class Node:
    """Where answers may end and go on. ends: numbers of the answers that end here."""

    ends: list[int] = field(default_factory=list)
    children: dict[int, Node] = field(default_factory=dict)


class LocalLanguageModel:
    """A model whose logits are at hand. Keeps contracts.LanguageModel; a runtime is a subclass that sets these."""

    name: str
    words: Words
    steps: Steps
    ends: frozenset[int]

    def choose(
        self, prompts: Sequence[Prompt], answers: Sequence[str], *, per_token: bool = False
    ) -> NDArray[np.float32]:
        """Log-likelihood of each answer after each prompt, [prompts, answers], each distinct prompt read once.

        Where an answer's tokens begin another's, each answer is scored with its end (one of the model's end tokens, or
        a line's), which counts as one token. per_token: divided by the answer's number of tokens. Raises ModelError
        for an answer of no tokens.
        """
        tails = told_apart([self.words.answer(answer) for answer in answers])
        distinct = list(dict.fromkeys(prompts))
        scores = choose(self.steps, self._ids(distinct), tails, self._closing)
        if per_token:
            scores /= np.array([len(tail) for tail in tails], np.float32)
        where = {prompt: row for row, prompt in enumerate(distinct)}
        return scores[[where[prompt] for prompt in prompts]]

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        stop: str = "\n",
        temperature: float = 0.0,
        nucleus: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """What the model writes after each prompt, up to `stop`, its end token or `max_tokens`.

        Row i draws from seed and i alone, whatever else is in the call.
        """
        ids = self._ids(prompts)
        texts = [""] * len(ids)
        lengths = [len(row) + max_tokens for row in ids]
        for rows in batches(lengths, self.steps.places, even=self.steps.even):
            draws = [np.random.default_rng((seed, row)) for row in rows.tolist()]
            tails = self._write([ids[row] for row in rows], draws, max_tokens, stop, temperature, nucleus)
            for row, tail in zip(rows.tolist(), tails, strict=True):
                text = self.words.text(tail)
                texts[row] = text.split(stop)[0] if stop else text
        return texts

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token numbers of a prompt; text that spells a control token stays text."""
        return self.words.prompts([prompt])[0]

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token says by itself; part of a character is U+FFFD."""
        return self.words.pieces(ids)

    def next_log_probabilities(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Log-probabilities of what follows each row of tokens, [rows, vocabulary].

        Raises ModelError for a row without tokens.
        """
        _need_tokens(ids)
        past, rest = _share(self.steps, ids)
        parts = [
            (rows, self.steps.log_probabilities(_read(self.steps, [rest[row] for row in rows], past)[0]))
            for rows in batches([len(row) for row in rest], self.steps.places, behind=_length(past))
        ]
        if not parts:
            return np.empty((0, self.words.tokenizer.get_vocab_size()), np.float32)
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return np.concatenate([scores for _, scores in parts])[order]

    @cached_property
    def _closing(self) -> list[int]:
        """The tokens that an answer ends with: the model's end tokens and, as where it writes, the end of a line."""
        broken = {ids[-1] for ids in self.words.texts([f"a{line}" for line in _LINES])}
        spelt = zip(broken, self.words.pieces(list(broken)), strict=True)
        return sorted(self.ends | {number for number, text in spelt if text in _LINES})

    def _ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        ids = self.words.prompts(prompts)
        _need_tokens(ids)
        return ids

    def _write(
        self,
        ids: list[list[int]],
        draws: list[np.random.Generator],
        max_tokens: int,
        stop: str,
        temperature: float,
        nucleus: float,
    ) -> list[list[int]]:
        """The tokens written behind each row. A row that has ended is not computed any further."""
        written: list[list[int]] = [[] for _ in ids]
        running = np.arange(len(ids))
        feed, past = ids, None
        for _ in range(max_tokens):
            logits, past = _read(self.steps, feed, past, keep=True)
            following = self.steps.draw(logits, temperature, nucleus, [draws[row] for row in running])
            going = []
            for row, token in zip(running.tolist(), following.tolist(), strict=True):
                if token in self.ends:
                    continue
                written[row].append(token)
                if not stop or stop not in self.words.text(written[row][-4 - len(stop) :]):
                    going.append(row)
            if not going:
                break
            if len(going) < len(running):
                past = past.select(self.steps, np.searchsorted(running, going))
            running = np.array(going)
            feed = [[written[row][-1]] for row in going]
        return written


def told_apart(answers: Sequence[list[int]]) -> list[list[int]]:
    """The answers, each with its end behind it where one of them begins another.

    Without it the shorter one would stand for both, and never be the less likely.

    >>> told_apart([[5], [5, 6]]), told_apart([[5], [6]])
    ([[5, -1], [5, 6, -1]], [[5], [6]])
    """
    whole = {tuple(answer) for answer in answers}
    nested = any(answer[:end] in whole for answer in whole for end in range(1, len(answer)))
    return [[*answer, _END] for answer in answers] if nested else list(answers)


def choose(
    steps: Steps,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    closing: Sequence[int] = (),
) -> Floats:
    """Log-likelihood of each answer after each prompt, [prompts, answers], all given as token numbers.

    closing: the tokens any of which is the end of an answer, for answers that are scored with it (`told_apart`).
    """
    tree = _tree(answers)
    longest = max(map(len, answers), default=1)
    several = longest > 1
    scores = np.zeros((len(prompts), len(answers)), np.float32)
    past, rest = _share(steps, prompts)
    lengths = [len(row) for row in rest]
    behind = _length(past) + longest - 1
    for rows in batches(lengths, steps.places, behind=behind, even=several and steps.even):
        logits, read = _read(steps, [rest[row] for row in rows], past, keep=several)
        part = np.zeros((len(rows), len(answers)), np.float32)
        _descend(steps, logits, read, [tree], np.zeros((1, len(rows)), np.float32), part, closing)
        scores[rows] = part
    return scores


def batches(lengths: Sequence[int], places: int, *, behind: int = 0, even: bool = False) -> Iterator[Ints]:
    """Row numbers in batches of similar (even: equal) length that take up to `places`, padding included.

    behind: how many more tokens each row keeps, read before or to come. A shared beginning counts for every row, since
    each gets a copy of its keys and values: a batch keeps up to four times `places` tokens.
    """
    order = np.argsort(np.array(lengths, np.int64), kind="stable")
    start = 0
    while start < len(order):
        stop, shortest = start + 1, lengths[order[start]]
        longest = shortest if even else shortest + max(_SPREAD, shortest // 4)
        while stop < len(order) and lengths[order[stop]] <= longest:
            length, rows = lengths[order[stop]], stop - start + 1
            if length * rows > places or (behind + length) * rows > _KEPT * places:
                break
            stop += 1
        yield order[start:stop]
        start = stop


def draw(logits: Floats, temperature: float, nucleus: float, rng: np.random.Generator) -> int:
    """A token by its chance, through Gumbel noise; the likeliest at temperature 0.

    nucleus: among the likeliest that together have this chance (Holtzman et al. 2020).
    """
    if temperature <= 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    if nucleus < 1:
        order = np.argsort(-scaled, kind="stable")
        chance = np.exp(scaled[order] - scaled[order[0]])
        before = np.cumsum(chance) - chance
        scaled[order[before > nucleus * chance.sum()]] = -np.inf
    return int((scaled - np.log(-np.log(rng.random(len(scaled))))).argmax())


def _tree(answers: Sequence[Sequence[int]]) -> Node:
    root = Node()
    for number, answer in enumerate(answers):
        node = root
        for token in answer:
            node = node.children.setdefault(token, Node())
        node.ends.append(number)
    return root


def _share(steps: Steps, rows: Sequence[Sequence[int]]) -> tuple[Past | None, list[list[int]]]:
    """What all rows begin with, read once, and what is left of each: at least one token."""
    rest = [list(row) for row in rows]
    if len(rows) < 2 or not steps.causal:
        return None, rest
    first, last = min(rest), max(rest)
    limit = min(len(row) for row in rest) - 1
    common = next((n for n in range(limit) if first[n] != last[n]), limit)
    if common < _WORTH_SHARING:
        return None, rest
    return _read(steps, [first[:common]], None, keep=True)[1], [row[common:] for row in rest]


def _length(past: Past | None) -> int:
    return 0 if past is None else past.mask.shape[1]


def _read(
    steps: Steps, rows: Sequence[Sequence[int]], past: Past | None, *, keep: bool = False
) -> tuple[Any, Past]:
    """Read rows behind the past (one row of it serves all): logits behind each, and the longer past."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.zeros((len(rows), lengths.max()), np.int64)
    for row, numbers in enumerate(rows):
        tokens[row, : len(numbers)] = numbers
    here = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.float32)
    if past is None:
        past = Past(None, np.zeros((len(rows), 0), np.float32))
    elif len(past.mask) < len(rows):
        past = past.select(steps, np.zeros(len(rows), np.int64))
    before = past.mask.sum(axis=1).astype(np.int64)
    positions = before[:, None] + np.arange(tokens.shape[1])
    mask = np.concatenate([past.mask, here], axis=1)
    logits, cache = steps.forward(tokens, positions, mask, lengths - 1, past.cache, keep=keep)
    return logits, Past(cache, mask)


def _descend(
    steps: Steps,
    logits: Any,
    past: Past,
    nodes: list[Node],
    said: Floats,
    scores: Floats,
    closing: Sequence[int],
) -> None:
    """Score what goes on from `nodes`. State and logits hold the batch's rows once a node, node after node.

    said: log-likelihood up to each node [nodes, rows]; scores [rows, answers] is filled in.
    """
    rows = len(scores)
    tokens = sorted({token for node in nodes for token in node.children})
    column = {token: number for number, token in enumerate(tokens)}
    table = _told(steps, logits, tokens, closing).reshape(len(nodes), rows, len(tokens))
    grown: list[tuple[int, int, Node, Floats]] = []
    for number, node in enumerate(nodes):
        for token, child in node.children.items():
            total = said[number] + table[number, :, column[token]]
            scores[:, child.ends] = total[:, None]
            if child.children:
                grown.append((number, token, child, total))
    together = max(1, _KEPT * steps.places // (rows * (past.mask.shape[1] + 1)))
    for start in range(0, len(grown), together):
        part = grown[start : start + together]
        kept = np.concatenate([np.arange(rows) + number * rows for number, *_ in part])
        feed = [[token] for _, token, *_ in part for _ in range(rows)]
        children, totals = [child for *_, child, _ in part], np.stack([total for *_, total in part])
        deeper = any(below.children for child in children for below in child.children.values())
        after, longer = _read(steps, feed, past.select(steps, kept), keep=deeper)
        _descend(steps, after, longer, children, totals, scores, closing)


def _told(steps: Steps, logits: Any, tokens: list[int], closing: Sequence[int]) -> Floats:
    """Log-probabilities of the tokens, in order, [rows, tokens]; that of the end is of any token that is one."""
    if _END not in tokens:
        return steps.log_probabilities(logits, tokens)
    table = steps.log_probabilities(logits, [*closing, *tokens[1:]])
    end = np.logaddexp.reduce(table[:, : len(closing)], axis=1, keepdims=True)
    return np.concatenate([end, table[:, len(closing) :]], axis=1)


def _need_tokens(ids: Sequence[Sequence[int]]) -> None:
    if not all(len(row) for row in ids):
        raise ModelError("a prompt is empty: there is nothing to go on from. Give it some text.")

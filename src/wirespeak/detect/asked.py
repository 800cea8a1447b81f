"""Asking a language model as it is: `zero-shot`, which is told the labels, and `few-shot`, which is shown examples.

Nothing is tuned and no threshold is fitted. What a model says of any record at all is taken off (contextual
calibration; Zhao et al. 2021), so that a label it likes for its own sake is not the answer to everything: where it
tells how likely the labels are, and not where a server tells nothing but text. Examples come from the rows given to
`fit`, never from those that are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.language import plain_format, softmax
from wirespeak.detect.spoken import Worded
from wirespeak.detect.tabular import Chances, Codes
from wirespeak.errors import OptionError, unknown_name
from wirespeak.text import Question
from wirespeak.text.levels import NOTHING

PICKS = ("balanced", "nearest", "diverse")
"""How examples are chosen: at random, alike to the record, or unlike each other; as many of each label every time."""

# Rows of a label among which examples are looked for.
_CANDIDATES = 400
_SURE = 1.0 - 1e-3

Shots = list[tuple[str, str]]


@dataclass(kw_only=True)
class ZeroShot(Worded):
    """A language model that is told the labels and asked.

    base: hub name, folder or endpoint. per_token: count an answer's likelihood by the token, so that long labels are
    not at a loss. corrected: take off what the model says of a record of nothing, behind the same examples. written:
    let it write its answer and read that strictly, instead of scoring the labels; what names no label is no answer.
    """

    base: str = ""
    per_token: bool = True
    corrected: bool = True
    written: bool = False
    name: str = field(default="zero-shot", init=False)

    @classmethod
    def beside(cls, other: Worded, base: str, *, device: str = "auto") -> ZeroShot:
        """A model that is asked about the same rows, for the same labels, as one that learnt them."""
        found = cls(base=base, device=device)
        found.labels, found.encoding, found.said = other.labels, other.encoding, other.said
        found.fields, found.source, found.answer = other.fields, other.source, other.answer
        found._load()
        return found

    @property
    def chosen_format(self) -> str:
        """A conversation where the model was taught to have one."""
        return self.format or (plain_format(self.model) if self.model else "instruction")

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        if self.format == "prompt-completion":
            raise OptionError(
                "the format prompt-completion tells no labels and shows no examples: it is for models that learnt them. "
                "Ask in the format instruction or chat."
            )
        self._learn_words(flows)
        self._load()

    def _load(self) -> None:
        from wirespeak.lm import load_model

        if not self.base:
            raise OptionError(f"{self.name} asks a model as it is. Name one with --model.")
        precision: Any = self.precision or "auto"
        self.model = load_model(self.base, device=self.device, threads=self.cores, precision=precision)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        assert self.model is not None
        said = self.sentences(flows)
        shots = self._shots(flows, said)
        whole = self._answers(self.question, said, shots)
        if not self.first:
            return whole
        ordinary = self.labels[self.ordinary]
        told = {label: "normal" if label == ordinary else "attack" for label in self.labels}
        halves = [[(sentence, told[label]) for sentence, label in shown] for shown in shots]
        return self._divided(whole, self._answers(self.binary, said, halves)[:, 0])

    def _answers(self, question: Question, said: pl.Series, shots: Sequence[Shots]) -> Chances:
        """Probabilities of a question's labels for each sentence; NaN where nothing usable was answered."""
        assert self.model is not None
        prompts = [question.prompt(sentence, shown) for sentence, shown in zip(said, shots, strict=True)]
        if self.written:
            return _read(question, self.model.generate(prompts, max_tokens=24, stop="\n"))
        scores = self.model.choose(prompts, question.answers(), per_token=self.per_token)
        graded = getattr(self.model, "graded", None)  # a server may tell nothing but which label was written
        if self.corrected and (graded is None or graded(prompts[0], question.answers())):
            scores = scores - self._of_nothing(question, shots)
        return softmax(scores).astype(np.float64)

    def _of_nothing(self, question: Question, shots: Sequence[Shots]) -> NDArray[np.float32]:
        """What the model says of a record of nothing behind each row's examples; 0 where that is no answer."""
        assert self.model is not None
        sets = [tuple(shown) for shown in shots]
        place = {shown: number for number, shown in enumerate(dict.fromkeys(sets))}
        nothing = [question.prompt(f"{NOTHING[0].upper()}{NOTHING[1:]}.", shown) for shown in place]
        scores = self.model.choose(nothing, question.answers(), per_token=self.per_token)
        scores[~np.isfinite(scores).all(axis=1)] = 0.0
        return scores[[place[shown] for shown in sets]]

    def _shots(self, flows: pl.DataFrame, said: pl.Series) -> Sequence[Shots]:
        """The examples to show with each row."""
        return [[]] * len(said)

    def _write(self, folder: Path) -> None:
        """Nothing was learnt but words, which stand on the card."""

    def _read(self, folder: Path) -> None:
        self._load()


@dataclass(kw_only=True)
class FewShot(ZeroShot):
    """A language model that is shown `shots` examples of each label first, chosen by `pick` (one of PICKS)."""

    shots: int = 3
    pick: str = "balanced"
    name: str = field(default="few-shot", init=False)
    shown: list[Shots] = field(default_factory=list, init=False, repr=False)
    _places: list[NDArray[np.float32]] = field(default_factory=list, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        if self.pick not in PICKS:
            raise unknown_name("way to pick examples", self.pick, PICKS)
        super()._fit(flows, codes, names)
        rng = np.random.default_rng(self.seed)
        self.shown, self._places = [], []
        for code, label in enumerate(self.labels):
            rows = np.flatnonzero(codes == code)
            rows = np.sort(rng.choice(rows, min(len(rows), _CANDIDATES), replace=False))
            table = flows[rows].unique(maintain_order=True)
            places = self.encoding.scaled(table)
            if self.pick != "nearest":
                far = _far_apart(places, self.shots, rng)
                chosen = far if self.pick == "diverse" else rng.permutation(len(table))[: self.shots]
                table, places = table[chosen], places[chosen]
            self.shown.append([(sentence, label) for sentence in self.sentences(table)])
            self._places.append(places)

    def _shots(self, flows: pl.DataFrame, said: pl.Series) -> Sequence[Shots]:
        rounds = max((len(of) for of in self.shown), default=0)
        if self.pick != "nearest":
            one = [of[turn] for turn in range(rounds) for of in self.shown if turn < len(of)]
            return [one] * len(said)
        found: list[Shots] = [[] for _ in range(len(said))]
        for of, places in zip(self.shown, self._places, strict=True):
            for row, near in enumerate(_nearest(self.encoding.scaled(flows), places, self.shots)):
                found[row] += [of[place] for place in near]
        return found

    def _write(self, folder: Path) -> None:
        arrays = {str(code): places for code, places in enumerate(self._places)}
        np.savez_compressed(folder / "shots.npz", allow_pickle=False, **arrays)

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        with np.load(folder / "shots.npz", allow_pickle=False) as arrays:
            self._places = [arrays[str(code)] for code in range(len(self.labels))]

    def _kept(self) -> dict[str, Any]:
        return {**super()._kept(), "shots": self.shown}

    def _restore(self, card: dict[str, Any]) -> None:
        super()._restore(card)
        self.shown = [[(said, label) for said, label in of] for of in card.get("shots", [])]


def _read(question: Question, texts: Sequence[str]) -> Chances:
    """Written answers as probabilities; a row of NaN for one that names no label."""
    labels = question.labels
    found = np.full((len(texts), len(labels)), (1 - _SURE) / max(1, len(labels) - 1))
    for row, text in enumerate(texts):
        label = question.read(text)
        if label is None:
            found[row] = np.nan
        else:
            found[row, labels.index(label)] = _SURE
    return found


def _far_apart(places: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of rows each as far as can be from those before it (Gonzalez 1985)."""
    chosen = [int(rng.integers(len(places)))]
    away = np.square(places - places[chosen[0]]).sum(axis=1)
    while len(chosen) < min(count, len(places)):
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.square(places - places[chosen[-1]]).sum(axis=1))
    return np.array(chosen, np.int64)


def _nearest(rows: NDArray[np.float32], places: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """For each row the numbers of its nearest places, the nearest last: next to the record.

    Row by row: a product of matrices rounds differently with their size, and that would decide ties.
    """
    away = np.stack([np.square(places - row).sum(axis=1) for row in rows])
    return np.argsort(away, axis=1, kind="stable")[:, :count][:, ::-1]

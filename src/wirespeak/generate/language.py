"""Traffic written by a language model: it writes the script, we only read it, strictly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from wirespeak.contracts import LanguageModel
from wirespeak.errors import InputError, ModelError
from wirespeak.generate.life import Life
from wirespeak.generate.profiles import PROFILES, profile_name
from wirespeak.generate.script import parse

ANSWER_TOKENS = 240
_TRIES = 12  # answers in a row with nothing to read in them
_ANEW = 2  # so many, and what came before is forgotten
_LEAST, _MOST_UNREADABLE = 12, 0.5
# A slow reader of web pages opens thirty connections a second, of which an answer holds four.
_ANSWERS, _ANSWERS_PER_S = 60, 20.0


@dataclass
class Written:
    """What a model has written. steps: flow.realise.STEPS. answers: times it was asked; conversations: those that
    could be read; set_aside: those that could not, by reason; cut: those an answer's limit broke off; anew: times it
    began from the beginning; last_reason: what was wrong with the last one set aside."""

    steps: pl.DataFrame
    answers: int = 0
    conversations: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    anew: int = 0
    last_reason: str = "The answers are empty."


class LanguageGenerator:
    """Asks a language model for the next conversations until the time is full. Keeps contracts.Generator."""

    name = "language"
    profiles = tuple(PROFILES)

    def __init__(self, model: LanguageModel, *, temperature: float = 0.95, nucleus: float = 0.95) -> None:
        """temperature: 1 follows the frequencies the model learnt; nucleus: what it may leave out of them."""
        self._model = model
        self._temperature, self._nucleus = temperature, nucleus

    def sample(self, profile: str, *, seconds: float, seed: int) -> pl.DataFrame:
        """Packet steps (flow.realise.STEPS) of `seconds` of a device's or attacker's life. See `write`."""
        return self.write(profile, seconds=seconds, seed=seed).steps

    def write(
        self,
        profile: str,
        *,
        seconds: float,
        seed: int,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Written:
        """Let the model write `seconds` of `profile`. Same seed, same bytes. progress: told the share written.

        A conversation that is no script, or cannot follow what came before, is counted and never repaired; the
        model is asked again from there, with another seed; when that does not help either, from the beginning, as
        when a recorded life had ended and another followed. Raises OptionError for an unknown profile, ModelError
        where the model does not write scripts or time does not pass.
        """
        life = Life(profile_name(profile))
        written = Written(life.steps(0))
        idle = 0
        while life.now_s < seconds:
            before = written.conversations
            _read(self._ask(life.prompt(), seed=seed * 1_000_003 + written.answers), life, written)
            progress(min(1.0, life.now_s / seconds))
            idle = 0 if written.conversations > before else idle + 1
            self._check(profile, written, idle, seconds)
            if idle == _ANEW and life.now_s:
                life.begin_anew()
                written.anew += 1
        written.steps = life.steps(seconds)
        return written

    def _ask(self, prompt: str, *, seed: int) -> str:
        return self._model.generate(
            [prompt],
            max_tokens=ANSWER_TOKENS,
            stop="\n",
            temperature=self._temperature,
            nucleus=self._nucleus,
            seed=seed,
        )[0]

    def _check(self, profile: str, written: Written, idle: int, seconds: float) -> None:
        strange = written.set_aside.total()
        total = strange + written.conversations
        if idle >= _TRIES or (total >= _LEAST and strange > _MOST_UNREADABLE * total):
            raise ModelError(
                f"{self._model.name} does not write traffic: {strange} of {total} conversations for '{profile}' could not be read: "
                f"{written.last_reason} Use a model trained for it, or leave --model out."
            )
        if written.answers > _ANSWERS + _ANSWERS_PER_S * seconds:
            raise ModelError(
                f"{self._model.name} gave {written.answers} answers for '{profile}' and time hardly passes. Ask for fewer minutes or use another model."
            )


def _read(answer: str, life: Life, written: Written) -> None:
    """Add the conversations of an answer to the life, up to the first that does not fit."""
    written.answers += 1
    *parts, rest = answer.split(";")
    for part in parts:
        reason = "no script"
        try:
            (conversation,) = parse(f"{part};")
            reason = "out of turn"
            life.add(conversation)
        except InputError as error:
            written.set_aside[reason] += 1
            written.last_reason = str(error)
            return
        written.conversations += 1
    written.cut += bool(rest.strip())

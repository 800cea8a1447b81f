"""A device's life as it is written: what has been said, what time it is, which connections are open.

The same bookkeeping turns recordings into scripts and scripts into packet steps, so both mean the same by
"60 s after the last of its kind".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow.realise import STEPS
from wirespeak.generate.script import MORE, Conversation, write
from wirespeak.text.compact import number_word

Kind = tuple[str, str]  # role and application
MOST_CLOCKS = 12
RECENT_WORDS = 150
_UNIT = re.compile(r"[a-z]{2}[A-Z]?\d+|\.\d+|[A-Za-z_]+|[^\s]")  # about what the tokenizer makes one token of


def count_words(text: str) -> int:
    """About how many tokens a script is; never fewer where its words are frequent."""
    return len(_UNIT.findall(text))


@dataclass
class _Clock:
    last_s: float  # when the kind last began or went on
    open: _Placed | None = None  # its connection that goes on


@dataclass
class _Placed:
    """A conversation at its place in time: rows of the table of steps still to be numbered."""

    start_s: float
    opening: Conversation
    messages: list[tuple[float, bool, int]] = field(default_factory=list)
    tail_s: float = 0.0
    end: str = "left"


class Life:
    """Conversations one after another, each placed in time by what came before it."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.now_s = 0.0
        self.clocks: dict[Kind, _Clock] = {}  # the least recently used first
        self._recent: list[tuple[str, int]] = []  # text and how many words it is
        self._placed: list[_Placed] = []

    def prompt(self) -> str:
        """What the model is asked to go on from: the profile, the clocks, the last conversations, the profile.

        `write bulb: broker mqtt open agK3, gateway dns agL2: waL3 to gateway dns up34 afH2 dn50; bulb:`

        The profile stands at the end too: who speaks is what a small model loses first over a long prompt.
        """
        clocks = ",".join(
            f" {role} {application}{' open' if clock.open else ''} {_age(self.now_s - _last(clock))}"
            for (role, application), clock in self.clocks.items()
        )
        return f"write {self.profile}:{clocks}:{''.join(text for text, _ in self._recent)} {self.profile}:"

    def begin_anew(self) -> None:
        """Forget what was said and what is open, not what time it is: recorded lives end, and others follow."""
        self.clocks.clear()
        self._recent.clear()

    def is_open(self, role: str, application: str) -> bool:
        """Whether a connection of this kind can go on."""
        clock = self.clocks.get((role, application))
        return clock is not None and clock.open is not None

    def assume_open(self, conversation: Conversation, last_s: float) -> None:
        """Take a connection for open that began before the life is told; its last message was at `last_s`."""
        placed = _Placed(last_s, conversation, tail_s=last_s)
        self.clocks[conversation.role, conversation.application] = _Clock(last_s, placed)

    def reference_s(self, conversation: Conversation) -> float:
        """The moment `wait_s` counts from. Raises InputError where there is no open connection to go on."""
        clock = self.clocks.get((conversation.role, conversation.application))
        if not conversation.continues:
            return clock.last_s if clock else self.now_s
        if clock is None or clock.open is None:
            raise InputError(
                f"no {conversation.application} connection with {conversation.role} is open to go on."
            )
        return clock.open.tail_s

    def add(self, conversation: Conversation) -> None:
        """Let the next conversation happen. Raises InputError where it cannot."""
        start_s = self.reference_s(conversation) + conversation.wait_s
        kind = (conversation.role, conversation.application)
        clock = self.clocks.pop(kind, None) or _Clock(start_s)
        self.clocks[kind] = clock
        if conversation.continues and clock.open:
            placed = clock.open
        else:
            placed = _Placed(start_s, conversation, tail_s=start_s)
            self._placed.append(placed)
        self._speak(placed, conversation, start_s)
        last_s = self._repeat(conversation, start_s)
        clock.last_s = last_s
        if conversation.end == MORE or clock.open is placed:
            clock.open = placed if conversation.end == MORE else None
        self.now_s = max(self.now_s, last_s)
        if len(self.clocks) > MOST_CLOCKS:
            closed = (kind for kind, clock in self.clocks.items() if clock.open is None)
            del self.clocks[next(closed, next(iter(self.clocks)))]
        text = write([conversation])
        self._recent.append((text, count_words(text)))
        while len(self._recent) > 1 and sum(words for _, words in self._recent) > RECENT_WORDS:
            del self._recent[0]

    def _speak(self, placed: _Placed, conversation: Conversation, time_s: float) -> None:
        for step in conversation.steps:
            for size in step.sizes():
                time_s += step.gap_s
                placed.messages.append((time_s, step.outward, size))
        placed.tail_s = time_s if conversation.end == MORE else time_s + conversation.end_s
        placed.end = "left" if conversation.end == MORE else conversation.end

    def _repeat(self, conversation: Conversation, start_s: float) -> float:
        """Place what is had again; returns when the last of them began."""
        again = conversation.again
        if again is None:
            return start_s
        for number in range(1, again.times + 1):
            placed = _Placed(start_s + number * again.every_s, _varied(conversation, number), tail_s=0)
            self._speak(placed, conversation, placed.start_s)
            self._placed.append(placed)
        return start_s + again.times * again.every_s

    def steps(self, seconds: float) -> pl.DataFrame:
        """What happened in the first `seconds`, as a table of packet steps (flow.realise.STEPS)."""
        rows: list[dict[str, Any]] = []
        lives = sorted(
            (placed for placed in self._placed if placed.start_s < seconds), key=lambda placed: placed.start_s
        )
        for number, placed in enumerate(lives):
            rows += _rows(number, placed, seconds)
        return pl.DataFrame(rows, schema=STEPS)


def _rows(number: int, placed: _Placed, seconds: float) -> list[dict[str, Any]]:
    opening = placed.opening
    head = {
        "conversation": number, "role": opening.role, "application": opening.application, "port": opening.port,
        "opened_by_device": opening.by_device, "spoofed": bool(opening.again and opening.again.over == "sources"),
    }  # fmt: skip
    messages = [message for message in placed.messages if message[0] < seconds]
    whole = len(messages) == len(placed.messages) and placed.tail_s < seconds
    end_s = max([placed.tail_s if whole else 0.0, placed.start_s, *(time_s for time_s, _, _ in messages)])
    return [
        {**head, "time_s": placed.start_s, "event": "open"},
        *(
            {**head, "time_s": time_s, "event": "message", "outward": outward, "size": size}
            for time_s, outward, size in messages
        ),
        {**head, "time_s": end_s, "event": placed.end if whole else "left"},
    ]


def _varied(conversation: Conversation, number: int) -> Conversation:
    over = conversation.again.over if conversation.again else "same"
    if over == "ports" and conversation.port is not None:
        return replace(conversation, port=(conversation.port + number - 1) % 65535 + 1)
    if over == "hosts":
        name = conversation.role.rstrip("0123456789")
        return replace(conversation, role=f"{name}{int(conversation.role[len(name) :] or 1) + number}")
    return conversation


def _last(clock: _Clock) -> float:
    return clock.open.tail_s if clock.open else clock.last_s


def _age(seconds: float) -> str:
    """One significant digit: one token."""
    rounded = float(f"{max(0.0, seconds):.0e}")
    return f"ag{number_word(rounded)}" if rounded >= 1 else "ag0"

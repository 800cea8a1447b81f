"""The script: one device's conversations as a short line of text, and back.

    waK6 to broker mqtt afG4 up60 afG4 dn4 afI8.2 up2 afG3 dn2 more; waL1.2 go broker mqtt up2 afG3 dn2 afG1 close;

60 s after it last did, the device connects to the broker by MQTT; 4 ms later it sends 60 bytes, gets 4 back, and so
on; there is more; 120 s after the last of these messages the same connection goes on, and ends.

Numbers have a declared precision (`round_size`, `round_time`), so that parsing what was written gives the
same conversation back, and what is copied most often (small sizes, short answers) is one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirespeak.errors import InputError
from wirespeak.flow.realise import ENDS, LARGEST_MESSAGE, NEVER_ANSWERED
from wirespeak.text.compact import number_word
from wirespeak.wire.craft import APPLICATIONS
from wirespeak.wire.craft.ports import is_free

MORE = "more"  # the end of a part of a connection that goes on in a later conversation
OVER = ("same", "ports", "hosts", "sources")
MOST_STEPS = 64
_GOLDEN = 0.6180339887498949
MOST_TIMES = 10_000
MOST_MESSAGES, MOST_BYTES = 50_000, 200_000_000  # of one conversation, its repetitions included
_TCP_ENDS = tuple(end for end in ENDS if end != "unreachable")
_OTHER_ENDS = {"udp": ("unreachable", "left"), "icmp": ("silent", "left"), "arp": ("left",)}
_WORD = re.compile(r"([a-z]{2})(?:([A-Z])(\d(?:\.\d{1,2})?)|(\d{1,2}))")
_ROLE = re.compile(r"[a-z]+[0-9]{0,3}")
_DECADE_ZERO = ord("J")


@dataclass(frozen=True)
class Step:
    """One message, `gap_s` after the one before it (or the conversation's start); `times` in a row.

    Of several in a row the sizes are spread evenly over `size` to `size + spread`.
    """

    outward: bool
    size: int
    gap_s: float = 0.0
    times: int = 1
    spread: int = 0

    def sizes(self) -> list[int]:
        """The size of each message: steps of the golden ratio fill the range evenly and in no visible order."""
        return [self.size + int((self.spread + 1) * (number * _GOLDEN % 1)) for number in range(self.times)]


@dataclass(frozen=True)
class Again:
    """The whole conversation `times` more, one every `every_s`, each with the next port, host or false source."""

    times: int
    every_s: float
    over: str = "same"


@dataclass(frozen=True)
class Conversation:
    """What a device and one peer have to say to each other at a time.

    wait_s: since its kind (role and application) last began or went on; for one that `continues`, since the
    last step of the open connection. port: None for the application's own. end: one of ENDS, or MORE.
    end_s: from the last step to the end.
    """

    role: str
    application: str
    steps: tuple[Step, ...] = ()
    wait_s: float = 0.0
    port: int | None = None
    by_device: bool = True
    continues: bool = False
    end: str = "left"
    end_s: float = 0.0
    again: Again | None = None


def round_size(size: int) -> int:
    """A size as the script writes it: exact below 1,000, three significant digits from there."""
    return size if size < 1000 else int(float(f"{size:.2e}"))


def round_time(seconds: float) -> float:
    """A time as the script writes it: below 0.1 s one significant digit, else three; under 10 us nothing."""
    if seconds < 1e-5:
        return 0.0
    return float(f"{seconds:.0e}" if seconds < 0.095 else f"{seconds:.2e}")


def write(conversations: list[Conversation] | tuple[Conversation, ...]) -> str:
    """The conversations as text, each with a blank before and a semicolon behind.

    >>> write([Conversation("gateway", "dns", (Step(True, 34), Step(False, 50, 0.02)), wait_s=60)])
    ' waK6 to gateway dns up34 afH2 dn50;'
    """
    return "".join(f" {' '.join(_words(each))};" for each in conversations)


def parse(text: str) -> list[Conversation]:
    """The conversations of a text. Raises InputError, naming the word, where it is not exactly a script."""
    if not text.endswith(";"):
        raise InputError(f"a script ends with a semicolon, not with '{text[-20:]}'.")
    conversations = []
    for part in text[:-1].split(";"):
        conversation = _Reader(part).conversation()
        check(conversation)
        if write([conversation]) != f"{part};":
            raise InputError(
                f"'{part.strip()}' is not how a script says it: '{write([conversation])[1:-1]}'."
            )
        conversations.append(conversation)
    return conversations


def check(conversation: Conversation) -> None:
    """Raise InputError where no protocol or no kernel could have this conversation."""
    kind, name = APPLICATIONS[conversation.application], conversation.application
    if conversation.end not in (*_OTHER_ENDS.get(kind.protocol, _TCP_ENDS), MORE):
        raise InputError(f"{name} does not end with '{conversation.end}'.")
    if (
        name == "udp"
        and not is_free(conversation.port or 0)
        and any(step.size for step in conversation.steps)
    ):
        raise InputError(f"what goes to port {conversation.port} speaks the language of that port.")
    if kind.port is None and conversation.port is None:
        raise InputError(f"{name} needs a port.")
    if kind.protocol == "icmp" and any(step.outward != conversation.by_device for step in conversation.steps):
        raise InputError("echoes are answered by themselves.")
    if (
        kind.protocol == "tcp"
        and conversation.end in NEVER_ANSWERED
        and any(step.size or step.outward != conversation.by_device for step in conversation.steps)
    ):
        raise InputError(f"a connection that is {conversation.end} carries no messages.")
    if not conversation.steps and (kind.protocol != "tcp" or conversation.continues):
        raise InputError(f"{name} without a message.")
    first = conversation.steps[:1]
    if (
        first
        and kind.client_first
        and not conversation.continues
        and first[0].outward != conversation.by_device
    ):
        raise InputError(f"in {name} the side that opens speaks first.")
    if conversation.continues and (conversation.port is not None or not conversation.by_device):
        raise InputError("a connection that goes on keeps its port and its opener.")
    rounds = 1 + (conversation.again.times if conversation.again else 0)
    messages = sum(step.times for step in conversation.steps) * rounds
    if (
        messages > MOST_MESSAGES
        or sum(step.times * step.size for step in conversation.steps) * rounds > MOST_BYTES
    ):
        raise InputError(f"{messages} messages are more than a conversation may have, or too long.")
    if conversation.again and (conversation.continues or conversation.end == MORE):
        raise InputError("only whole conversations can be had again.")


def _words(conversation: Conversation) -> list[str]:
    opening = "go" if conversation.continues else "to" if conversation.by_device else "from"
    words = [*_time("wa", conversation.wait_s), opening, conversation.role, conversation.application]
    if conversation.port is not None:
        words += ["at", str(conversation.port)]
    for step in conversation.steps:
        words += _time("af", step.gap_s)
        words.append(_count("up" if step.outward else "dn", step.size))
        words += [_count("ti", step.times)] if step.times > 1 else []
        words += [_count("sp", step.spread)] if step.spread else []
    if conversation.end != "left" or conversation.end_s:
        words += [*_time("af", conversation.end_s), conversation.end]
    if conversation.again:
        words += [
            _count("an", conversation.again.times),
            *_time("ev", conversation.again.every_s),
            conversation.again.over,
        ]
    return words


def _time(key: str, seconds: float) -> list[str]:
    return [key + number_word(seconds)] if seconds else []


def _count(key: str, value: int) -> str:
    return f"{key}{value}" if value < 100 else key + number_word(value)


class _Reader:
    """Reads one conversation, word by word."""

    def __init__(self, part: str) -> None:
        if not part.startswith(" "):
            raise InputError(f"'{part}' does not start with a blank.")
        self._words = part[1:].split(" ")
        self._at = 0

    def conversation(self) -> Conversation:
        wait_s = self._number("wa")
        opening = self._one_of(("to", "from", "go"))
        role = self._take()
        if not _ROLE.fullmatch(role):
            raise InputError(f"'{role}' is no role.")
        application = self._one_of(tuple(APPLICATIONS))
        port = self._port()
        steps = []
        gap_s = self._number("af")
        while (step := self._step(gap_s)) is not None:
            steps.append(step)
            gap_s = self._number("af")
        end = self._take() if self._next() in (*ENDS, MORE) else "left"
        again = self._again()
        if self._next() or len(steps) > MOST_STEPS:
            raise InputError(f"'{self._next()}' is not a word a script has here.")
        return Conversation(
            role, application, tuple(steps), wait_s, port, opening != "from", opening == "go", end, gap_s, again
        )  # fmt: skip

    def _step(self, gap_s: float) -> Step | None:
        key = self._next()[:2]
        if key not in ("up", "dn") or not _WORD.fullmatch(self._next()):
            return None
        size = round(self._number(key))
        times, spread = round(self._number("ti")) or 1, round(self._number("sp"))
        if times > MOST_TIMES or size > LARGEST_MESSAGE or spread and times == 1:
            raise InputError(
                f"{times} messages of {size} to {size + spread} bytes are not what a script may ask for."
            )
        return Step(key == "up", size, gap_s, times, spread)

    def _again(self) -> Again | None:
        times = round(self._number("an"))
        if not times:
            return None
        again = Again(times, self._number("ev"), self._one_of(OVER))
        if times > MOST_TIMES:
            raise InputError(f"{times} times is more than the {MOST_TIMES} a script may ask for.")
        return again

    def _port(self) -> int | None:
        if self._next() != "at":
            return None
        self._take()
        word = self._take()
        if not re.fullmatch(r"[1-9]\d{0,4}", word) or int(word) > 65535:
            raise InputError(f"'{word}' is no port.")
        return int(word)

    def _number(self, key: str) -> float:
        found = _WORD.fullmatch(self._next())
        if found is None or found[1] != key:
            return 0.0
        self._at += 1
        if found[4] is not None:
            return float(found[4])
        return float(f"{found[3]}e{ord(found[2]) - _DECADE_ZERO}")

    def _one_of(self, known: tuple[str, ...]) -> str:
        word = self._take()
        if word not in known:
            raise InputError(f"'{word}' is none of {', '.join(known)}.")
        return word

    def _next(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self) -> str:
        word = self._next()
        self._at += 1
        return word

"""What a model learns to write traffic from: recordings told as scripts, window by window.

Each host's life is told in order; every window asks for the next conversations, given the clocks and the last
ones. Whatever an attack touches is left out of a device's life and becomes the attacker's.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from random import Random

import polars as pl

from wirespeak.errors import InputError
from wirespeak.generate.life import Life, count_words
from wirespeak.generate.profiles import ATTACKS, DEVICES
from wirespeak.generate.recorded import Neighbour, Recorded, Talk
from wirespeak.generate.script import MORE, Again, Conversation, Step, check, round_size, round_time, write
from wirespeak.text.ask import Example
from wirespeak.wire import Packets, decode, read_frames
from wirespeak.wire.craft import APPLICATIONS
from wirespeak.wire.craft.ports import free_port

ANSWER_WORDS = 200
_PART = 12  # messages after which a pause ends a part of a connection
_PAUSE_S = 1.0
_MOST_MESSAGES = 24
_MOST_STREAM = 5000
_RUN_GAP_S = 0.5
_ALIKE = 0.2  # sizes of messages that count as the same differ by less than this share
_LEAST_RUN = 4
_BEGINNING = 4.0
_ATTACK = 3.0  # an attack is one window where a device's life is thirty
_STRETCH = 0.03  # standard deviation of the factor all times of a further telling are multiplied by

_Message = tuple[float, bool, int]  # seconds, outward, bytes


@dataclass(frozen=True)
class Host:
    """A row of hosts.csv."""

    address: str
    mac: str
    role: str
    profile: str


@dataclass(frozen=True)
class Attack:
    """A row of truth.csv, in seconds since the capture began."""

    start_s: float
    end_s: float
    label: str
    src: str
    dst: str


@dataclass(frozen=True)
class Story:
    """One host's part in a recording: a profile of its own for every attack it took part in."""

    profile: str
    host: str
    talks: tuple[Talk, ...]


def examples(folder: Path, *, tellings: int = 2, seed: int = 0) -> list[Example]:
    """What to learn from a recording folder of the lab (capture.pcap, hosts.csv, truth.csv).

    tellings: how often each life is told, from other starting points and, but for the first time, a little
    faster or slower as a whole, so that periods stay periods. Raises InputError for a folder that is no recording.
    """
    return [example for story in stories(folder) for example in tell(story, tellings=tellings, seed=seed)]


def tell(story: Story, *, tellings: int = 1, seed: int = 0) -> list[Example]:
    """Windows over a life, the first of any length, so that tellings differ. See `examples`."""
    found: list[Example] = []
    for telling in range(tellings):
        random = Random(f"{seed}:{story.profile}:{story.host}:{telling}")
        found += _windows(
            story, random.gauss(1, _STRETCH) if telling else 1.0, random.randint(20, ANSWER_WORDS)
        )
    return found


def stories(folder: Path) -> list[Story]:
    """The lives in a recording: one for each device, one for each attacker and kind of attack."""
    hosts, attacks, packets, start_ns = _read(folder)
    link = _link(hosts)
    told = []
    for host in hosts:
        if host.role == "cloud" or (host.role == "gateway"):
            continue
        recorded = Recorded(host.address, host.mac, _neighbours(hosts), link)
        recorded.read(packets, start_ns)
        if host.profile in DEVICES:
            ordinary = tuple(
                talk for talk in recorded.talks if not any(_touches(attack, talk, host) for attack in attacks)
            )
            told.append(Story(host.profile, host.address, ordinary))
        for profile, label in ATTACKS.items():
            hostile = [
                talk
                for talk in recorded.talks
                if any(_waged(attack, talk, host, label) for attack in attacks)
            ]
            if hostile:
                told.append(
                    Story(
                        profile, host.address, tuple(_as_attack(talk, hostile[0].start_s) for talk in hostile)
                    )
                )
    return told


def recorded_steps(story: Story) -> pl.DataFrame:
    """A recorded life as packet steps (flow.realise.STEPS), at the precision of the script."""
    told = list(conversations(story))
    life = told[-1][0] if told else Life(story.profile)
    return life.steps(float("inf"))


def conversations(story: Story, *, factor: float = 1.0) -> Iterator[tuple[Life, Conversation]]:
    """The life so far and what comes next, again and again. The life moves on between two items.

    factor: what all times are multiplied by.
    """
    life = Life(story.profile)
    attack = story.profile in ATTACKS
    parts = _gather(story.talks) if attack else _cut(story.talks)
    opened: dict[tuple[str, str], int] = {}
    for part in parts:
        conversation = _conversation(part)
        kind = (conversation.role, conversation.application)
        if conversation.continues and not life.is_open(*kind) and not part.talk.begun:
            life.assume_open(replace(conversation, continues=False), part.talk.start_s * factor)
            opened[kind] = id(part.talk)
        if conversation.continues and not (life.is_open(*kind) and opened.get(kind) == id(part.talk)):
            continue
        conversation = _timed(conversation, part, life, factor)
        try:
            check(conversation)
        except InputError:
            continue
        yield life, conversation
        life.add(conversation)
        if conversation.end == MORE:
            opened[kind] = id(part.talk)


@dataclass
class _Part:
    """Messages of a talk told in one go. last: whether nothing of the talk comes after them."""

    talk: Talk
    messages: list[_Message]
    first: bool = True
    last: bool = True
    again: Again | None = None

    @property
    def start_s(self) -> float:
        return self.talk.start_s if self.first else self.messages[0][0]


def _windows(story: Story, factor: float, limit: int) -> list[Example]:
    """Prompts and answers, the first answer of at most `limit` words."""
    found: list[Example] = []
    prompt, answer, words = "", "", 0
    for life, conversation in conversations(story, factor=factor):
        text = write([conversation])
        if answer and words + count_words(text) > limit:
            found.append(Example(prompt, answer))
            answer, words, limit = "", 0, ANSWER_WORDS
        prompt = prompt if answer else life.prompt()
        answer, words = answer + text, words + count_words(text)
    found += [Example(prompt, answer)] if answer else []
    # A busy hub has twenty times the windows of a sleepy sensor; it may count four times as much. A life has one
    # beginning, but every capture that is generated has one too.
    share = (_ATTACK if story.profile in ATTACKS else 1.0) * len(found) ** -0.5
    return [
        replace(example, weight=share * (_BEGINNING if number == 0 else 1.0))
        for number, example in enumerate(found)
    ]


def _cut(talks: tuple[Talk, ...]) -> list[_Part]:
    """Talks in parts, in the order of time. Of several connections of a kind at a time only the first goes on."""
    starts = sorted(talk.start_s for talk in talks)
    busy_until: dict[tuple[str, str], float] = {}
    parts: list[_Part] = []
    for talk in sorted(talks, key=lambda talk: talk.start_s):
        kind = (talk.role, talk.name_application())
        if talk.protocol != 6 or talk.start_s < busy_until.get(kind, 0.0):
            parts.append(_Part(talk, talk.messages[:_MOST_STREAM], first=talk.begun))
            continue
        busy_until[kind] = talk.messages[-1][0] if talk.messages else talk.start_s
        parts += _parts(talk, starts)
    return sorted(parts, key=lambda part: part.start_s)


def _parts(talk: Talk, starts: list[float]) -> list[_Part]:
    pieces: list[list[_Message]] = [[]]
    for message in talk.messages:
        before = pieces[-1]
        if before and message[0] - before[-1][0] >= _PAUSE_S:
            others = bisect_right(starts, message[0]) - bisect_right(starts, before[-1][0])
            if others or len(before) >= _PART:
                pieces.append([])
        if len(pieces[-1]) >= _MOST_MESSAGES:
            pieces.append([])
        pieces[-1].append(message)
    return [
        _Part(talk, piece, first=talk.begun and number == 0, last=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
        if piece or number == 0 and talk.begun
    ]


def _gather(talks: tuple[Talk, ...]) -> list[_Part]:
    """An attack's talks, runs of alike ones as one that is had again."""
    runs: list[list[Talk]] = []
    for talk in sorted(talks, key=lambda talk: talk.start_s):
        if not talk.begun:
            continue
        if runs and len(runs[-1]) < 2000 and _alike(runs[-1][0], talk):
            runs[-1].append(talk)
        else:
            runs.append([talk])
    parts = []
    for run in runs:
        part = _Part(run[0], run[0].messages[: 10 * _MOST_MESSAGES])
        if len(run) >= _LEAST_RUN:
            part.again = _again(run)
            parts.append(part)
        else:
            parts += [_Part(talk, talk.messages[:_MOST_STREAM]) for talk in run]
    return parts


def _again(run: list[Talk]) -> Again:
    every_s = round_time((run[-1].start_s - run[0].start_s) / (len(run) - 1))
    over = "same"
    if len({talk.peer for talk in run}) > len(run) // 2:
        over = "hosts"
    elif run[0].spoofed:
        over = "sources"
    elif len({talk.port for talk in run}) > len(run) // 2:
        over = "ports"
    return Again(round_size(len(run) - 1), every_s, over)


def _alike(one: Talk, other: Talk) -> bool:
    """Whether two talks say the same: sizes may differ a little, ports and peers at will."""
    if (one.protocol, one.name_application(), one.end, one.by_device, one.spoofed) != (
        other.protocol,
        other.name_application(),
        other.end,
        other.by_device,
        other.spoofed,
    ):
        return False
    if len(one.messages) != len(other.messages):
        return False
    return all(
        a[1] == b[1] and abs(a[2] - b[2]) <= _ALIKE * max(a[2], b[2])
        for a, b in zip(one.messages, other.messages, strict=True)
    )


def _conversation(part: _Part) -> Conversation:
    """What the part says, before its times."""
    talk = part.talk
    application = talk.name_application()
    kind = APPLICATIONS[application]
    port = None if talk.port is None or talk.port == kind.port else talk.port
    if application == "udp" and port is not None and any(size for _, _, size in part.messages):
        port = free_port(port)
    end = talk.end if part.last else MORE
    return Conversation(
        role=talk.role, application=application, port=port if part.first else None, by_device=talk.by_device or not part.first,
        continues=not part.first, end=end, again=part.again,
    )  # fmt: skip


def _timed(conversation: Conversation, part: _Part, life: Life, factor: float) -> Conversation:
    """With waits and gaps, each measured from where the script so far says that time is, so errors do not add up."""
    now_s = part.start_s * factor
    wait_s = round_time(max(0.0, now_s - life.reference_s(conversation)))
    steps: list[Step] = []
    for run in _runs(part.messages, stream=part.talk.protocol == 17):
        gap_s = round_time(max(0.0, run[0][0] * factor - now_s))
        now_s += gap_s
        if len(run) == 1:
            steps.append(Step(run[0][1], round_size(run[0][2]), gap_s))
            continue
        sizes = [message[2] for message in run]
        low, spread = round_size(min(sizes)), round_size(max(sizes) - min(sizes))
        every_s = round_time((run[-1][0] - run[0][0]) * factor / (len(run) - 1))
        steps.append(Step(run[0][1], round_size(run[0][2]), gap_s))
        steps.append(Step(run[0][1], low, every_s, round_size(len(run) - 1), spread))
        now_s += every_s * steps[-1].times
    end_s = (
        0.0
        if conversation.end in (MORE, "left", "silent", "refused", "half", "probed")
        else round_time(max(0.0, part.talk.end_s * factor - now_s))
    )
    return replace(conversation, wait_s=wait_s, steps=tuple(steps[:_MOST_MESSAGES]), end_s=end_s)


def _runs(messages: list[_Message], *, stream: bool) -> Iterator[list[_Message]]:
    """Four and more messages one way, close together and of about one size (in a stream: any size); else one by one."""
    run: list[_Message] = []
    for message in messages:
        follows = run and message[1] == run[0][1] and message[0] - run[-1][0] < _RUN_GAP_S
        if not follows or not (stream or abs(message[2] - run[0][2]) <= _ALIKE * run[0][2]):
            yield from [run] if len(run) >= _LEAST_RUN else [[each] for each in run]
            run = []
        run.append(message)
    yield from [run] if len(run) >= _LEAST_RUN else [[each] for each in run]


def _as_attack(talk: Talk, start_s: float) -> Talk:
    """Counted from the attack's first packet; the victim is called `target`, hosts looked for are `host1` and up."""
    messages = [(time_s - start_s, outward, size) for time_s, outward, size in talk.messages]
    role = "target" if talk.protocol != 256 or talk.application == "claim" else "host1"
    return replace(
        talk, role=role, start_s=talk.start_s - start_s, end_s=talk.end_s - start_s, messages=messages
    )


def _waged(attack: Attack, talk: Talk, host: Host, label: str) -> bool:
    """Whether the host wages this attack with this talk."""
    if (
        attack.label != label
        or not talk.by_device
        or not _in_time(attack, talk)
        or not _is(attack.dst, talk.peer, "")
    ):
        return False
    if label == "spoof.arp" and talk.protocol != 256:
        return False
    return _is(attack.src, host.address, host.mac) or (attack.src.startswith("!") and talk.spoofed)


def _touches(attack: Attack, talk: Talk, host: Host) -> bool:
    """Whether an attack's row may claim this talk of the host, in either direction."""
    if not _in_time(attack, talk):
        return False
    there = _is(attack.src, host.address, host.mac) and _is(attack.dst, talk.peer, "")
    return there or (_is(attack.dst, host.address, host.mac) and _is(attack.src, talk.peer, ""))


def _in_time(attack: Attack, talk: Talk) -> bool:
    return attack.start_s <= talk.start_s <= attack.end_s


@cache
def _is(end: str, address: str, mac: str) -> bool:
    """Whether an end of a truth row (address, CIDR, !CIDR, MAC!address or *) means this host."""
    if end == "*":
        return True
    if end.count(":") == 5:
        return end.partition("!")[0].lower() == mac.lower()
    network = ip_network(end.removeprefix("!"), strict=False)
    return (ip_address(address) in network) != end.startswith("!")


def _neighbours(hosts: list[Host]) -> list[Neighbour]:
    """The second bulb of a network plays `bulb2` in others' lives."""
    seen: Counter[str] = Counter()
    found = []
    for host in hosts:
        seen[host.profile] += 1
        count = seen[host.profile]
        found.append(
            Neighbour(host.address, host.mac, host.profile if count == 1 else f"{host.profile}{count}")
        )
    return found


def _link(hosts: list[Host]) -> IPv4Network:
    """The network around the gateway: the smallest that holds every private address of the recording."""
    addresses = [int(IPv4Address(host.address)) for host in hosts if IPv4Address(host.address).is_private]
    low, high = min(addresses), max(addresses)
    prefix = 32 - max(8, (low ^ high).bit_length())
    return IPv4Network((low, prefix), strict=False)


def _read(folder: Path) -> tuple[list[Host], list[Attack], Packets, int]:
    try:
        with (folder / "hosts.csv").open(newline="") as opened:
            hosts = [
                Host(row["address"], row["mac"], row["role"], row["profile"])
                for row in csv.DictReader(opened)
            ]
        with (folder / "truth.csv").open(newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, KeyError) as error:
        raise InputError(
            f"{folder}: not a recording ({error}). Give a folder written by 'wirespeak lab record'."
        ) from error
    packets = decode(read_frames(folder / "capture.pcap").frames)
    start_ns = int(packets["time_ns"][0])
    attacks = [
        Attack(
            (int(row["start_ns"]) - start_ns) / 1e9,
            (int(row["end_ns"]) - start_ns) / 1e9,
            row["label"],
            row["src"],
            row["dst"],
        )
        for row in rows
    ]
    return hosts, attacks, packets, start_ns

"""A slow, obvious meter agrees with the fast one on every column, on made traffic and on real captures.

The slow one reads the headers itself (`slow_packets.py`), measures flows packet by packet (`slow_meter.py`), and hears what
applications say (`slow_talk.py`). Only their words, the facts, have oracles of their own (`test_facts.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, RST, SYN, arp, ethernet, icmp, ip, mac, tcp, udp
from made_talk import SPOKEN_OVER, segmented, snmp
from polars.testing import assert_frame_equal
from slow_meter import SPOKEN, SlowMeter
from slow_packets import WIRELESS, slow_packets

from wirespeak.data.tables import types
from wirespeak.errors import WirespeakError
from wirespeak.flow import Meter, measure
from wirespeak.schema import APPLICATIONS, COLUMNS, FEATURES
from wirespeak.wire import Frames, Packets, decode, read_frames

S = 1_000_000_000
HOSTS = [f"10.0.0.{number}" for number in range(1, 5)] + ["fe80::1", "fe80::2"]
EVERYONE = b"\xff" * 6
MOST_FLOWS = 3_000
"""Of a real capture: what the slow meter takes in half a minute."""


@dataclass(frozen=True)
class Made:
    """A packet before it is bytes. `fragment`: as the header of IPv4 has it; `quotes`: what an ICMP error carries; `says`: the
    payload, else `size` zeros; `snap`: bytes of it that were captured at most."""

    time: int
    kind: str
    src: str
    dst: str
    src_port: int = 0
    dst_port: int = 0
    flags: int = 0
    size: int = 0
    sequence: int = 0
    src_mac: bytes = mac(1)
    dst_mac: bytes = mac(2)
    tags: tuple[int, ...] = ()
    fragment: int = 0
    quotes: bytes = b""
    says: bytes = b""
    snap: int | None = None

    def frame(self) -> bytes:
        link: dict[str, Any] = {"src": self.src_mac, "dst": self.dst_mac, "tags": self.tags}
        if self.kind == "arp":
            message = arp(self.flags, self.src, self.src_mac, self.dst, self.dst_mac)
            return ethernet(message, kind=0x0806, **link)
        six = ":" in self.src
        return ethernet(self.datagram(six), kind=0x86DD if six else 0x0800, **link)

    def datagram(self, six: bool) -> bytes:
        body = self.says or bytes(self.size)
        if self.kind == "tcp":
            number, body = (
                6,
                tcp(self.src_port, self.dst_port, self.flags, body, sequence=self.sequence % (1 << 32)),
            )
        elif self.kind == "udp":
            number, body = 17, udp(self.src_port, self.dst_port, body)
        elif self.kind == "icmp":
            number, body = 58 if six else 1, icmp(self.flags, 0, self.src_port, self.quotes or body)
        else:
            number = 97
        return ip(self.src, self.dst, number, body, fragment=0 if six else self.fragment)


def made_traffic(seed: int, count: int, calm: float) -> list[Made]:
    """Traffic of few hosts and ports, so that everything meets; `calm` is the mean gap in seconds."""
    draw = random.Random(seed)
    time, packets = 1_000 * S, []
    for _ in range(count):
        time += draw.choice(
            [
                0,
                1,
                S // 1000,
                int(draw.expovariate(1 / calm) * S),
                2 * S,
                60 * S if draw.random() < 0.05 else 1,
            ]
        )
        if draw.random() < 0.01:
            time += draw.choice([5 * S + 1, 61 * S, 301 * S])
        kind = draw.choice(["tcp", "tcp", "tcp", "udp", "udp", "icmp", "icmp", "arp", "arp", "other"])
        hosts = HOSTS[4:] if kind == "udp" and draw.random() < 0.2 else HOSTS[:4]
        src, dst = draw.sample(hosts, 2)
        sender = mac(draw.choice([hosts.index(src) + 1] * 8 + [9]))
        target = EVERYONE if draw.random() < 0.1 else mac(hosts.index(dst) + 1)
        ports = [draw.choice([80, 1883]), draw.choice([40_000, 40_001, 80])]
        draw.shuffle(ports)
        flags = draw.choice(
            [SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, ACK, RST, RST | ACK, ACK | 32, ACK | 64 | 128, 0]
        )
        if kind in ("icmp", "arp"):
            flags = draw.choice([8, 0, 8, 0, 3, 1, 11, 128, 129] if kind == "icmp" else [1, 2, 1, 2, 7])
            ports = [draw.choice([1, 2]) if kind == "icmp" else 0, 0]
        size = 0 if kind == "arp" else draw.choice([0, 0, 10, 900])
        sequence = draw.choice([0, 10, 20, 30, 910, -20]) + draw.choice([0, 0, 1])
        late = draw.choice([1, S, 20 * S]) if draw.random() < 0.03 else 0
        tags = (7,) if draw.random() < 0.05 else ()
        fragment = draw.choice([0x2000, 2]) if draw.random() < 0.05 else 0
        quotes = draw.choice(packets).frame()[14:] if kind == "icmp" and packets and not tags else b""
        packets.append(
            Made(
                time - late,
                kind,
                src,
                dst,
                *ports,
                flags,
                size,
                sequence,
                sender,
                target,
                tags,
                fragment,
                quotes,
            )
        )
    return packets


def packets_of(made: list[Made]) -> Packets:
    return decode(frames_of(made))


def agree(frames: Frames, *, flows: int = 1 << 30) -> int:
    """Compares every column but the facts, of the packets that begin so many flows; how many packets these were."""
    slow, taken = SlowMeter(), 0
    seen = slow_packets(frames)
    for packet in seen:
        if len(slow.begun) == flows:
            break
        slow.push(packet)
        taken += 1
    packets = decode(frames)
    assert len(packets) == len(seen)
    found = measure(packets.slice(0, taken))
    if not slow.begun:
        assert found.is_empty()
        return 0
    expected = slow.table().cast({name: kind for name, kind in types().items() if name not in SPOKEN})  # type: ignore[arg-type]
    assert set(expected.columns) | SPOKEN == set(COLUMNS)
    assert_frame_equal(found[expected.columns], expected, rel_tol=1e-6, abs_tol=1e-6)
    return taken


def frames_of(made: Iterable[Made]) -> Frames:
    made, whole = list(made), [packet.frame() for packet in made]
    cut = [
        frame if packet.snap is None else frame[: len(frame) - max(0, len(packet.says) - packet.snap)]
        for packet, frame in zip(made, whole, strict=True)
    ]
    frames = Frames.of([packet.time for packet in made], cut)
    return replace(frames, length=np.array([len(frame) for frame in whole], np.uint32))


def made_conversation(draw: random.Random, what: str, start: int, calm: float) -> list[Made]:
    """A flow in which something is said; of TCP with segments that are lost, late, repeated, or overlap. Where it is very calm,
    it is reported in several rows."""
    protocol, ports, speak = SPOKEN_OVER[what]
    client, server = draw.sample(HOSTS[:4], 2)
    ends = {">": (client, server), "<": (server, client)}
    port, own = draw.choice(ports), draw.randrange(40_000, 40_100)
    ports_of = {">": (own, port), "<": (port, own)}
    snap = draw.choice([None] * 9 + [draw.choice([6, 10, 30, 60])])
    sequence, said = {">": draw.randrange(1 << 32), "<": draw.randrange(1 << 32)}, {">": b"", "<": b""}
    made: list[Made] = []
    time = start

    def send(who: str, flags: int, payload: bytes, number: int) -> None:
        kind = "tcp" if protocol == 6 else "udp"
        made.append(
            Made(time, kind, *ends[who], *ports_of[who], flags, sequence=number, says=payload, snap=snap)
        )

    if protocol == 6 and draw.random() < 0.7:
        for who, flags in ((">", SYN), ("<", SYN | ACK), (">", ACK)):
            send(who, flags, b"", sequence[who])
            sequence[who] += flags & SYN > 0
    for who, payload in segmented(draw, speak(draw) + (speak(draw) if calm > 10 else [])):
        time += int((draw.uniform(15, 59) if calm > 10 else draw.expovariate(1 / calm)) * S)
        if not payload:
            continue
        if protocol == 17:
            send(who, 0, payload[:1400], 0)
            continue
        luck, number = draw.random(), sequence[who]
        back = min(len(said[who]), draw.randint(1, 30)) if 0.05 < luck < 0.08 else 0
        if luck > 0.05:
            send(who, ACK | PSH, said[who][len(said[who]) - back :] + payload, number - back)
        if 0.08 < luck < 0.16:
            send(who, draw.choice([ACK, ACK | FIN]) if luck < 0.11 else ACK, payload, number)
        if 0.16 < luck < 0.19 and len(made) > 1:
            made[-1], made[-2] = replace(made[-2], time=made[-1].time), replace(made[-1], time=made[-2].time)
        sequence[who], said[who] = number + len(payload), said[who] + payload
    if protocol == 6 and draw.random() < 0.4:
        for who in "><":
            send(who, draw.choice([FIN | ACK, FIN | ACK, RST]), b"", sequence[who])
    return made


def made_talk(seed: int, count: int, calm: float) -> list[Made]:
    """So many conversations at once, beside other traffic."""
    draw = random.Random(seed)
    made = made_traffic(seed, 20, 1.0)
    for _ in range(count):
        what = draw.choice([*SPOKEN_OVER, *["http"] * 5, "mqtt"])
        made += made_conversation(draw, what, 1_000 * S + draw.randrange(10 * S), calm)
    return sorted(made, key=lambda packet: packet.time)


@example(seed=57, count=100, calm=0.2)  # a later fragment, which has no window, did not close it
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 250), calm=st.sampled_from([0.001, 0.2, 5.0, 30.0]))
def test_slow_and_fast_agree(seed: int, count: int, calm: float) -> None:
    agree(frames_of(made_traffic(seed, count, calm)))


@given(seed=st.integers(0, 1 << 32))
def test_slow_and_fast_agree_on_one_long_connection(seed: int) -> None:
    """Reported in several rows, with holes and repetitions across them."""
    draw = random.Random(seed)
    made = [
        Made(1_000 * S + i * 20 * S, "tcp", *HOSTS[:2], 40_000, 80, draw.choice([ACK, ACK | PSH, SYN]), draw.choice([0, 10]), draw.randrange(0, 60, 5))
        for i in range(60)
    ]  # fmt: skip
    agree(frames_of(made))


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 6), calm=st.sampled_from([0.001, 1.0, 30.0]))
def test_slow_and_fast_agree_on_what_is_said(seed: int, count: int, calm: float) -> None:
    agree(frames_of(made_talk(seed, count, calm)))


@pytest.mark.slow
@pytest.mark.parametrize("calm", [0.001, 1.0, 30.0])
def test_slow_and_fast_agree_where_much_is_said(calm: float) -> None:
    """In every application there is."""
    frames = frames_of(made_talk(11, 400, calm))
    agree(frames)
    assert set(measure(decode(frames))["application"]) == set(APPLICATIONS)


def spoken(port: int, *pieces: bytes, kind: str = "tcp", snap: int | None = None) -> list[Made]:
    """What the source says to this port, a packet each."""
    sizes = [0, *(len(piece) for piece in pieces)]
    return [
        Made(number, kind, *HOSTS[:2], 40_000, port, ACK, sequence=sum(sizes[: number + 1]), says=piece, snap=snap)
        for number, piece in enumerate(pieces)
    ]  # fmt: skip


CHUNKS = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
RECORD = b"\x17\3\3\0\4data"
CONNECT = b"\x10\x13\0\4MQTT\4\xc2\0\x3c\0\1a\0\1u\0\1p"
CUT_AND_ODD: dict[str, tuple[list[Made], str, object]] = {
    "seen in part": ([*spoken(80, b"GET / HTTP/1.1\r\n\r\n"), *(replace(p, flags=ACK | FIN) for p in spoken(80, b"GET / HTTP/1.1\r\n\r\n"))], "messages", 1),
    "cut line": (spoken(80, b"GET / HTTP/1.1\r\n\r", b"\n"), "unfinished_requests", 0),
    "cut version": (spoken(80, b"GET / ", b"HTTP/1.1\r\n\r\n"), "messages", 1),
    "forgotten chunks": (spoken(80, CHUNKS, b"\r\n"), "unfinished_requests", 1),
    "case of chunked": (spoken(80, CHUNKS.replace(b"chunked", b"Chunked") + b"\r\n"), "unfinished_requests", 1),
    "last chunk": (spoken(80, CHUNKS + b"\r\n", b"0\r\n\r", b"\n", CHUNKS + b"\r\n0\r\nX-a: b\r\n\r\n"), "unfinished_requests", 0),
    "cut head": (spoken(443, RECORD + RECORD[:4], RECORD[4:] + RECORD, RECORD), "messages", 4),
    "cut message": (spoken(1883, CONNECT[:9], CONNECT[9:]), "logins", 1),
    "asked exception": (spoken(502, b"\0\1\0\0\0\6\1\x83\0\0\0\1"), "errors", 0),
    "cut bacnet": (spoken(47808, b"\x81\x0b\0\x0c\1\x20\xff\xff\0\xff\x10\x08", kind="udp", snap=8), "application", "bacnet"),
    "long snmp": (spoken(161, snmp(b"\x84\0\0\0\x0f"), kind="udp"), "application", "snmp"),
    "first rtp": (spoken(5004, b"\x80\0\0\1" + bytes(20), kind="udp"), "application", "other"),
}  # fmt: skip
"""What is easily heard wrong, a column that shows it, and what is right there."""


@pytest.mark.parametrize("what", CUT_AND_ODD)
def test_what_is_cut_or_odd_is_heard(what: str) -> None:
    made, column, right = CUT_AND_ODD[what]
    frames = frames_of(made)
    agree(frames)
    assert measure(decode(frames))[column].to_list() == [right]


@pytest.mark.slow
@pytest.mark.parametrize("calm", [0.001, 0.05, 2.0])
def test_slow_and_fast_agree_on_long_traffic(calm: float) -> None:
    agree(frames_of(made_traffic(7, 2_000, calm)))


@pytest.mark.slow
def test_slow_and_fast_agree_on_real_captures(real_data: Path) -> None:
    """Every capture that can be read."""
    compared = wireless = 0
    for path in sorted((real_data / "pcaps").glob("*/*")):
        try:
            frames = read_frames(path).frames
        except WirespeakError:
            continue
        try:
            compared += agree(frames, flows=MOST_FLOWS) > 0
        except AssertionError as error:
            raise AssertionError(f"{path.name}: {error}") from error
        wireless += bool(len(frames)) and int(frames.link_type[0]) in WIRELESS
    assert compared > 140 and wireless


@given(seed=st.integers(0, 1 << 32), cuts=st.lists(st.integers(0, 150), max_size=5))
def test_streaming_equals_batch(seed: int, cuts: list[int]) -> None:
    packets = packets_of(made_traffic(seed, 150, 3.0))
    meter = Meter()
    edges = [0, *sorted(cuts), len(packets)]
    pieces = [meter.push(packets.slice(start, stop)) for start, stop in zip(edges, edges[1:], strict=False)]
    assert_frame_equal(pl.concat([*pieces, meter.flush()]).sort("flow_id"), measure(packets))


@given(seed=st.integers(0, 1 << 32), most=st.integers(1, 255))
def test_first_packets_are_those_of_the_slow_meter(seed: int, most: int) -> None:
    frames = frames_of(made_traffic(seed, 200, 0.2))
    slow = SlowMeter()
    for packet in slow_packets(frames):
        slow.push(packet)
    expected = [
        {
            "first_packets_bytes": [packet.wire for packet, _ in flow.packets[:most]],
            "first_packets_forward": [not back for _, back in flow.packets[:most]],
            "first_packets_s": [
                max(0, packet.time - flow.packets[0][0].time) / S for packet, _ in flow.packets[:most]
            ],
        }
        for flow in slow.begun
    ]
    found = measure(decode(frames), first_packets=most).select("^first_packets_.*$").to_dicts()
    assert found == expected


@given(seed=st.integers(0, 1 << 32))
def test_who_and_when_change_no_feature(seed: int) -> None:
    """Other addresses, MACs, client ports and another clock: every column a detector may see stays as it was."""
    draw = random.Random(seed)
    made = [replace(packet, quotes=b"") for packet in made_traffic(seed, 150, 1.0)]
    names = draw.sample(range(1, 255), len(HOSTS))
    hosts = {
        host: f"fe80::{name:x}" if ":" in host else f"192.168.7.{name}"
        for host, name in zip(HOSTS, names, strict=True)
    }
    macs = {mac(number): mac(1000 - number) for number in range(10)} | {EVERYONE: EVERYONE}
    ports = {40_000: draw.randrange(50_000, 60_000), 40_001: draw.randrange(60_001, 65_000)}
    changed = [
        replace(
            packet,
            time=packet.time + 86_400 * S,
            src=hosts[packet.src],
            dst=hosts[packet.dst],
            src_port=ports.get(packet.src_port, packet.src_port),
            dst_port=ports.get(packet.dst_port, packet.dst_port),
            src_mac=macs[packet.src_mac],
            dst_mac=macs[packet.dst_mac],
        )
        for packet in made
    ]
    assert_frame_equal(
        measure(packets_of(changed)).select(FEATURES), measure(packets_of(made)).select(FEATURES)
    )

"""A slow, obvious meter, one packet and one dictionary at a time, agrees with the fast one on made traffic."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, RST, SYN, arp, ethernet, icmp, ip, mac, tcp, udp
from polars.testing import assert_frame_equal

from wirespeak.flow import Meter, measure
from wirespeak.schema import FEATURES
from wirespeak.wire import Frames, Packets, decode

S = 1_000_000_000
HOSTS = [f"10.0.0.{number}" for number in range(1, 5)] + ["fe80::1", "fe80::2"]
EVERYONE = b"\xff" * 6


@dataclass(frozen=True)
class Packet:
    """What a made packet says, before it is bytes."""

    time: int
    kind: str
    src: str
    dst: str
    src_port: int = 0
    dst_port: int = 0
    flags: int = 0
    size: int = 0
    src_mac: bytes = mac(1)
    dst_mac: bytes = mac(2)

    def frame(self) -> bytes:
        link = {"src": self.src_mac, "dst": self.dst_mac}
        if self.kind == "arp":
            return ethernet(
                arp(self.flags, self.src, self.src_mac, self.dst, self.dst_mac), kind=0x0806, **link
            )
        body = bytes(self.size)
        if self.kind == "tcp":
            number, body = 6, tcp(self.src_port, self.dst_port, self.flags, body)
        elif self.kind == "udp":
            number, body = 17, udp(self.src_port, self.dst_port, body)
        else:
            number, body = 1, icmp(self.flags, 0, self.src_port, body)
        return ethernet(
            ip(self.src, self.dst, number, body), kind=0x86DD if ":" in self.src else 0x0800, **link
        )

    def key(self) -> tuple[object, ...]:
        if self.kind == "arp":
            return ("arp", self.src_mac, self.src, self.dst)
        if self.kind == "icmp":
            return (
                "icmp",
                frozenset((self.src, self.dst)),
                8 if self.flags == 0 else self.flags,
                self.src_port,
            )
        return (self.kind, frozenset([(self.src, self.src_port), (self.dst, self.dst_port)]))


@dataclass
class Flow:
    """One row of the slow meter."""

    number: int
    first: Packet
    began: int
    packets: list[tuple[Packet, bool]] = field(default_factory=list)
    context: dict[str, int] = field(default_factory=dict)
    touched: int = 0
    closed_at: int | None = None
    syn: bool = False
    syn_ack: bool = False
    established: bool = False
    answered: bool = False
    reset: bool = False
    fins: set[bool] = field(default_factory=set)

    @property
    def bits(self) -> dict[str, bool]:
        asks = self.first.flags == 1 if self.first.kind == "arp" else self.first.dst_mac != EVERYONE
        return {
            "unanswered": asks and not self.answered,
            "incomplete": self.syn and not self.established,
            "resets": any(packet.kind == "tcp" and packet.flags & RST for packet, _ in self.packets),
        }


class SlowMeter:
    """The definitions of docs/flows.md, word for word."""

    def __init__(self, idle_s: int = 60, active_s: int = 300) -> None:
        self.idle, self.active = idle_s * S, active_s * S
        self.clock = 0
        self.live: dict[tuple[object, ...], Flow] = {}
        self.begun: list[Flow] = []
        self.sightings: list[tuple[int, str, bytes]] = []

    def push(self, packet: Packet) -> None:
        self.clock = max(self.clock, packet.time)
        for key, flow in list(self.live.items()):
            idle = flow.closed_at is None and self.clock - flow.touched > self.idle
            closed = flow.closed_at is not None and self.clock - flow.closed_at > 5 * S
            if idle or closed:
                del self.live[key]
        key = packet.key()
        flow = self.live.get(key)
        opens = packet.kind == "tcp" and packet.flags & (SYN | ACK) == SYN
        if flow is None or (flow.closed_at is not None and opens):
            flow = Flow(len(self.begun), packet, self.clock, syn=opens)
            self.begin(key, flow, packet)
        elif self.clock - flow.began > self.active:
            former = flow
            flow = Flow(
                len(self.begun),
                former.first,
                self.clock,
                closed_at=former.closed_at,
                syn=former.syn,
                syn_ack=former.syn_ack,
            )
            flow.established, flow.answered, flow.fins, flow.reset = (
                former.established,
                former.answered,
                former.fins,
                former.reset,
            )
            self.begin(key, flow, packet)
        self.add(flow, packet)
        if packet.kind == "arp" and packet.flags == 2:
            asked = self.live.get(("arp", packet.dst_mac, packet.dst, packet.src))
            if asked:
                asked.answered = True
        if packet.src != "0.0.0.0":
            self.sightings.append((self.clock, packet.src, packet.src_mac))

    def begin(self, key: tuple[object, ...], flow: Flow, packet: Packet) -> None:
        src, dst = flow.first.src, flow.first.dst
        matches = {
            "src": lambda other: other.first.src == src,
            "dst": lambda other: other.first.dst == dst,
            "pair": lambda other: (other.first.src, other.first.dst) == (src, dst),
        }
        for name, match in matches.items():
            before = self.remembered([other for other in self.begun if match(other)])
            windows = {
                "2s": [other for other in before if self.clock - other.began <= 2 * S],
                "60s": [other for other in before if self.clock - other.began <= 60 * S],
                "100": before[-100:],
            }
            for window, others in windows.items():
                flow.context |= self.counts(name, window, others)
        for end, address in (("src", src), ("dst", dst)):
            flow.context[f"{end}_rebinds_60s"] = self.rebinds(address)
        seen = [(when, where) for when, who, where in self.sightings if who == src]
        conflict = bool(seen) and self.clock - seen[-1][0] <= 300 * S and seen[-1][1] != packet.src_mac
        flow.context["mac_conflict"] = int(conflict and packet.src == src)
        self.live[key] = flow
        self.begun.append(flow)

    def remembered(self, flows: list[Flow]) -> list[Flow]:
        """A silence of more than 300 s makes a key forget."""
        kept: list[Flow] = []
        for flow in flows:
            if kept and flow.began - kept[-1].began > 300 * S:
                kept = []
            kept.append(flow)
        return kept if kept and self.clock - kept[-1].began <= 300 * S else []

    def counts(self, key: str, window: str, others: list[Flow]) -> dict[str, int]:
        found = {
            f"{key}_flows_{window}": len(others),
            f"{key}_ports_{window}": len(
                {other.first.dst_port for other in others if other.first.kind in ("tcp", "udp")}
            ),
        }
        if key != "pair":
            found[f"{key}_hosts_{window}"] = len(
                {other.first.dst if key == "src" else other.first.src for other in others}
            )
        for bit in ("unanswered", "incomplete", "resets"):
            part = sum(other.bits[bit] for other in others)
            found[f"{key}_{bit}_{window}"] = int(100 * part / len(others) + 0.5) if others else 0
        return found

    def rebinds(self, address: str) -> int:
        seen = [(when, where) for when, who, where in self.sightings if who == address]
        changes = [
            now
            for (before, old), (now, new) in zip(seen, seen[1:], strict=False)
            if old != new and now - before <= 300 * S
        ]
        return sum(self.clock - when <= 60 * S for when in changes)

    def add(self, flow: Flow, packet: Packet) -> None:
        back = packet.kind != "arp" and (packet.src, packet.src_port) != (flow.first.src, flow.first.src_port)
        if packet.kind == "icmp":
            back = packet.src != flow.first.src
        flow.packets.append((packet, back))
        flow.touched = self.clock
        flow.answered |= back
        if packet.kind != "tcp":
            return
        if back:
            flow.syn_ack |= bool(packet.flags & SYN and flow.syn and not packet.flags & RST)
        else:
            flow.established |= bool(flow.syn_ack and packet.flags & ACK and not packet.flags & RST)
        if packet.flags & FIN:
            flow.fins.add(back)
        flow.reset |= bool(packet.flags & RST)
        if flow.closed_at is None and (flow.reset or len(flow.fins) == 2):
            flow.closed_at = self.clock

    def table(self) -> pl.DataFrame:
        return pl.DataFrame([self.row(flow) for flow in self.begun])

    def row(self, flow: Flow) -> dict[str, object]:
        sides: Counter[bool] = Counter(back for _, back in flow.packets)
        times = [packet.time for packet, _ in flow.packets]
        gaps = [(later - sooner) / S for sooner, later in zip(times, times[1:], strict=False)]
        mean = sum(gaps) / len(gaps) if gaps else 0.0
        times_of = {
            side: [packet.time for packet, back in flow.packets if back == side] for side in (False, True)
        }
        tcp_packets = [(packet, back) for packet, back in flow.packets if packet.kind == "tcp"]
        flagged = Counter(
            (back, bit) for packet, back in tcp_packets for bit in (SYN, FIN, RST, PSH) if packet.flags & bit
        )
        return {
            "flow_id": flow.number,
            "first_seen": times[0],
            "src": flow.first.src,
            "dst": flow.first.dst,
            "fwd_packets": sides[False],
            "bwd_packets": sides[True],
            "fwd_payload_bytes": sum(packet.size for packet, back in flow.packets if not back),
            "bwd_payload_bytes": sum(packet.size for packet, back in flow.packets if back),
            "duration_s": (times[-1] - times[0]) / S,
            "iat_mean_s": mean,
            "iat_std_s": (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 if gaps else 0.0,
            "iat_min_s": min(gaps, default=0.0),
            "iat_max_s": max(gaps, default=0.0),
            "fwd_iat_mean_s": spread(times_of[False]),
            "bwd_iat_mean_s": spread(times_of[True]),
            "fwd_syn_packets": flagged[False, SYN],
            "fwd_fin_packets": flagged[False, FIN],
            "fwd_rst_packets": flagged[False, RST],
            "bwd_rst_packets": flagged[True, RST],
            "fwd_push_packets": flagged[False, PSH],
            **flow.context,
        }


def spread(times: list[int]) -> float:
    """The mean gap of ordered times, in seconds."""
    return (times[-1] - times[0]) / (len(times) - 1) / S if len(times) > 1 else 0.0


def made_traffic(seed: int, count: int, calm: float) -> list[Packet]:
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
        kind = draw.choice(["tcp", "tcp", "udp", "icmp", "arp"])
        hosts = HOSTS[4:] if kind == "udp" and draw.random() < 0.2 else HOSTS[:4]
        src, dst = draw.sample(hosts, 2)
        sender = mac(draw.choice([hosts.index(src) + 1] * 8 + [9]))
        target = EVERYONE if draw.random() < 0.1 else mac(hosts.index(dst) + 1)
        ports = [draw.choice([80, 1883]), draw.choice([40_000, 40_001, 80])]
        draw.shuffle(ports)
        flags = draw.choice([SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, ACK, RST, RST | ACK, 0])
        if kind in ("icmp", "arp"):
            flags = draw.choice([8, 0] if kind == "icmp" else [1, 2])
            ports = [draw.choice([1, 2]) if kind == "icmp" else 0, 0]
        size = 0 if kind == "arp" else draw.choice([0, 0, 10, 900])
        packets.append(Packet(time, kind, src, dst, *ports, flags, size, sender, target))
    return packets


def packets_of(made: list[Packet]) -> Packets:
    return decode(Frames.of([packet.time for packet in made], [packet.frame() for packet in made]))


def agree(made: list[Packet]) -> None:
    slow = SlowMeter()
    for packet in made:
        slow.push(packet)
    expected = slow.table()
    found = measure(packets_of(made)).select(expected.columns)
    assert_frame_equal(found, expected, check_dtypes=False, abs_tol=1e-9)


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 250), calm=st.sampled_from([0.001, 0.2, 5.0, 30.0]))
def test_slow_and_fast_agree(seed: int, count: int, calm: float) -> None:
    agree(made_traffic(seed, count, calm))


@pytest.mark.slow
@pytest.mark.parametrize("calm", [0.001, 0.05, 2.0])
def test_slow_and_fast_agree_on_long_traffic(calm: float) -> None:
    agree(made_traffic(7, 3_000, calm))


@given(seed=st.integers(0, 1 << 32), cuts=st.lists(st.integers(0, 150), max_size=5))
def test_streaming_equals_batch(seed: int, cuts: list[int]) -> None:
    packets = packets_of(made_traffic(seed, 150, 3.0))
    meter = Meter()
    edges = [0, *sorted(cuts), len(packets)]
    pieces = [meter.push(packets.slice(start, stop)) for start, stop in zip(edges, edges[1:], strict=False)]
    assert_frame_equal(pl.concat([*pieces, meter.flush()]).sort("flow_id"), measure(packets))


@given(seed=st.integers(0, 1 << 32))
def test_who_and_when_change_no_feature(seed: int) -> None:
    """Other addresses, MACs, client ports and another clock: every column a detector may see stays as it was."""
    draw = random.Random(seed)
    made = made_traffic(seed, 150, 1.0)
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

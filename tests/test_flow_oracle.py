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
FLAGS = {"fin": FIN, "syn": SYN, "rst": RST, "push": PSH, "ack": ACK, "urg": 32, "ece": 64, "cwr": 128}
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
    sequence: int = 0
    src_mac: bytes = mac(1)
    dst_mac: bytes = mac(2)

    @property
    def wire(self) -> int:
        """Bytes at the network layer."""
        network = 40 if ":" in self.src else 20
        return 28 if self.kind == "arp" else network + (20 if self.kind == "tcp" else 8) + self.size

    def frame(self) -> bytes:
        link = {"src": self.src_mac, "dst": self.dst_mac}
        if self.kind == "arp":
            return ethernet(
                arp(self.flags, self.src, self.src_mac, self.dst, self.dst_mac), kind=0x0806, **link
            )
        body = bytes(self.size)
        if self.kind == "tcp":
            number, body = 6, tcp(self.src_port, self.dst_port, self.flags, body, sequence=self.sequence)
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
    former: list[tuple[Packet, bool]] = field(default_factory=list)
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
                former=former.former + former.packets,
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
        sent: dict[str, list[Packet]] = {
            "fwd": [packet for packet, back in flow.packets if not back],
            "bwd": [packet for packet, back in flow.packets if back],
        }
        sent[""] = [packet for packet, _ in flow.packets]
        measured: dict[str, object] = {}
        for side, packets in sent.items():
            head = f"{side}_" if side else ""
            measured |= statistics_of(f"{head}packet", "bytes", [packet.wire for packet in packets])
            measured |= statistics_of(f"{head}payload", "bytes", [packet.size for packet in packets])
            if not side:
                continue
            headers = [packet.wire - packet.size for packet in packets]
            ticks = [packet.time for packet in packets]
            between = [(later - sooner) / S for sooner, later in zip(ticks, ticks[1:], strict=False)]
            measured |= statistics_of(f"{side}_iat", "s", between)
            measured |= {
                f"{side}_header_bytes": sum(headers),
                f"{side}_header_min_bytes": min(headers, default=0),
                f"{side}_header_max_bytes": max(headers, default=0),
                f"{side}_payload_packets": sum(packet.size > 0 for packet in packets),
            }
            for name, bit in FLAGS.items():
                measured[f"{side}_{name}_packets"] = sum(
                    packet.kind == "tcp" and bool(packet.flags & bit) for packet in packets
                )
            before = [packet for packet, back in flow.former if back == (side == "bwd")]
            measured |= ordered(packets, side, before)
        pauses = [gap for gap in gaps if gap > 5]
        edges = [i for i, gap in enumerate(gaps) if gap > 5]
        starts, ends = [0, *(i + 1 for i in edges)], [*edges, len(times) - 1]
        busy = [(times[end] - times[start]) / S for start, end in zip(starts, ends, strict=True)]
        measured |= statistics_of("active", "s", [period for period in busy if period > 0])
        measured |= statistics_of("idle", "s", pauses)
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
            **measured,
            **flow.context,
        }


def statistics_of(name: str, unit: str, values: list[int] | list[float]) -> dict[str, object]:
    """Smallest, mean, largest and deviation of the values, 0 of none."""
    nothing = 0.0 if unit == "s" else 0
    mean = sum(values) / len(values) if values else 0.0
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 if values else 0.0
    found = {
        "min": min(values, default=nothing), "mean": mean, "max": max(values, default=nothing), "std": deviation,
    }  # fmt: skip
    return {f"{name}_{statistic}_{unit}": value for statistic, value in found.items()}


def ordered(packets: list[Packet], side: str, former: list[Packet]) -> dict[str, object]:
    """What the sequence numbers of one side tell, byte by byte; `former` were told of in earlier rows of the flow."""
    hole: set[int] = set()
    missed: set[int] = set()
    opened, following = None, None
    again = late = before = 0
    for place, packet in enumerate([*former, *packets]):
        if place == len(former):
            again = late = before = 0
            missed, hole = set(), set()
        if packet.kind != "tcp":
            continue
        size = packet.size + bool(packet.flags & SYN) + bool(packet.flags & FIN)
        start, end = packet.sequence, packet.sequence + size
        if following is None or (packet.flags & SYN and opened != start):
            opened = start if packet.flags & SYN else None
            before += len(missed)
            missed, hole, following = set(), set(), end
            continue
        if packet.flags & RST and not packet.size:
            continue
        if start > following:
            hole = set(range(following, start))
            missed |= hole
        elif start < following and size:
            if start in hole:
                late += 1
                missed -= hole & set(range(start, end))
                # Only the part of the hole before what came, or else behind it, is remembered.
                hole = {byte for byte in hole if byte < start} or {byte for byte in hole if byte >= end}
            else:
                again += 1
        following = max(following, end)
    return {
        f"{side}_retransmitted_packets": again,
        f"{side}_out_of_order_packets": late,
        f"{side}_missed_bytes": before + len(missed),
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
        flags = draw.choice(
            [SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, ACK, RST, RST | ACK, ACK | 32, ACK | 64 | 128, 0]
        )
        if kind in ("icmp", "arp"):
            flags = draw.choice([8, 0] if kind == "icmp" else [1, 2])
            ports = [draw.choice([1, 2]) if kind == "icmp" else 0, 0]
        size = 0 if kind == "arp" else draw.choice([0, 0, 10, 900])
        sequence = draw.choice([0, 10, 20, 30, 910]) + draw.choice([0, 0, 1])
        packets.append(Packet(time, kind, src, dst, *ports, flags, size, sequence, sender, target))
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


@given(seed=st.integers(0, 1 << 32))
def test_slow_and_fast_agree_on_one_long_connection(seed: int) -> None:
    """Reported in several rows, with holes and repetitions across them."""
    draw = random.Random(seed)
    made = [
        Packet(1_000 * S + i * 20 * S, "tcp", *HOSTS[:2], 40_000, 80, draw.choice([ACK, ACK | PSH, SYN]), draw.choice([0, 10]), draw.randrange(0, 60, 5))
        for i in range(60)
    ]  # fmt: skip
    agree(made)


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


@given(seed=st.integers(0, 1 << 32), most=st.integers(1, 255))
def test_first_packets_are_those_of_the_slow_meter(seed: int, most: int) -> None:
    made = made_traffic(seed, 200, 0.2)
    slow = SlowMeter()
    for packet in made:
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
    found = measure(packets_of(made), first_packets=most).select("^first_packets_.*$").to_dicts()
    assert found == expected


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

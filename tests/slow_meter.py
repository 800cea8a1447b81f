"""Packets to flows, slowly: the definitions of docs/flows.md, one packet and one dictionary at a time.

What applications say is heard in `slow_talk.py`; their words (SPOKEN) are not told.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import polars as pl
from communityid import CommunityID, FlowTuple
from made_frames import ACK, FIN, PSH, RST, SYN
from slow_packets import ARP, ICMP, ICMP6, NOWHERE, SCTP, TCP, UDP, Packet
from slow_talk import Said, Speech, Talk

from wirespeak.schema import COLUMNS, FACTS, SERVICES

S = 1_000_000_000
FLAGS = {"fin": FIN, "syn": SYN, "rst": RST, "push": PSH, "ack": ACK, "urg": 32, "ece": 64, "cwr": 128}
PORTED = (TCP, UDP, SCTP)
NAMES = {ICMP: "icmp", 2: "igmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6", ARP: "arp", 257: "802.15.4"}
EVERYONE = b"\xff" * 6
SPOKEN = {fact.name for fact in FACTS}
"""Columns that the slow meter does not have: what applications said, word for word. No detector sees them."""


@dataclass
class Side:
    """The bytes of one side of a connection, by their sequence numbers."""

    opened: int | None = None
    following: int | None = None
    hole: range = range(0)
    missed: int = 0
    again: int = 0
    late: int = 0

    def next_row(self) -> Side:
        """What is known of it still, when a new row of the flow begins."""
        return Side(self.opened, self.following)

    def take(self, packet: Packet) -> tuple[bool, int | None]:
        """Follow a segment; whether all of it had been seen before, and how much of its payload, None if it says nothing new."""
        size = packet.size + bool(packet.flags & SYN) + bool(packet.flags & FIN)
        syn = bool(packet.flags & SYN)
        if self.following is None or (syn and self.opened != packet.sequence):
            self.opened = packet.sequence if syn else None
            self.following, self.hole = packet.sequence + size, range(0)
            return False, 0
        if packet.flags & RST and not packet.size:
            return False, None
        ahead = (packet.sequence - self.following + (1 << 31)) % (1 << 32) - (1 << 31)
        start = self.following + ahead
        end = start + size
        seen, known = False, None
        if end > self.following:
            known = min(max(0, self.following - start - syn), packet.size)
        if start > self.following:
            self.hole = range(self.following, start)
            self.missed += len(self.hole)
        elif start < self.following and size:
            if start in self.hole:
                self.late += 1
                self.missed -= min(end, self.hole.stop) - start
                # Only the part of the hole before what came, or else behind it, is remembered.
                whole = start == self.hole.start
                self.hole = (
                    range(min(end, self.hole.stop), self.hole.stop)
                    if whole
                    else range(self.hole.start, start)
                )
            else:
                self.again += 1
                seen = end <= self.following
        self.following = max(self.following, end)
        return seen, known


@dataclass
class Flow:
    """One row of the slow meter."""

    number: int
    first: Packet
    began: int
    opening: Packet  # of this row
    talk: Talk
    said: Said  # in this row
    packets: list[tuple[Packet, bool]] = field(default_factory=list)
    context: dict[str, int] = field(default_factory=dict)
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))
    letters: str = ""
    repeated: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    touched: int = 0
    closed_at: int | None = None
    syn: bool = False
    syn_ack: bool = False
    source_syn_ack: bool = False
    established: bool = False
    answered: bool = False
    unreachable: bool = False
    reset: bool = False
    reset_by: str = ""
    fins: str = ""
    fins_before_reset: str = ""
    syn_time: int | None = None
    syn_ack_time: int | None = None
    handshake: float = 0.0
    handshake_ack: float = 0.0
    state: str = ""

    @property
    def operation(self) -> str:
        first = self.first
        if first.protocol == ARP:
            if first.src == first.dst:
                return "announce"
            return (
                "probe" if first.src in NOWHERE else {1: "request", 2: "reply"}.get(first.operation, "other")
            )
        told: dict[int, dict[str, tuple[int, ...]]] = {
            ICMP: {"echo": (0, 8), "unreachable": (3,), "redirect": (5,), "router": (9, 10), "exceeded": (11,)},
            ICMP6: {
                "unreachable": (1,), "exceeded": (3,), "echo": (128, 129), "group": (130, 131, 132, 143), "router": (133, 134),
                "neighbour": (135, 136), "redirect": (137,),
            },
        }  # fmt: skip
        if first.protocol not in told:
            return ""
        return next((name for name, kinds in told[first.protocol].items() if first.kind in kinds), "other")

    @property
    def cast(self) -> str:
        first = self.first
        if first.family == 15:
            return "broadcast" if first.dst.endswith("ffff") else "unicast"
        group = bool(first.dst_mac and first.dst_mac[0] & 1)
        everyone = first.dst_mac == EVERYONE
        if first.protocol != ARP:
            everyone |= first.dst == "255.255.255.255"
            group |= (
                first.dst.startswith("ff") if first.family == 6 else 224 <= int(first.dst.split(".")[0]) < 240
            )
        return "broadcast" if everyone else "multicast" if group else "unicast"

    @cached_property
    def asks(self) -> bool:
        return self.operation == "request" if self.first.protocol == ARP else self.cast == "unicast"

    def bits(self) -> tuple[bool, bool, bool, bool]:
        """Whether it is unanswered, incomplete, reset or in error, as far as is known now."""
        unanswered = self.asks and not self.answered
        failed = self.unreachable or self.said.errors > 0
        return unanswered, self.syn and not self.established, self.reset, failed

    def end(self) -> None:
        self.state = self.how_it_ended()
        self.talk.end()

    def how_it_ended(self) -> str:
        if self.first.protocol != TCP:
            return "two-way" if self.answered else "one-way"
        if not self.syn:
            return "RSTRH" if self.source_syn_ack and self.reset_by == "dst" else "OTH"
        if self.established:
            if {"src", "dst"} <= set(self.fins_before_reset.split()):
                return "SF"
            if self.reset_by:
                return "RSTO" if self.reset_by == "src" else "RSTR"
            return "S2" if "src" in self.fins else "S3" if "dst" in self.fins else "S1"
        if self.syn_ack:
            return "HALF"
        if self.reset_by:
            return "RSTOS0" if self.reset_by == "src" else "REJ"
        if "src" in self.fins:
            return "SH"
        return "OTH" if any(back for _, back in self.packets) else "S0"


class SlowMeter:
    """The definitions of docs/flows.md, word for word."""

    def __init__(self, idle_s: int = 60, active_s: int = 300) -> None:
        self.idle, self.active = idle_s * S, active_s * S
        self.clock = -(1 << 62)
        self.live: dict[tuple[Any, ...], Flow] = {}
        self.begun: list[Flow] = []
        self.at: dict[tuple[Any, ...], list[Flow]] = defaultdict(list)
        self.sightings: dict[tuple[int, str], list[tuple[int, bytes]]] = defaultdict(list)
        self.datagrams: dict[tuple[Any, ...], tuple[int, Packet]] = {}
        self.orphans = 0

    def push(self, packet: Packet) -> None:
        if packet.time > self.clock:
            self.clock = packet.time
            self.end_what_ran_out()
        datagram = (packet.src, packet.dst, packet.protocol, packet.datagram, *packet.place)
        if packet.fragment == "first":
            self.datagrams[datagram] = (self.clock, packet)
        if packet.fragment == "later":
            when, first = self.datagrams.get(datagram, (self.clock - 31 * S, packet))
            if self.clock - when > 30 * S:
                self.orphans += 1
                return
            packet = replace(
                packet,
                src_port=first.src_port,
                dst_port=first.dst_port,
                kind=first.kind,
                identifier=first.identifier,
            )
        key = packet.key
        flow = self.live.get(key)
        opens = packet.protocol == TCP and packet.flags & (SYN | ACK) == SYN
        if flow is None or (flow.closed_at is not None and opens):
            if flow:
                flow.end()
            talk = Talk(opens)
            flow = Flow(len(self.begun), packet, self.clock, packet, talk, talk.said, syn=opens)
            self.begin(key, flow, packet)
        elif self.clock - flow.began > self.active:
            flow.state = flow.how_it_ended()
            former = flow
            flow = replace(
                former, number=len(self.begun), began=self.clock, opening=packet, packets=[], context={}, letters="", repeated=defaultdict(int),
                sides=(former.sides[0].next_row(), former.sides[1].next_row()), unreachable=False, reset=False, syn_time=None, syn_ack_time=None,
                handshake=0.0, handshake_ack=0.0, state="", said=former.talk.next_row(),
            )  # fmt: skip
            self.begin(key, flow, packet)
        self.add(flow, packet)
        self.learn(packet)

    def end_what_ran_out(self) -> None:
        for key, flow in list(self.live.items()):
            idle = flow.closed_at is None and self.clock - flow.touched > self.idle
            closed = flow.closed_at is not None and self.clock - flow.closed_at > 5 * S
            if idle or closed:
                flow.end()
                del self.live[key]

    def learn(self, packet: Packet) -> None:
        """What a packet tells of other flows, and of who is where."""
        if packet.protocol == ARP and packet.operation == 2:
            asked = self.live.get((ARP, packet.target_mac, packet.dst, packet.src, *packet.place))
            if asked:
                asked.answered = True
        if packet.is_error and packet.quoted:
            blamed = self.live.get((*packet.quoted, *packet.place))
            if blamed:
                blamed.unreachable = True
        mac = claimed(packet)
        if mac and packet.src not in NOWHERE and any(mac):
            self.sightings[packet.family, packet.src].append((self.clock, mac))

    def begin(self, key: tuple[Any, ...], flow: Flow, packet: Packet) -> None:
        first = flow.first
        src, dst = (first.family, first.src), (first.family, first.dst)
        for name, end in (("src", src), ("dst", dst), ("pair", (src, dst))):
            before = self.remembered(self.at[name, end])
            windows = {
                "2s": [other for other in before if self.clock - other.began <= 2 * S],
                "60s": [other for other in before if self.clock - other.began <= 60 * S],
                "100": before[-100:],
            }
            for window, others in windows.items():
                flow.context |= self.counts(name, window, others)
            self.at[name, end].append(flow)
        for end, address in (("src", src), ("dst", dst)):
            flow.context[f"{end}_rebinds_60s"] = self.rebinds(address)
        seen, mac = self.sightings[src], claimed(packet)
        conflict = bool(seen) and self.clock - seen[-1][0] <= 300 * S and seen[-1][1] != mac
        flow.context["mac_conflict"] = int(conflict and packet.src == first.src and mac is not None)
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
        ported = {other.first.dst_port for other in others if other.first.protocol in PORTED}
        found = {f"{key}_flows_{window}": len(others), f"{key}_ports_{window}": len(ported)}
        if key != "pair":
            found[f"{key}_hosts_{window}"] = len(
                {other.first.dst if key == "src" else other.first.src for other in others}
            )
        for name in list(found):
            found[f"{name}_grade"] = grade(found[name])
        bits = [other.bits() for other in others]
        for place, bit in enumerate(("unanswered", "incomplete", "resets", "errors")):
            part = sum(each[place] for each in bits)
            percent = math.floor(100 * part / len(others) + 0.5) if others else 0
            found |= {f"{key}_{bit}_{window}": percent, f"{key}_{bit}_{window}_tenths": (percent + 5) // 10}
        return found

    def rebinds(self, address: tuple[int, str]) -> int:
        seen = self.sightings[address]
        changes = [
            now
            for (before, old), (now, new) in zip(seen, seen[1:], strict=False)
            if old != new and now - before <= 300 * S
        ]
        return sum(self.clock - when <= 60 * S for when in changes)

    def add(self, flow: Flow, packet: Packet) -> None:
        back = packet.protocol != ARP and (packet.src, packet.src_port) != (
            flow.first.src,
            flow.first.src_port,
        )
        if packet.protocol in (ICMP, ICMP6):
            back = packet.src != flow.first.src
        flow.packets.append((packet, back))
        flow.touched = self.clock
        flow.answered |= back
        flow.reset |= bool(packet.flags & RST)
        segment = packet.protocol == TCP and packet.fragment != "later"
        seen, known = flow.sides[back].take(packet) if segment else (False, 0)
        tell(flow, packet, back, seen)
        if segment:
            self.follow(flow, packet, back)
        if packet.protocol in (TCP, UDP) and packet.fragment != "later" and known is not None:
            said = Speech(
                packet.payload, packet.size, packet.src_port, packet.dst_port, packet.protocol, back
            )
            flow.talk.hear(said.after(known))

    def follow(self, flow: Flow, packet: Packet, back: bool) -> None:
        """The handshake and the end of a connection."""
        syn, ack, fin, reset = (bool(packet.flags & bit) for bit in (SYN, ACK, FIN, RST))
        if back:
            if syn and not reset and flow.syn and not flow.syn_ack:
                flow.syn_ack, flow.syn_ack_time = True, packet.time
                if flow.syn_time is not None:
                    flow.handshake = max(0, packet.time - flow.syn_time) / S
        else:
            flow.source_syn_ack |= syn and ack
            if syn and flow.syn_time is None:
                flow.syn_time = packet.time
            if flow.syn_ack and ack and not reset:
                if not flow.established and flow.syn_ack_time is not None:
                    flow.handshake_ack = max(0, packet.time - flow.syn_ack_time) / S
                flow.established = True
        side = "dst" if back else "src"
        if fin:
            flow.fins += f" {side}"
            flow.fins_before_reset += "" if flow.reset_by else f" {side}"
        if reset and not flow.reset_by:
            flow.reset_by = side
        if flow.closed_at is None and (flow.reset_by or {"src", "dst"} <= set(flow.fins.split())):
            flow.closed_at = self.clock

    def table(self) -> pl.DataFrame:
        """Every row, in the order in which they began."""
        for flow in self.live.values():
            flow.end()
        rows = [row(flow) for flow in self.begun]
        return pl.DataFrame(rows, infer_schema_length=None).select(
            name for name in COLUMNS if name not in SPOKEN
        )


def claimed(packet: Packet) -> bytes | None:
    """The MAC of whoever sent it in its name; inside a tunnel there is none."""
    if packet.tunnel:
        return None
    return packet.sender_mac if packet.protocol == ARP else packet.src_mac


def tell(flow: Flow, packet: Packet, back: bool, seen: bool) -> None:
    """Add to the history what is new."""

    def letter(which: str) -> None:
        own = which.lower() if back else which
        flow.repeated[own] += 1
        often = flow.repeated[own]
        again = which in "TW" and often in (10**power for power in range(10))
        if (often == 1 or again) and len(flow.letters) < 32:
            flow.letters += own

    if packet.protocol == UDP and packet.size and packet.fragment != "later":
        letter("D")
    if packet.protocol != TCP or packet.fragment == "later":
        return
    syn, ack, fin, reset = (bool(packet.flags & bit) for bit in (SYN, ACK, FIN, RST))
    if syn and (fin or reset):
        letter("Q")
    elif fin and reset:
        letter("I")
    if syn:
        letter("H" if ack else "S")
    if seen and packet.size:
        letter("T")
    if fin:
        letter("F")
    if reset:
        letter("R")
    if packet.size:
        letter("D")
    elif ack and not (syn or fin or reset):
        letter("A")
    if packet.window == 0 and not (syn or fin or reset):
        letter("W")


def row(flow: Flow) -> dict[str, Any]:
    first, packets = flow.first, [packet for packet, _ in flow.packets]
    ticks = forward(packet.time for packet in packets)
    seconds = (ticks[-1] - ticks[0]) / S
    per = max(seconds, 1e-6)
    rate = math.floor(len(packets) / per + 0.5) if len(packets) > 1 else 0
    sent = {
        "fwd": [packet for packet, back in flow.packets if not back],
        "bwd": [packet for packet, back in flow.packets if back],
    }
    measured: dict[str, Any] = {}
    for (side, mine), order in zip(sent.items(), flow.sides, strict=True):
        headers = [max(0, packet.wire - packet.size) for packet in mine]
        size = sum(packet.wire for packet in mine)
        measured |= {
            f"{side}_packets": len(mine),
            f"{side}_bytes": size,
            f"{side}_payload_bytes": sum(packet.size for packet in mine),
            f"{side}_header_bytes": size - sum(packet.size for packet in mine),
            f"{side}_header_min_bytes": min(headers, default=0),
            f"{side}_header_max_bytes": max(headers, default=0),
            f"{side}_payload_packets": sum(packet.size > 0 for packet in mine),
            f"{side}_packets_per_s": len(mine) / per if len(packets) > 1 else 0.0,
            f"{side}_bytes_per_s": size / per if len(packets) > 1 else 0.0,
            f"{side}_ttl": mine[0].ttl if mine else 0,
            f"{side}_window_bytes": mine[0].window if mine else 0,
            f"{side}_retransmitted_packets": order.again,
            f"{side}_out_of_order_packets": order.late,
            f"{side}_missed_bytes": order.missed,
            **statistics_of(f"{side}_packet", "bytes", [packet.wire for packet in mine]),
            **statistics_of(f"{side}_payload", "bytes", [packet.size for packet in mine]),
            **statistics_of(f"{side}_iat", "s", gaps_of(forward(packet.time for packet in mine))),
        }
        for name, bit in FLAGS.items():
            measured[f"{side}_{name}_packets"] = sum(bool(packet.flags & bit) for packet in mine)
    gaps = gaps_of(ticks)
    edges = [i for i, gap in enumerate(gaps) if gap > 5]
    starts, ends = [0, *(i + 1 for i in edges)], [*edges, len(ticks) - 1]
    busy = [(ticks[end] - ticks[start]) / S for start, end in zip(starts, ends, strict=True)]
    return {
        "flow_id": flow.number, "first_seen": ticks[0], "last_seen": ticks[-1], "duration_s": seconds,
        "duration_grade": grade(seconds * 1e3), "gap_grade": grade(max(gaps, default=0.0) * 1e3), "rate_grade": grade(rate),
        "src": first.src, "dst": first.dst,
        "src_port": first.src_port if first.protocol in PORTED else None,
        "dst_port": first.dst_port if first.protocol in PORTED else None,
        "src_mac": first.src_mac.hex(":") if first.src_mac is not None else None,
        "dst_mac": first.dst_mac.hex(":") if first.dst_mac is not None else None,
        "vlan": first.vlan, "tunnel": first.tunnel, "tunnel_id": first.tunnel_id if first.tunnel == "vxlan" else None,
        "protocol": NAMES.get(first.protocol, f"ip-{first.protocol}"), "service": service(flow), "community_id": community(first),
        "cast": flow.cast, "operation": flow.operation, "state": flow.state, "flags": letters_of(flow.opening),
        "history": flow.letters or None, "handshake_s": flow.handshake, "handshake_ack_s": flow.handshake_ack,
        "packets_per_s": rate, "bytes_per_s": sum(packet.wire for packet in packets) / per if len(packets) > 1 else 0.0,
        **statistics_of("packet", "bytes", [packet.wire for packet in packets]),
        **statistics_of("payload", "bytes", [packet.size for packet in packets]),
        **statistics_of("iat", "s", gaps),
        **statistics_of("active", "s", [period for period in busy if period > 0]),
        **statistics_of("idle", "s", [gap for gap in gaps if gap > 5]),
        **measured,
        **asdict(flow.said),
        **flow.context,
    }  # fmt: skip


def letters_of(packet: Packet) -> str:
    if packet.protocol != TCP:
        return ""
    return "".join(letter for bit, letter in enumerate("FSRPAU") if packet.flags >> bit & 1) or "none"


def service(flow: Flow) -> str:
    first = flow.first
    if first.protocol not in (TCP, UDP):
        return ""

    def named(port: int) -> str:
        return next((name for name, ports in SERVICES.items() if port in ports), "")

    def speaks(port: int) -> bool:
        return port < 1024 or bool(named(port))

    opened = first.protocol == TCP and flow.opening.flags & (SYN | ACK) == SYN
    from_server = not opened and not speaks(first.dst_port) and speaks(first.src_port)
    port = first.src_port if from_server else first.dst_port
    return named(port) or ("system" if port < 1024 else "registered" if port < 32768 else "ephemeral")


def community(first: Packet) -> str | None:
    if first.family == 15 or first.protocol == ARP:
        return None
    ports: tuple[int | None, int | None] = (None, None)
    if first.protocol in PORTED:
        ports = (first.src_port, first.dst_port)
    elif first.protocol in (ICMP, ICMP6):
        ports = (first.kind, first.code)
    return str(CommunityID().calc(FlowTuple(first.protocol, first.src, first.dst, *ports)))


def grade(count: float) -> int:
    return math.floor(math.log2(1 + count))


def forward(times: Iterable[int]) -> list[int]:
    """Times that never go back."""
    found: list[int] = []
    for time in times:
        found.append(max(time, found[-1]) if found else time)
    return found


def gaps_of(times: list[int]) -> list[float]:
    return [(later - sooner) / S for sooner, later in zip(times, times[1:], strict=False)]


def statistics_of(name: str, unit: str, values: list[int] | list[float]) -> dict[str, Any]:
    """Smallest, mean, largest and deviation of the values, 0 of none."""
    nothing = 0.0 if unit == "s" else 0
    mean = math.fsum(values) / len(values) if values else 0.0
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) if values else 0.0
    found = {
        "min": min(values, default=nothing), "mean": mean, "max": max(values, default=nothing), "std": deviation,
    }  # fmt: skip
    return {f"{name}_{statistic}_{unit}": value for statistic, value in found.items()}

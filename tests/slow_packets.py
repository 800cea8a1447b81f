"""Frames to packets, slowly: one frame at a time, from the header layouts of the standards alone.

Link types that are wireless are left to the fast decoder. What cannot be read is None.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.flow.columns import TUNNELS
from wirespeak.wire import Frames, decode

TCP, UDP, ICMP, ICMP6, ARP, IPV4, IPV6, GRE, SCTP = 6, 17, 1, 58, 256, 4, 41, 47, 132
EXTENSIONS = (0, 43, 44, 51, 60, 135)
MOST_TUNNELS = 4
IP_LINKS = (12, 14, 101, 228, 229)
WIRELESS = (105, 127, 195, 215, 230, 283)
NOWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Packet:
    """What a packet says. Times in ns; `wire` and `size` are bytes of the network layer and of the payload."""

    time: int = 0
    protocol: int = 0
    src: str = ""
    dst: str = ""
    family: int = 4
    src_port: int = 0
    dst_port: int = 0
    flags: int = 0
    sequence: int = 0
    window: int = 0
    ttl: int = 0
    wire: int = 0
    size: int = 0
    src_mac: bytes | None = None
    dst_mac: bytes | None = None
    vlan: int | None = None
    tunnel: str = ""
    tunnel_id: int = 0
    depth: int = 0
    kind: int = 0
    code: int = 0
    identifier: int = 0
    quoted: tuple[Any, ...] | None = None
    operation: int = 0
    sender_mac: bytes = b""
    target_mac: bytes = b""
    fragment: str = ""
    datagram: int = 0
    payload: bytes = b""  # of TCP and UDP, as much of it as was captured

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it was: flows of different places are different."""
        return (self.family, self.vlan, self.tunnel, self.tunnel_id)

    @property
    def key(self) -> tuple[Any, ...]:
        """The same for both sides of a conversation."""
        if self.protocol == ARP:
            return (ARP, self.sender_mac, self.src, self.dst, *self.place)
        icmp = self.protocol in (ICMP, ICMP6)
        first, second = (self.identifier, self.kind) if icmp else (self.src_port, self.dst_port)
        return (*conversation(self.protocol, self.src, self.dst, first, second), *self.place)

    @property
    def is_error(self) -> bool:
        """Whether it says that something cannot be reached."""
        return (self.protocol, self.kind) in ((ICMP, 3), (ICMP6, 1))


ASKED = {
    ICMP: {0: 8, 9: 10, 14: 13, 16: 15, 18: 17},
    ICMP6: {129: 128, 131: 130, 132: 130, 134: 133, 136: 135, 140: 139, 145: 144},
}


def conversation(protocol: int, src: str, dst: str, src_port: int, dst_port: int) -> tuple[Any, ...]:
    """The ends in any order; for ICMP the addresses, the identifier and the type that asks."""
    if protocol in ASKED:
        return (protocol, frozenset((src, dst)), src_port, ASKED[protocol].get(dst_port, dst_port))
    return (protocol, frozenset(((src, src_port), (dst, dst_port))))


class Short(Exception):
    """Bytes are missing, or say what cannot be."""


class Span:
    """Captured bytes, and how many there were on the wire."""

    def __init__(self, data: bytes, wire: int) -> None:
        self.data, self.wire = data, wire

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size].ljust(size, b"\0"))

    def after(self, offset: int) -> Span:
        return Span(self.data[offset:], max(0, self.wire - offset))

    def first(self, size: int) -> Span:
        return Span(self.data[:size], min(size, self.wire))

    def need(self, size: int) -> None:
        if len(self.data) < size:
            raise Short


def slow_packets(frames: Frames) -> list[Packet]:
    """The packets of frames that could be read."""
    found: list[Packet] = []
    for row in range(len(frames)):
        link, time = int(frames.link_type[row]), int(frames.time_ns[row])
        if link in WIRELESS:
            found += [of_row(each, frames.data) for each in decode(frames[row : row + 1]).rows]
            continue
        try:
            span = Span(frames.bytes_of(row), int(frames.length[row]))
            found.append(of_link(Packet(time=time), link, span))
        except Short:
            continue
    return found


def of_row(row: np.void, data: NDArray[np.uint8]) -> Packet:
    """A packet as the fast decoder tells it; data: the bytes of the capture."""
    family = int(row["family"])
    start, size = int(row["payload_offset"]), min(int(row["payload_captured"]), int(row["payload_bytes"]))
    texts = {4: lambda raw: str(IPv4Address(raw[12:])), 6: lambda raw: str(IPv6Address(raw)), 15: _radio}
    src, dst = (texts[family](row[end].tobytes()) for end in ("src", "dst"))
    vlan = int(row["vlan"])
    quoted = None
    if row["quoted_protocol"] != 65535:
        ends = (texts[family](row[f"quoted_{end}"].tobytes()) for end in ("src", "dst"))
        ports = (int(row[f"quoted_{end}_port"]) for end in ("src", "dst"))
        quoted = conversation(int(row["quoted_protocol"]), *ends, *ports)
    return Packet(
        time=int(row["time_ns"]), protocol=int(row["protocol"]), src=src, dst=dst, family=family,
        src_port=int(row["src_port"]), dst_port=int(row["dst_port"]), flags=int(row["tcp_flags"]), sequence=int(row["tcp_sequence"]),
        window=int(row["tcp_window"]), ttl=int(row["ttl"]), wire=int(row["network_bytes"]), size=int(row["payload_bytes"]),
        src_mac=row["src_mac"].tobytes() if row["has_src_mac"] else None, dst_mac=row["dst_mac"].tobytes() if row["has_dst_mac"] else None,
        vlan=None if vlan == 65535 else vlan, tunnel=TUNNELS[row["tunnel"]], tunnel_id=int(row["tunnel_id"]),
        kind=int(row["icmp_type"]), code=int(row["icmp_code"]), identifier=int(row["icmp_id"]), quoted=quoted, operation=int(row["arp_operation"]),
        sender_mac=row["arp_sender_mac"].tobytes(), target_mac=row["arp_target_mac"].tobytes(),
        fragment=("", "first", "later")[row["fragment"]], datagram=int(row["fragment_id"]),
        payload=data[start : start + size].tobytes(),
    )  # fmt: skip


def _radio(raw: bytes) -> str:
    return f"{raw[6:8].hex()}/{raw[16 - raw[5] :].hex()}" if raw[5] else f"{raw[6:8].hex()}/-"


def of_link(p: Packet, link: int, span: Span) -> Packet:
    """A packet on a link, by the numbers of tcpdump.org."""
    if link == 1:
        return of_ethernet(p, span)
    if link in (0, 108):
        span.need(4)
        return of_ip(p, span.after(4))
    if link in IP_LINKS:
        return of_ip(p, span, {228: 4, 229: 6}.get(link))
    if link in (113, 276):
        head, size, at, kind = (
            (16, span.number(4, 2), 6, 14) if link == 113 else (20, span.number(11, 1), 12, 0)
        )
        span.need(head)
        p = replace(p, src_mac=span.data[at : at + 6]) if size == 6 else p
        return of_network(p, span.number(kind, 2), span.after(head))
    if link in (9, 50, 51):
        return of_ppp(p, span.after(6) if link == 51 else span)
    if link == 104:
        return of_network(p, span.number(2, 2), span.after(4))
    raise Short


def of_ethernet(p: Packet, span: Span) -> Packet:
    span.need(14)
    p = replace(p, dst_mac=span.data[:6], src_mac=span.data[6:12])
    return of_network(p, span.number(12, 2), span.after(14))


def of_network(p: Packet, kind: int, span: Span) -> Packet:
    tags = 0
    while kind in (0x8100, 0x88A8, 0x9100):
        span.need(4)
        tags += 1
        if tags > 8:
            raise Short
        p, kind, span = replace(p, vlan=span.number(0, 2) & 0xFFF), span.number(2, 2), span.after(4)
    if kind == 0x0800:
        return of_ip(p, span, 4)
    if kind == 0x86DD:
        return of_ip(p, span, 6)
    if kind == 0x0806:
        return of_arp(p, span)
    if kind in (0x8847, 0x8848):
        return of_labels(p, span)
    if kind == 0x8864:
        return of_ppp(p, span.after(6))
    if kind == 0x6558:
        return of_ethernet(deeper(p), span)
    if kind < 0x0600 and span.data[:6] == bytes.fromhex("aaaa03000000") and span.number(6, 2) >= 0x0600:
        return of_network(p, span.number(6, 2), span.after(8))
    raise Short


def deeper(p: Packet) -> Packet:
    if p.depth >= MOST_TUNNELS:
        raise Short
    return replace(p, depth=p.depth + 1)


def of_labels(p: Packet, span: Span) -> Packet:
    for _ in range(16):
        span.need(4)
        bottom, span = span.number(2, 1) & 1, span.after(4)
        if bottom:
            break
    else:
        raise Short
    version = span.number(0, 1) >> 4
    if version in (4, 6):
        return of_ip(p, span)
    return of_ethernet(deeper(p), span.after(4) if version == 0 else span)


def of_ppp(p: Packet, span: Span) -> Packet:
    if span.data[:2] == b"\xff\x03":
        span = span.after(2)
    span.need(2)
    size = 1 if span.number(0, 1) & 1 else 2
    kind, span = span.number(0, size), span.after(size)
    if kind == 0x0281:
        return of_labels(p, span)
    if kind not in (0x21, 0x57):
        raise Short
    return of_ip(p, span, 4 if kind == 0x21 else 6)


def of_arp(p: Packet, span: Span) -> Packet:
    span.need(28)
    if span.data[2:6] != bytes.fromhex("08000604"):
        raise Short
    return replace(
        p, protocol=ARP, wire=28, operation=span.number(6, 2), sender_mac=span.data[8:14], target_mac=span.data[18:24],
        src=str(IPv4Address(span.data[14:18])), dst=str(IPv4Address(span.data[24:28])),
    )  # fmt: skip


def of_ip(p: Packet, span: Span, version: int | None = None) -> Packet:
    span.need(1)
    found = span.number(0, 1) >> 4
    if (version or (6 if found == 6 else 4)) != found:
        raise Short
    return of_ipv4(p, span) if found == 4 else of_ipv6(p, span)


def of_ipv4(p: Packet, span: Span) -> Packet:
    span.need(20)
    head, total = (span.number(0, 1) & 15) * 4, span.number(2, 2) or span.wire
    if head < 20 or not head <= total <= span.wire:
        raise Short
    pieces = span.number(6, 2)
    p = replace(
        p, family=4, ttl=span.number(8, 1), protocol=span.number(9, 1), wire=total,
        src=str(IPv4Address(span.data[12:16])), dst=str(IPv4Address(span.data[16:20])),
    )  # fmt: skip
    if pieces & 0x3FFF:
        p = replace(p, fragment="later" if pieces & 0x1FFF else "first", datagram=span.number(4, 2))
    return of_transport(p, span.first(total).after(head))


def of_ipv6(p: Packet, span: Span) -> Packet:
    span.need(40)
    total, following = 40 + span.number(4, 2), span.number(6, 1)
    if total == 40 and following == 0:
        total = span.wire
    if total > span.wire:
        raise Short
    p = replace(
        p, family=6, ttl=span.number(7, 1), wire=total,
        src=str(IPv6Address(span.data[8:24])), dst=str(IPv6Address(span.data[24:40])),
    )  # fmt: skip
    span = span.first(total).after(40)
    while following in EXTENSIONS and p.fragment != "later":
        span.need(8)
        units = span.number(1, 1)
        size = {44: 8, 51: (units + 2) * 4}.get(following, (units + 1) * 8)
        if size > span.wire:
            raise Short
        if following == 44 and span.number(2, 2) & 0xFFF9:
            later = span.number(2, 2) & 0xFFF8
            p = replace(p, fragment="later" if later else "first", datagram=span.number(4, 4))
        following, span = span.number(0, 1), span.after(max(8, size))
    return of_transport(replace(p, protocol=following), span)


def of_transport(p: Packet, span: Span) -> Packet:
    if p.fragment == "later":
        return replace(p, size=span.wire)
    if p.protocol == TCP:
        span.need(20)
        head = (span.number(12, 1) >> 4) * 4
        if head < 20 or head > span.wire:
            raise Short
        return replace(
            p, src_port=span.number(0, 2), dst_port=span.number(2, 2), sequence=span.number(4, 4), flags=span.number(13, 1),
            window=span.number(14, 2), size=span.wire - head, payload=span.after(head).data,
        )  # fmt: skip
    if p.protocol == UDP:
        span.need(8)
        size = span.number(4, 2) or span.wire
        if size < 8 or (size > span.wire and not p.fragment):
            raise Short
        size = min(size, span.wire)
        p = replace(
            p, src_port=span.number(0, 2), dst_port=span.number(2, 2), size=size - 8, payload=span.data[8:size]
        )  # fmt: skip
        return inside(p, span.after(8))
    if p.protocol in (ICMP, ICMP6):
        return of_icmp(p, span)
    if p.protocol == SCTP:
        span.need(12)
        return replace(p, src_port=span.number(0, 2), dst_port=span.number(2, 2), size=span.wire - 12)
    return inside(replace(p, size=span.wire), span)


def of_icmp(p: Packet, span: Span) -> Packet:
    span.need(4)
    kind = span.number(0, 1)
    error = kind in (3, 11, 12) if p.protocol == ICMP else kind < 128
    return replace(
        p, kind=kind, code=span.number(1, 1), identifier=identifier_of(p.protocol, kind, span), size=max(0, span.wire - 8),
        quoted=quoted_by(span.data[8:]) if error else None,
    )  # fmt: skip


def identifier_of(protocol: int, kind: int, span: Span) -> int:
    has = kind in (0, 8, *range(13, 19)) if protocol == ICMP else kind in (128, 129)
    return span.number(4, 2) if has else 0


def quoted_by(data: bytes) -> tuple[Any, ...] | None:
    """The conversation of the packet that an error carries the beginning of."""
    span = Span(data, len(data))
    version = span.number(0, 1) >> 4
    if version == 4 and len(data) >= 20:
        head, protocol, ends = (span.number(0, 1) & 15) * 4, span.number(9, 1), (data[12:16], data[16:20])
        if head < 20 or span.number(6, 2) & 0x1FFF:
            return None
    elif version == 6 and len(data) >= 40:
        head, protocol, ends = 40, span.number(6, 1), (data[8:24], data[24:40])
        if protocol in EXTENSIONS:
            return None
    else:
        return None
    src, dst = (str(ip_address(end)) for end in ends)
    rest, ports = span.after(head), (0, 0)
    if protocol in (TCP, UDP, SCTP):
        ports = rest.number(0, 2), rest.number(2, 2)
    elif protocol in (ICMP, ICMP6):
        ports = identifier_of(protocol, rest.number(0, 1), rest), rest.number(0, 1)
    return conversation(protocol, src, dst, *ports)


def inside(p: Packet, span: Span) -> Packet:
    """What the packet carries, where that is a packet which can be read; else itself."""
    vxlan = p.protocol == UDP and p.dst_port in (4789, 8472)
    gtp = p.protocol == UDP and not vxlan and 2152 in (p.src_port, p.dst_port)
    if not (vxlan or gtp or p.protocol in (IPV4, IPV6, GRE)) or p.depth == MOST_TUNNELS or p.fragment:
        return p
    inner = Packet(time=p.time, vlan=p.vlan, src_mac=p.src_mac, dst_mac=p.dst_mac, depth=p.depth + 1)
    try:
        if vxlan:
            span.need(8)
            if not span.number(0, 1) & 8:
                return p
            return of_ethernet(replace(inner, tunnel="vxlan", tunnel_id=span.number(4, 3)), span.after(8))
        if gtp:
            return of_ip(replace(inner, tunnel="gtp-u"), inside_gtp(span))
        if p.protocol == GRE:
            return of_gre(replace(inner, tunnel="gre"), span)
        number = 4 if p.protocol == IPV4 else 6
        return of_ip(replace(inner, tunnel=f"{number}in{p.family}"), span, number)
    except Short:
        return p


def inside_gtp(span: Span) -> Span:
    span.need(8)
    flags = span.number(0, 1)
    if flags >> 4 != 3 or span.number(1, 1) != 255:
        raise Short
    if not flags & 7:
        return span.after(8)
    following, at = span.number(11, 1) if flags & 4 else 0, 12
    while following and at < len(span.data):
        size = span.number(at, 1) * 4
        if not size:
            raise Short
        following, at = span.number(at + size - 1, 1), at + size
    return span.after(at)


def of_gre(p: Packet, span: Span) -> Packet:
    span.need(4)
    flags, kind = span.number(0, 2), span.number(2, 2)
    if flags & 7 > 1:
        raise Short
    head = 4 + 4 * (
        bool(flags & 0xC000)
        + bool(flags & 0x2000)
        + bool(flags & 0x1000)
        + bool(flags & 7 == 1 and flags & 0x80)
    )
    return of_ppp(p, span.after(head)) if kind == 0x880B else of_network(p, kind, span.after(head))

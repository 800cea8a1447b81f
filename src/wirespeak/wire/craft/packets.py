"""Frames byte by byte: Ethernet II, ARP (RFC 826), IPv4 (RFC 791), TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792).

Checksums are always right. IPv6 is not written yet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

BROADCAST_MAC = b"\xff" * 6
FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_ARP, _IPV4 = 0x0806, 0x0800
_NUMBER = {"icmp": 1, "tcp": 6, "udp": 17}


@dataclass(frozen=True)
class End:
    """One end of the wire: its link-layer address, IPv4 address and time to live as seen on this link."""

    mac: bytes
    address: str
    ttl: int = 64


def group_mac(address: str) -> bytes:
    """The Ethernet address of an IPv4 multicast group or broadcast (RFC 1112, section 6.4)."""
    number = int(IPv4Address(address))
    if number >> 28 != 0xE:
        return BROADCAST_MAC
    return b"\x01\x00\x5e" + (number & 0x7FFFFF).to_bytes(3, "big")


def arp(sender: End, target: End, *, reply: bool) -> bytes:
    """A question of the whole link for the target's MAC, or the answer to the target."""
    to = target.mac if reply else BROADCAST_MAC
    message = struct.pack("!HHBBH", 1, _IPV4, 6, 4, 2 if reply else 1)
    message += sender.mac + IPv4Address(sender.address).packed
    message += (target.mac if reply else bytes(6)) + IPv4Address(target.address).packed
    return to + sender.mac + struct.pack("!H", _ARP) + message


def udp(
    source: End, target: End, source_port: int, target_port: int, payload: bytes, *, identifier: int
) -> bytes:
    """One datagram in one frame; the payload must fit it."""
    head = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0)
    total = _checksum(_pseudo(source, target, "udp", len(head) + len(payload)) + head + payload)
    datagram = head[:6] + struct.pack("!H", total or 0xFFFF) + payload
    return _ip(source, target, "udp", datagram, identifier)


def tcp(
    source: End, target: End, source_port: int, target_port: int, payload: bytes = b"", *,
    sequence: int, acknowledged: int, flags: int, window: int, options: bytes = b"", identifier: int = 0,
) -> bytes:  # fmt: skip
    """One segment. Options come padded to a multiple of four bytes."""
    head = struct.pack(
        "!HHIIBBHHH", source_port, target_port, sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF,
        (20 + len(options)) // 4 << 4, flags, window, 0, 0,
    ) + options  # fmt: skip
    total = _checksum(_pseudo(source, target, "tcp", len(head) + len(payload)) + head + payload)
    return _ip(source, target, "tcp", head[:16] + struct.pack("!H", total) + head[18:] + payload, identifier)


def icmp(
    source: End, target: End, kind: int, code: int, rest: bytes, payload: bytes, *, identifier: int
) -> bytes:
    """One ICMP message; `rest` are bytes 4 to 7 of its header."""
    message = struct.pack("!BBH", kind, code, 0) + rest + payload
    return _ip(
        source, target, "icmp", message[:2] + struct.pack("!H", _checksum(message)) + message[4:], identifier
    )


def _ip(source: End, target: End, protocol: str, payload: bytes, identifier: int) -> bytes:
    length = 20 + len(payload)
    head = struct.pack(
        "!BBHHHBBH", 0x45, 0, length, identifier & 0xFFFF, 0x4000, source.ttl, _NUMBER[protocol], 0
    )
    head += IPv4Address(source.address).packed + IPv4Address(target.address).packed
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return target.mac + source.mac + struct.pack("!H", _IPV4) + head + payload


def _pseudo(source: End, target: End, protocol: str, length: int) -> bytes:
    addresses = IPv4Address(source.address).packed + IPv4Address(target.address).packed
    return addresses + struct.pack("!BBH", 0, _NUMBER[protocol], length)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words, complemented.

    Reading the data as one number and taking it modulo 65535 is the same sum.
    """
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF
    return ~total & 0xFFFF if total or not any(data) else 0

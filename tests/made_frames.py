"""Frames written by hand: what the tests of wire and flow are fed."""

from __future__ import annotations

import struct
from ipaddress import ip_address

SYN, ACK, FIN, RST, PSH = 2, 16, 1, 4, 8


def mac(number: int) -> bytes:
    """A unicast, locally administered MAC address."""
    return bytes([2, 0, 0, 0, number >> 8, number & 255])


def ethernet(
    payload: bytes,
    *,
    kind: int = 0x0800,
    src: bytes = mac(1),
    dst: bytes = mac(2),
    tags: tuple[int, ...] = (),
) -> bytes:
    """An Ethernet frame; each of `tags` is an 802.1Q tag."""
    return (
        dst
        + src
        + b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags)
        + struct.pack("!H", kind)
        + payload
    )


def ip(src: str, dst: str, protocol: int, payload: bytes, *, fragment: int = 0) -> bytes:
    """An IPv4 or IPv6 packet, by its addresses. Checksums are left at zero: nobody here checks them."""
    source, target = ip_address(src), ip_address(dst)
    if source.version == 6:
        return (
            struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
            + source.packed
            + target.packed
            + payload
        )
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, fragment, 64, protocol, 0)
    return head + source.packed + target.packed + payload


def tcp(src_port: int, dst_port: int, flags: int, payload: bytes = b"", *, sequence: int = 0) -> bytes:
    return struct.pack("!HHIIBBHHH", src_port, dst_port, sequence, 0, 0x50, flags, 8192, 0, 0) + payload


def udp(src_port: int, dst_port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def sctp(src_port: int, dst_port: int, chunks: bytes = b"") -> bytes:
    """With its checksum, CRC32c as RFC 9260 says."""
    head = struct.pack("!HHI", src_port, dst_port, 0x1234)
    crc = 0xFFFFFFFF
    for byte in head + bytes(4) + chunks:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return head + struct.pack("<I", crc ^ 0xFFFFFFFF) + chunks


def icmp(kind: int, code: int = 0, identifier: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, identifier, 0) + payload


def arp(operation: int, sender: str, sender_mac: bytes, target: str, target_mac: bytes = bytes(6)) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + sender_mac + ip_address(sender).packed + target_mac + ip_address(target).packed

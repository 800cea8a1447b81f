"""Small answers over UDP: DNS, NTP and STUN servers, and the DNS wire format they share with the clients.

Formats: DNS RFC 1035, NTP RFC 5905, STUN RFC 5389.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from random import Random

from wirespeak.lab.world import CLOUD6, World

NTP_EPOCH = 2_208_988_800  # 1900 to 1970, seconds


def encode_name(name: str) -> bytes:
    """A DNS name as length-prefixed labels."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def decode_name(message: bytes, offset: int) -> tuple[str, int]:
    """The uncompressed name at `offset` and the offset after it. Raises IndexError or ValueError when cut."""
    labels = []
    while message[offset]:
        size = message[offset]
        labels.append(message[offset + 1 : offset + 1 + size].decode("ascii"))
        offset += 1 + size
    return ".".join(labels), offset + 1


def query(name: str, kind: int, identity: int) -> bytes:
    """A DNS question: kind 1 asks for IPv4, 28 for IPv6 addresses."""
    return (
        struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", kind, 1)
    )


def answers(message: bytes) -> list[str]:
    """The IPv4 addresses in an answer of our own server (names there are pointers or uncompressed)."""
    count, (_, offset) = struct.unpack(">H", message[6:8])[0], decode_name(message, 12)
    offset += 4
    found = []
    for _ in range(count):
        offset = offset + 2 if message[offset] & 0xC0 else decode_name(message, offset)[1]
        kind, _, _, size = struct.unpack(">HHIH", message[offset : offset + 10])
        offset += 10
        if kind == 1:
            found.append(socket.inet_ntoa(message[offset : offset + 4]))
        offset += size
    return found


class Resolver(asyncio.DatagramProtocol):
    """Answers from the world's zone: addresses, an alias now and then, NXDOMAIN, or nothing at all."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random = world, random

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer one question after a moment."""
        try:
            name, offset = decode_name(data, 12)
            kind = struct.unpack(">H", data[offset : offset + 2])[0]
        except (IndexError, ValueError, struct.error):
            return
        if name in self.world.silent:
            return
        answer = self._answer(data, name, kind, offset + 4)
        delay = (
            self.random.uniform(0.001, 0.03) if self.random.random() < 0.9 else self.random.uniform(0.1, 0.6)
        )
        asyncio.get_running_loop().call_later(delay, self.transport.sendto, answer, peer)  # type: ignore[attr-defined]

    def _answer(self, data: bytes, name: str, kind: int, end: int) -> bytes:
        addresses = self.world.zone.get(name)
        if addresses is None:
            return data[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + data[12:end]
        records, owner = [], b"\xc0\x0c"
        if Random(name).random() < 0.3:
            alias = encode_name(f"edge-{len(name)}.{name}")
            records.append(owner + struct.pack(">HHIH", 5, 1, 300, len(alias)) + alias)
            owner = alias
        if kind == 1:
            records += [
                owner + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address) for address in addresses
            ]
        elif kind == 28 and Random(name).random() < 0.3:
            records.append(owner + struct.pack(">HHIH", 28, 1, 60, 16) + CLOUD6[16].packed)
        return (
            data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0) + data[12:end] + b"".join(records)
        )


class TimeServer(asyncio.DatagramProtocol):
    """NTP, mode 4."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer with this machine's clock."""
        if len(data) < 48:
            return
        now = time.time() + NTP_EPOCH
        stamp = struct.pack(">II", int(now), int(now % 1 * 2**32))
        head = struct.pack(">BBbbII4s", 0x24, 2, 6, -20, 300, 400, b"\xc0\x00\x02\x01")
        self.transport.sendto(head + stamp + data[40:48] + stamp + stamp, peer)  # type: ignore[attr-defined]


class MirrorServer(asyncio.DatagramProtocol):
    """STUN: tells a client the address it is seen at. SNMP gets its question back, all else a short answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer a binding request."""
        if data[4:8] == b"\x21\x12\xa4\x42" and len(data) >= 20:
            port = peer[1] ^ 0x2112
            address = int.from_bytes(socket.inet_aton(peer[0]), "big") ^ 0x2112A442
            body = struct.pack(">HHBBHI", 0x0020, 8, 0, 1, port, address)
            self.transport.sendto(struct.pack(">HH", 0x0101, len(body)) + data[4:20] + body, peer)  # type: ignore[attr-defined]
        elif data[:1] == b"\x30":  # an SNMP GetRequest becomes a GetResponse
            self.transport.sendto(data.replace(b"\xa0", b"\xa2", 1), peer)  # type: ignore[attr-defined]
        else:
            self.transport.sendto(data[:16], peer)  # type: ignore[attr-defined]


class ReadingServer(asyncio.DatagramProtocol):
    """A controller's readings: a few bytes of state for every question."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._size = random.randint(16, 900)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer, mostly at one length."""
        size = self._size if self._random.random() < 0.9 else self._random.randint(8, 1200)
        self.transport.sendto(data[:4] + self._random.randbytes(size), peer)  # type: ignore[attr-defined]

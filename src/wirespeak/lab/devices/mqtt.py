"""A small MQTT 3.1.1 client (OASIS MQTT 3.1.1): enough for devices, and for floods of connects and publishes."""

from __future__ import annotations

import asyncio
import struct
from ssl import SSLContext

from wirespeak.lab.devices.device import PATIENCE_S


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def _packet(head: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([head]) + length + body


class MqttClient:
    """One connection to a broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._identity = 0
        self._answered: dict[int, asyncio.Event] = {}

    @classmethod
    async def connect(
        cls, address: str, port: int, client: str, *, user: str = "", password: str = "", keepalive_s: int = 60,
        clean: bool = True, will: str = "", ssl: SSLContext | None = None,
    ) -> tuple[MqttClient, int]:  # fmt: skip
        """Connect and log in. Returns the client and the broker's return code: 0 welcome, 5 refused."""
        opened = asyncio.open_connection(address, port, ssl=ssl)
        self = cls(*await asyncio.wait_for(opened, PATIENCE_S))
        flags = (0x02 if clean else 0) | (0x04 if will else 0) | (0xC0 if user else 0)
        body = _text("MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive_s) + _text(client)
        body += (_text(will) + _text("offline") if will else b"") + (
            _text(user) + _text(password) if user else b""
        )
        try:
            self.writer.write(_packet(0x10, body))
            _, answer = await asyncio.wait_for(self._read(), PATIENCE_S)
        except BaseException:
            self.writer.close()
            raise
        return self, answer[1]

    async def publish(self, topic: str, message: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish; with QoS 1 or 2 the answers are handled by `listen`."""
        identity = b""
        if qos:
            self._identity = self._identity % 65535 + 1
            identity = struct.pack(">H", self._identity)
        self.writer.write(_packet(0x30 | qos << 1 | retain, _text(topic) + identity + message))
        await self.writer.drain()

    async def subscribe(self, *topics: str, qos: int = 0) -> None:
        """Ask for topics."""
        self._identity = self._identity % 65535 + 1
        body = struct.pack(">H", self._identity) + b"".join(_text(topic) + bytes([qos]) for topic in topics)
        self.writer.write(_packet(0x82, body))
        await self.writer.drain()

    async def ping(self) -> None:
        """PINGREQ."""
        self.writer.write(_packet(0xC0, b""))
        await self.writer.drain()

    async def listen(self) -> None:
        """Take what the broker sends until it closes, acknowledging what asks for it. Raises EOFError then."""
        while True:
            head, body = await self._read()
            kind, qos = head >> 4, head >> 1 & 3
            if kind == 3 and qos:
                size = struct.unpack(">H", body[:2])[0]
                self.writer.write(_packet(0x40 if qos == 1 else 0x50, body[2 + size : 4 + size]))
            elif kind == 5:
                self.writer.write(_packet(0x62, body))
            elif kind == 6:
                self.writer.write(_packet(0x70, body))

    async def close(self, *, politely: bool = True) -> None:
        """DISCONNECT, or just go."""
        if politely:
            self.writer.write(_packet(0xE0, b""))
        self.writer.close()

    async def _read(self) -> tuple[int, bytes]:
        head = (await self.reader.readexactly(1))[0]
        size, shift = 0, 0
        while True:
            digit = (await self.reader.readexactly(1))[0]
            size |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                return head, await self.reader.readexactly(size)

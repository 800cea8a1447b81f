"""TLS 1.3 (RFC 8446) as it looks from outside: hellos in clear, everything after as encrypted records."""

from __future__ import annotations

import struct
from random import Random

from wirespeak.wire.craft.scene import Scene

_CHANGE_CIPHER = b"\x14\x03\x03\x00\x01\x01"
_ALERT_SIZE = 7
_RECORD_HEAD, _LEAST_SECRET, _MOST_SECRET = 5, 17, 16640
_SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8)


def tls(scene: Scene) -> list[bytes]:
    """Client hello, server hello, then records nobody but the two can read.

    Consecutive turns of one side should come joined. A first answer of seven bytes is a refusal (an alert).
    """
    session = scene.random.randbytes(32)
    said: list[bytes] = []
    spoken = {True: 0, False: 0}
    for turn in scene.turns:
        first = spoken[turn.from_client] == 0
        spoken[turn.from_client] += 1
        if first and turn.from_client:
            said.append(_client_hello(turn.size, scene.server_name, session, scene.random))
        elif turn.size <= _ALERT_SIZE:
            said.append(b"\x15\x03\x03\x00\x02\x02\x28")
        elif first:
            hello = _server_hello(session, scene.random) + _CHANGE_CIPHER
            said.append(hello + _secret(turn.size - len(hello), scene.random))
        elif (
            turn.from_client
            and spoken[True] == 2
            and turn.size >= len(_CHANGE_CIPHER) + _RECORD_HEAD + _LEAST_SECRET
        ):
            said.append(_CHANGE_CIPHER + _secret(turn.size - len(_CHANGE_CIPHER), scene.random))
        else:
            said.append(_secret(turn.size, scene.random))
    return said


def _client_hello(size: int, name: str, session: bytes, random: Random) -> bytes:
    """Filled to `size` with the padding extension (RFC 7685)."""
    host = name.encode()
    key = random.randbytes(32)
    extensions = (
        _extension(0, struct.pack("!HBH", len(host) + 3, 0, len(host)) + host)
        + _extension(10, b"\0\4\0\x1d\0\x17")
        + _extension(13, b"\0\x08\x04\x03\x08\x04\x04\x01\x05\x03")
        + _extension(43, b"\x02\x03\x04")
        + _extension(51, struct.pack("!HHH", 36, 0x1D, 32) + key)
    )
    suites = struct.pack(f"!{len(_SUITES)}H", *_SUITES)
    body = (
        b"\x03\x03"
        + random.randbytes(32)
        + b"\x20"
        + session
        + struct.pack("!H", len(suites))
        + suites
        + b"\1\0"
    )
    room = size - _RECORD_HEAD - 4 - len(body) - 2 - len(extensions)
    if room >= 4:
        extensions += _extension(21, bytes(room - 4))
    return _handshake(1, body + struct.pack("!H", len(extensions)) + extensions, version=0x0301)


def _server_hello(session: bytes, random: Random) -> bytes:
    extensions = _extension(43, b"\x03\x04") + _extension(
        51, struct.pack("!HH", 0x1D, 32) + random.randbytes(32)
    )
    body = b"\x03\x03" + random.randbytes(32) + b"\x20" + session + b"\x13\x01\0"
    return _handshake(2, body + struct.pack("!H", len(extensions)) + extensions, version=0x0303)


def _handshake(kind: int, body: bytes, *, version: int) -> bytes:
    message = bytes([kind]) + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", 22, version, len(message)) + message


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!HH", kind, len(data)) + data


def _secret(size: int, random: Random) -> bytes:
    """Records of encrypted data, `size` bytes in all and at least one record of 22."""
    records = []
    while size > 0:
        room = min(size, _RECORD_HEAD + _MOST_SECRET)
        left = size - room
        if 0 < left < _RECORD_HEAD + _LEAST_SECRET:
            room -= _RECORD_HEAD + _LEAST_SECRET
        length = max(_LEAST_SECRET, room - _RECORD_HEAD)
        records.append(struct.pack("!BHH", 23, 0x0303, length) + random.randbytes(length))
        size -= room
    return b"".join(records)

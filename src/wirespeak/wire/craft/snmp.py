"""SNMP version 2c (RFC 3416): reads of one value, filled through the community and the value."""

from __future__ import annotations

from wirespeak.wire.craft.scene import Scene, letters

_GET, _RESPONSE = 0xA0, 0xA2
_NAME = bytes.fromhex("06082b06010201010300")  # sysUpTime's instance, 1.3.6.1.2.1.1.3.0
_NULL = b"\x05\x00"


def snmp(scene: Scene) -> list[bytes]:
    """Requests, each answered under its own identifier."""
    said, number = [], 0
    for turn in scene.turns:
        number += turn.from_client or number == 0
        said.append(_fitted(turn.from_client, turn.size, number, letters(1500, scene.random)))
    return said


def _fitted(asks: bool, size: int, number: int, text: str) -> bytes:
    """The message nearest to `size` from below, but the shortest there is."""
    for filling in range(max(0, size - 60), max(1, size)):
        message = _message(asks, number, text[: filling + 1])
        if len(message) >= size:
            return message
    return _message(asks, number, text[:1])


def _message(asks: bool, number: int, text: str) -> bytes:
    community, value = (text, _NULL) if asks else ("public", _tagged(0x04, text.encode()))
    binding = _tagged(0x30, _tagged(0x30, _NAME + value))
    body = _tagged(0x02, number.to_bytes(2, "big")) + b"\x02\x01\x00" * 2 + binding
    return _tagged(
        0x30, b"\x02\x01\x01" + _tagged(0x04, community.encode()) + _tagged(_GET if asks else _RESPONSE, body)
    )


def _tagged(tag: int, data: bytes) -> bytes:
    """Tag, length, value by the basic encoding rules (X.690)."""
    size = len(data)
    length = (
        bytes([size])
        if size < 128
        else b"\x81" + bytes([size])
        if size < 256
        else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + data

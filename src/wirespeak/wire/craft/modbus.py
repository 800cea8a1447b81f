"""Modbus over TCP (Modbus Application Protocol 1.1b3)."""

from __future__ import annotations

import struct

from wirespeak.wire.craft.scene import Scene

_HEAD = 9  # MBAP header, function, byte count of an answer
_READ_COILS, _READ_REGISTERS, _WRITE_REGISTERS = 1, 3, 16
_READ_SIZE, _WRITE_HEAD, _MOST_DATA = 12, 13, 246


def modbus(scene: Scene) -> list[bytes]:
    """Reads of as many registers as the answer holds, writes where the request is long; nine bytes back are an error."""
    said: list[bytes] = []
    function = _READ_REGISTERS
    for number, turn in enumerate(scene.turns):
        transaction = sum(t.from_client for t in scene.turns[: number + 1])
        if turn.from_client:
            following = scene.turns[number + 1 :][:1]
            answer = following[0].size if following and not following[0].from_client else _HEAD + 2
            function, body = _request(turn.size, answer, scene)
        else:
            body = _answer(turn.size, function, scene)
        said.append(struct.pack("!HHHB", transaction & 0xFFFF, 0, len(body) + 1, 1) + body)
    return said


def _request(size: int, answer: int, scene: Scene) -> tuple[int, bytes]:
    start = scene.random.randrange(100)
    if size > _READ_SIZE:
        registers = max(1, min((size - _WRITE_HEAD) // 2, _MOST_DATA // 2))
        values = scene.random.randbytes(2 * registers)
        return _WRITE_REGISTERS, struct.pack(
            "!BHHB", _WRITE_REGISTERS, start, registers, 2 * registers
        ) + values
    data = max(1, answer - _HEAD)
    if data % 2:
        return _READ_COILS, struct.pack("!BHH", _READ_COILS, start, min(data, _MOST_DATA) * 8)
    return _READ_REGISTERS, struct.pack("!BHH", _READ_REGISTERS, start, min(data, _MOST_DATA) // 2)


def _answer(size: int, function: int, scene: Scene) -> bytes:
    if size <= _HEAD:
        return bytes([function | 0x80, 2])
    if function == _WRITE_REGISTERS:
        return struct.pack("!BHH", function, 0, 1)
    data = min(size - _HEAD, _MOST_DATA)
    return bytes([function, data]) + scene.random.randbytes(data)

"""MQTT 3.1.1 (OASIS standard, 2014): both sides of a conversation, each message of the size asked for."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from wirespeak.wire.craft.scene import Scene, letters, reading

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 0x10, 0x20, 0x30, 0x40, 0x50, 0x62, 0x70
_SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = 0x82, 0x90, 0xC0, 0xD0, 0xE0
_NOT_AUTHORISED = 5
_LEAST = {
    _CONNECT: 14,
    _PUBLISH: 5,
    _SUBSCRIBE: 8,
}  # bytes with an empty client identifier, a topic of one letter
_LEAST_ANSWERED = 8  # a PUBLISH that carries an identifier, or a SUBSCRIBE


@dataclass
class _Packet:
    kind: int
    identifier: int = 0
    quality: int = 0
    answers: _Packet | None = None


def mqtt(scene: Scene) -> list[bytes]:
    """The messages of a conversation in which the client connects first.

    What a message is follows from its direction, its size and what was said before: two bytes are a ping,
    four an acknowledgement, and what is acknowledged is then written so that it asks for it.
    """
    topic = f"home/{letters(6, scene.random)}/state"
    plan = _plan(scene)
    # A broker that hangs up right after its first word has refused the login.
    code = _NOT_AUTHORISED if len(plan) == 2 and scene.end in ("closed", "aborted") else 0
    return [
        _encode(packet, turn.size, topic, code, scene.random)
        for packet, turn in zip(plan, scene.turns, strict=True)
    ]


def _plan(scene: Scene) -> list[_Packet]:
    packets: list[_Packet] = []
    unanswered: dict[bool, list[_Packet]] = {True: [], False: []}
    for number, turn in enumerate(scene.turns):
        taking_leave = scene.end == "close" and number == len(scene.turns) - 1
        packet = _next(packets, turn.from_client, turn.size, unanswered[not turn.from_client], taking_leave)
        if packet.kind == _PUBLISH:
            packet.identifier = number % 65535 + 1
            if turn.size >= _LEAST_ANSWERED:
                unanswered[turn.from_client].append(packet)
        packets.append(packet)
    return packets


def _next(
    before: list[_Packet], from_client: bool, size: int, theirs: list[_Packet], taking_leave: bool
) -> _Packet:
    """The packet that comes after `before`. `theirs`: what the other side sent and nobody answered."""
    if from_client and not before:
        return _Packet(_CONNECT)
    if not from_client and all(packet.kind != _CONNACK for packet in before):
        return _Packet(_CONNACK)
    if size <= 2:
        return _Packet((_DISCONNECT if taking_leave else _PINGREQ) if from_client else _PINGRESP)
    last = before[-1]
    if size == 4 and last.kind == _PUBREL and last.answers:
        return _acknowledge(last.answers, _PUBCOMP, quality=2)
    if size == 4 and theirs:
        return _acknowledge(theirs.pop(), _PUBACK, quality=1)
    if size == 4 and last.kind == _PUBACK and last.answers:
        last.kind = _PUBREC
        return _acknowledge(last.answers, _PUBREL, quality=2)
    if size == 5 and theirs and not from_client:
        theirs[-1].kind = _SUBSCRIBE
        return _acknowledge(theirs.pop(), _SUBACK, quality=0)
    return _Packet(_PUBLISH)


def _acknowledge(packet: _Packet, kind: int, *, quality: int) -> _Packet:
    packet.quality = quality
    return _Packet(kind, packet.identifier, answers=packet)


def _encode(packet: _Packet, size: int, topic: str, code: int, random: Random) -> bytes:
    identifier = packet.identifier.to_bytes(2, "big")
    room = _remaining(max(size, _LEAST.get(packet.kind, 2)))
    match packet.kind:
        case 0x10:  # CONNECT
            body = _connect(room, random)
        case 0x20:  # CONNACK
            body = bytes([0, code])
        case 0x30:  # PUBLISH
            extra = identifier if packet.quality else b""
            name = topic[: max(1, (room - len(extra) - 2) // 2)]
            body = _text(name) + extra
            body += reading(room - len(body), random)
        case 0x82:  # SUBSCRIBE, one filter of any length
            name = (topic + "/" + letters(max(0, room - 6 - len(topic)), random))[: room - 5]
            body = identifier + _text(name) + b"\1"
        case 0x90:  # SUBACK, quality 1 granted
            body = identifier + b"\1"
        case 0xC0 | 0xD0 | 0xE0:
            body = b""
        case _:
            body = identifier
    first = packet.kind | packet.quality << 1 if packet.kind == _PUBLISH else packet.kind
    return bytes([first]) + _length(len(body)) + body


def _connect(room: int, random: Random) -> bytes:
    """Version 4, clean session, keepalive 60 s; then an identifier, a name and a password share the room."""
    room -= 12
    if room < 12:
        return b"\0\4MQTT\4\2\0\x3c" + _text(letters(room, random))
    room -= 4
    parts = (room - 2 * (room // 3), room // 3, room // 3)
    return b"\0\4MQTT\4\xc2\0\x3c" + b"".join(_text(letters(part, random)) for part in parts)


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _remaining(size: int) -> int:
    """The remaining length of a packet of `size` bytes; 130, 16387, ... cannot be had and lose a byte."""
    return next(size - 1 - width for width in (1, 2, 3, 4) if len(_length(size - 1 - width)) <= width)


def _length(value: int) -> bytes:
    """A remaining length, seven bits a byte, least significant first (section 2.2.3)."""
    encoded = bytearray()
    while True:
        value, low = divmod(value, 128)
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)

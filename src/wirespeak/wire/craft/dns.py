"""DNS (RFC 1035) and multicast DNS (RFC 6762): questions and answers of invented names, of the size asked for."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from random import Random

from wirespeak.wire.craft.scene import Scene, letters

_HEADER, _QUESTION_TAIL = 12, 4
_TO_QUESTION = b"\xc0\x0c"  # a pointer to the name at byte 12
_LEAST_ANNOUNCEMENT = 80
_ADDRESS_RECORD, _OPTION_RECORD, _OPTION_HEAD = 16, 11, 4
_DOMAINS = (("example", "com"), ("example", "net"), ("home", "arpa"))


def dns(scene: Scene) -> list[bytes]:
    """Each question under a new identifier; an answer repeats the question before it."""
    said: list[bytes] = []
    asked = b""
    for turn in scene.turns:
        if turn.from_client or not asked:
            size = turn.size if turn.from_client else 40
            asked = _question(size, scene.random)
        if turn.from_client:
            identifier = scene.random.randrange(65536)
            said.append(struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + asked)
        else:
            identifier = int.from_bytes(said[-1][:2], "big") if said else 0
            said.append(_answer(turn.size, identifier, 0x8180, asked, scene))
    return said


def mdns(scene: Scene) -> list[bytes]:
    """A question, or where it is too long for one name, an announcement of one's address."""
    return [_announcement(turn.size, scene) for turn in scene.turns]


def _announcement(size: int, scene: Scene) -> bytes:
    random = scene.random
    if size < _LEAST_ANNOUNCEMENT:
        return struct.pack("!6H", 0, 0, 1, 0, 0, 0) + _question(size, random, domain=("local",))
    fixed = _HEADER + 10 + 4
    name = _name(min(40, size - fixed), random, ("local",))
    record = name + struct.pack("!HHIH", 1, 0x8001, 120, 4) + IPv4Address(scene.client).packed
    room = size - _HEADER - len(record)
    if room < 13:
        return struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + record
    text = _strings(room - 12, random)
    record += _TO_QUESTION + struct.pack("!HHIH", 16, 0x8001, 4500, len(text)) + text
    return struct.pack("!6H", 0, 0x8400, 0, 2, 0, 0) + record


def _question(size: int, random: Random, domain: tuple[str, ...] | None = None) -> bytes:
    return _name(size - _HEADER - _QUESTION_TAIL, random, domain) + b"\0\1\0\1"


def _name(size: int, random: Random, domain: tuple[str, ...] | None = None) -> bytes:
    """A name of `size` bytes on the wire, as near to it as names allow (8 to 255)."""
    ends = domain or (("test",) if size < 15 else random.choice(_DOMAINS))
    tail = b"".join(bytes([len(label)]) + label.encode() for label in ends) + b"\0"
    room = max(2, min(size, 255) - len(tail))
    labels = b""
    while room:
        # A label takes a byte for its length; never leave a rest of one byte, which no label fits.
        length = min(room - 1, 63 if room != 65 else 62, 12 + random.randrange(8))
        if room - 1 - length == 1:
            length -= 1
        labels += bytes([length]) + letters(length, random).encode()
        room -= 1 + length
    return labels + tail


def _answer(size: int, identifier: int, flags: int, question: bytes, scene: Scene) -> bytes:
    """Address records, then one EDNS padding option (RFC 7830) for what is left; no record at all is no such name."""
    room = size - _HEADER - len(question)
    count = max(0, room // _ADDRESS_RECORD)
    rest = room - count * _ADDRESS_RECORD if count else 0
    if rest and count and rest != _OPTION_RECORD and rest < _OPTION_RECORD + _OPTION_HEAD:
        count, rest = count - 1, rest + _ADDRESS_RECORD
    if not count and room == _OPTION_RECORD:
        rest = room
    first = int(IPv4Address(scene.points_to))
    records = b"".join(
        _TO_QUESTION + struct.pack("!HHIH", 1, 1, 300, 4) + IPv4Address(first + number).packed
        for number in range(count)
    )
    if rest:
        padding = rest - _OPTION_RECORD
        option = (
            struct.pack("!HH", 12, padding - _OPTION_HEAD) + bytes(padding - _OPTION_HEAD) if padding else b""
        )
        records += b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(option)) + option
    code = flags if count or rest else flags | 3
    return struct.pack("!6H", identifier, code, 1, count, 0, 1 if rest else 0) + question + records


def _strings(size: int, random: Random) -> bytes:
    """TXT data of `size` bytes: strings of at most 255 bytes, each behind its length."""
    data = b""
    while size:
        length = min(size, 200) - 1
        data += bytes([length]) + letters(length, random).encode()
        size -= length + 1
    return data

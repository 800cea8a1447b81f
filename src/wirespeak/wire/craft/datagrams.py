"""Small protocols over UDP: DHCP (RFC 2131), NTP (RFC 5905), STUN (RFC 8489), syslog (RFC 5424), and none at all."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from wirespeak.wire.craft.scene import Scene, letters, opaque, reading

_NTP_ERA_S = 2_208_988_800  # from 1900 to 1970
_LONGEST_READING = 400
_COOKIE = 0x2112A442
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5


def plain(scene: Scene) -> list[bytes]:
    """Short messages as readings in JSON, which no dissector takes for something broken; long ones as noise."""
    return [
        reading(turn.size, scene.random) if turn.size <= _LONGEST_READING else opaque(turn.size, scene.random)
        for turn in scene.turns
    ]


def ntp(scene: Scene) -> list[bytes]:
    """48 bytes either way, whatever was asked for: version 4 has no other size without extensions."""
    said = []
    now = int(scene.unix_s) + _NTP_ERA_S
    for number, turn in enumerate(scene.turns):
        stamp = struct.pack("!II", now & 0xFFFFFFFF, scene.random.getrandbits(32))
        if turn.from_client:
            said.append(b"\x23" + bytes(39) + stamp)
        else:
            asked = said[number - 1][40:48] if number else bytes(8)
            head = struct.pack("!BBBbII4s", 0x24, 2, 6, -20, 0x100, 0x200, IPv4Address("192.0.2.1").packed)
            said.append(head + stamp + asked + stamp + stamp)
    return said


def dhcp(scene: Scene) -> list[bytes]:
    """Discover, offer, request, acknowledgement; a pair alone renews a lease."""
    transaction = scene.random.getrandbits(32)
    answers = sum(not turn.from_client for turn in scene.turns)
    said, answered = [], 0
    for turn in scene.turns:
        joining = answers != 1 and answered == 0
        kind = (_DISCOVER if joining else _REQUEST) if turn.from_client else (_OFFER if joining else _ACK)
        answered += not turn.from_client
        said.append(_dhcp_message(kind, turn.size, transaction, scene))
    return said


def _dhcp_message(kind: int, size: int, transaction: int, scene: Scene) -> bytes:
    """Filled to `size` with pad options behind the end option."""
    asks = kind in (_DISCOVER, _REQUEST)
    given = IPv4Address(0 if asks else int(IPv4Address(scene.client))).packed
    server = IPv4Address(scene.server).packed
    head = struct.pack("!BBBBIHH", 1 if asks else 2, 1, 6, 0, transaction, 0, 0)
    head += bytes(4) + given + (bytes(4) if asks else server) + bytes(4)
    head += scene.client_mac + bytes(10) + bytes(192) + b"\x63\x82\x53\x63"
    options = bytes([53, 1, kind])
    if asks:
        options += b"\x3d\x07\x01" + scene.client_mac + b"\x37\x03\x01\x03\x06"
    else:
        options += b"\x36\x04" + server + b"\x33\x04\x00\x00\x0e\x10" + b"\x01\x04\xff\xff\xff\x00"
        options += b"\x03\x04" + server + b"\x06\x04" + server
    if kind == _REQUEST:
        options += b"\x32\x04" + IPv4Address(scene.client).packed
    return (head + options + b"\xff").ljust(size, b"\0")


def stun(scene: Scene) -> list[bytes]:
    """Binding requests and what they bring; sizes are multiples of four from 20 on."""
    said: list[bytes] = []
    for turn in scene.turns:
        if turn.from_client or not said:
            identifier = scene.random.randbytes(12)
        kind, attributes = 0x0001, b""
        if not turn.from_client:
            address = int(IPv4Address("203.0.113.77")) ^ _COOKIE
            kind, attributes = 0x0101, struct.pack("!HHBBHI", 0x0020, 8, 0, 1, 40000 ^ _COOKIE >> 16, address)
        room = (turn.size - 20 - len(attributes)) // 4 * 4
        if room >= 8:
            attributes += struct.pack("!HH", 0x8022, room - 4) + letters(room - 4, scene.random).encode()
        said.append(struct.pack("!HHI", kind, len(attributes), _COOKIE) + identifier + attributes)
    return said


def syslog(scene: Scene) -> list[bytes]:
    """One line a message."""
    start = "<134>1 - device app - - - "
    return [
        (start + letters(max(1, turn.size - len(start)), scene.random)).encode()[: max(turn.size, 5)]
        for turn in scene.turns
    ]

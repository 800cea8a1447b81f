"""CoAP (RFC 7252) with observation (RFC 7641)."""

from __future__ import annotations

import struct

from wirespeak.wire.craft.scene import Scene, letters, reading

_CONFIRMABLE, _PLAIN, _ACKNOWLEDGEMENT = 0, 1, 2
_GET, _POST, _CONTENT, _CHANGED = 0x01, 0x02, 0x45, 0x44
_TOKEN = 2
_POST_FROM = 40


def coap(scene: Scene) -> list[bytes]:
    """Confirmable requests and their acknowledgements; what a server sends unasked are notifications.

    Four bytes are an empty acknowledgement of whatever came before.
    """
    path = letters(4, scene.random)
    token = scene.random.randbytes(_TOKEN)
    identifier = scene.random.randrange(60000)
    said: list[bytes] = []
    waiting, code, observed = False, _CONTENT, 1
    for turn in scene.turns:
        if turn.size <= 4:
            said.append(_head(_ACKNOWLEDGEMENT, 0, identifier, b""))
            waiting = False
        elif turn.from_client:
            identifier += 1
            code = _CHANGED if turn.size >= _POST_FROM else _CONTENT
            head = _head(_CONFIRMABLE, _POST if code == _CHANGED else _GET, identifier, token)
            said.append(_request(head, turn.size, path, scene))
            waiting = True
        else:
            kind = _ACKNOWLEDGEMENT if waiting else _PLAIN
            if not waiting:
                identifier += 1
                observed += 1
            head = _head(kind, code, identifier, token)
            if not waiting and turn.size >= len(head) + 3:
                head += b"\x61" + bytes([observed % 256])
            said.append(_filled(head, turn.size, scene))
            waiting = False
    return said


def _head(kind: int, code: int, identifier: int, token: bytes) -> bytes:
    return struct.pack("!BBH", 0x40 | kind << 4 | len(token), code, identifier & 0xFFFF) + token


def _request(head: bytes, size: int, path: str, scene: Scene) -> bytes:
    """Uri-Path options (number 11), then a payload for POST."""
    room = size - len(head)
    if head[1] == _POST:
        return _filled(head + b"\xb4" + path.encode(), size, scene)
    options, delta = b"", 0xB0
    while room > 0:
        length = min(room - 1, 12)
        if room - 1 - length == 1:
            length -= 1
        options += bytes([delta | max(0, length)]) + letters(max(0, length), scene.random).encode()
        delta, room = 0, room - 1 - max(0, length)
    return head + options


def _filled(head: bytes, size: int, scene: Scene) -> bytes:
    """With a payload behind its marker, where there is room for one."""
    room = size - len(head) - 1
    return head + b"\xff" + reading(room, scene.random) if room > 0 else head

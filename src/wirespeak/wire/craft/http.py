"""Text protocols with headers: HTTP/1.1 (RFC 9112), RTSP (RFC 7826) and SSDP (UPnP device architecture 2.0)."""

from __future__ import annotations

from base64 import b64encode
from random import Random

from wirespeak.wire.craft.scene import Scene, hexadecimal, letters, reading

_POST_FROM = 420  # bytes from which a request carries a body rather than a long target
_RTSP_METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY")


def http(scene: Scene) -> list[bytes]:
    """Requests and responses; consecutive turns of one side should come joined."""
    path = f"/api/v1/{letters(6, scene.random)}"
    return [
        _request(turn.size, path, scene.server_name, scene.random)
        if turn.from_client
        else _response(turn.size, scene.random)
        for turn in scene.turns
    ]


def login(scene: Scene) -> list[bytes]:
    """HTTP requests with a name and a password, all of them refused."""
    said = []
    for turn in scene.turns:
        secret = b64encode(f"admin:{letters(6, scene.random)}".encode()).decode()
        request = f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {secret}\r\n"
        refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: "
        if turn.from_client:
            said.append(_padded(request, turn.size))
        else:
            said.append(_with_body(refusal, max(turn.size, len(refusal) + 5), scene.random))
    return said


def _request(size: int, path: str, host: str, random: Random) -> bytes:
    if size < 26 + len(host) + len(path):
        short = "GET / HTTP/1.0\r\n" if size < 38 else "GET / HTTP/1.1\r\nHost: hub\r\n"
        return _padded(short, size)
    if size < _POST_FROM:
        return _padded(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n", size)
    start = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
    return _with_body(start, size, random)


def _response(size: int, random: Random) -> bytes:
    start = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    if size >= len(start) + 5:
        return _with_body(start, size, random)
    if size >= 40:
        return _with_body("HTTP/1.1 200 OK\r\nContent-Length: ", size, random)
    return _padded("HTTP/1.1 204 No Content\r\n", size)


def _with_body(start: str, size: int, random: Random) -> bytes:
    """Head, blank line, and a body that brings the whole to `size` bytes (one less where its length gains a digit)."""
    for digits in range(1, 12):
        length = size - len(start) - digits - 4
        if len(str(length)) <= digits:
            body = reading(length, random) if length < 4096 else random.randbytes(length)
            return f"{start}{length}\r\n\r\n".encode() + body
    raise AssertionError("a length of more than eleven digits")


def _padded(start: str, size: int) -> bytes:
    """Head without a body, a last header filling it to `size` bytes where there is room for one."""
    room = size - len(start) - 2
    if room < 4:
        return f"{start}\r\n".encode()
    name = "User-Agent: " if room >= 24 else "X:"
    value = ("device/1.0+" * (room // 11 + 1))[: room - len(name) - 2]
    return f"{start}{name}{value}\r\n\r\n".encode()


def rtsp(scene: Scene) -> list[bytes]:
    """A player's requests in their usual order, and answers."""
    said, number = [], 0
    for turn in scene.turns:
        if turn.from_client:
            number += 1
            method = _RTSP_METHODS[min(number, len(_RTSP_METHODS)) - 1]
            start = f"{method} rtsp://{scene.server}/live RTSP/1.0\r\nCSeq: {number}\r\n"
        else:
            start = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n"
        said.append(_padded(start, turn.size))
    return said


def ssdp(scene: Scene) -> list[bytes]:
    """A search and its answers, or, where it is long and nothing comes back, an announcement."""
    answered = any(not turn.from_client for turn in scene.turns)
    target = f"uuid:{hexadecimal(8, scene.random)}"
    said = []
    for turn in scene.turns:
        if not turn.from_client:
            start = f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\nST: upnp:rootdevice\r\nUSN: {target}\r\n"
        elif answered or turn.size < 200:
            start = 'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 2\r\nST: ssdp:all\r\n'
        else:
            start = (
                "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\n"
                f"NT: upnp:rootdevice\r\nNTS: ssdp:alive\r\nUSN: {target}\r\n"
            )
        said.append(_padded(start, turn.size))
    return said

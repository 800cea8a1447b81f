"""What a craft is told about the conversation it words, and filling of an exact size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HEX = "0123456789abcdef"
_FIELDS = (
    "state",
    "temperature",
    "power",
    "battery",
    "rssi",
    "uptime",
    "level",
    "humidity",
    "voltage",
    "sequence",
)


@dataclass(frozen=True)
class Turn:
    """One message: who sends it and how many bytes of transport payload it should have."""

    from_client: bool
    size: int


@dataclass(frozen=True)
class Scene:
    """A conversation before it has words.

    client and server are IPv4 addresses; the client opened the conversation. points_to: the address a name
    server should answer with. end: how it ends, see flow.realise.ENDS.
    """

    turns: tuple[Turn, ...]
    client: str
    server: str
    client_mac: bytes
    server_name: str
    points_to: str
    unix_s: float
    end: str
    random: Random


Craft = Callable[[Scene], list[bytes]]


def hexadecimal(size: int, random: Random) -> str:
    """`size` random hexadecimal digits."""
    return "".join(random.choices(_HEX, k=size))


def letters(size: int, random: Random) -> str:
    """`size` random small letters."""
    return "".join(random.choices(_LETTERS, k=size))


def opaque(size: int, random: Random) -> bytes:
    """`size` bytes that no dissector should take for a protocol of its own."""
    return (b"\xa7\x5b\xd9\x00" + random.randbytes(max(0, size - 4)))[:size]


def reading(size: int, random: Random) -> bytes:
    """A device's report as JSON text of exactly `size` bytes (below 12 bytes a bare number)."""
    if size < 12:
        return "".join(random.choices("123456789", k=size)).encode()
    values: dict[str, object] = {}
    for name in random.sample(_FIELDS, k=len(_FIELDS)):
        grown = {**values, name: random.randrange(1000) / 10}
        if len(_compact(grown)) + 8 > size:
            break
        values = grown
    bare = len(_compact({**values, "n": ""}))
    if bare > size:
        return "".join(random.choices("123456789", k=size)).encode()
    return _compact({**values, "n": hexadecimal(size - bare, random)})


def _compact(values: dict[str, object]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()

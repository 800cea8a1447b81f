"""Templates: how the bytes of a record are divided (RFC 3954, 5.2 and 6.1; RFC 7011, 3.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from wirespeak.wire.netflow.elements import ELEMENTS, VARIABLE, Element, element_name

_FITS = {"ipv4": (4,), "ipv6": (16,), "mac": (6,), "s": range(4, 9), "ntp": (8,)}
"""Lengths that values of a kind may have; numbers have 1 to 8 bytes (RFC 7011, 6.2)."""


@dataclass(frozen=True)
class Place:
    """Where the values of an element lie: in which stretch of a record (one ends with each value that carries its own length), at which byte."""

    element: Element
    stretch: int
    offset: int
    length: int


@dataclass
class Template:
    """One way in which records are written.

    size: bytes of a record, the least where some carry their own length (`is_variable`). stretches: bytes of the stretches of a record,
    each followed by a value that carries its length, except the last. places: by the column they become. unread: elements without
    a column.
    """

    size: int
    stretches: tuple[int, ...]
    places: dict[str, Place]
    unread: tuple[str, ...]
    is_options: bool
    held: list[tuple[bytes, int, int, int, int]] = field(default_factory=list)
    """Data sets that wait to be decoded: bytes, records, export time in ms, SysUpTime or start of the exporter in ms, stream."""
    held_records: int = 0

    @property
    def is_variable(self) -> bool:
        """Whether some values carry their own length."""
        return len(self.stretches) > 1


def template_of(fields: list[tuple[int, int, int]], *, is_options: bool) -> Template:
    """The template of these fields: enterprise, number, length."""
    stretches: list[int] = []
    places: dict[str, Place] = {}
    unread: list[str] = []
    at = size = 0
    for enterprise, number, length in fields:
        element = ELEMENTS.get((enterprise, number))
        if element is None or length not in _FITS.get(element.kind, range(1, 9)):
            unread.append(element_name(enterprise, number))
        elif element.column not in places or element.rank < places[element.column].element.rank:
            places[element.column] = Place(element, len(stretches), at, length)
        if length == VARIABLE:
            stretches.append(at)
            at, size = 0, size + at + 1
        else:
            at += length
    return Template(size + at, (*stretches, at), places, tuple(dict.fromkeys(unread)), is_options)


def variable_starts(body: bytes, template: Template) -> list[int]:
    """Where in a data set the stretches of its records begin, record after record; a record that does not end in it has none."""
    found: list[int] = []
    size, at = len(body), 0
    lead, last = template.stretches[:-1], template.stretches[-1]
    while size - at >= template.size:
        starts: list[int] = []
        for stretch in lead:
            starts.append(at)
            at += stretch
            if at >= size:
                return found
            length = body[at]
            at += 1
            if length == 255:  # three bytes tell it (RFC 7011, 7)
                length = int.from_bytes(body[at : at + 2], "big")
                at += 2
            at += length
        if at + last > size:
            return found
        found += [*starts, at]
        at += last
    return found


def ipfix_fields(body: bytes, at: int, count: int) -> tuple[list[tuple[int, int, int]], int] | None:
    """Field specifiers of IPFIX and where they end, None where they do not end in the set."""
    found: list[tuple[int, int, int]] = []
    for _ in range(count):
        if at + 4 > len(body):
            return None
        number, length = struct.unpack_from(">HH", body, at)
        at += 4
        enterprise = 0
        if number & 0x8000:
            if at + 4 > len(body):
                return None
            (enterprise,) = struct.unpack_from(">I", body, at)
            at += 4
        found.append((enterprise, number & 0x7FFF, length))
    return found, at


def v9_fields(body: bytes, at: int, count: int) -> tuple[list[tuple[int, int, int]], int] | None:
    """Field specifiers of NetFlow v9 and where they end, None where they do not end in the set."""
    end = at + 4 * count
    if end > len(body):
        return None
    pairs: Iterator[tuple[int, int]] = islice(struct.iter_unpack(">HH", body[at:end]), count)
    return [(0, number, length) for number, length in pairs], end


V5 = template_of(
    [
        (0, number, length)
        for number, length in (
            (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (210, 1), (6, 1), (4, 1),
            (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
        )
    ],
    is_options=False,
)  # fmt: skip
"""The one record of NetFlow v5, 48 bytes (Cisco, NetFlow Export Datagram Format)."""

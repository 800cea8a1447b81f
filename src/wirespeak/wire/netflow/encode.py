"""Records to export messages: NetFlow v5, NetFlow v9 (RFC 3954) and IPFIX (RFC 7011, files as RFC 5655 has them).

Messages are laid out as rows of a NumPy table, many at a time. What a format cannot carry is set aside and counted.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.wire.netflow.elements import REVERSE

Format = Literal["netflow5", "netflow9", "ipfix"]
FORMATS: tuple[Format, ...] = ("netflow5", "netflow9", "ipfix")
MESSAGE = 1400
"""Bytes of a message at most, so that it fits a frame."""
_MS = 1_000_000
_ERA = 1 << 30
"""Milliseconds after which SysUpTime is told from a later start; it has 32 bits."""
_UINT32 = (1 << 32) - 1
_NTP = 2_208_988_800

Table = NDArray[np.void]


@dataclass(frozen=True)
class _Field:
    """One field of a record: its number in the registry, the column it carries, its NumPy type; `reverse` (RFC 5103)."""

    number: int
    column: str
    kind: str
    reverse: bool = False

    @property
    def size(self) -> int:
        return np.dtype(self.kind).itemsize


def _fields(form: Format, *, is_ipv6: bool, is_biflow: bool, has_link: bool) -> tuple[_Field, ...]:
    """What a record of NetFlow v9 or IPFIX carries."""
    address, numbers = ("S16", (27, 28)) if is_ipv6 else ("S4", (8, 12))
    counts: tuple[tuple[int, str, str], ...] = ((2, "packets", ">u8"), (1, "bytes", ">u8"))
    found = [
        _Field(numbers[0], "src_bytes", address), _Field(numbers[1], "dst_bytes", address),
        _Field(7, "src_port", ">u2"), _Field(11, "dst_port", ">u2"), _Field(4, "protocol", "u1"),
        _Field(6, "flags", ">u2" if form == "ipfix" else "u1"), _Field(139 if is_ipv6 else 32, "icmp", ">u2"),
        _Field(239, "direction", "u1"), *(_Field(*each) for each in counts),
    ]  # fmt: skip
    if is_biflow:
        found += [_Field(*each, reverse=True) for each in counts] + [_Field(6, "flags", ">u2", reverse=True)]
    if has_link:
        found += [
            _Field(56, "src_mac_bytes", "S6"),
            _Field(80, "dst_mac_bytes", "S6"),
            _Field(58, "vlan", ">u2"),
        ]
    if form == "netflow9":
        return (*found, _Field(22, "first_uptime", ">u4"), _Field(21, "last_uptime", ">u4"))
    # Milliseconds, which every collector reads, and nanoseconds, which are the truth.
    return (
        *found, _Field(152, "first_ms", ">u8"), _Field(153, "last_ms", ">u8"), _Field(156, "first_ntp", ">u8"),
        _Field(157, "last_ntp", ">u8"),
    )  # fmt: skip


_V5 = (
    _Field(8, "src_bytes", "S4"), _Field(12, "dst_bytes", "S4"), _Field(15, "", ">u4"), _Field(10, "", ">u2"), _Field(14, "", ">u2"),
    _Field(2, "packets", ">u4"), _Field(1, "bytes", ">u4"), _Field(22, "first_uptime", ">u4"), _Field(21, "last_uptime", ">u4"),
    _Field(7, "src_port", ">u2"), _Field(11, "v5_port", ">u2"), _Field(210, "", "u1"), _Field(6, "flags", "u1"),
    _Field(4, "protocol", "u1"), _Field(5, "", "u1"), _Field(16, "", ">u2"), _Field(17, "", ">u2"), _Field(9, "", "u1"),
    _Field(13, "", "u1"), _Field(210, "", ">u2"),
)  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """Records that share a template."""

    number: int
    is_ipv6: bool
    is_biflow: bool
    has_link: bool
    fields: tuple[_Field, ...]


def _kinds(form: Format) -> tuple[_Kind, ...]:
    if form == "netflow5":
        return (_Kind(0, False, False, False, _V5),)
    found = []
    for number in range(8):
        is_ipv6, has_link, is_biflow = bool(number & 1), bool(number & 2), bool(number & 4)
        if form == "ipfix" or not is_biflow:
            fields = _fields(form, is_ipv6=is_ipv6, is_biflow=is_biflow, has_link=has_link)
            found.append(_Kind(256 + number, is_ipv6, is_biflow, has_link, fields))
    return tuple(found)


_HEADERS: dict[Format, list[tuple[str, str]]] = {
    "netflow5": [
        ("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("seconds", ">u4"), ("nanoseconds", ">u4"), ("sequence", ">u4"),
        ("engine", ">u2"), ("sampling", ">u2"),
    ],
    "netflow9": [
        ("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("seconds", ">u4"), ("sequence", ">u4"), ("domain", ">u4"),
        ("set", ">u2"), ("set_size", ">u2"),
    ],
    "ipfix": [
        ("version", ">u2"), ("size", ">u2"), ("seconds", ">u4"), ("sequence", ">u4"), ("domain", ">u4"), ("set", ">u2"),
        ("set_size", ">u2"),
    ],
}  # fmt: skip
_VERSIONS: dict[Format, int] = {"netflow5": 5, "netflow9": 9, "ipfix": 10}
_SET_HEADER = 4


@dataclass
class Encoder:
    """Turns tables of records into messages of one format, one stream of them with its sequence numbers.

    domain: observation domain or source identifier. set_aside: records that the format cannot carry, by reason; records, messages:
    how many were written.
    """

    form: Format
    domain: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    records: int = 0
    messages: int = 0
    _sequence: int = 0
    _start_ms: int | None = None

    def templates(self, at_ns: int) -> bytes:
        """The message that tells the templates, as of a time; empty for NetFlow v5, which has none."""
        if self.form == "netflow5":
            return b""
        kinds = _kinds(self.form)
        body = b"".join(
            struct.pack(">HH", kind.number, len(kind.fields)) + b"".join(map(_specifier, kind.fields))
            for kind in kinds
        )
        seconds = max(0, at_ns // 1_000_000_000)
        number = 2 if self.form == "ipfix" else 0
        sets = struct.pack(">HH", number, len(body) + _SET_HEADER) + body
        self.messages += 1
        if self.form == "ipfix":
            return (
                struct.pack(">HHIII", 10, 16 + len(sets), seconds, self._sequence & _UINT32, self.domain)
                + sets
            )
        start_ms = at_ns // _MS - _ERA if self._start_ms is None else self._start_ms
        uptime = (seconds * 1000 - start_ms) & _UINT32
        self._sequence += 1
        return (
            struct.pack(">HHIIII", 9, len(kinds), uptime, seconds, (self._sequence - 1) & _UINT32, self.domain) + sets
        )  # fmt: skip

    def kept(self, records: pl.DataFrame) -> pl.DataFrame:
        """The records that the format can carry; the others are set aside."""
        source, destination = (_addresses(records[name]).family for name in ("src", "dst"))
        first_ms, last_ms = ((records[name] // _MS).to_numpy() for name in ("first_ns", "last_ns"))
        rules = [
            ("no two addresses of IPv4 or of IPv6", (source == 0) | (source != destination)),
            ("a date that the format has no number for", (first_ms < 0) | (last_ms >= 1000 * _UINT32)),
        ]
        if self.form == "netflow5":
            rules.append(("IPv6, which NetFlow v5 does not carry", source == 6))
        if self.form != "ipfix":
            rules.append(("longer than SysUpTime tells", last_ms - first_ms > _ERA))
        known = np.ones(records.height, bool)
        for reason, cannot in rules:
            if lost := int((known & cannot).sum()):
                self.set_aside[reason] += lost
                known &= ~cannot
        return records if known.all() else records.filter(pl.Series(known))

    def encode(self, records: pl.DataFrame) -> Iterator[Table]:
        """Messages of records, tables of them that are alike: each row is the bytes of one.

        records: as `kept` gives them, columns of `elements.COLUMNS`, counts and protocol known.
        """
        columns = self._columns(records)
        for kind in _kinds(self.form):
            mine = columns["is_ipv6"] == kind.is_ipv6
            if self.form != "netflow5":
                mine &= columns["has_link"] == kind.has_link
                mine &= columns["is_biflow"] == kind.is_biflow
            if not mine.any():
                continue
            if self.form == "ipfix":
                yield from self._messages(kind, columns, np.flatnonzero(mine), 0)
                continue
            if self._start_ms is None:
                self._start_ms = int(columns["first_ms"][mine].min()) - _ERA // 2
            eras = (columns["first_ms"] - self._start_ms) // _ERA
            for era in np.unique(eras[mine]):
                start_ms = self._start_ms + int(era) * _ERA - (_ERA if era else 0)
                yield from self._messages(kind, columns, np.flatnonzero(mine & (eras == era)), start_ms)

    def _messages(
        self, kind: _Kind, columns: dict[str, Any], rows: NDArray[np.int64], start_ms: int
    ) -> Iterator[Table]:
        """The messages of some records of one kind, the full ones and the last."""
        row = np.dtype([(f"f{i}", each.kind) for i, each in enumerate(kind.fields)])
        header = sum(np.dtype(each).itemsize for _, each in _HEADERS[self.form])
        room = (MESSAGE - header) // row.itemsize
        whole = len(rows) // room * room
        for some, count in ((rows[:whole], room), (rows[whole:], len(rows) - whole)):
            if len(some):
                yield self._table(kind, row, columns, some, count, start_ms)

    def _table(
        self, kind: _Kind, row: Any, columns: dict[str, Any], rows: NDArray[np.int64], count: int, start_ms: int
    ) -> Table:  # fmt: skip
        header = _HEADERS[self.form]
        sets = count * row.itemsize + _SET_HEADER
        padding = -sets % 4 if self.form == "netflow9" else 0
        layout: list[Any] = [*header, ("rows", row, (count,))]
        if padding:
            layout.append(("padding", f"V{padding}"))
        table = np.zeros(len(rows) // count, layout)
        cells = table["rows"].reshape(-1)
        for i, each in enumerate(kind.fields):
            if each.column.endswith("_uptime"):
                cells[f"f{i}"] = columns[each.column.replace("uptime", "ms")][rows] - start_ms
            elif each.column:
                cells[f"f{i}"] = columns[f"back_{each.column}" if each.reverse else each.column][rows]
        table["rows"] = cells.reshape(len(table), count)
        last_ms = columns["last_ms"][rows].reshape(len(table), count).max(axis=1)
        seconds = -(-last_ms // 1000)
        step = 1 if self.form == "netflow9" else count
        told: dict[str, Any] = {
            "version": _VERSIONS[self.form], "count": count, "seconds": seconds, "domain": self.domain, "set": kind.number,
            "uptime": (seconds * 1000 - start_ms) & _UINT32, "set_size": sets + padding, "size": table.dtype.itemsize,
            "sequence": (self._sequence + step * np.arange(len(table))) & _UINT32,
        }  # fmt: skip
        for name, _ in header:
            if name in told:
                table[name] = told[name]
        self._sequence += step * len(table)
        self.messages += len(table)
        self.records += len(rows)
        return table

    def _columns(self, records: pl.DataFrame) -> dict[str, Any]:
        """The columns of the fields, and what tells the kinds of records apart."""
        source, destination = (_addresses(records[name]) for name in ("src", "dst"))
        found: dict[str, Any] = {
            name: records[name].fill_null(0).to_numpy()
            for name in records.columns
            if records[name].dtype.is_numeric()
        }
        is_ipv6 = source.family == 6
        columns: dict[str, Any] = {
            **found, "is_ipv6": is_ipv6, "src_bytes": source.cells, "dst_bytes": destination.cells,
            "first_ms": found["first_ns"] // _MS, "last_ms": found["last_ns"] // _MS,
            "is_biflow": (found["back_packets"] > 0) | (found["back_bytes"] > 0),
            "has_link": _any_known(records, "src_mac", "dst_mac", "vlan"),
            "v5_port": np.where(found["protocol"] == 1, found["icmp"], found["dst_port"]),
        }  # fmt: skip
        columns |= {f"{name}_bytes": _macs(records[name]) for name in ("src_mac", "dst_mac")}
        if self.form == "ipfix":
            columns |= {f"{name}_ntp": _ntp(found[f"{name}_ns"]) for name in ("first", "last")}
        if self.form != "ipfix":
            columns["flags"] = columns["flags"] & 0xFF
            columns["is_biflow"] = np.zeros(records.height, bool)
        return _split(columns) if self.form == "netflow5" else columns


def _specifier(each: _Field) -> bytes:
    if each.reverse:
        return struct.pack(">HHI", 0x8000 | each.number, each.size, REVERSE)
    return struct.pack(">HH", each.number, each.size)


def _split(columns: dict[str, Any]) -> dict[str, Any]:
    """Records whose counts fit 32 bits: larger ones in several, their packets divided evenly."""
    parts = np.maximum(-(-np.maximum(columns["bytes"], columns["packets"]) // _UINT32), 1)
    if (parts == 1).all():
        return columns
    row = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    columns = {name: values[row] for name, values in columns.items()}
    for name in ("bytes", "packets"):
        share, rest = np.divmod(columns[name], parts[row])
        columns[name] = share + (part < rest)
    return columns


@dataclass(frozen=True)
class _Addresses:
    """Addresses as bytes, four or sixteen of them: `family` is 4, 6, or 0 where there is none."""

    cells: NDArray[np.bytes_]
    family: NDArray[np.uint8]


def _addresses(texts: pl.Series) -> _Addresses:
    """Each distinct address is read once; IPv4 by columns."""
    parts = texts.str.split_exact(".", 4).struct.unnest()
    octets = [parts[f"field_{i}"].cast(pl.UInt8, strict=False) for i in range(4)]
    is_ipv4 = parts["field_4"].is_null()
    for each in octets:
        is_ipv4 &= each.is_not_null()
    family = np.where(is_ipv4.to_numpy(), 4, 0).astype(np.uint8)
    wide = np.zeros((len(texts), 16), np.uint8)
    for i, each in enumerate(octets):
        wide[:, i] = np.where(family == 4, each.fill_null(0).to_numpy(), 0)
    others = np.flatnonzero(texts.str.contains(":", literal=True).fill_null(False).to_numpy())
    if len(others):
        unique, inverse = np.unique(texts.gather(others).to_numpy().astype(str), return_inverse=True)
        read = [_ipv6(text) for text in unique.tolist()]
        wide[others] = np.frombuffer(b"".join(each or bytes(16) for each in read), np.uint8).reshape(-1, 16)[
            inverse
        ]
        family[others] = np.array([6 if each else 0 for each in read], np.uint8)[inverse]
    return _Addresses(wide.view("S16").ravel(), family)


def _ipv6(text: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None


def _macs(texts: pl.Series) -> NDArray[np.bytes_]:
    """Link-layer addresses as bytes, zeros where there is none."""
    cells = texts.str.replace_all(":", "", literal=True).str.decode("hex", strict=False)
    long = cells.bin.size() == 6
    return np.array(pl.select(pl.when(long).then(cells)).to_series().fill_null(b"").to_list(), "S6")


def _any_known(records: pl.DataFrame, *names: str) -> NDArray[np.bool_]:
    return (
        records.select(pl.any_horizontal(pl.col(name).is_not_null() for name in names)).to_series().to_numpy()
    )


def _ntp(ns: NDArray[np.int64]) -> NDArray[np.uint64]:
    """NTP times of 64 bits (RFC 7011, 6.1.10), exact to the nanosecond."""
    seconds = (ns // 1_000_000_000 + _NTP).astype(np.uint64) & np.uint64(_UINT32)
    parts = (ns % 1_000_000_000).astype(np.uint64)
    fraction = ((parts << np.uint64(32)) + np.uint64(500_000_000)) // np.uint64(1_000_000_000)
    return seconds << np.uint64(32) | fraction

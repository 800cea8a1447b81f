"""Export messages to records: NetFlow v5 and v9 (RFC 3954) and IPFIX (RFC 7011), by columns.

Data sets of one template are gathered and decoded together. Whatever cannot be read is counted by reason; what is held is bounded.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak._native import texts
from wirespeak.wire.netflow.elements import COLUMNS
from wirespeak.wire.netflow.templates import (
    V5,
    Place,
    Template,
    ipfix_fields,
    template_of,
    v9_fields,
    variable_starts,
)

VERSIONS = {5: "NetFlow v5", 9: "NetFlow v9", 10: "IPFIX"}
GATHERED = 1 << 16
"""Records of a template that are gathered before they are decoded."""
STREAMS, TEMPLATES, LAYOUTS, WAITING = 1 << 16, 1 << 16, 1 << 12, 8 << 20
"""What is kept at most: observation domains, their templates, templates that differ, bytes that wait for their template."""
_BESIDE = 256
"""Bytes that a waiting data set takes beside its own."""
_RESTART = 1 << 20
"""A step of sequence numbers above this is an exporter that began anew, not loss."""
_NTP = 2_208_988_800
"""Seconds from 1900 to 1970."""
PACKETS, BYTES = 1 << 40, 1 << 56
"""The most that a record can be believed to count."""
_HALF = 1 << 31


@dataclass
class _Stream:
    """What one exporter's observation domain has said."""

    number: int
    templates: dict[int, Template] = field(default_factory=dict)
    expected: int | None = None
    boot_ms: int | None = None


@dataclass
class Decoder:
    """Takes export messages and gives records.

    messages, rows: how many messages and records came, those set aside included. set_aside: records, sets and messages that are not
    among what is given, by reason. missed: what sequence numbers say was sent and never came, by unit. unread: values of elements
    without a column, by name. sampled: intervals of sampling that exporters told. untimed: records that tell no time, and have that of
    their export.
    """

    messages: int = 0
    rows: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    sampled: set[int] = field(default_factory=set)
    untimed: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    _streams: dict[tuple[str, int, int], _Stream] = field(default_factory=dict, repr=False)
    _layouts: dict[tuple[Any, ...], Template] = field(default_factory=dict, repr=False)
    _version_5: Template = field(default_factory=lambda: replace(V5, held=[]), repr=False)
    _kept: int = field(default=0, repr=False)
    _waiting: OrderedDict[tuple[int, int], deque[tuple[bytes, int, int]]] = field(
        default_factory=OrderedDict, repr=False
    )
    _waiting_bytes: int = field(default=0, repr=False)
    _busy: dict[int, Template] = field(default_factory=dict, repr=False)
    _gathered: int = field(default=0, repr=False)

    def take(self, message: bytes, exporter: str = "") -> None:
        """Read one message. exporter: the address it came from. Never raises for what it holds."""
        self.messages += 1
        version = int.from_bytes(message[:2], "big")
        read = {5: self._v5, 9: self._v9, 10: self._ipfix}.get(version)
        if read is None or len(message) < 16:
            self.set_aside["not an export message"] += 1
            return
        self.versions[VERSIONS[version]] += 1
        read(message, exporter)

    def records(self, *, all: bool = False) -> Iterator[pl.DataFrame]:
        """Tables of what was gathered, columns as `COLUMNS`, once there is enough of it; with `all`, of everything.

        At the end, what never found its template is counted.
        """
        if all:
            if waiting := sum(len(each) for each in self._waiting.values()):
                self.set_aside["data set whose template never came"] += waiting
                self.rows += waiting
            self._waiting.clear()
            self._waiting_bytes = 0
        elif self._gathered < GATHERED:
            return
        for template in self._busy.values():
            yield self._decoded(template)
        self._busy.clear()
        self._gathered = 0

    # ---- messages -------------------------------------------------------------------------------------------

    def _stream(self, exporter: str, version: int, domain: int) -> _Stream | None:
        key = (exporter, version, domain)
        found = self._streams.get(key)
        if found is None:
            if len(self._streams) >= STREAMS:
                self.set_aside[f"message of an exporter beyond the first {STREAMS:,}"] += 1
                return None
            found = self._streams[key] = _Stream(len(self._streams))
        return found

    def _v5(self, message: bytes, exporter: str) -> None:
        if len(message) < 24:
            self.set_aside["message cut off"] += 1
            return
        _, count, uptime, seconds, nanoseconds, sequence, engine, sampling = struct.unpack_from(
            ">HHIIIIHH", message
        )
        stream = self._stream(exporter, 5, engine)
        if stream is None:
            return
        whole = min(count, (len(message) - 24) // 48)
        if whole < count:
            self.set_aside["record cut off"] += count - whole
            self.rows += count - whole
        if sampling & 0x3FFF > 1:
            self.sampled.add(sampling & 0x3FFF)
        self._follow(stream, sequence, count, "records")
        if whole:
            export_ms = seconds * 1000 + min(nanoseconds, 999_999_999) // 1_000_000
            self._gather(
                self._version_5, message[24 : 24 + 48 * whole], whole, export_ms, uptime, stream.number
            )

    def _v9(self, message: bytes, exporter: str) -> None:
        if len(message) < 20:
            self.set_aside["message cut off"] += 1
            return
        _, _, uptime, seconds, sequence, domain = struct.unpack_from(">HHIIII", message)
        stream = self._stream(exporter, 9, domain)
        if stream is None:
            return
        self._follow(stream, sequence, 1, "messages")
        for number, body in self._sets(message, 20):
            if number < 2:
                self._templates(stream, body, is_options=number == 1, is_ipfix=False)
            elif number < 256:
                self.set_aside["set of a reserved number"] += 1
            else:
                self._data(stream, number, body, seconds * 1000, uptime)

    def _ipfix(self, message: bytes, exporter: str) -> None:
        _, size, seconds, sequence, domain = struct.unpack_from(">HHIII", message)
        stream = self._stream(exporter, 10, domain)
        if stream is None:
            return
        if size != len(message):
            self.set_aside["message cut off" if size > len(message) else "bytes after a message"] += 1
        before: int | None = 0
        for number, body in self._sets(message[: max(size, 16)], 16):
            if number in (2, 3):
                self._templates(stream, body, is_options=number == 3, is_ipfix=True)
            elif number < 256:
                self.set_aside["set of a reserved number"] += 1
            else:
                came = self._data(stream, number, body, seconds * 1000, -1)
                before = None if came is None or before is None else before + came
        self._follow(stream, sequence, before, "records")

    def _sets(self, message: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        """The sets of a message: number and body."""
        while at + 4 <= len(message):
            number, size = struct.unpack_from(">HH", message, at)
            if size < 4 or at + size > len(message):
                if any(message[at:]):  # zeros are padding
                    self.set_aside["set of a wrong length"] += 1
                return
            yield number, message[at + 4 : at + size]
            at += size

    def _follow(self, stream: _Stream, sequence: int, came: int | None, unit: str) -> None:
        """Count what is missing between two messages by their numbers; one that comes late was not lost."""
        if stream.expected is not None:
            step = (sequence - stream.expected) & 0xFFFFFFFF
            if 0 < step < _RESTART:
                self.missed[unit] += step
            elif step > (1 << 32) - _RESTART:
                self.missed[unit] -= min(came or 0, self.missed[unit])
                return
        stream.expected = None if came is None else (sequence + came) & 0xFFFFFFFF

    # ---- templates ------------------------------------------------------------------------------------------

    def _templates(self, stream: _Stream, body: bytes, *, is_options: bool, is_ipfix: bool) -> None:
        """Learn the templates of a set, or forget those it withdraws (RFC 7011, 8.1)."""
        at = 0
        while at + 4 <= len(body):
            number, count = struct.unpack_from(">HH", body, at)
            if is_ipfix and count == 0:
                if number in (2, 3):
                    for known in [
                        n for n, each in stream.templates.items() if each.is_options == (number == 3)
                    ]:
                        self._forget(stream, known)
                self._forget(stream, number)
                at += 4
                continue
            if number < 256:
                if any(body[at:]):
                    self.set_aside["template of a reserved number"] += 1
                return
            begin = at + (6 if is_options else 4)
            if is_options and not is_ipfix:  # two lengths in bytes instead of a number of fields
                count = sum(struct.unpack_from(">HH", body, at + 2)) // 4 if begin <= len(body) else 0
            read = ipfix_fields if is_ipfix else v9_fields
            found = read(body, begin, count) if begin <= len(body) else None
            if found is None:
                self.set_aside["template cut off"] += 1
                return
            fields, at = found
            self._learn(stream, number, fields, is_options)

    def _learn(
        self, stream: _Stream, number: int, fields: list[tuple[int, int, int]], is_options: bool
    ) -> None:
        key = (is_options, *fields)
        template = self._layouts.get(key)
        if template is None:
            template = template_of(fields, is_options=is_options)
            if template.size == 0:
                self.set_aside["template of records without a byte"] += 1
                return
            if len(self._layouts) >= LAYOUTS:
                self.set_aside[f"template beyond the first {LAYOUTS:,} kinds"] += 1
                return
            self._layouts[key] = template
        if number not in stream.templates:
            if self._kept >= TEMPLATES:
                self.set_aside[f"template beyond the first {TEMPLATES:,}"] += 1
                return
            self._kept += 1
        stream.templates[number] = template
        for body, export_ms, uptime in self._waiting.pop((stream.number, number), ()):
            self._waiting_bytes -= len(body) + _BESIDE
            self._data(stream, number, body, export_ms, uptime)

    def _forget(self, stream: _Stream, number: int) -> None:
        if stream.templates.pop(number, None) is not None:
            self._kept -= 1

    def _wait(self, stream: _Stream, number: int, body: bytes, export_ms: int, uptime: int) -> None:
        """Keep a data set until its template comes; the oldest give way."""
        self._waiting.setdefault((stream.number, number), deque()).append((body, export_ms, uptime))
        self._waiting_bytes += len(body) + _BESIDE
        while self._waiting_bytes > WAITING:
            key, oldest = next(iter(self._waiting.items()))
            self._waiting_bytes -= len(oldest.popleft()[0]) + _BESIDE
            if not oldest:
                del self._waiting[key]
            self.set_aside["data set whose template did not come in time"] += 1
            self.rows += 1

    # ---- data -----------------------------------------------------------------------------------------------

    def _data(self, stream: _Stream, number: int, body: bytes, export_ms: int, uptime: int) -> int | None:
        """Gather a data set; how many records it has, None while nobody knows. uptime: -1 in IPFIX, which has none."""
        template = stream.templates.get(number)
        if template is None:
            self._wait(stream, number, body, export_ms, uptime)
            return None
        if template.is_variable:
            count = len(variable_starts(body, template)) // len(template.stretches)
        else:
            count = len(body) // template.size
        if count == 0:
            if any(body):
                self.set_aside["data set shorter than a record"] += 1
                self.rows += 1
        elif template.is_options:
            self._options(stream, template, body, count)
        else:
            if uptime < 0:
                uptime = -1 if stream.boot_ms is None else -2 - stream.boot_ms
            self._gather(template, body, count, export_ms, uptime, stream.number)
        return count

    def _options(self, stream: _Stream, template: Template, body: bytes, count: int) -> None:
        """What an exporter says about itself: when it started, and whether it samples."""
        self.rows += count
        self.set_aside["options record"] += count
        cells = _Cells(template, [body], count)
        if "sampling" in template.places:
            self._sample(_number(cells.of(template.places["sampling"])))
        if "boot_ms" in template.places:
            boot = int(_number(cells.of(template.places["boot_ms"]))[-1])
            stream.boot_ms = boot if boot < 1 << 42 else None

    def _sample(self, intervals: NDArray[np.uint64]) -> None:
        if len(self.sampled) < 64:
            self.sampled.update(int(each) for each in np.unique(intervals)[:64] if each > 1)

    def _gather(
        self, template: Template, body: bytes, count: int, export_ms: int, uptime: int, stream: int
    ) -> None:
        template.held.append((body, count, export_ms, uptime, stream))
        template.held_records += count
        self._busy[id(template)] = template
        self._gathered += count
        self.rows += count

    def _decoded(self, template: Template) -> pl.DataFrame:
        """The records that a template gathered; those that hold what cannot be are set aside."""
        bodies, counts, exports, uptimes, streams = zip(*template.held, strict=True)
        total = template.held_records
        template.held, template.held_records = [], 0
        for name in template.unread:
            if name in self.unread or len(self.unread) < 1000:
                self.unread[name] += total
            else:
                self.unread["others"] += total
        cells = _Cells(template, bodies, total)
        each = np.repeat(np.arange(len(counts)), counts)
        clock = _Clock(np.array(exports, np.int64)[each], np.array(uptimes, np.int64)[each])
        columns: dict[str, Any] = {"stream": np.array(streams, np.uint32)[each]}
        wrong = np.zeros(total, bool)
        for name, place in template.places.items():
            columns[name] = _read(place, cells, clock, wrong)
        self._settle(columns, clock)
        table = pl.DataFrame(
            [pl.Series(name, columns[name]).cast(COLUMNS[name]) for name in COLUMNS if name in columns]
        )
        has_ends = {"src", "dst"} <= set(columns)
        if wrong.any():
            table = table.filter(pl.Series(~wrong))
            self.set_aside["record with a number that cannot be"] += int(wrong.sum())
        if not has_ends:
            self.set_aside["record without addresses"] += table.height
            table = table.clear()
        return table

    def _settle(self, columns: dict[str, Any], clock: _Clock) -> None:
        """Columns that several elements tell together, those of no record said aside."""
        if "sampling" in columns:
            self._sample(columns.pop("sampling").astype(np.uint64))
        boot_ms = columns.pop("boot_ms", None)
        for name in ("first_ns", "last_ns"):
            told = columns.get(name)
            if isinstance(told, _SinceBoot):
                columns[name] = told.ns if boot_ms is None else (boot_ms + told.ms) * 1_000_000
                if boot_ms is None and name == "last_ns":
                    self.untimed += int((clock.uptime_ms == -1).sum())
        lasted = [columns.pop("lasted_us", None), columns.pop("lasted_ms", None)]
        lasted_ns = lasted[0] * 1000 if lasted[0] is not None else lasted[1] * 1_000_000 if lasted[1] is not None else None  # fmt: skip
        if "last_ns" not in columns:
            start = columns.get("first_ns")
            if start is None:
                self.untimed += len(clock.export_ms)
                columns["last_ns"] = clock.export_ms * 1_000_000
            else:
                columns["last_ns"] = start + (0 if lasted_ns is None else lasted_ns)
        if "first_ns" not in columns:
            columns["first_ns"] = columns["last_ns"] - (0 if lasted_ns is None else lasted_ns)
        for side in ("", "back_"):
            ttl = columns.pop(f"{side}ttl", None)
            if ttl is not None:
                columns.setdefault(f"{side}ttl_min", ttl)
                columns.setdefault(f"{side}ttl_max", ttl)
        kind, code = columns.pop("icmp_type", None), columns.pop("icmp_code", None)
        if kind is not None and "icmp" not in columns:
            columns["icmp"] = (kind & 0xFF) << 8 | (0 if code is None else code & 0xFF)


class _Cells:
    """The bytes of many records, by field."""

    def __init__(self, template: Template, bodies: Any, count: int) -> None:
        self._starts: NDArray[np.int64] | None = None
        if template.is_variable:
            starts: list[int] = []
            before = 0
            for body in bodies:
                starts += [before + at for at in variable_starts(body, template)]
                before += len(body)
            self._starts = np.array(starts, np.int64).reshape(count, len(template.stretches))
            self._bytes = np.frombuffer(b"".join(bodies), np.uint8)
            return
        size = template.size
        whole = [body if len(body) % size == 0 else body[: len(body) // size * size] for body in bodies]
        self._bytes = np.frombuffer(b"".join(whole), np.uint8).reshape(count, size)

    def of(self, place: Place) -> NDArray[np.uint8]:
        """The bytes of one field, a row a record."""
        if self._starts is None:
            return self._bytes[:, place.offset : place.offset + place.length]
        begin = self._starts[:, place.stretch] + place.offset
        return self._bytes[begin[:, None] + np.arange(place.length)]


@dataclass(frozen=True)
class _Clock:
    """Of each record's message: when it was exported, and the SysUpTime then. In IPFIX, which has none, that is -2 less the time at which
    the exporter started, -1 where it did not tell."""

    export_ms: NDArray[np.int64]
    uptime_ms: NDArray[np.int64]


@dataclass(frozen=True)
class _SinceBoot:
    """Times by SysUpTime: milliseconds since the exporter started, and ns since 1970, the export's own where that is not known."""

    ms: NDArray[np.int64]
    ns: NDArray[np.int64]


def _number(cells: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Unsigned numbers of up to eight bytes (RFC 7011, 6.2)."""
    length = cells.shape[1]
    if length in (1, 2, 4, 8):
        return np.ascontiguousarray(cells).view(f">u{length}").ravel().astype(np.uint64)
    wide = np.zeros((len(cells), 8), np.uint8)
    wide[:, 8 - length :] = cells
    return wide.view(">u8").ravel().astype(np.uint64)


_LARGEST: dict[Any, int] = {pl.UInt8(): 0xFF, pl.UInt16(): 0xFFFF, pl.Int64(): PACKETS}


def _read(place: Place, cells: _Cells, clock: _Clock, wrong: NDArray[np.bool_]) -> Any:
    """The values of one field as the column they become; `wrong` is set where one cannot be."""
    found, element = cells.of(place), place.element
    if element.kind in _TEXTS:
        return _TEXTS[element.kind](found)
    raw = _number(found)
    if element.kind == "count":
        if element.column.removeprefix("back_") == "flags":
            raw &= np.uint64(0xFFFF)
        is_bytes = element.column.removeprefix("back_") in ("bytes", "smallest", "largest")
        most = BYTES if is_bytes else _LARGEST.get(COLUMNS.get(element.column), 1 << 40)
        wrong |= raw > most
        return np.minimum(raw, most).astype(np.int64)
    if element.kind == "uptime":
        return _since_boot(raw, clock)
    if element.kind == "ntp":
        seconds, fraction = raw >> np.uint64(32), raw & np.uint64(0xFFFFFFFF)
        seconds = np.where(
            seconds < _HALF, seconds + np.uint64(1 << 32), seconds
        )  # from 2036 on they count anew
        parts = (fraction * np.uint64(1_000_000_000) + np.uint64(_HALF)) >> np.uint64(32)
        return (seconds.astype(np.int64) - _NTP) * 1_000_000_000 + parts.astype(np.int64)
    if element.kind == "ago":
        most, unit = 1 << 40, -1000
    else:
        most, unit = (1 << 32, 1_000_000_000) if element.kind == "s" else (1 << 42, 1_000_000)
    wrong |= raw > most
    since = clock.export_ms * 1_000_000 if element.kind == "ago" else np.int64(0)
    return since + np.minimum(raw, most).astype(np.int64) * unit


def _since_boot(raw: NDArray[np.uint64], clock: _Clock) -> _SinceBoot:
    """Times by SysUpTime, which starts anew after 2**32 ms."""
    ms = (raw & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ago = (clock.uptime_ms - ms + _HALF) % (1 << 32) - _HALF
    since = np.where(clock.uptime_ms >= 0, clock.export_ms - ago, -2 - clock.uptime_ms + ms)
    return _SinceBoot(ms, np.where(clock.uptime_ms == -1, clock.export_ms, since) * 1_000_000)


def _ipv4(cells: NDArray[np.uint8]) -> pl.Series:
    wide = np.zeros((len(cells), 16), np.uint8)
    wide[:, 12:] = cells
    return _addresses(wide, 4)


def _ipv6(cells: NDArray[np.uint8]) -> pl.Series:
    return _addresses(np.ascontiguousarray(cells), 6)


def _addresses(wide: NDArray[np.uint8], family: int) -> pl.Series:
    return texts.addresses(wide, np.full(len(wide), family, np.uint8))


def _macs(cells: NDArray[np.uint8]) -> pl.Series:
    """Link-layer addresses, null where they are all zero: there was none."""
    return texts.macs(cells, np.asarray(cells.any(axis=1)))


_TEXTS: dict[str, Callable[[NDArray[np.uint8]], pl.Series]] = {"ipv4": _ipv4, "ipv6": _ipv6, "mac": _macs}

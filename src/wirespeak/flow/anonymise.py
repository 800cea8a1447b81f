"""Captures to captures in which nobody can be recognised: the function behind `wirespeak anonymise`.

The work is done in C (`_native/anonymise.c`, `standins.c`, `scrub*.c`, `remains.c`); docs/anonymise.md says what is promised.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
import secrets
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.errors import InputError, OptionError, unknown_name
from wirespeak.wire import Frames, open_capture
from wirespeak.wire.containers import OpenCapture, pcap_head, pcap_records
from wirespeak.wire.headers import LINK_TYPES, OTHER_LINK_TYPES, count_reasons
from wirespeak.wire.stream import STANDARD_INPUT, name_of

KEY_BYTES = 32
PAYLOADS = ("scrub", "keep", "cut")
"""What happens to payload; the order is that of `enum payload_mode`."""
KINDS = ("ipv4", "ipv6", "mac", "eui64", "short", "tunnel", "name", "digits")
"""Kinds of identifiers in the order of `enum identifier`."""
WORD = 63
"""The longest name, in bytes; what is longer is taken in pieces."""
REPLACED = ("IPv4 addresses", "IPv6 addresses", "MACs", "names and words", "other identifiers")
DRAWERS = (
    "other", "dns", "dhcp", "ntp", "snmp", "syslog", "coap", "bacnet", "modbus", "dnp3", "http-like", "tls", "ssh", "mqtt",
    "mail and ftp", "stun",
)  # fmt: skip
REMAINS = ("addresses", "MACs", "words")
NOT_FOLLOWED = 255
_ROOM = 32  # drawers that C has room for
_LONGEST_SHIFT_S = 5 * 365 * 86_400

Progress = Callable[[int, int], None]


def read_key(path: Path) -> bytes:
    """The key in a file: 32 bytes, or 64 hexadecimal digits. Raises InputError when it holds neither."""
    try:
        with path.open("rb") as file:
            found = file.read(4 * KEY_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as a key: {error.strerror}. Make one with --key-out FILE."
        ) from None
    if len(found) == KEY_BYTES:
        return found
    try:
        key = bytes.fromhex(found.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(
            f"{path} is no key: expected {KEY_BYTES} bytes, or {2 * KEY_BYTES} hexadecimal digits. Make one with --key-out FILE."
        )
    return key


def write_key(key: bytes, path: Path) -> None:
    """Write a key in hexadecimal, for its owner alone. Raises OptionError when the file exists or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + "\n")
    except FileExistsError:
        raise OptionError(f"--key-out {path}: the file exists. Use it with --key, or name another.") from None
    except OSError as error:
        raise OptionError(f"--key-out {path}: {error.strerror}. Name another file.") from None


@dataclass(frozen=True)
class Anonymised:
    """What was done to a capture.

    packets: frames read; written: frames given; set_aside: frames left out, by reason; replaced: how many identifiers were
    written anew, by kind; payload: bytes of payload by the protocol they were taken for; blanked: packets whose payload was
    blanked because something remained in it; remains: identifiers of the input that were found in the output, by kind; cut:
    where reading had to stop early, or None.
    """

    packets: int
    written: int
    set_aside: dict[str, int]
    replaced: dict[str, int]
    payload: dict[str, int]
    blanked: int
    remains: dict[str, int]
    cut: str | None


class Anonymiser:
    """What stands for what under one key, the same in every file.

    key: 32 bytes: the key and the pad of Crypto-PAn, from which all else is derived. payload: one of PAYLOADS. plain: addresses
    exactly as Crypto-PAn maps them, special ones too. keep_vendor: the first half of a MAC stays. shift_times: all times are
    moved into the past by the same span, less than five years, that the key tells. Memory grows with the distinct
    identifiers that were met. Raises OptionError for a key of another size or an unknown payload.
    """

    def __init__(
        self,
        key: bytes,
        *,
        payload: str = "scrub",
        plain: bool = False,
        keep_vendor: bool = False,
        shift_times: bool = False,
    ) -> None:
        if len(key) != KEY_BYTES:
            raise OptionError(f"the key has {len(key)} bytes; expected {KEY_BYTES}.")
        if payload not in PAYLOADS:
            raise unknown_name("payload", payload, PAYLOADS)
        self.payload = payload
        self.shift_ns = (
            int.from_bytes(_derived(key, "times")[:8]) % _LONGEST_SHIFT_S * 1_000_000_000
            if shift_times
            else 0
        )
        keys = key + (key if plain else _derived(key, "ipv6"))
        keys += b"".join(_derived(key, name)[:16] for name in ("links", "words", "streams"))
        native = _native.library()
        # The seed keeps hostile captures from filling one bucket of the table; no result depends on it.
        self._at = native.wirespeak_anonymise_start(
            keys, PAYLOADS.index(payload), plain, keep_vendor, secrets.randbits(64)
        )
        if not self._at:
            raise MemoryError("no memory for what stands for what")
        self._end = weakref.finalize(self, native.wirespeak_anonymise_end, self._at)

    def frames(
        self, frames: Frames, *, blank: NDArray[np.bool_] | None = None
    ) -> tuple[Frames, dict[str, int], NDArray[np.bool_]]:
        """What stands for the frames, those that were left out by reason, and which of them are given.

        blank: marks frames of whose payload nothing is to be written. Raises OptionError when shifted times begin before 1970.
        """
        count = len(frames)
        if count and int(frames.time_ns.min()) < self.shift_ns:
            raise OptionError(
                "--shift-times moves some of these packets before 1970, which pcap cannot hold. Leave it out."
            )
        out = np.zeros(len(frames.data), np.uint8)
        blank = np.zeros(count, np.bool_) if blank is None else blank
        captured, reasons, details = (
            np.empty(count, np.uint32),
            np.empty(count, np.uint8),
            np.empty(count, np.uint16),
        )
        if not _native.library().wirespeak_anonymise_frames(
            self._at, _native.address(frames.data), len(frames.data), ctypes.byref(frames.native()), _native.address(blank),
            _native.address(out), _native.address(captured), _native.address(reasons), _native.address(details),
        ):  # fmt: skip
            raise MemoryError(
                "no memory for more identifiers; anonymise the capture in parts, with the same key"
            )
        given = reasons == 0
        lost = int((reasons == NOT_FOLLOWED).sum())
        aside = count_reasons(np.where(reasons == NOT_FOLLOWED, 0, reasons).astype(np.uint8), details)
        if lost:
            aside["headers that cannot be followed"] = lost
        written = replace(frames, data=out, captured=captured, time_ns=frames.time_ns - self.shift_ns)
        return chosen(written, given), aside, given

    def stand_ins(self, kind: str, originals: bytes, size: int) -> bytes:
        """What stands for identifiers of one kind and size, one after the other."""
        given = np.frombuffer(originals, np.uint8)
        out = np.empty_like(given)
        if not _native.library().wirespeak_stand_ins(
            self._at,
            KINDS.index(kind),
            _native.address(given),
            size,
            len(given) // size,
            _native.address(out),
        ):
            raise MemoryError("no memory for more identifiers")
        return out.tobytes()

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Identifiers written anew by kind, and bytes of payload by protocol, so far; those that there are."""
        found = np.empty(len(REPLACED) + 2 * _ROOM, np.uint64)
        _native.library().wirespeak_anonymise_counts(self._at, _native.address(found))
        numbers = found.tolist()
        replaced = dict(zip(REPLACED, numbers, strict=False))
        payload = dict(zip(DRAWERS, numbers[len(REPLACED) + _ROOM :], strict=False))
        return _some(replaced), _some(payload)

    def remains(self, pairs: Iterable[tuple[Frames, Frames]]) -> tuple[dict[str, int], NDArray[np.int64]]:
        """Identifiers met so far that stand in the second frames where they stood in the first: how many by kind, all kinds
        named, and in which of the frames, counted from 0."""
        native = _native.library()
        audit = native.wirespeak_audit_start(self._at)
        if not audit:
            raise MemoryError("no memory to look for what remains")
        found = np.zeros(len(REMAINS), np.uint64)
        rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        done = 0
        try:
            for was, written in pairs:
                marks = np.empty(len(was), np.bool_)
                if not native.wirespeak_audit_frames(
                    audit, _native.address(was.data), len(was.data), ctypes.byref(was.native()), _native.address(written.data),
                    len(written.data), ctypes.byref(written.native()), _native.address(found), _native.address(marks),
                ):  # fmt: skip
                    raise InputError(
                        "the capture changed while it was read. Anonymise it when it is complete."
                    )
                rows.append(np.flatnonzero(marks) + done)
                done += len(was)
        finally:
            native.wirespeak_audit_end(audit)
        return dict(zip(REMAINS, found.tolist(), strict=True)), np.concatenate(rows)


def anonymise_capture(
    source: Path, target: Path, anonymiser: Anonymiser, *, progress: Progress | None = None
) -> Anonymised:
    """Write what stands for a capture as a pcap file with nanoseconds, then look in it for what was replaced.

    Where anything is found, as malformed messages may bring about, all is written again with the payload of these packets
    blank, and looked through again. The capture is read several times, so it has to be a file. progress: called with bytes
    done and bytes in all. Raises InputError when it is no capture, holds no packets that can be anonymised, or has several
    link types.
    """
    if source == STANDARD_INPUT or source.is_fifo():
        raise InputError(
            f"{name_of(source)} can be read once only, and anonymising reads twice. Save it to a file first."
        )
    done, rows = _passed(source, target, anonymiser, np.empty(0, np.int64), progress)
    if len(rows) and anonymiser.payload == "scrub":
        done, _ = _passed(source, target, anonymiser, rows, progress)
    return done


def _passed(
    source: Path, target: Path, anonymiser: Anonymiser, blank: NDArray[np.int64], progress: Progress | None
) -> tuple[Anonymised, NDArray[np.int64]]:
    """A capture written once and searched once: what was done, and the given packets in which something remains.

    blank: such packets of an earlier pass.
    """
    before = Counter(anonymiser.counts()[0]), Counter(anonymiser.counts()[1])
    aside, masks = Counter[str](), _Given()
    packets = written = 0
    link_type: int | None = None
    with open_capture(source) as capture, target.open("wb") as file:
        for frames in capture.chunks():
            link_type = _one_link(source, frames, link_type)
            if not packets:
                file.write(pcap_head(link_type))
            marks = np.isin(np.arange(packets, packets + len(frames)), blank) if len(blank) else None
            given, left_out, mask = anonymiser.frames(frames, blank=marks)
            file.write(pcap_records(given))
            aside.update(left_out)
            masks.add(mask)
            packets += len(frames)
            written += len(given)
            if progress:
                progress(capture.position, 2 * (capture.size or capture.position))
    if not written:
        raise InputError(_why_nothing(source, packets, aside, capture.cut))
    with open_capture(source) as was, open_capture(target) as now:
        remains, found = anonymiser.remains(_pairs(was, now, masks, progress))
    after = anonymiser.counts()
    done = Anonymised(
        packets=packets,
        written=written,
        set_aside=dict(sorted(aside.items())),
        replaced=dict(Counter(after[0]) - before[0]),
        payload=dict(Counter(after[1]) - before[1]),
        blanked=len(blank),
        remains=remains,
        cut=capture.cut,
    )
    return done, masks.rows(found)


def chosen(frames: Frames, rows: NDArray[np.bool_]) -> Frames:
    """Those of the frames that are marked."""
    if rows.all():
        return frames
    return Frames(
        time_ns=frames.time_ns[rows],
        offset=frames.offset[rows],
        captured=frames.captured[rows],
        length=frames.length[rows],
        link_type=frames.link_type[rows],
        data=frames.data,
    )


class _Given:
    """Which frames were given, a bit each, in the order in which they were read."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, NDArray[np.uint8] | None]] = []

    def add(self, mask: NDArray[np.bool_]) -> None:
        self._pieces.append((len(mask), None if mask.all() else np.packbits(mask)))

    def rows(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where frames that are counted among the given ones stand among all."""
        found: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        read = before = 0
        for mask in self if len(given) else ():
            places = np.flatnonzero(mask)
            here = given[(given >= before) & (given < before + len(places))] - before
            found.append(places[here] + read)
            read, before = read + len(mask), before + len(places)
        return np.concatenate(found)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        for count, bits in self._pieces:
            yield (
                np.ones(count, np.bool_)
                if bits is None
                else np.unpackbits(bits, count=count).astype(np.bool_)
            )


def _pairs(
    was: OpenCapture, now: OpenCapture, masks: _Given, progress: Progress | None
) -> Iterator[tuple[Frames, Frames]]:
    """Frames of the input that were given, beside those that were written for them."""
    written = now.chunks()
    held = next(written, None)
    for frames, mask in zip(was.chunks(), masks, strict=False):
        if len(frames) != len(mask):
            raise InputError(
                f"{name_of(was.path)} changed while it was read. Anonymise it when it is complete."
            )
        given = chosen(frames, mask)
        done = 0
        while done < len(given):
            if held is None:
                raise InputError(
                    f"{name_of(was.path)} changed while it was read. Anonymise it when it is complete."
                )
            count = min(len(held), len(given) - done)
            yield given[done : done + count], held[:count]
            done += count
            held = held[count:] if count < len(held) else next(written, None)
        if progress:
            total = was.size or was.position
            progress(total + was.position, 2 * total)


def _one_link(source: Path, frames: Frames, known: int | None) -> int:
    """The one link type of the frames so far. Raises InputError when there are several."""
    link_types = sorted({*np.unique(frames.link_type).tolist(), *([] if known is None else [known])})
    if len(link_types) > 1:
        names = ", ".join(
            f"{number} ({LINK_TYPES.get(number) or OTHER_LINK_TYPES.get(number, 'unknown')})"
            for number in link_types
        )
        raise InputError(
            f"{name_of(source)} has packets of several link types, {names}; a pcap file has one. Write each interface to a file of its own first."
        )
    return int(link_types[0])


def _why_nothing(source: Path, packets: int, aside: Counter[str], cut: str | None) -> str:
    if not packets:
        return (
            f"{name_of(source)} holds no packets"
            + (f" ({cut})" if cut else "")
            + ". Record it again while there is traffic."
        )
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in aside.most_common(4))
    return f"{name_of(source)}: none of the {packets:,} packets could be anonymised ({reasons}). What cannot be read is not passed on."


def _derived(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, f"wirespeak anonymise {purpose}".encode(), hashlib.sha256)


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}

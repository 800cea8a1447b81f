"""Where export messages begin and end: in files of them (RFC 5655 for IPFIX), and in captures of what exporters sent."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wirespeak._native import texts
from wirespeak.errors import InputError
from wirespeak.wire.containers import open_capture
from wirespeak.wire.headers import Packets, decode
from wirespeak.wire.stream import name_of, open_stream

_UDP, _WINDOW = 17, 1 << 20


def begins(head: bytes) -> bool:
    """Whether these first bytes of a file, or of a datagram, are those of an export message."""
    version = int.from_bytes(head[:2], "big")
    if version == 5 and len(head) >= 24:
        count, nanoseconds = struct.unpack_from(">2xH8xI", head)
        return 1 <= count <= 64 and nanoseconds < 1_000_000_000
    if version == 9 and len(head) >= 24:
        number, size = struct.unpack_from(">HH", head, 20)
        return (number < 2 or number > 255) and size >= 4
    if version == 10 and len(head) >= 16:
        (length,) = struct.unpack_from(">H", head, 2)
        if length == 16:
            return len(head) == 16 or head[16:18] == b"\0\x0a"
        if length < 20 or len(head) < 20:
            return False
        number, size = struct.unpack_from(">HH", head, 16)
        return (number in (2, 3) or number > 255) and 4 <= size <= length - 16
    return False


class MessageFile:
    """A file of export messages, one after the other, plain or packed. `messages` gives each; `cut` says where reading stopped early."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut: str | None = None
        self._stream = open_stream(path)
        self._held = b""
        self._ended = False

    @property
    def share(self) -> float | None:
        """How much of the file was read, where anybody knows its size."""
        return self._stream.position / self._stream.size if self._stream.size else None

    def messages(self) -> Iterator[bytes]:
        """Each message. Raises InputError when the file cannot be read or does not begin with one."""
        try:
            yield from self._messages()
        finally:
            self._stream.close()

    def _messages(self) -> Iterator[bytes]:
        at = before = 0
        self._more()
        if not self._held and not self._stream.broken:
            raise InputError(f"{name_of(self.path)} is empty; expected NetFlow or IPFIX messages.")
        if not begins(self._held[:65_536]):
            raise InputError(
                f"{name_of(self.path)}: no file of NetFlow v5, v9 or IPFIX messages (its first bytes are {self._held[:4].hex(' ') or 'none'}). "
                "Give what an exporter sent, or a capture of it with --from netflow."
            )
        while True:
            if len(self._held) - at < 1 << 17 and not self._ended:  # no message is longer than 65,535 bytes
                self._held, before, at = self._held[at:], before + at, 0
                self._more()
            if at >= len(self._held):
                break
            size = _size(self._held, at)
            if size == 0:
                self.cut = f"{name_of(self.path)}: no export message begins at byte {before + at:,}; what follows was not read."
                return
            if at + size > len(self._held):
                self.cut = f"{name_of(self.path)}: cut off inside the message at byte {before + at:,}."
            yield self._held[at : at + size]
            at += size
        if self._stream.broken:
            self.cut = f"{name_of(self.path)}: {self._stream.broken}; what was unpacked before was read."

    def _more(self) -> None:
        room = bytearray(_WINDOW)
        filled = 0
        while filled < _WINDOW:
            size = self._stream.readinto(memoryview(room)[filled:])
            if not size:
                self._ended = True
                break
            filled += size
        self._held += room[:filled]


def _size(data: bytes, at: int) -> int:
    """Bytes of the message that begins here, 0 where none does. NetFlow v9 does not tell it: its sets go on until another message begins,
    whose version is a number that no set has."""
    version = int.from_bytes(data[at : at + 2], "big")
    if version == 5:
        return 24 + 48 * int.from_bytes(data[at + 2 : at + 4], "big")
    if version == 10:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        return size if size >= 16 else 0
    if version != 9:
        return 0
    end = at + 20
    while end + 4 <= len(data) and end - at < 65_535:
        number, size = struct.unpack_from(">HH", data, end)
        if 2 <= number < 256 or size < 4:
            break
        end += size
    return end - at


def exports_in(path: Path, set_aside: Counter[str], cuts: list[str]) -> Iterator[tuple[bytes, str]]:
    """The export messages that a capture's UDP packets carry, each with the address that sent it.

    Packets that carry none are counted; `cuts` learns where reading stopped early. Raises InputError when it is no capture.
    """
    with open_capture(path) as capture:
        for frames in capture.chunks():
            packets = decode(frames)
            set_aside.update(packets.set_aside)
            yield from _payloads(packets, set_aside)
        if capture.cut:
            cuts.append(capture.cut)


def _payloads(packets: Packets, set_aside: Counter[str]) -> Iterator[tuple[bytes, str]]:
    udp = (packets["protocol"] == _UDP) & (packets["payload_captured"] >= 16)
    whole = udp & (packets["payload_captured"] == packets["payload_bytes"])
    rows = packets.rows[whole]
    sizes, starts = rows["payload_captured"].tolist(), rows["payload_offset"].tolist()
    data = packets.data
    sources = _sources(rows)
    if cut_off := int((udp & ~whole).sum()):
        set_aside["UDP packet that was not captured whole"] += cut_off
    others = len(packets) - int(udp.sum())
    for start, size, source in zip(starts, sizes, sources, strict=True):
        message = data[start : start + size].tobytes()
        if begins(message):
            yield message, source
        else:
            others += 1
    if others:
        set_aside["packet without an export message"] += others


def _sources(rows: NDArray[np.void]) -> list[str]:
    return texts.addresses(rows["src"], rows["family"]).to_list()


def holds_exports_only(path: Path) -> bool:
    """Whether the first packets of a capture are export messages, all of them."""
    try:
        with open_capture(path) as capture:
            frames = next(capture.chunks(rows=256), None)
            if frames is None:
                return False
            packets = decode(frames)
    except InputError:
        return False
    found: Counter[str] = Counter()
    messages = list(_payloads(packets, found))
    return bool(messages) and not found and not packets.set_aside

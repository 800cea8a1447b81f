"""Captures: pcap (micro- and nanoseconds), pcapng and snoop, in both byte orders; written as pcap.

They are read through a window that moves over their bytes: a frame is a row that says where in it its bytes are.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.errors import InputError, OptionError, OutputError
from wirespeak.wire.stream import GZIP, ZSTD, Stream, name_of, open_stream

ETHERNET = 1
_COLUMNS = {
    "time_ns": np.int64,
    "offset": np.int64,
    "captured": np.uint32,
    "length": np.uint32,
    "link_type": np.uint16,
}
_NOT_CAPTURES = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"BZh": "packed with bzip2: unpack it first",
    b"PAR1": "a Parquet table, not a capture",
    GZIP: "packed twice: unpack it first",
    ZSTD: "packed twice: unpack it first",
}
_MAGICS = (
    b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x34\xcd\xb2\xa1",
    b"\xa1\xb2\xcd\x34", b"\n\r\r\n", b"snoo",
)  # fmt: skip
# Bytes held at a time, which fit a core's cache beside their packets, and those that a head of a file needs.
_WINDOW, _BEGINNING = 1 << 21, 28


@dataclass(frozen=True)
class Frames:
    """Link-layer frames, one row each; every column has the same length.

    data: the bytes of the whole capture; offset: where a frame starts in them; captured: bytes present;
    length: bytes on the wire (at least captured); time_ns: ns since 1970 UTC; link_type: as tcpdump.org
    numbers them.
    """

    time_ns: NDArray[np.int64]
    offset: NDArray[np.int64]
    captured: NDArray[np.uint32]
    length: NDArray[np.uint32]
    link_type: NDArray[np.uint16]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    def __getitem__(self, rows: slice) -> Frames:
        return Frames(**{name: getattr(self, name)[rows] for name in _COLUMNS}, data=self.data)

    def bytes_of(self, row: int) -> bytes:
        """The captured bytes of one frame."""
        start = int(self.offset[row])
        return self.data[start : start + int(self.captured[row])].tobytes()

    @classmethod
    def of(cls, times_ns: Sequence[int], frames: Sequence[bytes], *, link_type: int = ETHERNET) -> Frames:
        """Frames from their bytes, one time each.

        >>> frames = Frames.of([1_000], [bytes(60)])
        >>> len(frames), len(frames.bytes_of(0))
        (1, 60)
        """
        sizes = np.fromiter((len(frame) for frame in frames), np.int64, len(frames))
        return cls(
            time_ns=np.asarray(times_ns, np.int64),
            offset=np.cumsum(sizes) - sizes,
            captured=sizes.astype(np.uint32),
            length=sizes.astype(np.uint32),
            link_type=np.full(len(frames), link_type, np.uint16),
            data=np.frombuffer(b"".join(frames), np.uint8),
        )

    def native(self, room: int = 0) -> _native.FrameColumns:
        """The columns as C sees them."""
        columns = {name: np.ascontiguousarray(getattr(self, name), kind) for name, kind in _COLUMNS.items()}
        seen = _native.FrameColumns(
            count=len(self), room=room, **{name: _native.address(column) for name, column in columns.items()}
        )
        seen.kept = columns  # the pointers are good while the columns live
        return seen


@dataclass(frozen=True)
class Capture:
    """The frames of a whole capture; `cut` says where and why reading had to stop before the end, if it did."""

    frames: Frames
    cut: str | None


class OpenCapture:
    """A capture being read in pieces (a context manager). `cut` and `position` are final once `chunks` is exhausted.

    cut: where and why reading stopped before the end, None where it did not. position: bytes read on disk; size:
    bytes there, None where nobody knows.
    """

    def __init__(self, stream: Stream) -> None:
        self.path = stream.path
        self.cut: str | None = None
        self._stream = stream
        self._window = np.empty(_WINDOW, np.uint8)
        self._others = deque([np.empty(_WINDOW, np.uint8)])  # they take turns
        self._filled = 0
        self._before = 0  # bytes that the window has left behind
        self._reached = _native.Reached()
        self._scan: int | None = None

    def __enter__(self) -> OpenCapture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._scan is not None:
            _native.library().wirespeak_scan_end(self._scan)
            self._scan = None
        self._stream.close()

    def stop(self) -> None:
        """Wait for no more bytes, wherever that is done."""
        self._stream.stop()

    @property
    def position(self) -> int:
        """Bytes read so far, as they are on disk."""
        return self._stream.position

    @property
    def size(self) -> int | None:
        """Bytes on disk."""
        return self._stream.size

    @property
    def slow(self) -> bool:
        """Whether its bytes must be waited for, or unpacked."""
        return self._stream.slow

    def chunks(self, rows: int = 1 << 14, *, ahead: int = 1) -> Iterator[Frames]:
        """Up to `rows` frames at a time, in the order of the file. Their bytes are good until more than `ahead` others were asked for."""
        native = _native.library()
        while len(self._others) < ahead:
            self._others.append(np.empty(_WINDOW, np.uint8))
        while True:
            columns = {name: np.empty(rows, kind) for name, kind in _COLUMNS.items()}
            frames = Frames(**columns, data=self._window[: self._filled])
            found = frames.native(room=rows)
            native.wirespeak_scan_next(
                self._scan, _native.address(self._window), self._filled, ctypes.byref(found), ctypes.byref(self._reached)
            )  # fmt: skip
            if found.count:
                yield frames[: found.count]
            if self._reached.damaged or (found.count < rows and not self._read_on()):
                break
        at = self._reached.position
        if self._reached.damaged or at < self._filled or self._stream.broken:
            self.cut = self._why_cut(self._before + at, self._filled - at)

    def begin(self) -> None:
        """Read the head of the file. Raises InputError when it is none of a capture."""
        while self._filled < _BEGINNING and self._read_on():
            pass
        start = self._window[: min(self._filled, _BEGINNING)].tobytes()
        if not start and not self._stream.broken:
            raise InputError(f"{name_of(self.path)} is empty; expected a pcap, pcapng or snoop capture.")
        self._scan = _native.library().wirespeak_scan_start(
            _native.address(self._window), self._filled, ctypes.byref(self._reached)
        )
        if not self._scan:
            raise InputError(_why_no_capture(self.path, start, self._filled, self._stream.broken))

    def _read_on(self) -> bool:
        """Move what is not yet read to the front of the window, and fill the rest; whether anything came."""
        at, left = self._reached.position, self._filled - self._reached.position
        window = self._others.popleft()
        if left >= len(window):  # one record is larger than the window
            window = np.empty(2 * left, np.uint8)
        window[:left] = self._window[at : self._filled]
        self._before += at
        self._others.append(self._window)
        self._window, self._filled, self._reached.position = window, left, 0
        came = self._stream.readinto(window[left:].data)
        self._filled += came
        return came > 0

    def _why_cut(self, at: int, left: int) -> str:
        name = name_of(self.path)
        if self._stream.broken:
            return f"{name}: {self._stream.broken}; what was unpacked before was read, {at:,} bytes."
        if self._reached.damaged:
            return (
                f"{name}: damaged at byte {at:,}: no packet record begins there. What follows was not read."
            )
        return (
            f"{name}: cut off inside the packet record at byte {at:,}; the last {left:,} bytes were not read."
        )


def open_capture(path: str | os.PathLike[str]) -> OpenCapture:
    """Open a pcap, pcapng or snoop capture to read it in pieces (a context manager); `-` is standard input.

    It may be packed with gzip or zstd. Memory holds a window of it, however large it is. Raises InputError when it is
    missing, a folder, unreadable, empty or no capture.
    """
    capture = OpenCapture(open_stream(path))
    try:
        capture.begin()
    except BaseException:
        capture.close()
        raise
    return capture


def capture_files(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """The captures that these are: files as they stand, of a folder what is a capture at any depth, by name.

    The second list has what else is in the folders, those that may not be read too. Raises InputError when nothing was given, or a folder holds
    no capture.
    """
    found: list[Path] = []
    others: list[Path] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):  # where Path.is_dir complains of what it may not see, this says no
            found.append(path)
            continue
        before = len(found)
        for file in files_in(path):
            (found if os.path.isfile(file) and is_capture(file) else others).append(file)
        if len(found) == before:
            raise InputError(
                f"{path} is a folder without a capture. Give captures, or a folder that holds some."
            )
    if not found:
        raise InputError("no capture was given. Give at least one pcap, pcapng or snoop file.")
    return found, others


def is_capture(path: Path) -> bool:
    """Whether a file begins as a capture does."""
    try:
        open_capture(path).close()
    except InputError:
        return False
    return True


def files_in(path: Path) -> list[Path]:
    """What is in a folder at any depth but folders, by name; of folders those that may not be read. Links to folders are not followed."""
    closed: list[Path] = []
    inside = [
        Path(place, name)
        for place, _, names in os.walk(path, onerror=lambda error: closed.append(Path(error.filename)))
        for name in names
    ]
    return sorted([*inside, *closed])


def read_frames(path: str | os.PathLike[str]) -> Capture:
    """All frames of a capture, in memory. Whole packets before a cut are kept. Raises InputError as `open_capture`."""
    pieces: list[Frames] = []
    data: list[NDArray[np.uint8]] = []
    size = 0
    with open_capture(path) as capture:
        for piece in capture.chunks():
            first = int(piece.offset[0])
            end = int(piece.offset[-1]) + int(piece.captured[-1])
            pieces.append(replace(piece, offset=piece.offset - first + size))
            data.append(piece.data[first:end].copy())
            size += end - first
    columns = {
        name: np.concatenate([np.empty(0, kind), *(getattr(piece, name) for piece in pieces)])
        for name, kind in _COLUMNS.items()
    }
    return Capture(Frames(**columns, data=np.concatenate([np.empty(0, np.uint8), *data])), capture.cut)


def _why_no_capture(path: Path, start: bytes, size: int, broken: str | None) -> str:
    name = name_of(path)
    if broken:
        return f"{name} is a {broken}, and no capture begins in it. Fetch it again."
    if start[:4] in _MAGICS:
        return f"{name} begins as a capture but its file header is cut off or broken ({size:,} bytes). Record or copy it again."
    found = next((what for magic, what in _NOT_CAPTURES.items() if start.startswith(magic)), None)
    if found is None:
        found = f"its first bytes are {start[:4].hex(' ')}"
    return f"{name} is not a pcap, pcapng or snoop capture ({found}). Give a capture that tcpdump or Wireshark wrote."


def pcap_head(link_type: int, *, nanoseconds: bool = True) -> bytes:
    """How a little-endian pcap file begins; records of frames follow it."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    return struct.pack("<IHHiIII", magic, 2, 4, 0, 0, 262_144, link_type)


def pcap_records(frames: Frames, *, nanoseconds: bool = True) -> memoryview:
    """The frames as records of a pcap file. Raises OptionError when one has a time that pcap cannot hold."""
    if len(frames) and (int(frames.time_ns.min()) < 0 or int(frames.time_ns.max()) >= 1_000_000_000 << 32):
        raise OptionError("pcap holds times from 1970 to 2106; these frames have others. Shift their times.")
    room = np.empty(int(frames.captured.sum(dtype=np.int64)) + 16 * len(frames), np.uint8)
    written = _native.library().wirespeak_write_records(
        _native.address(frames.data),
        len(frames.data),
        ctypes.byref(frames.native()),
        1 if nanoseconds else 1000,
        _native.address(room),
    )
    return room[:written].data


def write_pcap(
    target: str | os.PathLike[str] | BinaryIO, frames: Frames, *, nanoseconds: bool = True
) -> None:
    """Write the frames as a little-endian pcap file, in their order.

    Times keep their nanoseconds, or lose them with `nanoseconds=False` (then every tool can read the file).
    A path gets its bytes all at once or not at all. Raises OptionError when the frames have several link
    types or times that pcap cannot hold, OutputError when the file cannot be written.
    """
    link_types = np.unique(frames.link_type)
    if len(link_types) > 1:
        raise OptionError(
            f"a pcap file has one link type; these frames have {', '.join(map(str, link_types))}. Write them apart."
        )
    head = pcap_head(int(link_types[0]) if len(link_types) else ETHERNET, nanoseconds=nanoseconds)
    body = pcap_records(frames, nanoseconds=nanoseconds)
    if not isinstance(target, (str, os.PathLike)):
        target.write(head)
        target.write(body)
        return
    path = Path(target)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(head)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written: {error.strerror}. Choose another place with -o."
        ) from None

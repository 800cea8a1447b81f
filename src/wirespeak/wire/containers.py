"""Capture files: pcap (micro- and nanoseconds) and pcapng, both byte orders, plain or gzip; written as pcap.

The bytes are mapped, not copied: a frame is a row that says where its bytes are.
"""

from __future__ import annotations

import ctypes
import gzip
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.errors import InputError, OptionError, OutputError

ETHERNET = 1
MAXIMUM_UNPACKED = 4 << 30
_COLUMNS = {
    "time_ns": np.int64,
    "offset": np.int64,
    "captured": np.uint32,
    "length": np.uint32,
    "link_type": np.uint16,
}
_NOT_CAPTURES = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd: unpack it first",
    b"snoop\0\0\0": "a snoop capture: convert it with `editcap -F pcap`",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"PAR1": "a Parquet table, not a capture",
}


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


@dataclass
class OpenCapture:
    """A capture being read in pieces. `cut` and `position` are final once `chunks` is exhausted."""

    path: Path
    data: NDArray[np.uint8]
    cut: str | None = None
    position: int = 0
    _scan: int | None = field(default=None, repr=False)

    def __enter__(self) -> OpenCapture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scan is not None:
            _native.library().wirespeak_scan_end(self._scan)
            self._scan = None

    def chunks(self, rows: int = 1 << 17) -> Iterator[Frames]:
        """Up to `rows` frames at a time, in the order of the file."""
        native = _native.library()
        while True:
            columns = {name: np.empty(rows, kind) for name, kind in _COLUMNS.items()}
            frames = Frames(**columns, data=self.data)
            found = frames.native(room=rows)
            native.wirespeak_scan_next(self._scan, ctypes.byref(found))
            self.position = native.wirespeak_scan_position(self._scan)
            if found.count:
                yield frames[: found.count]
            if found.count < rows:
                break
        cut_at = native.wirespeak_scan_cut(self._scan)
        if cut_at >= 0:
            rest = len(self.data) - cut_at
            self.cut = (
                f"{self.path}: cut off or damaged at byte {cut_at:,}; the last {rest:,} bytes were not read."
            )


def open_capture(path: str | os.PathLike[str]) -> OpenCapture:
    """Open a pcap or pcapng file, gzipped or not, to read it in pieces (a context manager).

    Raises InputError when it is missing, a folder, unreadable, empty or no capture.
    """
    path = Path(path)
    data = _bytes_of(path)
    scan = _native.library().wirespeak_scan_start(_native.address(data), len(data))
    if not scan:
        raise InputError(_why_no_capture(path, data[:8].tobytes(), len(data)))
    return OpenCapture(path, data, _scan=scan)


def read_frames(path: str | os.PathLike[str]) -> Capture:
    """All frames of a capture file. Whole packets before a cut are kept. Raises InputError as `open_capture`."""
    with open_capture(path) as capture:
        pieces = list(capture.chunks())
    columns = {
        name: np.concatenate([np.empty(0, kind), *(getattr(piece, name) for piece in pieces)])
        for name, kind in _COLUMNS.items()
    }
    return Capture(Frames(**columns, data=capture.data), capture.cut)


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    """The file's bytes: mapped, or unpacked when it is gzip."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise InputError(f"{path} is empty; expected a pcap or pcapng capture.")
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                return _unpack(path, file)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Give the path of a pcap or pcapng capture.") from None
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder. Give the capture files in it, such as {path}/*.pcap."
        ) from None
    except PermissionError:
        raise InputError(
            f"{path} may not be read by this user. Change its permissions or run as its owner."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a regular capture file.") from None


def _unpack(path: Path, file: BinaryIO) -> NDArray[np.uint8]:
    """The unpacked bytes of a gzip file; what can be unpacked of a damaged one."""
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while piece := stream.read1(1 << 20):
                unpacked += piece
                if len(unpacked) > MAXIMUM_UNPACKED:
                    raise InputError(
                        f"{path} unpacks to more than {MAXIMUM_UNPACKED >> 30} GiB. Unpack it with gunzip and give the result."
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        if not unpacked:
            raise InputError(f"{path} is a damaged gzip file: {error}. Fetch it again.") from None
    return np.frombuffer(bytes(unpacked), np.uint8)


def _why_no_capture(path: Path, start: bytes, size: int) -> str:
    found = next((what for magic, what in _NOT_CAPTURES.items() if start.startswith(magic)), None)
    if found is None:
        found = f"its first bytes are {start[:4].hex(' ')}"
    if start[:4] in (
        b"\xd4\xc3\xb2\xa1",
        b"\xa1\xb2\xc3\xd4",
        b"\x4d\x3c\xb2\xa1",
        b"\xa1\xb2\x3c\x4d",
        b"\n\r\r\n",
    ):
        return f"{path} begins as a capture but its file header is cut off or broken ({size:,} bytes). Record or copy it again."
    return (
        f"{path} is not a pcap or pcapng capture ({found}). Give a capture that tcpdump or Wireshark wrote."
    )


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
    if len(frames) and (int(frames.time_ns.min()) < 0 or int(frames.time_ns.max()) >= 1_000_000_000 << 32):
        raise OptionError("pcap holds times from 1970 to 2106; these frames have others. Shift their times.")
    link_type = int(link_types[0]) if len(link_types) else ETHERNET
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    head = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, 262_144, link_type)
    room = np.empty(int(frames.captured.sum(dtype=np.int64)) + 16 * len(frames), np.uint8)
    written = _native.library().wirespeak_write_records(
        _native.address(frames.data),
        len(frames.data),
        ctypes.byref(frames.native()),
        1 if nanoseconds else 1000,
        _native.address(room),
    )
    body = room[:written].data
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

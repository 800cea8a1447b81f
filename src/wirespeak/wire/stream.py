"""The bytes of a file, a pipe or standard input, unpacked while they are read.

gzip (RFC 1952, several members too) and Zstandard (RFC 8878) are known by their first bytes, not by the file's name.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import select
import stat
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from wirespeak.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STANDARD_INPUT = Path("-")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def _ungzip(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)


_KINDS: dict[bytes, tuple[str, Any]] = {GZIP: ("gzip", _ungzip), ZSTD: ("zstd", zstd.ZstdFile)}
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)
_AHEAD, _PIPE, _LOOK_MS = 1 << 16, 1 << 20, 200


class _Counted(io.RawIOBase):
    """A raw file that counts what was read of it. Waiting for a pipe ends when it is stopped, by whatever thread."""

    def __init__(self, file: Any, *, waits: bool) -> None:
        self._file = file
        self._waits = waits
        self.read_bytes = 0
        self.stopped = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._file.fileno())

    def readinto(self, room: Any) -> int:
        while self._waits and not self.stopped and not _is_ready(self.fileno(), _LOOK_MS):
            pass
        if self.stopped:
            return 0
        size: int = self._file.readinto(room) or 0
        self.read_bytes += size
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass
class Stream:
    """Bytes in their order, unpacked.

    path: `-` is standard input. size: bytes on disk, None where nobody knows. broken: why unpacking stopped before
    the end, if it did; what came before it was read.
    """

    path: Path
    size: int | None
    broken: str | None = None
    _raw: _Counted = field(repr=False, kw_only=True)
    _file: Any = field(repr=False, kw_only=True)
    _packed: str = field(default="", repr=False, kw_only=True)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._raw.close()

    def stop(self) -> None:
        """From now on there is nothing to read; a thread that waits for more is told so soon."""
        self._raw.stopped = True

    @property
    def slow(self) -> bool:
        """Whether its bytes must be waited for, or unpacked."""
        return self.size is None or bool(self._packed)

    @property
    def position(self) -> int:
        """Bytes read so far, as they are on disk."""
        return self._raw.read_bytes

    def readinto(self, room: memoryview) -> int:
        """Fill `room` with what is there, and wait only for the first of it; how much, 0 at the end. Raises InputError when the file cannot
        be read any further."""
        filled = came = self._read(room)
        while came and filled < len(room) and self._is_ready():
            came = self._read(room[filled:])
            filled += came
        return filled

    def _read(self, room: memoryview) -> int:
        if self.broken:
            return 0
        try:
            return int(self._file.readinto1(room))
        except _DAMAGED as error:
            self.broken = f"damaged {self._packed} ({str(error).rstrip('.')})"
            return 0
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _is_ready(self) -> bool:
        """Whether more can be read without waiting."""
        return self.size is not None or _is_ready(self._raw.fileno(), 0)


def open_stream(path: str | os.PathLike[str]) -> Stream:
    """Open a file, or standard input for `-`. Raises InputError when it is missing, a folder or not to be read."""
    path = Path(path)
    try:
        standard = path == STANDARD_INPUT
        opened = io.FileIO(0 if standard else path, closefd=not standard)
        about = os.fstat(opened.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) else None
        if stat.S_ISFIFO(about.st_mode):
            _widen(opened.fileno())
        raw = _Counted(opened, waits=size is None)
        file = io.BufferedReader(raw, _AHEAD)
        start = file.peek(4)[:4]
    except OSError as error:
        raise _unreadable(path, error) from None
    packed, unpack = next((kind for magic, kind in _KINDS.items() if start.startswith(magic)), ("", None))
    return Stream(path, size, _raw=raw, _file=unpack(file) if unpack else file, _packed=packed)


def _is_ready(file: int, wait_ms: int) -> bool:
    """Whether something can be read, or there is nothing more, within this time."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(wait_ms))


def _widen(pipe: int) -> None:
    """Let whoever writes into a pipe run further ahead, where the system allows it."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def name_of(path: Path) -> str:
    """What a stream is called in words."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def _unreadable(path: Path, error: OSError) -> InputError:
    match error:
        case FileNotFoundError():
            return InputError(f"{path} does not exist. Give the path of a capture.")
        case IsADirectoryError():
            return InputError(f"{path} is a folder. Give the capture files in it, such as {path}/*.pcap.")
        case PermissionError():
            return InputError(
                f"{path} may not be read by this user. Change its permissions or run as its owner."
            )
        case _:
            return InputError(
                f"{path} cannot be read: {error.strerror or error}. Give a capture file, a pipe, or - for standard input."
            )

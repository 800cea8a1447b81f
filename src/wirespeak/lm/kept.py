"""Answers that were paid for once, kept in a file so that a second run asks only what is missing."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

from wirespeak.errors import InputError, OutputError

_LINE = b'{"key": "'


class Kept:
    """Answers by key, in a file of JSON lines that only grows; each is on the disk before it counts.

    A line that a crash left unfinished is asked anew.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises InputError when the file is something else, OutputError when it cannot be written."""
        self._lock = threading.Lock()
        self._answers: dict[str, Any] = {}
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file, and a cache of answers is one. Name another.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
            self._file.seek(0)
            data = self._file.read()
        except OSError as error:
            raise OutputError(
                f"{path} cannot be used as a cache ({error.strerror}). Name another file."
            ) from error
        *lines, torn = data.split(b"\n")
        entries = [_entry(line) for line in lines]
        for number, entry in enumerate(entries, 1):
            if entry is None:
                raise InputError(
                    f"{path} line {number} is no answer of a cache. Name another file, or a new one."
                )
            self._answers[entry["key"]] = entry["value"]
        if torn[: len(_LINE)] != _LINE[: len(torn)]:
            raise InputError(f"{path} is no cache of answers. Name another file, or a new one.")
        self._file.truncate(len(data) - len(torn))

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def get(self, key: str) -> Any:
        """The answer kept under `key`, or None."""
        return self._answers.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep an answer. Raises OutputError when it cannot be written."""
        line = json.dumps({"key": key, "value": value}).encode() + b"\n"
        with self._lock:
            self._append(line)
            self._answers[key] = value

    def _append(self, data: bytes) -> None:
        try:
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self._file.name} cannot be written ({error.strerror}). What it holds already stays good."
            ) from error


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return (
        entry if isinstance(entry, dict) and isinstance(entry.get("key"), str) and "value" in entry else None
    )

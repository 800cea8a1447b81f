"""The formats in which other tools write flows, and which of them a file is in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wirespeak.data.sources import argus, eve, joy, netflow, nfdump, wireshark, zeek
from wirespeak.data.sources.log import Log, head_of
from wirespeak.errors import InputError, unknown_name
from wirespeak.wire.containers import files_in, is_capture
from wirespeak.wire.stream import STANDARD_INPUT

LOGS: dict[str, Log] = {
    each.LOG.name: each.LOG
    for each in (
        zeek, eve, argus, joy, wireshark, netflow, nfdump,
    )
}  # fmt: skip
"""Formats in which other tools write flows: each file of this folder that declares a `LOG`."""


def log_of(paths: Sequence[Path], name: str | None = None) -> Log | None:
    """The format that all of these are in, None when they are in none of `LOGS`.

    name: one of `LOGS`, where it is known. Raises OptionError for a name that does not exist, InputError for files of several formats.
    """
    if name is not None:
        if name not in LOGS:
            raise unknown_name("log format", name, LOGS)
        return LOGS[name]
    found = [_claimed(path) for path in paths]
    if len({each.name for each in found if each}) > 1 or (any(found) and not all(found)):
        kinds = ", ".join(
            f"{path.name}: {each.title if each else 'another'}"
            for path, each in zip(paths, found, strict=True)
        )
        raise InputError(f"these are files of several formats ({kinds}). Read them apart.")
    return found[0] if found else None


def _claimed(path: Path) -> Log | None:
    """The format of a file, or of a folder: the first that claims it, or one of its files. A folder with a capture is none."""
    if path == STANDARD_INPUT or not (os.path.isfile(path) or os.path.isdir(path)):
        return None
    if os.path.isfile(path):
        return _of_file(path)
    inside = [file for file in files_in(path) if os.path.isfile(file)]
    if any(is_capture(file) for file in inside):
        return None
    whole = next((log for log in LOGS.values() if log.folders and log.claims(path, b"")), None)
    return whole or next((found for file in inside if (found := _of_file(file))), None)


def _of_file(path: Path) -> Log | None:
    head = head_of(path)
    return next((log for log in LOGS.values() if log.claims(path, head)), None)

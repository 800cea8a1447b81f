"""Capture files to flows: the function behind `wirespeak flows`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow.meter import ACTIVE_S, IDLE_S, PIECE, Meter, in_order
from wirespeak.wire import capture_files, open_capture
from wirespeak.wire.headers import LINK_TYPES
from wirespeak.wire.stream import STANDARD_INPUT, name_of

Progress = Callable[[int, int], None]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class FlowTable:
    """The flows of one or more captures.

    flows: one row a flow, columns as `schema.COLUMNS`; packets: frames read, those set aside included;
    set_aside: frames that are in no flow, by reason; cut: where reading had to stop early, or None; others: files of
    folders that are no captures.
    """

    flows: pl.DataFrame
    packets: int
    set_aside: dict[str, int]
    cut: str | None
    others: tuple[Path, ...] = ()


def read_flows(
    paths: PathLike | Iterable[PathLike],
    *,
    idle_s: float = IDLE_S,
    active_s: float = ACTIVE_S,
    progress: Progress | None = None,
) -> FlowTable:
    """The flows of captures, taken as one in the order of their first packets: files, folders of them, `-` for standard input.

    progress: called with bytes done and bytes in all. Memory holds the flows and the hosts alive, never all
    packets. Raises InputError when a file is no capture or holds no packets, or when no file holds a flow.
    """
    files, others = capture_files([paths] if isinstance(paths, (str, os.PathLike)) else paths)
    if len(files) > 1:
        if STANDARD_INPUT in files:
            raise InputError("standard input (-) can only be read alone. Save it to a file first.")
        files.sort(key=_first_time)
    meter = Meter(idle_s=idle_s, active_s=active_s)
    pieces: list[pl.DataFrame] = []
    set_aside: Counter[str] = Counter()
    cuts: list[str] = []
    packets = done = 0
    total = sum(path.stat().st_size for path in files if path.is_file())
    for path in files:
        packets_before = packets
        with open_capture(path) as capture:
            for frames in capture.chunks():
                packets += len(frames)
                set_aside.update(meter.take(frames))
                if meter.waiting >= PIECE:
                    pieces.append(meter.ended())
                if progress:
                    progress(done + capture.position, max(total, done + capture.position))
        done += capture.position
        if packets == packets_before:
            raise InputError(
                f"{name_of(path)} holds no packets"
                + (f" ({capture.cut})" if capture.cut else "")
                + ". Record it again while there is traffic."
            )
        if capture.cut:
            cuts.append(capture.cut)
    pieces.append(meter.flush())
    set_aside.update(meter.set_aside)
    flows = in_order(pieces)
    if flows.is_empty():
        raise InputError(_why_no_flow(files, packets, set_aside))
    return FlowTable(flows, packets, dict(sorted(set_aside.items())), " ".join(cuts) or None, tuple(others))


def _first_time(path: Path) -> int:
    with open_capture(path) as capture:
        first = next(capture.chunks(rows=1), None)
    return int(first.time_ns[0]) if first is not None else np.iinfo(np.int64).max


def _why_no_flow(files: list[Path], packets: int, set_aside: Counter[str]) -> str:
    names = ", ".join(map(name_of, files))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in set_aside.most_common(4))
    kinds = ", ".join(f"{name} ({number})" for number, name in LINK_TYPES.items())
    return f"{names}: none of the {packets:,} packets could be read ({reasons}). Link types that can be read: {kinds}."

"""Capture files to flows: the function behind `wirespeak flows`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow.meter import ACTIVE_S, IDLE_S, MOST_FLOWS, Meter, in_order
from wirespeak.flow.stages import Stages
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


class FlowReader:
    """Captures being read: `pieces` are their flows, in the order of their first packets.

    Files, folders of them, or `-` for standard input, taken as one capture. Memory holds the flows and the hosts alive, never all
    packets, and never all flows. Options are those of `Meter`; progress: called with bytes done and bytes in all; workers: with more
    than one, several threads share the work; the flows are the same. `packets`, `set_aside`, `cut` and `others` are those of
    `FlowTable`, `evicted` and `forgotten` those of `Meter`, all final once `pieces` is exhausted.
    """

    def __init__(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        idle_s: float = IDLE_S,
        active_s: float = ACTIVE_S,
        most_flows: int = MOST_FLOWS,
        workers: int = 1,
        first_packets: int = 0,
        progress: Progress | None = None,
    ) -> None:
        files, others = capture_files([paths] if isinstance(paths, (str, os.PathLike)) else paths)
        if len(files) > 1:
            once = next((path for path in files if path == STANDARD_INPUT or path.is_fifo()), None)
            if once:
                raise InputError(f"{name_of(once)} can only be read alone. Save it to a file first.")
            files.sort(key=_first_time)
        self.files, self.others = files, tuple(others)
        self.packets = 0
        self.set_aside: dict[str, int] = {}
        self.cut: str | None = None
        self.evicted = self.forgotten = 0
        self._meter = Meter(
            idle_s=idle_s, active_s=active_s, most_flows=most_flows, first_packets=first_packets
        )
        self._workers = workers
        self._progress = progress

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Some flows at a time, none of them empty.

        Raises InputError when a file is no capture or holds no packets, or when no file holds a flow.
        """
        given = 0
        with Stages(self._meter, workers=self._workers) as stages:
            for piece in chain(self._read(stages), stages.finish()):
                given += len(piece)
                yield piece
        aside = Counter(self.set_aside) + Counter(self._meter.set_aside)
        self.set_aside = dict(sorted(aside.items()))
        self.evicted, self.forgotten = self._meter.evicted, self._meter.forgotten
        if not given:
            raise InputError(_why_no_flow(self.files, self.packets, aside))

    def _read(self, stages: Stages) -> Iterator[pl.DataFrame]:
        set_aside, cuts = Counter[str](), list[str]()
        done = 0
        total = sum(os.path.getsize(path) for path in self.files if os.path.isfile(path))
        for path in self.files:
            before = self.packets
            with open_capture(path) as capture, stages.found(capture) as found:
                for frames in found:
                    self.packets += len(frames)
                    set_aside.update(stages.take(frames))
                    yield from stages.tables()
                    if self._progress:
                        self._progress(done + capture.position, max(total, done + capture.position))
            done += capture.position
            if self.packets == before:
                raise InputError(
                    f"{name_of(path)} holds no packets"
                    + (f" ({capture.cut.rstrip('.')})" if capture.cut else "")
                    + ". Record it again while there is traffic."
                )
            if capture.cut:
                cuts.append(capture.cut)
        self.set_aside, self.cut = dict(set_aside), " ".join(cuts) or None


def read_flows(
    paths: PathLike | Iterable[PathLike],
    *,
    idle_s: float = IDLE_S,
    active_s: float = ACTIVE_S,
    most_flows: int = MOST_FLOWS,
    workers: int = 1,
    first_packets: int = 0,
    progress: Progress | None = None,
) -> FlowTable:
    """The flows of captures in one table; options and errors as those of `FlowReader`."""
    reader = FlowReader(
        paths,
        idle_s=idle_s,
        active_s=active_s,
        most_flows=most_flows,
        first_packets=first_packets,
        workers=workers,
        progress=progress,
    )
    flows = in_order(list(reader.pieces()))
    return FlowTable(flows, reader.packets, reader.set_aside, reader.cut, reader.others)


def _first_time(path: Path) -> int:
    with open_capture(path) as capture:
        first = next(capture.chunks(rows=1), None)
    return int(first.time_ns[0]) if first is not None else np.iinfo(np.int64).max


def _why_no_flow(files: list[Path], packets: int, set_aside: Counter[str]) -> str:
    names = ", ".join(map(name_of, files))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in set_aside.most_common(4))
    kinds = ", ".join(f"{name} ({number})" for number, name in LINK_TYPES.items())
    return f"{names}: none of the {packets:,} packets could be read ({reasons}). Link types that can be read: {kinds}."

"""Packets to flows with their context, fed in pieces or at once.

The work is done in C (`_native/meter.c`, `context.c`, `conversation.c`); here its rows become the table that
`schema.COLUMNS` declares. `docs/flows.md` says what a flow is and how each number is found.
"""

from __future__ import annotations

import ctypes
import secrets
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.errors import OptionError
from wirespeak.flow.columns import flow_table
from wirespeak.wire import Frames, Packets
from wirespeak.wire.headers import count_reasons

IDLE_S = 60.0
ACTIVE_S = 300.0
PIECE, HELD, SHARED = 1 << 14, 1 << 18, 1 << 10
"""Flows that are put into a table at a time, that wait for others at most, and that several workers share."""
MOST_FLOWS, MOST_WORKERS = 1 << 18, 8


class Meter:
    """Measures the flows of a stream of packets.

    However the packets are cut into pushes, and however many workers there are, the rows that all calls return, sorted by flow_id,
    are the same. Memory grows with the flows and hosts that are alive, not with the packets.

    idle_s: a flow ends after so long without a packet; active_s: a longer flow is reported in several rows. most_flows: alive at once;
    where there are more, those end that were silent for longest, and `evicted` counts them. workers: threads, at most 8.
    """

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        active_s: float = ACTIVE_S,
        most_flows: int = MOST_FLOWS,
        workers: int = 1,
    ) -> None:
        for name, value in (("idle_s", idle_s), ("active_s", active_s)):
            if not 0 < value <= 1e9:
                raise OptionError(f"{name} is {value}; expected seconds, more than 0 and at most 1e9.")
        for name, count, most in (("most_flows", most_flows, 1 << 28), ("workers", workers, 1 << 16)):
            if not 1 <= count <= most:
                raise OptionError(
                    f"{name} is {count}; expected a whole number, at least 1 and at most {most:,}."
                )
        native = _native.library()
        self._workers = min(workers, MOST_WORKERS)
        # A fresh seed keeps hostile captures from filling one bucket of the hash tables; no result depends on it.
        self._meter = native.wirespeak_meter_start(
            round(idle_s * 1e9), round(active_s * 1e9), most_flows, self._workers, secrets.randbits(64)
        )
        if not self._meter:
            raise MemoryError("no memory for a flow table")
        self._next = 0
        self._end = weakref.finalize(self, native.wirespeak_meter_end, self._meter)

    def push(self, packets: Packets) -> pl.DataFrame:
        """Take packets in capture order; the flows that have ended by now."""
        rows = np.ascontiguousarray(packets.rows)
        data = packets.data
        if not _native.library().wirespeak_meter_push(
            self._meter, _native.address(rows), len(rows), _native.address(data), len(data)
        ):
            raise _no_memory()
        return self.ended()

    def take(self, frames: Frames) -> dict[str, int]:
        """Decode frames and take their packets in one pass; those that were set aside, by reason.

        The flows that end wait for `ended`; `waiting` says how many.
        """
        reasons, details = np.empty(len(frames), np.uint8), np.empty(len(frames), np.uint16)
        if not _native.library().wirespeak_meter_frames(
            self._meter, _native.address(frames.data), len(frames.data), ctypes.byref(frames.native()),
            _native.address(reasons), _native.address(details),
        ):  # fmt: skip
            raise _no_memory()
        return count_reasons(reasons, details)

    @property
    def waiting(self) -> int:
        """How many flows ended since the last call of `ended`."""
        count = _native.library().wirespeak_meter_waiting
        return sum(int(count(self._meter, worker)) for worker in range(self._workers))

    @property
    def set_aside(self) -> dict[str, int]:
        """Packets that are in no flow, by reason."""
        orphans = self._lost()[0]
        return {"fragment whose first one is missing": orphans} if orphans else {}

    @property
    def evicted(self) -> int:
        """Flows that were ended because more were alive than `most_flows`."""
        return self._lost()[1]

    @property
    def forgotten(self) -> int:
        """Hosts and pairs whose earlier flows were forgotten because there were too many: context counts anew from there."""
        return self._lost()[2]

    def flush(self) -> pl.DataFrame:
        """End every flow that is still alive; their rows in the order of their first packets."""
        return pl.concat([self.ended(), *self._living(self.ended)])

    def flush_in_order(self) -> Iterator[pl.DataFrame]:
        """End every flow that is still alive, some at a time, and go on as `ended_in_order`."""
        yield self.ended_in_order()
        yield from self._living(self.ended_in_order)

    def ended(self) -> pl.DataFrame:
        """The flows that ended since the last call, by flow_id."""
        ids, places, _ = self._rows()
        return self._table(places[np.argsort(ids)])

    def ended_in_order(self) -> pl.DataFrame:
        """Of the flows that ended those before which every flow has ended too, so that all calls together are by flow_id.

        The others wait in `waiting`. When there are more than HELD of them, half are given out of their turn.
        """
        ids, places, begins = self._rows()
        order = np.argsort(ids)
        ids = ids[order]
        late = int(np.searchsorted(ids, self._next))
        in_turn = ids[late:] == self._next + np.arange(len(ids) - late)
        given = late + (len(in_turn) if in_turn.all() else int(in_turn.argmin()))
        if len(ids) - given > HELD:
            given = len(ids) - HELD // 2
        if given:
            self._next = max(self._next, int(ids[given - 1]) + 1)
        table = self._table(places[order[:given]])
        kept = np.sort(order[given:])
        for worker, (begin, end) in enumerate(pairwise(begins)):
            own = kept[(kept >= begin) & (kept < end)] - begin
            _native.library().wirespeak_meter_keep(self._meter, worker, _native.address(own), len(own))
        return table

    def _living(self, ended: Callable[[], pl.DataFrame]) -> Iterator[pl.DataFrame]:
        # Bit by bit, so that many flows at once need the memory of their table and little more.
        while True:
            before = self.waiting
            if not _native.library().wirespeak_meter_flush(self._meter, PIECE):
                raise _no_memory()
            if self.waiting == before:
                return
            yield ended()

    def _lost(self) -> tuple[int, int, int]:
        counts = [ctypes.c_int64() for _ in range(3)]
        _native.library().wirespeak_meter_lost(self._meter, *(ctypes.byref(count) for count in counts))
        return counts[0].value, counts[1].value, counts[2].value

    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """Of the rows that wait their flow_id, where C has them, good until the next call, and where each worker's begin and end."""
        kind = _native.row_type("flows")
        count = ctypes.c_int64()
        ids, places, begins = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [0]
        for worker in range(self._workers):
            at = _native.library().wirespeak_meter_ended(self._meter, worker, ctypes.byref(count))
            if count.value:
                buffer = (ctypes.c_uint8 * (count.value * kind.itemsize)).from_address(at)
                ids.append(np.frombuffer(memoryview(buffer), kind)["flow_id"])
                places.append(at + kind.itemsize * np.arange(count.value))
            begins.append(begins[-1] + count.value)
        return np.concatenate(ids), np.concatenate(places), begins

    def _table(self, places: NDArray[np.int64]) -> pl.DataFrame:
        """The rows at these places; each worker makes a part of the table."""
        if self._workers == 1 or len(places) < SHARED:
            return flow_table(places)
        with ThreadPoolExecutor(self._workers) as workers:
            return pl.concat(workers.map(flow_table, np.array_split(places, self._workers)))


def _no_memory() -> MemoryError:
    return MemoryError("no memory for more flows; measure the capture in parts")


def measure(
    packets: Packets, *, idle_s: float = IDLE_S, active_s: float = ACTIVE_S, workers: int = 1
) -> pl.DataFrame:
    """All flows of the packets, one row each, in the order of their first packets; columns as `schema.COLUMNS`."""
    meter = Meter(idle_s=idle_s, active_s=active_s, workers=workers)
    return in_order([meter.push(packets), meter.flush()])


def in_order(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """Pieces of a flow table as one, sorted by flow_id. Empties the list, to hold no column twice."""
    table = pl.concat(pieces)
    pieces.clear()
    if table["flow_id"].is_sorted():
        return table
    order = table["flow_id"].arg_sort()
    return pl.DataFrame([table[name].gather(order) for name in table.columns])

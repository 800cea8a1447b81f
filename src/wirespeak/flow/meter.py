"""Packets to flows with their context, fed in pieces or at once.

The work is done in C (`_native/meter.c`, `context.c`, `conversation.c`); here its rows become the table that
`schema.COLUMNS` declares. `docs/flows.md` says what a flow is and how each number is found.
"""

from __future__ import annotations

import ctypes
import secrets
import weakref

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.errors import OptionError
from wirespeak.flow.columns import flow_table
from wirespeak.flow.rows import Rows, take_apart
from wirespeak.wire import Frames, Packets
from wirespeak.wire.headers import count_reasons

IDLE_S = 60.0
ACTIVE_S = 300.0
MOST_FLOWS, MOST_FIRST_PACKETS = 1 << 18, 255
SIDES = 16
PIECE, HELD = 1 << 14, 1 << 18
"""Flows that are put into a table at a time, and that wait for others at most."""


class Meter:
    """Measures the flows of a stream of packets.

    However the packets are cut into pushes, the rows that all calls return, sorted by flow_id, are the same.
    Memory grows with the flows and hosts that are alive, not with the packets.

    idle_s: a flow ends after so long without a packet; active_s: a longer flow is reported in several rows. most_flows: alive at once;
    where there are more, those end that were silent for longest, and `evicted` counts them. first_packets: of how many packets of each
    row the size, direction and time are told (`schema.FIRST_PACKETS`).

    The work has two stages, which two threads may do at the same time (`flow/stages.py`): `meter` fills one of SIDES sides from
    packets, `digest` makes rows of it. Sides must be digested in the order in which they were filled.
    """

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        active_s: float = ACTIVE_S,
        most_flows: int = MOST_FLOWS,
        first_packets: int = 0,
    ) -> None:
        for name, value in (("idle_s", idle_s), ("active_s", active_s)):
            if not 0 < value <= 1e9:
                raise OptionError(f"{name} is {value}; expected seconds, more than 0 and at most 1e9.")
        if not 1 <= most_flows <= 1 << 28:
            raise OptionError(f"most_flows is {most_flows}; expected a whole number, 1 to {1 << 28:,}.")
        if not 0 <= first_packets <= MOST_FIRST_PACKETS:
            raise OptionError(
                f"first_packets is {first_packets}; expected a whole number from 0 to {MOST_FIRST_PACKETS}."
            )
        native = _native.library()
        # A fresh seed keeps hostile captures from filling one bucket of the hash tables; no result depends on it.
        self._meter = native.wirespeak_meter_start(
            round(idle_s * 1e9), round(active_s * 1e9), most_flows, secrets.randbits(64), first_packets
        )
        if not self._meter:
            raise MemoryError("no memory for a flow table")
        self.early = first_packets > 0
        self._next = 0
        self._end = weakref.finalize(self, native.wirespeak_meter_end, self._meter)

    def push(self, packets: Packets) -> pl.DataFrame:
        """Take packets in capture order; the flows that have ended by now."""
        rows = np.ascontiguousarray(packets.rows)
        data = packets.data
        if not _native.library().wirespeak_meter_push(
            self._meter, 0, _native.address(rows), len(rows), _native.address(data), len(data)
        ):
            raise _no_memory()
        self.digest(0)
        return self.ended()

    def meter(self, frames: Frames, side: int) -> dict[str, int]:
        """Decode frames and meter their packets in one pass, into a side that was digested; those that were set aside, by reason."""
        reasons, details = np.empty(len(frames), np.uint8), np.empty(len(frames), np.uint16)
        if not _native.library().wirespeak_meter_frames(
            self._meter, side, _native.address(frames.data), len(frames.data), ctypes.byref(frames.native()),
            _native.address(reasons), _native.address(details),
        ):  # fmt: skip
            raise _no_memory()
        return count_reasons(reasons, details)

    def digest(self, side: int) -> None:
        """Make rows of what a side tells; they wait for `ended`, and `waiting` says how many."""
        if not _native.library().wirespeak_meter_digest(self._meter, side):
            raise _no_memory()

    @property
    def waiting(self) -> int:
        """How many flows ended and were not returned yet."""
        return int(_native.library().wirespeak_meter_waiting(self._meter))

    @property
    def alive(self) -> int:
        """How many flows have not ended."""
        return int(_native.library().wirespeak_meter_alive(self._meter))

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

    def end_some(self, side: int) -> None:
        """End PIECE of the flows that are still alive, those that began first, into a side that was digested. Until none is, nothing may
        be pushed."""
        if not _native.library().wirespeak_meter_flush(self._meter, side, PIECE):
            raise _no_memory()

    def flush(self) -> pl.DataFrame:
        """End every flow that is still alive; their rows in the order of their first packets."""
        pieces = [self.ended()]
        while self.alive:
            # Bit by bit, so that many flows at once need the memory of their table and little more.
            self.end_some(0)
            self.digest(0)
            pieces.append(self.ended())
        return pl.concat(pieces)

    def ended(self) -> pl.DataFrame:
        """The flows that ended since the last call, by flow_id."""
        rows = self._rows()
        return flow_table(_taken(rows, np.argsort(rows["flow_id"])), early=self.early)

    def in_order(self) -> Rows:
        """Of the flows that ended those before which every flow has ended too, so that all calls together are by flow_id: rows for
        `flow_table`.

        The others wait in `waiting`. When there are more than HELD of them, half are given out of their turn.
        """
        rows = self._rows()
        ids = np.ascontiguousarray(rows["flow_id"])
        order = np.argsort(ids)
        ids = ids[order]
        late = int(np.searchsorted(ids, self._next))
        in_turn = ids[late:] == self._next + np.arange(len(ids) - late)
        given = late + (len(in_turn) if in_turn.all() else int(in_turn.argmin()))
        if len(ids) - given > HELD:
            given = len(ids) - HELD // 2
        if given:
            self._next = max(self._next, int(ids[given - 1]) + 1)
        found = _taken(rows, order[:given])
        kept = np.sort(order[given:])
        _native.library().wirespeak_meter_keep(self._meter, _native.address(kept), len(kept))
        return found

    def _lost(self) -> tuple[int, int, int]:
        counts = [ctypes.c_int64() for _ in range(3)]
        _native.library().wirespeak_meter_lost(self._meter, *(ctypes.byref(count) for count in counts))
        return counts[0].value, counts[1].value, counts[2].value

    def _rows(self) -> NDArray[np.void]:
        """The rows that wait, where C has them: good until the next call."""
        count = ctypes.c_int64()
        at = _native.library().wirespeak_meter_ended(self._meter, ctypes.byref(count))
        kind = _native.row_type("flows")
        if not count.value:
            return np.empty(0, kind)
        buffer = (ctypes.c_uint8 * (count.value * kind.itemsize)).from_address(at)
        return np.frombuffer(memoryview(buffer), kind)


def _taken(rows: NDArray[np.void], order: NDArray[np.int64]) -> Rows:
    """The rows taken apart, in this order. What hangs on them is let go with the column that has the pointers."""
    taken = take_apart(rows, order)
    attached = taken["attached"]
    if attached.any():
        weakref.finalize(attached, _let_go, attached.copy())
    return taken


def _let_go(attached: NDArray[np.uint64]) -> None:
    _native.library().wirespeak_attached_free(_native.address(attached), len(attached))


def _no_memory() -> MemoryError:
    return MemoryError("no memory for more flows; measure the capture in parts")


def measure(
    packets: Packets, *, idle_s: float = IDLE_S, active_s: float = ACTIVE_S, first_packets: int = 0
) -> pl.DataFrame:
    """All flows of the packets, one row each, in the order of their first packets; options and columns as those of `Meter`."""
    meter = Meter(idle_s=idle_s, active_s=active_s, first_packets=first_packets)
    return in_order([meter.push(packets), meter.flush()])


def in_order(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """Pieces of a flow table as one, sorted by flow_id. Empties the list, to hold no column twice."""
    table = pl.concat(pieces)
    pieces.clear()
    if table["flow_id"].is_sorted():
        return table
    order = table["flow_id"].arg_sort()
    return pl.DataFrame([table[name].gather(order) for name in table.columns])

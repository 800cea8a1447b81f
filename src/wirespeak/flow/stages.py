"""Frames to flow tables, in stages that several threads do at the same time: find, meter, digest, tabulate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import polars as pl

from wirespeak.flow.columns import flow_table
from wirespeak.flow.meter import PIECE, SIDES, Meter
from wirespeak.wire import Frames

_AHEAD = 2
"""Tables that are made before those before them are asked for."""


class _AtOnce(Executor):
    """Does everything where and when it is asked to."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **options))
        return done


class Stages:
    """The flows of frames, in order and in pieces (a context manager).

    workers: with one, everything is done in turn; with more, each stage has a thread of its own. The tables are the same: every stage
    does its pieces in their order, whoever does it.
    """

    def __init__(self, meter: Meter, *, workers: int) -> None:
        self._meter = meter
        self._stages = [ThreadPoolExecutor(1) if workers > 1 else _AtOnce() for _ in range(3)]
        self._find, self._digests, self._tabulate = self._stages
        self._digesting: deque[Future[None]] = deque()
        self._tables: deque[Future[pl.DataFrame]] = deque()
        self._side = self._held = 0

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._stages:
            stage.shutdown(cancel_futures=True)

    def found(self, chunks: Iterator[Frames]) -> Iterator[Frames]:
        """The same frames; where there are workers, the next are found while those before them are metered."""
        coming = self._find.submit(next, chunks, None)
        while (frames := coming.result()) is not None:
            if isinstance(self._find, _AtOnce):
                yield frames
                coming = self._find.submit(next, chunks, None)
            else:
                coming = self._find.submit(next, chunks, None)
                yield frames

    def take(self, frames: Frames) -> dict[str, int]:
        """Meter frames; those that were set aside, by reason."""
        aside = self._meter.meter(frames, self._free_side())
        self._digest_side(PIECE)
        return aside

    def tables(self) -> Iterator[pl.DataFrame]:
        """The tables that are ready."""
        while self._tables and (len(self._tables) > _AHEAD or self._tables[0].done()):
            yield self._tables.popleft().result()

    def finish(self) -> Iterator[pl.DataFrame]:
        """End every flow that is still alive; the rest of the tables."""
        while True:
            self._meter.end_some(self._free_side())
            self._digest_side(0)
            yield from self.tables()
            if not self._meter.alive:
                break
        while self._digesting:
            self._digesting.popleft().result()
        while self._tables:
            yield self._tables.popleft().result()

    def _free_side(self) -> int:
        if len(self._digesting) == SIDES:
            self._digesting.popleft().result()
        return self._side

    def _digest_side(self, least: int) -> None:
        self._digesting.append(self._digests.submit(self._digest, self._side, least))
        self._side = (self._side + 1) % SIDES

    def _digest(self, side: int, least: int) -> None:
        self._meter.digest(side)
        if self._meter.waiting < self._held + least:
            return
        rows = self._meter.in_order()
        self._held = self._meter.waiting
        if len(rows["flow_id"]):
            self._tables.append(self._tabulate.submit(flow_table, rows, early=self._meter.early))

"""Frames to flow tables, in stages that two threads share: one meters frames, the other digests what that gave; frames are found and
tables made by whichever has time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Generic, TypeVar

import polars as pl

from wirespeak.flow.columns import flow_table
from wirespeak.flow.meter import PIECE, SIDES, Meter
from wirespeak.wire import Frames
from wirespeak.wire.containers import OpenCapture

T = TypeVar("T")
_AHEAD, _FOUND = 2, 1
"""Tables that are made, and pieces of frames that are found, before they are asked for."""
_BEHIND = 10
"""Where more sides wait for being digested, whoever meters makes a table first."""
_LOOK_S = 0.2
"""How soon whoever waits for another thread looks whether it was interrupted."""


class _AtOnce(Executor):
    """Does everything where and when it is asked to."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **options))
        return done


class _Job(Generic[T]):
    """Something that whoever has time for it does first."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._begun = Lock()
        self._done: Future[T] = Future()

    def do(self) -> None:
        """Do it, unless somebody else does."""
        if not self._begun.acquire(blocking=False):
            return
        assert self._work is not None
        try:
            self._done.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 -- whoever asks for what it gives is told
            self._done.set_exception(error)
        self._work = None

    @property
    def is_begun(self) -> bool:
        return self._begun.locked()

    @property
    def is_done(self) -> bool:
        return self._done.done()

    def get(self) -> T:
        self.do()
        return self._done.result()


class _Finding:
    """Frames that are found before they are asked for, by whoever has time."""

    def __init__(self, chunks: Iterator[Frames]) -> None:
        self._chunks = chunks
        self._found: deque[Future[Frames | None]] = deque()
        self._begun = Lock()

    def ahead(self) -> None:
        """Find some frames, unless enough wait or somebody else does."""
        if len(self._found) < _FOUND and self._begun.acquire(blocking=False):
            try:
                self._find()
            finally:
                self._begun.release()

    def next(self) -> Frames | None:
        """The next frames, None at the end."""
        while not self._found:
            if self._begun.acquire(
                timeout=_LOOK_S
            ):  # a lock alone is deaf to Ctrl-C that another thread heard
                try:
                    if not self._found:
                        self._find()
                finally:
                    self._begun.release()
        return self._found.popleft().result()

    def stop(self) -> None:
        """Find no more, from when this returns."""
        with self._begun:
            self._chunks = iter(())

    def _find(self) -> None:
        found: Future[Frames | None] = Future()
        try:
            found.set_result(next(self._chunks, None))
        except BaseException as error:  # noqa: BLE001 -- whoever asks for the frames is told
            found.set_exception(error)
        self._found.append(found)


class Stages:
    """The flows of frames, in order and in pieces (a context manager).

    workers: with one, everything is done in turn; with more, a second thread digests while this one meters, and a third waits for frames
    whose bytes are long in coming. The tables are the same: every stage does its pieces in their order, whoever does it.
    """

    def __init__(self, meter: Meter, *, workers: int) -> None:
        self._meter = meter
        self._waiter, self._helper = (ThreadPoolExecutor(1) if workers > 1 else _AtOnce() for _ in range(2))
        self._shared = workers > 1
        self._free = list(range(SIDES))  # the last one is taken first: it is the likeliest to be in a cache
        self._digesting: deque[tuple[int, Future[None]]] = deque()
        self._tables: deque[_Job[pl.DataFrame]] = deque()
        self._held = 0
        self._finds: Callable[[], None] | None = None  # what the helper does between its other work
        self._waits: Callable[[], None] | None = None  # what a third thread does

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in (self._waiter, self._helper):
            stage.shutdown(cancel_futures=True)

    @contextmanager
    def found(self, capture: OpenCapture) -> Iterator[Iterator[Frames]]:
        """The frames of a capture; while some are metered, others are found by whoever has time. At the end nothing is being read."""
        if not self._shared:
            yield capture.chunks()
            return
        finding = _Finding(capture.chunks(ahead=_FOUND + 1))
        self._waits, self._finds = (finding.ahead, None) if capture.slow else (None, finding.ahead)
        try:
            yield iter(finding.next, None)
        finally:
            capture.stop()
            finding.stop()

    def take(self, frames: Frames) -> dict[str, int]:
        """Meter frames; those that were set aside, by reason."""
        side = self._free_side()
        if len(self._digesting) > _BEHIND:
            self._make_table()
        if self._waits:
            self._waiter.submit(self._waits)
        aside = self._meter.meter(frames, side)
        self._digest_side(side, PIECE)
        return aside

    def tables(self) -> Iterator[pl.DataFrame]:
        """The tables that are ready."""
        while self._tables and (len(self._tables) > _AHEAD or self._tables[0].is_done):
            yield self._tables.popleft().get()

    def finish(self) -> Iterator[pl.DataFrame]:
        """End every flow that is still alive; the rest of the tables."""
        while True:
            side = self._free_side()
            self._meter.end_some(side)
            self._digest_side(side, 0)
            yield from self.tables()
            if not self._meter.alive:
                break
        while self._digesting:
            self._wait()
        while self._tables:
            yield self._tables.popleft().get()

    def _free_side(self) -> int:
        while self._digesting and (self._digesting[0][1].done() or not self._free):
            self._wait()
        return self._free.pop()

    def _make_table(self) -> None:
        table = next((table for table in tuple(self._tables) if not table.is_begun), None)
        if table:
            table.do()

    def _wait(self) -> None:
        """Until the next side is digested; meanwhile tables are made."""
        side, digested = self._digesting[0]
        for table in tuple(self._tables):
            if not digested.done():
                table.do()
        digested.result()
        self._digesting.popleft()
        self._free.append(side)

    def _digest_side(self, side: int, least: int) -> None:
        self._digesting.append((side, self._helper.submit(self._digest, side, least)))

    def _digest(self, side: int, least: int) -> None:
        self._meter.digest(side)
        if self._finds:
            self._finds()
        if self._meter.waiting < self._held + least:
            return
        rows = self._meter.in_order()
        self._held = self._meter.waiting
        if len(rows):
            table = _Job(partial(flow_table, rows, early=self._meter.early))
            self._tables.append(table)
            self._helper.submit(table.do)

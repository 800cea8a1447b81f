"""What a piece of work costs: time, processor time, memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_OWN, _RESET = Path("/proc/self"), Path("/proc/self/clear_refs")
_LOOK_S = 0.05


@dataclass
class Cost:
    """Filled in when the block ends. cpu_s: of this process and of children that ended; may exceed wall_s.

    peak_bytes: how far resident memory rose above where it stood when the block began, and the most that children
    held at once, looked at twenty times a second; None where the system does not say.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int | None = None

    def __add__(self, other: Cost) -> Cost:
        """One after the other: times add up, and the higher peak is the peak."""
        peaks = [cost.peak_bytes for cost in (self, other) if cost.peak_bytes is not None]
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(peaks, default=None))


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block.

    >>> with measured() as cost:
    ...     _ = sum(range(1000))
    >>> cost.wall_s > 0
    True
    """
    cost = Cost()
    before = _memory(_OWN, "VmRSS") if _forget_peak() else None
    seen, over = [0], threading.Event()
    watch = threading.Thread(target=_watch, args=(seen, over), daemon=True)
    watch.start()
    wall, cpu = time.perf_counter(), _cpu()
    try:
        yield cost
    finally:
        cost.wall_s, cost.cpu_s = time.perf_counter() - wall, _cpu() - cpu
        over.set()
        watch.join()
        peak = _memory(_OWN, "VmHWM")
        if before is not None and peak is not None:
            cost.peak_bytes = max(0, peak - before) + seen[0]


def _watch(seen: list[int], over: threading.Event) -> None:
    """Keep the most that all children, and theirs, hold at once."""
    while not over.wait(_LOOK_S):
        seen[0] = max(seen[0], sum(_memory(child, "VmRSS") or 0 for child in _children(_OWN)))


def _children(process: Path) -> Iterator[Path]:
    """The folders in /proc of the children of a process, and of theirs. One that just ended is left out."""
    with suppress(OSError):
        for task in (process / "task").iterdir():
            for number in (task / "children").read_text().split():
                yield Path("/proc") / number
                yield from _children(Path("/proc") / number)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _forget_peak() -> bool:
    """Have Linux measure the peak anew (proc(5), clear_refs 5)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _memory(process: Path, name: str) -> int | None:
    """A line of a process's status, in bytes."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)

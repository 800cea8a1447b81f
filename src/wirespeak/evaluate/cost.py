"""What a piece of work costs: time, processor time, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """Filled in when the block ends. cpu_s: of this process and of children that ended; may exceed wall_s.

    peak_bytes: how far resident memory rose above where it stood when the block began, children left out;
    None where the system does not say.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block.

    >>> with measured() as cost:
    ...     _ = sum(range(1000))
    >>> cost.wall_s > 0
    True
    """
    cost = Cost()
    before = _memory("VmRSS") if _forget_peak() else None
    wall, cpu = time.perf_counter(), _cpu()
    try:
        yield cost
    finally:
        cost.wall_s, cost.cpu_s = time.perf_counter() - wall, _cpu() - cpu
        peak = _memory("VmHWM")
        if before is not None and peak is not None:
            cost.peak_bytes = max(0, peak - before)


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


def _memory(name: str) -> int | None:
    """A line of the process's status, in bytes."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)

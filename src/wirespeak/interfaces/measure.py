"""What this machine does, measured in one run on the captures in the box: rates and the ratios between them.

Every rate is the best of a few rounds with two threads; a ratio is of rates from the same run. Nothing here
says how good the verdicts are: that is measured on recordings, by the scripts in bench/.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from wirespeak.detect.language import LanguageDetector
from wirespeak.flow import read_flows
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.schema import FEATURES
from wirespeak.text import compact, judge_prompt

THREADS = 2


@dataclass(frozen=True)
class Rate:
    """One measured rate, None where it was not run. per: what is counted in a second; note: on what, how it compares."""

    what: str
    value: float | None
    per: str
    note: str = ""


def machine() -> dict[str, str | int]:
    """What the numbers were measured on, as far as it matters to them."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": THREADS,
    }


def rates(recordings: Sequence[Path], *, rounds: int = 5, progress: Say = quiet) -> list[Rate]:
    """Rates of reading, judging (as label scores, as written text, by a forest) on recording folders."""
    progress("reading captures")
    captures = [folder / "capture.pcap" for folder in recordings]
    packets = read_flows(captures).packets
    found = [Rate("capture to flows", packets / _best(lambda: read_flows(captures), rounds), "packets")]
    parts = [read_recording(folder) for folder in recordings]
    flows = pl.concat([part.flows for part in parts])
    detector = LanguageDetector.load(threads=THREADS)
    distinct = compact.encode(flows).unique(maintain_order=True)
    progress("judging")
    share = len(distinct) / len(flows)
    fast = len(distinct) / _best(lambda: detector.scores(distinct), rounds)
    found.append(
        Rate("flows to sentences", len(flows) / _best(lambda: compact.encode(flows), rounds), "flows")
    )
    found.append(Rate("judging distinct flows", fast, "distinct flows", "one forward pass each"))
    whole = len(flows) / _best(lambda: detector.predict(flows), rounds)
    found.append(Rate("judging all flows", whole, "flows", f"{share:.0%} of the sentences are distinct"))
    few = [judge_prompt(sentence) for sentence in distinct[: min(64, len(distinct))]]
    progress("writing the answers as text")
    slow = len(few) / _best(lambda: detector.model.generate(few, max_tokens=4), 2)
    found.append(
        Rate(
            "judging by writing the answer",
            slow,
            "distinct flows",
            f"{fast / slow:.1f} times slower than scoring",
        )
    )
    progress("growing a forest")
    return found + _forest(parts, fast, rounds)


def _forest(parts: Sequence[LabelledFlows], fast: float, rounds: int) -> list[Rate]:
    """The same flows judged by a plain random forest, fitted on them: for its speed alone."""
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        return [Rate("judging by a forest", None, "flows", "not run: needs wirespeak[baselines]")]
    flows = pl.concat([part.flows for part in parts])
    labels = pl.concat([part.labels for part in parts])
    numbers = [name for name in FEATURES if flows[name].dtype != pl.String]
    table = flows.select(numbers).fill_null(0).to_numpy().astype(np.float32)
    forest = RandomForestClassifier(100, n_jobs=THREADS, random_state=0).fit(table, labels.to_list())
    value = len(flows) / _best(lambda: forest.predict_proba(table), rounds)
    return [
        Rate(
            "judging by a forest",
            value,
            "flows",
            f"100 trees; {value / fast:.0f} times the model's distinct flows",
        )
    ]


def _best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the quickest of `rounds` runs, after one that does not count."""
    work()
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)

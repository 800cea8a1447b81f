"""Clocks, row numbers, and the order in which rows were captured or pasted together."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl

from wirespeak.data.audit.finding import Finding, Severity
from wirespeak.data.audit.view import Gain, View
from wirespeak.data.split import moments

TELLS = 0.5
_STAMP = re.compile(r"080a([0-9a-f]{8})([0-9a-f]{8})")


def file_order(view: View) -> Iterator[Finding]:
    """Labels that come in blocks: where a row stands tells what it is."""
    place = np.arange(view.rows) * 64 // max(1, view.rows)
    gain = view.gain_of(place, 64)
    agree = view.neighbours_agree()
    if gain.value >= 0.3 or agree >= 0.3:
        yield Finding(
            "order.file", "warning",
            f"The rows are sorted by label or recording: the place in the file tells the label (gain {gain.value:.2f}, neighbours agree {agree:.0%} beyond chance). A cut by row number is no fair split, and a column that follows the order gives the label away.",
            (), {"gain": round(gain.value, 4), "goal": gain.goal, "neighbours_agree": round(agree, 4)}, remedy="--by group",
        )  # fmt: skip


def clocks(view: View) -> Iterator[Finding]:
    """Columns that say when or which row, by their role, their name or their values."""
    for name, field in view.dataset.fields.items():
        if field.role == "label":
            continue
        why = view.when(name)
        if not why:
            continue
        kind, words = why
        gain = view.gain(name)
        if field.role == "time" or kind == "leak.clock":
            gain = _time_gain(view, name) if gain.value < TELLS else gain
        tells = gain.value >= TELLS
        severity: Severity = (
            ("serious" if view.seen(name) else "warning")
            if tells
            # A name that tells nothing is no clock and no order: it can only be learnt by heart.
            else ("warning" if view.seen(name) and kind != "leak.id" else "info")
        )
        told = f" It tells the {gain.goal} (gain {gain.value:.2f})." if tells else ""
        yield Finding(
            kind, severity, f"'{name}' {words}.{told} A detector that sees it learns the recording, not the traffic.",
            (name,), {"gain": round(gain.value, 4), "seen_by_detectors": str(view.seen(name)).lower()},
            examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}",
        )  # fmt: skip


def tcp_timestamps(view: View) -> Iterator[Finding]:
    """Hex of TCP options that carries a timestamp (RFC 7323: kind 8, length 10): the clock of a host's boot."""
    for name in view.columns("category", "text"):
        texts = view.table[name].cast(pl.String)
        plain = texts.str.to_lowercase().str.replace_all(r"[:\s-]|0x|\\x", "")
        value = plain.str.extract(_STAMP.pattern, 1)
        found = value.is_not_null() & plain.str.contains(r"^[0-9a-f]+$").fill_null(False)
        filled = int((plain.str.len_chars() >= 8).sum())
        count = int(found.sum())
        if count < 3 or count < 0.05 * filled:
            continue
        stamp = (
            value.filter(found)
            .str.to_integer(base=16, strict=False)
            .cast(pl.Float64)
            .fill_null(np.nan)
            .to_numpy()
        )
        rows = found.to_numpy()
        all_stamps = np.full(view.rows, np.nan)
        all_stamps[rows] = stamp
        place, size = view.bins(pl.Series(all_stamps))
        gain = view.gain_of(place, size)
        yield Finding(
            "leak.tcp_timestamp", "serious",
            f"'{name}' carries the TCP timestamp in {count:,} rows: it counts from when a host was started, so it names the recording.",
            (name,), {"rows": count, "gain": round(gain.value, 4)},
            examples=view.examples(np.flatnonzero(rows), [name]), remedy=f"--drop {name}",
        )  # fmt: skip


def _time_gain(view: View, name: str) -> Gain:
    place, size = view.bins(pl.Series(moments(view.table[name])))
    return view.gain_of(place, size)

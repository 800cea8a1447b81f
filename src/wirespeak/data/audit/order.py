"""Clocks, row numbers, and the order in which rows were captured or pasted together."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, Severity
from wirespeak.data.audit.view import Gain, View
from wirespeak.data.split import moments

TELLS = 0.5
_CLOCK_NAME = re.compile(
    r"(^|[^a-z])(time|date|datetime|timestamp|ts|stime|ltime|clock|epoch|first_?seen|last_?seen)([^a-z]|$)",
    re.I,
)
_EPOCHS = tuple((1e9 * scale, 2.1e9 * scale) for scale in (1, 1e3, 1e6, 1e9))
_STAMP = re.compile(r"080a([0-9a-f]{8})([0-9a-f]{8})")
_SAMPLE = 200_000


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
        why = _what(view, name)
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
            else ("warning" if view.seen(name) else "info")
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
        plain = texts.str.to_lowercase().str.replace_all(r"[:\s]|0x", "")
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


def _what(view: View, name: str) -> tuple[str, str] | None:
    field = view.dataset.fields[name]
    column = view.table[name]
    if field.role == "time":
        return "leak.clock", "says when"
    if field.role == "order":
        return "leak.order", "is a row number, or a grade given after the fact"
    if field.role == "id":
        return "leak.id", "names one flow, packet or stream"
    if column.dtype.is_numeric():
        return _numeric(view, name)
    if field.kind in ("category", "text") and _is_written_time(column):
        return "leak.clock", "holds dates and times"
    if (
        field.kind != "text"
        and view.rows >= 50
        and column.n_unique() >= 0.995 * view.rows
        and field.role == "feature"
    ):
        return "leak.id", "is different in every row"
    return None


def _numeric(view: View, name: str) -> tuple[str, str] | None:
    values = view.number(name)
    known = values[~np.isnan(values)]
    if len(known) < 0.5 * view.rows or len(known) < 20:
        return None
    middle = np.median(known)
    low, high = np.quantile(known, [0.02, 0.98])
    if (
        any(start <= low and high <= end for start, end in _EPOCHS)
        and (high - low) < 0.2 * middle
        and high > low
    ):
        return "leak.clock", "holds times (counted from 1970)"
    if _CLOCK_NAME.search(name) and not _is_span(name) and _follows_order(known) > 0.8:
        return "leak.clock", "says when: its name and its order agree"
    if len(np.unique(known[:: max(1, len(known) // 1000)])) < 500 * min(1, len(known) / 1000):
        return None
    if _follows_order(known) > 0.98:
        return "leak.order", "follows the order of the rows"
    if view.dataset.fields[name].role == "feature" and view.gain(name).value < 0.9:
        filled = np.where(np.isnan(values), -np.inf, values)
        if view.neighbours_agree(np.argsort(filled, kind="stable")) > (
            0.5 if _CLOCK_NAME.search(name) else 0.78
        ):
            return "leak.clock", "puts the rows of a label side by side, as the clock of a recording does"
    whole = view.table[name].dtype.is_integer() or bool((known == np.rint(known)).all())
    if (
        whole
        and view.rows >= 50
        and view.table[name].n_unique() >= 0.998 * view.rows
        and view.dataset.fields[name].role == "feature"
    ):
        return "leak.id", "is a whole number that is different in every row"
    return None


def _is_span(name: str) -> bool:
    return bool(re.search(r"delta|dur|elapsed|iat|live|to_live|ttl|rtt", name, re.I))


def _follows_order(values: NDArray[np.float64]) -> float:
    """Rank correlation with the place in the file, without its sign."""
    step = max(1, len(values) // _SAMPLE)
    ranks = np.argsort(np.argsort(values[::step], kind="stable"), kind="stable").astype(float)
    if len(ranks) < 3 or values[0] == values[-1] == np.median(values):
        return 0.0
    return float(abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]))


def _is_written_time(column: pl.Series) -> bool:
    """Whether most of a sample are dates with times."""
    sample = column.drop_nulls().head(2000).cast(pl.String).str.strip_chars()
    sample = sample.filter(sample.str.len_chars() >= 8)
    if len(sample) < 5:
        return False
    dated = sample.str.contains(
        r"^\d{1,4}[-/ .]\S*.*\d{1,2}:\d{2}|^\d{1,2}:\d{2}:\d{2}|^[A-Z][a-z]{2} +\d{1,2},? +\d{4}"
    )
    return int(dated.sum()) > 0.5 * len(sample) and len(sample) > 0.3 * min(2000, len(column))


def _time_gain(view: View, name: str) -> Gain:
    place, size = view.bins(pl.Series(moments(view.table[name])))
    return view.gain_of(place, size)

"""What a column says, whatever its role is declared to be: who it was, when, or which row; by name and by values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.dataset import Role

if TYPE_CHECKING:
    from wirespeak.data.audit.view import View

_RANKED = 200_000
_CLOCK_NAME = re.compile(
    r"(^|[^a-z])(time|date|datetime|timestamp|ts|stime|ltime|clock|epoch|first_?seen|last_?seen)([^a-z]|$)",
    re.I,
)
_EPOCHS = tuple((1e9 * scale, 2.1e9 * scale) for scale in (1, 1e3, 1e6, 1e9))
_SAMPLE = 2000
_DENSE = 2  # numbers for each row, of a column that numbers them
_HOPS = 16  # most paths are shorter
# Names under these ends exist in one network only (RFC 6762, RFC 8375, and by custom): they name its hosts.
_ADDRESS_TEXT = (
    r"^(\d{1,3}\.){3}\d{1,3}$|^[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}(%\w+)?$"
    r"|^[\w-]+(\.[\w-]+)*\.(local|lan|localdomain|internal|intranet|home|corp|home\.arpa)\.?$"
)
_MAC_TEXT = r"^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}$"
_PORT_NAME = re.compile(
    r"(^|[^a-z])(s|d|src|dst|source|dest(ination)?|udp|tcp|orig|resp|id\.[or]e?s?p?)?[ _.]?ports?($|[^a-z])|^[sd]port$|(src|dst)port$",
    re.I,
)
_WRITTEN: dict[Role, str] = {"mac": _MAC_TEXT, "address": _ADDRESS_TEXT}
_HOST_NAME = re.compile(
    r"^(s|d|src|dst|source|dest|destination|orig|resp|client|server|id\.orig|id\.resp)?[_ .]?"
    r"(ip|addr|address|host|host_?name|h|mac|device)([_ .]?(addr|address|int|num|id|name|no))?$",
    re.I,
)
_TTL_NAME = re.compile(r"ttl|hop_?limit|time_to_live", re.I)


def when(view: View, name: str) -> tuple[str, str] | None:
    field = view.dataset.fields[name]
    column = view.table[name]
    if field.role == "time":
        return "leak.clock", "says when"
    if field.role == "order":
        return "leak.order", "is a row number, or a grade given after the fact"
    if field.role == "id":
        return "leak.id", "names one flow, packet or stream"
    if column.dtype.is_numeric():
        return _numeric(view, name, view.number(name))
    if field.kind in ("category", "text") and _is_written_time(column):
        return "leak.clock", "holds dates and times"
    counted = _counted(column)
    if counted is not None:
        return _numeric(view, name, counted)
    if (
        field.kind != "text"
        and view.rows >= 50
        and column.n_unique() >= 0.995 * view.rows
        and field.role == "feature"
    ):
        return "leak.id", "is different in every row"
    return None


def _counted(column: pl.Series) -> NDArray[np.float64] | None:
    """The numbers in texts that differ in one number only, such as `rec0000012`."""
    sample = column.drop_nulls().head(_SAMPLE).cast(pl.String)
    if sample.str.replace_all(r"\d+", "#").n_unique() != 1 or int(sample.str.count_matches(r"\d+").max()) != 1:  # type: ignore[arg-type]  # fmt: skip
        return None
    return column.cast(pl.String).str.extract(r"(\d+)").cast(pl.Float64).fill_null(np.nan).to_numpy()


def _numeric(view: View, name: str, values: NDArray[np.float64]) -> tuple[str, str] | None:
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
    if view.dataset.fields[name].role in ("feature", "text") and view.gain(name).value < 0.9:
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
        if known.max() - known.min() < _DENSE * view.rows:
            return "leak.order", "numbers the rows, each once"
        return "leak.id", "is a whole number that is different in every row"
    return None


def _is_span(name: str) -> bool:
    return bool(re.search(r"delta|dur|elapsed|iat|live|to_live|ttl|rtt", name, re.I))


def _follows_order(values: NDArray[np.float64]) -> float:
    """Rank correlation with the place in the file, without its sign."""
    step = max(1, len(values) // _RANKED)
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


def who(view: View, name: str) -> Role | None:
    """Which kind of identity a column holds, if any."""
    field = view.dataset.fields[name]
    if field.role in ("address", "mac", "port", "ttl"):
        return field.role
    if field.role not in ("feature", "text"):
        return None
    by_values = _by_values(view.table[name])
    if by_values is not None:
        return by_values
    if _HOST_NAME.search(name):
        return "address"
    if _TTL_NAME.search(name) and "ct_" not in name:
        return "ttl"
    if _PORT_NAME.search(name) and not re.search(r"rate|count|ct_|num|is_", name, re.I):
        return "port"
    return None


def _by_values(column: pl.Series) -> Role | None:
    """Whether most of the texts of a column are addresses of a kind, or its numbers a few hops below where times to live start."""
    if column.dtype.is_numeric():
        values = column.gather_every(max(1, len(column) // _SAMPLE)).drop_nulls().to_numpy()
        below = [int(((values <= start) & (values > start - _HOPS)).sum()) for start in (64, 128, 255)]
        return "ttl" if sum(below) > 0.99 * len(values) and sorted(below)[1] > 0.05 * len(values) else None
    sample = column.drop_nulls()
    sample = (
        sample.filter(~sample.is_in(["", "-", "0", "0.0"])).head(_SAMPLE).cast(pl.String).str.strip_chars()
    )
    if len(sample) < 5:
        return None
    for role, pattern in _WRITTEN.items():
        if int(sample.str.contains(pattern).sum()) > 0.6 * len(sample):
            return role
    return None

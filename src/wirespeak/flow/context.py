"""What came before each flow of a table: the windows of the meter, from when flows began and ended and how."""

from __future__ import annotations

import secrets

import numpy as np
import polars as pl

from wirespeak import _native
from wirespeak.flow.addresses import packed
from wirespeak.flow.columns import put_context
from wirespeak.flow.numbers import Numbers
from wirespeak.flow.rows import QUANTITIES, context_kinds
from wirespeak.schema import COLUMNS, KEYS, PORTED, WINDOWS

UNANSWERED, INCOMPLETE, RESET, ERROR = 1, 2, 4, 8
_RESET = ("REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH")
_COMPLETE = ("S1", "SF", "S2", "S3", "RSTO", "RSTR")
_TOLD = np.dtype(
    [
        ("clock", "<i8"), ("src", "u1", 16), ("dst", "u1", 16), ("port", "<u2"), ("family", "u1"), ("has_port", "u1"),
        ("bits", "u1"), ("soon", "u1"), ("late", "u1"), ("unused", "u1"),
    ]
)  # fmt: skip


def surround(flows: pl.DataFrame) -> pl.DataFrame:
    """The context columns (`schema.CONTEXT`, rebinds left out) of flows that are sorted by `first_seen`.

    Needs `first_seen`, `last_seen`, `src`, `dst`, `dst_port`, `protocol`, `cast`, `operation`, `flags`, `state`,
    `history`, `bwd_packets` and `errors`; what is null there is taken as nothing. A table does not say when a flow was answered: answers are taken to come at once, resets and
    errors at its end.

    Raises MemoryError when there is not enough of it.
    """
    told = np.zeros(flows.height, _TOLD)
    told["clock"] = flows["first_seen"].to_numpy()
    (told["src"], family), (told["dst"], _) = packed(flows["src"]), packed(flows["dst"])
    told["family"] = family
    told["port"] = flows["dst_port"].fill_null(0).to_numpy()
    told["has_port"] = flows["protocol"].is_in(PORTED).to_numpy()
    for name, bits in _bits().items():
        told[name] = flows.select(bits.fill_null(0).cast(pl.UInt8)).to_series().to_numpy()
    times = np.stack(
        [told["clock"], np.maximum(told["clock"], flows["last_seen"].to_numpy())], axis=1
    ).ravel()
    order = np.lexsort((np.arange(len(times)) % 2, times))
    counts = np.empty((flows.height, len(KEYS), len(WINDOWS), len(QUANTITIES)), np.uint32)
    if not _native.library().wirespeak_context_of(
        _native.address(told),
        len(told),
        _native.address(order),
        secrets.randbits(64),
        _native.address(counts),
    ):
        raise MemoryError("no memory for the context of so many flows; read the log in parts")
    numbers = Numbers(context_kinds(), flows.height)
    put_context(numbers, np.ascontiguousarray(np.moveaxis(counts, 0, 3)))
    return pl.DataFrame([column for name, column in numbers.series().items() if name in COLUMNS])


def _bits() -> dict[str, pl.Expr]:
    """How a flow stands when it begins, as soon as it could be answered, and at its end."""
    is_tcp, state = pl.col("protocol") == "tcp", pl.col("state")
    is_arp, asks = pl.col("protocol") == "arp", pl.col("operation") == "request"
    expects = pl.when(is_arp).then(asks).otherwise(pl.col("cast") == "unicast")
    got = (
        pl.when(pl.col("bwd_packets").is_not_null())
        .then(pl.col("bwd_packets") > 0)
        .otherwise(~state.is_in(["S0", "one-way"]))
    )
    answered = pl.when(is_arp).then(state == "two-way").otherwise(got)
    was_reset = state.is_in(_RESET) | pl.col("history").str.contains("[Rr]").fill_null(False)
    opens = is_tcp & (pl.col("flags") == "S")
    first = expects * UNANSWERED + opens * INCOMPLETE
    soon = (expects & ~answered) * UNANSWERED + (opens & ~state.is_in(_COMPLETE)) * INCOMPLETE
    late = soon + (is_tcp & was_reset) * RESET + (pl.col("errors").fill_null(0) > 0) * ERROR
    return {"bits": first, "soon": soon, "late": late}

"""What a log of flows declares, and what its rows become: flows with the columns of our own.

A log tells part of what a capture tells. What it does not tell is null; what follows from what it tells is derived here, once for
all logs, so that a flow reads the same whichever door it came through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.data.sources.viewing import per
from wirespeak.data.tables import types
from wirespeak.errors import InputError
from wirespeak.flow.columns import SHORTEST_S, grade, services
from wirespeak.flow.context import surround
from wirespeak.wire.stream import open_stream

HEAD = 1 << 16
"""Bytes of a file, unpacked, that its format is known by."""


@dataclass
class Told:
    """What a reader says beside the flows.

    rows: read, those set aside included. set_aside: rows that are no flow, by reason. cut: where reading had to stop early, or None.
    others: files of a folder that were not read. warnings: what else went less well, a line each. notes: what `run.json` keeps beside.
    """

    rows: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    cut: str | None = None
    others: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """One format in which other tools write flows.

    claims: whether a path is such a log, by its first `HEAD` bytes, unpacked (none for a folder).
    read: the rows of such logs under the names of `schema.COLUMNS`, those they tell, at least `first_seen`, `src`, `dst` and `protocol`.
    It raises InputError for what cannot be read, and counts what is no flow.
    """

    name: str
    title: str
    claims: Callable[[Path, bytes], bool]
    read: Callable[[Sequence[Path], Told], pl.DataFrame]


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked; none of a folder. Raises InputError when it cannot be read."""
    if path.is_dir():
        return b""
    stream = open_stream(path)
    try:
        room = bytearray(HEAD)
        held = 0
        while held < HEAD and (size := stream.readinto(memoryview(room)[held:])):
            held += size
        return bytes(room[:held])
    finally:
        stream.close()


def read_log(log: Log, paths: Sequence[Path]) -> tuple[pl.DataFrame, Told]:
    """The flows of logs, columns exactly `schema.COLUMNS`, in the order of their first packets, and what else there is to say.

    Raises InputError when they cannot be read or hold no flow.
    """
    told = Told()
    rows = log.read(paths, told)
    if rows.is_empty():
        names = ", ".join(str(path) for path in paths)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in told.set_aside.most_common(4))
        raise InputError(
            f"{names}: {log.title} without a flow in {told.rows:,} rows{f' ({reasons})' if reasons else ''}. "
            "Give a log of traffic that was seen."
        )
    return complete(rows), told


def complete(told: pl.DataFrame) -> pl.DataFrame:
    """Flows from what a log tells of them: any columns of `schema.COLUMNS`, at least `first_seen`, `src`, `dst` and `protocol`.

    Sorted by `first_seen` and numbered; sums, means, rates, the service and the context follow from what is there; the rest is null.
    Raises KeyError for a column that is none of ours.
    """
    kinds = types()
    if unknown := set(told.columns) - set(kinds):
        raise KeyError(f"no columns of a flow: {', '.join(sorted(unknown))}")
    flows = told.select(
        pl.col(name).cast(kind) if name in told.columns else pl.lit(None, kind).alias(name)
        for name, kind in kinds.items()
    ).sort("first_seen", maintain_order=True)
    flows = flows.with_columns(
        flow_id=pl.int_range(pl.len(), dtype=pl.Int64), last_seen=pl.coalesce("last_seen", _ended())
    ).with_columns(duration_s=(pl.col("last_seen") - pl.col("first_seen")) / 1e9)
    derived = _derived()
    flows = flows.with_columns(
        pl.coalesce(name, expression.cast(kinds[name])).alias(name) for name, expression in derived.items()
    )
    flows = flows.with_columns(
        _grade(flows["duration_s"] * 1e3).alias("duration_grade"),
        _grade(flows["packets_per_s"]).alias("rate_grade"),
        _grade(flows["iat_max_s"] * 1e3).alias("gap_grade"),
        services(flows["protocol"], flows["src_port"], flows["dst_port"], opened=flows["flags"] == "S").alias(
            "service"
        ),
        pl.coalesce("cast", _cast()),
    )
    flows = flows.with_columns(surround(flows).get_columns())
    return flows.select(pl.col(name).cast(kind) for name, kind in kinds.items())


def _cast() -> pl.Expr:
    """By the address alone: a network's own broadcast address looks like any other."""
    dst = pl.col("dst")
    is_group = dst.str.contains(r"^(22[4-9]|23\d)\.|^[fF]{2}[0-9a-fA-F]{2}:")
    return (
        pl.when(dst == "255.255.255.255").then(pl.lit("broadcast"))
        .when(is_group).then(pl.lit("multicast"))
        .otherwise(pl.lit("unicast"))
    )  # fmt: skip


def _ended() -> pl.Expr:
    return pl.col("first_seen") + (pl.col("duration_s").fill_null(0.0) * 1e9).round().cast(pl.Int64)


def _derived() -> dict[str, pl.Expr]:
    """What follows from counts, as the meter derives it (`flow/columns.py`)."""
    fwd, bwd = pl.col("fwd_packets"), pl.col("bwd_packets")
    packets, seconds = fwd + bwd, pl.max_horizontal("duration_s", pl.lit(SHORTEST_S))

    def rate(amount: pl.Expr) -> pl.Expr:
        return pl.when(packets > 1).then(amount / seconds).when(packets.is_not_null()).then(0.0)

    found: dict[str, Any] = {"packets_per_s": (rate(packets) + 0.5).floor()}
    for side, count in (("fwd", fwd), ("bwd", bwd)):
        carried, payload = pl.col(f"{side}_bytes"), pl.col(f"{side}_payload_bytes")
        found |= {
            f"{side}_header_bytes": carried - payload,
            f"{side}_packets_per_s": rate(count),
            f"{side}_bytes_per_s": rate(carried),
            f"{side}_packet_mean_bytes": per(carried, count),
            f"{side}_payload_mean_bytes": per(payload, count),
        }
    both, payload = (
        pl.col("fwd_bytes") + pl.col("bwd_bytes"),
        pl.col("fwd_payload_bytes") + pl.col("bwd_payload_bytes"),
    )
    found |= {
        "bytes_per_s": rate(both),
        "packet_mean_bytes": per(both, packets),
        "payload_mean_bytes": per(payload, packets),
        "iat_mean_s": pl.when(packets > 1)
        .then(pl.col("duration_s") / (packets - 1))
        .when(packets.is_not_null())
        .then(0.0),
    }
    return found


def _grade(count: pl.Series) -> pl.Series:
    known = count.is_not_null()
    grades = pl.Series(grade(count.fill_null(0).to_numpy()))
    return pl.select(pl.when(known).then(grades)).to_series()

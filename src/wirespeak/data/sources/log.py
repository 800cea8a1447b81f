"""What a log of flows declares, and what its rows become: flows with the columns of our own.

A log tells part of what a capture tells. What it does not tell is null; what follows from what it tells is derived here, once for
all logs, so that a flow reads the same whichever door it came through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.data.sources.lines import Told as Told
from wirespeak.data.sources.lines import addresses, shown
from wirespeak.data.sources.viewing import BWD, FWD, per
from wirespeak.data.tables import types
from wirespeak.errors import InputError
from wirespeak.flow.addresses import community_ids
from wirespeak.flow.columns import SHORTEST_S, grade, services
from wirespeak.flow.context import surround
from wirespeak.schema import COLUMNS, FACTS, PORTED
from wirespeak.wire.stream import open_stream

HEAD = 1 << 16
"""Bytes of a file, unpacked, that its format is known by."""


@dataclass(frozen=True)
class Log:
    """One format in which other tools write flows.

    claims: whether a path is such a log, by its first `HEAD` bytes, unpacked (none for a folder).
    read: the rows of such logs under the names of `schema.COLUMNS`, those they tell, at least `first_seen`, `src`, `dst` and `protocol`.
    Numbers may still be text. It raises InputError for what cannot be read, and counts what is no flow.
    folders: whether a folder is one log, which `read` then takes; of other folders it gets the files that it claims, at any depth.
    """

    name: str
    title: str
    claims: Callable[[Path, bytes], bool]
    read: Callable[[Sequence[Path], Told], pl.DataFrame]
    folders: bool = False


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
    files = paths if log.folders else _files(log, paths, told)
    rows = log.read(files, told)
    rows = rows if rows.is_empty() else fitting(rows, told)
    if rows.is_empty():
        names = ", ".join(str(path) for path in paths)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in told.set_aside.most_common(4))
        raise InputError(
            f"{names}: {log.title} without a flow in {told.rows:,} rows{f' ({reasons})' if reasons else ''}. "
            "Give a log of traffic that was seen."
        )
    return complete(rows), told


def _files(log: Log, paths: Sequence[Path], told: Told) -> list[Path]:
    """The files that these are; of folders those that are such a log."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else []
        claimed = {file: log.claims(file, head_of(file)) for file in inside}
        told.others += [file for file in inside if not claimed[file]]
        found += [file for file in inside if claimed[file]] if path.is_dir() else [path]
    if not found:
        raise InputError(f"{paths[0]}: a folder without {log.title}. Give the files.")
    return found


def fitting(rows: pl.DataFrame, told: Told) -> pl.DataFrame:
    """The rows of a log that can be flows, with the types of `schema.COLUMNS`; the others are set aside by reason.

    A flow has a time, a protocol and two addresses; its numbers are numbers, not negative, and no larger than any can be.
    """
    kinds = {name: kind for name, kind in types().items() if name in rows.columns and kind.is_numeric()}
    for name in kinds:
        given, cell = rows[name], pl.col(name)
        if given.dtype == pl.String():
            bare = cell.str.strip_chars()
            value = bare.cast(pl.Float64 if kinds[name].is_float() else pl.Int64, strict=False)
            unread = bare.is_not_null() & (bare != "") & value.is_null()
            rows = told.without(rows, unread, f"a row whose {name} is no number").with_columns(value)
        most = _MOST.get(name, 1 << 62)
        outside = (cell < 0) | (cell > most) if not rows[name].dtype.is_float() else ~cell.is_between(0, most)
        rows = told.without(rows, outside, f"a row whose {name} is out of range").with_columns(
            cell.cast(kinds[name], strict=False)
        )
    named = (pl.col("protocol") != "802.15.4").fill_null(True)
    rows = rows.with_columns(
        pl.when(named).then(addresses(rows[end])).otherwise(pl.col(end)).alias(end) for end in ("src", "dst")
    )
    for name, what in {
        "first_seen": "a time",
        "protocol": "a protocol",
        "src": "an address",
        "dst": "an address",
    }.items():
        rows = told.without(
            rows, pl.col(name).is_null() | (pl.col(name).cast(pl.String) == ""), f"a row without {what}"
        )
    if "last_seen" in rows.columns:
        rows = told.without(
            rows, pl.col("last_seen") < pl.col("first_seen"), "a row that ends before it begins"
        )
    facts = [fact.name for fact in FACTS if fact.kind == "text" and fact.name in rows.columns]
    return rows.with_columns(shown(rows[name]) for name in facts)


_MOST = {
    "src_port": 65535, "dst_port": 65535, "vlan": 4095, "tunnel_id": (1 << 32) - 1, "duration_s": 1e8,
    "first_seen": 9 * 10**18, "last_seen": 9 * 10**18,
}  # fmt: skip
"""The largest value of a column, so that ends of flows stay numbers; of others two can be added."""


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
        pl.when(pl.col("protocol").is_in(PORTED)).then(pl.col("src_port", "dst_port")),
        *(
            pl.coalesce(name, expression.cast(kinds[name])).alias(name)
            for name, expression in _known().items()
        ),
    )
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
    )
    named = pl.coalesce("community_id", community_ids(flows)).alias("community_id")
    flows = flows.with_columns(named, *surround(flows).get_columns())
    return flows.select(pl.col(name).cast(kind) for name, kind in kinds.items())


_TCP_ALONE = ("syn", "fin", "rst", "push", "ack", "urg", "ece", "cwr", "retransmitted", "out_of_order")


def _known() -> dict[str, pl.Expr]:
    """What cannot be otherwise, as the meter has it: what only TCP has, and what no packet or a single one leaves to be said."""
    protocol, dst = pl.col("protocol"), pl.col("dst")
    spoken = protocol.is_in(["tcp", "arp", "icmp", "icmp6"])
    group = dst.str.contains(r"^(?:22[4-9]|23\d)\.") | dst.str.starts_with("ff") & dst.str.contains(
        ":", literal=True
    )
    mac = pl.col("dst_mac")
    where = (
        pl.when((dst == "255.255.255.255") | (mac == "ff:ff:ff:ff:ff:ff")).then(pl.lit("broadcast"))
        .when(group | mac.str.contains("^.[13579bdf]:")).then(pl.lit("multicast"))
    )  # fmt: skip
    not_tcp = pl.when(protocol != "tcp")
    found: dict[str, pl.Expr] = {
        "cast": pl.when(protocol != "arp").then(where.otherwise(pl.lit("unicast"))),
        "flags": not_tcp.then(pl.lit("")),
        "operation": pl.when(~spoken | (protocol == "tcp")).then(pl.lit("")),
        "handshake_s": not_tcp.then(0.0),
        "handshake_ack_s": not_tcp.then(0.0),
    }
    for side in ("fwd", "bwd"):
        count, of_tcp = pl.col(f"{side}_packets"), [f"{side}_{what}_packets" for what in _TCP_ALONE]
        of_tcp += [f"{side}_missed_bytes", f"{side}_window_bytes"]
        none = pl.when(count == 0)
        nothing = [name for name in COLUMNS if name.startswith(f"{side}_") and name != f"{side}_packets"]
        found |= {name: none.then(0) for name in nothing}
        found |= {name: pl.when((count == 0) | (protocol != "tcp")).then(0) for name in of_tcp}
        for quantity, total in (("packet", "bytes"), ("payload", "payload_bytes")):
            for statistic in ("min", "max"):
                name = f"{side}_{quantity}_{statistic}_bytes"
                found[name] = none.then(0).when(count == 1).then(pl.col(f"{side}_{total}"))
            found[f"{side}_{quantity}_std_bytes"] = none.then(0).when(count == 1).then(0)
        gaps = [name for name in nothing if name.startswith(f"{side}_iat_")]
        found |= dict.fromkeys(gaps, pl.when(count < 2).then(0))
    packets = FWD + BWD
    gaps = [name for name in COLUMNS if name.startswith(("iat_", "active_", "idle_"))]
    found |= dict.fromkeys(gaps, pl.when(packets < 2).then(0))
    return found


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
        "iat_min_s": pl.when(packets == 2).then("duration_s"),
        "iat_max_s": pl.when(packets == 2).then("duration_s"),
        "iat_std_s": pl.when(packets == 2).then(0.0),
    }
    return found


def _grade(count: pl.Series) -> pl.Series:
    known = count.is_not_null()
    grades = pl.Series(grade(count.fill_null(0).to_numpy()))
    return pl.select(pl.when(known).then(grades)).to_series()

"""Argus flows as `ra` prints them with a header (openargus.org, ra.1), such as the binetflow files of CTU-13 and Stratosphere.

A row is one record of Argus: long flows have several, every 5 s by Argus's default. Its bytes are those of the link layer; the Ethernet
header is taken off where the packets of a direction are known. Times without a zone are read as UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.sources.flags import of_flags, of_letters, spoken
from wirespeak.data.sources.lines import nanoseconds, number, protocol, tables, whole
from wirespeak.data.sources.log import Log, Told
from wirespeak.data.sources.viewing import per
from wirespeak.errors import InputError
from wirespeak.flow.columns import SHORTEST_S
from wirespeak.schema import PORTED, STATES

_NEEDED = ("StartTime", "Proto", "SrcAddr", "DstAddr")
_READ = (
    *_NEEDED, "Dur", "Sport", "Dport", "State", "TotPkts", "TotBytes", "SrcBytes", "DstBytes", "SrcPkts", "DstPkts", "SAppBytes",
    "DAppBytes", "SrcMac", "DstMac", "sVid", "SrcWin", "DstWin", "sTtl", "dTtl",
)  # fmt: skip
_ETHERNET = 14
_OF_UDP = {"rtp": "udp", "rtcp": "udp", "udt": "udp"}
"""What Argus looks into and calls a protocol of its own."""

# What an ICMP message is for, by the state of its record: its first letters.
_OPERATIONS = {
    "EC": "echo", "UR": "unreachable", "TX": "exceeded", "RED": "redirect", "RT": "router", "NR": "router", "NN": "neighbour",
    "MH": "group", "ML": "group",
}  # fmt: skip


def claims(path: Path, head: bytes) -> bool:
    """Whether this is a table that `ra` printed."""
    names = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    return all(name.encode() in names for name in ("SrcAddr", "DstAddr", "Proto"))


def read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    """The records of Argus. Raises InputError for a table without the columns of a flow, or whose times have no date."""
    parts = []
    for path in paths:
        for names, rows in tables(path, told):
            if lacking := [name for name in _NEEDED if name not in names]:
                raise InputError(
                    f"{path}: has no column '{lacking[0]}' (it has {', '.join(names[:8])}). Print it with: ra -r FILE -u -c , -n "
                    "-s stime,dur,proto,saddr,sport,dir,daddr,dport,state,pkts,bytes,sbytes,spkts"
                )
            dated = rows["StartTime"].str.contains(r"^\d\d:\d\d:\d\d(\.\d+)?$").all()
            if rows.height and dated:
                raise InputError(
                    f"{path} line {rows['#line'][0]}: StartTime is '{rows['StartTime'][0]}', expected a date too. "
                    "Print it with the option -u of ra."
                )
            parts.append(
                rows.select(
                    pl.col(name) if name in names else pl.lit(None, pl.String).alias(name) for name in _READ
                )
            )
    return _flows(pl.concat(parts), told) if parts else pl.DataFrame()


def _flows(rows: pl.DataFrame, told: Told) -> pl.DataFrame:
    rows = told.without(rows, pl.col("Proto") == "man", "a report of Argus itself (man)")
    rows = rows.with_columns(pl.col("Proto").replace(_OF_UDP))
    other = protocol("Proto").is_null() & (pl.col("Proto") != "")
    for name in rows.filter(other)["Proto"].unique().sort().head(20):
        rows = told.without(rows, pl.col("Proto") == name, f"no protocol of IP ({name[:20]})")
    rows = rows.with_columns(
        protocol=protocol("Proto"), State=pl.col("State").str.strip_chars(), **_sides(), seconds=number("Dur")
    )
    icmp = pl.col("protocol").is_in(["icmp", "icmp6"])
    spoke = [
        pl.coalesce(pl.col(f"{side}_packets") > 0, pl.col(f"{side}_link") > 0) for side in ("fwd", "bwd")
    ]
    sent, back = (
        of_letters(pl.col("State").str.extract(pattern))
        for pattern in (r"^([FSRPAUEC]*)_", r"_([FSRPAUEC]*)$")
    )
    states = of_flags(sent, back, answered=spoke[1])
    named = (
        pl.when(pl.col("State").is_in(list(STATES)))
        .then("State")
        .when((pl.col("State") == "REQ") & ~spoke[1])
        .then(pl.lit("S0"))
    )
    ports = pl.col("protocol").is_in(PORTED)
    packets = whole("TotPkts")
    rate = packets / pl.max_horizontal("seconds", pl.lit(SHORTEST_S))
    operation = pl.coalesce(
        pl.when(pl.col("State").str.starts_with(start)).then(pl.lit(what))
        for start, what in _OPERATIONS.items()
    )
    # Argus counts payload when it is told to (-A), and says 0 otherwise.
    counted = ((whole("SAppBytes") > 0) | (whole("DAppBytes") > 0)).any()
    asked = (
        pl.when(pl.col("SrcAddr") == pl.col("DstAddr")).then(pl.lit("announce"))
        .when(pl.col("SrcAddr") == "0.0.0.0").then(pl.lit("probe")).otherwise(pl.lit("request"))
    )  # fmt: skip
    found = {
        "first_seen": nanoseconds("StartTime"), "duration_s": pl.col("seconds"), "src": pl.col("SrcAddr"), "dst": pl.col("DstAddr"),
        "src_port": pl.when(ports).then(_port("Sport")), "dst_port": pl.when(ports).then(_port("Dport")),
        "src_mac": pl.col("SrcMac").replace("", None).str.to_lowercase(), "dst_mac": pl.col("DstMac").replace("", None).str.to_lowercase(),
        "vlan": whole("sVid"), "protocol": pl.col("protocol"),
        "operation": pl.when(icmp).then(operation).when(pl.col("protocol") == "arp").then(asked),
        **{f"{side}_packets": pl.col(f"{side}_packets") for side in ("fwd", "bwd")},
        **{f"{side}_bytes": pl.col(f"{side}_link") - pl.col(f"{side}_packets") * _ETHERNET for side in ("fwd", "bwd")},
        "fwd_payload_bytes": pl.when(counted).then(whole("SAppBytes")), "bwd_payload_bytes": pl.when(counted).then(whole("DAppBytes")),
        "fwd_ttl": whole("sTtl"), "bwd_ttl": whole("dTtl"),
        **{name: states[name] for name in states if name != "state"},
        "state": spoken(pl.coalesce(states["state"], named), *spoke),
        # Of both directions together, also where a record does not tell them apart.
        "packets_per_s": pl.when(packets > 1).then((rate + 0.5).floor()).when(packets.is_not_null()).then(0),
        "packet_mean_bytes": per(whole("TotBytes") - packets * _ETHERNET, packets),
        "iat_mean_s": pl.when(packets > 1).then(pl.col("seconds") / (packets - 1)).when(packets.is_not_null()).then(0.0),
    }  # fmt: skip
    return rows.select(expression.alias(name) for name, expression in found.items())


def _port(name: str) -> pl.Expr:
    """A port; what is no number stays text, so that its row is set aside."""
    return pl.coalesce(whole(name).cast(pl.String), pl.col(name))


def _sides() -> dict[str, pl.Expr]:
    """Packets and bytes of the link layer of each direction, as far as the record tells them apart."""
    total, size = whole("TotPkts"), whole("TotBytes")
    sent = pl.coalesce(whole("SrcBytes"), size - whole("DstBytes"))
    back = pl.coalesce(whole("DstBytes"), size - sent)
    told = pl.coalesce(whole("SrcPkts"), total - whole("DstPkts"))
    # All packets are the source's when all bytes are; of two packets with bytes both ways each side sent one.
    meant = (
        pl.when(back == 0)
        .then(total)
        .when(sent == 0)
        .then(0)
        .when((total == 2) & (sent > 0) & (back > 0))
        .then(1)
    )
    fwd = pl.coalesce(told, meant)
    return {
        "fwd_packets": fwd,
        "bwd_packets": pl.coalesce(whole("DstPkts"), total - fwd),
        "fwd_link": sent,
        "bwd_link": back,
    }


LOG = Log("argus", "flows of Argus", claims, read)

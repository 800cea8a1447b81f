"""Joy's flows (github.com/cisco/joy): one JSON object a line.

Joy counts payload and packets, not bytes of the network layer. It may print the direction of the answer first; the source is who was seen
first. Of a flow's packets it lists some (`packets`), whose gaps are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.sources.flags import of_flags, of_letters, spoken
from wirespeak.data.sources.lines import lines, nanoseconds, number, objects, protocol, whole
from wirespeak.data.sources.log import Log, Told

_PATHS = (
    "sa", "da", "pr", "sp", "dp", "bytes_out", "bytes_in", "num_pkts_out", "num_pkts_in", "time_start", "time_end", "packets[].b",
    "packets[].dir", "packets[].ipt", "ppi[].dir", "ppi[].flags", "ip.out.ttl", "ip.in.ttl", "tcp.out.flags", "tcp.in.flags",
    "tcp.out.first_window_size", "tcp.in.first_window_size", "dns[].qn", "dns[].rc", "http[].in[].version", "http[].out[].method", "tls.s_version", "tls.c_version",
    "ssh.cli.protocol", "dhcp[].op",
)  # fmt: skip
_RCODES = {"0": "NOERROR", "1": "FORMERR", "2": "SERVFAIL", "3": "NXDOMAIN", "4": "NOTIMP", "5": "REFUSED"}
_ENDS = ("fwd", "bwd")


def claims(path: Path, head: bytes) -> bool:
    """Whether these are flows of Joy; its first line may be its configuration."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and b'"num_pkts_out"' in start and b'"sa"' in start and b'"pr"' in start


def read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    """The flows of Joy. Raises InputError for files that cannot be read."""
    parts = [
        told.without(
            objects(piece, _PATHS, told),
            pl.col("sa").is_null() & pl.col("da").is_null(),
            "an object that is no flow",
        )
        for path in paths
        for piece in lines(path, told)
    ]
    rows = pl.concat(parts).with_row_index("row") if parts else pl.DataFrame()
    return _flows(rows) if rows.height else rows


def _flows(rows: pl.DataFrame) -> pl.DataFrame:
    start, end = nanoseconds("time_start"), nanoseconds("time_end")
    rows = rows.with_columns(protocol=protocol("pr"), turned=(start > end).fill_null(False))
    rows = rows.join(_packets(rows), on="row", how="left").join(_flags(rows), on="row", how="left")

    def by_side(out: str, back: str) -> dict[str, pl.Expr]:
        """What Joy says of both directions, the source's first."""
        turned = pl.when("turned")
        return {"fwd": turned.then(back).otherwise(out), "bwd": turned.then(out).otherwise(back)}

    count = by_side("num_pkts_out", "num_pkts_in")
    count = {side: whole(count[side].fill_null("0")) for side in _ENDS}
    payload = {side: whole(each.fill_null("0")) for side, each in by_side("bytes_out", "bytes_in").items()}
    ports, ttl = by_side("sp", "dp"), by_side("ip.out.ttl", "ip.in.ttl")
    window = by_side("tcp.out.first_window_size", "tcp.in.first_window_size")
    begun = by_side("tcp.out.flags", "tcp.in.flags")["fwd"]
    ends = by_side("sa", "da")
    tcp, packets = pl.col("protocol") == "tcp", count["fwd"] + count["bwd"]
    # Of a list that is shorter than the flow, what carries payload may still be all.
    whole_list = pl.col("listed") == packets
    paid = {side: pl.col(f"{side}_listed_bytes") == payload[side] for side in _ENDS}
    flags = of_flags(pl.col("fwd_flags"), pl.col("bwd_flags"), answered=count["bwd"] > 0)
    state = pl.when(pl.col("flagged") == packets).then(flags["state"])
    has_ports = pl.col("protocol").is_in(["tcp", "udp"])
    found = {
        "first_seen": pl.min_horizontal(start, end), "last_seen": pl.max_horizontal(start, end), "src": ends["fwd"], "dst": ends["bwd"],
        "src_port": pl.when(has_ports).then(ports["fwd"]), "dst_port": pl.when(has_ports).then(ports["bwd"]), "protocol": pl.col("protocol"),
        "application": _application(payload["fwd"] + payload["bwd"]), "state": spoken(state, count["fwd"] > 0, count["bwd"] > 0),
        "flags": pl.when(tcp & (begun == "S")).then(begun),
        **{f"{side}_packets": count[side] for side in _ENDS}, **{f"{side}_payload_bytes": payload[side] for side in _ENDS},
        **{f"{side}_ttl": pl.when(count[side] > 0).then(ttl[side]) for side in _ENDS},
        **{f"{side}_window_bytes": pl.when(tcp).then(window[side]) for side in _ENDS},
        **{f"{side}_payload_max_bytes": pl.when(payload[side] == 0).then(0).when(paid[side]).then(f"{side}_largest") for side in _ENDS},
        **{f"{side}_payload_packets": pl.when(payload[side] == 0).then(0).when(paid[side]).then(f"{side}_paid") for side in _ENDS},
        **{f"{side}_payload_min_bytes": pl.when(whole_list).then(f"{side}_smallest") for side in _ENDS},
        **{name: pl.when(whole_list & (packets > 1)).then(name) for name in ("iat_std_s", "iat_min_s", "iat_max_s")},
        "dns_query": pl.col("dns.qn").list.first(), "dns_rcode": pl.col("dns.rc").list.first().replace_strict(_RCODES, default=None, return_dtype=pl.String),
    }  # fmt: skip
    return rows.select(expression.alias(name) for name, expression in found.items())


def _packets(rows: pl.DataFrame) -> pl.DataFrame:
    """What the lists of packets tell of each flow: how many, their payload by direction, and their gaps in seconds."""
    listed = rows.select("row", "turned", "num_pkts_in", "packets.b", "packets.dir", "packets.ipt").filter(
        pl.col("packets.b").list.len() == pl.col("packets.dir").list.len(),
        pl.col("packets.b").list.len() == pl.col("packets.ipt").list.len(),
    )
    each = listed.explode("packets.b", "packets.dir", "packets.ipt").with_columns(
        fwd=_forward("packets.dir"), size=whole("packets.b"), gap=number("packets.ipt") / 1e3
    )
    gaps = pl.col("gap").slice(1)
    known: dict[str, pl.Expr] = {}
    for side, mine in (("fwd", pl.col("fwd")), ("bwd", ~pl.col("fwd"))):
        size = pl.col("size").filter(mine)
        known |= {
            f"{side}_listed_bytes": size.sum(), f"{side}_largest": size.max().fill_null(0), f"{side}_smallest": size.min().fill_null(0),
            f"{side}_paid": (size > 0).sum(),
        }  # fmt: skip
    known |= {"iat_std_s": gaps.std(ddof=0), "iat_min_s": gaps.min(), "iat_max_s": gaps.max()}
    return each.group_by("row").agg(pl.len().alias("listed"), **known)


def _flags(rows: pl.DataFrame) -> pl.DataFrame:
    """The flags of the packets listed of each TCP flow, by direction, and how many were listed."""
    listed = rows.select("row", "turned", "num_pkts_in", "ppi.dir", "ppi.flags").filter(
        pl.col("ppi.dir").list.len() == pl.col("ppi.flags").list.len()
    )
    each = listed.explode("ppi.dir", "ppi.flags").with_columns(
        fwd=_forward("ppi.dir"), bits=of_letters(pl.col("ppi.flags"))
    )
    sums = {
        f"{side}_flags": pl.col("bits").filter(mine).fill_null(0).bitwise_or().fill_null(0)
        for side, mine in (("fwd", pl.col("fwd")), ("bwd", ~pl.col("fwd")))
    }
    return each.group_by("row").agg(pl.len().alias("flagged"), **sums)


def _forward(direction: str) -> pl.Expr:
    """Whether a listed packet is the source's. Joy marks what goes out `>`, but `<` where nothing came in."""
    alone = pl.col("num_pkts_in").is_null()
    return alone | ((pl.col(direction) == ">") != pl.col("turned"))


def _application(payload: pl.Expr) -> pl.Expr:
    """The application that Joy looked into, else by whether there was payload."""
    multicast_dns = pl.any_horizontal(pl.col("sp", "dp") == "5353")
    tcp = pl.col("protocol") == "tcp"
    named = (
        pl.when(pl.col("dns.qn").is_not_null()).then(pl.when(multicast_dns).then(pl.lit("mdns")).otherwise(pl.lit("dns")))
        .when(pl.col("http.in.version").is_not_null() | pl.col("http.out.method").is_not_null()).then(pl.lit("http"))
        .when(tcp & (pl.col("tls.s_version").is_not_null() | pl.col("tls.c_version").is_not_null())).then(pl.lit("tls"))
        .when(pl.col("ssh.cli.protocol").is_not_null()).then(pl.lit("ssh"))
        .when(pl.col("dhcp.op").is_not_null()).then(pl.lit("dhcp"))
    )  # fmt: skip
    spoke = pl.col("protocol").is_in(["tcp", "udp"]) & (payload > 0)
    return pl.coalesce(named, pl.when(spoke).then(pl.lit("other")).otherwise(pl.lit("none")))


LOG = Log("joy", "flows of Joy", claims, read)

"""What views of our own flows in others' columns are made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

FWD, BWD, SECONDS = pl.col("fwd_packets"), pl.col("bwd_packets"), pl.col("duration_s")
PACKETS = FWD + BWD
PAYLOAD = pl.col("fwd_payload_bytes") + pl.col("bwd_payload_bytes")
IS_TCP = pl.col("protocol") == "tcp"
NETWORK_HEADER = pl.when(pl.col("src").str.contains(":", literal=True)).then(40).otherwise(20)
"""Bytes of the network header, extensions and options aside."""


def in_columns(flows: pl.DataFrame, names: Iterable[str], found: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The flows in these columns; those that nothing is found for are null.

    A name in `found` that is not among `names` is a mistake and raises KeyError.
    """
    wanted = list(names)
    if unknown := set(found) - set(wanted):
        raise KeyError(f"no such columns: {', '.join(sorted(unknown))}")
    return flows.select(found.get(name, pl.lit(None)).alias(name) for name in wanted)


def per(amount: pl.Expr, of: pl.Expr) -> pl.Expr:
    """A ratio, 0 of nothing."""
    return pl.when(of > 0).then(amount / of).otherwise(0.0)


def sample_deviation(population: pl.Expr, count: pl.Expr) -> pl.Expr:
    """The deviation of a sample of `count`, 0 of fewer than two, from that of the population."""
    return pl.when(count > 1).then(population * (count / (count - 1)).sqrt()).otherwise(0.0)


def microseconds(seconds: pl.Expr) -> pl.Expr:
    """Whole microseconds."""
    return (seconds * 1e6).round().cast(pl.Int64)


def protocol_number() -> pl.Expr:
    """The number of the IP protocol, 0 where there is none (as CICFlowMeter writes it)."""
    known = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "igmp": 2}
    named = pl.col("protocol").replace_strict(known, default=None, return_dtype=pl.Int64)
    other = pl.col("protocol").str.extract(r"^ip-(\d+)$").cast(pl.Int64)
    return pl.coalesce(named, other, pl.lit(0))


def zeek_state() -> pl.Expr:
    """Zeek's conn_state. A handshake that was never completed reads as Zeek says it: reset by one side, or established."""
    history = pl.col("history")
    half = (
        pl.when((pl.col("fwd_rst_packets") > 0) | history.str.contains("R", literal=True)).then(pl.lit("RSTO"))
        .when((pl.col("bwd_rst_packets") > 0) | history.str.contains("r", literal=True)).then(pl.lit("RSTR"))
        .otherwise(pl.lit("S1"))
    )  # fmt: skip
    state, protocol = pl.col("state"), pl.col("protocol")
    return (
        pl.when(state == "HALF").then(half)
        .when(protocol.is_in(["icmp", "icmp6"])).then(pl.lit("OTH"))
        .when(state == "two-way").then(pl.lit("SF"))
        .when(state == "one-way").then(pl.when(FWD == 0).then(pl.lit("SHR")).otherwise(pl.lit("S0")))
        .otherwise(state)
    )  # fmt: skip


_ZEEK_NAMES = {
    "http": "http", "mqtt": "mqtt", "tls": "ssl", "dtls": "ssl", "dns": "dns", "mdns": "dns", "dhcp": "dhcp", "ntp": "ntp",
    "modbus": "modbus", "ssh": "ssh", "ftp": "ftp", "smtp": "smtp", "snmp": "snmp", "syslog": "syslog", "dnp3": "dnp3_tcp",
    "quic": "quic",
}  # fmt: skip
ZEEK_SERVICES = {theirs: ours for ours, theirs in reversed(_ZEEK_NAMES.items())} | {
    "dnp3_udp": "dnp3",
    "ftp-data": "ftp",
}
"""What Zeek's services are among `schema.APPLICATIONS`; `ssl` is `dtls` over UDP, `dns` is `mdns` at port 5353."""


def zeek_service() -> pl.Expr:
    """The application in Zeek's words, null where Zeek has none for it."""
    return pl.col("application").replace_strict(_ZEEK_NAMES, default=None, return_dtype=pl.String)

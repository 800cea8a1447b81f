"""nfstream's flows with statistics (nfstream.org, version 6)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.sources.viewing import BWD, FWD, PACKETS, in_columns, protocol_number, sample_deviation
from wirespeak.errors import OptionError

_WAYS = {"bidirectional": "", "src2dst": "fwd_", "dst2src": "bwd_"}
_COUNTS = {"bidirectional": PACKETS, "src2dst": FWD, "dst2src": BWD}
_FLAGS = {
    "syn": "syn",
    "cwr": "cwr",
    "ece": "ece",
    "urg": "urg",
    "ack": "ack",
    "psh": "push",
    "rst": "rst",
    "fin": "fin",
}
_STATISTICS = {"min": "min", "mean": "mean", "stddev": "std", "max": "max"}

COLUMNS = (
    "id", "expiration_id", "src_ip", "src_mac", "src_oui", "src_port", "dst_ip", "dst_mac", "dst_oui", "dst_port", "protocol",
    "ip_version", "vlan_id", "tunnel_id",
    *(f"{way}_{what}" for way in _WAYS for what in ("first_seen_ms", "last_seen_ms", "duration_ms", "packets", "bytes")),
    *(f"{way}_{statistic}_ps" for way in _WAYS for statistic in _STATISTICS),
    *(f"{way}_{statistic}_piat_ms" for way in _WAYS for statistic in _STATISTICS),
    *(f"{way}_{flag}_packets" for way in _WAYS for flag in _FLAGS),
    "application_name", "application_category_name", "application_is_guessed", "application_confidence", "requested_server_name",
    "client_fingerprint", "server_fingerprint", "user_agent", "content_type",
)  # fmt: skip
"""What NFStreamer(statistical_analysis=True) gives."""


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """IP flows of our own (`schema.COLUMNS`) as nfstream has them with accounting_mode=1, that is with bytes of the network layer. When each
    direction was seen, and nDPI's categories and fingerprints, are null.

    Raises OptionError with labels: nfstream has no column for them.
    """
    if labels is not None:
        raise OptionError("nfstream has no labels. Leave --truth out.")
    kept = flows.filter(~pl.col("protocol").is_in(["arp", "802.15.4"]))
    six = pl.col("src").str.contains(":", literal=True)
    milliseconds = {name: pl.col(name) // 1_000_000 for name in ("first_seen", "last_seen")}
    found: dict[str, pl.Expr] = {
        "id": pl.col("flow_id"), "expiration_id": pl.lit(0), "src_ip": pl.col("src"), "src_mac": pl.col("src_mac"), "src_port": pl.col("src_port").fill_null(0),
        "src_oui": pl.col("src_mac").str.slice(0, 8), "dst_oui": pl.col("dst_mac").str.slice(0, 8),
        "dst_ip": pl.col("dst"), "dst_mac": pl.col("dst_mac"), "dst_port": pl.col("dst_port").fill_null(0), "protocol": protocol_number(),
        "ip_version": pl.when(six).then(6).otherwise(4), "vlan_id": pl.col("vlan").fill_null(0), "tunnel_id": pl.col("tunnel_id").fill_null(0),
        "bidirectional_first_seen_ms": milliseconds["first_seen"], "bidirectional_last_seen_ms": milliseconds["last_seen"],
        "bidirectional_duration_ms": milliseconds["last_seen"] - milliseconds["first_seen"],
        "bidirectional_packets": PACKETS, "bidirectional_bytes": pl.col("fwd_bytes") + pl.col("bwd_bytes"),
        "application_name": pl.col("application"), "requested_server_name": pl.coalesce("tls_sni", "http_host", "dns_query"),
        "user_agent": pl.col("http_user_agent"), "content_type": pl.col("http_content_type"),
    }  # fmt: skip
    for way, head in _WAYS.items():
        count = _COUNTS[way]
        for name, statistic in _STATISTICS.items():
            size, gap = pl.col(f"{head}packet_{statistic}_bytes"), pl.col(f"{head}iat_{statistic}_s")
            sampled = statistic == "std"
            found[f"{way}_{name}_ps"] = sample_deviation(size, count) if sampled else size
            found[f"{way}_{name}_piat_ms"] = (sample_deviation(gap, count - 1) if sampled else gap) * 1e3
        for name, flag in _FLAGS.items():
            both = pl.col(f"fwd_{flag}_packets") + pl.col(f"bwd_{flag}_packets")
            found[f"{way}_{name}_packets"] = pl.col(f"{head}{flag}_packets") if head else both
        if head:
            found |= {f"{way}_packets": count, f"{way}_bytes": pl.col(f"{head}bytes")}
    return in_columns(kept, COLUMNS, found)

"""Zeek's conn.log (docs.zeek.org, base/protocols/conn)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.sources.viewing import BWD, FWD, SECONDS, in_columns, zeek_service, zeek_state
from wirespeak.errors import OptionError

CONN = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes", "resp_bytes",
    "conn_state", "local_orig", "local_resp", "missed_bytes", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes",
    "tunnel_parents", "community_id",
)  # fmt: skip
"""The columns of conn.log, with the community-id package's."""


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """Flows of our own (`schema.COLUMNS`) as Zeek's conn.log has them: TCP, UDP and ICMP alone. `uid` and `tunnel_parents` are null,
    and so are the ports of ICMP and what needs to be told which networks are local.

    Raises OptionError with labels: conn.log has no column for them.
    """
    if labels is not None:
        raise OptionError("zeek-conn has no labels. Leave --truth out.")
    kept = flows.filter(pl.col("protocol").is_in(["tcp", "udp", "icmp", "icmp6"]))
    several = (FWD + BWD) > 1  # Zeek leaves these unset for a single packet
    found = {
        "ts": pl.col("first_seen") / 1e9, "id.orig_h": pl.col("src"), "id.orig_p": pl.col("src_port"), "id.resp_h": pl.col("dst"),
        "id.resp_p": pl.col("dst_port"), "proto": pl.col("protocol").str.replace("^icmp6$", "icmp"), "service": zeek_service(),
        "duration": pl.when(several).then(SECONDS), "orig_bytes": pl.when(several).then(pl.col("fwd_payload_bytes")),
        "resp_bytes": pl.when(several).then(pl.col("bwd_payload_bytes")), "conn_state": zeek_state(),
        "missed_bytes": pl.col("fwd_missed_bytes") + pl.col("bwd_missed_bytes"), "history": pl.col("history"), "orig_pkts": FWD,
        "orig_ip_bytes": pl.col("fwd_bytes"), "resp_pkts": BWD, "resp_ip_bytes": pl.col("bwd_bytes"), "community_id": pl.col("community_id"),
    }  # fmt: skip
    return in_columns(kept, CONN, found)

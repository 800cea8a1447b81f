"""Logs of other tools as flows: what follows from what a log tells reads as if it had been measured."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from wirespeak.data.sources.log import complete
from wirespeak.flow import read_flows
from wirespeak.schema import CONTEXT

CAPTURES = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures"
TOLD = (
    "first_seen", "last_seen", "src", "dst", "src_port", "dst_port", "protocol", "flags", "state", "history", "fwd_packets",
    "bwd_packets", "fwd_bytes", "bwd_bytes", "fwd_payload_bytes", "bwd_payload_bytes",
)  # fmt: skip
FOLLOWS = (
    "flow_id", "service", "duration_s", "duration_grade", "packets_per_s", "rate_grade", "fwd_packets_per_s", "bwd_packets_per_s",
    "fwd_bytes_per_s", "bwd_bytes_per_s", "bytes_per_s", "iat_mean_s", "fwd_header_bytes", "bwd_header_bytes",
    "fwd_packet_mean_bytes", "bwd_packet_mean_bytes", "packet_mean_bytes", "fwd_payload_mean_bytes", "bwd_payload_mean_bytes",
    "payload_mean_bytes",
)  # fmt: skip


def test_what_follows_from_counts_reads_as_measured() -> None:
    measured = read_flows(CAPTURES / "demo" / "capture.pcap").flows.sort("first_seen", maintain_order=True)
    measured = measured.with_columns(flow_id=pl.int_range(pl.len(), dtype=pl.Int64))
    completed = complete(measured.select(TOLD))
    assert completed.columns == measured.columns
    assert_frame_equal(completed.select(*TOLD, *FOLLOWS), measured.select(*TOLD, *FOLLOWS), abs_tol=1e-9)


def test_context_follows_from_when_flows_began_and_ended() -> None:
    """Counts of flows, ports and hosts to the number; how earlier flows stood nearly always, since answers take a while."""
    measured = read_flows(CAPTURES / "demo" / "capture.pcap").flows.sort("first_seen", maintain_order=True)
    completed = complete(measured.select(*TOLD, "cast", "errors", "operation"))
    for column in CONTEXT:
        if column.kind in ("count", "percent") and "rebinds" not in column.name:
            same = (completed[column.name] == measured[column.name]).sum() / measured.height
            assert same == 1 if column.kind == "count" else same > 0.94, column.name


def test_what_a_log_does_not_tell_is_null() -> None:
    flows = complete(
        pl.DataFrame(
            {
                "first_seen": [10**18],
                "src": ["10.0.0.1"],
                "dst": ["10.0.0.2"],
                "protocol": ["udp"],
                "dst_port": [53],
            }
        )
    )
    assert flows["service"].to_list() == ["dns"]
    assert flows["duration_s"].to_list() == [0.0]
    assert flows["fwd_packets"].null_count() == 1
    assert flows["packets_per_s"].null_count() == 1


def test_a_column_of_nobody_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="sourc"):
        complete(pl.DataFrame({"first_seen": [1], "sourc": ["10.0.0.1"]}))

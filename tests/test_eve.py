"""Suricata's EVE log as flows, held against the flows of the same capture."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from wirespeak.data.sources.log import Told, read_log
from wirespeak.data.sources.logs import LOGS, log_of
from wirespeak.errors import InputError
from wirespeak.flow import read_flows

CAPTURES = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures"
KEY = ["protocol", "src", "dst", "src_port", "dst_port"]
CONFIGURATION = """%YAML 1.1
---
outputs:
  - eve-log: {enabled: yes, filename: eve.json, community-id: true, ethernet: yes, types: [TYPES]}
app-layer:
  protocols: {http: {enabled: yes}, mqtt: {enabled: yes}, tls: {enabled: yes}, dns: {enabled: yes}, dhcp: {enabled: yes}, ntp: {enabled: yes}}
"""
SAID = "{http: {extended: yes}}, dns, {tls: {extended: yes}}, mqtt, {dhcp: {extended: yes}}"


def read(path: Path) -> tuple[pl.DataFrame, Told]:
    assert log_of([path]) is LOGS["suricata"]
    return read_log(LOGS["suricata"], [path])


def ran(capture: Path, folder: Path, types: str) -> Path:
    """What the real Suricata writes of a capture."""
    program = shutil.which("suricata")
    if program is None:
        pytest.skip("Suricata is not installed: apt-get install suricata")
    (folder / "suricata.yaml").write_text(CONFIGURATION.replace("TYPES", types))
    command = [
        program,
        "-c",
        "suricata.yaml",
        "-r",
        capture,
        "-S",
        "/dev/null",
        "-l",
        ".",
        "-k",
        "none",
        "--runmode",
        "single",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "eve.json"


@pytest.mark.parametrize("types", [f"flow, {SAID}", "netflow"])
def test_suricata_saw_the_same(types: str, tmp_path: Path) -> None:
    capture = CAPTURES / "quiet" / "capture.pcap"
    ours = read_flows(capture).flows
    theirs, told = read(ran(capture, tmp_path, types))
    assert theirs.height == told.rows
    assert not told.set_aside

    def once(flows: pl.DataFrame) -> pl.DataFrame:
        return flows.filter(pl.col("protocol").is_in(["tcp", "udp"]), pl.len().over(KEY) == 1)

    both = once(ours).join(once(theirs), on=KEY, suffix="_theirs")
    assert both.height > 0.95 * once(ours).height
    # Flows of UDP end sooner or later there; those of TCP are the same to the byte.
    tcp = both.filter(pl.col("protocol") == "tcp")
    assert tcp.height > 300
    for column in (
        "fwd_packets",
        "bwd_packets",
        "fwd_bytes",
        "bwd_bytes",
        "state",
        "community_id",
        "service",
        "src_mac",
        "cast",
    ):
        assert tcp[column].equals(tcp[f"{column}_theirs"]), column
        assert (both[column] == both[f"{column}_theirs"]).mean() > 0.97, column
    assert ((tcp["first_seen"] - tcp["first_seen_theirs"]).abs() < 1000).all()
    assert ((tcp["duration_s"] - tcp["duration_s_theirs"]).abs() < 2e-6).all()
    for column in ("flags", "fwd_syn_packets", "fwd_rst_packets", "bwd_rst_packets", "fwd_fin_packets"):
        known = tcp.filter(pl.col(f"{column}_theirs").is_not_null())
        assert known[column].equals(known[f"{column}_theirs"]), column
    if types != "netflow":
        spoke = tcp.filter(pl.col("application_theirs").is_not_null())
        assert spoke["application"].equals(spoke["application_theirs"])
        http = tcp.filter(pl.col("application") == "http")
        assert http["messages"].equals(http["messages_theirs"])
        assert http["http_uri_theirs"].str.starts_with("/").all()
        assert both["tls_version_theirs"].drop_nulls().str.starts_with("TLSv1.").all()
        assert theirs["dns_query"].null_count() < theirs.height
        assert theirs["dhcp_message"].drop_nulls().is_in(["DISCOVER", "OFFER", "REQUEST", "ACK"]).all()


def event(kind: str, **more: object) -> dict[str, object]:
    ends = {"src_ip": "10.0.0.5", "src_port": 5000, "dest_ip": "10.0.0.9", "dest_port": 80, "proto": "TCP"}
    return {"timestamp": "2026-01-01T00:00:09.000000+0200", "flow_id": 7, "event_type": kind, **ends, **more}


def counted(**more: object) -> dict[str, object]:
    times = {"start": "2026-01-01T00:00:00.000001+0200", "end": "2026-01-01T00:00:01.5+0200"}
    return {
        **times,
        "pkts_toserver": 3,
        "pkts_toclient": 2,
        "bytes_toserver": 200,
        "bytes_toclient": 140,
        **more,
    }


def written(path: Path, *events: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def test_events_of_one_flow_are_joined(tmp_path: Path) -> None:
    flags = {"tcp_flags_ts": "07", "tcp_flags_tc": "12"}
    path = written(
        tmp_path / "eve.json",
        event("http", http={"http_method": "GET", "url": "/a\n", "status": 404}),
        event("http", http={"http_method": "GET", "url": "/b", "status": 401}),
        event("alert", alert={"signature_id": 1}),
        event("flow", flow=counted(), tcp=flags, vlan=[5, 9]),
        event("stats", stats={"uptime": 1}),
        event("flow", flow_id=8, flow=counted(), proto="IPv6-ICMP", icmp_type=128, src_ip="fe80:0000:0000:0000:0000:0000:0000:0001", dest_ip="ff02:0000:0000:0000:0000:0000:0000:0001"),
        event("flow", flow_id=9, flow=counted(start="never")),
        event("flow", flow_id=10, flow=counted(end="2025-12-31T00:00:00+0200")),
        "no object",
    )  # fmt: skip
    flows, told = read(path)
    assert flows.height == 2
    assert told.set_aside == {
        "a line that is no JSON object": 1,
        "a row without a time": 1,
        "a row that ends before it begins": 1,
    }
    assert told.warnings == ["1 alerts on 1 flows are in no column"]
    web, echo = flows.rows(named=True)
    assert (web["messages"], web["errors"], web["refusals"], web["http_uri"], web["http_status"]) == (
        2,
        2,
        1,
        r"/a\x0a",
        404,
    )
    assert (web["state"], web["vlan"], web["fwd_bytes"], web["bwd_bytes"]) == (
        "HALF",
        9,
        200 - 3 * 22,
        140 - 2 * 22,
    )
    assert web["first_seen"] == 1767218400_000001000
    assert (echo["protocol"], echo["src"], echo["operation"], echo["cast"], echo["src_port"]) == (
        "icmp6",
        "fe80::1",
        "echo",
        "multicast",
        None,
    )


def test_without_a_flow_the_error_says_what_to_switch_on(tmp_path: Path) -> None:
    path = written(tmp_path / "eve.json", event("dns"), event("alert"))
    with pytest.raises(InputError, match=r"found: alert, dns.*Add 'flow' to the types"):
        read(path)


def test_packets_without_ethernet_keep_their_bytes(tmp_path: Path) -> None:
    small = counted(bytes_toserver=120, bytes_toclient=80)
    flows, told = read(written(tmp_path / "eve.json", event("flow", flow=small)))
    assert flows["fwd_bytes"].to_list() == [120]
    assert "too small for an Ethernet header" in told.warnings[0]

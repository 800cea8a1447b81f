"""Joy's flows: payload and packets, whichever direction is printed first."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from wirespeak.data.sources.log import read_log
from wirespeak.data.sources.logs import LOGS, log_of


def flow(**more: Any) -> dict[str, Any]:
    known = {
        "sa": "10.0.0.5", "da": "10.0.0.9", "pr": 6, "sp": 40000, "dp": 80, "bytes_out": 100, "num_pkts_out": 3, "bytes_in": 50,
        "num_pkts_in": 2, "time_start": 1500000000.25, "time_end": 1500000000.75, "ip": {"out": {"ttl": 64, "id": [1]}, "in": {"ttl": 250}},
    }  # fmt: skip
    return {**known, **more}


def listed(*packets: tuple[int, str, int]) -> list[dict[str, Any]]:
    return [{"b": size, "dir": way, "ipt": gap} for size, way, gap in packets]


@pytest.mark.parametrize("packed", [False, True])
def test_flows_of_joy(packed: bool, tmp_path: Path) -> None:
    rows = [
        {"version": "1.6.1", "interface": "none"},
        flow(
            packets=listed((0, ">", 0), (0, "<", 100), (0, ">", 0), (100, ">", 300), (50, "<", 100)),
            ppi=[{"dir": way, "flags": flags} for way, flags in ((">", "S"), ("<", "SA"), (">", "A"), (">", "PA"), ("<", "PA"))],
            tcp={"out": {"flags": "S", "first_window_size": 1024}, "in": {"flags": "SA", "first_window_size": 2048}},
            http=[{"in": [{"version": "HTTP/1.1"}, {"code": "200"}], "out": [{"method": "GET"}]}],
        ),
        # An answer printed as if it were the question: it ends before it starts.
        flow(
            sa="10.0.0.1", da="10.0.0.5", pr=17, sp=53, dp=5000, bytes_out=284, num_pkts_out=1, bytes_in=43, num_pkts_in=1,
            time_start=1500000001.5, time_end=1500000001.25, packets=listed((43, "<", 0), (284, ">", 250)), dns=[{"qn": "a.example", "rc": 3}],
        ),
        {"sa": "10.0.0.5", "da": "224.0.0.22", "pr": 2, "sp": None, "dp": None, "bytes_out": 16, "num_pkts_out": 2, "time_start": 1500000002, "time_end": 1500000003, "packets": listed((8, "<", 0), (8, "<", 1000))},
        flow(packets=listed((60, ">", 0), (50, "<", 9)), time_start=1500000004.0, time_end=1500000005.0),
    ]  # fmt: skip
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / "flows.json"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert log_of([path]) is LOGS["joy"]
    flows, told = read_log(LOGS["joy"], [path])
    assert told.set_aside == {"an object that is no flow": 1}
    web, name, group, short = flows.rows(named=True)
    assert (web["state"], web["flags"], web["application"], web["fwd_window_bytes"]) == (
        "S1",
        "S",
        "http",
        1024,
    )
    assert (
        web["fwd_payload_bytes"],
        web["fwd_payload_max_bytes"],
        web["fwd_payload_packets"],
        web["bwd_ttl"],
    ) == (100, 100, 1, 250)
    assert (web["iat_min_s"], web["iat_max_s"], web["fwd_bytes"]) == (0.0, 0.3, None)
    assert (name["src"], name["dst_port"], name["fwd_payload_bytes"], name["bwd_payload_bytes"]) == (
        "10.0.0.5",
        53,
        43,
        284,
    )
    assert (name["duration_s"], name["dns_query"], name["dns_rcode"], name["application"]) == (
        0.25,
        "a.example",
        "NXDOMAIN",
        "dns",
    )
    assert (name["fwd_payload_max_bytes"], name["state"], name["service"]) == (43, "two-way", "dns")
    assert (group["protocol"], group["state"], group["cast"], group["fwd_payload_max_bytes"]) == (
        "igmp",
        "one-way",
        "multicast",
        8,
    )
    # A list that is shorter than the flow tells nothing of the largest, nor of gaps.
    assert (
        short["fwd_payload_max_bytes"],
        short["bwd_payload_max_bytes"],
        short["iat_max_s"],
        short["state"],
    ) == (None, 50, None, None)


def test_real_flows(real_data: Path) -> None:
    paths = sorted((real_data / "nemea-siot-flows").rglob("*.json"))
    flows, told = read_log(LOGS["joy"], paths)
    assert flows.height == told.rows == 717
    names = flows.filter(flows["application"] == "dns")
    assert names.height > 100
    assert (names["dst_port"] == 53).mean() > 0.95  # so that questions come first
    assert (flows["last_seen"] >= flows["first_seen"]).all()

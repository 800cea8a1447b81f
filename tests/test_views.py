"""Our own flows in the columns of others: exactly those, and what each means there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from communityid import CommunityID, FlowTuple
from hypothesis import given
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, SYN, arp, ethernet, ip, mac, tcp, udp
from polars.testing import assert_frame_equal

from wirespeak.data import tables
from wirespeak.data.sources import SOURCES, read_dataset
from wirespeak.data.sources.looking_back import alike, codes, where
from wirespeak.data.sources.nfstream import COLUMNS
from wirespeak.data.sources.views import VIEWS
from wirespeak.data.sources.zeek import CONN
from wirespeak.errors import OptionError
from wirespeak.flow import measure, read_flows
from wirespeak.wire import Frames, decode

MILLISECOND = 1_000_000
SOURCE_OF = {
    "cicflowmeter": "cicids2017", "ton-iot": "ton-iot", "farm-flow": "farm-flow", "nsl-kdd": "nsl-kdd", "unsw-nb15": "unsw-nb15",
}  # fmt: skip
LABELS = {
    "cicflowmeter": {"Label"}, "ton-iot": {"label", "type"}, "farm-flow": {"traffic", "is_attack"}, "nsl-kdd": {"label", "difficulty"},
    "unsw-nb15": {"attack_cat", "label"},
}  # fmt: skip


@pytest.fixture(scope="module")
def flows() -> pl.DataFrame:
    """One connection of seven packets, 10 ms apart, one datagram and one question of ARP."""
    client, server, ports = "10.0.0.1", "10.0.0.2", (40000, 80)
    said = [
        (0, SYN, b""), (1, SYN | ACK, b""), (0, ACK, b""), (0, ACK | PSH, b"GET / HTTP/1.1\r\n\r\n"),
        (1, ACK | PSH, b"HTTP/1.1 200 OK\r\n\r\n"), (0, ACK | FIN, b""), (1, ACK | FIN, b""),
    ]  # fmt: skip
    sequence, frames = [100, 900], []
    for side, flags, payload in said:
        ends, way = ((client, server), ports) if side == 0 else ((server, client), ports[::-1])
        frames.append(ethernet(ip(*ends, 6, tcp(*way, flags, payload, sequence=sequence[side]))))
        sequence[side] += len(payload) + bool(flags & (SYN | FIN))
    frames.append(ethernet(ip(client, "10.0.0.3", 17, udp(5000, 9999, b"abc"))))
    frames.append(ethernet(arp(1, client, mac(1), server), kind=0x0806))
    return measure(decode(Frames.of([(100 + i) * 10 * MILLISECOND for i in range(len(frames))], frames)))


@pytest.mark.parametrize("name", VIEWS)
def test_columns_are_exactly_those_of_the_format(flows: pl.DataFrame, name: str) -> None:
    seen = VIEWS[name](flows, None).columns
    if name in SOURCE_OF:
        expected = [field.name for field in SOURCES[SOURCE_OF[name]].fields if field.name not in LABELS[name]]
    else:
        expected = list(CONN if name == "zeek-conn" else COLUMNS)
    assert seen == expected


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cicflowmeter", {
            "Flow ID": "10.0.0.1-10.0.0.2-40000-80-6", "Protocol": 6, "Flow Duration": 60_000, "Total Fwd Packets": 4, "Total Backward Packets": 3,
            "Total Length of Fwd Packets": 18, "Fwd Packet Length Mean": 4.5, "Fwd Packet Length Std": 9.0, "Flow IAT Mean": 10_000.0, "Flow IAT Std": 0.0,
            "Fwd IAT Total": 50_000, "Fwd Header Length": 80, "Bwd Header Length": 60, "SYN Flag Count": 2, "FIN Flag Count": 2, "PSH Flag Count": 2,
            "Down/Up Ratio": 0.0, "act_data_pkt_fwd": 1, "min_seg_size_forward": 20, "Init_Win_bytes_forward": 8192, "Active Max": 60_000, "Idle Max": 0,
        }),
        ("ton-iot", {"proto": "tcp", "service": "http", "duration": 0.06, "src_bytes": 18, "dst_bytes": 19, "conn_state": "SF", "src_pkts": 4, "src_ip_bytes": 178, "dns_query": None}),
        ("nsl-kdd", {
            "duration": 0, "protocol_type": "tcp", "service": "http", "flag": "SF", "src_bytes": 18, "dst_bytes": 19, "land": 0, "hot": None, "count": 1,
            "srv_count": 1, "serror_rate": 0.0, "same_srv_rate": 1.0, "dst_host_count": 1, "dst_host_same_src_port_rate": 1.0,
        }),
        ("unsw-nb15", {
            "id": 1, "proto": "tcp", "service": "http", "state": "FIN", "spkts": 4, "dpkts": 3, "sbytes": 178, "rate": 100.0, "sttl": 64, "sload": 8 * 178 / 0.06,
            "sloss": 0, "swin": 8192, "synack": 0.01, "ackdat": 0.01, "tcprtt": 0.02, "smean": 44, "ct_srv_src": 1, "is_sm_ips_ports": 0, "stcpb": None,
        }),
        ("zeek-conn", {
            "proto": "tcp", "service": "http", "conn_state": "SF", "history": "ShADdFf", "orig_pkts": 4, "resp_ip_bytes": 139, "missed_bytes": 0,
            "community_id": CommunityID().calc(FlowTuple(6, "10.0.0.1", "10.0.0.2", 40000, 80)),
        }),
        ("nfstream", {
            "protocol": 6, "ip_version": 4, "bidirectional_duration_ms": 60, "src2dst_packets": 4, "bidirectional_max_ps": 59, "src2dst_mean_ps": 44.5,
            "src2dst_stddev_ps": 9.0, "bidirectional_mean_piat_ms": 10.0, "bidirectional_syn_packets": 2, "dst2src_fin_packets": 1, "application_name": "http",
        }),
    ],
)  # fmt: skip
def test_values_are_what_the_format_means(flows: pl.DataFrame, name: str, values: dict[str, object]) -> None:
    row = VIEWS[name](flows, None).row(0, named=True)
    for column, value in values.items():
        assert row[column] == (pytest.approx(value) if isinstance(value, float) else value), column


def test_what_a_format_has_no_flows_for_is_left_out(flows: pl.DataFrame) -> None:
    heights = {name: VIEWS[name](flows, None).height for name in VIEWS}
    assert heights == {
        "farm-flow": 3,
        "cicflowmeter": 2,
        "ton-iot": 2,
        "nsl-kdd": 2,
        "unsw-nb15": 2,
        "zeek-conn": 2,
        "nfstream": 2,
    }


def test_a_datagram_reads_as_zeek_says_it(flows: pl.DataFrame) -> None:
    row = VIEWS["zeek-conn"](flows, None).row(1, named=True)
    assert (row["proto"], row["conn_state"], row["history"], row["duration"], row["orig_bytes"]) == (
        "udp", "S0", "D", None, None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cicflowmeter", "ton-iot"])
def test_a_view_is_read_as_the_dataset_it_shows(flows: pl.DataFrame, name: str, tmp_path: Path) -> None:
    """So that a model of that dataset judges it."""
    labels = pl.Series(["normal", "recon.port_scan", "malware.worm"])
    seen = VIEWS[name](flows, labels)
    tables.write(seen, tmp_path / "seen.csv")
    dataset = read_dataset([tmp_path / "seen.csv"], source=SOURCE_OF[name])
    assert dataset.table.height == seen.height == (2 if name == "cicflowmeter" else 1)
    assert_frame_equal(VIEWS[name](flows, None).head(1), seen.head(1).drop(LABELS[name]))


@pytest.mark.parametrize("name", ["zeek-conn", "nfstream", "nsl-kdd", "unsw-nb15"])
def test_labels_have_no_place_in_a_log(flows: pl.DataFrame, name: str) -> None:
    with pytest.raises(OptionError, match="labels"):
        VIEWS[name](flows, pl.Series(["normal"] * 3))


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 900)), min_size=1, max_size=40),
    most=st.integers(1, 20),
    seconds=st.one_of(st.none(), st.floats(0, 3)),
)
def test_what_came_before_is_counted_one_by_one(
    rows: list[tuple[int, bool, int]], most: int, seconds: float | None
) -> None:
    key = np.array([value for value, _, _ in rows], np.int64)
    marked = np.array([mark for _, mark, _ in rows])
    time_ns = np.cumsum([gap for _, _, gap in rows]).astype(np.int64) * MILLISECOND
    timed = {} if seconds is None else {"time_ns": time_ns, "seconds": seconds}
    found = alike({"all": (key, key), "marked": (key, where(marked, key))}, most=most, **timed)
    for i in range(len(rows)):
        before = [
            j for j in range(max(0, i - most + 1), i + 1)
            if key[j] == key[i] and (seconds is None or time_ns[i] - time_ns[j] <= seconds * 1e9)
        ]  # fmt: skip
        assert (found["all"][i], found["marked"][i]) == (len(before), sum(marked[j] for j in before))


def test_codes_tell_combinations_apart() -> None:
    assert len(set(codes(np.array(["a", "a", "b", "b"]), np.array([1, 2, 1, 2])).tolist())) == 4
    assert codes(np.array(["a", "b", "a"]), np.array([5, 5, 5])).tolist() == [0, 1, 0]
    assert codes(np.array([], np.int64)).tolist() == []


def test_ton_iot_tells_what_applications_said() -> None:
    flows = read_flows(
        Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures" / "demo" / "capture.pcap"
    ).flows
    seen = VIEWS["ton-iot"](flows)
    kept = flows.filter(pl.col("protocol").is_in(["tcp", "udp", "icmp", "icmp6"]))
    asked = kept["dns_query_type"] == "AAAA"
    assert asked.sum() > 20
    assert seen["dns_qtype"].filter(asked).unique().to_list() == [28]
    assert seen["dns_rcode"].filter(kept["dns_rcode"] == "NXDOMAIN").unique().to_list() == [3]
    assert seen["http_status_code"].to_list() == kept["http_status"].fill_null(0).to_list()
    assert seen["ssl_version"].drop_nulls().unique().to_list() == ["TLSv13"]

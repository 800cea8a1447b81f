"""Zeek's logs as flows, and back: the same flows whichever door they came through."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from wirespeak.data.sources import zeek
from wirespeak.data.sources.log import Told, read_log
from wirespeak.data.sources.logs import LOGS, log_of
from wirespeak.errors import InputError
from wirespeak.flow import read_flows

CAPTURES = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures"
SAME = (
    "src", "dst", "src_port", "dst_port", "protocol", "service", "state", "history", "community_id", "fwd_packets", "bwd_packets",
    "fwd_bytes", "bwd_bytes", "duration_grade", "packets_per_s", "rate_grade",
)  # fmt: skip
NEAR = ("duration_s", "iat_mean_s", "fwd_packet_mean_bytes", "bwd_packet_mean_bytes", "packet_mean_bytes")


def read(*paths: Path) -> tuple[pl.DataFrame, Told]:
    assert log_of(paths) is LOGS["zeek"]
    return read_log(LOGS["zeek"], paths)


def captured(name: str) -> pl.DataFrame:
    flows = read_flows(CAPTURES / name / "capture.pcap").flows
    return flows.filter(pl.col("protocol").is_in(["tcp", "udp", "icmp", "icmp6"])).sort(
        "first_seen", maintain_order=True
    )


@pytest.mark.parametrize("written", ["conn.log", "conn.jsonl"])
@pytest.mark.parametrize("name", ["demo", "quiet"])
def test_flows_come_through_both_doors(name: str, written: str, tmp_path: Path) -> None:
    flows, path = captured(name), tmp_path / written
    seen = zeek.view(flows)
    if written == "conn.log":
        zeek.write(seen, path)
    else:
        seen.write_ndjson(path)
    back, told = read(path)
    assert (told.rows, told.set_aside) == (flows.height, Counter())
    for column in SAME:
        assert back[column].equals(flows[column], null_equal=True), column
    for column in ("first_seen", "last_seen"):  # Zeek's times are microseconds
        assert (back[column] - flows[column]).abs().max() <= 1000, column
    for column in NEAR:
        assert ((back[column] - flows[column]).abs() <= 1e-6).all(), column
    # Of a single packet Zeek says no payload; it has no word for some applications; a broadcast of one network is an address like others.
    for column in ("fwd_payload_bytes", "bwd_payload_bytes", "fwd_missed_bytes", "flags", "operation"):
        known = back[column].is_not_null()
        assert back[column].filter(known).equals(flows[column].filter(known)), column
        assert known.mean() > 0.9, column
    other = flows["application"].filter(back["application"].eq_missing(flows["application"]).not_())
    assert set(other) <= {"ssdp", "coap", "rtsp", "telnet", "stun", "rtp", "bacnet", "none"}
    assert set(flows["cast"].filter(back["cast"] != flows["cast"])) <= {"broadcast"}


def test_the_command_writes_what_zeek_writes(wirespeak: Any, tmp_path: Path) -> None:
    path = tmp_path / "conn.log"
    done = wirespeak("flows", CAPTURES / "tiny" / "capture.pcap", "--as", "zeek-conn", "-o", path)
    assert done.returncode == 0, done.stderr
    head = path.read_text().splitlines()
    assert head[0] == r"#separator \x09"
    assert head[5].split("\t")[1:] == list(zeek.CONN)
    back = tmp_path / "flows.parquet"
    done = wirespeak("flows", path, "-o", back)
    assert done.returncode == 0, done.stderr
    assert f"{captured('tiny').height} flows from" in done.stdout
    assert "rows" in done.stdout


HEAD = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\t{}\n#fields\t{}\n"


def tabbed(path: Path, log: str, rows: list[dict[str, str]]) -> Path:
    names = list(rows[0])
    text = HEAD.format(log, "\t".join(names)) + "".join(
        "\t".join(row[name] for name in names) + "\n" for row in rows
    )
    data = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def conn(uid: str = "C1", **more: str) -> dict[str, str]:
    row = {
        "ts": "1700000000.123456", "uid": uid, "id.orig_h": "10.0.0.5", "id.orig_p": "50000", "id.resp_h": "10.0.0.9", "id.resp_p": "80",
        "proto": "tcp", "service": "-", "duration": "1.5", "orig_bytes": "120", "resp_bytes": "400", "conn_state": "SF",
        "missed_bytes": "0", "history": "ShADadFf", "orig_pkts": "6", "orig_ip_bytes": "440", "resp_pkts": "5", "resp_ip_bytes": "668",
        "tunnel_parents": "-",
    }  # fmt: skip
    return {**row, **more}


def said(uid: str, ts: str = "1700000000.2", **more: str) -> dict[str, str]:
    return {"ts": ts, "uid": uid, **more}


def test_a_folder_is_joined_by_uid(tmp_path: Path) -> None:
    day = tmp_path / "2023-11-14"
    tabbed(
        day / "conn.22:00:00-23:00:00.log.gz",
        "conn",
        [conn("C1", service="http"), conn("C2", **{"id.resp_p": "1883"})],
    )
    tabbed(
        day / "conn.23:00:00-00:00:00.log",
        "conn",
        [
            conn("C3", ts="1700003600.0", proto="udp", service="dns", history="Dd", **{"id.resp_p": "53"}),
            conn("C4", ts="1700003601.0", proto="udp", history="D", resp_pkts="0", resp_bytes="0", resp_ip_bytes="0", **{"id.resp_p": "67"}),
        ],
    )  # fmt: skip
    http = {
        "method": "GET",
        "host": "cam",
        "uri": r"/a\x09b\xc3\xa9\xff",
        "user_agent": "-",
        "status_code": "200",
        "username": "-",
    }
    later = {**http, "uri": "/later", "status_code": "401", "username": "root", "user_agent": "curl"}
    tabbed(
        day / "http.log", "http", [said("C1", "1700000000.9", **later), said("C1", "1700000000.3", **http)]
    )
    tabbed(
        day / "mqtt_connect.log",
        "mqtt_connect",
        [said("C2", proto_version="3.1.1", client_id="lamp", connect_status="Refused: not authorized")],
    )
    tabbed(day / "mqtt_subscribe.log", "mqtt_subscribe", [said("C2", topics=r"h\x2cme/#,a", ack="T")])
    answer = {
        "query": "cam.example",
        "qtype_name": "A",
        "rcode": "3",
        "rcode_name": "NXDOMAIN",
        "answers": "10.0.0.1,b.example",
    }
    tabbed(day / "dns.log", "dns", [said("C3", **answer)])
    dhcp = {
        "ts": "1700003601.0",
        "uids": "C4,C9",
        "host_name": "lamp",
        "requested_addr": "10.0.0.7",
        "assigned_addr": "-",
        "msg_types": "DISCOVER,OFFER",
    }
    tabbed(day / "dhcp.log", "dhcp", [dhcp])
    (day / "weird.log").write_text("not read")
    flows, told = read(tmp_path)
    assert [path.name for path in told.others] == ["weird.log"]
    assert (told.rows, told.set_aside) == (4, Counter())
    assert flows["application"].to_list() == ["http", "mqtt", "dns", "dhcp"]
    assert flows["messages"].to_list() == [2, 2, 1, None]
    assert flows["answers"].to_list() == [2, 2, 1, None]
    assert flows["errors"].to_list() == [1, 1, 1, None]
    assert flows["refusals"].to_list() == [1, 1, None, None]
    first = flows.row(0, named=True)
    assert (first["http_uri"], first["http_status"], first["http_user_agent"]) == (
        r"/a\x09bé\xff",
        200,
        "curl",
    )
    assert (first["logins"], first["state"], first["flags"], first["tunnel"]) == (1, "SF", "S", "")
    broker = flows.row(1, named=True)
    assert (
        broker["mqtt_version"],
        broker["mqtt_client_id"],
        broker["mqtt_reason"],
        broker["mqtt_topic"],
    ) == (4, "lamp", 5, "h,me/#")
    assert flows["dns_answers"][2] == "10.0.0.1 b.example"
    assert flows["state"].to_list()[2:] == ["two-way", "one-way"]
    assert flows.row(3, named=True)["dhcp_message"] == "DISCOVER"
    assert flows["dhcp_address"][3] == "10.0.0.7"


def test_json_flat_or_nested_dated_or_counted(tmp_path: Path) -> None:
    rows = [
        {"ts": "2023-11-14T22:13:20.000001Z", "uid": "C1", "id": {"orig_h": "fe80::1", "orig_p": 135, "resp_h": "ff02:0::16", "resp_p": 136}, "proto": "icmp", "orig_pkts": 1, "resp_pkts": 0, "orig_ip_bytes": 72, "resp_ip_bytes": 0, "missed_bytes": 0, "conn_state": "OTH", "orig_l2_addr": "02:00:00:00:00:0A"},
        {"ts": 1700000001.5, "uid": "C2", "id.orig_h": "10.0.0.1", "id.orig_p": 40000, "id.resp_h": "10.0.0.2", "id.resp_p": 22, "proto": "tcp", "history": "ShR", "conn_state": "RSTO", "duration": 0.25, "orig_pkts": 2, "resp_pkts": 1, "orig_bytes": 0, "missed_bytes": 7, "vlan": 5, "inner_vlan": 9},
        {"ts": 1700000002, "uid": "C3", "id": {"orig_h": "10.0.0.1", "resp_h": "10.0.0.2"}, "proto": "unknown_transport", "ip_proto": 89, "tunnel_parents": ["C8", "C9"]},
        {"ts": 1700000003, "uid": "C4", "id": {"orig_h": "10.0.0.1", "resp_h": "10.0.0.2"}, "proto": "unknown_transport"},
    ]  # fmt: skip
    (path := tmp_path / "conn.log").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"ts":\n')
    tunnel = {"ts": 1700000000, "uid": "C9", "tunnel_type": "Tunnel::VXLAN"}
    (tmp_path / "tunnel.log").write_text(json.dumps(tunnel) + "\n")
    flows, told = read_log(LOGS["zeek"], [path, tmp_path / "tunnel.log"])
    assert told.set_aside == {"a line that is no JSON object": 1, "unknown_transport": 1}
    assert flows["protocol"].to_list() == ["icmp6", "tcp", "ip-89"]
    assert flows["first_seen"][0] == 1_700_000_000_000_001_000
    assert flows["dst"][0] == "ff02::16"
    assert flows["src_port"].to_list() == [None, 40000, None]
    assert flows["operation"].to_list() == ["neighbour", "", ""]
    assert flows["cast"].to_list() == ["multicast", "unicast", "unicast"]
    assert flows["state"].to_list() == ["one-way", "HALF", None]
    assert flows["vlan"].to_list() == [None, 9, None]
    assert flows["src_mac"][0] == "02:00:00:00:00:0a"
    assert flows["fwd_missed_bytes"].to_list() == [0, None, 0]  # only TCP misses bytes
    assert flows["tunnel"].to_list() == ["", "", "vxlan"]
    assert flows["fwd_packet_max_bytes"].to_list() == [72, None, None]


@pytest.mark.parametrize("tail", [b"", b"x"])
def test_what_does_not_fit_is_counted(tmp_path: Path, tail: bytes) -> None:
    good = tabbed(tmp_path / "conn.log", "conn", [conn()]).read_bytes()
    line = good.splitlines()[-1]
    bad = [
        line.replace(b"10.0.0.5", b"10.0.0.256"), line.replace(b"50000", b"70000"), line.replace(b"\t440\t", b"\t-7\t"),
        line.replace(b"1700000000.123456", b"soon"), line + b"\textra", line.replace(b"\t1.5\t", b"\tnan\t"), line.replace(b"\t440\t", b"\tmany\t"),
        line.replace(b"\t440\t", b"\t99999999999999999999\t"), b"y" * (2 << 20),
    ]  # fmt: skip
    path = tmp_path / "dirty.log"
    path.write_bytes(good + b"\n".join(bad) + tail * 5 + b"\n" + good)
    flows, told = read(path)
    assert flows.height == 2
    assert sum(told.set_aside.values()) == len(bad)
    assert told.rows == 2 + len(bad)
    assert told.set_aside["a line of more than 1 MiB"] == 1
    assert told.set_aside["a row whose src_port is out of range"] == 1
    assert told.set_aside["a row without a time"] == 1


def test_a_cut_off_log_gives_its_whole_rows(tmp_path: Path) -> None:
    rows = [conn(f"C{number}", **{"id.orig_p": str(1024 + number * 7919 % 60000)}) for number in range(2000)]
    whole = tabbed(tmp_path / "conn.log.gz", "conn", rows).read_bytes()
    (path := tmp_path / "cut.log.gz").write_bytes(whole[: len(whole) // 2])
    flows, told = read(path)
    assert 0 < flows.height < 2000
    assert told.cut is not None
    assert "cut.log.gz" in told.cut


def test_what_is_no_flow_is_one_clear_error(tmp_path: Path) -> None:
    http = tabbed(
        tmp_path / "http.log",
        "http",
        [said("C1", method="GET", host="a", uri="/", user_agent="-", status_code="200", username="-")],
    )
    with pytest.raises(InputError, match=r"without a conn\.log"):
        read(http)
    empty = tmp_path / "empty.log"
    empty.write_text(HEAD.format("conn", "ts\tuid"))
    with pytest.raises(InputError, match="without a conn.log"):
        read(empty)
    headless = tmp_path / "none.log"
    headless.write_text("#separator \\x09\n1\t2\n")
    with pytest.raises(InputError, match="#fields"):
        read(headless)
    weird = tmp_path / "weird.log"
    weird.write_text(HEAD.format("weird", "ts\tuid") + "1\t2\n")
    with pytest.raises(InputError, match=r"without a conn\.log"):
        read(weird)
    many = tmp_path / "many.log"
    many.write_text("#separator \\x09\n" + "#fields\tts\n" * 2000)
    with pytest.raises(InputError, match="more than 1,000 headers"):
        read(many)
    deep = tmp_path / "conn.json"
    deep.write_text('{"ts":1,"id.orig_h":"1.2.3.4","a":' + "[" * 500_000 + "\n")
    with pytest.raises(InputError, match="without a flow"):
        read(deep)


def test_real_logs_read_back_as_they_were(real_data: Path) -> None:
    logs = real_data / "slips-logs"
    for name in ("test9-mixed-zeek-dir", "port-scans/horizontal", "port-scans/vertical"):
        path = logs / name / "conn.log"
        seen = zeek.view(read(path)[0])
        raw = pl.concat(rows for _, rows in zeek._rows(path, Told()))
        raw = raw.sort(pl.col("ts").cast(pl.Float64), maintain_order=True)
        icmp = seen["proto"] == "icmp"  # whose ports are a type and a code
        # These logs have no Community IDs; ours are found from the ends of a flow.
        for column in set(seen.columns) - {
            "uid",
            "local_orig",
            "local_resp",
            "tunnel_parents",
            "community_id",
        }:
            ours, theirs = seen[column], raw[column].replace("", None)
            if column.endswith("_p"):
                ours, theirs = ours.filter(~icmp), theirs.filter(~icmp)
            if ours.dtype.is_numeric():
                far = (ours - theirs.cast(pl.Float64)).abs() > 1e-6
                assert not far.any(), (name, column)
                assert ours.is_null().equals(theirs.is_null()), (name, column)
            else:
                assert ours.cast(pl.String).equals(theirs, null_equal=True), (name, column)


def test_a_real_folder_tells_what_was_said(real_data: Path) -> None:
    flows, told = read(real_data / "slips-logs" / "test9-mixed-zeek-dir")
    assert flows.height == told.rows == 576
    spoke = dict(flows["application"].value_counts().iter_rows())
    assert {name: spoke[name] for name in ("dns", "tls", "http", "dhcp")} == {
        "dns": 205,
        "tls": 205,
        "http": 109,
        "dhcp": 9,
    }
    assert flows["http_host"].null_count() < flows.height
    assert flows["tls_sni"].drop_nulls().str.contains(".", literal=True).any()
    assert set(flows["tls_version"].drop_nulls()) <= {"TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"}

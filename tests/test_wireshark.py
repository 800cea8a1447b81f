"""Exports of Wireshark as flows, held against the flows of the same capture."""

from __future__ import annotations

import csv
import io
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
LIST = ["No.", "Time", "Source", "Destination", "Protocol", "Length", "Info"]
PORTS = ["Source Port", "Destination Port"]


def read(path: Path) -> tuple[pl.DataFrame, Told]:
    assert log_of([path]) is LOGS["wireshark"]
    return read_log(LOGS["wireshark"], [path])


def exported(capture: Path, path: Path, *, ports: bool, dated: bool) -> Path:
    """The packet list of a capture, written as Wireshark's File > Export Packet Dissections > As CSV does."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: apt-get install tshark")
    fields = [f"_ws.col.{name}" for name in LIST] + [
        "tcp.srcport",
        "udp.srcport",
        "tcp.dstport",
        "udp.dstport",
    ]
    command = [
        "tshark",
        "-r",
        str(capture),
        "-t",
        "ad" if dated else "r",
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
        "occurrence=f",
    ]
    command += [word for name in fields for word in ("-e", name)]
    said = subprocess.run(
        command, check=True, capture_output=True, timeout=120, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(LIST + (PORTS if ports else []))
    for line in said.stdout.decode().splitlines():
        cells = line.split("\t")
        both = [cells[7] or cells[8], cells[9] or cells[10]]
        writer.writerow(cells[:7] + (both if ports else []))
    path.write_text(table.getvalue())
    return path


def once(flows: pl.DataFrame) -> pl.DataFrame:
    return flows.filter(pl.col("protocol").is_in(["tcp", "udp"]), pl.len().over(KEY) == 1)


def test_packets_with_ports_are_the_same_flows(tmp_path: Path) -> None:
    capture = CAPTURES / "quiet" / "capture.pcap"
    theirs, told = read(exported(capture, tmp_path / "packets.csv", ports=True, dated=True))
    assert set(told.set_aside) == {"a packet without IP addresses"}
    ours = once(read_flows(capture).flows)
    both = ours.join(once(theirs), on=KEY, suffix="_theirs")
    assert both.height == ours.height
    for column in (
        "first_seen", "last_seen", "fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes", "service", "fwd_packet_max_bytes",
        "bwd_packet_min_bytes", "packets_per_s",
    ):  # fmt: skip
        assert both[column].equals(both[f"{column}_theirs"]), column
    for column in (
        "iat_mean_s",
        "iat_std_s",
        "iat_max_s",
        "fwd_iat_mean_s",
        "bwd_iat_max_s",
        "fwd_packet_std_bytes",
    ):
        assert ((both[column] - both[f"{column}_theirs"]).abs() < 1e-5).all(), column
    for column in ("fwd_payload_bytes", "flags", "fwd_syn_packets", "fwd_push_packets"):
        known = both.filter(pl.col(f"{column}_theirs").is_not_null())
        assert known.height, column
        assert known[column].equals(known[f"{column}_theirs"]), column
    assert (both["state"] == both["state_theirs"]).mean() > 0.99
    assert (both["application"] == both["application_theirs"]).mean() > 0.99


def test_packets_without_ports_say_so(tmp_path: Path) -> None:
    capture = CAPTURES / "tiny" / "capture.pcap"
    flows, told = read(exported(capture, tmp_path / "packets.csv", ports=False, dated=False))
    assert any("counted from 1970" in note for note in told.warnings)
    assert flows["first_seen"].min() < 10**9
    ours = read_flows(capture).flows.filter(pl.col("protocol") == "tcp")
    theirs = flows.filter(pl.col("protocol") == "tcp")
    assert set(theirs["dst_port"]) == set(ours["dst_port"])
    assert (
        theirs["fwd_packets"].sum() + theirs["bwd_packets"].sum()
        == ours["fwd_packets"].sum() + ours["bwd_packets"].sum()
    )


def packets(*rows: tuple[str, str, str, str, str, str]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(LIST)
    writer.writerows((number, *row) for number, row in enumerate(rows, 1))
    return table.getvalue()


def test_a_connection_of_one_host_with_itself_and_names_of_ports(tmp_path: Path) -> None:
    me = "127.0.0.1"
    rows = [
        ("0.0", me, me, "TCP", "74", "41000 > https(443) [SYN] Seq=0 Win=1 Len=0"),
        ("0.1", me, me, "TCP", "74", "https(443) > 41000 [SYN, ACK] Seq=0 Ack=1 Win=1 Len=0"),
        ("0.2", me, me, "TCP", "66", "[TCP Dup ACK 3#1] 41000 > https(443) [ACK] Seq=1 Ack=1 Win=1 Len=0"),
        ("0.3", me, me, "TCP", "66", "41000 > https(443) [RST, ACK] Seq=1 Ack=1 Win=1 Len=0"),
        ("0.4", me, me, "TCP", "74", "41000 > https(443) [SYN] Seq=0 Win=1 Len=0"),
        ("90.0", me, me, "TCP", "74", "41000 > https(443) [SYN] Seq=0 Win=1 Len=0"),
        ("91.0", "Apple_aa:bb:cc", "Broadcast", "ARP", "42", 'Who has "x"?'),
        ("92.0", me, me, "NEWPROTO", "42", "hello"),
        ("soon", me, me, "TCP", "42", "1 > 2 [ACK] Seq=1"),
    ]
    (path := tmp_path / "list.csv").write_text(packets(*rows))
    flows, told = read(path)
    assert flows["state"].to_list() == ["RSTO", "S0", "S0"]
    assert flows["fwd_packets"].to_list() == [3, 1, 1]
    assert flows["src_port"].to_list() == [41000] * 3
    assert told.set_aside == {
        "a packet without IP addresses": 1,
        "a packet whose transport Wireshark's name for it does not tell": 1,
        "a packet without a time (show it as seconds or as date and time)": 1,
    }


def test_conversations(tmp_path: Path) -> None:
    head = "Address A,Port A,Address B,Port B,Packets,Bytes,Stream ID,Packets A → B,Bytes A → B,Packets B → A,Bytes B → A,Rel Start,Duration,Bits/s A → B,Bits/s B → A"
    row = "10.0.0.5,40000,10.0.0.9,80,5,500,0,3,300,2,200,1.5,0.25,9600,6400"
    (path := tmp_path / "tcp.csv").write_text(f"{head}\n{row}\n")
    flows, told = read(path)
    flow = flows.row(0, named=True)
    assert (
        flow["protocol"],
        flow["fwd_bytes"],
        flow["bwd_bytes"],
        flow["first_seen"],
        flow["duration_s"],
    ) == ("tcp", 258, 172, 1_500_000_000, 0.25)
    assert flow["state"] is None
    assert len(told.warnings) == 2
    (unknown := tmp_path / "talk.csv").write_text(f"{head}\n{row}\n")
    with pytest.raises(InputError, match="'tcp' or 'udp' in its name"):
        read(unknown)
    (short := tmp_path / "udp.csv").write_text("Address A,Port A,Address B,Port B\n10.0.0.5,1,10.0.0.9,2\n")
    with pytest.raises(InputError, match="has no column 'Packets A -> B'"):
        read(short)

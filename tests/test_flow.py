"""Flows: what one is, how it went, what was said in it; and the same totals as tshark."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from communityid import CommunityID, FlowTuple
from hypothesis import given
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, RST, SYN, arp, ethernet, icmp, ip, mac, sctp, tcp, udp

from wirespeak.errors import InputError, OptionError, WirespeakError
from wirespeak.flow import FlowReader, Meter, measure, read_flows
from wirespeak.schema import COLUMNS
from wirespeak.wire import Frames, decode, write_pcap
from wirespeak.wire.containers import OpenCapture

S = 1_000_000_000
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def flows(*frames: bytes | tuple[float, bytes]) -> pl.DataFrame:
    """The flows of frames a millisecond apart, or at the second given with them."""
    timed = [frame if isinstance(frame, tuple) else (row / 1000, frame) for row, frame in enumerate(frames)]
    return measure(decode(Frames.of([int(time * S) for time, _ in timed], [frame for _, frame in timed])))


def talk(*steps: tuple[str, int, bytes], port: int = 80) -> list[bytes]:
    """TCP packets of one connection: who speaks (> client, < server), flags, payload. Sequence numbers add up."""
    sequence = {">": 1000, "<": 9000}
    frames = []
    for who, flags, payload in steps:
        ends = (CLIENT, SERVER) if who == ">" else (SERVER, CLIENT)
        ports = (40000, port) if who == ">" else (port, 40000)
        frames.append(ethernet(ip(*ends, 6, tcp(*ports, flags, payload, sequence=sequence[who]))))
        sequence[who] += len(payload) + bool(flags & (SYN | FIN))
    return frames


HANDSHAKE = ((">", SYN, b""), ("<", SYN | ACK, b""), (">", ACK, b""))


def says(*steps: tuple[str, bytes], port: int = 80) -> dict[str, object]:
    """The one flow of a connection in which these payloads are said."""
    return flows(*talk(*HANDSHAKE, *((who, PSH | ACK, payload) for who, payload in steps), port=port)).row(
        0, named=True
    )


def test_columns_are_those_of_the_dictionary() -> None:
    table = flows(*talk(*HANDSHAKE))
    assert table.columns == list(COLUMNS)
    kinds = {
        "count": pl.Int64,
        "bytes": pl.Int64,
        "percent": pl.Int64,
        "grade": pl.Int64,
        "tenths": pl.Int64,
        "seconds": pl.Float64,
        "bits": pl.Float64,
        "number": pl.Float64,
        "category": pl.String,
        "text": pl.String,
        "code": pl.Int64,
    }
    for name, column in COLUMNS.items():
        assert column.kind == "identity" or table.schema[name] == kinds[column.kind], name
    assert Meter().flush().schema == table.schema


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        ("S0", "> S"), ("REJ", "> S, < RA"), ("HALF", "> S, < SA"), ("HALF", "> S, < SA, > R"), ("S1", "> S, < SA, > A"),
        ("SF", "> S, < SA, > A, > FA, < FA, > A"), ("SF", "> S, < SA, > A, < FA, > FA, < R"), ("S2", "> S, < SA, > A, > FA"),
        ("S3", "> S, < SA, > A, < FA"), ("RSTO", "> S, < SA, > A, > R"), ("RSTR", "> S, < SA, > A, < RA"),
        ("RSTOS0", "> S, > R"), ("SH", "> S, > F"), ("RSTRH", "> SA, < R"), ("OTH", "> A, < A"), ("OTH", "> FPU"),
    ],
)  # fmt: skip
def test_tcp_states(state: str, steps: str) -> None:
    bits = dict(zip("FSRPAU", (FIN, SYN, RST, PSH, ACK, 32), strict=True))
    made = [(step[0], sum(bits[letter] for letter in step[2:]), b"") for step in steps.split(", ")]
    row = flows(*talk(*made)).row(0, named=True)
    assert row["state"] == state
    assert row["flags"] == steps.split(", ")[0][2:]


def test_a_closed_connection_keeps_late_packets_and_yields_to_a_syn() -> None:
    closed = talk(*HANDSHAKE, (">", FIN | ACK, b""), ("<", FIN | ACK, b""), (">", ACK, b""))
    syn = talk((">", SYN, b""))[0]
    late = flows(*((0.0, frame) for frame in closed[:5]), (4.9, closed[5]), (4.9, syn), (30, closed[5]))
    assert late["fwd_packets"].to_list() == [4, 2]
    assert flows(*((0.0, frame) for frame in closed[:5]), (5.1, closed[5])).height == 2


def test_idle_and_active_timeouts() -> None:
    query = ethernet(ip(CLIENT, SERVER, 17, udp(5000, 6000)))
    assert flows((0, query), (60, query)).height == 1
    assert flows((0, query), (60.1, query)).height == 2
    syn, syn_ack, ack = talk(*HANDSHAKE)
    parts = flows((0, syn), (1, syn_ack), (2, ack), *((float(second), ack) for second in range(50, 400, 50)))
    assert parts["state"].to_list() == ["S1", "S1"]
    assert parts["fwd_packets"].to_list() == [8, 1]
    assert parts["first_seen"].to_list() == [0, 350 * S]


def test_arp_requests_are_answered_by_replies() -> None:
    ask = ethernet(arp(1, CLIENT, mac(1), SERVER), kind=0x0806, dst=b"\xff" * 6)
    reply = ethernet(arp(2, SERVER, mac(2), CLIENT, mac(1)), kind=0x0806)
    announce = ethernet(arp(2, SERVER, mac(9), SERVER), kind=0x0806, dst=b"\xff" * 6)
    probe = ethernet(arp(1, "0.0.0.0", mac(3), SERVER), kind=0x0806, dst=b"\xff" * 6)
    table = flows(ask, reply, announce, probe, ethernet(ip(SERVER, CLIENT, 17, udp(1, 2)), src=mac(2)))
    assert table["operation"].to_list() == ["request", "reply", "announce", "probe", ""]
    assert table["state"].to_list()[:2] == ["two-way", "one-way"]
    assert table["mac_conflict"].to_list() == [0, 0, 1, 0, 1]
    assert table["src_rebinds_60s"].to_list() == [0, 0, 0, 0, 1]
    assert table["dst_unanswered_60s"][3] == 0


def test_echo_replies_belong_to_their_requests() -> None:
    table = flows(
        ethernet(ip(CLIENT, SERVER, 1, icmp(8, identifier=5, payload=b"x" * 40))),
        ethernet(ip(SERVER, CLIENT, 1, icmp(0, identifier=5, payload=b"x" * 40))),
        ethernet(ip(CLIENT, SERVER, 1, icmp(8, identifier=6))),
    )
    assert table["state"].to_list() == ["two-way", "one-way"]
    assert table["bwd_payload_bytes"].to_list() == [40, 0]


def test_more_fragments_than_are_remembered_are_lost_alike_each_time() -> None:
    first = [ip(f"10.0.{n >> 8}.{n & 255}", SERVER, 17, udp(1, 2), fragment=0x2000) for n in range(6_000)]
    later = [ip(f"10.0.{n >> 8}.{n & 255}", SERVER, 17, b"rest", fragment=2) for n in range(6_000)]
    packets = decode(Frames.of([0] * 12_000, [ethernet(each) for each in first + later]))
    lost = []
    for _ in range(3):
        meter = Meter()
        meter.push(packets)
        lost.append(meter.set_aside)
    assert lost[0] and lost == [lost[0]] * 3


def test_an_unreachable_marks_the_flow_that_caused_it() -> None:
    lost = ip(CLIENT, SERVER, 17, udp(5000, 9, b"x"))
    table = flows(
        ethernet(lost),
        ethernet(ip(SERVER, CLIENT, 1, icmp(3, 3, payload=lost))),
        ethernet(ip(CLIENT, SERVER, 17, udp(5000, 10))),
    )
    assert table["src_errors_60s"].to_list() == [0, 0, 100]
    assert table["operation"].to_list() == ["", "unreachable", ""]


@pytest.mark.parametrize(
    ("service", "src_port", "dst_port", "flags"),
    [
        ("mqtt", 40000, 1883, SYN), ("mqtt", 1884, 1883, SYN), ("mqtt", 1883, 40000, SYN | ACK), ("ephemeral", 8080, 40000, SYN),
        ("system", 40000, 7, SYN), ("registered", 8080, 20001, SYN), ("ephemeral", 40000, 50000, ACK),
    ],
)  # fmt: skip
def test_a_clients_port_names_no_service(service: str, src_port: int, dst_port: int, flags: int) -> None:
    assert flows(ethernet(ip(CLIENT, SERVER, 6, tcp(src_port, dst_port, flags))))["service"].to_list() == [
        service
    ]


def test_cast() -> None:
    everyone, group = b"\xff" * 6, bytes([1, 0, 0x5E, 0, 0, 0xFB])
    table = flows(
        ethernet(ip(CLIENT, SERVER, 17, udp(1, 2))),
        ethernet(ip(CLIENT, "10.0.0.255", 17, udp(1, 2)), dst=everyone),
        ethernet(ip(CLIENT, "224.0.0.251", 17, udp(1, 2)), dst=group),
        ethernet(ip("fe80::1", "ff02::fb", 17, udp(1, 2)), kind=0x86DD),
    )
    assert table["cast"].to_list() == ["unicast", "broadcast", "multicast", "multicast"]


def test_http_errors_logins_and_text() -> None:
    row = says(
        (">", b"POST /login HTTP/1.1\r\nHost: hub\r\nContent-Length: 37\r\n\r\n"),
        (">", b"user=admin&password=%27+OR+1%3D1%3B--"),
        ("<", b"HTTP/1.1 401 Unauthorized\r\n\r\n"),
        (
            ">",
            b"GET /?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E HTTP/1.1\r\nAuthorization: Basic eA==\r\n\r\n",
        ),
        ("<", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    )
    counted = ("application", "messages", "answers", "errors", "logins", "refusals", "unfinished_requests")
    assert [row[name] for name in counted] == ["http", 2, 2, 1, 2, 1, 0]
    assert (row["sql_signs"], row["sql_words"]) == (6, 1)  # = = ' = ; -- and OR
    assert (row["markup_signs"], row["script_words"]) == (4, 5)
    assert row["message_bytes"] == len("/?q=<script>alert(document.cookie)</script>")


def test_ordinary_text_has_no_sql_signs() -> None:
    text = "/set?level=3&color=(red)"
    row = says((">", f"GET {text} HTTP/1.1\r\n\r\n".encode()))
    bits = -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
    assert (row["sql_signs"], row["sql_words"], row["entropy_bits"]) == (0, 0, round(bits, 1))


@pytest.mark.parametrize(
    "steps",
    [
        [b"GET / HTTP/1.1\r\nHost: hub\r\n", b"X-a: 1\r\n", b"X-b: 2\r\n"],
        [b"POST /form HTTP/1.1\r\nContent-Length: 100\r\n\r\n", b"a", b"b"],
        [b"POST /form HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"],
    ],
)
def test_requests_that_never_end(steps: list[bytes]) -> None:
    assert says(*((">", step) for step in steps))["unfinished_requests"] == 1


def test_a_request_in_pieces_ends() -> None:
    row = says((">", b"GET /a HTTP/1.1\r\nHost: hub\r\n"), (">", b"\r\n"), (">", b"GET /b HTTP/1.1\r\n\r\n"))
    assert (row["unfinished_requests"], row["messages"]) == (0, 2)


def test_a_retransmission_says_nothing_new() -> None:
    frames = talk(*HANDSHAKE, (">", PSH | ACK, b"GET / HTTP/1.1\r\n\r\n"))
    row = flows(*frames, frames[-1]).row(0, named=True)
    assert (row["messages"], row["fwd_payload_bytes"]) == (1, 36)


def mqtt_connect(level: int, flags: int, fields: bytes) -> bytes:
    body = b"\0\4MQTT" + bytes([level, flags]) + b"\0\x3c" + fields
    return bytes([0x10, len(body)]) + body


@pytest.mark.parametrize(("level", "code", "refused"), [(4, 5, 1), (5, 135, 1), (4, 0, 0), (4, 2, 0)])
def test_mqtt_logins(level: int, code: int, refused: int) -> None:
    connack = bytes([0x20, 2, 0, code]) if level == 4 else bytes([0x20, 3, 0, code, 0])
    row = says((">", mqtt_connect(level, 0xC2, b"\0\1a\0\1u\0\1p")), ("<", connack), port=8899)
    assert [row[name] for name in ("application", "logins", "errors", "refusals")] == [
        "mqtt",
        1,
        int(code != 0),
        refused,
    ]


def test_mqtt_packets_share_and_span_segments() -> None:
    publish = b"\x30\x90\x03" + bytes(400)
    row = says(
        (">", mqtt_connect(4, 2, b"\0\1a") + b"\xc0\0" + publish[:100]),
        (">", publish[100:] + b"\xc0\0"),
        ("<", b"\x20\2\0\0\xd0\0"),
    )
    assert (row["messages"], row["answers"], row["logins"]) == (4, 2, 0)


DNS_ANSWER = bytes.fromhex("000181830001000000000000") + b"\3hub\0\0\1\0\1"
DATAGRAMS = [
    ("dns", 53, DNS_ANSWER, 1), ("mdns", 5353, bytes.fromhex("000000000001000000000000") + b"\3hub\0\0\1\0\1", 0),
    ("ntp", 123, b"\x23" + bytes(47), 0), ("coap", 5683, b"\x40\x84\0\1", 1), ("coap", 5683, b"\x40\x45\0\1", 0),
    ("ssdp", 1900, b"M-SEARCH * HTTP/1.1\r\n\r\n", 0), ("dhcp", 67, b"\1\1\6\0" + bytes(232) + bytes.fromhex("63825363"), 0),
    ("snmp", 161, bytes.fromhex("302602010104067075626c6963"), 0), ("syslog", 5514, b"<34>1 - hub", 0),
    ("stun", 3478, bytes.fromhex("000100002112a442") + bytes(12), 0), ("dtls", 5684, b"\x16\xfe\xfd" + bytes(8) + b"\0\1\1", 0),
    ("quic", 443, b"\xc3\0\0\0\1\x08" + bytes(30), 0), ("bacnet", 47808, b"\x81\x0b\0\x08\1\0\x10\x08", 0), ("other", 9, b"zzzz", 0),
]  # fmt: skip


@pytest.mark.parametrize(("application", "port", "payload", "errors"), DATAGRAMS)
def test_datagrams(application: str, port: int, payload: bytes, errors: int) -> None:
    row = flows(ethernet(ip(CLIENT, SERVER, 17, udp(40000, port, payload)))).row(0, named=True)
    assert (row["application"], row["errors"], row["messages"]) == (
        application,
        errors,
        int(application != "other"),
    )


@pytest.mark.parametrize(
    ("application", "port", "payload"),
    [
        ("tls", 8883, b"\x16\3\1\0\2hi"), ("ssh", 22, b"SSH-2.0-x\r\n"), ("modbus", 502, b"\0\1\0\0\0\6\1\3\0\0\0\1"), ("telnet", 99, b"\xff\xfb\1"),
        ("rtsp", 554, b"DESCRIBE rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\n\r\n"), ("dnp3", 20000, b"\5\x64\5\xc0\1\0\0\0\4\xe9"), ("other", 4444, b"zz"),
    ],
)  # fmt: skip
def test_streams(application: str, port: int, payload: bytes) -> None:
    row = says((">", payload), port=port)
    assert (row["application"], row["messages"]) == (application, int(application != "other"))


def test_modbus_exceptions_are_errors() -> None:
    row = says((">", b"\0\1\0\0\0\6\1\3\0\0\0\1"), ("<", b"\0\1\0\0\0\3\1\x83\2"), port=502)
    assert (row["answers"], row["errors"]) == (1, 1)


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="idle_s is 0"):
        Meter(idle_s=0)


def saved(folder: Path, name: str, frames: Frames) -> Path:
    write_pcap(folder / name, frames)
    return folder / name


def test_files_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    syn, syn_ack, ack = talk(*HANDSHAKE)
    later = saved(tmp_path, "a.pcap", Frames.of([2 * S], [ack]))
    sooner = saved(tmp_path, "b.pcap", Frames.of([0, S], [syn, syn_ack]))
    seen: list[tuple[int, int]] = []
    table = read_flows([later, sooner], progress=lambda done, total: seen.append((done, total)))
    assert (table.flows["state"].to_list(), table.packets, table.cut) == (["S1"], 3, None)
    assert seen[-1][0] == seen[-1][1]


def test_an_empty_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no packets"):
        read_flows(saved(tmp_path, "none.pcap", Frames.of([], [])))
    with pytest.raises(InputError, match=r"1 link type 147.*can be read"):
        read_flows(saved(tmp_path, "own.pcap", Frames.of([0], [b"abc"], link_type=147)))
    with pytest.raises(InputError, match="none of the 1 packets"):
        read_flows(saved(tmp_path, "broken.pcap", Frames.of([0], [b"abc"])))


def test_every_real_capture_ends_in_flows_or_one_error(real_data: Path) -> None:
    captures = [
        path
        for path in sorted((real_data / "pcaps").glob("*/*"))
        if re.search(r"\.(pcap|pcapng|pcap\.gz|snoop)$", path.name)
    ]
    assert captures
    for path in captures:
        try:
            table = read_flows(path)
        except WirespeakError as error:
            assert path.name in str(error)
            continue
        in_flows = int((table.flows["fwd_packets"] + table.flows["bwd_packets"]).sum())
        assert in_flows + sum(table.set_aside.values()) == table.packets, path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["iot-proto/ndpi__coap_mqtt.pcap", "ics/*modbus*", "attack/ndpi__synscan.pcap", "iot-device/*WeMo*-2-*"],
)
def test_conversations_have_tsharks_totals(real_data: Path, name: str) -> None:
    """Packets and bytes of every address pair; tshark counts link-layer bytes, we the network's."""
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed: apt-get install tshark")
    path = sorted((real_data / "pcaps").glob(name))[0]
    fields = [word for field in ("ip.src", "ip.dst", "ip.len") for word in ("-e", field)]
    told = subprocess.run(
        ["tshark", "-r", path, "-Y", "ip && !icmp", "-T", "fields", *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    expected: Counter[tuple[str, str]] = Counter()
    for line in told.stdout.splitlines():
        src, dst, size = line.split("\t")
        expected[src, dst] += int(size)
    found: Counter[tuple[str, str]] = Counter()
    for row in (
        read_flows(path)
        .flows.filter(~pl.col("protocol").is_in(["arp", "icmp"]) & ~pl.col("src").str.contains(":"))
        .iter_rows(named=True)
    ):
        found[row["src"], row["dst"]] += row["fwd_bytes"]
        found[row["dst"], row["src"]] += row["bwd_bytes"]
    assert +found == +expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["attack/slips__test7-malicious.pcap", "attack/*EIP-Reboot*", "ics/*modbus_test*", "iot-device/*D-LinkCam*A-1-*"]
)  # fmt: skip
def test_tshark_finds_the_same_retransmissions_and_holes(real_data: Path, name: str) -> None:
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed: apt-get install tshark")
    path = sorted((real_data / "pcaps").glob(name))[0]
    fields = ["retransmission", "out_of_order", "lost_segment"]
    told = subprocess.run(
        ["tshark", "-r", path, "-Y", "tcp", "-T", "fields", *(word for field in fields for word in ("-e", f"tcp.analysis.{field}"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    marks = [line.split("\t") for line in told.stdout.splitlines()]
    flows = read_flows(path).flows.filter(pl.col("protocol") == "tcp")
    both = {
        stem: flows[f"fwd_{stem}"] + flows[f"bwd_{stem}"]
        for stem in ("retransmitted_packets", "out_of_order_packets", "missed_bytes")
    }
    assert int(both["retransmitted_packets"].sum()) == sum(bool(mark[0]) for mark in marks)
    assert int(both["out_of_order_packets"].sum()) == sum(bool(mark[1]) for mark in marks)
    assert int((both["missed_bytes"] > 0).sum()) == sum(bool(mark[2]) for mark in marks)


ADDRESSES = ("10.0.0.1", "10.0.0.2", "192.168.7.1", "fe80::1", "fe80::2", "2001:db8::7")


@given(
    ends=st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)).filter(lambda two: (":" in two[0]) == (":" in two[1])),
    kind=st.sampled_from(["tcp", "udp", "sctp", "icmp", "other"]),
    numbers=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)  # fmt: skip
def test_community_id_is_that_of_its_authors(
    ends: tuple[str, str], kind: str, numbers: tuple[int, int]
) -> None:
    six = ":" in ends[0]
    number, body = {
        "tcp": (6, tcp(*numbers, SYN)), "udp": (17, udp(*numbers)), "sctp": (132, sctp(*numbers)), "icmp": (58 if six else 1, icmp(*numbers)), "other": (97, b"data"),
    }[kind]  # fmt: skip
    packets = decode(Frames.of([0], [ethernet(ip(*ends, number, body), kind=0x86DD if six else 0x0800)]))
    ports = (None, None) if kind == "other" else numbers
    assert measure(packets)["community_id"][0] == CommunityID().calc(FlowTuple(number, *ends, *ports))


def test_sctp_has_ports() -> None:
    """Both ways are one flow, and what quotes it in an error finds it."""
    there, back = (
        ip("10.0.0.1", "10.0.0.2", 132, sctp(40_000, 2905, bytes(16))),
        ip("10.0.0.2", "10.0.0.1", 132, sctp(2905, 40_000)),
    )
    frames = [
        there,
        back,
        ip("10.0.0.1", "10.0.0.2", 132, sctp(40_001, 2905)),
        ip("10.0.0.2", "10.0.0.1", 1, icmp(3, 3, payload=there[:28])),
    ]
    table = measure(decode(Frames.of([0, 1, 2, 3], [ethernet(frame) for frame in frames])))
    flow = table.row(0, named=True)
    assert (flow["protocol"], flow["src_port"], flow["dst_port"], flow["state"]) == (
        "ip-132",
        40_000,
        2905,
        "two-way",
    )
    assert (flow["fwd_payload_bytes"], flow["bwd_packets"], table.height) == (16, 1, 3)
    assert table["dst_ports_2s"].to_list()[:2] == [0, 1]
    assert table["src_ports_100"].to_list()[1] == 1
    assert decode(Frames.of([0], [ethernet(ip("10.0.0.1", "10.0.0.2", 132, b"short"))])).set_aside == {
        "SCTP header malformed": 1
    }


@pytest.mark.parametrize(
    ("said", "history"),
    [
        ([(0, SYN), (1, SYN | ACK), (0, ACK), (0, ACK | PSH, b"ask"), (1, ACK), (1, ACK | PSH, b"tell"), (0, ACK | FIN), (1, ACK | FIN)], "ShADadFf"),
        ([(0, SYN), (1, RST | ACK)], "Sr"),
        ([(0, SYN), (0, SYN), (0, SYN | RST)], "SQR"),
        ([(0, FIN | RST)], "IFR"),
        ([(0, ACK, b"ab")] + 10 * [(0, ACK, b"ab")] + [(1, ACK)], "DTTa"),
    ],
)  # fmt: skip
def test_history_is_told_in_zeeks_letters(said: list[tuple[Any, ...]], history: str) -> None:
    frames = []
    for side, flags, *rest in said:
        ends, ports = (
            [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")][side],
            [(4000, 80), (80, 4000)][side],
        )
        frames.append(ethernet(ip(*ends, 6, tcp(*ports, flags, *rest, sequence=5))))
    assert measure(decode(Frames.of(range(len(frames)), frames)))["history"].to_list() == [history]


@given(
    st.one_of(
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
        st.sampled_from([0, 1, 0xFFFF << 96, 1 << 64]).map(IPv6Address),
    )
)
def test_addresses_read_as_python_writes_them(address: IPv4Address | IPv6Address) -> None:
    kind = 0x86DD if address.version == 6 else 0x0800
    table = measure(
        decode(Frames.of([0], [ethernet(ip(str(address), str(address), 17, udp(1, 2)), kind=kind)]))
    )
    assert table.select("src", "dst").row(0) == (str(address), str(address))


def many_flows(count: int) -> Frames:
    """Every flow but the first is over at once; that one goes on to the end."""
    long = talk((">", SYN, b""))[0]
    frames = [long] + [
        ethernet(ip("10.0.0.9", "10.0.0.2", 6, tcp(1000 + i, 80, flags))) for i in range(count) for flags in (SYN, RST)
    ]  # fmt: skip
    return Frames.of([i * S // 10 for i in range(len(frames))], frames)


def test_a_handshake_that_begins_with_the_clock_is_timed() -> None:
    table = measure(decode(Frames.of([0, S // 4, S // 2], talk(*HANDSHAKE))))
    assert table["handshake_s"].to_list() == [0.25]
    assert table["handshake_ack_s"].to_list() == [0.25]


@pytest.mark.parametrize("held", [1 << 18, 4])
def test_pieces_come_by_flow_id_unless_too_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("wirespeak.flow.meter.HELD", held)
    monkeypatch.setattr("wirespeak.flow.stages.PIECE", 8)
    monkeypatch.setattr("wirespeak.flow.meter.PIECE", 8)
    path = saved(tmp_path, "many.pcap", many_flows(200))
    whole = OpenCapture.chunks
    monkeypatch.setattr(OpenCapture, "chunks", lambda self: whole(self, rows=10))
    reader = FlowReader(path)
    ids = [flow_id for piece in reader.pieces() for flow_id in piece["flow_id"]]
    assert sorted(ids) == list(range(201))
    assert (ids == sorted(ids)) == (held > 200)
    assert reader.packets == 401
    assert read_flows(path).flows["flow_id"].to_list() == list(range(201))

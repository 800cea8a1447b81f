"""NetFlow v5, v9 and IPFIX: there and back, read as the standards say, and never more than a counted fault for what is hostile."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile

import polars as pl
import pytest
from conftest import COMMAND, Run
from hypothesis import given, settings
from hypothesis import strategies as st
from made_flows import START, flow, table
from made_frames import ethernet, ip, udp
from polars.testing import assert_frame_equal

from wirespeak.data.sources import collecting
from wirespeak.data.sources.biflow import flows_of, paired, whole
from wirespeak.data.sources.collecting import collect
from wirespeak.data.sources.exporting import messages, send
from wirespeak.data.sources.log import read_log
from wirespeak.data.sources.logs import LOGS, log_of
from wirespeak.errors import InputError, OptionError, OutputError, WirespeakError
from wirespeak.flow import read_flows
from wirespeak.interfaces.commands import flows as flows_verb
from wirespeak.wire import Frames, write_pcap
from wirespeak.wire.netflow.decode import LAYOUTS, WAITING, Decoder
from wirespeak.wire.netflow.encode import FORMATS, MESSAGE, Encoder, Format
from wirespeak.wire.netflow.messages import MessageFile, begins

CAPTURE = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures" / "demo" / "capture.pcap"
SUFFIXES: dict[Format, str] = {"netflow5": "nf5", "netflow9": "nf9", "ipfix": "ipfix"}
MS = 1_000_000
SECONDS = 1_700_000_000


# ---- messages made by hand ------------------------------------------------------------------------------------


def v9(*sets: bytes, sequence: int = 0, domain: int = 0, uptime: int = 100_000) -> bytes:
    return struct.pack(">HHIIII", 9, len(sets), uptime, SECONDS, sequence, domain) + b"".join(sets)


def ipfix(*sets: bytes, sequence: int = 0, domain: int = 0) -> bytes:
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body), SECONDS, sequence, domain) + body


def a_set(number: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">HH", number, 4 + len(body)) + body


def template(number: int, *fields: tuple[int, ...]) -> bytes:
    """Fields are (number, length) or (number, length, enterprise)."""
    told = b"".join(
        struct.pack(">HH", *each)
        if len(each) == 2
        else struct.pack(">HHI", 0x8000 | each[0], each[1], each[2])
        for each in fields
    )
    return struct.pack(">HH", number, len(fields)) + told


SMALL = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4), (150, 4), (151, 4))
"""Addresses, ports, protocol, packets, bytes, start and end in seconds."""


def small(source: str, destination: str, ports: tuple[int, int], *, first: int = 0, last: int = 1) -> bytes:
    return (
        socket.inet_aton(source) + socket.inet_aton(destination)
        + struct.pack(">HHBIIII", *ports, 17, 3, 300, SECONDS + first, SECONDS + last)
    )  # fmt: skip


def decoded(*given: bytes) -> tuple[pl.DataFrame, Decoder]:
    decoder = Decoder()
    for message in given:
        decoder.take(message, "192.0.2.1")
    found = list(decoder.records(all=True))
    return whole(pl.concat(found, how="diagonal")) if found else pl.DataFrame(), decoder


ONE = small("10.0.0.1", "10.0.0.2", (1000, 53))


# ---- there and back --------------------------------------------------------------------------------------------

_ADDRESSES = st.tuples(
    st.sampled_from(["10.0.0.1", "10.0.0.0", "192.0.2.255", "198.51.100.7"]),
    st.sampled_from(["10.0.0.2", "203.0.113.9", "255.255.255.255"]),
) | st.tuples(
    st.sampled_from(["2001:db8::1", "fe80::1:0:0:1"]), st.sampled_from(["2001:db8::2", "ff02::fb", "2001:db8::"])
)  # fmt: skip
_COUNT = st.integers(0, 2**40)


@st.composite
def _rows(draw: st.DrawFn) -> pl.DataFrame:
    rows = []
    for number in range(draw(st.integers(1, 12))):
        src, dst = draw(_ADDRESSES)
        protocol = draw(st.sampled_from(["tcp", "udp", "igmp", "ip-132"]))
        packets = draw(st.integers(1, 2**40))
        back = draw(st.integers(0, 2**40))
        values: dict[str, object] = {
            "protocol": protocol, "fwd_packets": packets, "fwd_bytes": draw(_COUNT), "bwd_packets": back,
            "bwd_bytes": draw(_COUNT) if back else 0, "vlan": draw(st.none() | st.integers(1, 4094)),
            "src_mac": draw(st.sampled_from([None, "02:00:00:00:00:01"])), "dst_mac": draw(st.sampled_from([None, "02:00:00:00:ff:00"])),
        }  # fmt: skip
        has_ports = protocol in ("tcp", "udp")
        values |= {
            "src_port": 1024 + number if has_ports else None,
            "dst_port": draw(st.integers(0, 65535)) if has_ports else None,
        }
        if protocol == "tcp":
            values |= {
                f"{side}_{flag}_packets": draw(st.integers(0, 1)) * (side == "fwd" or back > 0)
                for side in ("fwd", "bwd")
                for flag in ("syn", "fin", "rst", "ack")
            }
        # Flows of one key are further apart than the idle time, or they could not be told from one.
        rows.append(
            flow(1000.0 * number + draw(st.floats(0, 1)), src, dst, lasts=draw(st.floats(0, 900)), **values)
        )
    return table(rows)


def _written(flows: pl.DataFrame, form: Format) -> tuple[bytes, Encoder]:
    encoder = Encoder(form)
    return b"".join(messages([flows], encoder)), encoder


KEY = (
    "src",
    "dst",
    "src_port",
    "dst_port",
    "protocol",
    "fwd_packets",
    "fwd_bytes",
    "bwd_packets",
    "bwd_bytes",
)
LINK = ("vlan", "src_mac", "dst_mac")


@pytest.mark.parametrize("form", ["netflow9", "ipfix"])
@settings(max_examples=25)
@given(flows=_rows())
def test_what_is_written_reads_back(form: Format, flows: pl.DataFrame) -> None:
    data, encoder = _written(flows, form)
    decoder = Decoder()
    for message in _divided(data):
        assert len(message) <= MESSAGE
        decoder.take(message)
    back = flows_of(paired(whole(pl.concat(list(decoder.records(all=True)), how="diagonal")))).sort(
        "first_seen"
    )
    step = 1 if form == "ipfix" else MS
    wanted = flows.with_columns(pl.col("first_seen", "last_seen") // step * step)
    names = ["first_seen", "last_seen", *KEY, *LINK]
    assert_frame_equal(back.select(names), wanted.select(names), check_dtypes=False)
    assert not encoder.set_aside
    assert not decoder.set_aside
    assert not +decoder.missed
    for flag in ("syn", "fin", "rst", "ack"):  # that a flag never occurred is known, how often it did is not
        for side in ("fwd", "bwd"):
            told, truth = back[f"{side}_{flag}_packets"], wanted[f"{side}_{flag}_packets"]
            tcp = back["protocol"] == "tcp"
            assert ((told == 0) == (truth == 0)).filter(tcp & told.is_not_null()).all()
            assert (truth > 0).filter(tcp & told.is_null()).all()


@settings(max_examples=25)
@given(flows=_rows())
def test_version_5_carries_ipv4_and_counts_the_rest(flows: pl.DataFrame) -> None:
    is_ipv6 = pl.col("src").str.contains(":", literal=True)
    data, encoder = _written(flows, "netflow5")
    lost = flows.filter(is_ipv6).height
    assert encoder.set_aside == ({"IPv6, which NetFlow v5 does not carry": lost} if lost else {})
    decoder = Decoder()
    for message in _divided(data):
        assert len(message) <= MESSAGE
        decoder.take(message)
    tables = list(decoder.records(all=True))
    kept = flows.filter(~is_ipv6)
    assert (
        sum(each["packets"].sum() for each in tables) == kept["fwd_packets"].sum() + kept["bwd_packets"].sum()
    )
    assert sum(each["bytes"].sum() for each in tables) == kept["fwd_bytes"].sum() + kept["bwd_bytes"].sum()
    assert all(each["bytes"].max() < 2**32 for each in tables)
    assert not decoder.set_aside


def _divided(data: bytes) -> list[bytes]:
    """The messages of a file."""
    if not data:
        return []
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return list(MessageFile(Path(file.name)).messages())


@pytest.mark.parametrize("form", FORMATS)
def test_a_recorded_capture_reads_back(form: Format, tmp_path: Path) -> None:
    measured = read_flows(CAPTURE).flows
    target = tmp_path / f"flows.{SUFFIXES[form]}"
    outcome = flows_verb([CAPTURE], output=target)
    assert any("arp, which is no IP" in warning for warning in outcome.warnings)
    counts = outcome.card.counts
    assert counts["set_aside"]["arp, which is no IP"] == measured.filter(pl.col("protocol") == "arp").height
    back, told = read_log(LOGS["netflow"], [target])
    assert told.cut is None
    assert not told.set_aside
    kept = measured.filter(pl.col("protocol") != "arp")
    if form == "netflow5":
        kept = kept.filter(~pl.col("src").str.contains(":", literal=True))
    step = 1 if form == "ipfix" else MS
    names = ["first_seen", "last_seen", *KEY, "state", "operation", "flags", "service"]
    order = ["first_seen", *KEY[:5]]
    kept = kept.with_columns(pl.col("first_seen", "last_seen") // step * step)
    assert counts["out"] == kept.height
    assert_frame_equal(back.select(names).sort(order), kept.select(names).sort(order))


def test_counts_beyond_32_bits_are_several_records_of_version_5() -> None:
    large = table(
        [flow(0, "10.0.0.1", "10.0.0.2", fwd_bytes=4 * 2**32 - 3, fwd_packets=7, bwd_packets=0, bwd_bytes=0)]
    )
    decoder = Decoder()
    for message in _divided(_written(large, "netflow5")[0]):
        decoder.take(message)
    (records,) = decoder.records(all=True)
    assert records.height == 5
    assert (records["bytes"].sum(), records["packets"].sum()) == (4 * 2**32 - 3, 7)
    assert records["bytes"].max() < 2**32


@pytest.mark.parametrize("form", ["netflow5", "netflow9"])
def test_years_do_not_fit_one_uptime_and_are_told_from_several(form: Format) -> None:
    years = table(
        [flow(86_400 * 400 * n, "10.0.0.1", "10.0.0.2", bwd_packets=0, bwd_bytes=0) for n in range(3)]
    )
    decoder = Decoder()
    for message in _divided(_written(years, form)[0]):
        decoder.take(message)
    found = pl.concat(list(decoder.records(all=True)), how="diagonal").sort("first_ns")
    assert found["first_ns"].to_list() == years["first_seen"].to_list()
    assert found["last_ns"].to_list() == years["last_seen"].to_list()


def test_files_are_written_in_pieces_alike() -> None:
    flows = table([flow(n * 100.0, "10.0.0.1", "10.0.0.2", src_port=n + 1) for n in range(100)])
    whole_file = Decoder()
    for message in _divided(_written(flows, "ipfix")[0]):
        whole_file.take(message)
    pieces = Decoder()
    for message in _divided(b"".join(messages(flows.iter_slices(7), Encoder("ipfix")))):
        pieces.take(message)
    (one,), (other,) = list(whole_file.records(all=True)), list(pieces.records(all=True))
    assert_frame_equal(one, other)
    assert not +pieces.missed


# ---- as the standards say ---------------------------------------------------------------------------------------


def test_data_waits_for_its_template() -> None:
    late = v9(a_set(300, ONE), sequence=0), v9(a_set(0, template(300, *SMALL)), sequence=1)
    records, decoder = decoded(*late)
    assert records["src"].to_list() == ["10.0.0.1"]
    assert not decoder.set_aside
    _, decoder = decoded(late[0])
    assert decoder.set_aside == {"data set whose template never came": 1}
    assert decoder.rows == 1


def test_what_waits_is_bounded() -> None:
    decoder = Decoder()
    big = bytes(60_000)
    for number in range(400):
        decoder.take(v9(a_set(300 + number, big), sequence=number))
    assert decoder._waiting_bytes <= WAITING
    dropped = decoder.set_aside["data set whose template did not come in time"]
    assert dropped > 200
    assert not list(decoder.records(all=True))
    assert dropped + decoder.set_aside["data set whose template never came"] == 400


def test_a_template_can_be_redefined_and_withdrawn() -> None:
    short = ((8, 4), (12, 4), (4, 1))
    records, decoder = decoded(
        ipfix(a_set(2, template(256, *SMALL)), a_set(256, ONE)),
        ipfix(a_set(2, template(256, *short)), a_set(256, bytes([1, 1, 1, 1, 2, 2, 2, 2, 6])), sequence=1),
        ipfix(a_set(2, struct.pack(">HH", 256, 0)), sequence=2),
        ipfix(a_set(256, ONE), sequence=2),
    )
    assert sorted(records["src"].to_list()) == ["1.1.1.1", "10.0.0.1"]
    assert decoder.set_aside == {"data set whose template never came": 1}


def test_templates_belong_to_an_observation_domain() -> None:
    records, decoder = decoded(
        ipfix(a_set(2, template(256, *SMALL)), a_set(256, ONE), domain=1), ipfix(a_set(256, ONE), domain=2)
    )
    assert records.height == 1
    assert decoder.set_aside["data set whose template never came"] == 1


def test_values_of_any_length_and_elements_of_others() -> None:
    """Three bytes for a counter, a name that tells its own length twice, an element of an enterprise."""
    fields = ((8, 4), (96, 65535), (12, 4), (4, 1), (1, 3), (99, 2, 4242), (82, 65535), (2, 8))

    def record(name: bytes, packets: int) -> bytes:
        long = b"\xff" + struct.pack(">H", len(name)) + name
        return (
            bytes([10, 0, 0, 1, len(name)])
            + name
            + bytes([10, 0, 0, 2, 6, 1, 0, 0, 7, 7])
            + long
            + struct.pack(">Q", packets)
        )

    records, decoder = decoded(
        ipfix(a_set(2, template(256, *fields)), a_set(256, record(b"abc", 5), record(b"", 6), b"\0\0"))
    )
    assert records["packets"].to_list() == [5, 6]
    assert records["bytes"].to_list() == [65536, 65536]
    assert records["dst"].to_list() == ["10.0.0.2"] * 2
    assert decoder.unread == {"applicationName": 2, "element 99 of enterprise 4242": 2, "interfaceName": 2}
    assert decoder.untimed == 2
    assert records["first_ns"].to_list() == [SECONDS * 10**9] * 2


def test_both_directions_in_one_record() -> None:
    fields = (*SMALL, (2, 4, 29305), (1, 4, 29305), (6, 1, 29305), (6, 1))
    record = small("10.0.0.1", "10.0.0.2", (1000, 80)).replace(b"\x11", b"\x06", 1) + struct.pack(
        ">IIBB", 9, 900, 0x12, 0x1B
    )
    records, _ = decoded(ipfix(a_set(2, template(256, *fields)), a_set(256, record)))
    (row,) = flows_of(paired(records)).to_dicts()
    assert (row["fwd_packets"], row["bwd_packets"], row["bwd_bytes"]) == (3, 9, 900)
    assert row["state"] == "S2"  # both sent SYN, the source alone FIN


@pytest.mark.parametrize(
    ("number", "length", "value", "expected_ns"),
    [
        (150, 4, SECONDS - 5, (SECONDS - 5) * 10**9),
        (152, 8, SECONDS * 1000 + 7, SECONDS * 10**9 + 7 * MS),
        (154, 8, (SECONDS + 2_208_988_800) << 32 | 1 << 31, SECONDS * 10**9 + 500 * MS),
        (156, 8, (SECONDS + 2_208_988_800) << 32 | 1 << 30, SECONDS * 10**9 + 250 * MS),
        (158, 4, 1500, SECONDS * 10**9 - 1_500_000),
    ],
)  # fmt: skip
def test_every_way_to_tell_a_time(number: int, length: int, value: int, expected_ns: int) -> None:
    fields = ((8, 4), (12, 4), (4, 1), (number, length))
    record = bytes([1, 1, 1, 1, 2, 2, 2, 2, 6]) + value.to_bytes(length, "big")
    records, _ = decoded(ipfix(a_set(2, template(256, *fields)), a_set(256, record)))
    assert records["first_ns"].to_list() == [expected_ns]


def test_uptime_counts_anew_after_49_days() -> None:
    fields = ((8, 4), (12, 4), (4, 1), (22, 4), (21, 4))
    record = bytes([1, 1, 1, 1, 2, 2, 2, 2, 6]) + struct.pack(">II", 2**32 - 500, 300)
    records, _ = decoded(v9(a_set(0, template(256, *fields)), a_set(256, record), uptime=1000))
    assert records["first_ns"].to_list() == [SECONDS * 10**9 - 1500 * MS]
    assert records["last_ns"].to_list() == [SECONDS * 10**9 - 700 * MS]


def test_uptime_of_ipfix_needs_to_know_when_it_began() -> None:
    fields = ((8, 4), (12, 4), (4, 1), (22, 4), (21, 4))
    record = bytes([1, 1, 1, 1, 2, 2, 2, 2, 6]) + struct.pack(">II", 500, 700)
    options = a_set(3, struct.pack(">HHHHHHH", 257, 2, 1, 149, 4, 160, 8), b"\0\0")
    boot = a_set(257, struct.pack(">IQ", 0, (SECONDS - 10) * 1000))
    records, decoder = decoded(ipfix(a_set(2, template(256, *fields)), options, boot, a_set(256, record)))
    assert records["first_ns"].to_list() == [(SECONDS - 10) * 10**9 + 500 * MS]
    assert decoder.set_aside == {"options record": 1}
    records, decoder = decoded(ipfix(a_set(2, template(256, *fields)), a_set(256, record)))
    assert decoder.untimed == 1
    assert records["first_ns"].to_list() == [SECONDS * 10**9]


def test_sampling_is_said_and_nothing_is_scaled(tmp_path: Path) -> None:
    options = a_set(1, struct.pack(">HHHHHHH", 257, 4, 4, 1, 4, 34, 4), b"\0\0")
    data = v9(
        a_set(0, template(256, *SMALL)), options, a_set(257, struct.pack(">II", 0, 100)), a_set(256, ONE)
    )
    (path := tmp_path / "sampled.nf9").write_bytes(data)
    flows, told = read_log(LOGS["netflow"], [path])
    assert flows["fwd_packets"].to_list() == [3]
    assert any("1 in 100" in warning for warning in told.warnings)


def test_what_never_came_is_counted_by_sequence_numbers() -> None:
    first = ipfix(a_set(2, template(256, *SMALL)), a_set(256, ONE, ONE), sequence=10)
    _, decoder = decoded(first, ipfix(a_set(256, ONE), sequence=15), ipfix(a_set(256, ONE), sequence=12))
    assert decoder.missed == {"records": 2}  # three were missing, one came late
    _, decoder = decoded(v9(sequence=1), v9(sequence=2), v9(sequence=5))
    assert decoder.missed == {"messages": 2}
    _, decoder = decoded(v9(sequence=900_000_000), v9(sequence=0))
    assert not +decoder.missed  # it began anew


def test_decoders_share_nothing() -> None:
    message = _written(table([flow(0, "10.0.0.1", "10.0.0.2", bwd_packets=0, bwd_bytes=0)]), "netflow5")[0]
    one, other = Decoder(), Decoder()
    one.take(message)
    other.take(message)
    assert [each.height for each in one.records(all=True)] == [1]
    assert [each.height for each in other.records(all=True)] == [1]


# ---- two records, one flow ---------------------------------------------------------------------------------------


def _records(*rows: tuple[float, float, str, str, int, int]) -> pl.DataFrame:
    names = ("first_ns", "last_ns", "src", "dst", "src_port", "dst_port")
    made = [
        {**dict(zip(names, row, strict=True)), "first_ns": int(row[0] * 1e9), "last_ns": int(row[1] * 1e9), "protocol": 17, "packets": 1, "bytes": 60}
        for row in rows
    ]  # fmt: skip
    return whole(pl.DataFrame(made))


def _ends(flows: pl.DataFrame) -> list[tuple[float, str, int | None]]:
    return [
        (row["first_ns"] / 1e9, row["src"], row["back_packets"])
        for row in flows.sort("first_ns", "src").to_dicts()
    ]


def test_directions_meet_where_they_overlap_or_follow() -> None:
    a, b = ("10.0.0.9", "10.0.0.1", 40_000, 7_000), ("10.0.0.1", "10.0.0.9", 7_000, 40_000)
    met = paired(_records((0, 10, *a), (0.5, 9, *b)))
    assert _ends(met) == [(0.0, "10.0.0.9", 1)]
    assert _ends(paired(_records((0.5, 9, *a), (0, 10, *b)))) == [(0.0, "10.0.0.1", 1)]
    assert len(paired(_records((0, 1, *a), (50, 51, *b)))) == 1  # within the idle time
    assert len(paired(_records((0, 1, *a), (62, 63, *b)))) == 2
    # One record of four is lost: the others still meet their own.
    assert _ends(paired(_records((0, 9, *a), (10, 19, *a), (10.1, 19, *b)))) == [
        (0.0, "10.0.0.9", 0),
        (10.0, "10.0.0.9", 1),
    ]
    # What overlaps goes before what follows.
    assert _ends(paired(_records((0, 1, *a), (30, 32, *b), (31, 33, *a)))) == [
        (0.0, "10.0.0.9", 0),
        (30.0, "10.0.0.1", 1),
    ]


def test_directions_of_other_flows_do_not_meet() -> None:
    a = ("10.0.0.9", "10.0.0.1", 40_000, 53)
    others = [
        ("10.0.0.1", "10.0.0.9", 53, 40_001),
        ("10.0.0.9", "10.0.0.1", 40_000, 53),
        ("10.0.0.2", "10.0.0.9", 53, 40_000),
    ]
    for other in others:
        assert len(paired(_records((0, 1, *a), (0, 1, *other)))) == 2
    same = ("10.0.0.1", "10.0.0.1", 53, 53)
    assert len(paired(_records((0, 1, *same), (0, 1, *same)))) == 2


def test_of_two_that_began_together_the_service_answers() -> None:
    met = paired(
        _records((0, 1, "10.0.0.1", "10.0.0.9", 53, 40_000), (0, 1, "10.0.0.9", "10.0.0.1", 40_000, 53))
    )
    assert met["src"].to_list() == ["10.0.0.9"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.booleans()), max_size=12))
def test_meeting_agrees_with_a_slow_and_obvious_way(rows: list[tuple[int, int, bool]]) -> None:
    a, b = ("10.0.0.9", "10.0.0.1", 40_000, 7_000), ("10.0.0.1", "10.0.0.9", 7_000, 40_000)
    if not rows:
        return
    made = _records(*((first, first + lasts, *(a if way else b)) for first, lasts, way in rows))
    left = sorted(enumerate(rows), key=lambda each: (each[1][0], each[0]))
    found = 0
    for gap in (0, 4):
        rest, i = [], 0
        while i < len(left):
            if i + 1 < len(left):
                (_, (start, lasts, way)), (_, (other, _, back)) = left[i], left[i + 1]
                if way != back and other - (start + lasts) <= gap:
                    found, i = found + 1, i + 2
                    continue
            rest.append(left[i])
            i += 1
        left = rest
    assert (paired(made, idle_s=4)["back_packets"] == 1).sum() == found


# ---- hostile ----------------------------------------------------------------------------------------------------


def test_lengths_that_lie_are_counted() -> None:
    faults = {
        "set of a wrong length": v9(struct.pack(">HH", 300, 2) + b"x"),
        "template cut off": ipfix(a_set(2, struct.pack(">HH", 256, 65_535) + bytes(400))),
        "template of records without a byte": ipfix(a_set(2, template(256, (8, 0)))),
        "template of a reserved number": v9(a_set(0, template(7, (8, 4)))),
        "set of a reserved number": v9(a_set(9, b"xxxx")),
        "message cut off": ipfix(a_set(2, template(256, *SMALL)))[:-3],
        "not an export message": b"\0\x07" + bytes(40),
        "record cut off": struct.pack(">HHIIIIHH", 5, 2, 0, SECONDS, 0, 0, 0, 0) + bytes(50),
        "data set shorter than a record": v9(a_set(0, template(300, *SMALL)), a_set(300, b"\1\2\3\4")),
        "record without addresses": ipfix(a_set(2, template(256, (4, 1))), a_set(256, b"\6")),
        "record with a number that cannot be": ipfix(
            a_set(2, template(256, (8, 4), (12, 4), (4, 1), (1, 8))), a_set(256, bytes([1, 1, 1, 1, 2, 2, 2, 2, 6]) + b"\xff" * 8)
        ),
    }  # fmt: skip
    for reason, message in faults.items():
        _, decoder = decoded(message)
        assert decoder.set_aside[reason] >= 1, reason


def test_templates_without_end_are_bounded() -> None:
    decoder = Decoder()
    for number in range(LAYOUTS + 500):
        kind = template(
            256 + number % 1000,
            (8, 4),
            (12, 4),
            (1 + number % 8, 1 + number // 8 % 60),
            (4, 1 + number // 480),
        )
        decoder.take(ipfix(a_set(2, kind), domain=number))
    assert len(decoder._layouts) <= LAYOUTS
    assert decoder.set_aside["template beyond the first 4,096 kinds"] > 0


def _seeds() -> list[bytes]:
    flows = table([flow(n * 0.1, "10.0.0.1", f"10.0.1.{n}", src_port=n + 1) for n in range(40)])
    options = a_set(3, struct.pack(">HHHHHHH", 257, 2, 1, 149, 4, 160, 8), b"\0\0")
    own = ((8, 4), (96, 65535), (12, 4), (4, 1), (1, 3), (99, 2, 4242), (82, 65535), (2, 8))
    record = bytes([10, 0, 0, 1, 2, 65, 66, 10, 0, 0, 2, 6, 1, 0, 0, 7, 7, 1, 65]) + bytes(8)
    made = [_written(flows, form)[0] for form in FORMATS]
    made.append(ipfix(a_set(2, template(256, *own)), options, a_set(256, record, record)) * 3)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_give_flows_or_one_error(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    path = tmp_path / "damaged"
    read = refused = 0
    for _number in range(60):
        data = bytearray(chance.choice(_SEEDS))
        for _ in range(chance.choice((1, 3, 30))):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at : at + 2] = chance.choice((b"\0\0", b"\xff\xff", b"\0\4", b"\x7f\xff"))
                case 2:
                    del data[at : at + chance.randrange(1, 40)]
                case _:
                    data[at:at] = chance.randbytes(chance.randrange(1, 40))
            if not data:
                data = bytearray(b"\0")
        path.write_bytes(bytes(data))
        try:
            flows, _ = read_log(LOGS["netflow"], [path])
            assert flows.height
            read += 1
        except InputError:
            refused += 1
    assert read
    assert read + refused == 60


_SEEDS = _seeds()


@given(st.binary(max_size=200), st.sampled_from([5, 9, 10]))
def test_any_bytes_are_taken(body: bytes, version: int) -> None:
    decoder = Decoder()
    decoder.take(v9(a_set(0, template(300, *SMALL))))
    decoder.take(struct.pack(">H", version) + body)
    for each in decoder.records(all=True):
        whole(each)


# ---- doors ------------------------------------------------------------------------------------------------------


def test_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    flows = table([flow(0, "10.0.0.1", "10.0.0.2")])
    for form in FORMATS:
        (path := tmp_path / f"export-{form}").write_bytes(_written(flows, form)[0])
        assert log_of([path]) is LOGS["netflow"]
    assert log_of([CAPTURE]) is None
    assert not begins(b"")
    (empty := tmp_path / "empty.ipfix").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        list(MessageFile(empty).messages())
    with pytest.raises(InputError, match="is empty"):
        read_log(LOGS["netflow"], [empty])


def test_a_file_that_is_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    flows = table([flow(n * 100.0, "10.0.0.1", "10.0.0.2", src_port=n + 1) for n in range(100)])
    (path := tmp_path / "cut.ipfix").write_bytes(_written(flows, "ipfix")[0][:-10])
    found, told = read_log(LOGS["netflow"], [path])
    assert 50 < found.height < 100
    assert told.cut is not None
    assert "cut off inside the message" in told.cut
    assert told.set_aside == {"message cut off": 1, "set of a wrong length": 1}


def _as_capture(data: bytes, path: Path) -> None:
    frames = [
        ethernet(ip("192.0.2.1", "192.0.2.2", 17, udp(4000, 2055, message))) for message in _divided(data)
    ]
    write_pcap(path, Frames.of([START + n * MS for n in range(len(frames))], frames))


def test_exports_in_a_capture_are_read_when_asked_and_pointed_at_else(tmp_path: Path) -> None:
    made = table([flow(n * 100.0, "10.9.0.1", "10.9.0.2", src_port=n + 1) for n in range(100)])
    _as_capture(_written(made, "netflow9")[0], capture := tmp_path / "exports.pcap")
    target = tmp_path / "flows.parquet"
    outcome = flows_verb([capture], output=target, log="netflow")
    assert outcome.card.counts["out"] == 100
    assert outcome.card.counts["in"] == 200
    assert set(pl.read_parquet(target)["src"]) == {"10.9.0.1"}
    outcome = flows_verb([capture], output=target)
    assert any("--from netflow" in warning for warning in outcome.warnings)
    assert "10.9.0.1" not in set(pl.read_parquet(target)["src"])
    assert not flows_verb([CAPTURE], output=target).warnings


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("form", FORMATS)
def test_a_collector_receives_what_is_sent(form: Format, tmp_path: Path) -> None:
    made = table([flow(n * 100.0, "10.9.0.1", "10.9.0.2", src_port=n + 1) for n in range(300)])
    port, encoder = _free_port(), Encoder(form)
    sent: list[int] = []

    def soon() -> None:
        time.sleep(0.5)
        sent.extend(piece.height for piece in send(made.iter_slices(100), "127.0.0.1", port, encoder))

    other = threading.Thread(target=soon)
    other.start()
    records = 300 if form == "ipfix" else 600
    flows, told = collect("127.0.0.1", port, seconds=20, at_most=records)
    other.join()
    assert sent == [100, 100, 100]
    assert flows["src_port"].to_list() == made["src_port"].to_list()
    assert told.notes["dropped"] == 0
    assert told.rows == records
    assert not told.warnings


def test_a_collector_ends_when_asked_and_says_when_nothing_came() -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="nothing came"):
        collect("127.0.0.1", _free_port(), seconds=60, stop=lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() - began < 5
    with pytest.raises(OptionError, match="Give a free port"):
        collect("192.0.2.77", 2055, seconds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a socket has dropped")
def test_what_the_kernel_drops_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_ROOM", 1 << 13)
    decoder, port = Decoder(), _free_port()
    with (
        collecting._listening("127.0.0.1", port) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        ear.settimeout(0)
        for number in range(500):
            out.sendto(v9(sequence=number), ("127.0.0.1", port))
        collecting._take(ear, decoder, count=500)
        out.sendto(v9(sequence=500), ("127.0.0.1", port))  # the next packet tells what was dropped before it
        dropped = collecting._take(ear, decoder)
    assert dropped > 0
    assert decoder.messages + dropped == 501
    assert decoder.missed == {"messages": dropped}


def test_sending_to_nobody_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nobody listens"):
        flows_verb([CAPTURE], output=tmp_path / "flows.parquet", send=f"127.0.0.1:{_free_port()}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [{}, {"inputs": [CAPTURE], "listen": "127.0.0.1:2055"}, {"listen": "2055"}, {"listen": "127.0.0.1:0"}, {"inputs": [CAPTURE], "send": "host"}],
)  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        flows_verb(output=tmp_path / "flows.parquet", **options)  # type: ignore[arg-type]


def test_ctrl_c_keeps_what_a_collector_has(tmp_path: Path) -> None:
    port, target = _free_port(), tmp_path / "flows.parquet"
    words = [
        str(COMMAND),
        "flows",
        "--listen",
        f"127.0.0.1:{port}",
        "--for",
        "60",
        "-o",
        str(target),
        "--json",
    ]
    ear = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    data = _written(table([flow(0, "10.0.0.1", "10.0.0.2")]), "ipfix")[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        for _ in range(100):
            time.sleep(0.2)
            try:
                for message in _divided(data) * 2:  # refused where nobody listens yet
                    out.send(message)
                break
            except ConnectionRefusedError:
                continue
    time.sleep(1)
    ear.send_signal(signal.SIGINT)
    said, complaints = ear.communicate(timeout=30)
    assert ear.returncode == 0, complaints
    assert json.loads(said)["counts"]["in"] >= 1
    assert set(pl.read_parquet(target)["src"]) == {"10.0.0.1"}


@pytest.mark.parametrize("arguments", [("5",), ("9",), ("10",), ("10", "-b", "-A", "nano")])
def test_what_softflowd_exports_is_read(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Another exporter tells of a capture what we measure in it: packets and bytes of each TCP port, and times.

    Version 1.1.0 dates a capture's flows right with -a alone, and in NetFlow v9 to the second, since its header tells no more.
    """
    softflowd = shutil.which("softflowd")
    if not softflowd:
        pytest.skip("softflowd is not installed: apt install softflowd")
    port, ended = _free_port(), threading.Event()

    def export() -> None:
        time.sleep(0.5)
        beside = ["-c", "none", "-p", str(tmp_path / "pid")]
        words = [softflowd, "-r", str(CAPTURE), "-n", f"127.0.0.1:{port}", "-d", *beside, "-v", *arguments, "-a"]  # fmt: skip
        subprocess.run(words, capture_output=True, timeout=30, check=True)
        time.sleep(0.5)
        ended.set()

    other = threading.Thread(target=export)
    other.start()
    found, _ = collect("127.0.0.1", port, seconds=40, stop=ended.is_set)
    other.join()

    def totals(flows: pl.DataFrame) -> pl.DataFrame:
        counted = flows.filter(pl.col("protocol") == "tcp").with_columns(
            port=pl.min_horizontal("src_port", "dst_port"),
            packets=pl.col("fwd_packets") + pl.col("bwd_packets"),
            bytes=pl.col("fwd_bytes") + pl.col("bwd_bytes"),
        )
        return (
            counted.group_by("port")
            .agg(pl.col("packets", "bytes").sum(), pl.col("first_seen").min())
            .sort("port")
        )

    measured = read_flows(CAPTURE).flows
    if arguments == ("5",):
        measured = measured.filter(~pl.col("src").str.contains(":", literal=True))
    theirs, ours = totals(found), totals(measured)
    assert_frame_equal(theirs.drop("first_seen"), ours.drop("first_seen"))
    near = {"5": 3 * MS, "9": 1000 * MS, "10": 1000 * MS}[arguments[0]]
    assert (theirs["first_seen"] - ours["first_seen"]).abs().max() < near


# ---- nfdump -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nfdump() -> None:
    if not (shutil.which("nfcapd") and shutil.which("nfdump")):
        pytest.skip("nfcapd and nfdump are not installed: apt install nfdump")


@pytest.mark.parametrize("form", FORMATS)
def test_nfdump_reads_what_we_send(form: Format, nfdump: None, tmp_path: Path, wirespeak: Run) -> None:
    """An independent collector has every key, count and millisecond that we sent, and misses nothing."""
    port = _free_port()
    (store := tmp_path / "store").mkdir()
    collector = subprocess.Popen(
        ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(store), "-t", "3600", "-B", "8000000"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        time.sleep(1)
        ran = wirespeak(
            "flows",
            CAPTURE,
            "-o",
            tmp_path / "flows.parquet",
            "--send",
            f"127.0.0.1:{port}",
            "--export",
            form,
        )
        assert ran.returncode == 0, ran.stderr
        time.sleep(1)
    finally:
        collector.send_signal(signal.SIGTERM)
        said = collector.communicate(timeout=20)[0]
    assert "Sequence Errors: 0, Bad Packets: 0" in said
    (file,) = store.glob("nfcapd.2*")
    ours = pl.read_parquet(tmp_path / "flows.parquet").filter(pl.col("protocol") != "arp")
    if form == "netflow5":
        ours = ours.filter(~pl.col("src").str.contains(":", literal=True))
    assert _as_nfdump_prints(file) == Counter(_as_sent(ours, both=form == "ipfix"))

    # And we read its file, through it.
    back, told = read_log(LOGS["nfdump"], [file])
    assert not told.set_aside
    names = ["first_seen", "last_seen", *KEY] + ([] if form == "netflow5" else list(LINK))
    order = ["first_seen", *KEY[:5]]
    wanted = ours.with_columns(pl.col("first_seen", "last_seen") // MS * MS)
    assert_frame_equal(back.select(names).sort(order), wanted.select(names).sort(order))


def _as_nfdump_prints(file: Path) -> Counter[tuple[object, ...]]:
    words = ["nfdump", "-r", str(file), "-o", "json"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"})
    return Counter(
        (
            row["first"], row["last"], row.get("src4_addr") or row["src6_addr"], row.get("dst4_addr") or row["dst6_addr"],
            row["proto"], row.get("src_port", 0) if row["proto"] in (6, 17) else 0, row.get("dst_port", 0) if row["proto"] in (6, 17) else 0,
            row["in_packets"], row["in_bytes"], row.get("out_packets", 0), row.get("out_bytes", 0),
        )
        for row in json.loads(ran.stdout)
    )  # fmt: skip


def _as_sent(flows: pl.DataFrame, *, both: bool) -> list[tuple[object, ...]]:
    numbers = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "igmp": 2}
    found: list[tuple[object, ...]] = []
    for row in flows.to_dicts():
        times = tuple(
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row[name] // 10**9))
            + f".{row[name] // MS % 1000:03}"
            for name in ("first_seen", "last_seen")
        )
        there = (row["src"], row["dst"], numbers[row["protocol"]], row["src_port"] or 0, row["dst_port"] or 0)
        back = (row["dst"], row["src"], numbers[row["protocol"]], row["dst_port"] or 0, row["src_port"] or 0)
        sent, came = (row["fwd_packets"], row["fwd_bytes"]), (row["bwd_packets"], row["bwd_bytes"])
        if both:
            found.append((*times, *there, *sent, *came))
            continue
        if sent[0] or not came[0]:
            found.append((*times, *there, *sent, 0, 0))
        if came[0]:
            found.append((*times, *back, *came, 0, 0))
    return found


def test_files_that_nfpcapd_made_are_read(nfdump: None, tmp_path: Path) -> None:
    if not shutil.which("nfpcapd"):
        pytest.skip("nfpcapd is not installed: apt install nfdump")
    (store := tmp_path / "store").mkdir()
    subprocess.run(
        ["nfpcapd", "-r", str(CAPTURE), "-l", str(store)], capture_output=True, check=True, timeout=60
    )
    files = sorted(store.glob("nfcapd.2*"))
    assert log_of(files) is LOGS["nfdump"]
    flows, _ = read_log(LOGS["nfdump"], files)
    measured = read_flows(CAPTURE).flows

    def packets(table: pl.DataFrame) -> dict[int, int]:
        tcp = table.filter(pl.col("protocol") == "tcp").with_columns(
            port=pl.min_horizontal("src_port", "dst_port"),
            count=pl.col("fwd_packets") + pl.col("bwd_packets"),
        )
        return dict(tcp.group_by("port").agg(pl.col("count").sum()).iter_rows())

    assert packets(flows) == packets(measured)


@pytest.mark.parametrize(("mode", "name"), [("csv", "printed.csv"), ("json", "printed.json")])
def test_what_nfdump_prints_is_read(
    mode: str, name: str, nfdump: None, real_data: Path, tmp_path: Path
) -> None:
    recorded = real_data / "slips-logs" / "test1-malicious.nfdump"
    through_it, _ = read_log(LOGS["nfdump"], [recorded])
    words = ["nfdump", "-r", str(recorded), "-o", mode]
    printed = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "TZ": "UTC"}).stdout
    (path := tmp_path / name).write_bytes(printed)
    assert log_of([path]) is LOGS["nfdump"]
    found, told = read_log(LOGS["nfdump"], [path])
    assert told.rows == 4593
    assert found["fwd_bytes"].sum() + found["bwd_bytes"].sum() == 241_025
    if mode == "json":
        assert_frame_equal(found, through_it)
    else:  # it prints whole seconds
        assert found.height == through_it.height


CSV = "ts,te,td,sa,da,sp,dp,pr,flg,ipkt,ibyt,opkt,obyt"
CSV_ROW = "2024-01-01 00:00:00,2024-01-01 00:00:01,1.500,10.0.0.1,10.0.0.2,1000,53,UDP,........,2,200,0,0"


def test_printed_rows_that_are_none_are_counted(tmp_path: Path) -> None:
    rows = [
        CSV,
        CSV_ROW,
        CSV_ROW.replace("2024", "20x4"),
        CSV_ROW.replace("UDP", "XYZ"),
        "half",
        "Summary",
        "flows,bytes",
        "1,2",
    ]
    (path := tmp_path / "printed.csv").write_text("\n".join(rows) + "\n")
    flows, told = read_log(LOGS["nfdump"], [path])
    assert flows["duration_s"].to_list() == [1.5]
    assert told.set_aside == {"row without a time": 2, "row without a known protocol": 1}


@pytest.mark.parametrize(
    "content", [b"\x0c\xa5\x02\0" + bytes(300), b"\x0c\xa5", (CSV + "\n").encode(), b'[\n{"type" : 5', b"ts,te,td,sa,da,sp,dp,pr,\xff\n\xff"]
)  # fmt: skip
def test_damaged_files_of_nfdump_are_one_error(content: bytes, nfdump: None, tmp_path: Path) -> None:
    (path := tmp_path / "damaged").write_bytes(content)
    with pytest.raises(WirespeakError):
        read_log(LOGS["nfdump"], [path])


def test_without_nfdump_its_files_name_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "nfcapd.202401010000").write_bytes(b"\x0c\xa5\x02\0" + bytes(300))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WirespeakError, match="apt install nfdump"):
        read_log(LOGS["nfdump"], [path])

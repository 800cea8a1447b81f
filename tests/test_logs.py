"""Logs of other tools as flows: what follows from what a log tells reads as if it had been measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from wirespeak.data.sources.log import complete, read_log
from wirespeak.data.sources.logs import LOGS, log_of
from wirespeak.errors import InputError, OptionError
from wirespeak.flow import read_flows
from wirespeak.schema import CONTEXT
from wirespeak.wire.stream import zstd

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


CONN = '{"ts":1,"uid":"C","id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","proto":"udp"}\n'
EVE = '{"timestamp":"2026-01-01T00:00:00Z","flow_id":1,"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","proto":"UDP","flow":{"start":"2026-01-01T00:00:00Z"}}\n'
ARGUS = "StartTime,Proto,SrcAddr,Sport,DstAddr,Dport,State,TotPkts\n2020/01/01 00:00:00.5,udp,10.0.0.1,1,10.0.0.2,2,CON,3\n"
JOY = '{"sa":"10.0.0.1","da":"10.0.0.2","pr":17,"sp":1,"dp":2,"num_pkts_out":1,"bytes_out":5,"time_start":1.5,"time_end":1.5,"packets":[{"b":5,"dir":"<","ipt":0}]}\n'
WIRESHARK = '"No.","Time","Source","Destination","Protocol","Length","Info"\n"1","0.5","10.0.0.1","10.0.0.2","UDP","60","1 > 2 Len=18"\n'
SAMPLES = {"zeek": CONN, "suricata": EVE, "argus": ARGUS, "joy": JOY, "wireshark": WIRESHARK}


@pytest.mark.parametrize("name", LOGS)
def test_every_log_is_known_by_its_content_in_files_and_folders(name: str, tmp_path: Path) -> None:
    if name not in SAMPLES:
        pytest.skip(f"{name} has tests of its own")
    (folder := tmp_path / "logs" / "2026").mkdir(parents=True)
    packed = folder / "conn.log.zst"
    packed.write_bytes(zstd.compress(b"\xef\xbb\xbf" + SAMPLES[name].replace("\n", "\r\n").encode()))
    (folder / "notes.txt").write_text("hello")
    for path in (packed, tmp_path / "logs"):
        assert log_of([path]) is LOGS[name]
        flows, told = read_log(LOGS[name], [path])
        assert flows.select("src", "dst", "protocol").row(0) == ("10.0.0.1", "10.0.0.2", "udp")
        assert [other.name for other in told.others] == ([] if path is packed else ["notes.txt"])
    shutil.copy(CAPTURES / "tiny" / "capture.pcap", folder)
    assert log_of([tmp_path / "logs"]) is None  # the flows of a capture tell more


def test_files_of_several_formats_are_read_apart(tmp_path: Path) -> None:
    (one := tmp_path / "eve.json").write_text(EVE)
    (other := tmp_path / "joy.json").write_text(JOY)
    with pytest.raises(InputError, match="several formats"):
        log_of([one, other])
    with pytest.raises(OptionError, match="Did you mean 'zeek'"):
        log_of([one], "zek")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_log_is_read_or_refused(name: str, tmp_path: Path) -> None:
    random = Random(name)
    strange = (
        b"\n",
        b'"',
        b"{",
        b"[",
        b"-1",
        b"1e999",
        b"9" * 20,
        b"null",
        b"\t",
        b",",
        b"nan",
        b"[]",
        b'{"a":1}',
        b"\xff",
        b"#fields\t",
        b"%",
        b"\0",
    )
    path = tmp_path / "damaged"
    for _ in range(60):
        data = bytearray(SAMPLES[name].encode() * 3)
        for _ in range(random.choice((1, 3, 20))):
            at = random.randrange(len(data))
            if random.random() < 0.5:
                data[at:at] = random.choice(strange)
            else:
                del data[at : at + random.randrange(60)]
            data = data or bytearray(b"x")
        path.write_bytes(data)
        try:
            flows, told = read_log(LOGS[name], [path])
        except InputError:
            continue
        assert flows.height <= told.rows
        assert flows["src"].null_count() == 0


def test_detect_says_what_a_log_does_not_tell(wirespeak: Any, tmp_path: Path) -> None:
    (path := tmp_path / "eve.json").write_text(EVE)
    done = wirespeak("detect", path, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "told by no flow here and count as their defaults" in done.stderr
    notes = json.loads((tmp_path / "out" / "run.json").read_text())
    assert notes["from"] == "suricata"
    assert "messages" in notes["not_told"]
    done = wirespeak("textify", path, "-o", tmp_path / "said.jsonl")
    assert done.returncode == 0, done.stderr
    assert "1 sentences from 1 rows" in done.stdout

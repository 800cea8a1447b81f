"""Argus flows, from the real argus where it is there and as datasets spell them."""

from __future__ import annotations

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
FIELDS = (
    "stime,dur,proto,saddr,sport,dir,daddr,dport,state,stos,dtos,pkts,bytes,sbytes,spkts,sappbytes,dappbytes"
)


def read(path: Path) -> tuple[pl.DataFrame, Told]:
    assert log_of([path]) is LOGS["argus"]
    return read_log(LOGS["argus"], [path])


def printed(capture: Path, folder: Path, *options: str) -> Path:
    for tool, package in (("argus", "argus-server"), ("ra", "argus-client")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install {package}")
    records, table = folder / "records.argus", folder / "flows.binetflow"
    subprocess.run(["argus", "-S", "3600", "-A", "-r", capture, "-w", records], check=True, timeout=60)
    said = subprocess.run(
        ["ra", "-r", records, "-c", ",", "-n", *options], check=True, capture_output=True, timeout=60
    )
    table.write_bytes(said.stdout)
    return table


def test_argus_saw_the_same(tmp_path: Path) -> None:
    capture = CAPTURES / "quiet" / "capture.pcap"
    theirs, told = read(printed(capture, tmp_path, "-Zb", "-u", "-p", "6", "-s", FIELDS))
    assert theirs.height + sum(told.set_aside.values()) == told.rows

    def once(flows: pl.DataFrame) -> pl.DataFrame:
        return flows.filter(pl.col("protocol").is_in(["tcp", "udp"]), pl.len().over(KEY) == 1)

    both = once(read_flows(capture).flows).join(once(theirs), on=KEY, suffix="_theirs")
    assert both.height > 600
    for column in (
        "fwd_packets",
        "bwd_packets",
        "fwd_bytes",
        "bwd_bytes",
        "state",
        "service",
        "iat_mean_s",
        "packets_per_s",
    ):
        known = both.filter(pl.col(f"{column}_theirs").is_not_null())
        assert known.height > 600, column
        ours, there = known[column], known[f"{column}_theirs"]
        same = (ours - there).abs() < 2e-6 if ours.dtype.is_float() else ours == there
        assert (same | (known["protocol"] == "udp")).mean() > 0.99, column
    for column in ("flags", "fwd_rst_packets", "bwd_rst_packets", "fwd_payload_bytes", "bwd_payload_bytes"):
        known = both.filter(pl.col(f"{column}_theirs").is_not_null(), pl.col("protocol") == "tcp")
        assert known.height, column
        assert (known[column] == known[f"{column}_theirs"]).mean() > 0.95, column


def test_times_without_a_date_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: StartTime is '\d\d:.*expected a date too.*-u"):
        read(printed(CAPTURES / "tiny" / "capture.pcap", tmp_path))


HEAD = "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label"
ROWS = (
    "2011/08/10 09:46:53.047277,3550.182373,udp,10.0.0.9,49770,  <->,10.0.0.1,53,CON,0,0,12,875,413,flow=Background",
    "2011/08/10 09:46:53.048843,0.000883,udp,10.0.0.9,36423,  <->,10.0.0.1,53,CON,0,0,2,135,61,flow=Background",
    "2011/08/10 09:46:54.000000,0.000000,icmp,10.0.0.9,0x0303,   ->,10.0.0.1,0x45b2,URP,0,,1,110,110,flow=Background",
    "2011/08/10 09:46:55.000000,1.000000,tcp,10.0.0.9,1031,   ->,10.0.0.1,80,S_,0,,3,186,186,flow=From-Botnet",
    "2011/08/10 09:46:56.000000,1.000000,tcp,10.0.0.9,1032,   ->,10.0.0.1,80,FSPA_FSPA,0,0,10,5000,900,flow=From-Botnet",
    "2011/08/10 09:46:57.000000,1.000000,arp,10.0.0.9,,  who,10.0.0.1,,CON,,,2,120,60,flow=Background",
    "2011/08/10 09:46:58.000000,1.000000,man,0,0,,0,0,STA,,,0,0,0,",
    "2011/08/10 09:46:59.000000,1.000000,tcp,10.0.0.9,http,   ->,10.0.0.1,80,S_,0,,3,186,186,",
    "2011/08/10 09:46:59.000000,1.000000,tcp,10.0.0.9",
)


@pytest.mark.parametrize("separator", [",", "\t"])
def test_what_a_record_does_not_tell_apart_is_null(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "ctu.binetflow"
    path.write_text("\n".join([HEAD, *ROWS, HEAD]).replace(",", separator) + "\n")
    flows, told = read(path)
    assert told.set_aside == {
        "a report of Argus itself (man)": 1,
        "a row whose src_port is no number": 1,
        "a line with another number of cells than the header": 1,
    }
    assert flows["first_seen"][0] == 1_312_969_613_047_277_000
    assert flows["fwd_packets"].to_list() == [None, 1, 1, 3, None, 1]
    assert flows["bwd_packets"].to_list() == [None, 1, 0, 0, None, 1]
    assert flows["fwd_bytes"].to_list() == [None, 61 - 14, 110 - 14, 186 - 3 * 14, None, 60 - 14]
    assert flows["packet_mean_bytes"][4] == 5000 / 10 - 14
    assert flows["packets_per_s"].to_list()[3:5] == [3, 10]
    assert flows["state"].to_list() == ["two-way", "two-way", "one-way", "S0", "SF", "two-way"]
    assert flows["operation"].to_list() == ["", "", "unreachable", "", "", "request"]
    assert flows["dst_port"].to_list() == [53, 53, None, 80, 80, None]


def test_real_files_of_datasets(real_data: Path) -> None:
    rows = {"test3-mixed": 89, "test5-mixed": 298, "test11-portscan": 66}
    for name, count in rows.items():
        flows, told = read(real_data / "slips-logs" / f"{name}.binetflow")
        assert flows.height == count
        assert told.rows == count + sum(told.set_aside.values())
        assert flows["fwd_packets"].null_count() == 0
        assert (flows["fwd_bytes"] >= 0).all()

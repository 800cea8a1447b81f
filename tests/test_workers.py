"""Several workers make exactly the rows that one makes; room runs out in the same way for all."""

from __future__ import annotations

import re
from itertools import count, islice
from pathlib import Path
from threading import active_count
from typing import Any

import pytest
from made_frames import SYN, ethernet, ip, mac, tcp
from polars.testing import assert_frame_equal

from wirespeak.errors import InputError, OptionError
from wirespeak.flow import FlowReader, Meter, in_order, read_flows
from wirespeak.interfaces.metering import Export, View, flows
from wirespeak.wire import Frames, decode, open_capture, write_pcap
from wirespeak.wire.stream import Stream

CAPTURES = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures"
S = 1_000_000_000


@pytest.mark.parametrize("name", ["demo", "quiet", "tiny"])
def test_workers_agree_on_captures(name: str) -> None:
    capture = CAPTURES / name / "capture.pcap"
    one, two = read_flows(capture), read_flows(capture, workers=2)
    assert_frame_equal(two.flows, one.flows)
    assert (two.packets, two.set_aside, two.cut) == (one.packets, one.set_aside, one.cut)


def test_workers_agree_on_real_captures(real_data: Path) -> None:
    captures = sorted((real_data / "pcaps" / "attack").glob("*.pcap*"))
    assert captures
    for capture in captures:
        try:
            one = read_flows(capture)
        except InputError as error:
            with pytest.raises(InputError, match=re.escape(str(error))):
                read_flows(capture, workers=2)
            continue
        two = read_flows(capture, workers=2)
        assert_frame_equal(two.flows, one.flows)
        assert two.set_aside == one.set_aside


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of several windows and of several tables."""
    path = tmp_path_factory.mktemp("large") / "large.pcap"
    write_pcap(path, flood(120_000))
    return path


def test_workers_agree_where_windows_take_turns(large: Path) -> None:
    with open_capture(large) as capture:
        assert sum(1 for _ in capture.chunks()) > 4
    one, two = (list(FlowReader([large, large], workers=workers).pieces()) for workers in (1, 2))
    assert len(two) > 4
    assert_frame_equal(in_order(two), in_order(one))


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_whoever_stops_half_way_leaves_nothing_running(large: Path, pieces: int) -> None:
    before = active_count()
    reading = FlowReader(large, workers=2).pieces()
    found = list(islice(reading, pieces))
    assert len(found) == pieces
    reading.close()
    assert active_count() == before


def test_what_goes_wrong_while_frames_are_found_is_told(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it happened."""
    read, calls = Stream.readinto, count()

    def fail_later(self: Stream, room: memoryview) -> int:
        if next(calls) > 3:
            raise InputError("the disk is gone")
        return read(self, room)

    monkeypatch.setattr(Stream, "readinto", fail_later)
    with pytest.raises(InputError, match="the disk is gone"):
        read_flows(large, workers=2)


def flood(many: int) -> Frames:
    """Single SYNs from everywhere to one host, a millisecond apart."""
    frames = [
        ethernet(ip(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "192.0.2.1", 6, tcp(1024 + i % 60_000, 80, SYN)), src=mac(1))
        for i in range(many)
    ]  # fmt: skip
    return Frames.of([i * S // 1000 for i in range(many)], frames)


def test_room_for_flows_is_bounded_and_what_is_given_up_is_counted() -> None:
    packets = decode(flood(5_000))
    meter = Meter(most_flows=800)
    table = in_order([meter.push(packets), meter.flush()])
    assert meter.evicted == 5_000 - 800
    assert table.height == 5_000
    assert table["state"].unique().to_list() == ["S0"]
    assert table["flow_id"].to_list() == list(range(5_000))
    ample = Meter()
    ample.push(packets)
    assert (ample.evicted, ample.forgotten) == (0, 0)


def test_hosts_are_forgotten_when_there_are_too_many() -> None:
    packets = decode(flood(20_000))
    meter = Meter(most_flows=100)
    table = in_order([meter.push(packets), meter.flush()])
    assert meter.forgotten > 5_000
    # The victim is never silent, so it is not among them; its window has as much room as is left.
    assert table["dst_flows_60s"].to_list() == [min(i, 200) for i in range(20_000)]


@pytest.mark.parametrize("wrong", [{"most_flows": 0}, {"idle_s": 0.0}])
def test_wrong_numbers_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Meter(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"seconds": 5.0}, "--for would do nothing without --listen"),
        ({"at_most": 5, "seconds": 1.0}, "--for and --at-most would do nothing"),
        ({"export": Export.netflow5}, "--export would do nothing without --send"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    options: dict[str, Any], needed: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=needed):
        flows([CAPTURES / "tiny" / "capture.pcap"], output=tmp_path / "flows.csv", **options)


def test_options_of_metering_reach_every_table_of_a_capture(tmp_path: Path) -> None:
    """Views too; of a flow table, which is metered already, they are refused."""
    capture, table = CAPTURES / "tiny" / "capture.pcap", tmp_path / "flows.csv"
    few = flows([capture], output=table, most_flows=4, view=View.zeek_conn)
    assert any("flows ended early" in warning for warning in few.warnings)
    flows([capture], output=table)
    with pytest.raises(OptionError, match="--most-flows would do nothing without captures"):
        flows([table], output=tmp_path / "more.csv", most_flows=4)

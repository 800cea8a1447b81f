"""Several workers make exactly the rows that one makes; room runs out in the same way for all."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from made_frames import SYN, ethernet, ip, mac, tcp
from polars.testing import assert_frame_equal
from test_flow_oracle import made_traffic, packets_of

from wirespeak.errors import InputError, OptionError
from wirespeak.flow import Meter, in_order, measure, read_flows
from wirespeak.wire import Frames, decode

CAPTURES = Path(__file__).parent.parent / "src" / "wirespeak" / "lab" / "captures"
S = 1_000_000_000


@pytest.mark.parametrize("workers", [2, 3, 8, 64])
@pytest.mark.parametrize("calm", [0.0001, 0.05, 2.0])
def test_workers_agree_on_made_traffic(workers: int, calm: float) -> None:
    packets = packets_of(made_traffic(workers, 4_000, calm))
    assert_frame_equal(measure(packets, workers=workers), measure(packets))


def test_workers_agree_however_packets_are_cut() -> None:
    packets, draw = packets_of(made_traffic(5, 3_000, 0.1)), Random(3)
    meter, pieces, at = Meter(workers=2), [], 0
    while at < len(packets):
        size = draw.choice([1, 2, 17, 400])
        pieces.append(meter.push(packets.slice(at, min(at + size, len(packets)))))
        at += size
    assert_frame_equal(in_order([*pieces, meter.flush()]), measure(packets))


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


def flood(count: int) -> Frames:
    """Single SYNs from everywhere to one host, a millisecond apart."""
    frames = [
        ethernet(ip(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "192.0.2.1", 6, tcp(1024 + i % 60_000, 80, SYN)), src=mac(1))
        for i in range(count)
    ]  # fmt: skip
    return Frames.of([i * S // 1000 for i in range(count)], frames)


def test_room_for_flows_is_bounded_and_what_is_given_up_is_counted() -> None:
    packets = decode(flood(5_000))
    tables = []
    for workers in (1, 2):
        meter = Meter(most_flows=800, workers=workers)
        tables.append(in_order([meter.push(packets), meter.flush()]))
        assert 5_000 - 1_000 <= meter.evicted <= 5_000 - 700
    assert_frame_equal(*tables)
    assert tables[0].height == 5_000
    assert tables[0]["state"].unique().to_list() == ["S0"]
    ample = Meter()
    ample.push(packets)
    assert (ample.evicted, ample.forgotten) == (0, 0)


def test_hosts_are_forgotten_when_there_are_too_many() -> None:
    packets = decode(flood(20_000))
    tables = []
    for workers in (1, 2):
        meter = Meter(most_flows=200, workers=workers)
        tables.append(in_order([meter.push(packets), meter.flush()]))
        assert meter.forgotten > 5_000
    assert_frame_equal(*tables)
    # The victim is never silent, so it is not among them; its window has as much room as is left.
    assert tables[0]["dst_flows_60s"].to_list() == [min(i, 100) for i in range(20_000)]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"most_flows": 0}, {"idle_s": 0.0}])
def test_wrong_numbers_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Meter(**wrong)  # type: ignore[arg-type]

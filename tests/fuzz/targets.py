"""What the fuzzers feed: for each door that strangers' bytes come in by, a function that reads them.

Each takes any bytes and returns when they were read, or were refused by an error of our own. Everything else is a finding: another
exception, a failed assertion, a crash, a hang, memory without bounds. `search.py` looks for such bytes; `../test_fuzz.py` feeds
those that were found before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import polars as pl

from wirespeak import _native
from wirespeak.data import tables
from wirespeak.data.sources import read_dataset
from wirespeak.data.sources.log import read_log
from wirespeak.data.sources.logs import LOGS
from wirespeak.errors import WirespeakError
from wirespeak.flow import Meter, meter, read_flows
from wirespeak.flow.anonymise import Anonymiser, anonymise_capture
from wirespeak.flow.columns import flow_table
from wirespeak.lab.truth import label_flows, read_truth
from wirespeak.wire import Frames, open_capture
from wirespeak.wire.stream import open_stream

Target = Callable[[bytes], None]

LINKS = (1, 0, 9, 50, 51, 101, 104, 105, 108, 113, 127, 195, 215, 228, 229, 230, 276, 283)
STEPS_NS = (0, 1, 1_000, 1_000_000, 1_000_000_000, 6_000_000_000, 61_000_000_000, -2_000_000_000)
_MOST_FRAMES, _ROOM = 512, 1 << 20


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    memory = "/dev/shm"  # files that never reach a disk
    return tempfile.TemporaryDirectory(
        prefix="wirespeak-fuzz-", dir=memory if os.access(memory, os.W_OK) else None
    )


def _file(data: bytes, suffix: str) -> Path:
    path = Path(_folder().name, f"given{suffix}")
    path.write_bytes(data)
    return path


def captures(data: bytes) -> None:
    """A file to packets to flows, as C has them."""
    measure = _Measure()
    with open_capture(_file(data, ".pcap")) as capture:
        for frames in capture.chunks(rows=37):
            measure.take(frames)
    measure.end()


def framed(frames: list[tuple[int, int, bytes]], link: int) -> bytes:
    """What `packets` takes for frames of a link: which of STEPS_NS lies before each, which eighth of it is captured, its bytes."""
    body = b"".join(
        bytes([step << 5 | eighth << 2 | len(frame) >> 8, len(frame) & 255]) + frame
        for step, eighth, frame in frames
    )
    return bytes([LINKS.index(link)]) + body


def packets(data: bytes) -> None:
    """Frames of any link, all at once and bit by bit: the same flows."""
    if not data:
        return
    times, lengths, pieces, now = list[int](), list[int](), list[bytes](), 10**18
    at = 1
    while at + 2 <= len(data) and len(pieces) < _MOST_FRAMES:
        step, eighth, size = data[at] >> 5, data[at] >> 2 & 7, (data[at] & 3) << 8 | data[at + 1]
        frame = data[at + 2 : at + 2 + size]
        now += STEPS_NS[step]
        times.append(now)
        lengths.append(len(frame))
        pieces.append(frame[: len(frame) - len(frame) * eighth // 8])
        at += 2 + size
    frames = Frames.of(times, pieces, link_type=LINKS[data[0] % len(LINKS)])
    frames.length[:] = lengths
    whole, parts = _Measure(), _Measure()
    whole.take(frames)
    for start in range(0, len(frames), 5):
        parts.take(frames[start : start + 5])
    assert whole.end().equals(parts.end()), "pieces give other flows than the whole"


class _Measure:
    """A meter, and what must be true of its flows."""

    def __init__(self) -> None:
        self._meter = Meter(first_packets=3)
        self._packets = self._aside = 0

    def take(self, frames: Frames) -> None:
        self._packets += len(frames)
        self._aside += sum(self._meter.meter(frames, 0).values())
        self._meter.digest(0)

    def end(self) -> pl.DataFrame:
        """The flows in their order. Every packet is in one of them or was set aside, and no number is beyond what can be."""
        while self._meter.alive:
            self._meter.end_some(0)
            self._meter.digest(0)
        rows = self._meter.in_order()
        self._aside += sum(self._meter.set_aside.values())
        assert self._packets == self._aside + int((rows["fwd_packets"] + rows["bwd_packets"]).sum())
        for name in _numbers():
            assert (rows[name] >= 0).all() and np.isfinite(rows[name]).all(), name
        return flow_table(rows, early=self._meter.early)


@cache
def _numbers() -> list[str]:
    kind = _native.row_type("flows")
    return [name for name in kind.names or () if kind[name].kind in "if"]


def flows(data: bytes) -> None:
    """A file to the table of its flows, as people get it."""
    table = read_flows(_file(data, ".pcap"))
    assert table.flows.height and table.flows["flow_id"].is_sorted()


def packed(data: bytes) -> None:
    """A file that may be packed, to bytes: a piece of a megabyte at most, whatever is packed in it."""
    stream = open_stream(_file(data, ".gz"))
    room = memoryview(bytearray(_ROOM))
    try:
        for _ in range(64):
            size = stream.readinto(room)
            assert 0 <= size <= _ROOM
            if not size:
                break
    finally:
        stream.close()


def flow_tables(data: bytes) -> None:
    """A table of flows in each format; the first byte chooses which."""
    suffix = tables.SUFFIXES[data[0] % len(tables.SUFFIXES)] if data else ".csv"
    assert tables.read([_file(data[1:], suffix)]).height


def datasets(data: bytes) -> None:
    """A file of rows that some dataset may have, recognised by its columns."""
    suffix = (".csv", ".parquet", ".csv.gz")[data[0] % 3] if data else ".csv"
    read_dataset([_file(data[1:], suffix)], on_bad_row="skip", labelled=False)


def truths(data: bytes) -> None:
    """The truth of a recording, and one flow to label by it."""
    label_flows(_one_flow(), read_truth(data))


@cache
def _one_flow() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "first_seen": [5], "src": ["10.0.0.1"], "dst": ["10.0.0.2"], "src_port": [1], "dst_port": [80], "protocol": ["tcp"],
            "operation": ["none"], "src_mac": ["02:00:00:00:00:01"], "dst_mac": [None],
        },
        schema_overrides={"dst_mac": pl.String},
    )  # fmt: skip


def anonymised(data: bytes) -> None:
    """A capture to one that tells nobody's secrets, or none; the first byte chooses what becomes of payloads."""
    if data:
        given, target = _file(data[1:], ".pcap"), Path(_folder().name, "anonymised.pcap")
        anonymise_capture(given, target, Anonymiser(bytes(32), payload=("scrub", "keep", "cut")[data[0] % 3]))


def logs(data: bytes) -> None:
    """What other tools write; the first byte chooses the format, as `--from` does."""
    if LOGS and data:
        log = list(LOGS.values())[data[0] % len(LOGS)]
        path = _file(data[1:], ".log")
        log.claims(path, data[1 : 1 << 16])
        read_log(log, [path])


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (captures, packets, flows, packed, flow_tables, datasets, truths, logs, anonymised)
}


def feed(target: Target, data: bytes) -> bool:
    """Whether the bytes could be read; where they could not, one clear line said so."""
    meter.secrets = _Sure  # type: ignore[assignment]  # the same bytes must do the same each time
    try:
        target(data)
    except WirespeakError as error:
        assert str(error).strip() and "\n" not in str(error), f"not one line: {error!s}"
        return False
    return True


class _Sure:
    """Stands for `secrets`."""

    @staticmethod
    def randbits(count: int) -> int:
        return Random(1).getrandbits(count)


def corpus(name: str) -> Iterator[Path]:
    """The inputs of a target that are kept."""
    yield from sorted((Path(__file__).parent / "corpus" / name).glob("*"))

"""Captures that nobody should have written, and disks and pipes that fail: a right answer, or one line that says what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import polars as pl
import pytest
from conftest import COMMAND
from fuzz.seeds import block, enhanced, interface, option, section
from made_frames import ACK, ethernet, ip, tcp, udp

from wirespeak.interfaces.cli import application
from wirespeak.wire.stream import zstd

FRAME = ethernet(ip("10.0.0.1", "10.0.0.2", 17, udp(5000, 6000, b"hello")))
SIZE = len(FRAME)
SECTION, INTERFACE, PACKET = section(), interface(), enhanced(FRAME)


def head(order: str = "<", *, snap: int = 65535, link: int = 1, magic: int = 0xA1B2C3D4) -> bytes:
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap, link)


def record(
    frame: bytes = FRAME,
    order: str = "<",
    *,
    at: tuple[int, int] = (1, 0),
    sizes: tuple[int, int] | None = None,
) -> bytes:
    return struct.pack(f"{order}IIII", *at, *(sizes or (len(frame), len(frame)))) + frame


def block_of(kind: int, size: int, body: bytes, after: int | None = None) -> bytes:
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size if after is None else after)


def timed(resolution: int, *, offset: int = 0, ticks: int = 1 << 63) -> bytes:
    options = option(9, bytes([resolution])) + option(14, struct.pack("<q", offset))
    return SECTION + interface(options=options) + enhanced(FRAME, ticks=ticks) + enhanced(FRAME)


GOOD = head() + record()
READ: dict[str, tuple[bytes, int, int]] = {  # bytes, packets read, those of them in flows
    "snap length 0": (head(snap=0) + record(), 1, 1),
    "more captured than there was": (head() + record(sizes=(SIZE, 3)), 1, 1),
    "frames of nothing": (head() + record(b"") * 3 + record(), 4, 1),
    "a million microseconds and more": (head() + record(at=(2**32 - 1, 2**32 - 1)) + record(), 2, 2),
    "frame check sequences announced": (head(link=1 | 0x14000000) + record(), 1, 1),
    "a size of 4 GB": (GOOD + record(sizes=(2**32 - 1, SIZE)), 1, 1),
    "a size of 4 GB that is there not": (GOOD + record(sizes=(1 << 27, SIZE)), 1, 1),
    "another file after it": (GOOD + head(">") + record(order=">"), 2, 1),  # its header reads as a frame of nothing
    "text after it": (GOOD + b"and so on, and so on, and so on.", 1, 1),
    "a block of 8 bytes": (SECTION + INTERFACE + PACKET + block_of(6, 8, b""), 1, 1),
    "a block of 13 bytes": (SECTION + INTERFACE + PACKET + block_of(6, 13, b"x"), 1, 1),
    "a block of 4 GB": (SECTION + INTERFACE + PACKET + block_of(6, 2**32 - 4, b""), 1, 1),
    "a block that ends with another size": (SECTION + INTERFACE + PACKET[:-4] + bytes(4) + PACKET, 2, 2),
    "an interface nobody described": (SECTION + INTERFACE + PACKET + enhanced(FRAME, number=1), 1, 1),
    "a simple packet without an interface": (SECTION + INTERFACE + PACKET + SECTION + block(3, struct.pack("<I", SIZE) + FRAME), 1, 1),
    "a section that says it is short": (section(size=8) + INTERFACE + PACKET, 1, 1),
    "a section that says it is negative": (section(size=-7) + INTERFACE + PACKET, 1, 1),
    "sections of both byte orders": (SECTION + INTERFACE + PACKET + section(">") + interface(">") + enhanced(FRAME, ">"), 2, 2),
    "options beyond their block": (SECTION + block(1, struct.pack("<HHIHH", 1, 0, 0, 9, 60_000)) + PACKET, 1, 1),
    "a hundred thousand interfaces": (SECTION + INTERFACE * 100_000 + enhanced(FRAME, number=99_999), 1, 1),
    "every link type": (SECTION + b"".join(interface(link=link) + enhanced(FRAME, number=link) for link in range(300)), 300, -1),
    "ticks of 2^-63 s": (timed(0xBF), 2, 2),
    "ticks of 2^-127 s": (timed(0xFF), 2, 2),
    "ticks of 10^-127 s": (timed(0x7F), 2, 2),
    "ticks of a second": (timed(0), 2, 2),
    "an offset as far back as can be": (timed(6, offset=-(2**63)), 2, 2),
    "an offset as far ahead as can be": (timed(6, offset=2**63 - 1, ticks=2**64 - 1), 2, 2),
    "gzip with something after it": (gzip.compress(GOOD) + b"something", 1, 1),
    "gzip cut off": (gzip.compress(head() + b"".join(record(os.urandom(12) + FRAME[12:]) for _ in range(9_000)))[:-9000], -1, -1),
    "gzip in three members": (gzip.compress(GOOD) + gzip.compress(record()) + gzip.compress(b""), 2, 2),
    "zstd in frames": (zstd.compress(GOOD) + zstd.compress(record()), 2, 2),
}  # fmt: skip
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "half a header": (GOOD[:17], "header is cut off"),
    "a header": (head(), "holds no packets"),
    "a header and a size of 4 GB": (head() + record(sizes=(2**32 - 1, SIZE)), "damaged at byte 24"),
    "a section": (SECTION, "holds no packets"),
    "a section of 8 bytes": (block_of(0x0A0D0D0A, 8, SECTION[8:24]), "holds no packets"),
    "a section of neither order": (SECTION[:8] + b"abcd" + SECTION[12:], "header is cut off or broken"),
    "a packet before any interface": (SECTION + PACKET, "holds no packets"),
    "a simple packet before any interface": (SECTION + block(3, struct.pack("<I", SIZE) + FRAME), "holds no packets"),
    "frames of nothing alone": (head() + record(b"") * 3, "none of the 3 packets"),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD)), "packed twice"),
    "zstd in gzip": (gzip.compress(zstd.compress(GOOD)), "packed twice"),
    "gzip of nothing": (gzip.compress(b""), "is empty"),
    "a gzip header": (gzip.compress(GOOD)[:10], "damaged gzip"),
    "a zstd window of 2 GB": (bytes.fromhex("28b52ffd00a8") + struct.pack("<I", len(GOOD) << 3 | 1)[:3] + GOOD, "memory"),
}  # fmt: skip


@pytest.fixture
def flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `wirespeak flows` in this process; its exit status, and what it said."""

    def run(*given: object) -> tuple[int, str, str]:
        words = ["flows", *map(str, given), "-o", str(tmp_path / "out" / "flows.parquet"), "--json"]
        with pytest.raises(SystemExit) as ended:
            application()(words, prog_name="wirespeak")
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


Flows = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("kind", READ)
def test_what_can_be_read_is(kind: str, tmp_path: Path, flows: Flows) -> None:
    data, packets, inside = READ[kind]
    (path := tmp_path / "given").write_bytes(data)
    status, said, complaint = flows(path)
    assert status == 0, complaint
    counts = json.loads(said)["counts"]
    table = pl.read_parquet(tmp_path / "out" / "flows.parquet")
    found = int((table["fwd_packets"] + table["bwd_packets"]).sum())
    assert counts["in"] == packets or packets < 0
    assert found == inside or inside < 0
    assert found + sum(counts["set_aside"].values()) == counts["in"]
    assert table["first_seen"].min() >= 0 and table["duration_s"].max() < 2**33  # type: ignore[operator]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(kind: str, tmp_path: Path, flows: Flows) -> None:
    data, words = REFUSED[kind]
    (path := tmp_path / "given").write_bytes(data)
    assert_refused(flows(path), words, tmp_path)


def assert_refused(ended: tuple[int, str, str], words: str, folder: Path) -> None:
    """One line of complaint, and nothing left behind."""
    status, said, complaint = ended
    lines = [line for line in complaint.splitlines() if line.startswith("wirespeak: ")]
    assert (status, json.loads(said)["ok"], len(lines)) == (1, False, 1)
    assert words in complaint.splitlines()[-1] and "Traceback" not in complaint
    assert not (folder / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_cut_anywhere_and_flipped_anywhere(seed: int, tmp_path: Path, flows: Flows) -> None:
    """A small capture of each container, cut at places everywhere, and with one wrong byte there."""
    draw = Random(seed)
    whole = (GOOD + record(), SECTION + INTERFACE + PACKET * 2, gzip.compress(GOOD))[seed]
    path = tmp_path / "given"
    for place in range(seed, len(whole), 5):
        wrong = bytearray(whole)
        wrong[place] ^= draw.randrange(1, 256)
        for data in (whole[:place], bytes(wrong)):
            path.write_bytes(data)
            status, said, complaint = flows(path)
            counted = json.loads(said)["counts"]
            assert status == (0 if counted["out"] else 1) and "Traceback" not in complaint
            assert (tmp_path / "out" / "flows.parquet").exists() == (status == 0)
            for left in (tmp_path / "out").glob("*"):
                left.unlink()
            if status == 0:
                (tmp_path / "out").rmdir()


def test_folders_that_lead_to_themselves_end(tmp_path: Path, flows: Flows) -> None:
    (folder := tmp_path / "captures").mkdir()
    (folder / "again").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    assert_refused(flows(folder / "nowhere"), "cannot be read", tmp_path)
    assert_refused(flows(folder), "folder without a capture", tmp_path)
    (folder / "good.pcap").write_bytes(GOOD)
    status, said, _ = flows(folder)
    assert status == 0 and json.loads(said)["counts"]["in"] == 1


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="giving up the rights of root needs root")
def test_what_may_not_be_read_in_a_folder_is_named(tmp_path: Path) -> None:
    (folder := tmp_path / "captures").mkdir()
    for name in ("good.pcap", "secret.pcap", "closed/hidden.pcap"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(GOOD)
    (folder / "secret.pcap").chmod(0)
    (folder / "closed").chmod(0)
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", str(COMMAND)]
    words = [*humble, "flows", str(folder), "-o", str(tmp_path / "flows.csv")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "not read, left out: closed, secret.pcap" in done.stderr
    inputs = json.loads((tmp_path / "flows.csv.run.json").read_text())["inputs"][0]["files"]
    assert [each.get("unread") for each in inputs] == [None, "Permission denied"]


def test_names_that_no_disk_takes_are_refused(tmp_path: Path, flows: Flows) -> None:
    (tmp_path / "file").write_bytes(GOOD)
    for name in ("n" * 300, "d/" * 3_000, "a\nb", "file/below"):
        assert_refused(flows(tmp_path / name), "Give", tmp_path)


@pytest.mark.parametrize(
    ("given", "words"), [(b"", "is empty"), (head()[:9], "cut off"), (GOOD[:-3], "cut off")]
)
def test_a_pipe_that_closes_early(given: bytes, words: str, tmp_path: Path, flows: Flows) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    writer = threading.Thread(target=lambda: pipe.write_bytes(given), daemon=True)
    writer.start()
    ended = flows(pipe)
    writer.join()
    assert_refused(ended, words, tmp_path)


def test_a_pipe_can_only_be_read_alone(tmp_path: Path, flows: Flows) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (tmp_path / "good.pcap").write_bytes(GOOD)
    assert_refused(flows(pipe, tmp_path / "good.pcap"), "can only be read alone", tmp_path)


def test_a_capture_that_is_still_written_gives_what_is_there(tmp_path: Path, flows: Flows) -> None:
    path = tmp_path / "growing.pcap"
    path.write_bytes(GOOD)
    going = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not going.wait(0.0005):
                file.write(record() * 50)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    status, said, complaint = flows(path)
    going.set()
    writer.join()
    assert status == 0, complaint
    assert json.loads(said)["counts"]["in"] >= 1


def bombs() -> Iterator[tuple[str, bytes]]:
    """A capture's header and 48 MB of zeros, which are 3 million frames of nothing; one frame of 128 MB."""
    zeros = bytes(1 << 20)
    for name, squeeze in (("gzip", gzip_pieces), ("zstd", zstd_pieces)):
        yield f"{name} of zeros", squeeze([GOOD, *[zeros] * 48])
        yield (
            f"{name} of a frame",
            squeeze([GOOD, record(b"", sizes=(128 << 20, 128 << 20)), *[zeros] * 128, record()]),
        )


def gzip_pieces(pieces: list[bytes]) -> bytes:
    import zlib

    packer = zlib.compressobj(wbits=31)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def zstd_pieces(pieces: list[bytes]) -> bytes:
    packer = zstd.ZstdCompressor()
    return b"".join([*map(packer.compress, pieces), packer.flush()])


MEASURED = """
import resource, sys
from wirespeak.flow import read_flows
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = read_flows(sys.argv[1])
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(table.packets, table.flows.height, grown >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gzip of zeros", "zstd of zeros", "gzip of a frame", "zstd of a frame"])
def test_bombs_take_no_memory(kind: str, tmp_path: Path) -> None:
    (path := tmp_path / "bomb").write_bytes(dict(bombs())[kind])
    assert path.stat().st_size < 2 << 20
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, timeout=120, check=True
    )
    packets, found, grown = map(int, done.stdout.split())
    # A frame is held in a window that doubles as it must: one of 128 MB takes two of them.
    assert (
        (packets, grown < 150) == ((48 << 20) // 16 + 1, True)
        if "zeros" in kind
        else (packets, grown < 600) == (3, True)
    )
    assert found >= 1


@pytest.mark.slow
def test_a_killed_verb_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    syn = ethernet(ip("10.0.0.1", "10.0.0.2", 6, tcp(1, 2, ACK)))
    (source := tmp_path / "many.pcap").write_bytes(
        head() + b"".join(record(syn, at=(second, 0)) for second in range(400_000))
    )
    process = subprocess.Popen(
        [str(COMMAND), "flows", str(source), "--idle", "0.5", "-o", str(tmp_path / "flows.csv")],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not [path for path in tmp_path.glob(".wirespeak-*/*") if path.stat().st_size]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not list(tmp_path.glob("flows*"))

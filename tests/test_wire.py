"""Capture files and headers: round trips, every container, and clear words about what cannot be read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_frames import ACK, SYN, arp, ethernet, icmp, ip, mac, tcp, udp

from wirespeak.errors import InputError, OptionError, WirespeakError
from wirespeak.flow import Meter, measure
from wirespeak.wire import Frames, Packets, capture_files, containers, decode, read_frames, write_pcap
from wirespeak.wire.stream import Stream, zstd

SNAP = b"\xaa\xaa\3\0\0\0\x08\0"
TIMES = st.integers(0, (1_000_000_000 << 32) - 1)
PING = ethernet(ip("10.0.0.1", "10.0.0.2", 1, icmp(8, identifier=7)))


def wifi(kind: int, flags: int) -> bytes:
    """The first 24 bytes of an 802.11 frame whose source is `mac(3)`, as the flags place it."""
    places = {0: (2, 3, 9), 1: (9, 3, 2), 2: (2, 9, 3), 3: (9, 9, 2)}[flags & 3]
    return bytes([kind, flags, 0, 0]) + b"".join(map(mac, places)) + b"\0\0"


def read(*frames: bytes, link_type: int = 1) -> Packets:
    return decode(Frames.of([0] * len(frames), frames, link_type=link_type))


def block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def pcapng(order: str, *blocks: tuple[int, bytes]) -> bytes:
    section = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    return section + b"".join(block(kind, body, order) for kind, body in blocks)


def saved(folder: Path, data: bytes, name: str = "made.pcap") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@given(st.lists(st.tuples(TIMES, st.binary(max_size=80)), max_size=20), st.booleans())
def test_pcap_round_trip(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, bytes]], nanoseconds: bool
) -> None:
    path = tmp_path_factory.mktemp("wire") / "made.pcap"
    write_pcap(
        path, Frames.of([time for time, _ in made], [frame for _, frame in made]), nanoseconds=nanoseconds
    )
    capture = read_frames(path)
    step = 1 if nanoseconds else 1000
    assert capture.cut is None
    assert [int(time) for time in capture.frames.time_ns] == [time // step * step for time, _ in made]
    assert [capture.frames.bytes_of(row) for row in range(len(made))] == [frame for _, frame in made]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap_of_either_byte_order(tmp_path: Path, order: str) -> None:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(order + "IIII", 5, 7, len(PING), 900) + PING
    frames = read_frames(saved(tmp_path, head + record)).frames
    assert (frames.time_ns[0], frames.captured[0], frames.length[0]) == (5_000_007_000, len(PING), 900)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_interfaces_of_their_own(tmp_path: Path, order: str) -> None:
    """Nanoseconds with an offset, binary fractions, an unknown block, and the three packet blocks."""
    nano = (
        struct.pack(order + "HHI", 1, 0, 0)
        + struct.pack(order + "HHB3x", 9, 1, 9)
        + struct.pack(order + "HHq", 14, 8, 100)
    )
    binary = struct.pack(order + "HHI", 101, 0, 0) + struct.pack(order + "HHB3x", 9, 1, 0x80 | 10)
    data = pcapng(
        order,
        (1, nano),
        (1, binary),
        (0x0BAD, b"skip me"),
        (6, struct.pack(order + "IIIII", 0, 0, 42, len(PING), 60) + PING),
        (6, struct.pack(order + "IIIII", 1, 0, 3 << 9, len(PING), len(PING)) + PING),
        (2, struct.pack(order + "HHIIII", 0, 0, 0, 43, len(PING), len(PING)) + PING),
        (3, struct.pack(order + "I", len(PING)) + PING),
    )
    capture = read_frames(saved(tmp_path, data))
    assert capture.cut is None
    assert capture.frames.time_ns.tolist() == [
        100_000_000_042,
        1_500_000_000,
        100_000_000_043,
        100_000_000_043,
    ]
    assert capture.frames.link_type.tolist() == [1, 101, 1, 1]
    assert all(capture.frames.bytes_of(row) == PING for row in range(4))


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    plain = io.BytesIO()
    write_pcap(plain, Frames.of([1], [PING]))
    assert (
        read_frames(saved(tmp_path, gzip.compress(plain.getvalue()), "made.pcap.gz")).frames.bytes_of(0)
        == PING
    )


def packed(*times: int) -> bytes:
    plain = io.BytesIO()
    write_pcap(plain, Frames.of(times, [PING] * len(times)))
    return plain.getvalue()


def test_zstd_and_gzip_in_pieces_are_unpacked(tmp_path: Path) -> None:
    whole = packed(1, 2, 3)
    for pack in (zstd.compress, gzip.compress):
        capture = read_frames(saved(tmp_path, pack(whole[:50]) + pack(whole[50:]), "made"))
        assert (capture.frames.time_ns.tolist(), capture.cut) == ([1, 2, 3], None)


@pytest.mark.parametrize("pack", [zstd.compress, gzip.compress])
def test_what_was_unpacked_before_the_damage_is_kept(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    one, two = packed(1), packed(1, 2)[len(packed(1)) :]
    capture = read_frames(saved(tmp_path, pack(one) + pack(two)[:-9], "made"))
    assert capture.frames.time_ns.tolist()[:1] == [1]
    assert capture.cut is not None and "damaged" in capture.cut


@pytest.mark.parametrize(("kind", "link_type"), [(0, 1), (4, 1), (8, 10), (99, 65535)])
def test_snoop(tmp_path: Path, kind: int, link_type: int) -> None:
    """RFC 1761: big-endian, records padded to any length."""
    head = b"snoop\0\0\0" + struct.pack(">II", 2, kind)
    record = struct.pack(">IIIIII", 90, len(PING), 24 + len(PING) + 3, 7, 5, 6) + PING + bytes(3)
    capture = read_frames(saved(tmp_path, head + 2 * record))
    assert capture.cut is None
    assert capture.frames.time_ns.tolist() == [5_000_006_000] * 2
    assert (capture.frames.length[1], capture.frames.link_type[0]) == (90, link_type)
    assert capture.frames.bytes_of(1) == PING


@pytest.mark.parametrize("order", ["<", ">"])
def test_kuznetzovs_records_are_longer(tmp_path: Path, order: str) -> None:
    head = struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(order + "IIIIIHBB", 5, 7, len(PING), len(PING), 1, 8, 0, 0) + PING
    frames = read_frames(saved(tmp_path, head + 2 * record)).frames
    assert [frames.bytes_of(row) for row in range(2)] == [PING, PING]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30), st.integers(28, 500), st.booleans())
def test_however_the_window_moves_the_frames_are_the_same(
    made: list[bytes], window: int, piped: bool
) -> None:
    """A record may be larger than the window, and a pipe gives what it has."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        plain = io.BytesIO()
        write_pcap(plain, Frames.of(range(len(made)), made))
        path = saved(Path(folder), plain.getvalue())
        patch.setattr(containers, "_WINDOW", window)
        if piped:
            whole = Stream.readinto
            patch.setattr(Stream, "readinto", lambda self, room: whole(self, room[:7]))
        capture = read_frames(path)
    assert capture.cut is None
    assert [capture.frames.bytes_of(row) for row in range(len(capture.frames))] == made


def test_a_record_that_claims_too_much_ends_the_reading(tmp_path: Path) -> None:
    whole = packed(1) + struct.pack("<IIII", 1, 1, 1 << 31, 60) + PING
    capture = read_frames(saved(tmp_path, whole))
    assert len(capture.frames) == 1
    assert capture.cut is not None and "damaged at byte" in capture.cut


def test_a_pipe_and_standard_input_are_read(tmp_path: Path) -> None:
    script = "from wirespeak.wire import read_frames; print(len(read_frames('-').frames))"
    for data in (packed(1, 2), gzip.compress(packed(1, 2))):
        done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
        assert done.stdout == b"2\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(packed(1, 2, 3)))
    writer.start()
    assert len(read_frames(pipe).frames) == 3
    writer.join()


def test_a_folder_stands_for_its_captures(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    first, notes = saved(tmp_path, packed(1)), saved(tmp_path, b"notes", "notes.txt")
    second = saved(tmp_path / "deep", gzip.compress(packed(2)), "no-suffix")
    assert capture_files([tmp_path]) == ([second, first], [notes])
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="folder without a capture"):
        capture_files([first, empty])


def test_whole_packets_before_a_cut_are_kept(tmp_path: Path) -> None:
    whole = io.BytesIO()
    write_pcap(whole, Frames.of([1, 2, 3], [PING] * 3))
    capture = read_frames(saved(tmp_path, whole.getvalue()[:-5]))
    assert len(capture.frames) == 2
    assert capture.cut is not None
    assert f"byte {24 + 2 * (16 + len(PING))}" in capture.cut
    assert f"last {16 + len(PING) - 5} bytes" in capture.cut


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"# notes\n", "is not a pcap, pcapng or snoop capture"),
        (b"snoop\0\0\0\0\0\0\2", "cut off or broken"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (b"\xd4\xc3\xb2\xa1\2\0", "cut off or broken"),
        (gzip.compress(b"text", mtime=0), "is not a pcap"),
        (b"\x1f\x8bnonsense", "damaged gzip"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_frames(saved(tmp_path, data))


def test_missing_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_frames(tmp_path / "none.pcap")
    with pytest.raises(InputError, match="is a folder"):
        read_frames(tmp_path)


def test_unreadable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path, b"x")
    monkeypatch.setattr(io, "FileIO", refuse)  # root may read every file, so the system cannot be asked
    with pytest.raises(InputError, match="may not be read"):
        read_frames(path)


def test_pcap_has_one_link_type() -> None:
    frames = Frames.of([1, 2], [PING, PING])
    mixed = Frames(
        frames.time_ns,
        frames.offset,
        frames.captured,
        frames.length,
        np.array([1, 101], np.uint16),
        frames.data,
    )
    with pytest.raises(OptionError, match="1, 101"):
        write_pcap(io.BytesIO(), mixed)


def test_fields_of_a_tcp_packet() -> None:
    packets = read(
        ethernet(
            ip("10.0.0.1", "10.0.0.2", 6, tcp(40000, 1883, SYN | ACK, b"hello", sequence=9)),
            tags=(7, 4095 & 12),
        )
    )
    assert packets["src"][0][12:].tolist() == [10, 0, 0, 1]
    assert packets["src_mac"][0].tobytes() == mac(1)
    fields = (
        "src_port",
        "dst_port",
        "vlan",
        "protocol",
        "tcp_flags",
        "tcp_sequence",
        "payload_bytes",
        "network_bytes",
    )
    assert [int(packets[name][0]) for name in fields] == [40000, 1883, 12, 6, SYN | ACK, 9, 5, 45]
    start = int(packets["payload_offset"][0])
    assert packets.data[start : start + 5].tobytes() == b"hello"


@pytest.mark.parametrize(
    ("link_type", "head"),
    [
        (101, b""), (12, b""), (228, b""), (0, b"\2\0\0\0"), (108, b"\0\0\0\2"),
        (113, struct.pack("!HHH8sH", 0, 1, 6, mac(3) + b"\0\0", 0x0800)),
        (276, struct.pack("!HHIHBB8s", 0x0800, 0, 1, 1, 0, 6, mac(3) + b"\0\0")),
        (9, b"\xff\3\0\x21"), (9, b"\x21"), (50, b"\0\x21"), (51, struct.pack("!BBHHH", 0x11, 0, 7, 33, 0x21)), (104, b"\x0f\0\x08\0"),
        (1, ethernet(struct.pack("!BBHHH", 0x11, 0, 7, 33, 0x21), kind=0x8864)),
        (1, ethernet(struct.pack("!II", 17 << 12, 18 << 12 | 0x100), kind=0x8847)),
        (1, ethernet(SNAP, kind=39)),
        (105, wifi(8, 1) + SNAP), (105, wifi(8, 2) + SNAP), (105, wifi(8, 3) + mac(3) + SNAP), (105, wifi(0x88, 1) + b"\0\0" + SNAP),
        (127, b"\0\0\x09\0\2\0\0\0\x20" + wifi(0x88, 1) + b"\0\0\0\0" + SNAP),
        (127, struct.pack("<BBHII4xQB", 0, 0, 25, 0x80000003, 0, 9, 0) + wifi(8, 1) + SNAP),
    ],
)  # fmt: skip
def test_link_types(link_type: int, head: bytes) -> None:
    packets = read(head + ip("10.0.0.1", "10.0.0.2", 17, udp(1, 2, b"abc")), link_type=link_type)
    assert packets["payload_bytes"].tolist() == [3]
    assert packets["has_src_mac"].tolist() == [int(link_type in (1, 105, 113, 127, 276))]
    if link_type in (105, 127):
        assert packets["src_mac"][0].tobytes() == mac(3)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (wifi(0x80, 0), "802.11 management frame"), (wifi(0xB4, 0), "802.11 control frame"), (wifi(0x48, 1), "802.11 frame without data"),
        (wifi(8, 0x41) + SNAP, "802.11 encrypted frame"), (wifi(0x88, 1) + b"\x80\0" + SNAP, "802.11 fragment or aggregate"),
        (wifi(8, 1) + b"\x42\x42\3" + bytes(9), "802.3 LLC frame"), (wifi(8, 1)[:20], "link header cut short"),
    ],
)  # fmt: skip
def test_what_802_11_carries_beside_packets_is_counted(frame: bytes, reason: str) -> None:
    assert read(frame, link_type=105).set_aside == {reason: 1}


INNER = ip("10.9.0.1", "10.9.0.2", 17, udp(7, 8, b"abc"))
INNER6 = ip("fd00::1", "fd00::2", 17, udp(7, 8, b"abc"))


@pytest.mark.parametrize(
    ("outer", "tunnel", "number"),
    [
        (ip("10.0.0.1", "10.0.0.2", 4, INNER), 1, 0), (ip("fe80::1", "fe80::2", 4, INNER), 2, 0),
        (ip("10.0.0.1", "10.0.0.2", 41, INNER6), 3, 0), (ip("fe80::1", "fe80::2", 41, INNER6), 4, 0),
        (ip("10.0.0.1", "10.0.0.2", 47, b"\0\0\x08\0" + INNER), 5, 0),
        (ip("10.0.0.1", "10.0.0.2", 47, struct.pack("!HHIII", 0xB000, 0x0800, 1, 2, 3) + INNER), 5, 0),
        (ip("10.0.0.1", "10.0.0.2", 47, struct.pack("!HHHHII", 0x3081, 0x880B, 0, 9, 1, 2) + b"\xff\3\0\x21" + INNER), 5, 0),
        (ip("10.0.0.1", "10.0.0.2", 47, b"\0\0\x65\x58" + ethernet(INNER)), 5, 0),
        (ip("10.0.0.1", "10.0.0.2", 17, udp(999, 4789, struct.pack("!II", 8 << 24, 77 << 8) + ethernet(INNER))), 6, 77),
        (ip("10.0.0.1", "10.0.0.2", 17, udp(2152, 2152, struct.pack("!BBHI", 0x30, 255, len(INNER), 5) + INNER)), 7, 0),
        (ip("10.0.0.1", "10.0.0.2", 17, udp(2152, 2152, struct.pack("!BBHIHBB", 0x34, 255, 0, 5, 0, 0, 0x85) + b"\1\0\0\0" + INNER)), 7, 0),
        (ip("10.0.0.1", "10.0.0.2", 4, ip("10.0.0.3", "10.0.0.4", 47, b"\0\0\x08\0" + INNER)), 5, 0),
    ],
)  # fmt: skip
def test_what_a_tunnel_carries_stands_for_it(outer: bytes, tunnel: int, number: int) -> None:
    kind = 0x86DD if outer[0] >> 4 == 6 else 0x0800
    packets = read(ethernet(outer, kind=kind))
    fields = ("tunnel", "tunnel_id", "src_port", "dst_port", "payload_bytes")
    assert [int(packets[name][0]) for name in fields] == [tunnel, number, 7, 8, 3]


@pytest.mark.parametrize(
    "outer",
    [
        ip("10.0.0.1", "10.0.0.2", 17, udp(999, 4789, b"\x08 not a frame")),
        ip("10.0.0.1", "10.0.0.2", 17, udp(2152, 2152, b"\x34\xff\0\x09\0\0\0\1\0\0\0\x85\0")),
        ip("10.0.0.1", "10.0.0.2", 4, INNER[:-2]),
        ip("10.0.0.1", "10.0.0.2", 47, b"\0\0\x99\x99" + INNER),
    ],
)  # fmt: skip
def test_a_tunnel_whose_inside_cannot_be_read_stands_for_itself(outer: bytes) -> None:
    packets = read(ethernet(outer))
    assert (packets["tunnel"].tolist(), packets["src"][0][12:].tolist()) == ([0], [10, 0, 0, 1])


@pytest.mark.parametrize(
    "again",
    [
        lambda inside: ip("10.0.0.1", "10.0.0.2", 4, inside), lambda inside: ip("10.0.0.1", "10.0.0.2", 47, b"\0\0\x65\x58" + ethernet(inside)),
    ],
)  # fmt: skip
def test_tunnels_in_tunnels_end_somewhere(again: Callable[[bytes], bytes]) -> None:
    whole = INNER
    for _ in range(50):
        whole = again(whole)
    assert len(read(ethernet(whole))) == 1
    stack = b"".join(bytes(2) + b"\1\0" + bytes(4) + ethernet(b"", kind=0x8847) for _ in range(50_000))
    assert read(ethernet(stack, kind=0x8847)).set_aside == {"too many tags, labels or tunnels": 1}


@pytest.mark.parametrize(
    ("frame", "link_type", "src", "dst"),
    [
        (struct.pack("<HBHHH", 0x8841, 7, 0x1AAA, 0xFFFF, 0x0001) + b"data\0\0", 195, "1aaa/0001", "1aaa/ffff"),
        (struct.pack("<HBHHHQ", 0xC801, 7, 0x1AAA, 2, 0x1BBB, 0x00124B0001020304) + b"data", 230, "1bbb/00124b0001020304", "1aaa/0002"),
        (struct.pack("<HBHH", 0x8000, 7, 0x1AAA, 2) + b"beac\0\0", 195, "1aaa/0002", "0000/-"),
        (struct.pack("<HBHHH", 0xA841, 7, 0x1AAA, 1, 2) + b"data\0\0", 195, "1aaa/0002", "1aaa/0001"),
        (struct.pack("<HQQ", 0xED01 | 0x40, 1, 2) + b"data\0\0", 195, "0000/0000000000000002", "0000/0000000000000001"),
        (b"\0\0\0\0\xa7\x20" + struct.pack("<HBHHH", 0x8841, 7, 0x1AAA, 3, 1) + b"data\0\0", 215, "1aaa/0001", "1aaa/0003"),
        (struct.pack("<BBHHHI", 0, 0, 12, 0, 1, 1) + struct.pack("<HBHHH", 0x8841, 7, 0x1AAA, 3, 1) + b"data\0\0", 283, "1aaa/0001", "1aaa/0003"),
    ],
)  # fmt: skip
def test_802_15_4_says_who_speaks_to_whom(frame: bytes, link_type: int, src: str, dst: str) -> None:
    packets = read(frame, link_type=link_type)
    row = measure(packets).row(0, named=True)
    assert (row["protocol"], row["src"], row["dst"], row["fwd_payload_bytes"]) == ("802.15.4", src, dst, 4)
    assert row["cast"] == ("broadcast" if dst.endswith("ffff") else "unicast")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [(b"\2\0\7\0\0", "802.15.4 acknowledgement"), (b"\5\x88\7" + bytes(9), "802.15.4 frame of a reserved kind")],
)  # fmt: skip
def test_802_15_4_frames_without_addresses_are_counted(frame: bytes, reason: str) -> None:
    assert read(frame, link_type=195).set_aside == {reason: 1}


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_belong_to_the_flow_of_their_first(version: int) -> None:
    """Later ones have no ports; one whose first was not seen is in no flow, and counted."""
    whole = udp(7, 8, bytes(40))

    def piece(start: int, end: int, more: bool, number: int) -> bytes:
        if version == 4:
            head = ip("10.0.0.1", "10.0.0.2", 17, whole[start:end], fragment=(more << 13) | start // 8)
            return ethernet(head[:4] + struct.pack("!H", number) + head[6:])
        head = struct.pack("!BBHI", 17, 0, start | more, number) + whole[start:end]
        return ethernet(ip("fd00::1", "fd00::2", 44, head), kind=0x86DD)

    meter = Meter()
    meter.push(
        read(piece(0, 16, True, 5), piece(16, 32, True, 5), piece(32, 48, False, 5), piece(32, 48, False, 6))
    )
    row = meter.flush().row(0, named=True)
    assert (row["src_port"], row["dst_port"], row["fwd_packets"], row["fwd_payload_bytes"]) == (7, 8, 3, 40)
    assert meter.set_aside == {"fragment whose first one is missing": 1}


def test_ipv6_extension_headers_are_walked() -> None:
    options = struct.pack("!BB6x", 60, 0) + struct.pack("!BB14x", 17, 1)
    packets = read(ethernet(ip("fe80::1", "fe80::2", 0, options + udp(546, 547, b"x")), kind=0x86DD))
    assert (packets["protocol"][0], packets["dst_port"][0], packets["payload_bytes"][0]) == (17, 547, 1)


def test_arp_and_quoted_packets() -> None:
    lost = ip("10.0.0.1", "10.0.0.2", 17, udp(5000, 9, b"x"))
    packets = read(
        ethernet(arp(2, "10.0.0.1", mac(5), "10.0.0.2", mac(6)), kind=0x0806),
        ethernet(ip("10.0.0.2", "10.0.0.1", 1, icmp(3, 3, payload=lost))),
    )
    assert (packets["protocol"][0], packets["arp_operation"][0], packets["network_bytes"][0]) == (256, 2, 28)
    assert (packets["quoted_protocol"][1], packets["quoted_src_port"][1], packets["quoted_dst_port"][1]) == (
        17,
        5000,
        9,
    )


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\0" * 9, "link header cut short"),
        (ethernet(b"", kind=0x888E), "ethertype 0x888e (EAPOL)"),
        (ethernet(b"", kind=0x9999), "ethertype 0x9999"),
        (ethernet(b"\x42\x42\3", kind=3), "802.3 LLC frame"),
        (ethernet(b"", tags=(1,) * 9), "too many tags, labels or tunnels"),
        (ethernet(b"\x55" * 20), "IP version is neither 4 nor 6"),
        (ethernet(b"\x44" + ip("1.1.1.1", "2.2.2.2", 17, b"")[1:]), "IPv4 header malformed"),
        (ethernet(ip("1.1.1.1", "2.2.2.2", 17, udp(1, 2, b"abc"))[:-1]), "IPv4 length beyond the frame"),
        (ethernet(ip("1.1.1.1", "2.2.2.2", 6, tcp(1, 2, 0)[:12] + b"\x40" + bytes(7))), "TCP header malformed"),
        (ethernet(ip("1.1.1.1", "2.2.2.2", 17, struct.pack("!HHHH", 1, 2, 99, 0))), "UDP length malformed"),
        (ethernet(ip("1.1.1.1", "2.2.2.2", 1, b"\x08")), "ICMP header malformed"),
        (ethernet(ip("fe80::1", "fe80::2", 60, b"\x06\xff" + bytes(6)), kind=0x86DD), "IPv6 extension header malformed"),
        (ethernet(b"\0\1\x86\xdd" + bytes(24), kind=0x0806), "ARP message malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_counted(frame: bytes, reason: str) -> None:
    packets = read(frame, PING)
    assert packets.set_aside == {reason: 1}
    assert len(packets) == 1


def test_a_short_snaplen_is_no_fault() -> None:
    frames = Frames.of([0], [ethernet(ip("10.0.0.1", "10.0.0.2", 17, udp(1, 2, bytes(500))))[:60]])
    whole = Frames(
        frames.time_ns,
        frames.offset,
        frames.captured,
        np.array([542], np.uint32),
        frames.link_type,
        frames.data,
    )
    packets = decode(whole)
    assert (packets["payload_bytes"][0], packets["payload_captured"][0]) == (500, 18)


@given(
    st.binary(max_size=400),
    st.sampled_from([b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(12) + b"\1\0\0\0", pcapng("<"), pcapng(">")]),
)
def test_random_bytes_end_in_frames_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, head: bytes
) -> None:
    path = saved(tmp_path_factory.mktemp("noise"), head + noise)
    try:
        decode(read_frames(path).frames)
    except WirespeakError as error:
        assert str(path) in str(error)

"""Where the fuzzers begin: inputs of every target, all made here by the project's own code."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random

from made_frames import ACK, FIN, PSH, RST, SYN, arp, ethernet, icmp, ip, mac, tcp, udp

from fuzz.targets import LINKS, TARGETS, framed
from wirespeak.data import tables
from wirespeak.data.sources import zeek
from wirespeak.data.sources.exporting import FORMATS_BY_SUFFIX, messages
from wirespeak.data.sources.logs import LOGS
from wirespeak.flow import read_flows
from wirespeak.lab.truth import TruthRow, truth_csv
from wirespeak.wire import Frames, write_pcap
from wirespeak.wire.craft import APPLICATIONS, Scene, Turn, speak
from wirespeak.wire.netflow.encode import Encoder
from wirespeak.wire.stream import zstd

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fe80::1", "fe80::2"
Timed = tuple[int, int, bytes]  # as `framed` takes them


def talks() -> Iterator[tuple[str, list[Timed]]]:
    """A short conversation of every application."""
    for name, kind in APPLICATIONS.items():
        if kind.protocol not in ("tcp", "udp"):
            continue
        turns = tuple(Turn(number % 2 == 0, 40 + 60 * (number % 3)) for number in range(4))
        said = speak(name, Scene(turns, A, B, mac(1), "sensor.example", B, 1.7e9, "fin", Random(name)))
        port = kind.port or 4444
        if kind.protocol == "udp":
            yield (
                name,
                [
                    (3, 0, _from(i % 2, 17, udp(*_ports(i % 2, port), payload[:900])))
                    for i, payload in enumerate(said)
                ],
            )
            continue
        frames = [(0, SYN, b""), (1, SYN | ACK, b""), (0, ACK, b"")]
        frames += [(i % 2, ACK | PSH, payload[:900]) for i, payload in enumerate(said)]
        frames += [(0, FIN | ACK, b""), (1, FIN | ACK, b""), (1, RST, b"")]
        sent, timed = [0, 0], list[Timed]()
        for side, flags, payload in frames:
            segment = tcp(*_ports(side, port), flags, payload, sequence=sent[side])
            timed.append((2, 0, _from(side, 6, segment)))
            sent[side] += len(payload) + bool(flags & (SYN | FIN))
        yield name, timed


def _ports(side: int, port: int) -> tuple[int, int]:
    return (port, 40_000) if side else (40_000, port)


def _from(side: int, protocol: int, payload: bytes) -> bytes:
    pair, macs = ((B, A), (mac(2), mac(1))) if side else ((A, B), (mac(1), mac(2)))
    return ethernet(ip(*pair, protocol, payload), src=macs[0], dst=macs[1])


def links() -> Iterator[tuple[int, list[bytes]]]:
    """Frames of every link type, and of what may lie around a packet."""
    datagram = ip(A, B, 17, udp(5353, 5353, b"x" * 20))
    v6 = ip(A6, B6, 17, udp(1, 2, b"y"))
    snap = bytes.fromhex("aaaa03000000")
    wifi = bytes([0x08, 1, 0, 0]) + mac(1) + mac(2) + mac(3) + bytes(2) + snap + b"\x08\x00" + datagram
    quality = (
        bytes([0x88, 3, 0, 0])
        + mac(1)
        + mac(2)
        + mac(3)
        + bytes(2)
        + mac(4)
        + bytes(2)
        + snap
        + b"\x08\x00"
        + datagram
    )
    pan = struct.pack("<HBHHH", 0x8841, 7, 0xABCD, 0xFFFF, 0x0001) + b"payload" + b"\0\0"
    yield 0, [struct.pack("<I", 2) + datagram, struct.pack(">I", 30) + v6]
    yield 9, [b"\xff\x03\x00\x21" + datagram, b"\x57" + v6]
    yield 50, [b"\xff\x03\x00\x21" + datagram]
    yield 51, [bytes([0x11, 0, 0, 1, 0, 40, 0, 0x21]) + datagram]
    yield 101, [datagram, v6]
    yield 104, [b"\x0f\x00\x08\x00" + datagram]
    yield 105, [wifi, quality]
    yield 108, [struct.pack(">I", 2) + datagram]
    yield 113, [struct.pack(">HHH", 0, 1, 6) + mac(1) + bytes(2) + b"\x08\x00" + datagram]
    yield (
        127,
        [struct.pack("<BBHI", 0, 0, 8, 0) + wifi, struct.pack("<BBHIQBx", 0, 0, 18, 3, 9, 0x20) + quality],
    )
    for link in (195, 230):
        yield link, [pan]
    yield 215, [bytes(6) + pan]
    yield 228, [datagram]
    yield 229, [v6]
    yield 276, [struct.pack(">HHIHBB", 0x0800, 0, 1, 1, 0, 6) + mac(1) + bytes(2) + datagram]
    yield 283, [struct.pack("<BBHHHBxxx", 0, 0, 12, 0, 1, 1) + pan]
    inner = ethernet(datagram)
    around = [
        ip(A, B, 4, datagram), ip(A, B, 41, v6), ip(A6, B6, 4, datagram), ip(A6, B6, 41, v6),
        ip(A, B, 47, b"\0\0\x08\x00" + datagram), ip(A, B, 47, b"\0\0\x65\x58" + inner),
        ip(A, B, 47, bytes.fromhex("3081880b00280001000000010000000200") + b"\x21" + datagram),
        ip(A, B, 17, udp(9, 4789, b"\x08\0\0\0\0\0\x05\0" + inner)),
        ip(A, B, 17, udp(9, 2152, b"\x30\xff\0\x30\0\0\0\x01" + datagram)),
        ip(A, B, 17, udp(9, 2152, b"\x34\xff\0\x30\0\0\0\x01\0\0\0\x85\x01\0\0\0" + datagram)),
        ip(A, B, 17, udp(1, 2, b"z" * 16), fragment=0x2000), ip(A, B, 17, b"later piece", fragment=2),
        ip(A, B, 1, icmp(8, identifier=5)), ip(B, A, 1, icmp(0, identifier=5)),
        ip(B, A, 1, icmp(3, 3, payload=datagram[:28])), ip(A, B, 132, b"sctp" * 4 + b"\0\3\0\x14" + bytes(16)),
    ]  # fmt: skip
    extended = ip(
        A6,
        B6,
        0,
        bytes([44, 0]) + bytes(6) + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + udp(1, 2, b"first piece of many"),
    )
    yield (
        1,
        [ethernet(each, kind=0x86DD if each[0] >> 4 == 6 else 0x0800) for each in [*around, v6, extended]],
    )
    yield 1, [
        ethernet(datagram, tags=(5, 7)), ethernet(b"\0\0\x11\xff" + datagram, kind=0x8847),
        ethernet(b"\0\0\x11\xff" + bytes(4) + inner, kind=0x8847), ethernet(bytes(6) + b"\0\x21" + datagram, kind=0x8864),
        ethernet(snap + b"\x08\x00" + datagram, kind=8 + len(datagram)), ethernet(arp(1, A, mac(1), B), kind=0x0806),
        ethernet(arp(2, B, mac(2), A, mac(1)), kind=0x0806), ethernet(arp(2, B, mac(9), A, mac(1)), kind=0x0806),
        ethernet(b"", kind=0x88CC),
    ]  # fmt: skip


def pcap(frames: list[Timed], link: int = 1, *, nanoseconds: bool = True) -> bytes:
    out = io.BytesIO()
    made = Frames.of(
        [10**18 + i * 10**6 for i in range(len(frames))], [frame for *_, frame in frames], link_type=link
    )
    write_pcap(out, made, nanoseconds=nanoseconds)
    return out.getvalue()


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of pcapng."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """An option of a block of pcapng."""
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", size: int = -1) -> bytes:
    """The block that begins a section of pcapng."""
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, size), order)


def interface(order: str = "<", *, link: int = 1, snap: int = 0, options: bytes = b"") -> bytes:
    """The block that describes an interface."""
    return block(1, struct.pack(f"{order}HHI", link, 0, snap) + options, order)


def enhanced(frame: bytes, order: str = "<", *, number: int = 0, ticks: int = 0) -> bytes:
    """A packet of an interface."""
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def pcapng(frames: list[bytes], order: str = "<") -> bytes:
    """Two sections; interfaces with their own resolution and offset; enhanced, simple and old packet blocks."""
    fine = (
        option(9, b"\x89", order) + option(14, struct.pack(f"{order}q", 1_000), order) + option(0, b"", order)
    )
    found = section(order) + interface(order) + interface(order, snap=96, options=fine)
    for number, frame in enumerate(frames):
        found += enhanced(frame, order, number=number % 2, ticks=number)
    size = len(frames[0])
    found += block(3, struct.pack(f"{order}I", size) + frames[0], order)
    found += block(2, struct.pack(f"{order}HHIIII", 0, 0, 400, 9, size, size) + frames[0], order)
    return found + block(5, bytes(8), order) + section(order) + interface(order) + enhanced(bytes(14), order)


def snoop(frames: list[bytes]) -> bytes:
    found = b"snoop\0\0\0" + struct.pack(">II", 2, 4)
    for number, frame in enumerate(frames):
        padding = -len(frame) % 4
        found += (
            struct.pack(">IIIIII", len(frame), len(frame), 24 + len(frame) + padding, 0, 1_000, number)
            + frame
            + bytes(padding)
        )
    return found


def made_captures() -> Iterator[bytes]:
    """Captures in every container and order of bytes, of every link type."""
    every = list(talks())
    for _, frames in every:
        yield pcap(frames)
    for link, frames in links():
        yield pcap([(0, 0, frame) for frame in frames], link)
    short = [frame for _, _, frame in every[0][1]][:6]
    yield pcapng(short)
    yield pcapng(short, ">")
    yield snoop(short)
    yield pcap(every[0][1][:3], nanoseconds=False)
    size = len(short[0])
    head = struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    yield head + struct.pack(">IIII", 9, 9, size, size) + short[0]
    head = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    yield head + struct.pack("<IIII", 9, 9, size, size) + bytes(8) + short[0]


def made_packets() -> Iterator[bytes]:
    for _, frames in talks():
        yield framed(frames, 1)
    for link, frames in links():
        yield framed([(3, 0, frame[:1023]) for frame in frames], link)
    cut = [(4, eighth, frame) for eighth, (_, _, frame) in enumerate(next(talks())[1][:8])]
    yield framed(cut, 1)
    slow = [
        (step, 0, _from(i % 2, 6, tcp(*_ports(i % 2, 80), ACK, b"abc", sequence=i)))
        for i, step in enumerate((4, 5, 6, 7, 6, 6, 6, 6))
    ]
    yield framed(slow, 1)
    assert len(LINKS) == len({link for link, _ in links()}), "a link type has no seed"


def made_packed() -> Iterator[bytes]:
    plain = pcap(next(talks())[1])
    yield plain
    yield gzip.compress(plain, mtime=0)
    yield gzip.compress(plain[:200], mtime=0) + gzip.compress(plain[200:], mtime=0)
    yield gzip.compress(plain, mtime=0) + b"rest"
    yield gzip.compress(plain, mtime=0)[:-9]
    yield zstd.compress(plain)
    yield zstd.compress(plain[:99]) + zstd.compress(plain[99:])
    yield gzip.compress(bytes(1 << 20), mtime=0)
    yield zstd.compress(bytes(1 << 20))


def made_tables() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "made.pcap"
        capture.write_bytes(
            pcap(next(talks())[1] + [(0, 0, frame) for _, frames in links() for frame in frames][-9:])
        )
        flows = read_flows(capture).flows
        for number, suffix in enumerate(tables.SUFFIXES):
            path = Path(folder) / f"made{suffix}"
            tables.write(flows.head(3), path)
            yield bytes([number]) + path.read_bytes()


def made_datasets() -> Iterator[bytes]:
    row = ",".join(["0", "tcp", "http", "SF", *["0"] * 37, "normal", "20"]) + "\n"
    yield b"\0" + row.encode() * 3
    yield b"\2" + gzip.compress(row.encode(), mtime=0)


def made_truths() -> Iterator[bytes]:
    rows = [
        TruthRow(1, 9, "flood.syn", A, B, 80),
        TruthRow(1, 9, "recon.sweep", "!10.0.0.0/24", "*"),
        TruthRow(0, 9, "spoof", "02:00:00:00:00:01!10.0.0.9", A),
    ]
    yield truth_csv(rows).encode()
    yield truth_csv(rows[:1]).encode()


_WRITTEN = {
    "suricata": [
        '{"timestamp":"2024-01-01T00:00:01.5+0000","flow_id":1,"event_type":"dns","dns":{"type":"query","rrname":"a.example","rrtype":"A"}}',
        '{"timestamp":"2024-01-01T00:00:02.5+0000","flow_id":1,"event_type":"flow","src_ip":"10.0.0.1","src_port":4000,'
        '"dest_ip":"10.0.0.2","dest_port":53,"proto":"UDP","app_proto":"dns","flow":{"pkts_toserver":1,"pkts_toclient":1,'
        '"bytes_toserver":60,"bytes_toclient":90,"start":"2024-01-01T00:00:01.0+0000","end":"2024-01-01T00:00:02.0+0000",'
        '"state":"established","reason":"timeout"}}',
    ],
    "argus": [
        "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label",
        "2024/01/01 09:46:53.047277,1.5,udp,10.0.0.9,49770,  <->,10.0.0.1,53,CON,0,0,2,135,61,x",
        "2024/01/01 09:46:54.000000,0.0,icmp,10.0.0.9,0x0303,   ->,10.0.0.1,0x45b2,URP,0,,1,110,110,x",
    ],
    "joy": [
        '{"sa":"10.0.0.1","da":"10.0.0.2","pr":6,"sp":4000,"dp":80,"bytes_out":10,"num_pkts_out":2,"bytes_in":20,"num_pkts_in":1,'
        '"time_start":1700000000.5,"time_end":1700000001.5,"packets":[{"b":10,"dir":">","ipt":0},{"b":20,"dir":"<","ipt":5}]}',
    ],
    "wireshark": [
        '"No.","Time","Source","Destination","Protocol","Length","Info"',
        '"1","0.000000","10.0.0.1","10.0.0.2","TCP","74","4000 > 80 [SYN] Seq=0 Win=64240 Len=0 MSS=1460"',
        '"2","0.010000","10.0.0.2","10.0.0.1","TCP","74","80 > 4000 [SYN, ACK] Seq=0 Ack=1 Win=65160 Len=0"',
    ],
    "nfdump": [
        "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das,smk,dmk,dtos,dir,nh,nhb,svln,dvln,ismc,odmc,idmc,osmc",
        "2024-01-01 00:00:01,2024-01-01 00:00:02,1.0,10.0.0.1,10.0.0.2,4000,80,TCP,...AP.SF,0,0,5,500,0,0,0,0,0,0,0,0,0,0,0.0.0.0,"
        "0.0.0.0,0,0,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00",
    ],
}  # fmt: skip


def made_logs() -> Iterator[bytes]:
    """One of each format and more, led by its number."""
    number = {name: bytes([at]) for at, name in enumerate(LOGS)}
    for name, lines in _WRITTEN.items():
        yield number[name] + "\n".join(lines).encode() + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conn.log"
        capture = Path(folder) / "made.pcap"
        capture.write_bytes(pcap(next(talks())[1]))
        flows = read_flows(capture).flows
        zeek.write(zeek.view(flows), path)
        yield number["zeek"] + path.read_bytes()
    yield (
        number["zeek"]
        + b'{"ts":1700000000.5,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":2,"proto":"udp"}\n'
    )
    for form in FORMATS_BY_SUFFIX.values():
        yield number["netflow"] + b"".join(messages(iter([flows]), Encoder(form)))


def made_anonymised() -> Iterator[bytes]:
    for at, capture in enumerate(made_captures()):
        yield bytes([at % 3]) + capture


MADE: dict[str, Callable[[], Iterator[bytes]]] = {
    "captures": made_captures, "packets": made_packets, "flows": made_captures, "packed": made_packed,
    "flow_tables": made_tables, "datasets": made_datasets, "truths": made_truths, "logs": made_logs,
    "anonymised": made_anonymised,
}  # fmt: skip


def write_seeds(name: str, folder: Path) -> None:
    """The seeds of a target as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    assert MADE.keys() == TARGETS.keys(), "a target has no seeds"
    for number, data in zip(count(), MADE[name]()):
        (folder / f"seed-{number:03}").write_bytes(data)

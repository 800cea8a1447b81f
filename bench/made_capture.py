"""A capture to measure with: TCP and UDP flows of twelve packets with valid lengths, sequence numbers and checksums.

    python bench/made_capture.py OUT.pcap [FLOWS] [COPIES]

Handshake, data both ways and FIN over TCP to 80, 443, 1883 and 22; data over UDP to 53 and 5683; 83 flows begin each second. A copy is
the same flows later, so that a capture of any size takes little memory to write. `-` writes to standard output. The same
arguments give the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

PACKETS = 12
FLOWS_PER_S, PACKETS_PER_S = 50_000 / 600, 20.0
START = 1_700_000_000
HEAD = np.array([0xA1B2C3D4, 0x00040002, 0, 0, 65535, 1], "<u4").tobytes()
FILLER = np.tile(np.arange(65, 91, dtype=np.uint8), 20)
SYN, ACK, FIN, PSH = 2, 16, 1, 8
Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


def _folded(total: Numbers) -> Numbers:
    for _ in range(3):
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _filler_sums() -> Numbers:
    """The sum of 16-bit words of the first n bytes of the filler, an odd one padded with zero."""
    weight = np.where(np.arange(len(FILLER)) % 2 == 0, 256, 1)
    return np.concatenate([[0], np.cumsum(FILLER.astype(np.int64) * weight)])


def _put(rows: Bytes, at: int, values: Numbers, size: int) -> None:
    """Write numbers into columns, in the network's byte order."""
    for i in range(size):
        rows[:, at + i] = values >> (8 * (size - 1 - i)) & 255


def _words(rows: Bytes, start: int, stop: int) -> Numbers:
    return (rows[:, start:stop:2].astype(np.int64) * 256 + rows[:, start + 1 : stop : 2]).sum(axis=1)


def records(flows: int, seed: int = 1) -> tuple[Bytes, Numbers]:
    """All records of one copy, one after the other, and where each begins; times count from 0."""
    random = np.random.default_rng(seed)
    count = flows * PACKETS
    flow = np.repeat(np.arange(flows), PACKETS)
    place = np.tile(np.arange(PACKETS), flows)
    gaps = random.exponential(1 / PACKETS_PER_S, (flows, PACKETS))
    gaps[:, 0] = 0
    time = (np.arange(flows)[:, None] / FLOWS_PER_S + gaps.cumsum(axis=1)).ravel()
    ports = random.choice([80, 443, 1883, 53, 5683, 22], flows)
    tcp = ~np.isin(ports, (53, 5683))[flow]
    client = (10 << 24) | random.integers(1 << 16, 250 << 16, flows)
    server = (192 << 24) | (168 << 16) | random.integers(1, 1 << 16, flows)
    client_port = random.integers(1024, 65535, flows)
    back = np.where(place == 1, 1, np.where(place <= 2, 0, place % 2)).astype(bool)
    flags = np.select(
        [place == 0, place == 1, place == 2, place >= PACKETS - 2],
        [SYN, SYN | ACK, ACK, ACK | FIN],
        ACK | PSH,
    )
    size = np.where(tcp & (flags != ACK | PSH), 0, random.integers(1, 400, count))
    spent = np.where(tcp, size + ((flags & (SYN | FIN)) != 0), 0).reshape(flows, PACKETS)
    first = random.integers(0, 1 << 31, (flows, 2))
    sides = back.reshape(flows, PACKETS)
    sent = [np.where(sides == side, spent, 0) for side in (False, True)]
    before = [part.cumsum(axis=1) - part + first[:, [i]] for i, part in enumerate(sent)]
    sequence = np.where(sides, before[1], before[0]).ravel()
    answered = np.where(place == 0, 0, np.where(sides, before[0], before[1]).ravel())

    order = np.argsort(time, kind="stable")
    flow, place, tcp, back, flags, size = (part[order] for part in (flow, place, tcp, back, flags, size))
    time, sequence, answered = time[order], sequence[order], answered[order]
    transport = np.where(tcp, 20, 8)
    length = 20 + transport + size
    rows = np.zeros((count, 16 + 14 + 40), np.uint8)
    micros = (time * 1e6).astype(np.int64)
    rows[:, :16] = (
        np.stack([micros // 1_000_000, micros % 1_000_000, length + 14, length + 14], axis=1)
        .astype("<u4")
        .view(np.uint8)
        .reshape(count, 16)
    )
    rows[:, 16:30] = np.frombuffer(b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0", np.uint8)
    src, dst = np.where(back, server[flow], client[flow]), np.where(back, client[flow], server[flow])
    src_port, dst_port = (
        np.where(back, ports[flow], client_port[flow]),
        np.where(back, client_port[flow], ports[flow]),
    )
    rows[:, 30] = 0x45
    rows[:, 38], rows[:, 39] = 64, np.where(tcp, 6, 17)
    for at, values, width in (
        (32, length, 2),
        (34, place, 2),
        (42, src, 4),
        (46, dst, 4),
        (50, src_port, 2),
        (52, dst_port, 2),
    ):
        _put(rows, at, values, width)
    _put(rows, 40, _folded(_words(rows, 30, 50)), 2)
    datagram = rows[~tcp]
    _put(datagram, 54, 8 + size[~tcp], 2)
    rows[~tcp] = datagram
    segment = rows[tcp]
    _put(segment, 54, sequence[tcp], 4)
    _put(segment, 58, answered[tcp], 4)
    segment[:, 62], segment[:, 63] = 0x50, flags[tcp]
    _put(segment, 64, np.full(len(segment), 8192), 2)
    pseudo = _words(segment, 42, 50) + 6 + 20 + size[tcp]
    _put(segment, 66, _folded(pseudo + _words(segment, 50, 70) + _filler_sums()[size[tcp]]), 2)
    rows[tcp] = segment

    begins = np.concatenate([[0], np.cumsum(length + 30)])
    whole = np.empty(begins[-1], np.uint8)
    for start in range(0, count, 1 << 16):
        part = slice(start, start + (1 << 16))
        heads, at = (50 + transport)[part], begins[:-1][part]
        for head in (58, 70):
            these = heads == head
            whole[at[these][:, None] + np.arange(head)] = rows[part][these][:, :head]
        sizes = size[part]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        whole[np.repeat(at + heads, sizes) + within] = FILLER[within]
    return whole, begins[:-1]


def pieces(flows: int, copies: int = 1, seed: int = 1) -> Iterator[bytes]:
    """The capture, piece by piece."""
    whole, begins = records(flows, seed)
    seconds = whole[begins[:, None] + np.arange(4)].view("<u4").ravel()
    last = int(seconds.max()) + 1
    yield HEAD
    for copy in range(copies):
        moved = (seconds + START + copy * last).astype("<u4")
        whole[begins[:, None] + np.arange(4)] = moved.view(np.uint8).reshape(-1, 4)
        yield whole.tobytes()


def write(target: BinaryIO, flows: int, copies: int = 1) -> None:
    """Write it all."""
    for piece in pieces(flows, copies):
        target.write(piece)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    numbers = [int(word) for word in sys.argv[2:4]] or [50_000]
    if sys.argv[1] == "-":
        write(sys.stdout.buffer, *numbers)
        return
    with Path(sys.argv[1]).open("wb") as file:
        write(file, *numbers)


if __name__ == "__main__":
    main()

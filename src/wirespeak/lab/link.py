"""Carry frames between two interfaces with the delay, jitter and loss of radio or of the Internet.

A veth cable answers in 20 microseconds; a bulb on Wi-Fi answers in milliseconds and a cloud in tens of them.
`tc netem` is not in every kernel, so one small process forwards the frames of all delaying links. Order
is kept on each link.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import sys
import time
import zlib
from dataclasses import dataclass
from random import Random

_IGNORE_OUTGOING = 23  # PACKET_IGNORE_OUTGOING, linux/if_packet.h
_SOL_PACKET = 263
_ALL = 0x0003  # ETH_P_ALL


@dataclass(frozen=True)
class Link:
    """Two interfaces of this namespace to join. `by_address`: range of latencies, one for each far IPv4 address."""

    a: str
    b: str
    latency_ms: float
    loss: float
    by_address: tuple[float, float] | None = None

    def to_line(self) -> str:
        """One line of text, read back by `from_line`."""
        low, high = self.by_address or (-1, -1)
        return f"{self.a} {self.b} {self.latency_ms} {self.loss} {low} {high}"

    @classmethod
    def from_line(cls, line: str) -> Link:
        """The link a line describes."""
        a, b, latency, loss, low, high = line.split()
        return cls(a, b, float(latency), float(loss), (float(low), float(high)) if float(low) >= 0 else None)


def _open(name: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind((name, _ALL))
    opened.setblocking(False)
    return opened


def _far_latency_s(frame: bytes, offset: int, span: tuple[float, float]) -> float:
    """One way to the address at `offset`: always the same for the same address."""
    if frame[12:14] != b"\x08\x00":
        return span[0] / 1000
    share = zlib.crc32(frame[offset : offset + 4]) / 2**32
    return (span[0] + (span[1] - span[0]) * share * share) / 1000


def carry(links: list[Link], *, seed: int = 1) -> None:
    """Forward frames for ever. Needs the right to open packet sockets."""
    random = Random(seed)
    selector = selectors.DefaultSelector()
    for link in links:
        one, other = _open(link.a), _open(link.b)
        selector.register(one, selectors.EVENT_READ, (link, other, 30))
        selector.register(other, selectors.EVENT_READ, (link, one, 26))
    last_due: dict[int, float] = {}
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(timeout):
            link, out, offset = key.data
            now = time.monotonic()
            for _ in range(64):
                try:
                    frame = key.fileobj.recv(65535)  # type: ignore[union-attr]
                except BlockingIOError:
                    break
                if random.random() < link.loss:
                    continue
                delay = (
                    _far_latency_s(frame, offset, link.by_address)
                    if link.by_address
                    else link.latency_ms / 1000
                )
                due = max(last_due.get(out.fileno(), 0.0), now + delay * random.lognormvariate(0, 0.25))
                last_due[out.fileno()] = due
                number += 1
                heapq.heappush(waiting, (due, number, out, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, out, frame = heapq.heappop(waiting)
            try:
                out.send(frame)
            except OSError:
                continue  # a full queue or an oversized frame is a lost frame, as on a real link


if __name__ == "__main__":
    carry([Link.from_line(line) for line in sys.stdin.read().splitlines()])

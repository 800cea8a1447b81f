"""Frames to packets: the headers of Ethernet, raw IP, loopback and Linux cooked captures, VLAN, ARP, IPv4,
IPv6, TCP, UDP and ICMP, as one table.

The fields of a packet are declared once, in `_native/native.h` (`PACKET_FIELDS`).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak.wire.containers import Frames

# As `enum reason` in headers.c; the first three name the number they met.
REASONS = (
    "", "link type {}", "ethertype 0x{:04x}", "802.3 LLC frame", "link header cut short", "more than 8 VLAN tags",
    "IP version is neither 4 nor 6", "IPv4 header malformed", "IPv4 length beyond the frame", "IPv6 header malformed",
    "IPv6 length beyond the frame", "IPv6 extension header malformed", "fragment", "TCP header malformed",
    "UDP length malformed", "ICMP header malformed", "ARP message malformed", "headers not captured",
)  # fmt: skip
LINK_TYPES = {
    0: "null", 1: "Ethernet", 12: "raw IP", 14: "raw IP", 101: "raw IP", 108: "loop", 113: "Linux cooked",
    228: "IPv4", 229: "IPv6", 276: "Linux cooked v2",
}  # fmt: skip


@dataclass(frozen=True)
class Packets:
    """Decoded packets.

    rows: a structured array, one row a packet (`packets["dst_port"]` is a column); data: the capture's bytes,
    in which `payload_offset` points; set_aside: how many frames could not be read, by reason.
    """

    rows: NDArray[np.void]
    data: NDArray[np.uint8]
    set_aside: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.rows[column]

    def slice(self, start: int, stop: int) -> Packets:
        """The packets from `start` to before `stop`; nothing of what was set aside."""
        return Packets(self.rows[start:stop], self.data, {})


def decode(frames: Frames) -> Packets:
    """The packets of the frames, in order; frames that hold none are counted by reason, never dropped in silence."""
    rows = np.empty(len(frames), _native.row_type("packets"))
    reasons = np.empty(len(frames), np.uint8)
    details = np.empty(len(frames), np.uint16)
    count = _native.library().wirespeak_decode(
        _native.address(frames.data), len(frames.data), ctypes.byref(frames.native()),
        _native.address(rows), _native.address(reasons), _native.address(details),
    )  # fmt: skip
    return Packets(rows[:count], frames.data, _count_reasons(reasons, details))


def _count_reasons(reasons: NDArray[np.uint8], details: NDArray[np.uint16]) -> dict[str, int]:
    set_aside: dict[str, int] = {}
    aside = reasons > 0
    pairs, counts = np.unique(np.stack([reasons[aside], details[aside]], axis=1), axis=0, return_counts=True)
    for (reason, detail), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        name = REASONS[reason].format(detail)
        set_aside[name] = set_aside.get(name, 0) + count
    return set_aside

"""Frames to packets: link, network and transport headers as one table; what is in a tunnel stands for the tunnel.

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

# As `enum reason` in headers.c; those with a brace name the number they met.
REASONS = (
    "", "link type {}", "ethertype {}", "802.3 LLC frame", "link header cut short", "too many tags, labels or tunnels",
    "IP version is neither 4 nor 6", "IPv4 header malformed", "IPv4 length beyond the frame", "IPv6 header malformed",
    "IPv6 length beyond the frame", "IPv6 extension header malformed", "TCP header malformed", "UDP length malformed",
    "ICMP header malformed", "ARP message malformed", "headers not captured", "PPP protocol {}", "802.11 management frame",
    "802.11 control frame", "802.11 frame without data", "802.11 encrypted frame", "802.11 fragment or aggregate",
    "802.15.4 acknowledgement", "802.15.4 frame of a reserved kind", "SCTP header malformed",
)  # fmt: skip
LINK_TYPES = {
    0: "null", 1: "Ethernet", 9: "PPP", 12: "raw IP", 14: "raw IP", 50: "PPP in HDLC", 51: "PPPoE", 101: "raw IP", 104: "Cisco HDLC",
    105: "802.11", 108: "loop", 113: "Linux cooked", 127: "802.11 with radiotap", 195: "802.15.4", 215: "802.15.4 with its preamble",
    228: "IPv4", 229: "IPv6", 230: "802.15.4 without check sequence", 276: "Linux cooked v2", 283: "802.15.4 TAP",
}  # fmt: skip
"""Link types that are read, as tcpdump.org numbers them."""
OTHER_LINK_TYPES = {
    3: "AX.25", 6: "802.5 token ring", 7: "ARCNET", 8: "SLIP", 10: "FDDI", 107: "frame relay", 114: "LocalTalk", 119: "Prism",
    120: "Aironet", 122: "IP over fibre channel", 123: "SunATM", 129: "ARCNET on Linux", 138: "IP over FireWire", 140: "MTP2",
    141: "MTP3", 142: "SCCP", 143: "DOCSIS", 144: "IrDA", 163: "AVS", 165: "BACnet MS/TP", 177: "LAPD", 187: "Bluetooth HCI",
    189: "USB", 190: "CAN 2.0b", 192: "PPI", 197: "ERF", 201: "Bluetooth HCI with direction", 209: "I2C", 212: "LIN", 220: "USB on Linux",
    224: "802.16", 227: "CAN", 235: "DVB-CI", 239: "netfilter log", 240: "Netanalyzer", 247: "InfiniBand", 248: "SCTP",
    249: "USBPcap", 251: "Bluetooth low energy", 253: "netlink", 256: "Bluetooth low energy with its radio", 266: "USB 2.0", 272: "nRF Sniffer",
    278: "OpenVizsla", 285: "Zigbee", 288: "USB 2.0", 292: "Z-Wave", 293: "Z-Wave", 295: "Sitara", 298: "LoRaTap",
}  # fmt: skip
ETHERTYPES = {
    0x0842: "Wake-on-LAN", 0x22EA: "stream reservation", 0x22F0: "AVTP", 0x6002: "DEC MOP", 0x8035: "RARP", 0x809B: "AppleTalk",
    0x80F3: "AppleTalk ARP", 0x8137: "IPX", 0x8808: "Ethernet flow control", 0x8809: "slow protocols", 0x8863: "PPPoE discovery",
    0x886C: "HomePNA", 0x886D: "Intel ANS", 0x887B: "HomePlug 1.0", 0x888E: "EAPOL", 0x8892: "PROFINET", 0x8899: "Realtek",
    0x889A: "HyperSCSI", 0x88A2: "ATA over Ethernet", 0x88A4: "EtherCAT", 0x88AB: "POWERLINK", 0x88B5: "local experiment",
    0x88B8: "GOOSE", 0x88B9: "GSE", 0x88BA: "sampled values", 0x88CC: "LLDP", 0x88CD: "SERCOS III", 0x88E1: "HomePlug AV",
    0x88E3: "MRP", 0x88E5: "MACsec", 0x88F7: "PTP", 0x88FB: "PRP", 0x8902: "CFM", 0x8906: "FCoE", 0x893A: "1905.1", 0x9000: "loopback",
}  # fmt: skip
"""Kinds of frames that are in no flow, by the names they are counted under (IEEE registration authority)."""


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
    return Packets(rows[:count], frames.data, count_reasons(reasons, details))


def count_reasons(reasons: NDArray[np.uint8], details: NDArray[np.uint16]) -> dict[str, int]:
    """How many frames were set aside, by reason, from the codes that C gave each."""
    if not reasons.any():
        return {}
    set_aside: dict[str, int] = {}
    aside = reasons > 0
    pairs, counts = np.unique(np.stack([reasons[aside], details[aside]], axis=1), axis=0, return_counts=True)
    for (reason, detail), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        name = REASONS[reason].format(_detail(REASONS[reason], detail))
        set_aside[name] = set_aside.get(name, 0) + count
    return set_aside


def _detail(reason: str, number: int) -> str:
    """The number that a reason names, and what it stands for where that is known."""
    if reason.startswith("link"):
        name, text = LINK_TYPES.get(number) or OTHER_LINK_TYPES.get(number), str(number)
    else:
        name, text = ETHERTYPES.get(number) if reason.startswith("ethertype") else None, f"0x{number:04x}"
    return f"{text} ({name})" if name else text

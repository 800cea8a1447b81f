"""What one host of a recording did: its packets as conversations with roles, sizes and absolute times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import numpy as np

from wirespeak.wire import Packets
from wirespeak.wire.craft import APPLICATIONS

IDLE_S = 60.0
ASKING_S = 1.5  # unanswered ARP questions closer than this are one conversation
_BURST_S = 0.2  # a full segment and what follows it within this time are one message
_FULL_SEGMENT = 1000
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_ARP, _ICMP, _TCP, _UDP = 256, 1, 6, 17
_ECHO_REPLY, _UNREACHABLE, _ECHO = 0, 3, 8
_HTTP = (b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI")
_BY_PORT: dict[tuple[str, int | None], str] = {
    (kind.protocol, kind.port): name for name, kind in APPLICATIONS.items() if kind.port
}
# Hosts beyond the gateway are numbered as they appear, name servers and clocks apart from all others.
_FAR_ROLES = {"dns": "resolver", "ntp": "clock"}
_MOST_FAR = 9
_LEAST_STUN = 20


@dataclass(frozen=True)
class Neighbour:
    """A row of hosts.csv: a host and the role it plays in others' lives."""

    address: str
    mac: str
    role: str


@dataclass
class Talk:
    """One conversation of the host. times are seconds since the capture began.

    begun: whether its start was seen; a TCP connection open before the capture is not.
    """

    start_s: float
    peer: str
    role: str
    protocol: int
    port: int | None
    by_device: bool
    begun: bool = True
    spoofed: bool = False
    application: str = ""
    messages: list[tuple[float, bool, int]] = field(default_factory=list)
    end: str = "left"
    end_s: float = 0.0
    last_s: float = 0.0
    _expected: dict[bool, int] = field(default_factory=dict)
    _full: bool = False

    def name_application(self) -> str:
        """The application, by its port where no payload told it."""
        return self.application or _BY_PORT.get(("tcp", self.port), "tcp")

    def say(self, time_s: float, outward: bool, size: int) -> None:
        """Add a packet's payload: to the message before it where that was a full segment, else as a new one."""
        joins = (
            self._full
            and self.messages
            and self.messages[-1][1] == outward
            and time_s - self.last_s < _BURST_S
        )
        if joins and self.protocol == _TCP:
            start_s, _, so_far = self.messages[-1]
            self.messages[-1] = (start_s, outward, so_far + size)
        else:
            self.messages.append((time_s, outward, size))
        self._full = size >= _FULL_SEGMENT
        self.last_s = time_s

    def is_new(self, outward: bool, sequence: int, size: int) -> bool:
        """Whether a TCP segment brings bytes not seen before (serial arithmetic, RFC 9293 section 3.4)."""
        expected = self._expected.get(outward)
        behind = expected is not None and (sequence + size - expected - 1) & 0xFFFFFFFF >= 0x7FFFFFFF
        if not behind:
            self._expected[outward] = (sequence + size) & 0xFFFFFFFF
        return not behind


class Recorded:
    """Collects the talks of one host from packets in the order of time."""

    def __init__(self, address: str, mac: str, neighbours: Iterable[Neighbour], link: IPv4Network) -> None:
        self._address = int(IPv4Address(address))
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._link = link
        self._roles = {int(IPv4Address(each.address)): each.role for each in neighbours}
        self._far: dict[str, dict[int, str]] = {}
        self._live: dict[tuple[int, ...], Talk] = {}
        self.talks: list[Talk] = []
        self.left_out: Counter[str] = Counter()

    def read(self, packets: Packets, start_ns: int) -> None:
        """Add every packet the host sent or got."""
        rows = packets.rows
        mine = (rows["src_mac"] == np.frombuffer(self._mac, np.uint8)).all(axis=1)
        to_me = (rows["dst_mac"] == np.frombuffer(self._mac, np.uint8)).all(axis=1)
        asks_me = (rows["protocol"] == _ARP) & (_numbers(rows["dst"]) == self._address)
        chosen = np.flatnonzero(mine | to_me | asks_me)
        sources, targets = _numbers(rows["src"][chosen]), _numbers(rows["dst"][chosen])
        for row, outward, source, target in zip(
            rows[chosen], mine[chosen].tolist(), sources.tolist(), targets.tolist(), strict=True
        ):
            time_s = (int(row["time_ns"]) - start_ns) / 1e9
            protocol = int(row["protocol"])
            if row["family"] != 4 and protocol != _ARP:
                self.left_out["IPv6"] += 1
            elif protocol == _ARP:
                self._arp(row, time_s, outward, source, target)
            elif protocol == _ICMP:
                self._icmp(row, time_s, outward, target if outward else source)
            elif protocol in (_TCP, _UDP):
                self._ports(packets, row, time_s, outward, source, target)
            else:
                self.left_out[f"IP protocol {protocol}"] += 1

    def _arp(self, row: np.void, time_s: float, outward: bool, source: int, target: int) -> None:
        peer = target if outward else source
        if outward and (peer == self._address or source not in (0, self._address)):
            # Speaking of one's own address is an announcement, of another's a claim to be that host.
            said = self._open((_ARP, peer, 2), time_s, peer, _ARP, None, True)
            said.application = "announce" if peer == self._address else "claim"
            said.role = "broadcast" if peer == self._address else said.role
            said.say(time_s, True, 28)
            return
        if row["arp_operation"] == 1:
            key = (_ARP, peer, outward)
            talk = self._live.get(key)
            if talk is None or time_s - talk.last_s > ASKING_S or talk.messages[-1][1] != outward:
                talk = self._open(key, time_s, peer, _ARP, None, outward)
                talk.application = "arp"
            talk.say(time_s, outward, 28)
            return
        asked = self._live.get((_ARP, peer, not outward))
        if asked is not None and time_s - asked.last_s <= ASKING_S:
            asked.say(time_s, outward, 28)

    def _icmp(self, row: np.void, time_s: float, outward: bool, peer: int) -> None:
        kind = int(row["icmp_type"])
        if kind == _UNREACHABLE and row["quoted_protocol"] == _UDP:
            near, far = (row["quoted_dst_port"], row["quoted_src_port"])
            near, far = (near, far) if outward else (far, near)
            talk = self._live.get((_UDP, peer, int(near), int(far), 0))
            if talk is not None:
                talk.end, talk.end_s = "unreachable", time_s
            return
        if kind not in (_ECHO, _ECHO_REPLY):
            self.left_out[f"ICMP type {kind}"] += 1
            return
        by_device = outward == (kind == _ECHO)
        key = (_ICMP, peer, int(row["icmp_id"]), by_device)
        talk = self._live.get(key)
        if talk is None or time_s - talk.last_s > IDLE_S:
            talk = self._open(key, time_s, peer, _ICMP, None, by_device)
            talk.application, talk.end = "icmp", "silent"
        if kind == _ECHO:
            talk.say(time_s, outward, int(row["payload_bytes"]))
        else:
            talk.end = "left"

    def _ports(
        self, packets: Packets, row: np.void, time_s: float, outward: bool, source: int, target: int
    ) -> None:
        protocol, peer = int(row["protocol"]), target if outward else source
        near, far = (
            (int(row["src_port"]), int(row["dst_port"]))
            if outward
            else (int(row["dst_port"]), int(row["src_port"]))
        )
        spoofed = outward and source not in (self._address, 0)
        dhcp = protocol == _UDP and {near, far} == {67, 68}
        key = (protocol, 0, 67, 68, 0) if dhcp else (protocol, peer, near, far, source if spoofed else 0)
        flags, size = int(row["tcp_flags"]) if protocol == _TCP else 0, int(row["payload_bytes"])
        talk = self._live.get(key)
        opens = flags & (_SYN | _ACK) == _SYN
        stale = talk is not None and (
            time_s - talk.last_s > IDLE_S
            if protocol == _UDP
            else opens and bool(talk.messages or talk.end != "silent")
        )
        if talk is None or stale:
            talk = self._open(key, time_s, peer, protocol, far if outward else near, outward)
            talk.spoofed = spoofed
            if dhcp:
                talk.role, talk.application = "gateway", "dhcp"
            if protocol == _TCP:
                self._first_segment(talk, flags, near, far)
        elif opens and talk.end == "silent":
            talk.say(time_s, outward, 0)
        if protocol == _TCP:
            self._segment(talk, packets, row, time_s, outward, flags, size)
        else:
            name = _BY_PORT.get(("udp", talk.port), "udp")
            fits = size and not (name == "stun" and (size < _LEAST_STUN or size % 4))
            talk.application = talk.application or (name if fits else "udp")
            talk.say(time_s, outward, size)

    def _first_segment(self, talk: Talk, flags: int, near: int, far: int) -> None:
        if flags & (_SYN | _ACK) == _SYN:
            talk.end = "silent"
        elif flags & _ACK:
            # Joined midway: the lower port is the service, as far as anyone can tell.
            talk.begun, talk.by_device, talk.port = False, far < near, min(near, far)
        else:
            talk.application = {0: "null", _FIN: "fin"}.get(flags, "xmas")
            talk.end = "silent"

    def _segment(
        self, talk: Talk, packets: Packets, row: np.void, time_s: float, outward: bool, flags: int, size: int
    ) -> None:
        by_opener = outward == talk.by_device
        if flags & _SYN and flags & _ACK:
            talk.end = "half"
        elif flags & _RST:
            if talk.end == "silent":
                talk.end, talk.end_s = ("refused", time_s) if not by_opener else ("silent", time_s)
            elif talk.end == "half":
                talk.end, talk.end_s = "probed", time_s
            elif talk.end == "left":
                talk.end, talk.end_s = "reset" if outward else "aborted", time_s
        elif flags & _ACK:
            if talk.end == "half" and by_opener:
                talk.end = "left"
            if size and talk.is_new(outward, int(row["tcp_sequence"]), size):
                talk.application = _by_content(packets, row, talk.application)
                talk.say(time_s, outward, size)
            if flags & _FIN and talk.end == "left":
                talk.end, talk.end_s = "close" if outward else "closed", time_s

    def _open(
        self, key: tuple[int, ...], time_s: float, peer: int, protocol: int, port: int | None, by_device: bool
    ) -> Talk:
        role = self._role(peer, protocol, _BY_PORT.get(("udp", port), "") if protocol == _UDP else "")
        talk = Talk(time_s, str(IPv4Address(peer)), role, protocol, port, by_device, last_s=time_s)
        self._live[key] = talk
        self.talks.append(talk)
        return talk

    def _role(self, peer: int, protocol: int, application: str) -> str:
        address = IPv4Address(peer)
        if peer in self._roles:
            role = self._roles[peer]
            return role if protocol != _ARP or role == "gateway" else "neighbour"
        if address.is_multicast:
            return "group"
        if peer in (0xFFFFFFFF, int(self._link.broadcast_address)):
            return "broadcast"
        if address in self._link:
            return "neighbour"
        name = _FAR_ROLES.get(application, "cloud")
        known = self._far.setdefault(name, {})
        return known.setdefault(peer, f"{name}{len(known) % _MOST_FAR + 1}")


def _by_content(packets: Packets, row: np.void, so_far: str) -> str:
    """The application of a TCP talk by a payload's first bytes: settled by the first, but for a refused login."""
    if so_far and so_far != "http":
        return so_far
    start = int(row["payload_offset"])
    data = packets.data[start : start + min(64, int(row["payload_captured"]))].tobytes()
    if so_far:
        return "login" if data[:7] == b"HTTP/1." and data[9:12] in (b"401", b"403") else so_far
    if data[:2] == b"\x16\x03":
        return "tls"
    if data[:1] == b"\x10" and data[4:8] in (b"MQTT", b"MQIs"):
        return "mqtt"
    if b"RTSP/1.0" in data:
        return "rtsp"
    if data[:4] in _HTTP or data[:5] == b"HTTP/":
        return "http"
    if 502 in (row["src_port"], row["dst_port"]) and data[2:4] == b"\0\0":
        return "modbus"
    if 1883 in (row["src_port"], row["dst_port"]):
        return "mqtt"
    return "tcp"


def _numbers(addresses: np.ndarray) -> np.ndarray:
    """IPv4 addresses, 4 bytes each in the last of 16, as numbers."""
    return addresses[:, 12:].astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)

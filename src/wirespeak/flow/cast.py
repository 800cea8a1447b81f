"""Who is who in traffic that never happened: addresses, MACs and distances, invented from a seed.

Private addresses on the device's own link, documentation addresses (RFC 5737) behind the gateway, locally
administered MACs: nothing that could belong to anyone.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from random import Random

from wirespeak.wire.craft import APPLICATIONS
from wirespeak.wire.craft.packets import End, group_mac
from wirespeak.wire.craft.ports import free_port

_CLOUD = (IPv4Network("203.0.113.0/24"), IPv4Network("198.51.100.0/24"))
_BENCHMARK = IPv4Network("198.18.0.0/15")  # RFC 2544: where spoofed packets claim to come from
_GROUPS = {"group": "239.255.0.1", "broadcast": "255.255.255.255"}
_FAR = ("cloud", "resolver", "clock")
_PORTS = (32768, 60999)


def is_far(role: str) -> bool:
    """Whether a role is played beyond the gateway."""
    return role.rstrip("0123456789") in _FAR


class Cast:
    """The hosts of one generated capture. The same role is always the same host."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed}:cast")
        third = self._random.randrange(1, 250)
        self.link = IPv4Network(
            self._random.choice((f"192.168.{third}.0/24", f"10.{third}.{third // 2}.0/24"))
        )
        self._free = [str(host) for host in list(self.link.hosts())[1:-1]]
        self._random.shuffle(self._free)
        self._clouds = [str(host) for network in _CLOUD for host in list(network.hosts())[1:-1]]
        self._random.shuffle(self._clouds)
        self._gateway_mac = self._mac()
        self._ends: dict[str, End] = {"gateway": End(self._gateway_mac, str(self.link[1]))}
        self._turnaround: dict[str, float] = {}
        self._port = self._random.randint(*_PORTS)

    def end(self, role: str) -> End:
        """The host that plays `role`: `device`, `gateway`, `cloud1`, `resolver1`, `clock1`, ..., or any name for a neighbour on the link."""
        if role not in self._ends:
            if is_far(role):
                self._ends[role] = End(
                    self._gateway_mac, self._clouds.pop(), self._random.choice((48, 52, 57, 116))
                )
            else:
                self._ends[role] = End(self._mac(), self._free.pop())
        return self._ends[role]

    def target(self, role: str, application: str) -> End:
        """Where a conversation with `role` is sent to: a host, or the group the application speaks to."""
        if role not in _GROUPS:
            return self.end(role)
        address = APPLICATIONS[application].group if role == "group" else ""
        address = address or _GROUPS[role]
        return End(group_mac(address), address, 255)

    def stranger(self) -> End:
        """A source address nobody has, behind the device's own MAC: what a spoofed packet shows."""
        return End(self.end("device").mac, str(_BENCHMARK[self._random.randrange(1, 1 << 17)]))

    def turnaround_s(self, role: str) -> float:
        """Seconds from a packet to `role` passing the capture point to the answer passing it."""
        if role not in self._turnaround:
            low, high = (0.008, 0.06) if is_far(role) else (0.0003, 0.004)
            self._turnaround[role] = self._random.uniform(low, high)
        return self._turnaround[role]

    def client_port(self) -> int:
        """The next port of a client, none twice in a row."""
        low, high = _PORTS
        self._port = free_port(low + (self._port - low + self._random.randrange(1, 9)) % (high - low))
        return self._port

    def is_on_link(self, end: End) -> bool:
        """Whether the device asks for this host's MAC by ARP."""
        return IPv4Address(end.address) in self.link

    def _mac(self) -> bytes:
        return bytes([0x02]) + self._random.randbytes(5)

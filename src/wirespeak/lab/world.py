"""The world a scenario and a seed make: every host with its addresses, the names in the DNS, the passwords.

`draw.py` makes it. It travels to the processes inside the namespaces as one JSON file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from random import Random

# The blocks RFC 5737 and RFC 3849 keep for documentation: public to look at, routed nowhere.
CLOUD = (IPv4Network("203.0.113.0/24"), IPv4Network("198.51.100.0/24"))
CLOUD6 = IPv6Network("2001:db8:c10d::/64")
PUBLIC_RESOLVER = CLOUD[0][53]
DARK = IPv4Network("192.0.2.0/24")  # packets to here are lost without a word, as to a vendor that closed

# Ports on which vendors speak protocols of their own.
CLOUD_TCP_PORTS = (3478, 5222, 7531, 10000, 62910)
CLOUD_UDP_PORTS = (80, 3072, 3478, 8765, 10086, 32100)
DEVICE_TCP_PORTS = (9999, 49153)
DEVICE_UDP_PORTS = (161, 5560, 9600, 47808)
# What a host with a packet filter lets in; it is silent on every other port.
FILTERED_TCP_PORTS = (22, 23, 80, 502, 554, 1883, 8080, 18884, 49152, *DEVICE_TCP_PORTS)


@dataclass(frozen=True)
class Host:
    """One namespace of the lab.

    role: gateway, cloud, device or attacker. ports: the range its client ports come from. latency_ms: one
    way, on its own link; 0 is a cable. place: lan or cloud. joins_s: when it comes up, after the start. join: dhcp or static. filtered: whether
    it answers nothing on ports it does not serve.
    """

    name: str
    role: str
    profile: str
    place: str
    address: str
    address6: str
    mac: str
    ttl: int
    ports: tuple[int, int]
    latency_ms: float
    loss: float
    joins_s: float
    join: str
    filtered: bool


@dataclass(frozen=True)
class World:
    """All hosts, all names.

    zone: DNS name -> addresses; names in `silent` get no answer at all. services: what a vendor runs, as
    "service.profile" ("ota.camera"), -> its DNS name. folder: where keys, logs and settings lie.
    """

    seed: int
    lan: str
    lan6: str
    hosts: tuple[Host, ...]
    zone: dict[str, list[str]]
    silent: tuple[str, ...]
    services: dict[str, str]
    passwords: dict[str, str]
    cloud_ms: tuple[float, float]
    folder: str = ""

    def host(self, name: str) -> Host:
        """The host of that name."""
        return next(host for host in self.hosts if host.name == name)

    def all_of(self, *profiles: str) -> list[Host]:
        """The devices with one of these profiles."""
        return [host for host in self.hosts if host.profile in profiles]

    def cloud_addresses(self) -> list[str]:
        """Every address the cloud answers at."""
        named = {IPv4Address(address) for addresses in self.zone.values() for address in addresses}
        lit = {address for address in named if address not in DARK}
        return [
            str(address)
            for address in sorted(lit | {PUBLIC_RESOLVER, IPv4Address(self.host("cloud").address)})
        ]

    def random(self, purpose: str) -> Random:
        """A stream of random numbers of its own for each purpose, fixed by the seed."""
        return Random(f"{self.seed}:{purpose}")

    def write(self, path: Path) -> None:
        """Write the world as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> World:
        """The inverse of `write`."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        hosts = tuple(Host(**{**host, "ports": tuple(host["ports"])}) for host in fields["hosts"])
        return cls(
            **{
                **fields,
                "hosts": hosts,
                "silent": tuple(fields["silent"]),
                "cloud_ms": tuple(fields["cloud_ms"]),
            }
        )

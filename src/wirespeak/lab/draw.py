"""Draw the world of a scenario: a pure function of scenario and seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

from wirespeak.lab.devices.profiles import PROFILES
from wirespeak.lab.scenario import Scenario
from wirespeak.lab.world import CLOUD, CLOUD6, DARK, Host, World

_SYLLABLES = [
    "lu",
    "mo",
    "ra",
    "ni",
    "vo",
    "ta",
    "ke",
    "si",
    "do",
    "pa",
    "ri",
    "zu",
    "fe",
    "la",
    "no",
    "be",
    "qui",
    "xo",
    "mi",
    "te",
    "ga",
    "wo",
    "hy",
    "dra",
]
_PORT_RANGES = ((32768, 60999), (49152, 65535), (1025, 5000), (10000, 30000), (40000, 57000), (16384, 47000))
_TTLS = (64, 64, 64, 128, 255)


def build_world(scenario: Scenario) -> World:
    """Draw everything the scenario leaves open from its seed."""
    random = Random(f"{scenario.seed}:world")
    lan6 = IPv6Network((0xFD << 120 | random.getrandbits(40) << 80, 64))
    addresses = _addresses(scenario.lan, random)
    makers = [_maker(random) for _ in range(12)]
    hosts = [_gateway(scenario, lan6, next(addresses), random, makers), _cloud(random)]
    for profile, count in scenario.devices.items():
        wired = PROFILES[profile].wired
        maker = random.choice(makers)
        for number in range(count):
            host = _draw(f"{profile}-{number + 1}", "device", profile, next(addresses), lan6, maker, random)
            latency = 0.0 if wired else random.uniform(*scenario.wireless_ms)
            join = random.choices(("dhcp", "static"), (4, 1))[0]
            joins_s = 0.0 if wired else random.uniform(0, scenario.join_s)
            hosts.append(
                replace(
                    host,
                    latency_ms=latency,
                    loss=0.0 if wired else random.uniform(0, 0.003),
                    joins_s=joins_s,
                    join=join,
                    filtered=random.random() < 0.35,
                )
            )
    for attacker in scenario.attackers:
        far = attacker.where == "cloud"
        address = IPv4Address(int(CLOUD[1][0]) + random.randrange(180, 250)) if far else next(addresses)
        host = _draw(attacker.name, "attacker", "attacker", address, lan6, random.choice(makers), random)
        latency = random.uniform(*scenario.wireless_ms) if attacker.wireless else 0.0
        hosts.append(
            replace(host, place=attacker.where, latency_ms=latency, address6="" if far else host.address6)
        )
    zone, services, silent = _names(random)
    passwords = {name: _password(random) for name in ("device", "dashboard", "admin", "app")}
    return World(
        scenario.seed,
        str(scenario.lan),
        str(lan6),
        tuple(hosts),
        zone,
        silent,
        services,
        passwords,
        scenario.cloud_ms,
    )


def _addresses(lan: IPv4Network, random: Random) -> Iterator[IPv4Address]:
    """The gateway's address first, then hosts in no order, within one /24 as a DHCP pool would be."""
    pool = (
        next(lan.subnets(new_prefix=max(24, lan.prefixlen)))
        if random.random() < 0.5
        else list(lan.subnets(new_prefix=max(24, lan.prefixlen)))[-1]
    )
    usable = list(pool.hosts())
    gateway = usable.pop(0) if random.random() < 0.6 else usable.pop()
    yield gateway
    random.shuffle(usable)
    yield from usable


def _gateway(
    scenario: Scenario, lan6: IPv6Network, address: IPv4Address, random: Random, makers: list[int]
) -> Host:
    host = _draw("gateway", "gateway", "gateway", address, lan6, random.choice(makers), random)
    return replace(host, ttl=64, join="static")


def _cloud(random: Random) -> Host:
    host = _draw("cloud", "cloud", "cloud", CLOUD[0][10], CLOUD6, _maker(random), random)
    return replace(
        host,
        place="cloud",
        address6=str(CLOUD6[16]),
        ttl=random.choice((48, 52, 57, 61, 116, 241)),
        join="static",
    )


def _draw(
    name: str, role: str, profile: str, address: IPv4Address, lan6: IPv6Network, maker: int, random: Random
) -> Host:
    mac = maker << 24 | random.getrandbits(24)
    octets = ":".join(f"{mac >> shift & 255:02x}" for shift in range(40, -1, -8))
    return Host(
        name, role, profile, "lan", str(address), str(_eui64(lan6, mac)), octets,
        ttl=random.choice(_TTLS), ports=random.choice(_PORT_RANGES), latency_ms=0.0, loss=0.0, joins_s=0.0, join="static", filtered=False,
    )  # fmt: skip


def _maker(random: Random) -> int:
    return random.getrandbits(24) & 0xFCFFFF  # unicast, universally administered


def _eui64(network: IPv6Network, mac: int) -> IPv6Address:
    """The address stateless configuration gives this MAC (RFC 4291, appendix A)."""
    interface = (mac >> 24 ^ 0x020000) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
    return IPv6Address(int(network.network_address) | interface)


def _brand(random: Random) -> str:
    return "".join(random.choice(_SYLLABLES) for _ in range(random.randint(2, 4)))


def _password(random: Random) -> str:
    return "".join(random.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(random.randint(9, 16)))


def _names(random: Random) -> tuple[dict[str, list[str]], dict[str, str], tuple[str, ...]]:
    """DNS names of the vendors' clouds. Each service keeps one to four addresses in the cloud."""

    def addresses(most: int) -> list[str]:
        return [str(random.choice(CLOUD)[random.randrange(2, 170)]) for _ in range(random.randint(1, most))]

    zone = {f"{number}.pool.ntp.example": addresses(4) for number in range(4)}
    services: dict[str, str] = {}
    for profile in PROFILES:
        domain = f"{_brand(random)}.{random.choice(('example', 'example', 'io.example', 'cloud.example', 'iot.test'))}"
        for service in ("api", "www", "mqtt", "ota", "time", "push", "data", "img", "stun", "log"):
            forms = (
                service,
                f"{service}{random.randint(1, 9)}",
                f"{service}-eu.prod",
                f"{service}.{random.getrandbits(32):08x}",
            )
            services[f"{service}.{profile}"] = name = f"{random.choice(forms)}.{domain}"
            zone[name] = addresses(4)
        services[f"dead.{profile}"], services[f"lost.{profile}"] = f"old.{domain}", f"lost.{domain}"
        zone[f"old.{domain}"] = [str(DARK[random.randrange(2, 250)])]
    return zone, services, tuple(name for name in services.values() if name.startswith("lost."))

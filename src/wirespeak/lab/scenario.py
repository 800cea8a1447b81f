"""Read a scenario: who lives on the lab's network, who attacks whom, with what, and when.

A scenario is a short TOML file; docs/lab.md describes every key. Everything it leaves open (addresses, MACs,
TTLs, port ranges, the exact second of an attack) is drawn from the seed by `world.py`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from wirespeak.errors import InputError, OptionError, unknown_name
from wirespeak.lab.attacks.tools import TOOLS, check_options
from wirespeak.lab.devices.profiles import PROFILES

SPLITS = ("train", "validation", "test", "demo")
PRIVATE = tuple(
    IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
LONGEST_S = 1800


@dataclass(frozen=True)
class Attacker:
    """A host that only attacks. `where`: "lan", or "cloud" for one on the far side of the gateway."""

    name: str
    where: str = "lan"
    wireless: bool = False


@dataclass(frozen=True)
class Attack:
    """One tool used by `sources` on `target`, from about `at` seconds for at most `seconds`."""

    at: float
    seconds: float
    tool: str
    sources: tuple[str, ...]
    target: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """A whole recording, declared.

    seconds: length of the capture. warm_up_s: how long the devices live before the capture starts, so that
    connections are open when it does. join_s: devices join the network within this time. wireless_ms and
    cloud_ms: the ranges from which latencies (one way) of wireless devices and of cloud addresses are drawn.
    """

    name: str
    split: str
    seconds: float
    seed: int
    lan: IPv4Network
    devices: dict[str, int]
    attackers: tuple[Attacker, ...] = ()
    attacks: tuple[Attack, ...] = ()
    warm_up_s: float = 0.0
    join_s: float = 20.0
    wireless_ms: tuple[float, float] = (0.5, 6.0)
    cloud_ms: tuple[float, float] = (4.0, 60.0)


_KEYS = {
    "": {
        "name",
        "split",
        "seconds",
        "seed",
        "warm_up_s",
        "join_s",
        "network",
        "devices",
        "attackers",
        "attacks",
    },
    "network": {"lan", "wireless_ms", "cloud_ms"},
    "attackers": {"where", "wireless"},
}


def read_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises InputError when the file is missing or is not TOML, OptionError (with file, key and the nearest
    known name) when a key, profile, tool, host or option does not exist or has an impossible value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read this scenario: {error.strerror}. Give the path of a TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}.") from None
    try:
        return parse_scenario(document, default_name=path.stem)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def parse_scenario(document: dict[str, Any], *, default_name: str = "scenario") -> Scenario:
    """The scenario in a parsed TOML document. Raises OptionError."""
    _known_keys("key", document, _KEYS[""])
    network = _table(document, "network")
    _known_keys("key of [network]", network, _KEYS["network"])
    devices = _devices(_table(document, "devices"))
    attackers = tuple(_attacker(name, spec) for name, spec in _table(document, "attackers").items())
    hosts = {f"{profile}-{i + 1}" for profile, count in devices.items() for i in range(count)}
    clash = hosts & {attacker.name for attacker in attackers}
    if clash:
        raise OptionError(f"[attackers] '{clash.pop()}' is also a device. Give the attacker another name.")
    sources = hosts | {attacker.name for attacker in attackers}
    attacks = document.get("attacks", [])
    if not isinstance(attacks, list):
        raise OptionError("'attacks' must be a list of [[attacks]] tables.")
    seconds = _number(document, "seconds", "", None, 5, LONGEST_S)
    return Scenario(
        name=_text(document, "name", default_name),
        split=_choice("split", document.get("split", "train"), SPLITS),
        seconds=seconds,
        seed=int(_number(document, "seed", "", 0, 0, 2**31)),
        lan=_lan(network.get("lan", "192.168.1.0/24"), len(sources)),
        devices=devices,
        attackers=attackers,
        attacks=tuple(_attack(i + 1, spec, sources, hosts, seconds) for i, spec in enumerate(attacks)),
        warm_up_s=_number(document, "warm_up_s", "", 0.0, 0, 600),
        join_s=_number(document, "join_s", "", 20.0, 0, 600),
        wireless_ms=_range(network, "wireless_ms", (0.5, 6.0)),
        cloud_ms=_range(network, "cloud_ms", (4.0, 60.0)),
    )


def _devices(table: dict[str, Any]) -> dict[str, int]:
    for profile, count in table.items():
        if profile not in PROFILES:
            raise unknown_name("device profile", profile, PROFILES)
        if not isinstance(count, int) or not 0 <= count <= 50:
            raise OptionError(
                f"[devices] {profile} is {count!r}, expected how many of them: a whole number from 0 to 50."
            )
    return dict(table)


def _attacker(name: str, spec: Any) -> Attacker:
    if not isinstance(spec, dict):
        raise OptionError(
            f'[attackers] {name} is {spec!r}, expected a table such as {{}} or {{ where = "cloud" }}.'
        )
    _known_keys(f"key of attacker {name}", spec, _KEYS["attackers"])
    where = _choice(f"where of attacker {name}", spec.get("where", "lan"), ("lan", "cloud"))
    return Attacker(name, where, bool(spec.get("wireless", False)))


def _attack(number: int, spec: dict[str, Any], sources: set[str], hosts: set[str], seconds: float) -> Attack:
    place = f"attack {number}"
    name = _choice(f"tool of {place}", spec.get("tool"), tuple(TOOLS))
    tool = TOOLS[name]
    origin = spec.get("from")
    attackers = tuple(origin) if isinstance(origin, list) else (origin,)
    for attacker in attackers:
        _choice(f"attacker ('from') of {place}", attacker, sources)
    targets = {"lan"} if tool.reach == "network" else hosts | {"gateway"}
    target = _choice(
        f"target ('to') of {place}", spec.get("to", "lan" if tool.reach == "network" else None), targets
    )
    options = {
        key: value for key, value in spec.items() if key not in ("at", "seconds", "tool", "from", "to")
    }
    check_options(place, tool, options)
    at = _number(spec, "at", f" of {place}", None, 0, seconds)
    return Attack(
        at, _number(spec, "seconds", f" of {place}", 20.0, 1, 180), name, attackers, target, options
    )


def _known_keys(what: str, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise unknown_name(what, key, known)


def _choice(what: str, value: Any, known: Any) -> str:
    if value is None:
        raise OptionError(f"the {what} is missing. One of: {', '.join(sorted(known))}.")
    if value not in known:
        raise unknown_name(what, str(value), known)
    return str(value)


def _table(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise OptionError(f"'{key}' must be a table, written [{key}].")
    return value


def _text(document: dict[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or not value:
        raise OptionError(f"'{key}' is {value!r}, expected a text.")
    return value


def _number(
    table: dict[str, Any], key: str, place: str, default: float | None, low: float, high: float
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        found = "missing" if value is None else repr(value)
        raise OptionError(f"'{key}'{place} is {found}, expected a number from {low} to {high}.")
    return value


def _range(table: dict[str, Any], key: str, default: tuple[float, float]) -> tuple[float, float]:
    value = table.get(key, default)
    if (
        len(value) != 2
        or not all(isinstance(end, (int, float)) for end in value)
        or not 0 <= value[0] <= value[1] <= 1000
    ):
        raise OptionError(f"'{key}' is {value!r}, expected two numbers of milliseconds, lowest first.")
    return float(value[0]), float(value[1])


def _lan(text: Any, hosts: int) -> IPv4Network:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise OptionError(f"'lan' is {text!r}: {error}. Example: 192.168.1.0/24.") from None
    if not any(network.subnet_of(block) for block in PRIVATE):
        raise OptionError(
            f"'lan' is {text}, which is not a private network. The lab uses private addresses only."
        )
    if network.num_addresses < hosts + 8:
        raise OptionError(f"'lan' {text} has no room for {hosts} hosts. Choose a larger network.")
    return network

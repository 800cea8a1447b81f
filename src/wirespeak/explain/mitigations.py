"""What to do about an incident: our own knowledge, with its placeholders filled by checked values only.

The knowledge is `knowledge.toml`, one entry for every label but `normal`. An address reaches a rule only
after `ipaddress` (or the MAC pattern) accepted it, a port only as a whole number below 65,536; a
countermeasure whose value is missing is left out. CAPEC: capec.mitre.org; ATT&CK: attack.mitre.org.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from wirespeak.errors import unknown_name
from wirespeak.records import Countermeasure, Mitigation

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_COMMENT = {"switch": "!"} | dict.fromkeys(("nftables", "suricata", "mosquitto", "http"), "#")
_PLACEHOLDERS = re.compile(r"\{([a-z_]+)\}")


def mitigations(
    label: str, *, source: str | None = None, target: str | None = None, port: int | None = None
) -> tuple[Mitigation, ...]:
    """Remedies for a canonical label, the most specific first.

    source, target: the one attacker and the one victim, None where there are many; port: the one they meet
    at. A value that is no address or port is treated as not known. Raises `OptionError` for another label.
    """
    known = _knowledge()
    if label not in known or label == "countermeasures":
        raise unknown_name("label", label, (name for name in known if name != "countermeasures"))
    entry, values = known[label], _values(source, target, port)
    filled = (_countermeasure(known["countermeasures"][name], values) for name in entry["countermeasures"])
    remedy = Mitigation(
        capec_id=entry.get("capec_id"),
        attack_id=entry.get("attack_id"),
        title=entry["title"],
        steps=tuple(entry["steps"]),
        countermeasures=tuple(found for found in filled if found),
    )
    return (remedy,)


def valid_host(text: str | None) -> str | None:
    """The address or MAC in its usual form, or None when it is neither."""
    if text is None:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return text.lower() if _MAC.fullmatch(text.lower()) else None


@cache
def _knowledge() -> dict[str, Any]:
    return tomllib.loads(files("wirespeak.explain").joinpath("knowledge.toml").read_text(encoding="utf-8"))


def _values(source: str | None, target: str | None, port: int | None) -> dict[str, str]:
    """Every placeholder that can be filled."""
    values = {"tcp": "meta l4proto tcp", "udp": "meta l4proto udp", "at_port": "any"}
    if isinstance(port, int) and 0 < port < 65_536:
        values |= {
            "port": str(port),
            "tcp": f"tcp dport {port}",
            "udp": f"udp dport {port}",
            "at_port": str(port),
        }
    if host := valid_host(source):
        values |= {"source": host, "from": _match(host, "saddr")}
    host = valid_host(target)
    if host and not _MAC.fullmatch(host):
        six = ":" in host
        values |= {
            "target": host,
            "to": _match(host, "daddr"),
            "echo": "icmpv6 type echo-request" if six else "icmp type echo-request",
            "echo_type": "128" if six else "8",
            "address_type": "ipv6_addr" if six else "ipv4_addr",
            "source_address": "ip6 saddr" if six else "ip saddr",
        }
    return values


def _match(host: str, side: str) -> str:
    family = "ether" if _MAC.fullmatch(host) else "ip6" if ":" in host else "ip"
    return f"{family} {side} {host}"


def _countermeasure(entry: Mapping[str, Any], values: Mapping[str, str]) -> Countermeasure | None:
    body = _table(entry) if entry["kind"] == "nftables" else entry["text"]
    text = f"{_COMMENT[entry['kind']]} {entry['about']}\n{body}" if "about" in entry else body
    if not set(_PLACEHOLDERS.findall(text)) <= values.keys() or (
        entry.get("family") == "arp" and "ether" not in values.get("from", "")
    ):
        return None
    return Countermeasure(entry["kind"], _PLACEHOLDERS.sub(lambda found: values[found[1]], text))


def _table(entry: Mapping[str, Any]) -> str:
    """A whole nftables file around a rule: seen by the host's own traffic and by what it forwards."""
    sets = "".join(f"  {line}\n" for line in entry.get("sets", ()))
    if entry.get("family") == "arp":
        hooks = "  chain input { type filter hook input priority 0; policy accept; jump guard; }\n"
        family = "arp"
    else:
        hooks = "".join(
            f"  chain {hook} {{ type filter hook {hook} priority -10; policy accept; jump guard; }}\n"
            for hook in ("input", "forward")
        )
        family = "inet"
    return f"table {family} wirespeak {{\n{sets}  chain guard {{\n    {entry['rule']}\n  }}\n{hooks}}}"

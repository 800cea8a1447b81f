"""What an attack tool is: its label, its Debian package, its options, its command line.

A tool is a function from a `Strike` (who attacks whom, for how long) and its keyword options to a command
line that runs in the attacker's namespace. Option names and defaults are the function's own; rates, counts
and times are bounded here, whatever a scenario says.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from random import Random
from typing import Any

from wirespeak.lab.world import DARK, Host, World

MOST_PACKETS_PER_S = 2_000
MOST_PACKETS = 6_000


@dataclass(frozen=True)
class Strike:
    """One use of a tool: one attacker, one target."""

    world: World
    attacker: Host
    target: Host
    seconds: float
    random: Random

    @property
    def address(self) -> str:
        """The target's address."""
        return self.target.address

    @property
    def block(self) -> IPv4Network:
        """The part of the LAN that sweeps cover: the /24 (or less) the gateway is in."""
        lan = IPv4Network(self.world.lan)
        return IPv4Network(f"{self.world.host('gateway').address}/{max(24, lan.prefixlen)}", strict=False)

    def swept(self, far: bool) -> IPv4Network:
        """What a sweep covers: the block, or with `far` addresses outside where nobody answers."""
        return DARK if far else self.block

    def count(self, rate: float) -> int:
        """Packets to send at this rate for the whole time, bounded."""
        return max(1, min(MOST_PACKETS, int(self.seconds * min(rate, MOST_PACKETS_PER_S))))

    def outsider(self) -> str:
        """An address outside the LAN that nobody holds."""
        return f"198.51.100.{self.random.randint(251, 254)}"

    def list_file(self, name: str, lines: list[str]) -> str:
        """A file with these lines, for tools that read lists. Returns its path."""
        path = Path(self.world.folder) / f"{name}-{self.attacker.name}-{self.random.getrandbits(24):x}.txt"
        path.write_text("\n".join(lines) + "\n")
        return str(path)


Command = Callable[..., list[str]]


@dataclass(frozen=True)
class Tool:
    """reach: what the truth names beside the attacker: "host", "network" (a sweep's block) or "mac" (spoofing).
    routed: whether its packets go through the gateway, which then asks for every address itself."""

    label: str
    command: Command
    package: str = ""
    reach: str = "host"
    routed: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Option names with their defaults."""
        return {
            name: given.default
            for name, given in inspect.signature(self.command).parameters.items()
            if given.kind is given.KEYWORD_ONLY
        }


TOOLS: dict[str, Tool] = {}


def tool(
    label: str, *, package: str = "", reach: str = "host", routed: bool = False
) -> Callable[[Command], Command]:
    """Enter a function in the table under its own name, with dashes."""

    def enter(command: Command) -> Command:
        TOOLS[command.__name__.replace("_", "-")] = Tool(label, command, package, reach, routed)
        return command

    return enter


def own(module: str, function: str, **arguments: Any) -> list[str]:
    """The command line of one of our own tools."""
    return [sys.executable, "-m", f"wirespeak.lab.attacks.{module}", function, json.dumps(arguments)]

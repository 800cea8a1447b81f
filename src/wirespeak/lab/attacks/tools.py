"""Every attack tool of the lab, by name."""

from __future__ import annotations

from typing import Any

from wirespeak.errors import OptionError, unknown_name
from wirespeak.lab.attacks import intrusions, packet_floods, reconnaissance, request_floods
from wirespeak.lab.attacks.tool import TOOLS, Tool

DRAWERS = (packet_floods, request_floods, reconnaissance, intrusions)  # each entered its tools in TOOLS
__all__ = ["DRAWERS", "TOOLS", "check_options"]


def check_options(place: str, chosen: Tool, options: dict[str, Any]) -> None:
    """Raise OptionError for an option the tool does not have, or one of another type than its default."""
    for name, value in options.items():
        if name not in chosen.options:
            raise unknown_name(f"option of {place}", name, chosen.options)
        default = chosen.options[name]
        fits = (
            isinstance(value, (int, float)) and not isinstance(value, bool)
            if isinstance(default, float)
            else type(value) is type(default)
        )
        if not fits:
            raise OptionError(f"{place}: '{name}' is {value!r}, expected something like {default!r}.")

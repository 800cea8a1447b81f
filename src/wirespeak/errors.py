"""One family of errors. Each says what was wanted, what was found, where, and what to do next.

The command line turns any `WirespeakError` into one line on stderr and exit status 1; anything else
that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class WirespeakError(Exception):
    """Bad input or failed work, with a message a person can act on."""


class InputError(WirespeakError):
    """A file, folder or stream that cannot be read as what it was given for."""


class OutputError(WirespeakError):
    """A result that cannot be written: read-only or full disk, a name already taken."""


class OptionError(WirespeakError):
    """An option, key or name that does not exist or does not fit."""


class ModelError(WirespeakError):
    """A model that cannot be found, loaded or trusted."""


class MissingPart(WirespeakError):
    """An optional package or system tool that is not installed. The message names the command that installs it."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> OptionError:
    """The error for a name that is not among `known`, naming the nearest one.

    >>> str(unknown_name("profile", "smart-bulp", ["smart-bulb", "plug"]))
    "unknown profile 'smart-bulp'. Did you mean 'smart-bulb'? Known: plug, smart-bulb."
    """
    choices = sorted(known)
    nearest = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return OptionError(f"unknown {what} '{name}'.{hint} Known: {', '.join(choices)}.")


def missing_extra(package: str, extra: str) -> MissingPart:
    """The error for an optional dependency that is absent."""
    return MissingPart(
        f"{package} is needed for this and is not installed. Run: pip install 'wirespeak[{extra}]'"
    )


def many(count: int, noun: str) -> str:
    """A count and its noun: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

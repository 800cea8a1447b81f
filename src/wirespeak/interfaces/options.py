"""Options that several verbs share, and what their outputs say alike."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.errors import OptionError

if TYPE_CHECKING:
    from wirespeak.detect.cascade import Budget

Captures = Annotated[
    list[Path],
    Argument(
        metavar="IN...",
        help="Captures (pcap, pcapng, snoop; gzip or zstd), folders of them, - for standard input, flow tables, or logs of other tools.",
        show_default=False,
    ),
]


def output_option(metavar: str, help: str) -> Any:
    """`-o`, as every verb has it."""
    return Option("--output", "-o", metavar=metavar, help=help, show_default=False)


Folder = Annotated[Path, output_option("DIR", "Folder for the results.")]
Seed = Annotated[int, Option("--seed", metavar="N", help="Same input, options and seed: same bytes.")]
Model = Annotated[
    str | None,
    Option(
        "--model",
        metavar="DIR|HUB_NAME|URL",
        help="Language model: a folder, a hub name or http://HOST:PORT/v1#MODEL; by default the one in the box.",
    ),
]
Truth = Annotated[
    Path | None, Option("--truth", metavar="CSV", help="What really happened (truth.csv of a recording).")
]
Idle = Annotated[float, Option("--idle", metavar="S", help="A flow ends after this many seconds of silence.")]
Active = Annotated[
    float, Option("--active", metavar="S", help="A longer flow is reported every so many seconds.")
]


def options_of(given: Iterable[str]) -> dict[str, Any]:
    """Options of a detector from texts such as `rate=0.001`; a value that is no number or truth value is text.

    Raises OptionError for a text without a name and a value.

    >>> options_of(["rate=0.001", "pick=nearest"])
    {'rate': 0.001, 'pick': 'nearest'}
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise OptionError(f"--set {text}: expected NAME=VALUE, such as rate=0.001.")
        try:
            found[name.replace("-", "_")] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.replace("-", "_")] = value
    return found


def budget_of(given: str | None) -> Budget | None:
    """The budget of a cascade from a text: seconds `30s`, rows a second `20000/s`, or money `2.50usd`.

    Raises OptionError for anything else.
    """
    if given is None:
        return None
    from wirespeak.detect.cascade import Budget

    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|/s|usd)", given.strip().replace(",", ""))
    if found is None:
        raise OptionError(
            f"--budget {given}: expected seconds (30s), rows a second (20000/s) or money (2.50usd)."
        )
    kind = {"s": "seconds", "/s": "flows_per_s", "usd": "money"}[found[2]]
    return Budget(**{kind: float(found[1])})

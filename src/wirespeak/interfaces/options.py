"""Options that several verbs share, and what their outputs say alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

Captures = Annotated[
    list[Path], Argument(metavar="IN...", help="Captures (pcap, pcapng) or flow tables.", show_default=False)
]


def output_option(metavar: str, help: str) -> Any:
    """`-o`, as every verb has it."""
    return Option("--output", "-o", metavar=metavar, help=help, show_default=False)


Folder = Annotated[Path, output_option("DIR", "Folder for the results.")]
Seed = Annotated[int, Option("--seed", metavar="N", help="Same input, options and seed: same bytes.")]
Model = Annotated[
    str | None,
    Option("--model", metavar="DIR_OR_HUB_NAME", help="Language model; by default the one in the box."),
]
Truth = Annotated[
    Path | None, Option("--truth", metavar="CSV", help="What really happened (truth.csv of a recording).")
]
Idle = Annotated[float, Option("--idle", metavar="S", help="A flow ends after this many seconds of silence.")]
Active = Annotated[
    float, Option("--active", metavar="S", help="A longer flow is reported every so many seconds.")
]

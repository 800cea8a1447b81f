"""The one list of verbs. Each is one function that the command line, the REST API and Python callers share.

A verb joins parts that do not know each other, and returns an `Outcome`: the record of the run and what a
person reads. The parts are imported inside the verbs, so that `--help` stays quick. Bad input raises a
`WirespeakError`; nothing is left under a final name then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from wirespeak.interfaces.output import Outcome, Run, one_file
from wirespeak.interfaces.progress import Say, quiet

TABLES = (".parquet", ".csv", ".jsonl")

Captures = Annotated[list[Path], Argument(metavar="IN...", help="Captures: pcap or pcapng.", show_default=False)]
Folder = Annotated[Path, Option("--output", "-o", metavar="DIR", help="Folder for the results.", show_default=False)]
Seed = Annotated[int, Option("--seed", help="Same input, options and seed: same bytes.")]
Model = Annotated[
    str | None, Option("--model", metavar="DIR_OR_HUB_NAME", help="Language model; by default the one in the box.")
]
Idle = Annotated[float, Option("--idle", metavar="S", help="A flow ends after this many seconds of silence.")]
Active = Annotated[float, Option("--active", metavar="S", help="A longer flow is reported every so many seconds.")]


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def flows(
    inputs: Captures,
    output: Annotated[
        Path, Option("--output", "-o", metavar="PATH", help="A .parquet, .csv or .jsonl file, or a folder.")
    ],
    *,
    idle_s: Idle = 60.0,
    active_s: Active = 300.0,
    progress: Say = quiet,
) -> Outcome:
    """Turn captures into a table of flows, one row for each conversation.

    The columns are described in docs/columns.md. A malformed packet is counted and set aside; a capture that
    was cut off is read up to the cut.
    """
    from wirespeak.flow import read_flows

    run = Run("flows", {"inputs": inputs, "output": output, "idle": idle_s, "active": active_s}, inputs)
    with one_file(output, run, name="flows.parquet", suffixes=TABLES) as target:
        table = read_flows(inputs, idle_s=idle_s, active_s=active_s, progress=progress)
        run.count(taken=table.packets, given=table.flows.height, set_aside=table.set_aside)
        run.notes["cut"] = table.cut
        _write_table(table.flows, target)
    return Outcome(run.card([output]), f"{table.flows.height:,} flows of {table.packets:,} packets: {output}")


@dataclass(frozen=True)
class Verb:
    """A verb as it is typed, the function it is, and one way to call it."""

    name: str
    function: Callable[..., Outcome]
    example: str


GROUPS = {
    "lab": "Record labelled traffic of real devices and attacks, inside this machine.",
    "models": "The language models at hand.",
}

VERBS = (
    Verb("flows", flows, "wirespeak flows office.pcap -o flows.parquet"),
)

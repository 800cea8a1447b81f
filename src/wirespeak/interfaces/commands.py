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
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.interfaces.output import Outcome, Run, as_json, folder, one_file
from wirespeak.interfaces.progress import Say, quiet

if TYPE_CHECKING:
    import polars as pl

TABLES = (".parquet", ".csv", ".jsonl")

Captures = Annotated[
    list[Path], Argument(metavar="IN...", help="Captures (pcap, pcapng) or flow tables.", show_default=False)
]
Folder = Annotated[
    Path, Option("--output", "-o", metavar="DIR", help="Folder for the results.", show_default=False)
]
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


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Level(StrEnum):
    """How much of a flow a sentence says."""

    compact = "compact"
    basic = "basic"
    detailed = "detailed"
    rich = "rich"


class Format(StrEnum):
    """The keys of a line."""

    instruction = "instruction"
    prompt_completion = "prompt-completion"


def demo(
    *,
    output: Annotated[Path, Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path(
        "out/demo"
    ),
    seed: Seed = 7,
    progress: Say = quiet,
) -> Outcome:
    """Judge captures in the box, invent traffic, write a report.

    Takes under a minute. The captures were recorded in Wirespeak's own lab and are labelled; the model never saw them.
    """
    from wirespeak.lab.captures import DEMO

    run = Run("demo", {"output": output, "seed": seed}, [DEMO / "capture.pcap", DEMO / "truth.csv"], seed)
    with folder(output, run) as hidden:
        summary = _judge([DEMO / "capture.pcap"], hidden, run, truth=DEMO / "truth.csv", progress=progress)
        progress("writing traffic that never happened")
        _write_traffic("smart-bulb", hidden / "synthetic.pcap", minutes=3.0, seed=seed)
    return Outcome(_finished(run, output), summary)


def flows(
    inputs: Captures,
    *,
    output: Annotated[
        Path, Option("--output", "-o", metavar="PATH", help="A .parquet, .csv or .jsonl file, or a folder.")
    ],
    idle: Idle = 60.0,
    active: Active = 300.0,
    progress: Say = quiet,
) -> Outcome:
    """Turn captures into a table of flows.

    One row for each conversation. The columns are described in docs/columns.md. A malformed packet is counted and set aside; a capture that
    was cut off is read up to the cut.
    """
    from wirespeak.data import tables

    run = Run("flows", {"inputs": inputs, "output": output, "idle": idle, "active": active}, inputs)
    with one_file(output, run, name="flows.parquet", suffixes=TABLES) as target:
        table = _read(inputs, run, idle=idle, active=active, progress=progress)
        tables.write(table, target)
    return Outcome(_finished(run, output), f"{_said(run, 'packets', 'flows')}: {output}")


def textify(
    inputs: Captures,
    *,
    output: Annotated[Path, Option("--output", "-o", metavar="PATH", help="A .jsonl file, or a folder.")],
    level: Annotated[Level, Option("--level", help="How much of a flow a sentence says.")] = Level.compact,
    format: Annotated[Format, Option("--format", help="The keys of a line.")] = Format.instruction,
    truth: Truth = None,
    idle: Idle = 60.0,
    active: Active = 300.0,
    progress: Say = quiet,
) -> Outcome:
    """Turn flows into sentences for a language model.

    One JSON line for each flow. With --truth the right label is the answer; without, the answer is null.
    """
    from wirespeak.text import examples

    options = {"inputs": inputs, "output": output, "level": level, "format": format, "truth": truth}
    run = Run("textify", {**options, "idle": idle, "active": active}, [*inputs, *_given(truth)])
    with one_file(output, run, name="examples.jsonl", suffixes=(".jsonl",)) as target:
        table = _read(inputs, run, idle=idle, active=active, progress=progress)
        labels = _labels(table, truth)
        examples.write(table, labels, target, level=level, format=format)
    return Outcome(_finished(run, output), f"{_said(run, 'packets', 'sentences')}: {output}")


def detect(
    inputs: Captures,
    *,
    output: Folder,
    detector: Annotated[str, Option("--detector", metavar="NAME", help="What judges.")] = "language",
    model: Model = None,
    truth: Truth = None,
    device: Annotated[Device, Option("--device", help="Where the model runs.")] = Device.auto,
    idle: Idle = 60.0,
    active: Active = 300.0,
    progress: Say = quiet,
) -> Outcome:
    """Say what happened, why, and what to do about it.

    Writes verdicts.parquet (one row a flow), incidents.json ([] when all is ordinary), report.html and
    run.json. With --truth the report shows how often the verdicts are right.
    """
    options = {"inputs": inputs, "output": output, "detector": detector, "model": model, "truth": truth}
    options |= {"device": device, "idle": idle, "active": active}
    run = Run("detect", options, [*inputs, *_given(truth), *_given_folder(model)])
    with folder(output, run) as hidden:
        summary = _judge(
            inputs, hidden, run, detector=detector, model=model, truth=truth, device=device, idle=idle, active=active,
            progress=progress,
        )  # fmt: skip
    return Outcome(_finished(run, output), summary)


def generate(
    *,
    profile: Annotated[
        str, Option("--profile", metavar="NAME", help="Device or attack to imitate.", show_default=False)
    ],
    output: Annotated[
        Path, Option("--output", "-o", metavar="PATH", help="A .pcap, .csv or .parquet file, or a folder.")
    ],
    minutes: Annotated[
        float, Option("--minutes", metavar="M", help="How long the traffic lasts.", min=0.01)
    ] = 10.0,
    seed: Seed = 0,
    model: Model = None,
    progress: Say = quiet,
) -> Outcome:
    """Write traffic that never happened but could have.

    Packets with real headers, real protocol bytes and the rhythm of the profile. A .pcap holds the packets; a .csv or .parquet holds their flow table.
    """
    options = {"profile": profile, "output": output, "minutes": minutes, "seed": seed, "model": model}
    run = Run("generate", options, _given_folder(model), seed)
    with one_file(output, run, name=f"{profile}.pcap", suffixes=(".pcap", ".csv", ".parquet")) as target:
        progress(f"writing {minutes:g} minutes of {profile}")
        packets = _write_traffic(profile, target, minutes=minutes, seed=seed, model=model)
        run.count(taken=0, given=packets)
    return Outcome(_finished(run, output), f"{packets:,} packets of {profile}: {output}")


def record(
    *,
    scenario: Annotated[
        Path,
        Option("--scenario", metavar="FILE.toml", help="Who lives in the network and who attacks whom when."),
    ],
    output: Folder,
    seed: Annotated[
        int | None, Option("--seed", metavar="N", help="Instead of the scenario's own seed.")
    ] = None,
    progress: Say = quiet,
) -> Outcome:
    """Record labelled traffic of devices and attack tools.

    Needs Linux, root and the Debian packages docs/lab.md names. All of it happens in network namespaces that
    vanish at the end; nothing can leave them. Writes capture.pcap, truth.csv, hosts.csv, scenario.toml, run.json.
    """
    from wirespeak.lab.recorder import record as record_scenario

    recording = record_scenario(scenario, output, seed=seed, progress=progress)
    return Outcome(recording.card, f"recorded {scenario.stem}: {output}")


def list_models(*, progress: Say = quiet) -> Outcome:
    """List the language models at hand."""
    raise NotImplementedError


def describe_model(
    name: Annotated[str, Argument(metavar="NAME", help="A model's name or folder.")] = "",
    *,
    progress: Say = quiet,
) -> Outcome:
    """Print a model's card.

    What it is, what it was trained on, and how well it does.
    """
    raise NotImplementedError


def _judge(
    inputs: list[Path],
    hidden: Path,
    run: Run,
    *,
    detector: str = "language",
    model: str | None = None,
    truth: Path | None = None,
    device: str = "auto",
    idle: float = 60.0,
    active: float = 300.0,
    progress: Say = quiet,
) -> Any:
    """Judge, explain and report into the folder `hidden`. Returns what a person reads on the terminal."""
    raise NotImplementedError


def _read(inputs: list[Path], run: Run, *, idle: float, active: float, progress: Say) -> pl.DataFrame:
    """The flows of captures or tables, counted in `run`."""
    from wirespeak.data import tables
    from wirespeak.flow import read_flows

    if all(path.suffix in TABLES for path in inputs):
        table = tables.read(inputs)
        run.count(taken=table.height, given=table.height)
        return table
    measured = read_flows(inputs, idle_s=idle, active_s=active, progress=progress)
    run.count(taken=measured.packets, given=measured.flows.height, set_aside=measured.set_aside)
    run.notes["cut"] = measured.cut
    return measured.flows


@dataclass(frozen=True)
class Verb:
    """A verb as it is typed, the function it is, and one way to call it."""

    name: str
    function: Callable[..., Outcome]
    example: str


GROUPS = {
    "lab": "Real servers, devices and attacks, inside this machine.",
    "models": "The language models at hand.",
}

VERBS = (
    Verb("demo", demo, "wirespeak demo -o out/demo"),
    Verb("flows", flows, "wirespeak flows office.pcap -o flows.parquet"),
    Verb("textify", textify, "wirespeak textify office.pcap --level rich -o office.jsonl"),
    Verb("detect", detect, "wirespeak detect office.pcap -o findings"),
    Verb("generate", generate, "wirespeak generate --profile smart-bulb --minutes 10 --seed 7 -o bulb.pcap"),
    Verb("lab record", record, "wirespeak lab record --scenario scenarios/test-office.toml -o office"),
    Verb("models list", list_models, "wirespeak models list"),
    Verb("models describe", describe_model, "wirespeak models describe"),
)

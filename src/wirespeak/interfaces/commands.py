"""The one list of verbs. Each is one function that the command line, the REST API and Python callers share.

A verb joins parts that do not know each other, and returns an `Outcome`: the record of the run and what a
person reads. The parts are imported inside the verbs, so that `--help` stays quick. Bad input raises a
`WirespeakError`; nothing is left under a final name then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.errors import InputError, OptionError
from wirespeak.interfaces import labelled
from wirespeak.interfaces.anonymising import anonymise
from wirespeak.interfaces.exporting import export_model
from wirespeak.interfaces.metering import flows
from wirespeak.interfaces.options import (
    Active,
    Captures,
    Folder,
    Idle,
    Model,
    Seed,
    Truth,
    budget_of,
    options_of,
    output_option,
)
from wirespeak.interfaces.output import TABLES, Outcome, Run, as_json, complete, counted, folder, one_file
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.interfaces.serving import serve

if TYPE_CHECKING:
    from rich.text import Text

CAPTURES = Path(__file__).parent.parent / "lab" / "captures"


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
    chat = "chat"


class Method(StrEnum):
    """How an open model is tuned."""

    full = "full"
    lora = "lora"
    qlora = "qlora"


class Answer(StrEnum):
    """What labels tell apart."""

    multiclass = "multiclass"
    family = "family"
    binary = "binary"
    binary_then_type = "binary-then-type"


def demo(
    *,
    output: Annotated[Path, Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path(
        "out/demo"
    ),
    seed: Seed = 7,
    progress: Say = quiet,
) -> Outcome:
    """Judge captures in the box, invent traffic, write a report.

    Takes under a minute. The captures were recorded in Wirespeak's own lab and are labelled; the model never
    saw them.
    """
    from wirespeak.interfaces import findings, traffic

    capture, truth = CAPTURES / "demo" / "capture.pcap", CAPTURES / "demo" / "truth.csv"
    run = Run("demo", {"output": output, "seed": seed}, [capture, truth], seed)
    with folder(output, run) as hidden:
        summary = findings.write([capture], hidden, run, truth=truth, progress=progress)
        progress("writing traffic that never happened")
        counts = run.counts
        traffic.write("smart-bulb", hidden / "synthetic.pcap", run, minutes=3.0, seed=seed)
        run.counts = counts  # those of the capture that was judged
    return run.done(output, _with_report(summary, output))


def textify(
    inputs: Annotated[
        list[Path],
        Argument(
            metavar="IN...", help="Captures, flow tables, or the files of one dataset.", show_default=False
        ),
    ],
    *,
    output: Annotated[Path, output_option("PATH", "A .jsonl file, or a folder.")],
    level: Annotated[Level, Option("--level", help="How much of a row a sentence says.")] = Level.compact,
    format: Annotated[Format, Option("--format", help="The keys of a line.")] = Format.instruction,
    answer: Annotated[
        Answer, Option("--answer", help="Of a dataset: what the labels tell apart.")
    ] = Answer.multiclass,
    report: Annotated[
        bool, Option("--report", help="Say what each level loses, on the terminal and in the run's record.")
    ] = False,
    truth: Truth = None,
    idle: Idle = 60.0,
    active: Active = 300.0,
    addresses: labelled.Addresses = False,
    source: labelled.Source = None,
    map: labelled.Map = None,
    on_bad_row: labelled.OnBadRow = labelled.BadRow.fail,
    progress: Say = quiet,
) -> Outcome:
    """Turn flows, or the rows of a dataset, into sentences for a language model.

    One JSON line for each row. The label of a labelled row is the answer (of captures with --truth); without, the
    answer is null. A sentence leaves out what most rows have in common; --report says how many records read alike
    at each level, and what accuracy that costs.
    """
    from wirespeak.interfaces import sentences
    from wirespeak.interfaces.recorded import parts

    options = {
        "inputs": inputs, "output": output, "level": level, "format": format, "answer": answer,
        "report": report or None, "truth": truth, "idle": idle, "active": active,
        "addresses": addresses or None, "source": source, "map": map, "on_bad_row": on_bad_row,
    }  # fmt: skip
    labelled_rows = bool(source or map) or sentences.are_rows(inputs)
    run = Run("textify", options, [*(parts(inputs) if labelled_rows else inputs), *_given(truth, map)])
    with one_file(output, run, name="examples.jsonl", suffixes=(".jsonl",)) as target:
        if labelled_rows:
            dataset = labelled.read(run, inputs, source, map, on_bad_row, progress)
            rows = sentences.of_dataset(
                dataset, level=level, format=format, answer=answer, addresses=addresses
            )
        else:
            rows = sentences.of_flows(
                inputs, run, level=level, format=format, truth=truth, idle=idle, active=active,
                progress=progress,
            )  # fmt: skip
        progress(f"writing {rows.table.height:,} sentences")
        rows.write(target)
        lost = rows.losses() if report else []
        if report:
            run.notes["levels"] = [asdict(loss) for loss in lost]
    said = f"{counted(run, rows.unit, 'sentences')}: {output}"
    return run.done(output, "\n".join([said, *([sentences.shown(lost)] if lost else [])]))


def detect(
    inputs: Captures,
    *,
    output: Folder,
    detector: Annotated[
        str,
        Option("--detector", metavar="NAME|DIR", help="What judges: a kind, or a folder that 'train' wrote."),
    ] = "language",
    model: Model = None,
    truth: Truth = None,
    device: Annotated[Device, Option("--device", help="Where the model runs.")] = Device.auto,
    abstain: Annotated[
        float | None,
        Option(
            "--abstain",
            metavar="RATE",
            help="Say unknown rather than be wrong more often than this.",
            min=1e-4,
            max=0.5,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        Option("--budget", metavar="N", help="Of a cascade: 30s, 20000/s (rows) or 2.50usd."),
    ] = None,
    large: Annotated[
        str | None,
        Option(
            "--large",
            metavar="DIR|HUB_NAME|URL",
            help="Of a cascade: a larger model to ask where its own is unsure.",
        ),
    ] = None,
    price: Annotated[
        float,
        Option(
            "--price", metavar="USD", help="What --large costs for a row, for a --budget in usd.", min=0.0
        ),
    ] = 0.0,
    idle: Idle = 60.0,
    active: Active = 300.0,
    progress: Say = quiet,
) -> Outcome:
    """Say what happened, why, and what to do about it.

    Writes verdicts.parquet (one row a flow), incidents.json ([] when all is ordinary), report.html and
    run.json. With --truth the report shows how often the verdicts are right. A detector trained on a dataset
    judges the rows of such files, in their order and in the dataset's own words.
    """
    from wirespeak.detect.saved import read_card
    from wirespeak.interfaces import findings, rows, sentences
    from wirespeak.interfaces.spending import Spending

    spending = Spending(budget_of(budget), large, price)
    spent = {"budget": budget, "large": large, "price": price or None}
    saved = next((Path(name) for name in (model, detector) if name and rows.is_saved(name)), None)
    if saved and detector not in ("language", str(saved), kind := str(read_card(saved)["kind"])):
        raise OptionError(f"{saved} is a detector of its own, a {kind}. Leave --detector {detector} out.")
    if not saved and detector == "language" and (other := sentences.other_table(inputs)):
        raise InputError(
            f"{other} is neither a capture nor a table of flows that 'wirespeak flows' wrote, and only a detector that was made for "
            "its rows can judge them. Make one with 'wirespeak train', of a model as it is with --detector zero-shot --base MODEL, and give it as --model DIR."
        )
    if saved and rows.judges_rows(saved, inputs):
        if truth or (idle, active) != (60.0, 300.0):
            raise OptionError(
                "--truth, --idle and --active are for captures: the rows of a dataset carry their labels."
            )
        options = {"inputs": inputs, "output": output, "detector": detector, "model": model, "device": device}
        options |= {"abstain": abstain, **spent}
        run = Run("detect", options, [*inputs, saved], reproducible=spending.reproducible)
        with folder(output, run) as hidden:
            said = rows.write(
                inputs, hidden, run, detector=saved, device=device, abstain=abstain, spending=spending,
                progress=progress,
            )  # fmt: skip
        return run.done(output, said)
    options = {"inputs": inputs, "output": output, "detector": detector, "model": model, "truth": truth}
    options |= {"device": device, "abstain": abstain, **spent, "idle": idle, "active": active}
    files = [*inputs, *_given(truth, saved), *([] if saved else _model_folder(model))]
    run = Run("detect", options, files, reproducible=spending.reproducible)
    with folder(output, run) as hidden:
        summary = findings.write(
            inputs,
            hidden,
            run,
            detector=str(saved or detector),
            model=None if saved else model,
            truth=truth,
            device=device,
            idle=idle,
            active=active,
            abstain=abstain,
            spending=spending,
            progress=progress,
        )
    return run.done(output, _with_report(summary, output))


def generate(
    *,
    profile: Annotated[
        str, Option("--profile", metavar="NAME", help="Device or attack to imitate.", show_default=False)
    ],
    output: Annotated[Path, output_option("PATH", "A .pcap, .parquet, .csv or .jsonl file, or a folder.")],
    minutes: Annotated[
        float, Option("--minutes", metavar="M", help="How long the traffic lasts.", min=0.01)
    ] = 10.0,
    seed: Seed = 0,
    model: Model = None,
    progress: Say = quiet,
) -> Outcome:
    """Write traffic that never happened but could have.

    Packets with real headers, real protocol bytes and the rhythm of the profile. A .pcap holds the packets,
    the others hold their flow table.
    """
    from wirespeak.interfaces import traffic

    options = {"profile": profile, "output": output, "minutes": minutes, "seed": seed, "model": model}
    run = Run("generate", options, _model_folder(model), seed)
    with one_file(output, run, name=f"{profile}.pcap", suffixes=(".pcap", *TABLES)) as target:
        doing = f"writing {minutes:g} minutes of {profile}"
        progress(doing)
        traffic.write(
            profile, target, run, minutes=minutes, seed=seed, model=model,
            progress=lambda share: progress(doing, share),
        )  # fmt: skip
    what = "flows" if output.suffix in TABLES else "packets"
    return run.done(output, f"{counted(run, 'conversations', what)}: {output}")


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
    vanish at the end; nothing can leave them. Writes capture.pcap, truth.csv, hosts.csv, scenario.toml and
    run.json.
    """
    from wirespeak.lab.recorder import record as record_scenario

    run = Run(
        "lab record",
        {"scenario": scenario, "output": output, "seed": seed},
        [scenario],
        seed,
        reproducible=False,
    )
    recording = record_scenario(
        scenario, output, seed=seed, progress=lambda share, doing: progress(doing, share)
    )
    run.seed = recording.seed
    run.count(taken=0, given=recording.packets)
    run.notes["recording"] = json.loads((output / "run.json").read_text("utf-8"))
    complete(output, run)
    said = f"{recording.packets:,} packets, {len(recording.attacks)} attacks in {recording.seconds:.0f} s: {output}"
    return run.done(output, said)


def train(
    inputs: Annotated[
        list[Path],
        Argument(
            metavar="RECORDING...|FILE...",
            help="Folders that 'wirespeak lab record' wrote, or the files of one dataset.",
            show_default=False,
        ),
    ],
    *,
    output: Folder,
    detector: Annotated[
        str,
        Option(
            "--detector",
            metavar="NAME",
            help="language, or another detector to fit to a labelled dataset, such as tuned.",
        ),
    ] = "language",
    base: Annotated[
        str | None,
        Option(
            "--base",
            metavar="DIR_OR_HUB_NAME",
            help="An open language model to tune, such as Qwen/Qwen2.5-1.5B-Instruct.",
            show_default="none: a small one from scratch",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        Option(
            "--method",
            help="Of --base: all weights, or an adapter on the model as it is or in 4 bits.",
            show_default="lora",
        ),
    ] = None,
    answer: Annotated[
        Answer, Option("--answer", help="Of a dataset: what the labels tell apart.")
    ] = Answer.multiclass,
    binary: Annotated[bool, Option("--binary", help="Short for --answer binary.")] = False,
    level: Annotated[
        Level | None,
        Option("--level", help="How much of a row a sentence says.", show_default="by the model"),
    ] = None,
    format: Annotated[
        Format | None, Option("--format", help="How the question is written.", show_default="by the model")
    ] = None,
    epochs: Annotated[
        float | None, Option("--epochs", metavar="N", help="Passes over the rows of a dataset.", min=0.001)
    ] = None,
    stages: Annotated[
        bool, Option("--stages", help="Learn from 10k, 30k, ... all rows in turn, and say what each gained.")
    ] = False,
    set: Annotated[
        list[str] | None,
        Option("--set", metavar="NAME=VALUE", help="Any other option of the detector (again for more)."),
    ] = None,
    grid: Annotated[
        Path | None,
        Option("--grid", metavar="FILE.toml", help="Values of options to choose from, on inner folds."),
    ] = None,
    before: Annotated[
        Path | None,
        Option(
            "--continue", metavar="DIR", help="Go on with a model that 'train' made, and replay what it knew."
        ),
    ] = None,
    addresses: labelled.Addresses = False,
    map: labelled.Map = None,
    on_bad_row: labelled.OnBadRow = labelled.BadRow.fail,
    steps: Annotated[
        int | None,
        Option(
            "--steps", metavar="N", help="Of recordings: updates of the weights.", min=1, show_default="3500"
        ),
    ] = None,
    leave_out: Annotated[
        str | None,
        Option(
            "--leave-out", metavar="LABEL", help="Of recordings: keep one kind of attack out of training."
        ),
    ] = None,
    device: Annotated[Device, Option("--device", help="Where a language model is trained.")] = Device.auto,
    seed: Seed = 7,
    progress: Say = quiet,
) -> Outcome:
    """Train a language model, or fit another detector to a dataset.

    Of recordings, the small model of the box is made anew: the scenarios say which train, which calibrate and which
    are left for the test; test recordings are not opened. It learns to judge flows, to explain incidents and to write
    traffic. Of a dataset, or with --base, a model learns to name the label of each row. Under an hour on two cores
    from scratch; needs wirespeak[train]. A training that was cut off goes on when the same command is given again.
    Other detectors need wirespeak[baselines].
    """
    from wirespeak.detect.saved import read_card
    from wirespeak.interfaces.recorded import are_recordings

    more, recordings = options_of(set or ()), {"steps": steps, "leave_out": leave_out}
    asked: dict[str, Any] = {"level": level, "format": format, "epochs": epochs, "stages": stages or None}
    asked |= {"device": device if device != Device.auto else None}
    own = {*asked, *recordings, "base", "method", "answer", "binary", "map", "seed"}
    if twice := next((name for name in more if name in own), None):
        raise OptionError(f"--set {twice}: that has an option of its own. Give --{twice.replace('_', '-')}.")
    asked |= more
    if before and detector == "language":
        detector = str(read_card(before)["kind"])
    if detector == "language" and not (base or before or grid) and are_recordings(inputs):
        from wirespeak.interfaces.recipe import train_recordings

        asked |= {
            "answer": answer if answer != Answer.multiclass else None,
            "binary": binary or None,
            "map": map,
        }
        return train_recordings(
            inputs, output, seed=seed, chosen=_given_alone(asked | recordings), progress=progress
        )
    if unfit := _given_alone(recordings):
        raise OptionError(f"--{next(iter(unfit)).replace('_', '-')} is for recordings alone. Leave it out.")
    asked |= {"base": base, "method": method}
    return labelled.train_detector(
        inputs, output, detector=detector, answer="binary" if binary else answer.value, addresses=addresses,
        map=map, on_bad_row=on_bad_row, seed=seed, chosen=_given_alone(asked), grid=grid, before=before, progress=progress,
    )  # fmt: skip


def _given_alone(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given, texts as plain texts."""
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in options.items()
        if value is not None
    }


def list_models(
    places: Annotated[
        list[Path] | None, Argument(metavar="[DIR...]", help="More folders to look in.", show_default=False)
    ] = None,
    *,
    progress: Say = quiet,
) -> Outcome:
    """List the language models at hand.

    The one in the box, and those that 'wirespeak train' wrote into the folders given.
    """
    from wirespeak.lm.cards import cards

    run = Run("models list", {"places": places})
    found = cards(places or ())
    run.count(taken=0, given=len(found))
    lines = [
        f"{card.name:<12} {card.parameters:>11,} parameters {card.bytes / 1e6:>8.1f} MB  {card.folder}"
        for card in found
    ]
    return run.done(None, "\n".join(lines) or "No model is at hand. Train one with 'wirespeak train'.")


def describe_model(
    name: Annotated[
        str | None,
        Argument(metavar="[NAME]", help="A model's name or folder; by default the one in the box."),
    ] = None,
    *,
    progress: Say = quiet,
) -> Outcome:
    """Print a model's card.

    What it is, what it was trained on, and how well it does.
    """
    from wirespeak.lm.cards import find_card

    run = Run("models describe", {"name": name})
    card = find_card(name)
    run.count(taken=0, given=1)
    return run.done(None, as_json(card.facts).rstrip())


def bench(
    *,
    output: Annotated[Path, Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path(
        "out/bench"
    ),
    progress: Say = quiet,
) -> Outcome:
    """Measure how fast this machine reads and judges.

    On the captures in the box, beside a plain forest and beside answering in text; all in one run.
    """
    from wirespeak.interfaces import measure

    recordings = sorted(truth.parent for truth in CAPTURES.glob("*/truth.csv"))
    run = Run("bench", {"output": output}, recordings, reproducible=False)
    with folder(output, run) as hidden:
        rates = measure.rates(recordings, progress=progress)
        found = {"machine": measure.machine(), "rates": [asdict(rate) for rate in rates]}
        (hidden / "bench.json").write_text(as_json(found), encoding="utf-8")
    lines = [
        f"{rate.what:<30} {_rounded(rate.value):>12} {rate.per + '/s':<18} {rate.note}".rstrip()
        for rate in rates
    ]
    return run.done(output, "\n".join(lines))


def _rounded(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _with_report(summary: Text, output: Path) -> Text:
    return summary.append(f"\n\nReport: {output / 'report.html'}", style="bold")


def _given(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _model_folder(model: str | None) -> list[Path]:
    """The folder of a model, to be hashed: the one in the box, or the one named. A hub name has none."""
    from wirespeak.lm import IN_THE_BOX

    folder = Path(model) if model else IN_THE_BOX
    return [folder] if folder.is_dir() else []


@dataclass(frozen=True)
class Verb:
    """A verb as it is typed, the function it is, and one way to call it."""

    name: str
    function: Callable[..., Outcome]
    example: str


GROUPS = {
    "data": "Labelled datasets: what there is, what it holds.",
    "evaluate": "How good it is, and how sure that is.",
    "lab": "Real servers, devices and attacks, inside this machine.",
    "models": "The language models at hand.",
}

VERBS = (
    Verb("demo", demo, "wirespeak demo -o out/demo"),
    Verb("flows", flows, "wirespeak flows office.pcap -o flows.parquet"),
    Verb("anonymise", anonymise, "wirespeak anonymise office.pcap --key-out office.key -o shared.pcap"),
    Verb("textify", textify, "wirespeak textify office.pcap --level rich -o office.jsonl"),
    Verb("detect", detect, "wirespeak detect office.pcap -o findings"),
    Verb("train", train, "wirespeak train recordings/* -o model"),
    Verb("generate", generate, "wirespeak generate --profile smart-bulb --minutes 10 --seed 7 -o bulb.pcap"),
    Verb("lab record", record, "wirespeak lab record --scenario scenarios/demo.toml -o office"),
    Verb("models list", list_models, "wirespeak models list"),
    Verb("models describe", describe_model, "wirespeak models describe"),
    Verb("models export", export_model, "wirespeak models export model --to gguf -o model.gguf"),
    Verb("audit", labelled.audit, "wirespeak audit KDDTrain+.txt -o audit"),
    Verb("split", labelled.split, "wirespeak split KDDTrain+.txt --by names-out --dedupe -o nsl-kdd"),
    Verb(
        "evaluate detector",
        labelled.evaluate_detector,
        "wirespeak evaluate detector --data KDDTrain+.txt --detector all --protocol names-out -o comparison",
    ),
    Verb("data list", labelled.list_datasets, "wirespeak data list downloads"),
    Verb("data describe", labelled.describe_dataset, "wirespeak data describe nsl-kdd"),
    Verb("data check", labelled.check_dataset, "wirespeak data check KDDTrain+.txt"),
    Verb("data fetch", labelled.fetch_dataset, "wirespeak data fetch nsl-kdd -o downloads"),
    Verb("serve", serve, "wirespeak serve --openai --port 8080"),
    Verb("bench", bench, "wirespeak bench -o bench/results"),
)

"""The recipe of the model in the box: recordings in, a model folder out. One command, written down once.

Train recordings teach three things: to judge a flow, to explain an incident, to write traffic. Validation
recordings choose the temperature and the evidence floor. Test recordings are not opened here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wirespeak import __version__
from wirespeak.detect.calibration import Calibration
from wirespeak.detect.cascade import make_cascade
from wirespeak.detect.language import UNKNOWN, LanguageDetector, fit_temperature, judge_examples, softmax
from wirespeak.detect.verdicts import judge
from wirespeak.errors import InputError, unknown_name
from wirespeak.evaluate.metrics import calibration_error, macro_f1
from wirespeak.interfaces.labelled import state_of
from wirespeak.interfaces.output import Outcome, Run, folder
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.lm.export import export_onnx
from wirespeak.lm.onnx import OnnxLanguageModel
from wirespeak.lm.tokenizer import BLANK, train_tokenizer
from wirespeak.lm.training import Schedule, Shape, Task, train_decoder, untrained
from wirespeak.schema import COLUMNS, LABELS, compact_columns
from wirespeak.text import Example, label_answer

# The same packets as other captures would show them: begun later, flows reported sooner.
VIEWS: tuple[dict[str, float], ...] = (
    {"active_s": 20.0, "idle_s": 20.0},
    {"skip": 0.35},
    {"skip": 0.7, "active_s": 60.0},
)
SHARES = {"judge": 0.52, "explain": 0.22, "write": 0.26}
ALONE = {"explain": 500}
BLANK_SHARE = {"judge": 0.0}
"""Words hidden while learning: none, since kinds left out of training are noticed more often without (bench/unseen.py)."""
CALIBRATING = 4_000
"""Distinct validation flows kept beside the model: those that say when to answer, and how traffic usually looks."""


@dataclass(frozen=True)
class Recipe:
    """What may be varied. leave_out: a canonical label kept out of training, for the unseen-kind runs."""

    name: str = "nano"
    shape: Shape = Shape()
    schedule: Schedule = Schedule(mean=0.999)
    vocabulary: int = 2048
    judgements: int = 200_000
    inventions: int = 30_000
    seed: int = 7
    leave_out: str | None = None
    tasks: tuple[str, ...] = ("judge", "explain", "write")
    threads: int = 2
    device: str = "auto"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """The recipe with these of its own options changed, or of its shape's and schedule's.

        Raises OptionError for one that it has not.

        >>> Recipe.of({"width": 288, "steps": 100}).shape.width
        288
        """
        plain = cls()
        free = {"name", "vocabulary", "judgements", "inventions", "seed", "leave_out", "threads", "device"}
        inner = {"shape": asdict(plain.shape), "schedule": asdict(plain.schedule)}
        known = [*free, *inner["shape"], *inner["schedule"]]
        for name in options:
            if name not in known:
                raise unknown_name("option of a training on recordings", name, known)
        shape, schedule = (
            part | {name: value for name, value in options.items() if name in part} for part in inner.values()
        )
        own = {name: value for name, value in options.items() if name in free}
        return cls(shape=Shape(**shape), schedule=Schedule(**schedule), **own)


def train_recordings(
    recordings: Sequence[Path], output: Path, *, seed: int, chosen: Mapping[str, Any], progress: Say = quiet
) -> Outcome:
    """What `train` does with recordings: the model of the box anew. chosen: as `Recipe.of` takes them."""
    recipe = Recipe.of({**chosen, "seed": seed})
    run = Run(
        "train",
        {"inputs": list(recordings), "output": output, "seed": seed, **chosen},
        list(recordings),
        seed,
    )
    with folder(output, run) as hidden:
        card = make_model(recordings, hidden, recipe, progress, state_of(output))
        run.count(taken=sum(card["training"]["examples"].values()), given=1)
    shutil.rmtree(state_of(output), ignore_errors=True)
    return run.done(output, f"a model of {card['training']['parameters']:,} parameters: {output}")


def split_of(folder: Path) -> str:
    """The part (train, validation or test) that a recording's scenario declares."""
    try:
        return str(tomllib.loads((folder / "scenario.toml").read_text("utf-8"))["split"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{folder}: scenario.toml does not say 'split'. Record it with 'wirespeak lab record'."
        ) from error


def make_model(
    recordings: Sequence[Path],
    output: Path,
    recipe: Recipe | None = None,
    progress: Say = quiet,
    work: Path | None = None,
) -> dict[str, Any]:
    """Train on the train recordings, calibrate on the validation ones, write the model folder; return its card.

    output gets checkpoint/ (Hugging Face format), model.onnx (int8), tokenizer.json, card.json, what it was calibrated
    on, and cascade/ with the tree that spares it the plain flows. work: a folder for the state of the training; one that
    was cut off goes on from there.
    """
    recipe = recipe or Recipe()
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for recording in sorted(recordings):
        parts.setdefault(split_of(recording), []).append(recording)
    if not parts["train"] or not parts["validation"]:
        raise InputError(
            f"{len(parts['train'])} train and {len(parts['validation'])} validation recordings were given; at least one of each is needed."
        )
    progress("reading recordings")
    train = [read_recording(folder) for folder in parts["train"]]
    validation = [read_recording(folder) for folder in parts["validation"]]
    if recipe.leave_out:
        train = [part.without(recipe.leave_out) for part in train]
    tasks = _tasks(train, parts["train"], recipe)
    texts = (str(text) for task in tasks for one in task.examples for text in (one.prompt, one.answer))
    labels = sorted({label for part in train for label in part.labels.unique()} - {recipe.leave_out}) + [
        UNKNOWN
    ]
    tokenizer = train_tokenizer(
        texts, words=[BLANK, *(label_answer(label) for label in LABELS)], vocabulary=recipe.vocabulary
    )
    progress(", ".join(f"{len(task.examples):,} {task.name} examples" for task in tasks))
    checkpoint = output / "checkpoint"
    facts = train_decoder(
        tasks, tokenizer, checkpoint, shape=recipe.shape, schedule=recipe.schedule, seed=recipe.seed,
        threads=recipe.threads, device=recipe.device, states=work,
        progress=lambda step, steps, loss: progress(f"training, loss {loss:.3f}", step / steps),
    )  # fmt: skip
    export_onnx(checkpoint, output / "model.onnx", precision="int8")
    tokenizer.save(str(output / "tokenizer.json"))
    card: dict[str, Any] = {
        "name": recipe.name, "version": __version__, "made": datetime.now(UTC).date().isoformat(), "licence": "Apache-2.0",
        "labels": labels, "level": "compact", "temperature": 1.0, "training": facts,
        "recordings": {
            name: {folder.name: hashlib.sha256((folder / "capture.pcap").read_bytes()).hexdigest() for folder in folders}
            for name, folders in parts.items() if name != "test"
        },
        "left_out": recipe.leave_out, "reference": _reference(train),
    }  # fmt: skip
    _write_card(output, card)
    known = [_kept(part, set(card["labels"])) for part in validation]
    detector = LanguageDetector(OnnxLanguageModel(output, threads=recipe.threads), card["labels"])
    card |= _calibrate(detector, card, known)
    _write_card(output, card)
    progress("making the cascade")
    _beside(detector, train, known, output, recipe.seed)
    return card


def random_model(folder: Path, output: Path, *, seed: int = 0) -> None:
    """A model of the same shape, tokenizer and card as `folder`'s with random weights: what knows nothing."""
    from tokenizers import Tokenizer

    from wirespeak.lm.training import save

    card = json.loads((folder / "card.json").read_text("utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    save(
        untrained(tokenizer, Shape(**card["training"]["shape"]), seed=seed), tokenizer, output / "checkpoint"
    )
    export_onnx(output / "checkpoint", output / "model.onnx")
    tokenizer.save(str(output / "tokenizer.json"))
    _write_card(output, card | {"name": "random"})


def _tasks(train: list[LabelledFlows], folders: list[Path], recipe: Recipe) -> list[Task]:
    tasks = []
    for name in recipe.tasks:
        examples: list[Example] = []
        if name == "judge":
            seen = train + [read_recording(folder, **view) for folder in folders for view in VIEWS]
            seen = [part.without(recipe.leave_out) for part in seen] if recipe.leave_out else seen
            flows = pl.concat([part.flows for part in seen])
            labels = pl.concat([part.labels for part in seen])
            examples = judge_examples(flows, labels.to_list(), seed=recipe.seed, count=recipe.judgements)
        elif name == "explain":
            from wirespeak.explain import incident_records, training_examples

            records = [
                record
                for part in train
                for record in incident_records(part.flows, _certain(part.labels), evidence_floor=0.0)
            ]
            examples = training_examples(seed=recipe.seed, count=recipe.inventions, records=records)
        else:
            from wirespeak.generate import examples as scripts

            examples = _evened([example for folder in folders for example in scripts(folder)])
        tasks.append(Task(name, examples, SHARES[name], ALONE.get(name, 0), BLANK_SHARE.get(name, 0.0)))
    return tasks


def _evened(scripts: list[Example]) -> list[Example]:
    """The same scripts, those of a profile weighed so that it is drawn by the square root of how many it has."""
    profiles = [str(script.prompt).rsplit(maxsplit=1)[-1] for script in scripts]
    count = Counter(profiles)
    return [
        replace(script, weight=script.weight / count[profile] ** 0.5)
        for script, profile in zip(scripts, profiles, strict=True)
    ]


def _certain(labels: pl.Series) -> pl.DataFrame:
    """The true labels as a verdict table."""
    return pl.DataFrame({"canonical": labels, "probability": [0.999] * len(labels)})


def _beside(
    detector: LanguageDetector,
    train: list[LabelledFlows],
    known: list[LabelledFlows],
    output: Path,
    seed: int,
) -> None:
    """What stands beside the model: the rows that say when it may answer, and the cascade around it."""
    carried = [column.name for column in compact_columns()]
    flows = pl.concat([part.flows.select(carried) for part in known])
    labels = pl.concat([part.labels for part in known])
    rows = flows.with_columns(labels.alias("truth")).unique(maintain_order=True)
    some = rows.sample(min(len(rows), CALIBRATING), seed=seed, shuffle=True)
    Calibration.of(detector, some.drop("truth"), some["truth"], seed=seed).write(output)
    (output / "cascade").mkdir(exist_ok=True)
    make_cascade(
        detector, pl.concat([part.flows.select(carried) for part in train]), flows, labels.to_list(),
        output / "cascade", seed=seed, model="..",
    )  # fmt: skip


def _calibrate(
    detector: LanguageDetector, card: dict[str, Any], known: list[LabelledFlows]
) -> dict[str, Any]:
    """Temperature and evidence floor from the validation recordings, and the scores there."""
    from wirespeak.explain.incidents import fit_floor
    from wirespeak.text import compact

    flows = pl.concat([part.flows for part in known])
    labels = pl.concat([part.labels for part in known])
    table = (
        pl.DataFrame({"sentence": compact.encode(flows), "label": labels})
        .group_by("sentence", "label")
        .len()
        .sort("sentence", "label")
    )
    scores = detector.scores(table["sentence"])
    truth = np.array([card["labels"].index(label) for label in table["label"]])
    weights = table["len"].to_numpy().astype(float) ** 0.5
    detector.temperature = fit_temperature(scores, truth, weights)
    chances = softmax(scores / detector.temperature)
    answers = [card["labels"][best] for best in chances.argmax(axis=1)]
    triples = [(part.flows, judge(detector, part.flows), part.labels.to_list()) for part in known]
    floor = fit_floor(triples)
    every = [verdict for _, verdicts, _ in triples for verdict in verdicts["label"].to_list()]
    right = chances.argmax(axis=1) == truth
    return {
        "temperature": round(detector.temperature, 4),
        "evidence_floor": round(floor.floor, 4),
        "validation": {
            "flows": len(labels), "distinct": len(table), "attacks": floor.attacks, "attacks_found": floor.found, "false_incidents": floor.false,
            "macro_f1_flows": round(macro_f1(labels.to_list(), every), 4),
            "macro_f1_distinct": round(macro_f1(table["label"].to_list(), answers), 4),
            "calibration_error_distinct": round(calibration_error(chances.max(axis=1).astype(float), right), 4),
        },
    }  # fmt: skip


def _kept(part: LabelledFlows, labels: set[str]) -> LabelledFlows:
    return part.kept(part.labels.is_in(list(labels)))


def _reference(train: list[LabelledFlows]) -> dict[str, list[float]]:
    """5 and 95 % quantiles of each numeric feature over the ordinary flows of training."""
    flows = pl.concat([part.flows.filter(part.labels == "normal") for part in train])
    columns = [
        name
        for name, column in COLUMNS.items()
        if column.is_feature and column.kind not in ("category", "identity") and column.phrase
    ]
    return {name: [round(float(flows[name].quantile(q) or 0), 6) for q in (0.05, 0.95)] for name in columns}


def _write_card(output: Path, card: dict[str, Any]) -> None:
    """Beside the ONNX file and beside the checkpoint, so that either folder is a model that can judge."""
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    for place in (output, output / "checkpoint"):
        (place / "card.json").write_text(text, "utf-8")

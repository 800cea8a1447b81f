"""Language models on the rows of any table: each row becomes a sentence, and the labels are scored as answers.

`language` learns: a small decoder from scratch, or an open model tuned on the rows. `zero-shot` and `few-shot` ask a
model as it is (`asked.py`). All of them are detectors of tables like the trees, and stand in the same comparisons.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel
from wirespeak.data.dataset import Field
from wirespeak.data.split import STAGES, quotas
from wirespeak.data.wording import FLOWS, Wording, worded
from wirespeak.detect.calibration import Calibration
from wirespeak.detect.language import fit_temperature, softmax
from wirespeak.detect.memory import Memory, forgetting
from wirespeak.detect.priors import Prior
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import InputError, ModelError, OptionError, unknown_name
from wirespeak.text import Example, Question, sentences
from wirespeak.text.ask import ANSWERS, FORMATS

Progress = Callable[[str, float], None]
"""What is done, and the share of it that is."""


class Follower(Exception):
    """This process helped to train and has nothing to write: the one of rank 0 does (torchrun)."""


ORDINARY = ("normal", "benign", "benigntraffic")
"""What datasets call ordinary traffic, in lower case."""

# One group of equal rows in twenty trains nothing, one in eight where there are few: enough to calibrate on.
_OFTEN, _SELDOM, _ENOUGH, _MOST_SPARED = 8, 20, 500, 5_000
_MODEL = "model"
_CARD = {"name": "table"}
# The small decoder makes this many passes over its rows, so many at a time, and this many steps at the least.
_EPOCHS, _BATCH, _STEPS, _DROPOUT = 10, 64, 200, 0.1
# Where nobody says how many: at least so many steps.
_LEAST = 2_000
# So many of the rows that train nothing measure an open model while it is tuned.
_HELD = 400
# What cannot change when a model goes on learning.
_KEPT = ("base", "method", "level", "format", "width", "layers", "heads", "hidden", "answer")
# Options that only the small decoder has, and those that only open models have.
_OF_SMALL = ("width", "layers", "heads", "hidden", "blank", "order")
_OF_OPEN = ("method", "rank", "alpha", "length", "packing", "rows", "keep", "patience")


@dataclass(frozen=True)
class _Habits:
    """How the small decoder learns where nobody says otherwise: the share of words hidden, how far numbers are taught
    alike, in decades, and steps at most."""

    blank: float
    order: float
    most: int


_NEW_NAMES = _Habits(blank=0.4, order=0.6, most=20_000)
"""Where labels have finer names: attacks may come under names never seen."""
_KNOWN_NAMES = _Habits(blank=0.1, order=0.0, most=5_000)
"""Elsewhere, where exact sizes tell more."""


@dataclass(kw_only=True)
class Worded(TableDetector):
    """What every language model on a table shares: how rows are said, and how labels are scored.

    answer: what the labels tell apart (`text.ask.ANSWERS`); binary-then-type asks for attack or normal first, and
    then for the label among attacks. level, format: of the sentences and of the question; "" leaves it to what suits the model. fields, source: what
    is known of the table's columns, set before `fit`. precision: of the weights when asked; "": int8 of the small decoder,
    and what suits the device of an open model (`lm.pretrained.Precision`). progress is called with what is done and the share of it.
    """

    answer: str = "multiclass"
    level: str = ""
    format: str = ""
    calibrate: bool = False
    precision: str = ""
    device: str = "auto"
    fields: Mapping[str, Field] = field(default_factory=dict, init=False, repr=False)
    source: str = field(default="", init=False, repr=False)
    said: Wording = field(default_factory=lambda: worded(pl.DataFrame(), {}), init=False, repr=False)
    model: LanguageModel | None = field(default=None, init=False, repr=False)

    @property
    def question(self) -> Question:
        """What is asked of each row."""
        answer = "multiclass" if self.first else self.answer
        return question_of(
            self.said, self.labels, level=self.chosen_level, format=self.chosen_format, answer=answer
        )

    @property
    def first(self) -> bool:
        """Whether attack or normal is asked before the label."""
        return self.answer == "binary-then-type"

    @property
    def binary(self) -> Question:
        """What is asked first."""
        return binary_of(self.question)

    @property
    def ordinary(self) -> int:
        """The place of the label of ordinary traffic. Raises OptionError where no label has such a name."""
        found = [place for place, label in enumerate(self.labels) if label.casefold() in ORDINARY]
        if not found:
            raise unknown_name("label of ordinary traffic", "normal", self.labels)
        return found[0]

    def _divided(self, whole: Chances, attack: Chances) -> Chances:
        """Probabilities of the labels [rows, labels] where attack [rows] was asked first."""
        ordinary = self.ordinary
        whole[:, ordinary] = 0.0
        whole *= (attack / np.maximum(whole.sum(axis=1), 1e-12))[:, None]
        whole[:, ordinary] = 1.0 - attack
        return whole

    @property
    def chosen_level(self) -> str:
        """The level, where none was asked for too."""
        return self.level or "detailed"

    @property
    def chosen_format(self) -> str:
        """The format, where none was asked for too."""
        return self.format or "instruction"

    def sentences(self, table: pl.DataFrame) -> pl.Series:
        """The sentence of each row."""
        return sentences(table, self.chosen_level, self.said.columns(self.chosen_level))

    def _learn_words(self, flows: pl.DataFrame) -> None:
        if self.answer not in ANSWERS:
            raise unknown_name("answer", self.answer, ANSWERS)
        if self.format and self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)
        self.said = worded(flows, self.fields, self.source)
        self.said.columns(self.chosen_level)

    def _kept(self) -> dict[str, Any]:
        return {"wording": self.said.as_dict()}

    def _restore(self, card: dict[str, Any]) -> None:
        self.said = Wording.from_dict(card.get("wording", {}))


@dataclass(kw_only=True)
class Spoken(Worded):
    """A language model that learnt the rows: a small decoder from scratch, or `base` tuned by `method`.

    base: hub name or folder of an open model, "" for none. method: full, lora or qlora. epochs: passes over the
    distinct rows; 0 leaves it to the model. balance: rows of a label weigh its count to the power of minus this. tau: the
    power of a label's share of these weights that its probability is divided by (logit adjustment; Menon et al. 2021).
    stages: learn from 10k, 30k, ... all rows in turn, each stage from where the one before it ended.

    rate, batch (rows of an update), dropout: 0, 0 and below 0 leave them to the model: 0.001, 64 and 0.1 for the small decoder,
    what `lm.tuning.Plan` says for an open one.
    Of the small decoder alone: width, layers, heads, hidden; blank, the share of a row's words hidden at a time, so that
    no answer hangs on one column (below 0: 0.4 where labels have finer names, some of which may never have been seen,
    else 0.1); order, how far the numbers of a column are taught alike, in decades (`lm.order`; below 0: 0.6 there, else 0).
    Of an open model alone: method ("": lora), rank, alpha of the adapter (0: the base's own), length in tokens, packing, rows (of
    an update, computed at a time on each device), keep (updates between checkpoints), patience (of them without a
    gain before it stops; 0: never).

    before: the folder of a saved one to go on with, set before `fit`; what it learnt is learnt again beside the new
    rows, and what it forgot is measured. work: a folder for the state of a training that may be cut off.
    """

    balance: float = 0.4
    base: str = ""
    method: str = ""
    epochs: float = 0.0
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 256
    dropout: float = -1.0
    blank: float = -1.0
    order: float = -1.0
    rate: float = 0.0
    batch: int = 0
    rows: int = 8
    rank: int = 0
    alpha: int = 0
    length: int = 1024
    packing: bool = False
    keep: int = 500
    patience: int = 0
    tau: float = 0.0
    stages: bool = False
    name: str = field(default="language", init=False)
    before: Path | None = field(default=None, init=False, repr=False)
    work: Path | None = field(default=None, init=False, repr=False)
    progress: Progress | None = field(default=None, init=False, repr=False)
    prior: Prior = field(default_factory=lambda: Prior(()), init=False, repr=False)
    calibration: Calibration | None = field(default=None, init=False, repr=False)
    memory: Memory = field(default_factory=Memory, init=False, repr=False)
    facts: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _finer: bool = field(default=False, init=False, repr=False)
    _earlier: Spoken | None = field(default=None, init=False, repr=False)
    _place: Any = field(default=None, init=False, repr=False)
    _home: Path | None = field(default=None, init=False, repr=False)

    @property
    def chosen_level(self) -> str:
        """Compact for the small decoder, detailed for open models: a record of `rich` is five times as long."""
        return self.level or ("detailed" if self.base else "compact")

    @property
    def chosen_format(self) -> str:
        """Our own few words for the small decoder, a conversation for open models."""
        return self.format or ("chat" if self.base else "prompt-completion")

    def _begin(self, flows: pl.DataFrame, labels: Sequence[str], seed: int) -> Codes:
        codes = super()._begin(flows, labels, seed)
        if self.before is None:
            return codes
        earlier = self._earlier = type(self).load(self.before, device=self.device)
        earlier.encoding.check(flows)
        if not self.base and not earlier.base and not (self.before / _MODEL / "checkpoint").is_dir():
            raise ModelError(
                f"{self.before} holds no weights to go on with: it was exported. Continue what it was exported from."
            )
        plain = type(self)()
        for name in _KEPT:
            if getattr(self, name) == getattr(plain, name):
                setattr(self, name, getattr(earlier, name))
            elif getattr(self, name) != getattr(earlier, name):
                raise OptionError(
                    f"{self.before} was made with another {name}. Leave that out to go on with it."
                )
        said = np.asarray(self.labels)[codes]
        self.labels = (*earlier.labels, *(label for label in self.labels if label not in earlier.labels))
        return np.array([self.labels.index(label) for label in said], np.int64)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        self._check()
        self._finer = len(np.unique(names)) > len(np.unique(codes))
        if self._earlier is None:
            self._learn_words(flows)
        else:
            self.said, self.memory = self._earlier.said, self._earlier.memory
        said = self.sentences(flows)
        # What reads the same must not stand on both sides: the model knows a row by its sentence.
        learn, spared = self._as_before(said, *spared_rows(said.rank("dense").to_numpy(), codes, self.seed))
        # What says when to stop is not what says how sure the model is.
        stops, spared = _halves(said, spared) if self.patience else (spared, spared)
        pairs = distinct(said[learn], codes[learn])
        weight = self.weights(codes)[learn][pairs["row"].to_numpy()] * pairs["weight"].to_numpy()
        pairs = self._labelled(pairs.with_columns(weight=weight))
        held = self._labelled(distinct(said[spared], codes[spared]))
        everything = pl.concat([pairs.select("label", "weight"), self.memory.rows.select("label", "weight")])
        drawn = dict(everything.group_by("label").agg(pl.col("weight").sum()).rows())
        total = sum(drawn.values())
        self.prior = Prior(tuple(drawn.get(label, 0.0) / total for label in self.labels), tau=self.tau)
        self._place = tempfile.TemporaryDirectory(prefix="wirespeak-")
        folder = Path(self._place.name) / _MODEL
        judged = self._labelled(distinct(said[stops], codes[stops]))
        self.facts = (self._tune if self.base else self._train_small)(pairs, judged, folder)
        self._load(folder)
        self._temper(held)
        self._remember(pairs, held)
        self._finish(flows, codes, learn, spared)

    def _finish(self, flows: pl.DataFrame, codes: Codes, learn: Codes, spared: Codes) -> None:
        """What is left to do when the model has learnt: calibrate it on rows that trained nothing."""
        if len(spared):
            told = pl.Series([self.labels[code] for code in codes[spared]], dtype=pl.String)
            self.calibration = Calibration.of(self, flows[spared], told, seed=self.seed)

    def _check(self) -> None:
        """Raise OptionError for what is out of range, or would be without effect."""
        for name in ("batch", "epochs", "rate"):
            if (value := getattr(self, name)) < 0:
                raise OptionError(f"{name} is {value}: give a number above 0, or 0 to leave it to the model.")
        from wirespeak.lm import export, pretrained

        known = get_args(pretrained.Precision if self.base else export.Precision)
        if self.precision and self.precision not in known:
            raise unknown_name("precision", self.precision, known)
        idle = _OF_SMALL if self.base else _OF_OPEN
        usual = type(self)()
        if unfit := [name for name in idle if getattr(self, name) != getattr(usual, name)]:
            whose = "the small decoder, and --base names an open model" if self.base else "--base"
            raise OptionError(f"{unfit[0]} is an option of {whose}. Leave it out.")

    def _as_before(self, said: pl.Series, learn: Codes, spared: Codes) -> tuple[Codes, Codes]:
        """The same division, but that what an earlier training learnt or held out stays on its side."""
        if self._earlier is None:
            return learn, spared
        known, held = (part["sentence"].implode() for part in (self.memory.rows, self.memory.held))
        apart = np.zeros(len(said), bool)
        apart[spared] = True
        apart &= ~said.is_in(known).to_numpy()
        apart |= said.is_in(held).to_numpy()
        if apart.all():
            raise InputError(
                "every row was held out when the model learnt before: there is nothing new to learn."
            )
        return np.flatnonzero(~apart), np.flatnonzero(apart)

    def _labelled(self, pairs: pl.DataFrame) -> pl.DataFrame:
        return pairs.with_columns(
            label=pl.Series([self.labels[code] for code in pairs["code"]], dtype=pl.String)
        )

    def _temper(self, held: pl.DataFrame) -> None:
        """The temperature that suits rows that trained nothing."""
        codes = held["code"].to_numpy()
        if len(np.unique(codes)) > 1:
            logs = np.log(self.prior.correct(self._asked(held["sentence"]))).astype(np.float32)
            self.temperature = min(max(fit_temperature(logs, codes, held["weight"].to_numpy()), 0.25), 4.0)

    def _remember(self, pairs: pl.DataFrame, held: pl.DataFrame) -> None:
        """Measure what was forgotten of each earlier dataset, and keep what this one is to be remembered by."""
        if self._earlier is not None:
            earlier, self._earlier = self._earlier, None
            self.facts["forgetting"] = forgetting(
                self.memory.scores(earlier.named), self.memory.scores(self.named)
            )
        self.memory = self.memory.with_more(self.source or "table", pairs, held, seed=self.seed)

    def named(self, said: pl.Series) -> list[str]:
        """The likeliest label of each sentence."""
        return [self.labels[code] for code in self.prior.correct(self._asked(said)).argmax(axis=1)]

    def _chances(self, flows: pl.DataFrame) -> Chances:
        said = self.sentences(flows)
        each = said.unique(maintain_order=True)
        place = said.replace_strict(each, pl.int_range(len(each), eager=True), return_dtype=pl.Int64)
        return self.prior.correct(self._asked(each))[place.to_numpy()]

    def _asked(self, said: pl.Series) -> Chances:
        """Probabilities of the labels for each sentence, before any correction."""
        whole = self._scored(said, self.question)
        return self._divided(whole, self._scored(said, self.binary)[:, 0]) if self.first else whole

    def _scored(self, said: pl.Series, question: Question) -> Chances:
        assert self.model is not None
        prompts = [question.prompt(sentence) for sentence in said]
        return softmax(self.model.choose(prompts, question.answers())).astype(np.float64)

    def _examples(self, pairs: pl.DataFrame) -> list[Example]:
        """What is learnt from pairs of sentence and label."""
        question, rows = self.question, pairs.select("sentence", "label", "weight").rows()
        found = [
            Example(question.prompt(said), question.written(label), weight) for said, label, weight in rows
        ]
        if self.first:
            binary, ordinary = self.binary, self.labels[self.ordinary]
            found += [
                Example(
                    binary.prompt(said), binary.written("normal" if label == ordinary else "attack"), weight
                )
                for said, label, weight in rows
            ]
        return found

    def _turns(self, pairs: pl.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Numbers of the pairs that each stage learns from, every stage within the next; one stage unless asked."""
        everything = {"all": np.arange(len(pairs))}
        if not self.stages:
            return everything
        codes = pairs["code"].to_numpy()
        counts = np.bincount(codes)
        order = np.lexsort((np.random.default_rng(self.seed).random(len(codes)), codes))
        rank = np.empty(len(codes), np.int64)
        rank[order] = np.concatenate([np.arange(count) for count in counts])
        smaller = {
            f"{size // 1000}k": np.flatnonzero(rank < quotas(counts, size)[codes])
            for size in STAGES
            if size < len(codes)
        }
        return smaller | everything

    def _train_small(self, pairs: pl.DataFrame, held: pl.DataFrame, folder: Path) -> dict[str, Any]:
        from wirespeak.detect.saved import write_card
        from wirespeak.lm.export import export_onnx

        checkpoint = folder / "checkpoint"
        earlier = self.before / _MODEL / "checkpoint" if self.before else None
        tokenizer = self._tokenizer(pairs, earlier)
        tokenizer.save(str(_made(folder) / "tokenizer.json"))
        write_card(folder, _CARD)
        told: list[dict[str, Any]] = []
        facts: dict[str, Any] = {}
        for number, (name, rows) in enumerate(self._turns(pairs).items()):
            facts = self._stage(pairs[rows], tokenizer, checkpoint, number, checkpoint if number else earlier)
            export_onnx(checkpoint, folder / "model.onnx", precision=self.precision or "int8")  # type: ignore[arg-type]
            if self.stages:
                self._load(folder)
                score = Memory(held=_as_held(held)).scores(self.named)
                told.append(
                    {"name": name, "examples": len(rows), "macro_f1": next(iter(score.values()), None)}
                )
        return {**facts, "stages": told} if told else facts

    def _stage(
        self, pairs: pl.DataFrame, tokenizer: Any, checkpoint: Path, number: int, begin: Path | None
    ) -> dict[str, Any]:
        """Train the small decoder on these pairs and, where it goes on, on what it is to remember."""
        from wirespeak.lm.training import Schedule, Shape, Task, train_decoder

        examples, again = self._examples(pairs), self._examples(self.memory.rows)
        some = [str(example.prompt) for example in examples[:2000]]
        length = float(np.mean([len(one.ids) for one in tokenizer.encode_batch_fast(some)])) + 2
        batch = self.batch or _BATCH
        wanted = (self.epochs or _EPOCHS) * len(examples) / batch
        steps = round(max(_STEPS, wanted) if self.epochs else min(max(wanted, _LEAST), self._habits.most))
        schedule = Schedule(
            steps=steps, tokens=round(batch * length), rate=self.rate or 1e-3, warmup=min(200, steps // 10),
            keep=max(100, steps // 20), dropout=_DROPOUT if self.dropout < 0 else self.dropout, mean=0.999,
            order=self._order,
        )  # fmt: skip
        tasks = [Task("judge", examples, 0.5 if again else 1.0, blank=self._hidden)]
        if again:
            tasks.append(Task("again", again, 0.5, blank=self._hidden))
        return train_decoder(
            tasks, tokenizer, checkpoint, shape=Shape(self.width, self.layers, self.heads, self.hidden),
            schedule=schedule, seed=self.seed, threads=self.cores, device=self.device,
            states=self.work / f"stage-{number}" if self.work else None, begin=begin, progress=self._told,
        )  # fmt: skip

    @property
    def _hidden(self) -> float:
        """The share of words to hide."""
        return self.blank if self.blank >= 0 else self._habits.blank

    @property
    def _order(self) -> float:
        """How far numbers are taught alike."""
        return self.order if self.order >= 0 else self._habits.order

    @property
    def _habits(self) -> _Habits:
        return _NEW_NAMES if self._finer else _KNOWN_NAMES

    def _tokenizer(self, pairs: pl.DataFrame, earlier: Path | None) -> Any:
        from tokenizers import Tokenizer

        from wirespeak.lm.tokenizer import word_tokenizer

        counts = dict(pairs["sentence"].str.split(" ").explode().rename("word").value_counts().rows())
        answers = self.question.answers() + (self.binary.answers() if self.first else [])
        known = Tokenizer.from_file(str(earlier / "tokenizer.json")) if earlier else None
        words = ["judge", " label", " binary", *([" family"] if self.answer == "family" else [])]
        return word_tokenizer(counts, answers=answers, words=words, known=known)

    def _tune(self, pairs: pl.DataFrame, held: pl.DataFrame, folder: Path) -> dict[str, Any]:
        from wirespeak.lm.tuning import TUNED, Plan, tune

        learnt, again = self._examples(pairs), self._examples(self.memory.rows)
        turns = {
            # A stage learns the questions about its pairs, and whatever is to be remembered.
            name: [
                *(np.arange(0, len(learnt), len(pairs))[:, None] + rows).flat,
                *range(len(learnt), len(learnt) + len(again)),
            ]
            for name, rows in self._turns(pairs).items()
        }
        plan = Plan(
            epochs=self.epochs or 1.0, rate=self.rate or None, length=self.length, rank=self.rank or None,
            alpha=self.alpha or None, packing=self.packing, keep=self.keep, patience=self.patience,
            batch=self.batch or Plan.batch, rows=self.rows, dropout=None if self.dropout < 0 else self.dropout,
            stages={name: [int(row) for row in rows] for name, rows in turns.items()} if self.stages else {},
        )  # fmt: skip
        place = self.work / "tuned" if self.work else folder
        base = str(self.before / _MODEL) if self.before else self.base
        facts = tune(
            learnt + again, base, place, method=self.method or "lora",  # type: ignore[arg-type]
            validation=self._examples(held.sample(min(_HELD, len(held)), shuffle=True, seed=self.seed)), plan=plan, device=self.device, seed=self.seed,
            progress=self._told,
        )  # fmt: skip
        if int(os.environ.get("RANK", "0")):
            raise Follower
        if place == folder:
            (folder / TUNED).unlink()
        else:
            shutil.copytree(place, folder, ignore=shutil.ignore_patterns("logs", TUNED))
        return facts

    def _told(self, step: int, steps: int, loss: float) -> None:
        if self.progress:
            self.progress(f"training, loss {loss:.3f}", step / steps)

    def _load(self, folder: Path) -> None:
        from wirespeak.lm import load_model

        precision: Any = (self.base and self.precision) or "auto"
        self.model = load_model(str(folder), device=self.device, threads=self.cores, precision=precision)
        self._home = folder

    def _write(self, folder: Path) -> None:
        assert self._home is not None
        shutil.copytree(self._home, folder / _MODEL, dirs_exist_ok=True)
        self.memory.write(folder)
        if self.calibration is not None:
            self.calibration.write(folder)

    def _read(self, folder: Path) -> None:
        self._load(folder / _MODEL)
        self.memory, self.calibration = Memory.read(folder), Calibration.read(folder)

    def _kept(self) -> dict[str, Any]:
        return {**super()._kept(), "training": self.facts, "shares": list(self.prior.shares)}

    def _restore(self, card: dict[str, Any]) -> None:
        super()._restore(card)
        self.prior = Prior(tuple(card["shares"]), tau=self.tau)
        self.facts = card.get("training", {})


def question_of(said: Wording, labels: Sequence[str], *, level: str, format: str, answer: str) -> Question:
    """What is asked of each row. What the columns of a dataset mean is told where its rows are said in English."""
    columns = () if level == "compact" or said == FLOWS else said.columns(level)
    return Question(tuple(labels), format, answer, said.row, tuple(columns))


def binary_of(question: Question) -> Question:
    """Whether a record is an attack, asked in the same way."""
    return replace(question, labels=("attack", "normal"), answer="binary")


def distinct(said: pl.Series, codes: Codes) -> pl.DataFrame:
    """Distinct pairs of sentence and label, in order: row (the first such), sentence, code, weight.

    A pair weighs the root of how often it occurs: thousands of copies would drown the rest.
    """
    return (
        pl.DataFrame({"sentence": said, "code": codes})
        .with_row_index("row")
        .group_by("sentence", "code", maintain_order=True)
        .agg(pl.col("row").first(), pl.len().sqrt().alias("weight"))
    )


def spared_rows(groups: NDArray[Any], codes: Codes, seed: int) -> tuple[Codes, Codes]:
    """Numbers of the rows to learn from and of those that only calibrate.

    No group stands on both sides, and every label is among what is learnt.
    """
    _, number = np.unique(groups, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(number.max() + 1)[number]
    every = max(min(max(len(turn) // _ENOUGH, _OFTEN), _SELDOM), -(-len(turn) // _MOST_SPARED))
    apart = turn % every == 0
    lost = np.setdiff1d(codes[apart], codes[~apart])
    apart &= ~np.isin(number, number[np.isin(codes, lost)])
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _halves(said: pl.Series, rows: Codes) -> tuple[Codes, Codes]:
    """Two parts of the rows; what reads the same is in one of them."""
    first = (said.hash(seed=1) % 2 == 0).to_numpy()[rows]
    return rows[first], rows[~first]


def _as_held(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.with_columns(origin=pl.lit("held out"))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

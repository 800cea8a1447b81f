"""Language models on the rows of any table: each row becomes a sentence, and the labels are scored as answers.

`language` learns: a small decoder from scratch, or an open model tuned on the rows. `zero-shot` and `few-shot` ask a
model as it is (`asked.py`). All of them are detectors of tables like the trees, and stand in the same comparisons.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel
from wirespeak.data.dataset import Field
from wirespeak.data.wording import Wording, worded
from wirespeak.detect.language import fit_temperature, softmax
from wirespeak.detect.priors import Prior
from wirespeak.detect.table import duplicate_groups
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import unknown_name
from wirespeak.text import Example, Question, sentences
from wirespeak.text.ask import FORMATS

Progress = Callable[[str, float], None]
"""What is done, and the share of it that is."""

ORDINARY = ("normal", "benign", "benigntraffic")
"""What datasets call ordinary traffic, in lower case."""

# One group of equal rows in twenty, this many rows at most, sets the temperature and trains nothing.
_SPARED, _MOST_SPARED = 20, 5_000
_MODEL = "model"
_CARD = {"name": "table"}


@dataclass(kw_only=True)
class Worded(TableDetector):
    """What every language model on a table shares: how rows are said, and how labels are scored.

    level, format: of the sentences and of the question; "" leaves it to what suits the model. fields, source: what
    is known of the table's columns, set before `fit`. progress is called with what is done and the share of it.
    """

    level: str = ""
    format: str = ""
    calibrate: bool = False
    device: str = "auto"
    fields: Mapping[str, Field] = field(default_factory=dict, init=False, repr=False)
    source: str = field(default="", init=False, repr=False)
    said: Wording = field(default_factory=lambda: worded(pl.DataFrame(), {}), init=False, repr=False)
    model: LanguageModel | None = field(default=None, init=False, repr=False)

    @property
    def question(self) -> Question:
        """What is asked of each row."""
        columns = () if self.chosen_level == "compact" else self.said.columns(self.chosen_level)
        return Question(self.labels, self.chosen_format, columns=tuple(columns))

    @property
    def chosen_level(self) -> str:
        """The level, where none was asked for too."""
        return self.level or "rich"

    @property
    def chosen_format(self) -> str:
        """The format, where none was asked for too."""
        return self.format or "instruction"

    def sentences(self, table: pl.DataFrame) -> pl.Series:
        """The sentence of each row."""
        return sentences(table, self.chosen_level, self.said.columns(self.chosen_level))

    def _learn_words(self, flows: pl.DataFrame) -> None:
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
    distinct rows. width, layers, hidden, rate, dropout: of the small decoder. tau: the power of a label's share that
    its probability is divided by (logit adjustment; Menon et al. 2021). first: ask for attack or normal first, and
    then for the label among attacks.
    """

    base: str = ""
    method: str = "lora"
    epochs: float = 12.0
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 256
    rate: float = 1e-3
    batch: int = 64
    dropout: float = 0.1
    tau: float = 0.3
    first: bool = False
    precision: str = "int8"
    name: str = field(default="language", init=False)
    prior: Prior = field(default_factory=lambda: Prior(()), init=False, repr=False)
    facts: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    work: Path | None = field(default=None, init=False, repr=False)
    progress: Progress | None = field(default=None, init=False, repr=False)
    _place: Any = field(default=None, init=False, repr=False)

    @property
    def chosen_level(self) -> str:
        """Compact for the small decoder, rich for open models."""
        return self.level or ("rich" if self.base else "compact")

    @property
    def chosen_format(self) -> str:
        """Our own few words for the small decoder, a conversation for open models."""
        return self.format or ("chat" if self.base else "prompt-completion")

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        self._learn_words(flows)
        learn, spared = _spared(duplicate_groups(flows), self.seed)
        counts = np.bincount(codes[learn], minlength=len(self.labels)).astype(np.float64)
        self.prior = Prior(tuple((counts / counts.sum()).tolist()), tau=self.tau)
        rows = distinct(self.sentences(flows[learn]), codes[learn])
        weight = self.weights(codes)[learn][rows["row"].to_numpy()] * rows["weight"].to_numpy()
        self._place = tempfile.TemporaryDirectory(prefix="wirespeak-")
        folder = Path(self._place.name) / _MODEL
        train = self._train_small if not self.base else self._tune
        self.facts = train(rows["sentence"], rows["code"].to_numpy(), weight, folder)
        self._load(folder)
        if len(spared) and len(np.unique(codes[spared])) > 1:
            logs = np.log(self._chances(flows[spared])).astype(np.float32)
            found = fit_temperature(logs, codes[spared], np.ones(len(spared)))
            self.temperature = min(max(found, 0.25), 4.0)

    def _chances(self, flows: pl.DataFrame) -> Chances:
        said = self.sentences(flows)
        each = said.unique(maintain_order=True)
        place = said.replace_strict(each, pl.int_range(len(each), eager=True), return_dtype=pl.Int64)
        return self.prior.correct(self._asked(each))[place.to_numpy()]

    def _asked(self, said: pl.Series) -> Chances:
        """Probabilities of the labels for each sentence, before any correction."""
        whole = self._scored(said, self.question)
        if not self.first:
            return whole
        ordinary = self.ordinary
        attack = self._scored(said, Question(("attack", "normal"), self.chosen_format, "binary"))[:, :1]
        whole[:, ordinary] = 0.0
        whole *= attack / np.maximum(whole.sum(axis=1, keepdims=True), 1e-12)
        whole[:, ordinary] = 1.0 - attack[:, 0]
        return whole

    def _scored(self, said: pl.Series, question: Question) -> Chances:
        assert self.model is not None
        prompts = [question.prompt(sentence) for sentence in said]
        return softmax(self.model.choose(prompts, question.answers())).astype(np.float64)

    @property
    def ordinary(self) -> int:
        """The place of the label of ordinary traffic. Raises OptionError where no label has such a name."""
        found = [place for place, label in enumerate(self.labels) if label.casefold() in ORDINARY]
        if not found:
            raise unknown_name("label of ordinary traffic", "normal", self.labels)
        return found[0]

    def _examples(self, said: pl.Series, codes: Codes, weights: NDArray[np.float64]) -> list[Example]:
        question = self.question
        answers = [question.written(label) for label in self.labels]
        found = [
            Example(question.prompt(sentence), answers[code], weight)
            for sentence, code, weight in zip(said, codes.tolist(), weights.tolist(), strict=True)
        ]
        if self.first:
            binary = Question(("attack", "normal"), self.chosen_format, "binary")
            two = [
                binary.written("normal" if place == self.ordinary else "attack")
                for place in range(len(self.labels))
            ]
            found += [
                Example(binary.prompt(sentence), two[code], weight)
                for sentence, code, weight in zip(said, codes.tolist(), weights.tolist(), strict=True)
            ]
        return found

    def _train_small(
        self, said: pl.Series, codes: Codes, weights: NDArray[np.float64], folder: Path
    ) -> dict[str, Any]:
        from wirespeak.detect.saved import write_card
        from wirespeak.lm.export import export_onnx
        from wirespeak.lm.tokenizer import word_tokenizer
        from wirespeak.lm.training import Schedule, Shape, Task, train_decoder

        examples = self._examples(said, codes, weights)
        counts = said.str.split(" ").explode().rename("word").value_counts().rows()
        answers = sorted({example.answer for example in examples})
        tokenizer = word_tokenizer(dict(counts), answers=answers, words=("judge", " label", " binary"))
        length = (
            np.mean(
                [len(one.ids) for one in tokenizer.encode_batch_fast([e.prompt for e in examples[:2000]])]
            )
            + 2
        )
        tokens = round(self.batch * length)
        steps = max(200, round(self.epochs * len(examples) * length / tokens))
        schedule = Schedule(
            steps=steps, tokens=tokens, rate=self.rate, warmup=min(200, steps // 10), keep=max(200, steps // 20),
            dropout=self.dropout, mean=0.999,
        )  # fmt: skip
        checkpoint = folder / "checkpoint"
        facts = train_decoder(
            [Task("judge", examples, 1.0)], tokenizer, checkpoint,
            shape=Shape(self.width, self.layers, self.heads, self.hidden), schedule=schedule, seed=self.seed,
            threads=self.cores, device=self.device, states=self.work, progress=self._told,
        )  # fmt: skip
        export_onnx(checkpoint, folder / "model.onnx", precision=self.precision)  # type: ignore[arg-type]
        tokenizer.save(str(folder / "tokenizer.json"))
        write_card(folder, _CARD)
        return facts

    def _tune(
        self, said: pl.Series, codes: Codes, weights: NDArray[np.float64], folder: Path
    ) -> dict[str, Any]:
        from wirespeak.lm.tuning import Plan, tune

        return tune(
            self._examples(said, codes, weights), self.base, self.work or folder, method=self.method,  # type: ignore[arg-type]
            plan=Plan(epochs=self.epochs), device=self.device, seed=self.seed, progress=self._told,
        )  # fmt: skip

    def _told(self, step: int, steps: int, loss: float) -> None:
        if self.progress:
            self.progress(f"training, loss {loss:.3f}", step / steps)

    def _load(self, folder: Path) -> None:
        from wirespeak.lm import load_model

        self.model = load_model(str(folder), device=self.device, threads=self.cores)

    def _write(self, folder: Path) -> None:
        assert self._place is not None
        shutil.copytree(Path(self._place.name) / _MODEL, folder / _MODEL, dirs_exist_ok=True)

    def _read(self, folder: Path) -> None:
        self._load(folder / _MODEL)

    def _kept(self) -> dict[str, Any]:
        return {
            **super()._kept(), "training": self.facts, "shares": list(self.prior.shares),
        }  # fmt: skip

    def _restore(self, card: dict[str, Any]) -> None:
        super()._restore(card)
        self.prior = Prior(tuple(card.get("shares", ())), tau=self.tau)
        self.facts = card.get("training", {})


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


def _spared(groups: NDArray[np.int64], seed: int) -> tuple[Codes, Codes]:
    """Numbers of the rows to learn from and of those that only calibrate, no group on both sides."""
    _, number = np.unique(groups, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(number.max() + 1)[number]
    apart = turn % _SPARED == 0
    spared = np.flatnonzero(apart)[:_MOST_SPARED]
    return np.setdiff1d(np.arange(len(groups)), spared), spared

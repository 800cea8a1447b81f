"""A language model as a detector: each flow becomes a sentence, the label tokens are scored, once a sentence.

No rule and no threshold stands between the model and the label: the answer is the label whose token is
likeliest. The temperature that makes the probabilities honest is fitted on validation recordings
(Guo et al., "On Calibration of Modern Neural Networks", 2017) and kept in the model's card. A model without a card
of ours knows no such tokens: it is asked in plain words, and the names of the labels are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel
from wirespeak.detect.calibration import Calibration
from wirespeak.detect.saved import checked_card
from wirespeak.errors import InputError, ModelError
from wirespeak.lm import IN_THE_BOX, load_model, model_folder
from wirespeak.schema import KEYS, LABELS, WINDOWS, category, compact_columns
from wirespeak.text import Example, Question, compact, judge_prompt, label_answer, sentences
from wirespeak.text.levels import level_columns

UNKNOWN = "unknown"
# Of the examples of `unknown`, the share that lies between hostile kinds; the others lie beyond ordinary traffic.
BETWEEN = 0.35
# Rows are alike when these agree, and `_FEW` rows tell what is usual: what 99 of 100 like rows stay below.
_ALIKE, _FEW, _USUAL = ("protocol", "application", "state", "operation"), 20, 0.99
# How far beyond the usual is strange: so many times a size or a count, so many steps of a grade.
_TIMES, _STEPS = 64, 2
_SIZES = ("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes", "messages", "answers")
_PACE = ("duration_grade", "gap_grade", "rate_grade")

Values = dict[str, NDArray[np.float64]]


class LanguageDetector:
    """Keeps contracts.Detector with a language model that was tuned (or is merely asked) to name labels.

    format: how it is asked (one of text.ask.FORMATS), by default in the few words that our own models learn; in any
    other it is told the labels and what the columns of `level` mean.
    """

    name = "language"

    def __init__(
        self,
        model: LanguageModel,
        labels: Sequence[str],
        *,
        level: str = "compact",
        temperature: float = 1.0,
        format: str = "prompt-completion",
    ) -> None:
        self.model = model
        self.labels = tuple(labels)
        self.level = level
        told = () if format == "prompt-completion" else level_columns(level)
        self.question = Question(self.labels, format, columns=told)
        self.temperature = temperature
        self.distinct = 0.0
        self.calibration: Calibration | None = None

    @classmethod
    def load(
        cls, name: str | None = None, *, device: str = "auto", threads: int | None = None
    ) -> LanguageDetector:
        """The detector around a model folder or hub name; without a name, around the model in the box.

        A model without a card is asked as it is, in plain words: it is told the canonical labels and scored by the
        likelihood of their names, in its chat template where it has one, at level detailed. Raises ModelError for
        the folder of a detector that learnt a table: `load_detector` loads that.
        """
        if name and (Path(name) / "encoding.json").is_file():
            raise ModelError(
                f"{name}: holds a detector that learnt a table, with labels of its own. Give it as the detector, not as its model."
            )
        model = load_model(name, device=device, threads=threads)
        card = checked_card(getattr(model, "card", {}), f"the card of {model.name}")
        if "labels" not in card and ("words" in card or not card):
            return cls(model, tuple(LABELS), level="detailed", format=plain_format(model))
        if not {"labels", "temperature"} <= card.keys():
            raise ModelError(
                f"{model.name}: its card.json names no labels and temperature, so it was not trained to judge. Train it with 'wirespeak train'."
            )
        found = cls(
            model, card["labels"], level=card.get("level", "compact"), temperature=float(card["temperature"])
        )
        found.calibration = Calibration.read(model_folder(Path(name)) if name else IN_THE_BOX)
        return found

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """Calibrated probabilities [flows, labels]; each distinct sentence is judged once."""
        said = sentences(flows, self.level)
        distinct = said.unique(maintain_order=True)
        self.distinct = len(distinct) / max(1, len(said))
        scores = self.scores(distinct)
        where = said.replace_strict(
            distinct, pl.int_range(len(distinct), eager=True), return_dtype=pl.Int64
        ).to_numpy()
        return softmax(scores / self.temperature)[where]

    def scores(self, said: Sequence[str] | pl.Series) -> NDArray[np.float32]:
        """Log-likelihood of each label for each sentence, [sentences, labels], before calibration."""
        prompts = [self.question.prompt(sentence) for sentence in said]
        return self.model.choose(prompts, self.question.answers())

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> LanguageDetector:
        """A model is trained by `wirespeak train`, which also teaches it to explain and to write."""
        raise InputError(
            "a language detector is not fitted in place. Train a model with 'wirespeak train' and load it with --model."
        )

    def save(self, folder: Path) -> None:
        """A model is written by `wirespeak train`."""
        raise InputError(
            "a language detector is saved by 'wirespeak train'; copy the model's folder to keep it."
        )


def plain_format(model: LanguageModel) -> str:
    """The format in plain words that suits a model: turns, unless it is here and has no chat template."""
    words = getattr(model, "words", None)
    return "chat" if words is None or words.template else "instruction"


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of probabilities that sum to 1."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def fit_temperature(
    scores: NDArray[np.float32], truth: NDArray[np.int64], weights: NDArray[np.float64]
) -> float:
    """The temperature that maximises the weighted likelihood of `truth` (column numbers), by golden section."""

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        peak = scaled.max(axis=1)
        normaliser = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
        return float((weights * (normaliser - scaled[np.arange(len(truth)), truth])).sum())

    low, high, ratio = -2.0, 3.0, (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def judge_examples(
    flows: pl.DataFrame,
    labels: Sequence[str],
    *,
    seed: int,
    count: int = 200_000,
    unknown_share: float = 0.045,
    normal_share: float = 0.45,
) -> list[Example]:
    """What a model learns judging from: `count` rows drawn from the distinct ones, most of them jittered.

    Nearly half of them are ordinary traffic; hostile kinds share the rest evenly; within a label a sentence
    is drawn by the fourth root of how often it occurred, so that floods do not drown the rest. `unknown` is
    taught on rows that are like nothing known (outlier exposure; Hendrycks et al. 2019): between two hostile
    kinds, and beyond ordinary traffic.
    """
    rng = np.random.default_rng(seed)
    carried = [column.name for column in compact_columns_with(flows)]
    table = flows.select(carried).with_columns(label=pl.Series(list(labels)))
    rows = (
        table.filter(~_betrayed_by_nothing(table)).group_by([*carried, "label"], maintain_order=True).len("n")
    )
    hostile = sorted(set(rows["label"]) - {"normal"})
    unknown = count * unknown_share
    between = round(unknown * BETWEEN) if len({category(label) for label in hostile}) > 1 else 0
    beyond = round(unknown * (1 - BETWEEN)) if "normal" in set(rows["label"]) else 0
    share = {label: (1 - normal_share) / len(hostile) for label in hostile} | {"normal": normal_share}
    pull = pl.col("n").cast(pl.Float64) ** 0.25
    rows = rows.with_columns(
        chance=pull
        / pull.sum().over("label")
        * pl.col("label").replace_strict(share, return_dtype=pl.Float64)
    )
    drawn = rows[_draw(rows, count - between - beyond, rng)]
    plain = len(drawn) // 4
    moved = compact.jitter(_mixed(drawn[plain:], rng), rng=rng)
    moved = moved.filter(~_betrayed_by_nothing(moved))
    examples = _examples(drawn[:plain], drawn["label"][:plain]) + _examples(moved, moved["label"])
    strange = []
    if between:
        strange.append(_between(rows.filter(pl.col("label") != "normal"), rng, count=2 * between)[:between])
    if beyond:
        strange.append(_beyond(rows, rng, count=4 * beyond)[:beyond])
    for some in strange:
        examples += _examples(some, pl.Series([UNKNOWN] * len(some)))
    return examples


def _betrayed_by_nothing(rows: pl.DataFrame) -> pl.Series:
    """Relayed flows in whose context no address changed its MAC: ordinary to any reader, whatever the truth says."""
    changed = pl.sum_horizontal(name for name in rows.columns if "_rebinds_" in name) > 0
    relayed = (pl.col("label") == "spoof.arp") & (pl.col("protocol") != "arp")
    return rows.select((relayed & ~changed).alias("bare"))["bare"]


def _draw(rows: pl.DataFrame, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    chance = rows["chance"].to_numpy()
    return rng.choice(len(rows), count, p=chance / chance.sum())


def compact_columns_with(flows: pl.DataFrame) -> tuple[Any, ...]:
    """The compact columns; raises InputError naming those the table lacks."""
    columns = compact_columns()
    lacking = [column.name for column in columns if column.name not in flows.columns]
    if lacking:
        raise InputError(
            f"the flow table lacks {len(lacking)} columns a sentence needs, {', '.join(lacking[:4])} first. Make it with 'wirespeak flows'."
        )
    return columns


def _examples(rows: pl.DataFrame, labels: pl.Series) -> list[Example]:
    return [
        Example(judge_prompt(said), label_answer(label))
        for said, label in zip(compact.encode(rows), labels, strict=True)
    ]


def _mixed(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Rows some of whose context windows come from another row of the same label, or, for what a hostile
    source did before, from any hostile row: what came earlier says less than what the flow does."""
    labels = rows["label"].to_numpy()
    everyone = np.arange(len(rows))
    kin, hostile = everyone.copy(), everyone.copy()
    for label in sorted(set(labels)):
        members = np.flatnonzero(labels == label)
        kin[members] = rng.permutation(members)
    strangers = np.flatnonzero(labels != "normal")
    hostile[strangers] = rng.permutation(strangers)
    windows: dict[str, list[str]] = {}
    for column in compact_columns_with(rows):
        if group := compact.context_group(column):
            windows.setdefault(group, []).append(column.name)
    for group, names in sorted(windows.items()):
        chance = rng.random(len(rows))
        donor = np.where(chance < 0.12, kin, everyone)
        if group.startswith("src"):
            donor = np.where(chance > 0.95, hostile, donor)
        rows = rows.with_columns(rows[donor].select(names))
    return rows


def _between(hostile: pl.DataFrame, rng: np.random.Generator, count: int) -> pl.DataFrame:
    """Rows between two hostile kinds: each own column from the one or the other, and so each context window."""
    first, second = hostile[_draw(hostile, count, rng)], hostile[_draw(hostile, count, rng)]
    taken: dict[str, NDArray[np.bool_]] = {}
    columns = []
    for column in compact_columns_with(hostile):
        key = compact.context_group(column) or column.name
        other = taken.setdefault(key, rng.random(count) < 0.5)
        columns.append(second[column.name].zip_with(pl.Series(~other), first[column.name]))
    categories = pl.Series(
        [category(a) != category(b) for a, b in zip(first["label"], second["label"], strict=True)]
    )
    return compact.jitter(first.with_columns(columns).filter(categories), rng=rng)


def _beyond(rows: pl.DataFrame, rng: np.random.Generator, count: int) -> pl.DataFrame:
    """Ordinary rows made larger, busier or odder until they lie beyond what any row like them shows.

    Alike are rows of one protocol, application, state and operation. A row of which nothing goes far beyond the
    usual of its like, ordinary or hostile, is dropped, so fewer than `count` come back.
    """
    numbers = [column for column in compact_columns_with(rows) if column.kind != "category"]
    names = [column.name for column in numbers]
    ordinary = rows.filter(pl.col("label") == "normal")
    base = ordinary[_draw(ordinary, count, rng)]
    before = {name: base[name].to_numpy().astype(np.float64) for name in names}
    most = {name: float(rows[name].to_numpy().max()) for name in names}
    after = before | _larger(before, most, rng)
    after |= _busier(before, most, rng)
    after |= _odder(before, most, rng)
    kept = base.with_columns(pl.Series(name, after[name]).cast(rows[name].dtype) for name in names)
    return compact.jitter(kept.filter(_far(base, before, after, rows)), rng=rng)


def _far(base: pl.DataFrame, before: Values, after: Values, rows: pl.DataFrame) -> pl.Series:
    """Whether a raised number of each row lies far beyond the usual of the rows like it, whatever their label."""
    kinds = {c.name: c.kind for c in compact_columns_with(rows) if c.kind not in ("category", "tenths")}
    counted = [name for name in kinds if name not in _PACE]
    usual = (
        rows.group_by(*_ALIKE, pl.col("label") != "normal")
        .agg(pl.len().alias("alike"), pl.col(counted).quantile(_USUAL))
        .filter(pl.col("alike") >= _FEW)
        .group_by(_ALIKE)
        .agg(pl.col(counted).max())
    )
    known = base.select(_ALIKE).join(usual, on=_ALIKE, how="left", maintain_order="left")
    far = np.zeros(len(base), np.bool_)
    for name in counted:
        # nan, beyond which nothing lies, where too few rows are alike
        often = known[name].to_numpy().astype(np.float64)
        limit = often + _STEPS if kinds[name] == "grade" else often * _TIMES
        first = min(2.0**_STEPS, float(rows[name].to_numpy().max()))
        far |= (after[name] > before[name]) & (after[name] >= np.where(often == 0, first, limit))
    return pl.Series(far)


def _larger(before: Values, most: dict[str, float], rng: np.random.Generator) -> Values:
    """A fifth of the rows with all their sizes scaled by a common factor, at a pace that follows from the packets."""
    count = len(before["fwd_packets"])
    chosen = rng.random(count) < 0.2
    factor = np.exp(rng.uniform(np.log(_TIMES), np.log(4096), count))
    after = {name: np.minimum(np.rint(before[name] * factor), 2 * most[name]) for name in _SIZES}
    packets = after["fwd_packets"] + after["bwd_packets"]
    span = rng.integers(6, 18, count).astype(np.float64)
    after["duration_grade"] = span
    after["gap_grade"] = np.clip(np.floor(span - np.log2(packets) + rng.uniform(0, 8, count)), 0, span)
    after["rate_grade"] = np.floor(np.log2(1 + packets * 1000 / 2.0**span))
    return {
        name: np.where(chosen & ((before[name] > 0) | (name in _PACE)), values, before[name])
        for name, values in after.items()
    }


def _busier(before: Values, most: dict[str, float], rng: np.random.Generator) -> Values:
    """Half of the rows with busier windows of one key or of all: some of a window's grades raised, that of its
    flows at least as far as those of what is counted among them."""
    count = len(before["fwd_packets"])
    chosen = np.where(rng.random(count) < 0.5, rng.choice(4, count, p=(0.5, 0.15, 0.05, 0.3)), -1)
    height = rng.uniform(3, 12, count)
    after: Values = {}
    for number, key in enumerate(KEYS):
        here = (chosen == number) | (chosen == len(KEYS))
        for window in WINDOWS:
            lower = height - rng.uniform(0, 3, count) * (window == "2s")
            group = [c for c in compact_columns() if compact.context_group(c) == f"{key} {window}"]
            grades = [c.name for c in group if c.kind == "grade"]
            for name in grades:
                raised = np.minimum(np.floor(lower - rng.uniform(0, 1.5, count)), most[name])
                mine = here & (rng.random(count) < 0.6)
                after[name] = np.where(mine, np.maximum(raised, before[name]), before[name])
            flows = f"{key}_flows_{window}_grade"
            if flows in after:
                after[flows] = np.where(here, np.max([after[name] for name in grades], axis=0), before[flows])
    return after


def _odder(before: Values, most: dict[str, float], rng: np.random.Generator) -> Values:
    """A fifth of the rows with one count that stands for itself, anywhere up to the most ever seen of it."""
    count = len(before["fwd_packets"])
    counts = [c.name for c in compact_columns() if c.kind not in ("category", "grade", "tenths")]
    names = [name for name in counts if name not in _SIZES]
    chosen = np.where(rng.random(count) < 0.2, rng.integers(0, len(names), count), -1)
    drawn = rng.random(count)
    return {
        name: np.where(
            chosen == number, np.maximum(np.rint(max(most[name], 1) ** drawn), before[name]), before[name]
        )
        for number, name in enumerate(names)
    }

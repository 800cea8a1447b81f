"""A language model as a detector: each flow becomes a sentence, the label tokens are scored, once a sentence.

No rule and no threshold stands between the model and the label: the answer is the label whose token is
likeliest. The temperature that makes the probabilities honest is fitted on validation recordings
(Guo et al., "On Calibration of Modern Neural Networks", 2017) and kept in the model's card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel
from wirespeak.errors import InputError, ModelError
from wirespeak.lm import load_model
from wirespeak.schema import LABELS, category
from wirespeak.text import Example, compact, judge_prompt, label_answer, label_answers, sentences

UNKNOWN = "unknown"


class LanguageDetector:
    """Keeps contracts.Detector with a language model that was tuned (or is merely asked) to name labels."""

    name = "language"

    def __init__(
        self, model: LanguageModel, labels: Sequence[str], *, level: str = "compact", temperature: float = 1.0
    ) -> None:
        self.model = model
        self.labels = tuple(labels)
        self.level = level
        self.temperature = temperature
        self.distinct = 0.0

    @classmethod
    def load(
        cls, name: str | None = None, *, device: str = "auto", threads: int | None = None
    ) -> LanguageDetector:
        """The detector around a model folder or hub name; without a name, around the model in the box.

        A model without a card is asked as it is, with the canonical labels, at level detailed.
        """
        model = load_model(name, device=device, threads=threads)
        card: dict[str, Any] = getattr(model, "card", {})
        if not card:
            return cls(model, tuple(LABELS), level="detailed")
        if not {"labels", "temperature"} <= card.keys():
            raise ModelError(
                f"{model.name}: its card.json names no labels and temperature, so it was not trained to judge. Train it with 'wirespeak train'."
            )
        return cls(
            model, card["labels"], level=card.get("level", "compact"), temperature=float(card["temperature"])
        )

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
        return self.model.choose([judge_prompt(sentence) for sentence in said], label_answers(self.labels))

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
    unknown_share: float = 0.03,
    normal_share: float = 0.45,
) -> list[Example]:
    """What a model learns judging from: `count` rows drawn from the distinct ones, most of them jittered.

    Nearly half of them are ordinary traffic; hostile kinds share the rest evenly; within a label a sentence
    is drawn by the fourth root of how often it occurred, so that floods do not drown the rest. `unknown` is
    taught on rows that lie between two hostile kinds: traffic that is hostile but like nothing known (outlier
    exposure; Hendrycks et al. 2019).
    """
    rng = np.random.default_rng(seed)
    carried = [column.name for column in compact_columns_with(flows)]
    table = flows.select(carried).with_columns(label=pl.Series(list(labels)))
    rows = table.group_by([*carried, "label"], maintain_order=True).len("n")
    hostile = sorted(set(rows["label"]) - {"normal"})
    strange = round(count * unknown_share) if len({category(label) for label in hostile}) > 1 else 0
    share = {label: (1 - normal_share) / len(hostile) for label in hostile} | {"normal": normal_share}
    pull = pl.col("n").cast(pl.Float64) ** 0.25
    rows = rows.with_columns(
        chance=pull
        / pull.sum().over("label")
        * pl.col("label").replace_strict(share, return_dtype=pl.Float64)
    )
    drawn = rows[_draw(rows, count - strange, rng)]
    plain = len(drawn) // 4
    moved = compact.jitter(_mixed(drawn[plain:], rng), rng=rng)
    examples = _examples(drawn[:plain], drawn["label"][:plain]) + _examples(moved, moved["label"])
    if strange:
        mixed = _strange(rows.filter(pl.col("label") != "normal"), rng, count=2 * strange)[:strange]
        examples += _examples(mixed, pl.Series([UNKNOWN] * len(mixed)))
    return examples


def _draw(rows: pl.DataFrame, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    chance = rows["chance"].to_numpy()
    return rng.choice(len(rows), count, p=chance / chance.sum())


def compact_columns_with(flows: pl.DataFrame) -> tuple[Any, ...]:
    """The compact columns; raises InputError naming those the table lacks."""
    from wirespeak.schema import compact_columns

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


def _strange(hostile: pl.DataFrame, rng: np.random.Generator, count: int) -> pl.DataFrame:
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

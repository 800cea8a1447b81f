"""A cascade of detectors: each flow is answered by the cheapest stage that is sure enough of it.

    cache    a row equal to one answered before, in the columns that are judged, gets the same answer
    tree     a distilled tree ensemble answers where it is surer than a threshold of the label it names
    model    the detector that the tree imitates answers the rest
    large    an optional larger one answers what the model is still unsure of

The order saves sentences: rows are compared by hash before any is written, and the model reads a few in a hundred.
Thresholds are chosen on validation rows (Viola and Jones 2001 chose the stages of a cascade so; Chow 1970 is the rule
that leaves a doubtful row to another), never on rows that are judged.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.detect.calibration import Calibration
from wirespeak.detect.distilled import Distilled
from wirespeak.detect.language import UNKNOWN, LanguageDetector, judge_examples
from wirespeak.detect.saved import is_number, read_card, write_card
from wirespeak.detect.table import duplicate_groups
from wirespeak.errors import InputError, ModelError, OptionError
from wirespeak.lm import IN_THE_BOX
from wirespeak.schema import compact_columns
from wirespeak.text import compact, judge_prompt

STAGES = ("cache", "tree", "model", "large")

Chances = NDArray[np.float32]
Rows = NDArray[np.int64]

# No threshold lets a label through where too few validation rows show how often the tree errs with it.
_FEW = 20
# Rows a stage under a budget is asked at once, at first: enough to learn what one costs.
_FIRST, _MOST = 16, 1024


@dataclass(frozen=True)
class Budget:
    """What the model and the large model may cost; None is no limit.

    seconds: of one call of `predict`. flows_per_s: a call takes no longer than its rows at this pace. money: what
    the large model may cost in all calls together, at the cascade's `price` for a row.
    """

    seconds: float | None = None
    flows_per_s: float | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "flows_per_s", "money"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise OptionError(f"budget {name} is {value}, expected a number that is not negative.")

    def until(self, began: float, rows: int) -> float:
        """The time (of `perf_counter`) at which a call for `rows` rows that began then must stop asking."""
        limits = [np.inf] if self.seconds is None else [self.seconds]
        if self.flows_per_s is not None:
            limits.append(rows / self.flows_per_s if self.flows_per_s else np.inf)
        return began + min(limits)


@dataclass
class Stage:
    """What one stage did in a call. rows: answered by it; asked: distinct rows it looked at."""

    name: str
    rows: int = 0
    asked: int = 0
    seconds: float = 0.0
    money: float = 0.0


@dataclass
class Report:
    """Who answered what in one call of `predict`. over_budget: rows that a later stage should have seen."""

    rows: int = 0
    over_budget: int = 0
    stages: tuple[Stage, ...] = field(default_factory=lambda: tuple(Stage(name) for name in STAGES))

    def __getitem__(self, name: str) -> Stage:
        return self.stages[STAGES.index(name)]

    def table(self) -> pl.DataFrame:
        """One row a stage: stage, rows, share (of all rows), asked, seconds, rows_per_s (asked), money."""
        return pl.DataFrame(
            {
                "stage": [stage.name for stage in self.stages],
                "rows": [stage.rows for stage in self.stages],
                "share": [stage.rows / max(1, self.rows) for stage in self.stages],
                "asked": [stage.asked for stage in self.stages],
                "seconds": [stage.seconds for stage in self.stages],
                "rows_per_s": [
                    stage.asked / stage.seconds if stage.seconds else None for stage in self.stages
                ],
                "money": [stage.money for stage in self.stages],
            },
            schema_overrides={"rows_per_s": pl.Float64},
        )


class Cache:
    """The answers to the last `size` distinct rows. Rows are known by a hash whose key nobody outside can know."""

    def __init__(self, size: int, labels: int) -> None:
        self.size = size
        self._secret = secrets.randbits(64)
        self._answers = np.empty((size, labels), np.float32)
        self._keys: list[int | None] = [None] * size
        self._place: dict[int, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._place)

    def keys(self, rows: pl.DataFrame) -> NDArray[np.uint64]:
        """One number a row, equal for equal rows."""
        texts = [name for name, kind in rows.schema.items() if kind in (pl.Categorical, pl.Enum)]
        return rows.with_columns(pl.col(texts).cast(pl.String)).hash_rows(seed=self._secret).to_numpy()

    def find(self, keys: NDArray[np.uint64]) -> Rows:
        """Where the answer to each key lies, -1 for those not known."""
        find = self._place.get
        return np.fromiter((find(key, -1) for key in keys.tolist()), np.int64, len(keys))

    def answers(self, places: Rows) -> Chances:
        """The answers that lie there."""
        return self._answers[places]

    def keep(self, keys: NDArray[np.uint64], answers: Chances) -> None:
        """Remember the answers to keys not known so far; the oldest are forgotten."""
        keys, answers = keys[-self.size :] if self.size else keys[:0], answers[-self.size :]
        places = (self._next + np.arange(len(keys))) % max(1, self.size)
        for place, key in zip(places.tolist(), keys.tolist(), strict=True):
            if (old := self._keys[place]) is not None:
                del self._place[old]
            self._keys[place] = key
            self._place[key] = place
        self._answers[places] = answers[: len(keys)]
        self._next = int((self._next + len(keys)) % max(1, self.size))


class Cascade:
    """Keeps contracts.Detector with several others. After `predict`, `report` says who answered what."""

    name = "cascade"

    def __init__(
        self,
        detector: Detector,
        tree: Distilled,
        *,
        thresholds: Mapping[str, float] | None = None,
        large: Detector | None = None,
        doubt: float = 0.6,
        price: float = 0.0,
        budget: Budget | None = None,
        remembered: int = 200_000,
    ) -> None:
        """detector: what the tree imitates. thresholds: of each label, how sure the tree must be of it; a label
        without one is always left to the detector. large: asked where the detector is less sure than `doubt`, for
        `price` a row. remembered: distinct rows the cache holds.

        Raises ModelError where the stages do not speak of the same labels.
        """
        self.detector, self.tree, self.large = detector, tree, large
        self.labels = tuple(detector.labels)
        self.doubt, self.price, self.budget = doubt, price, budget or Budget()
        self.thresholds = dict(thresholds or {})
        self._into = {
            "tree": _places(tree, self.labels),
            "model": np.arange(len(self.labels)),
            "large": np.arange(0) if large is None else _places(large, self.labels),
        }
        self._cache = Cache(remembered, len(self.labels))
        self._pace: dict[str, float] = {}
        self._more: tuple[str, ...] = ()
        self.spent = 0.0
        self.report = Report()
        self.card: dict[str, Any] = {}

    def ask_also(self, large: Detector, price: float = 0.0, columns: Sequence[str] = ()) -> None:
        """From now on ask `large` where the detector is less sure than `doubt`, for `price` a row.

        columns: what it reads beyond what the tree does; rows that differ in them are then different rows. Raises ModelError where it does not speak of the same labels.
        """
        self.large, self.price, self._into["large"] = large, price, _places(large, self.labels)
        self._cache, self._more = Cache(self._cache.size, len(self.labels)), tuple(columns)

    @property
    def model(self) -> Any:
        """The language model of the detector, which also writes explanations; None where it has none."""
        return getattr(self.detector, "model", None)

    @property
    def calibration(self) -> Calibration | None:
        """What the detector was calibrated on; that of the tree follows from it, whose answers imitate it."""
        return getattr(self.detector, "calibration", None)

    @property
    def distinct(self) -> float:
        """Share of the rows of the last call that the cache did not answer."""
        return 1 - self.report["cache"].rows / max(1, self.report.rows)

    def predict(self, flows: pl.DataFrame) -> Chances:
        """Probabilities [flows, labels] of the last stage that each row needed, and `report`.

        Without a budget a row's answer depends on that row alone. With one, rows that it leaves over keep the answer
        of the best stage that was asked; these are counted and not remembered.
        """
        report, began = Report(rows=len(flows)), perf_counter()
        until = self.budget.until(began, len(flows))
        rows = self._judged(flows)
        keys = self._cache.keys(rows)
        distinct, first, where = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first)  # as they came: what a batch holds must not follow from a secret
        distinct, first, where = distinct[order], first[order], np.argsort(order)[where]
        places = self._cache.find(distinct)
        known, fresh = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        answers = np.empty((len(distinct), len(self.labels)), np.float32)
        answers[known] = self._cache.answers(places[known])
        report["cache"].asked = len(flows)
        report["cache"].seconds = perf_counter() - began
        answers[fresh], left = self._ask(rows[first[fresh]], until, report)
        self._cache.keep(distinct[fresh[~left]], answers[fresh[~left]])
        report["cache"].rows = len(flows) - len(fresh)
        report.over_budget = int(np.bincount(where, minlength=len(distinct))[fresh[left]].sum())
        self.report = report
        return answers[where]

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Cascade:
        """A cascade is made around a detector that has learnt, by `make_cascade`."""
        raise InputError(
            "a cascade is not fitted in place: its detector comes first. Train that and call make_cascade."
        )

    def fit_thresholds(
        self,
        flows: pl.DataFrame,
        chances: Chances,
        *,
        labels: Sequence[str] | None = None,
        share: float = 0.001,
    ) -> dict[str, float]:
        """Choose each label's threshold: the tree answers as many distinct validation rows as it may.

        chances: what the detector answered these rows. share: of macro-F1 that may be lost on them against the
        detector alone, to first order. labels: the truth; a row where the tree is wrong and the detector right then
        counts as lost. Without it any other answer than the detector's does.
        """
        rows = self._judged(flows)
        teacher = np.where(np.isfinite(chances).all(axis=1), chances.argmax(axis=1), -2)
        first, where = np.unique(duplicate_groups(rows), return_inverse=True)
        given = self.tree.predict(rows[first])[:, self._into["tree"]]
        said, sure = given.argmax(axis=1), given.max(axis=1)
        numbers = {label: place for place, label in enumerate(self.labels)}
        truth = (
            teacher if labels is None else np.array([numbers.get(label, -1) for label in labels], np.int64)
        )
        counts = np.bincount(truth[truth >= 0], minlength=len(self.labels))
        # One wrong row takes 1 / (2 n) from the F1 of the label it should have had, and of the one it got.
        pull = 0.5 / np.maximum(counts, 1) / max(1, int((counts > 0).sum()))
        lost = (said[where] != teacher) & (teacher == truth)
        each = pull[said[where]] * (counts[said[where]] > 0) + pull[truth]
        cost: NDArray[np.float64] = np.bincount(where, np.where(lost, each, 0.0)).astype(np.float64)
        self.thresholds = {
            self.labels[label]: threshold
            for label, threshold in enumerate(_thresholds(said, sure, cost, len(self.labels), share))
            if threshold is not None
        }
        return self.thresholds

    def save(self, folder: Path, *, model: str | None = None) -> None:
        """Write card.json, tree.onnx and tree.json.

        model: what `load` finds the detector by, a folder relative to this one or a hub name; None is the model in
        the box. A detector that is no language model is written into `folder`/model instead.
        """
        if not isinstance(self.detector, LanguageDetector):
            self.detector.save(folder / "model")
            model = "model"
        write_card(
            folder,
            {
                "kind": self.name,
                "labels": self.labels,
                "options": {"doubt": self.doubt},
                "seed": self.card.get("seed", 0),
                "stages": [stage for stage in STAGES if stage != "large"],
                "model": model,
                "thresholds": self.thresholds,
                **{name: self.card[name] for name in ("made_from", "validation") if name in self.card},
            },
        )
        self.tree.save(folder)

    @classmethod
    def load(
        cls,
        name: str | Path | None = None,
        *,
        model: Detector | None = None,
        large: Detector | None = None,
        device: str = "auto",
        threads: int | None = None,
        price: float = 0.0,
        budget: Budget | None = None,
    ) -> Cascade:
        """The cascade saved in a folder; without a name, or by the name cascade, the one in the box.

        model: the detector to ask, instead of the one on the card. Raises ModelError where no cascade is found.
        """
        folder = IN_THE_BOX / "cascade" if name in (None, "", "cascade") else Path(str(name))
        card = read_card(folder)
        if card["kind"] != cls.name or not isinstance(card.get("thresholds"), dict):
            raise ModelError(
                f"{folder}: its card.json describes no cascade. Make one with 'wirespeak train', or use --model cascade."
            )
        doubt = card["options"].get("doubt", 0.6)
        if not is_number(doubt):
            raise ModelError(
                f"{folder / 'card.json'}: option 'doubt' is {doubt!r:.60}, expected a number. Make the cascade again."
            )
        found = cls(
            model or _detector(folder, card.get("model"), device, threads),
            Distilled.load(folder, threads=threads or 1),
            thresholds=card["thresholds"],
            doubt=doubt,
            large=large,
            price=price,
            budget=budget,
        )
        if list(found.labels) != list(card["labels"]):
            raise ModelError(
                f"{folder}: was made for a model with other labels than {found.detector.name} has. Make the cascade again for this model."
            )
        found.card = card
        return found

    def _judged(self, flows: pl.DataFrame) -> pl.DataFrame:
        """The columns that a verdict follows from."""
        names = list(dict.fromkeys([*(column.name for column in self.tree.columns), *self._more]))
        lacking = [name for name in names if name not in flows.columns]
        if lacking:
            raise InputError(
                f"the table lacks {len(lacking)} columns that the cascade judges by, {', '.join(lacking[:4])} first. Give it what it was made for."
            )
        return flows.select(names)

    def _ask(self, rows: pl.DataFrame, until: float, report: Report) -> tuple[Chances, NDArray[np.bool_]]:
        """The answers to distinct rows, and which of them a later stage should have given."""
        began = perf_counter()
        chances = self.tree.predict(rows)[:, self._into["tree"]]
        stage = np.full(len(rows), STAGES.index("tree"))
        left = np.zeros(len(rows), np.bool_)
        limits = np.array([self.thresholds.get(label, np.inf) for label in self.labels])
        unsure = np.flatnonzero(chances.max(axis=1) < limits[chances.argmax(axis=1)])
        report["tree"].asked, report["tree"].seconds = len(rows), perf_counter() - began
        asked = self._consult("model", self.detector, rows, unsure, chances, until, report)
        stage[asked] = STAGES.index("model")
        left[np.setdiff1d(unsure, asked)] = True
        if self.large is not None:
            unsure = asked[~(chances[asked].max(axis=1) >= self.doubt)]  # no answer at all is unsure, too
            asked = self._consult("large", self.large, rows, unsure, chances, until, report)
            stage[asked] = STAGES.index("large")
            left[np.setdiff1d(unsure, asked)] = True
        for number, name in enumerate(STAGES):
            report[name].rows = int((stage == number).sum())
        return chances, left

    def _consult(
        self,
        name: str,
        detector: Detector,
        rows: pl.DataFrame,
        wanted: Rows,
        chances: Chances,
        until: float,
        report: Report,
    ) -> Rows:
        """Ask about the wanted rows while the budget lasts, the least sure first; answers go into `chances`.

        Returns the rows asked about. A row that gets no usable answer keeps the one of the stage before, if any.
        """
        began, price = perf_counter(), self.price if name == "large" else 0.0
        if price and self.budget.money is not None:
            wanted = _least_sure(wanted, chances)[: max(0, int((self.budget.money - self.spent) / price))]
        if np.isfinite(until):
            wanted = _least_sure(wanted, chances)
        done = 0
        while done < len(wanted):
            size, now = len(wanted) - done, perf_counter()
            if np.isfinite(until):
                pace = self._pace.get(name, 0.0)
                affordable = int((until - now) / pace) if pace else _FIRST * (now < until)
                size = min(size, affordable, _MOST)
            if size <= 0:
                break
            part = wanted[done : done + size]
            answers = detector.predict(rows[part])[:, self._into[name]]
            usable = np.isfinite(answers).all(axis=1) | (name == "model")
            chances[part[usable]] = answers[usable]
            self._pace[name] = (perf_counter() - now) / size
            done += size
        report[name].asked, report[name].seconds = done, perf_counter() - began
        report[name].money = price * done
        self.spent += price * done
        return wanted[:done]


def make_cascade(
    detector: Detector,
    train_flows: pl.DataFrame,
    validation_flows: pl.DataFrame,
    validation_labels: Sequence[str] | None,
    output: Path,
    *,
    seed: int = 0,
    columns: Sequence[str] | None = None,
    rows: int = 60_000,
    beside: int = 60_000,
    share: float = 0.001,
    model: str | None = None,
    threads: int = 1,
) -> Cascade:
    """Teach a tree what the detector answers, choose thresholds on validation rows, save the cascade in `output`.

    columns: what a verdict follows from; by default what a compact sentence carries where the table is of flows, else
    every column. rows: distinct training rows the detector is asked about at most. beside: so many more of flows, as no
    recording shows them: half of them a little beside real ones, half as a language model learns judging from
    (`judge_examples`), so that the tree knows what is strange, too. share: see `Cascade.fit_thresholds`. model: see
    `Cascade.save`.
    """
    carried = [column.name for column in compact_columns()]
    are_flows = all(name in train_flows.columns for name in carried)
    names = list(columns or (carried if are_flows else train_flows.columns))
    rng = np.random.default_rng(seed)
    distinct = train_flows.select(names).unique(maintain_order=True)
    shown = distinct[np.sort(rng.permutation(len(distinct))[:rows])]
    answers = detector.predict(shown)
    if beside and set(names) == set(carried):
        said = [detector.labels[best] for best in np.nan_to_num(answers, nan=-1.0).argmax(axis=1)]
        more = _beside(shown, said, beside, seed, rng)
        shown, answers = pl.concat([shown, more]), np.concatenate([answers, detector.predict(more)])
    tree = Distilled(threads=threads).imitate(shown, answers, detector.labels, seed=seed)
    made = Cascade(detector, tree)
    asked = validation_flows.select(names)
    made.fit_thresholds(asked, detector.predict(asked), labels=validation_labels, share=share)
    made.predict(asked)
    made.card = {
        "seed": seed,
        "made_from": {"rows": len(shown), "distinct": len(distinct), "share": share},
        "validation": {
            "rows": len(asked),
            "share": {stage.name: round(stage.rows / max(1, len(asked)), 4) for stage in made.report.stages},
        },
    }
    made.save(output, model=model)
    return made


def is_cascade(model: str | None) -> bool:
    """Whether `--model` names a cascade: the word cascade, or a folder that `make_cascade` wrote."""
    if model == Cascade.name:
        return True
    card = Path(model or "") / "card.json"
    try:
        return model is not None and json.loads(card.read_text(encoding="utf-8")).get("kind") == Cascade.name
    except (OSError, ValueError, AttributeError):
        return False


def _beside(
    rows: pl.DataFrame, said: Sequence[str], count: int, seed: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Flows as no recording shows them, made from `rows`, which were `said` to be of these labels."""
    near = compact.jitter(rows[rng.integers(0, len(rows), count // 2)], rng=rng)
    known = pl.Series(said) != UNKNOWN
    labels = pl.Series(said).filter(known)
    if labels.n_unique() < 2 or "normal" not in labels:
        return near
    before, after = judge_prompt("\n").split("\n")
    examples = judge_examples(rows.filter(known), labels.to_list(), seed=seed, count=count - count // 2)
    sentences = [str(example.prompt).removeprefix(before).removesuffix(after) for example in examples]
    return pl.concat(
        [
            near,
            compact.decode(sentences).select(pl.col(name).cast(kind) for name, kind in rows.schema.items()),
        ]
    )


def _thresholds(
    said: Rows, sure: Chances, cost: NDArray[np.float64], labels: int, share: float
) -> list[float | None]:
    """How sure each label must be, so that the most rows pass whose costs sum to no more than `share`.

    Each label's rows, surest first, give a curve of rows against cost; one price for a unit of cost, the same for
    every label, picks a point of each (Lagrange). The price is found by bisection.
    """
    curves = []
    for label in range(labels):
        mine = np.flatnonzero(said == label)
        mine = mine[np.argsort(-sure[mine], kind="stable")]
        ends = np.flatnonzero(np.append(sure[mine][1:] != sure[mine][:-1], True)) if len(mine) else mine
        curves.append((sure[mine][ends], ends + 1, np.cumsum(cost[mine])[ends], len(mine)))

    def chosen(price: float) -> tuple[list[float | None], float]:
        limits: list[float | None] = []
        total = 0.0
        for surety, passed, costs, rows in curves:
            gain = passed - price * costs if rows >= _FEW else np.array([-1.0])
            best = int(gain.argmax())
            limits.append(float(surety[best]) if gain[best] > 0 else None)
            total += float(costs[best]) if gain[best] > 0 else 0.0
        return limits, total

    low, high = 0.0, 1e12
    if chosen(low)[1] <= share:
        return chosen(low)[0]
    for _ in range(100):
        middle = (low + high) / 2 if low == 0 else (low * high) ** 0.5
        low, high = (low, middle) if chosen(middle)[1] <= share else (middle, high)
    return chosen(high)[0]


def _places(detector: Detector, labels: Sequence[str]) -> Rows:
    """Where in the detector's answers each label stands."""
    if sorted(detector.labels) != sorted(labels):
        raise ModelError(
            f"{detector.name} answers with {len(detector.labels)} labels, the cascade's model with {len(labels)}, not the same. Give stages made for one set of labels."
        )
    return np.array([detector.labels.index(label) for label in labels])


def _least_sure(rows: Rows, chances: Chances) -> Rows:
    return rows[np.argsort(np.nan_to_num(chances[rows].max(axis=1), nan=-1.0), kind="stable")]


def _detector(folder: Path, model: str | None, device: str, threads: int | None) -> Detector:
    """The detector a cascade's card names."""
    beside = folder / str(model)
    if model and (beside / "encoding.json").is_file():
        from wirespeak.detect.drawer import load

        return load(beside)
    name = None if model is None else str(beside.resolve()) if beside.is_dir() else model
    return LanguageDetector.load(name, device=device, threads=threads)

"""Several detectors as one: a vote, a stack, and the tuned ensemble that leans towards what is rare and unseen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.isolation import Isolation, ordinary
from wirespeak.detect.language import fit_temperature
from wirespeak.detect.priors import Prior, inner_folds, name_weights, thinned
from wirespeak.detect.table import duplicate_groups, thinned_copies
from wirespeak.detect.tabular import Chances, Codes, TableDetector, tempered
from wirespeak.errors import OptionError, missing_extra

Names = NDArray[np.str_]


@dataclass(kw_only=True)
class Vote(TableDetector):
    """The mean of its members' probabilities. members: names of other detectors."""

    members: tuple[str, ...] = ("forest", "extra-trees", "lightgbm", "hist-boost")
    calibrate: bool = False
    name: str = field(default="vote", init=False)
    parts: list[TableDetector] = field(default_factory=list, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: Names) -> None:
        self.parts = self._learnt(flows, codes, names)

    def _learnt(self, flows: pl.DataFrame, codes: Codes, names: Names) -> list[TableDetector]:
        """Each member, fitted to these rows."""
        said = np.asarray(self.labels)[codes].tolist()
        return [part.fit(flows, said, seed=self.seed) for part in self._untrained()]

    def _untrained(self) -> list[TableDetector]:
        return [self._member(name, balance=self.balance) for name in self.members]

    def _member(self, name: str, **options: Any) -> TableDetector:
        from wirespeak.detect.drawer import make

        part = make(name, threads=self.threads, **options)
        if isinstance(part, Vote | Isolation):
            raise OptionError(
                f"'{name}' cannot be a member of '{self.name}'. Name detectors of a single kind that learn labels."
            )
        return part

    def _answers(self, parts: list[TableDetector], flows: pl.DataFrame) -> list[Chances]:
        """What each part says, [rows, labels], in the order of our labels whatever a part has seen."""
        answers = []
        for part in parts:
            answer = np.zeros((len(flows), len(self.labels)))
            answer[:, [self.labels.index(label) for label in part.labels]] = part.predict(flows)
            answers.append(answer)
        return answers

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return np.asarray(np.mean(self._answers(self.parts, flows), axis=0))

    def _kept(self) -> dict[str, Any]:
        return {"parts": len(self.parts)}

    def _restore(self, card: dict[str, Any]) -> None:
        self.parts = [None] * int(card["parts"])  # type: ignore[list-item]

    def _write(self, folder: Path) -> None:
        for number, part in enumerate(self.parts):
            part.save(folder / f"part-{number}")

    def _read(self, folder: Path) -> None:
        from wirespeak.detect.drawer import load

        self.parts = [load(folder / f"part-{number}") for number in range(len(self.parts))]


@dataclass(kw_only=True)
class Stack(Vote):
    """A logistic regression over what its members say of rows they did not learn (Wolpert 1992).

    folds: inner folds, equal rows in one. rows: the inner fits see so many at most. ease: as in LogisticText.
    """

    folds: int = 3
    rows: int = 30_000
    ease: float = 0.1
    name: str = field(default="stack", init=False)
    weight: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)
    offset: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: Names) -> None:
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        rows = thinned(np.asarray(self.labels)[codes], self.rows, self.seed)
        seen, truth = [], []
        inside, known = flows[rows], codes[rows]
        plain = np.zeros(len(rows), dtype=str)
        folds = inner_folds(known, plain, duplicate_groups(inside), None, count=self.folds, seed=self.seed)
        for learn, measure in folds:
            if len(np.unique(known[learn])) > 1 and len(measure):
                parts = self._learnt(inside[learn], known[learn], plain[learn])
                seen.append(self._features(parts, inside[measure]))
                truth.append(known[measure])
        judge = LogisticRegression(C=self.ease, max_iter=300, random_state=self.seed)
        judge.fit(np.concatenate(seen), np.concatenate(truth))
        self.weight = np.zeros((len(self.labels), len(self.members) * len(self.labels)))
        self.offset = np.full(len(self.labels), -20.0)
        both = len(judge.classes_) == 2  # scikit-learn keeps one row of weights for two labels
        self.weight[judge.classes_] = np.vstack([-judge.coef_, judge.coef_]) / 2 if both else judge.coef_
        self.offset[judge.classes_] = (
            np.hstack([-judge.intercept_, judge.intercept_]) / 2 if both else judge.intercept_
        )
        self.parts = self._learnt(flows, codes, names)

    def _features(self, parts: list[TableDetector], flows: pl.DataFrame) -> Chances:
        return np.hstack([np.log(tempered(answer, 1.0)) for answer in self._answers(parts, flows)])

    def _chances(self, flows: pl.DataFrame) -> Chances:
        scores = self._features(self.parts, flows) @ self.weight.T + self.offset
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        np.savez(folder / "stack.npz", allow_pickle=False, weight=self.weight, offset=self.offset)

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        with np.load(folder / "stack.npz", allow_pickle=False) as arrays:
            self.weight, self.offset = arrays["weight"], arrays["offset"]


@dataclass(kw_only=True)
class Tuned(Vote):
    """Forests, extra trees and LightGBM with rare labels raised, corrected on inner folds.

    Given finer names, members learn the names and answer for labels; rows mixed from two names of one label are
    added, which teaches what the names have in common; and inner folds leave whole names out, so that how far
    to lean away from the ordinary label is chosen on attacks nobody has seen. Without them, extra trees that try
    half of the columns at a split and LightGBM are heard, the forest not.
    Of equal rows few are learnt, as many as their count has binary digits.
    folds: inner ones. rows: learn from so many at most; common names are cut down first. mixed: rows made for
    each label of several names. effort: more or fewer trees and rounds. How members balance labels is their recipe's.
    """

    members: tuple[str, ...] = ("forest", "extra-trees", "lightgbm")
    folds: int = 3
    rows: int = 60_000
    mixed: int = 1_500
    effort: float = 1.0
    name: str = field(default="tuned", init=False)
    prior: Prior = field(default_factory=lambda: Prior(()), init=False)
    voices: tuple[float, ...] = field(default=(), init=False)
    finer: bool = field(default=False, init=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: Names) -> None:
        rows = thinned_copies(flows, codes)
        rows = rows[thinned(names[rows], self.rows, self.seed)]
        flows, codes, names = flows[rows], codes[rows], names[rows]
        usual = ordinary(self.labels)
        place = self.labels.index(usual) if usual is not None else None
        shares = tuple((np.bincount(codes, minlength=len(self.labels)) / len(codes)).tolist())
        self.prior = Prior(shares, place)
        self.finer = len(np.unique(names)) > len(self.labels)
        self.voices = self._shares_of_the_vote()
        chances, measured = self._out_of_fold(flows, codes, names, place)
        if len(measured):
            truth = codes[measured]
            weights = name_weights(names[measured], truth, place) if self.finer else np.ones(len(measured))
            self.prior = self.prior.chosen(chances, truth, weights)
            pooled = self.prior.correct(chances)
            self.temperature = fit_temperature(np.log(pooled).astype(np.float32), truth, weights)
        self.parts = self._learnt(flows, codes, names)

    def _out_of_fold(
        self, flows: pl.DataFrame, codes: Codes, names: Names, place: int | None
    ) -> tuple[Chances, Codes]:
        """What is said of rows that were not learnt, [measured, labels], and which rows those are."""
        chances, measured = [], []
        groups = duplicate_groups(flows)
        for learn, measure in inner_folds(codes, names, groups, place, count=self.folds, seed=self.seed):
            measure = measure[np.isin(codes[measure], codes[learn])]
            if len(np.unique(codes[learn])) > 1 and len(measure):
                parts = self._learnt(flows[learn], codes[learn], names[learn])
                chances.append(self._pooled(parts, flows[measure]))
                measured.append(measure)
        if not measured:
            return np.empty((0, len(self.labels))), np.empty(0, np.int64)
        return np.concatenate(chances), np.concatenate(measured)

    def _shares_of_the_vote(self) -> tuple[float, ...]:
        """How much each member is heard. Measured, not searched: a search on inner folds chose worse than this."""
        voices = [1.0 if self.finer else _VOICES.get(member, 1.0) for member in self.members]
        total = sum(voices)
        return tuple(voice / total for voice in voices) if total else (1 / len(voices),) * len(voices)

    def _pooled(self, parts: list[TableDetector], flows: pl.DataFrame) -> Chances:
        heard = [voice for voice in self.voices if voice]
        return np.asarray(np.tensordot(heard, self._answers(parts, flows), 1))

    def _learnt(self, flows: pl.DataFrame, codes: Codes, names: Names) -> list[TableDetector]:
        said = np.asarray(self.labels)[codes]
        finer = len(set(names)) > len(set(said))
        mixed, kinds = mixtures(flows, said, names, self.mixed, self.seed) if finer else (flows[:0], [])
        taught = (
            np.array([f"{label}\t{name}" for label, name in zip(said, names, strict=True)]) if finer else said
        )
        parts = []
        for member, voice in zip(self.members, self.voices, strict=True):
            if not voice:
                continue
            recipe = (_OF_NAMES if self.finer else _OF_LABELS).get(member, {"balance": 0.5})
            options = {key: self._eased(key, value) for key, value in recipe.items()}
            part = self._member(member, calibrate=False, **options)
            # Boosting overreaches on names of a few rows, and mixtures cost it its certainty: it learns labels.
            if member in _LEARN_NAMES:
                part.fit(pl.concat([flows, mixed]), [*taught.tolist(), *kinds], seed=self.seed)
            else:
                part.fit(flows, said.tolist(), seed=self.seed)
            parts.append(part)
        return parts

    def _eased(self, key: str, value: Any) -> Any:
        return max(5, round(value * self.effort)) if key in ("trees", "rounds") else value

    def _answers(self, parts: list[TableDetector], flows: pl.DataFrame) -> list[Chances]:
        answers = []
        for part in parts:
            answer = np.zeros((len(flows), len(self.labels)))
            said = part.predict(flows)
            for column, label in enumerate(part.labels):
                answer[:, self.labels.index(label.partition("\t")[0])] += said[:, column]
            answers.append(answer)
        return answers

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return self.prior.correct(self._pooled(self.parts, flows))

    def _kept(self) -> dict[str, Any]:
        return super()._kept() | {"prior": asdict(self.prior), "voices": self.voices}

    def _restore(self, card: dict[str, Any]) -> None:
        super()._restore(card)
        self.prior = Prior(**card["prior"] | {"shares": tuple(card["prior"]["shares"])})
        self.voices = tuple(card["voices"])


_OF_NAMES: dict[str, dict[str, Any]] = {
    "forest": {"trees": 120, "leaf": 2, "balance": 0.5},
    "extra-trees": {"trees": 120, "leaf": 2, "balance": 1.0},
    "lightgbm": {"rounds": 150, "balance": 0.5},
    "hist-boost": {"rounds": 100, "balance": 0.5},
    "xgboost": {"rounds": 100, "balance": 0.5},
}
_OF_LABELS = _OF_NAMES | {"extra-trees": {"trees": 200, "leaf": 2, "balance": 0.5, "share": 0.5}}
_VOICES = {"forest": 0.0}
_LEARN_NAMES = ("forest", "extra-trees")


def mixtures(
    flows: pl.DataFrame, labels: Names, names: Names, count: int, seed: int
) -> tuple[pl.DataFrame, list[str]]:
    """`count` rows for each hostile label of several names, each column from one of two rows of any of its names.

    Rare names give as many as common ones. Returns the rows and what each is to be called: `label<tab>`.
    """
    rng = np.random.default_rng(seed)
    parts, called = [flows[:0]], []
    for label in sorted(set(labels)):
        here = np.flatnonzero(labels == label)
        _, place, counts = np.unique(names[here], return_inverse=True, return_counts=True)
        if len(counts) < 2 or label == ordinary((label,)):
            continue
        chance = 1.0 / (counts[place] * len(counts))
        one, other = flows[rng.choice(here, count, p=chance)], flows[rng.choice(here, count, p=chance)]
        pick = rng.random((count, flows.width)) < 0.5
        columns = [
            one[name].zip_with(pl.Series(pick[:, number]), other[name])
            for number, name in enumerate(flows.columns)
        ]
        parts.append(pl.DataFrame(columns))
        called += [f"{label}\t"] * count
    return pl.concat(parts), called

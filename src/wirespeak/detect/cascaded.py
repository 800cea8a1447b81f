"""`cascade` as a detector that learns a table: a language model, and a distilled tree that spares it the plain rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.cascade import Budget, Cascade, Report
from wirespeak.detect.distilled import Distilled
from wirespeak.detect.spoken import Spoken
from wirespeak.detect.tabular import Codes
from wirespeak.errors import InputError

_TREE = "tree"
# Strange rows that the tree is taught on at most, and the share of their columns that come from elsewhere.
_STRANGE, _FOREIGN = 60_000, 0.3


@dataclass(kw_only=True)
class Cascaded(Spoken):
    """A language model that learnt the rows, asked only where a tree that imitates it is not sure (`detect.cascade`).

    share: of macro-F1 that may be lost against the model alone, on rows that trained nothing. Every other option is
    the language model's. budget: of a call of `predict`, set after loading.
    """

    share: float = 0.001
    name: str = field(default="cascade", init=False)
    cascade: Cascade | None = field(default=None, init=False, repr=False)
    _thresholds: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    @property
    def budget(self) -> Budget:
        """What the model may cost in a call."""
        return self.cascade.budget if self.cascade else Budget()

    @budget.setter
    def budget(self, budget: Budget) -> None:
        if self.cascade:
            self.cascade.budget = budget

    @property
    def report(self) -> Report:
        """Who answered what in the last call of `predict`."""
        return self.cascade.report if self.cascade else Report()

    @property
    def alone(self) -> Alone:
        """The language model without the tree."""
        return Alone(self)

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """Probabilities, float32 [rows, labels], of the stage that was sure enough of each row."""
        if self.cascade is None or flows.is_empty():
            return super().predict(flows)
        self.encoding.check(flows)
        return self.cascade.predict(flows.select(column.name for column in self.encoding.columns))

    def _begin(self, flows: pl.DataFrame, labels: Sequence[str], seed: int) -> Codes:
        self.cascade = None
        return super()._begin(flows, labels, seed)

    def _finish(self, flows: pl.DataFrame, codes: Codes, learn: Codes, spared: Codes) -> None:
        """The tree around the model, how sure it must be, and the calibration of both: each on rows of its own."""
        if len(spared) < 2:
            raise InputError(
                f"{len(codes):,} rows are too few for a cascade: none are left to say how sure its tree must be. "
                "Give more rows, or train with --detector language."
            )
        rng, alone = np.random.default_rng(self.seed), self.alone
        shown = flows[learn].unique(maintain_order=True)
        shown = pl.concat([shown, strange(shown, min(_STRANGE, 2 * len(shown)), rng)])
        tree = Distilled().imitate(shown, alone.predict(shown), self.labels, seed=self.seed)
        cascade = Cascade(alone, tree)
        turn = rng.permutation(len(spared))
        some, others = spared[turn[::2]], spared[turn[1::2]]
        # Rows like none that was learnt have no truth: there the tree is held to what the model says.
        odd = strange(flows[some], len(some) // 2, rng)
        answers = alone.predict(asked := pl.concat([flows[some], odd]))
        meant = [self.labels[code] for code in [*codes[some], *answers[len(some) :].argmax(axis=1)]]
        self._thresholds = cascade.fit_thresholds(asked, answers, labels=meant, share=self.share)
        self.cascade = cascade
        super()._finish(flows, codes, learn, others)

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        assert self.cascade is not None
        (folder / _TREE).mkdir(exist_ok=True)
        self.cascade.tree.save(folder / _TREE)

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        tree = Distilled.load(folder / _TREE)
        self.cascade = Cascade(self.alone, tree, thresholds=self._thresholds)

    def _kept(self) -> dict[str, Any]:
        return {**super()._kept(), "thresholds": self._thresholds}

    def _restore(self, card: dict[str, Any]) -> None:
        super()._restore(card)
        self._thresholds = {str(label): float(limit) for label, limit in card.get("thresholds", {}).items()}


def strange(rows: pl.DataFrame, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """Rows like none that is there: each some row with part of its columns from another one.

    A tree that imitates a model on ordinary rows alone goes its own way on what is new, which is what the model is for.
    """
    if rows.is_empty():
        return rows
    first, second = rng.integers(0, len(rows), (2, count))
    one, other = rows[first], rows[second]
    return one.with_columns(
        one[name].zip_with(pl.Series(rng.random(count) >= _FOREIGN), other[name]) for name in rows.columns
    )


class Alone:
    """Keeps contracts.Detector with the language model of a cascade alone."""

    name = "language"

    def __init__(self, of: Cascaded) -> None:
        self.of, self.labels = of, of.labels

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """What the language model says, float32 [rows, labels]."""
        return Spoken.predict(self.of, flows)

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Alone:
        """It was fitted with the cascade."""
        raise InputError("the language model of a cascade is fitted with it. Fit the cascade.")

    def save(self, folder: Path) -> None:
        """It is saved with the cascade."""
        self.of.save(folder)

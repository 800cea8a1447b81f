"""Learning as rows come: small forests by blocks, the best on recent rows heard most, forgotten after a drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import InputError, missing_extra

# Of the drift watch only its recent past is kept: so many rows' outcomes.
_LOG = 5_000


@dataclass(kw_only=True)
class Online(TableDetector):
    """Accuracy-weighted forests of blocks (Wang et al. 2003) under river's ADWIN (Bifet and Gavalda 2007).

    Rows are taken in their order, oldest first. Each block is judged before it is learnt (`error` is the share
    judged wrong); when ADWIN sees the error change upwards, forests older than the change are dropped.
    block: rows. members: forests kept. trees: of each. delta: how sure ADWIN must be, smaller is surer.
    """

    block: int = 5_000
    members: int = 12
    trees: int = 40
    delta: float = 0.002
    calibrate: bool = False
    name: str = field(default="online", init=False)
    models: list[Any] = field(default_factory=list, init=False, repr=False)
    voices: list[float] = field(default_factory=list, init=False)
    log: list[int] = field(default_factory=list, init=False, repr=False)
    drifts: list[int] = field(default_factory=list, init=False)
    seen: int = field(default=0, init=False)
    wrong: int = field(default=0, init=False)
    watch: Any = field(default=None, init=False, repr=False)

    @property
    def error(self) -> float:
        """The share of rows judged wrong before they were learnt."""
        return self.wrong / max(1, self.seen)

    def learn(self, flows: pl.DataFrame, labels: Sequence[str]) -> None:
        """Learn further rows. Raises InputError for a label that `fit` has not seen."""
        strange = sorted(set(labels) - set(self.labels))
        if strange:
            raise InputError(
                f"label '{strange[0]}' was not there when the online detector was fitted. Fit it anew with rows of every label."
            )
        self.encoding.check(flows)
        self._take(flows, np.array([self.labels.index(label) for label in labels], np.int64))

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        self.models, self.voices, self.log, self.drifts = [], [], [], []
        self.seen = self.wrong = 0
        self.watch = self._watch()
        self._take(flows, codes)

    def _take(self, flows: pl.DataFrame, codes: Codes) -> None:
        for start in range(0, len(codes), self.block):
            block = slice(start, start + self.block)
            self._step(self.encoding.ranks(flows[block]), codes[block])

    def _step(self, rows: NDArray[np.float32], codes: Codes) -> None:
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        if self.models:
            wrong = (self._pooled(rows).argmax(axis=1) != codes).astype(int).tolist()
            self.seen, self.wrong = self.seen + len(wrong), self.wrong + sum(wrong)
            if self._drifted(wrong):
                self.drifts.append(self.seen)
                self.models = self.models[-1:]
            self.voices = [self._voice(model, rows, codes) for model in self.models]
        model = RandomForestClassifier(
            self.trees, random_state=self.seed + self.seen, n_jobs=self.cores, min_samples_leaf=1
        ).fit(rows, codes, self.weights(codes))
        self.models.append(model)
        self.voices.append(1.0)
        if len(self.models) > self.members:
            dropped = int(np.argmin(self.voices[:-1]))
            del self.models[dropped], self.voices[dropped]

    def _drifted(self, wrong: list[int]) -> bool:
        """Tell the watch how each row was judged; whether the error rose."""
        self.log = (self.log + wrong)[-_LOG:]
        before, risen = self.watch.estimation, False
        for one in wrong:
            self.watch.update(one)
            risen |= bool(self.watch.drift_detected) and self.watch.estimation > before
        return risen

    def _voice(self, model: Any, rows: NDArray[np.float32], codes: Codes) -> float:
        """How much better than guessing a forest is on the newest block, mean over labels; never quite silent."""
        right = model.predict(rows) == codes
        recalls = [float(right[codes == code].mean()) for code in np.unique(codes)]
        return max(sum(recalls) / len(recalls) - 1 / len(self.labels), 0.01)

    def _pooled(self, rows: NDArray[np.float32]) -> Chances:
        pooled = np.zeros((len(rows), len(self.labels)))
        for model, voice in zip(self.models, self.voices, strict=True):
            pooled[:, model.classes_] += voice * model.predict_proba(rows)
        return np.asarray(pooled / pooled.sum(axis=1, keepdims=True))

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return self._pooled(self.encoding.ranks(flows))

    def _watch(self) -> Any:
        try:
            from river.drift import ADWIN
        except ImportError as error:
            raise missing_extra("river", "baselines") from error
        return ADWIN(delta=self.delta)

    def _kept(self) -> dict[str, Any]:
        return {
            "voices": self.voices, "drifts": self.drifts, "seen": self.seen, "wrong": self.wrong,
            "log": "".join(map(str, self.log)),
        }  # fmt: skip

    def _restore(self, card: dict[str, Any]) -> None:
        self.voices, self.drifts = list(card["voices"]), list(card["drifts"])
        self.seen, self.wrong = int(card["seen"]), int(card["wrong"])
        # ADWIN has no form on disk: its recent past is told to it again.
        self.log, self.watch = [int(one) for one in card["log"]], self._watch()
        for one in self.log:
            self.watch.update(one)

    def _write(self, folder: Path) -> None:
        for number, model in enumerate(self.models):
            write_model(model, folder / f"block-{number}.skops")

    def _read(self, folder: Path) -> None:
        self.models = [read_model(folder / f"block-{number}.skops") for number in range(len(self.voices))]

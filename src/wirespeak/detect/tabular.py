"""What every detector that learns from a labelled table shares: checks, calibration, and its form on disk."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.language import fit_temperature
from wirespeak.detect.saved import read_card, write_card
from wirespeak.detect.table import Encoding, duplicate_groups
from wirespeak.errors import InputError, ModelError, OptionError, WirespeakError, unknown_name
from wirespeak.lm.prompts import first_line

Codes = NDArray[np.int64]
Chances = NDArray[np.float64]

# Calibration learns from so many rows at most and measures on half as many.
_CALIBRATION_ROWS = 20_000
# No probability is smaller: a tree that never saw a label in a leaf has not proved it impossible.
_FLOOR = 1e-4
# What an option must be, by what it usually is.
_FORMS: tuple[tuple[Any, str], ...] = (
    (int, "a whole number"), (int | float, "a number"), (str | int | float, "a text or a number"), (int | None, "a whole number or nothing"),
)  # fmt: skip


@dataclass(kw_only=True)
class TableDetector(ABC):
    """Keeps contracts.Detector for one kind of model over a table of numbers and text.

    threads: at most so many cores, by default all of the environment's. balance: rows of a label weigh its
    count to the power of minus this: 0 as they come, 1 every label alike. calibrate: fit one temperature on
    rows kept out of a second, smaller fit; it never changes which label is likeliest.
    """

    threads: int | None = None
    balance: float = 0.0
    calibrate: bool = True
    name: str = field(default="", init=False)
    labels: tuple[str, ...] = field(default=(), init=False)
    seed: int = field(default=0, init=False)
    temperature: float = field(default=1.0, init=False)
    encoding: Encoding = field(default_factory=lambda: Encoding(()), init=False, repr=False)

    def fit(
        self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0, names: Sequence[str] | None = None
    ) -> Self:
        """Learn from labelled rows. names: a finer label of each row, where inner folds are to leave some out.

        Raises InputError when the labels do not fit the rows or hold fewer than two kinds.
        """
        codes = self._begin(flows, labels, seed)
        fine = np.asarray(list(labels if names is None else names), dtype=str)
        if len(fine) != len(flows):
            raise InputError(f"{len(flows)} rows came with {len(fine)} names; one for each is needed.")
        self.temperature = self._calibrated(flows, codes) if self.calibrate else 1.0
        self._fit(flows, codes, fine)
        return self

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """Calibrated probabilities, float32 [rows, labels]; each row's answer depends on that row alone.

        Raises InputError naming columns that were not there in training, or are missing now. Where
        `encoding.lenient` is set, columns that were not there are left out.
        """
        if not self.labels:
            raise InputError(
                f"the {self.name} detector has learnt nothing yet. Call fit, or load a saved one."
            )
        self.encoding.check(flows)
        if flows.is_empty():
            return np.zeros((0, len(self.labels)), np.float32)
        known = flows.select(column.name for column in self.encoding.columns)
        return tempered(self._chances(known), self.temperature).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write card.json, the encoding and the model's files into `folder`."""
        write_card(
            folder,
            {
                "kind": self.name,
                "columns": {column.name: column.kind for column in self.encoding.columns},
                "labels": self.labels,
                "options": self.options(),
                "seed": self.seed,
                "temperature": self.temperature,
                **self._kept(),
            },
        )
        self.encoding.save(folder)
        self._write(folder)

    @classmethod
    def load(cls, folder: Path, **options: Any) -> Self:
        """The detector that `save` wrote. options: instead of those it was made with.

        Raises ModelError where the folder holds none, or one that is damaged.
        """
        card = read_card(folder)
        checked_options(cls, options)
        try:
            checked_options(cls, card["options"])
        except OptionError as error:
            raise ModelError(f"{folder / 'card.json'}: {error} Train the detector again.") from error
        found = cls(**card["options"] | options)
        try:
            found.labels, found.seed = tuple(card["labels"]), int(card["seed"])
            found.temperature = float(card["temperature"])
            found.encoding = Encoding.load(folder)
            found._restore(card)
            found._read(folder)
        except WirespeakError:
            raise
        except Exception as error:  # each library has errors of its own; all mean a damaged folder
            raise ModelError(
                f"{folder}: the saved detector cannot be read ({type(error).__name__}: {first_line(error)}). Train it again, or copy it again, whole."
            ) from error
        return found

    def options(self) -> dict[str, Any]:
        """The options it was made with."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}

    @property
    def cores(self) -> int:
        """How many threads to use."""
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        return self.threads or (int(told) if told.isdecimal() else 0) or _allowed_cores()

    def weights(self, codes: Codes) -> NDArray[np.float64]:
        """What each row weighs, by how many rows its label has; 1 on average."""
        counts = np.bincount(codes, minlength=len(self.labels)).astype(np.float64)
        weights = np.where(counts > 0, counts, 1.0)[codes] ** -self.balance
        return weights / weights.mean()

    def _begin(self, flows: pl.DataFrame, labels: Sequence[str], seed: int) -> Codes:
        """Check the rows, learn their encoding, and number their labels."""
        said = pl.Series("label", list(labels), dtype=pl.String)
        if len(said) != len(flows):
            raise InputError(f"{len(flows)} rows came with {len(said)} labels; one for each is needed.")
        if said.null_count():
            raise InputError(f"{said.null_count()} of {len(said)} rows have no label. Leave them out.")
        self.labels, self.seed = tuple(sorted(set(said))), seed
        if len(self.labels) < 2:
            raise InputError(
                f"learning needs rows of at least two labels, and these have {len(self.labels)}."
            )
        self.encoding = Encoding.learn(flows)
        numbers = {label: number for number, label in enumerate(self.labels)}
        return said.replace_strict(numbers, return_dtype=pl.Int64).to_numpy()

    def _calibrated(self, flows: pl.DataFrame, codes: Codes) -> float:
        """The temperature that suits rows kept out, equal rows all on one side; 1 where too few are left."""
        learn, measure = kept_out(duplicate_groups(flows), self.seed, _CALIBRATION_ROWS)
        present = np.unique(codes[learn])
        measure = measure[np.isin(codes[measure], present)]
        if len(measure) < 20 or len(present) < 2:
            return 1.0
        said = np.asarray(self.labels)[codes]
        copy = replace(self, calibrate=False).fit(flows[learn], said[learn].tolist(), seed=self.seed)
        logs = np.log(tempered(copy._chances(flows[measure]), 1.0)).astype(np.float32)
        truth = np.searchsorted(present, codes[measure])
        return min(max(fit_temperature(logs, truth, np.ones(len(measure))), 0.25), 4.0)

    @abstractmethod
    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        """Learn; `labels`, `seed` and `encoding` are set."""

    @abstractmethod
    def _chances(self, flows: pl.DataFrame) -> Chances:
        """Probabilities before calibration, [rows, labels]."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the model's files."""

    @abstractmethod
    def _read(self, folder: Path) -> None:
        """Read what `_write` wrote."""

    def _kept(self) -> dict[str, Any]:
        """What else belongs on the card, as plain JSON types."""
        return {}

    def _restore(self, card: dict[str, Any]) -> None:  # noqa: B027 - most kinds keep nothing there
        """Take back what `_kept` put on the card."""


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what a container may use, which Linux alone tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tempered(chances: Chances, temperature: float) -> Chances:
    """Probabilities to the power of 1 / temperature, none below a floor, rows summing to 1."""
    powered = np.maximum(chances, _FLOOR) ** (1.0 / temperature)
    return np.asarray(powered / powered.sum(axis=1, keepdims=True))


def kept_out(groups: NDArray[np.int64], seed: int, most: int) -> tuple[Codes, Codes]:
    """Numbers of at most `most` rows to learn from and half as many to measure on, no group on both sides."""
    _, number = np.unique(groups, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(number.max() + 1)[number]
    order = np.argsort(turn, kind="stable")
    cut = min(len(order) * 4 // 5, most)
    if cut:  # a group that the cut divides stays with what is learnt
        cut = int(np.searchsorted(turn[order], turn[order[cut - 1]], side="right"))
    return np.sort(order[:cut]), np.sort(order[cut : cut + most // 2])


def checked_options(kind: type[TableDetector], options: dict[str, Any]) -> dict[str, Any]:
    """`options`, every one of which the detector has. Raises OptionError naming the nearest to one it has not."""
    known = {one.name: one for one in fields(kind) if one.init}
    for name, value in options.items():
        if name not in known:
            raise unknown_name(f"option of detector {kind.name}", name, known)
        usual = known[name].default
        form, wanted = next((pair for pair in _FORMS if isinstance(usual, pair[0])), (object, ""))
        if not isinstance(value, form):
            raise OptionError(f"option '{name}' of detector {kind.name} is {value!r:.60}, expected {wanted}.")
    return options

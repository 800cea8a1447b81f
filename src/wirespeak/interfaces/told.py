"""What a detector said of the rows it was judged on, fold after fold, and its form on disk.

Fold predictions that were kept spare a second fit: a comparison that was stopped goes on, and a detector that
needs an environment of its own joins those of another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from wirespeak.evaluate.cost import Cost

Chances = NDArray[np.float32]


@dataclass
class Told:
    """The answers of one detector, a list entry for each fold.

    labels: of all folds. rows: numbers of the rows judged. chances: [rows, labels]. unseen: whether the fold's
    training lacked the row's attack name. calibration: scores of attack of normal rows kept out of both sides.
    fit, predict: costs of all folds together.
    """

    labels: list[str] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    chances: list[Chances] = field(default_factory=list)
    unseen: list[NDArray[np.bool_]] = field(default_factory=list)
    calibration: list[NDArray[np.float64]] = field(default_factory=list)
    fit: Cost = field(default_factory=Cost)
    predict: Cost = field(default_factory=Cost)

    @classmethod
    def merged(cls, parts: Sequence[Told]) -> Told:
        """The folds of several as one; a label that a part never learnt has probability 0 there."""
        labels = sorted({label for part in parts for label in part.labels})
        found = cls(labels)
        for part in parts:
            place = [labels.index(label) for label in part.labels]
            for chances in part.chances:
                wide = np.zeros((len(chances), len(labels)), np.float32)
                wide[:, place] = chances
                found.chances.append(wide)
            found.rows += part.rows
            found.unseen += part.unseen
            found.calibration += part.calibration
            found.fit += part.fit
            found.predict += part.predict
        return found

    def save(self, path: Path, key: str) -> None:
        """Write one .npz file, whole or not at all. key: says what was asked of whom."""
        arrays = {f"{part}-{i}": one for part in _PARTS for i, one in enumerate(getattr(self, part))}
        costs = np.array([astuple(self.fit), astuple(self.predict)], dtype=np.float64)  # None becomes NaN
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}")
        with hidden.open("wb") as file:
            np.savez(
                file, allow_pickle=False, key=np.array(key), labels=np.array(self.labels), costs=costs,
                **arrays,
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)

    @classmethod
    def load(cls, path: Path, key: str) -> Told | None:
        """What `save` wrote under the same key, None where there is no such file or it answers something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["key"]) != key:
                    return None
                folds = range(sum(name.startswith("rows-") for name in arrays.files))
                parts = {part: [arrays[f"{part}-{i}"] for i in folds] for part in _PARTS}
                fit, predict = (_cost(line) for line in arrays["costs"])
                return cls(arrays["labels"].tolist(), **parts, fit=fit, predict=predict)
        except (OSError, BadZipFile, ValueError, KeyError):
            return None


_PARTS = ("rows", "chances", "unseen", "calibration")


def _cost(line: NDArray[np.float64]) -> Cost:
    wall, cpu, peak = line.tolist()
    return Cost(wall, cpu, None if np.isnan(peak) else int(peak))

"""Trials on inner folds: what is asked, what is kept, what counts as wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from wirespeak.data.sources import read_dataset
from wirespeak.detect import grid


@pytest.fixture
def dataset(pumps: tuple[Path, Path]) -> Any:
    data, described = pumps
    return read_dataset([data], map=described)


def test_trials_ask_as_the_training_will_and_are_kept(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def fitted(detector: str, features: pl.DataFrame, *_: Any, **options: Any) -> Any:
        asked.append(options)
        known = sorted(dataset.labels.unique())

        class Silent:
            labels = tuple(known)

            def predict(self, rows: pl.DataFrame) -> Any:
                chances = np.full(
                    (rows.height, len(known)), np.nan if options["rate"] == 1 else 0.0, np.float32
                )
                chances[:, -1] += 1.0
                return chances

        if options["rate"] == 3:
            raise InterruptedError
        return Silent()

    monkeypatch.setattr(grid, "fitted", fitted)
    told: dict[str, Any] = {"work": tmp_path, "before": Path("earlier")}
    with pytest.raises(InterruptedError):
        grid.choose(dataset, "language", "binary-then-type", {"rate": [1, 2, 3]}, **told)
    assert len(asked) == 2 * grid.FOLDS + 1
    assert all(one["answer"] == "binary-then-type" and one["before"] == Path("earlier") for one in asked)
    asked.clear()
    best, tried = grid.choose(dataset, "language", "binary-then-type", {"rate": [1, 2]}, **told)
    assert not asked and best == {"rate": 2}
    # No answer is a wrong answer.
    assert tried[0]["score"] == 0 < tried[1]["score"]
    grid.choose(dataset, "language", "binary", {"rate": [2]}, **told)
    assert len(asked) == grid.FOLDS


def test_kept_scores_that_a_cut_left_half_written_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text('{"of": "x", "scores": {"0')
    kept = grid._Kept(tmp_path, "x")
    assert kept.scores == {} and kept.keep("trial", 0.5) == 0.5
    assert grid._Kept(tmp_path, "x").scores == {"trial": 0.5} and grid._Kept(tmp_path, "y").scores == {}

"""Comparisons that were stopped go on: fold predictions that are kept answer once for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sklearn", reason="detectors that learn from tables need wirespeak[baselines]")

from wirespeak.data.planted import base
from wirespeak.errors import OptionError
from wirespeak.interfaces import contest as contests
from wirespeak.interfaces.contest import Task, contest
from wirespeak.interfaces.told import Told

OPTIONS = {"forest": {"trees": 10}, "forest+over": {"trees": 10}}


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(base(6, rows=600))


@pytest.mark.slow
def test_what_was_kept_is_not_asked_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, absent = contest(task, list(OPTIONS), k=2, options=OPTIONS, keep=tmp_path)
    assert not absent and {path.name for path in tmp_path.iterdir()} == {
        f"{name}-{split}.npz" for name in OPTIONS for split in ("group", "random")
    }
    monkeypatch.setattr(contests, "fitted", lambda *_, **__: pytest.fail("fitted again"))
    again, _ = contest(task, list(OPTIONS), k=2, options=OPTIONS, keep=tmp_path)
    for one, other in zip(first, again, strict=True):
        assert one.judgement.scores == other.judgement.scores and one.fit == other.fit
        assert one.judgement.predictions.equals(other.judgement.predictions)


def test_a_name_that_is_none_is_met_before_the_work() -> None:
    assert contests.named(["forest", "forest+smote", "forest"]) == ["forest", "forest+smote"]
    for name, nearest in {"forrest": "forest", "forest+smot": "smote", "forest+": "Known"}.items():
        with pytest.raises(OptionError, match=nearest):
            contests.named(["all", name])


def test_rows_that_one_cannot_learn_from_stop_no_other(task: Task) -> None:
    table = task.dataset.table
    number = next(name for name in task.dataset.features() if table[name].dtype.is_numeric())
    holes = replace(
        task.dataset, table=table.with_columns(pl.when(pl.int_range(pl.len()) % 9 > 0).then(number))
    )
    results, absent = contest(Task(holes), ["forest+smote", "forest"], k=2, options=OPTIONS)
    assert [result.name for result in results] == ["forest"]
    assert f"column '{number}'" in absent["forest+smote"]


def test_another_question_is_asked_anew(task: Task, tmp_path: Path) -> None:
    told = Told(["a"], [np.arange(2)], [np.ones((2, 1), np.float32)], [np.zeros(2, bool)], [np.zeros(0)])
    told.save(tmp_path / "forest.npz", "one question")
    found = Told.load(tmp_path / "forest.npz", "one question")
    assert found is not None and found.labels == ["a"] and found.fit.peak_bytes is None
    assert Told.load(tmp_path / "forest.npz", "another") is None
    assert Told.load(tmp_path / "absent.npz", "one question") is None
    (tmp_path / "torn.npz").write_bytes((tmp_path / "forest.npz").read_bytes()[:200])
    assert Told.load(tmp_path / "torn.npz", "one question") is None
    assert (
        task.identity != Task(task.dataset, binary=True).identity != Task(task.dataset.take([0, 1])).identity
    )


@pytest.mark.slow
def test_a_file_sorted_by_label_teaches_no_less() -> None:
    made = base(6, rows=900)
    order = made.labels.arg_sort().to_numpy()
    options = {"online": {"block": 60, "trees": 10}}
    found, _ = contest(Task(made.take(order)), ["online"], k=2, options=options)
    usual = made.labels.value_counts()["count"].max() / len(made)  # type: ignore[operator]
    accuracy = found[0].judgement.score("accuracy")
    assert accuracy is not None and accuracy.value > usual + 0.1

"""AutoGluon beside the others. It pins their versions: `make test-extras` runs this in an environment of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

pytest.importorskip("autogluon.tabular", reason="AutoGluon lives alone: `make test-extras` runs this")

from wirespeak.data.planted import base
from wirespeak.detect.drawer import make
from wirespeak.interfaces.contest import Task, contest

OPTIONS = {"autogluon": {"budget_s": 15.0}}


def test_it_answers_every_row_with_probabilities() -> None:
    made = base(6, rows=400)
    features = made.table.select(made.features())
    found = make("autogluon", **OPTIONS["autogluon"]).fit(features, made.labels.to_list())
    chances = found.predict(features)
    assert chances.shape == (len(made), made.labels.n_unique()) and np.isfinite(chances).all()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    said = np.array(found.labels)[chances.argmax(axis=1)]
    assert (said == made.labels.to_numpy()).mean() > 0.8


def test_its_fold_predictions_join_those_of_another_environment(tmp_path: Path) -> None:
    task = Task(base(6, rows=400))
    first, _ = contest(task, ["autogluon"], k=2, options=OPTIONS, keep=tmp_path)
    other = """
import json, sys
from pathlib import Path
sys.modules["autogluon"] = None  # as where it is not installed
from wirespeak.data.planted import base
from wirespeak.interfaces.contest import Task, contest
options, keep = json.loads(sys.argv[1]), Path(sys.argv[2])
results, absent = contest(Task(base(6, rows=400)), ["autogluon"], k=2, options=options, keep=keep)
print(results[0].judgement.score("macro-F1").value)
"""
    done = run(
        [sys.executable, "-c", other, json.dumps(OPTIONS), str(tmp_path)], capture_output=True, text=True
    )
    score = first[0].judgement.score("macro-F1")
    assert done.returncode == 0 and score is not None, done.stderr
    assert float(done.stdout) == pytest.approx(score.value)

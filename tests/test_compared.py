"""The page of every detector on the public datasets says what the file of results holds, and the run resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wirespeak.interfaces import compared

SCRIPT = Path(__file__).parent.parent / "bench" / "datasets.py"


def detector(name: str, macro: float, **more: Any) -> dict[str, Any]:
    scores = {"macro-F1": [macro, macro - 0.01, macro + 0.01, 90], "accuracy": [0.9, 0.8, 0.95, 90]}
    scores["macro-F1 over distinct rows"] = [0.6, None, None, 80]
    return {
        "detector": name, "options": {}, "rows": 90, "scores": scores, "random_macro_f1": 0.99, "fit_s": 1.0,
        "predict_s": 0.5, "predict_us": 12.0, "peak_mb": None, "cpu_s": 60.0, **more,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    course = {
        "name": "nsl-kdd", "title": "NSL-KDD", "protocol": "names-out", "addresses": False, "rows": 90,
        "rows_set_aside": 1, "labels": 2, "distinct": 80, "largest": {"rows": 9, "label": "dos"}, "folds": [{"train": 60, "test": 30, "unseen": ["smurf"]}],
        "reference": {"scores": {"accuracy": 0.751, "macro-F1": 0.494}, "on": "other rows"},
        "detectors": [
            detector("forest", 0.5), detector("lstm", 0.7, options={"rows": 20_000}),
            {"detector": "stack", "stopped_after_s": 150.0},
        ],
    }  # fmt: skip
    machine = {"cores": 2, "machine": "x86_64", "python": "3.11"}
    found = {"machine": machine, "folds": 1, "seed": 0, "budget_of_all_s": 600.0, "datasets": [course]}
    (path := tmp_path / "datasets.json").write_text(json.dumps(found))
    monkeypatch.setattr(compared, "_FILE", path)
    return path


def test_the_page_ranks_detectors_and_names_those_that_were_stopped(results: Path) -> None:
    page = compared.comparison_page()
    assert page.index("| lstm | 0.700 (0.690 to 0.710)") < page.index("| forest | 0.500")
    assert "`rows` 20,000 |" in page and "budget: stack (150 s)" in page
    assert (
        "accuracy 0.751 (here 0.900)" in page
        and "0.494 (here 0.500; over distinct rows 0.600; random" in page
        and "what is shown took 1." in page
    )


@pytest.mark.slow
def test_one_picture_a_dataset(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need wirespeak[plots]")
    assert [path.name for path in compared.draw(tmp_path)] == ["comparison-nsl-kdd.png"]


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="detectors that learn from tables need wirespeak[baselines]")
    typed = [sys.executable, SCRIPT, "--only", "cicids2017", "--detector", "isolation-forest"]
    typed += ["--work", tmp_path / "work", "-o", tmp_path / "datasets.json"]
    first, again = (
        subprocess.run(typed, capture_output=True, text=True, check=True, timeout=300) for _ in range(2)
    )
    assert "of 24 s" in first.stdout or "stopped" in first.stdout
    assert again.stdout.splitlines()[0].endswith("isolation-forest: is there")
    text = (tmp_path / "datasets.json").read_text()
    assert len(json.loads(text)["datasets"][0]["detectors"]) == 1 and str(tmp_path) not in text

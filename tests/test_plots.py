"""Failure analysis, the table, the report and the pictures: what they say, and what they must never show."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wirespeak.errors import InputError
from wirespeak.evaluate import comparison
from wirespeak.evaluate.comparison import Result, side_by_side, write_report
from wirespeak.evaluate.cost import Cost
from wirespeak.evaluate.failures import MINIMUM, analyse
from wirespeak.evaluate.judge import Judgement, judge

HOSTILE = '<script>alert("1")</script>'
LABELS = ("normal", "dos", HOSTILE)


def judged(skill: float, *, seed: int = 0, n: int = 240) -> Judgement:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    logits = np.random.default_rng(1).normal(size=(n, 3)) + skill * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities[rng.permutation(n)[:3]] = np.nan
    return judge([LABELS[i] for i in truth], probabilities, LABELS, groups=np.arange(n) // 2, rounds=20)


@pytest.fixture
def failing() -> tuple[pl.DataFrame, list[str], list[str | None]]:
    """dos rows with service ssh and few bytes are taken for normal."""
    rng = np.random.default_rng(0)
    hostile, service = rng.random(2000) < 0.4, rng.choice(["http", "dns", "ssh"], 2000)
    features = pl.DataFrame({"bytes": rng.lognormal(5, 1, 2000), "service": service, "dead": np.zeros(2000)})
    missed = hostile & (service == "ssh") & (features["bytes"].to_numpy() < 200)
    answers: list[str | None] = [
        "dos" if h and not m else "normal" for h, m in zip(hostile, missed, strict=True)
    ]
    return features, ["dos" if h else "normal" for h in hostile], answers


def test_failures_name_the_pair_the_columns_and_the_slice(
    failing: tuple[pl.DataFrame, list[str], list[str | None]],
) -> None:
    features, truth, answers = failing
    found = analyse(features, truth, answers, units={"bytes": "bytes"})
    assert found.pairs.select("truth", "answer").rows() == [("dos", "normal")]
    (one,) = found.typical
    assert {difference.column for difference in one.differences} == {"service", "bytes"}
    assert all(part in one.words for part in ("taken for normal", "service ssh (100%)", "bytes"))
    assert truth[one.medoid] == "dos" and answers[one.medoid] == "normal"
    assert found.slices.row(0, named=True)["slice"] == "is ssh"
    assert (found.slices["low"] > np.mean([a != t for a, t in zip(answers, truth, strict=True)])).all()


def test_few_wrong_rows_are_counted_and_not_described() -> None:
    n = 100
    features = pl.DataFrame({"secret": [f"row {i}" for i in range(n)]})
    answers: list[str | None] = ["normal"] * n
    answers[: MINIMUM - 1] = [None] * (MINIMUM - 1)
    found = analyse(features, ["normal"] * n, answers)
    assert found.pairs["n"].to_list() == [MINIMUM - 1]
    assert not found.typical and not found.slices.height


def test_equal_medians_are_told_apart_by_how_common_they_are() -> None:
    wrong = np.arange(400) < 100
    features = pl.DataFrame(
        {"errors": np.where(wrong, 0, np.arange(400) % 5 == 0) * 7.0, "uri": [f"/{i}" for i in range(400)]}
    )
    found = analyse(features, ["dos"] * 400, ["normal" if w else "dos" for w in wrong])
    words = found.typical[0].words
    assert "errors 0 (100%), against 0 (80%)" in words
    assert "/" not in words and "uri no common value" in words


def test_random_errors_make_no_slice() -> None:
    rng = np.random.default_rng(5)
    features = pl.DataFrame({f"c{i}": rng.normal(size=3000) for i in range(20)})
    answers: list[str | None] = ["dos" if wrong else "normal" for wrong in rng.random(3000) < 0.1]
    assert not analyse(features, ["normal"] * 3000, answers).slices.height


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def test_the_report_is_whole_escaped_and_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: tuple[pl.DataFrame, list[str], list[str | None]]
) -> None:
    monkeypatch.setattr(comparison, "_draw", lambda *_: [])
    features, truth, answers = failing
    results = [
        Result("plain", judged(1.0), random=judged(4.0), fit=Cost(2.0, 2.0, 10**6), predict=Cost(0.24)),
        Result("better", judged(3.0), failures=analyse(features.rename({"bytes": HOSTILE}), truth, answers)),
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, results, title=HOSTILE, notes=["a \u202e note"])
    files = {path.name for path in (tmp_path / "one").iterdir()}
    assert files == {"report.html", "metrics.json", "costs.json", "predictions.parquet"}
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files
    )
    page = (tmp_path / "one" / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert not tags.names & {"script", "img", "link", "iframe"} and "b" not in tags.names
    assert "\u202e" not in page and "href=" not in page and "src=" not in page
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert metrics["detectors"]["plain"]["random_split"] and metrics["paired"][0]["better"] == "better"
    for score in metrics["detectors"]["better"]["scores"]:
        assert score["n"] and score["low"] is not None, score
    kept = pl.read_parquet(tmp_path / "one" / "predictions.parquet")
    assert kept.height == 480 and kept["answer"].null_count() == 6
    assert not set(kept.columns) & set(features.columns)


def test_the_table_puts_the_random_number_beside_the_honest_one() -> None:
    table = side_by_side([Result("plain", judged(1.0), random=judged(4.0)), Result("better", judged(3.0))])
    assert table["detector"].to_list() == ["better", "plain"]
    assert table["macro-F1, random split"].to_list()[0] is None
    assert table["macro-F1, random split"][1] > table["macro-F1"][1]
    with pytest.raises(InputError, match="no result"):
        write_report(Path(), [], title="x")


@pytest.mark.slow
def test_every_picture_is_drawn_in_every_format_and_is_the_same_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need wirespeak[plots]")
    results = [Result(name, judged(skill), predict=Cost(skill)) for name, skill in (("a", 1.0), ("b", 3.0))]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, results, title="two detectors")
    drawn = sorted((tmp_path / "one" / "plots").iterdir())
    assert {path.suffix for path in drawn} == {".png", ".svg", ".pdf"} and len(drawn) == 3 * 12
    for path in drawn:
        assert path.read_bytes() == (tmp_path / "two" / "plots" / path.name).read_bytes(), path.name


def test_pictures_of_many_detectors_keep_to_the_best_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="pictures need wirespeak[plots]")
    titles: dict[str, str] = {}
    monkeypatch.setattr(
        comparison.plots,
        "save",
        lambda figure, _, name: titles.update({name: figure.axes[0].get_title(loc="left")}) or [],
    )
    results = [Result(f"skill {skill}", judged(skill)) for skill in range(1, 8)]
    write_report(tmp_path, results, title="seven")
    assert titles["risk-coverage"] == "seven: the best 5 of 7" and titles["macro-f1"] == "seven"
    assert titles["roc"] == "Attack against normal: the best 5 of 7"


def test_a_picture_says_what_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need wirespeak[plots]")
    from wirespeak.evaluate import plots

    (path,) = plots.save(plots.confusion_matrix(judged(3.0), title="forest"), tmp_path, "x", formats=["svg"])
    text = path.read_text()
    assert all(word in text for word in (">truth<", ">answer<", ">forest<", ">(none)<", "&lt;script"))

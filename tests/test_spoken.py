"""Language models on tables: what they learn, what they are asked, what they remember."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="training a language model needs wirespeak[train]")

import small_models

from wirespeak.data.dataset import Field
from wirespeak.detect.asked import PICKS
from wirespeak.detect.drawer import load, make
from wirespeak.detect.memory import Memory
from wirespeak.detect.spoken import spared_rows
from wirespeak.errors import InputError, ModelError, OptionError

TINY: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "blank": 0.0, "rate": 0.006, "epochs": 200, "threads": 1,
}  # fmt: skip


def rows(count: int = 240, seed: int = 0, *, more: bool = False) -> tuple[pl.DataFrame, list[str]]:
    """Flows whose label follows from two columns; `more` knows one label more."""
    rng = np.random.default_rng(seed)
    known = ["normal", "flood", "scan", "worm"] if more else ["normal", "flood", "scan"]
    labels = rng.choice(known, count)
    table = pl.DataFrame(
        {
            "bytes": np.rint(rng.lognormal(4, 0.3, count) * np.where(labels == "flood", 80, 1)),
            "service": np.where(labels == "scan", "private", np.where(labels == "worm", "smb", "http")),
            "share": np.round(rng.random(count), 2),
        }
    )
    return table, labels.tolist()


def right(detector: Any, table: pl.DataFrame, labels: list[str]) -> float:
    said = np.array(detector.labels)[detector.predict(table).argmax(axis=1)]
    return float((said == np.array(labels)).mean())


def test_rows_that_calibrate_read_like_none_that_is_learnt() -> None:
    groups = np.repeat(np.arange(300), 3)
    codes = (groups > 280).astype(np.int64)
    learn, spared = spared_rows(groups, codes, 0)
    assert len(spared) and not set(groups[learn]) & set(groups[spared])
    assert sorted([*learn, *spared]) == list(range(900))
    # A label whose every row would be spared is learnt instead.
    learn, spared = spared_rows(np.array([4, 4, 4]), np.array([0, 1, 1]), 0)
    assert learn.tolist() == [0, 1, 2] and not len(spared)


def test_every_stage_learns_each_question_and_what_is_to_be_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("wirespeak.detect.spoken.STAGES", (40, 1000))
    seen: dict[str, Any] = {}

    def told(examples: Any, *_: Any, plan: Any, **__: Any) -> None:
        seen.update(examples=examples, stages=plan.stages)
        raise InterruptedError

    monkeypatch.setattr("wirespeak.lm.tuning.tune", told)
    detector: Any = make("language", base="any", answer="binary-then-type", stages=True, level="compact")
    known = pl.DataFrame(
        {"sentence": ["old one", "old two"], "label": ["scan", "normal"], "weight": [1.0, 1.0]}
    )
    detector.memory = Memory().with_more("monday", known, known, seed=0)
    with pytest.raises(InterruptedError):
        detector.fit(*rows(120))
    first, last = seen["stages"].values()
    assert last == list(range(len(seen["examples"])))
    prompts = [str(seen["examples"][place].prompt) for place in first]
    assert len(set(first)) == len(first) < len(last) and sum("old one" in one for one in prompts) == 2
    answers = [str(seen["examples"][place].answer).strip() for place in first]
    assert answers.count("attack") >= answers.count("flood") + answers.count("scan") - 2 > 10


@pytest.mark.slow
def test_it_learns_in_stages_and_says_what_each_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wirespeak.detect.spoken.STAGES", (40, 1000))
    detector: Any = make("language", stages=True, **TINY).fit(*rows())
    told = detector.facts["stages"]
    assert [(one["name"], one["examples"] >= 40) for one in told] == [("0k", True), ("all", True)]
    assert told[-1]["macro_f1"] > 0.9 and right(detector, *rows(seed=1)) > 0.9


@pytest.mark.slow
def test_attack_or_normal_comes_first_where_that_is_asked() -> None:
    detector: Any = make("language", answer="binary-then-type", **TINY).fit(*rows())
    table, labels = rows(seed=1)
    chances = detector.predict(table)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert right(detector, table, labels) > 0.9
    with pytest.raises(OptionError, match="label of ordinary traffic"):
        make("language", answer="binary-then-type", **TINY).fit(
            table, ["scan" if one == "normal" else one for one in labels]
        )


@pytest.mark.slow
def test_going_on_learns_a_new_label_and_says_what_was_forgotten(tmp_path: Path) -> None:
    first: Any = make("language", **TINY)
    first.source = "monday"
    first.fit(*rows()).save(tmp_path / "first")
    second: Any = make("language", **TINY)
    second.source, second.before = "tuesday", tmp_path / "first"
    second.fit(*rows(seed=5, more=True))
    assert second.labels == ("flood", "normal", "scan", "worm")
    assert right(second, *rows(seed=6, more=True)) > 0.9 and right(second, *rows(seed=1)) > 0.9
    (told,) = second.facts["forgetting"]
    assert told["dataset"] == "monday" and told["before"] > 0.8
    assert told["forgotten"] == pytest.approx(told["before"] - told["after"], abs=1e-4)
    assert set(second.memory.rows["origin"]) == {"monday", "tuesday"}
    second.save(tmp_path / "second")
    table, _ = rows(40, seed=7, more=True)
    np.testing.assert_allclose(load(tmp_path / "second").predict(table), second.predict(table), atol=1e-6)
    other: Any = make("language", **TINY | {"width": 32})
    other.before = tmp_path / "first"
    with pytest.raises(OptionError, match="another width"):
        other.fit(*rows())
    # What was not said is taken from the earlier one.
    third: Any = make("language", **{name: TINY[name] for name in ("rate", "epochs", "threads")})
    third.before = tmp_path / "first"
    third.fit(*rows())
    assert (third.width, third.layers, third.heads) == (16, 1, 2)
    other = make("language", **TINY)
    other.before = tmp_path / "first"
    with pytest.raises(InputError, match="not trained on: 'payload'"):
        other.fit(rows()[0].rename({"bytes": "payload"}), rows()[1])


_TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_spoken import TINY, rows
from wirespeak.detect.drawer import make
detector = make("language", **TINY, order=0.6)
detector.work = Path(sys.argv[1])
detector.progress = lambda doing, share: print(share, flush=True)
detector.fit(*rows()).save(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_and_gives_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_TRAIN.format(tests=str(Path(__file__).parent)))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def command(work: str, output: str) -> list[str]:
        return [sys.executable, str(script), str(tmp_path / work), str(tmp_path / output)]

    subprocess.run(command("w1", "whole"), check=True, env=environment, capture_output=True)
    killed = subprocess.Popen(command("w2", "never"), env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    for line in killed.stdout:
        if float(line) > 0.7:
            os.kill(killed.pid, signal.SIGKILL)
            break
    assert killed.wait() == -signal.SIGKILL and not (tmp_path / "never").exists()
    began = time.monotonic()
    again = subprocess.run(command("w2", "cut"), check=True, env=environment, capture_output=True, text=True)
    assert float(again.stdout.split()[0]) > 0.5 and time.monotonic() > began
    whole, cut = (tmp_path / name / "model" / "model.onnx" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_open_model_is_tuned_on_rows_in_its_own_template(method: str, tmp_path: Path) -> None:
    base = small_models.qwen2(tmp_path / "base")
    detector: Any = make("language", base=str(base), method=method, epochs=1, threads=1, length=256)
    table, labels = rows(48)
    detector.fields = {"bytes": Field("bytes", "number", unit="bytes", meaning="from the source")}
    detector.fit(table, labels)
    assert detector.question.format == "chat"
    assert "bytes: from the source, usually" in detector.question.instruction
    detector.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    np.testing.assert_allclose(again.predict(table[:8]), detector.predict(table[:8]), atol=1e-4)
    assert (
        tmp_path / "saved" / "model" / ("adapter_config.json" if method == "lora" else "config.json")
    ).is_file()


@pytest.mark.parametrize("pick", PICKS)
def test_examples_come_from_the_rows_learnt_alone(pick: str, tmp_path: Path) -> None:
    base = small_models.qwen2(tmp_path / "base")
    detector: Any = make("few-shot", base=str(base), shots=2, pick=pick, threads=1, level="basic")
    table, labels = rows(60)
    detector.fit(table, labels)
    judged, _ = rows(3, seed=9)
    said = detector.sentences(judged)
    (shown, *_), known = detector._shots(judged, said), set(detector.sentences(table))
    assert len(shown) == 6 and {label for _, label in shown} == {"normal", "flood", "scan"}
    assert all(sentence in known for sentence, _ in shown)
    np.testing.assert_allclose(detector.predict(judged).sum(axis=1), 1, atol=1e-5)
    detector.save(tmp_path / "saved")
    np.testing.assert_allclose(load(tmp_path / "saved").predict(judged), detector.predict(judged), atol=1e-5)
    (tmp_path / "saved" / "shots.npz").unlink()
    with pytest.raises(ModelError, match=r"cannot be read \(FileNotFoundError: .*shots.npz.*Train it again"):
        load(tmp_path / "saved")


def test_an_answer_that_names_no_label_is_none(tmp_path: Path) -> None:
    base = small_models.qwen2(tmp_path / "base")
    detector: Any = make("zero-shot", base=str(base), written=True, threads=1).fit(*rows(30))
    chances = detector.predict(rows(4)[0])
    assert np.isnan(chances).all()  # random weights write no label
    with pytest.raises(OptionError, match="Name one with --model"):
        make("zero-shot").fit(*rows(30))


def test_memory_keeps_every_label_and_measures_what_did_not_train() -> None:
    learnt = pl.DataFrame({"sentence": [f"s{n}" for n in range(30_000)], "weight": 1.0})
    learnt = learnt.with_columns(
        label=pl.when(pl.col("sentence") == "s7").then(pl.lit("rare")).otherwise(pl.lit("often"))
    )
    memory = (
        Memory().with_more("a", learnt, learnt[:10], seed=0).with_more("a", learnt[:50], learnt[:4], seed=0)
    )
    assert memory.rows.height <= 20_000 and "rare" in set(memory.rows["label"])
    assert set(memory.held["origin"]) == {"a", "a 2"}
    assert memory.scores(lambda said: ["often"] * len(said)) == pytest.approx(
        {"a": 0.4737, "a 2": 1.0}, abs=1e-4
    )
    assert json.dumps(memory.held["label"].to_list()).count("rare") == 1


@pytest.mark.slow
def test_what_was_held_out_before_is_never_learnt_later(tmp_path: Path) -> None:
    """The network grows: the later rows hold all the earlier ones."""
    table, labels = rows(600)
    make("language", **TINY | {"epochs": 5}).fit(table[:300], labels[:300]).save(tmp_path)
    earlier = Memory.read(tmp_path)
    detector: Any = make("language", epochs=5, rate=0.006, threads=1)
    detector.before = tmp_path
    detector.fit(table, labels)
    assert len(earlier.held) > 20
    assert not set(detector.memory.rows["sentence"]) & set(earlier.held["sentence"])
    again = detector.memory.held.filter(pl.col("origin") != earlier.held["origin"][0])
    assert not set(again["sentence"]) & set(earlier.rows["sentence"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 4}, "rank is an option of --base"),
        ({"method": "qlora"}, "method is an option of --base"),
        ({"base": "any", "width": 64}, "width is an option of the small decoder"),
        ({"batch": -1}, "batch is -1"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"width": 32.5}, "expected a whole number"),
        ({"answer": "binry"}, "Did you mean 'binary'"),
        ({"precision": "int2"}, "unknown precision 'int2'"),
        ({"base": "any", "precision": "int3"}, "unknown precision 'int3'"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make("language", **options).fit(*rows(60))


def test_an_open_model_is_tuned_with_the_batch_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Any] = []

    def told(learnt: Any, base: str, place: Path, *, plan: Any, **rest: Any) -> None:
        plans.append(plan)
        raise InterruptedError

    monkeypatch.setattr("wirespeak.lm.tuning.tune", told)
    for options in ({"batch": 6, "rows": 2, "dropout": 0.4}, {}):
        with pytest.raises(InterruptedError):
            make("language", base="any", **options).fit(*rows(60))
    assert [(plan.batch, plan.rows, plan.dropout) for plan in plans] == [(6, 2, 0.4), (16, 8, None)]

"""Language models asked as they are: no label wins for its own sake, no row depends on the others, and words are plain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from served import refusal, stubborn
from test_spoken import rows

from wirespeak import lab
from wirespeak.contracts import Prompt
from wirespeak.detect.drawer import make
from wirespeak.detect.language import LanguageDetector
from wirespeak.errors import OptionError
from wirespeak.lab.labelled import read_recording
from wirespeak.schema import LABELS

CAPTURE = Path(lab.__file__).parent / "captures" / "tiny"


class Recorder:
    """A model that scores by a rule and remembers what it was asked."""

    name = "recorder"

    def __init__(self, score: Any) -> None:
        self.score = score
        self.prompts: list[Prompt] = []

    def choose(
        self, prompts: Sequence[Prompt], answers: Sequence[str], *, per_token: bool = False
    ) -> NDArray[np.float32]:
        self.prompts += prompts
        return np.array([self.score(prompt, answers) for prompt in prompts], np.float32)


def asked(kind: str, model: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """A fitted detector around `model`."""
    monkeypatch.setattr("wirespeak.lm.load_model", lambda *_, **__: model)
    return make(kind, base="any", threads=1, **options).fit(*rows(60))


# --- what a model says of nothing


def says(text: Any) -> Any:
    """A chat that tells nothing but text: what `text` makes of the body."""

    def answer(path: str, body: dict[str, Any]) -> Any:
        if "/chat" not in path or "logprobs" in body or "prompt_logprobs" in body:
            return refusal(404, "no")
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text(body)}}]}

    return answer


@pytest.mark.parametrize("kind", ["zero-shot", "few-shot"])
def test_a_server_that_tells_text_alone_is_taken_at_its_word(kind: str) -> None:
    pytest.importorskip("openai", reason="needs the endpoint extra")
    with stubborn(says(lambda body: "normal")) as (address, seen):
        detector: Any = make(kind, base=f"{address}#m", threads=1).fit(*rows(60))
        chances = detector.predict(rows(5)[0])
    assert [detector.labels[place] for place in chances.argmax(axis=1)] == ["normal"] * 5
    assert chances.max(axis=1).min() > 0.99
    assert not any("Nothing was measured" in str(body) for body in seen)


def test_an_answer_of_nothing_that_is_none_takes_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(prompt: Prompt, answers: Sequence[str]) -> list[float]:
        return [np.nan] * len(answers) if "Nothing was measured" in str(prompt) else [-3.0, -1.0, -2.0]

    detector = asked("zero-shot", Recorder(score), monkeypatch)
    chances = detector.predict(rows(4)[0])
    np.testing.assert_allclose(np.log(chances[:, 1] / chances[:, 0]), 2.0, atol=1e-4)


def test_what_a_model_says_of_nothing_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(prompt: Prompt, answers: Sequence[str]) -> list[float]:
        return [-9.0, -1.0, -9.0] if "Nothing was measured" in str(prompt) else [-8.0, -1.5, -9.0]

    detector = asked("zero-shot", Recorder(score), monkeypatch)
    assert detector.predict(rows(4)[0]).argmax(axis=1).tolist() == [0] * 4
    detector.corrected = False
    assert detector.predict(rows(4)[0]).argmax(axis=1).tolist() == [1] * 4


@pytest.mark.parametrize("pick", ["nearest", "balanced"])
def test_a_row_that_is_shown_examples_depends_on_no_other(pick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(prompt: Prompt, answers: Sequence[str]) -> list[float]:
        text = str(prompt)  # a score of its own for every prompt
        return [-((sum(map(ord, text)) * (n + 3)) % 97) / 20 for n in range(len(answers))]

    model = Recorder(score)
    detector = asked("few-shot", model, monkeypatch, pick=pick, shots=2)
    table, _ = rows(30, seed=3)
    together = detector.predict(table)
    nothing = [prompt for prompt in model.prompts if "Nothing was measured" in str(prompt)]
    assert len(nothing) == len(set(nothing)) and (len(nothing) > 1) == (pick == "nearest")
    assert np.ptp(together, axis=0).max() > 0.1
    order = np.random.default_rng(1).permutation(len(table))
    np.testing.assert_array_equal(detector.predict(table[order]), together[order])
    alone = np.concatenate([detector.predict(table[row]) for row in range(len(table))])
    np.testing.assert_array_equal(alone, together)


# --- flows in plain words


def plain(text: Prompt) -> None:
    """The question as an open model is to get it."""
    assert "Answer with exactly one of these labels and nothing else: normal, flood," in str(text)
    assert "src_ports_60s: distinct destination ports" in str(text)
    assert "judge The" not in str(text) and "<flood" not in str(text)


@pytest.fixture(scope="module")
def flows() -> pl.DataFrame:
    return read_recording(CAPTURE).flows[:6]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "template"), [("qwen2", True), ("phi", False), ("t5", False)])
def test_a_model_without_our_card_is_asked_in_plain_words(
    kind: str, template: bool, flows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    import small_models

    folder = getattr(small_models, kind)(tmp_path / kind)
    detector = LanguageDetector.load(str(folder), device="cpu")
    if kind == "phi":
        np.testing.assert_allclose(detector.predict(flows[:1]).sum(axis=1), 1, atol=1e-5)
    model = Recorder(lambda prompt, answers: np.arange(len(answers)))
    monkeypatch.setattr(detector, "model", model)
    chances = detector.predict(flows)
    assert detector.labels == tuple(LABELS) and chances.shape == (len(flows), len(LABELS))
    assert set(chances.argmax(axis=1)) == {len(LABELS) - 1}
    for prompt in model.prompts:
        plain(prompt)
        if template:
            assert [role for role, _ in prompt] == ["system", "user"]
            assert prompt[-1][1].startswith("Record: The protocol is ")
        else:
            assert isinstance(prompt, str) and prompt.endswith(".\nLabel:")
    assert detector.question.answers() == [label if template else f" {label}" for label in LABELS]


def test_a_server_without_our_card_is_asked_in_a_conversation(flows: pl.DataFrame) -> None:
    pytest.importorskip("openai", reason="needs the endpoint extra")
    with stubborn(says(lambda body: "flood.syn")) as (address, seen):
        detector = LanguageDetector.load(f"{address}#m")
        chances = detector.predict(flows)
    assert {detector.labels[place] for place in chances.argmax(axis=1)} == {"flood.syn"}
    told = [body["messages"] for body in seen if body["path"].endswith("/chat/completions")]
    assert told and all([turn["role"] for turn in turns][:2] == ["system", "user"] for turns in told)
    for turns in told:
        plain(str(turns))


@pytest.mark.slow
def test_our_own_models_are_asked_in_their_own_words(flows: pl.DataFrame, tiny_model: Path) -> None:
    detector = LanguageDetector.load(str(tiny_model), threads=1)
    assert detector.question.prompt("pr:tcp") == "judge pr:tcp label"
    assert detector.question.answers() == ["<normal>", "<flood.syn>", "<unknown>"]


# --- attack or normal first


@pytest.mark.parametrize("kind", ["zero-shot", "few-shot"])
def test_attack_or_normal_may_be_asked_first(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(prompt: Prompt, answers: Sequence[str]) -> list[float]:
        return [float(answer.strip() in ("attack", "scan")) * 2 for answer in answers]

    model = Recorder(score)
    found = asked(kind, model, monkeypatch, answer="binary-then-type", corrected=False)
    chances = found.predict(rows(5, seed=2)[0])
    two, three = np.exp([2.0, 0.0]), np.exp([0.0, 2.0])
    normal = two[1] / two.sum()
    expected = {
        "normal": normal,
        "flood": (1 - normal) * three[0] / three.sum(),
        "scan": (1 - normal) * three[1] / three.sum(),
    }
    np.testing.assert_allclose(chances, [[expected[label] for label in found.labels]] * 5, rtol=1e-4)
    first = [
        str(prompt) for prompt in model.prompts if "labels and nothing else: attack, normal" in str(prompt)
    ]
    assert len(first) == 5
    if kind == "few-shot":
        assert all("'attack')" in prompt and "'scan')" not in prompt for prompt in first)


def test_a_format_that_shows_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="Ask in the format instruction or chat"):
        asked("few-shot", Recorder(None), monkeypatch, format="prompt-completion")

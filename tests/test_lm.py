"""The small decoder: its ONNX form answers as transformers does, whatever else is in the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wirespeak.errors import MissingPart, ModelError
from wirespeak.lm import load_model

torch = pytest.importorskip("torch", reason="needs the train extra")

from wirespeak.lm.export import export_onnx  # noqa: E402
from wirespeak.lm.onnx import OnnxLanguageModel  # noqa: E402
from wirespeak.lm.pretrained import TransformersLanguageModel  # noqa: E402
from wirespeak.lm.tokenizer import train_tokenizer  # noqa: E402
from wirespeak.lm.training import Schedule, Shape, Task, train_decoder  # noqa: E402
from wirespeak.text import Example  # noqa: E402

pytestmark = pytest.mark.slow
ANSWERS = ("<odd>", "<even>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learnt in seconds to tell odd from even and to repeat a number."""
    output = tmp_path_factory.mktemp("model")
    parity = [
        Example(f"judge fpJ{n % 9 + 1} bpK{n % 7 + 1}.{n % 90 + 10} label", ANSWERS[(n % 9 + 1) % 2 == 0])
        for n in range(400)
    ]
    repeat = [Example(f"say {n}.", f"it was {n} bytes") for n in range(10, 99)]
    tokenizer = train_tokenizer([e.prompt + e.answer for e in parity + repeat], words=ANSWERS, vocabulary=400)
    tasks = [Task("judge", parity, 0.5), Task("repeat", repeat, 0.5)]
    train_decoder(
        tasks,
        tokenizer,
        output / "checkpoint",
        shape=Shape(48, 2, 2, 96),
        schedule=Schedule(steps=300, tokens=1024, rate=5e-3, warmup=20),
        threads=2,
    )
    export_onnx(output / "checkpoint", output / "model.onnx")
    tokenizer.save(str(output / "tokenizer.json"))
    (output / "card.json").write_text(json.dumps({"name": "toy"}))
    return output


PROMPTS = [f"judge fpJ{n} bpK{n % 7 + 1}.{n + 40} label" for n in range(1, 10)] + ["judge fpJ2 label"]


def test_it_learns(folder: Path) -> None:
    scores = load_model(str(folder)).choose(PROMPTS, ANSWERS)
    assert [ANSWERS[best] for best in scores.argmax(axis=1)][:9] == [
        ANSWERS[n % 2 == 0] for n in range(1, 10)
    ]


def test_onnx_agrees_with_transformers(folder: Path, tmp_path: Path) -> None:
    slow = TransformersLanguageModel(str(folder / "checkpoint"), device="cpu")
    expected = slow.choose(PROMPTS, ANSWERS)
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.1)):
        export_onnx(folder / "checkpoint", tmp_path / "model.onnx", precision=precision)  # type: ignore[arg-type]
        for name in ("tokenizer.json", "card.json"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        fast = OnnxLanguageModel(tmp_path, threads=1)
        np.testing.assert_allclose(fast.choose(PROMPTS, ANSWERS), expected, atol=tolerance)
    assert fast.generate(["say 42."], max_tokens=12) == slow.generate(["say 42."], max_tokens=12)


def test_a_verdict_does_not_depend_on_its_batch(folder: Path) -> None:
    model = OnnxLanguageModel(folder, threads=2)
    together = model.choose(PROMPTS * 50, ANSWERS)[: len(PROMPTS)]
    alone = np.concatenate([model.choose([prompt], ANSWERS) for prompt in PROMPTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_writing_does_not_depend_on_its_batch_and_follows_the_seed(folder: Path) -> None:
    model = OnnxLanguageModel(folder, threads=1)
    prompts = ["say 42.", "judge fpJ3 label", "say 7."]
    assert model.generate(prompts, max_tokens=10) == [model.generate([p], max_tokens=10)[0] for p in prompts]
    warm = [model.generate(["say 42."], max_tokens=10, temperature=2.0, seed=seed)[0] for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]


def test_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    examples = [Example(f"a {n}", "<odd>" if n % 2 else "<even>") for n in range(50)]
    tokenizer = train_tokenizer([e.prompt for e in examples], words=ANSWERS, vocabulary=300)
    for name in ("one", "two"):
        train_decoder(
            [Task("t", examples, 1.0)],
            tokenizer,
            tmp_path / name,
            shape=Shape(16, 1, 2, 32),
            schedule=Schedule(steps=5, tokens=256),
            threads=1,
        )
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_numbers_keep_their_size_in_one_token() -> None:
    tokenizer = train_tokenizer(["judge pr:tcp fbM1.46 dg12"] * 9, words=ANSWERS, vocabulary=400)
    assert tokenizer.encode("pr:tcp fbM1.46 dg12").tokens[-3:] == ["ĠfbM1", ".46", "Ġdg12"]
    assert tokenizer.encode("1460 <odd>").tokens[-1] == "<odd>"
    text = "any text: ünïcode \x00 <tag> 3.14159"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", ["./nowhere", "no-such-hub/model"])
def test_a_wrong_name_says_what_to_do(name: str) -> None:
    with pytest.raises(ModelError, match="Give a folder written by 'wirespeak train'"):
        load_model(name)


def test_a_wrong_name_is_the_first_thought_where_no_hub_model_can_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wirespeak.lm.find_spec", lambda name: None)
    with pytest.raises(MissingPart, match=r"no folder 'nowere'.*Check the path, or run: pip install"):
        load_model("nowere")


def test_a_broken_model_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "card.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tmp_path))


def test_words_are_hidden_inside_a_prompt_alone_and_are_no_target() -> None:
    pytest.importorskip("torch", reason="training needs wirespeak[train]")
    from wirespeak.lm.tokenizer import BLANK, word_tokenizer
    from wirespeak.lm.training import Task, _batches, _Encoded
    from wirespeak.text import Example

    tokenizer = word_tokenizer({"aa:x": 9, "ab:y": 9}, answers=["<a>"], words=("judge", " label"))
    examples = [Example("judge aa:x ab:y label", "<a>")] * 4
    group = _Encoded(Task("judge", examples, 1.0, blank=0.5), tokenizer)
    batches = _batches([group], 4096, 3)
    tokens, weights = next(batches)
    hidden = tokens == tokenizer.token_to_id(BLANK)
    assert 0.4 < hidden[:, 1:3].mean() < 0.6 and not hidden[:, [0, 3, 4, 5]].any()
    assert (weights[hidden] == 0).all() and (weights[:, 4:] > 0).all()
    again = _batches([group], 4096, 3, skip=1)  # as after a cut
    np.testing.assert_array_equal(next(batches)[0], next(again)[0])

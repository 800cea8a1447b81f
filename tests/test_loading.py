"""Open models are read from safetensors alone, whether they are asked, tuned or merged."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("trl", reason="needs the train extra")

import small_models  # noqa: E402
from test_export import adapted  # noqa: E402

from wirespeak.errors import ModelError  # noqa: E402
from wirespeak.lm.loading import tokenizer_of, words_of  # noqa: E402
from wirespeak.lm.pretrained import TransformersLanguageModel  # noqa: E402
from wirespeak.lm.tuning import Plan, merge, tune  # noqa: E402
from wirespeak.text import Example  # noqa: E402

pytestmark = pytest.mark.slow  # every test builds a checkpoint and loads transformers

PLAN = Plan(steps=1, batch=1, length=32)


def pickled(folder: Path, name: str) -> None:
    """The weights in `folder` as a sound pickle instead of safetensors."""
    from safetensors.torch import load_file

    (source,) = folder.glob("*.safetensors")
    torch.save(load_file(source), folder / name)
    source.unlink()


def ask(folder: Path, output: Path) -> None:
    TransformersLanguageModel(str(folder), device="cpu")


def tune_lora(folder: Path, output: Path) -> None:
    tune([Example("a", "b")], str(folder), output, method="lora", plan=PLAN, device="cpu")


def tune_full(folder: Path, output: Path) -> None:
    tune([Example("a", "b")], str(folder), output, method="full", plan=PLAN, device="cpu")


@pytest.mark.parametrize("read", [ask, tune_lora, tune_full])
def test_pickled_weights_are_refused(read: Callable[[Path, Path], None], tmp_path: Path) -> None:
    folder = small_models.llama(tmp_path / "model")
    pickled(folder, "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"holds no \*\.safetensors.*pickled weights are not read"
    ) as refused:
        read(folder, tmp_path / "output")
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


@pytest.mark.parametrize("read", [ask, tune_lora, merge])
@pytest.mark.parametrize("part", ["base", "adapter"])
def test_a_pickled_part_of_an_adapted_model_is_refused(
    part: str, read: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    adapter = adapted(small_models.llama(tmp_path / "base"), tmp_path / "adapter")
    pickled(tmp_path / part, "pytorch_model.bin" if part == "base" else "adapter_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read") as refused:
        read(adapter, tmp_path / "output")
    assert "\n" not in str(refused.value) and str(tmp_path / part) in str(refused.value)
    assert not (tmp_path / "output" / "config.json").exists()


def test_a_tokenizer_without_a_file_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its tokenizer has no tokenizer.json"):
        words_of(object(), "some/model", closed=False)
    folder = small_models.qwen2(tmp_path)
    words = words_of(tokenizer_of(str(folder), "nowhere"), str(folder), closed=False)
    (ids,) = words.prompts([(("user", "x"),)])
    assert words.text(ids) == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"


def test_an_adapter_loads_without_warnings_of_other_peoples_libraries(tmp_path: Path) -> None:
    adapter = adapted(small_models.llama(tmp_path / "base"), tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        ask(adapter, tmp_path)

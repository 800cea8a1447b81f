"""Checkpoints as ONNX graphs: each family answers as transformers does, at every precision, base or adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wirespeak.errors import ModelError, OptionError
from wirespeak.lm import export
from wirespeak.lm.onnx import OnnxLanguageModel

torch = pytest.importorskip("torch", reason="needs the train extra")

import small_models  # noqa: E402

from wirespeak.lm.export import export_folder, export_onnx, quantise_blocks  # noqa: E402
from wirespeak.lm.pretrained import TransformersLanguageModel  # noqa: E402
from wirespeak.lm.rotary import frequencies, slowness  # noqa: E402

FAMILIES: tuple[Callable[..., Path], ...] = (small_models.qwen2, small_models.llama, small_models.phi)
PROMPTS = ["label", "Say what this network flow is: pr:tcp se:web", "judge pr:tcp fl:SAF fpJ1.46 label"]
ANSWERS = ("normal", "flood.syn", "flood.udp", "recon.port_scan")


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint of each family, with biases and norms that do something."""
    made: Path = request.param(tmp_path / "checkpoint")
    shake(made)
    return made


def shake(folder: Path) -> None:
    """Fresh biases are zero and fresh norms one: an export that forgot them would pass."""
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    path = folder / "model.safetensors"
    weights = load_file(path)
    for name, weight in weights.items():
        if weight.ndim == 1:
            weights[name] = weight + torch.randn(weight.shape) * 0.3
        elif "embed" not in name:
            weights[name] = weight * 5
    save_file(weights, path, metadata={"format": "pt"})


def adapted(base: Path, output: Path) -> Path:
    """A LoRA adapter on `base` that changes what it says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    kind = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), kind).save_pretrained(output)
    return output


def logits(model: TransformersLanguageModel | OnnxLanguageModel, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return model.next_log_probabilities(
        [rng.integers(3, 390, rng.integers(1, 40)).tolist() for _ in range(40)]
    )


@pytest.mark.slow
def test_a_family_answers_as_transformers_does(folder: Path, tmp_path: Path) -> None:
    slow = TransformersLanguageModel(str(folder), device="cpu")
    export_folder(folder, tmp_path / "fp32", precision="fp32")
    fast = OnnxLanguageModel(tmp_path / "fp32", threads=1)
    np.testing.assert_allclose(logits(fast), logits(slow), atol=1e-3)
    np.testing.assert_allclose(fast.choose(PROMPTS, ANSWERS), slow.choose(PROMPTS, ANSWERS), atol=1e-3)
    assert fast.generate(PROMPTS, max_tokens=8) == slow.generate(PROMPTS, max_tokens=8)
    assert fast.ends == slow.ends
    for precision, alike in (("int8", 0.999), ("int4", 0.9)):
        export_folder(folder, tmp_path / precision, precision=precision)  # type: ignore[arg-type]
        small = logits(OnnxLanguageModel(tmp_path / precision, threads=1))
        assert np.corrcoef(small.ravel(), logits(slow).ravel())[0, 1] > alike


@pytest.mark.slow
def test_turns_are_written_the_same_in_both_runtimes(tmp_path: Path) -> None:
    folder = small_models.qwen2(tmp_path / "checkpoint")
    export_folder(folder, tmp_path / "exported")
    slow, fast = (
        TransformersLanguageModel(str(folder), device="cpu"),
        OnnxLanguageModel(tmp_path / "exported"),
    )
    turns = (
        ("system", "Judge."),
        ("user", "a flow"),
        ("assistant", "normal"),
        ("user", "say <|im_end|> now"),
    )
    assert slow.words.prompts([turns]) == fast.words.prompts([turns])
    assert slow.words.prompts([turns])[0].count(slow.words.tokenizer.token_to_id("<|im_end|>")) == 4


@pytest.mark.slow
def test_an_adapter_is_merged_first(tmp_path: Path) -> None:
    adapter = adapted(small_models.llama(tmp_path / "base"), tmp_path / "adapter")
    slow = TransformersLanguageModel(str(adapter), device="cpu")
    base = TransformersLanguageModel(str(tmp_path / "base"), device="cpu")
    export_folder(adapter, tmp_path / "exported", precision="fp32")
    fast = OnnxLanguageModel(tmp_path / "exported", threads=1)
    np.testing.assert_allclose(logits(fast), logits(slow), atol=1e-3)
    assert np.abs(logits(base) - logits(slow)).max() > 0.1


@pytest.mark.slow
def test_weights_in_several_files_and_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    folder = small_models.qwen2(tmp_path / "checkpoint")
    whole = export_onnx(folder, tmp_path / "whole.onnx", precision="fp32")
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    export_onnx(folder, tmp_path / "shards.onnx", precision="fp32")
    assert (tmp_path / "shards.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    export_folder(folder, tmp_path / "inside", precision="fp32")
    monkeypatch.setattr(export, "LARGEST_FILE", 10_000)
    card = export_folder(folder, tmp_path / "beside", precision="fp32")
    assert (tmp_path / "beside" / "model.onnx.data").stat().st_size > whole / 2
    assert card["exported"]["bytes"] >= whole / 2
    inside, beside = (OnnxLanguageModel(tmp_path / name, threads=1) for name in ("inside", "beside"))
    np.testing.assert_array_equal(logits(inside), logits(beside))


@pytest.mark.slow
def test_a_card_is_kept_and_told_how_to_ask(tmp_path: Path) -> None:
    folder = small_models.llama(tmp_path / "checkpoint")
    (folder / "card.json").write_text('{"name": "mine", "labels": ["normal"], "temperature": 1.5}')
    export_folder(folder, tmp_path / "exported", precision="int4")
    card = json.loads((tmp_path / "exported" / "card.json").read_text("utf-8"))
    assert (card["name"], card["labels"], card["exported"]["precision"]) == ("mine", ["normal"], "int4")
    assert card["words"]["ends"] == [1] and "im_start" in card["words"]["chat_template"]


@pytest.mark.parametrize("bits", [8, 4])
def test_blocks_come_back_within_half_a_step(bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)
    codes, scales = quantise_blocks(weight, bits)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(5, 3, 32)
    back = ((codes.astype(np.float32) - 2 ** (bits - 1)) * scales[:, :, None]).reshape(5, 96)
    assert not back[:, 70:].any()
    step = np.repeat(np.abs(scales), 32, axis=1)[:, :70]
    # Of 4 bits the far end opposite the largest is cut at 7 of 8 steps.
    assert (np.abs(back[:, :70] - weight.T) <= step * (1.001 if bits == 4 else 0.501)).all()


@pytest.mark.slow
def test_stretched_positions_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    published = {
        **small_models.LLAMA3,
        "rope_theta": 500000.0,
        "factor": 32.0,
        "original_max_position_embeddings": 8192,
    }
    config = AutoConfig.for_model(
        "llama", hidden_size=3072, num_attention_heads=24, rope_parameters=published
    )
    expected, attention = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    found = frequencies(config.rope_parameters, 128)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
    slowed = slowness(config.rope_parameters, 128)
    assert attention == 1.0 and slowed[0] == 1 and slowed[-1] == 32 and len(set(slowed)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("written", ["now", "as on the hub"])
def test_a_llama_answers_beyond_the_length_of_its_pretraining(written: str, tmp_path: Path) -> None:
    shape = {"hidden_size": 128, "head_dim": 32, "rope_parameters": small_models.LLAMA3}
    folder = small_models.llama(tmp_path / "checkpoint", **shape)
    shake(folder)
    config = json.loads((folder / "config.json").read_text())
    if written == "as on the hub":  # transformers before version 5
        scaling = config.pop("rope_parameters")
        config |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling}
        (folder / "config.json").write_text(json.dumps(config))
    slow = TransformersLanguageModel(str(folder), device="cpu")
    export_folder(folder, tmp_path / "exported", precision="fp32")
    fast = OnnxLanguageModel(tmp_path / "exported", threads=1)
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, 390, length).tolist() for length in (5, 31, 33, 100, 300, 500)]
    there = slow.next_log_probabilities(rows)
    np.testing.assert_allclose(fast.next_log_probabilities(rows), there, atol=1e-4)
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "rope_scaling"}))
    export_folder(folder, tmp_path / "plain", precision="fp32")
    plain = OnnxLanguageModel(tmp_path / "plain", threads=1)
    assert np.abs(plain.next_log_probabilities(rows) - there).max() > 0.05


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    stretched = small_models.llama(
        tmp_path / "stretched", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    )
    with pytest.raises(ModelError, match="rope scaling"):
        export_onnx(stretched, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="'t5' checkpoints are not exported to ONNX"):
        export_onnx(small_models.t5(tmp_path / "t5"), tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="Did you mean 'int4'"):
        export_onnx(stretched, tmp_path / "a.onnx", precision="int-4")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cannot be read"):
        export_onnx(tmp_path / "nowhere", tmp_path / "a.onnx")
    (stretched / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        export_onnx(stretched, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()

"""Checkpoints as GGUF files, read back with the format's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wirespeak.errors import ModelError, OptionError

torch = pytest.importorskip("torch", reason="needs the train extra")
gguf = pytest.importorskip("gguf", reason="needs the train extra")

import small_models  # noqa: E402

from wirespeak.lm.gguf import export_gguf, neighbours  # noqa: E402

pytestmark = pytest.mark.slow  # every test builds a checkpoint and loads transformers


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_every_weight_of_a_qwen2_is_there_as_it_was(tmp_path: Path) -> None:
    folder = small_models.qwen2(tmp_path / "checkpoint")
    size = export_gguf(folder, tmp_path / "model.gguf", precision="f32")
    assert size == (tmp_path / "model.gguf").stat().st_size
    before, after = weights(folder), tensors(tmp_path / "model.gguf")
    assert len(after) == len(before)
    for ours, theirs in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.1.self_attn.q_proj.weight", "blk.1.attn_q.weight"),
        ("model.layers.1.self_attn.k_proj.bias", "blk.1.attn_k.bias"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
    ):
        np.testing.assert_array_equal(after[theirs].data, before[ours])


def test_queries_and_keys_of_a_llama_turn_as_llama_cpp_turns_them(tmp_path: Path) -> None:
    folder = small_models.llama(tmp_path / "checkpoint")
    export_gguf(folder, tmp_path / "model.gguf", precision="f32")
    before, after = weights(folder), tensors(tmp_path / "model.gguf")
    for name, heads in (("q", 4), ("k", 2)):
        plain = before[f"model.layers.0.self_attn.{name}_proj.weight"]
        turned = after[f"blk.0.attn_{name}.weight"].data
        np.testing.assert_array_equal(turned, neighbours(plain, heads))
        # Rows i and i + 4 of a head of 8 are turned together, and come to stand at 2i and 2i + 1.
        np.testing.assert_array_equal(turned[[0, 1, 2, 3]], plain[[0, 4, 1, 5]])
    np.testing.assert_array_equal(
        after["blk.0.attn_v.weight"].data, before["model.layers.0.self_attn.v_proj.weight"]
    )
    np.testing.assert_array_equal(after["output.weight"].data, before["lm_head.weight"])


def test_stretched_positions_are_kept_as_llama_cpp_reads_them(tmp_path: Path) -> None:
    folder = small_models.llama(
        tmp_path / "checkpoint", hidden_size=128, head_dim=32, rope_parameters=small_models.LLAMA3
    )
    export_gguf(folder, tmp_path / "model.gguf")
    (kept := tensors(tmp_path / "model.gguf")["rope_freqs.weight"])
    assert kept.tensor_type.name == "F32" and kept.data.shape == (16,)
    np.testing.assert_allclose(kept.data[[0, 3, -1]], [1.0, 8.0, 8.0])
    assert 1 < kept.data[1] < kept.data[2] < 8
    export_gguf(small_models.llama(tmp_path / "plain"), tmp_path / "plain.gguf")
    assert "rope_freqs.weight" not in tensors(tmp_path / "plain.gguf")
    with pytest.raises(ModelError, match="of a llama only, not of a qwen2. Export to ONNX"):
        export_gguf(
            small_models.qwen2(tmp_path / "qwen2", rope_parameters=small_models.LLAMA3), tmp_path / "a.gguf"
        )


def test_the_file_says_what_the_model_is_and_how_it_reads(tmp_path: Path) -> None:
    folder = small_models.qwen2(tmp_path / "small", vocab_size=416)
    export_gguf(folder, tmp_path / "model.gguf", precision="f16")
    told = fields(tmp_path / "model.gguf")
    words = small_models.tokenizer(chat=small_models.CHAT)
    assert told["general.architecture"] == "qwen2" and told["general.name"] == "small"
    assert (told["qwen2.block_count"], told["qwen2.embedding_length"]) == (2, 32)
    assert (told["qwen2.attention.head_count"], told["qwen2.attention.head_count_kv"]) == (4, 2)
    assert told["qwen2.rope.freq_base"] == 10000.0 and told["qwen2.rope.dimension_count"] == 8
    assert (told["tokenizer.ggml.model"], told["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")
    tokens = told["tokenizer.ggml.tokens"]
    assert len(tokens) == 416 and tokens[: len(words)] == words.convert_ids_to_tokens(range(len(words)))
    kinds = told["tokenizer.ggml.token_type"]
    assert (kinds[1], kinds[300], kinds[415]) == (
        gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED,
    )  # fmt: skip
    first, second = told["tokenizer.ggml.merges"][0].split(" ")
    assert first + second in words.get_vocab()
    assert told["tokenizer.ggml.eos_token_id"] == words.eos_token_id
    assert told["tokenizer.ggml.add_bos_token"] is False
    assert told["tokenizer.chat_template"] == small_models.CHAT
    export_gguf(small_models.llama(tmp_path / "llama"), tmp_path / "model.gguf")
    assert fields(tmp_path / "model.gguf")["tokenizer.ggml.pre"] == "gpt-2"


@pytest.mark.parametrize(("precision", "step"), [("f16", 1e-3), ("q8_0", 1 / 127)])
def test_smaller_numbers_come_back_close(tmp_path: Path, precision: Any, step: float) -> None:
    folder = small_models.llama(tmp_path / "checkpoint")
    export_gguf(folder, tmp_path / "model.gguf", precision=precision)
    tensor = tensors(tmp_path / "model.gguf")["blk.0.ffn_up.weight"]
    assert tensor.tensor_type.name == precision.upper()
    back = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    plain = weights(folder)["model.layers.0.mlp.up_proj.weight"]
    assert np.abs(back - plain).max() <= step * np.abs(plain).max()
    assert tensors(tmp_path / "model.gguf")["blk.0.ffn_norm.weight"].tensor_type.name == "F32"


def test_what_llama_cpp_would_misread_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    with pytest.raises(ModelError, match="'phi' checkpoints are not exported to GGUF"):
        export_gguf(small_models.phi(tmp_path / "phi"), tmp_path / "a.gguf")
    with pytest.raises(OptionError, match="Known: f16, f32, q8_0"):
        export_gguf(tmp_path / "phi", tmp_path / "a.gguf", precision="q4")  # type: ignore[arg-type]
    folder = small_models.llama(tmp_path / "llama")
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words.save(str(folder / "tokenizer.json"))
    with pytest.raises(ModelError, match="no tokenizer that splits text as this one does"):
        export_gguf(folder, tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*.gguf"))

"""A Llama or Qwen2 checkpoint as a GGUF file, for llama.cpp and what is built on it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, written through the `gguf` package. llama.cpp
turns neighbouring numbers of a head together where transformers turns the first half with the second, so the query
and key rows of a Llama are reordered; for Qwen2 llama.cpp does as transformers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra, unknown_name
from wirespeak.lm.checkpoint import Checkpoint, open_checkpoint
from wirespeak.lm.loading import backend_of
from wirespeak.lm.pretrained import ends_of
from wirespeak.lm.prompts import Words
from wirespeak.lm.rotary import kind_of, slowness

GgufPrecision = Literal["f32", "f16", "q8_0"]
FAMILIES = ("llama", "qwen2")
_BLOCK = 32
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# How a text is split before merging, as it stands in tokenizer.json, and what llama.cpp calls it.
_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {_SPLIT % "": "qwen2", _SPLIT % "{1,3}": "llama-bpe"}


def export_gguf(folder: Path, output: Path, *, precision: GgufPrecision = "f16") -> int:
    """Write the checkpoint in `folder` (an adapter is merged first) as `output`; return its size in bytes.

    precision: of matrices; norms and biases stay f32. Raises ModelError for another architecture or a tokenizer
    llama.cpp does not know, OptionError for another precision, MissingPart without wirespeak[train].
    """
    if precision not in get_args(GgufPrecision):
        raise unknown_name("precision", precision, get_args(GgufPrecision))
    try:
        import gguf
    except ImportError as missing:
        raise missing_extra("gguf", "train") from missing
    with open_checkpoint(folder) as weights:
        kind = weights.config.model_type
        if kind not in FAMILIES:
            raise ModelError(
                f"{folder}: '{kind}' checkpoints are not exported to GGUF, {' and '.join(FAMILIES)} are. Use llama.cpp's own converter."
            )
        if kind != "llama" and kind_of(weights.config.rope_parameters) != "default":
            raise ModelError(
                f"{folder}: llama.cpp stretches the rotary positions of a llama only, not of a {kind}. Export to ONNX, which does."
            )
        hidden = output.with_name(f".{output.name}")
        writer = gguf.GGUFWriter(hidden, kind)
        _describe(writer, weights, folder.resolve().name, precision)
        _add_words(writer, weights)
        for name, tensor in _tensors(weights):
            _add(writer, name, tensor, precision)
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            os.replace(hidden, output)
        finally:
            hidden.unlink(missing_ok=True)
    return output.stat().st_size


def _describe(writer: Any, weights: Checkpoint, name: str, precision: GgufPrecision) -> None:
    import gguf

    config = weights.config
    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    width = _width(config)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[types[precision]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _width(config: Any) -> int:
    """Numbers of a head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_words(writer: Any, weights: Checkpoint) -> None:
    """The tokenizer: tokens by number, merges, how text is split, which tokens control."""
    from gguf import TokenType

    tokenizer = weights.tokenizer()
    backend = backend_of(tokenizer, str(weights.folder))
    told = json.loads(backend.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split_name(told, weights.folder))
    added = backend.get_added_tokens_decoder()
    tokens, types = [], []
    for number in range(weights.config.vocab_size):
        token = backend.id_to_token(number)
        tokens.append(f"[unused {number}]" if token is None else token)
        kind = TokenType.UNUSED if token is None else TokenType.NORMAL
        if number in added:
            kind = TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED
        types.append(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = told["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    front = Words(backend).prompts(["a"])[0][:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(front)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    first, *others = [tokenizer.eos_token_id, *ends_of(weights.folder, weights.config, tokenizer)]
    writer.add_eos_token_id(first)
    for other in set(others) - {first}:
        writer.add_eot_token_id(other)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.get_chat_template())


def _split_name(told: dict[str, Any], folder: Path) -> str:
    """What llama.cpp calls the way this tokenizer splits a text. Raises ModelError where it knows none."""
    splitter = told["pre_tokenizer"] or {}
    parts = splitter.get("pretokenizers", [splitter])
    last, rules = parts[-1], [part.get("pattern", {}).get("Regex") for part in parts[:-1]]
    normal = (told["normalizer"] or {}).get("type") in (None, "NFC")
    name = None
    if last.get("type") == "ByteLevel" and not last["add_prefix_space"]:
        if not rules and last["use_regex"]:
            name = "gpt-2"
        elif len(rules) == 1 and not last["use_regex"]:
            name = _SPLITS.get(rules[0])
    if told["model"]["type"] != "BPE" or not normal or name is None:
        raise ModelError(
            f"{folder}: llama.cpp has no tokenizer that splits text as this one does. Export to ONNX, which keeps it."
        )
    return name


def _tensors(weights: Checkpoint) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor under llama.cpp's name, and how stretched positions are slowed, which it keeps as one."""
    rotation = weights.config.rope_parameters
    if kind_of(rotation) != "default":
        yield "rope_freqs.weight", slowness(rotation, _width(weights.config)).astype(np.float32)
    heads = {
        "attn_q": weights.config.num_attention_heads,
        "attn_k": weights.config.num_key_value_heads,
    }
    for name in weights:
        if name in _OUTSIDE:
            yield _OUTSIDE[name], weights[name]
            continue
        found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if not found or found[2] not in _IN_LAYER:
            raise ModelError(
                f"{weights.folder}: weight '{name}' has no place in GGUF. Use llama.cpp's own converter."
            )
        layer, short, part = found[1], _IN_LAYER[found[2]], found[3]
        tensor = weights[name]
        if weights.config.model_type == "llama" and short in heads:
            tensor = neighbours(tensor, heads[short])
        yield f"blk.{layer}.{short}.{part}", tensor


def neighbours(tensor: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The rows of each head reordered, so that those turned together stand beside each other."""
    split = tensor.reshape(heads, 2, len(tensor) // heads // 2, *tensor.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(tensor.shape))


def _add(writer: Any, name: str, tensor: NDArray[np.float32], precision: GgufPrecision) -> None:
    import gguf

    if tensor.ndim == 1 or precision == "f32":
        writer.add_tensor(name, tensor)
    elif precision == "f16" or tensor.shape[1] % _BLOCK:
        writer.add_tensor(name, tensor.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)

"""A Llama, Qwen2 or Phi checkpoint as one ONNX graph for onnxruntime.

The graph is written out here rather than traced: it is small, the same bytes come out every time, and it
can leave out what a verdict does not need. Only the last position of each row is asked for, so in the last
layer only that position is computed; keys and values of every layer come out for the next step of a
generation. Weights are 8-bit or 4-bit in blocks (or fp32); activations are quantised per row inside the kernel,
so a row's answer does not depend on the other rows of its batch.

Architectures: Touvron et al., "LLaMA" (2023), Qwen2 (2024), phi-2 (2023), as transformers computes them; rotary
embedding of Su et al., "RoFormer" (2021); grouped queries of Ainslie et al. (2023). Operators: ONNX opset 21 and
onnxruntime's MatMulNBits. "heads" below are those of keys and values.

Inputs   input_ids [B, T] int64; position_ids [B, T] int64; mask [B, P + T] float32, 1 where a token counts;
         last [B] int64, the position whose answer is wanted; past [layers, 2, B, heads, P, width] float32
Outputs  logits [B, vocabulary] float32; present [layers, 2, B, heads, P + T, width] float32
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra, unknown_name
from wirespeak.lm.checkpoint import Checkpoint, open_checkpoint
from wirespeak.lm.rotary import frequencies

Precision = Literal["fp32", "int8", "int4"]
BLOCK = 32
OPSET = 21
LARGEST_FILE = 1_900_000_000
"""Bytes of weights beyond which they lie beside the graph: a protobuf message ends at 2 GiB."""


def export_onnx(folder: Path, output: Path, *, precision: Precision = "int8") -> int:
    """Write the checkpoint in `folder` (an adapter is merged first) as `output`; return its size in bytes.

    Weights beyond LARGEST_FILE go to a file beside it, its name with `.data` behind. Raises ModelError for another
    architecture, OptionError for another precision, MissingPart without wirespeak[train].
    """
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision))
    try:
        import onnx
    except ImportError as missing:
        raise missing_extra("onnx", "train") from missing

    with open_checkpoint(folder) as weights:
        graph = _graph(weights, precision)
        model = graph.build()
    beside = output.with_name(f"{output.name}.data")
    beside.unlink(missing_ok=True)
    if graph.bytes <= LARGEST_FILE:
        onnx.checker.check_model(model)
        return output.write_bytes(model.SerializeToString(deterministic=True))
    onnx.save_model(model, output, save_as_external_data=True, location=beside.name)
    onnx.checker.check_model(str(output))
    return output.stat().st_size + beside.stat().st_size


def export_folder(
    folder: Path, output: Path, *, precision: Precision = "int8", card: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write all that OnnxLanguageModel loads (model.onnx, tokenizer.json, card.json) to `output`; return the card.

    card: what is known of the model, by default what the card.json of `folder` says; how the model is asked is put to
    it. Raises as `export_onnx`.
    """
    from wirespeak.lm.loading import backend_of
    from wirespeak.lm.pretrained import ends_of

    output.mkdir(parents=True, exist_ok=True)
    size = export_onnx(folder, output / "model.onnx", precision=precision)
    with open_checkpoint(folder) as weights:
        tokenizer = weights.tokenizer()
        words = {
            "ends": sorted(ends_of(weights.folder, weights.config, tokenizer)),
            "chat_template": tokenizer.get_chat_template() if tokenizer.chat_template else None,
            "special": {name: str(text) for name, text in tokenizer.special_tokens_map.items()},
        }
        backend_of(tokenizer, str(folder)).save(str(output / "tokenizer.json"))
    if card is None:
        known = folder / "card.json"
        card = json.loads(known.read_text("utf-8")) if known.is_file() else {"name": folder.resolve().name}
    told = {**card, "words": words, "exported": {"precision": precision, "bytes": size}}
    (output / "card.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return told


def quantise_blocks(
    weight: NDArray[np.float32], bits: int = 8
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Symmetric 8-bit or 4-bit blocks along the input axis, as MatMulNBits wants them.

    weight: [inputs, outputs]. Returns codes [outputs, blocks, BLOCK * bits / 8] (zero point 128 or 8; of 4 bits two
    in a byte, the low half first) and scales [outputs, blocks]. Inputs are padded to whole blocks with zeros.
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // BLOCK)
    padded = np.zeros((outputs, blocks * BLOCK), np.float32)
    padded[:, :inputs] = weight.T
    grouped = padded.reshape(outputs, blocks, BLOCK)
    if bits == 4:
        return _quantise_4(grouped)
    scale = np.abs(grouped).max(axis=2) / 127.0
    scale[scale == 0] = 1.0
    codes = np.clip(np.rint(grouped / scale[:, :, None]) + 128, 1, 255).astype(np.uint8)
    return codes, scale.astype(np.float32)


def _quantise_4(grouped: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The largest of a block becomes code 0, which reaches further (-8) than the other end (7)."""
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    scale = largest / -8.0
    scale[scale == 0] = 1.0
    codes = np.clip(np.rint(grouped / scale[:, :, None]) + 8, 0, 15).astype(np.uint8)
    return codes[:, :, 0::2] | codes[:, :, 1::2] << 4, scale.astype(np.float32)


def _graph(weights: Checkpoint, precision: Precision) -> _Graph:
    config = weights.config
    kinds = {"llama": (_Graph, "silu"), "qwen2": (_Graph, "silu"), "phi": (_PhiGraph, "gelu_new")}
    if config.model_type not in kinds:
        raise ModelError(
            f"{weights.folder}: '{config.model_type}' checkpoints are not exported to ONNX, {', '.join(kinds)} are. Use it as it is."
        )
    kind, activation = kinds[config.model_type]
    if config.hidden_act != activation or getattr(config, "qk_layernorm", False):
        raise ModelError(
            f"{weights.folder}: a {config.model_type} with {config.hidden_act} or normalised queries is not exported to ONNX. Use it as it is."
        )
    return kind(weights, precision)


class _Graph:
    """Writes nodes in order; each method returns the name of the value it makes. Llama and Qwen2."""

    final_norm, mixed_back = "model.norm", "self_attn.o_proj"

    def __init__(self, weights: Checkpoint, precision: Precision) -> None:
        self.weights = weights
        self.config = config = weights.config
        self.precision = precision
        self.heads = config.num_attention_heads
        self.key_heads = getattr(config, "num_key_value_heads", None) or self.heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        rotation = getattr(config, "rope_parameters", None) or {}
        self.turned = int(self.width * rotation.get("partial_rotary_factor", 1.0))
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[bytes, str] = {}
        self.bytes = 0

    def build(self) -> Any:
        from onnx import TensorProto, helper

        layers = self.config.num_hidden_layers
        value = helper.make_tensor_value_info
        cache = [layers, 2, "B", self.key_heads, "P", self.width]
        inputs = [
            value("input_ids", TensorProto.INT64, ["B", "T"]),
            value("position_ids", TensorProto.INT64, ["B", "T"]),
            value("mask", TensorProto.FLOAT, ["B", "S"]),
            value("last", TensorProto.INT64, ["B"]),
            value("past", TensorProto.FLOAT, cache),
        ]
        outputs = [
            value("logits", TensorProto.FLOAT, ["B", self.config.vocab_size]),
            value("present", TensorProto.FLOAT, [layers, 2, "B", self.key_heads, "S", self.width]),
        ]
        self._body(layers)
        graph = helper.make_graph(self.nodes, "wirespeak-decoder", inputs, outputs, self.constants)
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10, producer_name="wirespeak")

    def _body(self, layers: int) -> None:
        hidden = self.op("Gather", self.const(self.weights["model.embed_tokens.weight"]), "input_ids")
        bias = self._attention_bias()
        cosine, sine = self._rotation("position_ids")
        presents = []
        for layer in range(layers):
            final = layer == layers - 1
            hidden, present = self._layer(hidden, layer, bias, cosine, sine, final)
            presents.append(self.op("Unsqueeze", present, self.ints([0])))
        self.op("Concat", *presents, output="present", axis=0)
        hidden = self._norm(self.op("Squeeze", hidden, self.ints([1])), self.final_norm)
        own = "lm_head" if "lm_head.weight" in self.weights else "model.embed_tokens"
        self._linear(hidden, own, output="logits")

    def _layer(
        self, hidden: str, layer: int, bias: str, cosine: str, sine: str, final: bool
    ) -> tuple[str, str]:
        """One decoder layer. The final one goes on with the asked position alone: hidden becomes [B, 1, H]."""
        prefix = f"model.layers.{layer}."

        normed = self._norm(hidden, prefix + "input_layernorm")
        kv = self._linear(normed, prefix + "self_attn.k_proj", prefix + "self_attn.v_proj")
        key, val = self._split(kv, 2)
        key = self._rotate(self._by_head(key, self.key_heads), cosine, sine)
        past = self.op("Gather", "past", self.const(np.int64(layer)), axis=0)
        past_key = self.op("Gather", past, self.const(np.int64(0)), axis=0)
        past_value = self.op("Gather", past, self.const(np.int64(1)), axis=0)
        key = self.op("Concat", past_key, key, axis=2)
        val = self.op("Concat", past_value, self._by_head(val, self.key_heads), axis=2)
        present = self.op("Concat", *(self.op("Unsqueeze", x, self.ints([0])) for x in (key, val)), axis=0)
        if final:
            hidden, normed = self._at_last(hidden), self._at_last(normed)
            bias = self._rows_at_last(bias)
            cosine, sine = self._rotation(
                self.op("GatherElements", "position_ids", self._last_column(), axis=1)
            )
        query = self._by_head(self._linear(normed, prefix + "self_attn.q_proj"), self.heads)
        query = self._rotate(query, cosine, sine)
        query = self.op("Mul", query, self.const(np.float32(self.width**-0.5)))
        mixed = self._attend(query, key, val, bias)
        mixed = self.op("Reshape", mixed, self.ints([0, 0, self.heads * self.width]))
        mixed = self._linear(mixed, prefix + self.mixed_back)
        return self._rest(hidden, normed, mixed, prefix), present

    def _attend(self, query: str, key: str, val: str, bias: str) -> str:
        """[B, heads, T, width] against keys and values [B, key heads, S, width], as [B, T, heads, width].

        Where several heads share a key, their queries stand below each other before it.
        """

        def stack(x: str, heads: int) -> str:
            return x if self.heads == self.key_heads else self.op("Reshape", x, self.ints([0, heads, -1, 0]))

        query = stack(query, self.key_heads)
        scores = stack(self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2])), self.heads)
        chances = self.op("Softmax", self.op("Add", scores, bias), axis=-1)
        mixed = stack(self.op("MatMul", stack(chances, self.key_heads), val), self.heads)
        return self.op("Transpose", mixed, perm=[0, 2, 1, 3])

    def _rest(self, hidden: str, normed: str, mixed: str, prefix: str) -> str:
        """What a layer does after attention."""
        hidden = self.op("Add", hidden, mixed)
        normed = self._norm(hidden, prefix + "post_attention_layernorm")
        gate, up = self._split(self._linear(normed, prefix + "mlp.gate_proj", prefix + "mlp.up_proj"), 2)
        gate = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.op("Add", hidden, self._linear(self.op("Mul", gate, up), prefix + "mlp.down_proj"))

    def _attention_bias(self) -> str:
        """[B, 1, T, S]: 0 where a position may look, -1e9 where it may not (the future, or masked out)."""
        tokens = self.op("Shape", "input_ids", start=1, end=2)
        total = self.op("Shape", "mask", start=1, end=2)
        zero, one = self.const(np.int64(0)), self.const(np.int64(1))

        def scalar(name: str) -> str:
            return self.op("Squeeze", name, self.ints([0]))

        columns = self.op("Range", zero, scalar(total), one)
        rows = self.op("Range", scalar(self.op("Sub", total, tokens)), scalar(total), one)
        seen = self.op(
            "LessOrEqual",
            self.op("Unsqueeze", columns, self.ints([0])),
            self.op("Unsqueeze", rows, self.ints([1])),
        )
        causal = self.op("Where", seen, self.const(np.float32(0)), self.const(np.float32(-1e9)))
        masked = self.op(
            "Mul", self.op("Sub", "mask", self.const(np.float32(1))), self.const(np.float32(1e9))
        )
        return self.op("Add", causal, self.op("Unsqueeze", masked, self.ints([1, 2])))

    def _rotation(self, positions: str) -> tuple[str, str]:
        """cos and sin [B, 1, T, turned] of the rotary angles."""
        turning = frequencies(self.config.rope_parameters, self.turned).astype(np.float32)
        angle = self.op("Cast", positions, to=1)
        angle = self.op("Mul", self.op("Unsqueeze", angle, self.ints([1, 3])), self.const(turning))
        angle = self.op("Concat", angle, angle, axis=-1)
        return self.op("Cos", angle), self.op("Sin", angle)

    def _rotate(self, x: str, cosine: str, sine: str) -> str:
        if self.turned < self.width:
            x, kept = self._split(x, [self.turned, self.width - self.turned])
            return self.op("Concat", self._turn(x, cosine, sine), kept, axis=-1)
        return self._turn(x, cosine, sine)

    def _turn(self, x: str, cosine: str, sine: str) -> str:
        low, high = self._split(x, 2)
        turned = self.op("Concat", self.op("Neg", high), low, axis=-1)
        return self.op("Add", self.op("Mul", x, cosine), self.op("Mul", turned, sine))

    def _last_column(self) -> str:
        return self.op("Unsqueeze", "last", self.ints([1]))

    def _at_last(self, x: str) -> str:
        """[B, T, H] -> [B, 1, H] at each row's asked position."""
        return self.op("Unsqueeze", self.op("GatherND", x, self._last_column(), batch_dims=1), self.ints([1]))

    def _rows_at_last(self, bias: str) -> str:
        """[B, 1, T, S] -> [B, 1, 1, S]."""
        rows = self.op("Squeeze", bias, self.ints([1]))
        return self.op("Unsqueeze", self._at_last(rows), self.ints([1]))

    def _by_head(self, x: str, heads: int) -> str:
        split = self.op("Reshape", x, self.ints([0, 0, heads, self.width]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def _norm(self, x: str, name: str) -> str:
        epsilon = self.const(np.float32(self.config.rms_norm_eps))
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.ints([-1]), keepdims=1)
        scaled = self.op("Div", x, self.op("Sqrt", self.op("Add", mean, epsilon)))
        return self.op("Mul", scaled, self.const(self.weights[name + ".weight"]))

    def _linear(self, x: str, *names: str, output: str | None = None) -> str:
        """A linear layer, or several side by side, with a bias where they have one."""
        weight = np.hstack([self.weights[f"{name}.weight"].T for name in names])
        # A tied head has a bias of its own or none: the embedding's name has none.
        biases = [self.weights[f"{name}.bias"] for name in names if f"{name}.bias" in self.weights]
        if not biases:
            return self._matmul(x, weight, output)
        return self.op("Add", self._matmul(x, weight), self.const(np.concatenate(biases)), output=output)

    def _matmul(self, x: str, weight: NDArray[np.float32], output: str | None = None) -> str:
        if self.precision == "fp32":
            return self.op("MatMul", x, self.const(np.ascontiguousarray(weight)), output=output)
        bits = 8 if self.precision == "int8" else 4
        codes, scales = quantise_blocks(weight, bits)
        shape = {"K": weight.shape[0], "N": weight.shape[1], "bits": bits, "block_size": BLOCK}
        constants = self.const(codes), self.const(scales)
        return self.op(
            "MatMulNBits", x, *constants, output=output, domain="com.microsoft", **shape, accuracy_level=4
        )

    def _split(self, x: str, parts: int | list[int]) -> list[str]:
        """Equal parts along the last axis, or parts of these sizes."""
        from onnx import helper

        sizes = [] if isinstance(parts, int) else [self.ints(parts)]
        count = parts if isinstance(parts, int) else len(parts)
        names = [f"v{len(self.nodes)}_{part}" for part in range(count)]
        equal = {} if sizes else {"num_outputs": count}
        self.nodes.append(helper.make_node("Split", [x, *sizes], names, axis=-1, **equal))
        return names

    def op(
        self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any
    ) -> str:
        from onnx import helper

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def ints(self, values: list[int]) -> str:
        return self.const(np.array(values, np.int64))

    def const(self, value: Any) -> str:
        """A constant, stored once however often it is used."""
        from onnx import numpy_helper

        array = np.asarray(value)
        identity = hashlib.sha256(str((array.dtype, array.shape)).encode() + array.tobytes()).digest()
        if identity not in self.names:
            name = f"c{len(self.names)}"
            self.names[identity] = name
            self.constants.append(numpy_helper.from_array(array, name))
            self.bytes += array.nbytes
        return self.names[identity]


class _PhiGraph(_Graph):
    """Phi: norms with a mean and a bias, attention and feed-forward side by side."""

    final_norm, mixed_back = "model.final_layernorm", "self_attn.dense"

    def _norm(self, x: str, name: str) -> str:
        scale, bias = (self.const(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, bias, epsilon=float(self.config.layer_norm_eps))

    def _rest(self, hidden: str, normed: str, mixed: str, prefix: str) -> str:
        inner = self.op("Gelu", self._linear(normed, prefix + "mlp.fc1"), approximate="tanh")
        return self.op("Add", self.op("Add", mixed, self._linear(inner, prefix + "mlp.fc2")), hidden)

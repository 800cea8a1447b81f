"""A Llama-family checkpoint as one ONNX graph for onnxruntime.

The graph is written out here rather than traced: it is small, the same bytes come out every time, and it
can leave out what a verdict does not need. Only the last position of each row is asked for, so in the last
layer only that position is computed; keys and values of every layer come out for the next step of a
generation. Weights are 8-bit in blocks (or fp32); activations are quantised per row inside the kernel, so a
row's answer does not depend on the other rows of its batch.

Architecture: Touvron et al., "LLaMA" (2023), as in transformers' LlamaForCausalLM; rotary embedding of
Su et al., "RoFormer" (2021). Operators: ONNX opset 21 and onnxruntime's MatMulNBits.

Inputs   input_ids [B, T] int64; position_ids [B, T] int64; mask [B, P + T] float32, 1 where a token counts;
         last [B] int64, the position whose answer is wanted; past [layers, 2, B, heads, P, width] float32
Outputs  logits [B, vocabulary] float32; present [layers, 2, B, heads, P + T, width] float32
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra

Precision = Literal["fp32", "int8"]
BLOCK = 32
OPSET = 21


def export_onnx(folder: Path, output: Path, *, precision: Precision = "int8") -> int:
    """Write the checkpoint in `folder` (config.json, model.safetensors) as `output`; return its size in bytes.

    Raises ModelError for another architecture or for grouped-query attention.
    """
    try:
        import onnx
        from safetensors.numpy import load_file
        from transformers import AutoConfig
    except ImportError as missing:
        raise missing_extra(missing.name or "onnx", "train") from missing

    config = AutoConfig.from_pretrained(folder)
    if config.model_type != "llama" or config.num_key_value_heads != config.num_attention_heads:
        raise ModelError(
            f"{folder}: only Llama checkpoints with as many key heads as heads are exported to ONNX."
        )
    graph = _Graph(load_file(folder / "model.safetensors"), config, precision)
    model = graph.build()
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    output.write_bytes(data)
    return len(data)


def quantise_blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Symmetric 8-bit blocks along the input axis, as MatMulNBits wants them.

    weight: [inputs, outputs]. Returns codes [outputs, blocks, BLOCK] (zero point 128) and scales
    [outputs, blocks]. Inputs are padded to whole blocks with zeros.
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // BLOCK)
    padded = np.zeros((outputs, blocks * BLOCK), np.float32)
    padded[:, :inputs] = weight.T
    grouped = padded.reshape(outputs, blocks, BLOCK)
    scale = np.abs(grouped).max(axis=2) / 127.0
    scale[scale == 0] = 1.0
    codes = np.clip(np.rint(grouped / scale[:, :, None]) + 128, 1, 255).astype(np.uint8)
    return codes, scale.astype(np.float32)


class _Graph:
    """Writes nodes in order; each method returns the name of the value it makes."""

    def __init__(self, weights: dict[str, NDArray[Any]], config: Any, precision: Precision) -> None:
        self.weights = {name: value.astype(np.float32) for name, value in weights.items()}
        self.config = config
        self.precision = precision
        self.heads = config.num_attention_heads
        self.width = config.hidden_size // self.heads
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[bytes, str] = {}

    def build(self) -> Any:
        from onnx import TensorProto, helper

        layers = self.config.num_hidden_layers
        value = helper.make_tensor_value_info
        cache = [layers, 2, "B", self.heads, "P", self.width]
        inputs = [
            value("input_ids", TensorProto.INT64, ["B", "T"]),
            value("position_ids", TensorProto.INT64, ["B", "T"]),
            value("mask", TensorProto.FLOAT, ["B", "S"]),
            value("last", TensorProto.INT64, ["B"]),
            value("past", TensorProto.FLOAT, cache),
        ]
        outputs = [
            value("logits", TensorProto.FLOAT, ["B", self.config.vocab_size]),
            value("present", TensorProto.FLOAT, [layers, 2, "B", self.heads, "S", self.width]),
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
        hidden = self._norm(self.op("Squeeze", hidden, self.ints([1])), "model.norm.weight")
        head = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])
        self._matmul(hidden, head.T, output="logits")

    def _layer(
        self, hidden: str, layer: int, bias: str, cosine: str, sine: str, final: bool
    ) -> tuple[str, str]:
        """One decoder layer. The final one goes on with the asked position alone: hidden becomes [B, 1, H]."""
        prefix = f"model.layers.{layer}."

        def weight(name: str) -> NDArray[np.float32]:
            return self.weights[f"{prefix}{name}.weight"].T

        normed = self._norm(hidden, prefix + "input_layernorm.weight")
        kv = self._matmul(normed, np.hstack([weight("self_attn.k_proj"), weight("self_attn.v_proj")]))
        key, val = self._split(kv, 2)
        key = self._rotate(self._by_head(key), cosine, sine)
        past = self.op("Gather", "past", self.const(np.int64(layer)), axis=0)
        past_key = self.op("Gather", past, self.const(np.int64(0)), axis=0)
        past_value = self.op("Gather", past, self.const(np.int64(1)), axis=0)
        key = self.op("Concat", past_key, key, axis=2)
        val = self.op("Concat", past_value, self._by_head(val), axis=2)
        present = self.op("Concat", *(self.op("Unsqueeze", x, self.ints([0])) for x in (key, val)), axis=0)
        if final:
            hidden, normed = self._at_last(hidden), self._at_last(normed)
            bias = self._rows_at_last(bias)
            cosine, sine = self._rotation(
                self.op("GatherElements", "position_ids", self._last_column(), axis=1)
            )
        query = self._rotate(self._by_head(self._matmul(normed, weight("self_attn.q_proj"))), cosine, sine)
        query = self.op("Mul", query, self.const(np.float32(self.width**-0.5)))
        scores = self.op("Add", self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2])), bias)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), val)
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, self.ints([0, 0, self.heads * self.width]))
        hidden = self.op("Add", hidden, self._matmul(mixed, weight("self_attn.o_proj")))
        normed = self._norm(hidden, prefix + "post_attention_layernorm.weight")
        both = self._matmul(normed, np.hstack([weight("mlp.gate_proj"), weight("mlp.up_proj")]))
        gate, up = self._split(both, 2)
        gate = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.op(
            "Add", hidden, self._matmul(self.op("Mul", gate, up), weight("mlp.down_proj"))
        ), present

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
        """cos and sin [B, 1, T, width] of the rotary angles."""
        base = getattr(self.config, "rope_theta", None) or self.config.rope_parameters["rope_theta"]
        inverse = 1.0 / base ** (np.arange(0, self.width, 2, dtype=np.float64) / self.width)
        angle = self.op("Cast", positions, to=1)
        angle = self.op(
            "Mul", self.op("Unsqueeze", angle, self.ints([1, 3])), self.const(inverse.astype(np.float32))
        )
        angle = self.op("Concat", angle, angle, axis=-1)
        return self.op("Cos", angle), self.op("Sin", angle)

    def _rotate(self, x: str, cosine: str, sine: str) -> str:
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

    def _by_head(self, x: str) -> str:
        split = self.op("Reshape", x, self.ints([0, 0, self.heads, self.width]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def _norm(self, x: str, name: str) -> str:
        epsilon = self.const(np.float32(self.config.rms_norm_eps))
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.ints([-1]), keepdims=1)
        scaled = self.op("Div", x, self.op("Sqrt", self.op("Add", mean, epsilon)))
        return self.op("Mul", scaled, self.const(self.weights[name]))

    def _matmul(self, x: str, weight: NDArray[np.float32], output: str | None = None) -> str:
        if self.precision == "fp32":
            return self.op("MatMul", x, self.const(np.ascontiguousarray(weight)), output=output)
        codes, scales = quantise_blocks(weight)
        options = {
            "K": weight.shape[0],
            "N": weight.shape[1],
            "bits": 8,
            "block_size": BLOCK,
            "accuracy_level": 4,
        }
        return self.op(
            "MatMulNBits",
            x,
            self.const(codes),
            self.const(scales),
            output=output,
            domain="com.microsoft",
            **options,
        )

    def _split(self, x: str, parts: int) -> list[str]:
        from onnx import helper

        names = [f"v{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=-1, num_outputs=parts))
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
        identity = str((array.dtype, array.shape)).encode() + array.tobytes()
        if identity not in self.names:
            name = f"c{len(self.names)}"
            self.names[identity] = name
            self.constants.append(numpy_helper.from_array(array, name))
        return self.names[identity]

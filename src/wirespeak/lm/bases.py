"""Open models that are known here: one table with their shapes, and what an adapter on each costs.

Any model transformers loads can be tuned; being in this table only means that its memory can be told beforehand
and that its adapter has settings that were tried. Shapes are those of each model's published config.json.
Adapters: Hu et al., "LoRA" (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS: dict[str, tuple[str, ...]] = {
    "gemma": ATTENTION,
    "gemma3_text": ATTENTION,
    "llama": ATTENTION,
    "mistral": ATTENTION,
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "phi3": ("qkv_proj", "o_proj"),
    "qwen2": ATTENTION,
    "qwen3": ATTENTION,
    "t5": ("q", "k", "v", "o"),
}
"""The projections an adapter goes on, by architecture (`model_type` in config.json)."""


@dataclass(frozen=True)
class Base:
    """A model by its hub name. `hidden` is the width inside a layer's MLP, `tied` an output head that is the embedding.

    rank, alpha, dropout: the adapter's. head_width 0: width / heads.
    """

    name: str
    kind: str
    layers: int
    width: int
    hidden: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool
    licence: str
    head_width: int = 0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05

    def projections(self) -> dict[str, tuple[int, int]]:
        """The weight matrices of one layer, [inputs, outputs] by name."""
        width, hidden, head = self.width, self.hidden, self.head_width or self.width // self.heads
        queries, keys = self.heads * head, self.key_heads * head
        if self.kind == "phi3":
            return {
                "qkv_proj": (width, queries + 2 * keys), "o_proj": (queries, width),
                "gate_up_proj": (width, 2 * hidden), "down_proj": (hidden, width),
            }  # fmt: skip
        attention = {"q_proj": (width, queries), "k_proj": (width, keys), "v_proj": (width, keys)}
        if self.kind == "phi":
            return attention | {
                "dense": (queries, width), "fc1": (width, hidden), "fc2": (hidden, width),
            }  # fmt: skip
        return attention | {
            "o_proj": (queries, width), "gate_proj": (width, hidden), "up_proj": (width, hidden), "down_proj": (hidden, width),
        }  # fmt: skip

    @property
    def projected(self) -> int:
        """Weights in the projections of all layers: what quantisation makes small."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.projections().values())

    @property
    def embedded(self) -> int:
        """Weights in the embedding and the output head."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights but norms and biases, which are fewer than one in a thousand."""
        return self.projected + self.embedded

    @property
    def trainable(self) -> int:
        """Weights of its adapter.

        >>> find("Qwen/Qwen2.5-1.5B-Instruct").trainable
        4358144
        """
        shapes = self.projections()
        return self.layers * sum(self.rank * sum(shapes[target]) for target in TARGETS[self.kind])


_APACHE, _MIT, _GEMMA = "Apache-2.0", "MIT", "Gemma Terms of Use"
_LLAMA = "Llama 3.2 Community"
# fmt: off
BASES: tuple[Base, ...] = (
    #    name                                        kind          layers width hidden heads keys vocabulary tied licence
    Base("Qwen/Qwen2.5-1.5B-Instruct",               "qwen2",       28, 1536,  8960, 12,  2, 151936, True,  _APACHE),
    Base("Qwen/Qwen2.5-7B-Instruct",                 "qwen2",       28, 3584, 18944, 28,  4, 152064, False, _APACHE),
    Base("Qwen/Qwen3-0.6B",                          "qwen3",       28, 1024,  3072, 16,  8, 151936, True,  _APACHE, 128),
    Base("Qwen/Qwen3-1.7B",                          "qwen3",       28, 2048,  6144, 16,  8, 151936, True,  _APACHE, 128),
    Base("Qwen/Qwen3-4B-Instruct-2507",              "qwen3",       36, 2560,  9728, 32,  8, 151936, True,  _APACHE, 128),
    Base("Qwen/Qwen3-8B",                            "qwen3",       36, 4096, 12288, 32,  8, 151936, False, _APACHE, 128),
    Base("microsoft/phi-2",                          "phi",         32, 2560, 10240, 32, 32,  51200, False, _MIT),
    Base("microsoft/Phi-4-mini-instruct",            "phi3",        32, 3072,  8192, 24,  8, 200064, True,  _MIT),
    Base("meta-llama/Llama-3.2-3B-Instruct",         "llama",       28, 3072,  8192, 24,  8, 128256, True,  _LLAMA),
    Base("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama",       32, 4096, 14336, 32,  8, 128256, False, "MIT, on Llama 3.1 Community"),
    Base("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",    "qwen3",       36, 4096, 12288, 32,  8, 151936, False, _MIT, 128),
    Base("google/gemma-2b",                          "gemma",       18, 2048, 16384,  8,  1, 256000, True,  _GEMMA, 256),
    Base("google/gemma-3-1b-it",                     "gemma3_text", 26, 1152,  6912,  4,  1, 262144, True,  _GEMMA, 256),
    Base("openlm-research/open_llama_3b",            "llama",       26, 3200,  8640, 32, 32,  32000, False, _APACHE),
)
# fmt: on


def find(name: str) -> Base | None:
    """The row of a hub name, None for a model that is not in the table."""
    return next((base for base in BASES if base.name.lower() == name.lower()), None)

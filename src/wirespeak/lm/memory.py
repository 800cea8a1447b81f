"""How much GPU memory a model needs to be tuned or asked: computed from its shape, not measured.

Training, one row of 1,024 tokens at a time with gradient checkpointing:
- full: 32-bit weights, gradients and two moments of AdamW, 16 bytes a weight, and bfloat16 copies to compute with
- lora: bfloat16 weights, and 16 bytes for each weight of the adapter
- qlora: the projections in NF4 with double quantisation, 4.127 bits a weight (Dettmers et al., "QLoRA", 2023), the
  rest as lora
- activations: each layer's input, and everything inside the one layer that is being computed again

Asking (bf16, int8, nf4): the weights, and the keys and values of 32 rows of 1,024 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from wirespeak.lm.bases import Base

CARDS_GB = (8, 16, 24, 48, 80)
USES = ("full", "lora", "qlora", "bf16", "int8", "nf4")
_NF4 = 4.127 / 8
_TOKENS = 1024
_ASKED = 32
_RUNTIME = 1e9
"""What the CUDA context and its libraries take before any model is loaded."""


@dataclass(frozen=True)
class Need:
    """The memory of one use of one model. card_gb: the smallest usual GPU it fits, None above the largest."""

    model: str
    parameters: int
    use: str
    gb: float
    card_gb: int | None


def need(base: Base, use: str) -> Need:
    """The memory `base` takes for `use` (one of USES), in 10^9 bytes; a tenth of a card is left free."""
    size = (_weights(base, use) + _work(base, use) + _RUNTIME) / 1e9
    card = next((card for card in CARDS_GB if size <= 0.9 * card), None)
    return Need(base.name, base.parameters, use, round(size, 1), card)


def _weights(base: Base, use: str) -> float:
    each = {"full": 18.0, "int8": 1.0, "nf4": _NF4, "qlora": _NF4}.get(use, 2.0)
    rest = 18.0 if use == "full" else 2.0
    adapter = 16.0 * base.trainable if use in ("lora", "qlora") else 0.0
    return base.projected * each + base.embedded * rest + adapter


def _work(base: Base, use: str) -> float:
    if use not in ("full", "lora", "qlora"):
        keys = base.key_heads * (base.head_width or base.width // base.heads)
        return 2.0 * 2 * base.layers * keys * _TOKENS * _ASKED
    inside = sum(outputs for _, outputs in base.projections().values()) + 4 * base.width
    # Twice: what the layer computes forward, and its gradients.
    return 2.0 * _TOKENS * (base.layers * base.width + 2 * inside)

"""Numbers in order: what is learnt of one number is learnt of those near it.

To a language model each token is a name: of ` fbM1.46` it knows no more that it is near ` fbM1.47` than that it is
near ` pr:tcp`, and must see every number often enough to learn what it means. Two things give the numbers of a
column their order, and both are gone when training ends: the checkpoint is one like any other.

- At the start, numbers of near size have near embeddings: random features of a Gaussian kernel over the logarithm
  of the size (Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", 2007), and a direction of its
  own for each column.
- At each step, the gradient of a number's embedding is a mean over its neighbours', weighted by the same kernel.

`reach` is the width of that kernel in decades: numbers half as far apart are much alike, twice as far hardly. With a
wide one a model that saw few rows of a label knows others like them; exact sizes are then learnt later, or not at all.

A number is a token of `text.compact`: a column's code, sign, decade letter and mantissa, or the further digits
behind a point, which are numbers between 0 and 1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_NUMBER = re.compile(r" ?(?P<column>[a-z]{2,}-?)(?P<decade>[A-Z])(?P<mantissa>\d(?:\.\d+)?)")
_DIGITS = re.compile(r"\.\d+")
_SPREAD = 0.02
"""Standard deviation of an embedding's entries at the start, as in the models of transformers."""
_START, _OWN = 2.5, 0.1
"""How much farther numbers are alike at the start than later; the share of both that each number has for itself."""


@dataclass(frozen=True)
class Numbers:
    """Tokens that are numbers of one column: their ids [n] and sizes [n] in decades."""

    column: str
    ids: NDArray[np.int64]
    sizes: NDArray[np.float64]

    def kernel(self, reach: float) -> NDArray[np.float64]:
        """How much each number [n] hears of each [n]: rows sum to one."""
        near = np.exp(-0.5 * ((self.sizes[:, None] - self.sizes) / reach) ** 2)
        shared = (1 - _OWN) * near + _OWN * np.eye(len(near))
        return shared / shared.sum(axis=1, keepdims=True)


def numbers_of(tokenizer: Tokenizer) -> list[Numbers]:
    """The numbers among the tokens, column by column; a column's negative numbers are a column of their own."""
    found: dict[str, list[tuple[int, float]]] = {}
    for piece, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if number := _NUMBER.fullmatch(piece):
            size = ord(number["decade"]) - ord("J") + math.log10(max(float(number["mantissa"]), 0.5))
            found.setdefault(number["column"], []).append((token, size))
        elif _DIGITS.fullmatch(piece):
            found.setdefault(".", []).append((token, float(f"0{piece}")))
    return [
        Numbers(column, np.array([token for token, _ in own]), np.array([size for _, size in own]))
        for column, own in found.items()
    ]


def put_in_order(embeddings: Any, columns: list[Numbers], reach: float, *, seed: int = 0) -> None:
    """Set the rows of the numbers in `embeddings`, a tensor [tokens, width], for a training to begin with."""
    import torch

    rng = np.random.default_rng(seed)
    width = embeddings.shape[1]
    rate, phase = rng.normal(size=width) / (_START * reach), rng.uniform(0, 2 * np.pi, width)
    for column in columns:
        near = math.sqrt(2) * np.cos(column.sizes[:, None] * rate + phase)
        rows = (rng.normal(size=width) + near) / math.sqrt(2) + _OWN * rng.normal(size=near.shape)
        with torch.no_grad():
            embeddings[torch.from_numpy(column.ids)] = torch.from_numpy(_SPREAD * rows).to(embeddings)


def keep_order(embeddings: Any, columns: list[Numbers], reach: float) -> Any:
    """Share the gradients of the numbers in `embeddings`, a parameter [tokens, width], until the hook is removed."""
    import torch

    parts = [
        (torch.from_numpy(column.ids).to(embeddings.device), torch.from_numpy(column.kernel(reach)).to(embeddings))
        for column in columns
    ]  # fmt: skip

    def share(gradient: Any) -> Any:
        shared = gradient.clone()
        for ids, kernel in parts:
            shared[ids] = kernel @ gradient[ids]
        return shared

    return embeddings.register_hook(share)

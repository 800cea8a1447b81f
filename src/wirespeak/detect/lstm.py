"""A recurrent network that reads a row column by column (torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra

_BINS = 64
_BATCH = 256
# A small table is read more often, until so many steps were taken.
_STEPS = 200


@dataclass(kw_only=True)
class Recurrent(TableDetector):
    """An LSTM (Hochreiter and Schmidhuber 1997) over one token a column, then one linear layer.

    width: of the state. epochs: passes over the rows, more of a small table. rows: learn from so many at most, drawn evenly over
    labels by the square root of their counts. categories: the most frequent ones have tokens of their own.
    """

    width: int = 64
    epochs: int = 6
    rows: int = 60_000
    rate: float = 3e-3
    calibrate: bool = False
    name: str = field(default="lstm", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        torch = _torch()
        rng = np.random.default_rng(self.seed)
        chosen = np.arange(len(codes))
        if len(codes) > self.rows:
            chance = np.bincount(codes)[codes] ** -0.5
            chosen = np.sort(rng.choice(len(codes), self.rows, replace=False, p=chance / chance.sum()))
        tokens = torch.from_numpy(self.encoding.bins(flows[chosen], _BINS))
        truth = torch.from_numpy(codes[chosen])
        weights = torch.from_numpy(self.weights(codes)[chosen]).float()
        with torch.random.fork_rng(devices=[]), _threads(self.cores):
            torch.manual_seed(self.seed)
            self.model = _network(len(self.encoding.columns), self.width, len(self.labels))
            optimiser = torch.optim.AdamW(self.model.parameters(), lr=self.rate, weight_decay=0.01)
            batches = -(-len(chosen) // _BATCH)
            epochs = max(self.epochs, _STEPS // batches)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, total_steps=epochs * batches)
            for _ in range(epochs):
                order = torch.from_numpy(rng.permutation(len(chosen)))
                for batch in order.split(_BATCH):
                    loss = torch.nn.functional.cross_entropy(
                        self.model(tokens[batch]), truth[batch], reduction="none"
                    )
                    optimiser.zero_grad()
                    (loss * weights[batch]).mean().backward()
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                    optimiser.step()
                    schedule.step()
        self.model.eval()

    def _chances(self, flows: pl.DataFrame) -> Chances:
        torch = _torch()
        tokens = torch.from_numpy(self.encoding.bins(flows, _BINS))
        with torch.inference_mode(), _threads(self.cores):
            parts = [self.model(batch).double().softmax(dim=1) for batch in tokens.split(4096)]
        return np.asarray(torch.cat(parts).numpy())

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.model.state_dict(), folder / "model.safetensors")

    def _read(self, folder: Path) -> None:
        _torch()
        from safetensors.torch import load_file

        self.model = _network(len(self.encoding.columns), self.width, len(self.labels))
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.model.eval()


def _network(columns: int, width: int, labels: int) -> Any:
    torch = _torch()

    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(columns * (_BINS + 2), width // 2)
            self.read = torch.nn.LSTM(width // 2, width, batch_first=True)
            self.judge = torch.nn.Linear(2 * width, labels)
            self.register_buffer("first", torch.arange(columns) * (_BINS + 2))

        def forward(self, tokens: Any) -> Any:
            states, _ = self.read(self.embed(tokens + self.first))
            return self.judge(torch.cat([states[:, -1], states.mean(dim=1)], dim=1))

    return Network()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "train") from error
    return torch


class _threads:
    """Use so many cores inside the block, and as many as before after it."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        self.before = _torch().get_num_threads()
        _torch().set_num_threads(self.count)

    def __exit__(self, *error: object) -> None:
        _torch().set_num_threads(self.before)

"""The runtime of the model in the box: onnxruntime and tokenizers, nothing else.

A model folder holds `model.onnx` (see `export` for its inputs), `tokenizer.json` and `card.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError

FILES = ("model.onnx", "tokenizer.json", "card.json")
_TOKENS_A_BATCH = 4096


class OnnxLanguageModel:
    """A small decoder in ONNX. Keeps contracts.LanguageModel."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load the model in `folder`. threads: CPU threads, by default all the process may use."""
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder} is not a model folder: {', '.join(missing)} missing. Give a folder written by 'wirespeak train'."
            )
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        try:
            self.card: dict[str, Any] = json.loads((folder / "card.json").read_text("utf-8"))
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                (folder / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except (
            Exception
        ) as error:  # each library has errors of its own; all mean that the folder is not sound
            raise ModelError(
                f"{folder}: the model cannot be loaded ({_first_line(error)}). Train or fetch it again."
            ) from error
        self.name = str(self.card.get("name", folder.name))
        shape = next(item.shape for item in self._session.get_inputs() if item.name == "past")
        self._layers, self._heads, self._width = shape[0], shape[3], shape[5]
        self._end = self._tokenizer.token_to_id("<end>")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float32]:
        """Log-likelihood of each one-token answer after each prompt, [prompts, answers].

        Each distinct prompt is read once. Raises ModelError when an answer is not one token here.
        """
        chosen = [self._only_token(answer) for answer in answers]
        distinct = list(dict.fromkeys(prompts))
        ids = self.tokens(distinct)
        scores = np.empty((len(distinct), len(answers)), np.float32)
        for rows in _batches([len(row) for row in ids]):
            logits = self._last_logits([ids[row] for row in rows])
            scores[rows] = logits[:, chosen] - _log_sum(logits)
        where = {prompt: row for row, prompt in enumerate(distinct)}
        return scores[[where[prompt] for prompt in prompts]]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        stop: str = "\n",
        temperature: float = 0.0,
        nucleus: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """What the model writes after each prompt, up to `stop`, its end token or `max_tokens`."""
        ids = self.tokens(prompts)
        longest = max((len(row) for row in ids), default=0)
        batch = len(ids)
        if not batch:
            return []
        tokens = np.zeros((batch, longest), np.int64)
        mask = np.zeros((batch, longest), np.float32)
        for row, numbers in enumerate(ids):
            tokens[row, longest - len(numbers) :] = numbers
            mask[row, longest - len(numbers) :] = 1
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0).astype(np.int64)
        past = np.zeros((self._layers, 2, batch, self._heads, 0, self._width), np.float32)
        draws = [np.random.default_rng((seed, row)) for row in range(batch)]
        written: list[list[int]] = [[] for _ in range(batch)]
        open_rows = np.ones(batch, bool)
        for _ in range(max_tokens):
            last = np.full(batch, tokens.shape[1] - 1, np.int64)
            feed = {"input_ids": tokens, "position_ids": positions, "mask": mask, "last": last, "past": past}
            logits, past = self._session.run(["logits", "present"], feed)
            following = np.array(
                [_draw(logits[row], temperature, nucleus, draws[row]) for row in range(batch)], np.int64
            )
            for row in np.flatnonzero(open_rows).tolist():
                if following[row] == self._end:
                    open_rows[row] = False
                    continue
                written[row].append(int(following[row]))
                if stop and stop in self._tokenizer.decode(written[row][-4:], skip_special_tokens=False):
                    open_rows[row] = False
            if not open_rows.any():
                break
            tokens = following[:, None]
            positions = positions[:, -1:] + 1
            mask = np.concatenate([mask, np.ones((batch, 1), np.float32)], axis=1)
        texts = [self._tokenizer.decode(row, skip_special_tokens=False) for row in written]
        return [text.split(stop)[0] if stop else text for text in texts]

    def _only_token(self, answer: str) -> int:
        ids = self._tokenizer.encode(answer).ids
        if len(ids) != 1:
            raise ModelError(
                f"{self.name}: the answer {answer!r} is {len(ids)} tokens, expected one. This model was trained for other labels."
            )
        return int(ids[0])

    def _last_logits(self, ids: list[list[int]]) -> NDArray[np.float32]:
        longest = max(len(row) for row in ids)
        tokens = np.zeros((len(ids), longest), np.int64)
        for row, numbers in enumerate(ids):
            tokens[row, : len(numbers)] = numbers
        feed = {
            "input_ids": tokens,
            "position_ids": np.ascontiguousarray(np.broadcast_to(np.arange(longest), tokens.shape)),
            "mask": np.ones(tokens.shape, np.float32),
            "last": np.array([len(row) - 1 for row in ids], np.int64),
            "past": np.zeros((self._layers, 2, len(ids), self._heads, 0, self._width), np.float32),
        }
        return np.asarray(self._session.run(["logits"], feed)[0], np.float32)


def _batches(lengths: list[int]) -> Iterator[NDArray[np.int64]]:
    """Row numbers in batches of similar length: padding stands behind a row and is never looked at."""
    order = np.argsort(np.array(lengths), kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop - start + 1) <= _TOKENS_A_BATCH:
            stop += 1
        yield order[start:stop]
        start = stop


def _log_sum(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = logits.max(axis=1, keepdims=True)
    return np.asarray(peak + np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)), np.float32)


def _draw(logits: NDArray[np.float32], temperature: float, nucleus: float, rng: np.random.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    if nucleus < 1:
        order = np.argsort(-scaled, kind="stable")
        chance = np.exp(scaled[order] - scaled[order[0]])
        before = np.cumsum(chance) - chance
        scaled[order[before > nucleus * chance.sum()]] = -np.inf
    return int((scaled - np.log(-np.log(rng.random(len(scaled))))).argmax())


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

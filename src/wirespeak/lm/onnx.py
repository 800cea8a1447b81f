"""The runtime of the model in the box, and of any exported one: onnxruntime and tokenizers, nothing else.

A model folder holds `model.onnx` (see `export` for its inputs), `tokenizer.json` and `card.json`, whose `words` say
how an exported model is asked: its end tokens and its chat template.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, WirespeakError
from wirespeak.lm.prompts import Words, first_line, jinja_template
from wirespeak.lm.scoring import LocalLanguageModel, draw
from wirespeak.lm.tokenizer import END

FILES = ("model.onnx", "tokenizer.json", "card.json")
_TOKENS_A_BATCH = 4096


class OnnxLanguageModel(LocalLanguageModel):
    """A decoder in ONNX. Keeps contracts.LanguageModel."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load the model in `folder`. threads: CPU threads, by default all the process may use.

        Raises ModelError where the folder is not a sound model, MissingPart where it has a chat template and jinja2
        is not installed.
        """
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
            asked: dict[str, Any] = self.card.get("words", {})
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            template = asked.get("chat_template")
            self.words = Words(
                tokenizer, jinja_template(template, asked.get("special", {})) if template else None
            )
            session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            self.steps = _OnnxSteps(session)
            self.ends = frozenset(asked.get("ends", [tokenizer.token_to_id(END)]))
        except WirespeakError:
            raise
        except Exception as error:  # each library has errors of its own; all mean an unsound folder
            raise ModelError(
                f"{folder}: the model cannot be loaded ({first_line(error)}). Train or fetch it again."
            ) from error
        self.name = str(self.card.get("name", folder.name))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text."""
        return self.words.prompts(texts)


class _OnnxSteps:
    """scoring.Steps through an onnxruntime session; a cache is the graph's `present`."""

    causal = True
    even = True
    places = _TOKENS_A_BATCH

    def __init__(self, session: Any) -> None:
        self._session = session
        shape = next(item.shape for item in session.get_inputs() if item.name == "past")
        self._layers, self._heads, self._width = shape[0], shape[3], shape[5]

    def forward(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        mask: NDArray[np.float32],
        last: NDArray[np.int64],
        cache: Any,
        *,
        keep: bool,
    ) -> tuple[Any, Any]:
        if cache is None:
            cache = np.zeros((self._layers, 2, len(tokens), self._heads, 0, self._width), np.float32)
        feed = {"input_ids": tokens, "position_ids": positions, "mask": mask, "last": last, "past": cache}
        wanted = ["logits", "present"] if keep else ["logits"]
        logits, *present = self._session.run(wanted, feed)
        return logits, present[0] if keep else None

    def select(self, cache: Any, rows: NDArray[np.int64]) -> Any:
        return np.take(cache, rows, axis=2)

    def log_probabilities(self, logits: Any, tokens: Sequence[int] | None = None) -> NDArray[np.float32]:
        peak = logits.max(axis=1, keepdims=True)
        total = peak + np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
        return np.asarray((logits if tokens is None else logits[:, tokens]) - total, np.float32)

    def draw(
        self, logits: Any, temperature: float, nucleus: float, draws: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        picked = [draw(row, temperature, nucleus, rng) for row, rng in zip(logits, draws, strict=True)]
        return np.array(picked, np.int64)

"""Any causal language model transformers can load: a hub name or a folder. Slow and general."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra


class TransformersLanguageModel:
    """A transformers checkpoint, on the CPU or a GPU. Keeps contracts.LanguageModel."""

    def __init__(self, name: str, *, device: str = "auto", batch: int = 32) -> None:
        """Load hub name or folder `name`. device: auto, cpu or cuda."""
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as missing:
            raise missing_extra(missing.name or "transformers", "train") from missing
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            _find(name)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self._model: Any = AutoModelForCausalLM.from_pretrained(name, dtype="auto").to(chosen).eval()
        except Exception as error:  # the hub client, the loader and torch each raise their own kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ModelError(
                f"no model '{name}': it is no folder with a model, and loading it from the hub failed ({reason}). "
                "Give a folder written by 'wirespeak train', a hub name, or leave --model out."
            ) from error
        card = Path(name) / "card.json"
        self.card: dict[str, Any] = json.loads(card.read_text("utf-8")) if card.is_file() else {}
        self.name, self._batch, self._torch, self._device = name, batch, torch, chosen

    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float32]:
        """Log-likelihood of each answer after each prompt, summed over the answer's tokens, [prompts, answers]."""
        distinct = list(dict.fromkeys(prompts))
        tails = [self._ids(answer) for answer in answers]
        if all(len(tail) == 1 for tail in tails):
            scores = self._single([self._ids(prompt) for prompt in distinct], [tail[0] for tail in tails])
        else:
            scores = np.stack([self._score(self._ids(prompt), tails) for prompt in distinct])
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
        """What the model writes after each prompt, up to `stop` or `max_tokens`."""
        torch = self._torch
        texts = []
        for row, prompt in enumerate(prompts):
            torch.manual_seed(seed + row)
            ids = self._ids(prompt)
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_p": nucleus}
                if temperature > 0
                else {"do_sample": False}
            )
            with torch.inference_mode():
                out = self._model.generate(
                    torch.tensor([ids], device=self._device), max_new_tokens=max_tokens, **sampling,
                    pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
                )  # fmt: skip
            text = self._tokenizer.decode(out[0][len(ids) :], skip_special_tokens=True)
            texts.append(text.split(stop)[0] if stop else text)
        return texts

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _single(self, heads: list[list[int]], tokens: list[int]) -> NDArray[np.float32]:
        """Answers of one token: one forward pass for each prompt, in batches of one length."""
        torch = self._torch
        scores = np.empty((len(heads), len(tokens)), np.float32)
        order = sorted(range(len(heads)), key=lambda row: len(heads[row]))
        start = 0
        with torch.inference_mode():
            while start < len(order):
                rows = [
                    row
                    for row in order[start : start + self._batch]
                    if len(heads[row]) == len(heads[order[start]])
                ]
                logits = self._model(torch.tensor([heads[row] for row in rows], device=self._device)).logits[
                    :, -1
                ]
                scores[rows] = logits.float().log_softmax(-1)[:, tokens].cpu().numpy()
                start += len(rows)
        return scores

    def _score(self, head: list[int], tails: list[list[int]]) -> NDArray[np.float32]:
        """Answers of several tokens: the prompt with each answer behind it."""
        torch = self._torch
        scores = []
        with torch.inference_mode():
            for start in range(0, len(tails), self._batch):
                part = tails[start : start + self._batch]
                longest = max(len(tail) for tail in part)
                rows = [head + tail + [0] * (longest - len(tail)) for tail in part]
                logits = self._model(torch.tensor(rows, device=self._device)).logits.float().log_softmax(-1)
                for row, tail in enumerate(part):
                    places = torch.arange(len(head) - 1, len(head) - 1 + len(tail), device=self._device)
                    scores.append(float(logits[row, places, torch.tensor(tail, device=self._device)].sum()))
        return np.array(scores, np.float32)


def _find(name: str) -> None:
    """Ask once, without retries, whether a hub name exists, so that a wrong name is told at once."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if not Path(name).is_dir() and not isinstance(try_to_load_from_cache(name, "config.json"), str):
        HfApi().model_info(name, timeout=10)

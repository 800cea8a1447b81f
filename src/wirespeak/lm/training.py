"""Training a small decoder from scratch: examples in, a checkpoint in Hugging Face's format out.

The architecture is transformers' LlamaForCausalLM, so the result loads anywhere. Loss: cross-entropy of the
answer's tokens; the prompt's own tokens count a little too, which teaches how rows look. A one-token answer
(a label) weighs as much as sixteen tokens of prose. AdamW, warm-up, cosine; no dropout.

With the same examples, seed, thread count and torch build the weights come out the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from wirespeak.errors import InputError, missing_extra
from wirespeak.lm.tokenizer import END, PAD

CONTEXT = 512
_POOL = 4096
_ANSWER_FLOOR = 16.0
_PROMPT_WEIGHT = 0.1


class Example(Protocol):
    """Something to learn: after `prompt` comes `answer`, counted `weight` times (text.ask.Example)."""

    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def weight(self) -> float: ...


@dataclass(frozen=True)
class Shape:
    """Size of the decoder. heads must divide width."""

    width: int = 144
    layers: int = 4
    heads: int = 6
    hidden: int = 384


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. steps: updates; tokens: tokens (padding included) in a batch; keep: save so often."""

    steps: int = 3500
    tokens: int = 6144
    rate: float = 2e-3
    warmup: int = 150
    decay: float = 0.05
    keep: int = 500


@dataclass(frozen=True)
class Task:
    """Examples of one kind and the share of the batches' examples they get.

    alone: this many steps at the start are theirs alone. What has to be learnt first, such as copying a
    number, is learnt sooner undisturbed.
    """

    name: str
    examples: Sequence[Example]
    share: float
    alone: int = 0


def train_decoder(
    tasks: Sequence[Task],
    tokenizer: Tokenizer,
    output: Path,
    *,
    shape: Shape = Shape(),
    schedule: Schedule = Schedule(),
    seed: int = 0,
    threads: int = 2,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Train and save config.json, model.safetensors, tokenizer.json in `output`; return facts for the run card.

    progress is called with (step, steps, running loss). An example longer than CONTEXT tokens is set aside whole
    and counted, so that no answer is ever cut. Raises InputError when none of a task fits.
    """
    try:
        import torch
    except ImportError as missing:
        raise missing_extra("torch", "train") from missing
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = untrained(tokenizer, shape)
    model.train()
    groups = [_Encoded(task, tokenizer) for task in tasks if len(task.examples)]
    batches = _batches(groups, schedule.tokens, np.random.default_rng(seed))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.rate, weight_decay=schedule.decay, betas=(0.9, 0.98)
    )
    running, seen = 0.0, 0
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * _pace(step, schedule)
        tokens, weights = (torch.from_numpy(part) for part in next(batches))
        hidden = model.model(tokens[:, :-1]).last_hidden_state
        wanted = weights[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
        losses = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seen += tokens.numel()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % schedule.keep == 0:
            save(model, tokenizer, output)
        if progress:
            progress(step + 1, schedule.steps, running)
    save(model.eval(), tokenizer, output)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "shape": asdict(shape), "schedule": asdict(schedule), "seed": seed, "tokens_seen": seen, "loss": round(running, 4),
        "examples": {task.name: len(task.examples) for task in tasks}, "shares": {task.name: task.share for task in tasks},
        "too_long": {group.name: group.too_long for group in groups},
    }  # fmt: skip


def untrained(tokenizer: Tokenizer, shape: Shape = Shape(), *, seed: int | None = None) -> Any:
    """A decoder of this shape with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if seed is not None:
        torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=shape.width, intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, rope_theta=10000.0,
        pad_token_id=tokenizer.token_to_id(PAD), eos_token_id=tokenizer.token_to_id(END), bos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def save(model: Any, tokenizer: Tokenizer, output: Path) -> None:
    """Write a checkpoint that transformers loads by folder name, tokenizer included."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    tokenizer.save(str(output / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": END}
    (output / "tokenizer_config.json").write_text(json.dumps(settings) + "\n", "utf-8")


class _Encoded:
    """A task's examples as token numbers, drawn by weight."""

    def __init__(self, task: Task, tokenizer: Tokenizer) -> None:
        end = tokenizer.token_to_id(END)
        prompts = tokenizer.encode_batch_fast([example.prompt for example in task.examples])
        answers = tokenizer.encode_batch_fast([example.answer for example in task.examples])
        rows = [np.array(p.ids + a.ids + [end], np.int64) for p, a in zip(prompts, answers, strict=True)]
        fits = np.array([len(row) <= CONTEXT for row in rows])
        self.too_long = int((~fits).sum())
        self.name = task.name
        self.share, self.alone = task.share, task.alone
        self.rows = [row for row, fit in zip(rows, fits, strict=True) if fit]
        self.prompts = np.array([len(p.ids) for p in prompts])[fits]
        self.lengths = np.array([len(row) for row in self.rows])
        if not self.rows:
            raise InputError(f"task {task.name}: no example fits {CONTEXT} tokens. Shorten them.")
        weights = np.array([example.weight for example in task.examples], np.float64)[fits]
        self.chances = np.cumsum(weights / weights.sum())

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.minimum(np.searchsorted(self.chances, rng.random(count)), len(self.rows) - 1)


def _batches(
    groups: list[_Encoded], budget: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Batches of similar length for ever: tokens [rows, length] and the weight of each as a target."""
    made = 0
    while True:
        first = any(group.alone > made for group in groups)
        shares = np.array([group.share * (not first or group.alone > made) for group in groups])
        counts = rng.multinomial(_POOL, shares / shares.sum())
        pool = [
            (group, int(row))
            for group, count in zip(groups, counts, strict=True)
            for row in group.draw(count, rng)
        ]
        pool.sort(key=lambda item: item[0].lengths[item[1]])
        for part in rng.permutation(len(cuts := _cut([g.lengths[r] for g, r in pool], budget))):
            start, stop = cuts[part]
            yield _pad(pool[start:stop])
            made += 1


def _cut(lengths: list[int], budget: int) -> list[tuple[int, int]]:
    cuts, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or lengths[stop] * (stop + 1 - start) > budget:
            cuts.append((start, stop))
            start = stop
    return cuts


def _pad(rows: list[tuple[_Encoded, int]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    longest = max(group.lengths[row] for group, row in rows)
    tokens = np.zeros((len(rows), longest), np.int64)
    weights = np.zeros((len(rows), longest), np.float32)
    for line, (group, row) in enumerate(rows):
        length, prompt = group.lengths[row], group.prompts[row]
        tokens[line, :length] = group.rows[row]
        weights[line, 1:prompt] = _PROMPT_WEIGHT
        weights[line, prompt:length] = max(1.0, _ANSWER_FLOOR / (length - prompt))
    return tokens, weights


def _pace(step: int, schedule: Schedule) -> float:
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))

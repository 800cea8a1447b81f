"""Training a small decoder from scratch: examples in, a checkpoint in Hugging Face's format out.

The architecture is transformers' LlamaForCausalLM, so the result loads anywhere. Loss: cross-entropy of the
answer's tokens; the prompt's own tokens count a little too, which teaches how rows look. A one-token answer
(a label) weighs as much as sixteen tokens of prose. AdamW, warm-up, cosine; where the schedule asks for it,
dropout behind every block (Srivastava et al. 2014) and an exponential mean of the weights as what is kept
(Polyak and Juditsky 1992), and numbers in order (`lm.order`).

With the same examples, seed, thread count and torch build the weights come out the same on a CPU, whether or not
the run was cut off and went on (`lm.states`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from wirespeak.contracts import Prompt
from wirespeak.errors import InputError, OptionError, missing_extra
from wirespeak.lm.devices import chosen_device
from wirespeak.lm.loading import quiet
from wirespeak.lm.order import keep_order, numbers_of, put_in_order
from wirespeak.lm.states import load_state, save_state
from wirespeak.lm.tokenizer import BLANK, END, PAD, UNKNOWN

CONTEXT = 512
_POOL = 4096
_ANSWER_FLOOR = 16.0
_PROMPT_WEIGHT = 0.1


class Example(Protocol):
    """Something to learn: after `prompt` comes `answer`, counted `weight` times (text.ask.Example)."""

    @property
    def prompt(self) -> Prompt: ...
    @property
    def answer(self) -> str: ...
    @property
    def weight(self) -> float: ...


@dataclass(frozen=True)
class Shape:
    """Size of the decoder. width must be an even multiple of heads. Raises OptionError for one that cannot be built."""

    width: int = 144
    layers: int = 4
    heads: int = 6
    hidden: int = 384

    def __post_init__(self) -> None:
        _whole(self, "width", "layers", "heads", "hidden")
        if self.width % (2 * self.heads):
            raise OptionError(
                f"width is {self.width} and heads {self.heads}: give a width that is an even multiple of heads."
            )


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. steps: updates; tokens: tokens (padding included) in a batch; keep: save so often.

    dropout: share of each block's output that is left out at a time. mean: of the weights, how much of it stays at
    each update; 0 keeps the last weights. order: how far numbers of a column are taught alike, in decades (`lm.order`);
    0 teaches each for itself.
    """

    steps: int = 3500
    tokens: int = 6144
    rate: float = 2e-3
    warmup: int = 150
    decay: float = 0.05
    keep: int = 500
    dropout: float = 0.0
    mean: float = 0.0
    order: float = 0.0

    def __post_init__(self) -> None:
        _whole(self, "steps", "tokens", "keep")
        for name, most in (("rate", 1.0), ("dropout", 0.9), ("mean", 0.9999), ("order", 10)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise OptionError(f"{name} is {value}, expected 0 to {most:g}.")


def _whole(of: Shape | Schedule, *names: str) -> None:
    for name in names:
        value = getattr(of, name)
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"{name} is {value}, expected a whole number from 1.")


@dataclass(frozen=True)
class Task:
    """Examples of one kind and the share of the batches' examples they get.

    alone: this many steps at the start are theirs alone. What has to be learnt first, such as copying a
    number, is learnt sooner undisturbed. blank: share of a prompt's inner tokens that is hidden at a time behind the
    token BLANK, so that no answer hangs on one of them; from none to twice as many, evenly.
    """

    name: str
    examples: Sequence[Example]
    share: float
    alone: int = 0
    blank: float = 0.0


def train_decoder(
    tasks: Sequence[Task],
    tokenizer: Tokenizer,
    output: Path,
    *,
    shape: Shape = Shape(),
    schedule: Schedule = Schedule(),
    seed: int = 0,
    threads: int = 2,
    device: str = "auto",
    states: Path | None = None,
    begin: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Train and save config.json, model.safetensors, tokenizer.json in `output`; return facts for the run card.

    states: a folder for the state of the run, written every `schedule.keep` steps and left to the caller to remove; a run of
    the same examples, shape, schedule and seed that was cut off goes on from there. begin: a checkpoint whose
    weights to start from, made with a tokenizer whose tokens are the first of this one's. progress is called with (step, steps, running loss). An
    example longer than CONTEXT tokens is set aside whole and counted, so that no answer is ever cut. Raises
    InputError when none of a task fits, ModelError for a device that is not there.
    """
    try:
        import torch
    except ImportError as missing:
        raise missing_extra("torch", "train") from missing
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    place = chosen_device(device)
    model = untrained(tokenizer, shape) if begin is None else _begun(begin, tokenizer.get_vocab_size())
    model.to(place).train()
    hooks = _drop(model, schedule.dropout)
    if schedule.order:
        embeddings, numbers = model.model.embed_tokens.weight, numbers_of(tokenizer)
        if begin is None:
            put_in_order(embeddings, numbers, schedule.order, seed=seed)
        hooks.append(keep_order(embeddings, numbers, schedule.order))
    groups = [_Encoded(task, tokenizer) for task in tasks if len(task.examples)]
    run = _Run(model, _optimiser(model, schedule), schedule, seed)
    identity = _identity(groups, shape, schedule, seed, begin)
    began = run.spent
    if states is not None:
        load_state(states, identity, run)
    batches = _batches(groups, schedule.tokens, seed, skip=run.step)
    while run.step < schedule.steps:
        tokens, weights = (torch.from_numpy(part).to(place) for part in next(batches))
        run.update(tokens, weights)
        if states is not None and run.step % schedule.keep == 0 and run.step < schedule.steps:
            save_state(states, identity, run)
        if progress:
            progress(run.step, schedule.steps, run.running)
    for hook in hooks:
        hook.remove()
    run.keep_mean()
    save(model.eval().cpu(), tokenizer, output)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "shape": asdict(shape), "schedule": asdict(schedule), "seed": seed, "tokens_seen": run.seen, "loss": round(run.running, 4),
        "cpu_s": round(run.spent + time.process_time(), 1), "cpu_s_before_cut": round(run.spent - began, 1),
        "examples": {task.name: len(task.examples) for task in tasks}, "shares": {task.name: task.share for task in tasks},
        "too_long": {group.name: group.too_long for group in groups},
    }  # fmt: skip


class _Run:
    """A model being trained, and all that decides what the next step does."""

    def __init__(self, model: Any, optimiser: Any, schedule: Schedule, seed: int) -> None:
        self.model, self.optimiser, self.schedule, self.seed = model, optimiser, schedule, seed
        self.step, self.seen, self.running, self.spent = 0, 0, 0.0, -time.process_time()
        self.mean: dict[str, Any] = {}
        if schedule.mean:
            self.mean = {name: value.detach().clone() for name, value in model.named_parameters()}

    def update(self, tokens: Any, weights: Any) -> None:
        """One step on a batch."""
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate * _pace(self.step, self.schedule)
        hidden = self.model.model(tokens[:, :-1]).last_hidden_state
        wanted = weights[:, 1:] > 0
        logits = self.model.lm_head(hidden[wanted])
        losses = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self.seen += tokens.numel()
        self.running = loss.item() if self.step == 1 else 0.98 * self.running + 0.02 * loss.item()
        share = 1 - min(self.schedule.mean, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.named_parameters() if self.mean else ():
                self.mean[name].lerp_(value, share)

    def keep_mean(self) -> None:
        """Make the mean of the weights the weights, where there is one."""
        import torch

        with torch.no_grad():
            for name, value in self.model.named_parameters() if self.mean else ():
                value.copy_(self.mean[name])


def _optimiser(model: Any, schedule: Schedule) -> Any:
    import torch

    return torch.optim.AdamW(
        model.parameters(), lr=schedule.rate, weight_decay=schedule.decay, betas=(0.9, 0.98)
    )


def _drop(model: Any, share: float) -> list[Any]:
    """Leave out a share of the embeddings and of what each block adds, while training."""
    import torch

    if not share:
        return []
    layers = model.model.layers
    places = [model.model.embed_tokens, *(m for layer in layers for m in (layer.self_attn.o_proj, layer.mlp))]
    return [
        place.register_forward_hook(
            lambda module, given, out: torch.nn.functional.dropout(out, share, module.training)
        )
        for place in places
    ]


def _begun(folder: Path, tokens: int) -> Any:
    """The decoder in `folder`, with rows for the tokens that came since behind those it knows."""
    from transformers import LlamaForCausalLM

    quiet()
    model = LlamaForCausalLM.from_pretrained(folder)
    if tokens > model.config.vocab_size:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    return model


def _identity(
    groups: Sequence[_Encoded], shape: Shape, schedule: Schedule, seed: int, begin: Path | None
) -> str:
    """What must be the same for a run to go on where another was cut off."""
    found = blake2b(repr((shape, schedule, seed)).encode(), digest_size=16)
    for group in groups:
        found.update(f"{group.name} {group.share} {group.alone} {group.blank}".encode())
        found.update(np.concatenate(group.rows).tobytes() + group.chances.tobytes() + group.prompts.tobytes())
    if begin is not None:
        found.update((begin / "model.safetensors").read_bytes())
    return found.hexdigest()


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
    quiet()
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    tokenizer.save(str(output / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": END}
    if tokenizer.token_to_id(UNKNOWN) is not None:
        settings["unk_token"] = UNKNOWN
    (output / "tokenizer_config.json").write_text(json.dumps(settings) + "\n", "utf-8")


class _Encoded:
    """A task's examples as token numbers, drawn by weight."""

    def __init__(self, task: Task, tokenizer: Tokenizer) -> None:
        end = tokenizer.token_to_id(END)
        prompts = tokenizer.encode_batch_fast([_as_text(example.prompt) for example in task.examples])
        answers = tokenizer.encode_batch_fast([example.answer for example in task.examples])
        rows = [np.array(p.ids + a.ids + [end], np.int64) for p, a in zip(prompts, answers, strict=True)]
        fits = np.array([len(row) <= CONTEXT for row in rows])
        self.too_long = int((~fits).sum())
        self.name = task.name
        self.share, self.alone, self.blank = task.share, task.alone, task.blank
        self.hides = tokenizer.token_to_id(BLANK)
        if self.blank and self.hides is None:
            raise InputError(f"task {task.name}: the tokenizer has no token {BLANK} to hide others behind.")
        self.rows = [row for row, fit in zip(rows, fits, strict=True) if fit]
        self.prompts = np.array([len(p.ids) for p in prompts])[fits]
        self.lengths = np.array([len(row) for row in self.rows])
        if not self.rows:
            raise InputError(f"task {task.name}: no example fits {CONTEXT} tokens. Shorten them.")
        weights = np.array([example.weight for example in task.examples], np.float64)[fits]
        self.chances = np.cumsum(weights / weights.sum())

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.minimum(np.searchsorted(self.chances, rng.random(count)), len(self.rows) - 1)


def _as_text(prompt: Prompt) -> str:
    """A prompt as a model without a chat template reads it."""
    return prompt if isinstance(prompt, str) else "\n".join(content for _, content in prompt)


def _batches(
    groups: list[_Encoded], budget: int, seed: int, *, skip: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Batches of similar length for ever, less the first `skip`: tokens [rows, length] and the weight of each as a
    target."""
    made = 0
    rng = np.random.default_rng(seed)
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
            if made >= skip:
                yield _pad(pool[start:stop], np.random.default_rng((seed, made)))
            made += 1


def _cut(lengths: list[int], budget: int) -> list[tuple[int, int]]:
    cuts, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or lengths[stop] * (stop + 1 - start) > budget:
            cuts.append((start, stop))
            start = stop
    return cuts


def _pad(
    rows: list[tuple[_Encoded, int]], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    longest = max(group.lengths[row] for group, row in rows)
    tokens = np.zeros((len(rows), longest), np.int64)
    weights = np.zeros((len(rows), longest), np.float32)
    for line, (group, row) in enumerate(rows):
        length, prompt = group.lengths[row], group.prompts[row]
        tokens[line, :length] = group.rows[row]
        weights[line, 1:prompt] = _PROMPT_WEIGHT
        weights[line, prompt:length] = max(1.0, _ANSWER_FLOOR / (length - prompt))
        if group.blank:  # the first and the last token of a prompt are the question, not the record
            share = 2 * group.blank * rng.random()
            hidden = 1 + np.flatnonzero(rng.random(max(0, prompt - 2)) < share)
            tokens[line, hidden] = group.hides
            weights[line, hidden] = 0.0
    return tokens, weights


def _pace(step: int, schedule: Schedule) -> float:
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))

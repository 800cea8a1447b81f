"""What one GPU makes of Wirespeak's language models: tuning, label scoring, a ladder of ways to ask, training.

    python bench/gpu.py -o bench/results/gpu.json

Needs wirespeak[train] and no hub: the model is built here with random weights in the shape of Qwen2.5-1.5B, which
serves for speed and memory and says nothing about answers. Each row has a few seconds and the file is written after
each, so a run that is cut off keeps what it has; under ten minutes on an H100. Without a GPU the same rows run in a
small shape on the CPU, marked so: those say that the script works and nothing else. docs/gpu.md tells what the rows mean.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from wirespeak.contracts import Prompt
from wirespeak.errors import InputError, WirespeakError
from wirespeak.lm.answers import encode
from wirespeak.lm.bases import Base, find
from wirespeak.lm.pretrained import Attention, Precision, TransformersLanguageModel
from wirespeak.lm.prompts import Words
from wirespeak.lm.states import chosen_device
from wirespeak.lm.tokenizer import train_tokenizer
from wirespeak.lm.training import Schedule, Shape, Task, train_decoder
from wirespeak.schema import Column
from wirespeak.text import Example, Question, label_answers, sentences
from wirespeak.text.levels import level_columns

LABELS = (
    "normal", "flood.syn", "flood.udp", "flood.icmp", "flood.http", "recon.port_scan", "spoof.arp", "brute_force", "web.sqli",
    "malware.c2",
)  # fmt: skip
ATTENTIONS: tuple[Attention, ...] = ("eager", "sdpa", "flash_attention_2")
RANK, ALPHA, DROPOUT = 16, 32, 0.05
AIM_FLOWS_PER_S = 1500
FARM_FLOW_DISTINCT = 1 - 0.8531
"""The share of Farm-Flow's rows that are left when each is kept once."""

PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "RTX 4090": 165, "L4": 121}
"""bfloat16, dense, as the vendor's data sheets state it for the SXM boards; found in the device's name."""

SCRATCH = {"nano": Shape(), "25m": Shape(width=512, layers=8, heads=8, hidden=1280)}

QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen2's tokenizer cuts text before it merges: digits stand alone."""

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """How large the rows are in one shape.

    flows: distinct ones, made up. long, short: tokens written with the reasoning first and with the label first.
    length: of a training example, tokens. rows: training examples computed at a time, and whether packed into one row.
    places: tokens a pass of label scoring. together, more: samples asked at a time. scratch: tokens in a batch.
    """

    base: Base
    flows: int
    long: int
    short: int
    length: int
    rows: tuple[tuple[int, bool], ...]
    places: tuple[int, ...]
    together: int
    more: int
    scratch: tuple[int, ...]


_QWEN = find("Qwen/Qwen2.5-1.5B-Instruct")
assert _QWEN is not None
SIZES = {
    "qwen2.5-1.5b": Size(
        _QWEN, 12000, 512, 24, 512, ((2, True), (4, True), (16, False)), (8192, 16384, 32768, 65536), 32, 256, (6144, 65536)
    ),
    "small": Size(
        Base("small", "qwen2", 2, 32, 64, 4, 2, 4096, True, ""), 48, 16, 4, 64, ((2, True), (4, False)), (1024, 4096), 4, 8, (1024,)
    ),
}  # fmt: skip


@dataclass
class Bench:
    """The rows measured so far, and the file they are in."""

    output: Path
    about: dict[str, Any]
    ends: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    def row(
        self, part: str, settings: dict[str, Any], measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Measure one row and save it. One that cannot be measured says why, as `not_run`."""
        told: dict[str, Any] = {
            "part": part,
            "device": self.about["device"],
            "small": self.about["small"],
            **settings,
        }
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            if time.monotonic() > self.ends:
                raise InputError("no time was left")
            told |= measure()
            told["peak_memory_gb"] = _peak_memory_gb()
        except Exception as error:  # noqa: BLE001 - whatever breaks one row must not take the others along
            told["not_run"] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        gc.collect()
        self.rows.append(told)
        self.save()
        print(json.dumps(told), file=sys.stderr, flush=True)
        return told

    def save(self) -> None:
        """Write everything there is; a cut leaves the file before."""
        hidden = self.output.with_name(f".{self.output.name}")
        hidden.write_text(
            json.dumps({**self.about, "best": best(self.rows), "rows": self.rows}, indent=1) + "\n", "utf-8"
        )
        hidden.replace(self.output)


def best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fastest row of tuning and of label scoring (rich records), and the foot of the ladder."""
    told: dict[str, Any] = {}
    for part, figure in (("tune", "tokens_per_s"), ("score", "flows_per_s")):
        found = [
            row
            for row in rows
            if row["part"] == part and figure in row and row.get("level", "rich") == "rich"
        ]
        if found:
            told[part] = max(found, key=lambda row: row[figure])
    climbed = [row for row in rows if row["part"] == "ladder" and row.get("kept")]
    if climbed:
        told["ladder"] = climbed[-1]
        told["ladder_times_faster"] = round(
            climbed[0]["seconds_per_sample"] / climbed[-1]["seconds_per_sample"], 1
        )
    return told


# --- what is asked


def made_flows(count: int, seed: int) -> pl.DataFrame:
    """Distinct rows with every column a rich sentence says; nearly half of them at other than the default, as in a
    capture with attacks."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame({column.name: _made(column, count, rng) for column in level_columns("rich")})


def _made(column: Column, count: int, rng: np.random.Generator) -> Any:
    if column.kind == "category":
        return rng.choice(["tcp", "web", "mqtt", "SF", "REJ", "S"], count).tolist()
    said = rng.random(count) < 0.45
    if column.kind == "percent":
        return np.where(said, rng.integers(1, 101, count), 0)
    if column.kind in ("seconds", "bits"):
        return np.where(said, 10 ** rng.uniform(-4, 1, count), 0.0)
    return np.where(said, np.floor(10 ** rng.uniform(0, 4, count)), 0).astype(np.int64)


def asked(flows: pl.DataFrame, level: str) -> list[Prompt]:
    """The chat about each flow, the columns' meanings told first, as `detect` asks an open model."""
    question = Question(LABELS, "chat", columns=level_columns(level))
    return [question.prompt(sentence) for sentence in sentences(flows, level)]


# --- the model


def build(folder: Path, base: Base, flows: pl.DataFrame, device: str, seed: int) -> None:
    """Write a decoder of this shape with random weights, made on the device, and a tokenizer learnt from the prompts."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = chat_tokenizer(
        prompt for level in ("rich", "detailed") for prompt in asked(flows.head(64), level)
    )
    config = AutoConfig.for_model(
        base.kind, hidden_size=base.width, intermediate_size=base.hidden, num_hidden_layers=base.layers,
        num_attention_heads=base.heads, num_key_value_heads=base.key_heads, vocab_size=base.vocabulary,
        tie_word_embeddings=base.tied, max_position_embeddings=32768, rope_theta=1e6, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=_half(device))
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def chat_tokenizer(prompts: Iterable[Prompt]) -> Any:
    """A byte-level BPE tokenizer that cuts as Qwen2's does, learnt from prompts. Its tokens are the first of the model's
    vocabulary; the rest only takes its time."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<|endoftext|>", "<|im_end|>", "<|im_start|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (prompt if isinstance(prompt, str) else content for prompt in prompts for _, content in prompt)
    inner.train_from_iterator(texts, trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    words.chat_template = CHATML
    return words


class Loaded:
    """One model in memory at a time: the last that was asked for."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self._key: tuple[str, str] | None = None
        self._model: TransformersLanguageModel | None = None

    def get(self, precision: Precision, attention: Attention) -> TransformersLanguageModel:
        """The model so loaded, sharing the beginnings of prompts. What it writes never ends early."""
        if self._model is None or self._key != (precision, attention):
            self.drop()
            self._model = TransformersLanguageModel(
                str(self.folder), device=self.device, precision=precision, attention=attention
            )
            self._key = (precision, attention)
        self._model.ends = frozenset()
        self._model.steps.causal = True
        return self._model

    def drop(self) -> None:
        """Give its memory back."""
        self._model = self._key = None
        gc.collect()


# --- part 1: label scoring


def measure_scoring(bench: Bench, size: Size, loaded: Loaded, flows: pl.DataFrame, seconds: float) -> None:
    """Flows judged in a second by precision, attention and tokens a pass; then the fastest setting on shorter records."""
    half: Precision = "bf16" if loaded.device == "cuda" else "fp32"
    pairs: list[tuple[Precision, Attention]] = [(half, attention) for attention in ATTENTIONS]
    pairs += [("int8", "sdpa"), ("int4", "sdpa")]
    rich = asked(flows, "rich")

    def row(
        level: str, prompts: list[Prompt], precision: Precision, attention: Attention, places: int
    ) -> None:
        settings = {"level": level, "precision": precision, "attention": attention, "tokens_a_pass": places}

        def measure() -> dict[str, Any]:
            model = loaded.get(precision, attention)
            model.steps.places = places
            return scored(model, prompts, size.base, seconds)

        bench.row("score", settings, measure)

    for (precision, attention), places in product(pairs, size.places):
        row("rich", rich, precision, attention, places)
    fastest = best(bench.rows).get("score")
    for level in ("detailed", "basic") if fastest else ():
        row(
            level,
            asked(flows, level),
            *(fastest[name] for name in ("precision", "attention", "tokens_a_pass")),
        )


def scored(
    model: TransformersLanguageModel, prompts: list[Prompt], base: Base, seconds: float
) -> dict[str, Any]:
    """Label scoring for about so many seconds, tokenizing included, after a pass that nobody counts."""
    ids = [model.token_ids(prompt) for prompt in prompts[:256]]
    shared, length = len(commonprefix(ids)), float(np.mean([len(row) for row in ids]))
    first = min(len(prompts), max(2, int(model.steps.places / (length - shared))))
    model.choose(prompts[:first], LABELS)
    once = _timed(lambda: model.choose(prompts[:first], LABELS))
    count = min(len(prompts), max(first, int(first * seconds / once)))
    took = _timed(lambda: model.choose(prompts[:count], LABELS))
    tokenizing = _timed(lambda: model.words.prompts(prompts[:count]))
    speed = count * (length - shared) / took
    return {
        "flows": count, "seconds": round(took, 3), "flows_per_s": round(count / took, 2), "tokens_per_s": round(speed, 1),
        "tokens_a_flow": round(length - shared, 1), "tokens_shared": shared, "tokenized_per_s": round(count / tokenizing, 1),
        "share_of_peak": _share(2 * base.projected * speed),
    }  # fmt: skip


# --- part 2: the ladder

Rung = dict[str, Any]
START: Rung = {
    "way": "write", "samples": 1, "tokens": "long", "precision": "half", "attention": "eager", "prefix": "read again",
    "rows": "distinct",
}  # fmt: skip
LADDER: tuple[Rung, ...] = (
    {}, {"samples": "together"}, {"tokens": "short"}, {"precision": "int8"}, {"precision": "int4"}, {"attention": "sdpa"},
    {"attention": "flash_attention_2"}, {"way": "score"}, {"prefix": "shared"}, {"samples": "more"}, {"rows": "repeated"},
)  # fmt: skip
"""What each rung changes of the one above."""


def measure_ladder(
    bench: Bench, size: Size, loaded: Loaded, flows: pl.DataFrame, seconds: float, seed: int
) -> None:
    """Seconds a sample, from the way system B asked to ours. A change that makes a rung slower is told and not kept."""
    prompts = asked(flows, "detailed")
    names: Rung = {
        "half": "bf16" if loaded.device == "cuda" else "fp32",
        "together": size.together,
        "more": size.more,
    }
    names |= {"long": size.long, "short": size.short}
    standing, fastest = dict(START), float("inf")
    for change in LADDER:
        rung = standing | change
        told = {name: names.get(value, value) for name, value in rung.items()}
        told["tokens"] = told["tokens"] if told["way"] == "write" else 0
        added = {"adds": ", ".join(f"{name} {told[name]}" for name in change) or "nothing"}
        found = bench.row(
            "ladder",
            {**added, "level": "detailed", **told},
            lambda told=told: climbed(loaded, told, prompts, seconds, seed),
        )
        found["kept"] = found.get("seconds_per_sample", float("inf")) < fastest
        if found["kept"]:
            standing, fastest = rung, found["seconds_per_sample"]
        bench.save()


def climbed(loaded: Loaded, rung: Rung, prompts: list[Prompt], seconds: float, seed: int) -> dict[str, Any]:
    """One rung: calls until the time is over, one at least."""
    model = loaded.get(rung["precision"], rung["attention"])
    samples = rung["samples"]
    longest = max(len(model.token_ids(prompt)) for prompt in prompts[:64]) + rung["tokens"]
    model.steps.places = samples * longest
    model.steps.causal = rung["prefix"] == "shared"
    told: dict[str, Any] = {}
    if rung["rows"] == "repeated":
        kept = max(1, round(len(prompts) * FARM_FLOW_DISTINCT))
        prompts = [prompts[row] for row in np.random.default_rng(seed).integers(kept, size=len(prompts))]
        samples = min(len(prompts), round(samples / FARM_FLOW_DISTINCT))

    def call(start: int) -> int:
        some = [prompts[(start + row) % len(prompts)] for row in range(samples)]
        if rung["way"] == "score":
            model.choose(some, LABELS)
        else:
            model.generate(some, max_tokens=rung["tokens"], stop="")
        return len(set(some))

    model.generate(prompts[:samples], max_tokens=2, stop="")
    if rung["way"] == "score":
        call(0)
    done = distinct = 0
    started = time.perf_counter()
    while done == 0 or time.perf_counter() - started < seconds:
        distinct += call(done)
        done += samples
    took = time.perf_counter() - started
    told |= {"measured": done, "seconds": round(took, 3), "seconds_per_sample": round(took / done, 6)}
    return told | {"distinct_share": round(distinct / done, 4)}


# --- part 3: tuning


def measure_tuning(
    bench: Bench, size: Size, folder: Path, device: str, flows: pl.DataFrame, seconds: float, seed: int
) -> None:
    """Tokens learnt in a second by LoRA and QLoRA, by attention, gradient checkpointing and how rows are put together."""
    for method, attention in (("lora", "sdpa"), ("lora", "flash_attention_2"), ("qlora", "sdpa")):
        # In 4 bits what is asked is how much less memory it takes and what that costs: the first and the last layout.
        layouts = size.rows if method == "lora" else (size.rows[0], size.rows[-1])
        for checkpointing, (at_once, packing) in product((False, True), layouts):
            settings = {
                "method": method, "attention": attention, "checkpointing": checkpointing, "packing": packing,
                "tokens_a_pass": at_once * size.length, "length": size.length, "rank": RANK, "alpha": ALPHA,
            }  # fmt: skip
            bench.row(
                "tune", settings, lambda s=settings: tuned(s, size, folder, device, flows, seconds, seed)
            )


def tuned(
    settings: dict[str, Any],
    size: Size,
    folder: Path,
    device: str,
    flows: pl.DataFrame,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """Updates through the trainer of `wirespeak train` until the time is over, the first ones not counted."""
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig

    from wirespeak.lm.trainer import make_trainer

    words = AutoTokenizer.from_pretrained(folder)
    model = adapted(folder, settings["method"], settings["attention"], device, seed)
    at_once = settings["tokens_a_pass"] // size.length
    template = Words(
        words.backend_tokenizer, lambda turns: str(words.apply_chat_template(turns, tokenize=False))
    )
    examples = [
        Example(prompt, LABELS[row % len(LABELS)])
        for row, prompt in enumerate(asked(flows.head(256), "rich"))
    ]
    # Too long, so cut to the same length each: tokens are counted exactly.
    learnt = encode(examples, template, end=words.eos_token_id, length=size.length).rows
    answers = float(np.mean([len(row.answer) for row in learnt]))
    times: list[float] = []

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _settle()
            times.append(time.perf_counter())
            if len(times) > 3 and times[-1] - times[1] > seconds:
                control.should_training_stop = True

    half = device == "cuda"
    twice = settings["checkpointing"]
    with tempfile.TemporaryDirectory() as scratch:
        plan = SFTConfig(
            output_dir=scratch, seed=seed, use_cpu=not half, max_steps=100_000, per_device_train_batch_size=at_once,
            learning_rate=2e-4, bf16=half, gradient_checkpointing=twice,
            gradient_checkpointing_kwargs={"use_reentrant": False} if twice else None, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=None,
        )  # fmt: skip
        trainer = make_trainer(
            model, words, plan, learnt, validation=[], at_once=at_once, packing=settings["packing"], callbacks=[Stopwatch()]
        )  # fmt: skip
        for weight in model.parameters():  # learn in 32 bits, as `wirespeak train` does
            if weight.requires_grad:
                weight.data = weight.data.float()
        trainer.train()
    if trainer.at_once < at_once:
        raise InputError(f"out of memory: {trainer.at_once} rows at a time would fit")
    steps, took = len(times) - 2, times[-1] - times[1]
    speed = steps * at_once * size.length / took
    head = size.base.vocabulary * size.base.width * answers / size.length
    flops = 4 * (size.base.projected + head) + 6 * size.base.trainable
    return {
        "updates": steps, "seconds": round(took, 3), "tokens_per_s": round(speed, 1),
        "share_of_peak": _share(flops * speed), "model_gflop_a_token": round(flops / 1e9, 4),
    }  # fmt: skip


def adapted(folder: Path, method: str, attention: str, device: str, seed: int) -> Any:
    """The model with a fresh adapter on its attention, whole or in 4 bits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from wirespeak.lm.tuning import targets

    options: dict[str, Any] = {
        "dtype": _half(device),
        "attn_implementation": attention,
        "device_map": {"": device},
    }
    if method == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    adapter = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=DROPOUT,
        target_modules=list(targets(model)),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, adapter)


# --- part 4: from scratch


def measure_scratch(
    bench: Bench, size: Size, device: str, flows: pl.DataFrame, seconds: float, seed: int
) -> None:
    """Tokens learnt in a second by our own small decoders, whose hour is to be known before it is spent."""
    from wirespeak.schema import compact_columns

    told = flows.with_columns(
        pl.lit(column.default).alias(column.name)
        for column in compact_columns()
        if column.name not in flows.columns
    )
    question = Question(LABELS)
    examples = [
        Example(question.prompt(sentence), question.written(LABELS[row % len(LABELS)]))
        for row, sentence in enumerate(sentences(told, "compact"))
    ]
    words = train_tokenizer((str(example.prompt) for example in examples[:2000]), words=label_answers(LABELS))
    for (name, shape), tokens in product(SCRATCH.items(), size.scratch):
        bench.row(
            "scratch", {"shape": name, "precision": "fp32", "tokens_a_batch": tokens},
            lambda shape=shape, tokens=tokens: learnt_anew(examples, words, shape, tokens, device, seconds, seed),
        )  # fmt: skip


def learnt_anew(
    examples: list[Example], words: Any, shape: Shape, tokens: int, device: str, seconds: float, seed: int
) -> dict[str, Any]:
    """A few updates that tell how many fit the time, then those."""

    def run(steps: int) -> tuple[dict[str, Any], float]:
        times: list[float] = []
        with tempfile.TemporaryDirectory() as scratch:
            facts = train_decoder(
                [Task("judge", examples, 1.0)], words, Path(scratch), shape=shape, seed=seed, device=device,
                threads=torch.get_num_threads(), schedule=Schedule(steps=steps, tokens=tokens, warmup=1),
                progress=lambda *_: times.append(time.perf_counter()),
            )  # fmt: skip
        return facts, (times[-1] - times[0]) / (steps - 1)

    _, pace = run(4)
    facts, pace = run(max(4, int(seconds / pace)))
    steps = facts["schedule"]["steps"]
    speed = facts["tokens_seen"] / steps / pace
    return {
        "parameters": facts["parameters"], "updates": steps - 1, "seconds": round(pace * (steps - 1), 3),
        "tokens_per_s": round(speed, 1), "share_of_peak": _share(6 * facts["parameters"] * speed),
    }  # fmt: skip


# --- the machine


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    told: dict[str, Any] = {
        "name": "CPU",
        "threads": torch.get_num_threads(),
        "memory_gb": None,
        "cuda": None,
    }
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        told |= {
            "name": about.name,
            "memory_gb": round(about.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
        }
    told["peak_bf16_tflops"] = _peak_tflops()
    names = ("torch", "transformers", "peft", "trl", "bitsandbytes", "flash-attn")
    return told | {"versions": {name: _version(name) for name in names}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peak_tflops() -> int | None:
    if not torch.cuda.is_available():
        return None
    words = torch.cuda.get_device_name(0)
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in words), None)


def _share(flops_per_s: float) -> float | None:
    peak = _peak_tflops()
    return None if peak is None else round(flops_per_s / (peak * 1e12), 4)


def _peak_memory_gb() -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e9, 3) if torch.cuda.is_available() else None


def _half(device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cuda" else torch.float32


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _timed(work: Callable[[], object]) -> float:
    _settle()
    started = time.perf_counter()
    work()
    _settle()
    return time.perf_counter() - started


FORMULAS = {
    "tune": "share_of_peak = tokens_per_s * (4 * (projections + vocabulary * width * answer tokens / length) + 6 * adapter) / "
    "peak: the frozen weights take no gradient of their own; attention scores and what checkpointing computes twice "
    "are not counted",
    "score": "share_of_peak = tokens_per_s * 2 * projections / peak; tokens_per_s counts a record's own tokens, not the shared ones",
    "scratch": "share_of_peak = tokens_per_s * 6 * parameters / peak of bf16; the training itself is in fp32",
    "peak_memory_gb": "most that torch had allocated at one time, 10^9 bytes; null on a CPU",
}


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("-o", "--output", type=Path, required=True)
    reader.add_argument("--shape", choices=SIZES, help="qwen2.5-1.5b with a GPU, else small")
    reader.add_argument("--seconds", type=float, help="of each row: 4 with a GPU, else 1")
    reader.add_argument("--limit", type=float, default=480, help="seconds after which no row is begun")
    reader.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    reader.add_argument("--seed", type=int, default=0)
    given = reader.parse_args()
    try:
        device = chosen_device(given.device)
    except WirespeakError as error:
        reader.error(str(error))
    shape = given.shape or ("qwen2.5-1.5b" if device == "cuda" else "small")
    size, seconds, seed = SIZES[shape], given.seconds or (4.0 if device == "cuda" else 1.0), given.seed
    note = None
    if device == "cpu" or shape == "small":
        note = (
            "A small model or no GPU: these numbers show that the script works. They say nothing about a GPU."
        )
        print(note, file=sys.stderr)
    flows = made_flows(size.flows, seed)
    about = {
        "date": datetime.now(UTC).date().isoformat(), "seed": seed, "device": device, "small": note is not None, "note": note,
        "shape": shape, "parameters": size.base.parameters, "machine": machine(device), "labels": list(LABELS),
        "aim_flows_per_s": AIM_FLOWS_PER_S, "formulas": FORMULAS,
    }  # fmt: skip
    given.output.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.output, about, time.monotonic() + given.limit)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        about["building_s"] = round(_timed(lambda: build(folder, size.base, flows, device, seed)), 1)
        gc.collect()
        loaded = Loaded(folder, device)
        measure_scoring(bench, size, loaded, flows, seconds)
        measure_ladder(bench, size, loaded, flows, seconds, seed)
        loaded.drop()
        measure_tuning(bench, size, folder, device, flows, seconds, seed)
        measure_scratch(bench, size, device, flows, seconds, seed)
    bench.save()


if __name__ == "__main__":
    main()

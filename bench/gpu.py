"""What one GPU makes of Wirespeak's language models: label scoring, a ladder of ways to ask, tuning, training.

    python bench/gpu.py -o bench/results/gpu.json

Needs wirespeak[train] and no hub: the model is built here with random weights in the shape of Qwen2.5-1.5B, which
serves for speed and memory and says nothing about answers. Each row has a few seconds and the file is written after
each, so a run that is cut off keeps what it has; no row is begun after eight minutes. Without a GPU the same rows run
in a small shape on the CPU, marked so: those say that the script works and nothing else. docs/gpu.md tells what the
rows mean.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from wirespeak.contracts import Prompt
from wirespeak.errors import ModelError
from wirespeak.lm.answers import Row, encode
from wirespeak.lm.bases import Base, find
from wirespeak.lm.devices import chosen_device
from wirespeak.lm.pretrained import Attention, Precision, TransformersLanguageModel
from wirespeak.lm.prompts import FIXED, Words
from wirespeak.lm.tokenizer import train_tokenizer
from wirespeak.lm.training import Schedule, Shape, Task, train_decoder
from wirespeak.schema import Column, compact_columns
from wirespeak.text import Example, Question, label_answers, sentences
from wirespeak.text.levels import level_columns

Told = dict[str, Any]

LABELS = (
    "normal", "flood.syn", "flood.udp", "flood.icmp", "flood.http", "recon.port_scan", "spoof.arp", "brute_force", "web.sqli",
    "malware.c2",
)  # fmt: skip
RANK, ALPHA, DROPOUT = 16, 32, 0.05
AIM_FLOWS_PER_S = 1500
FARM_FLOW_DISTINCT = 1 - 0.8531
"""The share of Farm-Flow's rows that is left when each is kept once."""

# fmt: off
PEAK_TFLOPS = {
    "NVIDIA H200": 989, "NVIDIA H100 80GB HBM3": 989, "NVIDIA A100-SXM4-40GB": 312, "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA A100-PCIE-40GB": 312, "NVIDIA A100 80GB PCIe": 312, "NVIDIA GeForce RTX 4090": 165, "NVIDIA L4": 121,
}
# fmt: on
"""bfloat16 without sparsity, from the vendor's data sheets, by the device's name. Of another device no share is told."""

FORMULAS = {
    "score": "share_of_peak = tokens_per_s * 2 * projections / peak; tokens are a record's own, not the shared ones before it",
    "tune": "share_of_peak = tokens_per_s * (4 * (projections + vocabulary * width * answer tokens / length) + 6 * adapter) / "
    "peak: frozen weights take no gradient of their own; attention scores, and what checkpointing computes twice, are "
    "not counted",
    "scratch": "share_of_peak = tokens_per_s * 6 * parameters / peak of bf16; the training itself is in fp32",
    "peak_memory_gb": "the most that torch had allocated at a time, in 10^9 bytes; null on a CPU",
}

SCRATCH = {"nano": Shape(), "25m": Shape(width=512, layers=8, heads=8, hidden=1280)}

QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen2's tokenizer cuts text before it merges: digits stand alone."""

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """How large everything is in one shape.

    flows: distinct ones, made up. places: tokens a pass of label scoring. long, short: tokens written with the
    reasoning first and with the label first. together, more: samples asked at a time. length: tokens of a training
    example. rows: examples learnt at a time, and whether packed into one row. scratch: tokens in a batch.
    """

    base: Base
    flows: int
    places: tuple[int, ...]
    long: int
    short: int
    together: int
    more: int
    length: int
    rows: tuple[tuple[int, bool], ...]
    scratch: tuple[int, ...]


_QWEN = find("Qwen/Qwen2.5-1.5B-Instruct")
assert _QWEN is not None
_SMALL = Base("small", "qwen2", 2, 64, 128, 4, 2, 4096, True, "")
SIZES = {
    "qwen2.5-1.5b": Size(
        _QWEN, flows=12000, places=(8192, 16384, 32768, 65536), long=512, short=24, together=32, more=256,
        length=512, rows=((2, True), (4, True), (16, False)), scratch=(6144, 65536),
    ),
    "small": Size(
        _SMALL, flows=32, places=(1024,), long=16, short=4, together=4, more=8,
        length=64, rows=((2, True), (4, False)), scratch=(512,),
    ),
}  # fmt: skip


@dataclass
class Bench:
    """What every row shares, the rows measured so far, and the file they are in.

    folder: of the model. flows: those judged. seconds: of a measurement. ends: when no more rows are begun.
    """

    output: Path
    about: Told
    size: Size
    folder: Path
    flows: pl.DataFrame
    seconds: float
    seed: int
    ends: float
    rows: list[Told] = field(default_factory=list)

    @property
    def device(self) -> str:
        return str(self.about["device"])

    @property
    def half(self) -> Precision:
        """What a model is computed in where nothing else is said."""
        return "bf16" if self.device == "cuda" else "fp32"

    def row(self, part: str, settings: Told, measure: Callable[[], Told]) -> Told:
        """Measure one row and save it. One that cannot be measured says why, as `not_run`."""
        told: Told = {"part": part, "device": self.device, "small": self.about["small"], **settings}
        try:
            if time.monotonic() > self.ends:
                raise ModelError("no time was left")
            _forget()
            told |= measure()
            told["peak_memory_gb"] = _peak_memory_gb()
        except Exception as error:  # noqa: BLE001 - whatever breaks one row must not take the others along
            told["not_run"] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        self.rows.append(told)
        self.save()
        print(json.dumps(told), file=sys.stderr, flush=True)
        return told

    def save(self) -> None:
        """Write all there is, under its name only when it is whole."""
        hidden = self.output.with_name(f".{self.output.name}")
        whole = {**self.about, "best": best(self.rows), "rows": self.rows}
        hidden.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
        hidden.replace(self.output)


def best(rows: Sequence[Told]) -> Told:
    """The fastest row of scoring rich records and of tuning, the foot of the ladder and how far down it is."""
    told: Told = {}
    for part, figure in (("score", "flows_per_s"), ("tune", "tokens_per_s")):
        found = [
            row
            for row in rows
            if row["part"] == part and figure in row and row.get("level", "rich") == "rich"
        ]
        if found:
            told[part] = max(found, key=lambda row: row[figure])
    rungs = [row for row in rows if row["part"] == "ladder" and row.get("kept")]
    if rungs:
        head, foot = rungs[0], rungs[-1]
        told["ladder"] = foot
        told["ladder_times_faster"] = round(head["seconds_per_sample"] / foot["seconds_per_sample"], 1)
    return told


# --- what is asked, and of what


def made_flows(count: int, seed: int) -> pl.DataFrame:
    """Rows with every column that a rich sentence says, nearly half of them at other than the default, as in a
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
    """The chat about each flow, the meaning of the columns told first, as `detect` asks an open model."""
    question = Question(LABELS, "chat", columns=level_columns(level))
    return [question.prompt(sentence) for sentence in sentences(flows, level)]


def build(folder: Path, base: Base, flows: pl.DataFrame, device: str, seed: int) -> None:
    """Write a decoder of this shape, its random weights made on the device, and a tokenizer learnt from the prompts."""
    from transformers import AutoConfig, AutoModelForCausalLM

    words = chat_tokenizer(
        prompt for level in ("rich", "detailed") for prompt in asked(flows.head(64), level)
    )
    config = AutoConfig.for_model(
        base.kind, hidden_size=base.width, intermediate_size=base.hidden, num_hidden_layers=base.layers,
        num_attention_heads=base.heads, num_key_value_heads=base.key_heads, vocab_size=base.vocabulary,
        tie_word_embeddings=base.tied, max_position_embeddings=32768, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=_dtype(device))
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def chat_tokenizer(prompts: Iterable[Prompt]) -> Any:
    """A byte-level BPE tokenizer that cuts as Qwen2's does. Its tokens are the first of the model's vocabulary; the rest
    of that only takes its time."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<|endoftext|>", "<|im_end|>", "<|im_start|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [content for prompt in prompts if not isinstance(prompt, str) for _, content in prompt]
    inner.train_from_iterator([*LABELS * 2, *texts], trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    words.chat_template = CHATML
    return words


class Loaded:
    """One model in memory at a time: the last that was asked for."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._key: tuple[Precision, Attention] | None = None
        self._model: TransformersLanguageModel | None = None

    def get(self, precision: Precision, attention: Attention) -> TransformersLanguageModel:
        """The model so loaded. What it writes never ends early."""
        if self._model is None or self._key != (precision, attention):
            self.drop()
            bench = self._bench
            self._model = TransformersLanguageModel(
                str(bench.folder), device=bench.device, precision=precision, attention=attention
            )
            self._model.ends = frozenset()
            self._key = (precision, attention)
            _forget()
        return self._model

    def drop(self) -> None:
        """Give its memory back."""
        self._model = self._key = None
        _forget()


# --- label scoring


def measure_scoring(bench: Bench, loaded: Loaded) -> None:
    """Flows judged in a second by precision, attention and tokens a pass; then the fastest setting on shorter records."""

    def row(level: str, prompts: list[Prompt], setting: tuple[Precision, Attention, int]) -> None:
        precision, attention, places = setting
        told = {"level": level, "precision": precision, "attention": attention, "tokens_a_pass": places}

        def measure() -> Told:
            model = loaded.get(precision, attention)
            model.steps.places = places
            return scored(model, prompts, bench)

        bench.row("score", told, measure)

    half, sizes, rich = bench.half, bench.size.places, asked(bench.flows, "rich")
    attentions: tuple[Attention, ...] = ("eager", "sdpa", "flash_attention_2")
    for attention, places in product(attentions, sizes):
        row("rich", rich, (half, attention, places))
    bits: tuple[Precision, ...] = ("int8", "int4")
    for precision, places in product(bits, sorted({sizes[0], sizes[-1]})):
        row("rich", rich, (precision, "sdpa", places))
    fastest = best(bench.rows).get("score", {})
    for level in ("detailed", "basic") if fastest else ():
        setting = fastest["precision"], fastest["attention"], fastest["tokens_a_pass"]
        row(level, asked(bench.flows, level), setting)


def scored(model: TransformersLanguageModel, prompts: list[Prompt], bench: Bench) -> Told:
    """Label scoring for about the time of a row, from text to likelihoods, after a pass that nobody counts."""
    ids = model.words.prompts(prompts[:128])
    shared, length = len(commonprefix(ids)), float(np.mean([len(row) for row in ids]))
    first = min(len(prompts), max(2, int(model.steps.places / (length - shared))))
    model.choose(prompts[:first], LABELS)
    once = _timed(lambda: model.choose(prompts[:first], LABELS))
    count = min(len(prompts), max(first, int(first * bench.seconds / once)))
    took = _timed(lambda: model.choose(prompts[:count], LABELS))
    tokenizing = _timed(lambda: model.words.prompts(prompts[:count]))
    speed = count * (length - shared) / took
    tails = [len(model.words.answer(label)) for label in LABELS]
    return {
        "flows": count, "seconds": round(took, 3), "of_it_tokenizing_s": round(tokenizing, 3),
        "flows_per_s": round(count / took, 2), "tokens_per_s": round(speed, 1), "tokens_a_flow": round(length - shared, 1),
        "tokens_shared": shared, "tokens_a_label": [min(tails), max(tails)],
        "share_of_peak": _share(2 * bench.size.base.projected * speed),
    }  # fmt: skip


# --- the ladder

START: Told = {
    "way": "write", "samples": 1, "tokens": "long", "precision": "half", "attention": "eager", "prefix": "each time",
    "rows": "distinct",
}  # fmt: skip
LADDER: tuple[Told, ...] = (
    {}, {"samples": "together"}, {"tokens": "short"}, {"precision": "int8"}, {"precision": "int4"}, {"attention": "sdpa"},
    {"attention": "flash_attention_2"}, {"way": "score"}, {"prefix": "once"}, {"samples": "more"}, {"rows": "repeated"},
)  # fmt: skip
"""What each rung changes of the one above. A precision or an attention that makes it slower is told and not kept."""


def measure_ladder(bench: Bench, loaded: Loaded) -> None:
    """Seconds a sample, from the way system B asked down to ours."""
    size, prompts = bench.size, asked(bench.flows, "detailed")
    named: Told = {name: getattr(size, name) for name in ("long", "short", "together", "more")}
    named["half"] = bench.half
    standing, fastest = dict(START), float("inf")
    for change in LADDER:
        rung = standing | change
        told = {name: named.get(value, value) for name, value in rung.items()}
        if told["way"] == "score":
            told["tokens"] = 0
        adds = {name: told[name] for name in change}
        found = bench.row(
            "ladder", {"adds": adds, "level": "detailed", **told},
            partial(climbed, loaded, told, prompts, bench),
        )  # fmt: skip
        took = found.get("seconds_per_sample", float("inf"))
        found["kept"] = took < (fastest if change.keys() & {"precision", "attention"} else float("inf"))
        if found["kept"]:
            standing, fastest = rung, took
    bench.save()


def climbed(loaded: Loaded, rung: Told, prompts: list[Prompt], bench: Bench) -> Told:
    """One rung: calls until the time is over, one at least."""
    model = loaded.get(rung["precision"], rung["attention"])
    samples, rng = rung["samples"], np.random.default_rng(bench.seed)
    longest = max(map(len, model.words.prompts(prompts[:64]))) + rung["tokens"]
    model.steps.places, model.steps.causal = samples * longest, rung["prefix"] == "once"

    def some(start: int) -> list[Prompt]:
        found = [prompts[(start + row) % len(prompts)] for row in range(samples)]
        if rung["rows"] == "distinct":
            return found
        return [found[row] for row in rng.integers(samples, size=round(samples / FARM_FLOW_DISTINCT))]

    def ask(chosen: list[Prompt], tokens: int) -> None:
        if rung["way"] == "score":
            model.choose(chosen, LABELS)
        else:
            model.generate(chosen, max_tokens=tokens, stop="")

    try:
        ask(some(0), 2)
        done = distinct = calls = 0
        started = time.perf_counter()
        while not calls or time.perf_counter() - started < bench.seconds:
            chosen = some(calls * samples)
            ask(chosen, rung["tokens"])
            done, distinct, calls = done + len(chosen), distinct + len(set(chosen)), calls + 1
        took = time.perf_counter() - started
    finally:
        model.steps.causal = True
    return {
        "asked": done, "distinct_share": round(distinct / done, 4), "seconds": round(took, 3),
        "seconds_per_sample": round(took / done, 6),
    }  # fmt: skip


# --- tuning


def measure_tuning(bench: Bench) -> None:
    """Tokens learnt in a second by LoRA and QLoRA, by attention, gradient checkpointing and how rows lie together."""
    rows = bench.size.rows
    plans = (
        ("lora", "sdpa", rows),
        ("lora", "flash_attention_2", rows),
        ("qlora", "sdpa", (rows[0], rows[-1])),
    )
    for method, attention, layouts in plans:
        for checkpointing, (at_once, packing) in product((False, True), layouts):
            settings = {
                "method": method, "attention": attention, "checkpointing": checkpointing, "packing": packing,
                "tokens_a_pass": at_once * bench.size.length, "length": bench.size.length, "rank": RANK, "alpha": ALPHA,
                "precision": "nf4" if method == "qlora" else bench.half,
            }  # fmt: skip
            bench.row("tune", settings, partial(tuned, settings, at_once, bench))


def tuned(settings: Told, at_once: int, bench: Bench) -> Told:
    """Updates through the trainer of `wirespeak train` until the time is over, the first two not counted."""
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig

    from wirespeak.lm.trainer import make_trainer

    times: list[float] = []

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _settle()
            times.append(time.perf_counter())
            control.should_training_stop = len(times) > 3 and times[-1] - times[1] > bench.seconds

    size, on_cuda, twice = bench.size, bench.device == "cuda", settings["checkpointing"]
    words = AutoTokenizer.from_pretrained(bench.folder)
    model = adapted(settings["method"], settings["attention"], bench)
    rows = learnt(words, bench)
    with tempfile.TemporaryDirectory() as scratch:
        plan = SFTConfig(
            output_dir=scratch, seed=bench.seed, use_cpu=not on_cuda, max_steps=100_000, per_device_train_batch_size=at_once,
            learning_rate=2e-4, bf16=on_cuda, gradient_checkpointing=twice,
            gradient_checkpointing_kwargs={"use_reentrant": False} if twice else None, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=None,
        )  # fmt: skip
        plan._n_gpu = min(1, plan.n_gpu)
        trainer = make_trainer(
            model, words, plan, rows, validation=[], at_once=at_once, packing=settings["packing"], callbacks=[Stopwatch()],
        )  # fmt: skip
        for weight in model.parameters():  # in 32 bits, as `wirespeak train` learns
            if weight.requires_grad:
                weight.data = weight.data.float()
        trainer.train()
    if trainer.at_once < at_once:
        raise ModelError(f"out of memory; {trainer.at_once} rows at a time fit")
    updates, took = len(times) - 2, times[-1] - times[1]
    speed = updates * at_once * size.length / took
    answer = float(np.mean([len(row.answer) for row in rows]))
    flops = 4 * (size.base.projected + size.base.embedded * answer / size.length) + 6 * size.base.trainable
    return {
        "updates": updates, "seconds": round(took, 3), "tokens_per_s": round(speed, 1), "share_of_peak": _share(flops * speed),
        "trainable": size.base.trainable,
    }  # fmt: skip


def learnt(words: Any, bench: Bench) -> list[Row]:
    """Examples of one length, so that tokens are counted exactly: all are too long and lose their middle."""

    def template(turns: list[dict[str, str]]) -> str:
        return str(words.apply_chat_template(turns, tokenize=False, **FIXED))

    prompts = asked(bench.flows.head(256), "rich")
    examples = [Example(prompt, LABELS[row % len(LABELS)]) for row, prompt in enumerate(prompts)]
    read = Words(words.backend_tokenizer, template)
    return encode(examples, read, end=words.eos_token_id, length=bench.size.length).rows


def adapted(method: str, attention: str, bench: Bench) -> Any:
    """The model with a fresh adapter on its attention, whole or in 4 bits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from wirespeak.lm.tuning import targets

    half = _dtype(bench.device)
    options: Told = {"dtype": half, "attn_implementation": attention, "device_map": {"": bench.device}}
    if method == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half,
        )
    torch.manual_seed(bench.seed)
    model = AutoModelForCausalLM.from_pretrained(bench.folder, **options)
    adapter = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=DROPOUT,
        target_modules=list(targets(model)),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, adapter)


# --- from scratch


def measure_scratch(bench: Bench) -> None:
    """Tokens learnt in a second by our own small decoders, so that an hour's worth is known before it is spent."""
    missing = [column for column in compact_columns() if column.name not in bench.flows.columns]
    flows = bench.flows.with_columns(pl.lit(column.default).alias(column.name) for column in missing)
    question = Question(LABELS)
    examples = [
        Example(question.prompt(sentence), question.written(LABELS[row % len(LABELS)]))
        for row, sentence in enumerate(sentences(flows, "compact"))
    ]
    words = train_tokenizer((str(example.prompt) for example in examples[:2000]), words=label_answers(LABELS))
    for (name, shape), tokens in product(SCRATCH.items(), bench.size.scratch):
        settings = {"shape": name, "precision": "fp32", "tokens_a_batch": tokens}
        bench.row(
            "scratch",
            settings,
            partial(anew, examples, words, shape, tokens, bench),
        )


def anew(examples: list[Example], words: Any, shape: Shape, tokens: int, bench: Bench) -> Told:
    """A few updates that tell how many fit the time, then those, the first not counted."""

    def train(steps: int) -> tuple[Told, float]:
        times: list[float] = []
        with tempfile.TemporaryDirectory() as scratch:
            facts = train_decoder(
                [Task("judge", examples, 1.0)], words, Path(scratch), shape=shape, seed=bench.seed, device=bench.device,
                threads=torch.get_num_threads(), schedule=Schedule(steps=steps, tokens=tokens, warmup=1),
                progress=lambda *_: times.append(time.perf_counter()),
            )  # fmt: skip
        return facts, times[-1] - times[0]

    _, took = train(3)
    steps = 1 + max(2, int(bench.seconds / (took / 2)))
    facts, took = train(steps)
    speed = facts["tokens_seen"] / steps * (steps - 1) / took
    return {
        "parameters": facts["parameters"], "updates": steps - 1, "seconds": round(took, 3), "tokens_per_s": round(speed, 1),
        "share_of_peak": _share(6 * facts["parameters"] * speed),
    }  # fmt: skip


# --- the machine


def machine(device: str) -> Told:
    """What the numbers were measured on."""
    told: Told = {"name": "CPU", "memory_gb": None, "cuda": None, "threads": torch.get_num_threads()}
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        told |= {
            "name": about.name,
            "memory_gb": round(about.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
        }
    names = ("torch", "transformers", "peft", "trl", "bitsandbytes", "flash-attn")
    return told | {"peak_bf16_tflops": _peak_tflops(), "versions": {name: _version(name) for name in names}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peak_tflops() -> int | None:
    return PEAK_TFLOPS.get(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _share(flops_per_s: float) -> float | None:
    peak = _peak_tflops()
    return None if peak is None else round(flops_per_s / (peak * 1e12), 4)


def _peak_memory_gb() -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e9, 3) if torch.cuda.is_available() else None


def _forget() -> None:
    """Free what nobody holds and count the memory anew."""
    gc.collect()  # a trainer holds itself, and a model with it
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _dtype(device: str) -> torch.dtype:
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


def _quiet() -> None:
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("-o", "--output", type=Path, required=True)
    reader.add_argument("--shape", choices=SIZES, help="qwen2.5-1.5b with a GPU, else small")
    reader.add_argument("--seconds", type=float, help="of each measurement: 3 with a GPU, else 0.5")
    reader.add_argument("--limit", type=float, default=480, help="seconds after which no row is begun")
    reader.add_argument("--seed", type=int, default=0)
    given = reader.parse_args()
    ends = time.monotonic() + given.limit
    device = chosen_device("auto")
    shape = given.shape or ("qwen2.5-1.5b" if device == "cuda" else "small")
    note = None
    if device == "cpu" or shape == "small":
        note = "No GPU, or a small model: these numbers show that the script works. They say nothing about a GPU."
        print(note, file=sys.stderr)
    _quiet()
    size, flows = SIZES[shape], made_flows(SIZES[shape].flows, given.seed)
    about = {
        "date": datetime.now(UTC).date().isoformat(), "seed": given.seed, "device": device, "small": note is not None,
        "note": note, "shape": shape, "parameters": size.base.parameters, "machine": machine(device), "labels": list(LABELS),
        "aim_flows_per_s": AIM_FLOWS_PER_S, "formulas": FORMULAS,
    }  # fmt: skip
    given.output.parent.mkdir(parents=True, exist_ok=True)
    seconds = given.seconds or (3.0 if device == "cuda" else 0.5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        about["building_s"] = round(_timed(lambda: build(folder, size.base, flows, device, given.seed)), 1)
        bench = Bench(given.output, about, size, folder, flows, seconds, given.seed, ends)
        loaded = Loaded(bench)
        measure_scoring(bench, loaded)
        measure_ladder(bench, loaded)
        loaded.drop()
        measure_tuning(bench)
        measure_scratch(bench)
    print(_said(best(bench.rows)), file=sys.stderr)


def _said(found: Told) -> str:
    """The best settings as a person reads them."""
    names = ("precision", "attention", "tokens_a_pass", "method", "checkpointing", "packing", "samples")
    figures = {"score": "flows_per_s", "tune": "tokens_per_s", "ladder": "seconds_per_sample"}
    lines = [
        f"{part}: {found[part][figure]} {figure} with {', '.join(f'{n} {found[part][n]}' for n in names if n in found[part])}"
        for part, figure in figures.items()
        if part in found
    ]
    return "\n".join([*lines, f"aim: {AIM_FLOWS_PER_S} flows_per_s"])


if __name__ == "__main__":
    # Beside this script lies another called datasets.py, and TRL wants the package of that name.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]
    main()

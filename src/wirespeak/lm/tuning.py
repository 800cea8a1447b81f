"""Tuning an open model on examples: all of its weights, or an adapter on the model as it is or in 4 bits.

Through transformers, PEFT and TRL. LoRA: Hu et al. (2021); QLoRA: Dettmers et al. (2023), NF4 with double
quantisation. Runs in stages, each from where the one before ended; stops and goes on again by itself: what is
needed for that lies in `checkpoints` under the output until the run is done.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from wirespeak.errors import InputError, ModelError, OptionError, missing_extra, unknown_name
from wirespeak.lm import bases
from wirespeak.lm.answers import Encoded, Row, encode
from wirespeak.lm.devices import chosen_device
from wirespeak.lm.loading import (
    adapted,
    clearly,
    config_of,
    four_bits,
    network_of,
    quiet,
    tokenizer_of,
    words_of,
)
from wirespeak.lm.pretrained import ADAPTER, base_of, find
from wirespeak.lm.trainer import (
    Progress,
    complete_checkpoints,
    flush,
    make_trainer,
    make_watcher,
    write_whole,
)
from wirespeak.lm.training import Example

Method = Literal["full", "lora", "qlora"]
METHODS = ("full", "lora", "qlora")
_ADVICE = "Give a folder with a checkpoint or a hub name."
_WEIGHTS, _DONE = "weights", "stage.json"


@dataclass(frozen=True)
class Plan:
    """How a model is tuned.

    epochs, steps: passes over a stage's examples, or updates where given
    rate: the highest learning rate; None: 2e-4 for adapters, 2e-5 for all weights
    warmup, decay: share of the updates that warm up; weight decay. A cosine follows the warm-up
    batch: examples in an update, all processes together. rows: of these, computed at a time on each device
    length: tokens of prompt and answer together
    rank, alpha, dropout, targets: the adapter's; None or (): the known base's, else 16, 32, 0.05, by architecture
    packing: rows one behind another instead of padded. checkpointing: layers computed twice to save memory; None: on CUDA
    keep: updates between checkpoints. patience: stop after so many of them without a lower validation loss; 0: never
    stages: places among the examples by the stage's name, in order; none: one stage of all examples
    """

    epochs: float = 1.0
    steps: int | None = None
    rate: float | None = None
    warmup: float = 0.03
    decay: float = 0.0
    batch: int = 16
    rows: int = 8
    length: int = 1024
    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    targets: tuple[str, ...] = ()
    packing: bool = False
    checkpointing: bool | None = None
    keep: int = 500
    patience: int = 0
    stages: Mapping[str, Sequence[int]] = field(default_factory=dict)


def tune(
    examples: Sequence[Example],
    base: str,
    output: Path,
    *,
    validation: Sequence[Example] = (),
    method: Method = "lora",
    plan: Plan = Plan(),
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tune `base` (hub name, model folder, or folder of an adapter to go on with) and save it in `output`.

    output gets an adapter (adapter_config.json, which names the base, and adapter_model.safetensors) or, for
    "full", a whole checkpoint; the tokenizer; and `logs` for TensorBoard. Returns facts for the run card. Called
    again after an interruption with the same arguments, it goes on from the last checkpoint; on a CPU with as many
    threads as before, the weights are those of an unbroken run, bit for bit. progress is called with (step, steps
    of the stage, loss).

    Raises OptionError for a plan that does not fit, InputError when no example fits the length, ModelError for a
    base that cannot be loaded or is too large for the device, MissingPart without the `train` extra.
    """
    _needed(method)
    _check(plan, method, len(examples), bool(validation))
    chosen = chosen_device(device)
    tokenizer, config = _tokenizer(base)
    if plan.packing and config.is_encoder_decoder:
        raise OptionError("packing is for decoders: an encoder-decoder reads a row at a time. Leave it out.")
    apart = bool(config.is_encoder_decoder)
    words, end = words_of(tokenizer, base, closed=apart), tokenizer.eos_token_id
    learnt, checked = (
        encode(part, words, end=end, length=plan.length, apart=apart) for part in (examples, validation)
    )
    stages = _stages(plan, learnt)
    told = [
        _identity(base, config), method, chosen, seed, asdict(plan), learnt.identity(), checked.identity(),
    ]  # fmt: skip
    key = sha256(json.dumps(told, default=list).encode()).hexdigest()[:16]
    if done := _known(output / TUNED, key):
        return done
    folder = output / "checkpoints" / key
    run = _Run(base, method, plan, chosen, seed, output, folder, tokenizer, checked.rows, progress)
    with warnings.catch_warnings():
        # TRL sets some options by names that transformers has since replaced.
        warnings.simplefilter("ignore", FutureWarning)
        finished = [run.stage(number, name, rows) for number, (name, rows) in enumerate(stages)]
    last = finished[-1]
    facts = {
        "base": base, "method": method, "seed": seed, "device": chosen,
        "plan": {name: value for name, value in asdict(plan).items() if name != "stages"},
        **{name: last[name] for name in ("parameters", "trainable", "adapter", "precision", "attention")},
        "examples": len(learnt.rows), "cut": learnt.cut, "too_long": learnt.too_long,
        "validation": {"examples": len(checked.rows), "cut": checked.cut, "too_long": checked.too_long},
        "stages": [{name: stage[name] for name in _TOLD if name in stage} for stage in finished],
    }  # fmt: skip
    facts = json.loads(json.dumps(facts))
    if run.leads:
        run.end(len(stages) - 1, {"key": key, "facts": facts})
    return facts


def _known(place: Path, key: str) -> dict[str, Any] | None:
    """The facts of a run that was done before, if it was this one."""
    try:
        told = json.loads(place.read_text("utf-8"))
        return dict(told["facts"]) if told["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


TUNED = "tuned.json"
"""Says of which run the weights beside it are, so that a caller that was cut off afterwards need not tune again."""
_TOLD = ("name", "examples", "steps", "loss", "rows", "before", "after", "gained")


def merge(adapter: Path, output: Path) -> None:
    """Write the base with the adapter worked into its weights: a checkpoint that loads without PEFT.

    The weights keep the type the base is stored in; an adapter tuned on a base in 4 bits goes into the base
    itself. Raises ModelError when `adapter` is no adapter's folder or its base cannot be loaded.
    """
    _needed("lora")
    if not (adapter / ADAPTER).is_file():
        raise ModelError(
            f"{adapter} holds no {ADAPTER}. Give a folder that 'wirespeak train --method lora' wrote."
        )
    tokenizer, config = _tokenizer(str(adapter))
    name = base_of(str(adapter))
    with clearly(name, _ADVICE):
        model = adapted(network_of(name, config, dtype="auto"), str(adapter), words=len(tokenizer))
    hidden = output.with_name(f".{output.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    model.merge_and_unload().save_pretrained(hidden)
    tokenizer.save_pretrained(hidden)
    _settle(hidden, output)


@dataclass
class _Run:
    """What every stage of one run shares."""

    base: str
    method: Method
    plan: Plan
    device: str
    seed: int
    output: Path
    folder: Path
    tokenizer: Any
    validation: list[Row]
    progress: Progress | None
    at_once: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return int(os.environ.get("RANK", 0)) == 0

    def place(self, number: int) -> Path:
        return self.folder / f"stage-{number}"

    def stage(self, number: int, name: str, rows: list[Row]) -> dict[str, Any]:
        """Facts of one stage: read when it was done before, else tuned from where the stage before it ended.

        Each stage starts from the disk, with an optimiser of its own, so that it does not matter whether the
        one before was done in the same breath.
        """
        import torch

        place = self.place(number)
        if (place / _DONE).is_file():
            return json.loads((place / _DONE).read_text("utf-8"))
        gc.collect()  # a trainer holds itself, and with it the memory of the stage before
        start = self.place(number - 1) / _WEIGHTS if number else None
        model = _load(self.base, self.method, self.plan, self.device, self.seed, start)
        settings, steps = self._settings(place, number, len(rows))
        trainer = make_trainer(
            model, self.tokenizer, settings, rows, validation=self.validation,
            at_once=self.at_once or self.plan.rows, packing=self.plan.packing, callbacks=self._callbacks(),
        )  # fmt: skip
        _keep_precise(model)
        facts = {"name": name, "examples": len(rows), "steps": steps, **_about(model, settings)}
        newest = _newest(place)
        try:
            before = self._before(number, trainer)
            done = trainer.train(resume_from_checkpoint=newest)
            after = _measured(trainer) if self.validation else {}
        except torch.OutOfMemoryError as error:
            raise _too_large(self.base, self.plan) from error
        self.at_once = trainer.at_once
        history = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        facts |= {
            "steps": done.global_step,
            "loss": round(history[-1], 4) if history else None,
            "rows": self.at_once,
        }
        if after:
            gained = {"loss": before["loss"] - after["loss"], "exact": after["exact"] - before["exact"]}
            facts |= {
                "before": before,
                "after": after,
                "gained": {name: round(gain, 4) for name, gain in gained.items()},
            }
        self._finish(place, model, trainer, facts)
        return facts

    def _before(self, number: int, trainer: Any) -> dict[str, float]:
        """The validation of what the stage starts from: measured once, of the untouched base."""
        if not self.validation:
            return {}
        if number:
            return json.loads((self.place(number - 1) / _DONE).read_text("utf-8"))["after"]
        kept = self.folder / "before.json"
        known = kept.is_file()
        trainer.accelerator.wait_for_everyone()
        if known:
            return json.loads(kept.read_text("utf-8"))
        before = _measured(trainer)
        if self.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(kept, before)
        return before

    def _finish(self, place: Path, model: Any, trainer: Any, facts: dict[str, Any]) -> None:
        """Keep the stage's weights; when its facts are there, they are whole."""
        if self.leads:
            model.save_pretrained(place / _WEIGHTS)
            self.tokenizer.save_pretrained(place / _WEIGHTS)
            (place / _WEIGHTS / "README.md").unlink(missing_ok=True)
            for path in (place / _WEIGHTS).iterdir():
                flush(path)
            write_whole(place / _DONE, facts)
            for checkpoint in place.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        trainer.accelerator.wait_for_everyone()

    def end(self, last: int, told: dict[str, Any]) -> None:
        """Move what the last stage made to the output, say what is there, and drop the rest; harmless when done twice."""
        (self.output / TUNED).unlink(missing_ok=True)
        _settle(self.place(last) / _WEIGHTS, self.output)
        write_whole(self.output / TUNED, told)
        dropped = self.output / ".checkpoints"
        shutil.rmtree(dropped, ignore_errors=True)
        self.folder.parent.rename(dropped)
        shutil.rmtree(dropped)

    def _callbacks(self) -> list[Any]:
        from transformers import EarlyStoppingCallback
        from transformers.integrations import TensorBoardCallback, is_tensorboard_available

        callbacks = [make_watcher(self.progress)]
        if self.plan.patience:
            callbacks.append(EarlyStoppingCallback(self.plan.patience))
        if is_tensorboard_available():
            from torch.utils.tensorboard import SummaryWriter

            callbacks.append(TensorBoardCallback(SummaryWriter(str(self.output / "logs"))))
        return callbacks

    def _settings(self, place: Path, number: int, rows: int) -> tuple[Any, int]:
        """trl.SFTConfig for a stage of so many rows, and its updates."""
        import torch
        from trl import SFTConfig

        plan, on_cuda = self.plan, self.device == "cuda"
        processes = _processes()
        if plan.batch % processes:
            raise OptionError(f"batch is {plan.batch}: give a multiple of the {processes} processes.")
        steps = plan.steps or max(1, math.ceil(math.ceil(rows / plan.batch) * plan.epochs))
        twice = on_cuda if plan.checkpointing is None else plan.checkpointing
        settings = SFTConfig(
            output_dir=str(place), seed=self.seed + number, use_cpu=not on_cuda, max_steps=steps,
            per_device_train_batch_size=plan.batch // processes, gradient_accumulation_steps=1,
            learning_rate=plan.rate or (2e-5 if self.method == "full" else 2e-4),
            lr_scheduler_type="cosine", warmup_steps=math.ceil(plan.warmup * steps), weight_decay=plan.decay,
            bf16=on_cuda and torch.cuda.is_bf16_supported(), gradient_checkpointing=twice,
            gradient_checkpointing_kwargs={"use_reentrant": False} if twice else None,
            save_strategy="steps", save_steps=plan.keep, eval_strategy="steps" if plan.patience else "no",
            eval_steps=plan.keep, load_best_model_at_end=bool(plan.patience), metric_for_best_model="loss",
            greater_is_better=False, logging_steps=math.gcd(min(10, steps), plan.keep), report_to="none", disable_tqdm=True,
            remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None,
            ddp_find_unused_parameters=False,
        )  # fmt: skip
        # Losses are told at every checkpoint, so that a run that goes on from one tells the same ones.
        # Several GPUs are for several processes; one process alone takes the first.
        settings._n_gpu = min(1, settings.n_gpu)
        return settings, steps


def _load(base: str, method: Method, plan: Plan, device: str, seed: int, start: Path | None) -> Any:
    """The model to train: the base, or the weights a stage before it left, with an adapter on it unless "full"."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    root = base_of(base)
    is_adapter = root != base
    if is_adapter and method == "full":
        raise OptionError(f"{base} is an adapter: merge it first, or tune it with --method lora.")
    held = start or (Path(base) if is_adapter else None)
    source = str(start) if start and method == "full" else root
    with clearly(source, _ADVICE):
        config = config_of(source)
        model = network_of(source, config, **_loading(method, device, config))
        if method == "full":
            return model.to(torch.float32)
        if held:
            return adapted(model, str(held), trainable=True)
    known = bases.find(base)
    adapter = LoraConfig(
        r=plan.rank or (known.rank if known else 16),
        lora_alpha=plan.alpha or (known.alpha if known else 32),
        lora_dropout=plan.dropout if plan.dropout is not None else (known.dropout if known else 0.05),
        target_modules=list(plan.targets or targets(model)),
        task_type="SEQ_2_SEQ_LM" if config.is_encoder_decoder else "CAUSAL_LM",
    )
    set_seed(seed)
    try:
        return get_peft_model(model, adapter)
    except ValueError as error:
        raise OptionError(f"no adapter on {', '.join(plan.targets)}: {error}") from error


def targets(model: Any) -> tuple[str, ...]:
    """The projections an adapter goes on: the known ones of an architecture, else every one but the output head.

    Names are as PEFT takes them: the last part of a module's path.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    known = bases.TARGETS.get(model.config.model_type)
    if known:
        return known
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear | Conv1D) and part is not head
    }
    return tuple(sorted(names))


def _loading(method: Method, device: str, config: Any) -> dict[str, Any]:
    """How a base is read: precision, 4 bits, attention."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    half = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    options: dict[str, Any] = {"dtype": torch.float32 if method == "full" else half}
    if method == "qlora":
        options["quantization_config"] = four_bits(half)
        options["device_map"] = {"": _own_device(device)}
    if not config.is_encoder_decoder:
        flash = device == "cuda" and half == torch.bfloat16 and is_flash_attn_2_available()
        options["attn_implementation"] = "flash_attention_2" if flash else "sdpa"
    return options


def _keep_precise(model: Any) -> None:
    """Learn in 32 bits: in bfloat16, where TRL puts an adapter on 4 bits, small updates are rounded away."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _about(model: Any, settings: Any) -> dict[str, Any]:
    """Facts of the model that are the same in every stage."""
    adapter = next(iter(getattr(model, "peft_config", {}).values()), None)
    named = ("r", "lora_alpha", "lora_dropout")
    # The 4-bit projections hold two weights a byte: PEFT's count knows that, and numel does not.
    trainable = sum(part.numel() for part in model.parameters() if part.requires_grad)
    total = model.get_nb_trainable_parameters()[1] if adapter else trainable
    return {
        "parameters": total,
        "trainable": trainable,
        "adapter": adapter
        and {
            **dict(
                zip(("rank", "alpha", "dropout"), (getattr(adapter, name) for name in named), strict=True)
            ),
            "targets": sorted(adapter.target_modules),
        },
        "precision": "bf16" if settings.bf16 else "fp32",
        "attention": getattr(model.config, "_attn_implementation", None),
    }


def _measured(trainer: Any) -> dict[str, float]:
    metrics = trainer.evaluate()
    return {name: round(metrics[f"eval_{name}"], 6) for name in ("loss", "exact")}


def _newest(place: Path) -> str | None:
    found = complete_checkpoints(place)
    return str(found[-1]) if found else None


def _stages(plan: Plan, learnt: Encoded) -> list[tuple[str, list[Row]]]:
    """The rows of each stage by its name; examples that were set aside are in none."""
    at = dict(zip(learnt.places, learnt.rows, strict=True))
    stages = plan.stages or {"all": learnt.places}
    rows = [(name, [at[place] for place in places if place in at]) for name, places in stages.items()]
    for name, kept in rows:
        if not kept:
            raise InputError(
                f"stage {name}: no example fits {plan.length} tokens. Raise the length, or shorten them."
            )
    return rows


def _check(plan: Plan, method: str, count: int, validated: bool) -> None:
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if plan.patience and not validated:
        raise OptionError("patience needs validation examples to judge by. Give some, or leave it out.")
    for name in ("batch", "rows", "keep", "epochs", "steps", "rank", "alpha"):
        if (value := getattr(plan, name)) is not None and value <= 0:
            raise OptionError(f"{name} is {value}, expected more than 0.")
    for name in ("rate", "dropout"):
        if (value := getattr(plan, name)) is not None and not 0 <= value < 1:
            raise OptionError(f"{name} is {value}, expected at least 0 and less than 1.")
    if plan.length < 3:
        raise OptionError(f"length is {plan.length}: a prompt, an answer and its end take at least 3 tokens.")
    for stage, places in plan.stages.items():
        if any(not 0 <= place < count for place in places):
            raise OptionError(f"stage {stage} names an example beyond the {count} there are.")


def _own_device(device: str) -> str | int:
    """Where the model of this process goes: under torchrun each has a GPU of its own."""
    return int(os.environ.get("LOCAL_RANK", 0)) if device == "cuda" else "cpu"


def _processes() -> int:
    """How many processes torchrun or accelerate started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def _needed(method: str) -> None:
    """Raise MissingPart where a package is not there."""
    try:
        quiet()
        import peft  # noqa: F401
        import torch  # noqa: F401
        import trl  # noqa: F401

        if method == "qlora":
            import bitsandbytes  # noqa: F401
    except ImportError as missing:
        raise missing_extra(missing.name or "torch", "train") from missing


def _tokenizer(name: str) -> tuple[Any, Any]:
    """The tokenizer and the configuration of a base or an adapter; a missing padding token is the end's."""
    with clearly(name, _ADVICE):
        find(name)
        root = base_of(name)
    with clearly(root, _ADVICE):
        find(root)
        config, tokenizer = config_of(root), tokenizer_of(name, root)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"'{root}': its tokenizer has no end-of-text token, so no answer could end.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, config


def _identity(base: str, config: Any) -> str:
    """What the base is: its files' hash in a folder, its revision on a hub."""
    folder = Path(base)
    if not folder.is_dir():
        return f"{base}@{getattr(config, '_commit_hash', None)}"
    told = sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            with path.open("rb") as file:
                told.update(path.name.encode())
                while block := file.read(1 << 22):
                    told.update(block)
    return told.hexdigest()


def _settle(source: Path, output: Path) -> None:
    """Move finished files under their final names."""
    output.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        for path in sorted(source.iterdir()):
            path.replace(output / path.name)
        source.rmdir()
    flush(output)


def _too_large(base: str, plan: Plan) -> ModelError:
    return ModelError(
        f"'{base}' does not fit the device's memory even one example at a time. Use --method qlora, "
        f"a length below {plan.length}, or a smaller base (docs/tuning.md has a table)."
    )

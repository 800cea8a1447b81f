"""One update after another: the trainer that `tuning` drives, for decoders and for encoder-decoders.

Decoders go through TRL's SFTTrainer, whose fused output head scores the answer's tokens alone and never holds the
logits of a whole prompt; encoder-decoders through transformers' Trainer. The loss is

    sum over rows and answer tokens of weight * -log p(token) / sum of the weights

over the whole effective batch, so that neither padding, packing nor the size of the pieces it is computed in
changes what is learnt.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wirespeak.lm.answers import UNLEARNT, Row, collate, packed, pieces

Progress = Callable[[int, int, float], None]
COMPLETE = "complete"


def make_trainer(
    model: Any,
    tokenizer: Any,
    settings: Any,
    rows: Sequence[Row],
    *,
    validation: Sequence[Row],
    at_once: int,
    packing: bool,
    callbacks: Sequence[Any] = (),
) -> Any:
    """A trainer of `rows` with `settings` (trl.SFTConfig), whose batch is one update's on this process.

    at_once: rows computed at a time; halved, and the update done again, when memory does not suffice. It offers
    train(resume_from_checkpoint=...), evaluate() and the attribute at_once.
    """
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback, Trainer
    from trl import SFTTrainer

    apart = bool(model.config.is_encoder_decoder)
    pad = tokenizer.pad_token_id
    parent = Trainer if apart else SFTTrainer

    class AnswerTrainer(parent):  # type: ignore[misc, valid-type]
        """Learns answers piece by piece."""

        at_once: int
        control: Any

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            """Gradients of one update. Processes weigh as much as their share of all weights."""
            model.train()
            batch = self._prepare_inputs(inputs)
            total = self.accelerator.reduce(batch["weights"].sum(), "mean")
            return self._within_memory(lambda: self._learn(model, batch, total))

        def _learn(self, model: Any, batch: dict[str, Any], total: Any) -> Any:
            loss = torch.zeros((), device=total.device)
            parts = list(pieces(batch, self.at_once))
            for part in parts:
                last = part is parts[-1]
                with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                    with self.compute_loss_context_manager():
                        piece = _surprise(model, packed(part) if packing else part, apart)[0] / total
                    self.accelerator.backward(piece)
                loss += piece.detach()
            return loss

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            """The loss on the validation rows, and the share of them whose whole answer is the likeliest."""
            mine = sorted(validation, key=lambda row: len(row.prompt) + len(row.answer))
            mine = mine[self.accelerator.process_index :: self.accelerator.num_processes]
            _quiet(self.model)
            sums = self._within_memory(lambda: self._measure(mine))
            loss, weight, right = self.accelerator.reduce(sums, "sum").tolist()
            metrics = {"eval_loss": loss / weight, "eval_exact": right / len(validation)}
            self.log(dict(metrics))
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _measure(self, mine: Sequence[Row]) -> Any:
            sums = torch.zeros(3, dtype=torch.float64)
            for start in range(0, len(mine), self.at_once):
                batch = self._prepare_inputs(
                    collate(mine[start : start + self.at_once], pad=pad, apart=apart)
                )
                with torch.no_grad(), self.compute_loss_context_manager():
                    loss, right = _surprise(self.model, batch, apart)
                sums += torch.stack([loss, batch["weights"].sum(), right.sum()]).double().cpu()
            # Without float64, which some accelerators lack.
            return sums.float().to(self.args.device)

        def _within_memory(self, work: Callable[[], Any]) -> Any:
            while True:
                try:
                    return work()
                except torch.OutOfMemoryError:
                    # One process alone must not repeat what the others wait for.
                    if self.at_once == 1 or self.accelerator.num_processes > 1:
                        raise
                # Here, since within `except` the error would still hold the tensors.
                self.model.zero_grad()
                torch.cuda.empty_cache()
                self.at_once = (self.at_once + 1) // 2

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """None: the run card says more."""

        def _send_telemetry(self) -> None:
            """None: nobody is told what is trained here."""

    trainer = AnswerTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict({"row": range(len(rows))}),
        data_collator=lambda drawn: collate([rows[each["row"]] for each in drawn], pad=pad, apart=apart),
        eval_dataset=Dataset.from_dict({"row": range(len(validation))}) if validation else None,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    # It writes to standard output, which belongs to the record of a verb.
    trainer.remove_callback(PrinterCallback)
    trainer.at_once = at_once
    return trainer


def _surprise(model: Any, batch: dict[str, Any], apart: bool) -> tuple[Any, Any]:
    """The weighted sum of -log p over the answer's tokens, and for each row whether all of them are the likeliest."""
    inputs = {name: part for name, part in batch.items() if name != "weights"}
    if not apart:
        output = model(**inputs, fused_lm_head=True)
        right = (output.is_top1.bool() | ~output.label_mask).all(1)
        return -(output.log_probs * batch["weights"][:, 1:]).sum(), right
    chances = model(**inputs).logits.float().log_softmax(-1)
    labels, wanted = batch["labels"].clamp(min=0), batch["labels"] != UNLEARNT
    told = chances.gather(2, labels[:, :, None])[:, :, 0]
    right = ((chances.argmax(2) == labels) | ~wanted).all(1)
    return -(told * batch["weights"]).sum(), right


def _quiet(model: Any) -> None:
    """Switch dropout off.

    Layers in 4 bits stay as in training: on some CPUs bitsandbytes would rearrange their weights for asking, in a way
    no gradient goes through afterwards.
    """
    model.eval()
    for part in model.modules():
        if type(part).__name__ == "Linear4bit":
            part.train()


def make_watcher(progress: Progress | None) -> Any:
    """A callback that reports progress, measures once more at the end, and marks checkpoints as complete.

    A checkpoint without the mark was being written when the power went; it is never read. Those older than a
    complete one are removed, the best one so far aside.
    """
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps and args.eval_strategy != "no":
                control.should_evaluate = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if progress and state.is_world_process_zero and logs and "loss" in logs:
                progress(state.global_step, state.max_steps, float(logs["loss"]))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not state.is_world_process_zero:
                return
            newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (newest / "training_args.bin").unlink(missing_ok=True)
            for path in newest.iterdir():
                flush(path)
            flush(newest)
            (newest / COMPLETE).touch()
            flush(newest)
            for older in complete_checkpoints(newest.parent):
                if older != newest and str(older) != state.best_model_checkpoint:
                    shutil.rmtree(older)

    return Watcher()


def complete_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder` that were written to their end, oldest first."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def write_whole(path: Path, facts: Any) -> None:
    """Write JSON under its final name only when all of it is on the disk."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    flush(hidden)
    hidden.replace(path)


def flush(path: Path) -> None:
    """Have the disk keep a file, or a folder's entries, before anything relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

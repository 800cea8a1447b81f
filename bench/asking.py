"""Label scoring by the model in the box beside having the same model write its answers, flow by flow.

    python bench/asking.py out/model/checkpoint -o bench/results/asking.json

CHECKPOINT is the folder `checkpoint` that `wirespeak train` leaves beside model.onnx. Ways, slowest first: transformers'
`generate` without and with its key cache, one prompt at a time, as models are asked in most published systems; our
own generation in batches; label scores. All see the same distinct flows of the captures in the box and are asked for the same label; the share of
answers that agree with the scores stands beside. The last row is the flows as the captures bring them, equal ones judged once. The ways take turns, so that a busy neighbour slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from wirespeak.detect.language import LanguageDetector
from wirespeak.interfaces.commands import CAPTURES
from wirespeak.interfaces.measure import THREADS, machine
from wirespeak.lab.labelled import read_recording
from wirespeak.text import compact, judge_prompt, label_answer

FLOWS, SLOW, ROUNDS = 2_000, 40, 5
AS_THEY_COME = "label scores, flows as captures bring them"


def ways(
    checkpoint: Path, detector: LanguageDetector
) -> dict[str, tuple[int, Callable[[Sequence[str]], list[str]]]]:
    """How many sentences each way is given, and what it answers to them."""
    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, use_safetensors=True).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"))
    answers = {label_answer(label): label for label in detector.labels}

    def alone(cached: bool) -> Callable[[Sequence[str]], list[str]]:
        @torch.inference_mode()
        def write(said: Sequence[str]) -> list[str]:
            found = []
            for one in said:
                ids = tokenizer(judge_prompt(one), return_tensors="pt", add_special_tokens=False).input_ids
                told = model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, use_cache=cached,
                    pad_token_id=0, eos_token_id=None,
                )  # fmt: skip
                found.append(answers.get(tokenizer.convert_ids_to_tokens(int(told[0, ids.shape[1]])), "none"))
            return found

        return write

    def batched(said: Sequence[str]) -> list[str]:
        texts = detector.model.generate([judge_prompt(one) for one in said], max_tokens=4)
        return [answers.get(text.split(" ")[0].strip(), "none") for text in texts]

    def scored(said: Sequence[str]) -> list[str]:
        return [detector.labels[best] for best in detector.scores(pl.Series(said)).argmax(axis=1)]

    return {
        "transformers' generate, one at a time, no key cache": (SLOW, alone(False)),
        "transformers' generate, one at a time": (SLOW, alone(True)),
        "our generation, in batches": (400, batched),
        "label scores": (FLOWS, scored),
    }


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("checkpoint", type=Path)
    reader.add_argument("-o", "--output", type=Path, required=True)
    given = reader.parse_args()
    flows = pl.concat(
        [read_recording(folder).flows for folder in sorted(CAPTURES.iterdir()) if folder.is_dir()]
    )
    said = compact.encode(flows).unique(maintain_order=True).sample(FLOWS, seed=0).to_list()
    detector = LanguageDetector.load(threads=THREADS)
    known = ways(given.checkpoint, detector)
    truth = known["label scores"][1](said)
    best: dict[str, float] = {}
    agree: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, (count, ask) in known.items():
            began = perf_counter()
            answers = ask(said[:count])
            best[name] = max(best.get(name, 0.0), count / (perf_counter() - began))
            agree[name] = sum(a == b for a, b in zip(answers, truth, strict=False)) / count
        began = perf_counter()
        detector.predict(flows)
        best[AS_THEY_COME] = max(best.get(AS_THEY_COME, 0.0), len(flows) / (perf_counter() - began))
    rows: list[dict[str, Any]] = [
        {"way": name, "flows_per_s": round(rate, 1), "scores_are_times_faster": round(best["label scores"] / rate, 1), "as_they_come_is_times_faster": round(best[AS_THEY_COME] / rate, 1), "agree": agree.get(name)}
        for name, rate in best.items()
    ]  # fmt: skip
    given.output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()

"""GGUF exports against llama.cpp: the same tokens, log-probabilities and greedy continuations as transformers?

    PYTHONPATH=tests python bench/gguf_check.py -o bench/results/gguf_check.json

Needs wirespeak[train] and llama-cpp-python, which is no dependency of the package: it takes a compiler and time.
Checkpoints are made here: two layers, grouped queries, random weights large enough that positions matter.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import small_models
import torch
from numpy.typing import NDArray
from test_export import shake

from wirespeak.lm.gguf import export_gguf
from wirespeak.lm.pretrained import TransformersLanguageModel

TEXTS = (
    "Say what this network flow is, with one label. pr:tcp se:web fl:SAF",
    "judge fpJ1.46 fbK4.12 label",
    "A flood of syn packets é ünï 12345",
)
STEPS = 20
STRETCHED = small_models.LLAMA3 | {"original_max_position_embeddings": 16}
KINDS: tuple[tuple[str, Callable[..., Path], dict[str, Any]], ...] = (
    ("qwen2", small_models.qwen2, {}),
    ("llama", small_models.llama, {}),
    (
        "stretched llama",
        small_models.llama,
        {"rope_parameters": STRETCHED},
    ),  # its texts are longer than 16 tokens
)


def compare(model: TransformersLanguageModel, file: Path) -> dict[str, Any]:
    """Largest difference of a log-probability behind a text, and how often the greedy token agrees after it."""
    theirs = llama_cpp.Llama(str(file), n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    same, furthest, agreed = True, 0.0, 0
    for text in TEXTS:
        ids = model.token_ids(text)
        same &= theirs.tokenize(text.encode(), add_bos=False, special=False) == ids
        theirs.reset()
        theirs.eval(ids)
        for step in range(STEPS):
            ours, found = model.next_log_probabilities([ids])[0], _last(theirs)
            if step == 0:
                furthest = max(furthest, float(np.abs(ours - found).max()))
            agreed += int(ours.argmax() == found.argmax())
            ids = [*ids, int(ours.argmax())]
            theirs.eval(ids[-1:])
    return {
        "same_tokens": same, "largest_difference": round(furthest, 5), "greedy_agreed": agreed,
        "greedy_asked": STEPS * len(TEXTS),
    }  # fmt: skip


def _last(theirs: Any) -> NDArray[np.float64]:
    logits = np.array(theirs.scores[theirs.n_tokens - 1], np.float64)
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    output = parser.parse_args().output
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(), "llama_cpp_python": version("llama-cpp-python"),
        "transformers": version("transformers"), "texts": list(TEXTS),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        for name, make, more in KINDS:
            folder = make(Path(temporary) / name, hidden_size=128, intermediate_size=256, **more)
            shake(folder)
            model = TransformersLanguageModel(str(folder), device="cpu")
            for precision in ("f32", "f16", "q8_0"):
                file = folder / f"{precision}.gguf"
                export_gguf(folder, file, precision=precision)
                result[f"{name} {precision}"] = compare(model, file)
    output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

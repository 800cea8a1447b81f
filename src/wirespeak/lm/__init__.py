"""Words to words: runtimes and training of language models. Knows no network."""

from __future__ import annotations

from pathlib import Path

from wirespeak.contracts import LanguageModel
from wirespeak.errors import ModelError

IN_THE_BOX = Path(__file__).parent.parent / "pretrained"


def load_model(name: str | None = None, *, device: str = "auto", threads: int | None = None) -> LanguageModel:
    """The model in the box (no name), an exported model's folder, or anything transformers loads.

    Raises ModelError, naming what to do, when nothing by that name can be loaded.
    """
    from wirespeak.lm.onnx import OnnxLanguageModel

    folder = Path(name) if name else IN_THE_BOX
    if (folder / "model.onnx").is_file() or name is None:
        return OnnxLanguageModel(folder, threads=threads)
    is_here = folder.exists() or name.startswith(("/", "."))
    if is_here and not (folder / "config.json").is_file():
        raise ModelError(
            f"'{name}' is no model folder: it holds neither model.onnx nor config.json. Give a folder written by "
            "'wirespeak train', a hub name, or leave --model out."
        )
    from wirespeak.lm.pretrained import TransformersLanguageModel

    return TransformersLanguageModel(name, device=device)

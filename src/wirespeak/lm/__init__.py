"""Words to words: runtimes and training of language models. Knows no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wirespeak.contracts import LanguageModel
from wirespeak.errors import ModelError

if TYPE_CHECKING:
    from wirespeak.lm.pretrained import Attention, Precision

IN_THE_BOX = Path(__file__).parent.parent / "pretrained"
# What transformers or PEFT load a folder by.
_LOADED = ("config.json", "adapter_config.json")


def load_model(
    name: str | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    attention: Attention = "auto",
) -> LanguageModel:
    """The model in the box (no name), an exported model's folder, anything transformers loads, or a server's address.

    A folder that `tune` wrote may hold an adapter; the base it names is loaded with it. precision, attention: of what
    transformers loads (`TransformersLanguageModel`). Raises ModelError, naming what
    to do, when nothing by that name can be loaded.
    """
    from wirespeak.lm.endpoint import EndpointLanguageModel, is_endpoint
    from wirespeak.lm.onnx import OnnxLanguageModel

    if name and is_endpoint(name):
        return EndpointLanguageModel(name)
    folder = Path(name) if name else IN_THE_BOX
    if (folder / "model.onnx").is_file() or name is None:
        return OnnxLanguageModel(folder, threads=threads)
    is_here = folder.exists() or name.startswith(("/", "."))
    if is_here and not any((folder / file).is_file() for file in _LOADED):
        raise ModelError(
            f"'{name}' is no model folder: it holds neither model.onnx nor config.json. Give a folder written by "
            "'wirespeak train', a hub name, or leave --model out."
        )
    from wirespeak.lm.pretrained import TransformersLanguageModel

    return TransformersLanguageModel(name, device=device, precision=precision, attention=attention)

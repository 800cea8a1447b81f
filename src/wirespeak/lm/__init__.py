"""Words to words: runtimes and training of language models. Knows no network."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wirespeak.contracts import LanguageModel
from wirespeak.errors import MissingPart, ModelError

if TYPE_CHECKING:
    from wirespeak.lm.pretrained import Attention, Precision

IN_THE_BOX = Path(__file__).parent.parent / "pretrained"
# What transformers or PEFT load a folder by.
_LOADED = ("config.json", "adapter_config.json")
# Kinds of detectors whose folder holds a language model beside what they know of a table.
_ASKING = ("language", "cascade")


def model_folder(folder: Path) -> Path:
    """Where the language model lies in the folder of a detector that asks one; any other folder itself.

    Such a folder is what `wirespeak train FILE` wrote: its card.json has a `kind`.
    """
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
    except (OSError, ValueError):
        return folder
    if not isinstance(card, dict) or card.get("kind") not in _ASKING:
        return folder
    inner = folder / str(card.get("model", "model"))
    return inner if inner.is_dir() else folder


def checkpoint_folder(folder: Path) -> Path:
    """Where the weights lie that can be tuned or exported, in any folder that `wirespeak train` wrote."""
    inner = model_folder(folder)
    return inner / "checkpoint" if (inner / "checkpoint").is_dir() else inner


@cache
def _in_the_box(threads: int | None) -> LanguageModel:
    """The model in the box, once: judging, explaining and writing share it."""
    from wirespeak.lm.onnx import OnnxLanguageModel

    return OnnxLanguageModel(IN_THE_BOX, threads=threads)


def load_model(
    name: str | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    attention: Attention = "auto",
) -> LanguageModel:
    """The model in the box (no name), an exported model's folder, anything transformers loads, or a server's address.

    A folder that `tune` wrote may hold an adapter; the base it names is loaded with it. Of a detector's folder the
    model within it is loaded (`model_folder`). precision, attention: of what transformers loads
    (`TransformersLanguageModel`). Raises ModelError, naming what to do, when nothing by that name can be loaded.
    """
    from wirespeak.lm.endpoint import EndpointLanguageModel, is_endpoint
    from wirespeak.lm.onnx import OnnxLanguageModel

    if name and is_endpoint(name):
        return EndpointLanguageModel.at(name)
    if name is None:
        return _in_the_box(threads)
    folder = model_folder(Path(name))
    if folder != Path(name):
        name = str(folder)
    if (folder / "model.onnx").is_file():
        return OnnxLanguageModel(folder, threads=threads)
    is_here = folder.exists() or name.startswith(("/", "."))
    if is_here and not any((folder / file).is_file() for file in _LOADED):
        raise ModelError(
            f"'{name}' is no model folder: it holds neither model.onnx nor config.json. Give a folder written by "
            "'wirespeak train', a hub name, or leave --model out."
        )
    if not is_here and not find_spec("transformers"):
        raise MissingPart(
            f"there is no folder '{name}', and to load a model of that name from the hub transformers is needed. "
            "Check the path, or run: pip install 'wirespeak[train]'"
        )
    from wirespeak.lm.pretrained import TransformersLanguageModel

    return TransformersLanguageModel(name, device=device, precision=precision, attention=attention)

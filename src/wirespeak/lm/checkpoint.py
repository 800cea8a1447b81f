"""A checkpoint on disk, read for export: its adapter merged, its weights one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra
from wirespeak.lm.prompts import first_line
from wirespeak.lm.rotary import KINDS, kind_of


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint lies, its transformers config, and which open file holds each weight."""

    folder: Path
    config: Any
    _files: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """A weight in single precision, whatever it is stored in. Raises ModelError where there is none."""
        if name not in self._files:
            raise ModelError(f"{self.folder}: the checkpoint has no weight '{name}'. Save it again, whole.")
        return np.asarray(self._files[name].get_tensor(name).float().numpy(), np.float32)

    def tokenizer(self) -> Any:
        """Its transformers tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)


@contextmanager
def open_checkpoint(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoint in `folder` (safetensors, in one file or several), an adapter merged into its base.

    Raises ModelError for anything else and for rotary positions stretched in a way unknown here, MissingPart without
    wirespeak[train].
    """
    try:
        from safetensors import safe_open
        from transformers import AutoConfig
    except ImportError as missing:
        raise missing_extra(missing.name or "transformers", "train") from missing
    with ExitStack() as stack:
        source = _merged(folder, stack)
        try:
            config = AutoConfig.from_pretrained(source)
            parts = [
                stack.enter_context(safe_open(path, framework="pt"))
                for path in sorted(source.glob("*.safetensors"))
            ]
        except Exception as error:  # each library raises its own kinds
            raise ModelError(
                f"{folder}: the checkpoint cannot be read ({first_line(error)}). Save it again."
            ) from error
        if not parts:
            raise ModelError(
                f"{folder} holds no *.safetensors. Give a checkpoint's folder; pickled weights are not read."
            )
        _check_rotation(folder, config)
        yield Checkpoint(source, config, {name: part for part in parts for name in part.keys()})  # noqa: SIM118


def _merged(folder: Path, stack: ExitStack) -> Path:
    from wirespeak.lm.pretrained import ADAPTER

    if not (folder / ADAPTER).is_file():
        return folder
    from wirespeak.lm.tuning import merge

    whole = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "merged"
    merge(folder, whole)
    return whole


def _check_rotation(folder: Path, config: Any) -> None:
    rotation = getattr(config, "rope_parameters", None) or {}
    kind = kind_of(rotation)
    if kind not in KINDS:
        raise ModelError(
            f"{folder}: rotary positions of type '{kind}' (rope scaling) are not exported, those of Llama 3 are. Use the checkpoint as it is."
        )
    lacking = [name for name in KINDS[kind] if not isinstance(rotation.get(name), int | float)]
    if lacking:
        raise ModelError(
            f"{folder}: its config.json does not say '{lacking[0]}' of its rotary positions. Save the checkpoint again."
        )
    if getattr(config, "use_sliding_window", False):
        raise ModelError(f"{folder}: sliding-window attention is not exported. Use the checkpoint as it is.")

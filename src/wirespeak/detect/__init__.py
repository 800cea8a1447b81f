"""Every kind of detector, one file each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from wirespeak.contracts import Detector
from wirespeak.errors import OptionError, unknown_name

# Kind -> module and function that loads one, given a model's name or folder and a device.
KINDS = {"language": "wirespeak.detect.language:LanguageDetector.load"}


def load_detector(kind: str = "language", model: str | None = None, *, device: str = "auto") -> Detector:
    """A detector that is ready to judge. Raises OptionError for an unknown kind, ModelError for a model that fails."""
    if kind not in KINDS:
        raise OptionError(
            f"{unknown_name('detector', kind, KINDS)} Or name the folder that 'wirespeak train --detector' wrote."
        )
    module, _, path = KINDS[kind].partition(":")
    load: Callable[..., Detector] = import_module(module)  # type: ignore[assignment]
    for name in path.split("."):
        load = getattr(load, name)
    return load(model, device=device)

"""Every kind of detector, one file each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from wirespeak.contracts import Detector
from wirespeak.errors import OptionError, unknown_name

# Kind -> module and function that loads one, given a model's name or folder and a device.
KINDS = {
    "language": "wirespeak.detect.language:LanguageDetector.load",
    "cascade": "wirespeak.detect.cascade:Cascade.load",
}


def load_detector(kind: str = "language", model: str | None = None, *, device: str = "auto") -> Detector:
    """A detector that is ready to judge flows: a kind, or the folder of one that learnt recordings, by either name.

    Raises OptionError for an unknown kind, ModelError for a model that fails.
    """
    if kind == "language" and model == "cascade":
        kind = "cascade"
    saved = [Path(name) for name in (model, kind) if name and (Path(name) / "encoding.json").is_file()]
    if saved:
        from wirespeak.detect.drawer import load_of_flows

        return load_of_flows(saved[0], device=device)
    if (Path(kind) / "card.json").is_file():
        kind, model = "cascade", kind
    if kind not in KINDS:
        raise OptionError(
            f"{unknown_name('detector', kind, KINDS)} Or name the folder that 'wirespeak train --detector' wrote."
        )
    module, _, path = KINDS[kind].partition(":")
    load: Callable[..., Detector] = import_module(module)  # type: ignore[assignment]
    for name in path.split("."):
        load = getattr(load, name)
    return load(model, device=device)

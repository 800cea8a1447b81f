"""What a saved detector is on disk: card.json, the encoding of its table, and model files without pickle."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from wirespeak import __version__
from wirespeak.errors import ModelError, missing_extra

# Types that skops does not know by itself and that our own detectors are made of. Nothing else is loaded.
_ALLOWED = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write card.json, with the version of Wirespeak and of the packages that the model files belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**card, "wirespeak": __version__}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a saved detector. Raises ModelError where there is none."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder}: no saved detector (card.json cannot be read: {error}). Make one with 'wirespeak train --detector NAME'."
        ) from error
    if not isinstance(card, dict) or not {"kind", "labels", "options", "seed"} <= card.keys():
        raise ModelError(
            f"{folder}: its card.json describes no detector made from a table. Make one with 'wirespeak train --detector NAME'."
        )
    return card


def write_model(model: Any, path: Path) -> None:
    """Write a scikit-learn model with skops, which stores data and names of types, never code."""
    try:
        from skops.io import dump
    except ImportError as error:
        raise missing_extra("skops", "baselines") from error
    dump(model, path, compression=8)


def read_model(path: Path) -> Any:
    """The model in a skops file. Raises ModelError if it is made of anything but the allowed types."""
    try:
        from skops.io import get_untrusted_types, load
    except ImportError as error:
        raise missing_extra("skops", "baselines") from error
    try:
        strange = sorted(set(get_untrusted_types(file=path)) - set(_ALLOWED))
        if strange:
            raise ModelError(
                f"{path}: holds {', '.join(strange[:3])}, which no detector of ours is made of. Do not use this file."
            )
        return load(path, trusted=list(_ALLOWED))
    except (BadZipFile, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path}: cannot be read as a model ({error}). It may be damaged or from another version of scikit-learn; "
            f"this is {_version('scikit-learn')}. Train it again."
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

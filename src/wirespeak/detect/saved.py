"""What a saved detector is on disk: card.json, the encoding of its table, and model files without pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
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


def is_number(value: Any) -> bool:
    """Whether a value read from JSON is a number: finite, and neither true nor false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(sound, value))


def _table_of(sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(sound, value.values()))


# What a card holds under each name, in words and as a check. Names that are not here hold what their readers say.
_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "answer": ("a name", _is_text),
    "canonical": ("a name for each label", _table_of(_is_text)),
    "dataset": ("a name", _is_text),
    "kind": ("a name", _is_text),
    "labels": ("a list of names", _list_of(_is_text)),
    "level": ("a name", _is_text),
    "options": ("options by name", _table_of(lambda value: True)),
    "seed": ("a whole number", lambda value: is_number(value) and value == int(value)),
    "shares": ("a number for each label", _list_of(is_number)),
    "temperature": ("a number above 0", lambda value: is_number(value) and value > 0),
    "thresholds": ("a number for each label", _table_of(is_number)),
    "training": ("facts by name", _table_of(lambda value: True)),
}


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write card.json, with the version of Wirespeak and of the packages that the model files belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**card, "wirespeak": __version__}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a saved detector. Raises ModelError where there is none, or one that says what cannot be."""
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
    return checked_card(card, folder / "card.json")


def checked_card(card: Any, where: str | Path) -> dict[str, Any]:
    """`card`, which was read from `where`: every name on it that is known holds what it should.

    Raises ModelError naming the first that does not.
    """
    if not isinstance(card, dict):
        raise ModelError(f"{where}: holds {card!r:.60}, expected facts by name. Train the model again.")
    for name, (wanted, sound) in _FORMS.items():
        if name in card and not sound(card[name]):
            raise ModelError(
                f"{where}: '{name}' is {card[name]!r:.60}, expected {wanted}. Train the model again."
            )
    if "shares" in card and len(card["shares"]) != len(card.get("labels", ())):
        raise ModelError(
            f"{where}: 'shares' holds {len(card['shares'])} numbers, expected one for each of the labels. Train the model again."
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

"""Run cards: what each model at hand is, and whether its files are what the card says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wirespeak.errors import ModelError, unknown_name
from wirespeak.lm import IN_THE_BOX

CARD = "card.json"


@dataclass(frozen=True)
class Card:
    """A model folder and what its `card.json` says."""

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What the model calls itself, else its folder's name."""
        return str(self.facts.get("name", self.folder.name))

    @property
    def parameters(self) -> int:
        """The number of weights, 0 where the card does not say."""
        return int(self.facts.get("training", {}).get("parameters", 0))

    @property
    def bytes(self) -> int:
        """Size of the files a runtime needs, checkpoints aside."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def cards(places: Iterable[Path] = ()) -> list[Card]:
    """The model in the box, then the models in `places`: each a model's folder or a folder of such folders.

    What asks a model that lies elsewhere holds no weights, and is none.
    """
    folders = [IN_THE_BOX]
    for place in places:
        folders += (
            [place] if (place / CARD).is_file() else sorted(child.parent for child in place.glob(f"*/{CARD}"))
        )
    found = [read_card(folder) for folder in folders if (folder / CARD).is_file()]
    return [card for card in found if card.parameters]


def find_card(name: str | None = None) -> Card:
    """The card of a model by its folder, or by name among those in the box. Raises OptionError or ModelError."""
    if name and (Path(name) / CARD).is_file():
        return read_card(Path(name))
    known = {card.name: card for card in cards()}
    if not known:
        raise ModelError(
            f"{IN_THE_BOX} holds no model. Install wirespeak again, or train one with 'wirespeak train'."
        )
    if name and name not in known:
        raise unknown_name("model", name, known)
    return known[name] if name else next(iter(known.values()))


def read_card(folder: Path) -> Card:
    """The card of a model folder. Raises ModelError when it cannot be read or tells no facts by name."""
    try:
        facts = json.loads((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / CARD} cannot be read ({error}). Train or fetch the model again."
        ) from error
    training = facts.get("training", {}) if isinstance(facts, dict) else facts
    if not isinstance(training, dict) or not isinstance(training.get("parameters", 0), int):
        raise ModelError(
            f"{folder / CARD} is no card of a model: expected facts by name, `training` and its number of `parameters` among them. Train or fetch the model again."
        )
    return Card(folder, facts)

"""The drawer of detectors that learn from tables: a new kind is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wirespeak.detect.asked import FewShot, ZeroShot
from wirespeak.detect.automl import AutoGluon, Flaml
from wirespeak.detect.boosting import LightGBM, XGBoost
from wirespeak.detect.cascaded import Cascaded
from wirespeak.detect.ensembles import Stack, Tuned, Vote
from wirespeak.detect.isolation import Isolation
from wirespeak.detect.lstm import Recurrent
from wirespeak.detect.mlp import Perceptron
from wirespeak.detect.online import Online
from wirespeak.detect.saved import read_card
from wirespeak.detect.spoken import Spoken, Worded
from wirespeak.detect.tabular import TableDetector, checked_options
from wirespeak.detect.text_logistic import LogisticText
from wirespeak.detect.trees import ExtraTrees, Forest, HistBoost
from wirespeak.errors import InputError, ModelError, unknown_name

_KINDS: tuple[type[TableDetector], ...] = (
    Forest, ExtraTrees, XGBoost, LightGBM, HistBoost, LogisticText, Perceptron, Recurrent,
    Flaml, AutoGluon, Isolation, Online, Vote, Stack, Tuned, Spoken, Cascaded, ZeroShot, FewShot,
)  # fmt: skip
DETECTORS: dict[str, Callable[..., TableDetector]] = {kind.name: kind for kind in _KINDS}
_BY_NAME = {kind.name: kind for kind in _KINDS}


def make(name: str, **options: Any) -> TableDetector:
    """A detector that has learnt nothing yet.

    Raises OptionError for a detector or an option that does not exist, naming the nearest.

    >>> make("forest", trees=20).name
    'forest'
    """
    return _kind(name)(**checked_options(_kind(name), options))


def load(folder: Path, *, device: str = "auto") -> TableDetector:
    """The detector saved in `folder`, whichever kind it is. device: where a language model runs.

    Raises ModelError where there is none.
    """
    name = read_card(folder)["kind"]
    if name not in _BY_NAME:
        raise ModelError(
            f"{folder / 'card.json'}: {unknown_name('detector', name, _BY_NAME)} Train the detector again."
        )
    kind = _BY_NAME[name]
    return kind.load(folder, **({"device": device} if issubclass(kind, Worded) else {}))


def load_of_flows(folder: Path, *, device: str = "auto") -> TableDetector:
    """The detector in `folder`, to judge flows, which have more columns than it learnt.

    Raises ModelError where there is none, InputError where it knows another table than flows.
    """
    found = load(folder, device=device)
    if "src_flows_60s" not in {column.name for column in found.encoding.columns}:
        raise InputError(
            f"{folder}: this detector learnt another table than the flows of captures. Give it the files of that dataset."
        )
    found.encoding.lenient = True
    return found


def _kind(name: str) -> type[TableDetector]:
    if name not in _BY_NAME:
        raise unknown_name("detector", name, _BY_NAME)
    return _BY_NAME[name]

"""Models on disk: what their cards say, by which names they are found, and states that a crash tore."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wirespeak.detect.language import LanguageDetector
from wirespeak.errors import ModelError, OptionError
from wirespeak.interfaces import commands
from wirespeak.lm import checkpoint_folder, load_model, model_folder
from wirespeak.lm.cards import cards


@pytest.mark.parametrize(
    "card", ["[]", "3", '{"training": null}', '{"training": []}', '{"training": {"parameters": "many"}}', "{"]
)
def test_a_card_that_is_none_is_one_clear_error(card: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(ModelError, match=r"card.json .*Train or fetch the model again"):
        cards([tmp_path])[-1].parameters  # noqa: B018 - what a list of models asks


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": "x"}, "the card of tiny: 'temperature' is 'x', expected a number above 0"),
        ({"labels": 3}, "'labels' is 3, expected a list of names"),
    ],
)
def test_a_model_whose_card_cannot_be_is_refused(
    changes: dict[str, Any], said: str, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    card = json.loads((tiny_model / "card.json").read_text())
    (tmp_path / "model" / "card.json").write_text(json.dumps(card | changes))
    with pytest.raises(ModelError, match=said):
        LanguageDetector.load(str(tmp_path / "model"), threads=1)


def detector_around(model: Path, folder: Path, **card: Any) -> Path:
    """A folder as `train FILE` writes it, as far as its language model goes."""
    shutil.copytree(model, folder / "model")
    (folder / "card.json").write_text(json.dumps({"kind": "language", **card}))
    (folder / "encoding.json").write_text("[]")
    return folder


@pytest.mark.parametrize("kind", ["language", "cascade"])
def test_a_model_is_found_by_the_folder_of_its_detector(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = detector_around(tiny_model, tmp_path / "detector", kind=kind)
    inner, outer = load_model(str(tiny_model), threads=1), load_model(str(folder), threads=1)
    prompts = ["judge pr:tcp label"]
    np.testing.assert_array_equal(inner.choose(prompts, ["<normal>"]), outer.choose(prompts, ["<normal>"]))
    assert checkpoint_folder(folder) == folder / "model" / "checkpoint"
    with pytest.raises(ModelError, match="holds a detector that learnt a table"):
        LanguageDetector.load(str(folder))


def test_other_folders_are_their_own_models(tiny_model: Path, tmp_path: Path) -> None:
    assert model_folder(tiny_model) == tiny_model
    assert checkpoint_folder(tiny_model) == tiny_model / "checkpoint"
    (tmp_path / "model").mkdir()
    for card in (
        "[]",
        "{",
        '{"kind": "forest"}',
        '{"kind": ["language"]}',
        '{"kind": "cascade", "model": null}',
    ):
        (tmp_path / "card.json").write_text(card)
        assert model_folder(tmp_path) == tmp_path
    with pytest.raises(ModelError, match="is no model folder"):
        load_model(str(tmp_path))


def test_an_export_keeps_what_stands_beside_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    (model := tmp_path / "model").mkdir()
    shutil.copytree(tiny_model, model, dirs_exist_ok=True)
    (model / "calibration.parquet").write_bytes(b"rows")
    commands.export_model(model, output=model / "small", precision="fp32")
    commands.export_model(model, output=model / "small", precision="int8")  # again, in place
    names = {path.name for path in (model / "small").iterdir()} - {
        "cascade"
    }  # others may have made one beside it
    assert names == {"calibration.parquet", "card.json", "model.onnx", "run.json", "tokenizer.json"}
    card = json.loads((model / "small" / "card.json").read_text())
    assert (card["name"], card["labels"][0], card["exported"]["precision"]) == ("tiny", "normal", "int8")
    assert LanguageDetector.load(str(model / "small"), threads=1).labels == tuple(card["labels"])
    with pytest.raises(OptionError, match="would be overwritten"):
        commands.export_model(model, output=model)


def test_a_torn_state_is_left_for_the_one_before_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="training needs wirespeak[train]")
    from wirespeak.lm.states import load_state, save_state

    def made() -> Any:
        model = torch.nn.Linear(2, 2)
        optimiser = torch.optim.AdamW(model.parameters())
        return SimpleNamespace(
            model=model, optimiser=optimiser, mean={}, step=3, seen=5, running=0.5, spent=0.0
        )

    save_state(tmp_path, "one", made())
    shutil.copytree(tmp_path / "state-3", tmp_path / "state-4")
    whole = (tmp_path / "state-4" / "tensors.safetensors").read_bytes()
    again = made()
    for torn in (whole[: len(whole) // 2], b"", whole[:4]):
        (tmp_path / "state-4" / "tensors.safetensors").write_bytes(torn)
        assert load_state(tmp_path, "one", again) and again.step == 3
    (tmp_path / "state-3" / "about.json").write_text("[]")
    assert not load_state(tmp_path, "one", again)

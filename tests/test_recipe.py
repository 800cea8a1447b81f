"""The recipe of the model in the box: what may be changed, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training a language model needs wirespeak[train]")

from wirespeak.errors import OptionError
from wirespeak.interfaces import commands
from wirespeak.interfaces.recipe import Recipe, make_model

TINY = Path(commands.CAPTURES) / "tiny"


def test_a_larger_sibling_is_the_same_recipe_with_another_shape() -> None:
    plain, large = (
        Recipe(),
        Recipe.of({"name": "micro", "width": 512, "layers": 8, "heads": 8, "hidden": 1408}),
    )
    assert (large.name, large.shape.width, large.schedule) == ("micro", 512, plain.schedule)
    assert Recipe.of({"steps": 9, "seed": 3}).schedule.steps == 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 3.0}, "unknown option of a training on recordings 'epochs'"),
        ({"set": ["widht=3"]}, "Did you mean 'width'"),
        ({"set": ["heads=5"]}, "even multiple of heads"),
        ({"set": ["layers=0"]}, "layers is 0, expected a whole number from 1"),
        ({"set": ["rate=fast"]}, "rate is fast, expected 0 to 1"),
        ({"answer": commands.Answer.binary}, "unknown option of a training on recordings 'answer'"),
        ({"stages": True}, "unknown option of a training on recordings 'stages'"),
    ],
)
def test_options_that_do_not_apply_to_recordings_are_refused(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=said):
        commands.train([TINY], output=tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [{"steps": 5}, {"leave_out": "flood.syn"}])
def test_options_of_recordings_are_refused_for_tables(option: dict[str, Any], tmp_path: Path) -> None:
    (data := tmp_path / "rows.csv").write_text("a,label\n1,normal\n")
    with pytest.raises(OptionError, match="is for recordings alone"):
        commands.train([data], output=tmp_path / "model", **option)


@pytest.mark.slow
def test_a_training_on_recordings_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    recordings = [tmp_path / name for name in ("train", "validation")]
    for folder in recordings:
        shutil.copytree(Path(commands.CAPTURES) / "demo", folder)
        scenario = (
            (folder / "scenario.toml").read_text().replace('split = "demo"', f'split = "{folder.name}"')
        )
        (folder / "scenario.toml").write_text(scenario)
    recipe = Recipe.of(
        {"steps": 30, "keep": 10, "judgements": 500, "inventions": 100, "width": 32, "layers": 1, "heads": 2, "hidden": 32, "tokens": 1000, "threads": 1}
    )  # fmt: skip

    def cut(what: str, share: float | None = None) -> None:
        if share and share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        make_model(recordings, tmp_path / "cut", recipe, cut, tmp_path / "state")
    card = make_model(recordings, tmp_path / "cut", recipe, work=tmp_path / "state")
    assert card["training"]["cpu_s"] > card["training"]["cpu_s_before_cut"] > 0
    make_model(recordings, tmp_path / "whole", recipe)
    cut_off, whole = (tmp_path / name / "model.onnx" for name in ("cut", "whole"))
    assert cut_off.read_bytes() == whole.read_bytes()

"""The recipe of the model in the box: what may be changed, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training a language model needs wirespeak[train]")

from wirespeak.errors import OptionError
from wirespeak.interfaces import commands
from wirespeak.interfaces.recipe import Recipe

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

"""Flows as training examples: the right keys, the asked question, the answer that is known."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from wirespeak.data import tables
from wirespeak.errors import OptionError
from wirespeak.schema import COLUMNS
from wirespeak.text import sentences
from wirespeak.text.examples import lines, write

ROW = {
    name: "tcp" if name == "protocol" else "" if column.kind == "category" else 1
    for name, column in COLUMNS.items()
    if column.is_feature
}
FLOWS = pl.DataFrame([ROW, ROW], schema={name: kind for name, kind in tables.types().items() if name in ROW})


def test_an_instruction_holds_the_sentence_and_the_label() -> None:
    first, second = lines(FLOWS, ["normal", "flood.syn"], level="basic")
    assert list(first) == ["instruction", "input", "output"]
    assert first["input"] == sentences(FLOWS, "basic")[0]
    assert (first["output"], second["output"]) == ("normal", "flood.syn")


def test_a_prompt_is_what_the_model_in_the_box_is_asked(tmp_path: Path) -> None:
    write(FLOWS, ["normal", "unknown"], path := tmp_path / "x.jsonl", format="prompt-completion")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {"prompt": f"judge {sentences(FLOWS)[0]} label", "completion": "<normal>"}
    assert second["completion"] == "<unknown>"


def test_what_is_not_known_is_null_and_what_does_not_exist_names_the_nearest() -> None:
    assert [line["completion"] for line in lines(FLOWS, format="prompt-completion")] == [None, None]
    with pytest.raises(OptionError, match="Did you mean 'instruction'"):
        next(lines(FLOWS, format="instructions"))

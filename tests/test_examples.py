"""Sentences as training examples: the right keys, the asked question, the answer that is known, strictly read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wirespeak.data.sources import read_dataset
from wirespeak.detect.drawer import make
from wirespeak.detect.learn import answers_of
from wirespeak.errors import OptionError
from wirespeak.interfaces.sentences import of_dataset
from wirespeak.schema import Column
from wirespeak.text import NAMES, Question
from wirespeak.text.ask import ANSWERS, FORMATS
from wirespeak.text.examples import lines, write

SAID = ["Service http.", 'Service "x\\u0022 \\u003cb\\u003e".']
COLUMNS = (Column("service", "category", "what it is for", "service {}", "aa", "dns"),)


def question(format: str) -> Question:
    return Question(("normal", "flood.syn"), format, columns=COLUMNS)


def test_an_instruction_holds_the_sentence_and_the_label() -> None:
    first, second = lines(SAID, ["normal", "flood.syn"], question("instruction"))
    assert list(first) == ["instruction", "input", "output"]
    assert first["input"] == SAID[0] and (first["output"], second["output"]) == ("normal", "flood.syn")
    assert "normal, flood.syn" in first["instruction"]
    assert "service: what it is for, usually dns." in first["instruction"]


def test_a_prompt_is_what_the_model_in_the_box_is_asked(tmp_path: Path) -> None:
    write(["pr:tcp"], [(question("prompt-completion"), ["normal"])], path := tmp_path / "x.jsonl")
    assert json.loads(path.read_text()) == {"prompt": "judge pr:tcp label", "completion": "<normal>"}


def test_a_conversation_ends_with_the_record_and_then_the_answer() -> None:
    first, _ = lines(SAID, ["normal", None], question("chat"))
    assert [turn["role"] for turn in first["messages"]] == ["system", "user", "assistant"]
    assert (
        first["messages"][1]["content"] == f"Record: {SAID[0]}"
        and first["messages"][2]["content"] == "normal"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_record_comes_last_and_what_is_not_known_is_not_answered(format: str) -> None:
    asked = question(format)
    shots = [("Service ssh.", "flood.syn")]
    one, other = (str(asked.prompt(sentence, shots)) for sentence in SAID)
    same = len(common := "".join(a for a, b in zip(one, other, strict=False) if a == b)) and common
    assert same and SAID[0] in one and SAID[0] not in other
    for line in lines(SAID, None, asked):
        assert "normal" not in (line.get("output"), line.get("completion"))
        assert all(turn["role"] != "assistant" for turn in line.get("messages", []))


def test_answers_are_read_strictly() -> None:
    asked = question("instruction")
    for text in ("normal", " Normal.\n", '"normal"', "**normal**", "<think>is it flood.syn?</think>\nnormal"):
        assert asked.read(text) == "normal"
    for text in ("", "normal or flood.syn", "it is normal", "flood", "normally", "flood.syn flood.syn"):
        assert asked.read(text) is None


def test_what_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean 'instruction'"):
        question("instructions")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("level", NAMES)
def test_what_is_written_is_what_a_detector_is_asked(
    answer: str, level: str, pumps: tuple[Path, Path], tmp_path: Path
) -> None:
    data, described = pumps
    dataset = read_dataset([data], map=described)
    rows = of_dataset(dataset, level=level, format="prompt-completion", answer=answer, addresses=False)
    detector: Any = make("language", answer=answer, level=level)
    detector.fields, detector.source = dataset.fields, dataset.name
    detector.labels = tuple(sorted(answers_of(dataset, answer).unique()))
    detector._learn_words(dataset.table.select(dataset.features()))
    assert detector.question == rows.question
    rows.write(path := tmp_path / "x.jsonl")
    prompts = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    said = detector.sentences(dataset.table)
    asked = [detector.binary, detector.question] if detector.first else [detector.question]
    assert prompts == [question.prompt(sentence) for sentence in said for question in asked]

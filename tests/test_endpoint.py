"""A model behind a server: the ways to ask one, and what happens when it does not answer as it should.

Every server here is real: our own API over a real model, or one that speaks HTTP as a test tells it.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import refusal, served, stubborn

from wirespeak.contracts import LanguageModel
from wirespeak.errors import InputError, ModelError, OptionError
from wirespeak.lm import load_model
from wirespeak.lm.asking import FLOOR, _apart
from wirespeak.lm.endpoint import EndpointLanguageModel, Usage

pytest.importorskip("openai", reason="needs the endpoint extra")
pytest.importorskip("uvicorn", reason="needs the serve extra")

ANSWERS = ("normal", "attack")
PLAIN = [
    "judge pr:tcp se:web label",
    "judge pr:udp label",
    "judge pr:tcp se:web label",
    "judge ünï\x00 label",
]
TURNS = [(("system", "Answer with one label."), ("user", prompt)) for prompt in PLAIN]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("WIRESPEAK_API_KEY", raising=False)


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    return load_model(threads=1)


@pytest.fixture(scope="module")
def nano_at(nano: LanguageModel) -> Iterator[str]:
    with served(nano) as address:
        yield address


@pytest.fixture(scope="module", params=["qwen2", "llama", "phi"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """A small random checkpoint as the transformers runtime loads it."""
    pytest.importorskip("torch", reason="needs the train extra")
    import small_models

    folder = getattr(small_models, request.param)(tmp_path_factory.mktemp(request.param))
    return load_model(str(folder), device="cpu")


def test_the_model_in_the_box_judges_the_same_behind_a_server(nano: LanguageModel, nano_at: str) -> None:
    remote = EndpointLanguageModel(nano_at)
    labels = [f"<{label}>" for label in nano.card["labels"]]  # type: ignore[attr-defined]
    np.testing.assert_allclose(remote.choose(PLAIN, labels), nano.choose(PLAIN, labels), atol=1e-4)
    assert remote.way == "echo"
    several = ["<normal> because", "flood", "no idea 42"]
    for per_token in (False, True):
        # In int8 a token read by itself and one read with others round apart; in fp32 (below) they agree.
        expected = nano.choose(PLAIN + TURNS, several, per_token=per_token)
        found = remote.choose(PLAIN + TURNS, several, per_token=per_token)
        np.testing.assert_allclose(found, expected, atol=0.1)
    assert remote.way == "echo, prompt-logprobs"
    assert remote.unparsed == 0
    assert remote.card["labels"] == nano.card["labels"]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_small_checkpoints_judge_the_same_behind_a_server(small: LanguageModel) -> None:
    answers = [" normal", " flood.syn", " a sentence of several tokens"]
    with served(small) as address:
        remote = EndpointLanguageModel(address)
        for prompts in (PLAIN, TURNS):
            np.testing.assert_allclose(
                remote.choose(prompts, answers), small.choose(prompts, answers), atol=1e-4
            )
    assert remote.way == "echo, prompt-logprobs"


def test_it_writes_the_same_behind_a_server(nano: LanguageModel, nano_at: str) -> None:
    remote = EndpointLanguageModel(nano_at)
    for prompts in (PLAIN, TURNS):
        assert remote.generate(prompts, max_tokens=8) == nano.generate(prompts, max_tokens=8)
    warm = [remote.generate(PLAIN[:1], max_tokens=8, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]
    assert warm[0] == nano.generate(PLAIN[:1], max_tokens=8, temperature=2.0, seed=1)
    assert " st" not in remote.generate(PLAIN[:1], max_tokens=8, stop=" st")[0]


def first_tokens(told: dict[str, float]) -> Any:
    """A server of completions that tells first tokens alone."""

    def answer(path: str, body: dict[str, Any]) -> Any:
        if body.get("echo"):
            return refusal(400, "echo is not supported")
        logprobs = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [told]}
        return {"choices": [{"index": 0, "text": "x", "logprobs": logprobs}]}

    return answer


def test_first_tokens_are_summed_by_the_answer_they_begin() -> None:
    told = {" nor": math.log(0.2), "normal": math.log(0.1), "attack": math.log(0.4), "the": math.log(0.05)}
    with stubborn(first_tokens(told)) as (address, _):
        model = EndpointLanguageModel(address)
        scores = model.choose(["p"], ["normal", "attack", "flood"])
    assert model.way == "first-token"
    # What is not told at all gets the smallest that is.
    np.testing.assert_allclose(np.exp(scores[0]), [0.3, 0.4, 0.05], rtol=1e-5)


def test_first_tokens_that_several_answers_share_tell_nothing() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if "logprobs" in body:
            return first_tokens({"flood": -0.1, "normal": -3.0})(path, body)
        return {"choices": [{"index": 0, "text": " 'flood.udp'.\n"}]}

    with stubborn(answer) as (address, _):
        model = EndpointLanguageModel(address)
        scores = model.choose(["p"], ["flood.syn", "flood.udp", "normal"])
    assert model.way == "text"
    np.testing.assert_allclose(scores, [[FLOOR, 0.0, FLOOR]], rtol=1e-6)


CHANCES = {"DoS": 0.8, " Hulk": 0.9, " slow": 0.5, "normal": 0.1}


def told_of(answer: str) -> tuple[list[str], list[float]]:
    """A prompt and an answer as tokens, and the log-probability of each."""
    tokens = ["p", *(f" {word}" if place else word for place, word in enumerate(answer.split()))]
    return tokens, [-1.0, *(math.log(CHANCES[token]) for token in tokens[1:])]


@pytest.mark.parametrize("way", ["echo", "prompt-logprobs"])
def test_an_answer_that_others_begin_with_stands_for_itself_alone(way: str) -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if way == "echo":
            choices = []
            for index, text in enumerate(body["prompt"]):
                tokens, values = told_of(text.removeprefix("p"))
                told = {"tokens": [*tokens, "x"], "token_logprobs": [*values, -0.5]}
                choices.append({"index": index, "text": f"{text}x", "logprobs": told})
            return {"choices": choices}
        tokens, values = told_of(body["messages"][-1]["content"])
        places = [{"7": {"logprob": v, "decoded_token": t}} for t, v in zip(tokens, values, strict=True)]
        return {"choices": [{"index": 0}], "prompt_logprobs": places}

    with stubborn(answer) as (address, _):
        model = EndpointLanguageModel(address)
        asked = "p" if way == "echo" else (("user", "p"),)
        answers = ["DoS", "DoS Hulk", "DoS Hulk slow", "normal"]
        (scores,) = np.exp(model.choose([asked], answers))
        (each,) = model.choose([asked], answers, per_token=True)
        (apart,) = np.exp(model.choose([asked], ["DoS Hulk", "normal"]))
    assert model.way == way
    np.testing.assert_allclose(scores, [0.8 * 0.1, 0.8 * 0.9 * 0.5, 0.8 * 0.9 * 0.5, 0.1], rtol=1e-5)
    np.testing.assert_allclose(each, np.log(scores) / [1, 2, 3, 1], rtol=1e-5)
    np.testing.assert_allclose(apart, [0.8 * 0.9, 0.1], rtol=1e-5)


def test_what_is_certain_to_go_on_leaves_the_least_there_is() -> None:
    told = [(math.log(0.8), ("DoS",)), (math.log(0.8) + 1e-9, ("DoS", " Hulk")), (-math.inf, ("no",))]
    (short, _), (long, _), (never, _) = _apart([*told, (-math.inf, ("no", "ne"))])[:3]
    assert (short, never) == (pytest.approx(math.log(0.8) + FLOOR), -math.inf) and long == told[1][0]


def test_whether_likelihoods_are_told_is_known_once_asked() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if "logprobs" in body:
            return first_tokens({"normal": -0.1, "attack": -3.0})(path, body)
        return {"choices": [{"index": 0, "text": "flood.udp"}]}

    floods = ["flood.syn", "flood.udp"]
    with stubborn(answer) as (address, _):
        model = EndpointLanguageModel(address)
        assert not model.graded("p", ANSWERS)
        model.choose(["p"], ANSWERS)
        model.choose(["p"], floods)
    assert model.graded("p", ANSWERS) and not model.graded("p", floods)


def test_each_set_of_answers_is_asked_its_own_way() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if "logprobs" in body:
            return first_tokens({"normal": -0.1, "odd": -3.0})(path, body)
        return {"choices": [{"index": 0, "text": "flood.udp"}]}

    with stubborn(answer) as (address, _):
        model = EndpointLanguageModel(address)
        np.testing.assert_allclose(model.choose(["p"], ["normal", "odd"]), [[-0.1, -3.0]], rtol=1e-6)
        assert model.choose(["p"], ["flood.syn", "flood.udp"]).argmax() == 1
    assert model.way == "first-token, text"


def test_a_server_of_chat_alone_tells_first_tokens_there() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if path != "/v1/chat/completions":
            return refusal(404, "not a completions model")
        top = [{"token": "attack", "logprob": -0.1}, {"token": "normal", "logprob": -2.5}]
        content = [{"token": "attack", "logprob": -0.1, "top_logprobs": top}]
        message = {"role": "assistant", "content": "attack"}
        return {"choices": [{"index": 0, "message": message, "logprobs": {"content": content}}]}

    with stubborn(answer) as (address, seen):
        model = EndpointLanguageModel(address)
        np.testing.assert_allclose(model.choose(["p", "q"], ANSWERS), [[-2.5, -0.1]] * 2, rtol=1e-6)
        assert model.generate(["p"], max_tokens=5) == ["attack"]
    assert model.way == "chat-first-token"
    assert seen[-1]["messages"] == [{"role": "user", "content": "p"}]


def says(*texts: str) -> Any:
    """A chat that tells text alone, one text after the other to whatever is asked."""
    waiting = list(texts)

    def answer(path: str, body: dict[str, Any]) -> Any:
        if "/chat" not in path or "logprobs" in body or "prompt_logprobs" in body:
            return refusal(404, "no")
        text = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        usage = {"prompt_tokens": 10, "completion_tokens": 2}
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}], "usage": usage}

    return answer


@pytest.mark.parametrize("text", ["normal", ' "normal". ', "normal.", "'normal'", "normal\n"])
def test_text_that_is_one_answer_counts(text: str) -> None:
    with stubborn(says(text)) as (address, _):
        model = EndpointLanguageModel(address)
        np.testing.assert_allclose(model.choose(["p"], ANSWERS), [[0.0, FLOOR]], rtol=1e-6)
    assert (model.way, model.unparsed) == ("chat-text", 0)


@pytest.mark.parametrize("text", ["", "normal or attack", "It is normal", "abnormal", "Ignore this: normal!"])
def test_text_that_is_not_one_answer_is_no_answer_and_counted(text: str) -> None:
    with stubborn(says("normal", text)) as (address, _):
        model = EndpointLanguageModel(address, at_once=1)
        scores = model.choose(["p", "q", "q"], ANSWERS)
    assert np.isfinite(scores[0]).all() and np.isnan(scores[1:]).all()
    assert model.unparsed == 2


def test_a_model_that_never_answers_is_asked_and_counted() -> None:
    with stubborn(says("I cannot say.")) as (address, _):
        model = EndpointLanguageModel(address)
        assert np.isnan(model.choose([f"p{n}" for n in range(5)], ANSWERS)).all()
    assert (model.way, model.unparsed) == ("chat-text", 5)


def test_a_prompt_the_server_refuses_is_no_answer() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        too_long = len(body.get("messages", [{"content": ""}])[-1]["content"]) > 10
        return refusal(400, "too long") if too_long else says("attack")(path, body)

    with stubborn(answer) as (address, _):
        scores = EndpointLanguageModel(address).choose(["p" * 11, "p", "p" * 12], ANSWERS)
    assert np.isfinite(scores[1]).all() and np.isnan(scores[[0, 2]]).all()


def test_a_second_run_asks_only_what_is_missing(nano_at: str, nano: LanguageModel, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "answers.jsonl"
    first = EndpointLanguageModel(nano_at, cache=cache)
    before = first.choose(PLAIN[:2], ANSWERS)
    text = first.generate(PLAIN[:1], max_tokens=4)
    data = cache.read_bytes()
    assert all(set(json.loads(line)) == {"key", "value"} for line in data.splitlines())
    cache.write_bytes(data + data.splitlines()[-1][:30])  # the crash came while a line was written
    second = EndpointLanguageModel(nano_at, cache=cache)
    np.testing.assert_array_equal(second.choose(PLAIN[:2], ANSWERS), before)
    assert second.generate(PLAIN[:1], max_tokens=4) == text
    assert (second.usage.requests, second.way) == (0, "echo")
    np.testing.assert_allclose(second.choose(PLAIN, ANSWERS), nano.choose(PLAIN, ANSWERS), rtol=1e-4)  # int8
    assert second.usage.requests == 1
    third = EndpointLanguageModel(nano_at, cache=cache)
    third.choose(PLAIN, ANSWERS, per_token=True)
    assert third.usage.requests == 0
    third.choose(PLAIN[:2], ANSWERS[:1])
    assert third.usage.requests == 2


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        fails = body["messages"][-1]["content"] == "c" if "messages" in body else False
        return refusal(401, "no more credit") if fails else says("attack")(path, body)

    cache = tmp_path / "answers"
    with stubborn(answer) as (address, seen):
        with pytest.raises(ModelError, match="401"):
            EndpointLanguageModel(address, cache=cache, at_once=1).choose(["a", "b", "c"], ANSWERS)
        del seen[:]
        EndpointLanguageModel(address, cache=cache).choose(["a", "b", "d"], ANSWERS)
    assert [body["messages"][-1]["content"] for body in seen] == ["d"]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "no line", '{"key": 1}\n'])
def test_a_file_that_is_no_cache_is_left_alone(text: str, nano_at: str, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(InputError, match="cache"):
        EndpointLanguageModel(nano_at, cache=file)
    assert file.read_text() == text


@pytest.mark.parametrize("place", ["/dev/full", "/"])
def test_what_is_no_file_is_no_cache(place: str, nano_at: str) -> None:
    with pytest.raises(InputError, match="is no file"):
        EndpointLanguageModel(nano_at, cache=Path(place))


def test_it_waits_as_the_server_says() -> None:
    refused = iter([True, False])

    def answer(path: str, body: dict[str, Any]) -> Any:
        busy = "/chat" in path and "logprobs" not in str(body) and next(refused, False)
        return refusal(429, "slow down", **{"retry-after": "0.4"}) if busy else says("normal")(path, body)

    with stubborn(answer) as (address, _):
        model, began = EndpointLanguageModel(address), time.monotonic()
        np.testing.assert_allclose(model.choose(["p"], ANSWERS), [[0.0, FLOOR]], rtol=1e-6)
        assert time.monotonic() - began >= 0.4


def test_requests_keep_to_the_rate_and_run_side_by_side() -> None:
    together, most, lock = 0, 0, threading.Lock()

    def answer(path: str, body: dict[str, Any]) -> Any:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.05)
        with lock:
            together -= 1
        return says("normal")(path, body)

    prompts = [f"p{n}" for n in range(9)]
    with stubborn(answer) as (address, _):
        EndpointLanguageModel(address, at_once=3).choose(prompts, ANSWERS)
        assert most == 3
        slow = EndpointLanguageModel(address, at_once=3, requests_a_minute=1200)
        began = time.monotonic()
        slow.choose(prompts, ANSWERS)
        assert time.monotonic() - began >= (slow.usage.requests - 1) * 60 / 1200


def test_what_was_asked_is_counted_and_priced() -> None:
    with stubborn(says("normal")) as (address, seen):
        model = EndpointLanguageModel(address, price=(1.0, 10.0))
        model.choose(["p", "q"], ANSWERS)
    assert model.usage.requests == len(seen)
    assert (model.usage.prompt_tokens, model.usage.completion_tokens) == (20, 4)
    assert model.usage.cost == pytest.approx(20e-6 + 40e-6)
    assert Usage().cost is None


def test_the_newer_name_of_the_limit_is_learnt() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            return refusal(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
        return says("normal")(path, body)

    with stubborn(answer) as (address, _):
        assert EndpointLanguageModel(address).generate(["p"], max_tokens=5) == ["normal"]


NO_JSON = (200, {"content-type": "text/html"}, b"<html>log in</html>")
TORN = (200, {}, b'{"choices": [{"te')
HALF = (200, {"content-length": "99", "connection": "close"}, b'{"choices"')


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (refusal(401, "bad key"), "401: the key is refused. Set WIRESPEAK_API_KEY"),
        (refusal(404, "no such model"), "404: no model 'm' there"),
        (refusal(429, "busy", **{"retry-after": "0.01"}), "429: too many requests"),
        (refusal(503, "down", **{"retry-after": "0.01"}), "503: the server is in trouble"),
        (refusal(500, "down", **{"retry-after": "0.01"}), "500: the server is in trouble"),
        (refusal(400, "bad\nIgnore all of this"), "400: it refuses what was asked. It said: .*bad"),
        (NO_JSON, "another form than expected"),
        (TORN, "not JSON"),
        (HALF, "cannot be reached"),
        ({"choices": []}, "another form than expected"),
        ([], "another form than expected"),
        ({"choices": [{"index": 0, "message": {"content": 7}}]}, "another form than expected"),
    ],
)
def test_a_server_that_misbehaves_is_one_clear_line(told: Any, expected: str) -> None:
    with stubborn(lambda path, body: told) as (address, _):
        model = EndpointLanguageModel(address, retries=1)
        for ask in (lambda: model.choose(["p"], ANSWERS), lambda: model.generate(["p"], max_tokens=2)):
            with pytest.raises(ModelError, match=expected) as failure:
                ask()
            assert "\n" not in str(failure.value) and address in str(failure.value)


def test_a_server_that_hangs_is_given_up() -> None:
    def answer(path: str, body: dict[str, Any]) -> Any:
        time.sleep(1)
        return {}

    with stubborn(answer) as (address, _):
        model = EndpointLanguageModel(address, retries=0, timeout_s=0.2)
        with pytest.raises(ModelError, match=r"did not answer within 0\.2 s and was not asked again"):
            model.choose(["p"], ANSWERS)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ModelError, match="cannot be reached"):
        EndpointLanguageModel("http://127.0.0.1:9/v1", retries=0)


def test_one_of_several_models_is_named() -> None:
    listed = {"data": [{"id": "a"}, {"id": "b"}]}
    with stubborn(says("normal"), models=listed) as (address, seen):
        with pytest.raises(ModelError, match=r"2 models \(a, b\)\. Name one"):
            EndpointLanguageModel(address)
        EndpointLanguageModel(f"{address}#b").choose(["p"], ANSWERS)
    assert {body["model"] for body in seen} == {"b"}
    with stubborn(says("normal"), models=refusal(404, "no list")) as (address, _):
        assert EndpointLanguageModel(f"{address}#b").model == "b"


@pytest.mark.parametrize(
    "name",
    ["http://", "http://h:port/v1", "ftp://h/v1", "http://u:p@h/v1", "http://h/v1?key=s", "http://[::1/v1"],
)
def test_a_wrong_address_says_how_to_write_one(name: str) -> None:
    with pytest.raises(OptionError, match="http://HOST:PORT/v1#MODEL"):
        EndpointLanguageModel(name)


def test_the_key_is_sent_and_told_to_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-general")
    monkeypatch.setenv("WIRESPEAK_API_KEY", "sk-secret-1")
    cache = tmp_path / "answers"
    with stubborn(says("normal")) as (address, seen):
        model = EndpointLanguageModel(address, cache=cache)
        model.choose(["p"], ANSWERS)
        assert {body["key"] for body in seen} == {"Bearer sk-secret-1"}
        assert "sk-secret" not in cache.read_text() + model.name
    with stubborn(lambda path, body: refusal(401, "wrong key sk-secret-1")) as (address, _):
        with pytest.raises(ModelError, match=r"\*\*\*") as failure:
            EndpointLanguageModel(address).choose(["p"], ANSWERS)
        assert "sk-secret" not in str(failure.value)


def test_a_card_from_elsewhere_is_believed_only_when_sound() -> None:
    card = {"labels": ["normal", "other"], "level": "compact", "temperature": 0.9, "evidence_floor": 9}
    for told, expected in (
        (card, card),
        (card | {"labels": "normal"}, {}),
        (card | {"temperature": "hot"}, {}),
    ):
        with stubborn(says("normal"), models={"data": [{"id": "m", "wirespeak": told}]}) as (address, _):
            assert EndpointLanguageModel(address).card == expected


def test_nothing_is_asked_for_nothing(nano_at: str) -> None:
    model = EndpointLanguageModel(nano_at)
    assert model.choose([], ANSWERS).shape == (0, 2)
    assert model.choose(["p"], []).shape == (1, 0)
    assert model.generate([], max_tokens=3) == []
    assert model.usage.requests == 0


def test_an_address_says_how_to_ask(nano_at: str, tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    address = nano_at.replace(
        "/v1", f"/v1?at_once=2&retries=0&requests_a_minute=6000&price=1,2&cache={cache}"
    )
    model = load_model(address)
    assert isinstance(model, EndpointLanguageModel)
    model.choose(PLAIN[:2], ANSWERS)
    assert cache.is_file() and model.usage.cost and "?" not in model.name


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("api_key=secret", "WIRESPEAK_API_KEY"),
        ("at_once=0", "at_once=0 in the address of a model is not what it takes: expected 1 or more"),
        ("price=1", "price=1 in the address"),
        ("timeout_s=nan", "expected 0.001 or more"),
        ("cache", "is no address"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_is_refused(query: str, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)) as error:
        load_model(f"http://127.0.0.1:9/v1?{query}#m")
    assert "secret" not in str(error.value)

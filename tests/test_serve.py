"""`wirespeak serve --openai`, asked by the official client and by plain HTTP, against the model asked directly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from served import served

from wirespeak.errors import OptionError
from wirespeak.interfaces.openai_answers import Scribe, context_of
from wirespeak.interfaces.openai_api import WAITING, Turnstile
from wirespeak.interfaces.openai_bodies import CompletionBody, Refused
from wirespeak.interfaces.serving import serve
from wirespeak.interfaces.token_likelihoods import Text, count_scored, likelihoods
from wirespeak.lm import load_model
from wirespeak.lm.onnx import OnnxLanguageModel

openai = pytest.importorskip("openai", reason="needs the endpoint extra")
pytest.importorskip("uvicorn", reason="needs the serve extra")

PROMPT = "judge pr:tcp se:web label"
TURNS = [{"role": "system", "content": "Judge."}, {"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def nano() -> OnnxLanguageModel:
    model = load_model(threads=1)
    assert isinstance(model, OnnxLanguageModel)
    return model


@pytest.fixture(scope="module")
def address(nano: OnnxLanguageModel) -> Iterator[str]:
    with served(nano) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    return openai.OpenAI(base_url=address, api_key="none", max_retries=0)


def post(address: str, body: Any, *, path: str = "/completions", key: str | None = None) -> tuple[int, Any]:
    """Status and JSON of a plain request. A body of bytes is sent as it is."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_model_is_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["nano"]
    assert client.models.retrieve("nano").owned_by == "wirespeak"


def test_a_completion_is_what_the_model_writes(client: Any, nano: OnnxLanguageModel) -> None:
    prompts = [PROMPT, "judge pr:udp label"]
    done = client.completions.create(model="nano", prompt=prompts, max_tokens=6, temperature=0)
    assert [choice.text for choice in done.choices] == nano.generate(prompts, max_tokens=6, stop="")
    assert done.usage.prompt_tokens == sum(len(nano.token_ids(prompt)) for prompt in prompts)
    assert done.usage.completion_tokens <= 12
    stopped = client.completions.create(
        model="nano", prompt=PROMPT, max_tokens=6, temperature=0, stop=[" fl", " st"]
    )
    assert stopped.choices[0].text == done.choices[0].text.split(" st")[0].split(" fl")[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_the_seed_decides(client: Any) -> None:
    def written(seed: int | None) -> str:
        done = client.completions.create(
            model="nano", prompt=PROMPT, max_tokens=12, temperature=2, top_p=0.95, seed=seed
        )
        return str(done.choices[0].text)

    assert written(5) == written(5) != written(6)
    assert len({written(None) for _ in range(3)}) > 1


def test_every_token_of_an_echo_is_as_likely_as_the_model_says(client: Any, nano: OnnxLanguageModel) -> None:
    texts = [PROMPT + "<normal>", PROMPT + "<unknown>"]
    done = client.completions.create(
        model="nano", prompt=texts, max_tokens=0, echo=True, logprobs=3, temperature=0
    )
    for choice, text in zip(done.choices, texts, strict=True):
        told, ids = choice.logprobs, nano.token_ids(text)
        assert choice.text == text == "".join(told.tokens)
        assert told.token_logprobs[0] is None
        for place in range(1, len(ids)):  # one prefix at a time, the slow and obvious way
            row = nano.next_log_probabilities([ids[:place]])[0]
            assert told.token_logprobs[place] == pytest.approx(row[ids[place]], abs=1e-4)
            assert sorted(told.top_logprobs[place].values()) == pytest.approx(np.sort(row)[-3:], abs=1e-4)
            assert text[told.text_offset[place] :].startswith(told.tokens[place])


class Counted:
    """A model's passes, and how many tokens they read."""

    causal, places, even = True, 4096, True

    def __init__(self, model: OnnxLanguageModel) -> None:
        self._steps, self.read = model.steps, 0
        self.select, self.log_probabilities = model.steps.select, model.steps.log_probabilities

    def forward(self, tokens: Any, *more: Any, **options: Any) -> Any:
        self.read += tokens.size
        return self._steps.forward(tokens, *more, **options)


def unfinished() -> None:
    """A check that lets the work go on."""


@settings(max_examples=25, deadline=None)
@example([([4], 0), ([4, 4], 0)])
@given(
    st.lists(st.tuples(st.lists(st.integers(4, 7), min_size=1, max_size=12), st.integers(0, 13)), max_size=6)
)
def test_tokens_are_as_likely_as_one_prefix_at_a_time_says(
    nano: OnnxLanguageModel, told: list[tuple[list[int], int]]
) -> None:
    texts = [Text(ids, min(start, len(ids))) for ids, start in told]
    steps = Counted(nano)
    asked = set()
    for text, row in zip(texts, likelihoods(steps, texts, 3, unfinished), strict=True):
        assert len(row) == len(text.ids) - text.start
        for place, found in enumerate(row, text.start):
            if place == 0:
                assert found.value is None and not found.best
                continue
            asked.add(tuple(text.ids[:place]))
            values = nano.next_log_probabilities([text.ids[:place]])[0]
            # In int8 a token read by itself and one read with others round apart.
            assert found.value == pytest.approx(values[text.ids[place]], abs=0.2)
            assert list(found.best.values()) == pytest.approx(np.sort(values)[::-1][:3], abs=0.2)
    if len({text.first for text in texts}) < 2:
        assert count_scored(texts) == len(asked)


def test_a_text_is_read_once_however_long_it_is(nano: OnnxLanguageModel) -> None:
    ids = nano.token_ids("judge " + " ".join(f"fbM{n % 9}.{n % 99:02d}" for n in range(200)))
    read = []
    for size in (100, 400):
        steps = Counted(nano)
        likelihoods(steps, [Text([*ids[:size], label]) for label in range(20)], 0, unfinished)
        read.append(steps.read)
    assert read[1] < 4.2 * read[0] and read[1] <= 5 * 400


def test_small_parts_write_as_one_would(nano: OnnxLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    body = CompletionBody(prompt=[PROMPT, "judge pr:udp label", PROMPT], max_tokens=4, temperature=0)
    whole = Scribe(nano).complete(body)["choices"]
    monkeypatch.setattr("wirespeak.interfaces.openai_answers._PART", 40)
    assert Scribe(nano).complete(body)["choices"] == whole
    drawn = CompletionBody(prompt=[PROMPT] * 4, max_tokens=8, temperature=2, seed=1)
    texts = [[choice["text"] for choice in Scribe(nano).complete(drawn)["choices"]] for _ in range(2)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1


def test_the_context_is_what_the_model_says(nano: OnnxLanguageModel, tmp_path: Path) -> None:
    assert Scribe(nano).context == 512
    for config, context in (
        ({"max_position_embeddings": 96}, 96),
        ({"max_position_embeddings": 10**6}, 4096),
        ({"max_position_embeddings": "many"}, 4096),
        ([], 4096),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        named: Any = SimpleNamespace(name=str(tmp_path))
        assert context_of(named) == context
    (tmp_path / "config.json").unlink()
    assert context_of(named) == 4096


def test_what_is_not_named_is_what_there_is_room_for(client: Any) -> None:
    messages = [{"role": "user", "content": "1 " * 300}]
    done = client.chat.completions.create(model="nano", messages=messages, temperature=0)
    assert done.usage.prompt_tokens > 256 and done.usage.total_tokens <= 512


def test_what_it_writes_comes_with_log_probabilities(client: Any, nano: OnnxLanguageModel) -> None:
    done = client.completions.create(model="nano", prompt=PROMPT, max_tokens=4, logprobs=2, temperature=0)
    told = done.choices[0].logprobs
    assert "".join(told.tokens) == done.choices[0].text
    # Greedy: each token is the likeliest in its place.
    assert told.token_logprobs == pytest.approx([max(top.values()) for top in told.top_logprobs], abs=1e-4)


def test_a_chat_is_answered_with_the_likeliest_tokens(client: Any, nano: OnnxLanguageModel) -> None:
    done = client.chat.completions.create(
        model="nano", messages=TURNS, max_completion_tokens=3, temperature=0, logprobs=True, top_logprobs=5
    )
    turns = tuple((turn["role"], turn["content"]) for turn in TURNS)
    choice = done.choices[0]
    assert [choice.message.content] == nano.generate([turns], max_tokens=3, stop="")
    row = nano.next_log_probabilities([nano.token_ids(turns)])[0]  # type: ignore[arg-type]
    first = [entry.logprob for entry in choice.logprobs.content[0].top_logprobs]
    assert first == pytest.approx(np.sort(row)[::-1][:5], abs=1e-4)


@pytest.mark.parametrize("chat", [False, True])
def test_a_stream_tells_the_same_in_pieces(chat: bool, client: Any) -> None:
    options = {"model": "nano", "max_tokens": 8, "temperature": 0}
    if chat:
        ask, options["messages"] = client.chat.completions.create, TURNS
    else:
        ask, options["prompt"] = client.completions.create, [PROMPT, "judge pr:udp label"]
    whole = ask(**options)
    texts, finishes = ["" for _ in whole.choices], {}
    *events, last = ask(**options, stream=True, stream_options={"include_usage": True})
    for event in events:
        for choice in event.choices:
            texts[choice.index] += (choice.delta.content or "") if chat else choice.text
            finishes[choice.index] = choice.finish_reason
    assert texts == [choice.message.content if chat else choice.text for choice in whole.choices]
    assert [finishes[n] for n in range(len(texts))] == [choice.finish_reason for choice in whole.choices]
    assert last.usage == whole.usage
    assert len(events) > 3


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"prompt": ', 400, "must be a JSON object"),
        (b"[" * 100_000, 400, ""),
        ([], 400, "must be a JSON object"),
        ({}, 400, "prompt: Field required"),
        ({"prompt": 7}, 400, "prompt"),
        ({"prompt": ""}, 400, "the prompt is empty"),
        ({"prompt": []}, 400, "expected 1 to 256"),
        ({"prompt": "p", "max_tokns": 3}, 400, "Did you mean 'max_tokens'?"),
        ({"prompt": "p", "n": 2}, 400, "n is not supported"),
        ({"prompt": "p", "presence_penalty": 0.5}, 400, "presence_penalty is not supported"),
        ({"prompt": "p", "temperature": -1}, 400, "temperature is -1.0, expected 0 to 2"),
        (b'{"prompt": "p", "temperature": NaN}', 400, "temperature is nan"),
        ({"prompt": "p", "max_tokens": 10**9}, 400, "max_tokens is 1000000000"),
        ({"prompt": "p", "logprobs": 21}, 400, "logprobs is 21"),
        ({"prompt": "p", "stream": True, "logprobs": 1}, 400, "not streamed"),
        ({"prompt": "p", "model": "gpt"}, 404, "no model 'gpt' here; this is 'nano'"),
        ({"prompt": "1 " * 5000}, 413, "are more than 512"),
        ({"prompt": "1 " * 100, "max_tokens": 420}, 413, "and 420 to write are more than 512"),
        ({"prompt": ["1 " * 200] * 256}, 400, "tokens, expected at most 32768; ask for fewer at a time"),
        ({"prompt": ["p"] * 256, "max_tokens": 300}, 400, "expected at most 32768; ask for fewer at a time"),
        (
            {"prompt": [f"{n} " * 120 for n in range(50)], "logprobs": 0, "echo": True, "max_tokens": 0},
            400,
            "expected at most 4096; send fewer or shorter prompts at a time",
        ),
        ({"prompt": ["p"] * 256, "max_tokens": 17, "logprobs": 0}, 400, "of 4352 tokens are asked for"),
        ({"prompt": "x" * (5 << 20)}, 413, "longer than 4194304 bytes"),
    ],
)
def test_a_bad_completion_is_refused_with_a_reason(body: Any, status: int, says: str, address: str) -> None:
    got, reply = post(address, body)
    assert (got, set(reply), set(reply["error"])) == (status, {"error"}, {"message", "type", "param", "code"})
    assert says in reply["error"]["message"]
    assert "Traceback" not in str(reply)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role is 'wizard'"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": TURNS, "tools": [{"type": "function"}]}, "tools is not supported"),
        ({"messages": TURNS, "response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"messages": TURNS, "prompt_logprobs": 0}, "final message of the assistant"),
    ],
)
def test_a_bad_chat_is_refused_with_a_reason(body: Any, says: str, address: str) -> None:
    status, reply = post(address, body, path="/chat/completions")
    assert status == 400 and says in reply["error"]["message"]


def test_other_paths_are_refused_in_the_same_form(address: str) -> None:
    assert post(address, {}, path="/nothing")[0] == 404
    assert post(address, {}, path="/models")[0] == 405
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        openai.OpenAI(base_url=address, api_key="none").completions.create(model="gpt", prompt="p")


def test_a_body_without_a_length_is_bounded_too(address: str) -> None:
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        connection.sendall(chunk * 100 + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_content_may_come_in_parts(address: str) -> None:
    parts = [{"type": "text", "text": PROMPT[:5]}, {"type": "text", "text": PROMPT[5:]}]
    replies = [
        post(
            address,
            {"messages": [{"role": "user", "content": content}], "max_tokens": 4, "temperature": 0},
            path="/chat/completions",
        )[1]["choices"]
        for content in (PROMPT, parts)
    ]
    assert replies[0] == replies[1]


def test_the_key_is_asked_for(nano: OnnxLanguageModel) -> None:
    with served(nano, key="s3cret") as address:
        body = {"prompt": PROMPT, "max_tokens": 1}
        for key in (None, "s3cre", "s3crets", "wr\xf6ng"):
            assert post(address, body, key=key)[0] == 401
        assert post(address, body, key="s3cret")[0] == 200
        with urllib.request.urlopen(address.removesuffix("/v1") + "/health", timeout=5) as reply:
            assert json.load(reply) == {"status": "ok"}


class Broken:
    """A model that fails at its work."""

    name = "broken"
    steps = SimpleNamespace(causal=True)

    def token_ids(self, text: Any) -> list[int]:
        return [1] if text else []

    def token_texts(self, ids: Any) -> list[str]:
        return ["x" for _ in ids]

    def next_log_probabilities(self, ids: Any) -> Any:
        raise RuntimeError("out of something at /secret/path")

    generate = choose = next_log_probabilities


def test_a_failure_inside_tells_nothing_of_itself() -> None:
    with served(Broken()) as address:  # type: ignore[arg-type]
        status, reply = post(address, {"prompt": "p"})
        assert (status, reply["error"]["type"]) == (500, "server_error")
        assert "secret" not in str(reply)
        assert post(address, {"prompt": "p"})[0] == 500  # and it goes on serving


class Endless:
    """A model that writes until nobody lets it go on."""

    name = "endless"
    steps = SimpleNamespace(causal=True)

    def __init__(self) -> None:
        self.begun, self.parts = threading.Event(), 0

    def token_ids(self, text: Any) -> list[int]:
        return [1] * len(str(text))

    def generate(self, prompts: Any, **options: Any) -> list[str]:
        self.begun.set()
        self.parts += 1
        time.sleep(0.02)
        return ["" for _ in prompts]

    choose = token_texts = next_log_probabilities = generate


def left_alone(address: str, body: Any) -> socket.socket:
    """A connection that sent a request and waits for no answer yet."""
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    return connection


def test_who_leaves_gives_up_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Endless()
    monkeypatch.setattr("wirespeak.interfaces.openai_answers._PART", 1)
    with served(model) as address:
        leaving = left_alone(address, {"prompt": ["p"] * 256, "max_tokens": 1})
        assert model.begun.wait(10)
        with ThreadPoolExecutor(1) as pool:
            next_one = pool.submit(post, address, {"prompt": "p", "max_tokens": 1})
            leaving.close()
            assert next_one.result(timeout=10)[0] == 200
    assert model.parts < 200


def test_who_leaves_gives_up_the_place_in_the_queue() -> None:
    begun, go_on, left = threading.Event(), threading.Event(), asyncio.Event()
    done: list[str] = []

    async def stays() -> Any:
        await asyncio.Event().wait()

    async def leaves() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    def long(check: Any) -> Any:
        begun.set()
        go_on.wait(20)
        return {"was": "long"}

    def short(check: Any) -> Any:
        done.append("short")
        return {}

    async def scene() -> None:
        turn = Turnstile()
        first = asyncio.ensure_future(turn.take(long, stays))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.ensure_future(turn.take(short, leaves)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="64 requests are waiting already"):
            await turn.take(long, stays)
        left.set()
        refused = await asyncio.gather(*others, return_exceptions=True)
        assert {error.status for error in refused if isinstance(error, Refused)} == {499}
        last = asyncio.ensure_future(turn.take(lambda check: {"was": "last"}, stays))
        await asyncio.sleep(0)
        go_on.set()
        assert (await first, await last, done) == ({"was": "long"}, {"was": "last"}, [])

    asyncio.run(scene())


def test_requests_at_once_are_answered_as_alone(address: str) -> None:
    bodies = [
        {"prompt": f"judge fpJ{n} label", "max_tokens": 4, "seed": n, "temperature": 1} for n in range(12)
    ]
    alone = [post(address, body)[1]["choices"] for body in bodies]
    with ThreadPoolExecutor(6) as pool:
        together = [reply["choices"] for _, reply in pool.map(lambda body: post(address, body), bodies)]
    assert together == alone


def test_the_verb_says_what_is_missing() -> None:
    with pytest.raises(OptionError, match="serve --openai"):
        serve()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OptionError, match="cannot listen"):
        serve(openai=True, port=taken.getsockname()[1])
    with pytest.raises(OptionError, match="cannot listen on no.such.host"):
        serve(openai=True, host="no.such.host.invalid")


SCRIPT = """
import sys
from wirespeak.interfaces.serving import serve
outcome = serve(openai=True, port=0, progress=lambda what, share=None: print(what, file=sys.stderr, flush=True))
print(outcome.summary)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(number: signal.Signals) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)" + SCRIPT
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WIRESPEAK_API_KEY": ""},
    )  # fmt: skip
    assert process.stderr is not None
    address = next(line.split()[2] for line in process.stderr if line.startswith("serving at"))
    assert post(address, {"prompt": PROMPT, "max_tokens": 1})[0] == 200
    process.send_signal(number)
    said, complaints = process.communicate(timeout=5)
    assert (process.returncode, said, complaints) == (0, "1 requests answered, 0 refused\n", "")


SLOW = """
import time
from types import SimpleNamespace
from wirespeak import lm

class Slow:
    name = "slow"
    steps = SimpleNamespace(causal=True)
    def token_ids(self, text): return [1]
    def token_texts(self, ids): return ["x"]
    def next_log_probabilities(self, ids): raise NotImplementedError
    def choose(self, prompts, answers, **options): raise NotImplementedError
    def generate(self, prompts, **options): time.sleep(60)

lm.load_model = lambda name: Slow()
"""


@pytest.mark.slow
def test_a_long_answer_does_not_hold_up_the_end() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW + SCRIPT], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    address = next(line.split()[2] for line in process.stderr if line.startswith("serving at"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, address, {"prompt": PROMPT})
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=10)
        assert waiting.result()[1]["error"]["message"] == "the server is shutting down"
    assert (process.returncode, "Traceback" in complaints) == (0, False)

"""A local model behind OpenAI's API: /v1/models, /v1/completions, /v1/chat/completions, and /health.

What cannot be done is refused, not passed over: a field this server does not know is an error, and so is a value that
would need another answer than the one given (`n` of 2, a penalty). Refusals have the form of OpenAI's.

Log-probabilities of written text are those of the tokens that the tokenizer makes of it. In a chat, vLLM's fields
`prompt_logprobs`, `add_generation_prompt` and `continue_final_message` tell how likely a given answer is.

Sources: OpenAI API reference; vLLM's "OpenAI-compatible server".
"""

from __future__ import annotations

import asyncio
import hmac
import json
import queue
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel, Prompt, Turn
from wirespeak.errors import OptionError, WirespeakError, unknown_name

if TYPE_CHECKING:
    from fastapi import FastAPI

BODY_BYTES = 4 << 20
PROMPTS, TOKENS, WAITING = 256, 4096, 64
"""The most a request may bring or ask for, and the most requests that may wait."""

_PATIENCE = 16
_CHAT_TOKENS = 256
_ROWS = 128
_LIMITS = {
    "max_tokens": (0, TOKENS), "max_completion_tokens": (0, TOKENS), "temperature": (0, 2), "top_p": (0, 1),
    "logprobs": (0, 20), "top_logprobs": (0, 20), "prompt_logprobs": (0, 20), "seed": (0, 2**63 - 1),
}  # fmt: skip
_ONLY: dict[str, Any] = {
    "n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "suffix": "",
    "response_format": {"type": "text"}, "tools": [],
}  # fmt: skip
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

Scope = MutableMapping[str, Any]
Reply = dict[str, Any]


@runtime_checkable
class TokenScorer(Protocol):
    """What a model needs beyond contracts.LanguageModel to be served: its tokens, and how likely each is."""

    def token_ids(self, text: Prompt) -> list[int]:
        """The tokens of a prompt, with whatever the tokenizer puts before a text."""
        ...

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token says by itself."""
        ...

    def next_log_probabilities(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Log-probabilities of what follows each row of tokens, [rows, vocabulary]."""
        ...


class Servable(LanguageModel, TokenScorer, Protocol):
    """A language model that tells its tokens."""


class Refused(Exception):
    """A request that cannot be answered, as OpenAI's API says it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What completions and chats have in common. `more` are fields that change nothing here."""

    __pydantic_config__ = {"extra": "forbid"}

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None


@dataclass(frozen=True, kw_only=True)
class CompletionBody(Asked):
    """POST /v1/completions."""

    prompt: str | list[str]
    max_tokens: int | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: Any = None
    suffix: Any = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of what is said."""

    type: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A turn."""

    role: str
    content: str | list[Part]
    name: str | None = None

    @property
    def said(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


@dataclass(frozen=True, kw_only=True)
class ChatBody(Asked):
    """POST /v1/chat/completions."""

    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    response_format: Any = None
    tools: Any = None


@dataclass(frozen=True)
class Token:
    """A token of a text: its log-probability (None for the first of all), and the likeliest in its place."""

    text: str
    number: int
    value: float | None
    top: dict[str, float]


@dataclass(frozen=True)
class Written:
    """What the model wrote after a prompt of `prompt` tokens. tokens: of prompt and text, where asked for."""

    text: str
    prompt: int
    count: int
    finish: str
    tokens: Sequence[Token] = ()


class Scribe:
    """Does the work of the API on one model, free of HTTP."""

    def __init__(self, model: Servable) -> None:
        self.model = model
        self.name = Path(model.name).name if Path(model.name).exists() else model.name
        # Of an encoder-decoder, tokens behind a prompt are not its continuation.
        self._causal = bool(getattr(getattr(model, "steps", None), "causal", True))
        self._front = len(model.token_ids(""))

    def listed(self) -> Reply:
        """The entry of /v1/models. A model that was trained to judge says with what labels."""
        card: Mapping[str, Any] = getattr(self.model, "card", {})
        told = {
            name: card[name] for name in ("labels", "level", "temperature", "evidence_floor") if name in card
        }
        entry: Reply = {"id": self.name, "object": "model", "created": 0, "owned_by": "wirespeak"}
        return entry | ({"wirespeak": told} if told else {})

    def complete(self, body: CompletionBody) -> Reply:
        """Answer a completion. Raises Refused."""
        self._check(body)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        if not 0 < len(prompts) <= PROMPTS:
            raise Refused(400, f"prompt holds {len(prompts)} texts, expected 1 to {PROMPTS}", param="prompt")
        most = 16 if body.max_tokens is None else body.max_tokens
        whole = self._write(
            prompts, body, most, logprobs=body.logprobs, before=bool(body.echo and body.logprobs is not None)
        )
        choices = []
        for index, (prompt, made) in enumerate(zip(prompts, whole, strict=True)):
            text = prompt + made.text if body.echo else made.text
            told = None if body.logprobs is None else _completion_logprobs(made.tokens)
            choices.append({"index": index, "text": text, "logprobs": told, "finish_reason": made.finish})
        return self._reply("cmpl", "text_completion", choices, whole)

    def chat(self, body: ChatBody) -> Reply:
        """Answer a chat. Raises Refused."""
        self._check(body)
        turns: tuple[Turn, ...] = tuple((_role(message.role), message.said) for message in body.messages)
        if not turns:
            raise Refused(400, "messages is empty", param="messages")
        if body.continue_final_message or body.prompt_logprobs is not None:
            return self._judge(turns, body)
        most = next((n for n in (body.max_completion_tokens, body.max_tokens) if n is not None), _CHAT_TOKENS)
        top = (body.top_logprobs or 0) if body.logprobs else None
        (made,) = self._write([turns], body, most, logprobs=top)
        message = {"role": "assistant", "content": made.text, "refusal": None}
        told = (
            None
            if top is None
            else {"content": [_chat_logprob(token) for token in made.tokens], "refusal": None}
        )
        choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": made.finish}
        return self._reply("chatcmpl", "chat.completion", [choice], [made])

    def _judge(self, turns: tuple[Turn, ...], body: ChatBody) -> Reply:
        """How likely the final message is, token by token. Nothing is written behind it."""
        asked = (body.prompt_logprobs is not None, body.continue_final_message, body.add_generation_prompt)
        if asked != (True, True, False) or len(turns) < 2 or turns[-1][0] != "assistant":
            raise Refused(
                400,
                "prompt_logprobs is told of a final message of the assistant, with continue_final_message true and "
                "add_generation_prompt false; nothing else is continued",
                param="prompt_logprobs",
            )
        answer = self._plain(turns[-1][1])
        ids = self._ids(turns[:-1], len(answer)) + answer
        places = [_place(token) for token in self._tokens([(ids, 0)], body.prompt_logprobs or 0)[0]]
        message = {"role": "assistant", "content": "", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        made = Written("", len(ids), 0, "length")
        return self._reply("chatcmpl", "chat.completion", [choice], [made]) | {"prompt_logprobs": places}

    def _check(self, body: CompletionBody | ChatBody) -> None:
        """Refuse what this server does not do, or not for this model."""
        if body.model is not None and body.model != self.name:
            raise Refused(
                404,
                f"no model {body.model!r} here; this is {self.name!r}",
                param="model",
                code="model_not_found",
            )
        for given in fields(body):
            value = getattr(body, given.name)
            if given.name in _ONLY and value not in (None, _ONLY[given.name]):
                raise Refused(400, f"{given.name} is not supported; leave it out", param=given.name)
            if given.name in _LIMITS and isinstance(value, int | float):
                low, high = _LIMITS[given.name]
                if not low <= value <= high:
                    raise Refused(400, f"{given.name} is {value}, expected {low} to {high}", param=given.name)
        told = (body.logprobs, getattr(body, "prompt_logprobs", None))
        if not self._causal and any(value is not None and value is not False for value in told):
            raise Refused(
                400, f"{self.name} is an encoder-decoder and tells no log-probabilities", param="logprobs"
            )
        if body.stream and any(value is not None and value is not False for value in told):
            raise Refused(400, "log-probabilities are not streamed", param="stream")

    def _ids(self, prompt: Prompt, most: int) -> list[int]:
        """The tokens of a prompt that leaves room for `most` more."""
        ids = self.model.token_ids(prompt)
        if not ids:
            raise Refused(400, "the prompt is empty", param="prompt")
        if len(ids) + most > TOKENS:
            raise Refused(
                413,
                f"{len(ids)} tokens and {most} to write are more than {TOKENS}",
                param="prompt",
                code="context_length_exceeded",
            )
        return ids

    def _plain(self, text: str) -> list[int]:
        """The tokens of a text in the middle of another."""
        return self.model.token_ids(text)[self._front :]

    def _write(
        self, prompts: Sequence[Prompt], body: Asked, most: int, *, logprobs: int | None, before: bool = False
    ) -> list[Written]:
        """What the model writes after each prompt. before: tell the prompt's own tokens too."""
        heads = [self._ids(prompt, most) for prompt in prompts]
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        texts = [""] * len(prompts)
        if most:
            texts = self.model.generate(
                prompts,
                max_tokens=most,
                stop=stops[0] if len(stops) == 1 else "",
                temperature=1.0 if body.temperature is None else body.temperature,
                nucleus=1.0 if body.top_p is None else body.top_p,
                seed=secrets.randbits(31) if body.seed is None else body.seed,
            )
        texts = [_cut(text, stops) for text in texts]
        tails = [self._plain(text)[:most] for text in texts]
        told: list[list[Token]] = [[] for _ in prompts]
        if logprobs is not None:
            if most and (silent := [row for row, tail in enumerate(tails) if not tail]):
                # It ended at once: what is told is the end mark, which the likeliest token stands for.
                best = self.model.next_log_probabilities([heads[row] for row in silent]).argmax(axis=1)
                for row, number in zip(silent, best.tolist(), strict=True):
                    tails[row] = [number]
            rows = [
                (head + tail, 0 if before else len(head)) for head, tail in zip(heads, tails, strict=True)
            ]
            told = self._tokens(rows, logprobs)
        return [
            Written(text, len(head), len(tail), "length" if len(tail) >= most and text else "stop", tokens)
            for text, head, tail, tokens in zip(texts, heads, tails, told, strict=True)
        ]

    def _tokens(self, rows: Sequence[tuple[list[int], int]], top: int) -> list[list[Token]]:
        """Of each row the tokens from a place on, each judged by what stands before it.

        What several rows begin with is judged once.
        """
        wanted: dict[tuple[int, ...], dict[int, float]] = {}
        for ids, start in rows:
            for place in range(max(1, start), len(ids)):
                wanted.setdefault(tuple(ids[:place]), {})[ids[place]] = 0.0
        best: dict[tuple[int, ...], dict[int, float]] = {}
        prefixes = list(wanted)
        for start in range(0, len(prefixes), _ROWS):
            part = prefixes[start : start + _ROWS]
            for prefix, values in zip(part, self.model.next_log_probabilities(part), strict=True):
                wanted[prefix] = {number: float(values[number]) for number in wanted[prefix]}
                order = np.argsort(-values, kind="stable")[:top].tolist()
                best[prefix] = {number: float(values[number]) for number in order}
        shown = sorted(
            {number for ids, _ in rows for number in ids} | {n for tops in best.values() for n in tops}
        )
        says = dict(zip(shown, self.model.token_texts(shown), strict=True))
        told = []
        for ids, start in rows:
            tokens = []
            for place in range(start, len(ids)):
                prefix, number = tuple(ids[:place]), ids[place]
                value = wanted[prefix][number] if place else None
                tops: dict[str, float] = {}
                for other, chance in best.get(prefix, {}).items():
                    tops.setdefault(says[other], chance)
                tokens.append(Token(says[number], number, value, tops))
            told.append(tokens)
        return told

    def _reply(self, kind: str, what: str, choices: list[Reply], whole: Sequence[Written]) -> Reply:
        read, count = sum(made.prompt for made in whole), sum(made.count for made in whole)
        return {
            "id": f"{kind}-{secrets.token_hex(12)}", "object": what, "created": int(time.time()), "model": self.name,
            "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": count, "total_tokens": read + count},
        }  # fmt: skip


def application(model: LanguageModel, *, key: str | None = None) -> FastAPI:
    """The API over `model`. key: what a request must bring as its bearer token; None lets everyone in.

    `app.state.answered` counts requests by whether they were answered or refused. Raises OptionError for a model that
    does not tell its tokens.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.exceptions import HTTPException

    if not isinstance(model, TokenScorer):
        raise OptionError(f"{model.name} cannot be served: it does not tell its tokens. Serve a local model.")
    scribe, turn = Scribe(model), Turnstile()
    app = FastAPI(title="Wirespeak", docs_url=None, redoc_url=None)
    app.state.answered = {"answered": 0, "refused": 0}
    app.add_middleware(Gate, key=key, answered=app.state.answered)

    def refuse(status: int, message: str, param: str | None = None, code: str | None = None) -> JSONResponse:
        return JSONResponse(_refusal(status, message, param, code), status)

    @app.exception_handler(Refused)
    async def _(request: Any, error: Refused) -> JSONResponse:
        return refuse(error.status, str(error), error.param, error.code)

    @app.exception_handler(RequestValidationError)
    async def _(request: Any, error: RequestValidationError) -> JSONResponse:
        kind, (_, *where), said = (error.errors()[0][part] for part in ("type", "loc", "msg"))
        if kind == "json_invalid" or not where:
            return refuse(400, "the body must be a JSON object, sent with content-type: application/json")
        name = str(where[0])
        if kind == "unexpected_keyword_argument" and len(where) == 1:
            body = ChatBody if "chat" in request.url.path else CompletionBody
            return refuse(400, str(unknown_name("field", name, (each.name for each in fields(body)))), name)
        return refuse(400, f"{'.'.join(map(str, where))}: {said}", name)

    @app.exception_handler(HTTPException)
    async def _(request: Any, error: HTTPException) -> JSONResponse:
        return refuse(error.status_code, str(error.detail))

    @app.exception_handler(WirespeakError)
    async def _(request: Any, error: WirespeakError) -> JSONResponse:
        return refuse(500, str(error))

    @app.exception_handler(Exception)
    async def _(request: Any, error: Exception) -> JSONResponse:
        return refuse(500, "the server failed; its log says why")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> Reply:
        return {"object": "list", "data": [scribe.listed()]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Reply:
        if name != scribe.name:
            raise Refused(404, f"no model {name!r} here", param="model", code="model_not_found")
        return scribe.listed()

    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody) -> JSONResponse | StreamingResponse:
        return respond(await turn.take(lambda: scribe.complete(body)), body)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: ChatBody) -> JSONResponse | StreamingResponse:
        return respond(await turn.take(lambda: scribe.chat(body)), body)

    def respond(reply: Reply, body: Asked) -> JSONResponse | StreamingResponse:
        if not body.stream:
            return JSONResponse(reply)
        usage = bool((body.stream_options or {}).get("include_usage"))
        return StreamingResponse(_events(reply, usage=usage), media_type="text/event-stream")

    return app


class Turnstile:
    """Lets one request at a time at the model, in the order they came.

    The thread is a daemon: a long answer does not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Future[Reply], Callable[[], Reply]]] = queue.Queue(WAITING)
        threading.Thread(target=self._work, name="model", daemon=True).start()

    async def take(self, work: Callable[[], Reply]) -> Reply:
        """The result of `work`, once it is its turn. Raises Refused when too many wait already, or the server ends."""
        future: Future[Reply] = Future()
        try:
            self._waiting.put_nowait((future, work))
        except queue.Full:
            raise Refused(503, f"{WAITING} requests are waiting already; try again later") from None
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            raise Refused(503, "the server is shutting down") from None

    def _work(self) -> None:
        while True:
            future, work = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
                future.set_exception(error)
            else:
                future.set_result(result)


class Gate:
    """Stands before the API: the key, the size of a request, and the count of both outcomes (ASGI middleware)."""

    def __init__(self, app: Any, *, key: str | None, answered: dict[str, int]) -> None:
        self._app, self._answered = app, answered
        self._key = f"Bearer {key}".encode() if key else None

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Scope]],
        send: Callable[[Scope], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Scope) -> None:
            if message["type"] == "http.response.start" and scope["path"] != "/health":
                self._answered["answered" if message["status"] < 400 else "refused"] += 1
            await send(message)

        from starlette.exceptions import HTTPException
        from starlette.responses import JSONResponse

        given = dict(scope["headers"]).get(b"authorization", b"")
        if self._key and scope["path"] != "/health" and not hmac.compare_digest(given, self._key):
            body = _refusal(401, "the key is missing or wrong", None, "invalid_api_key")
            await JSONResponse(body, 401)(scope, receive, counted)
            return
        seen = 0

        async def bounded() -> Scope:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen <= BODY_BYTES:
                return message
            # Who is still sending does not hear a refusal: the rest is let in, within reason, and dropped.
            while message.get("more_body") and seen < _PATIENCE * BODY_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
            raise HTTPException(413, f"the request is longer than {BODY_BYTES} bytes")

        await self._app(scope, bounded, counted)


def _refusal(status: int, message: str, param: str | None, code: str | None) -> Reply:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _events(reply: Reply, *, usage: bool) -> Iterator[str]:
    """A reply as server-sent events. The model writes it whole; here it is only told in pieces."""
    chat = reply["object"] == "chat.completion"
    shared = {name: reply[name] for name in ("id", "created", "model")}
    shared["object"] = "chat.completion.chunk" if chat else reply["object"]

    def event(choices: list[Reply], **more: Any) -> str:
        return f"data: {json.dumps({**shared, 'choices': choices, **more}, ensure_ascii=False)}\n\n"

    def piece(choice: Reply, text: str | None, finish: str | None = None) -> str:
        part: Reply = {"index": choice["index"], "logprobs": None, "finish_reason": finish}
        if chat:
            return event([part | {"delta": {} if text is None else {"content": text}}])
        return event([part | {"text": text or ""}])

    for choice in reply["choices"]:
        if chat:
            start = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
            yield event([start | {"finish_reason": None}])
        for text in re.findall(r"\S*\s*", choice["message"]["content"] if chat else choice["text"]):
            if text:
                yield piece(choice, text)
        yield piece(choice, None, choice["finish_reason"])
    if usage:
        yield event([], usage=reply["usage"])
    yield "data: [DONE]\n\n"


def _completion_logprobs(tokens: Sequence[Token]) -> Reply:
    offsets = np.cumsum([0] + [len(token.text) for token in tokens])[:-1].tolist()
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.value for token in tokens],
        "top_logprobs": [token.top if token.value is not None else None for token in tokens],
        "text_offset": offsets,
    }


def _chat_logprob(token: Token) -> Reply:
    top = [
        {"token": text, "logprob": value, "bytes": list(text.encode())} for text, value in token.top.items()
    ]
    return {
        "token": token.text,
        "logprob": token.value,
        "bytes": list(token.text.encode()),
        "top_logprobs": top,
    }


def _place(token: Token) -> Reply | None:
    if token.value is None:
        return None
    return {str(token.number): {"logprob": token.value, "decoded_token": token.text}}


def _role(role: str) -> str:
    if role not in _ROLES:
        raise Refused(
            400, f"a message's role is {role!r}, expected one of {', '.join(_ROLES)}", param="messages"
        )
    return _ROLES[role]


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        if stop:
            text = text.split(stop)[0]
    return text

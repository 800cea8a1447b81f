"""A local model behind OpenAI's API: /v1/models, /v1/completions, /v1/chat/completions, and /health.

What speaks HTTP: the paths, the key, refusals in OpenAI's form, streams, and whose turn it is at the model. What is
said lies in `openai_bodies` and `openai_answers`.
"""

# Annotations are not postponed here: FastAPI reads those of the paths, which name what is imported where it is needed.

import asyncio
import hmac
import json
import re
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from wirespeak.contracts import LanguageModel
from wirespeak.errors import OptionError, WirespeakError, unknown_name
from wirespeak.interfaces.openai_answers import Reply, Scribe, TokenScorer
from wirespeak.interfaces.openai_bodies import Asked, ChatBody, CompletionBody, Refused
from wirespeak.interfaces.token_likelihoods import Check

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

BODY_BYTES, WAITING = 4 << 20, 64
"""The longest body of a request, and the most requests that may wait."""

_PATIENCE = 16

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Work = Callable[[Check], Reply]


def application(model: LanguageModel, *, key: str | None = None) -> "FastAPI":
    """The API over `model`. key: what a request must bring as its bearer token; None lets everyone in.

    `app.state.answered` counts requests by whether they were answered or refused. Raises OptionError for a model that
    does not tell its tokens.
    """
    from fastapi import FastAPI

    if not isinstance(model, TokenScorer):
        raise OptionError(f"{model.name} cannot be served: it does not tell its tokens. Serve a local model.")
    app = FastAPI(title="Wirespeak", docs_url=None, redoc_url=None)
    app.state.answered = {"answered": 0, "refused": 0}
    app.add_middleware(Gate, key=key, answered=app.state.answered)
    _refuse_in_one_form(app)
    _add_paths(app, Scribe(model), Turnstile())
    return app


def _add_paths(app: "FastAPI", scribe: Scribe, turn: "Turnstile") -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, StreamingResponse

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
    async def completions(body: CompletionBody, request: Request) -> JSONResponse | StreamingResponse:
        return respond(await turn.take(lambda check: scribe.complete(body, check), request.receive), body)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: ChatBody, request: Request) -> JSONResponse | StreamingResponse:
        return respond(await turn.take(lambda check: scribe.chat(body, check), request.receive), body)

    def respond(reply: Reply, body: Asked) -> JSONResponse | StreamingResponse:
        if not body.stream:
            return JSONResponse(reply)
        usage = bool((body.stream_options or {}).get("include_usage"))
        return StreamingResponse(_events(reply, usage=usage), media_type="text/event-stream")


def _refuse_in_one_form(app: "FastAPI") -> None:
    """Make every failure a refusal in the form of OpenAI's."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    @app.exception_handler(Refused)
    async def _(request: Any, error: Refused) -> Any:
        return _refusal(error.status, str(error), error.param, error.code)

    @app.exception_handler(RequestValidationError)
    async def _(request: Any, error: RequestValidationError) -> Any:
        kind, (_, *where), said = (error.errors()[0][part] for part in ("type", "loc", "msg"))
        if kind == "json_invalid" or not where:
            return _refusal(400, "the body must be a JSON object, sent with content-type: application/json")
        name = str(where[0])
        if kind == "unexpected_keyword_argument" and len(where) == 1:
            body = ChatBody if "chat" in request.url.path else CompletionBody
            return _refusal(400, str(unknown_name("field", name, (each.name for each in fields(body)))), name)
        return _refusal(400, f"{'.'.join(map(str, where))}: {said}", name)

    @app.exception_handler(HTTPException)
    async def _(request: Any, error: HTTPException) -> Any:
        return _refusal(error.status_code, str(error.detail))

    @app.exception_handler(WirespeakError)
    async def _(request: Any, error: WirespeakError) -> Any:
        return _refusal(500, str(error))

    @app.exception_handler(Exception)
    async def _(request: Any, error: Exception) -> Any:
        return _refusal(500, "the server failed; its log says why")


def _refusal(status: int, message: str, param: str | None = None, code: str | None = None) -> "JSONResponse":
    from fastapi.responses import JSONResponse

    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


class NobodyWaits(Exception):
    """Whoever asked has left."""


@dataclass(eq=False)
class Job:
    """Work that waits for its turn or is being done."""

    work: Work
    left: threading.Event = field(default_factory=threading.Event)
    done: Future[Reply] = field(default_factory=Future)

    def do(self) -> None:
        """Do the work, as long as somebody waits for it."""
        if not self.done.set_running_or_notify_cancel():
            return
        try:
            result = self.work(self.check)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
            self.done.set_exception(error)
        else:
            self.done.set_result(result)

    def check(self) -> None:
        """Raises NobodyWaits where that is so."""
        if self.left.is_set():
            raise NobodyWaits


class Turnstile:
    """Lets one request at a time at the model, in the order they came. Who leaves gives up the place, or the turn.

    The thread is a daemon: a long answer does not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._came = threading.Condition()
        threading.Thread(target=self._work, name="model", daemon=True).start()

    async def take(self, work: Work, receive: Receive) -> Reply:
        """The result of `work`, once it is its turn. receive: tells when the client leaves, as ASGI does.

        Raises Refused when too many wait already, the client leaves, or the server ends.
        """
        job = Job(work)
        with self._came:
            if len(self._waiting) >= WAITING:
                raise Refused(503, f"{WAITING} requests are waiting already; try again later")
            self._waiting.append(job)
            self._came.notify()
        answer, leaving = asyncio.wrap_future(job.done), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Refused(499, "the client left")
        except asyncio.CancelledError:
            raise Refused(503, "the server is shutting down") from None
        finally:
            job.left.set()
            answer.cancel()
            leaving.cancel()
            with self._came:
                if job in self._waiting:
                    self._waiting.remove(job)

    def _work(self) -> None:
        while True:
            self._next().do()

    def _next(self) -> Job:
        with self._came:
            self._came.wait_for(lambda: self._waiting)
            return self._waiting.popleft()


async def _gone(receive: Receive) -> None:
    """Returns when the client has left. Its body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Gate:
    """Stands before the API: the key, the size of a request, and the count of both outcomes (ASGI middleware)."""

    def __init__(self, app: Any, *, key: str | None, answered: dict[str, int]) -> None:
        self._app, self._answered = app, answered
        self._key = f"Bearer {key}".encode() if key else None

    async def __call__(
        self, scope: Scope, receive: Receive, send: Callable[[Scope], Awaitable[None]]
    ) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Scope) -> None:
            if message["type"] == "http.response.start" and scope["path"] != "/health":
                self._answered["answered" if message["status"] < 400 else "refused"] += 1
            await send(message)

        from starlette.exceptions import HTTPException

        given = dict(scope["headers"]).get(b"authorization", b"")
        if self._key and scope["path"] != "/health" and not hmac.compare_digest(given, self._key):
            await _refusal(401, "the key is missing or wrong", code="invalid_api_key")(
                scope, receive, counted
            )
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

"""A language model behind any OpenAI-compatible server: vLLM, llama.cpp, Ollama, OpenAI, `wirespeak serve --openai`.

It is named by its address, `http://127.0.0.1:8080/v1`, with `#MODEL` behind it where the server has several. The key
is taken from WIRESPEAK_API_KEY, else OPENAI_API_KEY; it is sent to the server and written nowhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from wirespeak.contracts import Prompt
from wirespeak.errors import ModelError, OptionError, missing_extra
from wirespeak.lm.asking import (
    CHAT,
    COMPLETIONS,
    Body,
    NotTold,
    Scores,
    Unclear,
    Way,
    conversation,
    ways,
    written,
)
from wirespeak.lm.kept import Kept

_LONGEST_REASON = 200
_UNCLEAR_AT_MOST = 3  # so many prompts without a clear answer, and the plainest way is taken
_NO_ANSWER = (400, 413, 422)  # to one prompt, of a server that answers others: too long, or filtered
_NOT_OFFERED = (400, 404, 405, 422, 500, 501)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Usage:
    """What was asked of a server. price: money for a million prompt tokens and for a million written ones.

    requests counts those that were sent again as well; tokens are as the server counts them.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: tuple[float, float] | None = None

    @property
    def cost(self) -> float | None:
        """Money spent so far, in the unit of `price`; None without one.

        >>> Usage(prompt_tokens=2_000_000, completion_tokens=500_000, price=(0.15, 0.60)).cost
        0.6
        """
        if self.price is None:
            return None
        return (self.prompt_tokens * self.price[0] + self.completion_tokens * self.price[1]) / 1e6


def is_endpoint(name: str) -> bool:
    """Whether a model's name is the address of a server."""
    return name.startswith(("http://", "https://"))


class EndpointLanguageModel:
    """A model behind an OpenAI-compatible server. Keeps contracts.LanguageModel.

    way: how `choose` asks (see lm.asking), known after the first answer. unparsed: prompts without a usable answer so
    far. usage: what was asked of the server so far. card: what `wirespeak serve` says of its model, else empty.
    """

    def __init__(
        self,
        name: str,
        *,
        retries: int = 4,
        timeout_s: float = 60.0,
        requests_a_minute: float | None = None,
        at_once: int = 4,
        price: tuple[float, float] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Find the model at address `name`.

        retries: how often a request is sent again after 429, 5xx or a lost connection, waiting as Retry-After says
        or longer each time; at_once: requests under way at the same time; cache: a file that keeps every answer
        (JSON lines), so that a second run asks only what is missing. Raises ModelError, saying what to do, when the
        server cannot be asked; OptionError for a wrong address or model name.
        """
        try:
            import openai
        except ImportError as missing:
            raise missing_extra("openai", "endpoint") from missing
        self._address, model = _parts(name)
        self._key = os.environ.get("WIRESPEAK_API_KEY") or os.environ.get("OPENAI_API_KEY") or ""
        self._openai, self._retries, self._timeout, self._at_once = openai, retries, timeout_s, at_once
        self._pause = 60.0 / requests_a_minute if requests_a_minute else 0.0
        self._next_time, self._lock = 0.0, threading.Lock()
        self._client: Any = openai.OpenAI(
            base_url=self._address,
            api_key=self._key or "none",
            max_retries=retries,
            timeout=timeout_s,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._before]}),
        )
        self._limit = "max_tokens"
        self._ways: dict[tuple[bool, tuple[str, ...]], Way] = {}
        self.usage = Usage(price=price)
        self.unparsed = 0
        self.model, self.card = self._find(model)
        self.name = f"{self._address}#{self.model}"
        self._kept = Kept(cache) if cache else None

    @classmethod
    def at(cls, name: str) -> EndpointLanguageModel:
        """The model at an address that may say how to ask: `http://host/v1?requests_a_minute=60&cache=answers.jsonl#MODEL`.

        Known are `retries`, `timeout_s`, `requests_a_minute`, `at_once`, `cache` and `price` (two numbers with a comma
        between). Raises OptionError for anything else.
        """
        try:
            given = dict(parse_qsl(urlsplit(name).query, keep_blank_values=True, strict_parsing="?" in name))
        except ValueError as error:
            raise OptionError(
                f"'{name}' is no address ({error}). Write http://HOST:PORT/v1?at_once=8#MODEL"
            ) from error
        options: dict[str, Any] = {}
        for option, value in given.items():
            if option not in _ASKED_AS:
                raise OptionError(
                    f"an address of a model knows no '{option:.40}': {', '.join(_ASKED_AS)} are what it may say. "
                    "Put a key in WIRESPEAK_API_KEY, never here: it would be written into run.json."
                )
            try:
                options[option] = _ASKED_AS[option](value)
            except ValueError as error:
                raise OptionError(
                    f"{option}={value:.40} in the address of a model is not what it takes: {error}."
                ) from error
        return cls(urlunsplit(urlsplit(name)._replace(query="")), **options)

    @property
    def way(self) -> str | None:
        """How `choose` asks; several names where plain text, conversations and sets of answers differ in it."""
        return ", ".join(dict.fromkeys(way.name for way in self._ways.values())) or None

    def graded(self, prompt: Prompt, answers: Sequence[str]) -> bool:
        """Whether `choose` tells how likely such answers are, not merely which one was written.

        Known once it has been asked; False before.
        """
        way = self._ways.get(_shape(prompt, answers))
        return way is not None and way.graded

    def choose(
        self, prompts: Sequence[Prompt], answers: Sequence[str], *, per_token: bool = False
    ) -> NDArray[np.float32]:
        """Log-likelihood of each answer after each prompt, [prompts, answers], as well as the server tells it.

        A row of NaN is no usable answer; `unparsed` counts them. Ways that see the first token alone count each
        answer as one token. Raises ModelError when the server cannot be asked.
        """
        if not answers:
            return np.empty((len(prompts), 0), np.float32)
        distinct = list(dict.fromkeys(prompts))
        found: dict[Prompt, Scores | None] = {}
        for turns in (False, True):
            found |= self._settle(
                [prompt for prompt in distinct if isinstance(prompt, str) != turns], answers
            )
        rest = [prompt for prompt in distinct if prompt not in found]
        found |= zip(rest, self._each(lambda prompt: self._scores(prompt, answers), rest), strict=True)
        rows = {
            prompt: [total / (count if per_token else 1) for total, count in scores]
            for prompt, scores in found.items()
            if scores is not None
        }
        self.unparsed += sum(prompt not in rows for prompt in prompts)
        nothing = [np.nan] * len(answers)
        return np.array([rows.get(prompt, nothing) for prompt in prompts], np.float32).reshape(
            len(prompts), len(answers)
        )

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        stop: str = "\n",
        temperature: float = 0.0,
        nucleus: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """What the model writes after each prompt, up to `stop` or `max_tokens`. Row i is asked with seed + i."""
        options: Body = {"max_tokens": max_tokens, "temperature": temperature, "top_p": nucleus}
        if stop:
            options["stop"] = [stop]
        texts = self._each(
            lambda item: self._write(item[1], {**options, "seed": seed + item[0]}), list(enumerate(prompts))
        )
        return [text.split(stop)[0] if stop else text for text in texts]

    def _write(self, prompt: Prompt, options: Body) -> str:
        def ask() -> str:
            if isinstance(prompt, str):
                try:
                    return written(self._ask(COMPLETIONS, {"prompt": prompt, **options}))
                except self._openai.NotFoundError:
                    pass  # a server with chat alone
            return written(self._ask(CHAT, {"messages": conversation(prompt), **options}))

        return str(self._remembered("generate", [prompt, options], lambda: self._clearly(ask)))

    def _settle(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> dict[Prompt, Scores | None]:
        """Find the best way to ask prompts of one shape, and return what was told on the way."""
        if not prompts or (shape := _shape(prompts[0], answers)) in self._ways:
            return {}
        candidates = {way.name: way for way in ways(prompts[0])}
        known = self._kept.get(self._key_of("way", shape)) if self._kept else None
        if known in candidates:
            self._ways[shape] = candidates[known]
            return {}
        way, told = self._clearly(lambda: self._best(prompts, answers, list(candidates.values())))
        self._ways[shape] = way
        if self._kept:
            self._kept.put(self._key_of("way", shape), way.name)
            for prompt, scores in told.items():
                self._kept.put(self._key_of(way.name, [prompt, *answers]), scores)
        return told

    def _best(
        self, prompts: Sequence[Prompt], answers: Sequence[str], candidates: list[Way]
    ) -> tuple[Way, dict[Prompt, Scores | None]]:
        """The first way that tells a clear answer; the plainest where the first prompts have none."""
        plainest: Way | None = None
        failed: Exception | None = None
        for prompt in prompts[:_UNCLEAR_AT_MOST]:
            broken = 0
            for way in candidates:
                try:
                    return way, {prompt: self._scores_by(way, prompt, answers)}
                except Unclear:
                    plainest = way
                except NotTold as error:
                    failed = error
                except self._openai.APIStatusError as error:
                    # Some servers answer 500 to an option they do not know; one that does so again is broken.
                    broken += error.status_code >= 500
                    if error.status_code not in _NOT_OFFERED or broken > 1:
                        raise
                    failed = error
            if plainest is None and getattr(failed, "status_code", None) not in _NO_ANSWER:
                break
        if plainest is None:
            raise failed or NotTold("nothing was asked")
        return plainest, {}

    def _scores(self, prompt: Prompt, answers: Sequence[str]) -> Scores | None:
        """The answer to one prompt, kept or asked; None when it is not usable."""
        way = self._ways[_shape(prompt, answers)]

        def ask() -> Scores | None:
            try:
                return self._scores_by(way, prompt, answers)
            except Unclear:
                return None
            except self._openai.APIStatusError as error:
                if error.status_code not in _NO_ANSWER:
                    raise
                return None

        found = self._remembered(way.name, [prompt, *answers], lambda: self._clearly(ask))
        return None if found is None else [(float(total), int(count)) for total, count in found]

    def _scores_by(self, way: Way, prompt: Prompt, answers: Sequence[str]) -> Scores:
        return way.read([self._ask(way.path, body) for body in way.bodies(prompt, answers)], answers)

    def _remembered(self, what: str, asked: Any, ask: Callable[[], Any]) -> Any:
        """What was kept of an earlier run, else what `ask` says now."""
        if not self._kept:
            return ask()
        key = self._key_of(what, asked)
        if key not in self._kept:
            self._kept.put(key, ask())
        return self._kept.get(key)

    def _key_of(self, what: str, asked: Any) -> str:
        return hashlib.sha256(json.dumps([self._address, self.model, what, asked]).encode()).hexdigest()

    def _each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` on every item, `at_once` of them at a time. The first failure ends it."""
        pool = ThreadPoolExecutor(max(1, self._at_once), thread_name_prefix="endpoint")
        try:
            return list(pool.map(work, items))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, path: str, body: Body) -> Any:
        body = {"model": self.model, **body}
        if self._limit not in body and "max_tokens" in body:
            body[self._limit] = body.pop("max_tokens")
        try:
            reply = self._client.post(path, body=body, cast_to=object)
        except self._openai.BadRequestError as error:
            # OpenAI's newer models take the one name, everything else the other.
            if "max_completion_tokens" not in str(error) or "max_tokens" not in body:
                raise
            self._limit = "max_completion_tokens"
            return self._ask(path, body)
        with self._lock:
            self.usage.prompt_tokens += _count(reply, "prompt_tokens")
            self.usage.completion_tokens += _count(reply, "completion_tokens")
        return reply

    def _before(self, request: Any) -> None:
        """Called before every request, repeated ones as well: count it and keep to the rate."""
        if request.method != "POST":
            return
        with self._lock:
            self.usage.requests += 1
            now = time.monotonic()
            mine = max(now, self._next_time)
            self._next_time = mine + self._pause
        time.sleep(mine - now)

    def _find(self, model: str | None) -> tuple[str, dict[str, Any]]:
        """The model's name at the server, and the card that `wirespeak serve` tells of it."""

        def ask() -> list[dict[str, Any]] | None:
            try:
                reply = self._client.get("/models", cast_to=object)
            except self._openai.APIStatusError as error:
                if model and error.status_code in _NOT_OFFERED:
                    return None
                raise
            listed = reply.get("data") if isinstance(reply, dict) else None
            if not isinstance(listed, list):
                raise NotTold("no list of models")
            return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

        known = {entry["id"]: entry for entry in self._clearly(ask) or []}
        if model is None:
            if len(known) != 1:
                raise ModelError(
                    f"{self._address} has {len(known)} models{_some(known)}. Name one: {self._address}#MODEL"
                )
            model = next(iter(known))
        return model, _card(known.get(model, {}).get("wirespeak"))

    def _clearly(self, ask: Callable[[], Result]) -> Result:
        """The result of `ask`, its failure in one line that says what to do."""
        openai, where = self._openai, self._address
        again = f"after {self._retries} retries" if self._retries else "and was not asked again"
        try:
            return ask()
        except openai.APITimeoutError as error:
            raise ModelError(
                f"{where} did not answer within {self._timeout:g} s {again}. Is it overloaded? Allow more time."
            ) from error
        except openai.APIConnectionError as error:
            reason = self._reason(error.__cause__ or error)
            raise ModelError(
                f"{where} cannot be reached ({reason}). Is it running, and the address right?"
            ) from error
        except openai.APIStatusError as error:
            raise ModelError(
                f"{where} answered {error.status_code}{_advice(error.status_code, getattr(self, 'model', None))} "
                f"It said: {self._reason(error)}"
            ) from error
        except NotTold as error:
            raise ModelError(
                f"{where} answers in another form than expected ({error}). Is it an OpenAI-compatible server, and its "
                "address complete (it often ends in /v1)? After another server took its place, use a new cache."
            ) from error
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{where} answered something that is not JSON ({self._reason(error)}). Is it an OpenAI-compatible "
                "server, and its address complete (it often ends in /v1)?"
            ) from error

    def _reason(self, error: BaseException) -> str:
        """The first line of what went wrong, without the key."""
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (line.replace(self._key, "***") if self._key else line)[:_LONGEST_REASON]


def _above(least: float, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not least <= value < 1e9:
            raise ValueError(f"expected {least:g} or more")
        return value

    return read


def _price(text: str) -> tuple[float, float]:
    asked, written = (_above(0, float)(part) for part in text.split(","))
    return asked, written


_ASKED_AS: dict[str, Callable[[str], Any]] = {
    "retries": _above(0, int), "timeout_s": _above(0.001, float), "requests_a_minute": _above(0.001, float),
    "at_once": _above(1, int), "cache": Path, "price": _price,
}  # fmt: skip


def _parts(name: str) -> tuple[str, str | None]:
    """The address of the API and the model's name in `http://host:port/v1#MODEL`. Raises OptionError."""
    try:
        parts = urlsplit(name)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise OptionError(f"'{name}' is no address ({error}). Write http://HOST:PORT/v1#MODEL") from error
    if parts.username or parts.password or parts.query:
        raise OptionError(
            "an address of a model holds no user, password or query: it would be written into run.json. "
            "Write http://HOST:PORT/v1#MODEL and put the key in WIRESPEAK_API_KEY."
        )
    if not host or not is_endpoint(name):
        raise OptionError(f"'{name}' is no address of a model. Write http://HOST:PORT/v1#MODEL")
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts.fragment or None


def _shape(prompt: Prompt, answers: Sequence[str]) -> tuple[bool, tuple[str, ...]]:
    """What the way to ask depends on: whether there are turns, and the answers."""
    return not isinstance(prompt, str), tuple(answers)


def _count(reply: Any, name: str) -> int:
    usage = reply.get("usage") if isinstance(reply, dict) else None
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def _card(told: Any) -> dict[str, Any]:
    """What another machine tells of its model, if it is sound: what a judge needs, and nothing else."""
    if not isinstance(told, dict):
        return {}
    labels, level = told.get("labels"), told.get("level")
    temperature, floor = told.get("temperature"), told.get("evidence_floor")
    sound = (
        isinstance(labels, list)
        and labels
        and all(isinstance(label, str) for label in labels)
        and isinstance(level, str)
        and isinstance(temperature, int | float)
        and temperature > 0
        and isinstance(floor, int | float)
    )
    if not sound:
        return {}
    return {"labels": labels, "level": level, "temperature": temperature, "evidence_floor": floor}


def _some(names: dict[str, Any]) -> str:
    return f" ({', '.join(sorted(names)[:5])}{', ...' if len(names) > 5 else ''})" if names else ""


def _advice(status: int, model: str | None) -> str:
    """What to do about a refusal."""
    if status in (401, 403):
        return ": the key is refused. Set WIRESPEAK_API_KEY (or OPENAI_API_KEY)."
    if status == 404:
        wrong = f"no model '{model}' there" if model else "nothing there"
        return f": {wrong}, or the address is not complete (it often ends in /v1)."
    if status == 429:
        return ": too many requests, and still so after waiting. Ask fewer a minute, or later."
    if status >= 500:
        return ": the server is in trouble, and still so after waiting. See its log."
    return ": it refuses what was asked."

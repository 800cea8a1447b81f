"""What OpenAI's API may be asked here: the bodies of completions and chats, and the refusal of anything else.

What cannot be done is refused, not passed over: a field that is not known is an error, and so is a value that would
need another answer than the one given (`n` of 2, a penalty).

Sources: OpenAI API reference; vLLM's "OpenAI-compatible server".
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

TOKENS = 4096
"""The most tokens of one prompt and its answer, where the model itself has no lower limit."""

_LIMITS = {
    "max_tokens": (0, TOKENS), "max_completion_tokens": (0, TOKENS), "temperature": (0, 2), "top_p": (0, 1),
    "logprobs": (0, 20), "top_logprobs": (0, 20), "prompt_logprobs": (0, 20), "seed": (0, 2**63 - 1),
}  # fmt: skip
_ONLY: dict[str, Any] = {
    "n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "suffix": "",
    "response_format": {"type": "text"}, "tools": [],
}  # fmt: skip


class Refused(Exception):
    """A request that cannot be answered, as OpenAI's API says it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What completions and chats have in common. Some fields change nothing here: `user` and those behind it."""

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

    @property
    def stops(self) -> list[str]:
        """What ends the text, whichever comes first."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


@dataclass(frozen=True, kw_only=True)
class CompletionBody(Asked):
    """POST /v1/completions."""

    prompt: str | list[str]
    max_tokens: int | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: Any = None
    suffix: Any = None

    @property
    def asks_for_likelihood(self) -> bool:
        """Whether the answer is to come with log-probabilities."""
        return self.logprobs is not None


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
        """The text of all its pieces."""
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

    @property
    def asks_for_likelihood(self) -> bool:
        """Whether the answer is to come with log-probabilities."""
        return bool(self.logprobs) or self.prompt_logprobs is not None


def check_fields(body: CompletionBody | ChatBody) -> None:
    """Refuse what no model is asked here. Raises Refused."""
    for given in fields(body):
        value = getattr(body, given.name)
        if given.name in _ONLY and value not in (None, _ONLY[given.name]):
            raise Refused(400, f"{given.name} is not supported; leave it out", param=given.name)
        if given.name in _LIMITS and isinstance(value, int | float):
            low, high = _LIMITS[given.name]
            if not low <= value <= high:
                raise Refused(400, f"{given.name} is {value}, expected {low} to {high}", param=given.name)
    if body.stream and body.asks_for_likelihood:
        raise Refused(400, "log-probabilities are not streamed", param="stream")

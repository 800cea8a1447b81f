"""What a local model answers in the words of OpenAI's API, free of HTTP.

Log-probabilities of written text are those of the tokens that the tokenizer makes of it. In a chat, vLLM's fields
`prompt_logprobs`, `add_generation_prompt` and `continue_final_message` tell how likely a given answer is.

A request is done in parts, and before each of them it is asked whether somebody still waits for the answer.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wirespeak.contracts import LanguageModel, Prompt, Turn
from wirespeak.errors import ModelError
from wirespeak.interfaces.openai_bodies import TOKENS, Asked, ChatBody, CompletionBody, Refused, check_fields
from wirespeak.interfaces.token_likelihoods import Check, Text, count_scored, likelihoods
from wirespeak.lm.pretrained import base_of
from wirespeak.lm.scoring import Steps
from wirespeak.lm.training import CONTEXT

PROMPTS, ALL_TOKENS, SCORED = 256, 32_768, 4096
"""The most a request may bring and ask for: texts, tokens read and written, and tokens with their log-probability."""

_COMPLETION_TOKENS, _CHAT_TOKENS = 16, 256
_PART = 4096  # tokens read and written at once, a second or so of the model in the box
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

Reply = dict[str, Any]


@runtime_checkable
class TokenScorer(Protocol):
    """What a model needs beyond contracts.LanguageModel to be served: its tokens, and how likely each is."""

    steps: Steps

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


@dataclass(frozen=True)
class Token:
    """A token of a text: its log-probability (None for the first of all), and the likeliest in its place."""

    text: str
    number: int
    value: float | None
    top: Mapping[str, float]


@dataclass(frozen=True)
class Written:
    """What the model wrote after a prompt of `prompt` tokens. tokens: of prompt and text, where asked for."""

    text: str
    prompt: int
    count: int
    finish: str
    tokens: Sequence[Token] = ()


def still_wanted() -> None:
    """A check that never ends the work."""


class Scribe:
    """Does the work of the API on one model. context: the most tokens of a prompt and its answer together."""

    def __init__(self, model: Servable) -> None:
        self.model = model
        self.name = Path(model.name).name if Path(model.name).exists() else model.name
        self.context = context_of(model)
        # Of an encoder-decoder, tokens behind a prompt are not its continuation.
        self._causal = model.steps.causal
        self._front = len(model.token_ids(""))

    def listed(self) -> Reply:
        """The entry of /v1/models. A model that was trained to judge says with what labels."""
        card: Mapping[str, Any] = getattr(self.model, "card", {})
        told = {
            name: card[name] for name in ("labels", "level", "temperature", "evidence_floor") if name in card
        }
        entry: Reply = {"id": self.name, "object": "model", "created": 0, "owned_by": "wirespeak"}
        return entry | ({"wirespeak": told} if told else {})

    def complete(self, body: CompletionBody, check: Check = still_wanted) -> Reply:
        """Answer a completion. check: called between the parts of the work. Raises Refused."""
        self._check(body)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        if not 0 < len(prompts) <= PROMPTS:
            raise Refused(400, f"prompt holds {len(prompts)} texts, expected 1 to {PROMPTS}", param="prompt")
        heads, most = self._heads(prompts, body.max_tokens, _COMPLETION_TOKENS, check)
        before = bool(body.echo and body.asks_for_likelihood)
        whole = self._write(prompts, heads, most, body, body.logprobs, check, before=before)
        choices = []
        for index, (prompt, made) in enumerate(zip(prompts, whole, strict=True)):
            text = prompt + made.text if body.echo else made.text
            told = _completion_logprobs(made.tokens) if body.asks_for_likelihood else None
            choices.append({"index": index, "text": text, "logprobs": told, "finish_reason": made.finish})
        return self._reply("cmpl", "text_completion", choices, whole)

    def chat(self, body: ChatBody, check: Check = still_wanted) -> Reply:
        """Answer a chat. check: called between the parts of the work. Raises Refused."""
        self._check(body)
        turns: tuple[Turn, ...] = tuple((_role(message.role), message.said) for message in body.messages)
        if not turns:
            raise Refused(400, "messages is empty", param="messages")
        if body.continue_final_message or body.prompt_logprobs is not None:
            return self._judge(turns, body, check)
        asked = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        heads, most = self._heads([turns], asked, _CHAT_TOKENS, check)
        top = (body.top_logprobs or 0) if body.logprobs else None
        (made,) = self._write([turns], heads, most, body, top, check)
        message = {"role": "assistant", "content": made.text, "refusal": None}
        told = None
        if top is not None:
            told = {"content": [_chat_logprob(token) for token in made.tokens], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": made.finish}
        return self._reply("chatcmpl", "chat.completion", [choice], [made])

    def _judge(self, turns: tuple[Turn, ...], body: ChatBody, check: Check) -> Reply:
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
        ((head,), _) = self._heads([turns[:-1]], len(answer), 0, check)
        ids = head + answer
        places = [_place(token) for token in self._tokens([Text(ids)], body.prompt_logprobs or 0, check)[0]]
        message = {"role": "assistant", "content": "", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        made = Written("", len(ids), 0, "length")
        return self._reply("chatcmpl", "chat.completion", [choice], [made]) | {"prompt_logprobs": places}

    def _check(self, body: CompletionBody | ChatBody) -> None:
        """Refuse what is not done here, or not by this model."""
        if body.model is not None and body.model != self.name:
            raise Refused(
                404,
                f"no model {body.model!r} here; this is {self.name!r}",
                param="model",
                code="model_not_found",
            )
        check_fields(body)
        if body.asks_for_likelihood and not self._causal:
            raise Refused(
                400, f"{self.name} is an encoder-decoder and tells no log-probabilities", param="logprobs"
            )

    def _heads(
        self, prompts: Sequence[Prompt], asked: int | None, usual: int, check: Check
    ) -> tuple[list[list[int]], int]:
        """The tokens of each prompt, and how many to write: as asked, else as usual or what there is room for."""
        heads = []
        for prompt in prompts:
            check()
            heads.append(self.model.token_ids(prompt))
        if not all(heads):
            raise Refused(400, "the prompt is empty", param="prompt")
        longest, read = max(map(len, heads)), sum(map(len, heads))
        most = max(1, min(usual, self.context - longest)) if asked is None else asked
        if longest + most > self.context:
            raise Refused(
                413,
                f"{longest} tokens and {most} to write are more than {self.context}",
                param="prompt",
                code="context_length_exceeded",
            )
        if (total := read + len(heads) * most) > ALL_TOKENS:
            raise Refused(
                400,
                f"{len(heads)} prompts of {read} tokens in all and {most} to write for each are {total} tokens, "
                f"expected at most {ALL_TOKENS}; ask for fewer at a time",
                param="prompt",
            )
        return heads, most

    def _plain(self, text: str) -> list[int]:
        """The tokens of a text in the middle of another."""
        return self.model.token_ids(text)[self._front :]

    def _write(
        self,
        prompts: Sequence[Prompt],
        heads: list[list[int]],
        most: int,
        body: Asked,
        top: int | None,
        check: Check,
        *,
        before: bool = False,
    ) -> list[Written]:
        """What the model writes after each prompt. top: tell its tokens, with so many others; before: the prompt's too."""
        if top is not None:
            self._check_scored([Text(head, 0 if before else len(head)) for head in heads], most)
        texts = self._texts(prompts, heads, most, body, check)
        tails = [self._plain(text)[:most] for text in texts]
        told: list[list[Token]] = [[] for _ in prompts]
        if top is not None:
            if most and (silent := [row for row, tail in enumerate(tails) if not tail]):
                # It ended at once: what is told is the end mark, which the likeliest token stands for.
                for row in silent:
                    check()
                    tails[row] = [int(self.model.next_log_probabilities([heads[row]])[0].argmax())]
            starts = [0 if before else len(head) for head in heads]
            rows = [Text(head + tail, start) for head, tail, start in zip(heads, tails, starts, strict=True)]
            told = self._tokens(rows, top, check)
        return [
            Written(text, len(head), len(tail), "length" if len(tail) >= most and text else "stop", tokens)
            for text, head, tail, tokens in zip(texts, heads, tails, told, strict=True)
        ]

    def _texts(
        self,
        prompts: Sequence[Prompt],
        heads: Sequence[Sequence[int]],
        most: int,
        body: Asked,
        check: Check,
    ) -> list[str]:
        """The text behind each prompt, as many prompts at once as make a part."""
        if not most:
            return [""] * len(prompts)
        seed = secrets.randbits(31) if body.seed is None else body.seed
        texts: list[str] = []
        for number, part in enumerate(_parts([len(head) + most for head in heads])):
            check()
            texts += self.model.generate(
                prompts[part],
                max_tokens=most,
                stop=body.stops[0] if len(body.stops) == 1 else "",
                temperature=1.0 if body.temperature is None else body.temperature,
                nucleus=1.0 if body.top_p is None else body.top_p,
                seed=seed + number,
            )
        return [_cut(text, body.stops) for text in texts]

    def _check_scored(self, texts: Sequence[Text], more: int) -> None:
        """Refuse to tell more tokens than a request may ask for. more: written behind each text."""
        if (scored := count_scored(texts) + len(texts) * more) > SCORED:
            raise Refused(
                400,
                f"log-probabilities of {scored} tokens are asked for, expected at most {SCORED}; "
                "send fewer or shorter prompts at a time",
                param="logprobs",
            )

    def _tokens(self, texts: Sequence[Text], top: int, check: Check) -> list[list[Token]]:
        """Of each text the tokens from its start on, each judged by what stands before it."""
        found = likelihoods(self.model.steps, texts, top, check)
        shown = sorted(
            {number for text in texts for number in text.ids[text.start :]}
            | {number for row in found for told in row for number in told.best}
        )
        says = dict(zip(shown, self.model.token_texts(shown), strict=True))
        # One for all texts that share a place.
        tops = {id(told.best): _named(told.best, says) for row in found for told in row}
        return [
            [
                Token(says[number], number, told.value, tops[id(told.best)])
                for number, told in zip(text.ids[text.start :], row, strict=True)
            ]
            for text, row in zip(texts, found, strict=True)
        ]

    def _reply(self, kind: str, what: str, choices: list[Reply], whole: Sequence[Written]) -> Reply:
        read, count = sum(made.prompt for made in whole), sum(made.count for made in whole)
        return {
            "id": f"{kind}-{secrets.token_hex(12)}", "object": what, "created": int(time.time()), "model": self.name,
            "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": count, "total_tokens": read + count},
        }  # fmt: skip


def context_of(model: LanguageModel) -> int:
    """How many tokens of prompt and answer together `model` takes, as far as its files say, and TOKENS at most."""
    card = getattr(model, "card", None)
    training = card.get("training") if isinstance(card, Mapping) else None
    if isinstance(training, Mapping) and "shape" in training:  # one of ours, trained from scratch
        return CONTEXT
    config: Any = None
    if Path(model.name).is_dir():
        # An exported model has none, and a base from the hub is not here.
        with suppress(OSError, ValueError, ModelError):
            config = json.loads((Path(base_of(model.name)) / "config.json").read_text("utf-8"))
    places = config.get("max_position_embeddings") if isinstance(config, dict) else None
    return min(places, TOKENS) if isinstance(places, int) and places > 0 else TOKENS


def _parts(tokens: Sequence[int]) -> Iterator[slice]:
    """Neighbours that take at most `_PART` tokens together, and at least one. tokens: what each takes."""
    start = total = 0
    for place, count in enumerate(tokens):
        if place > start and total + count > _PART:
            yield slice(start, place)
            start, total = place, 0
        total += count
    yield slice(start, len(tokens))


def _named(best: Mapping[int, float], says: Mapping[int, str]) -> dict[str, float]:
    """The likeliest tokens by what they say; of several that say the same, the likeliest."""
    tops: dict[str, float] = {}
    for number, value in best.items():
        tops.setdefault(says[number], value)
    return tops


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

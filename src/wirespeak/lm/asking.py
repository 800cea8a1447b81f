"""Ways to ask an OpenAI-compatible server how likely answers are: what is sent, and how the reply is read.

Servers differ in what they tell; `WAYS` goes from the most told to the least.

echo            completions that repeat the prompt with each answer behind it, and the log-probability of every token:
                the answer's own log-likelihood. A token that straddles prompt and answer counts to the answer.
prompt-logprobs the same of a conversation, in vLLM's words (`prompt_logprobs`, `continue_final_message`)
first-token     the likeliest first tokens (20, or 5), where these tell every answer apart. A token belongs to the one
                answer that begins with it; an answer that no token begins gets the smallest log-probability told
text            what the model writes, if it is one of the answers and nothing else (blanks, quotes and a full stop
                aside): that answer gets 0, every other `FLOOR`. Anything else is no answer

A prompt of plain text is asked by completions, and by chat as a user's turn where there are none.

An answer's end is a mark and no text, so no server can be asked to repeat it. Where an answer's tokens begin others'
(`DoS`, `DoS Hulk`), echo and prompt-logprobs give it what is left of its likelihood when theirs is taken off.

Sources: OpenAI API reference (completions, chat); vLLM's "OpenAI-compatible server".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wirespeak.contracts import Prompt

FLOOR = math.log(1e-9)
"""Log-likelihood of the answers that a model which tells nothing but text did not write."""

COMPLETIONS, CHAT = "/completions", "/chat/completions"
_MANY, _FEW = 20, 5  # the most that chat tells, and the most that OpenAI's completions tell

Body = dict[str, Any]
Scores = list[tuple[float, int]]
"""Of each answer: its log-likelihood, and how many tokens that is the sum of."""

Tail = tuple[float, tuple[str, ...]]
"""How likely it is that a text goes on with these tokens, and the tokens."""


class NotTold(Exception):
    """A reply without what the way needs."""


class Unclear(NotTold):
    """A reply that has what the way needs, and still names no one answer."""


@dataclass(frozen=True)
class Way:
    """One way to ask. bodies: the requests for one prompt; read: their replies as scores, or raises NotTold.

    graded: the scores say how likely each answer is, not merely which one was written.
    """

    name: str
    path: str
    bodies: Callable[[Prompt, Sequence[str]], list[Body]]
    read: Callable[[Sequence[Any], Sequence[str]], Scores]
    graded: bool = True


def ways(prompt: Prompt) -> list[Way]:
    """The ways that a prompt of this shape can be asked, best first."""
    return [way for way in WAYS if isinstance(prompt, str) or way.path == CHAT]


def conversation(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as chat takes it; plain text is a user's turn."""
    turns = (("user", prompt),) if isinstance(prompt, str) else prompt
    return [{"role": speaker, "content": said} for speaker, said in turns]


def written(reply: Any) -> str:
    """The text of a completion or a chat."""
    choice = _choices(reply, 1)[0]
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if text is None and isinstance(message, dict):
        return ""  # a refusal, or nothing but reasoning
    if not isinstance(text, str):
        raise NotTold("no text")
    return text


def _ask_echo(prompt: Prompt, answers: Sequence[str]) -> list[Body]:
    # One token more than nothing: some servers take 0 for "as many as fit".
    whole = [f"{prompt}{answer}" for answer in answers]
    return [{"prompt": whole, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}]


def _read_echo(replies: Sequence[Any], answers: Sequence[str]) -> Scores:
    tails = []
    for choice, answer in zip(_choices(replies[0], len(answers)), answers, strict=True):
        told = choice.get("logprobs")
        if not isinstance(told, dict):
            raise NotTold("no logprobs")
        tokens, values = told.get("tokens"), told.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
            raise NotTold("no token_logprobs")
        # The token written after it comes last; a server may leave out one that ends the text.
        tails.append(_tail(tokens, values, answer, stops=(len(tokens) - 1, len(tokens))))
    return _apart(tails)


def _ask_prompt_logprobs(prompt: Prompt, answers: Sequence[str]) -> list[Body]:
    more = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    more |= {"add_generation_prompt": False, "continue_final_message": True}
    return [
        {"messages": [*conversation(prompt), {"role": "assistant", "content": answer}], **more}
        for answer in answers
    ]


def _read_prompt_logprobs(replies: Sequence[Any], answers: Sequence[str]) -> Scores:
    tails = []
    for reply, answer in zip(replies, answers, strict=True):
        told = reply.get("prompt_logprobs") if isinstance(reply, dict) else None
        if not isinstance(told, list):
            raise NotTold("no prompt_logprobs")
        tokens, values = [], []
        for place in told:
            entry = next(iter(place.values()), None) if isinstance(place, dict) else {}
            if not isinstance(entry, dict):
                raise NotTold("no prompt_logprobs")
            tokens.append(str(entry.get("decoded_token", "")))
            values.append(entry.get("logprob"))
        tails.append(_tail(tokens, values, answer, stops=(len(tokens),)))
    return _apart(tails)


def _tail(tokens: list[Any], values: list[Any], answer: str, *, stops: Sequence[int]) -> Tail:
    """The tokens that spell the answer where the text ends: before the first of `stops` that fits."""
    for stop in stops:
        start, text = stop, ""
        while start > 0 and len(text) < len(answer):
            start -= 1
            text = f"{tokens[start]}{text}"
        if answer and text.endswith(answer):
            total = math.fsum(_number(value) for value in values[start:stop])
            return total, tuple(map(str, tokens[start:stop]))
    raise NotTold("the tokens told do not spell the answer")


def _apart(tails: Sequence[Tail]) -> Scores:
    """Scores of events that exclude each other: of an answer that begins others, that none of these follows.

    >>> half, most = math.log(0.5), math.log(0.8)
    >>> [round(math.exp(score), 3) for score, _ in _apart([(most, ("DoS",)), (half, ("DoS", " Hulk"))])]
    [0.3, 0.5]
    """
    known = {tokens: total for total, tokens in tails}
    scores = []
    for total, tokens in tails:
        longer = [other for other in known if _begins(tokens, other)]
        next_to = [other for other in longer if not any(_begins(between, other) for between in longer)]
        if next_to and math.isfinite(total):
            gone = math.fsum(math.exp(known[other] - total) for other in next_to)
            total += max(math.log(1 - gone) if gone < 1 else FLOOR, FLOOR)
        scores.append((total, len(tokens)))
    return scores


def _begins(tokens: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(tokens) < len(other) and other[: len(tokens)] == tokens


def _ask_first(path: str, top: int) -> Callable[[Prompt, Sequence[str]], list[Body]]:
    def ask(prompt: Prompt, answers: Sequence[str]) -> list[Body]:
        if path == COMPLETIONS:
            return [{"prompt": prompt, "max_tokens": 1, "logprobs": top, "temperature": 0}]
        more = {"max_tokens": 1, "logprobs": True, "top_logprobs": top, "temperature": 0}
        return [{"messages": conversation(prompt), **more}]

    return ask


def _read_first(replies: Sequence[Any], answers: Sequence[str]) -> Scores:
    if len({_first_word(answer) for answer in answers}) < len(answers):
        raise NotTold("answers begin with the same word")
    told = _told_first(_choices(replies[0], 1)[0])
    lowest = min(told.values())
    chances: dict[str, list[float]] = {answer: [] for answer in answers}
    shared = -math.inf
    for token, value in told.items():
        begun = [answer for answer in answers if answer.strip().startswith(token)]
        if len(begun) == 1:
            chances[begun[0]].append(value)
        elif begun:
            shared = max(shared, value)
    best = max((value for values in chances.values() for value in values), default=-math.inf)
    if not math.isfinite(best) or shared > best:
        raise Unclear("the likeliest first token begins no answer, or several")
    return [(_log_sum(chances[answer]) if chances[answer] else lowest, 1) for answer in answers]


def _told_first(choice: dict[str, Any]) -> dict[str, float]:
    """The likeliest first tokens, blanks around them aside, and their log-probabilities."""
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        raise NotTold("no logprobs")
    content, places = told.get("content"), told.get("top_logprobs")
    if isinstance(content, list):  # chat, and llama.cpp's completions
        first = content[0].get("top_logprobs") if content and isinstance(content[0], dict) else []
        entries = [entry for entry in first if isinstance(entry, dict)] if isinstance(first, list) else []
        pairs = [(entry.get("token"), entry.get("logprob")) for entry in entries]
    elif isinstance(places, list):
        pairs = list(places[0].items()) if places and isinstance(places[0], dict) else []
    else:
        raise NotTold("no top_logprobs")
    values: dict[str, list[float]] = {}
    for token, value in pairs:
        if spelt := str(token).strip():
            values.setdefault(spelt, []).append(_number(value))
    if not values:
        raise Unclear("no first token")
    return {token: _log_sum(every) for token, every in values.items()}


def _ask_text(path: str) -> Callable[[Prompt, Sequence[str]], list[Body]]:
    def ask(prompt: Prompt, answers: Sequence[str]) -> list[Body]:
        more = {"max_tokens": max(len(answer) for answer in answers) + 8, "temperature": 0}
        if path == COMPLETIONS:
            return [{"prompt": prompt, **more, "stop": ["\n"]}]
        return [{"messages": conversation(prompt), **more}]

    return ask


def _read_text(replies: Sequence[Any], answers: Sequence[str]) -> Scores:
    said = _bare(written(replies[0]))
    named = [said == _bare(answer) for answer in answers]
    if sum(named) != 1:
        raise Unclear("the text is not one of the answers")
    return [(0.0 if this else FLOOR, 1) for this in named]


def _bare(text: str) -> str:
    """Text without blanks around it, one pair of quotes and a full stop.

    >>> _bare(' "normal". ')
    'normal'
    """
    text = text.strip().removesuffix(".").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text.removesuffix(".")


def _choices(reply: Any, count: int) -> list[dict[str, Any]]:
    """The choices of a reply in the order they were asked for."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or len(choices) != count:
        raise NotTold(f"not {count} choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise NotTold("choices that are none")
    places = [choice.get("index", place) for place, choice in enumerate(choices)]
    if sorted(map(str, places)) != sorted(map(str, range(count))):
        raise NotTold("choices without an index")
    return sorted(choices, key=lambda choice: int(choice.get("index", 0)))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise NotTold("a log-probability that is no number")
    return float(value)


def _log_sum(values: Sequence[float]) -> float:
    peak = max(values)
    if not math.isfinite(peak):
        return peak
    return peak + math.log(math.fsum(math.exp(value - peak) for value in values))


def _first_word(answer: str) -> str:
    found = re.match(r"\W*\w*", answer.strip())
    return found[0] if found else ""


WAYS = (
    Way("echo", COMPLETIONS, _ask_echo, _read_echo),
    Way("prompt-logprobs", CHAT, _ask_prompt_logprobs, _read_prompt_logprobs),
    Way("first-token", COMPLETIONS, _ask_first(COMPLETIONS, _MANY), _read_first),
    Way("first-token-of-5", COMPLETIONS, _ask_first(COMPLETIONS, _FEW), _read_first),
    Way("chat-first-token", CHAT, _ask_first(CHAT, _MANY), _read_first),
    Way("text", COMPLETIONS, _ask_text(COMPLETIONS), _read_text, graded=False),
    Way("chat-text", CHAT, _ask_text(CHAT), _read_text, graded=False),
)

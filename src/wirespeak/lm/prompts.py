"""How a prompt becomes tokens, the same for every local runtime.

Text stays text: what a prompt quotes may spell a control token (`<|im_start|>`, `</s>`), and never becomes one.
Only the model's own chat template, and the tokenizer around a whole text, put control tokens in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wirespeak.contracts import Prompt, Turn
from wirespeak.errors import ModelError, missing_extra
from wirespeak.lm.tokenizer import END, PAD

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Template = Callable[[list[dict[str, str]]], str]
"""Writes turns (role, content), ready for the assistant to answer."""

FIXED = {"add_generation_prompt": True, "enable_thinking": False, "date_string": "26 Jul 2024"}
"""What templates are told: the answer follows at once, and no date of today, so that equal prompts stay equal."""


class Words:
    """A tokenizer and the ways to ask with it."""

    def __init__(
        self, tokenizer: Tokenizer, template: Template | None = None, *, closed: bool = False
    ) -> None:
        """closed: what the tokenizer puts behind a text (an end mark) belongs to a prompt, as in an encoder."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.template = template
        self._controls = _controls(tokenizer)
        self._cut = re.compile(
            "|".join(map(re.escape, sorted(self._controls.values(), key=len, reverse=True)))
        )
        self._front, self._back = _around(tokenizer)
        self._back = self._back if closed else []
        self._expected: dict[tuple[str, ...], list[int]] = {}

    def prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token numbers of each prompt. Raises ModelError where the template refuses the turns."""
        if self.template is None:
            plain = [p if isinstance(p, str) else "\n".join(content for _, content in p) for p in prompts]
            return [self._front + ids + self._back for ids in self.texts(plain)]
        texts = self.texts([prompt for prompt in prompts if isinstance(prompt, str)])
        plain_ids = iter([self._front + ids + self._back for ids in texts])
        return [next(plain_ids) if isinstance(prompt, str) else self._turns(prompt) for prompt in prompts]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of texts that may say anything: no control token among them."""
        return [
            ids if self._controls.keys().isdisjoint(ids) else self._harmless(text)
            for ids, text in zip(self._encode(texts), texts, strict=True)
        ]

    def answer(self, answer: str) -> list[int]:
        """The token numbers of an answer of ours, which may be a word of its own. Raises ModelError for none."""
        (ids,) = self._encode([answer])
        if not ids:
            raise ModelError(f"the answer {answer!r} is no token. Give answers that say something.")
        return ids

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token says by itself; part of a character is U+FFFD."""
        return [self.tokenizer.decode([number], skip_special_tokens=False) for number in ids]

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens say together."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _harmless(self, text: str) -> list[int]:
        """The text cut within each control token it spells, so that none is seen."""
        pieces, start = [], 0
        while found := self._cut.search(text, start):
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        encoded = self._encode([*pieces, text[start:]])
        return [number for ids in encoded for number in ids if number not in self._controls]

    def _turns(self, turns: tuple[Turn, ...]) -> list[int]:
        """The template around the contents. What no content can add to is encoded whole, as in training."""
        (ids,) = self._encode([self._render(turns)])
        roles = tuple(role for role, _ in turns)
        if roles not in self._expected:
            (bare,) = self._encode([self._render(tuple((role, "x") for role in roles))])
            self._expected[roles] = self._controls_in(bare)
        return ids if self._controls_in(ids) == self._expected[roles] else self._in_parts(turns)

    def _in_parts(self, turns: tuple[Turn, ...]) -> list[int]:
        """Template and contents encoded apart: only the template's parts may hold control tokens."""
        marks = {f"wirespeak-turn-{number}-": content for number, (_, content) in enumerate(turns)}
        framed = self._render(tuple((role, mark) for (role, _), mark in zip(turns, marks, strict=True)))
        ids: list[int] = []
        for part in re.split(f"({'|'.join(marks)})", framed):
            ids += self._harmless(marks[part]) if part in marks else self._encode([part])[0]
        return ids

    def _render(self, turns: tuple[Turn, ...]) -> str:
        assert self.template is not None
        try:
            return self.template([{"role": role, "content": content} for role, content in turns])
        except Exception as error:  # a template is the model's own program and raises what it likes
            raise ModelError(
                f"the model's chat template refuses turns of {', '.join(role for role, _ in turns)} ({first_line(error)}). "
                "Ask with other roles, or with plain text."
            ) from error

    def _controls_in(self, ids: list[int]) -> list[int]:
        return [number for number in ids if number in self._controls]


def jinja_template(source: str, special: dict[str, str]) -> Template:
    """A Hugging Face chat template. special: names of special tokens (`bos_token`) and their text.

    Raises MissingPart where jinja2 is not installed.
    """
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as missing:
        raise missing_extra("jinja2", "train") from missing

    def refuse(message: str) -> None:
        raise ModelError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    compiled = environment.from_string(source)
    return lambda messages: compiled.render(messages=messages, **special, **FIXED)


def first_line(error: BaseException) -> str:
    """What an error says, as part of a message of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _controls(tokenizer: Tokenizer) -> dict[int, str]:
    """Tokens that text must not become: all that were added to the vocabulary, runs of white space aside.

    Our own tokenizer (lm.tokenizer) adds label words too; its prompts say them, so there it is padding and end.
    """
    if tokenizer.token_to_id(PAD) == 0 and tokenizer.token_to_id(END) == 1:
        return {0: PAD, 1: END}
    unknown = getattr(tokenizer.model, "unk_token", None)
    added: dict[int, Any] = tokenizer.get_added_tokens_decoder()
    return {
        number: token.content
        for number, token in added.items()
        if not token.content.isspace() and token.content != unknown
    }


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind every text."""
    whole, bare = (tokenizer.encode("a", add_special_tokens=added).ids for added in (True, False))
    start = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
    return whole[:start], whole[start + len(bare) :]

"""How a prompt becomes tokens, the same for every local runtime.

Text stays text: what a prompt quotes may spell a control token (`<|im_start|>`, `</s>`), and never becomes one.
Only the model's own chat template, and the tokenizer around a whole text, put control tokens in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix
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

_BORDERS = ("x", " x ", "\nx\n", ".1.", "\u0338x")
"""Contents that show what a tokenizer makes of a control token's neighbours: words, blanks, signs, accents."""

_THOUGHT, _CLOSED = "<think>", "\n</think>\n\n"
_WORTH_SHARING = 64  # characters


@dataclass(frozen=True)
class Frame:
    """What a template says around the contents of some roles: its control tokens, and where its texts may be cut."""

    controls: list[int]
    cut: re.Pattern[str]


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
        self._cut = _any_of(self._controls.values())
        self._front, self._back = _around(tokenizer)
        self._back = self._back if closed else []
        self._lines_apart = _lines_apart(tokenizer)
        self._frames: dict[tuple[str, ...], Frame] = {}

    def prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token numbers of each prompt. Raises ModelError where the template refuses the turns."""
        if self.template is None:
            prompts = [p if isinstance(p, str) else "\n".join(content for _, content in p) for p in prompts]
        plain = iter(self.texts([prompt for prompt in prompts if isinstance(prompt, str)]))
        turns = iter(self._conversations([prompt for prompt in prompts if not isinstance(prompt, str)]))
        return [
            self._front + next(plain) + self._back if isinstance(prompt, str) else next(turns)
            for prompt in prompts
        ]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of texts that may say anything: no control token among them."""
        return [
            ids if self._controls.keys().isdisjoint(ids) else self._harmless(text)
            for ids, text in zip(self._alike(texts), texts, strict=True)
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

    def _alike(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of each text. Lines that all begin with are encoded once where that changes nothing.

        No token reaches over a newline that no blank follows. What stands before it is taken out of a whole text,
        since blanks at a text's end may be encoded in another way.
        """
        cut = commonprefix(list(texts)).rfind("\n") + 1 if self._lines_apart and len(texts) > 2 else 0
        if cut < _WORTH_SHARING or not all(text[cut : cut + 1].strip() for text in texts):
            return self._encode(texts)
        rests = self._encode([text[cut:] for text in texts])
        first, last = self._encode([texts[0], texts[-1]])
        head = first[: len(first) - len(rests[0])]
        if [first, last] != [head + rests[0], head + rests[-1]]:
            return self._encode(texts)
        return [head + rest for rest in rests]

    def _conversations(self, asked: Sequence[tuple[Turn, ...]]) -> list[list[int]]:
        """The template around the contents, each distinct piece between control tokens encoded once.

        That is what encoding it whole gives, as in training. Turns whose contents spell control tokens go in parts.
        """
        frames = [self._frame(tuple(role for role, _ in turns)) for turns in asked]
        cut = [frame.cut.split(self._render(turns)) for frame, turns in zip(frames, asked, strict=True)]
        distinct = list(dict.fromkeys(piece for pieces in cut for piece in pieces))
        known = dict(zip(distinct, self._encode(distinct), strict=True))
        whole = [[number for piece in pieces for number in known[piece]] for pieces in cut]
        return [
            ids if self._controls_in(ids) == frame.controls else self._in_parts(turns)
            for ids, frame, turns in zip(whole, frames, asked, strict=True)
        ]

    def _frame(self, roles: tuple[str, ...]) -> Frame:
        """What the template says around these roles. No cuts where a tokenizer would make other tokens of the pieces:
        some write a text's beginning in another way, or let a control token swallow the blanks beside it."""
        if roles not in self._frames:
            texts = [self._render(tuple((role, border) for role in roles)) for border in _BORDERS]
            whole = self._encode(texts)
            controls = self._controls_in(whole[0])
            cut = _any_of({self._controls[number] for number in controls})
            pieces = [[number for ids in self._encode(cut.split(text)) for number in ids] for text in texts]
            self._frames[roles] = Frame(controls, cut if pieces == whole else _any_of(()))
        return self._frames[roles]

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
            said = self.template([{"role": role, "content": content} for role, content in turns])
            # Some templates open a thought whatever they are told, and the answer is to follow at once.
            return said + _CLOSED if said.rstrip().endswith(_THOUGHT) else said
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


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds these texts, the longest first, and keeps them when it splits. Of no texts: finds nothing."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "(?!)")


def _lines_apart(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer cuts texts behind each newline that no blank follows, whatever does."""
    if tokenizer.pre_tokenizer is None:
        return False
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    return all(any(start == 3 for _, (start, _) in split(f"x.\n{sign}y")) for sign in "aA1._-\"'<{é中")


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind every text."""
    whole, bare = (tokenizer.encode("a", add_special_tokens=added).ids for added in (True, False))
    start = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
    return whole[:start], whole[start + len(bare) :]

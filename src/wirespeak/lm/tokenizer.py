"""The tokenizer of the model in the box: byte-level BPE over words that keep numbers whole.

Splitting rules, before any merge (so a merge never crosses them)
- a two-letter key with decade and first digit, ` fbM1`, or with one or two plain digits, ` dg12`
- a two-letter key with a word, ` pr:tcp`
- the digits behind a point, `.46`; any other digit alone, so that digits can be copied one by one
- words; anything else alone

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016), on bytes as in
GPT-2, through the `tokenizers` library. Any text can be encoded and decodes to itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, END, UNKNOWN, BLANK = "<pad>", "<end>", "<unknown-word>", "<blank>"
_SPLIT = (
    r" ?[a-z]{2}[A-Z]\d| ?[a-z]{2}\d{1,2}(?!\d)| ?[a-z]{2}:[\w-]+|\.\d{1,2}| ?\d| ?[A-Za-z_]+|\s+|[^\w\s]"
)

_NUMBER = re.compile(r"([a-z]{2,}-?[A-Z]\d)(\.\d{1,2})?")


def train_tokenizer(texts: Iterable[str], *, words: Sequence[str] = (), vocabulary: int = 2048) -> Tokenizer:
    """Learn the merges from `texts`. `words` are tokens of their own (labels), never split or merged.

    Token 0 is padding, token 1 the end of an answer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    own = [AddedToken(word, normalized=False, special=word in (PAD, END)) for word in (PAD, END, *words)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=own,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def word_tokenizer(
    counts: Mapping[str, int],
    *,
    answers: Sequence[str],
    words: Sequence[str] = (),
    least: int = 2,
    whole: int = 100,
    known: Tokenizer | None = None,
) -> Tokenizer:
    """A tokenizer for sentences of `text.compact`, which makes at most two tokens of any word of theirs.

    counts: how often each word of a sentence occurs in training. A category is one token where it occurs `least`
    times. A number is one token where it occurs `whole` times; else its code, sign, decade and first digit are one
    and its other digits the second. Anything else is the token UNKNOWN. words: further tokens, such as those around
    a sentence. known: an earlier one, whose tokens keep their numbers. Matching is greedy, the longest piece first (as WordPiece; Wu et al. 2016).
    """
    before = sorted(known.get_vocab().items(), key=lambda item: item[1]) if known else []
    pieces: dict[str, None] = dict.fromkeys(
        [*(piece for piece, _ in before), PAD, END, UNKNOWN, BLANK, *answers, *words]
    )
    pieces |= dict.fromkeys(f".{digits}" for digits in [*(f"{n:02}" for n in range(100)), *"0123456789"])
    for word, count in sorted(counts.items()):
        number = _NUMBER.fullmatch(word)
        if count >= (whole if number and number[2] else least):
            pieces[f" {word}"] = None
        if number and number[2]:
            pieces[f" {number[1]}"] = None
    numbered = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(numbered, unk_token=UNKNOWN, continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    own = (PAD, END, UNKNOWN, BLANK)
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in own])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in answers])
    return tokenizer

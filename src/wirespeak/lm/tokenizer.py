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

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, END = "<pad>", "<end>"
_SPLIT = (
    r" ?[a-z]{2}[A-Z]\d| ?[a-z]{2}\d{1,2}(?!\d)| ?[a-z]{2}:[\w-]+|\.\d{1,2}| ?\d| ?[A-Za-z_]+|\s+|[^\w\s]"
)


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

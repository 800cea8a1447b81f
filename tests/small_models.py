"""Real checkpoints, only small: two layers, random but seeded weights, a byte-level BPE tokenizer, saved as a hub's are.

Each function writes one architecture into a folder, as `AutoModel...from_pretrained(folder)` loads it, and returns
the folder. Needs wirespeak[train].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = (
    "A connection from 10.0.0.7 to port 1883 over tcp lasted 2.46 seconds and carried 1460 bytes in 12 packets.",
    "The device asked the name server for an address and opened a connection to the broker over tls.",
    "Eight hundred connections to as many ports in one second, each refused: somebody scans this machine.",
    "A flood of syn packets from many addresses to one port, none of them acknowledged.",
    "judge pr:tcp se:web st:SF fl:SAF fpJ1.46 fbK4.12 bpJ9 bbM1.30 du-1.7 label normal flood.syn recon.port_scan",
    "normal flood udp icmp http mqtt slow dos crash recon sweep spoof arp brute_force web sqli xss malware c2 other",
    "Say what this network flow is, with one label. Answer with the label alone. label: unknown",
)
CHAT = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as Qwen's models have it."""


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
"""Positions stretched as those of Llama 3.2 are, only that pretraining ended at 32 of them."""


def qwen2(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A Qwen2 decoder with grouped-query attention and a chat template. changes: fields of its config."""
    return _decoder("qwen2", folder, seed, chat=CHAT, num_key_value_heads=2, **changes)


def llama(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A Llama decoder with grouped-query attention and a chat template."""
    return _decoder("llama", folder, seed, chat=CHAT, num_key_value_heads=2, **changes)


def phi(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A Phi decoder. No chat template, as microsoft/phi-2 has none."""
    return _decoder("phi", folder, seed, chat=None, num_key_value_heads=4, **changes)


def t5(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A T5 encoder-decoder. No chat template."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    words = tokenizer(end="</s>", pad="<pad>")
    fields: dict[str, Any] = {
        "vocab_size": len(words), "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4,
        "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "decoder_start_token_id": words.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(seed)
    return _save(
        AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **fields | changes)), words, folder
    )


def tokenizer(*, end: str = "<|im_end|>", pad: str = "<|endoftext|>", chat: str | None = None) -> Any:
    """A byte-level BPE tokenizer of 400 tokens, learnt from a few sentences: any text comes back as it went in."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([pad, end, "<|im_start|>"] if chat else [pad, end]))
    inner.train_from_iterator(
        WORDS * 3,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=pad, eos_token=end)
    words.chat_template = chat
    return words


def _decoder(kind: str, folder: Path, seed: int, *, chat: str | None, **changes: Any) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(chat=chat) if chat else tokenizer(end="<|endoftext|>")
    fields: dict[str, Any] = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 512, "tie_word_embeddings": kind == "qwen2",
        "bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields | changes))
    return _save(model, words, folder)


def _save(model: Any, words: Any, folder: Path) -> Path:
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder

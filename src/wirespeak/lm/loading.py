"""Reading an open model, the same to ask it and to tune it: its tokenizer, its weights, an adapter on them.

Weights come from safetensors alone and no program of a stranger runs: a pickle could do anything.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wirespeak.errors import ModelError, WirespeakError, missing_extra
from wirespeak.lm.prompts import FIXED, Words, first_line

_ADAPTER_WEIGHTS = "adapter_model.safetensors"


@contextmanager
def clearly(name: str, advice: str) -> Iterator[None]:
    """Raise ModelError, one line that ends in the advice, for whatever fails while model `name` is loaded."""
    try:
        yield
    except WirespeakError:
        raise
    except Exception as error:  # the hub client, the loader and torch each raise their own kinds
        what = (
            f"the model in '{name}' cannot be loaded"
            if Path(name).is_dir()
            else f"no model '{name}': it is no folder with a model, and loading it from the hub failed"
        )
        raise ModelError(f"{what} ({first_line(error)}). {advice}") from error


def quiet() -> None:
    """No bars and no advice of other people's libraries between our lines."""
    from transformers.utils import logging as bars

    bars.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def config_of(base: str) -> Any:
    """The configuration of a checkpoint."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base, trust_remote_code=False)


def tokenizer_of(name: str, base: str) -> Any:
    """The tokenizer of model `name`; of an adapter that brings none, that of its base."""
    from transformers import AutoTokenizer

    own = (Path(name) / "tokenizer_config.json").is_file()
    return AutoTokenizer.from_pretrained(name if own else base, trust_remote_code=False)


def backend_of(tokenizer: Any, name: str) -> Any:
    """The `tokenizers` tokenizer within transformers' own. Raises ModelError where there is none."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(
            f"'{name}': its tokenizer has no tokenizer.json. Convert it with transformers and save it beside the model."
        )
    return tokenizer.backend_tokenizer


def words_of(tokenizer: Any, name: str, *, closed: bool) -> Words:
    """The ways to ask with a tokenizer and the chat template it may have. closed: as in `Words`.

    Raises ModelError where the tokenizer has no tokenizer.json.
    """

    def template(turns: list[dict[str, str]]) -> str:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **FIXED))

    return Words(backend_of(tokenizer, name), template if tokenizer.chat_template else None, closed=closed)


def network_of(base: str, config: Any, **options: Any) -> Any:
    """A checkpoint's network. options: those of transformers' `from_pretrained`.

    Raises ModelError for a folder without safetensors, and whatever the loader raises for anything else.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    quiet()
    _check_safe(base, "*.safetensors")
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(base, use_safetensors=True, trust_remote_code=False, **options)


def adapted(network: Any, adapter: str, *, words: int = 0, trainable: bool = False) -> Any:
    """The network with an adapter on it. words: of its tokenizer; those that training added get their place first.

    Raises ModelError for a folder without safetensors, MissingPart without PEFT, and whatever PEFT raises.
    """
    try:
        from peft import PeftModel
    except ImportError as missing:
        raise missing_extra("peft", "train") from missing
    if Path(adapter).is_dir():
        _check_safe(adapter, _ADAPTER_WEIGHTS)
    else:  # PEFT would take a pickle where a hub has nothing else
        from huggingface_hub import hf_hub_download

        hf_hub_download(adapter, _ADAPTER_WEIGHTS)
    if words > network.get_input_embeddings().weight.shape[0]:
        network.resize_token_embeddings(words)
    with warnings.catch_warnings():
        # PEFT reads a property by a name that transformers has since replaced.
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(network, adapter, is_trainable=trainable)


def four_bits(compute: Any) -> Any:
    """How transformers reads weights in 4 bits: NF4 with double quantisation (Dettmers et al. 2023)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _check_safe(folder: str, wanted: str) -> None:
    if Path(folder).is_dir() and not any(Path(folder).glob(wanted)):
        raise ModelError(
            f"{folder} holds no {wanted}. Give a checkpoint's folder; pickled weights are not read."
        )

"""Any language model transformers can load: a hub name, a folder, or the folder of a PEFT adapter.

Decoders (Llama, Qwen, Phi, ...) and encoder-decoders (T5), on the CPU or a GPU, whole or in 8 or 4 bits.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import ModelError, missing_extra, unknown_name
from wirespeak.lm.devices import chosen_device
from wirespeak.lm.loading import adapted, clearly, config_of, four_bits, network_of, tokenizer_of, words_of
from wirespeak.lm.prompts import first_line
from wirespeak.lm.scoring import LocalLanguageModel

Precision = Literal["auto", "fp32", "bf16", "int8", "int4"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]
ADAPTER = "adapter_config.json"
_TOKENS_A_BATCH = {"cpu": 2048, "cuda": 16384}
_ADVICE = "Give a folder written by 'wirespeak train', a hub name, or leave --model out."


class TransformersLanguageModel(LocalLanguageModel):
    """A transformers checkpoint. Keeps contracts.LanguageModel."""

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        attention: Attention = "auto",
        tokens_a_batch: int | None = None,
    ) -> None:
        """Load hub name or folder `name`.

        device: auto, cpu or cuda. precision: auto is fp32 on the CPU, where halves are slow, and the checkpoint's own
        on a GPU; int8 and int4 (NF4) go through bitsandbytes. attention: auto is FlashAttention 2 where installed,
        else PyTorch's own. tokens_a_batch: fewer where memory is short.

        Raises ModelError, OptionError, and MissingPart where a package is missing.
        """
        try:
            import torch
            import transformers  # noqa: F401
        except ImportError as missing:
            raise missing_extra(missing.name or "transformers", "train") from missing
        for what, value, known in (("precision", precision, Precision), ("attention", attention, Attention)):
            if value not in get_args(known):
                raise unknown_name(what, value, get_args(known))
        chosen = chosen_device(device)
        with clearly(name, _ADVICE):
            base = base_of(name)
            for each in dict.fromkeys((name, base)):
                find(each)
            tokenizer = tokenizer_of(name, base)
            model = _load(base, chosen, precision, attention)
            if base != name:
                model = adapted(model, name, words=len(tokenizer))
            both_ways = bool(model.config.is_encoder_decoder)
            places = tokens_a_batch or _TOKENS_A_BATCH[chosen]
            self.steps = (_Seq2SeqSteps if both_ways else _TorchSteps)(torch, model.eval(), places)
            card = Path(name) / "card.json"
            self.card: dict[str, Any] = json.loads(card.read_text("utf-8")) if card.is_file() else {}
        self.name = name
        self.words = words_of(tokenizer, name, closed=both_ways)
        self.ends = ends_of(base, model.config, tokenizer)


def find(name: str) -> None:
    """Ask once, without retries, whether a hub name exists, so that a wrong name is told at once."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if Path(name).is_dir():
        return
    if not any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", ADAPTER)):
        HfApi().model_info(name, timeout=10)


def base_of(name: str) -> str:
    """The model an adapter stands on (folder or hub name); of anything else, the name itself.

    Raises ModelError for an adapter that does not say.
    """
    path = Path(name) / ADAPTER
    if not path.is_file():
        from huggingface_hub import try_to_load_from_cache

        cached = None if Path(name).is_dir() else try_to_load_from_cache(name, ADAPTER)
        if not isinstance(cached, str):
            return name
        path = Path(cached)
    try:
        base = json.loads(path.read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} does not say which model the adapter stands on ({first_line(error)}). Train it again."
        ) from error
    if str(base).startswith(("/", ".")) and not Path(base).is_dir():
        raise ModelError(
            f"{path}: the model that the adapter stands on is not in {base} any more. Put it back, or write its new place there."
        )
    return str(base)


def ends_of(name: str | Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the checkpoint's and the tokenizer's."""
    from transformers import GenerationConfig

    told = [config.eos_token_id, tokenizer.eos_token_id]
    with suppress(OSError):  # many a checkpoint has no generation_config.json
        told.append(GenerationConfig.from_pretrained(name).eos_token_id)
    lists = [value if isinstance(value, list) else [value] for value in told]
    return frozenset(number for numbers in lists for number in numbers if number is not None)


def _load(base: str, device: str, precision: Precision, attention: Attention) -> Any:
    from transformers.utils import is_flash_attn_2_available

    config = config_of(base)
    options: dict[str, Any] = {"dtype": _dtype(precision, device), "device_map": {"": device}}
    if precision in ("int8", "int4"):
        options["quantization_config"] = _bits(precision, options["dtype"])
    if (
        attention == "auto"
        and device == "cuda"
        and is_flash_attn_2_available()
        and _is_half(config, precision)
    ):
        attention = "flash_attention_2"
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise ModelError(
            "FlashAttention 2 is not installed or sees no GPU. Use --attention sdpa, or install flash-attn."
        )
    if attention != "auto":
        options["attn_implementation"] = attention
    return network_of(base, config, **options)


def _dtype(precision: Precision, device: str) -> Any:
    import torch

    if precision == "bf16":
        return torch.bfloat16
    if precision == "fp32" or device == "cpu":
        return torch.float32
    return "auto" if precision == "auto" else torch.bfloat16


def _is_half(config: Any, precision: Precision) -> bool:
    return precision != "fp32" and (precision != "auto" or "float16" in str(getattr(config, "dtype", "")))


def _bits(precision: Precision, compute: Any) -> Any:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as missing:
        raise missing_extra("bitsandbytes", "train") from missing
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return four_bits(compute)


class _TorchSteps:
    """scoring.Steps through a decoder's forward pass; a cache is transformers' own."""

    causal = True
    even = False

    def __init__(self, torch: Any, model: Any, places: int) -> None:
        self._torch, self._model, self.places = torch, model, places
        self._device = model.device
        self._parts = _parts(torch, model) if self.causal else None

    def forward(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        mask: NDArray[np.float32],
        last: NDArray[np.int64],
        cache: Any,
        *,
        keep: bool,
    ) -> tuple[Any, Any]:
        # Padding behind a row is hidden by causality: a mask is needed only where some was read before.
        before = mask[:, : mask.shape[1] - tokens.shape[1]]
        read = {
            "input_ids": self._tensor(tokens),
            "position_ids": self._tensor(positions),
            "attention_mask": None if before.all() else self._tensor(mask.astype(np.int64)),
            "past_key_values": None if cache is None else _copied(cache),
            "use_cache": keep or cache is not None,
        }
        rows = self._torch.arange(len(tokens))
        with self._torch.inference_mode():
            if self._parts is not None:
                network, head = self._parts
                out = network(**read)
                logits = head(out.last_hidden_state[rows, self._tensor(last)])
            else:
                asked, place = np.unique(last, return_inverse=True)
                out = self._model(**read, logits_to_keep=self._tensor(asked))
                logits = out.logits[rows, self._tensor(place)]
        return logits, out.past_key_values if keep else None

    def select(self, cache: Any, rows: NDArray[np.int64]) -> Any:
        chosen = _copied(cache)
        chosen.batch_select_indices(self._tensor(rows))
        return chosen

    def log_probabilities(self, logits: Any, tokens: Sequence[int] | None = None) -> NDArray[np.float32]:
        logits = logits.float()
        picked = logits if tokens is None else logits[:, self._tensor(np.array(tokens, np.int64))]
        return np.asarray((picked - logits.logsumexp(-1, keepdim=True)).cpu().numpy(), np.float32)

    def draw(
        self, logits: Any, temperature: float, nucleus: float, draws: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        """Where a uniform number falls among the chances, likeliest first: sorted on the device, one draw a row."""
        if temperature <= 0:
            return np.asarray(logits.argmax(-1).cpu().numpy(), np.int64)
        chance, order = (logits.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        chance = chance * (chance.cumsum(-1) - chance <= nucleus)
        reached = chance.cumsum(-1)
        point = self._tensor(np.array([[rng.random()] for rng in draws])) * reached[:, -1:]
        place = self._torch.searchsorted(reached, point, right=True).clamp(max=chance.shape[1] - 1)
        return np.asarray(order.gather(1, place)[:, 0].cpu().numpy(), np.int64)

    def _tensor(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class _Seq2SeqSteps(_TorchSteps):
    """scoring.Steps where an encoder reads the prompt once and a decoder goes on from there.

    A cache is what the encoder made and the decoder's own cache. The mask's first places are the prompt's.
    """

    causal = False

    def forward(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        mask: NDArray[np.float32],
        last: NDArray[np.int64],
        cache: Any,
        *,
        keep: bool,
    ) -> tuple[Any, Any]:
        with self._torch.inference_mode():
            if cache is None:
                seen = self._tensor(mask.astype(np.int64))
                encoded = self._model.get_encoder()(
                    self._tensor(tokens), attention_mask=seen
                ).last_hidden_state
                start = self._model.config.decoder_start_token_id
                tokens, past = np.full((len(tokens), 1), start, np.int64), None
            else:
                encoded, past = cache
                seen = self._tensor(mask[:, : encoded.shape[1]].astype(np.int64))
            out = self._model(
                encoder_outputs=(encoded,),
                attention_mask=seen,
                decoder_input_ids=self._tensor(tokens),
                past_key_values=None if past is None else _copied(past),
                use_cache=keep or past is not None,
            )
        return out.logits[:, -1], (encoded, out.past_key_values) if keep else None

    def select(self, cache: Any, rows: NDArray[np.int64]) -> Any:
        encoded, past = cache
        return encoded[self._tensor(rows)], super().select(past, rows)


def _parts(torch: Any, model: Any) -> tuple[Any, Any] | None:
    """The network and its output head, so that the head is computed where it is asked for and nowhere else.

    None where logits are more than that (capped, scaled): found out by a few tokens, to the last bit.
    """
    bare = getattr(model, "get_base_model", lambda: model)()  # what an adapter was put into
    network, head = bare.base_model, bare.get_output_embeddings()
    if network is bare or head is None:
        return None
    tokens = torch.arange(8, device=model.device)[None]
    read = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}
    with torch.inference_mode():
        ended = getattr(network(**read), "last_hidden_state", None)
        told = model(**read).logits
        same = ended is not None and torch.equal(head(ended).float(), told.float())
    return (network, head) if same else None


def _copied(cache: Any) -> Any:
    """A cache that can grow while the first stays: the tensors are shared, since growing makes new ones."""
    twin = copy.copy(cache)
    for part in ("self_attention_cache", "cross_attention_cache"):
        if hasattr(cache, part):
            setattr(twin, part, _copied(getattr(cache, part)))
    if hasattr(cache, "is_updated"):
        twin.is_updated = dict(cache.is_updated)
    if hasattr(cache, "layers"):
        twin.layers = [copy.copy(layer) for layer in cache.layers]
    return twin

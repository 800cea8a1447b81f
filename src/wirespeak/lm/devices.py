"""Which device a model runs on."""

from __future__ import annotations

from wirespeak.errors import ModelError, unknown_name

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> str:
    """The device meant by auto, cpu or cuda. Raises OptionError for other names, ModelError for a GPU that is not there."""
    import torch

    if name not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    here = torch.cuda.is_available()
    if name == "cuda" and not here:
        raise ModelError(
            "device cuda was asked for and PyTorch sees no GPU. Use --device cpu, or install a CUDA build of torch."
        )
    return ("cuda" if here else "cpu") if name == "auto" else name

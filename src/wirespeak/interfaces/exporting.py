"""The verb that writes a model for another program: `wirespeak models export`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from wirespeak.errors import OptionError
from wirespeak.interfaces.options import output_option
from wirespeak.interfaces.output import Outcome, Run, folder, one_file
from wirespeak.interfaces.progress import Say, quiet


class Target(StrEnum):
    """What a model is written as."""

    onnx = "onnx"
    gguf = "gguf"
    merged = "merged"


def export_model(
    model: Annotated[
        Path,
        Argument(
            metavar="DIR",
            help="A model's folder: a checkpoint, an adapter, or what 'wirespeak train' wrote.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[Path, output_option("PATH", "A folder; for GGUF a file that ends in .gguf.")],
    to: Annotated[
        Target, Option("--to", help="For onnxruntime, for llama.cpp, or the adapter merged into its base.")
    ] = Target.onnx,
    precision: Annotated[
        str | None,
        Option(
            "--precision",
            metavar="NAME",
            help="ONNX: fp32, int8 or int4. GGUF: f32, f16 or q8_0.",
            show_default="int8, f16",
        ),
    ] = None,
    progress: Say = quiet,
) -> Outcome:
    """Write a model for another program.

    An adapter is merged into its base first. Llama, Qwen2 and Phi checkpoints become ONNX, Llama and Qwen2 GGUF; needs
    wirespeak[train]. What 'wirespeak train' wrote stays whole: the output judges as DIR does, by another runtime. A
    GGUF file is the language model alone.
    """
    from wirespeak.lm import checkpoint_folder
    from wirespeak.lm.cards import CARD, read_card

    place = checkpoint_folder(model)
    if place != model and output.resolve() == model.resolve():
        raise OptionError(
            f"{output} is what is exported, and would be overwritten. Choose another place with -o."
        )
    run = Run("models export", {"model": model, "output": output, "to": to, "precision": precision}, [place])
    progress(f"exporting {model}")
    run.count(taken=1, given=1)
    if to is Target.gguf:
        from wirespeak.lm.gguf import export_gguf

        with one_file(output, run, name=f"{model.resolve().name}.gguf", suffixes=(".gguf",)) as target:
            size = export_gguf(place, target, precision=precision or "f16")  # type: ignore[arg-type]
        return run.done(output, f"{size / 1e6:,.1f} MB of GGUF: {output}")
    with folder(output, run) as hidden:
        target = _rest(model, place, hidden)
        if to is Target.onnx:
            from wirespeak.lm.export import export_folder

            known = read_card(target).facts if (target / CARD).is_file() else None
            card = export_folder(place, target, precision=precision or "int8", card=known)  # type: ignore[arg-type]
            said = f"{card['exported']['bytes'] / 1e6:,.1f} MB of ONNX, {card['exported']['precision']}: {output}"
        else:
            from wirespeak.lm.tuning import merge

            if precision:
                raise OptionError("--precision is for ONNX and GGUF: a merged model keeps that of its base.")
            merge(place, hidden / "merged")
            for path in (hidden / "merged").iterdir():
                shutil.move(path, target / path.name)
            (hidden / "merged").rmdir()
            said = f"merged into its base: {output}"
    return run.done(output, said)


def _rest(model: Path, place: Path, output: Path) -> Path:
    """Copy to `output` what `train` wrote beside the weights in `place`; return where in it the model belongs."""
    from wirespeak.lm import model_folder

    inner, target = model_folder(model), output
    if inner.resolve().parent == model.resolve():
        _copy(model, output, without=(inner.name, "run.json"))
        target = output / inner.name
        target.mkdir()
    if place != inner:
        runtime = ("model.onnx", "model.onnx.data", "tokenizer.json")
        _copy(inner, target, without=(place.name, *runtime, "run.json"))
    return target


def _copy(source: Path, output: Path, *, without: Sequence[str]) -> None:
    """Copy what is in a folder, but for what lies on the way to `output`."""
    for path in source.iterdir():
        if path.name not in without and not output.resolve().is_relative_to(path.resolve()):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, output / path.name)

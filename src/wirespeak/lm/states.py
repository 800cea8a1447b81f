"""The state of a training run on disk, so that one that was cut off goes on as if nothing had happened.

Tensors are stored as safetensors and everything else as JSON: nothing here runs code when it is read. A state has
its name only once it is whole; what a kill left half-written is never looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Protocol

_STATE = "state"


class Run(Protocol):
    """What a state is of. spent: with the time of this process, the processor seconds of the run."""

    model: Any
    optimiser: Any
    mean: dict[str, Any]
    step: int
    seen: int
    running: float
    spent: float


def save_state(folder: Path, identity: str, run: Run) -> None:
    """Write the whole state of `run` into `folder`, in place of the one before."""
    import torch
    from safetensors.torch import save_file

    hidden = folder / f".{_STATE}-{os.getpid()}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    tensors = {f"weight.{name}": value for name, value in run.model.named_parameters()}
    tensors |= {f"mean.{name}": value for name, value in run.mean.items()}
    for number, moments in run.optimiser.state_dict()["state"].items():
        tensors |= {f"moment.{number}.{name}": value for name, value in moments.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        hidden / "tensors.safetensors",
    )
    about = {
        "identity": identity, "step": run.step, "seen": run.seen, "running": run.running,
        "spent": run.spent + time.process_time(),
    }  # fmt: skip
    (hidden / "about.json").write_text(json.dumps(about), encoding="utf-8")
    for path in hidden.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    final, old = folder / f"{_STATE}-{run.step}", _found(folder)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(hidden, final)
    for path in old:
        if path != final:
            shutil.rmtree(path, ignore_errors=True)


def load_state(folder: Path, identity: str, run: Run) -> bool:
    """Take up the last state in `folder`, if it is of the same run; say whether there was one.

    A state that cannot be read is none: the one before it counts, or the run begins anew.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for place in reversed(_found(folder)):
        try:
            about = json.loads((place / "about.json").read_text(encoding="utf-8"))
            tensors = load_file(place / "tensors.safetensors")
        except (OSError, ValueError, SafetensorError):
            continue
        if not isinstance(about, dict) or about.get("identity") != identity:
            continue
        with torch.no_grad():
            for name, value in run.model.named_parameters():
                value.copy_(tensors[f"weight.{name}"])
        for name, value in run.mean.items():
            value.copy_(tensors[f"mean.{name}"])
        state = run.optimiser.state_dict()
        moments: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("moment."):
                _, number, what = name.split(".")
                moments.setdefault(int(number), {})[what] = value
        run.optimiser.load_state_dict({**state, "state": moments})
        run.step, run.seen, run.running = int(about["step"]), int(about["seen"]), float(about["running"])
        run.spent += float(about["spent"])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        return True
    return False


def _found(folder: Path) -> list[Path]:
    """The states in `folder`, the earliest first."""
    places = [path for path in folder.glob(f"{_STATE}-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted(places, key=lambda path: int(path.name.rpartition("-")[2]))

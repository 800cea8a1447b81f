"""What several tests share: the real command, the folder of real captures, how hard Hypothesis looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=15)
settings.load_profile("default")

COMMAND = Path(sys.executable).parent / "wirespeak"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wirespeak() -> Run:
    """Runs the installed command and returns what it said and its exit status."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        words = [str(COMMAND), *(str(argument) for argument in arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows nothing: random weights, three labels, a few thousand parameters."""
    pytest.importorskip("torch", reason="a model of one's own needs wirespeak[train]")
    from wirespeak.lm.export import export_onnx
    from wirespeak.lm.tokenizer import train_tokenizer
    from wirespeak.lm.training import Shape, save, untrained
    from wirespeak.text import label_answer

    folder = tmp_path_factory.mktemp("tiny")
    labels = ["normal", "flood.syn", "unknown"]
    tokenizer = train_tokenizer(
        ["judge pr:tcp label"], words=[label_answer(label) for label in labels], vocabulary=400
    )
    save(
        untrained(tokenizer, Shape(width=32, layers=1, heads=2, hidden=64), seed=0),
        tokenizer,
        folder / "checkpoint",
    )
    export_onnx(folder / "checkpoint", folder / "model.onnx", precision="int8")
    tokenizer.save(str(folder / "tokenizer.json"))
    card = {"name": "tiny", "labels": labels, "temperature": 1.0, "level": "compact"}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real captures and datasets."""
    folder = os.environ.get("WIRESPEAK_DATA")
    if not folder:
        pytest.skip("WIRESPEAK_DATA is not set: it names the folder of real captures")
    return Path(folder)


MAP = """[dataset]
name = "pumps"
label = "class"
[labels]
Normal = "normal"
SynFlood = "flood.syn"
Scan = "recon.port_scan"
[columns.who]
role = "address"
kind = "text"
"""


@pytest.fixture
def pumps(tmp_path: Path) -> tuple[Path, Path]:
    """A file of 600 rows and the map that describes it; `hint` gives the label away."""
    random = Random(5)
    lines = ["who,packets,bytes,hint,class"]
    for number in range(600):
        label = random.choice(("Normal", "Normal", "SynFlood", "Scan"))
        mean = {"Normal": 20, "SynFlood": 400, "Scan": 2}[label]
        packets = max(1, round(random.gauss(mean, mean / 4)))
        hint = f"{label[:2].lower()}{number % 3}"
        lines.append(f"10.0.0.{number % 9},{packets},{packets * random.randint(40, 90)},{hint},{label}")
    (data := tmp_path / "pumps.csv").write_text("\n".join(lines) + "\n")
    (described := tmp_path / "pumps.toml").write_text(MAP)
    return data, described

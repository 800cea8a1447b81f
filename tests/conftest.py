"""What several tests share: the real command, the folder of real captures, how hard Hypothesis looks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
def real_data() -> Path:
    """The folder of real captures and datasets."""
    folder = os.environ.get("WIRESPEAK_DATA")
    if not folder:
        pytest.skip("WIRESPEAK_DATA is not set: it names the folder of real captures")
    return Path(folder)

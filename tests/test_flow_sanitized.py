"""Malformed captures, and what fuzzers found, through a build with the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wirespeak import _native

CAPTURES = """
import random, sys
from pathlib import Path
from wirespeak import _native
from wirespeak.errors import WirespeakError
from wirespeak.flow import read_flows
from wirespeak.flow.anonymise import Anonymiser, anonymise_capture

_native.LIBRARY = Path(sys.argv[1])
draw, scratch = random.Random(1), Path(sys.argv[1]).with_name("flipped.pcap")

def feed(path):
    for work in (measure, anonymise):
        try:
            work(path)
        except WirespeakError:
            pass

def measure(path):
    read_flows(path, first_packets=5, workers=draw.choice([1, 2]))

def anonymise(path):
    target = scratch.with_name("anonymised.pcap")
    anonymise_capture(path, target, Anonymiser(bytes(32), payload=draw.choice(["scrub", "scrub", "keep", "cut"])))

for path in map(Path, sys.argv[2:]):
    feed(path)
    for _ in range(20):
        data = bytearray(path.read_bytes())
        for _ in range(draw.choice([1, 5, 50])):
            data[draw.randrange(len(data))] = draw.choice([0, 128, 255, draw.randrange(256)])
        if draw.random() < 0.4:  # the same bytes on another link
            data[20] = draw.choice([0, 1, 9, 50, 51, 101, 104, 105, 113, 127, 195, 215, 228, 230])
        scratch.write_bytes(data[: draw.randrange(24, len(data) + 1)])
        feed(scratch)
"""
FOUND = """
import sys
from pathlib import Path
from wirespeak import _native

_native.LIBRARY = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from fuzz.targets import TARGETS, corpus, feed

for name in ("captures", "packets"):
    for path in corpus(name):
        feed(TARGETS[name], path.read_bytes())
"""

Feed = Callable[..., None]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    """Runs a program with the native part built so that it stops at the first wrong access."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: apt-get install gcc")
    library = tmp_path_factory.mktemp("sanitized") / "library.so"
    flags = [
        "-std=c11",
        "-O1",
        "-g",
        "-fPIC",
        "-shared",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    sources = sorted(_native.LIBRARY.parent.glob("*.c"))
    subprocess.run(["gcc", *flags, *sources, "-lm", "-o", library], check=True)
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # Python itself leaks on exit; what counts is what is read and written.
    surroundings = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "POLARS_MAX_THREADS": "1",
    }

    def feed(program: str, *arguments: Path) -> None:
        fed = subprocess.run(
            [sys.executable, "-c", program, library, *arguments],
            env=surroundings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert fed.returncode == 0, fed.stderr[-3000:]

    return feed


@pytest.mark.slow
def test_nothing_is_read_out_of_bounds(real_data: Path, sanitized: Feed) -> None:
    captures = [
        path
        for folder in ("malformed", "format", "iot-proto")
        for path in sorted((real_data / "pcaps" / folder).glob("*.pcap*"))
    ]
    sanitized(CAPTURES, *captures)


@pytest.mark.slow
def test_what_fuzzers_found_is_not_read_out_of_bounds(sanitized: Feed) -> None:
    sanitized(FOUND, Path(__file__).parent)

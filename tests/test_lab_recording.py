"""The lab with a network: needs Linux, root and the Debian tools."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from wirespeak.errors import InputError, MissingPart, OutputError
from wirespeak.lab.recorder import check_machine, record
from wirespeak.lab.scenario import read_scenario

TINY = Path(__file__).parents[1] / "scenarios" / "tiny.toml"

pytestmark = pytest.mark.slow


def needed() -> str:
    """Why the lab cannot run here, or ""."""
    try:
        check_machine(read_scenario(TINY))
    except MissingPart as missing:
        return str(missing)
    return "" if shutil.which("tshark") else "tshark is not installed"


lab = pytest.mark.skipif(bool(needed()), reason=needed() or "the lab can run")


@lab
def test_a_small_lab_is_recorded(tmp_path: Path) -> None:
    doings: list[str] = []
    recording = record(TINY, tmp_path / "tiny", progress=lambda share, doing: doings.append(doing))
    assert sorted(path.name for path in recording.path.iterdir()) == [
        "capture.pcap",
        "hosts.csv",
        "run.json",
        "scenario.toml",
        "truth.csv",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert recording.dropped == 0
    assert any("hping3-syn" in doing for doing in doings)
    truth = (recording.path / "truth.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in truth] == ["label", "flood.syn", "recon.port_scan"]
    read = subprocess.run(
        [
            "tshark",
            "-r",
            str(recording.path / "capture.pcap"),
            "-T",
            "fields",
            "-e",
            "_ws.malformed",
            "-e",
            "frame.protocols",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    frames = read.stdout.splitlines()
    assert len(frames) == recording.packets
    assert not [frame for frame in frames if frame.split("\t")[0]]
    assert all(
        any(f":{protocol}" in frame for frame in frames)
        for protocol in ("mqtt", "dns", "arp", "dhcp", "icmpv6")
    )
    with pytest.raises(OutputError, match="already exists"):
        record(TINY, tmp_path / "tiny")


@lab
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_lab_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    program = f"from pathlib import Path; from wirespeak.lab.recorder import record; record(Path({str(TINY)!r}), Path({str(tmp_path / 'out')!r}), progress=lambda *a: print(*a, flush=True))"
    recorder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LAB_TEST_MARK": mark},
    )
    assert recorder.stdout is not None
    for _ in range(3):
        recorder.stdout.readline()
    assert len(marked(mark)) > 4
    recorder.send_signal(number)
    assert recorder.wait(10) != 0
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == []


def marked(mark: str) -> list[str]:
    """Processes that carry the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_a_missing_tool_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which
    monkeypatch.setattr(
        "wirespeak.lab.recorder.shutil.which",
        lambda name, **options: None if name == "tcpdump" else real(name, **options),
    )
    with pytest.raises(MissingPart, match="apt-get install .*tcpdump"):
        record(TINY, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_lab_asks_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wirespeak.lab.recorder.shutil.which", lambda name, **options: f"/usr/bin/{name}")
    monkeypatch.setattr("wirespeak.lab.recorder.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("wirespeak.lab.recorder.os.geteuid", lambda: 1000)
    with pytest.raises(MissingPart, match="sudo"):
        record(TINY, tmp_path / "out")


def test_a_missing_scenario_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        record(tmp_path / "absent.toml", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

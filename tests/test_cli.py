"""The real command on bad input: what it says, its exit status, and what is on the disk afterwards."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from conftest import COMMAND, Run

from wirespeak import __version__
from wirespeak.interfaces.commands import VERBS

# Each of these starts Python and its libraries anew.
pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounting a small disk and changing the user need root"
)

ETHERNET, UNKNOWN_LINK = 1, 147
SYN = bytes.fromhex(
    "02000000000202000000000108004500002800010000400600000a0000010a000002c0000050000000000000000050020400"
) + bytes(4)


def capture(*, packets: int = 3, link_type: int = ETHERNET) -> bytes:
    """A pcap of TCP SYNs, one a second."""
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    return header + b"".join(
        struct.pack("<IIII", 1_700_000_000 + second, 0, len(SYN), len(SYN)) + SYN for second in range(packets)
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.pcap"
    path.write_bytes(capture())
    return path


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "a folder": (lambda path: path.mkdir(), "folder"),
    "empty": (lambda path: path.touch(), "empty"),
    "text": (lambda path: path.write_text("Dear Sir or Madam, this is no capture"), "not a pcap, pcapng or snoop capture"),
    "without packets": (lambda path: path.write_bytes(capture(packets=0)), "no packets"),
    "of an unknown link type": (lambda path: path.write_bytes(capture(link_type=UNKNOWN_LINK)), f"link type.*{UNKNOWN_LINK}|{UNKNOWN_LINK}.*link type"),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["flows", "detect", "textify"])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_in_one_line(
    kind: str, verb: str, tmp_path: Path, wirespeak: Run, tiny_model: Path
) -> None:
    make, says = BAD[kind]
    make(path := tmp_path / "bad.pcap")
    before = sorted(os.listdir(tmp_path))
    model = ["--model", tiny_model] if verb == "detect" else []
    done = wirespeak(verb, path, "-o", tmp_path / "out", *model)
    assert done.returncode == 1 and done.stdout == ""
    complaint = done.stderr.splitlines()[-1]
    assert "bad.pcap" in complaint and re.search(says, complaint), complaint
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_a_cut_off_capture_is_read_up_to_the_cut(tmp_path: Path, wirespeak: Run) -> None:
    (path := tmp_path / "cut.pcap").write_bytes(capture(packets=3)[:-20])
    done = wirespeak("flows", path, "-o", tmp_path / "flows.csv", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["counts"]["in"] == 2
    assert json.loads((tmp_path / "flows.csv.run.json").read_text())["cut"]
    assert "cut off" in done.stderr


@needs_root
def test_what_one_may_not_read_or_write_is_named(good: Path, tmp_path: Path) -> None:
    # Root without the right to pass over permissions.
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", str(COMMAND)]
    (closed := tmp_path / "closed").mkdir(mode=0o555)
    for mode, output in ((0o000, tmp_path / "flows.csv"), (0o600, closed / "flows.csv")):
        good.chmod(mode)
        words = [*humble, "flows", str(good), "-o", str(output)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and "may not" in done.stderr, done.stderr
        assert str(good if mode == 0 else output) in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["closed", "good.pcap"] and os.listdir(closed) == []


def test_a_model_that_is_not_there_is_named(good: Path, tmp_path: Path, wirespeak: Run) -> None:
    done = wirespeak("detect", good, "-o", tmp_path / "out", "--model", tmp_path / "nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and "wirespeak train" in done.stderr
    assert os.listdir(tmp_path) == ["good.pcap"]


def test_a_folder_that_is_no_model_is_named(good: Path, tmp_path: Path, wirespeak: Run) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "model.onnx").write_text("not a model")
    done = wirespeak("detect", good, "-o", tmp_path / "out", "--model", tmp_path / "notes")
    assert done.returncode == 1 and "notes" in done.stderr and "model" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "\0\1"])
def test_a_truth_that_is_none_is_named(
    content: str | None, good: Path, tmp_path: Path, wirespeak: Run
) -> None:
    truth = tmp_path / "truth.csv"
    if content is not None:
        truth.write_text(content)
    done = wirespeak("textify", good, "-o", tmp_path / "x.jsonl", "--truth", truth)
    assert done.returncode == 1 and f"{truth}: not a schedule of attacks" in done.stderr
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["detekt"], "detect"),
        (["flows", "x", "--outptu", "y"], "--output"),
        (["detect", "good.pcap", "-o", "out", "--detector", "langauge"], "language"),
        (["textify", "good.pcap", "-o", "x.jsonl", "--level", "ritch"], "rich"),
    ],
)
def test_a_misspelt_name_names_the_nearest(
    arguments: list[str], nearest: str, good: Path, wirespeak: Run
) -> None:
    done = wirespeak(*arguments, cwd=good.parent)
    assert done.returncode in (1, 2) and nearest in done.stderr and done.stdout == ""
    assert os.listdir(good.parent) == ["good.pcap"]


def test_json_is_the_only_thing_on_stdout(good: Path, tmp_path: Path, wirespeak: Run) -> None:
    done = wirespeak("flows", good, "-o", tmp_path / "flows.parquet", "--json")
    record = json.loads(done.stdout)
    assert list(record) == ["verb", "version", "ok", "outputs", "counts", "scores", "seconds"]
    assert record["ok"] and record["counts"] == {"in": 3, "out": 1, "set_aside": {}}
    assert record["outputs"] == [str(tmp_path / "flows.parquet")]
    refused = wirespeak("flows", tmp_path / "absent.pcap", "-o", tmp_path / "x.csv", "--json")
    assert refused.returncode == 1 and json.loads(refused.stdout)["ok"] is False


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_the_same_input_gives_the_same_bytes(ending: str, good: Path, tmp_path: Path, wirespeak: Run) -> None:
    for name in ("one", "two"):
        assert wirespeak("flows", good, "-o", tmp_path / f"{name}{ending}").returncode == 0
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


def test_a_table_of_flows_is_judged_as_its_capture_is(
    good: Path, tmp_path: Path, wirespeak: Run, tiny_model: Path
) -> None:
    wirespeak("flows", good, "-o", tmp_path / "flows.csv")
    for name, source in (("capture", good), ("table", tmp_path / "flows.csv")):
        done = wirespeak("detect", source, "-o", tmp_path / name, "--model", tiny_model)
        assert done.returncode == 0, done.stderr
    one, other = ((tmp_path / name / "verdicts.parquet").read_bytes() for name in ("capture", "table"))
    assert one == other


@needs_root
@pytest.mark.parametrize("options", ["size=64k", "size=64k,ro"], ids=["full", "read-only"])
def test_an_output_that_cannot_be_written_says_what_to_do(
    options: str, tmp_path: Path, wirespeak: Run
) -> None:
    (source := tmp_path / "many.pcap").write_bytes(capture(packets=5000))
    (disk := tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)
    try:
        done = wirespeak("textify", source, "--idle", "0.5", "-o", disk / "out" / "examples.jsonl")
        assert done.returncode == 1 and "Choose another place" in done.stderr.replace("choose", "Choose")
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_verb_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    (source := tmp_path / "many.pcap").write_bytes(capture(packets=200_000))
    words = [
        str(COMMAND),
        "textify",
        str(source),
        "--idle",
        "0.5",
        "--level",
        "rich",
        "-o",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".wirespeak-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130 and said == "" and "Traceback" not in complaint
    assert os.listdir(tmp_path) == ["many.pcap"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_waiting_for_a_pipe_can_be_interrupted(workers: str, packed: bool, tmp_path: Path) -> None:
    """Where nothing comes and nobody closes it, whichever thread waits."""
    words = [str(COMMAND), "flows", "-", "--workers", workers, "-o", str(tmp_path / "flows.csv")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stderr
    begun = capture(packets=5_000)
    process.stdin.write(gzip.compress(begun) if packed else begun)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".wirespeak-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    complaint = process.stderr.read().decode()
    assert "interrupted; nothing was written" in complaint and "Traceback" not in complaint
    process.stdin.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_of_every_verb_has_an_example(verb: object, wirespeak: Run) -> None:
    done = wirespeak(*verb.name.split(), "--help")  # type: ignore[attr-defined]
    assert done.returncode == 0 and verb.example in " ".join(done.stdout.split())  # type: ignore[attr-defined]
    assert "--json" in done.stdout


def test_help_is_quick_because_no_part_is_loaded() -> None:
    program = "import sys, wirespeak.interfaces.cli as cli; cli.application(); print(*sys.modules)"
    loaded = subprocess.run(
        [str(COMMAND.parent / "python"), "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"polars", "numpy", "onnxruntime", "tokenizers", "torch", "rich"} & set(loaded.stdout.split())


def test_a_link_that_no_recording_has_is_not_called_ordinary(
    wirespeak: Run, good: Path, tmp_path: Path
) -> None:
    frame = struct.pack("<HBHHH", 0x8841, 7, 0x1AAA, 0xFFFF, 1) + b"data"
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 230)
    (tmp_path / "radio.pcap").write_bytes(head + struct.pack("<IIII", 1_700_000_000, 0, 13, 13) + frame)
    alone = wirespeak("detect", tmp_path / "radio.pcap", "-o", tmp_path / "alone")
    assert alone.returncode == 1
    assert "nothing could be judged of 1 flow (no recording of 802.15.4 was learnt from)" in alone.stderr
    assert not (tmp_path / "alone").exists()
    both = wirespeak("detect", tmp_path / "radio.pcap", good, "-o", tmp_path / "both")
    assert both.returncode == 0
    assert "not judged: 1 flow (no recording of 802.15.4 was learnt from)" in both.stderr
    verdicts = pl.read_parquet(tmp_path / "both" / "verdicts.parquet").sort("protocol")
    assert verdicts["label"].is_null().to_list() == [True, *[False] * (len(verdicts) - 1)]


def test_a_view_names_what_it_cannot_tell(wirespeak: Run, good: Path, tmp_path: Path) -> None:
    done = wirespeak("flows", good, "--as", "zeek-conn", "-o", tmp_path / "conn.csv")
    assert done.returncode == 0
    assert re.search(r"null, since nothing here tells them: uid, .*tunnel_parents", done.stderr)


def test_the_version_is_printed(wirespeak: Run) -> None:
    assert wirespeak("--version").stdout == f"wirespeak {__version__}\n"

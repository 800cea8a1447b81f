"""Outputs are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from wirespeak.errors import OutputError
from wirespeak.interfaces.output import Run, folder, one_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


def write_product(path: Path, *, kilobytes: int = 1) -> None:
    """A verb that writes `kilobytes` into the one file `path`."""
    with one_file(path, Run("flows"), name="flows.csv", suffixes=(".csv", ".parquet")) as target:
        target.write_bytes(b"x" * 1024 * kilobytes)


def write_products(path: Path) -> None:
    """A verb that writes two files into the folder `path`."""
    with folder(path, Run("detect")) as hidden:
        (hidden / "a.json").write_text("[]")
        (hidden / "b.html").write_text("<p>")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_known_ending_is_a_file_with_its_run_beside_it(tmp_path: Path) -> None:
    write_product(tmp_path / "new" / "flows.csv")
    assert sorted(os.listdir(tmp_path / "new")) == ["flows.csv", "flows.csv.run.json"]
    run = json.loads((tmp_path / "new" / "flows.csv.run.json").read_text())
    assert run["verb"] == "flows" and run["outputs"] == [str(tmp_path / "new" / "flows.csv")]


@pytest.mark.parametrize("name", ["results", "results.2026"])
def test_any_other_name_is_a_folder(name: str, tmp_path: Path) -> None:
    write_product(tmp_path / name)
    assert sorted(os.listdir(tmp_path / name)) == ["flows.csv", "run.json"]


def test_files_of_a_folder_are_replaced_and_others_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a.json").write_text("old")
    (target / "mine.txt").write_text("mine")
    write_products(target)
    assert sorted(os.listdir(target)) == ["a.json", "b.html", "mine.txt", "run.json"]
    assert (target / "a.json").read_text() == "[]" and (target / "mine.txt").read_text() == "mine"


def test_a_folder_within_the_results_is_replaced_too(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with folder(tmp_path / "model", Run("train")) as hidden:
            (hidden / "checkpoint").mkdir()
            (hidden / "checkpoint" / f"{text}.json").write_text(text)
    assert os.listdir(tmp_path / "model" / "checkpoint") == ["new.json"]
    assert sorted(os.listdir(tmp_path)) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_of_work_that_failed(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), folder(tmp_path / "a" / "b", Run("detect")) as hidden:
        (hidden / "half").write_text("half")
        raise error
    assert os.listdir(tmp_path) == []


def test_inputs_are_hashed_and_the_command_can_be_repeated(tmp_path: Path) -> None:
    source = tmp_path / "a b.pcap"
    source.write_bytes(b"abc")
    run = Run("flows", {"inputs": [source], "output": Path("x.csv")}, [source], seed=3)
    details = run.details([Path("x.csv")])
    assert details["inputs"] == [
        {
            "path": str(source),
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    ]
    assert details["command"] == f"wirespeak flows '{source}' --output x.csv"
    assert details["seed"] == 3 and details["reproducible"] is True


@needs_root
def test_a_full_disk_keeps_nothing_and_says_what_to_do(small_disk: Path) -> None:
    with pytest.raises(OutputError, match="the disk is full. Free some space"):
        write_product(small_disk / "new" / "flows.csv", kilobytes=200)
    assert os.listdir(small_disk) == []


@needs_root
def test_a_full_disk_is_noticed_when_polars_writes(small_disk: Path) -> None:
    table = pl.DataFrame({"a": [os.urandom(16).hex() for _ in range(20_000)]})
    for ending, write in {".parquet": table.write_parquet, ".csv": table.write_csv}.items():
        with (
            pytest.raises(OutputError, match="the disk is full"),
            one_file(small_disk / f"t{ending}", Run("flows"), name="", suffixes=(ending,)) as target,
        ):
            write(target)
        assert os.listdir(small_disk) == []


@needs_root
def test_a_read_only_disk_is_refused_before_the_work(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with (
        pytest.raises(OutputError, match="read-only. Choose another place"),
        folder(small_disk / "out", Run("detect")),
    ):
        pytest.fail("the work was begun")

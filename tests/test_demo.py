"""The whole walk with the model in the box: a capture in, explained incidents out, and a capture back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Run

pytestmark = pytest.mark.slow

INCIDENT = {
    "id", "label", "category", "probability", "first_seen", "last_seen", "sources", "targets", "flows", "packets",
    "bytes", "evidence", "explanation", "mitigations", "detector",
}  # fmt: skip

INCIDENT_LINE = re.compile(r"\d\d:\d\d:\d\d  [A-Za-z ]+")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, wirespeak: Run) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = wirespeak("demo", "-o", folder)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace(str(folder), "out/demo").splitlines()
    assert len(shown) <= 24 and max(map(len, shown)) <= 80
    # Last digits differ between kinds of processors; what happened when does not.
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    told = [match[0] for line in shown if (match := INCIDENT_LINE.match(line))]
    assert told and all(line in readme for line in told), "run `make docs`"
    return folder


def test_the_demo_writes_its_files_and_how_they_came_about(demo: Path) -> None:
    names = ["incidents.json", "report.html", "run.json", "synthetic.pcap", "verdicts.parquet"]
    assert sorted(path.name for path in demo.iterdir()) == names
    run = json.loads((demo / "run.json").read_text())
    assert (
        run["reproducible"]
        and run["seed"] == 7
        and all(len(found["sha256"]) == 64 for found in run["inputs"][:2])
    )


def test_the_incidents_say_what_happened_and_every_claim_holds(demo: Path) -> None:
    incidents: list[dict[str, Any]] = json.loads((demo / "incidents.json").read_text())
    assert incidents
    for incident in incidents:
        assert incident.keys() >= INCIDENT
        claims = incident["explanation"]["claims"]
        assert len(claims) >= 2 and all(claim["holds"] for claim in claims)
        assert incident["mitigations"] and incident["evidence"]


def test_there_is_one_verdict_a_flow_with_a_probability_for_each_label(demo: Path) -> None:
    verdicts = pl.read_parquet(demo / "verdicts.parquet")
    chances = verdicts.select(name for name in verdicts.columns if name.startswith("p_"))
    assert verdicts["flow_id"].is_unique().all() and chances.width > 5
    assert ((chances.sum_horizontal() - 1).abs() < 1e-3).all()
    assert verdicts.height == json.loads((demo / "run.json").read_text())["counts"]["out"]


def test_the_report_is_one_page_that_loads_nothing(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert "<script" not in page and "http-equiv" in page
    assert not any(mark in page for mark in ('src="http', 'href="http', "@import"))


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark (Debian package tshark)")
def test_tshark_reads_the_invented_capture_without_a_complaint(demo: Path) -> None:
    checks = [
        option for protocol in ("ip", "tcp", "udp") for option in ("-o", f"{protocol}.check_checksum:TRUE")
    ]
    bad = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0"
    words = ["tshark", "-r", str(demo / "synthetic.pcap"), *checks]
    assert subprocess.run([*words, "-Y", bad], capture_output=True, text=True, check=True).stdout == ""
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.count("\n") > 50


def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path, wirespeak: Run) -> None:
    assert wirespeak("demo", "-o", tmp_path).returncode == 0
    for name in ("incidents.json", "report.html", "synthetic.pcap", "verdicts.parquet"):
        assert (tmp_path / name).read_bytes() == (demo / name).read_bytes(), name

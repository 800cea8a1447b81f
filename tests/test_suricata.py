"""Suricata as a detector, the real one, on the captures in the box."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wirespeak.detect.suricata import RULES, Suricata, alerts
from wirespeak.errors import InputError, MissingPart, ModelError, OptionError
from wirespeak.interfaces.contest import Task, contest, named
from wirespeak.interfaces.recorded import are_recordings, captures, read_recordings
from wirespeak.lab.labelled import read_recording
from wirespeak.schema import LABELS

BOX = Path(__file__).parents[1] / "src/wirespeak/lab/captures"
DEMO, QUIET = BOX / "demo", BOX / "quiet"
real = pytest.mark.skipif(not shutil.which("suricata"), reason="suricata is not installed")


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    """The flows of the demo, with the truth and what the rules say."""
    recording = read_recording(DEMO)
    suricata = Suricata({"demo": DEMO / "capture.pcap"})
    said = suricata.predict(recording.flows)
    assert said.shape == (recording.flows.height, len(suricata.labels)) and (said.sum(axis=1) == 1).all()
    answer = [suricata.labels[place] for place in said.argmax(axis=1)]
    return recording.flows.with_columns(recording.labels.alias("truth"), pl.Series("said", answer))


@real
def test_rules_find_what_rules_can_find(judged: pl.DataFrame) -> None:
    right = judged.group_by("truth").agg((pl.col("truth") == pl.col("said")).mean().alias("recall"))
    recall = dict(right.iter_rows())
    assert recall["normal"] > 0.9 and recall["recon.port_scan"] > 0.9
    assert recall["flood.syn"] > 0.6 and recall["web.sqli"] > 0.4 and recall["flood.http"] > 0.4
    assert recall["spoof.arp"] == 0, "Suricata has no rules for ARP; whatever said this guessed"


@real
def test_an_alert_falls_on_the_flow_of_its_packet_alone(judged: pl.DataFrame) -> None:
    fell = alerts(DEMO / "capture.pcap", RULES)
    first = fell.row(0, named=True)
    ends = {(first["low"], first["low_port"]), (first["high"], first["high_port"])}
    inside = [
        flow
        for flow in judged.iter_rows(named=True)
        if {(flow["src"], flow["src_port"]), (flow["dst"], flow["dst_port"])} == ends
        and flow["first_seen"] - 10**6 <= first["time_ns"] <= flow["last_seen"] + 10**6
    ]
    assert len(inside) == 1 and inside[0]["said"] != "normal"
    named_flows = judged.filter(pl.col("said") != "normal").height
    assert 0 < named_flows <= fell.height


@real
def test_rules_of_others_say_unknown_and_broken_ones_are_refused(tmp_path: Path) -> None:
    flows = read_recording(QUIET).flows
    theirs = tmp_path / "theirs.rules"
    theirs.write_text('alert udp any any -> any 53 (msg:"a question"; sid:1; rev:1;)\n')
    suricata = Suricata({"quiet": QUIET / "capture.pcap"}, rules=theirs)
    said = np.array(suricata.labels)[suricata.predict(flows).argmax(axis=1)]
    asked = ((flows["dst_port"] == 53) & (flows["protocol"] == "udp")).fill_null(False).to_numpy()
    assert asked.any() and (said[asked] == "unknown").all() and (said[~asked] == "normal").all()
    theirs.write_text("alert nonsense\n")
    with pytest.raises(ModelError, match="theirs.rules"):
        alerts(QUIET / "capture.pcap", theirs)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = read_recording(QUIET).flows
    with pytest.raises(InputError, match="packets of recording 'other'"):
        Suricata({"quiet": QUIET}).predict(flows.with_columns(pl.lit("other").alias("recording")))
    with pytest.raises(InputError, match="which of 2 captures"):
        Suricata({"a": QUIET, "b": QUIET}).predict(flows)
    monkeypatch.setitem(os.environ, "PATH", "")
    with pytest.raises(MissingPart, match="apt-get install suricata"):
        Suricata({"quiet": QUIET / "capture.pcap"}).predict(flows)


def test_every_rule_names_a_label_of_ours_and_a_number_of_its_own() -> None:
    rules = [line for line in RULES.read_text("utf-8").splitlines() if line.startswith("alert")]
    named_by = [line.partition("metadata:label ")[2].partition(";")[0] for line in rules]
    assert set(named_by) <= set(LABELS) and len(set(named_by)) >= 10
    assert len({line.partition("sid:")[2].partition(";")[0] for line in rules}) == len(rules)


@pytest.mark.slow
@real
def test_recordings_are_compared_with_the_model_and_the_rules(tmp_path: Path) -> None:
    dataset = read_recordings([DEMO, QUIET])
    assert dataset.groups is not None and set(dataset.groups) == {"demo", "quiet"} and len(dataset) > 7_000
    few = dataset.take(np.arange(0, len(dataset), 5))
    task = Task(few, captures=captures([DEMO, QUIET]))
    results, absent = contest(task, ["language", "suricata"], protocol="group", k=2)
    scores = {result.name: result.judgement.score("macro-F1").value for result in results}
    assert not absent and scores["language"] > scores["suricata"] > 0.2
    binary, _ = contest(Task(few, binary=True, captures=task.captures), ["suricata"], protocol="group", k=2)
    assert binary[0].judgement.score("accuracy").value > 0.7


def test_rows_without_packets_are_not_for_rules(tmp_path: Path) -> None:
    dataset = read_recordings([QUIET])
    assert (
        "give the folders of recordings" in contest(Task(dataset), ["suricata"], k=2)[1]["suricata"].lower()
    )
    assert named(["all"]) == named(["all"], ready=())
    assert named(["all"], ready=("language",))[0] == "language"
    with pytest.raises(OptionError, match="either the ones or the others"):
        are_recordings([QUIET, QUIET / "truth.csv"])
    with pytest.raises(InputError, match="is no recording"):
        read_recordings([tmp_path])

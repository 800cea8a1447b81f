"""The verbs on labelled datasets, as typed: a small dataset of one's own, from the audit to the verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import Run

from wirespeak.interfaces import commands

CAPTURES = Path(commands.CAPTURES)

pytestmark = pytest.mark.slow  # each starts Python and its libraries anew


def test_from_audit_to_comparison(pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run) -> None:
    data, described = pumps
    done = wirespeak("audit", data, "--map", described, "-o", tmp_path / "audit", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["counts"]["in"] == 600
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"]
    assert any("hint" in finding["columns"] and finding["severity"] == "serious" for finding in found)

    done = wirespeak("split", data, "--map", described, "--drop", "hint", "-o", tmp_path / "split")
    parts = [
        pl.read_parquet(tmp_path / "split" / f"{name}.parquet") for name in ("train", "validation", "test")
    ]
    assert done.returncode == 0 and sorted(pl.concat(parts)["row"]) == list(range(600))
    assert all("hint" not in part.columns and "who" not in part.columns for part in parts)

    train, test = (tmp_path / "split" / f"{name}.parquet" for name in ("train", "test"))
    official = ["--protocol", "official", "--test", test, "--detector", "forest"]
    done = wirespeak("evaluate", "detector", "--data", train, *official, "-o", tmp_path / "parts")
    judged = pl.read_parquet(tmp_path / "parts" / "predictions.parquet")
    assert done.returncode == 0 and judged.height == parts[2].height, done.stderr

    chosen = ["--detector", "forest", "--detector", "extra-trees", "--folds", "2"]
    done = wirespeak(
        "evaluate", "detector", "--data", data, "--map", described, *chosen, "-o", tmp_path / "comparison"
    )
    assert done.returncode == 0 and "random split" in done.stdout
    metrics = json.loads((tmp_path / "comparison" / "metrics.json").read_text())
    assert "forest" in json.dumps(metrics) and (tmp_path / "comparison" / "report.html").is_file()
    assert pl.read_parquet(tmp_path / "comparison" / "predictions.parquet").height == 1200


def test_the_official_rows_are_read_by_the_map_and_counted(
    pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run
) -> None:
    data, described = pumps
    (test := tmp_path / "test.csv").write_text(data.read_text() + "10.0.0.1,x,5,sc1,Scan\n")
    chosen = ["--by", "official", "--test", test, "--on-bad-row", "skip"]
    done = wirespeak("split", data, "--map", described, *chosen, "-o", tmp_path / "split", "--json")
    counts = json.loads(done.stdout)["counts"]
    assert (counts["in"], counts["out"], sum(counts["set_aside"].values())) == (1201, 1200, 1)
    assert "test.csv,602,packets,x,expected a number" in (tmp_path / "split" / "set-aside.csv").read_text()
    assert "validation part is split by group" in done.stderr

    chosen = ["--detector", "forest", "--on-bad-row", "skip"]
    done = wirespeak("train", test, "--map", described, *chosen, "-o", tmp_path / "forest")
    assert done.returncode == 0 and "602,packets,x" in (tmp_path / "forest" / "set-aside.csv").read_text()


def test_a_trained_detector_answers_every_row_in_order(
    pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run
) -> None:
    data, described = pumps
    model = tmp_path / "model"
    assert wirespeak("train", data, "--map", described, "--detector", "forest", "-o", model).returncode == 0
    rows = data.read_text().splitlines()
    (torn := tmp_path / "torn.csv").write_text("\n".join([*rows[:3], "10.0.0.1,7", *rows[3:9]]) + "\n")
    done = wirespeak("detect", torn, "--detector", model, "-o", tmp_path / "out", "--json")
    verdicts = pl.read_parquet(tmp_path / "out" / "verdicts.parquet")
    assert done.returncode == 0 and verdicts["flow_id"].to_list() == list(range(9))
    assert [row for row, label in enumerate(verdicts["label"]) if label is None] == [2]
    assert verdicts["set_aside"][2] and set(verdicts["label"].drop_nulls()) <= {"Normal", "SynFlood", "Scan"}
    assert set(verdicts["canonical"].drop_nulls()) <= {"normal", "flood.syn", "recon.port_scan"}
    assert json.loads(done.stdout)["counts"] == {
        "in": 9,
        "out": 8,
        "set_aside": {verdicts["set_aside"][2]: 1},
    }
    assert json.loads((tmp_path / "out" / "incidents.json").read_text()) == []


@pytest.mark.parametrize("answer", ["binary", "family"])
def test_what_tells_less_apart_judges_captures_by_that(answer: str, tmp_path: Path, wirespeak: Run) -> None:
    forest = ["--detector", "forest", "--set", "trees=10", "--answer", answer]
    assert wirespeak("train", CAPTURES / "demo", *forest, "-o", tmp_path / "forest").returncode == 0
    tiny, found = CAPTURES / "tiny", tmp_path / "found"
    done = wirespeak(
        "detect", tiny / "capture.pcap", "--truth", tiny / "truth.csv", "--model", tmp_path / "forest", "-o", found
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = json.loads((found / "run.json").read_text())
    said = pl.read_parquet(found / "verdicts.parquet")
    assert run["scores"][0]["value"] > 0.5 and set(said["label"]) <= {
        "attack",
        "normal",
        "flood",
        "recon",
        "spoof",
    }
    assert (answer == "family") or set(said["canonical"]) == {"other", "normal"}


def test_a_detector_learns_rows_made_even(pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run) -> None:
    data, described = pumps
    chosen = ["--detector", "forest", "--detector", "forest+weights", "--detector", "forest+smote"]
    folds = ["--folds", "2", "--keep", tmp_path / "folds"]
    done = wirespeak(
        "evaluate", "detector", "--data", data, "--map", described, *chosen, *folds, "-o", tmp_path / "one"
    )
    assert done.returncode == 0, done.stderr
    assert {"forest", "forest+weights", "forest+smote"} <= set(
        json.loads((tmp_path / "one" / "metrics.json").read_text())["detectors"]
    )
    assert len(list((tmp_path / "folds").iterdir())) == 6
    model = tmp_path / "model"
    done = wirespeak("train", data, "--map", described, "--detector", "forest+over", "-o", model)
    card = json.loads((model / "card.json").read_text())
    assert done.returncode == 0 and (card["kind"], card["trained_as"]) == ("forest", "forest+over")


def test_classes_rows_and_sides_are_told_apart(
    pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run
) -> None:
    data, described = pumps
    told = ("data", "describe", data, "--map", described)
    done = wirespeak(*told, "-o", tmp_path / "profile")
    record = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert done.returncode == 0 and {one["label"] for one in record["profiles"]} == {
        "Normal", "Scan", "SynFlood",
    }  # fmt: skip
    assert "packets is larger: a median of" in done.stdout
    done = wirespeak(*told, "--label", "Scan", "--label", "Normal")
    assert done.returncode == 0 and "-0.99" in next(
        line for line in done.stdout.splitlines() if "packets" in line
    )
    done = wirespeak(*told, "--row", "0", "--row", "1")
    assert done.returncode == 0 and "who" in done.stdout
    done = wirespeak(*told, "--by", "group", "--json")
    assert json.loads(done.stdout)["counts"]["in"] == 600


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("audit", "{data}"), "those of no dataset we know"),
        (("evaluate", "detector", "--data", "{data}", "--map", "{map}", "--detector", "forrest"), "forest"),
        (("evaluate", "detector", "--data", "{data}", "--map", "{map}", "--protocol", "official"), "--test"),
        (("split", "{data}", "--map", "{map}", "--drop", "hints"), "hint"),
        (("train", "{data}", "--map", "{map}", "--detector", "forrest"), "forest"),
        (("train", "{data}", "--map", "{map}", "--detector", "forest+smoot"), "smote"),
        (("split", "{data}", "--map", "{map}", "--test", "{data}"), "--test is for the official"),
        (("detect", "{data}", "--detector", "forest"), "wirespeak train --detector"),
        (("data", "describe", "nsl-kd"), "nsl-kdd"),
        (("data", "describe", "pumps.csw"), "no such file"),
        (("data", "describe", "nsl-kdd", "--row", "1"), "files"),
        (("data", "describe", "{data}", "--map", "{map}", "--row", "1"), "twice"),
        (("data", "describe", "{data}", "--map", "{map}", "--label", "Scan", "--label", "Scam"), "Scan"),
    ],
)
def test_a_mistake_is_named_in_one_line(
    words: tuple[str, ...], says: str, pumps: tuple[Path, Path], tmp_path: Path, wirespeak: Run
) -> None:
    data, described = pumps
    typed = [word.format(data=data, map=described) for word in words]
    output = [] if words[0] == "data" else ["-o", tmp_path / "out"]
    done = wirespeak(*typed, *output)
    assert done.returncode == 1 and says in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()

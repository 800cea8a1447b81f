"""The same two lines for every language model: train on a file, detect with what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="training a language model needs wirespeak[train]")

import small_models

from wirespeak.detect import load_detector
from wirespeak.detect.drawer import make
from wirespeak.errors import InputError, ModelError, OptionError
from wirespeak.interfaces import commands
from wirespeak.interfaces.exporting import Target

pytestmark = pytest.mark.slow

TINY = ["width=16", "layers=1", "heads=2", "hidden=32", "dropout=0.0", "blank=0.0", "rate=0.006", "threads=1"]


def train(data: Path, described: Path, output: Path, **options: Any) -> dict[str, Any]:
    given = {"epochs": 20.0, "set": TINY, "map": described} | options
    commands.train([data], output=output, **given)
    return json.loads((output / "card.json").read_text())


def detect(data: Path, model: Path, output: Path, **options: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    commands.detect([data], model=str(model), output=output, **options)
    return pl.read_parquet(output / "verdicts.parquet"), json.loads((output / "run.json").read_text())


def right(data: Path, verdicts: pl.DataFrame) -> float:
    truth = pl.read_csv(data)["class"]
    return float((verdicts["label"] == truth).mean() or 0)


def test_a_small_decoder_is_trained_and_detects(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    card = train(data, described, tmp_path / "model")
    assert (
        card["kind"] == "language" and card["dataset"] == "pumps" and card["training"]["parameters"] < 20_000
    )
    assert not (tmp_path / "model.training").exists()
    verdicts, run = detect(data, tmp_path / "model", tmp_path / "found")
    assert right(data, verdicts) > 0.95 and set(verdicts["canonical"]) == {
        "normal",
        "flood.syn",
        "recon.port_scan",
    }
    assert run["coverage"][0]["promised"] == 0.95 and "stages" not in run
    silent, run = detect(data, tmp_path / "model", tmp_path / "silent", abstain=0.3)
    assert run["abstained"]["error"] == 0.3
    assert set(silent["label"]) <= {"Normal", "SynFlood", "Scan", "unknown"}
    with pytest.raises(OptionError, match=r"--budget soon: expected seconds \(30s\)"):
        detect(data, tmp_path / "model", tmp_path / "never", budget="soon")


def test_the_same_seed_gives_the_same_model(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    for name in ("one", "other"):
        train(data, described, tmp_path / name, epochs=2.0)
    one, other = (tmp_path / name / "model" / "model.onnx" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_cascade_spares_the_model_and_says_who_answered(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    card = train(data, described, tmp_path / "cascade", detector="cascade")
    assert card["kind"] == "cascade" and card["thresholds"]
    verdicts, run = detect(data, tmp_path / "cascade", tmp_path / "found", budget="30s")
    shares = {stage["stage"]: stage["share"] for stage in run["stages"]}
    assert right(data, verdicts) > 0.95 and sum(shares.values()) == pytest.approx(1) and shares["tree"] > 0.2
    assert run["reproducible"] is False


def test_stages_grid_and_going_on_stand_on_the_card(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    (grid := tmp_path / "grid.toml").write_text("epochs = [1.0, 20.0]\n")
    card = train(data, described, tmp_path / "first", epochs=None, grid=grid)
    assert [one["options"]["epochs"] for one in card["grid"]] == [1.0, 20.0]
    best = max(card["grid"], key=lambda one: one["score"])
    assert card["options"]["epochs"] == best["options"]["epochs"]
    card = train(data, described, tmp_path / "second", before=tmp_path / "first", stages=True)
    (forgot,) = card["training"]["forgetting"]
    assert forgot["dataset"] == "pumps" and card["training"]["stages"][-1]["name"] == "all"
    with pytest.raises(OptionError, match="was made with --answer multiclass"):
        train(data, described, tmp_path / "never", before=tmp_path / "first", answer=commands.Answer.binary)
    with pytest.raises(OptionError, match="only a language model can be continued"):
        train(
            data,
            described,
            tmp_path / "never",
            detector="forest",
            set=None,
            epochs=None,
            before=tmp_path / "first",
        )
    grid.write_text("epochs = []\n")
    with pytest.raises(InputError, match="lists no values to try"):
        train(data, described, tmp_path / "never", epochs=None, grid=grid)
    with pytest.raises(OptionError, match="'widht'. Did you mean 'width'"):
        train(data, described, tmp_path / "never", set=["widht=3"])
    assert not (tmp_path / "never").exists()


def test_an_adapter_of_an_open_model_detects_by_the_same_line_from_anywhere(
    pumps: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, described = pumps
    small_models.llama(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    card = train(
        data, described, tmp_path / "model", base="base", epochs=0.05, set=["threads=1", "length=200"]
    )
    monkeypatch.chdir("/")
    assert (
        card["training"]["method"] == "lora"
        and card["training"]["trainable"] < card["training"]["parameters"]
    )
    verdicts, run = detect(data, tmp_path / "model", tmp_path / "found")
    assert len(verdicts) == 600 and verdicts["label"].null_count() == 0 and run["ok"]
    for to, precision in ((Target.onnx, "fp32"), (Target.merged, None)):
        exported = tmp_path / to
        commands.export_model(tmp_path / "model", output=exported, to=to, precision=precision)
        again, run = detect(data, exported, tmp_path / f"found-{to}", abstain=0.3)
        chances = [name for name in verdicts.columns if name.startswith("p_")]
        np.testing.assert_allclose(again[chances].to_numpy(), verdicts[chances].to_numpy(), atol=1e-4)
        assert run["abstained"]["error"] == 0.3
    card = json.loads((tmp_path / "onnx" / "card.json").read_text())
    assert (card["labels"], card["canonical"]["Scan"]) == (["Normal", "Scan", "SynFlood"], "recon.port_scan")
    assert (tmp_path / "onnx" / "model" / "model.onnx").is_file()
    assert not (tmp_path / "onnx" / "model" / "adapter_config.json").exists()
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"is not in .*/base any more"):
        detect(data, tmp_path / "model", tmp_path / "lost")


def test_a_trained_folder_is_a_base_by_its_own_name(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    few = ["threads=1", "length=200"]
    train(
        data,
        described,
        tmp_path / "first",
        base=str(small_models.llama(tmp_path / "base")),
        epochs=0.02,
        set=few,
    )
    card = train(data, described, tmp_path / "second", base=str(tmp_path / "first"), epochs=0.02, set=few)
    assert card["training"]["base"] == str(tmp_path / "first" / "model")
    detector = make("zero-shot", base=str(tmp_path / "first"), threads=1)
    assert detector.fit(pl.read_csv(data)[:20].select("packets", "bytes"), ["a", "b"] * 10).model is not None
    train(data, described, tmp_path / "small", epochs=0.5)
    commands.export_model(tmp_path / "small", output=tmp_path / "exported", precision="int8")
    one, other = (
        detect(data, tmp_path / name, tmp_path / f"found-{name}")[0] for name in ("small", "exported")
    )
    assert one.equals(other)


def test_what_would_go_unheard_is_refused(
    pumps: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, described = pumps
    for name in ("method", "base", "epochs", "leave_out"):
        with pytest.raises(OptionError, match=f"--set {name}: that has an option of its own"):
            train(data, described, tmp_path / "never", set=[f"{name}=1"])
    with pytest.raises(InputError, match=r"pumps.*only a detector that was made for its rows"):
        commands.detect([data], output=tmp_path / "never")
    train(data, described, tmp_path / "model", epochs=0.5)
    for options, said in (
        ({"detector": "cascade"}, "a detector of its own, a language"),
        ({"truth": data}, "are for captures"),
        ({"idle": 5.0}, "are for captures"),
    ):
        with pytest.raises(OptionError, match=said):
            detect(data, tmp_path / "model", tmp_path / "never", **options)
    with pytest.raises(OptionError, match="is a language. Leave --detector out"):
        train(data, described, tmp_path / "never", set=None, detector="cascade", before=tmp_path / "model")
    grid = tmp_path / "grid.toml"
    grid.write_text("epochs = [0.5]\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="--grid is for one process"):
        train(data, described, tmp_path / "never", epochs=None, grid=grid)
    assert not (tmp_path / "never").exists()


def test_prompts_that_did_not_fit_are_told(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    base = str(small_models.llama(tmp_path / "base"))
    done = commands.train(
        [data],
        output=tmp_path / "model",
        map=described,
        base=base,
        epochs=0.01,
        set=["threads=1", "length=40"],
    )
    assert any("prompts lost their middle" in warning for warning in done.warnings)


def test_a_wrong_base_is_one_line(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    with pytest.raises(Exception, match="no-such/model"):
        train(data, described, tmp_path / "model", base="no-such/model", set=None)
    assert not (tmp_path / "model").exists()


def test_what_learnt_recordings_judges_captures(tmp_path: Path) -> None:
    captures = Path(commands.CAPTURES)
    options: dict[str, Any] = {
        "epochs": 0.3,
        "set": TINY,
        "detector": "cascade",
        "output": tmp_path / "model",
    }
    commands.train([captures / "demo"], **options)
    commands.detect(
        [captures / "tiny" / "capture.pcap"], model=str(tmp_path / "model"), output=tmp_path / "found"
    )
    verdicts = pl.read_parquet(tmp_path / "found" / "verdicts.parquet")
    assert set(verdicts["detector"]) == {"cascade"} and verdicts.height > 10
    assert isinstance(json.loads((tmp_path / "found" / "incidents.json").read_text()), list)
    run = json.loads((tmp_path / "found" / "run.json").read_text())
    assert (
        sum(stage["share"] for stage in run["stages"]) == pytest.approx(1)
        and run["drift"]["distinct_rows"] > 5
    )
    commands.detect(
        [captures / "tiny" / "capture.pcap"], model=str(tmp_path / "model"), output=tmp_path / "told",
        truth=captures / "tiny" / "truth.csv", abstain=0.3, budget="0s",
    )  # fmt: skip
    run = json.loads((tmp_path / "told" / "run.json").read_text())
    assert run["abstained"]["error"] == 0.3 and run["coverage"][0]["promised"] == 0.7
    assert next(stage for stage in run["stages"] if stage["stage"] == "model")["asked"] == 0
    for names in ((str(tmp_path / "model"), None), ("language", str(tmp_path / "model"))):
        loaded: Any = load_detector(*names)
        assert loaded.calibration is not None and loaded.model is not None and loaded.report.rows == 0


def test_asking_stands_beside_trees_in_a_comparison(pumps: tuple[Path, Path], tmp_path: Path) -> None:
    data, described = pumps
    base = small_models.qwen2(tmp_path / "base")
    data.write_text("\n".join(data.read_text().splitlines()[:61]) + "\n")
    commands.labelled.evaluate_detector(
        data=[data], map=described, output=tmp_path / "report", folds=2, model=str(base),
        detector=["zero-shot", "few-shot", "forest"], keep=tmp_path / "kept",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert set(metrics["detectors"]) == {"zero-shot", "few-shot", "forest"}
    with pytest.raises(OptionError, match="Name one with --model"):
        commands.labelled.evaluate_detector(
            data=[data], map=described, output=tmp_path / "never", folds=2, detector=["zero-shot"]
        )

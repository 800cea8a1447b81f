"""The GPU bench, where there is no GPU: every row it promises, in the units it promises, and what its figures rest on."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
if not all(
    map(importlib.util.find_spec, ("transformers", "peft", "trl", "bitsandbytes"))
):  # to import them takes long
    pytest.skip("needs the train extra", allow_module_level=True)

SCRIPT = Path(__file__).parent.parent / "bench" / "gpu.py"
FIGURES = {
    "score": {"flows", "seconds", "flows_per_s", "tokens_per_s", "tokens_a_flow"},
    "ladder": {"asked", "seconds", "seconds_per_sample", "distinct_share"},
    "tune": {"updates", "seconds", "tokens_per_s", "trainable"},
    "scratch": {"parameters", "updates", "seconds", "tokens_per_s"},
}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The script as a module."""
    told = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert told and told.loader
    module = importlib.util.module_from_spec(told)
    sys.modules[told.name] = module  # dataclasses look their module up
    told.loader.exec_module(module)
    return module


def run(output: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What the script writes, and what it says, on the CPU alone."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "-o", str(output), *options],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    return json.loads(output.read_text("utf-8")), done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return run(tmp_path_factory.mktemp("bench") / "new" / "gpu.json", "--seconds", "0.01")


def rows_of(found: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return [row for row in found["rows"] if row["part"] == part and "not_run" not in row]


@pytest.mark.slow
def test_every_row_is_there_with_its_figures_and_says_it_is_no_gpu(whole: tuple[dict[str, Any], str]) -> None:
    found, said = whole
    assert found["note"] in said and "say nothing about a GPU" in found["note"]
    assert found["machine"]["name"] == "CPU" and found["machine"]["cuda"] is None
    for row in found["rows"]:
        assert row["device"] == "cpu" and row["small"] is True
        if row.get("attention") == "flash_attention_2":
            assert "FlashAttention" in row["not_run"].replace(" ", "")
            continue
        assert "not_run" not in row, row
        assert all(row[figure] > 0 for figure in FIGURES[row["part"]]), row
        assert row["peak_memory_gb"] is None and row.get("share_of_peak") is None
    settings = {(row["precision"], row["attention"]) for row in rows_of(found, "score")}
    assert settings == {("fp32", "eager"), ("fp32", "sdpa"), ("int8", "sdpa"), ("int4", "sdpa")}
    assert {row["level"] for row in rows_of(found, "score")} == {"rich", "detailed", "basic"}
    methods = {(row["method"], row["checkpointing"], row["packing"]) for row in rows_of(found, "tune")}
    assert methods == {(name, *two) for name in ("lora", "qlora") for two in ((False, False), (False, True), (True, False), (True, True))}  # fmt: skip
    assert [row["shape"] for row in rows_of(found, "scratch")] == ["nano", "25m"]
    assert rows_of(found, "scratch")[1]["parameters"] == pytest.approx(25e6, rel=0.05)


@pytest.mark.slow
def test_speeds_are_what_was_done_by_the_time_it_took(whole: tuple[dict[str, Any], str]) -> None:
    found, _ = whole
    for row in rows_of(found, "score"):
        assert row["flows_per_s"] == pytest.approx(row["flows"] / row["seconds"], rel=0.02)
        assert row["tokens_per_s"] == pytest.approx(row["flows_per_s"] * row["tokens_a_flow"], rel=0.02)
    for row in rows_of(found, "tune"):
        assert row["tokens_per_s"] == pytest.approx(row["updates"] * row["tokens_a_pass"] / row["seconds"], rel=0.02)  # fmt: skip
    rich, detailed, basic = (
        next(row["tokens_a_flow"] for row in rows_of(found, "score") if row["level"] == level)
        for level in ("rich", "detailed", "basic")
    )
    assert rich > detailed > basic
    fastest = max(row["flows_per_s"] for row in rows_of(found, "score") if row["level"] == "rich")
    assert found["best"]["score"]["flows_per_s"] == fastest


@pytest.mark.slow
def test_a_rung_changes_one_thing_of_the_last_that_was_kept(whole: tuple[dict[str, Any], str]) -> None:
    found, _ = whole
    ladder = [row for row in found["rows"] if row["part"] == "ladder"]
    names = ("way", "samples", "tokens", "precision", "attention", "prefix", "rows")
    above = ladder[0]
    assert above["adds"] == {} and above["samples"] == 1 and above["way"] == "write" and above["kept"]
    for row in ladder[1:]:
        changed = {name: row[name] for name in names if row[name] != above[name]}
        if row["way"] == "score":
            changed.pop("tokens", None)  # nothing is written any more
        assert changed == row["adds"] and len(changed) == 1
        above = row if row["kept"] else above
    last = ladder[-1]
    assert (
        last["kept"] and last["prefix"] == "once" and last["distinct_share"] == pytest.approx(0.147, abs=0.02)
    )
    assert found["best"]["ladder"] == last
    assert found["best"]["ladder_times_faster"] == pytest.approx(
        ladder[0]["seconds_per_sample"] / last["seconds_per_sample"], abs=0.06
    )


@pytest.mark.slow
def test_when_time_is_over_every_row_says_so_and_the_file_is_whole(tmp_path: Path) -> None:
    found, _ = run(tmp_path / "gpu.json", "--limit", "0")
    assert {row["not_run"] for row in found["rows"]} == {"no time was left"}
    assert {row["part"] for row in found["rows"]} == set(FIGURES)
    assert found["best"] == {} and [path.name for path in tmp_path.iterdir()] == ["gpu.json"]


def test_the_kept_file_is_of_this_script(bench: ModuleType) -> None:
    kept = json.loads((SCRIPT.parent / "results" / "gpu.json").read_text("utf-8"))
    assert kept["formulas"] == bench.FORMULAS and tuple(kept["labels"]) == bench.LABELS
    assert kept["small"] is (kept["device"] == "cpu")
    assert len([row for row in kept["rows"] if row["part"] == "ladder"]) == len(bench.LADDER)


def test_made_flows_are_all_different_and_the_same_for_a_seed(bench: ModuleType) -> None:
    prompts = bench.asked(bench.made_flows(200, 3), "detailed")
    assert len(set(prompts)) == 200
    assert prompts == bench.asked(bench.made_flows(200, 3), "detailed")
    assert prompts != bench.asked(bench.made_flows(200, 4), "detailed")


def test_the_model_has_the_shape_and_the_tokenizer_cuts_digits(bench: ModuleType, tmp_path: Path) -> None:
    base = bench.SIZES["small"].base
    bench.build(tmp_path, base, bench.made_flows(8, 0), "cpu", 0)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, words = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    norms_and_biases = sum(weight.numel() for weight in model.parameters() if weight.dim() == 1)
    assert sum(weight.numel() for weight in model.parameters()) - norms_and_biases == base.parameters
    assert [words.decode([number]) for number in words("1460")["input_ids"]] == ["1", "4", "6", "0"]
    assert max(len(words(label)["input_ids"]) for label in bench.LABELS) <= 4


@pytest.mark.slow
def test_the_work_of_tuning_is_what_torch_counts(bench: ModuleType, tmp_path: Path) -> None:
    """4 a frozen weight and token, 6 an adapter's: against PyTorch's own count of multiplications, attention aside."""
    from torch.utils.flop_counter import FlopCounterMode

    size = bench.SIZES["small"]
    bench.build(tmp_path, size.base, bench.made_flows(8, 0), "cpu", 0)
    kept = bench.Bench(tmp_path / "x", {"device": "cpu"}, size, tmp_path, None, 0.0, 0, 0.0)
    model = bench.adapted("lora", "eager", kept)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trainable == size.base.trainable
    tokens = torch.ones((1, 50), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens).loss.backward()
    counted = sum(
        flops
        for kind, flops in counter.get_flop_counts()["Global"].items()
        if kind in (torch.ops.aten.mm, torch.ops.aten.addmm)
    )
    expected = 50 * (4 * (size.base.projected + size.base.embedded) + 6 * trainable)
    assert counted == pytest.approx(expected, rel=0.03)


def test_a_share_is_told_only_of_a_known_device(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench._share(1e12) is None or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L4")
    assert bench._share(60.5e12) == 0.5
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L40S")
    assert bench._share(60.5e12) is None

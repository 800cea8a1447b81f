"""The model in the box, on the recordings in the box, none of which it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from wirespeak import lab
from wirespeak.detect.language import LanguageDetector
from wirespeak.detect.verdicts import judge
from wirespeak.evaluate.metrics import macro_f1
from wirespeak.explain.incidents import count_found, group
from wirespeak.flow.meter import measure
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.lm import IN_THE_BOX
from wirespeak.lm.onnx import OnnxLanguageModel
from wirespeak.text import sentences
from wirespeak.wire import Frames, decode, read_frames

CAPTURES = Path(lab.__file__).parent / "captures"
CARD = json.loads((IN_THE_BOX / "card.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return LanguageDetector.load(threads=2)


@pytest.fixture(scope="module")
def demo() -> LabelledFlows:
    return read_recording(CAPTURES / "demo")


def test_it_is_small_and_says_what_it_saw() -> None:
    assert (IN_THE_BOX / "model.onnx").stat().st_size <= 16e6
    assert CARD["training"]["parameters"] <= 10e6
    assert CARD["recordings"]["train"] and "demo" not in str(CARD["recordings"])


def test_a_sentence_is_short(detector: LanguageDetector, demo: LabelledFlows) -> None:
    model = detector.model
    assert isinstance(model, OnnxLanguageModel)
    lengths = [len(ids) for ids in model.tokens(sentences(demo.flows).to_list())]
    assert np.median(lengths) <= 48


def test_each_attack_of_the_demo_is_one_incident_with_the_right_label(
    detector: LanguageDetector, demo: LabelledFlows
) -> None:
    verdicts = judge(detector, demo.flows)
    groups = group(demo.flows, verdicts, evidence_floor=CARD["evidence_floor"])
    attacks, found, false = count_found(demo.flows, demo.labels.to_list(), groups)
    assert (attacks, found, false) == (6, 6, 0), [(g.label, len(g.rows)) for g in groups]


def test_a_quiet_home_has_no_incident(detector: LanguageDetector) -> None:
    quiet = read_recording(CAPTURES / "quiet")
    assert set(quiet.labels) == {"normal"}
    assert group(quiet.flows, judge(detector, quiet.flows), evidence_floor=CARD["evidence_floor"]) == []


@pytest.mark.slow
def test_it_is_the_weights_that_judge(
    detector: LanguageDetector, demo: LabelledFlows, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    from wirespeak.interfaces.recipe import random_model

    random_model(IN_THE_BOX, tmp_path)
    truth = demo.labels.to_list()
    trained, random = (
        macro_f1(truth, judge(each, demo.flows)["label"].to_list())
        for each in (detector, LanguageDetector.load(str(tmp_path)))
    )
    assert random < 1 / len(set(truth))
    assert trained > 0.8


@pytest.mark.slow
def test_verdicts_do_not_depend_on_the_other_flows_judged_with_them(
    detector: LanguageDetector, demo: LabelledFlows
) -> None:
    few = demo.flows.gather_every(len(demo.flows) // 40)
    together = detector.predict(demo.flows)[:: len(demo.flows) // 40][: len(few)]
    alone = np.concatenate([detector.predict(few[row]) for row in range(len(few))])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_identifies_the_lab_changes_no_verdict(detector: LanguageDetector) -> None:
    frames = read_frames(CAPTURES / "tiny" / "capture.pcap").frames
    plain, disguised = (measure(decode(each)) for each in (frames, _disguised(frames)))
    assert set(plain["src"]).isdisjoint(disguised["src"].to_list()) or "0.0.0.0" in plain["src"]
    assert plain["src_port"].to_list() != disguised["src_port"].to_list()
    before, after = (judge(detector, flows).sort("flow_id") for flows in (plain, disguised))
    assert before["label"].to_list() == after["label"].to_list()
    np.testing.assert_array_equal(
        before.select(pl.col("^p_.*$")).to_numpy(), after.select(pl.col("^p_.*$")).to_numpy()
    )


def _disguised(frames: Frames) -> Frames:
    """The same traffic with other addresses, MACs, client ports, TTLs and clock, each mapped one to one."""
    rng = np.random.default_rng(1)
    ports = np.arange(65536)
    client = np.arange(32768, 65536)
    ports[client] = rng.permutation(client)
    data = [bytearray(frames.bytes_of(row)) for row in range(len(frames))]
    for frame in data:
        for place in (0, 6):
            if not frame[place] & 1:
                frame[place + 3 : place + 6] = bytes(b ^ 0x5A for b in frame[place + 3 : place + 6])
        kind = int.from_bytes(frame[12:14], "big")
        if kind == 0x0806:
            for place in (22, 32):
                frame[place + 3 : place + 6] = bytes(b ^ 0x5A for b in frame[place + 3 : place + 6])
            for place in (28, 38):
                _move(frame, place)
        if kind == 0x0800:
            frame[22] = max(1, frame[22] - 7)
            for place in (26, 30):
                _move(frame, place)
            head = 14 + 4 * (frame[14] & 15)
            if frame[23] in (6, 17) and not int.from_bytes(frame[20:22], "big") & 0x1FFF:
                for place in (head, head + 2):
                    frame[place : place + 2] = int(
                        ports[int.from_bytes(frame[place : place + 2], "big")]
                    ).to_bytes(2, "big")
            if frame[23] == 1 and frame[head] in (3, 11):
                for place in (head + 8 + 12, head + 8 + 16):
                    _move(frame, place)
                for place in (head + 28, head + 30):
                    frame[place : place + 2] = int(
                        ports[int.from_bytes(frame[place : place + 2], "big")]
                    ).to_bytes(2, "big")
    times: NDArray[np.int64] = frames.time_ns + 86_400_000_000_000 * 400
    return Frames.of(times.tolist(), [bytes(frame) for frame in data])


def _move(frame: bytearray, place: int) -> None:
    """An IPv4 address to another one; special ones stay."""
    if frame[place] not in (0, 127, 255) and frame[place] < 224:
        frame[place] ^= 0x15
        frame[place + 1] ^= 0x33

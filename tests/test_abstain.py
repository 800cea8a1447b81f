"""Abstention keeps its promise where rows are exchangeable, says so where they are not, and never invents an answer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from wirespeak.detect.abstain import (
    UNKNOWN,
    Abstention,
    Fold,
    auroc,
    choose_novelty,
    novelty,
    p_values,
)
from wirespeak.errors import InputError, ModelError, OptionError
from wirespeak.evaluate.metrics import wilson
from wirespeak.interfaces.sure import Sure

LABELS = ("normal", "flood.syn", "recon.sweep")


def judged(count: int, seed: int, *, moved: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What an imperfect model says of rows, and the truth. moved: how far the rows drifted."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, count, p=(0.7, 0.2, 0.1))
    scores = rng.normal(0, 1, (count, 3)) + 2.5 * np.eye(3)[truth] * (1 - moved)
    powers = np.exp(scores)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), truth.astype(np.int64)


def calibrated(error: float = 0.1, seed: int = 0) -> Abstention:
    return Abstention.fit(*judged(3000, seed), labels=LABELS, error=error)


@pytest.mark.parametrize("error", [0.02, 0.1, 0.3])
def test_each_label_is_covered_as_often_as_promised(error: float) -> None:
    """Over many calibrations: the mean coverage is at least what is promised, and no more than one rank above."""
    covered = []
    for seed in range(30):
        table = calibrated(error, seed).coverage(*judged(3000, 1000 + seed))
        covered.append(table.filter(pl.col("label").is_not_null()).sort("label")["covered"].to_list())
    mean = np.mean(covered, axis=0)
    assert (mean > 1 - error - 0.01).all() and (mean < 1 - error + 0.02).all()


def test_p_values_are_shares_of_rows_as_strange() -> None:
    probabilities, truth = judged(500, 3)
    asked, _ = judged(40, 4)
    found = Abstention.fit(probabilities, truth, labels=LABELS, error=0.1).p_values(asked)
    for code in range(3):
        own = 1 - probabilities[truth == code, code].astype(np.float64)
        for row in range(40):
            unlike = 1 - float(asked[row, code])
            assert found[row, code] == pytest.approx((1 + (own >= unlike).sum()) / (1 + len(own)))
    assert p_values(np.array([]), np.array([0.3]))[0] == 1.0


def test_one_label_is_an_answer_and_anything_else_is_not() -> None:
    abstention = calibrated(0.01)
    probabilities = np.array([[0.98, 0.01, 0.01], [0.4, 0.35, 0.25], [0.02, 0.96, 0.02], [np.nan] * 3])
    answers = abstention.answers(probabilities)
    assert answers["label"].to_list() == ["normal", UNKNOWN, "flood.syn", None]
    assert answers["reason"].to_list() == ["", "ambiguous", "", "no usable answer"]
    assert abstention.sets(probabilities)[3].sum() == 0
    sure = Abstention.fit(np.eye(3)[np.arange(300) % 3] * 0.97 + 0.01, np.arange(300) % 3, labels=LABELS)
    assert sure.answers(probabilities[1:2]).row(0) == (UNKNOWN, "strange")
    assert sure.answers(probabilities[:0]).height == 0


def test_a_label_with_few_rows_is_held_to_what_all_rows_show() -> None:
    probabilities, truth = judged(400, 5)
    keep = (truth != 2) | (np.cumsum(truth == 2) <= 8)
    abstention = Abstention.fit(probabilities[keep], truth[keep], labels=LABELS, error=0.1)
    assert abstention.pooled == ("recon.sweep",)
    assert calibrated().pooled == ()
    assert abstention.sets(np.array([[0.99, 0.005, 0.005]]))[0].tolist() == [True, False, False]


def test_coverage_that_drift_broke_is_reported() -> None:
    abstention = calibrated()
    fair, drifted = (abstention.coverage(*judged(4000, 6, moved=moved)) for moved in (0.0, 0.8))
    assert not fair["broken"][0] and fair["low"][0] < 0.9 < fair["high"][0] + 0.02
    assert drifted["broken"][0] and drifted["covered"][0] < 0.8
    n, covered = fair["n"][1], fair["covered"][1]
    assert (fair["low"][1], fair["high"][1]) == pytest.approx(wilson(covered * n, n))


def test_rows_of_labels_nobody_taught_are_right_when_unknown() -> None:
    probabilities = np.array([[0.98, 0.01, 0.01], [0.36, 0.33, 0.31], [np.nan] * 3, [0.98, 0.01, 0.01]])
    table = calibrated().coverage(probabilities, np.array([-1, -1, -1, 0]))
    last = table.row(-1, named=True)
    assert (last["label"], last["n"], last["promised"], last["broken"]) == (UNKNOWN, 3, None, False)
    assert last["covered"] == pytest.approx(1 / 3)
    assert table["n"][0] == 1


def test_a_card_comes_back_and_a_damaged_one_does_not() -> None:
    abstention = calibrated()
    asked, _ = judged(200, 7)
    card = json.loads(json.dumps(abstention.card()))
    np.testing.assert_array_equal(Abstention.from_card(card).p_values(asked), abstention.p_values(asked))
    assert max(len(own) for own in abstention.known) == 1000
    for damage in ({"known": [[0.1]]}, {"error": 2}, {"novelty_by": "guess"}, {"everyone": "none"}):
        with pytest.raises(ModelError, match="describes no abstention"):
            Abstention.from_card(card | damage)
    with pytest.raises(ModelError, match="describes no abstention"):
        Abstention.from_card({})


def test_wrong_calls_are_one_clear_error() -> None:
    probabilities, truth = judged(10, 8)
    with pytest.raises(OptionError, match="error is 1.5"):
        Abstention.fit(probabilities, truth, labels=LABELS, error=1.5)
    with pytest.raises(InputError, match="do not fit"):
        Abstention.fit(probabilities, truth, labels=LABELS[:2])
    with pytest.raises(InputError, match="no row"):
        Abstention.fit(probabilities, truth * 0 - 1, labels=LABELS)
    with pytest.raises(OptionError, match="Did you mean 'entropy'"):
        Abstention.fit(probabilities, truth, labels=LABELS, novelty_by="entropie")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="energy needs the scores"):
        novelty(probabilities, by="energy")


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(9)
    scores, positive = rng.integers(0, 12, 150).astype(float), rng.random(150) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, positive & False))


def test_every_novelty_score_calls_a_flat_answer_stranger_than_a_sharp_one() -> None:
    raw = np.array([[9.0, 0.0, 0.0], [1.0, 0.9, 0.8], [4.0, 3.9, 0.0]])
    chances = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    for by in ("probability", "entropy", "margin", "energy"):
        sharp, flat, _ = novelty(chances, by=by, scores=raw)  # type: ignore[arg-type]
        assert flat > sharp
    assert novelty(np.full((1, 3), np.nan))[0] == np.inf
    assert novelty(chances, by="margin")[2] == pytest.approx(1 - (chances[2, 0] - chances[2, 1]))


def test_the_novelty_score_is_chosen_by_what_separates_names_left_out() -> None:
    """Strange rows whose raw scores are low but whose probabilities look like any other: energy alone sees them."""
    rng = np.random.default_rng(10)
    raw = rng.normal(0, 1, (400, 3))
    strange = np.arange(400) < 100
    raw[strange] -= 6
    chances = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    best, means = choose_novelty([Fold(chances, strange, raw)])
    assert best == "energy" and means["energy"] > 0.95 > 0.6 > means["entropy"]
    without, known = choose_novelty([Fold(chances, strange)])
    assert "energy" not in known and known[without] == max(known.values())
    with pytest.raises(InputError, match="no fold"):
        choose_novelty([])


def test_an_unusable_answer_shifts_no_other_verdict() -> None:
    known = SimpleNamespace(at=calibrated, watch=lambda: None, abstention=calibrated())
    sure = Sure(SimpleNamespace(labels=LABELS, calibration=known), 0.1)
    certain, torn = [0.998, 0.001, 0.001], [0.34, 0.33, 0.33]
    chances = np.array([[np.nan] * 3, torn, certain, torn, certain], np.float32)
    labels = [None, "normal", "normal", "normal", "normal"]
    aside = ["no answer", None, None, None, None]
    verdicts = pl.DataFrame({"label": labels, "canonical": labels, "set_aside": aside})
    found = sure.spoken(verdicts, chances)
    assert found["label"].to_list() == [None, UNKNOWN, "normal", UNKNOWN, "normal"]
    assert found["canonical"].to_list() == found["label"].to_list()

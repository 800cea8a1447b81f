"""The judge agrees with scikit-learn and with the plain definitions, and its intervals hold what they promise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wirespeak.errors import InputError
from wirespeak.evaluate.compare import compare, mcnemar, mcnemar_by_group
from wirespeak.evaluate.cost import measured
from wirespeak.evaluate.coverage import threshold
from wirespeak.evaluate.intervals import numbered, once, share
from wirespeak.evaluate.judge import Judgement, judge
from wirespeak.evaluate.metrics import calibration_error, macro_f1, per_label
from wirespeak.evaluate.ranking import ranking

LABELS = ("normal", "dos", "probe")


def guesses(
    n: int, *, skill: float = 2.0, seed: int = 0, silent: int = 0
) -> tuple[list[str], NDArray[np.float64]]:
    """Truth and probabilities of a detector that is right more often the more skill it has."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities[:silent] = np.nan
    return [LABELS[place] for place in truth], probabilities


def value(judgement: Judgement, name: str) -> float:
    score = judgement.score(name)
    assert score is not None, name
    return score.value


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_areas_are_those_of_scikit_learn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle needs wirespeak[baselines]")
    scores, real = np.array([s for s, _ in pairs], float), np.array([r for _, r in pairs])
    roc, average, rate = once(ranking(scores, real, recall=0.8), len(pairs))
    if real.all() or not real.any():
        assert np.isnan([roc, average, rate]).all()
        return
    assert roc == pytest.approx(metrics.roc_auc_score(real, scores))
    assert average == pytest.approx(metrics.average_precision_score(real, scores))
    false, found, _ = metrics.roc_curve(real, scores, drop_intermediate=False)
    assert rate == pytest.approx(false[np.argmax(found >= 0.8 - 1e-12)])


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle needs wirespeak[baselines]")
    truth, probabilities = guesses(500)
    found = judge(truth, probabilities, LABELS, rounds=20)
    answers = [LABELS[place] for place in probabilities.argmax(axis=1)]
    assert value(found, "accuracy") == pytest.approx(metrics.accuracy_score(truth, answers))
    assert value(found, "balanced accuracy") == pytest.approx(metrics.balanced_accuracy_score(truth, answers))
    for mean in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(truth, answers, average=mean)[:3]
        got = [value(found, f"{mean}-{figure}") for figure in ("precision", "recall", "F1")]
        assert got == pytest.approx(list(expected))
    real = np.array(truth)
    areas = [metrics.roc_auc_score(real == label, probabilities[:, i]) for i, label in enumerate(LABELS)]
    assert value(found, "macro ROC area") == pytest.approx(np.mean(areas))
    hostile = real != "normal"
    assert value(found, "attack PR area") == pytest.approx(
        metrics.average_precision_score(hostile, 1 - probabilities[:, 0])
    )
    assert value(found, "binary accuracy") == pytest.approx(
        np.mean(hostile == (np.array(answers) != "normal"))
    )
    assert value(found, "calibration error") == pytest.approx(
        calibration_error(probabilities.max(axis=1), np.array(answers) == real)
    )


def test_no_answer_is_wrong_everywhere_and_counted() -> None:
    truth, probabilities = guesses(300, skill=9.0, silent=30)
    found = judge(truth, probabilities, LABELS, rounds=20)
    assert value(found, "answered") == 0.9
    assert value(found, "accuracy") <= 0.9
    assert found.confusion.filter(answer="(none)")["n"].sum() == 30
    assert found.confusion["n"].sum() == 300
    silent, hostile = np.arange(300) < 30, np.array(truth) != "normal"
    assert value(found, "attack ROC area") <= (~silent)[hostile].mean()
    assert value(found, "false-alarm rate at 95% recall") > 0
    assert value(found, "risk-coverage area") > 0


def test_a_label_the_detector_does_not_have_is_wrong_and_weighs_in_the_mean() -> None:
    truth, probabilities = guesses(200, skill=9.0)
    found = judge([*truth, "worm"], np.vstack([probabilities, probabilities[:1]]), LABELS, rounds=20)
    assert found.labels[-1] == "worm"
    assert found.per_label.filter(label="worm")["recall"].item() == 0
    answers = [LABELS[i] for i in probabilities.argmax(axis=1)]
    answers.append(answers[0])
    assert value(found, "macro-F1") == pytest.approx(macro_f1([*truth, "worm"], answers))
    expected = dict(per_label([*truth, "worm"], answers).select("label", "f1").iter_rows())
    assert dict(found.per_label.select("label", "f1").iter_rows()) == pytest.approx(expected)


def test_every_score_lies_in_its_interval_and_the_seed_decides() -> None:
    truth, probabilities = guesses(400)
    groups = np.arange(400) // 4
    first, again, other = (
        judge(truth, probabilities, LABELS, groups=groups, seed=seed) for seed in (1, 1, 2)
    )
    assert first.scores == again.scores != other.scores
    for score in first.scores:
        assert score.low is not None and score.high is not None, score
        if score.name != "calibration error":  # it rises under resampling
            assert score.low <= score.value <= score.high, score


def test_duplicates_do_not_narrow_the_interval() -> None:
    truth, probabilities = guesses(100)
    once_each = judge(truth, probabilities, LABELS)
    copied = judge(truth * 20, np.tile(probabilities, (20, 1)), LABELS, groups=np.tile(np.arange(100), 20))
    for name in ("accuracy", "macro-F1", "attack ROC area", "attack recall"):
        a, b = once_each.score(name), copied.score(name)
        assert a and b and a.low and b.low and a.high and b.high
        assert b.value == pytest.approx(a.value)
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.15)


def test_copies_count_once_where_that_is_asked() -> None:
    truth, probabilities = guesses(200)
    plain = judge(truth, probabilities, LABELS, rounds=20)
    again = np.r_[np.arange(200), np.zeros(300, int)]
    found = judge([truth[i] for i in again], probabilities[again], LABELS, groups=again, rounds=20)
    distinct = found.score("macro-F1 over distinct rows")
    assert distinct is not None and distinct.n == 200
    assert distinct.value == pytest.approx(value(plain, "macro-F1")) != value(found, "macro-F1")
    assert plain.score("macro-F1 over distinct rows") is None


def test_an_interval_of_grouped_shares_covers_the_truth() -> None:
    """Groups of ten rows that agree: 95 of 100 intervals should hold the true share of .3."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        hit = np.repeat(rng.random(60) < 0.3, 10)
        found = share("x", hit, np.ones(600, bool), numbered(np.arange(600) // 10, 600))
        assert found and found.low is not None and found.high is not None
        held += found.low <= 0.3 <= found.high
    assert held >= 184


def test_the_threshold_keeps_its_promise_whatever_the_ties() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(300):
        normal = np.round(rng.random(120), 1)
        rates.append(np.mean(normal[:60] > threshold(normal[60:], false_alarms=0.05)))
    assert np.mean(rates) <= 0.05
    assert threshold(np.arange(10.0), false_alarms=0.05) == np.inf


def test_unseen_attacks_are_held_against_a_threshold_from_elsewhere() -> None:
    truth = ["normal"] * 100 + ["dos"] * 50 + ["probe"] * 50
    attack = np.concatenate([np.linspace(0, 0.5, 100), np.full(50, 0.9), np.linspace(0.3, 0.8, 50)])
    probabilities = np.stack([1 - attack, attack, np.zeros(200)], axis=1)
    unseen = np.arange(200) >= 150
    names = ["normal"] * 100 + ["neptune"] * 50 + ["saint"] * 50
    found = judge(
        truth,
        probabilities,
        LABELS,
        unseen=unseen,
        calibration=np.linspace(0, 0.5, 200),
        names=names,
        rounds=20,
    )
    expected = np.mean(attack[150:] > np.linspace(0, 0.5, 200)[190])
    assert value(found, "unseen recall at 5 % false alarms") == pytest.approx(expected)
    assert value(found, "false-alarm rate there") == pytest.approx(0.05, abs=0.011)
    assert found.per_name.select("name", "unseen").rows() == [("saint", True), ("neptune", False)]
    folds = np.repeat([0, 1], 100)
    split = judge(truth, probabilities, LABELS, unseen=unseen, folds=folds,
                  calibration=[np.linspace(0, 0.5, 200), np.full(200, 1.0)], rounds=20)  # fmt: skip
    assert value(split, "unseen recall at 5 % false alarms") == 0


def test_mcnemar_agrees_with_its_definitions() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 15) == pytest.approx(0.04138947)  # binom.test(5, 20)
    assert mcnemar(500, 500) == pytest.approx(1.0)
    exact, corrected = mcnemar(450, 550), mcnemar(451, 551)
    assert exact == pytest.approx(corrected, rel=0.05)
    rows = np.arange(1000) % 2 == 0
    assert mcnemar_by_group(rows, np.zeros(1000, bool), np.zeros(1000, np.int64)) == pytest.approx(
        0.317, abs=1e-3
    )


def test_paired_tests_tell_skill_from_luck() -> None:
    truth, good = guesses(600, skill=3.0)
    other_truth, bad = guesses(600, skill=1.0)
    assert truth == other_truth
    found = compare({"bad": judge(truth, bad, LABELS, rounds=10), "good": judge(truth, good, LABELS, rounds=10),
                     "twin": judge(truth, good, LABELS, rounds=10)}, rounds=200)  # fmt: skip
    clear = found.filter(better="good", worse="bad").row(0, named=True)
    assert clear["low"] > 0 and clear["p_holm"] < 0.05 and clear["mcnemar_p"] < 1e-6
    same = found.filter(better="good", worse="twin").row(0, named=True)
    assert same["difference"] == 0 and same["p"] == same["p_holm"] == 1 and same["mcnemar_p"] == 1
    with pytest.raises(InputError, match="same rows"):
        compare(
            {"a": judge(truth, good, LABELS, rounds=10), "b": judge(truth[:9], good[:9], LABELS, rounds=10)}
        )


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        judge([], np.zeros((0, 3)), LABELS)
    with pytest.raises(InputError, match="expected \\(2, 3\\)"):
        judge(["dos", "dos"], np.zeros((2, 2)), LABELS)
    lonely = judge(["dos"], np.array([[0.1, 0.8, 0.1]]), LABELS)
    assert lonely.score("attack ROC area") is None
    assert value(lonely, "accuracy") == 1.0


def test_memory_and_time_are_measured() -> None:
    with measured() as cost:
        block = np.ones(8_000_000)
    assert cost.wall_s > 0
    assert cost.peak_bytes is None or cost.peak_bytes > block.nbytes / 2


def test_a_label_that_draws_leave_out_does_not_move_the_interval_away() -> None:
    truth = ["normal"] * 500 + ["dos"] * 500 + ["u2r"]
    chances = np.tile([0.1, 0.9, 0.0], (len(truth), 1))
    chances[500:1000] = [0.9, 0.1, 0.0]
    chances[:20] = [0.9, 0.1, 0.0]
    judgement = judge(truth, chances, ["dos", "normal", "u2r"])
    for name in ("macro-F1", "balanced accuracy", "macro PR area"):
        found = judgement.score(name)
        assert found is not None and found.low is not None and found.high is not None
        assert found.value - 0.02 < found.low <= found.value <= found.high < found.value + 0.02


def test_memory_of_children_counts() -> None:
    grow = "import time; block = bytearray(b'x' * 80_000_000); time.sleep(1)"
    with measured() as cost:
        subprocess.run([sys.executable, "-c", grow], check=True)
    assert cost.peak_bytes is None or cost.peak_bytes > 80_000_000

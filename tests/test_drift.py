"""Drift is called when it comes, seldom when it does not, and alike however the stream is cut."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wirespeak.detect.drift import MOVED, STILL, Drift, stability
from wirespeak.errors import InputError, OptionError
from wirespeak.schema import COLUMNS


def rows(count: int, seed: int, *, moved: float = 0.0) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """A stream of three columns, one of which may move, and how strange each row looks."""
    rng = np.random.default_rng(seed)
    size = rng.normal(moved, 1, count)
    table = pl.DataFrame(
        {
            "size": size,
            "gaps": rng.integers(0, 5, count),
            "protocol": rng.choice(["tcp", "udp"], count, p=(0.8, 0.2)),
        }
    )
    return table, np.round(np.abs(size), 1)  # many ties


def slow_ranks(before: list[float], scores: list[float], drawn: list[float]) -> list[float]:
    """Each row's rank among all before it, counted one by one."""
    found, seen = [], list(before)
    for score, chance in zip(scores, drawn, strict=True):
        seen.append(score)
        higher, equal = sum(one > score for one in seen), sum(one == score for one in seen)
        found.append((higher + chance * equal) / len(seen))
    return found


def test_ranks_are_those_counted_one_by_one() -> None:
    drift, (_, scores) = Drift(*rows(40, 1), seed=5), rows(600, 2)
    found = np.concatenate([drift._ranks(scores[start : start + 200]) for start in range(0, 600, 200)])
    drawn = 1 - np.random.default_rng(5).random(600)
    expected = slow_ranks(rows(40, 1)[1].tolist(), scores.tolist(), drawn.tolist())
    np.testing.assert_allclose(found, expected)


def test_an_exchangeable_stream_raises_the_alarm_no_oftener_than_stated() -> None:
    """400 streams at a stated chance of 10 %: more than 14 % would come by luck in less than 1 of 100."""
    alarms = 0
    for seed in range(400):
        table, scores = rows(260, 10 + seed)
        drift = Drift(table[:60], scores[:60], columns=["size"], false_alarm=0.1, seed=seed)
        alarms += drift.see(table[60:], scores[60:]) is not None
    assert alarms / 400 <= 0.14


@pytest.mark.parametrize("at", [0, 500])
def test_it_says_when_and_which_column(at: int) -> None:
    drift = Drift(*rows(500, 3))
    assert drift.see(*rows(500, 4)) is None and "nothing shows" in drift.says()
    drift.see(*rows(at, 5))
    alarm = drift.see(*rows(400, 6, moved=2.5))
    assert alarm is not None and 500 + at <= alarm < 500 + at + 150
    assert drift.see(*rows(50, 7)) == alarm, "the first alarm stands"
    table = drift.moved()
    assert table["column"][0] == "size" and table["index"][0] > MOVED
    assert (table["index"][1:] < STILL).all()
    assert f"From row {alarm:,} on" in drift.says() and "size" in drift.says() and "gaps" not in drift.says()


def test_columns_of_flows_are_said_in_words() -> None:
    usual = pl.DataFrame({"gap_grade": np.zeros(200, np.int64)})
    drift = Drift(usual, np.zeros(200))
    drift.see(usual + 9, np.ones(200))
    assert drift.alarm is not None
    assert f"gap_grade, {COLUMNS['gap_grade'].meaning} (" in drift.says()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_pieces_say_what_the_whole_says(cuts: list[int]) -> None:
    table, scores = rows(300, 8, moved=1.0)
    whole, pieces = (Drift(*rows(100, 9), seed=2) for _ in range(2))
    whole.see(table, scores)
    edges = [0, *sorted(cuts), 300]
    for start, stop in zip(edges, edges[1:], strict=False):
        pieces.see(table[start:stop], scores[start:stop])
    assert pieces.alarm == whole.alarm and pieces.rows == whole.rows == 300
    assert pieces.log_capital == pytest.approx(whole.log_capital)
    assert pieces.moved().equals(whole.moved())


def test_a_fair_game_stays_fair_on_average() -> None:
    """The mean capital over many exchangeable streams is one unit, as a martingale's must be."""
    capital = []
    for seed in range(500):
        table, scores = rows(60, 5000 + seed)
        drift = Drift(table[:30], scores[:30], columns=["gaps"], seed=seed)
        drift.see(table[30:], scores[30:])
        capital.append(np.exp(drift.log_capital))
    assert np.mean(capital) == pytest.approx(1, abs=4 * np.std(capital) / 500**0.5)


def test_a_long_stream_of_certain_loss_or_gain_stays_finite() -> None:
    drift = Drift(pl.DataFrame({"x": [0, 1]}), np.array([0.0, 1.0]))
    drift.see(pl.DataFrame({"x": range(3000)}), np.arange(3000) + 2.0)
    assert 500 < drift.log_capital < 3000 and np.isfinite(drift.highest)
    assert drift.alarm is not None and drift.alarm < 60


def test_what_is_new_or_missing_counts_as_moved() -> None:
    usual = pl.DataFrame({"text": ["a", "b"] * 50, "number": [1.0, 2.0] * 50, "still": [1, 2] * 50})
    drift = Drift(usual, np.zeros(100))
    drift.see(
        pl.DataFrame(
            {"text": ["new"] * 100, "number": [None] * 100, "still": [2, 1] * 50}, schema=usual.schema
        ),
        np.full(100, np.inf),
    )
    index = dict(drift.moved().select("column", "index").iter_rows())
    assert index["text"] > MOVED and index["number"] > MOVED and index["still"] < 0.01


def test_stability_is_that_of_the_book() -> None:
    usual, counts = np.array([100, 300, 600]), np.array([200, 300, 500])
    p, q = usual / 1000, counts / 1000
    by_hand = sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability(usual, counts) == pytest.approx(by_hand, rel=0.02)
    assert stability(usual, np.zeros(3, np.int64)) == 0


def test_wrong_calls_are_one_clear_error() -> None:
    table, scores = rows(20, 1)
    with pytest.raises(OptionError, match="false_alarm is 0"):
        Drift(table, scores, false_alarm=0)
    with pytest.raises(InputError, match="no rows to compare"):
        Drift(table[:0], scores[:0])
    with pytest.raises(InputError, match="20 rows came with 3"):
        Drift(table, scores[:3])
    with pytest.raises(InputError, match="holds List"):
        Drift(table.with_columns(pl.Series("odd", [[1]] * 20)), scores, columns=["odd"])
    drift = Drift(table, scores)
    with pytest.raises(InputError, match="lacks column 'size'"):
        drift.see(table.drop("size"), scores)
    with pytest.raises(InputError, match="not a number"):
        drift.see(table, scores * np.nan)

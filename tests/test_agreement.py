"""Scores of answers against the truth agree with the plain definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirespeak.evaluate.agreement import agreement
from wirespeak.evaluate.metrics import macro_f1

LABELS = ("normal", "flood.syn", "recon.sweep")


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "unknown", None])),
        min_size=1,
        max_size=40,
    )
)
def test_the_values_are_those_of_the_definitions(pairs: list[tuple[str, str | None]]) -> None:
    truth, answers = [real for real, _ in pairs], [said for _, said in pairs]
    accuracy, f1 = agreement(truth, answers)
    assert accuracy.value == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert f1.value == pytest.approx(macro_f1(truth, answers))
    assert -1e-9 <= accuracy.low <= accuracy.value + 1e-9 <= accuracy.high + 2e-9  # type: ignore[operator]


def test_the_interval_narrows_with_more_flows() -> None:
    few, many = (agreement(["normal", "flood.syn"] * n, ["normal", "normal"] * n)[1] for n in (10, 1000))
    assert many.high - many.low < few.high - few.low  # type: ignore[operator]

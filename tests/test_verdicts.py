"""The verdict table: its columns, its label, and rows without an answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl

from wirespeak.detect.verdicts import judge

WHO = ("flow_id", "first_seen", "src", "dst", "src_port", "dst_port", "protocol")
FLOWS = pl.DataFrame({name: [0, 1, 2] if name == "flow_id" else ["a", "b", "c"] for name in WHO})


def test_the_likeliest_label_is_the_verdict_and_a_row_of_nan_is_none() -> None:
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]], np.float32)
    detector = SimpleNamespace(name="language", labels=("normal", "flood.syn"), predict=lambda flows: answers)
    table = judge(detector, FLOWS)  # type: ignore[arg-type]
    assert table.columns == [
        *WHO, "label", "canonical", "probability", "p_normal", "p_flood.syn", "score_attack", "detector", "set_aside"
    ]  # fmt: skip
    assert table["label"].to_list() == ["normal", "flood.syn", None]
    assert [reason is None for reason in table["set_aside"]] == [True, True, False]
    np.testing.assert_allclose(table["score_attack"].to_list()[:2], [0.1, 0.8], atol=1e-6)
    assert table["probability"][2] is None and table["p_normal"][2] is None

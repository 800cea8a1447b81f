"""What a model learns judging from: how many examples of what, and which rows stand for `unknown`."""

from __future__ import annotations

import numpy as np
import polars as pl
from made_flows import flow, table

from wirespeak.detect.language import judge_examples
from wirespeak.text import compact

FLOWS = table(
    [
        flow(
            i,
            "10.0.0.2",
            "10.0.0.9",
            service="web",
            application="http",
            fwd_bytes=200 + i,
            src_hosts_2s=i % 3,
        )
        for i in range(200)
    ]
)


def _unknown(labels: list[str]) -> pl.DataFrame:
    """The columns of the rows taught as unknown."""
    examples = judge_examples(FLOWS, labels, seed=3, count=4000)
    strange = [e.prompt.split() for e in examples if "unknown" in e.answer]
    return compact.decode([" ".join(words[1:-1]) for words in strange])


def test_unknown_lies_far_beyond_ordinary_traffic() -> None:
    taught = _unknown(["normal"] * len(FLOWS))
    usual = {
        name: float(FLOWS[name].cast(pl.Float64).max())
        for name in taught.columns
        if FLOWS[name].dtype.is_numeric()
    }
    beyond = np.column_stack([(taught[name] > most).to_numpy() for name, most in usual.items()])
    assert len(taught) > 50
    assert beyond.any(axis=1).mean() > 0.95
    assert set(taught["application"]) == {"http"} and set(taught["protocol"]) == {"tcp"}


def test_nothing_is_unknown_where_no_row_goes_beyond_its_like() -> None:
    few = FLOWS.head(10)
    examples = judge_examples(few, ["normal"] * 10, seed=3, count=400)
    assert not [e for e in examples if "unknown" in e.answer]

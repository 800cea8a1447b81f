"""The last stage of a cascade: any larger model, asked where the cascade's own is unsure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="asking an open model needs wirespeak[train]")

import small_models
from test_spoken import TINY, rows

from wirespeak.detect import load_detector
from wirespeak.detect.cascade import Budget, Cascade
from wirespeak.detect.drawer import make
from wirespeak.detect.larger import ask_also
from wirespeak.errors import ModelError, OptionError
from wirespeak.flow import read_flows
from wirespeak.interfaces import commands
from wirespeak.interfaces.spending import Spending

CAPTURE = Path(commands.CAPTURES) / "tiny" / "capture.pcap"


@pytest.mark.slow
def test_an_open_model_or_a_trained_folder_is_asked_about_rows(tmp_path: Path) -> None:
    cascade: Any = make("cascade", **TINY | {"epochs": 20}).fit(*rows())
    table, _ = rows(60, seed=3)
    plain = cascade.predict(table)
    ask_also(cascade, str(small_models.qwen2(tmp_path / "base")), price=0.5)
    cascade.cascade.thresholds, cascade.cascade.doubt = {}, 1.1
    asked = cascade.predict(table)
    stage = cascade.report["large"]
    assert stage.asked == stage.rows > 0 and stage.money == stage.asked * 0.5
    assert np.abs(asked - plain).max() > 0.1
    cascade.budget = Budget(money=5.0)
    cascade.cascade.ask_also(cascade.cascade.large, 0.5)
    assert (cascade.cascade.spent, cascade.predict(table) is None) == (stage.money, False)
    other: Any = make("language", **TINY | {"epochs": 2}).fit(*rows(more=True))
    other.save(tmp_path / "other")
    with pytest.raises(ModelError, match="not the same"):
        ask_also(cascade, str(tmp_path / "other"))
    same: Any = make("language", **TINY | {"epochs": 2}).fit(*rows())
    same.save(tmp_path / "same")
    ask_also(cascade, str(tmp_path / "same"))
    cascade.budget = Budget()
    np.testing.assert_allclose(cascade.predict(table), same.predict(table), atol=1e-6)


@pytest.mark.slow
def test_an_open_model_is_asked_about_flows(tmp_path: Path) -> None:
    cascade: Any = load_detector("cascade")
    flows = read_flows([CAPTURE]).flows[:20]
    ask_also(cascade, str(small_models.qwen2(tmp_path / "base")))
    cascade.thresholds, cascade.doubt = {}, 1.1
    chances = cascade.predict(flows)
    assert cascade.report["large"].asked > 0 and np.isfinite(chances).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("spending", "said"),
    [
        (Spending(price=2.0), "Name one, or leave it out"),
        (Spending(Budget(money=2.0)), "needs --large and --price"),
    ],
)
def test_what_a_cascade_cannot_do_is_refused(spending: Spending, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        spending.allow(Cascade.load(), "cpu")


def test_only_a_cascade_has_a_budget_and_a_last_stage() -> None:
    detector = load_detector("language")
    with pytest.raises(OptionError, match="--budget is for cascades"):
        Spending(Budget(seconds=1.0)).allow(detector, "cpu")
    with pytest.raises(OptionError, match="--large is the last stage of a cascade"):
        Spending(large="any").allow(detector, "cpu")

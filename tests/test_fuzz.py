"""The doors that strangers' bytes come in by, fed what a search found worth keeping (`fuzz/search.py`)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from fuzz.seeds import MADE
from fuzz.targets import TARGETS, corpus, feed

from wirespeak.data import tables
from wirespeak.errors import InputError
from wirespeak.flow import Meter


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_search_kept_is_read_or_refused(name: str) -> None:
    for path in corpus(name):
        feed(TARGETS[name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_project_makes_is_read(name: str) -> None:
    assert all(feed(TARGETS[name], data) for data in MADE[name]())


def test_a_flow_table_with_words_for_numbers_is_refused(tmp_path: Path) -> None:
    flows = Meter().flush()
    wrong = flows.clear(1).with_columns(fwd_packets=pl.lit("many"))
    tables.write(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match="wrong.parquet: cannot be read as a flow table"):
        tables.read([tmp_path / "wrong.parquet"])

"""Classes, parts and rows side by side: effects that a slow count confirms, and words that say them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from wirespeak.data.dataset import Dataset, Field
from wirespeak.data.planted import base
from wirespeak.data.profile import profiles, traits_of, two_classes, two_parts, two_rows
from wirespeak.errors import OptionError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    made = base(8, rows=600)
    loud = (made.names == made.names.unique().sort()[0]).to_numpy()
    volume = np.where(loud, 900.0, 3.0) + np.arange(600) % 7 / 1000
    return replace(
        made,
        table=made.table.with_columns(volume=pl.Series(volume)),
        fields=made.fields | {"volume": Field("volume", "number", unit="bytes")},
    )


def test_the_effect_is_cliffs_delta(dataset: Dataset) -> None:
    mine = (dataset.names == "normal").to_numpy()
    trait = next(trait for trait in traits_of(dataset, mine) if trait.column == "count_2s")
    values = dataset.table["count_2s"].to_numpy()
    pairs = np.sign(values[mine][:, None] - values[~mine][None, :])
    assert trait.effect == pytest.approx(pairs.mean())


def test_a_profile_says_what_sets_a_class_apart(dataset: Dataset) -> None:
    found = profiles(dataset)
    assert [profile.label for profile in found] == sorted(set(dataset.labels))
    first = found[0]
    assert first.traits[0].column == "volume" and first.traits[0].effect == 1.0
    assert "volume is larger: a median of 900" in first.words and "bytes" in first.words
    assert first.rows == int((dataset.labels == first.label).sum())


def test_side_by_side(dataset: Dataset) -> None:
    rows = two_rows(dataset, 0, 1)
    assert rows["column"].to_list() == list(dataset.fields)
    assert (rows["same"] == (rows["first"] == rows["second"])).all()
    labels = sorted(set(dataset.labels))
    classes = two_classes(dataset, labels[0], labels[1])
    assert classes["column"][0] == "volume"
    parts = two_parts(dataset, np.arange(300), np.arange(300, 600))
    assert parts.filter(pl.col("column") == "label")["first"].sum() == pytest.approx(1)
    assert parts["effect"].abs().max() < 0.3  # type: ignore[operator]
    with pytest.raises(OptionError, match="rows 0 to 599"):
        two_rows(dataset, 0, 600)
    with pytest.raises(OptionError, match="unknown label"):
        two_classes(dataset, "normal", "nromal")

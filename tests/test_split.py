"""Splits keep apart what they promise to keep apart, and stay where they are when rows are added."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wirespeak.data.balance import evened, resampled, smote
from wirespeak.data.dataset import Dataset, Field
from wirespeak.data.fingerprint import copies, fingerprints, numbered
from wirespeak.data.planted import base
from wirespeak.data.sources import read_dataset
from wirespeak.data.split import PROTOCOLS, Protocol, class_weights, feature_groups, folds, split, stages
from wirespeak.errors import InputError, OptionError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """1,500 distinct rows, of which 300 occur twice, with a time and a recording."""
    rng = np.random.default_rng(4)
    made = base(4, rows=1500)
    made = made.take(rng.permutation(np.r_[np.arange(1500), np.arange(300)]))
    table = made.table.with_columns(time=pl.Series(rng.permutation(len(made)) / 7))
    fields = made.fields | {"time": Field("time", "number", "time", "s")}
    parts = pl.Series(["training", "testing"]).gather(rng.integers(0, 2, len(made)))
    return replace(
        made, table=table, fields=fields, partition=parts, groups=pl.Series(np.arange(len(made)) // 60)
    )


def _more(dataset: Dataset, extra: int = 200) -> Dataset:
    """The dataset with other rows after its own."""
    other = base(5, rows=extra)
    table = other.table.with_columns(time=pl.Series(np.arange(extra) / 3))
    assert dataset.groups is not None
    return replace(
        dataset,
        table=pl.concat([dataset.table, table]),
        names=pl.concat([dataset.names, other.names]),
        labels=pl.concat([dataset.labels, other.labels]),
        canonical=pl.concat([dataset.canonical, other.canonical]),
        groups=pl.concat([dataset.groups, dataset.groups.head(extra)]),
        partition=None,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_row_is_on_both_sides_and_the_seed_decides(dataset: Dataset, protocol: str) -> None:
    first, again = (folds(dataset, protocol=protocol, seed=3) for _ in range(2))  # type: ignore[arg-type]
    assert len(first) == (1 if protocol == "official" else 3)
    for fold, same in zip(first, again, strict=True):
        assert len(fold.train) and len(fold.test)
        assert not set(fold.train) & set(fold.test)
        assert np.array_equal(fold.train, same.train) and np.array_equal(fold.test, same.test)
        seen = set(dataset.names[fold.train])
        assert fold.unseen == set(dataset.names[fold.test]) - seen - {"normal"}


@pytest.mark.parametrize("protocol", ["random", "stratified", "group", "host", "recording"])
def test_each_row_is_tested_once(dataset: Dataset, protocol: str) -> None:
    tested = np.concatenate([fold.test for fold in folds(dataset, protocol=protocol, k=4)])  # type: ignore[arg-type]
    assert np.array_equal(np.sort(tested), np.arange(len(dataset)))


def test_each_protocol_keeps_together_what_it_names(dataset: Dataset) -> None:
    groups = feature_groups(dataset)
    assert dataset.groups is not None
    kept = {
        "group": groups,
        "names-out": groups,
        "host": dataset.table["src_ip"].to_numpy(),
        "recording": dataset.groups.to_numpy(),
    }
    for protocol, together in kept.items():
        for fold in folds(dataset, protocol=protocol):  # type: ignore[arg-type]
            assert not set(together[fold.train]) & set(together[fold.test]), protocol
    random = folds(dataset, protocol="random")[0]
    assert set(groups[random.train]) & set(groups[random.test])


def test_stratified_folds_have_equal_shares(dataset: Dataset) -> None:
    whole = dataset.labels.value_counts().sort("label")
    for fold in folds(dataset, protocol="stratified"):
        part = dataset.labels[fold.test].value_counts().sort("label")
        assert ((part["count"] - whole["count"] / 3).abs() <= 1).all()


def test_time_judges_what_came_later(dataset: Dataset) -> None:
    time = dataset.table["time"].to_numpy()
    for fold in folds(dataset, protocol="time"):
        assert time[fold.train].max() < time[fold.test].min()


def test_every_attack_name_is_left_out_of_one_fold(dataset: Dataset) -> None:
    found = folds(dataset, protocol="names-out")
    left_out = [name for fold in found for name in fold.unseen]
    assert sorted(left_out) == sorted(set(dataset.names) - {"normal"})
    for fold in found:
        assert "normal" in set(dataset.names[fold.test])


def test_a_label_of_several_names_never_loses_all(dataset: Dataset) -> None:
    one = replace(dataset, labels=pl.Series("label", np.where(dataset.names == "normal", "normal", "attack")))
    for fold in folds(one, protocol="names-out", k=2):
        assert set(one.labels[fold.train]) == {"normal", "attack"}


@pytest.mark.parametrize("protocol", ["random", "group", "recording"])
def test_added_rows_leave_the_others_where_they_are(dataset: Dataset, protocol: str) -> None:
    more = _more(dataset)
    for before, after in zip(folds(dataset, protocol=protocol), folds(more, protocol=protocol), strict=True):  # type: ignore[arg-type]
        assert np.array_equal(before.test, after.test[after.test < len(dataset)])


def test_added_rows_move_no_more_than_themselves_when_stratified(dataset: Dataset) -> None:
    moved = sum(
        len(set(before.test) - set(after.test))
        for before, after in zip(
            folds(dataset, protocol="stratified"),
            folds(_more(dataset, 50), protocol="stratified"),
            strict=True,
        )
    )
    assert moved <= 2 * 50


def test_the_order_of_rows_and_columns_does_not_matter(dataset: Dataset) -> None:
    order = np.random.default_rng(0).permutation(len(dataset))
    turned = dataset.take(order)
    turned = replace(turned, table=turned.table.select(reversed(turned.table.columns)))
    before, after = folds(dataset, protocol="group")[0], folds(turned, protocol="group")[0]
    assert np.array_equal(before.test, np.sort(order[after.test]))


def test_stages_are_nested_balanced_and_without_copies(dataset: Dataset) -> None:
    found = stages(dataset, np.arange(len(dataset)), sizes=(100, 400, 1000, 99_999))
    assert list(found) == ["100", "400", "1k", "all"]
    groups = feature_groups(dataset)
    sizes = [len(rows) for rows in found.values()]
    assert sizes == [100, 400, 1000, 1500]
    for smaller, larger in zip(found.values(), list(found.values())[1:], strict=False):
        assert set(smaller) <= set(larger)
    for rows in found.values():
        assert len(set(groups[rows])) == len(rows)
    counts = dataset.labels[found["100"]].value_counts()["count"]
    assert int(counts.max()) - int(counts.min()) <= 1  # type: ignore[arg-type]


def test_official_with_a_test_file_counts_its_rows(dataset: Dataset) -> None:
    train = dataset.take(np.flatnonzero((dataset.names != "scan").to_numpy()))
    test = dataset.take(np.arange(50))
    fold = folds(train, protocol="official", test=test)[0]
    assert len(fold.train) == len(train) and np.array_equal(fold.test, np.arange(50))
    assert fold.unseen == set(test.names) & {"scan"}
    with pytest.raises(OptionError, match="--test FILE"):
        folds(replace(dataset, partition=None), protocol="official")


@pytest.mark.parametrize(
    ("protocol", "lacks", "says"),
    [
        ("time", "time", "no time column"),
        ("host", "address", "no addresses"),
        ("recording", "", "which recording"),
        ("tme", "", "Did you mean 'time'"),
    ],
)
def test_what_a_dataset_lacks_is_said(dataset: Dataset, protocol: str, lacks: str, says: str) -> None:
    fields = {name: field for name, field in dataset.fields.items() if field.role != lacks}
    bare = replace(dataset, fields=fields, table=dataset.table.select(list(fields)), groups=None)
    with pytest.raises(OptionError, match=says):
        folds(bare, protocol=protocol)  # type: ignore[arg-type]


def test_split_writes_three_parts_and_what_they_are(dataset: Dataset, tmp_path: Path) -> None:
    card = split(
        dataset, tmp_path, dedupe=True, drop=["host"] if "host" in dataset.features() else [], seed=1
    )
    tables = {name: pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("train", "validation", "test")}
    assert (
        sum(table.height for table in tables.values()) == 1500 == len(dataset) - card["duplicates_left_out"]
    )
    rows = np.concatenate([table["row"].to_numpy() for table in tables.values()])
    assert len(set(rows)) == 1500
    keys = [set(fingerprints(table, card["columns"])) for table in tables.values()]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    for table in tables.values():
        assert table.columns == [*card["columns"], "row", "name", "label", "canonical"]
        assert not {"src_ip", "src_port", "time"} & set(table.columns)
        assert (dataset.names[table["row"].to_numpy()] == table["name"]).all()
    assert json.loads((tmp_path / "split.json").read_text()) == card
    assert card["parts"]["test"]["rows"] == tables["test"].height


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_split_takes_every_protocol(dataset: Dataset, tmp_path: Path, protocol: str) -> None:
    card = split(dataset, tmp_path, protocol=protocol, with_stages=True)  # type: ignore[arg-type]
    assert all(card["parts"][part]["rows"] for part in ("train", "validation", "test"))
    assert (tmp_path / "train-all.parquet").is_file()


@pytest.mark.parametrize(("groups", "parted"), [(8, "recording"), (6, "group")])
def test_split_says_how_validation_was_chosen(
    dataset: Dataset, tmp_path: Path, groups: int, parted: str
) -> None:
    few = replace(dataset, groups=pl.Series(np.arange(len(dataset)) % groups))
    card = split(few, tmp_path, protocol="recording", test_share=0.34, validation_share=0.12)
    assert (card["protocol"], card["validation_protocol"]) == ("recording", parted)


@pytest.mark.parametrize("protocol", ["group", "names-out"])
def test_parts_are_read_as_the_dataset_they_are_of(
    dataset: Dataset, tmp_path: Path, protocol: Protocol
) -> None:
    split(dataset, tmp_path, protocol=protocol)
    read = {name: read_dataset([tmp_path / f"{name}.parquet"]) for name in ("train", "test")}
    for part in read.values():
        place = part.table["row"].to_numpy()
        wanted = dataset.take(place)
        assert part.name == dataset.name and part.features() == dataset.features()
        assert part.table.select(part.features()).equals(wanted.table.select(part.features()))
        assert part.names.equals(wanted.names) and part.labels.equals(wanted.labels)
        assert part.canonical.equals(wanted.canonical)
    again = folds(read["train"], protocol="group", k=5)
    assert min(len(fold.test) for fold in again) > len(read["train"]) / 8
    with pytest.raises(InputError, match="a part of"):
        read_dataset([tmp_path / "test.parquet"], source="ton-iot")


def test_stages_have_no_copies_in_the_columns_that_are_left(dataset: Dataset, tmp_path: Path) -> None:
    card = split(dataset, tmp_path, drop=dataset.features()[1:], with_stages=True)
    left = pl.read_parquet(tmp_path / "train-all.parquet")
    assert left.height == left[card["columns"][0]].n_unique() < card["parts"]["train"]["rows"]


def test_fingerprints_know_values_not_types() -> None:
    table = pl.DataFrame({"a": [1, 1, None, 2**60, 2**60 + 1], "b": ["x", "x", None, "x", "x"]})
    keys = fingerprints(table)
    assert keys[0] == keys[1] and len(set(keys.tolist())) == 4
    assert fingerprints(table[:2].with_columns(pl.col("a").cast(pl.Float64)))[0] == keys[0]
    assert (
        fingerprints(pl.DataFrame({"a": [0.0, -0.0]})).tolist()[0]
        == fingerprints(pl.DataFrame({"a": [0]}))[0]
    )
    # These numbers are written on disks: they must never change.
    assert int(keys[0]) == PINNED
    assert numbered(keys).tolist() == [0, 0, 1, 2, 3]
    assert copies(keys).tolist() == [0, 1, 0, 0, 0]


PINNED = 8355118757959133039


def test_resampling_makes_labels_even(dataset: Dataset) -> None:
    counts = dataset.labels.value_counts()["count"]
    for method, goal in (("over", counts.max()), ("under", counts.min())):
        rows = resampled(dataset.labels, method=method)  # type: ignore[arg-type]
        assert set(dataset.labels[rows].value_counts()["count"]) == {goal}
    weights = class_weights(dataset.labels)
    assert sum(weights[label] for label in dataset.labels) == pytest.approx(len(dataset), rel=1e-3)


@pytest.mark.slow
def test_smote_adds_rows_between_neighbours(dataset: Dataset) -> None:
    pytest.importorskip("imblearn", reason="SMOTE needs wirespeak[baselines]")
    features = dataset.table.select(dataset.features())
    made, labels = smote(features, dataset.labels)
    assert set(labels.value_counts()["count"]) == {dataset.labels.value_counts()["count"].max()}
    assert made.head(len(dataset)).equals(features.with_columns(pl.selectors.numeric().cast(pl.Float64)))
    added = made[len(dataset) :]
    assert set(added["proto"]) <= set(features["proto"])
    assert (added["fwd_bytes"] <= features["fwd_bytes"].max()).all()


@pytest.mark.slow
def test_numbers_that_are_missing_cannot_be_mixed(dataset: Dataset) -> None:
    pytest.importorskip("imblearn", reason="SMOTE needs wirespeak[baselines]")
    features = dataset.table.select("fwd_bytes", "proto").with_columns(
        fwd_bytes=pl.when(pl.int_range(pl.len()) != 5).then("fwd_bytes")
    )
    with pytest.raises(OptionError, match="fwd_bytes"):
        smote(features, dataset.labels)


def test_rows_names_and_labels_are_evened_together(dataset: Dataset) -> None:
    features = dataset.table.select(dataset.features())
    for way, size in (("over", "max"), ("under", "min")):
        made, labels, names = evened(features, dataset.labels, dataset.names, way=way, seed=1)  # type: ignore[arg-type]
        counts = dataset.labels.value_counts()["count"]
        assert set(labels.value_counts()["count"]) == {getattr(counts, size)()}
        assert names is not None and len(made) == len(labels) == len(names)
        known = set(zip(dataset.names, dataset.labels, strict=True))
        assert set(zip(names, labels, strict=True)) <= known

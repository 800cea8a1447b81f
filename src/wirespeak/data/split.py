"""Which rows a detector learns from and which it is judged on.

A row's side follows from a keyed hash of what must stay together (its features, its host, its recording), never
from its place in the file: rows that are added later leave the others where they are. The protocols:

| protocol | what never stands on both sides |
|---|---|
| random | nothing: copies of one row land anywhere. The number most papers print, and too good |
| stratified | nothing; every label in equal shares |
| group | rows with equal features |
| host | a source host |
| time | the later part of the capture is judged by what came before it |
| recording | a capture, a recording, a flow: `Dataset.groups` |
| names-out | attack names: each fold judges some that its training never saw, and no equal features |
| official | as the publishers divided it |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.dataset import ANSWERS, Dataset
from wirespeak.data.fingerprint import Keys, codes, copies, fingerprints, mixed, numbered, uniform, words
from wirespeak.data.sources.parts import described
from wirespeak.errors import InputError, OptionError, unknown_name

Rows = NDArray[np.int64]
Protocol = Literal["random", "stratified", "group", "host", "time", "recording", "names-out", "official"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

STAGES = (10_000, 30_000, 70_000, 150_000)
_APART = 1_000_000
WHOLE = 1_000
"""A name of at most this many rows that is left out is judged whole; of a larger one, its share."""


@dataclass(frozen=True)
class Fold:
    """One training and test side: positions of rows, ascending. unseen: attack names that only the test side has."""

    name: str
    train: Rows
    test: Rows
    unseen: frozenset[str]


def folds(
    dataset: Dataset,
    *,
    protocol: Protocol = "group",
    k: int = 3,
    seed: int = 0,
    test: Dataset | None = None,
    fields: Sequence[str] | None = None,
) -> list[Fold]:
    """The folds of a protocol: `k` of them, one for `official`.

    fields: the columns that make rows equal, by default the features. With `test` given (official only),
    `Fold.test` counts the rows of `test`. Raises OptionError where the dataset lacks what a protocol needs.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    if protocol == "official":
        return [_official(dataset, test)]
    if k < 2:
        raise OptionError(f"{k} folds leave nothing to compare. Ask for 2 or more.")
    if not len(dataset):
        raise InputError(f"{dataset.title}: no rows to split.")
    if protocol == "time":
        return _in_time(dataset, k)
    if protocol == "names-out":
        return _names_out(dataset, k, seed, fields)
    place = _PLACES[protocol](dataset, k, seed, fields)
    if len(np.unique(place)) < k:
        raise OptionError(
            f"{dataset.title} cannot be split {protocol} into {k}: some get no rows. Ask for fewer folds, larger shares or another seed."
        )
    return [_fold(dataset, f"{protocol}-{i + 1}", place != i, place == i) for i in range(k)]


def feature_groups(dataset: Dataset, fields: Sequence[str] | None = None) -> Rows:
    """The number of the duplicate group of each row, from 0: equal where all `fields` (default: features) are."""
    return numbered(fingerprints(dataset.table, dataset.features() if fields is None else fields))


def stages(
    dataset: Dataset,
    rows: Rows,
    *,
    sizes: Sequence[int] = STAGES,
    seed: int = 0,
    fields: Sequence[str] | None = None,
) -> dict[str, Rows]:
    """Nested training sets out of `rows`: `10k`, `30k`, ... and `all`, each within the next.

    No two rows of a stage are equal in `fields`, by default the features. Every stage but `all` is balanced: labels get equal counts, and
    a label with too few rows gives all it has. A size beyond the distinct rows there are is left out.
    """
    keys = fingerprints(dataset.table[rows], dataset.features() if fields is None else fields)
    distinct = copies(keys) == 0
    rows, keys = rows[distinct], keys[distinct]
    label, _ = codes(dataset.labels[rows])
    order = np.lexsort((mixed(keys, seed), label))
    counts = np.bincount(label)
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.concatenate([np.arange(count) for count in counts])
    chosen = {
        _short(size): np.sort(rows[rank < quotas(counts, size)[label]])
        for size in sorted(sizes)
        if size < len(rows)
    }
    return chosen | {"all": np.sort(rows)}


def split(
    dataset: Dataset,
    output: Path,
    *,
    protocol: Protocol = "group",
    test_share: float = 0.2,
    validation_share: float = 0.1,
    drop: Sequence[str] = (),
    dedupe: bool = False,
    addresses: bool = False,
    with_stages: bool = False,
    seed: int = 0,
    test: Dataset | None = None,
) -> dict[str, Any]:
    """Write `train`, `validation` and `test.parquet` and `split.json` into the folder `output`; returns the latter.

    `split.json` says in `validation_protocol` how the validation part was chosen: by groups of equal rows where the
    protocol leaves too little to choose it in the same way.

    The files hold the features less `drop` (with `addresses`, addresses and ports too) and the `ANSWERS`.
    Columns of any other role are left out: they say who, when or the answer itself. Each file is read again wherever
    the dataset is (`sources/parts.py`). dedupe: keep the first of
    rows with equal features and label. with_stages: `train-10k.parquet`, ... as well. Raises OptionError.
    """
    for name in drop:
        if name not in dataset.fields:
            raise unknown_name("column", name, dataset.fields)
    columns = [name for name in dataset.features(addresses=addresses) if name not in set(drop)]
    taken = sorted(set(columns) & set(ANSWERS))
    if taken:
        raise OptionError(
            f"column '{taken[0]}' has the name of an answer. Leave it out with --drop {taken[0]}."
        )
    kept = _distinct(dataset, columns) if dedupe else np.arange(len(dataset), dtype=np.int64)
    sides, inner = _sides(dataset.take(kept), test, protocol, test_share, validation_share, seed, columns)
    sides = {
        name: rows if name == "test" and test is not None else kept[rows] for name, rows in sides.items()
    }
    tables = {
        name: (test if name == "test" and test is not None else dataset, rows) for name, rows in sides.items()
    }
    if with_stages:
        nested = stages(dataset, sides["train"], seed=seed, fields=columns)
        tables |= {f"train-{name}": (dataset, rows) for name, rows in nested.items()}
    for name, (source, rows) in tables.items():
        _written(source, rows, columns).write_parquet(
            output / f"{name}.parquet", compression="zstd", metadata=described(dataset)
        )
    seen = set(dataset.names[sides["train"]].unique())
    test_names = (test or dataset).take(sides["test"])
    card = {
        "dataset": dataset.name,
        "protocol": protocol,
        "validation_protocol": inner,
        "seed": seed,
        "rows": len(dataset),
        "duplicates_left_out": len(dataset) - len(kept),
        "columns": columns,
        "left_out": [name for name in dataset.fields if name not in columns],
        "parts": {name: _counted(source, rows) for name, (source, rows) in tables.items()},
        "class_weights": class_weights(dataset.labels[sides["train"]]),
        "unseen_in_training": sorted(_attacks(test_names) - seen),
    }
    (output / "split.json").write_text(
        json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return card


def class_weights(labels: pl.Series) -> dict[str, float]:
    """What one row of each label counts so that all labels count alike: rows / (labels x rows of the label)."""
    counts = labels.value_counts(name="n").sort(labels.name or "")
    return {str(label): round(len(labels) / (counts.height * n), 6) for label, n in counts.iter_rows()}


def _fold(dataset: Dataset, name: str, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Fold:
    sides = np.flatnonzero(train), np.flatnonzero(test)
    seen = set(dataset.names.filter(pl.Series(train)).unique())
    judged = _attacks_of(dataset.names.filter(pl.Series(test)), dataset.canonical.filter(pl.Series(test)))
    return Fold(name, *sides, frozenset(judged - seen))


def _attacks(dataset: Dataset) -> set[str]:
    return _attacks_of(dataset.names, dataset.canonical)


def _attacks_of(names: pl.Series, canonical: pl.Series) -> set[str]:
    return set(names.filter(canonical != "normal").drop_nulls().unique())


def _by_row(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> Rows:
    return _share(_row_keys(dataset), k, seed)


def _by_label(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> Rows:
    """Ranges of the hash within each label: at most as many rows change side as were added."""
    keys = mixed(_row_keys(dataset), seed)
    label, _ = codes(dataset.labels)
    place = np.empty(len(keys), np.int64)
    for number in range(label.max() + 1):
        rows = np.flatnonzero(label == number)
        # A label with fewer rows than folds starts at a fold of its own.
        place[rows[np.argsort(keys[rows], kind="stable")]] = (
            np.arange(len(rows)) * k // len(rows) if len(rows) >= k else (number + np.arange(len(rows))) % k
        )
    return place


def _by_features(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> Rows:
    keys = fingerprints(dataset.table, dataset.features() if fields is None else fields)
    return _share(keys, k, seed)


def _by_host(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> Rows:
    known = dataset.columns("address", "mac")
    if not known:
        raise OptionError(f"{dataset.title} says no addresses: it cannot be split by host. Use --by group.")
    return _ranges(words(dataset.table[known[0]]), k, seed, f"hosts in column '{known[0]}'")


def _by_recording(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> Rows:
    if dataset.groups is None:
        raise OptionError(
            f"{dataset.title} does not say which recording a row is from: it cannot be split by recording. Use --by group."
        )
    return _ranges(words(dataset.groups), k, seed, "recordings")


_PLACES: dict[str, Callable[[Dataset, int, int, Sequence[str] | None], Rows]] = {
    "random": _by_row, "stratified": _by_label, "group": _by_features, "host": _by_host, "recording": _by_recording,
}  # fmt: skip


def _row_keys(dataset: Dataset) -> Keys:
    """A key for each row; copies of one row get keys of their own, in order of appearance."""
    keys = fingerprints(dataset.table)
    return mixed(keys + copies(keys).astype(np.uint64) * np.uint64(0xD1342543DE82EF95))


def _share(keys: Keys, k: int, seed: int) -> Rows:
    return (uniform(keys, seed) * k).astype(np.int64)


def _ranges(keys: Keys, k: int, seed: int, what: str) -> Rows:
    """Few groups: equal ranges of their hashes, so that every fold gets some. A new group moves few others."""
    distinct, inverse = np.unique(mixed(keys, seed), return_inverse=True)
    if len(distinct) < k:
        raise OptionError(f"{len(distinct)} {what} cannot make {k} folds. Ask for fewer, or use --by group.")
    return (np.arange(len(distinct)) * k // len(distinct))[inverse]


def _in_time(dataset: Dataset, k: int) -> list[Fold]:
    """Forward chaining: k + 1 stretches of equal size, each but the first judged by all before it."""
    when = clock(dataset)
    known = ~np.isnan(when)
    edges = np.quantile(when[known], np.arange(1, k + 1) / (k + 1), method="lower")
    # Rows of one moment stay together.
    stretch = np.where(known, np.searchsorted(edges, when, side="left"), -1)
    if len(np.unique(stretch[known])) < k + 1:
        raise OptionError(
            f"{dataset.title} has too few moments for {k} stretches of time. Ask for fewer folds."
        )
    return [
        _fold(dataset, f"time-{i}", (stretch >= 0) & (stretch < i), stretch == i) for i in range(1, k + 1)
    ]


def clock(dataset: Dataset) -> NDArray[np.float64]:
    """When each row was, in whatever unit its first time column uses; NaN where that cannot be read.

    Raises OptionError where there is no such column or most of it cannot be read.
    """
    times = dataset.columns("time")
    if not times:
        raise OptionError(f"{dataset.title} has no time column: it cannot be split by time. Use --by group.")
    when = moments(dataset.table[times[0]])
    if np.isnan(when).mean() > 0.5:
        raise OptionError(f"most of column '{times[0]}' is no time. Split another way, such as --by group.")
    return when


def moments(column: pl.Series) -> NDArray[np.float64]:
    """Numbers as they are, dates and times of day as seconds; NaN for anything else."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    text = column.cast(pl.String).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    read = [number]
    for pattern in (
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%d/%m/%Y %H:%M:%S",
        "%d/%m/%Y %H:%M",
        "%Y %H:%M:%S%.f",
    ):
        # A year alone, as Edge-IIoTset writes it, still orders the times of day.
        whole = text if pattern[:3] != "%Y " else text.str.replace(r"^(\d{4}) +", "$1-01-01 ")
        shape = pattern.replace("%Y ", "%Y-%m-%d ") if pattern[:3] == "%Y " else pattern
        date = whole.str.strip_suffix("Z").str.to_datetime(shape, strict=False, time_unit="us")
        read.append(date.dt.epoch("us").cast(pl.Float64) / 1e6)
    best = max(read, key=lambda values: len(values) - values.null_count())
    return best.fill_null(np.nan).to_numpy()


def _names_out(dataset: Dataset, k: int, seed: int, fields: Sequence[str] | None) -> list[Fold]:
    """Fold i judges its share of every group of equal rows, and the names left out of it; it learns from the rest.

    The names of one label are dealt to the folds in turn, in order of their hashes: a label of two names or
    more never loses all of them at once.
    """
    groups = feature_groups(dataset, fields)
    place = _by_features(dataset, k, seed, fields)
    names, counts = dataset.names, dict(dataset.names.value_counts().iter_rows())
    dealt = _deal(dataset, k, seed)
    found = []
    for i in range(k):
        left_out = {name for name, fold in dealt.items() if fold == i}
        unseen = names.is_in(sorted(left_out)).fill_null(False).to_numpy()
        small = (
            names.is_in(sorted(name for name in left_out if counts[name] <= WHOLE))
            .fill_null(False)
            .to_numpy()
        )
        judged = (place == i) | small
        apart = np.bincount(groups[judged], minlength=int(groups.max()) + 1) > 0
        found.append(_fold(dataset, f"names-out-{i + 1}", ~judged & ~unseen & ~apart[groups], judged))
    return found


def _deal(dataset: Dataset, k: int, seed: int) -> dict[str, int]:
    pairs = pl.DataFrame({"name": dataset.names, "label": dataset.labels, "canonical": dataset.canonical})
    attacks = pairs.filter(pl.col("canonical") != "normal").unique(
        ["name"], keep="first", maintain_order=True
    )
    if attacks.height < k:
        raise OptionError(
            f"{attacks.height} attack names cannot be left out in {k} folds. Ask for fewer, or use --by group."
        )
    attacks = attacks.with_columns(hash=pl.Series(mixed(words(attacks["name"]), seed)))
    by_size = attacks.group_by("label").agg(pl.col("name").sort_by("hash"), pl.col("name").len().alias("n"))
    dealt: dict[str, int] = {}
    for name in (
        name
        for _, names, _ in by_size.sort("n", "label", descending=[True, False]).iter_rows()
        for name in names
    ):
        dealt[name] = len(dealt) % k
    return dealt


def _official(dataset: Dataset, test: Dataset | None) -> Fold:
    if test is not None:
        unseen = _attacks(test) - set(dataset.names.unique())
        return Fold("official", np.arange(len(dataset)), np.arange(len(test)), frozenset(unseen))
    parts = pl.Series([""] * len(dataset)) if dataset.partition is None else dataset.partition.fill_null("")
    judged = parts.str.to_lowercase().str.contains("test").to_numpy()
    if not judged.any() or judged.all():
        raise OptionError(
            f"{dataset.title}: these files hold one part of the official division only. Name the other with --test FILE."
        )
    return _fold(
        dataset, "official", ~judged & ~parts.str.to_lowercase().str.contains("val").to_numpy(), judged
    )


def _sides(
    dataset: Dataset,
    test: Dataset | None,
    protocol: Protocol,
    test_share: float,
    validation_share: float,
    seed: int,
    columns: Sequence[str],
) -> tuple[dict[str, Rows], Protocol]:
    """Positions of the rows of train, validation and test, and how validation was parted from train.

    As test was, or by groups where what is left cannot be parted like that again.
    """
    if not (0 < test_share < 1 and 0 < validation_share < 1 - test_share):
        raise OptionError(
            "the shares of test and validation must be above 0 and leave something to train on."
        )
    # Folds of a part that is compared with the same seed must not meet the hashes that made it.
    seed += _APART
    outer = folds(
        dataset, protocol=protocol, k=max(2, round(1 / test_share)), seed=seed, test=test, fields=columns
    )
    fold = outer[-1] if protocol == "time" else outer[0]
    rest = dataset.take(fold.train)
    times = max(2, round((1 - test_share) / validation_share))
    again: Protocol = "group" if protocol == "official" else protocol
    if protocol == "names-out":
        # As many names as there are folds at the least.
        times = min(times, max(2, len(_attacks(rest))))
    try:
        inner = folds(rest, protocol=again, k=times, seed=seed + 1, fields=columns)
    except OptionError:
        again = "group"
        inner = folds(rest, protocol=again, k=times, seed=seed + 1, fields=columns)
    chosen = inner[-1] if again == "time" else inner[0]
    sides = {"train": fold.train[chosen.train], "validation": fold.train[chosen.test], "test": fold.test}
    return sides, again


def _distinct(dataset: Dataset, columns: Sequence[str]) -> Rows:
    table = dataset.table.select(columns).with_columns(dataset.names.alias("name of the row"))
    return np.flatnonzero(copies(fingerprints(table)) == 0)


def _written(dataset: Dataset, rows: Rows, columns: Sequence[str]) -> pl.DataFrame:
    lacking = [name for name in columns if name not in dataset.fields]
    if lacking:
        raise InputError(f"the test file lacks column '{lacking[0]}' of the training file.")
    return (
        dataset.table[rows]
        .select(columns)
        .with_columns(
            row=pl.Series(rows, dtype=pl.Int64),
            name=dataset.names[rows],
            label=dataset.labels[rows],
            canonical=dataset.canonical[rows],
        )
    )


def _counted(dataset: Dataset, rows: Rows) -> dict[str, Any]:
    counts = dataset.labels[rows].value_counts(name="n").sort("n", descending=True)
    return {"rows": len(rows), "labels": {str(label): int(n) for label, n in sorted(counts.iter_rows())}}


def quotas(counts: Rows, size: int) -> Rows:
    """How many rows each label gives to a stage: equal, but for labels that have fewer; `size` in all."""
    level = np.zeros_like(counts)
    left, open_labels = size, list(np.argsort(counts, kind="stable"))
    while open_labels:
        number = open_labels.pop(0)
        level[number] = min(counts[number], left // (len(open_labels) + 1))
        left -= level[number]
    return level


def _short(size: int) -> str:
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)

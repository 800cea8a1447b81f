"""One file a dataset or log format: what it declares, and the one way to read any dataset (of logs: `logs.py`).

A new dataset is one new file that declares a `Source`, and one line in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wirespeak.data.dataset import Dataset
from wirespeak.data.sources import (
    cicids2017,
    cicids2017_corrected,
    ciciot2023,
    edge_iiotset,
    farm_flow,
    kdd99,
    nsl_kdd,
    recordings,
    ton_iot,
    unsw_nb15,
)
from wirespeak.data.sources.cells import Head, peek
from wirespeak.data.sources.mapped import fit_map, read_map
from wirespeak.data.sources.parts import fit_part
from wirespeak.data.sources.reading import ON_BAD_ROW, Fit, fit, merge, read_part
from wirespeak.data.sources.source import Source
from wirespeak.errors import InputError, OptionError, unknown_name

SOURCES: dict[str, Source] = {
    each.SOURCE.name: each.SOURCE
    for each in (
        nsl_kdd, kdd99, unsw_nb15, ton_iot, edge_iiotset, farm_flow, cicids2017, cicids2017_corrected,
        ciciot2023, recordings,
    )
}  # fmt: skip


def read_dataset(
    paths: Sequence[Path],
    *,
    source: str | None = None,
    map: Path | None = None,
    on_bad_row: str = "fail",
    labelled: bool = True,
) -> Dataset:
    """The rows of one dataset, from one or more CSV (also .gz) or parquet files, in their order.

    A part that `split` wrote is read as the dataset it is of.

    source: its name in `SOURCES`; by default what the columns say it is. map: a TOML file that describes a
    dataset that is not there (`sources/mapped.py`).
    on_bad_row: `fail` raises InputError at the first row that does not fit, with file, line, column and value;
    `skip` sets such rows aside; `keep` keeps them with the cell missing where that can be done.
    labelled: whether every row must have a known label. Otherwise the three labels are null where it has none.

    Raises InputError for files that cannot be read or recognised, OptionError for names that do not exist.
    """
    if not paths:
        raise OptionError("no file given. Give the CSV or parquet files of one dataset.")
    again = next(
        (path for path in paths if [each.resolve() for each in paths].count(path.resolve()) > 1), None
    )
    if again:
        raise OptionError(f"{again} is given twice. Give each file once.")
    if on_bad_row not in ON_BAD_ROW:
        raise unknown_name("answer to a bad row", on_bad_row, ON_BAD_ROW)
    if map is not None:
        if source is not None:
            raise OptionError("--source names a known dataset, --map describes another. Give one of them.")
        described, separator = read_map(map)
        fits = [
            (head, fit_part(head) or fit_map(head, described))
            for head in (peek(path, separator=separator) for path in paths)
        ]
    else:
        fits = [
            (head, _fit_as(head, source) if source else recognise(head))
            for head in (peek(path) for path in paths)
        ]
    chosen = fits[0][1].source
    for head, fitted in fits:
        if fitted.source.name != chosen.name:
            raise InputError(
                f"{head.path}: holds {fitted.source.title}, but {paths[0]} holds {chosen.title}. Read them apart."
            )
    parts = [read_part(head, fitted, on_bad_row=on_bad_row, labelled=labelled) for head, fitted in fits]
    return merge(chosen, parts)


def recognise(head: Head) -> Fit:
    """The source a file's columns belong to. Raises InputError when it is none we know."""
    part = fit_part(head)
    if part:
        return part
    fits = [found for each in SOURCES.values() if (found := fit(head, each))]
    if not fits:
        shown = ", ".join(head.first[:6])
        raise InputError(
            f"{head.path}: {len(head.first)} columns ({shown} ...) are those of no dataset we know "
            f"({', '.join(SOURCES)}). Describe it with --map FILE.toml: see docs/datasets/own.md."
        )
    return max(fits, key=lambda found: found.share)


def _fit_as(head: Head, name: str) -> Fit:
    part = fit_part(head)
    if part and part.source.name == name:
        return part
    if part:
        raise InputError(f"{head.path}: is a part of {part.source.title}, not of '{name}'.")
    if name not in SOURCES:
        raise unknown_name("dataset", name, SOURCES)
    found = fit(head, SOURCES[name])
    if found is None:
        wanted = [known.name for known in SOURCES[name].fields if known.role != "label"]
        lacking = [each for each in wanted if each not in head.names]
        raise InputError(
            f"{head.path}: has not the columns of {SOURCES[name].title}, such as '{lacking[0]}'. "
            "'wirespeak data check FILE' says what it holds."
        )
    return found

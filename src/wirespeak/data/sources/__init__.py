"""One file a dataset: what it declares, and the one way to read any of them.

A new dataset is one new file that declares a `Source`, and one line in `SOURCES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.dataset import Dataset
from wirespeak.data.sources import (
    argus,
    cicids2017,
    cicids2017_corrected,
    ciciot2023,
    edge_iiotset,
    eve,
    farm_flow,
    joy,
    kdd99,
    netflow,
    nfdump,
    nfstream,
    nsl_kdd,
    recordings,
    ton_iot,
    unsw_nb15,
    wireshark,
    zeek,
)
from wirespeak.data.sources.cells import Head, peek
from wirespeak.data.sources.log import Log, head_of
from wirespeak.data.sources.mapped import fit_map, read_map
from wirespeak.data.sources.parts import fit_part
from wirespeak.data.sources.reading import ON_BAD_ROW, Fit, fit, merge, read_part
from wirespeak.data.sources.source import Source
from wirespeak.errors import InputError, OptionError, unknown_name
from wirespeak.wire.containers import files_in, is_capture
from wirespeak.wire.stream import STANDARD_INPUT

SOURCES: dict[str, Source] = {
    each.SOURCE.name: each.SOURCE
    for each in (
        nsl_kdd, kdd99, unsw_nb15, ton_iot, edge_iiotset, farm_flow, cicids2017, cicids2017_corrected,
        ciciot2023, recordings,
    )
}  # fmt: skip

VIEWS = {
    "farm-flow": farm_flow.view, "cicflowmeter": cicids2017.view, "ton-iot": ton_iot.view, "nsl-kdd": nsl_kdd.view,
    "unsw-nb15": unsw_nb15.view, "zeek-conn": zeek.view, "nfstream": nfstream.view,
}  # fmt: skip
"""Our own flows in another dataset's columns: flows and, where they are known, canonical labels -> a table."""

WRITERS: dict[tuple[str, str], Callable[[pl.DataFrame, Path], None]] = {("zeek-conn", ".log"): zeek.write}
"""What is not written as a table: a view, by its name and the end of the file's, as its tool writes it."""

LOGS: dict[str, Log] = {
    each.LOG.name: each.LOG
    for each in (
        zeek, eve, argus, joy, wireshark, netflow, nfdump,
    )
}  # fmt: skip
"""Formats in which other tools write flows: each file of this folder that declares a `LOG`."""


def log_of(paths: Sequence[Path], name: str | None = None) -> Log | None:
    """The format that all of these are in, None when they are in none of `LOGS`.

    name: one of `LOGS`, where it is known. Raises OptionError for a name that does not exist, InputError for files of several formats.
    """
    if name is not None:
        if name not in LOGS:
            raise unknown_name("log format", name, LOGS)
        return LOGS[name]
    found = [_claimed(path) for path in paths]
    if len({each.name for each in found if each}) > 1 or (any(found) and not all(found)):
        kinds = ", ".join(
            f"{path.name}: {each.title if each else 'another'}"
            for path, each in zip(paths, found, strict=True)
        )
        raise InputError(f"these are files of several formats ({kinds}). Read them apart.")
    return found[0] if found else None


def _claimed(path: Path) -> Log | None:
    """The format of a file, or of a folder: the first that claims it, or one of its files. A folder with a capture is none."""
    if path == STANDARD_INPUT or not (os.path.isfile(path) or os.path.isdir(path)):
        return None
    if os.path.isfile(path):
        return _of_file(path)
    inside = [file for file in files_in(path) if os.path.isfile(file)]
    if any(is_capture(file) for file in inside):
        return None
    whole = next((log for log in LOGS.values() if log.folders and log.claims(path, b"")), None)
    return whole or next((found for file in inside if (found := _of_file(file))), None)


def _of_file(path: Path) -> Log | None:
    head = head_of(path)
    return next((log for log in LOGS.values() if log.claims(path, head)), None)


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

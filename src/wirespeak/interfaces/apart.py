"""What sets the classes, two parts or two rows of a dataset apart: for a person and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from wirespeak.data.dataset import Dataset
from wirespeak.data.profile import profiles, two_classes, two_parts, two_rows
from wirespeak.data.split import Protocol, folds
from wirespeak.errors import OptionError
from wirespeak.interfaces.progress import on_one_line

_SHOWN = 24


def apart(
    dataset: Dataset,
    *,
    labels: Sequence[str] = (),
    rows: Sequence[int] = (),
    by: Protocol | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], Any]:
    """The record, and what a person reads: a profile of each class, or two things side by side.

    labels, rows: two of them. by: the training and the test side of the first fold of a split. Raises OptionError
    where not two are named, or more than one pair.
    """
    if sum(map(bool, (labels, rows, by))) > 1:
        raise OptionError("--label, --row and --by each ask for another comparison. Give one of them.")
    for option, given in (("--label", labels), ("--row", rows)):
        if given and len(given) != 2:
            raise OptionError(
                f"{option} was given {len(given)} times: two things stand side by side. Give it twice."
            )
    if labels:
        return _pair(dataset, (labels[0], labels[1]), two_classes(dataset, labels[0], labels[1]))
    if rows:
        return _pair(
            dataset, (f"row {rows[0]}", f"row {rows[1]}"), two_rows(dataset, rows[0], rows[1]), whole=True
        )
    if by:
        fold = folds(dataset, protocol=by, seed=seed)[0]
        return _pair(dataset, ("train", "test"), two_parts(dataset, fold.train, fold.test))
    found = profiles(dataset)
    record = {"dataset": dataset.name, "rows": len(dataset), "profiles": [asdict(one) for one in found]}
    return record, Text("\n\n".join(on_one_line(one.words) for one in found))


def _pair(
    dataset: Dataset, names: tuple[str, str], found: pl.DataFrame, *, whole: bool = False
) -> tuple[dict[str, Any], Table]:
    """whole: every line is shown, not the strongest alone."""
    shown = Table(title=f"{dataset.title}: {names[0]} and {names[1]}", title_justify="left", box=None)
    first, *rest = found.columns
    shown.add_column(first)
    for column in rest:
        shown.add_column(
            dict(zip(("first", "second"), names, strict=True)).get(column, column), justify="right"
        )
    for line in (found if whole else found.head(_SHOWN)).iter_rows():
        shown.add_row(*(Text(_cell(value)) for value in line))
    record = {"dataset": dataset.name, "first": names[0], "second": names[1], "columns": found.to_dicts()}
    return record, shown


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "=" if value else ""
    return f"{value:,.4g}" if isinstance(value, float) else on_one_line(str(value))

"""What is wrong with a labelled dataset, or with a split of it: every check, and what each found.

`CHECKS` is the one list of checks. Each looks at a `View` and yields findings; none changes anything, and none
needs more than the base install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit import duplicates, formatting, hosts, label, order, shape, twins
from wirespeak.data.audit.finding import SEVERITIES, Finding
from wirespeak.data.audit.view import View
from wirespeak.data.dataset import Dataset
from wirespeak.data.split import Fold
from wirespeak.errors import InputError

CHECKS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    label.disguises,
    label.alone,
    formatting.formats,
    formatting.precision,
    order.clocks,
    order.file_order,
    order.tcp_timestamps,
    hosts.identities,
    hosts.over_the_split,
    duplicates.over_the_split,
    twins.twins,
    duplicates.duplicates,
    duplicates.conflicts,
    shape.imbalance,
    shape.standard_scores,
    shape.dead_columns,
    shape.as_published,
)


def audit(dataset: Dataset, split: Fold | pl.Series | None = None) -> list[Finding]:
    """Everything the checks find, worst first.

    split: a fold, or a word for each row (`train...` and `test...`; others stand aside); by default the official
    parts where `dataset` holds both. Raises InputError for a dataset without rows or a split of another length.
    """
    if not len(dataset):
        raise InputError(f"{dataset.title}: no rows to audit.")
    view = View(dataset, _sides(dataset, dataset.partition if split is None else split))
    found = [finding for check in CHECKS for finding in check(view)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _sides(dataset: Dataset, split: Fold | pl.Series | None) -> NDArray[np.int8] | None:
    """0 for training, 1 for test, -1 for neither; None where one of the two is empty."""
    if split is None:
        return None
    sides = np.full(len(dataset), -1, np.int8)
    if isinstance(split, Fold):
        sides[split.train], sides[split.test] = 0, 1
    else:
        if len(split) != len(dataset):
            raise InputError(f"the split names {len(split):,} rows, the dataset has {len(dataset):,}.")
        words = split.cast(pl.String).fill_null("").str.to_lowercase()
        sides[words.str.contains("train").to_numpy()] = 0
        sides[words.str.contains("test").to_numpy()] = 1
    return sides if (sides == 0).any() and (sides == 1).any() else None


__all__ = ["CHECKS", "Finding", "audit"]

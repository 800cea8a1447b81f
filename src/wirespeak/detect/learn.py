"""From a labelled dataset to a fitted detector: which columns it sees, and which answers it learns."""

from __future__ import annotations

from typing import Any, Literal

from wirespeak.data.dataset import Dataset
from wirespeak.detect.drawer import make
from wirespeak.detect.tabular import TableDetector
from wirespeak.errors import unknown_name

Answer = Literal["multiclass", "binary"]


def learn(
    dataset: Dataset,
    *,
    detector: str = "tuned",
    answer: Answer = "multiclass",
    addresses: bool = False,
    seed: int = 0,
    **options: Any,
) -> TableDetector:
    """The named detector, fitted to every row of `dataset` and ready to `save`.

    answer: the dataset's own categories, or `normal` and `attack`. addresses: show it who as well as what, which
    most detectors then learn by heart. options: of the detector. Where the dataset names attacks more finely
    than its categories, the names are handed on, for inner folds that leave some out.
    """
    if answer not in ("multiclass", "binary"):
        raise unknown_name("answer", answer, ("multiclass", "binary"))
    labels = dataset.binary() if answer == "binary" else dataset.labels
    finer = dataset.names.n_unique() > dataset.labels.n_unique()
    return make(detector, **options).fit(
        dataset.table.select(dataset.features(addresses=addresses)),
        labels.to_list(),
        seed=seed,
        names=dataset.names.to_list() if finer else None,
    )

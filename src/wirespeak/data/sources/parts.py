"""Parts of a dataset that `wirespeak split` wrote: the features that were kept, and the three labels of each row.

A part says in the metadata of its parquet file which dataset it is of and what its columns are, so it is read
wherever the dataset is: to train, to compare, to judge, to be audited.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import polars as pl

from wirespeak.data.dataset import ANSWERS, Dataset, Field
from wirespeak.data.sources.cells import Head
from wirespeak.data.sources.reading import Fit
from wirespeak.data.sources.source import Answer, Source

_KEY = "wirespeak"


def described(dataset: Dataset) -> dict[str, str]:
    """The metadata of a part: what `fit_part` needs to know."""
    fields = [asdict(field) for field in dataset.fields.values()]
    about = {"name": dataset.name, "title": dataset.title, "granularity": dataset.granularity}
    return {_KEY: json.dumps(about | {"fields": fields}, ensure_ascii=False)}


def fit_part(head: Head) -> Fit | None:
    """How a file fits as a part of a dataset, None when it is none."""
    if not head.typed or not set(ANSWERS) <= set(head.names):
        return None
    said = pl.read_parquet_metadata(head.path).get(_KEY)
    if said is None:
        return None
    about = json.loads(said)
    fields = [Field(**one) for one in about["fields"]]
    kept = [field for field in fields if field.name in head.names and field.name not in ANSWERS]
    place, *answers = ANSWERS
    labels = pl.read_parquet(head.path, columns=answers).unique(maintain_order=True)
    source = Source(
        name=about["name"],
        title=about["title"],
        granularity=about["granularity"],
        row="a row of the dataset it is a part of",
        fields=(
            *kept,
            Field(place, "number", "order"),
            *(Field(name, "category", "label") for name in answers),
        ),
        answers=(
            Answer(
                "name",
                canonical=dict(labels.select("name", "canonical").iter_rows()),
                categories=dict(labels.select("name", "label").iter_rows()),
            ),
        ),
        home=str(head.path),
        terms="those of the dataset",
        fetching="",
    )
    return Fit(source, head.names, True, source.answers[0], 1.0)

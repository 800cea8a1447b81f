"""Logistic regression on text: each row is written as words, and the words are weighed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.table import Encoding
from wirespeak.detect.tabular import Chances, Codes, TableDetector
from wirespeak.errors import missing_extra


def words(flows: pl.DataFrame, encoding: Encoding) -> pl.Series:
    """Each row as words: `proto=tcp bytes=1200 bytes~10`, a number by two digits and by its power of two."""
    said: list[pl.Expr] = []
    for column in encoding.columns:
        name, kind = column.name.replace(" ", "_"), flows[column.name].dtype
        value = pl.col(column.name)
        if column.kind == "category":
            text = value.cast(pl.String).str.replace_all(r"\s+", "_")
            said.append(pl.format("{}={}", pl.lit(name), text).fill_null(""))
        elif kind.is_numeric() or kind == pl.Boolean:
            number = value.cast(pl.Float64).fill_nan(None)
            power = (number.abs() + 1).log(2).floor().clip(upper_bound=1100).cast(
                pl.Int64
            ) * number.sign().cast(pl.Int64)
            digits = number.round_sig_figs(2)
            said.append(pl.format("{}={} {}~{}", pl.lit(name), digits, pl.lit(name), power).fill_null(""))
    if not said:
        return pl.Series([""] * len(flows), dtype=pl.String)
    return flows.select(pl.concat_str(said, separator=" ").alias("words"))["words"]


@dataclass(kw_only=True)
class LogisticText(TableDetector):
    """TF-IDF of the words, then multinomial logistic regression.

    rare: words of fewer rows are left out. ease: how little large weights are punished (the inverse of the ridge).
    """

    rare: int = 2
    ease: float = 10.0
    steps: int = 200
    name: str = field(default="logistic-text", init=False)
    model: Any = field(default=None, init=False, repr=False)

    def _fit(self, flows: pl.DataFrame, codes: Codes, names: NDArray[np.str_]) -> None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
        except ImportError as error:
            raise missing_extra("scikit-learn", "baselines") from error
        self.model = make_pipeline(
            TfidfVectorizer(
                token_pattern=r"\S+", lowercase=False, min_df=min(self.rare, len(flows)), dtype=np.float32
            ),
            LogisticRegression(C=self.ease, max_iter=self.steps, tol=1e-3, random_state=self.seed),
        )
        said = words(flows, self.encoding).to_list()
        self.model.fit(said, codes, logisticregression__sample_weight=self.weights(codes))

    def _chances(self, flows: pl.DataFrame) -> Chances:
        return np.asarray(self.model.predict_proba(words(flows, self.encoding).to_list()), np.float64)

    def _write(self, folder: Path) -> None:
        write_model(self.model, folder / "model.skops")

    def _read(self, folder: Path) -> None:
        self.model = read_model(folder / "model.skops")

"""A mixed table as numbers: learned once from the training rows, then applied to any rows.

Two views share one encoding. `ranks` is for trees, which only compare: a number becomes its place among the
training values, so that sizes stay exact where float32 would round them, and a category becomes its place
by frequency, with anything unseen beyond the rarest. `scaled` is for everything that multiplies.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError, ModelError
from wirespeak.lm.prompts import first_line

Kind = Literal["number", "category"]
Matrix = NDArray[np.float32]

# Distinct values remembered of a number; beyond that, evenly many of them.
_VALUES = 100_000
# Categories that get a column of their own in `scaled`; the rest share one.
_WIDE = 48
# Standard deviations beyond which a scaled number says nothing more.
_FAR = 8.0


@dataclass(frozen=True)
class Column:
    """What the training rows say of one column.

    values: the distinct numbers, ascending. categories: the distinct texts, most frequent first.
    centre, spread: of the numbers' signed logarithm.
    """

    name: str
    kind: Kind
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    categories: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0


class Encoding:
    """How each column of a table becomes numbers.

    lenient: whether a table may hold more columns than were learnt, as the flows of a capture do.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.lenient = False

    @classmethod
    def learn(cls, flows: pl.DataFrame) -> Encoding:
        """The encoding of these rows. Raises InputError for a column that is neither numbers nor text."""
        return cls([_learn(flows[name]) for name in flows.columns])

    def check(self, flows: pl.DataFrame) -> None:
        """Raise InputError naming every column that is not as it was in training."""
        known = [column.name for column in self.columns]
        lacking = [name for name in known if name not in flows.columns]
        strange = [] if self.lenient else [name for name in flows.columns if name not in known]
        texts = [
            column.name
            for column in self.columns
            if column.name in flows.columns and not _fits(column, flows[column.name])
        ]
        said = []
        if strange:
            said.append(f"columns it was not trained on: {_quoted(strange, known)}")
        if lacking:
            said.append(f"lacks columns it was trained on: {_quoted(lacking, flows.columns)}")
        if texts:
            said.append(f"columns of another kind than in training: {_quoted(texts)}")
        if said:
            raise InputError(
                f"the table does not fit the detector: {'; '.join(said)}. Give it the {len(known)} columns of its card.json."
            )

    def ranks(self, flows: pl.DataFrame) -> Matrix:
        """Places among the training values, float32 [rows, columns]; -1 where nothing was measured."""
        found = np.empty((len(flows), len(self.columns)), np.float32)
        for place, column in enumerate(self.columns):
            found[:, place] = _rank(column, flows[column.name])
        return found

    def scaled(self, flows: pl.DataFrame) -> Matrix:
        """Standardised logarithms and one column a frequent category, float32 [rows, `width`]."""
        parts: list[NDArray[np.float64]] = []
        for column in self.columns:
            series = flows[column.name]
            if column.kind == "number":
                numbers = _numbers(series)
                missing = np.isnan(numbers)
                scaled = (_logarithm(np.nan_to_num(numbers)) - column.centre) / column.spread
                parts += [np.where(missing, 0.0, np.clip(scaled, -_FAR, _FAR))[:, None], missing[:, None]]
            else:
                parts.append(np.eye(_places(column) + 1)[_place(column, series)])
        return np.hstack([np.zeros((len(flows), 0)), *parts]).astype(np.float32)

    def bins(self, flows: pl.DataFrame, count: int = 64) -> NDArray[np.int64]:
        """One small whole number a column, below `count` + 2, for models that read tokens; 0 is nothing measured."""
        found = np.zeros((len(flows), len(self.columns)), np.int64)
        for place, column in enumerate(self.columns):
            most = len(column.values) if column.kind == "number" else len(column.categories)
            rank = _rank(column, flows[column.name])
            coarse = rank / max(1, most) * count if column.kind == "number" and most > count else rank
            found[:, place] = np.clip(np.floor(coarse), -1, count) + 1
        return found

    def save(self, folder: Path) -> None:
        """Write encoding.npz (numbers) and encoding.json (names and categories)."""
        arrays = {str(place): column.values for place, column in enumerate(self.columns)}
        np.savez_compressed(folder / "encoding.npz", allow_pickle=False, **arrays)
        described = [
            {
                "name": c.name,
                "kind": c.kind,
                "categories": c.categories,
                "centre": c.centre,
                "spread": c.spread,
            }
            for c in self.columns
        ]
        (folder / "encoding.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Encoding:
        """The encoding that `save` wrote into `folder`. Raises ModelError where it is missing or damaged."""
        try:
            described = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
            with np.load(folder / "encoding.npz", allow_pickle=False) as arrays:
                return cls([_read(one, arrays[str(place)]) for place, one in enumerate(described)])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
            raise ModelError(
                f"{folder}: encoding.json and encoding.npz, which say how its table becomes numbers, cannot be read ({first_line(error)}). Train the detector again."
            ) from error


def _read(told: Mapping[str, Any], values: NDArray[np.float64]) -> Column:
    """A column as `Encoding.save` described it. Raises ValueError, TypeError or KeyError for anything else."""
    categories = tuple(told["categories"])
    if told["kind"] not in get_args(Kind) or not all(
        isinstance(text, str) for text in (told["name"], *categories)
    ):
        raise ValueError(f"a column is {told['name']!r:.60} of kind {told['kind']!r:.60}")
    if values.ndim != 1 or values.dtype != np.float64:
        raise ValueError(f"the values of column '{told['name']}' are no list of numbers")
    return Column(
        told["name"], told["kind"], values, categories, float(told["centre"]), float(told["spread"])
    )


def duplicate_groups(flows: pl.DataFrame) -> NDArray[np.int64]:
    """The number of each row's group: rows with equal values in every column share one."""
    if not flows.width:
        return np.zeros(len(flows), np.int64)
    first = flows.with_row_index("row").select(pl.col("row").min().over(flows.columns))["row"]
    return first.to_numpy().astype(np.int64)


def thinned_copies(flows: pl.DataFrame, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of rows, in order, of which equal ones are few: as many as their count has binary digits.

    Thousands of copies would drown the rest, and one of them would be smoothed away. Where equal features go by
    several labels, these share the copies by how often each occurs.
    """
    pairs = (
        pl.DataFrame({"group": duplicate_groups(flows), "code": codes})
        .with_row_index("row")
        .group_by("group", "code")
        .agg(pl.col("row").min(), pl.len().alias("rows"))
        .with_columns(pl.col("rows").sum().over("group").alias("all"))
        .select(
            "row", copies=((pl.col("all").log(2) + 1) * pl.col("rows") / pl.col("all")).round().cast(pl.Int64)
        )
        .sort("row")
    )
    return np.repeat(pairs["row"].to_numpy().astype(np.int64), pairs["copies"].to_numpy())


def _learn(series: pl.Series) -> Column:
    if _is_number(series):
        numbers = _numbers(series)
        numbers = numbers[~np.isnan(numbers)]
        values = np.unique(numbers)
        if len(values) > _VALUES:
            values = values[np.linspace(0, len(values) - 1, _VALUES).astype(np.int64)]
        logs = _logarithm(numbers[np.isfinite(numbers)])
        spread = float(logs.std()) if len(logs) else 0.0
        centre = float(logs.mean()) if len(logs) else 0.0
        return Column(series.name, "number", values, centre=centre, spread=spread or 1.0)
    return Column(series.name, "category", categories=texts(series))


def texts(series: pl.Series) -> tuple[str, ...]:
    """The distinct texts of a column, most frequent first. Raises InputError for a column that holds no text."""
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(
            f"column '{series.name}' holds {series.dtype}; a detector reads numbers and text. Leave it out or convert it."
        )
    counted = (
        series.cast(pl.String)
        .drop_nulls()
        .rename("value")
        .value_counts()
        .sort("count", "value", descending=[True, False])
    )
    return tuple(counted["value"])


def _is_number(series: pl.Series) -> bool:
    return series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)


def _fits(column: Column, series: pl.Series) -> bool:
    nothing = series.null_count() == len(series)
    never_seen = not len(column.values) and not column.categories
    return nothing or never_seen or _is_number(series) == (column.kind == "number")


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    if not _is_number(
        series
    ):  # a column that held nothing in training: present or not is all there is to say
        return np.where(series.is_null().to_numpy(), np.nan, 0.0)
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _rank(column: Column, series: pl.Series) -> NDArray[np.float64]:
    if column.kind == "category":
        place = _place(column, series, len(column.categories)).astype(np.float64)
        return np.where(series.is_null().to_numpy(), -1.0, place)
    numbers = _numbers(series)
    most = len(column.values)
    if not most:
        return np.where(np.isnan(numbers), -1.0, 0.0)
    finite = np.isfinite(column.values)
    inner = (
        np.interp(np.nan_to_num(numbers), column.values[finite], np.arange(most)[finite])
        if finite.any()
        else np.zeros(len(numbers))
    )
    inner = np.where(numbers > column.values[-1], most - 0.5, inner)
    inner = np.where(numbers < column.values[0], -0.5, inner)
    inner = np.where(np.isposinf(numbers), most, inner)
    return np.where(np.isnan(numbers), -1.0, inner)


def _places(column: Column) -> int:
    return min(len(column.categories), _WIDE)


def _place(column: Column, series: pl.Series, most: int | None = None) -> NDArray[np.int64]:
    """The place by frequency of each value, `most` for whatever lies beyond or was never seen."""
    most = _places(column) if most is None else most
    if series.null_count() == len(series):
        return np.full(len(series), most, np.int64)
    known = list(column.categories[:most])
    places = series.cast(pl.String).replace_strict(
        known, list(range(len(known))), default=most, return_dtype=pl.Int64
    ) if known else pl.Series([most] * len(series))  # fmt: skip
    return places.to_numpy().astype(np.int64)


def _logarithm(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(numbers) * np.log1p(np.abs(numbers))


def _quoted(names: Sequence[str], near: Sequence[str] = ()) -> str:
    shown = []
    for name in names[:4]:
        close = get_close_matches(name, near, n=1, cutoff=0.7)
        shown.append(f"'{name}' (did you mean '{close[0]}'?)" if close else f"'{name}'")
    return ", ".join(shown) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

"""How the columns of a dataset are said in sentences: their codes, phrases and defaults, derived from its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import count, product
from string import ascii_lowercase
from typing import Any

import polars as pl

from wirespeak.data.dataset import Dataset, Field
from wirespeak.data.sources import SOURCES
from wirespeak.errors import ModelError, unknown_name
from wirespeak.schema import COLUMNS, LEVELS, Column, Kind, compact_columns

# What a name may not bring into a sentence: braces, quotes, semicolons, marks of a conversation.
_STRANGE = re.compile(r"[^\w ./-]")
_DEVIATIONS = "standard deviations"
# What a level takes of a dataset that declares none: so many of its columns, the first ones.
_FIRST = {"basic": 8, "detailed": 20}


@dataclass(frozen=True)
class Wording:
    """The columns that each level says of one kind of table, in order.

    compact: with the codes and defaults of compact sentences. English: of each level by name. row: what a row is of.
    """

    compact: tuple[Column, ...]
    english: Mapping[str, tuple[Column, ...]]
    row: str = "one network flow"

    @property
    def names(self) -> list[str]:
        """Every column that some level says."""
        return [column.name for column in self.rich]

    @property
    def rich(self) -> tuple[Column, ...]:
        """All columns that English sentences may say."""
        return self.english["rich"]

    def columns(self, level: str) -> tuple[Column, ...]:
        """The columns of a level. Raises OptionError for one that does not exist."""
        levels = {"compact": self.compact, **self.english}
        if level not in levels:
            raise unknown_name("level", level, levels)
        return levels[level]

    def as_dict(self) -> dict[str, Any]:
        """In JSON types, for a model's card."""
        levels = {"compact": self.compact, **self.english}
        columns = {column.name: column for of in levels.values() for column in of}
        return {
            "columns": [asdict(column) for column in columns.values()],
            "levels": {level: [column.name for column in of] for level, of in levels.items()},
            "row": self.row,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Wording:
        """What `as_dict` told. Raises ModelError where it is none."""
        try:
            known = {field.name for field in fields(Column)}
            columns = {
                one["name"]: Column(**{name: value for name, value in one.items() if name in known})
                for one in told["columns"]
            }
            levels = {
                level: tuple(columns[name] for name in names) for level, names in told["levels"].items()
            }
            return cls(levels.pop("compact"), levels, str(told.get("row", cls.row)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"the model's card does not say how rows are put into words ({error}). Train it again."
            ) from error


FLOWS = Wording(
    compact_columns(), {level: tuple(COLUMNS[name] for name in names) for level, names in LEVELS.items()}
)
"""Of the flows that `wirespeak flows` measures."""


def wording(dataset: Dataset, *, addresses: bool = False) -> Wording:
    """How the rows of `dataset` are said, by what its source declares."""
    return worded(dataset.table.select(dataset.features(addresses=addresses)), dataset.fields, dataset.name)


def worded(table: pl.DataFrame, fields: Mapping[str, Field], source: str = "") -> Wording:
    """How the rows of `table` are said, every column of it. What most rows hold is the default, which is left out.

    fields: what is known of the columns, of some at least; the values tell the rest. source: the dataset's name,
    whose levels are used where it declares some.
    """
    if source == "recording":
        return FLOWS
    columns = {
        name: _column(fields.get(name) or _guessed(table[name]), code, table[name])
        for name, code in zip(table.columns, _codes(), strict=False)
    }
    known = SOURCES.get(source)
    declared = dict(known.levels) if known else {}
    english = {level: _chosen(columns, declared.get(level), first) for level, first in _FIRST.items()}
    row = known.row if known else "one row of a table"
    return Wording(tuple(columns.values()), {**english, "rich": tuple(columns.values())}, row)


def _guessed(values: pl.Series) -> Field:
    number = values.dtype.is_numeric() or values.dtype == pl.Boolean
    return Field(values.name, "number" if number else "category")


def _chosen(columns: Mapping[str, Column], declared: Iterable[str] | None, first: int) -> tuple[Column, ...]:
    names: Sequence[str] = [name for name in declared or () if name in columns] or list(columns)[:first]
    return tuple(columns[name] for name in names)


def _column(field: Field, code: str, values: pl.Series) -> Column:
    if values.dtype.is_float():
        values = values.fill_nan(None)
    counted = values.rename("value").value_counts(sort=True)
    top = counted.filter(pl.col("count") == counted["count"].max())["value"].sort(nulls_last=True)
    default = top[0] if len(top) else None
    phrase = f"{_STRANGE.sub('_', field.name.strip())} {{}}"
    nullable = bool(values.null_count()) or default is None
    kind: Kind = "category"
    if field.kind == "number":
        kind = {_DEVIATIONS: "deviations", "share": "share"}.get(field.unit, "number")  # type: ignore[assignment]
        default = None if default is None else float(default)
    scale = field.unit if kind in ("number", "deviations") else ""
    return Column(field.name, kind, field.meaning, phrase, code, default, scale, nullable)


def _codes() -> Iterator[str]:
    """Two letters, then, where these have run out, three."""
    return ("".join(letters) for length in count(2) for letters in product(ascii_lowercase, repeat=length))

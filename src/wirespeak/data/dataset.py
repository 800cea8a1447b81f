"""A labelled dataset in memory: the rows as published, what each column is, and what was met while reading.

Nothing in the table is repaired. A number stays the number the dataset wrote; what could not be one is null and
counted in the notes; a row that does not fit is in `set_aside`. What a detector may see follows from the roles
of the fields, so no list of columns to drop lives anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

Kind = Literal["number", "category", "text"]
Granularity = Literal["flow", "packet", "connection"]
Role = Literal["feature", "address", "mac", "port", "ttl", "time", "order", "id", "label", "text"]
"""What a column says.

feature: how the traffic behaved; a detector may see it. address, mac, port, ttl: who it was. time: when it was.
order: row numbers and grades given after the fact. id: a name for one flow, packet or stream. text: captured
text, such as a URI or a payload. label: any form of the answer.
"""

INTEGER, POINT_ZERO, DECIMAL, EXPONENT, EMPTY, HEXADECIMAL, OTHER, PADDED, LEADING, TRAILING, MARK = range(11)
"""Codes of `Dataset.formats`: `12`, `12.0`, `12.5`, `1.2e3`, nothing, `0x1f` or a run of hex digits, anything else; a number with
blanks around it, with a plus or zeros before it (`+7`, `007`), with zeros after its decimals (`1.50`); what the dataset writes for a
missing value (`-`)."""

SET_ASIDE = {
    "file": pl.String(), "line": pl.Int64(), "column": pl.String(), "value": pl.String(), "reason": pl.String(),
}  # fmt: skip


ANSWERS = ("row", "name", "label", "canonical")
"""Columns that `split` adds to the features: the row's place in the dataset from 0, and its three labels."""


@dataclass(frozen=True)
class Field:
    """One column of a dataset: the kind of its values, its role, its unit ("" for none) and its meaning."""

    name: str
    kind: Kind
    role: Role = "feature"
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Dataset:
    """The rows of one dataset in the order of its files, and everything said about them.

    name: of the source, such as `nsl-kdd`. title: as a person writes it.
    granularity: what one row stands for.
    fields: every column of `table`, in its order.
    table: numbers Int64 or Float64, categories and text String; null where the dataset says "missing".
    names: the finest original label of each row, as written (`neptune`).
    labels: the dataset's own categories (`dos`); equal to `names` where it has no coarser ones.
    canonical: the same in `schema.LABELS`.
    formats: how cells were written, one Int8 column of the codes above for each column of `table` that is
        written in more than one way; no column, and no row, where none is.
    groups: the capture, recording or flow of each row, where the dataset says so.
    partition: the official part of each row, where a file is one.
    set_aside: the rows left out, with `SET_ASIDE` columns. Lines count from 1, the header included.
    notes: oddities met, in words with counts.
    files: the files read, in order.
    """

    name: str
    title: str
    granularity: Granularity
    fields: dict[str, Field]
    table: pl.DataFrame
    names: pl.Series
    labels: pl.Series
    canonical: pl.Series
    formats: pl.DataFrame = field(default_factory=pl.DataFrame)
    groups: pl.Series | None = None
    partition: pl.Series | None = None
    set_aside: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SET_ASIDE))
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return self.table.height

    def columns(self, *roles: Role) -> list[str]:
        """The columns with one of these roles, in order."""
        return [name for name, described in self.fields.items() if described.role in roles]

    def features(self, *, addresses: bool = False, ttl: bool = True) -> list[str]:
        """The columns a detector may see; with `addresses`, the addresses and ports too.

        ttl: times to live say who rather than what, but every published figure includes them; False leaves them out.
        """
        roles: list[Role] = ["feature"]
        if ttl:
            roles.append("ttl")
        if addresses:
            roles += ["address", "port"]
        return self.columns(*roles)

    def binary(self) -> pl.Series:
        """`normal` or `attack` for each row, by its canonical label."""
        verdict = pl.when(self.canonical == "normal").then(pl.lit("normal")).otherwise(pl.lit("attack"))
        return pl.select(binary=verdict).to_series() if len(self) else pl.Series("binary", [], pl.String)

    def take(self, rows: ArrayLike | pl.Series) -> Dataset:
        """The same dataset with only these rows (positions from 0), in this order. Notes and files stay."""
        chosen = np.asarray(rows if not isinstance(rows, pl.Series) else rows.to_numpy(), dtype=np.int64)
        return replace(
            self,
            table=self.table[chosen],
            names=self.names[chosen],
            labels=self.labels[chosen],
            canonical=self.canonical[chosen],
            formats=self.formats[chosen] if self.formats.width else self.formats,
            groups=None if self.groups is None else self.groups[chosen],
            partition=None if self.partition is None else self.partition[chosen],
        )

"""What a source declares: the columns, labels, published files and known flaws of one dataset.

Everything a source knows is data, so that reading, checking, describing and the page of a dataset in the
documents all come out of one declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from wirespeak.data.dataset import Field, Granularity


@dataclass(frozen=True)
class Answer:
    """A column that holds the label, and what its values stand for.

    canonical: the finest label -> a label of `schema.LABELS`.
    categories: the finest label -> the dataset's own coarser category, where it has them.
    codes: what is written -> the label, where a dataset writes numbers for its labels.
    clean: brings spellings of one label together, before anything is looked up.
    """

    column: str
    canonical: Mapping[str, str]
    categories: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    clean: Callable[[pl.Expr], pl.Expr] | None = None


@dataclass(frozen=True)
class Published:
    """One file as its authors published it.

    rows: of data, without a header; None when nobody said. counts: rows of each of the dataset's own categories.
    sha256: of the file, or as much of its beginning as is known. said_by: where the figures come from.
    """

    name: str
    rows: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    partition: str | None = None
    sha256: str = ""
    said_by: str = ""


@dataclass(frozen=True)
class Download:
    """A file that can be fetched without an account. size: bytes, where known."""

    file: str
    address: str
    sha256: str = ""
    size: int | None = None


@dataclass(frozen=True)
class Shifted:
    """A column whose values have one shape, so that another shape betrays a row whose cells have moved."""

    column: str
    pattern: str
    expected: str


@dataclass(frozen=True)
class Source:
    """One dataset.

    fields: every published column, in order. answers: where the label may be, the finest first.
    headerless: the columns of a file that comes without a header; `[]` when it always has one.
    missing: how a missing value is written, beside an empty cell. absent: the same, in these columns only.
    infinities: whether infinities and NaN are part of what was published; they become null and are counted.
    encoding: what non-UTF-8 bytes of the published files are written in.
    capture_files: whether each published file is one capture, so that files make groups and only all of them
        together can be compared with what was published.
    group: the column that says which recording a row belongs to. guessed: columns whose kind the values tell.
    levels: the columns that `basic` and `detailed` sentences say; `rich` ones say every feature.
    flaws: what is wrong with it, one sentence or two each. inspect: further oddities of a table as read.
    """

    name: str
    title: str
    granularity: Granularity
    row: str
    fields: tuple[Field, ...]
    answers: tuple[Answer, ...]
    home: str
    terms: str
    fetching: str
    published: tuple[Published, ...] = ()
    downloads: tuple[Download, ...] = ()
    flaws: tuple[str, ...] = ()
    headerless: tuple[tuple[str, ...], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    infinities: bool = False
    encoding: str | None = None
    capture_files: bool = False
    group: str | None = None
    guessed: frozenset[str] = frozenset()
    shifted: Shifted | None = None
    inspect: Callable[[pl.DataFrame], list[str]] | None = None
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def field_of(self, name: str) -> Field | None:
        """The declared column of this name, or None."""
        return next((known for known in self.fields if known.name == name), None)


def numbers(names: str, *, unit: str = "", meaning: str = "") -> list[Field]:
    """Feature columns of numbers that share a unit: `numbers("src_bytes dst_bytes", unit="bytes")`."""
    return [Field(name, "number", "feature", unit, meaning) for name in names.split()]


def levels(basic: str, more: str, *, between: str | None = None) -> dict[str, tuple[str, ...]]:
    """`Source.levels`: the columns of `basic`, and what `detailed` says beside them; names stand `between` blanks."""
    first, second = basic.split(between), more.split(between)
    return {"basic": tuple(first), "detailed": (*first, *second)}

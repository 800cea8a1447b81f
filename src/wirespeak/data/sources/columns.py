"""The text of a file -> values, column by column, remembering the cells that would not turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

import numpy as np
import polars as pl

from wirespeak.data.dataset import DECIMAL, INTEGER, Field
from wirespeak.data.sources import cells
from wirespeak.data.sources.cells import Sheet, misfit_table
from wirespeak.data.sources.source import Answer, Source
from wirespeak.errors import many

SHOWN = 80
"""Characters of a value that a message shows."""

NUMBERS_MAY_FAIL = 0.01
"""A column nobody declared is one of numbers when at most this share of its cells is not."""

MANY_VALUES = 1000
"""A column nobody declared is text, not a category, when it has more values than this and than a tenth of the rows."""


class Columns:
    """The columns of one sheet, as far as they are read.

    header: the names in the file's first line, none when it has no such line. columns: the values.
    styles: how each column's cells are written. notes: what was met.
    """

    def __init__(self, sheet: Sheet, source: Source, answer: Answer | None, header: tuple[str, ...]) -> None:
        self.source, self.answer, self.header = source, answer, header
        self.sheet, self.table = sheet, sheet.table
        self.columns: dict[str, pl.Series] = {}
        self.styles: dict[str, int | pl.Series] = {}
        self.notes: list[str] = []
        self._cells: list[tuple[pl.Series, str, str]] = []  # rows, column, reason: the cell can be left out
        self._rows: list[tuple[pl.Series, str, str]] = []  # the same: the row cannot stay

    def read_columns(self) -> dict[str, Field]:
        """Read every column into `columns`; returns what each is, undeclared ones included."""
        self._find_repeated_header()
        if self.source.shifted and self.source.shifted.column in self.table.columns:
            self._find_shifted()
        fields: dict[str, Field] = {}
        for name in self.table.columns:
            text = self.table[name]
            described = fields[name] = self._described(name, text)
            if described.kind == "number":
                self._read_number(name, text)
            else:
                self._read_text(name, text)
        self._note_columns(fields)
        return fields

    def _described(self, name: str, text: pl.Series) -> Field:
        declared = self.source.field_of(name) or self._again(name)
        if declared and name not in self.source.guessed:
            return declared
        guess = _guessed(_emptied(text, self.source.missing) if text.dtype == pl.String else text)
        if not name or name.startswith("Unnamed: "):
            # What pandas writes for the index: the number of the row.
            guess = replace(guess, role="order")
        return replace(declared, kind=guess.kind) if declared else guess

    def _again(self, name: str) -> Field | None:
        """What a column that is there more than once says, by the first of that name: a second label is no feature."""
        first, _, number = name.rpartition(".")
        declared = self.source.field_of(first) if number.isdigit() and first in self.table.columns else None
        return replace(declared, name=name) if declared else None

    def _find_repeated_header(self) -> None:
        column = self.answer.column if self.answer else self.table.columns[0]
        if self.header:
            written = self.header[self.table.columns.index(column)]
            again = self.table[column].str.strip_chars() == written
            if again.any():
                self._rows.append((again.arg_true(), column, "the header again"))

    def _read_number(self, name: str, text: pl.Series) -> None:
        if text.dtype == pl.String:
            written = text
            if self.source.missing:
                text = _emptied(text, self.source.missing)
            values = cells.as_number(text)
            wrong = values.is_null() & (text != "")
            if wrong.any():
                text = text.str.strip_chars()
                wrong = cells.as_number(text).is_null() & (text != "")
                self._cells.append((wrong.arg_true(), name, "expected a number"))
                # What cannot stay must not make decimals of a column of whole numbers.
                values = cells.as_number(text.zip_with(~wrong, pl.Series([""])))
            self.styles[name] = (
                INTEGER
                if values.dtype == pl.Int64 and not values.null_count() and cells.plainly_written(written)
                else cells.styles_of_numbers(written, self.source.missing)
            )
            missing = int((text == "").sum()) if not self.source.missing else 0
        else:
            values = cells.as_number(text)
            self.styles[name] = INTEGER if values.dtype == pl.Int64 else DECIMAL
            missing = values.null_count()
        if values.dtype == pl.Float64:
            values = self._finite(name, values)
        if missing:
            self.notes.append(f"{name}: {many(missing, 'empty cell')} read as missing.")
        self.columns[name] = values

    def _finite(self, name: str, values: pl.Series) -> pl.Series:
        odd = values.is_infinite() | values.is_nan()
        odd = odd.fill_null(False)
        if not odd.any():
            return values
        if self.source.infinities:
            infinite = int(values.is_infinite().sum())
            other = int(odd.sum()) - infinite
            self.notes.append(
                f"{name}: infinite in {many(infinite, 'row')}, NaN in {many(other, 'row')}, as published; read as missing."
            )
        else:
            self._cells.append((odd.arg_true(), name, "expected a finite number"))
        return values.to_frame().select(pl.when(~odd).then(pl.col(values.name))).to_series()

    def _read_text(self, name: str, text: pl.Series) -> None:
        text = text.cast(pl.String)
        marks = ("", *self.source.missing, *self.source.absent.get(name, ()))
        self.styles[name] = cells.styles_of_text(text, marks[1:])
        frame = text.to_frame().select(
            pl.when(~pl.col(name).str.strip_chars().is_in(marks)).then(pl.col(name))
        )
        self.columns[name] = frame.to_series().rename(name)

    def _find_shifted(self) -> None:
        assert self.source.shifted is not None
        shape = self.source.shifted
        text = self.table[shape.column].cast(pl.String)
        wrong = (~text.str.contains(shape.pattern)).fill_null(False)
        if wrong.any():
            reason = f"expected {shape.expected}: the cells of this row have moved"
            self._cells.append((wrong.arg_true(), shape.column, reason))

    def _note_columns(self, fields: dict[str, Field]) -> None:
        declared = {known.name for known in self.source.fields}
        extra = [name for name in fields if name not in declared]
        if extra and declared:
            self.notes.append(f"Columns that are not in the published dataset: {_some(extra)}.")
        lacking = [known.name for known in self.source.fields if known.name not in fields]
        if lacking:
            self.notes.append(f"Columns of other releases that this file has not: {_some(lacking)}.")

    def read_labels(self, labelled: bool) -> tuple[pl.Series, pl.Series, pl.Series]:
        """The finest names, the dataset's categories and the canonical labels of all rows, misfits included."""
        if self.answer is None:
            nothing = pl.Series([None] * self.table.height, dtype=pl.String)
            return nothing.rename("name"), nothing.rename("label"), nothing.rename("canonical")
        answer = self.answer
        written = pl.col(answer.column).cast(pl.String).str.strip_chars()
        if answer.clean:
            written = answer.clean(written)
        if answer.codes:
            # A column of codes that once held a missing value is often written 3.0 for 3.
            written = written.str.strip_suffix(".0").replace(dict(answer.codes))
        names = self._spelt(self.table.select(name=written).to_series())
        canonical = names.replace_strict(dict(answer.canonical), default=None, return_dtype=pl.String)
        labels = names.replace(dict(answer.categories)) if answer.categories else names
        unknown = canonical.is_null()
        if labelled and unknown.any():
            self._rows.append((unknown.arg_true(), answer.column, self._known_labels(names, unknown)))
        elif unknown.any():
            known = ~unknown
            names, labels = (pl.select(pl.when(known).then(each)).to_series() for each in (names, labels))
        return names.rename("name"), labels.rename("label"), canonical.rename("canonical")

    def _spelt(self, names: pl.Series) -> pl.Series:
        """The labels as declared, where they differ from a declared one in upper and lower case alone."""
        assert self.answer is not None
        exact = names.is_in(list(self.answer.canonical))
        if exact.all():
            return names
        lower = {label.lower(): label for label in self.answer.canonical}
        respelt = names.str.to_lowercase().replace_strict(lower, default=None, return_dtype=pl.String)
        changed = int((respelt.is_not_null() & ~exact).sum())
        if changed:
            self.notes.append(
                f"{many(changed, 'label')} written in other letters, such as '{names.filter(~exact)[0]}'."
            )
        return respelt.zip_with(respelt.is_not_null(), names)

    def _known_labels(self, names: pl.Series, unknown: pl.Series) -> str:
        assert self.answer is not None
        first = names.filter(unknown)[0] or ""
        folded = {label.casefold(): label for label in self.answer.canonical}
        nearest = get_close_matches(first.casefold(), folded, n=1, cutoff=0.6)
        hint = f", such as '{folded[nearest[0]]}'" if nearest else ""
        return f"expected one of {len(self.answer.canonical)} known labels{hint}"

    def misfits(self, on_bad_row: str) -> pl.DataFrame:
        """The rows to leave out, each with the first thing wrong with it: line, column, value, reason."""
        causes = self._rows if on_bad_row == "keep" else self._rows + self._cells
        found = [
            pl.DataFrame(
                {"row": rows.cast(pl.Int64), "value": self.table[column].gather(rows).cast(pl.String)}
            ).select(
                "row",
                pl.lit(column).alias("column"),
                pl.col("value").fill_null("").str.head(SHOWN),
                pl.lit(reason).alias("reason"),
            )
            for rows, column, reason in causes
        ]
        if on_bad_row == "keep":
            gone = pl.concat([pl.Series([], dtype=pl.UInt32), *(rows for rows, *_ in self._rows)])
            for rows, column, reason in self._cells:
                if some := int((~rows.is_in(gone.implode())).sum()):
                    self.notes.append(f"{column}: {many(some, 'cell')} read as missing, {reason}.")
        if not found:
            return misfit_table([])
        first = pl.concat(found).unique("row", keep="first", maintain_order=True)
        lines = pl.Series("line", self.sheet.lines).gather(first["row"])
        return first.select(lines, "column", "value", "reason")

    def kept(self, on_bad_row: str) -> pl.Series:
        """Whether each row stays. Cells of kept rows that would not turn are missing."""
        stays = np.ones(self.table.height, dtype=bool)
        for rows, column, _ in self._cells:
            if on_bad_row != "keep":
                stays[rows.to_numpy()] = False
            elif self.columns[column].dtype == pl.String:
                self.columns[column] = self.columns[column].scatter(rows, None)
        for rows, _, _ in self._rows:
            stays[rows.to_numpy()] = False
        return pl.Series(stays)


def _emptied(text: pl.Series, marks: Sequence[str]) -> pl.Series:
    return (
        text.to_frame()
        .select(
            pl.when(~pl.col(text.name).is_in(marks))
            .then(pl.col(text.name))
            .otherwise(pl.lit(""))
            .alias(text.name)
        )
        .to_series()
    )


def _guessed(text: pl.Series) -> Field:
    """What an undeclared column is: a number when nearly every cell is one, else a category, or text with many values."""
    if text.dtype.is_numeric():
        return Field(text.name, "number")
    written = text.cast(pl.String).fill_null("").str.strip_chars()
    filled = int((written != "").sum())
    if filled and filled - int(cells.as_number(written).is_not_null().sum()) <= filled * NUMBERS_MAY_FAIL:
        return Field(text.name, "number")
    if written.n_unique() > max(MANY_VALUES, written.len() // 10):
        return Field(text.name, "text", "text")
    return Field(text.name, "category")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "one without a name" for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True

"""A file and a declared source -> the rows of a dataset, its labels, and what would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from wirespeak.data.dataset import Dataset, Field
from wirespeak.data.sources import cells
from wirespeak.data.sources.cells import Head, Sheet, misfit_table
from wirespeak.data.sources.columns import Columns, is_number
from wirespeak.data.sources.published import compare
from wirespeak.data.sources.source import Answer, Source
from wirespeak.errors import InputError, many

ON_BAD_ROW = ("fail", "skip", "keep")
"""What to do with a row that does not fit: stop at the first, set it aside, or keep it with the cell missing."""

SHARE_RECOGNISED = 0.75
"""A file belongs to a source when it has this share of its published columns, labels aside."""


@dataclass(frozen=True)
class Fit:
    """How a file fits a source. columns: of the file, in its order, by the source's names. share: see above."""

    source: Source
    columns: tuple[str, ...]
    header: bool
    answer: Answer | None
    share: float


@dataclass(frozen=True)
class Part:
    """One file, read. styles: how each column's cells are written, one code for all or one for each."""

    file: str
    fields: dict[str, Field]
    table: pl.DataFrame
    names: pl.Series
    labels: pl.Series
    canonical: pl.Series
    styles: dict[str, int | pl.Series]
    set_aside: pl.DataFrame
    notes: list[str]
    partition: str | None


def fit(head: Head, source: Source) -> Fit | None:
    """How the file fits the source, or None when it does not."""
    by_name = {known.name.casefold(): known.name for known in source.fields}
    by_name |= {other.casefold(): name for other, name in source.aliases.items()}
    columns = tuple(by_name.get(name.casefold(), name) for name in head.names)
    if len(set(columns)) == len(columns):
        wanted = [known.name for known in source.fields if known.role != "label"]
        share = len(set(wanted) & set(columns)) / len(wanted)
        if share >= SHARE_RECOGNISED:
            answer = next((each for each in source.answers if each.column in columns), None)
            return Fit(source, columns, True, answer, share)
    for names in source.headerless:
        if len(names) in (len(head.first), len(head.second)) and not head.typed:
            found = _fit_without_header(head, source, names)
            if found:
                return found
    return None


def _fit_without_header(head: Head, source: Source, names: tuple[str, ...]) -> Fit | None:
    kinds = {known.name: known.kind for known in source.fields}
    for record in (head.first, head.second):
        wrong = sum(
            kinds[name] == "number" and not is_number(cell) for name, cell in zip(names, record, strict=False)
        )
        if len(record) == len(names) and wrong <= 1:
            answer = next((each for each in source.answers if each.column in names), None)
            known = answer is None or record[names.index(answer.column)] in answer.canonical
            return Fit(source, names, False, answer, len(names) / len(source.fields) - 0.1 * (not known))
    return None


def read_part(head: Head, fitted: Fit, *, on_bad_row: str, labelled: bool) -> Part:
    """The rows of one file. Raises InputError at a row that does not fit, when `on_bad_row` is "fail"."""
    source = fitted.source
    if labelled and fitted.answer is None:
        columns = " or ".join(f"'{each.column}'" for each in source.answers)
        raise InputError(f"{head.path}: has no column {columns}, where {source.title} keeps its labels.")
    sheet = _sheet(head, fitted)
    whole = sheet.table.height + len(sheet.misfits)
    if not whole:
        raise InputError(f"{head.path}: has a header and no rows.")
    sheet, blank = _without_blank_rows(sheet, fitted)
    reader = Columns(sheet, source, fitted.answer, head.first if fitted.header and not head.typed else ())
    fields = reader.read_columns()
    names, labels, canonical = reader.read_labels(labelled)
    misfits = pl.concat([misfit_table(sheet.misfits), reader.misfits(on_bad_row)]).sort("line")
    if misfits.height and on_bad_row == "fail":
        raise InputError(_complaint(head, misfits))
    kept = reader.kept(on_bad_row)
    table = pl.DataFrame(reader.columns).filter(kept)
    names, labels, canonical = (each.filter(kept) for each in (names, labels, canonical))
    notes = [*sheet.notes, *blank, *reader.notes]
    if source.inspect:
        notes += source.inspect(table)
    partition, compared = None, list[str]()
    if not source.capture_files:
        partition, compared = compare(source, head.path.name, whole, labels, sheet.sha256)
    return Part(
        file=str(head.path),
        fields=fields,
        table=table,
        names=names,
        labels=labels,
        canonical=canonical,
        styles={
            name: style if isinstance(style, int) else style.filter(kept)
            for name, style in reader.styles.items()
        },
        set_aside=misfits.select(pl.lit(head.path.name).alias("file"), pl.all()),
        notes=[*compared, *notes],
        partition=partition,
    )


def _sheet(head: Head, fitted: Fit) -> Sheet:
    if head.typed:
        sheet = cells.read_parquet(head.path)
        return replace(
            sheet, table=sheet.table.rename(dict(zip(sheet.table.columns, fitted.columns, strict=True)))
        )
    return cells.read_csv(head, fitted.columns, header=fitted.header, encoding=fitted.source.encoding)


def _without_blank_rows(sheet: Sheet, fitted: Fit) -> tuple[Sheet, list[str]]:
    """The sheet less the rows in which every cell is empty, and a note that counts them."""
    column = fitted.answer.column if fitted.answer else fitted.columns[0]
    probe = sheet.table[column]
    empty = (probe.is_null() | (probe == "")) if probe.dtype == pl.String else probe.is_null()
    suspects = empty.arg_true()
    if suspects.is_empty():
        return sheet, []
    rows = sheet.table[suspects]
    blank = rows.select(
        pl.all_horizontal((pl.all().is_null()) | (pl.all().cast(pl.String) == ""))
    ).to_series()
    if not blank.any():
        return sheet, []
    gone = np.zeros(sheet.table.height, dtype=bool)
    gone[suspects.filter(blank).to_numpy()] = True
    kept = replace(sheet, table=sheet.table.filter(pl.Series(~gone)), lines=sheet.lines[~gone])
    return kept, [f"{many(int(gone.sum()), 'row')} with nothing in any column left out."]


def _complaint(head: Head, misfits: pl.DataFrame) -> str:
    line, column, value, reason = misfits.row(0)
    where = f"{head.path} {'row' if head.typed else 'line'} {line}"
    what = f"column '{column}' is '{value}', {reason}" if column else reason
    others = f" {misfits.height:,} rows do not fit." if misfits.height > 1 else ""
    return f"{where}: {what}.{others} Use --on-bad-row skip to set such rows aside, keep to keep what can be read."


def merge(source: Source, parts: Sequence[Part]) -> Dataset:
    """One dataset of all parts, one file after the other. Raises InputError when their columns differ."""
    first = parts[0]
    for part in parts[1:]:
        odd = sorted(set(part.fields.values()) ^ set(first.fields.values()), key=lambda field: field.name)
        if odd:
            raise InputError(
                f"{part.file}: has not the same columns as {first.file}: '{odd[0].name}' differs. Read them apart."
            )
    table = pl.concat([part.table.select(first.table.columns) for part in parts], how="vertical_relaxed")
    several = len(parts) > 1
    known = all(part.partition for part in parts)
    files = [pl.repeat(part.file, part.table.height, eager=True) for part in parts]
    groups: pl.Series | None = None
    if source.group and source.group in table.columns:
        groups = table[source.group].cast(pl.String).rename("group")
    elif several and source.capture_files:
        groups = pl.concat(files).rename("group")
    prefix = {part.file: f"{part.file}: " if several else "" for part in parts}
    labels = pl.concat([part.labels for part in parts])
    notes = [prefix[part.file] + note for part in parts for note in part.notes]
    if source.capture_files:
        whole = table.height + sum(part.set_aside.height for part in parts)
        notes += compare(source, "what was read", whole, labels, "")[1]
    return Dataset(
        name=source.name,
        title=source.title,
        granularity=source.granularity,
        fields=first.fields,
        table=table,
        names=pl.concat([part.names for part in parts]),
        labels=labels,
        canonical=pl.concat([part.canonical for part in parts]),
        formats=_formats(parts),
        groups=groups,
        partition=_repeated([part.partition or "" for part in parts], parts) if known else None,
        set_aside=pl.concat([part.set_aside for part in parts]),
        notes=tuple(notes),
        files=tuple(part.file for part in parts),
    )


def _repeated(words: Sequence[str], parts: Sequence[Part]) -> pl.Series:
    each = [pl.repeat(word, part.table.height, eager=True) for word, part in zip(words, parts, strict=True)]
    return pl.concat(each).rename("partition")


def _formats(parts: Sequence[Part]) -> pl.DataFrame:
    """Codes of the columns that are written in more than one way, over all parts."""
    found = []
    for name in parts[0].table.columns:
        styles = [part.styles[name] for part in parts]
        if all(isinstance(style, int) for style in styles) and len({*map(str, styles)}) == 1:
            continue
        codes = [
            pl.repeat(style, part.table.height, dtype=pl.Int8, eager=True)
            if isinstance(style, int)
            else style
            for style, part in zip(styles, parts, strict=True)
        ]
        joined = pl.concat(codes).rename(name)
        if joined.n_unique() > 1:
            found.append(joined)
    return pl.DataFrame(found)

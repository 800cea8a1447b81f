"""A file beside what was published: which official part it is, and where it differs."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from wirespeak.data.sources.source import Published, Source


def compare(
    source: Source, file: str, rows: int, labels: pl.Series, sha256: str
) -> tuple[str | None, list[str]]:
    """The official part a file is (None when it is none), and notes on how it differs from what was published.

    rows: of data in the file, bad ones included. labels: of the rows read, in the dataset's own categories.
    """
    known = [part for part in source.published if part.rows is not None]
    if not known:
        return None, []
    for part in source.published:
        if part.sha256 and sha256.startswith(part.sha256):
            return part.partition, [f"{file} is {part.name}, byte for byte as published."]
    counts = dict(labels.drop_nulls().value_counts().iter_rows())
    alike = [part for part in known if part.rows == rows]
    if not alike:
        sizes = "; ".join(f"{part.name} {part.rows:,}" for part in known)
        return None, [
            f"No published file has {rows:,} rows ({sizes}): {file} is a part of one, or another release."
        ]
    part = alike[0]
    differs = difference(part, counts)
    if differs:
        return None, [f"{file} has as many rows as {part.name} ({rows:,}), but not its classes: {differs}."]
    notes = [
        f"{file} has the rows{' and classes' if part.counts else ''} published for {part.name} ({rows:,})."
    ]
    called = _called(file)
    if part.partition and called and called != part.partition:
        notes.append(f"Its name says {called}; by its rows it is the part called {part.partition}.")
    if part.sha256:
        notes.append(f"Its sha256 is {sha256[:8]}..., where {part.sha256[:8]}... is known: other bytes.")
    return part.partition, notes


def _called(file: str) -> str | None:
    """The part a file's name claims to be. Names lie, so this is only ever compared, never believed."""
    name = file.casefold()
    return "train" if "train" in name else "test" if "test" in name else None


def difference(part: Published, counts: Mapping[str, int]) -> str:
    """Where the rows of each category differ from what was published: "normal 10 (published 12)", or ""."""
    if not part.counts:
        return ""
    names = sorted({*part.counts, *counts})
    return ", ".join(
        f"{name} {counts.get(name, 0):,} (published {part.counts.get(name, 0):,})"
        for name in names
        if counts.get(name, 0) != part.counts.get(name, 0)
    )

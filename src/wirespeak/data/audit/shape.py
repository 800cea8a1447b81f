"""Columns that say nothing, labels that hardly occur, units that are none, and what the reader met."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from wirespeak.data.audit.finding import Finding, grade
from wirespeak.data.audit.view import View

DEAD = 0.999
_MEASURE_NAME = re.compile(
    r"bytes|byts|pkts|packets|dur|len|size|rate|per_?sec|iat|count|_tot|\.tot|load|time", re.I
)


def dead_columns(view: View) -> Iterator[Finding]:
    """Columns with one value, and columns with next to one."""
    for name in view.columns("number", "category", "text"):
        column = view.table[name]
        if view.rows < 2:
            return
        if column.n_unique() == 1:
            yield Finding(
                "columns.constant", "info", f"'{name}' has one value in all {view.rows:,} rows.", (name,),
                {"values": 1, "rows": view.rows}, examples=view.examples([0], [name]), remedy=f"--drop {name}",
            )  # fmt: skip
            continue
        top = int(column.value_counts(name="times the value occurs")["times the value occurs"].max()) if column.n_unique() <= max(20, 0.001 * view.rows) else 0  # type: ignore[arg-type]  # fmt: skip
        if view.rows >= 1000 and top >= DEAD * view.rows:
            yield Finding(
                "columns.dead", "info", f"'{name}' has one value in all but {view.rows - top:,} of {view.rows:,} rows.",
                (name,), {"other_rows": view.rows - top, "share": round(top / view.rows, 6)}, remedy=f"--drop {name}",
            )  # fmt: skip


def imbalance(view: View) -> Iterator[Finding]:
    """Labels that are rare beside the others, or alone."""
    counts = view.dataset.labels.value_counts(name="n").sort("n")
    table = tuple({"label": str(label), "rows": n} for label, n in counts.reverse().iter_rows())
    if counts.height < 2:
        yield Finding("labels.one", "serious", "All rows have one label: nothing can be learnt.", (), {"labels": counts.height}, table)  # fmt: skip
        return
    least, most = int(counts["n"][0]), int(counts["n"][-1])
    if most >= 10 * least:
        yield Finding(
            "labels.imbalance", grade(most / least, warning=20, serious=1000),
            f"'{table[0]['label']}' has {most:,} rows, '{table[-1]['label']}' {least:,}: accuracy says little here.",
            (), {"most": most, "least": least, "ratio": round(most / least, 1)}, table, remedy="--stages",
        )  # fmt: skip


def standard_scores(view: View) -> Iterator[Finding]:
    """Counts and durations below zero around a mean of nothing: z-scores that go by the names of units."""
    named = [
        name
        for name in view.dataset.features()
        if view.table[name].dtype.is_numeric() and _MEASURE_NAME.search(name)
    ]
    scored = []
    for name in named:
        values = view.number(name)
        values = values[np.isfinite(values)]
        unit = view.dataset.fields[name].unit.lower()
        if len(values) < 5 or "deviation" in unit:
            continue
        negative = float((values < 0).mean())
        median = float(np.median(np.abs(values)))
        if negative > 0.15 and median < 3 and bool((values != np.rint(values)).mean() > 0.5):
            scored.append(name)
    if len(scored) >= max(1, min(3, len(named) // 4)):
        yield Finding(
            "units.z_scores", "warning",
            f"{len(scored)} columns named after counts, bytes or seconds hold values below zero around zero: they are standard deviations, not units, and no text may call them bytes or seconds.",
            tuple(scored), {"columns": len(scored), "of": len(named)},
            examples=view.examples(np.arange(min(3, view.rows)), scored), remedy="",
        )  # fmt: skip
    declared = [name for name, field in view.dataset.fields.items() if "deviation" in field.unit.lower()]
    if declared:
        yield Finding(
            "units.z_scores", "info", f"{len(declared)} columns are in standard deviations, as the dataset says: texts must not call them bytes or seconds.",
            tuple(declared), {"columns": len(declared)},
        )  # fmt: skip


def as_published(view: View) -> Iterator[Finding]:
    """What the reader of the source met: mismatches with what was published, dirt, rows set aside."""
    for note in view.dataset.notes:
        yield Finding("source.note", "info", note)
    aside = view.dataset.set_aside
    if aside.height:
        reasons = aside.group_by("reason").len("rows").sort("rows", descending=True)
        yield Finding(
            "source.set_aside", "warning", f"{aside.height:,} rows do not fit and were set aside.", (),
            {"rows": aside.height}, tuple({"reason": str(reason), "rows": n} for reason, n in reasons.iter_rows()),
        )  # fmt: skip

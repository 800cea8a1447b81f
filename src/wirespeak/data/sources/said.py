"""What the entries of a log say of flows beside their counts: the application, its messages, and the facts of `schema.FACTS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from wirespeak.data.sources.lines import nanoseconds
from wirespeak.schema import FACTS


@dataclass(frozen=True)
class Said:
    """What one log says of a flow.

    fields: what is read of it; `[]` is a set or vector. application: in our words, None where conn.log alone says it.
    facts: of the first row, by time, that has one. counts: summed over the rows, each 1 or 0, null where it is not told.
    """

    fields: tuple[str, ...]
    application: str | None = None
    facts: Mapping[str, pl.Expr] = field(default_factory=dict)
    counts: Mapping[str, pl.Expr] = field(default_factory=dict)


def named(column: str, names: Mapping[str, str]) -> pl.Expr:
    """A column's values by other names, null where they have none."""
    return pl.col(column).replace_strict(names, default=None, return_dtype=pl.String)


def true(condition: pl.Expr) -> pl.Expr:
    """1 where a condition holds, 0 where it does not or nobody knows."""
    return condition.fill_null(False).cast(pl.Int64)


def there(column: str) -> pl.Expr:
    """1 where a column says something."""
    return true(pl.col(column).is_not_null() & (pl.col(column) != ""))


def facts(prefix: str, **names: str) -> dict[str, pl.Expr]:
    """Facts of one protocol: ours = theirs."""
    return {f"{prefix}_{ours}": pl.col(theirs) for ours, theirs in names.items()}


COUNTS = ("messages", "answers", "errors", "refusals", "logins")


def said(kinds: Mapping[str, Said], logs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What logs say of each flow: `uid`, `application`, counts and facts, a row a flow that some log speaks of.

    kinds: how each log is read; it has the columns `ts` and `uid`, or `uids`. A count is null where no log of the flow tells it.
    """
    told = {fact.name: pl.String() for fact in FACTS}
    schema = {"uid": pl.String(), "application": pl.String(), **dict.fromkeys(COUNTS, pl.Int64()), **told}
    parts = [_of_log(kinds[name], logs[name], schema) for name in kinds if name in logs]
    if not parts:
        return pl.DataFrame(schema=schema)
    summed = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in COUNTS]
    first = [pl.col(name).drop_nulls().first() for name in ("application", *told)]
    return pl.concat(parts).group_by("uid", maintain_order=True).agg(*first, *summed).select(*schema)


def _of_log(log: Said, rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    if "uids" in rows.columns:
        rows = rows.explode("uids").rename({"uids": "uid"})
    rows = rows.filter(pl.col("uid").is_not_null()).sort(
        nanoseconds("ts"), maintain_order=True, nulls_last=True
    )
    facts = [
        pl.when(fact != "").then(fact).drop_nulls().first().alias(name) for name, fact in log.facts.items()
    ]
    counts = [pl.when(count.count() > 0).then(count.sum()).alias(name) for name, count in log.counts.items()]
    told = rows.group_by("uid", maintain_order=True).agg(*facts, *counts)
    found = {"uid": pl.col("uid"), "application": pl.lit(log.application)} | {
        name: pl.col(name) for name in (*log.facts, *log.counts)
    }
    return told.select(found.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())

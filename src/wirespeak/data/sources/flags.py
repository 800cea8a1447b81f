"""What the TCP flags of a flow tell where a log has only their sum: all that each side ever sent, in no order."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

BITS = {"fin": 1, "syn": 2, "rst": 4, "push": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
LETTERS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}


def of_letters(text: pl.Expr, letters: Mapping[str, int] = LETTERS) -> pl.Expr:
    """The sum of the flags that letters name."""
    parts = [
        pl.when(text.str.contains(letter, literal=True)).then(bit).otherwise(0)
        for letter, bit in letters.items()
    ]
    return pl.when(text.is_not_null()).then(pl.sum_horizontal(parts))


def of_flags(fwd: pl.Expr, bwd: pl.Expr, *, answered: pl.Expr) -> dict[str, pl.Expr]:
    """`state`, `flags` and the counts of packets with a flag that are 0, from the sums of both sides, for TCP; other flows are null.

    answered: whether the destination sent anything. What hangs on the order in which flags came is null, but a reset of an open connection is
    taken for its end, as Zeek does: by whoever's flags hold it, the source first, and FIN of both sides goes before.
    """

    def has(side: pl.Expr, *flags: str) -> pl.Expr:
        mask = sum(BITS[flag] for flag in flags)
        return (side & mask) == mask

    opened, joined = has(fwd, "syn"), ~has(fwd, "syn")
    state = (
        pl.when(opened & ~answered).then(pl.when(has(fwd, "rst")).then(pl.lit("RSTOS0")).when(has(fwd, "fin")).then(pl.lit("SH")).otherwise(pl.lit("S0")))
        .when(opened & has(bwd, "syn") & ~has(fwd, "ack")).then(pl.lit("HALF"))
        .when(opened & has(bwd, "syn") & has(fwd, "fin") & has(bwd, "fin")).then(pl.lit("SF"))
        .when(opened & has(bwd, "syn") & has(fwd, "rst")).then(pl.lit("RSTO"))
        .when(opened & has(bwd, "syn") & has(bwd, "rst")).then(pl.lit("RSTR"))
        .when(opened & has(bwd, "syn") & has(fwd, "fin")).then(pl.lit("S2"))
        .when(opened & has(bwd, "syn") & has(bwd, "fin")).then(pl.lit("S3"))
        .when(opened & has(bwd, "syn")).then(pl.lit("S1"))
        .when(opened & has(bwd, "rst")).then(pl.lit("REJ"))
        .when(joined & has(bwd, "syn") & has(bwd, "rst")).then(pl.lit("RSTRH"))
        .when(joined & ~has(bwd, "syn")).then(pl.lit("OTH"))
    )  # fmt: skip
    begun = opened & (has(bwd, "syn") | (fwd == BITS["syn"]))
    tcp = pl.col("protocol") == "tcp"
    found: dict[str, pl.Expr] = {"flags": pl.when(begun).then(pl.lit("S")), "state": state}
    for side, sent in (("fwd", fwd), ("bwd", bwd)):
        found |= {f"{side}_{flag}_packets": pl.when((sent & bit) == 0).then(0) for flag, bit in BITS.items()}
    return {name: pl.when(tcp).then(expression) for name, expression in found.items()}


def spoken(state: pl.Expr, fwd: pl.Expr, bwd: pl.Expr) -> pl.Expr:
    """The state of a flow: TCP's where it is TCP, else by who spoke; fwd, bwd: whether each side did."""
    both = pl.when(fwd & bwd).then(pl.lit("two-way")).when((fwd & bwd).not_()).then(pl.lit("one-way"))
    return pl.when(pl.col("protocol") == "tcp").then(state).otherwise(both)

"""Hostile verdicts that belong together, by one rule, with the evidence each group has.

The rule. Verdicts join when their canonical label agrees, they share an address (in either role, so that a
victim's answers belong to the attack) and one begins within the gap of the other, or while it lasts. Joining
is transitive, so a flood from thousands of forged sources meets at its target. What a single verdict is joined
under is settled among its neighbours first (`surroundings`).

The evidence of a group, in nats:

    evidence = mean(logit p) * log2(1 + witnesses) - ln(1 / share)

where p is each flow's probability of the label, a flow of n packets counts as log2(1 + n) witnesses, and share
is the part of all flows between the same parties, in the same time, that were judged hostile. Flows of one
source are no independent witnesses, and packets of one flow still less, hence the logarithms; a flood that is
one long flow has evidence too, and three odd flows in a sea of ordinary ones between two hosts weigh little.
`unknown` names no kind and weighs half: what is merely strange has to be strange for longer before a person is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.explain.surroundings import settle

NOT_HOSTILE = ("normal",)
SECOND = 1_000_000_000
UNKNOWN = "unknown"
_LOGIT_BOUND = 7.0
_UNNAMED = 0.5


def prepare(flows: pl.DataFrame, verdicts: pl.DataFrame, *, settled: bool = False) -> pl.DataFrame:
    """What grouping needs of each flow: addresses as numbers, the label to join it under, whether it stands alone.

    settled: take the verdicts as they are.
    """
    if flows.height != verdicts.height:
        raise ValueError(
            f"{verdicts.height} verdicts for {flows.height} flows; pass one verdict a flow, in order"
        )
    table = flows.select(
        "first_seen", "last_seen", "src", "dst", "src_mac", "dst_mac", "protocol"
    ).with_columns(
        (1.0 + flows["fwd_packets"] + flows["bwd_packets"]).log(2).alias("witnesses"),
        verdicts["canonical"].cast(pl.String).alias("label"),
        verdicts["probability"].cast(pl.Float64).fill_nan(None).fill_null(0.0).alias("p"),
    )
    names = pl.concat([table["src"], table["dst"]]).fill_null("").unique().sort()
    code = pl.int_range(len(names), dtype=pl.Int64, eager=True)
    table = table.with_row_index("row").with_columns(
        *(
            pl.col(side).fill_null("").replace_strict(names, code, return_dtype=pl.Int64).alias(f"{side}_no")
            for side in ("src", "dst")
        ),
        pl.col("label").alias("join"),
        pl.lit(False).alias("alone"),
    )
    return table if settled or table.is_empty() else _settled(table)


def _settled(table: pl.DataFrame) -> pl.DataFrame:
    kinds = [NOT_HOSTILE[0], *sorted(set(table["label"].drop_nulls()) - set(NOT_HOSTILE))]
    # A flow without an answer says nothing about its neighbours; it counts as ordinary among them.
    answers = table["label"].fill_null(NOT_HOSTILE[0])
    labels = answers.replace_strict(kinds, range(len(kinds)), return_dtype=pl.Int64).to_numpy()
    time_ms = (table["first_seen"] // 1_000_000).to_numpy()
    joined, alone = settle(
        labels, table["src_no"].to_numpy(), table["dst_no"].to_numpy(), time_ms, len(kinds)
    )
    join = pl.Series("join", np.array(kinds, dtype=object)[joined], dtype=pl.String)
    return table.with_columns(
        pl.when(pl.col("label").is_not_null()).then(join).alias("join"), pl.Series("alone", alone)
    )


@dataclass(frozen=True)
class Candidate:
    """A connected group of hostile flows; rows in order of time. flows: how many were judged `label` themselves."""

    label: str
    rows: NDArray[np.int64]
    flows: int
    probability: float
    evidence: float
    alone: bool


def gather(table: pl.DataFrame, gap_s: float) -> list[Candidate]:
    """Every connected group of hostile flows, with its evidence."""
    hostile = table.filter(pl.col("join").is_not_null() & ~pl.col("join").is_in(NOT_HOSTILE)).sort(
        "first_seen", "row"
    )
    if hostile.is_empty():
        return []
    gap = round(gap_s * SECOND)
    own = (hostile["label"] == hostile["join"]).to_numpy()
    p = hostile["p"].to_numpy()
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(p) - np.log1p(-p), -_LOGIT_BOUND, _LOGIT_BOUND)
    _, first, group_of, size = np.unique(
        _components(hostile, gap), return_index=True, return_inverse=True, return_counts=True
    )
    flows = np.maximum(1, np.bincount(group_of, own).astype(np.int64))
    total = np.bincount(group_of, logits * own)
    share = size / (size + _ordinary_between(table, hostile, group_of))
    witnesses = np.maximum(1, np.bincount(group_of, hostile["witnesses"].to_numpy() * own))
    evidence = total / flows * np.log2(1 + witnesses) + np.log(share)
    probability = 1 / (1 + np.exp(-total / (flows + 1)))
    rows = np.split(hostile["row"].to_numpy()[np.argsort(group_of, kind="stable")], np.cumsum(size)[:-1])
    labels = hostile["join"].gather(first)
    evidence = np.where((labels == UNKNOWN).to_numpy(), evidence * _UNNAMED, evidence)
    alone = hostile["alone"].gather(first)
    parts = (labels, rows, flows.tolist(), probability.tolist(), evidence.tolist(), alone)
    return [Candidate(*each) for each in zip(*parts, strict=True)]


def _components(hostile: pl.DataFrame, gap: int) -> NDArray[np.int64]:
    """A number for the group of each flow. Flows that stand alone are grouped apart and bridge nothing."""
    alone = hostile["alone"].to_numpy()
    group_of = np.empty(hostile.height, dtype=np.int64)
    for part, offset in ((~alone, 0), (alone, 2 * hostile.height)):
        if part.any():
            group_of[part] = _connect(*_address_runs(hostile.filter(part), gap)) + offset
    return group_of


def _address_runs(hostile: pl.DataFrame, gap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each flow the run its source belongs to and the run its target belongs to.

    A run is a maximal series of flows of one label that touch one address, in either role, each of which
    begins within `gap` of the beginning of an earlier one, or while an earlier one lasts.
    """
    ends = [
        hostile.select(
            "join",
            "first_seen",
            pl.max_horizontal("last_seen", pl.col("first_seen") + gap).alias("until"),
            pl.col(f"{side}_no").alias("address"),
        ).with_row_index("flow")
        for side in ("src", "dst")
    ]
    both = pl.concat([end.with_columns(pl.lit(side).alias("side")) for side, end in enumerate(ends)])
    key = ["join", "address"]
    both = both.sort(*key, "first_seen", "flow").with_columns(
        pl.col("until").cum_max().shift(1).over(key).alias("until")
    )
    opens = (pl.col("until").is_null() | (pl.col("first_seen") > pl.col("until"))).cast(pl.Int64)
    both = both.with_columns(opens.cum_sum().alias("run")).sort("side", "flow")
    runs = both["run"].to_numpy()
    return runs[: hostile.height], runs[hostile.height :]


def _connect(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Component of each edge (left[i], right[i]) by union-find with path halving."""
    parent = list(range(int(max(left.max(), right.max())) + 1))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in np.unique(np.stack([left, right]), axis=1).T.tolist():
        a, b = find(a), find(b)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return np.array([find(node) for node in left.tolist()], dtype=np.int64)


def _ordinary_between(
    table: pl.DataFrame, hostile: pl.DataFrame, group_of: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each group, how many flows between the same parties in its time were judged ordinary."""
    pair = (
        pl.min_horizontal("src_no", "dst_no").alias("one"),
        pl.max_horizontal("src_no", "dst_no").alias("other"),
    )
    parties = hostile.with_columns(pl.Series("group", group_of), *pair)
    span = parties.group_by("group").agg(
        pl.col("first_seen").min().alias("start"), pl.col("last_seen").max().alias("stop")
    )
    parties = parties.select("group", "one", "other").unique().join(span, on="group")
    between = (
        table.filter(pl.col("label").is_in(NOT_HOSTILE))
        .select("first_seen", *pair)
        .join(parties, on=["one", "other"])
        .filter(pl.col("first_seen").is_between("start", "stop"))
    )
    return np.bincount(between["group"].to_numpy(), minlength=int(group_of.max()) + 1)

"""Verdicts that belong together: one flood of 57,611 flows is one incident.

The rule. Hostile verdicts join when their canonical label agrees, they share an address (in either role,
so that a victim's answers belong to the attack) and the time between them is at most `gap_s`. Joining is
transitive, so a flood from thousands of forged sources meets at its target.

The evidence of a group, in nats, decides whether a person is told:

    evidence = mean(logit p) * log2(1 + flows) - ln(1 / share)

where p is each flow's probability of the label and share is the part of all flows between the same
parties, in the same time, that were judged so. Flows of one source are no independent witnesses, hence
the logarithm; three odd flows in a sea of ordinary ones between the same two hosts weigh little. The
one number to beat, `evidence_floor`, is fitted on validation recordings by `fit_floor`.

A group opened this way takes in small groups of other labels that lie within its time and between its
parties: the first packets of a flood look like a scan because no context has been seen yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

NOT_HOSTILE = ("normal",)
_LOGIT_BOUND = 7.0
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Group:
    """Flows that belong together, before they are explained.

    rows: positions in the verdict table, in order of time, flows taken in from other labels included.
    probability: of the label, pooled over the flows judged so: the logistic of the sum of their logits
    divided by one more than their number, so that a single flow never claims certainty.
    also: label -> flows taken in that were judged otherwise.
    """

    label: str
    probability: float
    evidence: float
    rows: NDArray[np.int64]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    also: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FloorFit:
    """An evidence floor and what it does to the recordings it was fitted on."""

    floor: float
    attacks: int
    found: int
    false: int


def group(
    flows: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    gap_s: float = 60.0,
    evidence_floor: float = 3.0,
    pad_s: float = 5.0,
    minority: float = 0.34,
) -> list[Group]:
    """Gather hostile verdicts into incidents, in order of time.

    flows, verdicts: row i of one is row i of the other (`schema.COLUMNS`; SPEC.md for verdicts).
    minority: a group is taken in by another when it has at most this share of the other's flows.
    """
    table = _prepare(flows, verdicts)
    return _select(_gather(table, gap_s), table, evidence_floor, round(pad_s * _SECOND), minority)


def fit_floor(
    recordings: Iterable[tuple[pl.DataFrame, pl.DataFrame, Sequence[str]]],
    *,
    gap_s: float = 60.0,
    pad_s: float = 5.0,
    minority: float = 0.34,
) -> FloorFit:
    """Choose the evidence floor on validation recordings of (flows, verdicts, true label of each flow).

    The floor that leaves most attacks as exactly one incident, less the incidents that match none; in the
    middle of the widest range of floors that do equally well.
    """
    parts = []
    for flows, verdicts, truth in recordings:
        table = _prepare(flows, verdicts)
        parts.append((table, _gather(table, gap_s), _attacks(flows, truth, gap_s)))
    known = sorted({float(c.evidence) for _, candidates, _ in parts for c in candidates})
    if not known:
        return FloorFit(0.0, sum(len(attacks) for *_, attacks in parts), 0, 0)
    edges = [known[0] - 1.0, *known, known[-1] + 1.0]
    floors = [(low + high) / 2 for low, high in zip(edges, edges[1:])]
    marks = []
    for floor in floors:
        found = false = 0
        for table, candidates, attacks in parts:
            groups = _select(candidates, table, floor, round(pad_s * _SECOND), minority)
            once, wrong = _tally(groups, attacks)
            found, false = found + once, false + wrong
        marks.append((found - false, found, false))
    best = max(score for score, *_ in marks)
    runs = _runs([score == best for score, *_ in marks])
    start, stop = max(runs, key=lambda run: edges[run[1]] - edges[run[0]])
    floor = (edges[start] + edges[stop]) / 2
    _, found, false = marks[start]
    return FloorFit(floor, sum(len(attacks) for *_, attacks in parts), found, false)


def count_found(
    flows: pl.DataFrame, truth: Sequence[str], groups: Sequence[Group], *, gap_s: float = 60.0
) -> tuple[int, int, int]:
    """Attacks there were, those that became exactly one incident of the right label, incidents beside those.

    truth: the true label of each flow; an attack is what the same grouping makes of the true labels.
    """
    attacks = _attacks(flows, truth, gap_s)
    return len(attacks), *_tally(groups, attacks)


def _attacks(flows: pl.DataFrame, truth: Sequence[str], gap_s: float) -> list[tuple[str, set[int]]]:
    certain = pl.DataFrame({"canonical": list(truth), "probability": 0.999}, schema_overrides={"canonical": pl.String})
    return [(a.label, set(a.rows.tolist())) for a in _gather(_prepare(flows, certain), gap_s)]


def _tally(groups: Sequence[Group], attacks: Sequence[tuple[str, set[int]]]) -> tuple[int, int]:
    """Attacks found exactly once, and incidents that are none of them or one too many."""
    hits = [_matches(g, attacks) for g in groups]
    once = sum(hits.count(number) == 1 for number in range(len(attacks)))
    return once, sum(hit is None or hits.count(hit) > 1 for hit in hits)


def _matches(found: Group, attacks: Sequence[tuple[str, set[int]]]) -> int | None:
    """The attack that a group of the same label mostly consists of."""
    rows = found.rows.tolist()
    for number, (label, members) in enumerate(attacks):
        if label == found.label and sum(row in members for row in rows) * 2 > len(rows):
            return number
    return None


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]] | list[tuple[int, int]]:
    """Half-open ranges of neighbouring true flags."""
    runs: list[tuple[int, int]] = []
    for position, flag in enumerate(flags):
        if flag and runs and runs[-1][1] == position:
            runs[-1] = (runs[-1][0], position + 1)
        elif flag:
            runs.append((position, position + 1))
    return runs


def _prepare(flows: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """The columns grouping needs, addresses as numbers, one row a flow."""
    if flows.height != verdicts.height:
        raise ValueError(f"{verdicts.height} verdicts for {flows.height} flows; pass one verdict a flow, in order")
    table = flows.select("first_seen", "last_seen", "src", "dst", "src_mac", "protocol").with_columns(
        verdicts["canonical"].cast(pl.String).alias("label"),
        verdicts["probability"].cast(pl.Float64).fill_nan(None).fill_null(0.0).alias("p"),
    )
    names = pl.concat([table["src"], table["dst"]]).fill_null("").unique().sort()
    code = pl.int_range(len(names), dtype=pl.Int64, eager=True)
    number = {"old": names, "new": code}
    return table.with_row_index("row").with_columns(
        pl.col(side).fill_null("").replace_strict(**number, return_dtype=pl.Int64).alias(f"{side}_no") for side in ("src", "dst")
    )


def _gather(table: pl.DataFrame, gap_s: float) -> list[Group]:
    """Every connected group of hostile flows, with its evidence, in order of time."""
    hostile = table.filter(pl.col("label").is_not_null() & ~pl.col("label").is_in(NOT_HOSTILE)).sort("first_seen", "row")
    if hostile.is_empty():
        return []
    run_of_source, run_of_target = _address_runs(hostile, round(gap_s * _SECOND))
    root = _connect(run_of_source, run_of_target)
    order = np.argsort(root, kind="stable")
    cuts = np.flatnonzero(np.diff(root[order])) + 1
    members = np.split(order, cuts)
    ordinary = _ordinary_between(table, hostile, members)
    groups = [_judge(hostile[rows], between) for rows, between in zip(members, ordinary)]
    return sorted(groups, key=lambda g: int(g.rows[0]))


def _address_runs(hostile: pl.DataFrame, gap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each flow the run its source belongs to and the run its target belongs to.

    A run is a maximal series of flows of one label that touch one address, in either role, with no pause
    longer than `gap` between the end of all earlier ones and the start of the next.
    """
    ends = [
        hostile.select("label", "first_seen", "last_seen", pl.col(f"{side}_no").alias("address")).with_row_index("flow")
        for side in ("src", "dst")
    ]
    both = pl.concat([end.with_columns(pl.lit(side).alias("side")) for side, end in enumerate(ends)])
    key = ["label", "address"]
    both = both.sort(*key, "first_seen", "flow").with_columns(
        pl.col("last_seen").cum_max().shift(1).over(key).alias("until"),
    )
    opens = (pl.col("until").is_null() | (pl.col("first_seen") - pl.col("until") > gap)).cast(pl.Int64)
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


def _ordinary_between(table: pl.DataFrame, hostile: pl.DataFrame, members: Sequence[NDArray[np.int64]]) -> list[int]:
    """For each group, how many flows between the same parties in its time were judged ordinary."""
    pair = (pl.min_horizontal("src_no", "dst_no").alias("one"), pl.max_horizontal("src_no", "dst_no").alias("other"))
    number = np.empty(hostile.height, dtype=np.int64)
    for position, rows in enumerate(members):
        number[rows] = position
    parties = hostile.with_columns(pl.Series("group", number), *pair)
    span = parties.group_by("group").agg(pl.col("first_seen").min().alias("start"), pl.col("last_seen").max().alias("stop"))
    parties = parties.select("group", "one", "other").unique().join(span, on="group")
    counted = (
        table.filter(pl.col("label").is_in(NOT_HOSTILE))
        .select("first_seen", *pair)
        .join(parties, on=["one", "other"])
        .filter(pl.col("first_seen").is_between("start", "stop"))
        .group_by("group")
        .len()
    )
    found = dict(counted.iter_rows())
    return [found.get(position, 0) for position in range(len(members))]


def _judge(flows: pl.DataFrame, ordinary: int) -> Group:
    """A group of flows of one label, with pooled probability, evidence, attackers and victims."""
    count = flows.height
    p = flows["p"].to_numpy()
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(p) - np.log1p(-p), -_LOGIT_BOUND, _LOGIT_BOUND)
    total = float(logits.sum())
    evidence = total / count * np.log2(1 + count) + np.log(count / (count + ordinary))
    sources, targets = _sides(flows)
    return Group(
        label=flows["label"][0],
        probability=float(1 / (1 + np.exp(-total / (count + 1)))),
        evidence=float(evidence),
        rows=flows["row"].cast(pl.Int64).to_numpy(),
        sources=sources,
        targets=targets,
    )


def _sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who did it and to whom, those with most flows first.

    Whoever spoke first between two hosts is the source, and a host found on both sides stands where it
    stood more often: a victim's error messages go back to the attacker. The address in a lying ARP
    message is the one thing it lies about, so ARP spoofing is charged to the link-layer address.
    """
    arp = flows.filter((pl.col("protocol") == "arp") & pl.col("src_mac").is_not_null())
    if flows["label"][0] == "spoof.arp" and not arp.is_empty():
        return _ranked(arp["src_mac"]), _ranked(arp["dst"])
    one, other = pl.min_horizontal("src_no", "dst_no"), pl.max_horizontal("src_no", "dst_no")
    pairs = flows.group_by(one.alias("one"), other.alias("other"), maintain_order=True).agg(
        pl.col("src").first(), pl.col("dst").first(), pl.len().alias("flows")
    )
    as_source = dict(pairs.group_by("src").agg(pl.col("flows").sum()).iter_rows())
    as_target = dict(pairs.group_by("dst").agg(pl.col("flows").sum()).iter_rows())
    sources = {a: n for a, n in as_source.items() if n > as_target.get(a, 0)}
    targets = {a: n for a, n in as_target.items() if n > as_source.get(a, 0)}
    first_source, first_target = str(pairs["src"][0]), str(pairs["dst"][0])
    return _by_count(sources or {first_source: 1}), _by_count(targets or {first_target: 1})


def _ranked(values: pl.Series) -> tuple[str, ...]:
    return _by_count(dict(values.value_counts().iter_rows()))


def _by_count(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(str(name) for name, _ in sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))


def _select(candidates: Sequence[Group], table: pl.DataFrame, floor: float, pad: int, minority: float) -> list[Group]:
    """The groups a person is told of: those over the floor, each with the small groups it explains."""
    if not candidates:
        return []
    seen = table.select("first_seen", "last_seen", "src", "dst")
    first, last = seen["first_seen"].to_numpy(), seen["last_seen"].to_numpy()
    src, dst = seen["src"], seen["dst"]
    kept: list[Group] = []
    hosts: list[_Reach] = []
    for candidate in sorted(candidates, key=lambda g: (-len(g.rows), -g.evidence, int(g.rows[0]))):
        start, ends = first[candidate.rows], list(zip(src[candidate.rows], dst[candidate.rows]))
        for number, reach in enumerate(hosts):
            if len(candidate.rows) > minority * reach.flows or kept[number].label == candidate.label:
                continue
            inside = (start >= reach.start - pad) & (start <= reach.stop + pad)
            touching = np.fromiter((reach.has(a, b) for a, b in ends), dtype=bool, count=len(ends))
            if (inside & touching).mean() > 0.5:
                kept[number] = _take_in(kept[number], candidate)
                break
        else:
            if candidate.evidence >= floor:
                kept.append(candidate)
                spans = int(start.min()), int(last[candidate.rows].max())
                hosts.append(_Reach(len(candidate.rows), *spans, frozenset(frozenset(end) for end in ends), _hub(candidate)))
    return sorted(kept, key=lambda g: (int(first[g.rows].min()), g.label))


@dataclass(frozen=True)
class _Reach:
    """When and between whom an incident happened; `hub` is the one host on its narrow side."""

    flows: int
    start: int
    stop: int
    pairs: frozenset[frozenset[str]]
    hub: str | None

    def has(self, one: str, other: str) -> bool:
        return self.hub in (one, other) if self.hub else frozenset((one, other)) in self.pairs


def _hub(found: Group) -> str | None:
    """The attacker of many or the victim of many: it alone tells what belongs to the incident."""
    if len(found.sources) == 1 and len(found.targets) > 3:
        return found.sources[0]
    if len(found.targets) == 1 and len(found.sources) > 3:
        return found.targets[0]
    return None


def _take_in(found: Group, stray: Group) -> Group:
    also = dict(found.also)
    also[stray.label] = also.get(stray.label, 0) + len(stray.rows)
    return replace(found, rows=np.sort(np.concatenate([found.rows, stray.rows])), also=also)

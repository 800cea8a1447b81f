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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

NOT_HOSTILE = ("normal",)
_LOGIT_BOUND = 7.0
_FLOORS_TRIED = 60
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
    known = sorted({c.evidence for _, candidates, _ in parts for c in candidates if c.evidence > 0})
    if not known:
        return FloorFit(0.0, sum(len(attacks) for *_, attacks in parts), 0, 0)
    if len(known) > _FLOORS_TRIED:
        known = [known[i] for i in np.linspace(0, len(known) - 1, _FLOORS_TRIED).astype(int)]
    edges = [0.0, *known, known[-1] + 1.0]
    floors = [(low + high) / 2 for low, high in pairwise(edges)]
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
    certain = pl.DataFrame(
        {"canonical": list(truth), "probability": 0.999}, schema_overrides={"canonical": pl.String}
    )
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


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
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
        raise ValueError(
            f"{verdicts.height} verdicts for {flows.height} flows; pass one verdict a flow, in order"
        )
    table = flows.select("first_seen", "last_seen", "src", "dst", "src_mac", "protocol").with_columns(
        verdicts["canonical"].cast(pl.String).alias("label"),
        verdicts["probability"].cast(pl.Float64).fill_nan(None).fill_null(0.0).alias("p"),
    )
    names = pl.concat([table["src"], table["dst"]]).fill_null("").unique().sort()
    code = pl.int_range(len(names), dtype=pl.Int64, eager=True)
    number = {"old": names, "new": code}
    return table.with_row_index("row").with_columns(
        pl.col(side).fill_null("").replace_strict(**number, return_dtype=pl.Int64).alias(f"{side}_no")
        for side in ("src", "dst")
    )


@dataclass(frozen=True)
class _Candidate:
    """A connected group of hostile flows of one label; rows in order of time."""

    label: str
    rows: NDArray[np.int64]
    probability: float
    evidence: float


def _gather(table: pl.DataFrame, gap_s: float) -> list[_Candidate]:
    """Every connected group of hostile flows, with its evidence."""
    hostile = table.filter(pl.col("label").is_not_null() & ~pl.col("label").is_in(NOT_HOSTILE)).sort(
        "first_seen", "row"
    )
    if hostile.is_empty():
        return []
    root = _connect(*_address_runs(hostile, round(gap_s * _SECOND)))
    _, first, group_of, flows = np.unique(root, return_index=True, return_inverse=True, return_counts=True)
    p = hostile["p"].to_numpy()
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(p) - np.log1p(-p), -_LOGIT_BOUND, _LOGIT_BOUND)
    total = np.bincount(group_of, logits)
    share = flows / (flows + _ordinary_between(table, hostile, group_of))
    evidence = total / flows * np.log2(1 + flows) + np.log(share)
    probability = 1 / (1 + np.exp(-total / (flows + 1)))
    rows = np.split(hostile["row"].to_numpy()[np.argsort(group_of, kind="stable")], np.cumsum(flows)[:-1])
    labels = hostile["label"].gather(first)
    return [
        _Candidate(*parts)
        for parts in zip(labels, rows, probability.tolist(), evidence.tolist(), strict=True)
    ]


def _address_runs(hostile: pl.DataFrame, gap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each flow the run its source belongs to and the run its target belongs to.

    A run is a maximal series of flows of one label that touch one address, in either role, with no pause
    longer than `gap` between the end of all earlier ones and the start of the next.
    """
    ends = [
        hostile.select(
            "label", "first_seen", "last_seen", pl.col(f"{side}_no").alias("address")
        ).with_row_index("flow")
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


def _sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who did it and to whom, those with most flows first.

    Whoever spoke first between two hosts is the source, and a host found on both sides stands where it
    stood more often: a victim's error messages go back to the attacker. The address in a lying ARP
    message is the one thing it lies about, so ARP spoofing is charged to the link-layer address.
    """
    arp = flows.filter((pl.col("protocol") == "arp") & pl.col("src_mac").is_not_null())
    if flows["label"][0] == "spoof.arp" and not arp.is_empty():
        sender, told = (dict(arp[name].value_counts().iter_rows()) for name in ("src_mac", "dst"))
        return _ranked(sender), _ranked(told)
    one, other = pl.min_horizontal("src_no", "dst_no"), pl.max_horizontal("src_no", "dst_no")
    pairs = flows.group_by(one.alias("one"), other.alias("other"), maintain_order=True).agg(
        pl.col("src").first(), pl.col("dst").first(), pl.len().alias("flows")
    )
    as_source = dict(pairs.group_by("src").agg(pl.col("flows").sum()).iter_rows())
    as_target = dict(pairs.group_by("dst").agg(pl.col("flows").sum()).iter_rows())
    sources = {a: n for a, n in as_source.items() if n > as_target.get(a, 0)}
    targets = {a: n for a, n in as_target.items() if n > as_source.get(a, 0)}
    first_source, first_target = str(pairs["src"][0]), str(pairs["dst"][0])
    return _ranked(sources or {first_source: 1}), _ranked(targets or {first_target: 1})


def _ranked(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Hosts with most flows first, without the bystanders a few misjudged flows bring in.

    Hosts with under a twentieth of the leader's flows are bystanders when all of them together are, too.
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    few = ranked[0][1] / 20
    minor = sum(n for _, n in ranked if n < few)
    return tuple(str(name) for name, n in ranked if n >= few or minor >= few)


def _select(
    candidates: Sequence[_Candidate], table: pl.DataFrame, floor: float, pad: int, minority: float
) -> list[Group]:
    """The groups a person is told of: those over the floor, each with the small groups it explains."""
    first, last = table["first_seen"].to_numpy(), table["last_seen"].to_numpy()
    kept: list[Group] = []
    reaches: list[_Reach] = []
    largest_first = sorted(candidates, key=lambda c: (-len(c.rows), -c.evidence, int(c.rows[0])))
    for candidate in largest_first:
        start = first[candidate.rows]
        home = _home(candidate, start, table, kept, reaches, pad, minority)
        if home is not None:
            kept[home] = _take_in(kept[home], candidate)
        elif candidate.evidence >= floor:
            flows = table[candidate.rows]
            sources, targets = _sides(flows)
            kept.append(
                Group(
                    candidate.label,
                    candidate.probability,
                    candidate.evidence,
                    candidate.rows,
                    sources,
                    targets,
                )
            )
            span = int(start.min()) - pad, int(last[candidate.rows].max()) + pad
            pairs = frozenset(map(frozenset, zip(flows["src"], flows["dst"], strict=True)))
            reaches.append(_Reach(len(candidate.rows), *span, pairs, _hub(sources, targets)))
    return sorted(kept, key=lambda g: (int(first[g.rows].min()), g.label))


def _home(
    stray: _Candidate,
    start: NDArray[np.int64],
    table: pl.DataFrame,
    kept: Sequence[Group],
    reaches: Sequence[_Reach],
    pad: int,
    minority: float,
) -> int | None:
    """The much larger group of another label in whose time, and between whose parties, most of a group lies."""
    begins, ends_at = int(start.min()), int(start.max())
    ends: list[tuple[str, str]] = []
    for number, reach in enumerate(reaches):
        apart = ends_at < reach.start or begins > reach.stop
        if apart or len(stray.rows) > minority * reach.flows or kept[number].label == stray.label:
            continue
        inside = (start >= reach.start) & (start <= reach.stop)
        if inside.mean() <= 0.5:
            continue
        ends = ends or list(zip(table["src"][stray.rows], table["dst"][stray.rows], strict=True))
        touching = np.fromiter((reach.has(*end) for end in ends), dtype=bool, count=len(ends))
        if (inside & touching).mean() > 0.5:
            return number
    return None


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


def _hub(sources: tuple[str, ...], targets: tuple[str, ...]) -> str | None:
    """The attacker of many or the victim of many: it alone tells what belongs to the incident."""
    if len(sources) == 1 and len(targets) > 3:
        return sources[0]
    if len(targets) == 1 and len(sources) > 3:
        return targets[0]
    return None


def _take_in(found: Group, stray: _Candidate) -> Group:
    also = dict(found.also)
    also[stray.label] = also.get(stray.label, 0) + len(stray.rows)
    return replace(found, rows=np.sort(np.concatenate([found.rows, stray.rows])), also=also)

"""Verdicts that belong together: one flood of 57,611 flows is one incident.

The rule. Hostile verdicts join when their canonical label agrees, they share an address (in either role,
so that a victim's answers belong to the attack) and one begins within `gap_s` of the other, or while it lasts.
Joining is transitive, so a flood from thousands of forged sources meets at its target. What a single verdict
is joined under is settled among its neighbours first (`surroundings`).

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

from wirespeak.explain.surroundings import settle

NOT_HOSTILE = ("normal",)
_LOGIT_BOUND = 7.0
_FLOORS_TRIED = 60
_LIARS = ("spoof.arp", "spoof.mitm")
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
    return _select(
        _gather(table, gap_s), table, evidence_floor, round(pad_s * _SECOND), round(gap_s * _SECOND), minority
    )


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
            groups = _select(
                candidates, table, floor, round(pad_s * _SECOND), round(gap_s * _SECOND), minority
            )
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
    return [(a.label, set(a.rows.tolist())) for a in _gather(_prepare(flows, certain, settled=True), gap_s)]


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


def _prepare(flows: pl.DataFrame, verdicts: pl.DataFrame, *, settled: bool = False) -> pl.DataFrame:
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
class _Candidate:
    """A connected group of hostile flows; rows in order of time. flows: how many were judged `label` themselves."""

    label: str
    rows: NDArray[np.int64]
    flows: int
    probability: float
    evidence: float
    alone: bool


def _gather(table: pl.DataFrame, gap_s: float) -> list[_Candidate]:
    """Every connected group of hostile flows, with its evidence."""
    hostile = table.filter(pl.col("join").is_not_null() & ~pl.col("join").is_in(NOT_HOSTILE)).sort(
        "first_seen", "row"
    )
    if hostile.is_empty():
        return []
    gap = round(gap_s * _SECOND)
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
    evidence = total / flows * np.log2(1 + flows) + np.log(share)
    probability = 1 / (1 + np.exp(-total / (flows + 1)))
    rows = np.split(hostile["row"].to_numpy()[np.argsort(group_of, kind="stable")], np.cumsum(size)[:-1])
    labels = hostile["join"].gather(first)
    alone = hostile["alone"].gather(first)
    parts = (labels, rows, flows.tolist(), probability.tolist(), evidence.tolist(), alone)
    return [_Candidate(*each) for each in zip(*parts, strict=True)]


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


def _sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who did it and to whom, those with most flows first.

    Whoever spoke first between two hosts is the source, and a host found on both sides stands where it
    stood more often: a victim's error messages go back to the attacker.
    """
    if flows["join"][0] in _LIARS and flows["src_mac"].null_count() < flows.height:
        return _spoofed_sides(flows)
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


def _spoofed_sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The link-layer address that lied, since addresses are what it lied about, and those it lied to.

    It is the one that sent most of the ARP messages; where there are none, the one that stood for most
    addresses: the victim's stands for the victim alone.
    """
    arp = flows.filter((pl.col("protocol") == "arp") & pl.col("src_mac").is_not_null())
    if not arp.is_empty():
        sender, told = (dict(arp[name].value_counts().iter_rows()) for name in ("src_mac", "dst"))
        return _ranked(sender), _ranked(told)
    ends = pl.concat(
        flows.select(pl.col(side).alias("address"), pl.col(f"{side}_mac").alias("mac"))
        for side in ("src", "dst")
    ).drop_nulls()
    stands_for = dict(ends.group_by("mac").agg(pl.col("address").n_unique()).iter_rows())
    liar = max(sorted(stands_for), key=lambda mac: stands_for[mac])
    told = dict(ends.filter(pl.col("mac") != liar)["address"].value_counts().iter_rows())
    return (liar,), _ranked(told or {str(flows["dst"][0]): 1})


def _ranked(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Hosts with most flows first, without the bystanders a few misjudged flows bring in.

    Hosts with under a twentieth of the leader's flows are bystanders when all of them together are, too.
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    few = ranked[0][1] / 20
    minor = sum(n for _, n in ranked if n < few)
    return tuple(str(name) for name, n in ranked if n >= few or minor >= few)


def _select(
    candidates: Sequence[_Candidate], table: pl.DataFrame, floor: float, pad: int, gap: int, minority: float
) -> list[Group]:
    """The groups a person is told of: those over the floor, each with the small groups it explains."""
    first = table["first_seen"].to_numpy()
    opened: list[_Opened] = []
    order = sorted(candidates, key=lambda c: (c.alone, -len(c.rows), -c.evidence, int(c.rows[0])))
    for candidate in order:
        start = first[candidate.rows]
        if candidate.alone and candidate.evidence < floor:
            continue
        near = [one for one in opened if one.start - gap <= start.max() and start.min() <= one.stop + gap]
        ends = (
            list(zip(table["src"][candidate.rows], table["dst"][candidate.rows], strict=True)) if near else []
        )
        home = next((one for one in near if one.explains(candidate, start, ends, pad, minority)), None)
        if home:
            home.take_in(candidate)
        elif candidate.evidence >= floor:
            opened.append(_Opened.of(candidate, table[candidate.rows]))
    groups = (one.finished(table) for one in opened)
    return sorted(groups, key=lambda g: (int(first[g.rows].min()), g.label))


@dataclass
class _Opened:
    """An incident on its way: when most of its flows begin and between whom.

    hub: the attacker of many or the victim of many, who alone tells what belongs to it; hosts: how many
    stand on the other side.
    """

    group: Group
    flows: int
    start: int
    stop: int
    pairs: frozenset[frozenset[str]]
    hub: str | None
    hosts: int
    joined_late: bool = False

    @classmethod
    def of(cls, candidate: _Candidate, flows: pl.DataFrame) -> _Opened:
        sources, targets = _sides(flows)
        narrow, wide = sorted((sources, targets), key=len)
        counts = flows["label"].value_counts().iter_rows()
        group = Group(
            label=candidate.label,
            probability=candidate.probability,
            evidence=candidate.evidence,
            rows=candidate.rows,
            sources=sources,
            targets=targets,
            also={label: n for label, n in counts if label != candidate.label},
        )
        pairs = frozenset(map(frozenset, zip(flows["src"], flows["dst"], strict=True)))
        # An odd flow long before or after the rest must not make the incident look that long.
        start, stop = (int(end) for end in np.quantile(flows["first_seen"].to_numpy(), (0.02, 0.98)))
        hub = narrow[0] if len(narrow) == 1 and len(wide) > 3 else None
        return cls(group, flows.height, start, stop, pairs, hub, len(wide))

    def explains(
        self,
        stray: _Candidate,
        start: NDArray[np.int64],
        ends: Sequence[tuple[str, str]],
        pad: int,
        minority: float,
    ) -> bool:
        """Whether another group is part of this incident.

        One of the same label that stands alone is, when it shares an address. One of another label is, when it
        is small and most of it lies in this incident's time and between its parties. Around a hub such strays
        must be spread over the other side as the incident is: eighteen flows of one client to the victim of a
        forged flood are that client's own doing.
        """
        if stray.label == self.group.label:
            hosts = {host for pair in self.pairs for host in pair}
            return stray.alone and any(host in hosts for end in ends for host in end)
        if len(stray.rows) > minority * self.flows:
            return False
        inside = (start >= self.start - pad) & (start <= self.stop + pad)
        if self.hub is None:
            touching = [frozenset(end) in self.pairs for end in ends]
        else:
            touching = [self.hub in end for end in ends]
            others = {host for end in ends for host in end if host != self.hub}
            if len(ends) > len(others) * (2 * self.flows / self.hosts + 1):
                return False
        return bool((inside & np.array(touching)).mean() > 0.5)

    def take_in(self, stray: _Candidate) -> None:
        also = dict(self.group.also)
        if stray.label == self.group.label:
            self.joined_late = True
        else:
            also[stray.label] = also.get(stray.label, 0) + len(stray.rows)
        rows = np.sort(np.concatenate([self.group.rows, stray.rows]))
        self.group = replace(self.group, rows=rows, also=also)

    def finished(self, table: pl.DataFrame) -> Group:
        """The group, its sides seen again when flows of its own label joined it late."""
        if not self.joined_late:
            return self.group
        flows = table[self.group.rows].filter(pl.col("join") == self.group.label)
        sources, targets = _sides(flows)
        return replace(self.group, sources=sources, targets=targets)

"""Incidents: one flood of 57,611 flows is one incident, and a person is told of it once.

Groups of verdicts (`joining`) become incidents when their evidence reaches `evidence_floor`, the one number
to beat, fitted on validation recordings by `fit_floor`. An incident takes in small groups of other labels
that lie within its time and between its parties: the first packets of a flood look like a scan because no
context has been seen yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.explain.joining import SECOND, Candidate, gather, prepare
from wirespeak.explain.parties import sides
from wirespeak.schema import category

_NEARLY = 0.97
_FLOORS_TRIED = 60


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
    minority: a group is taken in by one of another category when it has at most this share of its flows.
    """
    table = prepare(flows, verdicts)
    return _select(
        gather(table, gap_s), table, evidence_floor, round(pad_s * SECOND), round(gap_s * SECOND), minority
    )


def fit_floor(
    recordings: Iterable[tuple[pl.DataFrame, pl.DataFrame, Sequence[str]]],
    *,
    least: float = 1.0,
    gap_s: float = 60.0,
    pad_s: float = 5.0,
    minority: float = 0.34,
) -> FloorFit:
    """Choose the evidence floor on validation recordings of (flows, verdicts, true label of each flow).

    The best floor leaves most attacks as exactly one incident, less the incidents that match none. Chosen is the
    middle of the widest range of floors that do nearly as well: that find 97 of 100 attacks that the best finds, with
    no more incidents that match none. Other networks are not in these recordings, and there a range has room on
    both sides. Never under `least`, for want of crumbs in the recordings: on less than one nat nobody is told.
    """
    parts = []
    for flows, verdicts, truth in recordings:
        table = prepare(flows, verdicts)
        parts.append((table, gather(table, gap_s), _attacks(flows, truth, gap_s)))
    known = sorted({c.evidence for _, candidates, _ in parts for c in candidates if c.evidence > least})
    if not known:
        return FloorFit(least, sum(len(attacks) for *_, attacks in parts), 0, 0)
    if len(known) > _FLOORS_TRIED:
        known = [known[i] for i in np.linspace(0, len(known) - 1, _FLOORS_TRIED).astype(int)]
    edges = [least, *known, known[-1] + 1.0]
    floors = [(low + high) / 2 for low, high in pairwise(edges)]
    marks = []
    for floor in floors:
        found = false = 0
        for table, candidates, attacks in parts:
            groups = _select(candidates, table, floor, round(pad_s * SECOND), round(gap_s * SECOND), minority)
            once, wrong = _tally(groups, attacks)
            found, false = found + once, false + wrong
        marks.append((found - false, found, false))
    _, most, fewest = max(marks, key=lambda mark: (mark[0], -mark[2]))
    runs = _runs([found >= _NEARLY * most and false <= fewest for _, found, false in marks])
    start, stop = max(runs, key=lambda run: edges[run[1]] - edges[run[0]])
    floor = (edges[start] + edges[stop]) / 2
    _, found, false = marks[int(np.searchsorted(edges, floor, side="right")) - 1]
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
    return [(a.label, set(a.rows.tolist())) for a in gather(prepare(flows, certain, settled=True), gap_s)]


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


def _select(
    candidates: Sequence[Candidate], table: pl.DataFrame, floor: float, pad: int, gap: int, minority: float
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
    addresses: frozenset[str]
    hub: str | None
    hosts: int
    joined_late: bool = False

    @classmethod
    def of(cls, candidate: Candidate, flows: pl.DataFrame) -> _Opened:
        sources, targets = sides(flows)
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
        addresses = frozenset(host for pair in pairs for host in pair)
        return cls(group, flows.height, start, stop, pairs, addresses, hub, len(wide))

    def explains(
        self,
        stray: Candidate,
        start: NDArray[np.int64],
        ends: Sequence[tuple[str, str]],
        pad: int,
        minority: float,
    ) -> bool:
        """Whether another group is part of this incident.

        One of the same label that stands alone is, when it shares an address. One of another label is, when it
        is small (of the same category: no larger) and most of it lies in this incident's time and between its
        parties. Around a hub such strays must be spread over the other side as the incident is: eighteen flows
        of one client to the victim of a forged flood are that client's own doing.
        """
        if stray.label == self.group.label:
            return stray.alone and any(host in self.addresses for end in ends for host in end)
        akin = category(stray.label) == category(self.group.label)
        if len(stray.rows) > self.flows * (1 if akin else minority):
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

    def take_in(self, stray: Candidate) -> None:
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
        sources, targets = sides(flows)
        return replace(self.group, sources=sources, targets=targets)

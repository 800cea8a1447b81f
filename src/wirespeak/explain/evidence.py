"""What sets an incident apart: measured facts outside this network's usual range, and how much each matters.

Every value is read from one typical flow of the incident, named by its number, so that anyone can look it
up. Usual means the 5th to 95th percentile of the flows judged normal in the same capture: those of the
same protocol where there are at least 20, else all of them where there are 20, else the reference ranges
of the model's run card, else unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.explain.incidents import NOT_HOSTILE, Group
from wirespeak.records import Evidence
from wirespeak.schema import COLUMNS, KEYS, WINDOWS

Usual = tuple[float, float] | str
Ranges = Mapping[str, Usual]

LEAST_FLOWS = 20
CANDIDATES = 12
_COMMON = 0.05
_LOOKED_AT = 2000
_GRADE_OF = {"duration_s": "duration_grade", "packets_per_s": "rate_grade", "iat_max_s": "gap_grade"}
_THOUSANDTHS = ("duration_s", "iat_max_s")
# The protocol is what the comparison is made within, not what sets a flow apart.
_TOLD = tuple(c.name for c in COLUMNS.values() if c.is_feature and c.phrase and c.name != "protocol")


@dataclass(frozen=True)
class _Candidate:
    """A column outside its usual range, and all columns that tell the same story."""

    column: str
    value: float | str
    usual: Usual | None
    distance: float
    family: tuple[str, ...]


def find_evidence(
    flows: pl.DataFrame,
    verdicts: pl.DataFrame,
    groups: Sequence[Group],
    *,
    detector: Detector | None = None,
    reference: Ranges | None = None,
    most: int = 5,
) -> list[tuple[Evidence, ...]]:
    """The weightiest evidence of each group, weightiest first.

    weight: how far the probability of the label drops when the fact, in all its windows and grades, is set
    to the near end of its usual range; 0 without a detector. Facts of equal weight (to 0.01) are ordered by
    their distance from the usual range, in doublings.
    reference: usual ranges of the training recordings, from the model's run card.
    """
    here = usual_by_protocol(flows.filter(verdicts["canonical"].is_in(NOT_HOSTILE)))
    typical = [flows.row(typical_row(flows, verdicts, group), named=True) for group in groups]
    found = [_candidates(flow, _ranges_for(flow["protocol"], here, reference or {})) for flow in typical]
    weights = _weigh(flows.schema, typical, found, groups, detector)
    chosen = []
    for flow, candidates, drops in zip(typical, found, weights, strict=True):
        ranked = sorted(
            zip(candidates, drops, strict=True), key=lambda item: (-round(item[1], 2), -item[0].distance)
        )
        chosen.append(
            tuple(Evidence(c.column, c.value, c.usual, drop, flow["flow_id"]) for c, drop in ranked[:most])
        )
    return chosen


def usual_by_protocol(ordinary: pl.DataFrame) -> dict[str, dict[str, Usual]]:
    """Usual ranges of ordinary flows for each protocol that has enough of them, and for `all`.

    Numbers: 5th and 95th percentile. Categories: the values of at least one flow in twenty, joined by " or ".
    """
    parts = {"all": ordinary} | {
        str(key[0]): part for key, part in ordinary.partition_by("protocol", as_dict=True).items()
    }
    return {name: _usual(part) for name, part in parts.items() if part.height >= LEAST_FLOWS}


def typical_row(flows: pl.DataFrame, verdicts: pl.DataFrame, group: Group) -> int:
    """The flow that stands for a group: surest of its label, then nearest the median of all measured facts."""
    judged = verdicts["canonical"].gather(group.rows) == group.label
    rows = group.rows[judged.to_numpy()]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(np.int64)]
    sure = np.nan_to_num(verdicts["probability"].gather(rows).to_numpy().astype(float))
    numbers = (
        flows[rows]
        .select(name for name in _TOLD if COLUMNS[name].kind != "category")
        .to_numpy()
        .astype(float)
    )
    scaled = np.log1p(numbers)
    distance = np.abs(scaled - np.median(scaled, axis=0)).sum(axis=1)
    surest = sure >= np.quantile(sure, 0.5) - 1e-6
    return int(rows[np.argmin(np.where(surest, distance, np.inf))])


def _usual(ordinary: pl.DataFrame) -> dict[str, Usual]:
    numeric = [name for name in _TOLD if COLUMNS[name].kind != "category"]
    low = ordinary.select(pl.col(numeric).quantile(0.05, "nearest")).row(0)
    high = ordinary.select(pl.col(numeric).quantile(0.95, "nearest")).row(0)
    usual: dict[str, Usual] = {
        name: (float(a), float(b)) for name, a, b in zip(numeric, low, high, strict=True)
    }
    for name in _TOLD:
        if COLUMNS[name].kind == "category":
            counts = ordinary[name].cast(pl.String).value_counts(sort=True)
            common = [
                str(value) for value, n in counts.iter_rows() if value and n >= _COMMON * ordinary.height
            ]
            usual[name] = " or ".join(sorted(common))
    return usual


def _ranges_for(protocol: str, here: Mapping[str, Ranges], reference: Ranges) -> Ranges:
    return here.get(protocol) or here.get("all") or reference


def _candidates(flow: Mapping[str, float | str], usual: Ranges) -> list[_Candidate]:
    """The columns farthest outside their usual ranges, one of each family."""
    found = []
    for name in _TOLD:
        value, ends = flow[name], usual.get(name)
        if isinstance(ends, Sequence) and not isinstance(ends, str):
            ends = (float(ends[0]), float(ends[1]))
        if value is None or value == "" or ends == "":
            continue
        distance = _distance(name, value, ends)
        if distance > 0:
            found.append(_Candidate(name, value, ends, distance, _family(name)))
    found.sort(key=lambda c: (c.family, -c.distance))
    nearest = [next(same) for _, same in groupby(found, key=lambda c: c.family)]
    return sorted(nearest, key=lambda c: -c.distance)[:CANDIDATES]


def _distance(name: str, value: float | str, usual: Usual | None) -> float:
    """How far outside its usual range a value lies, in doublings; a strange category counts as one.

    Without a usual range nothing can be said, except that an unusual thing is there at all.
    """
    if isinstance(value, str) or isinstance(usual, str):
        return float(isinstance(usual, str) and value not in usual.split(" or "))
    if usual is None:
        return 0.5 if value and COLUMNS[name].kind == "count" else 0.0
    edge = min(max(value, usual[0]), usual[1])
    kind = COLUMNS[name].kind
    if kind in ("percent", "bits"):
        # A share can at most double a few times; its whole width counts as seven doublings.
        return abs(value - edge) * 7 / (100 if kind == "percent" else 8)
    scale = 1000 if kind == "seconds" else 1
    return abs(float(np.log2(1 + scale * value) - np.log2(1 + scale * edge)))


def _family(name: str) -> tuple[str, ...]:
    """The column and its like over the other windows: `src_ports_2s`, `src_ports_60s`, `src_ports_100`."""
    stem, _, window = name.rpartition("_")
    if name.split("_")[0] in KEYS and window in WINDOWS:
        return tuple(f"{stem}_{other}" for other in WINDOWS if f"{stem}_{other}" in COLUMNS)
    return (name,)


def _weigh(
    schema: pl.Schema,
    flows: Sequence[Mapping[str, float | str]],
    found: Sequence[Sequence[_Candidate]],
    groups: Sequence[Group],
    detector: Detector | None,
) -> list[list[float]]:
    """The drop of each group's label when each of its facts is made usual, all in one call."""
    if detector is None or not groups:
        return [[0.0] * len(candidates) for candidates in found]
    rows: list[dict[str, object]] = []
    for flow, candidates in zip(flows, found, strict=True):
        rows.append(dict(flow))
        rows.extend(dict(flow) | _made_usual(flow, candidate) for candidate in candidates)
    judged = np.nan_to_num(detector.predict(pl.DataFrame(rows, schema=schema)))
    weights, start = [], 0
    for group, candidates in zip(groups, found, strict=True):
        part = judged[start : start + 1 + len(candidates)]
        start += len(part)
        weights.append(_drops(part, detector.labels, group.label))
    return weights


def _drops(judged: NDArray[np.float32], labels: Sequence[str], label: str) -> list[float]:
    """Probability of the label as it is less without each fact. A label of another set stands for the likeliest."""
    column = labels.index(label) if label in labels else int(judged[0].argmax())
    return [round(float(judged[0, column] - row[column]), 4) for row in judged[1:]]


def _made_usual(flow: Mapping[str, float | str], candidate: _Candidate) -> dict[str, object]:
    """The columns of a family, grades and tenths included, set to the end of the usual range next to them."""
    changed: dict[str, object] = {}
    for name in candidate.family:
        if isinstance(candidate.usual, str):
            changed[name] = candidate.usual.split(" or ")[0]
            continue
        low, high = candidate.usual or (0.0, 0.0)
        value = min(max(float(flow[name]), low), high)
        changed[name] = (
            value if COLUMNS[name].kind in ("seconds", "bits") or name == "packets_per_s" else round(value)
        )
        grade, tenths = _GRADE_OF.get(name, f"{name}_grade"), f"{name}_tenths"
        if grade in COLUMNS:
            changed[grade] = int(np.log2(1 + value * (1000 if name in _THOUSANDTHS else 1)))
        if tenths in COLUMNS:
            changed[tenths] = int(value / 10 + 0.5)
    return changed

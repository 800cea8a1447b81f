"""What sets an incident apart: measured facts outside this network's usual range, and how much each matters.

Every value is read from one typical flow of the incident, named by its number, so that anyone can look it
up. Usual means the 5th to 95th percentile of the flows judged normal in the same capture: those of the
same protocol where there are at least 20, else all of them where there are 20, else the reference ranges
of the model's run card, else unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.explain.incidents import Group
from wirespeak.explain.joining import NOT_HOSTILE
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
    """A column outside its usual range, and what the flow is with all columns that tell the same story made usual."""

    column: str
    value: float | str
    usual: Usual | None
    distance: float
    made_usual: Mapping[str, object]


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

    weight: how far the probability of the label drops when the fact, in all its windows, roles and grades, is
    set to the near end of its usual range; 0 without a detector. Facts of equal weight (to 0.01) are ordered by
    their distance from the usual range, in doublings.
    reference: usual ranges of the training recordings, from the model's run card.
    """
    here = usual_by_protocol(flows.filter(verdicts["canonical"].is_in(NOT_HOSTILE)))
    typical, found = [], []
    for group in groups:
        choices = [flows.row(row, named=True) for row in typical_rows(flows, verdicts, group)]
        told = [_candidates(flow, _ranges_for(flow["protocol"], here, reference or {})) for flow in choices]
        # The most typical flow that has something to tell: a spoofer relays much that looks ordinary.
        best = max(range(len(told)), key=lambda i: (min(len(told[i]), 2), -i))
        typical.append(choices[best])
        found.append(told[best])
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


def typical_rows(flows: pl.DataFrame, verdicts: pl.DataFrame, group: Group, most: int = 6) -> list[int]:
    """The flows that stand for a group: surest of its label, then nearest the median of all measured facts."""
    judged = verdicts["canonical"].gather(group.rows) == group.label
    rows = group.rows[judged.to_numpy()]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(np.int64)]
    sure = np.nan_to_num(verdicts["probability"].gather(rows).to_numpy().astype(float))
    rows = rows[sure >= np.quantile(sure, 0.75) - 1e-6]
    numbers = (
        flows[rows]
        .select(name for name in _TOLD if COLUMNS[name].kind != "category")
        .to_numpy()
        .astype(float)
    )
    scaled = np.log1p(numbers)
    distance = np.abs(scaled - np.median(scaled, axis=0)).sum(axis=1)
    return [int(row) for row in rows[np.argsort(distance, kind="stable")[:most]]]


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
    """The columns farthest outside their usual ranges, one for each story, farthest first."""
    found: list[tuple[float, str, float | str, Usual | None]] = []
    for name in _TOLD:
        value, ends = flow[name], _ends(usual.get(name))
        if value is None or value == "" or ends == "":
            continue
        distance = _distance(name, value, ends)
        if distance > 0:
            found.append((distance, name, value, ends))
    found.sort(key=lambda item: (-item[0], item[1]))
    told: dict[str, _Candidate] = {}
    for distance, name, value, ends in found:
        if _story(name) not in told:
            told[_story(name)] = _Candidate(
                name, value, ends, distance, _made_usual(flow, _family(name), usual)
            )
    return list(told.values())[:CANDIDATES]


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


@cache
def _story(name: str) -> str:
    """What a column tells: `src_ports_2s`, `src_ports_100` and `pair_ports_60s` all tell of ports."""
    first, *rest = name.split("_")
    if first in KEYS and rest[-1] in WINDOWS:
        return "_".join(rest[:-1])
    if "iat" in rest or first == "iat":
        return "iat"
    return f"{first}_bytes" if rest and rest[-1] == "bytes" else name


@cache
def _family(name: str) -> tuple[str, ...]:
    """The columns that tell the same story, `name` among them."""
    return tuple(other for other in _TOLD if _story(other) == _story(name))


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
        rows.extend(dict(flow) | dict(candidate.made_usual) for candidate in candidates)
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


def _made_usual(flow: Mapping[str, float | str], family: Sequence[str], usual: Ranges) -> dict[str, object]:
    """The columns of a story, grades and tenths included, each set to the end of its usual range next to it."""
    changed: dict[str, object] = {}
    for name in family:
        ends, value = _ends(usual.get(name)), flow[name]
        if isinstance(value, str) or isinstance(ends, str):
            changed[name] = ends.split(" or ")[0] if isinstance(ends, str) and ends else value
            continue
        low, high = ends or (0.0, 0.0)
        value = min(max(float(value), low), high)
        exact = COLUMNS[name].kind in ("seconds", "bits") or name == "packets_per_s"
        changed[name] = value if exact else round(value)
        grade, tenths = _GRADE_OF.get(name, f"{name}_grade"), f"{name}_tenths"
        if grade in COLUMNS:
            changed[grade] = int(np.log2(1 + value * (1000 if name in _THOUSANDTHS else 1)))
        if tenths in COLUMNS:
            changed[tenths] = int(value / 10 + 0.5)
    return changed


def _ends(usual: Usual | Sequence[float] | None) -> Usual | None:
    """A usual range as measured here, or as a list in a run card."""
    if usual is None or isinstance(usual, str):
        return usual
    return float(usual[0]), float(usual[1])

"""Verdicts to incidents a person can read: evidence, checked sentences, remedies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from random import Random

import polars as pl

from wirespeak.contracts import Detector, LanguageModel
from wirespeak.explain.claims import explain_incidents
from wirespeak.explain.evidence import Ranges, find_evidence, usual_by_protocol
from wirespeak.explain.facts import Record, record
from wirespeak.explain.incidents import FloorFit, Group, fit_floor, group
from wirespeak.explain.mitigations import mitigations, valid_host
from wirespeak.explain.sentences import examples, invent, vary
from wirespeak.records import Evidence, Explanation, Incident
from wirespeak.schema import category
from wirespeak.text.ask import Example

__all__ = [
    "FloorFit", "Group", "as_json", "find_incidents", "fit_floor", "group", "incident_records", "mitigations",
    "training_examples", "usual_by_protocol",
]  # fmt: skip


def find_incidents(
    flows: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    detector: Detector | None = None,
    model: LanguageModel | None = None,
    evidence_floor: float = 3.0,
    reference: Ranges | None = None,
    gap_s: float = 60.0,
) -> list[Incident]:
    """Incidents of a capture in order of time, with evidence, explanation and mitigations; [] when all is ordinary.

    flows, verdicts: row i of one is row i of the other. detector: weighs the evidence. model: writes the
    explanations; without it they are plain sentences. evidence_floor, reference: from the run card of the
    model (`fit_floor`; usual ranges by column, for captures with too few ordinary flows).
    """
    groups = group(flows, verdicts, gap_s=gap_s, evidence_floor=evidence_floor)
    evidence = find_evidence(flows, verdicts, groups, detector=detector, reference=reference)
    known = [_measured(flows, *pair) for pair in zip(groups, evidence, strict=True)]
    explanations = explain_incidents(known, model)
    name = (
        detector.name
        if detector
        else str(verdicts["detector"][0])
        if "detector" in verdicts.columns and groups
        else ""
    )
    return [
        _incident(number, flows, *parts, name)
        for number, parts in enumerate(zip(groups, evidence, explanations, strict=True), start=1)
    ]


def training_examples(*, seed: int, count: int = 30_000, records: Sequence[Record] = ()) -> list[Example]:
    """What teaches a model to explain: `count` invented records, and each real one as it is and in 40 variations."""
    random = Random(seed)
    like = [vary(known, random) for known in records for _ in range(40)]
    return examples([*invent(count, seed=seed), *like], seed=seed) + examples(
        records, seed=seed, variations=4
    )


def incident_records(
    flows: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    detector: Detector | None = None,
    evidence_floor: float = 3.0,
) -> list[Record]:
    """The records a capture's incidents are explained from: what `sentences.examples` teaches with."""
    groups = group(flows, verdicts, evidence_floor=evidence_floor)
    evidence = find_evidence(flows, verdicts, groups, detector=detector)
    return [_measured(flows, *pair) for pair in zip(groups, evidence, strict=True)]


def as_json(incidents: Sequence[Incident]) -> str:
    """The text of `incidents.json`: a list, times in RFC 3339 UTC to the microsecond."""
    return json.dumps([_plain(incident) for incident in incidents], indent=2) + "\n"


def moment(nanoseconds: int) -> str:
    """A time as RFC 3339: `moment(0)` is '1970-01-01T00:00:00.000000Z'."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _plain(incident: Incident) -> dict[str, object]:
    return asdict(incident) | {
        "first_seen": moment(incident.first_seen),
        "last_seen": moment(incident.last_seen),
    }


def _measured(flows: pl.DataFrame, found: Group, evidence: tuple[Evidence, ...]) -> Record:
    part = flows[found.rows]
    ports = _ports(part, found.targets)
    named = ports.drop_nulls()
    return record(
        found.label,
        evidence,
        flows=part.height,
        packets=int((part["fwd_packets"] + part["bwd_packets"]).sum()),
        bytes=int((part["fwd_bytes"] + part["bwd_bytes"]).sum()),
        duration_s=(_int(part["last_seen"].max()) - _int(part["first_seen"].min())) / 1e9,
        sources=len(found.sources),
        targets=len(found.targets),
        ports=named.n_unique(),
        port=int(named[0]) if named.n_unique() == 1 and len(named) == len(ports) else None,
    )


def _int(value: object) -> int:
    """A whole number out of a column, for polars types its aggregates loosely."""
    return int(str(value))


def _ports(part: pl.DataFrame, targets: tuple[str, ...]) -> pl.Series:
    """The port at the targets' side of each flow, null where it has none."""
    backwards = pl.col("src").is_in(targets) & ~pl.col("dst").is_in(targets)
    return part.select(pl.when(backwards).then("src_port").otherwise("dst_port").alias("port"))["port"]


def _main_port(ports: pl.Series) -> int | None:
    """The port at least half of the flows meet at, else None."""
    counts = ports.drop_nulls().value_counts().sort("count", "port", descending=[True, False])
    return int(counts["port"][0]) if counts.height and 2 * counts["count"][0] >= len(ports) else None


def _incident(
    number: int,
    flows: pl.DataFrame,
    found: Group,
    evidence: tuple[Evidence, ...],
    explanation: Explanation,
    detector: str,
) -> Incident:
    part = flows[found.rows]
    source, target = (hosts[0] if len(hosts) == 1 else None for hosts in (found.sources, found.targets))
    port = _main_port(_ports(part, found.targets))
    return Incident(
        id=f"incident-{number}",
        label=found.label,
        category=category(found.label),
        probability=round(found.probability, 4),
        first_seen=_int(part["first_seen"].min()),
        last_seen=_int(part["last_seen"].max()),
        sources=found.sources,
        targets=found.targets,
        flows=part.height,
        packets=int((part["fwd_packets"] + part["bwd_packets"]).sum()),
        bytes=int((part["fwd_bytes"] + part["bwd_bytes"]).sum()),
        evidence=evidence,
        explanation=replace(explanation, text=_named(explanation.text, found)),
        mitigations=mitigations(found.label, source=source, target=target, port=port),
        detector=detector,
    )


def _named(text: str, found: Group) -> str:
    """The text with addresses for `SRC` and `DST`; what is no address stays out of it."""
    source = valid_host(found.sources[0]) or "an unnamed host"
    target = valid_host(found.targets[0]) or "an unnamed host"
    return text.replace("SRC", source).replace("DST", target)

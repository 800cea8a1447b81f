"""The records that travel between the parts: small frozen dataclasses, each with a lossless JSON form.

Tables (packets, flows, verdicts of a whole capture) are columns, not records; see `schema` and `contracts`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """One measured fact that sets something apart.

    value: as measured; usual: (low, high) range of this network's ordinary flows, or None where there are
    too few; weight: the drop of the label's probability when the fact is taken away, in [-1, 1]; flow_id: the
    flow the value was read from.
    """

    column: str
    value: float | str
    usual: tuple[float, float] | str | None
    weight: float
    flow_id: int | None = None


@dataclass(frozen=True)
class Claim:
    """One number or comparison found in a sentence, and whether the record bears it out."""

    column: str
    text: str
    holds: bool


@dataclass(frozen=True)
class Explanation:
    """Two to five sentences about an incident, each number of which was checked against the record."""

    text: str
    claims: tuple[Claim, ...] = ()
    sentences_by_model: int = 0
    sentences_replaced: int = 0


@dataclass(frozen=True)
class Countermeasure:
    """One concrete thing to set. kind: nftables, suricata, mosquitto, http, switch, device or procedure."""

    kind: str
    text: str
    checked_by: str | None = None


@dataclass(frozen=True)
class Mitigation:
    """What to do about a kind of attack, keyed by CAPEC and ATT&CK identifiers where they exist."""

    capec_id: str | None
    attack_id: str | None
    title: str
    steps: tuple[str, ...]
    countermeasures: tuple[Countermeasure, ...] = ()


@dataclass(frozen=True)
class Incident:
    """Verdicts that belong together: what a person reads. Times are ns since 1970 UTC, RFC 3339 in JSON."""

    id: str
    label: str
    category: str
    probability: float
    first_seen: int
    last_seen: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    flows: int
    packets: int
    bytes: int
    evidence: tuple[Evidence, ...] = ()
    explanation: Explanation | None = None
    mitigations: tuple[Mitigation, ...] = ()
    detector: str = "language"


@dataclass(frozen=True)
class Score:
    """A measured number with what is needed to believe it: n, a 95 % interval and the seed."""

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RunCard:
    """What a verb did: the one record `--json` prints, and (with options and hashes) `run.json` keeps."""

    verb: str
    version: str
    ok: bool
    outputs: tuple[str, ...] = ()
    counts: dict[str, Any] = field(default_factory=lambda: {"in": 0, "out": 0, "set_aside": {}})
    scores: tuple[Score, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        return asdict(self)

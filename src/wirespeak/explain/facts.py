"""The record an explanation is written from, and checked against: measured facts in the words people read.

A number has one written form, here and in the sentences: counts in full, everything else to 3 significant
digits with the unit that keeps it between 1 and 1000. Addresses and captured text never enter a record;
`SRC` and `DST` stand for them until the text is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from wirespeak.records import Evidence
from wirespeak.schema import COLUMNS, Kind
from wirespeak.text.ask import label_answer

# What an incident is measured by as a whole: name -> kind, in the order of the prompt.
TOTALS: dict[str, Kind] = {
    "flows": "count", "packets": "count", "bytes": "bytes", "duration": "seconds",
    "sources": "count", "targets": "count", "ports": "count", "port": "count",
}  # fmt: skip
# What the model is shown it tells: each further fact is one more number to mix up.
FACTS_IN_PROMPT = 2
_TIMES_FROM = 1.5
# (from which value on, what one unit is worth, unit)
_SCALES: dict[Kind, tuple[tuple[float, float, str], ...]] = {
    "bytes": ((1e9, 1e9, "GB"), (1e6, 1e6, "MB"), (1e4, 1e3, "kB"), (0, 1, "bytes")),
    "seconds": ((1, 1, "s"), (1e-3, 1e-3, "ms"), (0, 1e-6, "us")),
    "percent": ((0, 1, "%"),),
    "bits": ((0, 1, "bits"),),
}


@dataclass(frozen=True)
class Fact:
    """One number with its usual range; values are rounded as they are written."""

    name: str
    value: float
    kind: Kind
    usual: tuple[float, float] | None = None

    @property
    def said(self) -> str:
        """The value as written, with its unit."""
        return say(self.value, self.kind)

    @property
    def said_usual(self) -> str:
        """The usual range as written, or one number where both ends read the same."""
        if self.usual is None:
            return ""
        low, high = (say(end, self.kind) for end in self.usual)
        return low if low == high else f"{low} to {high}"

    @property
    def side(self) -> str:
        """`above` or `below` the usual range, else nothing."""
        if self.usual is None:
            return ""
        return "above" if self.value > self.usual[1] else "below" if self.value < self.usual[0] else ""

    @property
    def times(self) -> str:
        """How many times the upper end of the usual range, as written; nothing when that says little."""
        if self.usual is None or self.usual[1] <= 0 or self.value < _TIMES_FROM * self.usual[1]:
            return ""
        ratio = self.value / self.usual[1]
        return _digits(round(ratio, 1) if ratio < 10 else float(f"{round(ratio):.3g}"))


@dataclass(frozen=True)
class Record:
    """What is known of an incident: its label, its totals and the facts that set it apart, each once."""

    label: str
    facts: tuple[Fact, ...]

    def get(self, name: str) -> Fact | None:
        """The fact of that name, or None."""
        return next((fact for fact in self.facts if fact.name == name), None)

    @property
    def evidence(self) -> tuple[Fact, ...]:
        """The facts that are not totals, weightiest first."""
        return tuple(fact for fact in self.facts if fact.name not in TOTALS)


def record(
    label: str,
    evidence: Sequence[Evidence],
    *,
    flows: int,
    packets: int,
    bytes: int,
    duration_s: float,
    sources: int,
    targets: int,
    ports: int,
    port: int | None = None,
) -> Record:
    """Gather an incident's totals and evidence. ports: distinct ports aimed at; port: the only one."""
    numbers = {
        "flows": flows, "packets": packets, "bytes": bytes, "duration": duration_s,
        "sources": sources, "targets": targets, "ports": ports if ports > 1 else None, "port": port,
    }  # fmt: skip
    totals = (fact(name, value) for name, value in numbers.items() if value is not None)
    measured = (
        fact(each.column, each.value, None if isinstance(each.usual, str) else each.usual)
        for each in evidence
        if not isinstance(each.value, str) and "{}" in COLUMNS[each.column].phrase
    )
    return Record(label, (*totals, *measured))


def fact(name: str, value: float, usual: tuple[float, float] | None = None) -> Fact:
    """A fact of a total or a column, rounded as it will be written."""
    kind = TOTALS.get(name) or COLUMNS[name].kind
    ends = None if usual is None else (_rounded(usual[0], kind), _rounded(usual[1], kind))
    return Fact(name, _rounded(value, kind), kind, ends)


def prompt(known: Record) -> str:
    """What the model is asked: label, totals, and the weightiest facts with the comparison worked out.

    >>> facts = (fact("flows", 57611), fact("src_ports_60s", 950, (1, 4)))
    >>> prompt(Record("recon.port_scan", facts))
    'explain <recon.port_scan> flows 57611; source ports minute 950 usual 1 to 4 times 238 report'
    """
    totals = " ".join(f"{fact.name} {fact.said}" for fact in known.facts if fact.name in TOTALS)
    parts = [f"{label_answer(known.label)} {totals}", *map(_asked, known.evidence[:FACTS_IN_PROMPT])]
    return f"explain {'; '.join(parts)} report"


def say(value: float, kind: Kind) -> str:
    """A value as people read it.

    >>> say(57611, "count"), say(2440880, "bytes"), say(0.0382, "seconds"), say(98, "percent")
    ('57611', '2.44 MB', '38.2 ms', '98%')
    """
    value = _rounded(value, kind)
    if kind not in _SCALES:
        return _digits(value)
    if kind == "bytes" and value == 1:
        return "1 byte"
    if kind == "seconds" and value == 0:
        return "0 s"
    scale, unit = next((scale, unit) for least, scale, unit in _SCALES[kind] if value >= least)
    return f"{_digits(value / scale)}{'' if unit == '%' else ' '}{unit}"


def measure(number: str, unit: str) -> float:
    """The value of a written quantity: `measure("2.44", "MB")` is 2,440,000."""
    scale = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "ms": 1e-3, "us": 1e-6}
    return float(number) * scale.get(unit, 1.0)


def _asked(known: Fact) -> str:
    words = " ".join(_WORDS.get(part, part) for part in known.name.split("_"))
    usual = f" usual {known.said_usual}" if known.usual else ""
    compared = f" times {known.times}" if known.times else f" {known.side}" if known.side else ""
    return f"{words} {known.said}{usual}{compared}"


# Column names in words without digits, so that every digit of a prompt belongs to a measured number.
_WORDS = {"src": "source", "dst": "target", "2s": "moment", "60s": "minute", "100": "hundred"}


def _rounded(value: float, kind: Kind) -> float:
    """`value` as `say` writes it."""
    value = float(value)
    whole = kind in ("count", "percent", "grade", "tenths") and value.is_integer()
    if whole or value == 0 or (kind == "bytes" and abs(value) < 1e4):
        return value
    return float(f"{value:.3g}")


def _digits(value: float) -> str:
    """3 significant digits without an exponent; whole numbers in full."""
    if float(value).is_integer():
        return str(int(value))
    places = max(0, 2 - floor(log10(abs(value))))
    text = f"{float(f'{value:.3g}'):.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

"""What an audit says: one flaw, how bad it is, what proves it, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "serious"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "info")

MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One flaw.

    kind: what sort, such as `leak.label`; the part before the dot is its family.
    severity: serious makes scores meaningless, a warning bends them, info is good to know.
    says: one sentence for a person. columns: where it is.
    numbers: the proof. table: the proof by class or part, one mapping a line.
    examples: at most three rows of the data (row number from 0, and the columns concerned): captured text.
    remedy: an option of `wirespeak split`, or "".
    """

    kind: str
    severity: Severity
    says: str
    columns: tuple[str, ...] = ()
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    table: tuple[Mapping[str, float | int | str], ...] = ()
    examples: tuple[Mapping[str, str | int], ...] = ()
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same in JSON types; the rows under `examples_from_the_data`."""
        plain = asdict(self)
        plain["examples_from_the_data"] = plain.pop("examples")
        return plain


def grade(value: float, *, warning: float, serious: float) -> Severity:
    """The severity of a number that is worse the higher it is."""
    return "serious" if value >= serious else "warning" if value >= warning else "info"

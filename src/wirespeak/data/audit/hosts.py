"""Who it was: addresses, ports and times to live that tell the label, and one flow on both sides of a split."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit.finding import Finding, Severity, grade
from wirespeak.data.audit.view import View
from wirespeak.data.fingerprint import Keys, fingerprints, mixed

TELLS = {"address": 0.1, "mac": 0.1, "port": 0.3, "ttl": 0.3}
KNOWS = 0.7
_LARGEST = 200  # rows of a flow that has no name
_STREAM_NAME = re.compile(
    r"(^|[^a-z])(flow|stream|session|conn(ection)?|community|packet|pkt|capture|recording|file|frame)[ _.]?(id|uid|number|no|index|name)?$|^uid$",
    re.I,
)
# Identifiers that come again in other flows by chance, or count within one.
_PACKET_NAME = re.compile(r"checksum|hash|seq|ack|trans", re.I)

_SAID: dict[str, str] = {
    "address": "is an address", "mac": "is a link-layer address", "port": "is a port", "ttl": "is a time to live",
}  # fmt: skip


def identities(view: View) -> Iterator[Finding]:
    """Addresses, MACs, ports and times to live, by role, name or values, and how well each tells the label."""
    for name in view.columns("number", "category", "text"):
        role = view.who(name)
        if role is None:
            continue
        gain = view.gain(name)
        if role in ("address", "mac") and gain.value < KNOWS:
            one = view.gain_of_one(name)
            gain = one if one.value > KNOWS else gain
        severity: Severity = grade(gain.value, warning=TELLS[role], serious=KNOWS)
        yield Finding(
            f"leak.{role}", severity,
            f"'{name}' {_SAID[role]} and tells the {gain.goal or 'label'} with a gain of {gain.value:.2f}: who took part, not what was done.",
            (name,), {"gain": round(gain.value, 4), "seen_by_detectors": str(view.seen(name)).lower(), "values": int(view.table[name].n_unique())},
            examples=view.examples(view.one_of_each(), [name]), remedy=f"--drop {name}" if role == "ttl" else f"--by host --drop {name}",
        )  # fmt: skip


def over_the_split(view: View) -> Iterator[Finding]:
    """Rows of one flow, packet or recording on both sides; without a split, what a random one would do."""
    for what, column, keys, usable in _flows(view):
        _, number, size = np.unique(keys[usable], return_inverse=True, return_counts=True)
        if len(size) < 2:
            continue
        columns = (column,) if column else ()
        if view.parts is None:
            share = float(size[size > 1].sum() / view.rows)
            if share >= 0.05 and (view.dataset.granularity == "packet" or column):
                yield Finding(
                    "flows.several_rows", "warning",
                    f"{share:.0%} of the rows share a {what} with another row: a split by rows puts one {what} on both sides.",
                    columns, {"share": round(share, 4), "groups": len(size)}, remedy="--by recording",
                )  # fmt: skip
            continue
        side = view.parts[usable]
        known = np.bincount(number, side == 0)[number] > 0
        torn = known & (side == 1)
        count, judged = int(torn.sum()), int((side == 1).sum())
        share = count / max(1, judged)
        if share >= 0.01:
            rows = np.flatnonzero(usable)[torn]
            shown = [column] if column else view.dataset.columns("address", "port")
            yield Finding(
                "split.flows", grade(share, warning=0.01, serious=0.05),
                f"{count:,} of {judged:,} test rows ({share:.1%}) belong to a {what} that training rows belong to as well.",
                columns, {"test_rows": judged, "torn": count, "share": round(share, 4)},
                examples=view.examples(rows, shown), remedy="--by host" if not column and what != "recording" else "--by recording",
            )  # fmt: skip


def _numbers_flows(view: View, name: str) -> bool:
    """Whether most rows share their value with a few others, and always the label: what numbers do that name flows."""
    column = view.table[name]
    if column.dtype.is_float() or not view.goals or column.n_unique() * _LARGEST < view.rows:
        return False
    keys = fingerprints(column.to_frame("flow"))
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    label = view.goals[-1].codes[order]
    alike = float((label[1:] == label[:-1])[same].mean()) if same.any() else 0.0
    largest = int(np.bincount(np.r_[0, np.cumsum(~same)]).max())
    shared = float((np.r_[same, False] | np.r_[False, same]).mean())
    chance = float(((np.bincount(label) / len(label)) ** 2).sum())
    return largest <= _LARGEST and shared >= 0.5 and chance < 0.9 and alike >= 1 - 0.05 * (1 - chance)


def _flows(view: View) -> Iterator[tuple[str, str, Keys, NDArray[np.bool_]]]:
    """What rows may belong to: (what, column or "", key of each row, rows that say)."""
    everything = np.ones(view.rows, bool)
    if view.dataset.groups is not None:
        yield (
            "recording",
            "",
            fingerprints(view.dataset.groups.to_frame("group")),
            view.dataset.groups.is_not_null().to_numpy(),
        )
    for name, field in view.dataset.fields.items():
        if (field.role == "id" and not _PACKET_NAME.search(name)) or (
            field.role in ("feature", "text") and (_STREAM_NAME.search(name) or _numbers_flows(view, name))
        ):
            column = view.table[name]
            if not 0.001 * view.rows < column.n_unique() < 0.95 * view.rows:
                continue
            # Packets without such a protocol say zero or nothing.
            said = ~column.cast(pl.String).fill_null("").is_in(["", "-", "0", "0.0"])
            yield "flow", name, fingerprints(column.to_frame("flow")), said.to_numpy()
    addresses = [name for name in view.dataset.fields if view.who(name) == "address"]
    ports = [name for name in view.dataset.fields if view.who(name) == "port"]
    if len(addresses) >= 2 and len(ports) >= 2:
        ends = [
            fingerprints(view.table.select(pl.col(a).alias("address"), pl.col(p).alias("port")))
            for a, p in zip(addresses[:2], ports[:2], strict=True)
        ]
        # Both directions of a conversation are one flow.
        yield "flow", "", mixed(ends[0]) + mixed(ends[1]), everything

"""The truth of a recording: who attacked whom and when, and the rule that gives each flow its label.

`truth.csv` has one row for each attacker of each attack: start_ns, end_ns, label, src, dst, dst_port. An end is

- an address, or a network in CIDR form (192.168.1.0/24), or `!CIDR`: any address outside it (spoofed senders),
- `MAC!address`: the frame of the flow's first packet came from this MAC or went to it, and neither end is that
  address, the spoofer's own: what it says in its own name is no lie,
- `*`: anything.

A flow gets the label of a row when

1. its first packet's time lies in [start_ns, end_ns], both included, and
2. its two ends match src and dst, in either direction: what the victim sends back belongs to the attack, and
3. dst_port is empty, or is the port of the end that matched dst, or the flow (ARP, ICMP) has no ports. A row
   with port 0 therefore claims flows without ports alone: a router's ARP questions on behalf of a sweep.

Three exceptions keep ordinary traffic out. An ARP flow belongs only to a sweep or to spoofing, and only when the
attacker sent it: resolving an address before a flood, and answering a question, are ordinary. Against a
`!CIDR` row the direction counts, except for ICMP errors: the victim's own conversations with the world go on.
And where rows compete, the more specific wins: more bits of address, then a port over none, then the row
that started later, then the row listed first. Flows no row claims are `normal`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from ipaddress import ip_address, ip_network

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError

_ICMP_ERRORS = ("unreachable", "exceeded", "redirect")
_ARP_LABELS = ("recon.sweep", "spoof")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}(!|$)", re.IGNORECASE)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TruthRow:
    """One attacker's part in one attack. dst_port None: any port."""

    start_ns: int
    end_ns: int
    label: str
    src: str
    dst: str
    dst_port: int | None = None


def truth_csv(rows: list[TruthRow]) -> str:
    """The rows as the text of a truth.csv, in order of time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(TruthRow))
    writer.writerows(
        ["" if value is None else value for value in astuple(row)]
        for row in sorted(rows, key=lambda row: row.start_ns)
    )
    return text.getvalue()


def read_truth(text: str | bytes) -> pl.DataFrame:
    """A truth.csv as a table. Raises InputError when it is none, lacks a column or has a row that says nothing that could be."""
    raw = text.encode() if isinstance(text, str) else text
    whole, words = ("start_ns", "end_ns", "dst_port"), ("label", "src", "dst")
    kinds = {**dict.fromkeys(whole, pl.Int64), **dict.fromkeys(words, pl.String)}
    try:
        table = pl.read_csv(raw, schema_overrides=kinds)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"truth.csv cannot be read ({reason}). Give the file as it was recorded.") from error
    missing = [name for name in (*whole, *words) if name not in table.columns]
    if missing:
        raise InputError(
            f"truth.csv has no column '{missing[0]}'. It needs: {', '.join(field.name for field in fields(TruthRow))}."
        )
    for line, row in enumerate(table.iter_rows(named=True), 2):
        for name in ("start_ns", "end_ns", *words):
            if row[name] is None or (name in ("src", "dst") and not _is_end(row[name])):
                raise InputError(
                    f"truth.csv row {line}: {name} is {row[name]!r}, which is none. See docs/datasets/recording.md."
                )
    return table


def label_flows(flows: pl.DataFrame, truth: pl.DataFrame) -> pl.Series:
    """The canonical label of each flow, by the rule above.

    flows: columns first_seen (ns), src, dst, src_port, dst_port, protocol, operation, src_mac, dst_mac.
    Returns a Series of n texts named "label".
    """
    labels = np.full(flows.height, "normal", dtype=object)
    taken = np.zeros(flows.height, dtype=bool)
    ends = _Ends(flows)
    for row in sorted(truth.iter_rows(named=True), key=_specificity, reverse=True):
        mask = ends.match(row) & ~taken
        labels[mask] = row["label"]
        taken |= mask
    return pl.Series("label", labels.tolist(), dtype=pl.String)


def _specificity(row: dict[str, object]) -> tuple[int, bool, int]:
    return (
        _bits(str(row["src"])) + _bits(str(row["dst"])),
        row["dst_port"] is not None,
        int(str(row["start_ns"])),
    )


def _bits(end: str) -> int:
    """How narrow an end is: 128 for an address, fewer for networks and MACs, 0 for anything."""
    if end == "*":
        return 0
    if _is_mac(end):
        return 64
    if end.startswith("!"):
        return 1
    if "/" in end:
        network = ip_network(end, strict=False)
        return network.prefixlen + 128 - network.max_prefixlen
    return 128


def _is_mac(end: str) -> bool:
    return _MAC.match(end) is not None


def _is_end(text: str) -> bool:
    if text == "*" or _is_mac(text):
        return True
    try:
        ip_network(text.removeprefix("!"), strict=False)
    except ValueError:
        return False
    return True


class _Ends:
    """The ends of all flows, ready to be matched against one row after another."""

    def __init__(self, flows: pl.DataFrame) -> None:
        self.flows = flows
        self.first_seen = flows["first_seen"].to_numpy()
        self.arp = _mask(flows["protocol"] == "arp")
        self.icmp_error = _mask(flows["operation"].is_in(_ICMP_ERRORS))

    def match(self, row: dict[str, object]) -> Mask:
        src, dst, port, label = str(row["src"]), str(row["dst"]), row["dst_port"], str(row["label"])
        forward = self._end(src, "src") & self._end(dst, "dst") & self._port(port, "dst_port")
        backward = self._end(src, "dst") & self._end(dst, "src") & self._port(port, "src_port")
        if src.startswith("!"):
            backward &= self.icmp_error
        arp = forward if label.startswith(_ARP_LABELS) else np.zeros_like(forward)
        in_time = (self.first_seen >= row["start_ns"]) & (self.first_seen <= row["end_ns"])
        return in_time & np.where(self.arp, arp, forward | backward)

    def _port(self, port: object, column: str) -> Mask:
        if port is None:
            return np.ones(self.flows.height, dtype=bool)
        return _mask((self.flows[column] == port) | self.flows[column].is_null())

    def _end(self, end: str, side: str) -> Mask:
        if end == "*":
            return np.ones(self.flows.height, dtype=bool)
        if _is_mac(end):
            mac, _, own = end.partition("!")
            honest = (self.flows["src"] == own) | (self.flows["dst"] == own)
            return _mask(self.flows[f"{side}_mac"].str.to_lowercase() == mac.lower()) & ~_mask(honest)
        column = self.flows[side]
        belongs = _belongs(end)
        named = [address for address in column.unique().drop_nulls().to_list() if belongs(address)]
        return _mask(column.is_in(named))


def _mask(answers: pl.Series) -> Mask:
    """True where the answer is true; null is no."""
    return np.asarray(answers.fill_null(False), dtype=bool)


def _belongs(end: str) -> Callable[[str], bool]:
    """Whether an address is what an end of a row names."""
    network = ip_network(end.removeprefix("!"), strict=False)

    def belongs(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return (address.version == network.version and address in network) != end.startswith("!")

    return belongs

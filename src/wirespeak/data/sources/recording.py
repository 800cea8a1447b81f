"""Recordings of the lab: a capture and the schedule of who did what to whom, joined by one rule.

A recording folder holds `capture.pcap`, `truth.csv` (start_ns, end_ns, label, src, dst, dst_port), `hosts.csv`
and `scenario.toml`. The rule: a flow has the label of a truth row when its first packet's time lies in
[start_ns, end_ns], its two end points are the row's src and dst in either order, and, when the row has a
dst_port, one of its ports is that. Otherwise it is `normal`. An end point is

- an address or a CIDR block, or `!` and either of them: any address outside it
- a MAC, which the flow's src_mac or dst_mac on that side must be
- `*`, anything

The row with more exact end points wins (address and MAC before block before `*`, a port before none), then
the one that began later. A victim's answers thus belong to the attack, whatever they look like.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.errors import InputError
from wirespeak.flow import read_flows
from wirespeak.schema import LABELS

TRUTH = ("start_ns", "end_ns", "label", "src", "dst", "dst_port")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True)
class LabelledFlows:
    """The flows of one recording and the canonical label of each. name: the folder's."""

    name: str
    flows: pl.DataFrame
    labels: pl.Series


def read_recording(folder: Path) -> LabelledFlows:
    """Flows and labels of a recording folder. Raises InputError when a part of it is missing or wrong."""
    for part in ("capture.pcap", "truth.csv"):
        if not (folder / part).is_file():
            raise InputError(f"{folder} is no recording: {part} is missing. Give a folder written by 'wirespeak lab record'.")
    flows = read_flows([folder / "capture.pcap"]).flows
    return LabelledFlows(folder.name, flows, label_flows(flows, read_truth(folder / "truth.csv")))


def read_truth(path: Path) -> pl.DataFrame:
    """The schedule in `path`, columns TRUTH. Raises InputError for a missing column or an unknown label."""
    try:
        table = pl.read_csv(path, schema_overrides={"src": pl.String, "dst": pl.String, "dst_port": pl.Int64})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: not a schedule ({str(error).splitlines()[0][:120]}). Expected CSV with {', '.join(TRUTH)}.") from error
    lacking = [name for name in TRUTH if name not in table.columns]
    if lacking:
        raise InputError(f"{path}: column '{lacking[0]}' is missing. Expected CSV with {', '.join(TRUTH)}.")
    strange = set(table["label"].to_list()) - LABELS.keys()
    if strange:
        raise InputError(f"{path}: unknown label '{sorted(map(str, strange))[0]}'. Use the labels of docs/columns.md.")
    return table.select(TRUTH)


def label_flows(flows: pl.DataFrame, truth: pl.DataFrame) -> pl.Series:
    """The canonical label of each flow by the rule above. flows: identity columns of the schema."""
    names = pl.concat([flows[side].cast(pl.String) for side in ("src", "dst")]).unique().drop_nulls().to_list()
    numbers = {name: int(ipaddress.ip_address(name)) if _is_address(name) else None for name in names}
    labels = np.full(len(flows), "normal", object)
    rows = sorted(truth.iter_rows(named=True), key=lambda row: (_exactness(row), row["start_ns"]))
    seen = flows["first_seen"].to_numpy()
    ports = [flows[side].fill_null(0).to_numpy() for side in ("src_port", "dst_port")]
    for row in rows:
        match = (seen >= row["start_ns"]) & (seen <= row["end_ns"])
        ends = [(_end(flows, side, row["src"], numbers), _end(flows, side, row["dst"], numbers)) for side in ("src", "dst")]
        match &= (ends[0][0] & ends[1][1]) | (ends[1][0] & ends[0][1])
        if row["dst_port"] is not None:
            match &= (ports[0] == row["dst_port"]) | (ports[1] == row["dst_port"])
        labels[match] = row["label"]
    return pl.Series("label", labels.tolist(), dtype=pl.String)


def _exactness(row: dict[str, object]) -> int:
    def rank(end: object) -> int:
        text = str(end)
        return 0 if text == "*" else 1 if "/" in text or text.startswith("!") else 2

    return rank(row["src"]) + rank(row["dst"]) + (row["dst_port"] is not None)


def _end(flows: pl.DataFrame, side: str, wanted: str, numbers: dict[str, int | None]) -> NDArray[np.bool_]:
    """Which flows have `wanted` on that side."""
    if wanted == "*":
        return np.ones(len(flows), bool)
    if _MAC.fullmatch(wanted):
        return flows[f"{side}_mac"].eq(wanted).fill_null(False).to_numpy()
    network = ipaddress.ip_network(wanted.removeprefix("!"), strict=False)
    low, high = int(network.network_address), int(network.broadcast_address)
    version = 6 if network.version == 6 else 4
    inside = {n for n, v in numbers.items() if v is not None and low <= v <= high and (":" in n) == (version == 6)}
    if wanted.startswith("!"):
        inside = {n for n, v in numbers.items() if v is not None and n not in inside}
    return flows[side].cast(pl.String).is_in(list(inside)).fill_null(False).to_numpy()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

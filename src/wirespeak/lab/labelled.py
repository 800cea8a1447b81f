"""Recordings of the lab: a folder with `capture.pcap`, `truth.csv`, `hosts.csv` and `scenario.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow.meter import measure
from wirespeak.lab.truth import label_flows, read_truth
from wirespeak.wire import decode, read_frames


@dataclass(frozen=True)
class LabelledFlows:
    """The flows of one recording and the canonical label of each. name: the folder's."""

    name: str
    flows: pl.DataFrame
    labels: pl.Series

    def kept(self, keep: pl.Series) -> LabelledFlows:
        """The rows where `keep` is true."""
        return LabelledFlows(self.name, self.flows.filter(keep), self.labels.filter(keep))

    def without(self, label: str, *, trace_s: float = 60.0) -> LabelledFlows:
        """As if nobody had ever done this: less the flows of `label`, and less those begun while it went on or
        up to `trace_s` later, whose context windows tell of it."""
        first, last = (self.flows[name].to_numpy() for name in ("first_seen", "last_seen"))
        theirs = (self.labels == label).to_numpy()
        if not theirs.any():
            return self
        begun, over = np.sort(first[theirs]), np.sort(last[theirs] + round(trace_s * 1e9))
        going_on = np.searchsorted(begun, first, "right") > np.searchsorted(over, first, "left")
        return self.kept(pl.Series(~(theirs | going_on)))


def read_recording(
    folder: Path, *, idle_s: float = 60.0, active_s: float = 300.0, skip: float = 0.0
) -> LabelledFlows:
    """Flows and labels of a recording folder.

    skip: share of the packets at the start to leave out, as if the capture had begun later. Raises InputError
    when a part of the folder is missing or wrong.
    """
    for part in ("capture.pcap", "truth.csv"):
        if not (folder / part).is_file():
            raise InputError(
                f"{folder} is no recording: {part} is missing. Give a folder written by 'wirespeak lab record'."
            )
    frames = read_frames(folder / "capture.pcap").frames
    flows = measure(decode(frames[round(len(frames) * skip) :]), idle_s=idle_s, active_s=active_s)
    return LabelledFlows(
        folder.name, flows, label_flows(flows, read_truth((folder / "truth.csv").read_bytes()))
    )

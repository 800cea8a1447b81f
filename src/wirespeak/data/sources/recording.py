"""Recordings of the lab: a folder with `capture.pcap`, `truth.csv`, `hosts.csv` and `scenario.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow import read_flows


@dataclass(frozen=True)
class LabelledFlows:
    """The flows of one recording and the canonical label of each. name: the folder's."""

    name: str
    flows: pl.DataFrame
    labels: pl.Series


def read_recording(folder: Path) -> LabelledFlows:
    """Flows and labels of a recording folder. Raises InputError when a part of it is missing or wrong."""
    from wirespeak.lab.truth import label_flows, read_truth

    for part in ("capture.pcap", "truth.csv"):
        if not (folder / part).is_file():
            raise InputError(
                f"{folder} is no recording: {part} is missing. Give a folder written by 'wirespeak lab record'."
            )
    flows = read_flows([folder / "capture.pcap"]).flows
    return LabelledFlows(
        folder.name, flows, label_flows(flows, read_truth((folder / "truth.csv").read_bytes()))
    )

"""Packets to flows: the meter with its context windows, and reading whole captures."""

from wirespeak.flow.meter import Meter, measure
from wirespeak.flow.read import FlowTable, read_flows

__all__ = ["FlowTable", "Meter", "measure", "read_flows"]

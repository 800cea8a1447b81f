"""Packets to flows: the meter with its context windows, and reading whole captures."""

from wirespeak.flow.meter import Meter, in_order, measure
from wirespeak.flow.read import FlowReader, FlowTable, read_flows

__all__ = ["FlowReader", "FlowTable", "Meter", "in_order", "measure", "read_flows"]

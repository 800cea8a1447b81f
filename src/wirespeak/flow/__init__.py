"""Packets to flows: the meter with its context windows, reading whole captures, and passing them on without those in them."""

from wirespeak.flow.anonymise import Anonymiser, anonymise_capture
from wirespeak.flow.anonymised_flows import anonymise_flows
from wirespeak.flow.meter import Meter, in_order, measure
from wirespeak.flow.read import FlowReader, FlowTable, read_flows

__all__ = [
    "Anonymiser",
    "FlowReader",
    "FlowTable",
    "Meter",
    "anonymise_capture",
    "anonymise_flows",
    "in_order",
    "measure",
    "read_flows",
]

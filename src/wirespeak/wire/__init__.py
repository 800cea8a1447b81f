"""Bytes and packets: capture files, link, network and transport headers."""

from wirespeak.wire.containers import Capture, Frames, capture_files, open_capture, read_frames, write_pcap
from wirespeak.wire.headers import Packets, decode

__all__ = [
    "Capture",
    "Frames",
    "Packets",
    "capture_files",
    "decode",
    "open_capture",
    "read_frames",
    "write_pcap",
]

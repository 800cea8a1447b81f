"""Bytes and packets: capture files, link, network and transport headers."""

from wirespeak.wire.containers import Capture, Frames, open_capture, read_frames, write_pcap
from wirespeak.wire.headers import Packets, decode

__all__ = ["Capture", "Frames", "Packets", "decode", "open_capture", "read_frames", "write_pcap"]

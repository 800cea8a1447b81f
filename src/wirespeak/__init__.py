"""Wirespeak: language models that read and write network traffic."""

__version__ = "0.1.0"

"""Columns of text that C writes, taken over without a copy (the Arrow C data interface)."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int64, c_void_p, py_object
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native


class _Schema(ctypes.Structure):
    _fields_ = [
        ("format", c_void_p),
        ("name", c_void_p),
        ("metadata", c_void_p),
        ("flags", c_int64),
        ("n_children", c_int64),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    ]


class _Array(ctypes.Structure):
    _fields_ = [
        ("length", c_int64),
        ("null_count", c_int64),
        ("offset", c_int64),
        ("n_buffers", c_int64),
        ("n_children", c_int64),
        ("buffers", c_void_p),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    ]


_capsule = ctypes.PYFUNCTYPE(py_object, c_void_p, c_char_p, c_void_p)(("PyCapsule_New", ctypes.pythonapi))


class _Written:
    """A column until somebody takes it."""

    def __init__(self) -> None:
        self.schema, self.array = _Schema(), _Array()

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        return (
            _capsule(ctypes.addressof(self.schema), b"arrow_schema", None),
            _capsule(ctypes.addressof(self.array), b"arrow_array", None),
        )


def column(name: str, *arguments: Any) -> pl.Series:
    """What a function of C writes, given these arguments. Raises MemoryError."""
    native, written = _native.library(), _Written()
    write = getattr(native, f"wirespeak_{name}")
    if not write(*arguments, ctypes.byref(written.schema), ctypes.byref(written.array)):
        raise MemoryError("no memory for a column of text; work on fewer rows at a time")
    try:
        return pl.Series(written)
    finally:
        native.wirespeak_texts_free(ctypes.byref(written.array))


def addresses(values: NDArray[np.uint8], families: NDArray[np.uint8]) -> pl.Series:
    """Addresses as text. values: 16 bytes a row, IPv4 in the last four; families: 4, 6, or 15 for IEEE 802.15.4."""
    values, families = np.ascontiguousarray(values), np.ascontiguousarray(families)
    return column("address_texts", _native.address(values), _native.address(families), len(families))


def macs(values: NDArray[np.uint8], known: NDArray[Any]) -> pl.Series:
    """Link-layer addresses of six bytes a row as text, null where they are not known."""
    values, known = np.ascontiguousarray(values), np.ascontiguousarray(known, np.uint8)
    return column("mac_texts", _native.address(values), _native.address(known), len(known))


def fixed(values: NDArray[np.bytes_]) -> pl.Series:
    """ASCII text of a fixed width, null where it is empty."""
    return column("fixed_texts", _native.address(values), values.dtype.itemsize, len(values))

"""The native part: C for the loops over packets, one shared library, called through ctypes.

`library()` loads it once, `row_type` gives the NumPy type of a table that C declares (native.h), `address`
the pointer of an array. Nothing else of the package calls ctypes' loader.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirespeak.errors import MissingPart

LIBRARY = Path(__file__).with_name("library.so")


class FrameColumns(ctypes.Structure):
    """`struct frames`: pointers to the columns of `wire.Frames`, how many rows they hold and have room for."""

    _fields_ = [
        ("time_ns", c_void_p),
        ("offset", c_void_p),
        ("captured", c_void_p),
        ("length", c_void_p),
        ("link_type", c_void_p),
        ("count", c_int64),
        ("room", c_int64),
    ]


class Reached(ctypes.Structure):
    """`struct reached`: where in a window reading goes on, how many bytes the record there has, whether it is none."""

    _fields_ = [("position", c_uint64), ("wanted", c_uint64), ("damaged", c_bool)]


_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "field": (c_char_p, [c_char, c_size_t, POINTER(c_char_p), POINTER(c_size_t)]),
    "row_size": (c_size_t, [c_char]),
    "scan_start": (c_void_p, [c_void_p, c_size_t, POINTER(Reached)]),
    "scan_next": (None, [c_void_p, c_void_p, c_size_t, POINTER(FrameColumns), POINTER(Reached)]),
    "scan_end": (None, [c_void_p]),
    "write_records": (c_size_t, [c_void_p, c_size_t, POINTER(FrameColumns), c_int64, c_void_p]),
    "decode": (c_int64, [c_void_p, c_size_t, POINTER(FrameColumns), c_void_p, c_void_p, c_void_p]),
    "meter_start": (c_void_p, [c_int64, c_int64, c_uint32, c_uint64, c_uint8]),
    "meter_push": (c_bool, [c_void_p, c_uint32, c_void_p, c_int64, c_void_p, c_size_t]),
    "meter_frames": (
        c_bool,
        [c_void_p, c_uint32, c_void_p, c_size_t, POINTER(FrameColumns), c_void_p, c_void_p],
    ),
    "meter_flush": (c_bool, [c_void_p, c_uint32, c_int64]),
    "meter_digest": (c_bool, [c_void_p, c_uint32]),
    "meter_lost": (None, [c_void_p, POINTER(c_int64), POINTER(c_int64), POINTER(c_int64)]),
    "meter_alive": (c_int64, [c_void_p]),
    "meter_waiting": (c_int64, [c_void_p]),
    "meter_ended": (c_void_p, [c_void_p, POINTER(c_int64)]),
    "meter_keep": (None, [c_void_p, c_void_p, c_int64]),
    "meter_end": (None, [c_void_p]),
    "fact": (c_char_p, [c_size_t]),
    "facts_known": (c_uint64, [c_void_p, c_int64]),
    "fact_texts": (c_bool, [c_void_p, c_int64, c_uint8, c_void_p, c_void_p]),
    "early_counts": (c_int64, [c_void_p, c_int64, c_void_p]),
    "early_packets": (None, [c_void_p, c_int64, c_void_p, c_void_p, c_void_p]),
    "attached_free": (None, [c_void_p, c_int64]),
    "aes": (None, [c_char_p, c_void_p, c_size_t, c_void_p]),
    "anonymise_start": (c_void_p, [c_char_p, c_int32, c_bool, c_bool, c_uint64]),
    "anonymise_frames": (
        c_bool,
        [
            c_void_p,
            c_void_p,
            c_size_t,
            POINTER(FrameColumns),
            c_void_p,
            c_void_p,
            c_void_p,
            c_void_p,
            c_void_p,
        ],
    ),
    "anonymise_counts": (None, [c_void_p, c_void_p]),
    "anonymise_end": (None, [c_void_p]),
    "stand_ins": (c_bool, [c_void_p, c_int32, c_void_p, c_size_t, c_int64, c_void_p]),
    "is_public": (c_bool, [c_char_p, c_size_t]),
    "audit_start": (c_void_p, [c_void_p]),
    "audit_frames": (
        c_bool,
        [
            c_void_p,
            c_void_p,
            c_size_t,
            POINTER(FrameColumns),
            c_void_p,
            c_size_t,
            POINTER(FrameColumns),
            c_void_p,
            c_void_p,
        ],
    ),
    "audit_end": (None, [c_void_p]),
    "community_ids": (c_bool, [*[c_void_p] * 8, c_int64, c_void_p, c_void_p]),
    "address_texts": (c_bool, [c_void_p, c_void_p, c_int64, c_void_p, c_void_p]),
    "mac_texts": (c_bool, [c_void_p, c_void_p, c_int64, c_void_p, c_void_p]),
    "fixed_texts": (c_bool, [c_void_p, c_size_t, c_int64, c_void_p, c_void_p]),
    "texts_free": (None, [c_void_p]),
    "context_of": (c_bool, [c_void_p, c_int64, c_void_p, c_uint64, c_void_p]),
    "context_columns": (None, [c_void_p, c_int64, c_void_p]),
    "take_apart": (None, [c_void_p, c_size_t, c_void_p, c_int64, c_void_p, c_size_t]),
}


@cache
def library() -> Any:
    """The shared library, its functions typed. Raises MissingPart when it was not built."""
    if not LIBRARY.exists():
        raise MissingPart(
            f"the native part of wirespeak is not built ({LIBRARY} is missing). Run: make setup"
        )
    loaded = ctypes.CDLL(str(LIBRARY))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, f"wirespeak_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


@cache
def row_type(table: str) -> np.dtype[np.void]:
    """The NumPy type of one row of `packets` or `flows`, as the C compiler laid it out."""
    native, letter = library(), table[0].encode()
    form, offset = c_char_p(), c_size_t()
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    while name := native.wirespeak_field(letter, len(names), ctypes.byref(form), ctypes.byref(offset)):
        names.append(name.decode())
        formats.append((form.value or b"").decode())
        offsets.append(offset.value)
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "itemsize": native.wirespeak_row_size(letter),
        }
    )


@cache
def facts() -> dict[str, int]:
    """The number of each fact that C finds, by its name."""
    native = library()
    found: dict[str, int] = {}
    while name := native.wirespeak_fact(len(found)):
        found[name.decode()] = len(found)
    return found


def address(array: NDArray[Any]) -> int:
    """Where the array's first item lies."""
    return int(array.ctypes.data)

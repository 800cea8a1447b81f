"""A collector: export messages as they arrive by UDP, for a while, as flows."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable

import polars as pl

from wirespeak.data.sources.log import Told, complete
from wirespeak.data.sources.netflow import flows_told
from wirespeak.errors import InputError, OptionError
from wirespeak.wire.netflow.decode import Decoder

AT_MOST = 1_000_000
"""Records after which a collector ends, unless told otherwise: they are held until it does."""
_ROOM = 64 << 20
"""Bytes that the kernel is asked to hold for us."""
_BUFFER_FORCED, _DROPS = 33, 40
"""SO_RCVBUFFORCE and SO_RXQ_OVFL (socket(7)), which Python does not name."""
_TICK_S = 0.2


def collect(
    host: str,
    port: int,
    *,
    seconds: float,
    at_most: int = AT_MOST,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float | None], None] = lambda what, share: None,
) -> tuple[pl.DataFrame, Told]:
    """The flows that exporters send to this address within some seconds, columns exactly `schema.COLUMNS`, and what else there is to say.

    at_most: records after which it ends early. stop: asked several times a second; when true, it ends and keeps what came.
    Raises OptionError when nothing can listen there, InputError when no flow came.
    """
    decoder, dropped = Decoder(), 0
    tables: list[pl.DataFrame] = []
    began = time.monotonic()
    with _listening(host, port) as ear:
        while (left := began + seconds - time.monotonic()) > 0 and decoder.rows < at_most and not stop():
            ear.settimeout(min(left, _TICK_S))
            progress(f"listening at {host}:{port}", 1 - left / seconds)
            dropped = _take(ear, decoder) or dropped
            tables += decoder.records()
    told = Told()
    rows = flows_told(decoder, tables, told)
    if dropped:
        told.warnings.append(
            f"{dropped:,} packets came faster than they were read and were dropped by the kernel."
        )
    told.notes["dropped"] = dropped
    if rows.is_empty():
        found = f"{decoder.messages:,} messages" if decoder.messages else "nothing"
        raise InputError(
            f"{host}:{port}: {found} came in {time.monotonic() - began:.0f} s, and no flow. "
            "Point an exporter at it, or listen longer with --for."
        )
    return complete(rows), told


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        ear = socket.socket(family, kind, number)
    except OSError as error:
        raise OptionError(
            f"--listen {host}:{port}: {error.strerror or error}. Give an address of this machine."
        ) from None
    try:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        for option, value in ((_BUFFER_FORCED, _ROOM), (_DROPS, 1)):
            try:
                ear.setsockopt(socket.SOL_SOCKET, option, value)
            except OSError:  # only root may have more room; other systems do not count drops
                continue
        ear.bind(address)
    except OSError as error:
        ear.close()
        raise OptionError(
            f"--listen {host}:{port}: {error.strerror or os.strerror(error.errno or 0)}. Give a free port of an address of this machine."
        ) from None
    return ear


def _take(ear: socket.socket, decoder: Decoder, count: int = 256) -> int:
    """Read what has come, some messages at most; how many packets the kernel has dropped so far, 0 where it does not tell."""
    dropped = 0
    for _ in range(count):
        try:
            message, beside, _flags, sender = ear.recvmsg(65_535, socket.CMSG_SPACE(4))
        except (TimeoutError, BlockingIOError):
            break
        for level, kind, value in beside:
            if level == socket.SOL_SOCKET and kind == _DROPS:
                (dropped,) = struct.unpack("I", value[:4])
        decoder.take(message, sender[0])
        ear.settimeout(0)  # the first alone is waited for
    return dropped

"""NetFlow and IPFIX at the command line: flows that arrive, and flows that leave as export messages."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from wirespeak.data import tables
from wirespeak.data.sources import exporting
from wirespeak.data.sources.collecting import collect
from wirespeak.errors import OptionError
from wirespeak.interfaces.output import Run
from wirespeak.interfaces.progress import Say
from wirespeak.wire.netflow.encode import Encoder, Format
from wirespeak.wire.netflow.messages import holds_exports_only

_PIECE = 1 << 16


def place(text: str, option: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[V6]:PORT` or `:PORT`. Raises OptionError for anything else.

    >>> place("[::1]:2055", "--listen")
    ('::1', 2055)
    """
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise OptionError(f"{option} {text}: expected HOST:PORT, such as 127.0.0.1:2055.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(where: str, run: Run, *, seconds: float, at_most: int, progress: Say) -> pl.DataFrame:
    """The flows that arrive within some seconds; Ctrl-C ends it and keeps what came."""
    host, port = place(where, "--listen")
    with _interrupted() as stop:
        flows, said = collect(
            host, port, seconds=seconds, at_most=at_most, stop=stop.is_set, progress=progress
        )
    run.notes |= {"from": "netflow", **said.notes}
    run.warnings += said.warnings
    run.count(taken=said.rows, given=flows.height, set_aside=dict(sorted(said.set_aside.items())))
    return flows


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """What Ctrl-C sets instead of ending the program."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    former = signal.signal(signal.SIGINT, lambda number, frame: pressed.set())
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, former)


def write(
    pieces: Iterable[pl.DataFrame], target: Path, run: Run, *, to: str | None = None, form: Format = "ipfix"
) -> int:
    """Write flows as a table or as export messages, by the end of the file's name, and send them `to` a collector where one is given.

    What cannot be exported is noted in `run`. Returns how many flows were written.
    """
    sender = Encoder(form)
    if to:
        host, port = place(to, "--send")
        pieces = exporting.send(_sliced(pieces), host, port, sender)
    written = Encoder(exporting.FORMATS_BY_SUFFIX.get(target.suffix, form))
    if target.suffix in exporting.FORMATS_BY_SUFFIX:
        rows = exporting.write(_sliced(pieces), target, written)
    else:
        rows = tables.write_pieces(pieces, target)
    for encoder, what in ((written, "written"), (sender, "sent")):
        if encoder.messages:
            run.notes[what] = {
                "format": encoder.form,
                "messages": encoder.messages,
                "records": encoder.records,
            }
        if lost := +encoder.set_aside:
            run.notes.setdefault("not_exported", {})[what] = dict(lost)
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in lost.most_common())
            run.warnings.append(f"not {what} as {encoder.form}: {reasons}.")
    return rows - written.set_aside.total()


def unwritten(run: Run) -> None:
    """Count among what was set aside the flows that the file's format cannot carry."""
    lost = run.notes.get("not_exported", {}).get("written", {})
    run.count(taken=run.counts["in"], given=run.counts["out"], set_aside={**run.counts["set_aside"], **lost})


def _sliced(pieces: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for piece in pieces:
        yield from piece.iter_slices(_PIECE)


def hint(inputs: Sequence[Path], run: Run) -> None:
    """Warn where captures that were measured as traffic hold nothing but export messages."""
    found = [path.name for path in inputs if path.is_file() and holds_exports_only(path)]
    if found:
        run.warnings.append(
            f"{', '.join(found[:3])} holds NetFlow or IPFIX that an exporter sent. Add --from netflow for the flows it tells of."
        )

"""NetFlow v5, NetFlow v9 (RFC 3954) and IPFIX (RFC 7011): files of messages (RFC 5655), and captures of what exporters sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.sources.biflow import flows_of, paired, whole
from wirespeak.data.sources.log import Log, Told, head_of
from wirespeak.wire import capture_files
from wirespeak.wire.netflow.decode import Decoder
from wirespeak.wire.netflow.elements import COLUMNS
from wirespeak.wire.netflow.messages import MessageFile, begins, exports_in
from wirespeak.wire.stream import STANDARD_INPUT


def _claims(path: Path, head: bytes) -> bool:
    return begins(head)


def _read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    decoder = Decoder()
    tables: list[pl.DataFrame] = []
    cuts: list[str] = []
    for path in _files(paths, told):
        if path == STANDARD_INPUT or begins(head_of(path)):
            file = MessageFile(path)
            for message in file.messages():
                decoder.take(message, str(path))
                tables += decoder.records()
            cuts += [file.cut] if file.cut else []
        else:
            for message, exporter in exports_in(path, decoder.set_aside, cuts):
                decoder.take(message, exporter)
                tables += decoder.records()
    told.cut = " ".join(cuts) or None
    return flows_told(decoder, tables, told)


def _files(paths: Sequence[Path], told: Told) -> list[Path]:
    """Files as they stand, of folders the captures."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            captures, others = capture_files([path])
            told.others += others
            found += captures
        else:
            found.append(path)
    return found


def flows_told(decoder: Decoder, tables: Sequence[pl.DataFrame], told: Told) -> pl.DataFrame:
    """The flows of records, given before and still held, and in `told` what else there is to say."""
    found = [table for table in (*tables, *decoder.records(all=True)) if table.height]
    records = whole(pl.concat(found, how="diagonal") if found else pl.DataFrame(schema=COLUMNS))
    known = records.filter(pl.col("protocol").is_not_null())
    if lost := records.height - known.height:
        decoder.set_aside["record without a protocol"] += lost
    told.rows += decoder.rows
    told.set_aside.update(+decoder.set_aside)
    _say(decoder, told)
    return flows_of(paired(known))


def _say(decoder: Decoder, told: Told) -> None:
    missed = +decoder.missed
    if missed:
        told.warnings.append(
            f"{' and '.join(f'{count:,} {unit}' for unit, count in missed.items())} were exported and are not here, by their sequence numbers."
        )
    if decoder.sampled:
        shown = ", ".join(f"1 in {each}" for each in sorted(decoder.sampled)[:4])
        told.warnings.append(
            f"the exporter samples packets ({shown}): counts are as it told them, not scaled up."
        )
    if decoder.untimed:
        told.warnings.append(
            f"{decoder.untimed:,} records tell no time of their own; they have that of their export."
        )
    told.notes |= {
        "messages": decoder.messages,
        "versions": dict(decoder.versions),
        "missed": dict(missed),
        "sampling": sorted(decoder.sampled),
        "not_carried": dict(decoder.unread.most_common(100)),
    }


LOG = Log(name="netflow", title="NetFlow or IPFIX", claims=_claims, read=_read)

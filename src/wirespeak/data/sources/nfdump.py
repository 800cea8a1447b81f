"""nfdump's own files (nfcapd.*), read by the `nfdump` program, and what `nfdump -o csv` and `-o json` print (nfdump(1), version 1.7)."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import polars as pl

from wirespeak.data.sources.biflow import flows_of, paired, whole
from wirespeak.data.sources.log import Log, Told, head_of
from wirespeak.errors import InputError, MissingPart
from wirespeak.wire.netflow.decode import BYTES, PACKETS
from wirespeak.wire.netflow.elements import COLUMNS
from wirespeak.wire.stream import open_stream

_MAGICS = (b"\x0c\xa5", b"\xa5\x0c")
_CSV = (b"ts,te,td,sa,da,sp,dp,pr,", b"firstSeen,duration,proto,")
_JSON = b'"type"'
_SILENCE_S = 60.0
"""How long nfdump may say nothing."""
_BLOCK = 8 << 20

# How nfdump is asked to print a record, and the names by which we go on.
_ASKED = {
    "%ts": "first", "%te": "last", "%sa": "src", "%da": "dst", "%sp": "src_port", "%dp": "dst_port", "%pr": "protocol", "%flg": "flags",
    "%it": "icmp_type", "%ic": "icmp_code", "%ipkt": "packets", "%ibyt": "bytes", "%opkt": "back_packets", "%obyt": "back_bytes",
    "%svln": "vlan", "%ismc": "src_mac", "%idmc": "dst_mac",
}  # fmt: skip
_HEADER = ",".join(_ASKED.values()).encode() + b"\n"
_CSV_NAMES = {
    "ts": "first", "td": "lasts_s", "sa": "src", "da": "dst", "sp": "src_port", "dp": "dst_port", "pr": "protocol", "flg": "flags",
    "ipkt": "packets", "ibyt": "bytes", "opkt": "back_packets", "obyt": "back_bytes", "svln": "vlan", "ismc": "src_mac", "idmc": "dst_mac",
    "firstSeen": "first", "duration": "lasts_s", "proto": "protocol", "srcAddr": "src", "srcPort": "src_port", "dstAddr": "dst",
    "dstPort": "dst_port",
}  # fmt: skip
_JSON_NAMES = {
    "first": "first", "last": "last", "src4_addr": "src", "src6_addr": "src6", "dst4_addr": "dst", "dst6_addr": "dst6",
    "src_port": "src_port", "dst_port": "dst_port", "proto": "protocol", "tcp_flags": "flags", "icmp_type": "icmp_type",
    "icmp_code": "icmp_code", "in_packets": "packets", "in_bytes": "bytes", "out_packets": "back_packets", "out_bytes": "back_bytes",
    "src_vlan": "vlan", "in_src_mac": "src_mac", "in_dst_mac": "dst_mac",
}  # fmt: skip
_PROTOCOLS = {
    "ICMP": 1, "IGMP": 2, "GGP": 3, "IPIP": 4, "ST": 5, "TCP": 6, "CBT": 7, "EGP": 8, "IGP": 9, "UDP": 17, "DCCP": 33, "IPV6": 41,
    "SDRP": 42, "RT6": 43, "FRG6": 44, "IDRP": 45, "RSVP": 46, "GRE": 47, "MHRP": 48, "ESP": 50, "AH": 51, "ICMP6": 58, "NOND6": 59,
    "OPTS6": 60, "EIGRP": 88, "OSPF": 89, "PIM": 103, "VRRP": 112, "L2TP": 115, "SCTP": 132, "UDPLT": 136,
}  # fmt: skip
"""Protocols by the names that nfdump prints."""


def _claims(path: Path, head: bytes) -> bool:
    return head[:2] in _MAGICS or head.startswith(_CSV) or (head[:2] == b"[\n" and _JSON in head[:64])


def _read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    tables: list[pl.DataFrame] = []
    for path in paths:
        head = head_of(path)
        if head[:2] in _MAGICS:
            tables += [_records(lines, told) for lines in _asked(path)]
        elif head.startswith(_CSV):
            told.warnings.append(
                f"{path.name}: nfdump prints times in the zone it ran in; they are read as UTC."
            )
            tables.append(_records(_csv(path), told))
        else:
            told.warnings.append(
                f"{path.name}: nfdump prints times in the zone it ran in; they are read as UTC."
            )
            tables.append(_records(_json(path), told))
    records = pl.concat(tables, how="diagonal") if tables else pl.DataFrame(schema=COLUMNS)
    return flows_of(paired(whole(records)))


def _asked(path: Path) -> Iterator[pl.DataFrame]:
    """What nfdump reads in one of its files, some rows at a time. Raises MissingPart without nfdump, InputError when it cannot read it."""
    program = shutil.which("nfdump")
    if program is None:
        raise MissingPart(
            f"{path} is a file of nfdump, which reads its own files and is not installed. Run: apt install nfdump"
        )
    words = [program, "-r", str(path.resolve()), "-q", "-N", "-6", "-o", "fmt:" + ",".join(_ASKED)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env={**os.environ, "TZ": "UTC"}
        )  # fmt: skip
        try:
            assert process.stdout is not None
            rows = 0
            for block in _blocks(process.stdout, path):
                # A header gives short lines, its remarks, the columns that they lack.
                lines = pl.read_csv(
                    BytesIO(_HEADER + block), infer_schema=False, truncate_ragged_lines=True, quote_char=None, encoding="utf8-lossy"
                )  # fmt: skip
                lines = lines.filter(pl.col("dst").is_not_null())
                rows += lines.height
                if lines.height:
                    yield lines
            status = process.wait(timeout=_SILENCE_S)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{path}: nfdump did not end. Check the file with 'nfdump -v {path.name}'."
            ) from None
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        complaints.seek(0)
        said = " ".join(complaints.read(2000).decode(errors="replace").split())
        if status != 0 or (said and not rows):
            raise InputError(
                f"{path}: nfdump cannot read it ({said or f'it ended with {status}'}). Check it with 'nfdump -v'."
            )


def _blocks(output: IO[bytes], path: Path) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time. Raises InputError when nothing comes any more."""
    held = b""
    with selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while True:
            if not ready.select(_SILENCE_S):
                raise InputError(
                    f"{path}: nfdump said nothing for {_SILENCE_S:.0f} s. Check the file with 'nfdump -v {path.name}'."
                )
            part = os.read(output.fileno(), 1 << 20)
            held += part
            if not part or len(held) >= _BLOCK:
                end = held.rfind(b"\n") + 1 if part else len(held)
                if end:
                    yield held[:end]
                held = held[end:]
            if not part:
                return


def _csv(path: Path) -> pl.DataFrame:
    try:
        lines = pl.read_csv(
            path, infer_schema=False, truncate_ragged_lines=True, quote_char=None, encoding="utf8-lossy"
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from None
    lines = lines.rename({name: to for name, to in _CSV_NAMES.items() if name in lines.columns})
    if lacking := {"first", "src", "dst", "dst_port", "protocol"} - set(lines.columns):
        raise _unreadable(path, ValueError(f"it has no column for {', '.join(sorted(lacking))}"))
    # A summary follows the records.
    summary = (lines["first"] == "Summary").arg_true()
    return lines.head(int(summary[0])) if len(summary) else lines


def _json(path: Path) -> pl.DataFrame:
    kinds = {"first": pl.String, "last": pl.String, "tcp_flags": pl.String}
    schema: dict[str, type[pl.DataType]] = {
        name: kinds.get(name, pl.String if name.endswith(("addr", "mac")) else pl.Int64)
        for name in _JSON_NAMES
    }
    stream = open_stream(path)
    text = bytearray()
    try:
        room = bytearray(1 << 20)
        while size := stream.readinto(memoryview(room)):
            text += room[:size]
        found = pl.read_json(BytesIO(bytes(text)), schema=schema)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(path, error) from None
    finally:
        stream.close()
    found = found.rename(_JSON_NAMES).with_columns(
        src=pl.coalesce("src", "src6"), dst=pl.coalesce("dst", "dst6")
    )
    return found.drop("src6", "dst6").cast(pl.String)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: cannot be read as the output of nfdump ({str(error).partition(chr(10))[0].rstrip('.')}). "
        "Give one of its own files (nfcapd.*), or print it again with 'nfdump -o csv'."
    )


def _records(lines: pl.DataFrame, told: Told) -> pl.DataFrame:
    """Rows of text as records; those without a time, addresses or a protocol are set aside."""
    told.rows += lines.height
    lines = lines.with_columns(pl.all().cast(pl.String).str.strip_chars())
    has = set(lines.columns)
    first = _time("first")
    number = {name: str(number) for name, number in _PROTOCOLS.items()}
    columns: dict[str, pl.Expr] = {
        "first_ns": first,
        "last_ns": _time("last") if "last" in has else first + (_number("lasts_s", pl.Float64).clip(0, 1 << 30) * 1e9).round().cast(pl.Int64),
        "src": pl.col("src"),
        "dst": pl.col("dst"),
        "protocol": pl.col("protocol").str.to_uppercase().replace(number).cast(pl.UInt8, strict=False),
        "flags": _flags() if "flags" in has else pl.lit(None),
        **{name: _number(name, COLUMNS[name]) for name in ("src_port", "vlan", "packets", "bytes") if name in has},
        "dst_port": pl.col("dst_port").str.replace(r"\..*", "").cast(pl.UInt16, strict=False),
        "icmp": _icmp(has),
    }  # fmt: skip
    for name in ("back_packets", "back_bytes"):
        if {"back_packets", "back_bytes"} <= has:
            answered = (_number("back_packets", pl.Int64) > 0) | (_number("back_bytes", pl.Int64) > 0)
            columns[name] = pl.when(answered).then(_number(name, pl.Int64))
    for name in ("src_mac", "dst_mac"):
        if name in has:
            columns[name] = pl.when(pl.col(name) != "00:00:00:00:00:00").then(pl.col(name).str.to_lowercase())
    found = lines.select(expression.alias(name) for name, expression in columns.items())
    most = {
        name: PACKETS if name.endswith("packets") else BYTES
        for name in found.columns
        if name.endswith(("packets", "bytes"))
    }
    fits = [pl.col(name).is_between(0, each) | pl.col(name).is_null() for name, each in most.items()]
    kept = found.filter(pl.all_horizontal(pl.lit(True), *fits))
    if lost := found.height - kept.height:
        told.set_aside["row with a number that cannot be"] += lost
    found = kept
    for name, what in (
        ("first_ns", "a time"),
        ("src", "addresses"),
        ("dst", "addresses"),
        ("protocol", "a known protocol"),
    ):
        kept = found.filter(pl.col(name).is_not_null())
        if lost := found.height - kept.height:
            told.set_aside[f"row without {what}"] += lost
        found = kept
    return found


def _time(name: str) -> pl.Expr:
    """Dates with or without milliseconds, null outside of 1970 to 2106."""
    date = (
        pl.col(name)
        .str.replace("T", " ")
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    )
    since = date.cast(pl.Int64)
    return pl.when(since.is_between(0, 1_000_000 << 32)).then(since * 1000)


def _number(name: str, kind: pl.DataType | type[pl.DataType]) -> pl.Expr:
    return pl.col(name).cast(kind, strict=False)


def _flags() -> pl.Expr:
    """Of ...AP.SF the bits."""
    return pl.sum_horizontal(
        pl.when(pl.col("flags").str.contains(letter, literal=True)).then(1 << bit).otherwise(0)
        for bit, letter in enumerate("FSRPAUEC")
    )


def _icmp(has: set[str]) -> pl.Expr:
    """Type x 256 + code; where there are no columns for them, the destination port reads type.code."""
    if {"icmp_type", "icmp_code"} <= has:
        return _number("icmp_type", pl.Int64) * 256 + _number("icmp_code", pl.Int64)
    parts = pl.col("dst_port").str.split_exact(".", 1)
    return parts.struct.field("field_0").cast(pl.Int64, strict=False) * 256 + parts.struct.field(
        "field_1"
    ).cast(pl.Int64, strict=False)


LOG = Log(name="nfdump", title="nfdump's files", claims=_claims, read=_read)

"""Lines of text as columns: the cells of CSV and TSV, the fields of JSON objects, and the numbers, times and addresses in them.

A file is read in pieces of some megabytes, plain, gzip or zstd, and everything is done to a whole piece at once. What does not fit is
counted by reason and left out.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.data.sources.cells import SEPARATORS, unrepeated
from wirespeak.errors import InputError
from wirespeak.wire.stream import open_stream

PIECE = 1 << 23
"""Bytes that are read at a time."""
LONGEST = 1 << 20
"""Bytes of the longest line that is taken for one."""

LINE = "#line"
"""The column with the number of the line a row stands on, from 1."""

_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass
class Told:
    """What a reader says beside the flows.

    rows: read, those set aside included. set_aside: rows that are no flow, by reason. cut: where reading had to stop early, or None.
    others: files of a folder that were not read. warnings: what a person should know of what was read, a line each. notes: what
    `run.json` keeps beside.
    """

    rows: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    cut: str | None = None
    others: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def without(self, rows: pl.DataFrame, unfit: pl.Expr, reason: str) -> pl.DataFrame:
        """The rows that are not `unfit`; the others are set aside."""
        kept = rows.filter(~unfit.fill_null(False))
        if kept.height < rows.height:
            self.set_aside[reason] += rows.height - kept.height
        return kept


def lines(path: Path, told: Told) -> Iterator[pl.DataFrame]:
    """Some lines of a file at a time, none of them empty: `LINE` (Int64) and `text`. Bytes that are not UTF-8 read as \\xNN.

    Raises InputError for a file that cannot be read, or that is no text.
    """
    number, rest = 1, b""
    for data in _pieces(path, told):
        whole, mark, rest = (rest + data).rpartition(b"\n")
        if mark:
            yield _table(whole, number, told)
            number += whole.count(b"\n") + 1
        if len(rest) > LONGEST:
            rest = rest[:LONGEST] + b"..."  # what comes next of this line is no line either
    if rest and not (told.cut and len(rest) <= LONGEST):
        yield _table(rest, number, told)


def _pieces(path: Path, told: Told) -> Iterator[bytes]:
    stream = open_stream(path)
    room = bytearray(PIECE)
    try:
        first = True
        while held := _fill(stream, room):
            data = bytes(room[:held])
            if first:
                mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
                if _MARKS.get(mark) == "UTF-16":
                    raise InputError(
                        f"{path}: is UTF-16 text, expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8."
                    )
                data, first = data[len(mark) :], False
            if b"\0" in data:
                raise InputError(f"{path}: is not text. Give a log as its tool wrote it.")
            yield data
        if stream.broken:
            told.cut = f"{path.name}: {stream.broken}; what comes before it was read."
    finally:
        stream.close()


def _fill(stream: Any, room: bytearray) -> int:
    held = 0
    while held < len(room) and (size := stream.readinto(memoryview(room)[held:])):
        held += size
    return held


def _table(data: bytes, number: int, told: Told) -> pl.DataFrame:
    text = pl.Series("text", [data.decode(errors="backslashreplace")]).str.split("\n").explode()
    table = pl.DataFrame(text).with_row_index(LINE, number).with_columns(pl.col(LINE).cast(pl.Int64))
    table = table.with_columns(pl.col("text").str.strip_suffix("\r"))
    table = table.filter(pl.col("text") != "")
    long = pl.col("text").str.len_bytes() > LONGEST
    told.rows += int(table.select(long.sum()).item())
    return told.without(table, long, "a line of more than 1 MiB")


def cells(
    rows: pl.DataFrame, names: Sequence[str], told: Told, *, separator: str = ",", quote: str = '"'
) -> pl.DataFrame:
    """The cells of lines as text in columns `names`, with their `LINE`. Lines with another number of cells are set aside.

    quote: what a cell with a separator in it stands between, "" where there is none.
    """
    told.rows += rows.height
    text = pl.col("text")
    if quote:
        cell = f"(?:{quote}(?:[^{quote}]|{quote}{quote})*{quote}|[^{quote}{separator}]*)"
        sound = text.str.contains(f"^{cell}(?:{re.escape(separator)}{cell})*$")
        rows = told.without(
            rows,
            text.str.contains(quote, literal=True) & ~sound,
            "a line whose quotes do not stand around its cells",
        )
    bare = text.str.replace_all(f"{quote}[^{quote}]*{quote}", "") if quote else text
    rows = told.without(
        rows,
        bare.str.count_matches(separator, literal=True) != len(names) - 1,
        "a line with another number of cells than the header",
    )
    if rows.is_empty():
        return pl.DataFrame(schema={**dict.fromkeys(names, pl.String()), LINE: pl.Int64()})
    table = pl.read_csv(
        io.BytesIO("\n".join(rows["text"]).encode()),
        has_header=False,
        new_columns=list(names),
        schema={name: pl.String() for name in names},
        separator=separator,
        quote_char=quote or None,
        empty_string_is_null=True,
        raise_if_empty=False,
    )
    return table.with_columns(rows[LINE])


def header(text: str, *, separator: str = ",") -> tuple[str, ...]:
    """The cells of a header, without blanks and quotes around them.

    >>> header('"No.","Time", "Info"')
    ('No.', 'Time', 'Info')
    """
    return tuple(cell.strip().strip('"').strip() for cell in text.strip().split(separator))


def tables(
    path: Path, told: Told, *, separator: str | None = None, names: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
    """The rows of a CSV file under its header, some at a time, with the header's names; a header that comes again is left out.

    separator: by default the one that occurs most in the first line. names: those of a file without a header.
    """
    known = unrepeated(names)
    for piece in lines(path, told):
        if separator is None:
            first = str(piece["text"][0])
            separator = max(SEPARATORS, key=first.count)
        if not known:
            known = unrepeated(header(str(piece["text"][0]), separator=separator))
            top = str(piece["text"][0])
        if not names:
            piece = piece.filter(pl.col("text") != top)
        yield known, cells(piece, known, told, separator=separator)


def objects(rows: pl.DataFrame, paths: Sequence[str], told: Told) -> pl.DataFrame:
    """The fields of JSON objects, one a line: a column of text for each path, null where an object has none, and `LINE`.

    A path is a name or names divided by dots; `name[]` is a list. An object may also name a field `a.b` that stands in an object `a` in
    others. Lines that are no JSON object are set aside.
    """
    told.rows += rows.height
    table = _parsed(rows["text"], paths)
    if table is None:
        rows = told.without(
            rows,
            pl.col("text").str.json_path_match("$").is_null() | ~pl.col("text").str.contains(r"^\s*\{"),
            "a line that is no JSON object",
        )
        table = _parsed(rows["text"], paths)
    if table is None:  # a field is of another kind in some lines: each is looked for by itself
        table = rows.select(_sought(path).alias(_bare(path)) for path in paths)
    return table.with_columns(rows[LINE])


def _parsed(text: pl.Series, paths: Sequence[str]) -> pl.DataFrame | None:
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        *above, last = path.split(".")
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = None
        if above and "[]" not in path:
            tree[path] = None
    if text.is_empty():
        return pl.DataFrame(schema={_bare(path): _kind(path) for path in paths})
    try:
        table = pl.read_ndjson(
            io.BytesIO("\n".join(text).encode()),
            schema={name.removesuffix("[]"): _nested(name, below) for name, below in tree.items()},
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if table.height != len(text):
        return None
    return table.select(_found(path, path in tree).alias(_bare(path)) for path in paths)


def _bare(path: str) -> str:
    return path.replace("[]", "")


def _kind(path: str) -> pl.DataType:
    return pl.List(pl.String()) if "[]" in path else pl.String()


def _nested(name: str, below: Mapping[str, Any] | None) -> pl.DataType:
    inner = (
        pl.String()
        if below is None
        else pl.Struct({each.removesuffix("[]"): _nested(each, under) for each, under in below.items()})
    )
    return pl.List(inner) if name.endswith("[]") else inner


def _found(path: str, flat: bool) -> pl.Expr:
    first, *below = path.split(".")
    expression = pl.col(first.removesuffix("[]"))
    within = first.endswith("[]")
    for part in below:
        name = part.removesuffix("[]")
        if within:
            inner = pl.element().struct.field(name)
            expression = expression.list.eval(inner.explode() if part.endswith("[]") else inner)
        else:
            expression = expression.struct.field(name)
            within = part.endswith("[]")
    return pl.coalesce(pl.col(path), expression) if below and flat else expression


def _sought(path: str) -> pl.Expr:
    text = pl.col("text")
    nested = text.str.json_path_match("$." + path.replace("[]", "[0]"))
    if "[]" in path:  # of a list the first
        return pl.when(nested.is_not_null()).then(pl.concat_list(nested))
    return pl.coalesce(text.str.json_path_match(f"$['{path}']"), nested) if "." in path else nested


def number(text: pl.Expr | str) -> pl.Expr:
    """A number from text, null where there is none."""
    return _column(text).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)


def whole(text: pl.Expr | str) -> pl.Expr:
    """A whole number from text, decimal or hexadecimal after 0x, null where there is none."""
    bare = _column(text).cast(pl.String).str.strip_chars()
    hexadecimal = bare.str.extract(r"^0[xX]([0-9a-fA-F]{1,15})$").str.to_integer(base=16, strict=False)
    return pl.coalesce(bare.cast(pl.Int64, strict=False), hexadecimal)


def nanoseconds(text: pl.Expr | str) -> pl.Expr:
    """Nanoseconds since 1970 UTC, from seconds since then or an ISO 8601 date in text, null where it is neither.

    Digits beyond the ninth after the point are cut, none is rounded on the way. A date without a zone is UTC.
    """
    bare = _column(text).cast(pl.String).str.strip_chars()
    seconds = bare.str.extract(r"^(\d{1,10})(?:\.\d*)?$").cast(pl.Int64)
    part = (
        bare.str.extract(r"^\d{1,10}\.(\d{1,9})\d*$")
        .fill_null("")
        .str.pad_end(9, "0")
        .cast(pl.Int64, strict=False)
    )
    epoch = pl.when(seconds < 9_200_000_000).then(seconds * 1_000_000_000 + part.fill_null(0))
    shown = (
        bare.str.replace(r"^(\d{4})/(\d\d)/(\d\d)", "$1-$2-$3").str.replace(" ", "T", literal=True).str.replace(r"(?:Z|\+0000)$", "+00:00")
        .str.replace(r"([+-]\d\d)(\d\d)$", "$1:$2").str.replace(r"^(\d{4}-\d\d-\d\dT[\d:.]+)$", "$1+00:00")
    )  # fmt: skip
    date = shown.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ns", time_zone="UTC", strict=False)
    exponent = bare.str.contains(r"^[\d.]+[eE]\+?\d+$")
    scaled = pl.when(exponent).then(bare.cast(pl.Float64, strict=False))
    rounded = pl.when(scaled < 9.2e9).then((scaled * 1e9).round().cast(pl.Int64, strict=False))
    return pl.coalesce(epoch, date.dt.epoch("ns"), rounded)


# Names of IANA's protocol numbers, as tools write them.
_PROTOCOLS = {
    "tcp": 6, "udp": 17, "icmp": 1, "igmp": 2, "ipv6-icmp": 58, "icmp6": 58, "icmpv6": 58, "ipip": 4, "ipencap": 4, "ipnip": 4, "egp": 8,
    "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "eigrp": 88, "ospf": 89, "ospfigp": 89, "pim": 103, "vrrp": 112, "l2tp": 115,
    "sctp": 132, "udplite": 136,
}  # fmt: skip
_OURS = {6: "tcp", 17: "udp", 1: "icmp", 2: "igmp", 58: "icmp6"}


def protocol(text: pl.Expr | str) -> pl.Expr:
    """The protocol in our words from a name or a number in text, null where it is none that is known."""
    known = {name: _OURS.get(number, f"ip-{number}") for name, number in _PROTOCOLS.items()} | {"arp": "arp"}
    known |= {str(number): _OURS.get(number, f"ip-{number}") for number in range(256)}
    bare = _column(text).cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"^0+(\d)", "$1")
    return bare.replace_strict(known, default=None, return_dtype=pl.String)


_OPERATIONS = {
    "icmp": {"0": "echo", "8": "echo", "3": "unreachable", "5": "redirect", "9": "router", "10": "router", "11": "exceeded"},
    "icmp6": {
        "1": "unreachable", "3": "exceeded", "128": "echo", "129": "echo", "130": "group", "131": "group", "132": "group", "143": "group",
        "133": "router", "134": "router", "135": "neighbour", "136": "neighbour", "137": "redirect",
    },
}  # fmt: skip


def operation(kind: pl.Expr) -> pl.Expr:
    """What an ICMP message is for, by its type in text and the column `protocol`."""
    four, six = (
        kind.replace_strict(names, default="other", return_dtype=pl.String) for names in _OPERATIONS.values()
    )
    return pl.when(kind.is_not_null()).then(pl.when(pl.col("protocol") == "icmp").then(four).otherwise(six))


def addresses(cells: pl.Series) -> pl.Series:
    """IP addresses in their short form, null where there is none."""
    plain = cells.str.contains(r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)$")
    other = cells.filter(~plain).unique().drop_nulls()
    short = {text: _address(text) for text in other.to_list()}
    if not short:
        return cells
    known = cells.replace_strict(list(short), list(short.values()), default=None, return_dtype=pl.String)
    return pl.select(pl.when(plain).then(cells).otherwise(known)).to_series().alias(cells.name)


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _column(text: pl.Expr | str) -> pl.Expr:
    return pl.col(text) if isinstance(text, str) else text


def shown(text: pl.Series) -> pl.Series:
    """Captured text as `schema.FACTS` has it: at most 255 bytes, what is not printable as \\xNN."""
    odd = text.str.contains(r"[\x00-\x1f\x7f]") | (text.str.len_bytes() > 255)
    unlike = text.filter(odd).unique().to_list()
    if not unlike:
        return text
    return text.replace(unlike, [_printable(each) for each in unlike])


def _printable(text: str) -> str:
    whole = "".join(each if each >= " " and each != "\x7f" else f"\\x{ord(each):02x}" for each in text[:255])
    return whole.encode()[:255].decode(errors="ignore")

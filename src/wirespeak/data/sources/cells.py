"""Files as cells: text read fast when it is clean, and searched line by line only when it is not."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data import dataset
from wirespeak.errors import InputError, many

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = ",;\t|"
PEEK_BYTES = 1 << 18
UNCLOSED = "a quote that is never closed"


@dataclass(frozen=True)
class Head:
    """The first two records of a file. typed: whether the file says its columns' names and types itself."""

    path: Path
    first: tuple[str, ...]
    second: tuple[str, ...]
    typed: bool = False
    separator: str = ","

    @property
    def names(self) -> tuple[str, ...]:
        """The first record as names of columns, each there once."""
        return unrepeated(self.first)


@dataclass(frozen=True)
class Misfit:
    """A row that cannot be read: its line (from 1), the column, what stands there and why it cannot stay."""

    line: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Sheet:
    """The rows of one file, as text or, from parquet, typed. lines: the line each row begins on."""

    table: pl.DataFrame
    lines: NDArray[np.int64]
    sha256: str
    misfits: list[Misfit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def misfit_table(misfits: Sequence[Misfit]) -> pl.DataFrame:
    """Misfits as a table: line, column, value, reason."""
    rows = [(each.line, each.column, each.value, each.reason) for each in misfits]
    schema = {name: kind for name, kind in dataset.SET_ASIDE.items() if name != "file"}
    return pl.DataFrame(rows, schema=schema, orient="row")


def peek(path: Path, *, separator: str | None = None) -> Head:
    """The head of a CSV (also .gz) or parquet file. Raises InputError when there is none to be had.

    separator: of the cells; by default the one that occurs most in the first line.
    """
    try:
        with path.open("rb") as file:
            start = file.read(PEEK_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the name.") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{path}: a folder, expected a file. 'wirespeak data list {path}' says what is in it."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if start.startswith(PARQUET):
        return Head(path, tuple(_parquet_names(path)), (), typed=True)
    if start.startswith(GZIP):
        start = _gunzip_start(path)
    if start.startswith(ZIP):
        raise InputError(f"{path}: a zip archive. Unpack it and give the CSV files in it.")
    if start.startswith(UTF16):
        raise InputError(f"{path}: is UTF-16 text, expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8.")
    if b"\0" in start:
        raise InputError(f"{path}: is not text, expected a CSV or parquet file.")
    text = start.removeprefix(BOM).decode("latin-1")
    separator = separator or max(SEPARATORS, key=text.partition("\n")[0].count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        first, second = (tuple(cell.strip() for cell in next(records, [])) for _ in range(2))
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV or parquet file ({error}).") from error
    if not any(first):
        raise InputError(f"{path}: holds no rows. Give a CSV or parquet file.")
    return Head(path, first, second, separator=separator)


def unrepeated(names: Sequence[str]) -> tuple[str, ...]:
    """The names with `.1`, `.2` after the ones that occur again, as pandas would write them; a name that is there is left to its owner.

    >>> unrepeated(["a", "b", "a", "a"]), unrepeated(["a.1", "a", "a"])
    (('a', 'b', 'a.1', 'a.2'), ('a.1', 'a', 'a.2'))
    """
    taken, times = set(names), dict.fromkeys(names, -1)
    found = []
    for name in names:
        times[name] += 1
        while times[name] and (again := f"{name}.{times[name]}") in taken:
            times[name] += 1
        if times[name]:
            taken.add(again)
        found.append(again if times[name] else name)
    return tuple(found)


def read_parquet(path: Path) -> Sheet:
    """The rows of a parquet file; a row's line is its number, from 1."""
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be read as parquet ({reason}). Fetch it again.") from error
    table = table.rename(
        dict(zip(table.columns, unrepeated([name.strip() for name in table.columns]), strict=True))
    )
    return Sheet(table, np.arange(1, table.height + 1), hashlib.sha256(path.read_bytes()).hexdigest())


def read_csv(head: Head, names: Sequence[str], *, header: bool, encoding: str | None) -> Sheet:
    """The rows of a CSV file as text, in columns `names`; rows that have another number of cells are misfits.

    encoding: what bytes that are not UTF-8 are written in; None makes their rows misfits.
    """
    data = head.path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(GZIP):
        data = _gunzip(head.path, data)
    data = data.removeprefix(BOM).rstrip()
    misfits: list[Misfit] = []
    notes: list[str] = []
    if not data.isascii():
        data = _decoded(data, encoding, names, head.separator.encode(), misfits, notes)
    separator = head.separator.encode()
    table = _parsed(data, names, header=header, separator=head.separator)
    if table is None or data.count(separator) != (table.height + header) * (len(names) - 1):
        table, lines = _sorted_out(data, names, misfits, header=header, separator=head.separator)
    else:
        lines = np.arange(table.height, dtype=np.int64) + 1 + header
    return Sheet(table, lines, digest, misfits, notes)


def _parsed(data: bytes, names: Sequence[str], *, header: bool, separator: str) -> pl.DataFrame | None:
    # The header is skipped, not read: names repeat and carry spaces.
    try:
        return pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            skip_lines=int(header),
            new_columns=list(names),
            schema={name: pl.String() for name in names},
            separator=separator,
            empty_string_is_null=False,
            raise_if_empty=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def _sorted_out(
    data: bytes, names: Sequence[str], misfits: list[Misfit], *, header: bool, separator: str
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The same, record by record: slow, but it knows the line of each and which have too few or many cells."""
    physical = data.decode().splitlines(keepends=True)
    kept: list[str] = []
    lines: list[int] = []
    start = int(header)
    while start < len(physical):
        start = _sort_records(physical, start, len(names), separator, kept, lines, misfits)
    clean = "".join(kept).encode()
    table = _parsed(clean, names, header=False, separator=separator) if kept else None
    if table is None or table.height != len(lines):
        table = pl.DataFrame(
            list(csv.reader(kept, delimiter=separator)),
            schema={name: pl.String() for name in names},
            orient="row",
        )
    return table, np.asarray(lines, dtype=np.int64)


def _sort_records(
    physical: list[str],
    start: int,
    width: int,
    separator: str,
    kept: list[str],
    lines: list[int],
    misfits: list[Misfit],
) -> int:
    """Sort the records from a line on into kept lines and misfits; returns the line to go on from.

    A record of the wrong width that goes over several lines has lost a quote: only its first line is a misfit,
    and the next record is looked for right after it.
    """
    records = csv.reader(iter(physical[start:]), delimiter=separator)
    first, line = start, start
    while True:
        try:
            cells = next(records, None)
        except csv.Error as error:
            reason = UNCLOSED if "field larger" in str(error) else str(error)
            misfits.append(Misfit(line + 1, "", physical[line][:80].strip(), reason))
            return line + 1
        if cells is None:
            return len(physical)
        end = first + records.line_num
        if len(cells) == width:
            kept.extend(physical[line:end])
            lines.append(line + 1)
        elif cells:
            reason = f"{len(cells)} cells, expected {width}"
            misfits.append(Misfit(line + 1, "", separator.join(cells)[:80], reason))
            if end > line + 1:
                misfits[-1] = Misfit(
                    line + 1, "", physical[line][:80].strip(), "a quote that is never closed"
                )
                return line + 1
        line = end


def _decoded(
    data: bytes,
    encoding: str | None,
    names: Sequence[str],
    separator: bytes,
    misfits: list[Misfit],
    notes: list[str],
) -> bytes:
    """The data in UTF-8. Lines that are not become misfits, left empty so that later lines keep their numbers."""
    try:
        data.decode()
        return data
    except UnicodeDecodeError:
        pass
    lines = data.split(b"\n")
    odd = 0
    for number, line in enumerate(lines):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            odd += 1
            if encoding:
                lines[number] = line.decode(encoding, errors="replace").encode()
            else:
                place = min(line[: error.start].count(separator), len(names) - 1)
                cell = line.split(separator)[place][:80].decode("ascii", errors="backslashreplace")
                misfits.append(Misfit(number + 1, names[place], cell, "text that is not UTF-8"))
                lines[number] = b""
    if encoding:
        notes.append(f"{many(odd, 'line')} that are not UTF-8 were read as {encoding}.")
    return b"\n".join(lines)


def _gunzip(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: a broken gzip file ({error}). Fetch it again.") from error


def _gunzip_start(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(PEEK_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: a broken gzip file ({error}). Fetch it again.") from error


def _parquet_names(path: Path) -> tuple[str, ...]:
    try:
        return unrepeated([name.strip() for name in pl.read_parquet_schema(path)])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be read as parquet ({reason}). Fetch it again.") from error


def as_number(cells: pl.Series) -> pl.Series:
    """Text as Int64 when every cell with something in it is a whole number, else Float64; null where it is neither."""
    if cells.dtype.is_integer() or cells.dtype == pl.Boolean:
        return cells.cast(pl.Int64, strict=False)
    if cells.dtype.is_numeric():
        return cells.cast(pl.Float64)
    cells = cells.cast(pl.String)
    # A thousand cells tell most decimal columns from whole numbers without reading them twice.
    if _whole(cells.head(1000)) is not None:
        whole = _whole(cells)
        if whole is not None:
            return whole
    return cells.cast(pl.Float64, strict=False)


def _whole(cells: pl.Series) -> pl.Series | None:
    values = cells.cast(pl.Int64, strict=False)
    failed = values.null_count() - cells.null_count()
    return values if not failed or failed == int((cells == "").sum()) else None


def styles_of_numbers(cells: pl.Series, marks: Sequence[str] = ()) -> int | pl.Series:
    """How each cell of a column of numbers is written: one code for all, or an Int8 code for each.

    marks: what stands for a missing value beside an empty cell.
    """
    found = pl.select(
        pl.when(cells.is_null() | (cells == ""))
        .then(dataset.EMPTY)
        .when(cells.is_in(list(marks)))
        .then(dataset.MARK)
        .when(_padded(cells))
        .then(dataset.PADDED)
        .when(cells.str.contains(_LEADING))
        .then(dataset.LEADING)
        .when(cells.str.contains_any(["e", "E"]))
        .then(dataset.EXPONENT)
        .when(~cells.str.contains(".", literal=True))
        .then(dataset.INTEGER)
        .when(cells.str.ends_with(".0"))
        .then(dataset.POINT_ZERO)
        .when(cells.str.ends_with("0"))
        .then(dataset.TRAILING)
        .otherwise(dataset.DECIMAL)
        .cast(pl.Int8)
        .alias(cells.name)
    ).to_series()
    return _one_or_all(found)


def plainly_written(cells: pl.Series) -> bool:
    """Whether no whole number has blanks, a plus or zeros before it; cheaper than to ask how each is written."""
    return not (_padded(cells) | cells.str.contains(_LEADING)).any()


def _padded(cells: pl.Series) -> pl.Series:
    return cells.str.starts_with(" ") | cells.str.ends_with(" ")


_LEADING = r"^(\+|-?0\d)"
_STYLES = (
    (r"^$", dataset.EMPTY),
    (r"^( .*|.* )$", dataset.OTHER),
    (r"^(\+|-?0\d)\d*(\.\d+)?$", dataset.LEADING),
    (r"^[+-]?\d+$", dataset.INTEGER),
    (r"^[+-]?\d+\.0$", dataset.POINT_ZERO),
    (r"^[+-]?\d*\.\d*0$", dataset.TRAILING),
    (r"^[+-]?\d*\.\d+$", dataset.DECIMAL),
    (r"^[+-]?\d+(\.\d+)?[eE][+-]?\d+$", dataset.EXPONENT),
    (r"^(0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,})$", dataset.HEXADECIMAL),
)


def styles_of_text(cells: pl.Series, marks: Sequence[str] = ()) -> int | pl.Series:
    """The same for a column of text, where only cells that look like numbers can differ in style, and missing ones."""
    distinct = cells.unique().fill_null("")
    ways = set(marks) & set(distinct)
    # Where a missing value is written in one way only, that way says nothing.
    told = ways if len(ways | (set(distinct) & {""})) > 1 else set[str]()
    chain = pl.when(pl.col("cell").is_in(sorted(told))).then(dataset.MARK).otherwise(dataset.OTHER)
    for pattern, code in reversed(_STYLES):
        chain = pl.when(pl.col("cell").str.contains(pattern)).then(pl.lit(code)).otherwise(chain)
    table = pl.DataFrame({"cell": distinct}).unique().with_columns(chain.cast(pl.Int8).alias("style"))
    present = set(table["style"].to_list())
    if len(present) == 1:
        return int(present.pop())
    if not present - {dataset.EMPTY, dataset.OTHER}:
        return dataset.OTHER
    return cells.fill_null("").replace_strict(table["cell"], table["style"], return_dtype=pl.Int8)


def _one_or_all(codes: pl.Series) -> int | pl.Series:
    if codes.is_empty():
        return dataset.OTHER
    low, high = codes.min(), codes.max()
    return int(low) if low == high else codes  # type: ignore[arg-type]

"""Flow tables as files: parquet, CSV and JSON lines, written and read back without loss.

In CSV and JSON lines a missing value is empty or null; numbers are written so that they read back the same. The lists of the
first packets are real lists in parquet and JSON lines, in CSV text divided by blanks (truth values as 1 and 0).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl

from wirespeak.errors import InputError
from wirespeak.schema import COLUMNS, FACTS, FIRST_PACKETS

SUFFIXES = (".parquet", ".csv", ".jsonl")

_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
_TEXT = {"src", "dst", "src_mac", "dst_mac", "community_id", "history"}
_PORTS = {"src_port", "dst_port", "vlan"}
_ITEMS: dict[str, pl.DataType] = dict(
    zip((column.name for column in FIRST_PACKETS), (pl.Int64(), pl.Boolean(), pl.Float64()), strict=True)
)


def types() -> dict[str, pl.DataType]:
    """The polars type of each column of `schema.COLUMNS`, in order."""
    found: dict[str, pl.DataType] = {}
    for name, column in COLUMNS.items():
        if name in _PORTS:
            found[name] = pl.UInt16()
        elif name == "tunnel_id":
            found[name] = pl.UInt32()
        elif name in _TEXT or column.kind in ("category", "text"):
            found[name] = pl.String()
        elif column.kind in ("seconds", "bits", "number"):
            found[name] = pl.Float64()
        else:
            found[name] = pl.Int64()
    return found


def list_types() -> dict[str, pl.DataType]:
    """The polars type of each column of `schema.FIRST_PACKETS`, which a table may have too."""
    return {name: pl.List(kind) for name, kind in _ITEMS.items()}


def write(flows: pl.DataFrame, path: Path) -> None:
    """Write a table; the suffix of `path`, one of SUFFIXES, chooses the format."""
    if path.suffix == ".parquet":
        flows.write_parquet(path, compression="zstd", statistics=True)
    elif path.suffix == ".csv":
        _blank_divided(flows).write_csv(path)
    else:
        flows.write_ndjson(path)


def write_pieces(pieces: Iterable[pl.DataFrame], path: Path) -> int:
    """Write a table whose rows come in pieces, of which memory holds one at a time; how many rows there were."""
    rows = 0
    if path.suffix == ".parquet":
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
            parts: list[Path] = []
            for piece in pieces:
                rows += piece.height
                parts.append(Path(folder) / f"{len(parts):08}.parquet")
                piece.write_parquet(parts[-1], compression="lz4", statistics=False)
            pl.scan_parquet(parts).sink_parquet(
                path, compression="zstd", statistics=True, maintain_order=True
            )
        return rows
    with path.open("wb") as file:
        for piece in pieces:
            if path.suffix == ".csv":
                _blank_divided(piece).write_csv(file, include_header=rows == 0)
            else:
                piece.write_ndjson(file)
            rows += piece.height
    return rows


def _blank_divided(flows: pl.DataFrame) -> pl.DataFrame:
    """With text in the place of lists, of which CSV has none."""
    plain = {name: pl.Int64() if kind == pl.Boolean else kind for name, kind in _ITEMS.items()}
    return flows.with_columns(
        pl.col(name).cast(pl.List(kind)).cast(pl.List(pl.String)).list.join(" ")
        for name, kind in plain.items()
        if name in flows.columns
    )


def _lists(table: pl.DataFrame) -> pl.DataFrame:
    """With lists in the place of text divided by blanks."""
    return table.with_columns(
        pl.col(name)
        .str.split(" ")
        .cast(pl.List(pl.Int64() if kind == pl.Boolean else kind))
        .cast(pl.List(kind))
        for name, kind in _ITEMS.items()
        if name in table.columns
    )


def read(paths: Sequence[Path]) -> pl.DataFrame:
    """The rows of flow tables, one file after the other. Raises InputError, naming the file and what it lacks."""
    tables = [_read(path) for path in paths]
    # First packets are null where another table lacks them.
    return pl.concat(tables, how="diagonal") if len(tables) > 1 else tables[0]


def _read(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".parquet": pl.read_parquet, ".csv": _read_csv, ".jsonl": _read_json,
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(f"{path}: not a flow table. Expected a file that ends in {', '.join(SUFFIXES)}.")
    try:
        table = readers[path.suffix](path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the name.") from error
    except _UNREADABLE as error:
        raise _not_flows(path, error) from error
    # Tables of earlier versions do not say what applications said.
    table = table.with_columns(
        pl.lit(None).alias(fact.name) for fact in FACTS if fact.name not in table.columns
    )
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise InputError(
            f"{path}: lacks {len(lacking)} of the {len(COLUMNS)} columns of a flow table, '{lacking[0]}' first. "
            "Make it with 'wirespeak flows'."
        )
    if table.is_empty():
        raise InputError(f"{path}: holds no flows.")
    early = {name: kind for name, kind in list_types().items() if name in table.columns}
    try:
        return table.select(pl.col(name).cast(kind) for name, kind in (types() | early).items())
    except _UNREADABLE as error:
        raise _not_flows(path, error) from error


def _not_flows(path: Path, error: BaseException) -> InputError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return InputError(f"{path}: cannot be read as a flow table ({reason}). Make it with 'wirespeak flows'.")


def _read_csv(path: Path) -> pl.DataFrame:
    return _lists(pl.read_csv(path, schema_overrides=types() | dict.fromkeys(_ITEMS, pl.String())))


def _read_json(path: Path) -> pl.DataFrame:
    # The reader of JSON lines panics on narrow numbers, which `_read` narrows, and refuses types of columns that are not there.
    wide = {name: pl.Int64() if kind in (pl.UInt16, pl.UInt32) else kind for name, kind in types().items()}
    named = _names_in_json(path)
    kinds = {name: kind for name, kind in (wide | list_types()).items() if name in named}
    return pl.read_ndjson(path, schema_overrides=kinds)


def _names_in_json(path: Path) -> set[str]:
    """The columns that the first line names; none where that is no object."""
    with path.open("rb") as file:
        try:
            first = json.loads(file.readline())
        except (ValueError, RecursionError):
            return set()
    return set(first) if isinstance(first, dict) else set()

"""Any CSV file of flows, described by a small TOML map of our columns.

```toml
[columns]                                        # ours = theirs; first_seen, src, dst and protocol are needed
first_seen = { column = "start", unit = "ms" }   # since 1970: s (default; an ISO date too), ms, us, ns
last_seen = { column = "end", format = "%d.%m.%Y %H:%M:%S%.f", zone = "Europe/Prague" }   # UTC by default
src = "source"                                   # an address, or an IPv4 address as one number
dst = "target"
dst_port = "port"
protocol = "proto"                               # a name or a number
duration_s = { column = "took", unit = "us" }    # s (default), ms, us, ns
fwd_packets = "packets"
state = { column = "result", values = { ok = "two-way", lost = "one-way" } }
vlan = { value = 7 }                             # the same in every row

[log]                                            # optional
separator = ";"                                  # default: the one that occurs most in the first line
fields = ["start", "end", "source"]              # the columns of a file without a header
missing = ["-", "n/a"]                           # how a missing value is written, beside an empty cell
on_bad_row = "skip"                              # default "fail": a cell that cannot be read is an error
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.data.sources.lines import LINE, nanoseconds, number, protocol, tables, whole
from wirespeak.data.sources.log import Log, Told
from wirespeak.data.sources.mapped import read_toml
from wirespeak.data.tables import types
from wirespeak.errors import InputError, OptionError, unknown_name
from wirespeak.schema import COLUMNS

_NEEDED = ("first_seen", "src", "dst", "protocol")
_TIMES = ("first_seen", "last_seen")
_DIGITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Digits after the point that nanoseconds have in each unit."""
_COLUMN = {"column": str, "unit": str, "format": str, "zone": str, "values": dict, "value": (str, int, float)}
_LOG: dict[str, Any] = {"separator": str, "fields": list, "missing": list, "on_bad_row": str}
_WANTED = {
    "Int64": "a whole number",
    "UInt16": "a whole number",
    "UInt32": "a whole number",
    "Float64": "a number",
}


def flow_map(path: Path) -> Log:
    """The format that a map describes. Raises InputError for a file that is no map, OptionError for a name or value that does not exist."""
    said = read_toml(path)
    try:
        _known(said, {"columns": dict, "log": dict}, "table of a map of flows")
        columns = {name: _column(name, each) for name, each in said.get("columns", {}).items()}
        about = said.get("log", {})
        _known(about, _LOG, "key of [log]")
        if about.get("on_bad_row", "fail") not in ("fail", "skip"):
            raise unknown_name("answer to a bad row", str(about["on_bad_row"]), ("fail", "skip"))
        if len(about.get("separator", ",").encode()) != 1:
            raise OptionError(f"separator is '{about['separator']}', expected one character, such as ';'.")
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    if lacking := [name for name in _NEEDED if name not in columns]:
        raise InputError(f"{path}: [columns] lacks '{lacking[0]}'. A flow needs {', '.join(_NEEDED)}.")
    return Log(path.stem, f"a table that {path.name} describes", _never, partial(_read, columns, about, path))


def _never(path: Path, head: bytes) -> bool:
    return False


def _column(name: str, said: Any) -> dict[str, Any]:
    if name not in COLUMNS or name == "flow_id":
        raise unknown_name("column", name, [each for each in COLUMNS if each != "flow_id"])
    about = {"column": said} if isinstance(said, str) else said
    if not isinstance(about, dict):
        raise OptionError(f"column '{name}' is {said!r}, expected the name of a column or a table.")
    _known(about, _COLUMN, f"key of column '{name}'")
    if ("column" in about) == ("value" in about):
        raise OptionError(f"column '{name}' needs either 'column', the name of theirs, or 'value'.")
    if about.get("unit", "s") not in _DIGITS:
        raise unknown_name(f"unit of '{name}'", about["unit"], _DIGITS)
    if "unit" in about and name not in _TIMES and COLUMNS[name].kind != "seconds":
        raise OptionError(f"column '{name}' has a unit, which times and durations have.")
    if ("format" in about or "zone" in about) and name not in _TIMES:
        raise OptionError(f"column '{name}' has a format or zone, which only {' and '.join(_TIMES)} have.")
    return dict(about)


def _known(said: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for key, value in said.items():
        if key not in known:
            raise unknown_name(what, key, known)
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise OptionError(f"{what} '{key}' is {value!r}, which is of another kind. See docs/logs.md.")


def _read(
    columns: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
    home: Path,
    paths: Sequence[Path],
    told: Told,
) -> pl.DataFrame:
    """The rows of tables under our names. Raises InputError for a column that is not there, or a cell that cannot be read."""
    missing = ["", *(str(mark) for mark in about.get("missing", ()))]
    parts = []
    for path in paths:
        named = tuple(str(name) for name in about.get("fields", ()))
        for names, rows in tables(path, told, separator=about.get("separator"), names=named):
            theirs = {ours: each["column"] for ours, each in columns.items() if "column" in each}
            if lacking := [name for name in theirs.values() if name not in names]:
                raise InputError(
                    f"{path}: has no column '{lacking[0]}', which the map {home} names. Its columns: {', '.join(names[:12])}."
                )
            given = rows.select(LINE, *(_bare(theirs[ours], missing).alias(ours) for ours in theirs))
            parts.append(_typed(path, given, columns, about.get("on_bad_row", "fail"), told))
    return pl.concat(parts) if parts else pl.DataFrame()


def _bare(name: str, missing: Sequence[str]) -> pl.Expr:
    cell = pl.col(name).str.strip_chars()
    return pl.when(~cell.is_in(missing)).then(cell)


def _typed(
    path: Path, given: pl.DataFrame, columns: Mapping[str, Mapping[str, Any]], on_bad_row: str, told: Told
) -> pl.DataFrame:
    """The cells as what our columns hold. A cell that cannot be read is an error, or its row is set aside."""
    kinds = types()
    try:
        found = given.select(
            LINE,
            *(
                _value(name, each).cast(kinds[name], strict=False).alias(name)
                for name, each in columns.items()
            ),
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(
            f"{path}: the map cannot be used ({reason}). Check its formats and zones."
        ) from error
    for name, each in columns.items():
        if "column" not in each:
            continue
        bad = given[name].is_not_null() & found[name].is_null()
        if not bad.any():
            continue
        if on_bad_row == "fail":
            at = int(bad.arg_true()[0])
            raise InputError(
                f"{path} line {given[LINE][at]}: column '{each['column']}' is '{given[name][at][:80]}', expected {_wanted(name, each)} "
                f'for {name}. Change the map, or set on_bad_row = "skip" in its [log].'
            )
        given, found = (
            given.filter(~bad),
            told.without(found, pl.lit(bad), f"a row whose {each['column']} cannot be read"),
        )
    return found.drop(LINE)


def _wanted(name: str, each: Mapping[str, Any]) -> str:
    if name in _TIMES:
        return (
            f"a time like {each['format']}"
            if "format" in each
            else f"a time in {each.get('unit', 's')} since 1970"
        )
    if "values" in each:
        return f"one of {', '.join(list(each['values'])[:8])}"
    return {"protocol": "a protocol's name or number"}.get(name, _WANTED.get(str(types()[name]), "text"))


def _value(name: str, each: Mapping[str, Any]) -> pl.Expr:
    if "value" in each:
        return pl.lit(each["value"])
    cell, kind = pl.col(name), types()[name]
    if "values" in each:
        cell = cell.replace_strict(
            {str(key): str(value) for key, value in each["values"].items()},
            default=None,
            return_dtype=pl.String,
        )
    if name in _TIMES:
        return _time(cell, each)
    if name in ("src", "dst"):
        return _address(cell)
    if name == "protocol":
        return protocol(cell)
    if COLUMNS[name].kind == "seconds":
        return number(cell) / 10 ** (9 - _DIGITS[each.get("unit", "s")])
    if kind.is_integer():
        # 12.0 is a whole number, 12.5 is none.
        rounded = number(cell)
        return pl.coalesce(
            whole(cell), pl.when(rounded == rounded.round()).then(rounded.cast(pl.Int64, strict=False))
        )
    return number(cell) if kind.is_float() else cell


def _time(cell: pl.Expr, each: Mapping[str, Any]) -> pl.Expr:
    if "format" in each:
        read = cell.str.to_datetime(each["format"], time_unit="ns", strict=False)
        if "%z" not in each["format"] and "%:z" not in each["format"]:
            read = read.dt.replace_time_zone(
                each.get("zone", "UTC"), ambiguous="earliest", non_existent="null"
            )
        return read.dt.epoch("ns")
    digits = _DIGITS[each.get("unit", "s")]
    if digits == 9:
        return nanoseconds(cell)
    units = cell.str.extract(r"^(\d{1,19})(?:\.\d*)?$").cast(pl.Int64, strict=False)
    part = cell.str.extract(r"\.(\d*)$").fill_null("").str.pad_end(digits, "0").str.head(digits)
    rest = part.cast(pl.Int64, strict=False).fill_null(0)
    return pl.when(units < 9_200_000_000 * 10 ** (9 - digits)).then(units * 10**digits + rest)


def _address(cell: pl.Expr) -> pl.Expr:
    """An address; a number below 2^32 is an IPv4 address."""
    value = cell.str.extract(r"^(\d{1,10})(?:\.0)?$").cast(pl.Int64, strict=False)
    parts = [((value // (1 << shift)) % 256).cast(pl.String) for shift in (24, 16, 8, 0)]
    return pl.when(value < 1 << 32).then(pl.concat_str(parts, separator=".")).otherwise(cell)

"""Any labelled CSV or parquet file, described by a small TOML map.

```toml
[dataset]
name = "plant"                 # required
title = "Pumps of plant 3"     # default: the name
granularity = "flow"           # flow (default), packet or connection
row = "one flow"               # what a row stands for
label = "class"                # required: the column with the labels
group = "capture"              # optional: the column that says which recording a row is from
separator = ";"                # default: what the first line looks like
missing = ["-", "n/a"]         # how a missing value is written, beside an empty cell
infinities = false             # true: infinities and NaN are read as missing
encoding = "cp1252"            # of bytes that are not UTF-8; default: such lines are bad rows
fields = ["a", "b", "class"]   # only for a file without a header

[labels]                       # required unless the labels are canonical: label = canonical label
Normal = "normal"
SynFlood = "flood.syn"

[categories]                   # optional: label = the dataset's own coarser category
SynFlood = "Flood"

[columns.source_ip]            # one table a column that is more than a plain feature
role = "address"               # feature (default), address, mac, port, ttl, time, order, id, label, text
kind = "text"                  # number, category or text; default: what the values look like
unit = "bytes"
meaning = "who sent the first packet"
```
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

from wirespeak.data.dataset import Field, Granularity, Kind, Role
from wirespeak.data.sources.cells import Head
from wirespeak.data.sources.reading import Fit
from wirespeak.data.sources.source import Answer, Source
from wirespeak.errors import InputError, unknown_name
from wirespeak.schema import LABELS

_TABLES = ("dataset", "labels", "categories", "columns")
_DATASET = (
    "name", "title", "granularity", "row", "label", "group", "separator", "missing", "infinities", "encoding",
    "fields",
)  # fmt: skip
_COLUMN = ("role", "kind", "unit", "meaning")


def read_map(path: Path) -> tuple[Source, str | None]:
    """The source a TOML map describes, and its separator, if it names one. Raises InputError or OptionError naming what is wrong."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the name.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error}).") from error
    _only(said, _TABLES, "table of a map")
    about = said.get("dataset", {})
    _only(about, _DATASET, "key of [dataset]")
    for key in ("name", "label"):
        if key not in about:
            raise InputError(f"{path}: [dataset] lacks '{key}'. See docs/datasets/own.md.")
    label = str(about["label"])
    columns = said.get("columns", {})
    fields = {name: _field(name, column) for name, column in columns.items()}
    fields[label] = Field(label, "category", "label")
    group = about.get("group")
    if group and group not in fields:
        fields[group] = Field(group, "category", "id")
    source = Source(
        name=str(about["name"]),
        title=str(about.get("title", about["name"])),
        granularity=_one_of(about.get("granularity", "flow"), get_args(Granularity), "granularity"),
        row=str(about.get("row", "one row")),
        fields=tuple(fields.values()),
        answers=(Answer(label, _canonical(said.get("labels", {})), dict(said.get("categories", {}))),),
        home=str(path),
        terms="as its owner says",
        fetching="",
        headerless=(tuple(about["fields"]),) if "fields" in about else (),
        missing=tuple(about.get("missing", ())),
        infinities=bool(about.get("infinities", False)),
        encoding=about.get("encoding"),
        group=group,
        guessed=frozenset(name for name in columns if "kind" not in columns[name] and name != label),
    )
    return source, about.get("separator")


def fit_map(head: Head, source: Source) -> Fit:
    """How a file fits its map. Raises InputError naming a column of the map that the file lacks."""
    columns = source.headerless[0] if source.headerless else head.first
    if len(columns) != len(head.first):
        raise InputError(
            f"{head.path}: has {len(head.first)} columns, the map {source.home} names {len(columns)}."
        )
    lacking = [known.name for known in source.fields if known.name not in columns]
    if lacking:
        raise InputError(
            f"{head.path}: has no column '{lacking[0]}', which the map {source.home} describes. "
            f"Its columns: {', '.join(columns[:12])}{' ...' if len(columns) > 12 else ''}."
        )
    return Fit(source, tuple(columns), not source.headerless, source.answers[0], 1.0)


def _field(name: str, said: dict[str, Any]) -> Field:
    _only(said, _COLUMN, f"key of [columns.{name}]")
    role = _one_of(said.get("role", "feature"), get_args(Role), "role")
    kind = _one_of(said.get("kind", "category"), get_args(Kind), "kind")
    return Field(name, kind, role, str(said.get("unit", "")), str(said.get("meaning", "")))


def _canonical(said: dict[str, str]) -> dict[str, str]:
    if not said:
        return {label: label for label in LABELS}
    return {name: _one_of(label, LABELS, "canonical label") for name, label in said.items()}


def _one_of(value: str, known: Any, what: str) -> Any:
    if value not in known:
        raise unknown_name(what, str(value), known)
    return value


def _only(said: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in said:
        _one_of(key, known, what)

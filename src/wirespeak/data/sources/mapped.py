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

import codecs
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from wirespeak.data.dataset import Field, Granularity, Kind, Role
from wirespeak.data.sources.cells import Head
from wirespeak.data.sources.reading import Fit
from wirespeak.data.sources.source import Answer, Source
from wirespeak.errors import InputError, OptionError, unknown_name
from wirespeak.schema import LABELS

_TABLES = dict.fromkeys(("dataset", "labels", "categories", "columns"), dict)
_DATASET = dict.fromkeys(
    ("name", "title", "granularity", "row", "label", "group", "separator", "encoding"), str
) | {"missing": list, "infinities": bool, "fields": list}  # fmt: skip
_COLUMN = dict.fromkeys(("role", "kind", "unit", "meaning"), str)
_IN_WORDS = {
    str: "a text in quotes",
    list: "a list of texts in quotes",
    bool: "true or false",
    dict: "a table",
}


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says. Raises InputError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check the name.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error}).") from error


def read_map(path: Path) -> tuple[Source, str | None]:
    """The source a TOML map describes, and its separator, if it names one. Raises InputError or OptionError naming what is wrong."""
    said = read_toml(path)
    try:
        return _described(said, path), said["dataset"].get("separator")
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def _described(said: dict[str, Any], path: Path) -> Source:
    _only(said, _TABLES, "table of a map")
    about = said.get("dataset", {})
    _only(about, _DATASET, "key of [dataset]")
    for key in ("name", "label"):
        if key not in about:
            raise InputError(f"{path}: [dataset] lacks '{key}'. See docs/datasets/own.md.")
    if len(about.get("separator", ",").encode()) != 1:
        raise OptionError(f"separator is '{about['separator']}', expected one character, such as ';'.")
    label = about["label"]
    columns = said.get("columns", {})
    _only(columns, dict.fromkeys(columns, dict), "table of [columns]")
    fields = {name: _field(name, column) for name, column in columns.items()}
    fields[label] = Field(label, "category", "label")
    group = about.get("group")
    if group and group not in fields:
        fields[group] = Field(group, "category", "id")
    return Source(
        name=about["name"],
        title=about.get("title", about["name"]),
        granularity=_one_of(about.get("granularity", "flow"), get_args(Granularity), "granularity"),
        row=about.get("row", "one row"),
        fields=tuple(fields.values()),
        answers=(Answer(label, _canonical(said.get("labels", {})), _categories(said)),),
        home=str(path),
        terms="as its owner says",
        fetching="",
        headerless=(tuple(about["fields"]),) if "fields" in about else (),
        missing=tuple(about.get("missing", ())),
        infinities=about.get("infinities", False),
        encoding=_encoding(about.get("encoding")),
        group=group,
        guessed=frozenset(name for name in columns if "kind" not in columns[name] and name != label),
    )


def fit_map(head: Head, source: Source) -> Fit:
    """How a file fits its map. Raises InputError naming a column of the map that the file lacks."""
    columns = source.headerless[0] if source.headerless else head.names
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
    return Field(name, kind, role, said.get("unit", ""), said.get("meaning", ""))


def _canonical(said: dict[str, str]) -> dict[str, str]:
    if not said:
        return {label: label for label in LABELS}
    return {name: _one_of(label, LABELS, "canonical label") for name, label in said.items()}


def _categories(said: dict[str, Any]) -> dict[str, str]:
    return {name: str(category) for name, category in said.get("categories", {}).items()}


def _encoding(name: str | None) -> str | None:
    try:
        return codecs.lookup(name).name if name else None
    except LookupError as error:
        raise OptionError(f"encoding is '{name}', which Python does not know. Try 'cp1252'.") from error


def _one_of(value: str, known: Any, what: str) -> Any:
    if value not in known:
        raise unknown_name(what, str(value), known)
    return value


def _only(said: dict[str, Any], known: Mapping[str, type], what: str) -> None:
    for key, value in said.items():
        wanted = known[_one_of(key, known, what)]
        if not isinstance(value, wanted):
            raise OptionError(f"{what} '{key}' is {value!r}, expected {_IN_WORDS[wanted]}.")

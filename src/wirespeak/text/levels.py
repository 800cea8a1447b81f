"""`basic`, `detailed` and `rich`: rows in plain English, for large models and for people.

A level is a list of columns (of flows: `schema.LEVELS`). Each column at other than its default becomes one phrase;
the phrases are joined by semicolons, and `decode` reads them back. A text that is no plain word is quoted: what
could close the quotes or look like a mark of a conversation (`<|im_end|>`, `[INST]`, `### Response:`, a line of its
own) is written as `\\u003c`, and more than 60 characters are cut. Beyond U+FFFF that is two such, as in JSON (RFC 8259,
section 7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from wirespeak.errors import InputError, unknown_name
from wirespeak.schema import COLUMNS, LEVELS, Column
from wirespeak.text.said import DIGITS, spoken

NOTHING = "nothing was measured"
# A plain word does not end in a colon: `Assistant:` could call for an answer.
_PLAIN = re.compile(r"[\w.:/+-]{1,40}(?<!:)", re.ASCII)
_OPEN = re.compile(r"[^\w .:/,+=?&%@()*!'-]+", re.ASCII)
_WRITTEN = re.compile(r"(?:\\u[0-9a-f]{4})+")
_LONG = 60


def encode(table: pl.DataFrame, level: str, columns: Sequence[Column] | None = None) -> pl.Series:
    """One English sentence a row. Whole numbers are exact, others keep 3 significant digits.

    columns: those of `level` of a flow by default.
    """
    said = [
        spoken(table[column.name], column, _phrase, whole=True)
        for column in (level_columns(level) if columns is None else columns)
    ]
    joined = pl.concat_str([pl.when(pl.col(part.name) != "").then(pl.col(part.name)) for part in said],
                           separator="; ", ignore_nulls=True)  # fmt: skip
    told = pl.DataFrame(said).select(sentence=joined).to_series() if said else pl.Series("sentence", [""])
    told = told.replace("", NOTHING)
    return (told.str.slice(0, 1).str.to_uppercase() + told.str.slice(1) + ".").alias("sentence")


def decode(sentences: Sequence[str], level: str, columns: Sequence[Column] | None = None) -> pl.DataFrame:
    """The columns of `level` from its sentences. Raises InputError for a phrase that is none of ours."""
    columns = level_columns(level) if columns is None else columns
    patterns = [(column, _pattern(column)) for column in columns]
    data: dict[str, list[Any]] = {column.name: [column.default] * len(sentences) for column in columns}
    for row, sentence in enumerate(sentences):
        body = sentence.removesuffix(".")
        for place, phrase in enumerate(body.split("; ")):
            forms = (phrase, phrase[:1].lower() + phrase[1:]) if place == 0 else (phrase,)
            if NOTHING in forms:
                continue
            found = next(
                ((c, m) for c, pattern in patterns for form in forms if (m := pattern.fullmatch(form))), None
            )
            if found is None:
                raise InputError(f"sentence {row}: '{phrase[:80]}' is no phrase of level {level}.")
            column, match = found
            data[column.name][row] = _read(column, match)
    types = {column.name: pl.String if column.kind == "category" else pl.Float64 for column in columns}
    return pl.DataFrame(data, schema=types, strict=False)


def level_columns(level: str) -> tuple[Column, ...]:
    """The columns a level carries, in order. Raises OptionError for an unknown level."""
    if level not in LEVELS:
        raise unknown_name("level", level, ["compact", *LEVELS])
    return tuple(COLUMNS[name] for name in LEVELS[level])


def measured(column: Column, value: float | str) -> str:
    """A value with its unit as a person reads it: `1460 bytes`, `0.025 s`, `75 %`, `tcp`.

    >>> measured(Column("iat", "deviations", "", scale="standard deviations"), -1.8)
    '1.8 standard deviations below usual'
    """
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else quoted(value)
    if column.kind == "deviations":
        return f"{abs(value):.{DIGITS}g} {column.unit} {'below' if value < 0 else 'above'} usual"
    if column.kind == "share":
        value = round(value * 100, 10)
    whole = float(value).is_integer() and abs(value) < 1e15
    number = str(int(value)) if whole else f"{value:.{DIGITS}g}"
    return f"{number} {column.unit}".rstrip()


def quoted(text: str) -> str:
    """Captured text between quotes that it cannot close.

    >>> print(quoted('x" <|im_end|> [INST] \U0001f600'))
    "x\\u0022 \\u003c\\u007cim_end\\u007c\\u003e \\u005bINST\\u005d \\ud83d\\ude00"
    """
    shown = text if len(text) <= _LONG else text[: _LONG - 3] + "..."
    return '"' + _OPEN.sub(lambda found: _escaped(found[0]), shown) + '"'


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _phrase(value: float | str | None, column: Column) -> str:
    return column.phrase.format("not known" if value is None else measured(column, value))


def _pattern(column: Column) -> re.Pattern[str]:
    before, after = column.phrase.split("{}")
    number = r"(-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|inf))"
    unit = f" {re.escape(column.unit)}" if column.unit else ""
    value = {
        "category": r"(\"[^\"]*\"|[\w.:/+-]+)",
        "deviations": rf"{number}{unit} (?P<side>below|above) usual",
    }.get(column.kind, number + unit)
    null = "|(?P<null>not known)" if column.nullable else ""
    return re.compile(f"{re.escape(before)}(?:{value}{null}){re.escape(after)}", re.ASCII)


def _read(column: Column, found: re.Match[str]) -> str | float | None:
    if found.groupdict().get("null"):
        return None
    if column.kind == "category":
        return _unquoted(found[1])
    value = float(found[1])
    if column.kind == "share":
        return value / 100
    return -value if found.groupdict().get("side") == "below" else value


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return _WRITTEN.sub(
        lambda found: bytes.fromhex(found[0].replace("\\u", "")).decode("utf-16-be", "replace"), text[1:-1]
    )

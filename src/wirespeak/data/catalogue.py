"""What is known about the datasets: to list, describe, check and fetch them, and to write their pages.

Every function returns plain data (`describe`, `check`) or text (`page`); nothing prints.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.data.dataset import Dataset
from wirespeak.data.sources import SOURCES, mapped, read_dataset, recognise
from wirespeak.data.sources.cells import peek
from wirespeak.data.sources.source import Download, Published, Source
from wirespeak.errors import InputError, OutputError, unknown_name

SUFFIXES = (".csv", ".txt", ".data", ".parquet", ".gz")
"""Files that are looked into when a folder is searched for datasets."""

BLOCK = 1 << 20
TIMEOUT_S = 30


def catalogue(folder: Path | None = None) -> list[dict[str, Any]]:
    """Every dataset: name, title, granularity, rows and files published, labels, terms, home.

    With a folder, `found` lists the files below it that hold the dataset, by their columns.
    """
    found = _found(folder) if folder else {}
    return [
        {
            "name": source.name,
            "title": source.title,
            "granularity": source.granularity,
            "published": {part.name: part.rows for part in source.published},
            "labels": len(source.answers[0].canonical),
            "terms": source.terms,
            "home": source.home,
            "account": not source.downloads,
            "found": found.get(source.name, []),
        }
        for source in SOURCES.values()
    ]


def _found(folder: Path) -> dict[str, list[str]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder. Give the folder you keep datasets in.")
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            try:
                name = recognise(peek(path)).source.name
            except InputError:
                continue
            found.setdefault(name, []).append(str(path))
    return found


def describe(name: str) -> dict[str, Any]:
    """All that is declared of one dataset. Raises OptionError for a name that is not in `SOURCES`."""
    source = _source(name)
    answer = source.answers[0]
    return {
        "name": source.name,
        "title": source.title,
        "granularity": source.granularity,
        "row": source.row,
        "home": source.home,
        "terms": source.terms,
        "fetching": source.fetching,
        "published": [_published(part) for part in source.published],
        "columns": [vars(field) for field in source.fields],
        "label_column": answer.column,
        "labels": [
            {"label": label, "category": answer.categories.get(label, label), "canonical": canonical}
            for label, canonical in answer.canonical.items()
        ],
        "flaws": list(source.flaws),
    }


def _published(part: Published) -> dict[str, Any]:
    return {**vars(part), "counts": dict(part.counts)}


def check(
    paths: Sequence[Path],
    *,
    source: str | None = None,
    map: Path | None = None,
    on_bad_row: str = "skip",
) -> tuple[dict[str, Any], Dataset]:
    """What these files are and how they differ from what was published, and the dataset itself.

    The record: name, title, files (with bytes and sha256), rows, columns, set_aside by reason, partition, labels,
    canonical, missing cells by column, notes. Raises as `read_dataset` does.
    """
    dataset = read_dataset(paths, source=source, map=map, on_bad_row=on_bad_row)
    known = SOURCES.get(dataset.name) if map is None else None
    record = {
        "name": dataset.name,
        "title": dataset.title,
        "files": [_file(path, known) for path in paths],
        "rows": len(dataset),
        "columns": dataset.table.width,
        "features": len(dataset.features()),
        "set_aside": counted(dataset.set_aside["reason"]),
        "partition": None if dataset.partition is None else counted(dataset.partition),
        "labels": counted(dataset.labels),
        "names": counted(dataset.names),
        "canonical": counted(dataset.canonical),
        "missing": {
            name: int(count) for name, count in dataset.table.null_count().row(0, named=True).items() if count
        },
        "written_in_more_than_one_way": dataset.formats.columns,
        "notes": list(dataset.notes),
    }
    return record, dataset


def counted(values: pl.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first, equals by name.

    >>> counted(pl.Series(["b", "a", "b"]))
    {'b': 2, 'a': 1}
    """
    pairs = values.drop_nulls().value_counts().rows()
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _file(path: Path, source: Source | None) -> dict[str, Any]:
    sha256 = _sha256(path)
    parts = source.published if source else ()
    same = next((part.name for part in parts if part.sha256 and sha256.startswith(part.sha256)), None)
    return {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256, "published_as": same}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, folder: Path, *, files: Iterable[str] | None = None) -> dict[str, Any]:
    """Fetch the files of a dataset into a folder, or check those that a person has put there.

    files: names of some of its downloads; by default the first. The record: name, home, terms, fetched (file,
    address, bytes, sha256, verified) and, of a dataset that only a person can fetch, found (file, bytes, sha256,
    notes). Raises InputError that says where to click when such a one is not there yet.
    """
    source = _source(name)
    downloads = {each.file: each for each in source.downloads}
    for file in files or ():
        if file not in downloads:
            raise unknown_name(f"file of {source.title}", file, downloads)
    chosen = [downloads[file] for file in files] if files else list(source.downloads[:1])
    there = _found(folder).get(name, []) if not chosen and folder.is_dir() else []
    if not chosen and not there:
        raise InputError(
            f"{source.title} has to be fetched by hand. Open {source.home}. {source.fetching} Put the files into "
            f"{folder} and say this again to have them checked."
        )
    return {
        "name": name,
        "home": source.home,
        "terms": source.terms,
        "fetched": [download(each, folder) for each in chosen],
        "found": [_checked(Path(path)) for path in there],
    }


def _checked(path: Path) -> dict[str, Any]:
    """What one file is and how it differs from what was published."""
    record, _ = check([path])
    return {**record["files"][0], "notes": record["notes"]}


def download(wanted: Download, folder: Path) -> dict[str, Any]:
    """One file, fetched whole, checked against its size and sha256, and only then given its name.

    A file that is there already and has the right sha256 is left alone. Raises InputError when the address does
    not answer or sends other bytes than expected, OutputError when the folder cannot be written.
    """
    target = folder / wanted.file
    if target.is_file() and wanted.sha256 and _sha256(target) == wanted.sha256:
        return _fetched(wanted, target, wanted.sha256, already=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{wanted.file}.", dir=folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}). Choose another -o.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(wanted, file)
            file.flush()
            os.fsync(file.fileno())
        sha256 = _sha256(Path(partial))
        if wanted.sha256 and sha256 != wanted.sha256:
            raise InputError(
                f"{wanted.address}: sha256 is {sha256}, expected {wanted.sha256}. Nothing was kept; try again or "
                "fetch the file by hand."
            )
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)
    return _fetched(wanted, target, sha256, already=False)


def _copy(wanted: Download, file: Any) -> None:
    request = urllib.request.Request(wanted.address, headers={"User-Agent": "wirespeak"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            announced = answer.headers.get("Content-Length")
            shutil.copyfileobj(answer, file, BLOCK)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{wanted.address}: answers {error.code} {error.reason}. Fetch it by hand."
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{wanted.address}: cannot be reached ({reason}). Check the connection.") from error
    expected = wanted.size or (int(announced) if announced else None)
    if expected is not None and file.tell() != expected:
        raise InputError(f"{wanted.address}: sent {file.tell():,} bytes of {expected:,}. Try again.")


def _fetched(wanted: Download, target: Path, sha256: str, *, already: bool) -> dict[str, Any]:
    return {
        "file": str(target),
        "address": wanted.address,
        "bytes": target.stat().st_size,
        "sha256": sha256,
        "verified": bool(wanted.sha256),
        "already_there": already,
    }


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise unknown_name("dataset", name, SOURCES)
    return SOURCES[name]


def pages() -> dict[str, str]:
    """The pages of docs/datasets by file name: one a dataset, how to describe one's own, and the list of them."""
    found = {f"{name}.md": page(name) for name in SOURCES}
    found["own.md"] = _own_page()
    found["index.md"] = _index_page()
    return found


def page(name: str) -> str:
    """The page of one dataset: where it is from, what is wrong with it, its files, labels and columns."""
    source = _source(name)
    answer = source.answers[0]
    parts = [
        f"# {source.title}",
        _MADE_FROM.format(f"src/wirespeak/data/sources/{_module(source)}.py"),
        f"A row is {source.row}. `wirespeak data describe {name}` says all this in a terminal.",
        f"- From: <{source.home}>\n- Terms: {source.terms}\n- To get it: {source.fetching}"
        if source.home.startswith("http")
        else f"- From: {source.fetching}\n- Terms: {source.terms}",
        "## What is wrong with it",
        "\n".join(f"- {flaw}" for flaw in source.flaws),
    ]
    if source.published:
        parts += ["## Published files", _published_table(source)]
    parts += [
        "## Labels",
        f"Column `{answer.column}`. Labels are kept as written; the last column is what they are called here "
        "([all of them](../columns.md#labels)).",
        _table(
            ("label", "category", "canonical"),
            (
                (f"`{label}`", f"`{answer.categories.get(label, label)}`", f"`{canonical}`")
                for label, canonical in answer.canonical.items()
            ),
        ),
        "## Columns",
        "A detector sees columns of the role `feature` (and `ttl`); addresses and ports only when asked.",
        _table(
            ("column", "role", "kind", "unit", "meaning"),
            ((f"`{each.name}`", each.role, each.kind, each.unit, each.meaning) for each in source.fields),
        ),
    ]
    return "\n\n".join(parts) + "\n"


_MADE_FROM = "*Made by `make docs` from `{}`.*"


def _module(source: Source) -> str:
    return "recordings" if source.name == "recording" else source.name.replace("-", "_")


def _published_table(source: Source) -> str:
    rows = []
    for part in source.published:
        counts = ", ".join(f"{name} {count:,}" for name, count in part.counts.items())
        size = f"{part.rows:,}" if part.rows is not None else ""
        rows.append((part.name, part.partition or "", size, counts, part.sha256[:8], part.said_by))
    return _table(("file", "part", "rows", "of each category", "sha256 begins", "said by"), rows)


def _own_page() -> str:
    text = mapped.__doc__ or ""
    first, _, rest = text.partition("\n")
    return "\n\n".join(
        [
            "# A dataset of your own",
            _MADE_FROM.format("src/wirespeak/data/sources/mapped.py"),
            f"{first} Give it with `--map FILE.toml` wherever a dataset is read.",
            rest.strip(),
            "Columns the map does not mention are features of the kind their values look like. Columns it mentions "
            "must be there; keys and labels it misspells are errors that name the nearest.",
        ]
    ) + "\n"  # fmt: skip


def _index_page() -> str:
    rows = (
        (
            f"[{source.title}]({name}.md)",
            f"`{name}`",
            source.granularity,
            "; ".join(f"{part.rows:,}" for part in source.published if part.rows),
            str(len(source.answers[0].canonical)),
        )
        for name, source in SOURCES.items()
    )
    return "\n\n".join(
        [
            "# Datasets",
            _MADE_FROM.format("src/wirespeak/data/sources"),
            "A file is recognised by its columns, never by its name. Everything else can be read with "
            "[a map](own.md).",
            _table(("dataset", "name", "a row is a", "rows published", "labels"), rows),
            "A row that does not fit (cells missing or too many, text in a number, the header again, an unknown "
            "label, infinities where none were published, bytes that are not UTF-8) stops the reading with its "
            "line, column and value. `--on-bad-row skip` sets such rows aside and counts them; `keep` keeps those "
            "that can be kept, with the cell missing.",
        ]
    ) + "\n"  # fmt: skip


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)

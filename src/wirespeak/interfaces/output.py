"""What a verb leaves behind: files that are whole or absent, and a record of how they came about.

Everything is first written into a hidden folder beside its final place, flushed to the disk, and renamed
when all of it is there. Failure, Ctrl-C or a full disk remove the hidden folder and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wirespeak import __version__
from wirespeak.errors import OutputError
from wirespeak.records import RunCard, Score

STAGED = ".wirespeak-"
"""How the name of a hidden folder begins."""

_ARGUMENTS = ("inputs", "files")
"""What a verb takes without the name of an option."""

_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space or choose another place with -o",
    errno.EDQUOT: "your disk quota is used up. Free some space or choose another place with -o",
    errno.EFBIG: "the file would be larger than this disk or your limits allow. Choose another place with -o",
    errno.EROFS: "the disk is read-only. Choose another place with -o",
    errno.EACCES: "you may not write there. Choose another place with -o, or change the permissions",
    errno.EPERM: "you may not write there. Choose another place with -o, or change the permissions",
    errno.ENOTDIR: "a file stands where a folder is needed. Choose another place with -o",
    errno.EEXIST: "a file stands where a folder is needed. Choose another place with -o",
}


TABLES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Outcome:
    """What a verb returns: the record of it, and what a person reads on the terminal.

    summary: text or a rich renderable; warnings: what went less well than one would wish, a line each.
    """

    card: RunCard
    summary: Any = ""
    warnings: tuple[str, ...] = ()


@dataclass
class Run:
    """One verb at work. It gathers what `run.json` and the record of `--json` will say.

    options: as the verb was called, in JSON types or paths; inputs are hashed when the run is told of them.
    reproducible: False when time or a remote endpoint bounded the work.
    """

    verb: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Path] = ()
    seed: int | None = None
    reproducible: bool = True
    counts: dict[str, Any] = field(default_factory=lambda: {"in": 0, "out": 0, "set_aside": {}})
    scores: tuple[Score, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def count(self, *, taken: int, given: int, set_aside: Mapping[str, int] | None = None) -> None:
        """Say how many came in (packets of a capture, rows of a table), went out, and were set aside by reason."""
        self.counts = {"in": taken, "out": given, "set_aside": dict(set_aside or {})}

    def card(self, outputs: Sequence[Path] = (), *, ok: bool = True) -> RunCard:
        """The record so far."""
        return RunCard(
            verb=self.verb,
            version=__version__,
            ok=ok,
            outputs=tuple(str(path) for path in outputs),
            counts=self.counts,
            scores=self.scores,
            seconds=round(time.monotonic() - self.began, 3),
        )

    def done(self, output: Path | None, summary: Any) -> Outcome:
        """The outcome, once all outputs are in place: a file, or all files of a folder."""
        outputs = [output] if output else []
        if output and output.is_dir():
            outputs = sorted(child for child in output.iterdir() if child.is_file())
        return Outcome(self.card(outputs), summary, tuple(self.warnings))

    def details(self, outputs: Sequence[Path]) -> dict[str, Any]:
        """What `run.json` keeps: the record, and what is needed to do the same again."""
        return {
            **self.card(outputs).as_dict(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": command_line(self.verb, self.options),
            "options": {name: _plain(value) for name, value in self.options.items()},
            "inputs": [identity(path) for path in self.inputs],
            "versions": _versions(),
            "seed": self.seed,
            "reproducible": self.reproducible,
            **self.notes,
        }


@contextmanager
def folder(path: Path, run: Run) -> Iterator[Path]:
    """A place to write the files of a verb with several products.

    Yields a hidden folder; when the block ends well its files, and `run.json`, move into `path`, which is
    made where needed. Files of the same names are replaced, others are left alone. Raises OutputError.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, and {run.verb} writes a folder. Choose another place with -o.")
    with _staged(path if path.is_dir() else path.parent, path) as hidden:
        yield hidden
        names = sorted(child.name for child in hidden.iterdir())
        details = run.details([path / name for name in names])
        (hidden / "run.json").write_text(as_json(details), encoding="utf-8")
        _flush(hidden)
        if not path.exists():
            os.rename(hidden, path)
        else:  # run.json goes last: where it is, everything it speaks of is
            for name in [*names, "run.json"]:
                _move(hidden / name, path / name)
        _flush_entries(path.parent)


@contextmanager
def one_file(path: Path, run: Run, *, name: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """A place to write the one product of a verb.

    When `path` ends in one of `suffixes` it is that file, with PATH.run.json beside it; otherwise it is a
    folder that gets the file `name` and `run.json`. Yields the hidden path to write, whose suffix tells the
    format. Raises OutputError.
    """
    if path.suffix not in suffixes:
        with folder(path, run) as hidden:
            yield hidden / name
        return
    if path.is_dir():
        raise OutputError(f"{path} is a folder, expected the name of a file. Choose another place with -o.")
    beside = path.with_name(f"{path.name}.run.json")
    with _staged(path.parent, path) as hidden:
        product, record = hidden / path.name, hidden / beside.name
        yield product
        record.write_text(as_json(run.details([path])), encoding="utf-8")
        _flush(product)
        _flush(record)
        _move(product, path)
        _move(record, beside)
        _flush_entries(path.parent)


def complete(path: Path, run: Run) -> None:
    """Write `run.json` into a folder whose other files are in place already. Raises OutputError."""
    with _staged(path, path) as hidden:
        record = hidden / "run.json"
        others = sorted(child for child in path.iterdir() if child.is_file() and child.name != record.name)
        record.write_text(as_json(run.details(others)), encoding="utf-8")
        _flush(record)
        _move(record, path / record.name)


def as_json(value: Any) -> str:
    """Readable JSON with a closing line feed. NaN is refused: no reader agrees on it."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"


def counted(run: Run, taken: str, given: str) -> str:
    """What came in and went out, and what was set aside, in words."""
    aside = sum(run.counts["set_aside"].values())
    rest = f" ({aside:,} set aside)" if aside else ""
    return f"{run.counts['out']:,} {given} from {run.counts['in']:,} {taken}{rest}"


def command_line(verb: str, options: Mapping[str, Any]) -> str:
    """The command that does this again. Options at None are left out.

    >>> options = {"inputs": [Path("a b.pcap")], "drop": ["id", "ts"], "dedupe": True, "idle_s": 60.0}
    >>> command_line("flows", options)
    "wirespeak flows 'a b.pcap' --drop id --drop ts --dedupe --idle-s 60.0"
    """
    words = ["wirespeak", *verb.split()]
    for name, value in options.items():
        if name in _ARGUMENTS:
            words += [str(item) for item in value]
            continue
        option = f"--{name.replace('_', '-')}"
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is not None and item is not False:
                words += [option] if item is True else [option, str(item)]
    return shlex.join(words)


@contextmanager
def _staged(parent: Path, final: Path) -> Iterator[Path]:
    """A hidden folder in `parent`, which is made where needed. Whatever goes wrong, only those two go."""
    hidden = parent / f"{STAGED}{secrets.token_hex(6)}"
    made: list[Path] = []
    try:
        try:
            made = _make(parent)
            hidden.mkdir()
            yield hidden
        except Exception as error:
            if not _is_ours(error, hidden, final):
                raise
            number = _number(error)
            advice = _ADVICE.get(number, f"{os.strerror(number)}. Choose another place with -o")
            raise OutputError(f"cannot write {final}: {advice}. Nothing was written.") from error
        made = []
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        with suppress(OSError):
            for made_here in made:
                made_here.rmdir()


def _is_ours(error: Exception, hidden: Path, final: Path) -> bool:
    """Whether an error is about the output. A failed write names no file; a full disk is always the output's."""
    name = error.filename if isinstance(error, OSError) else None
    if isinstance(name, str):
        return Path(name) in (hidden.parent, final) or str(hidden) in name
    return _number(error) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _number(error: Exception) -> int:
    """The number of a system error. polars raises errors of its own, and gives it in the text alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def _make(path: Path) -> list[Path]:
    """Make a folder and those it lies in. Returns the ones that were not there, innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _move(source: Path, target: Path) -> None:
    """Give a file or folder its final name. An older folder of that name goes where the hidden folder goes."""
    if target.exists() and target.is_dir() != source.is_dir():
        kinds = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise OutputError(
            f"{target} is a {kinds[0]}, and a {kinds[1]} of that name is to be written. Move it away."
        )
    if target.is_dir():
        os.rename(target, source.with_name(f"{source.name}.old"))
    os.replace(source, target)


def _flush(path: Path) -> None:
    """Ask the disk to keep a file, or a folder and all that it holds."""
    if path.is_dir():
        for child in path.iterdir():
            _flush(child)
    _flush_entries(path)


def _flush_entries(path: Path) -> None:
    """Ask the disk to keep a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identity(path: Path) -> dict[str, Any]:
    """What a file holds, or the files of a folder: sizes and hashes. What came through a pipe is gone, and so may a file be by now."""
    if str(path) == "-" or path.is_fifo():
        return {"path": str(path)}
    try:
        return _identity(path)
    except OSError as error:
        return {"path": str(path), "unread": error.strerror or str(error)}


def _identity(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {
            "path": str(path),
            "files": [identity(child) for child in sorted(path.iterdir()) if child.is_file()],
        }
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def _versions() -> dict[str, str]:
    """Versions of what a result may depend on, of those that were loaded."""
    found = {"wirespeak": __version__, "python": platform.python_version()}
    for package in ("numpy", "polars", "onnxruntime", "tokenizers", "torch", "transformers"):
        if package in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
    return found


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

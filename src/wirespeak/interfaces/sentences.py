"""Rows of datasets and flows as sentences: what `textify` writes, and what it says is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from wirespeak.data.dataset import Dataset
from wirespeak.data.fingerprint import fingerprints
from wirespeak.data.loss import Loss, losses
from wirespeak.data.wording import FLOWS, Wording, wording
from wirespeak.detect.learn import answers_of
from wirespeak.detect.spoken import binary_of, question_of
from wirespeak.errors import InputError
from wirespeak.interfaces import reading
from wirespeak.interfaces.output import Run
from wirespeak.interfaces.progress import Say
from wirespeak.interfaces.recorded import are_recordings
from wirespeak.schema import LABELS
from wirespeak.text import NAMES, Question, examples, sentences


@dataclass(frozen=True)
class Rows:
    """What is put into words: the rows, how, the label of each where it is known, and what is asked of them.

    unit: what the rows were read from. before: whether each is an attack, where that is asked first.
    """

    table: pl.DataFrame
    said: Wording
    labels: pl.Series | None
    question: Question
    level: str
    unit: str
    before: pl.Series | None = None

    def write(self, path: Path) -> None:
        """Write a JSONL line for each row; two where attack or normal is asked first, that line before the other."""
        told = sentences(self.table, self.level, self.said.columns(self.level)).to_list()
        asked = [(self.question, self.labels)]
        if self.before is not None:
            asked.insert(0, (binary_of(self.question), self.before))
        examples.write(
            told, [(question, None if of is None else of.to_list()) for question, of in asked], path
        )

    def losses(self) -> list[Loss]:
        """What each level loses of these rows, which differ where a column does that some level says."""
        if not self.table.height:
            raise InputError("there are no rows to compare. Give a file that holds some.")
        names = [name for name in self.said.names if name in self.table.columns]
        keys = pl.Series("key", fingerprints(self.table, names))
        told = {level: sentences(self.table, level, self.said.columns(level)) for level in NAMES}
        return losses(keys, told, self.labels)


def of_dataset(dataset: Dataset, *, level: str, format: str, answer: str, addresses: bool) -> Rows:
    """The rows of a dataset."""
    said = wording(dataset, addresses=addresses)
    labels = answers_of(dataset, answer)
    names = sorted(labels.drop_nulls().unique())
    first = answer == "binary-then-type"
    asked = question_of(said, names, level=level, format=format, answer="multiclass" if first else answer)
    before = dataset.binary() if first else None
    return Rows(dataset.table, said, labels, asked, level, "rows", before)


def of_flows(
    inputs: Sequence[Path],
    run: Run,
    *,
    level: str,
    format: str,
    truth: Path | None,
    idle: float,
    active: float,
    progress: Say,
) -> Rows:
    """The flows of captures or flow tables, counted in `run`."""
    happened = reading.schedule(truth)
    flows = reading.read(inputs, run, idle=idle, active=active, progress=progress)
    told = reading.labels_of(flows, happened)
    labels = None if told is None else pl.Series("label", told, dtype=pl.String)
    return Rows(flows, FLOWS, labels, Question(tuple(LABELS), format), level, reading.unit(run))


def shown(found: Sequence[Loss]) -> str:
    """The losses as a table a person reads."""
    lines = [
        f"{'level':<10}{'distinct':>10}{'read alike':>12}{'best accuracy':>15}{'cost':>8}{'characters':>12}"
    ]
    for loss in found:
        best = "-" if loss.ceiling is None else f"{loss.ceiling:.4f}"
        cost = "-" if loss.cost is None else f"{loss.cost:.4f}"
        lines.append(
            f"{loss.level:<10}{loss.distinct:>10,}{loss.alike:>11.1%} {best:>15}{cost:>8}{loss.characters:>12.0f}"
        )
    return "\n".join([*lines, "best accuracy: what no model can exceed that answers equal sentences alike"])


def are_rows(inputs: Sequence[Path]) -> bool:
    """Whether these are files of a dataset or recordings, rather than captures, logs or flow tables of ours."""
    if reading.are_logs(inputs):
        return False
    if are_recordings(inputs):
        return True
    if not all(_is_table(path) for path in inputs):
        return False
    return not all(_is_flow_table(path) and "label" not in _columns(path) for path in inputs)


def other_table(inputs: Sequence[Path]) -> Path | None:
    """The first of these files that is a table, and none of flows."""
    if reading.are_logs(inputs):
        return None
    return next((path for path in inputs if _is_table(path) and not _is_flow_table(path)), None)


def _is_table(path: Path) -> bool:
    return path.is_file() and path.name.removesuffix(".gz").endswith((".csv", ".txt", ".parquet"))


def _is_flow_table(path: Path) -> bool:
    """Whether a table holds flows as `wirespeak flows` writes them; one that cannot be read is taken for one, and reading
    it says what is wrong with it."""
    names = _columns(path)
    return not names or {"flow_id", "first_seen"} <= names


def _columns(path: Path) -> set[str]:
    """The names of a table's columns; none where it cannot be read."""
    try:
        if path.suffix == ".parquet":
            return set(pl.read_parquet_schema(path))
        with path.open(encoding="utf-8", errors="replace") as file:
            return set(file.readline(65536).strip().split(","))
    except (OSError, pl.exceptions.PolarsError):
        return set()

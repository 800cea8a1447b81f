"""Rows of datasets and flows as sentences: what `textify` writes, and what it says is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from wirespeak.data.dataset import Dataset
from wirespeak.data.fingerprint import fingerprints
from wirespeak.data.loss import Loss, losses
from wirespeak.data.sources import SOURCES
from wirespeak.data.wording import FLOWS, Wording, wording
from wirespeak.detect.learn import answers_of
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

    unit: what the rows were read from.
    """

    table: pl.DataFrame
    said: Wording
    labels: pl.Series | None
    question: Question
    level: str
    unit: str

    def write(self, path: Path) -> None:
        """Write a JSONL line for each row."""
        told = sentences(self.table, self.level, self.said.columns(self.level))
        answers = None if self.labels is None else self.labels.to_list()
        examples.write(told.to_list(), answers, path, question=self.question)

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
    asked = question(
        sorted(labels.drop_nulls().unique()),
        said,
        level=level,
        format=format,
        answer=answer,
        source=dataset.name,
    )
    return Rows(dataset.table, said, labels, asked, level, "rows")


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
    return Rows(flows, FLOWS, labels, Question(tuple(LABELS), format), level, "packets")


def question(
    labels: Sequence[str], said: Wording, *, level: str, format: str, answer: str, source: str
) -> Question:
    """What is asked of each row of a dataset. What its columns mean is told where rows are said in English."""
    known = SOURCES.get(source)
    columns = () if level == "compact" or said is FLOWS else said.columns(level)
    row = known.row if known else "one row of a table"
    return Question(tuple(labels), format, answer, row, tuple(columns))


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
    """Whether these are files of a dataset or recordings, rather than captures or flow tables of ours."""
    if are_recordings(inputs):
        return True
    if not all(path.name.removesuffix(".gz").endswith((".csv", ".txt", ".parquet")) for path in inputs):
        return False
    return not all(_is_flow_table(path) for path in inputs)


def _is_flow_table(path: Path) -> bool:
    """Whether a table holds unlabelled flows as `wirespeak flows` writes them."""
    try:
        if path.suffix == ".parquet":
            names = list(pl.read_parquet_schema(path))
        else:
            with path.open(encoding="utf-8", errors="replace") as file:
                names = file.readline(65536).strip().split(",")
    except (OSError, pl.exceptions.PolarsError):
        return True  # reading it as a flow table says what is wrong with it
    return {"flow_id", "first_seen"} <= set(names) and "label" not in names

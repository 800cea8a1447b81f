"""A saved detector on the rows of a dataset: one verdict a row, in the order of the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.text import Text

from wirespeak.data.dataset import Dataset
from wirespeak.data.fingerprint import fingerprints, numbered
from wirespeak.data.sources import read_dataset
from wirespeak.data.sources.cells import peek
from wirespeak.detect import drawer
from wirespeak.detect.learn import answers_of
from wirespeak.detect.saved import read_card
from wirespeak.detect.tabular import TableDetector
from wirespeak.detect.verdicts import SHOWN, tabled
from wirespeak.errors import many
from wirespeak.evaluate.comparison import Result, write_report
from wirespeak.evaluate.cost import measured
from wirespeak.evaluate.judge import Judgement, judge
from wirespeak.interfaces import remote
from wirespeak.interfaces.output import Run
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.interfaces.sentences import are_rows
from wirespeak.interfaces.spending import FREE, Spending
from wirespeak.interfaces.sure import Sure, stages
from wirespeak.schema import category

Card = dict[str, Any]

_TYPES: dict[str, pl.DataType] = {
    "flow_id": pl.Int64(), "first_seen": pl.Int64(), "src": pl.String(), "dst": pl.String(),
    "src_port": pl.UInt16(), "dst_port": pl.UInt16(), "protocol": pl.String(),
}  # fmt: skip


def is_saved(name: str) -> bool:
    """Whether a detector is named by the folder that `train` saved it in; a language model alone is none."""
    place = Path(name) / "card.json"
    try:
        return place.is_file() and "kind" in json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def judges_rows(detector: Path, inputs: Sequence[Path]) -> bool:
    """Whether a saved detector is to judge the rows of files, rather than flows: unless it learnt recordings."""
    card = read_card(detector)
    of_flows = card.get("dataset") == "recording" or not (detector / "encoding.json").is_file()
    return not of_flows or are_rows(inputs)


def write(
    inputs: Sequence[Path],
    folder: Path,
    run: Run,
    *,
    detector: Path,
    device: str = "auto",
    abstain: float | None = None,
    spending: Spending = FREE,
    progress: Say = quiet,
) -> Text:
    """Judge every row of the files into `folder`; count and score in `run`. Returns a summary.

    verdicts.parquet has a verdict for each row in input order: flow_id is the row's number from 0; a row that
    cannot be read has no label and says why. Rows of a dataset carry neither time nor neighbours enough to
    gather, so incidents.json is `[]`. A labelled file also gets a report of how often the verdicts are right.

    abstain: the error rate at which a language model or a cascade is to say `unknown` rather than guess; what was
    promised and what was got is noted where the truth is known. spending: of a cascade. Rows that no longer look like
    those that calibrated the detector are warned of, with the first such row and the columns that moved.
    """
    card = read_card(detector)
    progress(f"loading {detector}")
    judging = drawer.load(detector, device=device)
    spending.allow(judging, device)
    sure = Sure(judging, abstain)
    tables: list[pl.DataFrame] = []
    parts: list[Dataset] = []
    said: list[NDArray[np.float32]] = []
    with measured() as cost:
        for path in inputs:
            progress(f"judging {path.name}")
            own = detector / "map.toml"
            known = {"map": own} if own.is_file() else {"source": card.get("dataset")}
            dataset = read_dataset([path], **known, on_bad_row="keep", labelled=False)
            run.warnings += dataset.notes
            parts.append(dataset)
            said.append(judging.predict(_seen(judging, dataset)))
            sure.see(_seen(judging, dataset), said[-1])
            tables.append(
                _verdicts(judging, card, dataset, path, said[-1], start=sum(table.height for table in tables))
            )
    verdicts = sure.spoken(pl.concat(tables), np.concatenate(said))
    aside = verdicts["set_aside"].drop_nulls().value_counts().rows()
    run.count(taken=len(verdicts), given=len(verdicts) - sum(n for _, n in aside), set_aside=dict(aside))
    verdicts.write_parquet(folder / "verdicts.parquet", compression="zstd", statistics=True)
    (folder / "incidents.json").write_text("[]\n", encoding="utf-8")
    if not any(part.labels.null_count() or not len(part) for part in parts):
        judgement = _score(judging, card, parts, np.concatenate(said))
        run.scores = judgement.scores
        title = f"{parts[0].title} judged by {judging.name}"
        write_report(folder, [Result(judging.name, judgement, predict=cost)], title=title)
    if not any(part.labels.null_count() for part in parts):
        sure.measure(np.concatenate(said), _truth(card, parts))
    sure.note(run)
    remote.noted(run, judging)
    more = [*sure.said, *([told] if (told := stages(judging, run)) else [])]
    counts = ", ".join(
        f"{label} {n:,}" for label, n in verdicts["label"].drop_nulls().value_counts(sort=True).rows()
    )
    summary = f"{many(len(verdicts), 'row')} judged by {judging.name}: {counts}"
    return Text("\n".join([summary, *more]))


def _verdicts(
    judging: TableDetector,
    card: Card,
    dataset: Dataset,
    path: Path,
    chances: NDArray[np.float32],
    *,
    start: int,
) -> pl.DataFrame:
    """A verdict for each record of one file, those that could not be read between the others."""
    judged = tabled(judging, chances, _shown(dataset), canonical=_canonical(judging, card))
    places = _places(dataset, path)
    lost = dataset.set_aside.select(set_aside="reason").with_columns(
        detector=pl.lit(judging.name), flow_id=pl.Series(places[len(dataset) :], dtype=pl.Int64)
    )
    judged = judged.with_columns(flow_id=pl.Series(places[: len(dataset)], dtype=pl.Int64))
    whole = pl.concat([judged, lost], how="diagonal").sort("flow_id")
    return whole.with_columns(flow_id=pl.int_range(start, start + len(whole), dtype=pl.Int64))


def _seen(judging: TableDetector, dataset: Dataset) -> pl.DataFrame:
    """What the detector was trained on, of what there is; the detector says which column it misses."""
    known = [column.name for column in judging.encoding.columns]
    return dataset.table.select(name for name in known if name in dataset.table.columns)


def _shown(dataset: Dataset) -> pl.DataFrame:
    """Who and when, where the dataset says so under our names."""
    known = {"proto": "protocol", "src_ip": "src", "dst_ip": "dst"}
    named = dataset.table.rename({old: new for old, new in known.items() if old in dataset.table.columns})
    columns = [
        named[name].cast(_TYPES[name], strict=False) if name in named.columns
        else pl.Series(name, [None] * len(dataset), dtype=_TYPES[name])
        for name in SHOWN
    ]  # fmt: skip
    return pl.DataFrame(columns)


def _places(dataset: Dataset, path: Path) -> list[int]:
    """The number of each record in its file: of the rows read, then of those set aside."""
    if not dataset.set_aside.height:
        return list(range(len(dataset)))
    head = peek(path)
    first = 2 if not head.typed and set(head.first) & set(dataset.fields) else 1
    lost = np.sort(dataset.set_aside["line"].to_numpy() - first)
    rest = np.setdiff1d(np.arange(len(dataset) + len(lost)), lost)
    return [*rest[: len(dataset)].tolist(), *lost.tolist()]


def canonical_names(dataset: Dataset, answer: str) -> dict[str, str]:
    """What a detector's answers are in `schema.LABELS`: one label, the branch they share, or `other`."""
    labels = answers_of(dataset, answer)
    under: dict[str, set[str]] = {}
    for label, canonical in pl.DataFrame([labels.alias("l"), dataset.canonical.alias("c")]).unique().rows():
        under.setdefault(label, set()).add(canonical)
    found = {"normal": "normal", "unknown": "unknown"}
    for label, all_of in under.items():
        branches = {category(one) for one in all_of}
        shared = all_of if len(all_of) == 1 else branches
        found[label] = next(iter(shared)) if len(shared) == 1 else "other"
    return found


def _canonical(judging: TableDetector, card: Card) -> dict[str, str]:
    known = card.get("canonical", {})
    return {label: known.get(label, "other") for label in judging.labels}


def _score(
    judging: TableDetector, card: Card, parts: Sequence[Dataset], chances: NDArray[np.float32]
) -> Judgement:
    """How often the verdicts are right. Equal rows are drawn together for the intervals."""
    known = _canonical(judging, card)
    return judge(
        _truth(card, parts).to_list(),
        chances,
        judging.labels,
        groups=numbered(np.concatenate([fingerprints(_seen(judging, part)) for part in parts])),
        names=pl.concat([part.names for part in parts]).to_list(),
        normal=next((label for label in known if known[label] == "normal"), "normal"),
    )


def _truth(card: Card, parts: Sequence[Dataset]) -> pl.Series:
    """The true label of every row that was read."""
    return pl.concat([answers_of(part, str(card.get("answer", "multiclass"))) for part in parts])

"""The verbs on labelled datasets: what there is, what is wrong with it, how to divide it, who judges it best."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.errors import InputError, OptionError
from wirespeak.interfaces import remote
from wirespeak.interfaces.options import Folder, Model, Seed, output_option
from wirespeak.interfaces.output import Outcome, Run, as_json, folder
from wirespeak.interfaces.progress import Say, quiet
from wirespeak.interfaces.recorded import are_recordings, captures, parts, read_recordings

if TYPE_CHECKING:
    from wirespeak.data.dataset import Dataset

Files = Annotated[
    list[Path],
    Argument(
        metavar="FILE...",
        help="CSV or parquet files of one dataset, or the folders of recordings.",
        show_default=False,
    ),
]
Source = Annotated[
    str | None,
    Option("--source", metavar="NAME", help="What dataset it is; by default its columns tell."),
]
Map = Annotated[
    Path | None,
    Option("--map", metavar="FILE.toml", help="What the columns of a dataset of your own are."),
]
Name = Annotated[str, Argument(metavar="NAME", help="A dataset, as 'wirespeak data list' names it.")]


class BadRow(StrEnum):
    """What becomes of a row that does not fit."""

    fail = "fail"
    skip = "skip"
    keep = "keep"


class SplitBy(StrEnum):
    """What never stands on both sides."""

    random = "random"
    stratified = "stratified"
    group = "group"
    host = "host"
    time = "time"
    recording = "recording"
    names_out = "names-out"
    official = "official"


OnBadRow = Annotated[
    BadRow,
    Option("--on-bad-row", help="Stop at a row that does not fit, set it aside, or keep what fits of it."),
]
Protocol = Annotated[SplitBy, Option("--protocol", help="What never stands on both sides of a split.")]
By = Annotated[SplitBy, Option("--by", help="What never stands on both sides.")]
Test = Annotated[
    Path | None, Option("--test", metavar="FILE", help="The official test file, for --protocol official.")
]
Addresses = Annotated[
    bool, Option("--addresses/--no-addresses", help="Whether detectors see addresses and ports.")
]


def list_datasets(
    place: Annotated[
        Path | None,
        Argument(metavar="[DIR]", help="A folder to look for datasets in.", show_default=False),
    ] = None,
    *,
    progress: Say = quiet,
) -> Outcome:
    """List the datasets that can be read.

    With a folder, which of its files hold which, by their columns.
    """
    from wirespeak.data.catalogue import catalogue

    run = Run("data list", {"place": place})
    known = catalogue(place)
    run.count(taken=0, given=len(known))
    lines = []
    for entry in known:
        rows = ", ".join(f"{part} {count:,}" for part, count in entry["published"].items() if count)
        lines.append(f"{entry['name']:<14} {entry['title']}{f' ({rows})' if rows else ''}")
        lines += [f"{'':<14}   {path}" for path in entry["found"]]
    if place and not any(entry["found"] for entry in known):
        lines.append(
            f"No file below {place} has the columns of one of these. Describe your own with --map FILE.toml."
        )
    return run.done(None, "\n".join(lines))


def describe_dataset(
    what: Annotated[
        list[str],
        Argument(
            metavar="NAME|FILE...",
            help="A dataset, as 'wirespeak data list' names it, or the files of one.",
            show_default=False,
        ),
    ],
    *,
    label: Annotated[
        list[str] | None, Option("--label", metavar="LABEL", help="Of files: two labels side by side.")
    ] = None,
    row: Annotated[
        list[int] | None, Option("--row", metavar="N", help="Of files: two rows side by side, from 0.")
    ] = None,
    by: Annotated[
        SplitBy | None,
        Option("--by", help="Of files: the two sides of a split side by side.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, output_option("DIR", "Of files: a folder for the same as profile.json.")
    ] = None,
    source: Source = None,
    map: Map = None,
    on_bad_row: OnBadRow = BadRow.skip,
    seed: Seed = 0,
    progress: Say = quiet,
) -> Outcome:
    """Print what is known of a dataset, or what sets its classes apart.

    Of a name: its columns with units, its labels and what they mean here, what was published, and what is wrong
    with it. Of files: a paragraph on each class with the columns that tell it from the others and by how much (Cliff's
    delta, or the difference of a share), or two labels, rows or sides of a split side by side, the strongest first.
    """
    from wirespeak.data.catalogue import describe

    files = [Path(one) for one in what]
    if len(files) == 1 and not (files[0].exists() or files[0].suffix or files[0].parent.name):
        run = Run("data describe", {"name": what[0]})
        if label or row or by or output:
            raise OptionError(
                f"--label, --row, --by and -o are about the rows of files, and '{what[0]}' is none."
            )
        known = describe(what[0])
        run.count(taken=0, given=1)
        return run.done(None, as_json(known).rstrip())
    from wirespeak.interfaces.apart import apart

    options = {
        "files": files, "label": label, "row": row, "by": by, "output": output, "source": source, "map": map,
        "on_bad_row": on_bad_row, "seed": seed,
    }  # fmt: skip
    run = Run("data describe", options, parts(files), seed)
    with folder(output, run) if output else nullcontext() as hidden:
        dataset = read(run, files, source, map, on_bad_row, progress)
        progress(f"comparing {len(dataset):,} rows")
        record, shown = apart(
            dataset, labels=label or (), rows=row or (), by=by.value if by else None, seed=seed
        )
        if hidden:
            (hidden / "profile.json").write_text(as_json(record), encoding="utf-8")
    return run.done(output, shown)


def check_dataset(
    files: Files,
    *,
    source: Source = None,
    map: Map = None,
    on_bad_row: OnBadRow = BadRow.skip,
    progress: Say = quiet,
) -> Outcome:
    """Say what files hold and how that differs from what was published."""
    from wirespeak.data.catalogue import check

    run = Run("data check", {"files": files, "source": source, "map": map, "on_bad_row": on_bad_row}, files)
    progress(f"reading {files[0].name}")
    found, dataset = check(files, source=source, map=map, on_bad_row=on_bad_row)
    _count(run, dataset)
    return run.done(None, as_json(found).rstrip())


def fetch_dataset(
    name: Name,
    *,
    output: Annotated[Path, output_option("DIR", "Folder for the files.")],
    progress: Say = quiet,
) -> Outcome:
    """Fetch a dataset from its publisher, or say where it is had.

    What arrives is checked against its published size and sha256 before it gets its name. A dataset that only a
    person can fetch is checked once it lies in the folder.
    """
    from wirespeak.data.catalogue import fetch

    run = Run("data fetch", {"name": name, "output": output}, reproducible=False)
    progress(f"fetching {name}")
    record = fetch(name, output)
    files = [*record["fetched"], *record["found"]]
    run.count(taken=0, given=len(files))
    lines = [f"{one['file']}  {one['bytes']:,} bytes" for one in files]
    lines += [f"  {note}" for one in record["found"] for note in one["notes"]]
    card = run.card([Path(one["file"]) for one in files])
    return Outcome(card, "\n".join([*lines, f"Terms: {record['terms']}"]))


def audit(
    files: Files,
    *,
    output: Folder,
    by: Annotated[
        SplitBy | None,
        Option("--by", help="Audit a split as well: what stands on both of its sides.", show_default=False),
    ] = None,
    rows: Annotated[
        bool, Option("--rows/--no-rows", help="Whether findings show up to three rows of the data.")
    ] = True,
    source: Source = None,
    map: Map = None,
    on_bad_row: OnBadRow = BadRow.fail,
    seed: Seed = 0,
    progress: Say = quiet,
) -> Outcome:
    """Find what is wrong with a labelled dataset.

    Duplicates, conflicting labels, columns that give the answer away, hosts and clocks, rows on both sides of a
    split. Each finding has its proof and, where there is one, the option of 'wirespeak split' that helps. Writes
    audit.html and audit.json.
    """
    from wirespeak.data.audit import audit as inspect
    from wirespeak.data.audit import page
    from wirespeak.data.split import folds

    options = {
        "files": files, "output": output, "by": by, "no-rows": None if rows else True, "source": source,
        "map": map, "on_bad_row": on_bad_row, "seed": seed,
    }  # fmt: skip
    run = Run("audit", options, parts(files), seed)
    with folder(output, run) as hidden:
        dataset = read(run, files, source, map, on_bad_row, progress)
        progress(f"auditing {len(dataset):,} rows")
        found = inspect(dataset, folds(dataset, protocol=by.value, seed=seed)[0] if by else None)
        page.write(dataset, found, hidden, rows=rows)
        _set_aside(hidden, dataset)
    lines = [f"  {finding.severity:<8} {finding.says}" for finding in found[:15]]
    more = f"  and {len(found) - 15} more" if len(found) > 15 else ""
    said = [f"{dataset.title}: {len(found)} findings", *lines, *([more] if more else [])]
    return run.done(output, "\n".join([*said, f"\nReport: {output / 'audit.html'}"]))


def split(
    files: Files,
    *,
    output: Folder,
    by: By = SplitBy.group,
    test: Test = None,
    test_share: Annotated[float, Option("--test-share", metavar="S", min=0.0, max=0.9)] = 0.2,
    validation_share: Annotated[float, Option("--validation-share", metavar="S", min=0.0, max=0.9)] = 0.1,
    drop: Annotated[
        list[str] | None, Option("--drop", metavar="COLUMN", help="Leave a column out (again for more).")
    ] = None,
    dedupe: Annotated[
        bool, Option("--dedupe", help="Keep one of rows with equal features and label.")
    ] = False,
    addresses: Addresses = False,
    stages: Annotated[
        bool, Option("--stages", help="Nested training sets of 10k, 30k, 70k, 150k rows as well.")
    ] = False,
    source: Source = None,
    map: Map = None,
    on_bad_row: OnBadRow = BadRow.fail,
    seed: Seed = 0,
    progress: Say = quiet,
) -> Outcome:
    """Divide a labelled dataset honestly.

    Writes train.parquet, validation.parquet, test.parquet and split.json. Which side a row is on follows from a
    hash of what must stay together, so rows added later leave the others where they are.
    """
    from wirespeak.data.split import split as divide

    options = {
        "files": files, "output": output, "by": by, "test": test, "test_share": test_share,
        "validation_share": validation_share, "drop": drop, "dedupe": dedupe or None,
        "addresses": addresses or None, "stages": stages or None, "source": source, "map": map,
        "on_bad_row": on_bad_row, "seed": seed,
    }  # fmt: skip
    run = Run("split", options, [*parts(files), *([test] if test else [])], seed)
    with folder(output, run) as hidden:
        dataset = read(run, files, source, map, on_bad_row, progress)
        official = _official(run, test, dataset, by, map, on_bad_row)
        progress("dividing")
        card = divide(
            dataset, hidden, protocol=by.value, test_share=test_share, validation_share=validation_share,
            drop=drop or (), dedupe=dedupe, addresses=addresses, with_stages=stages, seed=seed,
            test=official,
        )  # fmt: skip
        _set_aside(hidden, dataset, official)
    if card["validation_protocol"] != by.value:
        run.warnings.append(f"the validation part is split by {card['validation_protocol']}, not {by.value}.")
    sizes = ", ".join(f"{name} {part['rows']:,}" for name, part in card["parts"].items())
    return run.done(output, f"{dataset.title}, {by.value} split: {sizes}")


def evaluate_detector(
    *,
    data: Annotated[
        list[Path],
        Option(
            "--data",
            metavar="FILE|DIR",
            help="CSV or parquet of one dataset (again for more files), or the folders of recordings.",
        ),
    ],
    output: Folder,
    detector: Annotated[
        list[str] | None,
        Option(
            "--detector",
            metavar="NAME[+WAY]",
            help="Which to compare (again for more); 'all' by default. A training side is made even between labels "
            "by +weights, +over, +under or +smote.",
        ),
    ] = None,
    protocol: Protocol = SplitBy.group,
    test: Test = None,
    folds: Annotated[int, Option("--folds", metavar="K", min=2, max=20)] = 3,
    binary: Annotated[
        bool, Option("--binary", help="Attack against normal, not the dataset's labels.")
    ] = False,
    addresses: Addresses = False,
    budget: Annotated[
        float | None,
        Option("--budget", metavar="S", help="Seconds a detector that searches may search.", min=1),
    ] = None,
    keep: Annotated[
        Path | None,
        Option(
            "--keep",
            metavar="DIR",
            help="Keep fold predictions here, and take those that are here: a stopped comparison goes on.",
        ),
    ] = None,
    model: Model = None,
    rules: Annotated[
        Path | None, Option("--rules", metavar="FILE", help="Rules for suricata, instead of our own.")
    ] = None,
    source: Source = None,
    map: Map = None,
    on_bad_row: OnBadRow = BadRow.fail,
    seed: Seed = 0,
    progress: Say = quiet,
) -> Outcome:
    """Compare detectors on one dataset, honestly split.

    Every detector meets the same folds; what it tunes, it tunes on its training side. The number of a random
    split stands beside the honest one. Writes report.html, metrics.json, predictions.parquet and plots. On
    recordings the language model and Suricata are compared too, as they are: they learn nothing here.
    """
    from wirespeak.evaluate.comparison import ranked, write_report
    from wirespeak.interfaces import contest

    options = {
        "data": data, "output": output, "detector": detector, "protocol": protocol, "test": test,
        "folds": folds, "binary": binary or None, "addresses": addresses or None, "budget": budget,
        "keep": keep, "model": model, "rules": rules, "source": source, "map": map, "on_bad_row": on_bad_row,
        "seed": seed,
    }  # fmt: skip
    files = [*parts(data), *(one for one in (test, rules) if one)]
    run = Run("evaluate detector", options, files, seed)
    run.reproducible = budget is None
    chosen = contest.named(detector or ["all"], ready=contest.READY if are_recordings(data) else ())
    with folder(output, run) as hidden:
        dataset = read(run, data, source, map, on_bad_row, progress)
        official = _official(run, test, dataset, protocol, map, on_bad_row)
        task = contest.Task(dataset, binary, addresses, official, captures(data), model, rules)
        budgets = {name: {"budget_s": budget} for name in contest.searching()} if budget else {}
        results, absent = contest.contest(
            task, chosen, protocol=protocol.value, k=folds, seed=seed, options=budgets, keep=keep,
            progress=progress,
        )  # fmt: skip
        if not results:
            raise OptionError(f"none of the detectors could run. {next(iter(absent.values()))}")
        notes = [
            *dataset.notes,
            *contest.familiar(task),
            *(f"{name} did not run: {why}" for name, why in absent.items()),
        ]
        title = (
            f"{dataset.title}: {'attack against normal' if binary else 'by label'}, {protocol.value} split"
        )
        write_report(hidden, results, title=title, notes=notes, seed=seed)
        _set_aside(hidden, dataset, official)
    run.warnings += [f"{name} did not run: {why}" for name, why in absent.items()]
    best = ranked(results)[0]
    run.scores = best.judgement.scores
    lines = [_line(result) for result in ranked(results)]
    return run.done(output, "\n".join([title, *lines, f"\nReport: {output / 'report.html'}"]))


def train_detector(
    files: Sequence[Path],
    output: Path,
    *,
    detector: str,
    answer: str,
    addresses: bool,
    map: Path | None,
    on_bad_row: BadRow,
    seed: int,
    chosen: dict[str, Any],
    grid: Path | None,
    before: Path | None,
    progress: Say,
) -> Outcome:
    """What `train` does with a labelled dataset: fit one detector to every row and save it.

    chosen: options of the detector. grid: a file of values to choose more of them from, on inner folds. before: a saved
    model to go on with. The state of a long training lies beside `output`, in a folder that ends in
    `.training`, until all is done: the same command goes on from there.
    """
    from wirespeak.detect.grid import choose, read_grid
    from wirespeak.detect.learn import learn
    from wirespeak.detect.saved import read_card, write_card
    from wirespeak.detect.spoken import Follower
    from wirespeak.interfaces.rows import canonical_names

    options = {
        "files": files, "output": output, "detector": detector, "answer": answer,
        "addresses": addresses or None, "map": map, "on_bad_row": on_bad_row, "seed": seed, "grid": grid,
        "continue": before, **chosen,
    }  # fmt: skip
    run = Run("train", options, [*parts(files), *(one for one in (map, grid, before) if one)], seed)
    work = state_of(output)
    try:
        with folder(output, run) as hidden:
            if before and (earlier := read_card(before).get("answer", answer)) != answer:
                raise OptionError(f"{before} was made with --answer {earlier}. Give that to go on with it.")
            dataset = read(run, files, None, map, on_bad_row, progress)
            tried: list[dict[str, Any]] = []
            if grid and int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise OptionError(
                    "--grid is for one process. Choose with it first, then start several with what was chosen."
                )
            if grid:
                best, tried = choose(dataset, detector, answer, read_grid(grid), addresses=addresses, seed=seed,
                                     work=work, before=before, progress=progress, **chosen)  # fmt: skip
                chosen = {**chosen, **best}
            progress(f"fitting {detector} to {len(dataset):,} rows")
            fitted = learn(
                dataset, detector=detector, answer=answer, addresses=addresses, seed=seed, work=work,  # type: ignore[arg-type]
                before=before, progress=progress, **chosen,
            )  # fmt: skip
            fitted.save(hidden)
            run.warnings += _shortened(fitted)
            remote.noted(run, fitted)
            known: dict[str, Any] = {"grid": tried} if tried else {}
            known |= {
                "dataset": dataset.name,
                "answer": answer,
                "canonical": canonical_names(dataset, answer),
            }
            known["trained_as"] = detector
            write_card(hidden, read_card(hidden) | known)
            if map:
                (hidden / "map.toml").write_bytes(map.read_bytes())
            _set_aside(hidden, dataset)
    except Follower:
        return Outcome(run.card(), "trained beside the process of rank 0, which writes")
    shutil.rmtree(work, ignore_errors=True)
    return run.done(output, f"{detector} fitted to {dataset.title}: {output}")


def _shortened(detector: Any) -> list[str]:
    """What a person must know of prompts that did not fit the length."""
    facts = getattr(detector, "facts", {})
    said = []
    if cut := facts.get("cut", 0):
        said.append(
            f"{cut:,} of {facts['examples']:,} prompts lost their middle: with their answers they are longer than the length "
            f"of {facts['plan']['length']} tokens, and when judging they are asked whole. Give more with --set length=N."
        )
    if isinstance(lost := facts.get("too_long", 0), int) and lost:
        said.append(f"{lost:,} examples were set aside: their answers alone do not fit the length.")
    return said


def state_of(output: Path) -> Path:
    """The folder beside `output` that holds the state of a training until all is done."""
    return output.with_name(f"{output.name}.training")


def _line(result: Any) -> str:
    score, random = result.judgement.score("macro-F1"), result.random and result.random.score("macro-F1")
    interval = f"({score.low:.3f} to {score.high:.3f})" if score.low is not None else ""
    beside = f"   random split {random.value:.3f}" if random else ""
    return f"  {result.name:<18} macro-F1 {score.value:.3f} {interval}{beside}"


def read(
    run: Run, files: Sequence[Path], source: str | None, map: Path | None, on_bad_row: str, progress: Say
) -> Dataset:
    """The dataset, counted in `run`."""
    from wirespeak.data.sources import read_dataset

    progress(f"reading {files[0].name}")
    if are_recordings(files):
        dataset = read_recordings(files)
    else:
        dataset = read_dataset(files, source=source, map=map, on_bad_row=str(on_bad_row))
    _count(run, dataset)
    return dataset


def _count(run: Run, dataset: Dataset) -> None:
    from wirespeak.data.catalogue import counted

    before = run.counts
    aside = Counter(before["set_aside"]) + Counter(counted(dataset.set_aside["reason"]))
    whole = len(dataset) + dataset.set_aside.height
    run.count(taken=before["in"] + whole, given=before["out"] + len(dataset), set_aside=aside)
    run.warnings += dataset.notes


def _official(
    run: Run, test: Path | None, dataset: Dataset, by: SplitBy, map: Path | None, on_bad_row: str
) -> Dataset | None:
    """The official test rows, counted in `run` too."""
    from wirespeak.data.sources import read_dataset

    if test is None:
        return None
    if by is not SplitBy.official:
        raise OptionError(
            f"--test is for the official division, and this split is {by.value}. Leave one of them out."
        )
    found = read_dataset([test], source=None if map else dataset.name, map=map, on_bad_row=str(on_bad_row))
    lacking = [name for name in dataset.features() if name not in found.fields]
    if lacking:
        raise InputError(f"{test}: has no column '{lacking[0]}', which {dataset.files[0]} has.")
    _count(run, found)
    return found


def _set_aside(hidden: Path, *datasets: Dataset | None) -> None:
    """The rows left out, where there are any."""
    import polars as pl

    rows = pl.concat([dataset.set_aside for dataset in datasets if dataset is not None])
    if rows.height:
        rows.write_csv(hidden / "set-aside.csv")

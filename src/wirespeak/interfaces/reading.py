"""What verbs read: captures, flow tables or logs of other tools, and the schedule of what really happened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from wirespeak.data import tables
from wirespeak.errors import InputError, OptionError
from wirespeak.flow import FlowReader, in_order
from wirespeak.flow.meter import MOST_FLOWS
from wirespeak.interfaces.output import Run
from wirespeak.interfaces.progress import Say
from wirespeak.lab.truth import label_flows, read_truth
from wirespeak.schema import COLUMNS
from wirespeak.wire.containers import is_capture

if TYPE_CHECKING:
    from wirespeak.data.sources.log import Log


def are_captures(inputs: Sequence[Path]) -> bool:
    """Whether these are captures rather than flow tables or logs."""
    return not are_logs(inputs) and not are_tables(inputs)


def are_logs(inputs: Sequence[Path]) -> bool:
    """Whether these are logs of other tools."""
    return _log(inputs) is not None


def _log(inputs: Sequence[Path], name: str | None = None, map: Path | None = None) -> Log | None:
    """The format of logs, None for captures and tables. Readers of logs are loaded when a file may be one."""
    if map:
        from wirespeak.data.sources.flow_map import flow_map

        return flow_map(map)
    if name is None and all(_is_capture(path) for path in inputs):
        return None
    from wirespeak.data.sources.logs import log_of

    return log_of(inputs, name)


def _is_capture(path: Path) -> bool:
    """Whether it is read as a capture at once: a pipe can be read only once."""
    return is_capture(path) if os.path.isfile(path) else not os.path.isdir(path)


def are_tables(inputs: Sequence[Path]) -> bool:
    """Whether these are flow tables rather than captures."""
    return all(path.suffix in tables.SUFFIXES for path in inputs)


def read(
    inputs: Sequence[Path],
    run: Run,
    *,
    idle: float,
    active: float,
    progress: Say,
    log: str | None = None,
    map: Path | None = None,
    most_flows: int | None = None,
    workers: int | None = None,
) -> pl.DataFrame:
    """The flows of captures, of logs or of flow tables, counted in `run`. Options as those of `reader`.

    log: the format's name; by default its content tells. map: what describes a table of flows of one's own.
    """
    if log and map:
        raise OptionError("--from names a known format, --map describes another. Give one of them.")
    found_log = _log(inputs, log, map)
    if found_log:
        from wirespeak.data.sources.log import read_log

        progress(f"reading {title(inputs)}")
        table, said = read_log(found_log, inputs)
        run.notes["from"] = found_log.name
        run.count(taken=said.rows, given=table.height, set_aside=dict(sorted(said.set_aside.items())))
        run.notes |= said.notes
        run.warnings += [f"{warning.rstrip('.')}." for warning in said.warnings]
        _warn(run, said.cut, said.others)
        return table
    if are_tables(inputs):
        table = tables.read(inputs)
        run.notes["from"] = "flows"
        run.count(taken=table.height, given=table.height)
        return table
    found = reader(
        inputs, idle=idle, active=active, most_flows=most_flows, workers=workers, progress=progress
    )
    table = in_order(list(found.pieces()))
    told(run, found, table.height)
    return table


def reader(
    inputs: Sequence[Path],
    *,
    idle: float,
    active: float,
    progress: Say,
    first_packets: int = 0,
    most_flows: int | None = None,
    workers: int | None = None,
) -> FlowReader:
    """Captures, about to be read. workers: threads that share the work; by default as many as there are cores."""
    what = f"reading {title(inputs)}"
    return FlowReader(
        inputs,
        idle_s=idle,
        active_s=active,
        first_packets=first_packets,
        most_flows=most_flows or MOST_FLOWS,
        workers=workers or len(os.sched_getaffinity(0)),
        progress=lambda done, all: progress(what, done / max(all, 1)),
    )


def told(run: Run, found: FlowReader, flows: int) -> None:
    """Say in `run` what was read."""
    run.count(taken=found.packets, given=flows, set_aside=found.set_aside)
    if found.evicted:
        run.notes["evicted"] = found.evicted
        run.warnings.append(
            f"{found.evicted:,} flows ended early, since more were alive than there was room for. Raise --most-flows if there is memory."
        )
    if found.forgotten:
        run.notes["forgotten"] = found.forgotten
        run.warnings.append(
            f"{found.forgotten:,} hosts and pairs were forgotten for want of room; their context counts anew."
        )
    _warn(run, found.cut, found.others)


def _warn(run: Run, cut: str | None, others: Sequence[Path]) -> None:
    run.notes["cut"] = cut
    if cut:
        run.warnings.append(cut)
    if others:
        names = ", ".join(path.name for path in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        run.notes["not_read"] = [str(path) for path in others]
        run.warnings.append(f"not read, left out: {names}{more}.")


def unit(run: Run) -> str:
    """What was counted as read: packets of captures, rows of logs and tables."""
    return "rows" if run.notes.get("from") else "packets"


def filled(flows: pl.DataFrame, read: Sequence[str], run: Run) -> pl.DataFrame:
    """The flows with what nobody tells at its default, as whoever judges takes it. read: the columns that are judged by; `run` says which
    of them no flow tells."""
    empty = [name for name in flows.columns if flows[name].null_count() == flows.height]
    if untold := [name for name in read if name in empty]:
        run.notes["not_told"] = untold
        more = f" and {len(untold) - 5} more" if len(untold) > 5 else ""
        run.warnings.append(
            f"{len(untold)} of the {len(read)} columns that are judged by are told by no flow here and count as their "
            f"defaults: {', '.join(untold[:5])}{more}. Verdicts are less sure than those of captures."
        )
    kept = [COLUMNS[name] for name in flows.columns if name in COLUMNS and COLUMNS[name].is_feature]
    return flows.with_columns(pl.col(column.name).fill_null(column.default) for column in kept)


def viewed(flows: pl.DataFrame, view: str, happened: pl.DataFrame | None, run: Run) -> pl.DataFrame:
    """The flows in the columns of a dataset, with its labels where a schedule gives them."""
    from wirespeak.data.sources.views import VIEWS

    labels = labels_of(flows, happened)
    seen = VIEWS[view](flows, None if labels is None else series(labels))
    lost = flows.height - seen.height
    set_aside = {f"a kind of traffic that {view} has not": lost} if lost else {}
    if empty := [name for name in seen.columns if seen[name].null_count() == seen.height]:
        run.notes["null_columns"] = empty
        run.warnings.append(f"null, since nothing here tells them: {', '.join(empty)}.")
    run.count(taken=run.counts["in"], given=seen.height, set_aside={**run.counts["set_aside"], **set_aside})
    return seen


def schedule(truth: Path | None) -> pl.DataFrame | None:
    """What really happened, None when nobody says. Raises InputError when it cannot be read."""
    if truth is None:
        return None
    try:
        return read_truth(truth.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
    except (InputError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
    raise InputError(f"{truth}: not a schedule of attacks ({reason}). Give the truth.csv of a recording.")


def labels_of(flows: pl.DataFrame, happened: pl.DataFrame | None) -> list[str] | None:
    """The true label of each flow by a schedule, None without one."""
    return None if happened is None else label_flows(flows, happened).to_list()


def series(labels: Sequence[str]) -> pl.Series:
    """Labels as a column."""
    return pl.Series("label", list(labels), dtype=pl.String)


def title(inputs: Sequence[Path]) -> str:
    """The names of the first inputs; a recording's capture is called by its folder.

    >>> title([Path("lab/office/capture.pcap"), Path("two.pcap"), Path("three.pcap")])
    'office, two.pcap and 1 more'
    """
    names = [path.parent.name if path.name == "capture.pcap" else path.name for path in inputs]
    shown = ", ".join(names[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown

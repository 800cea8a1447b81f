"""The verb that turns captures, and the logs of other tools, into a table of flows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.errors import OptionError
from wirespeak.interfaces.options import Active, Idle, Truth, output_option
from wirespeak.interfaces.output import TABLES, Outcome, Run, counted, one_file
from wirespeak.interfaces.progress import Say, quiet

if TYPE_CHECKING:
    import polars as pl

MESSAGES = (".ipfix", ".nf9", ".nf5")


class View(StrEnum):
    """A dataset whose columns our flows can be shown in."""

    farm_flow = "farm-flow"
    cicflowmeter = "cicflowmeter"
    ton_iot = "ton-iot"
    nsl_kdd = "nsl-kdd"
    unsw_nb15 = "unsw-nb15"
    zeek_conn = "zeek-conn"
    nfstream = "nfstream"


class Export(StrEnum):
    """How flows are told to a collector."""

    netflow5 = "netflow5"
    netflow9 = "netflow9"
    ipfix = "ipfix"


Inputs = Annotated[
    list[Path] | None,
    Argument(
        metavar="IN...",
        help="Captures (pcap, pcapng, snoop; gzip or zstd), folders of them, - for standard input, logs of other tools, or flow tables.",
        show_default=False,
    ),
]
As = Annotated[
    View | None, Option("--as", help="In the columns of a dataset instead of our own.", show_default=False)
]
From = Annotated[
    str | None, Option("--from", metavar="FORMAT", help="What the input is; by default its content tells.")
]
Map = Annotated[
    Path | None, Option("--map", metavar="FILE.toml", help="What the columns of a CSV file of flows are.")
]
Listen = Annotated[
    str | None,
    Option("--listen", metavar="HOST:PORT", help="Collect NetFlow and IPFIX by UDP instead of reading."),
]
LISTEN_S, AT_MOST = 60.0, 1_000_000

Seconds = Annotated[
    float | None,
    Option(
        "--for",
        metavar="S",
        min=0.1,
        show_default=False,
        help=f"How long to listen, by default {LISTEN_S:g}; Ctrl-C ends it and keeps what came.",
    ),
]
AtMost = Annotated[
    int | None,
    Option(
        "--at-most",
        metavar="N",
        min=1,
        show_default=False,
        help=f"Records after which listening ends early, by default {AT_MOST:,}.",
    ),
]
Send = Annotated[
    str | None, Option("--send", metavar="HOST:PORT", help="Send the flows to a collector too, by UDP.")
]
How = Annotated[
    Export | None, Option("--export", help="How --send tells them; by default ipfix.", show_default=False)
]
FirstPackets = Annotated[
    int,
    Option(
        metavar="N", min=0, max=255, help="Tell size, direction and time of so many packets of each flow."
    ),
]
MostFlows = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        show_default=False,
        help="Flows of a capture alive at once, by default 262,144; above that the most silent end early.",
    ),
]
Workers = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="Threads that share a capture; by default the cores there are.",
        show_default=False,
    ),
]


def flows(
    inputs: Inputs = None,
    *,
    output: Annotated[
        Path, output_option("PATH", "A .parquet, .csv, .jsonl, .ipfix, .nf9 or .nf5 file, or a folder.")
    ],
    view: As = None,
    truth: Truth = None,
    log: From = None,
    map: Map = None,
    listen: Listen = None,
    seconds: Seconds = None,
    at_most: AtMost = None,
    send: Send = None,
    export: How = None,
    idle: Idle = 60.0,
    active: Active = 300.0,
    first_packets: FirstPackets = 0,
    most_flows: MostFlows = None,
    workers: Workers = None,
    progress: Say = quiet,
) -> Outcome:
    """Turn captures, or the logs of other tools, into a table of flows.

    One row for each conversation. The columns are described in docs/columns.md. A malformed packet is counted
    and set aside; a capture that was cut off is read up to the cut. With --as the columns are those of a public
    dataset, with its labels where --truth gives them: what is trained on that dataset can be tried on your own traffic.
    Logs of Zeek, Suricata, Argus, Joy, Wireshark and nfdump are known by their content; --map describes any other CSV file.
    NetFlow v5, v9 and IPFIX are read (of a capture of them with --from netflow), collected with --listen, and written.
    """
    from wirespeak.data.sources.views import WRITERS
    from wirespeak.interfaces import netflow, reading

    listening = {"for": seconds or LISTEN_S, "at_most": at_most or AT_MOST}
    form = export or Export.ipfix
    options: dict[str, Any] = {
        "inputs": inputs or [], "output": output, "as": view, "truth": truth, "from": log, "map": map,
        **({"listen": listen, **listening} if listen else {}),
        **({"send": send, "export": form} if send else {}),
        "idle": idle, "active": active, "first_packets": first_packets, "most_flows": most_flows or 1 << 18,
    }  # fmt: skip
    _fitting(inputs, output, view=view, truth=truth, listen=listen, send=send)
    _needed(listen, "--listen HOST:PORT", {"--for": seconds, "--at-most": at_most})
    _needed(send, "--send HOST:PORT", {"--export": export})
    given = [path for path in (*(inputs or []), truth, map) if path]
    run = Run("flows", options, given, reproducible=listen is None)
    metered = bool(inputs) and not (log or map) and reading.are_captures(inputs or [])
    _needed(metered, "captures to read", {"--most-flows": most_flows, "--workers": workers})
    measured = metered and view is None
    if first_packets and not measured:
        raise OptionError(
            "--first-packets needs captures and our own columns: leave out --as, --from and --map, and give captures alone."
        )
    how: dict[str, Any] = {
        "idle": idle, "active": active, "most_flows": most_flows, "workers": workers, "progress": progress,
    }  # fmt: skip
    own = tuple(suffix for name, suffix in WRITERS if name == view)
    with one_file(output, run, name="flows.parquet", suffixes=(*TABLES, *MESSAGES, *own)) as target:
        if measured:
            found = reading.reader(inputs or [], first_packets=first_packets, **how)
            reading.told(run, found, netflow.write(found.pieces(), target, run, to=send, form=form.value))
            netflow.hint(inputs or [], run)
        elif listen:
            table = netflow.listen(
                listen, run, seconds=listening["for"], at_most=int(listening["at_most"]), progress=progress
            )
            _write(table, target, run, view=view, truth=truth, send=send, export=form)
        else:
            table = reading.read(inputs or [], run, log=log, map=map, **how)
            _write(table, target, run, view=view, truth=truth, send=send, export=form)
        netflow.unwritten(run)
    return run.done(output, f"{counted(run, reading.unit(run), 'flows')}: {output}")


def _fitting(
    inputs: list[Path] | None,
    output: Path,
    *,
    view: View | None,
    truth: Path | None,
    listen: str | None,
    send: str | None,
) -> None:
    """Raises OptionError for options that do not go together."""
    if truth and view is None:
        raise OptionError(
            "--truth gives the labels of an --as table; 'wirespeak detect --truth' says how right verdicts are."
        )
    if bool(inputs) == bool(listen):
        raise OptionError("give IN..., what to read, or --listen HOST:PORT, where to listen: one of them.")
    if view is not None and (send or output.suffix in MESSAGES):
        raise OptionError(
            "--as writes tables alone. Leave --send out, and choose a .parquet, .csv or .jsonl file."
        )


def _needed(there: object, what: str, options: dict[str, object]) -> None:
    """Raises OptionError where options are given without what they need."""
    given = " and ".join(name for name, value in options.items() if value is not None)
    if given and not there:
        raise OptionError(f"{given} would do nothing without {what}. Give them too, or leave {given} out.")


def _write(
    table: pl.DataFrame,
    target: Path,
    run: Run,
    *,
    view: View | None,
    truth: Path | None,
    send: str | None,
    export: Export,
) -> None:
    from wirespeak.data import tables
    from wirespeak.data.sources.views import WRITERS
    from wirespeak.interfaces import netflow, reading

    if view is None:
        run.counts["out"] = netflow.write([table], target, run, to=send, form=export.value)
        return
    seen = reading.viewed(table, view, reading.schedule(truth), run)
    WRITERS.get((str(view), target.suffix), tables.write)(seen, target)

"""Zeek's logs (docs.zeek.org): conn.log as flows and back, in Zeek's own text and in JSON.

What applications said stands in logs beside it (`zeek_said.py`) and is joined by `uid`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from wirespeak.data.sources.cells import unrepeated
from wirespeak.data.sources.lines import cells, lines, nanoseconds, number, objects, operation
from wirespeak.data.sources.log import Log, Told, head_of
from wirespeak.data.sources.said import said
from wirespeak.data.sources.viewing import (
    BWD,
    FWD,
    SECONDS,
    ZEEK_SERVICES,
    in_columns,
    zeek_service,
    zeek_state,
)
from wirespeak.data.sources.zeek_said import SAID
from wirespeak.errors import InputError, OptionError
from wirespeak.schema import STATES

CONN = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes", "resp_bytes",
    "conn_state", "local_orig", "local_resp", "missed_bytes", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes",
    "tunnel_parents", "community_id",
)  # fmt: skip
"""The columns of conn.log, with the community-id package's."""

_TYPES = ("time", "string", "addr", "port", "addr", "port", "enum", "string", "interval", "count", "count", "string", "bool", "bool", "count", "string", "count", "count", "count", "count", "set[string]", "string")  # fmt: skip
_FIELDS = {
    "conn": (
        *(name for name in CONN if not name.startswith(("local_", "tunnel_"))), "tunnel_parents[]", "vlan", "inner_vlan",
        "orig_l2_addr", "resp_l2_addr", "ip_proto",
    ),
    "tunnel": ("ts", "uid", "tunnel_type"),
    **{name: log.fields for name, log in SAID.items()},
}  # fmt: skip
"""What is read of each log; `[]` is a set or vector."""

_MOST_HEADERS = 1000
_NAME = re.compile(r"([a-z][a-z0-9_]*?)(?:[._-]\d[^/]*)?\.(?:log|json)(?:\.gz|\.zst)?")


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """Flows of our own (`schema.COLUMNS`) as Zeek's conn.log has them: TCP, UDP and ICMP alone. `uid` and `tunnel_parents` are null,
    and so are the ports of ICMP and what needs to be told which networks are local.

    Raises OptionError with labels: conn.log has no column for them.
    """
    if labels is not None:
        raise OptionError("zeek-conn has no labels. Leave --truth out.")
    kept = flows.filter(pl.col("protocol").is_in(["tcp", "udp", "icmp", "icmp6"]))
    several = (FWD + BWD) > 1  # Zeek leaves these unset for a single packet
    found = {
        "ts": pl.col("first_seen") / 1e9, "id.orig_h": pl.col("src"), "id.orig_p": pl.col("src_port"), "id.resp_h": pl.col("dst"),
        "id.resp_p": pl.col("dst_port"), "proto": pl.col("protocol").str.replace("^icmp6$", "icmp"), "service": zeek_service(),
        "duration": pl.when(several).then(SECONDS), "orig_bytes": pl.when(several).then(pl.col("fwd_payload_bytes")),
        "resp_bytes": pl.when(several).then(pl.col("bwd_payload_bytes")), "conn_state": zeek_state(),
        "missed_bytes": pl.col("fwd_missed_bytes") + pl.col("bwd_missed_bytes"), "history": pl.col("history"), "orig_pkts": FWD,
        "orig_ip_bytes": pl.col("fwd_bytes"), "resp_pkts": BWD, "resp_ip_bytes": pl.col("bwd_bytes"), "community_id": pl.col("community_id"),
    }  # fmt: skip
    return in_columns(kept, CONN, found)


def write(seen: pl.DataFrame, path: Path) -> None:
    """Write what `view` gives as Zeek writes conn.log: tab-separated under a header, times and durations to the microsecond."""
    seconds = {
        name: (pl.col(name) * 1e6).round().cast(pl.Int64).cast(pl.String).str.zfill(7)
        for name in ("ts", "duration")
    }
    micro = [
        pl.concat_str(text.str.head(-6), pl.lit("."), text.str.tail(6)).alias(name)
        for name, text in seconds.items()
    ]
    head = [
        r"#separator \x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tconn",
        "\t".join(("#fields", *CONN)), "\t".join(("#types", *_TYPES)),
    ]  # fmt: skip
    with path.open("wb") as file:
        file.write(("\n".join(head) + "\n").encode())
        seen.with_columns(micro).write_csv(
            file, include_header=False, separator="\t", null_value="-", quote_style="never"
        )


def claims(path: Path, head: bytes) -> bool:
    """Whether this is a log that Zeek wrote, or a folder that holds some."""
    if path.is_dir():
        return any(_path_of(each) in _FIELDS and claims(each, head_of(each)) for each in _files(path))
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"#separator ", b"#fields\t")):
        return True
    line = start.partition(b"\n")[0]
    keyed = b'"id.orig_h"' in line or (b'"orig_h"' in line and b'"id"' in line)
    return (
        line.startswith(b"{")
        and b'"ts"' in line
        and (keyed or (b'"uids"' in line and _path_of(path) in _FIELDS))
    )


def read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    """The connections of conn.log, with what other logs say of them.

    Raises InputError when there is no conn.log among the paths, or one lacks what a flow needs.
    """
    gathered: dict[str, list[pl.DataFrame]] = {}
    for file in _chosen(paths, told):
        for name, rows in _rows(file, told):
            gathered.setdefault(name, []).append(_connections(rows) if name == "conn" else rows)
    if "conn" not in gathered:
        found = ", ".join(sorted(gathered)) or "none that can be read"
        raise InputError(
            f"{paths[0]}: Zeek's logs without a conn.log (found: {found}). Flows are in conn.log: give it, or the folder it is in."
        )
    logs = {name: pl.concat(parts) for name, parts in gathered.items()}
    conn = logs.pop("conn")
    # Only connections are flows; the rows of the other logs were counted with their lines.
    told.rows -= sum(rows.height for rows in logs.values())
    return _flows(_tunnelled(conn, logs.pop("tunnel", None)), said(SAID, logs), told)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _path_of(file: Path) -> str | None:
    """Which log a file is by its name, also a rotated one.

    >>> _path_of(Path("2024-01-01/conn.00:00:00-01:00:00.log.gz"))
    'conn'
    """
    match = _NAME.fullmatch(file.name)
    return match[1] if match else None


def _chosen(paths: Sequence[Path], told: Told) -> list[Path]:
    """The files among the paths, those of folders that say something of flows."""
    found: list[Path] = []
    for path in paths:
        inside = _files(path) if path.is_dir() else [path]
        known = [file for file in inside if not path.is_dir() or _path_of(file) in _FIELDS]
        told.others += sorted(set(inside) - set(known))
        found += known
    return found


def _rows(file: Path, told: Told) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of a file under the log that they are of: columns of `_FIELDS`, text or lists of it."""
    by_name = _path_of(file)
    reading: Callable[[pl.DataFrame], Iterator[tuple[str, pl.DataFrame]]] | None = None
    for piece in lines(file, told):
        if reading is None:
            start = str(piece["text"][0]).lstrip()
            if start.startswith("{"):
                name = by_name if by_name in _FIELDS else "conn"
                reading = partial(_of_json, name=name or "conn", told=told)
            elif start.startswith("#"):
                reading = _Tabbed(file, told).read
            else:
                raise InputError(
                    f"{file}: is no log of Zeek: its first line is neither a header (#fields) nor a JSON object."
                )
        yield from reading(piece)


def _of_json(rows: pl.DataFrame, name: str, told: Told) -> Iterator[tuple[str, pl.DataFrame]]:
    table = objects(rows, ("_path", *_FIELDS[name]), told)
    own = pl.col("_path").is_null() | (pl.col("_path") == name)
    table = told.without(table, ~own, "a line of another log")
    yield name, table.select(each.removesuffix("[]") for each in _FIELDS[name])


@dataclass(frozen=True)
class _Header:
    """What the lines before the rows say."""

    path: str = ""
    names: tuple[str, ...] = ()
    separator: str = "\t"
    within: str = ","
    empty: str = "(empty)"
    unset: str = "-"


_ABOUT = {"#path": "path", "#set_separator": "within", "#empty_field": "empty", "#unset_field": "unset"}


class _Tabbed:
    """Zeek's own text. Its header may come again, where logs were joined."""

    def __init__(self, file: Path, told: Told) -> None:
        self.file, self.told = file, told
        self.header, self.next, self.headers = _Header(), _Header(), 0

    def read(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """The rows among some lines, by log."""
        mark = pl.col("text").str.contains(r"^\s*#")
        marks = rows.with_row_index("at").filter(mark)
        begun = 0
        for at, text in zip(marks["at"].to_list(), marks["text"].to_list(), strict=True):
            if self._heard(text.strip()):
                yield from self._section(rows[begun:at].filter(~mark))
                self.header, begun = self.next, at
        yield from self._section(rows[begun:].filter(~mark))

    def _heard(self, text: str) -> bool:
        """Take in a line of a header; whether it names the fields, with which a section begins."""
        said = self.next
        key, _, value = text.partition(" " if text.startswith("#separator ") else said.separator)
        if key == "#separator":
            self.next = replace(said, separator=_unescaped(value))
            if len(self.next.separator.encode()) != 1:
                raise InputError(f"{self.file}: its separator is '{value}', expected one character.")
        elif key == "#fields":
            self.headers += 1
            if self.headers > _MOST_HEADERS:
                raise InputError(
                    f"{self.file}: has more than {_MOST_HEADERS:,} headers. Give the logs as Zeek wrote them."
                )
            self.next = replace(said, names=unrepeated(value.split(said.separator)))
            return True
        elif key in _ABOUT:
            self.next = replace(said, **{_ABOUT[key]: _unescaped(value)})  # type: ignore[arg-type]
        return False

    def _section(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        header = self.header
        name = header.path or _path_of(self.file) or "conn"
        if rows.is_empty():
            return
        if not header.names:
            raise InputError(f"{self.file}: has rows before a header that names their columns (#fields).")
        if name not in _FIELDS:
            self.told.rows += rows.height
            self.told.set_aside[f"a row of Zeek's {name[:40]}.log, which says nothing of flows"] += (
                rows.height
            )
            return
        table = cells(rows, header.names, self.told, separator=header.separator, quote="")
        yield name, table.select(_value(each, header) for each in _FIELDS[name])


def _value(field: str, header: _Header) -> pl.Expr:
    name, cell = field.removesuffix("[]"), pl.col(field.removesuffix("[]"))
    several = field.endswith("[]")
    if name not in header.names:
        return pl.lit(None, pl.List(pl.String()) if several else pl.String()).alias(name)
    known = pl.when(cell != header.unset)
    if not several:
        return (
            known.then(cell.replace(header.empty, ""))
            .map_batches(_plain, return_dtype=pl.String())
            .alias(name)
        )
    split = (
        pl.when(cell == header.empty)
        .then(pl.lit([], pl.List(pl.String())))
        .otherwise(cell.str.split(header.within))
    )
    return known.then(split).map_batches(_plain_lists, return_dtype=pl.List(pl.String)).alias(name)


def _plain_lists(lists: pl.Series) -> pl.Series:
    """Lists of text, each read as `_plain` does."""
    rows = pl.DataFrame(lists.alias("text")).with_row_index("at")
    each = rows.filter(pl.col("text").list.len() > 0).explode("text")
    if not each["text"].str.contains(r"\x", literal=True).any():
        return lists
    read = each.with_columns(_plain(each["text"])).group_by("at", maintain_order=True).agg("text")
    joined = rows.join(read, on="at", how="left", suffix="_read", maintain_order="left")
    return joined.select(pl.coalesce("text_read", "text").alias(lists.name)).to_series()


def _plain(text: pl.Series) -> pl.Series:
    """Text with \\xNN read as the bytes that Zeek wrote so."""
    written = text.filter(text.str.contains(r"\x", literal=True)).unique().to_list()
    return text.replace(written, [_unescaped(each) for each in written]) if written else text


def _unescaped(text: str) -> str:
    """Text whose \\xNN were read; what is not UTF-8 then keeps its \\xNN.

    >>> _unescaped(r"caf\\xc3\\xa9 \\xff")
    'café \\\\xff'
    """
    whole = re.sub(
        rb"\\x([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode(errors="replace")
    )
    return whole.decode(errors="backslashreplace")


def _connections(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of conn.log with their times as numbers."""
    return rows.with_columns(nanoseconds("ts").alias("ts"), number("duration").alias("duration"))


_TUNNELS = {"Tunnel::GRE": "gre", "Tunnel::VXLAN": "vxlan", "Tunnel::GTPv1": "gtp-u"}


def _tunnelled(conn: pl.DataFrame, tunnels: pl.DataFrame | None) -> pl.DataFrame:
    """conn.log with `tunnel`: empty outside of any, null where it is not told which."""
    kinds: dict[str, str] = {}
    if tunnels is not None:
        kinds = dict(tunnels.select("uid", "tunnel_type").drop_nulls().iter_rows())
    parent = pl.col("tunnel_parents").list.last()
    kind = parent.replace_strict(list(kinds), list(kinds.values()), default=None, return_dtype=pl.String)
    named = kind.replace_strict(_TUNNELS, default=None, return_dtype=pl.String)
    return conn.with_columns(
        tunnel=pl.when(parent.is_null() | (parent == "")).then(pl.lit("")).otherwise(named)
    )


def _flows(conn: pl.DataFrame, spoken: pl.DataFrame, told: Told) -> pl.DataFrame:
    """Flows of connections and what their applications said."""
    conn = told.without(
        conn, (pl.col("proto") == "unknown_transport") & pl.col("ip_proto").is_null(), "unknown_transport"
    )
    six = pl.col("id.resp_h").str.contains(":", literal=True)
    protocol = (
        pl.when(pl.col("proto") == "unknown_transport").then("ip-" + pl.col("ip_proto"))
        .when(pl.col("proto") == "icmp").then(pl.when(six).then(pl.lit("icmp6")).otherwise(pl.lit("icmp")))
        .otherwise(pl.col("proto").str.to_lowercase())
    )  # fmt: skip
    conn = conn.join(spoken, on="uid", how="left", maintain_order="left").with_columns(protocol=protocol)
    tcp, icmp = pl.col("protocol") == "tcp", pl.col("protocol").str.starts_with("icmp")
    port = {
        name: pl.when(~icmp).then(pl.col(f"id.{end}_p"))
        for name, end in (("src_port", "orig"), ("dst_port", "resp"))
    }
    missed = pl.when(number("missed_bytes") == 0).then(0)  # of both directions; more is not told apart
    found = {
        "first_seen": pl.col("ts"), "duration_s": pl.col("duration"), "src": pl.col("id.orig_h"), "dst": pl.col("id.resp_h"), **port,
        "src_mac": pl.col("orig_l2_addr").str.to_lowercase(), "dst_mac": pl.col("resp_l2_addr").str.to_lowercase(),
        "vlan": pl.coalesce("inner_vlan", "vlan"), "community_id": pl.col("community_id"), "protocol": pl.col("protocol"),
        "tunnel": pl.col("tunnel"), "application": _application(), "state": _state(), "history": pl.when(tcp | (pl.col("protocol") == "udp")).then(pl.col("history")),
        "flags": pl.when(tcp).then(pl.col("history").str.extract("^([SH])").replace("H", "SA")),
        "operation": pl.when(icmp).then(operation(pl.col("id.orig_p"))),
        "fwd_packets": pl.col("orig_pkts"), "bwd_packets": pl.col("resp_pkts"), "fwd_bytes": pl.col("orig_ip_bytes"),
        "bwd_bytes": pl.col("resp_ip_bytes"), "fwd_payload_bytes": _payload("orig"), "bwd_payload_bytes": _payload("resp"),
        "fwd_missed_bytes": missed, "bwd_missed_bytes": missed,
    }  # fmt: skip
    more = [name for name in spoken.columns if name not in ("uid", "application")]
    return conn.select(*(expression.alias(name) for name, expression in found.items()), *more)


def _payload(end: str) -> pl.Expr:
    """Payload of one side. Zeek leaves it unset for a single packet; without a D in its history there was none."""
    letter = "D" if end == "orig" else "d"
    silent = pl.col("history").is_not_null() & ~pl.col("history").str.contains(letter, literal=True)
    known = pl.col("protocol").is_in(["tcp", "udp"]) & silent
    return pl.coalesce(pl.col(f"{end}_bytes"), pl.when(known).then(pl.lit("0")))


def _application() -> pl.Expr:
    """The application Zeek recognised, else that of the log that speaks of the flow; `other` or `none` by whether there was payload."""
    service = pl.col("service").str.to_lowercase().str.split(",").list.first()
    multicast_dns = (pl.col("id.resp_p") == "5353") | (pl.col("id.orig_p") == "5353")
    encrypted = pl.when(pl.col("protocol") == "udp").then(pl.lit("dtls")).otherwise(pl.lit("tls"))
    named = (
        pl.when((service == "dns") & multicast_dns).then(pl.lit("mdns"))
        .when(service == "ssl").then(encrypted)
        .when(service.is_not_null() & (service != "")).then(service.replace_strict(ZEEK_SERVICES, default="other", return_dtype=pl.String))
    )  # fmt: skip
    payload = number("orig_bytes").fill_null(0) + number("resp_bytes").fill_null(0)
    spoke = ((payload > 0) | pl.col("history").str.contains("[Dd]")) & pl.col("protocol").is_in(
        ["tcp", "udp"]
    )
    return pl.coalesce(
        named,
        "application",
        pl.when(spoke).then(pl.lit("other")).when(spoke.is_not_null()).then(pl.lit("none")),
    )


def _state() -> pl.Expr:
    """TCP as Zeek says, but for a handshake that was not completed; of others who spoke."""
    state, both = pl.col("conn_state"), (number("resp_pkts") > 0) & (number("orig_pkts") > 0)
    half = state.is_in(["S1", "RSTO", "RSTR"]) & pl.col("history").str.contains("^S[^ADF]*h[^ADF]*$")
    tcp = pl.when(half).then(pl.lit("HALF")).when(state.is_in(list(STATES))).then(state)
    spoken = pl.coalesce(both, pl.when(state == "SF").then(True).when(state == "S0").then(False))
    other = pl.when(spoken).then(pl.lit("two-way")).when(~spoken).then(pl.lit("one-way"))
    return pl.when(pl.col("protocol") == "tcp").then(tcp).otherwise(other)


LOG = Log("zeek", "Zeek's logs", claims, read, folders=True)

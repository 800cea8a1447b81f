"""Our own flows as records of NetFlow and IPFIX, and these as files or packets: the way back of `netflow.py`."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from wirespeak.data.sources.biflow import BITS, TYPES
from wirespeak.data.sources.viewing import protocol_number
from wirespeak.errors import OutputError
from wirespeak.wire.netflow.elements import COLUMNS, SIDED
from wirespeak.wire.netflow.encode import Encoder, Format

FORMATS_BY_SUFFIX: dict[str, Format] = {".nf5": "netflow5", ".nf9": "netflow9", ".ipfix": "ipfix"}
"""What a file of messages is, by the end of its name."""
PER_S = 1000.0
"""Messages a second that a collector can be expected to keep up with."""
_AT_ONCE = 10


def messages(pieces: Iterable[pl.DataFrame], encoder: Encoder) -> Iterator[bytes | memoryview]:
    """Export messages of flows that come in pieces, the templates first.

    NetFlow v5 and v9 tell the two directions of a flow in two records, the source's first; IPFIX tells both in one (RFC 5103). What cannot be
    carried is counted in `encoder.set_aside`.
    """
    told = False
    for piece in pieces:
        if piece.is_empty():
            continue
        records = encoder.kept(records_of(piece, encoder.set_aside))
        if encoder.form != "ipfix":
            records = one_way(records)
        if not told:
            templates = encoder.templates(int(piece["first_seen"].cast(pl.Int64)[0]))
            told = True
            if templates:
                yield templates
        for table in encoder.encode(records):
            size = table.dtype.itemsize
            whole = memoryview(table.tobytes())
            for at in range(0, len(whole), size):
                yield whole[at : at + size]


def records_of(flows: pl.DataFrame, set_aside: Counter[str]) -> pl.DataFrame:
    """Flows (`schema.COLUMNS`) as records of both directions (`wire.netflow.elements.COLUMNS`); those of no IP or without counts are set aside."""
    number = protocol_number()
    is_ip = ~pl.col("protocol").is_in(["arp", "802.15.4"])
    counted = pl.all_horizontal(
        pl.col(name).is_not_null() for name in ("fwd_packets", "fwd_bytes", "bwd_packets", "bwd_bytes")
    )
    kept = flows.filter(is_ip & counted)
    for protocol, count in flows.filter(~is_ip).group_by("protocol").len().iter_rows():
        set_aside[f"{protocol}, which is no IP"] += count
    if lost := flows.height - kept.height - flows.select((~is_ip).sum()).item():
        set_aside["flow whose packets were not counted"] += lost
    found = {
        "first_ns": pl.col("first_seen"), "last_ns": pl.col("last_seen"), "src": pl.col("src"), "dst": pl.col("dst"),
        "src_port": pl.col("src_port"), "dst_port": pl.col("dst_port"), "protocol": number, "vlan": pl.col("vlan"),
        "src_mac": pl.col("src_mac"), "dst_mac": pl.col("dst_mac"), "icmp": _icmp(), "direction": pl.lit(1),
        "packets": pl.col("fwd_packets"), "bytes": pl.col("fwd_bytes"), "flags": _flags("fwd"),
        "back_packets": pl.col("bwd_packets"), "back_bytes": pl.col("bwd_bytes"), "back_flags": _flags("bwd"),
    }  # fmt: skip
    return kept.select(found.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in COLUMNS.items())


def one_way(records: pl.DataFrame) -> pl.DataFrame:
    """A record for each direction that had packets, the source's just before the other's."""
    numbered = records.with_row_index("_flow")
    none = {f"back_{name}": pl.lit(None, kind) for name, kind in SIDED.items()}
    there = numbered.filter((pl.col("packets") > 0) | (pl.col("back_packets") == 0)).with_columns(
        _back=pl.lit(0), **none
    )
    is_icmp = pl.col("protocol").is_in([1, 58])
    back = numbered.filter(pl.col("back_packets") > 0).with_columns(
        pl.col("src").alias("dst"), pl.col("dst").alias("src"), pl.col("src_port").alias("dst_port"),
        pl.col("dst_port").alias("src_port"), pl.col("src_mac").alias("dst_mac"), pl.col("dst_mac").alias("src_mac"),
        *(pl.col(f"back_{name}").alias(name) for name in SIDED),
        pl.lit(2, pl.UInt8).alias("direction"),
        pl.when(is_icmp).then(_answer()).alias("icmp"),
    ).with_columns(_back=pl.lit(1), **none)  # fmt: skip
    both = pl.concat([there, back]).sort("_flow", "_back")
    return both.drop("_flow", "_back")


def _icmp() -> pl.Expr:
    """Type x 256 of ICMP by the operation; its code is not known."""
    found = pl.lit(None, pl.Int64)
    for protocol, types in TYPES.items():
        kind = pl.col("operation").replace_strict(types, default=255, return_dtype=pl.Int64) * 256
        found = pl.when(pl.col("protocol") == protocol).then(kind).otherwise(found)
    return found


def _answer() -> pl.Expr:
    """An echo is answered by an echo reply."""
    return pl.col("icmp").replace({8 * 256: 0, 128 * 256: 129 * 256})


def _flags(side: str) -> pl.Expr:
    """The flags of all packets of a direction together."""
    counts = [
        pl.when(pl.col(f"{side}_{name}_packets") > 0).then(bit).otherwise(0) for name, bit in BITS.items()
    ]
    counted = pl.any_horizontal(pl.col(f"{side}_{name}_packets").is_not_null() for name in BITS)
    found = pl.sum_horizontal(counts)
    if side == "fwd":  # a log may tell the first packet's alone
        first = pl.sum_horizontal(
            pl.when(pl.col("flags").str.contains(letter, literal=True)).then(1 << bit).otherwise(0)
            for bit, letter in enumerate("FSRPAU")
        )
        found = pl.when(counted).then(found).otherwise(first)
    return pl.when(pl.col("protocol") == "tcp").then(found).otherwise(0)


def write(pieces: Iterable[pl.DataFrame], path: Path, encoder: Encoder) -> int:
    """Write flows as a file of messages (of IPFIX as RFC 5655 has it); how many flows came, those set aside included."""
    flows = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal flows
        for piece in pieces:
            flows += piece.height
            yield piece

    with path.open("wb") as file:
        for message in messages(counted(), encoder):
            file.write(message)
    return flows


def send(
    pieces: Iterable[pl.DataFrame], host: str, port: int, encoder: Encoder, *, per_s: float = PER_S
) -> Iterator[pl.DataFrame]:
    """Send flows to a collector by UDP, `per_s` messages a second at most, and give each piece once it is sent.

    Raises OutputError when nobody listens there, or the address is none.
    """
    where = f"{host}:{port}"
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        out = socket.socket(family, kind, number)
        out.connect(address)
    except OSError as error:
        raise _unsent(where, error) from None
    with out:
        began, count = time.monotonic(), 0
        for piece in pieces:
            for message in messages([piece], encoder):
                if count % _AT_ONCE == 0:
                    time.sleep(max(0.0, began + count / per_s - time.monotonic()))
                try:
                    out.send(message)
                except OSError as error:
                    raise _unsent(where, error) from None
                count += 1
            yield piece


def _unsent(where: str, error: OSError) -> OutputError:
    if isinstance(error, ConnectionRefusedError):
        return OutputError(f"{where}: nobody listens there. Start the collector first.")
    return OutputError(f"{where} cannot be sent to ({error.strerror or error}). Check --send HOST:PORT.")

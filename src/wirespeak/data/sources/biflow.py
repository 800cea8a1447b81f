"""Records of a flow's two directions as one flow, and what their counts and flags say of it.

Exporters tell each direction apart (NetFlow v5 and v9) or both in one record (biflows, RFC 5103). Two records of one 5-tuple are
one flow where they overlap, else where the second began within the idle time after the first; the source sent what began earlier.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.flow.columns import PROTOCOLS
from wirespeak.flow.meter import IDLE_S
from wirespeak.schema import SERVICES
from wirespeak.wire.netflow.elements import COLUMNS, SIDED

_SWAPPED = {
    "src": "dst", "dst": "src", "src_port": "dst_port", "dst_port": "src_port", "src_mac": "dst_mac", "dst_mac": "src_mac",
    **{name: f"back_{name}" for name in SIDED}, **{f"back_{name}": name for name in SIDED},
}  # fmt: skip
_ASKED = {(1, 0): 8, (1, 14): 13, (1, 16): 15, (1, 18): 17, (58, 129): 128}
"""Types of ICMP that answer others, by protocol (RFC 792, RFC 4443)."""
_FIN, _SYN, _RST, _PSH, _ACK, _URG = (1 << bit for bit in range(6))
BITS = {"fin": _FIN, "syn": _SYN, "rst": _RST, "push": _PSH, "ack": _ACK, "urg": _URG, "ece": 64, "cwr": 128}
_OPERATIONS = {
    1: {0: "echo", 3: "unreachable", 5: "redirect", 8: "echo", 9: "router", 10: "router", 11: "exceeded"},
    58: {
        1: "unreachable", 3: "exceeded", 128: "echo", 129: "echo", 130: "group", 131: "group", 132: "group", 133: "router",
        134: "router", 135: "neighbour", 136: "neighbour", 137: "redirect", 143: "group",
    },
}  # fmt: skip

TYPES = {
    "icmp": {"echo": 8, "unreachable": 3, "redirect": 5, "router": 10, "exceeded": 11},
    "icmp6": {"echo": 128, "unreachable": 1, "exceeded": 3, "group": 131, "router": 133, "neighbour": 135, "redirect": 137},
}  # fmt: skip
"""The type of ICMP that stands for an operation, of several the one that begins."""


def whole(records: pl.DataFrame) -> pl.DataFrame:
    """Records with every column of `wire.netflow.elements.COLUMNS`, ICMP's type and code where they belong."""
    records = records.select(
        pl.col(name).cast(kind) if name in records.columns else pl.lit(None, kind).alias(name)
        for name, kind in COLUMNS.items()
    )
    # NetFlow v5 and v9 tell type and code of ICMP as the destination port.
    is_icmp = pl.col("protocol").is_in([1, 58])
    records = records.with_columns(pl.when(is_icmp).then(pl.coalesce("icmp", "dst_port")).alias("icmp"))
    records = records.with_columns(
        pl.when(~is_icmp).then(pl.col(name)).alias(name) for name in ("src_port", "dst_port")
    )
    return records.with_columns(
        pl.max_horizontal("first_ns", "last_ns").alias("last_ns"),
        pl.when(pl.col("vlan") > 0).then("vlan").alias("vlan"),
    )


def paired(records: pl.DataFrame, *, idle_s: float = IDLE_S) -> pl.DataFrame:
    """Flows of records (as `whole` gives them), same columns; the order is not kept. Records that tell both directions stay as they are."""
    both = pl.col("back_packets").is_not_null() | pl.col("back_bytes").is_not_null()
    biflows, single = records.filter(both), records.filter(~both)
    if single.is_empty():
        return _initiated(biflows)
    single = single.with_columns(
        pl.struct("src", "src_port").hash().alias("_from"),
        pl.struct("dst", "dst_port").hash().alias("_to"),
        pl.struct(pl.col("protocol", "vlan", "stream"), _asked().alias("asked")).hash().alias("_rest"),
        _later().alias("_later"),
    )
    # A sum does not mind which end comes first; wrapping around does no harm.
    ends = [single[name].to_numpy() for name in ("_from", "_to", "_rest")]
    single = single.with_columns(_key=pl.Series(ends[0] + ends[1] + ends[2]))
    single = single.sort("_key", "first_ns", "_later", maintain_order=True)
    there, back = _mates(single, int(idle_s * 1e9))
    alone = np.ones(single.height, bool)
    alone[there] = alone[back] = False
    names = list(COLUMNS)
    joined = _joined(single[there].select(names), single[back].select(names))
    left = single.filter(pl.Series(alone)).select(names)
    left = left.with_columns(
        pl.lit(0, COLUMNS[name]).alias(name) for name in ("back_packets", "back_bytes", "back_flags")
    )
    return _initiated(pl.concat([biflows, joined, left]))


def _asked() -> pl.Expr:
    """The type of ICMP that asks, where a record's type answers it."""
    kind = pl.col("icmp") // 256
    found = kind
    for (protocol, answer), question in _ASKED.items():
        found = pl.when((pl.col("protocol") == protocol) & (kind == answer)).then(question).otherwise(found)
    return found


def _later() -> pl.Expr:
    """Of two records that began in the same moment, which is the answer: as told, else what comes from a port that names a service."""
    speaks = np.arange(1 << 16) < 1024
    speaks[[port for ports in SERVICES.values() for port in ports]] = True
    known = pl.Series(speaks)

    def named(port: str) -> pl.Expr:
        return pl.col(port).fill_null(0).map_batches(lambda values: known.gather(values), pl.Boolean)

    return (
        pl.when(pl.col("direction") == 1).then(0)
        .when(pl.col("direction") == 2).then(4)
        .when(named("dst_port") & ~named("src_port")).then(1)
        .when(named("src_port") & ~named("dst_port")).then(3)
        .otherwise(2)
    )  # fmt: skip


def _mates(rows: pl.DataFrame, idle_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows, sorted by key and time, are the two directions of one flow: those that overlap first, then those within the idle time."""
    there: list[NDArray[np.int64]] = []
    back: list[NDArray[np.int64]] = []
    one, other, rest, first, last = (
        rows[name].to_numpy() for name in ("_from", "_to", "_rest", "first_ns", "last_ns")
    )
    left = np.arange(rows.height)
    for gap in (0, idle_ns):
        if len(left) < 2:
            break
        a, b = left[:-1], left[1:]
        fits = (one[a] == other[b]) & (other[a] == one[b]) & (one[a] != other[a]) & (rest[a] == rest[b])
        fits &= first[b] - last[a] <= gap
        # Of rows that each fit the next, every other begins a pair.
        at = np.arange(len(fits))
        begun = np.maximum.accumulate(np.where(fits & ~np.r_[False, fits[:-1]], at, 0))
        fits &= (at - begun) % 2 == 0
        there.append(a[fits])
        back.append(b[fits])
        alone = np.ones(len(left), bool)
        alone[:-1][fits] = alone[1:][fits] = False
        left = left[alone]
    none = np.empty(0, np.int64)
    return np.concatenate([none, *there]), np.concatenate([none, *back])


def _joined(there: pl.DataFrame, back: pl.DataFrame) -> pl.DataFrame:
    """One flow of each two records."""
    told = {f"back_{name}": back[name] for name in SIDED}
    told |= {name: there[name].zip_with(there[name].is_not_null(), back[_SWAPPED[name]]) for name in ("src_mac", "dst_mac")}  # fmt: skip
    ended = back["last_ns"] > there["last_ns"]
    told |= {name: back[name].zip_with(ended, there[name]) for name in ("last_ns", "end_reason")}
    return there.with_columns(**told)


def _initiated(flows: pl.DataFrame) -> pl.DataFrame:
    """Flows whose source is the initiator, where the exporter told that it is the other end (biflowDirection, RFC 5103), or where the
    other end alone sent a SYN, without an ACK: some exporters order ends by address."""
    asked_back = _has("back_", _SYN) & ~_has("back_", _ACK) & ~_has("", _SYN) & (pl.col("protocol") == 6)
    turned = (pl.col("direction") == 2) | (asked_back & (pl.col("direction").fill_null(0) != 1))
    return flows.with_columns(
        pl.when(turned).then(pl.col(other)).otherwise(pl.col(name)).alias(name)
        for name, other in _SWAPPED.items()
    )


def flows_of(pairs: pl.DataFrame) -> pl.DataFrame:
    """What records tell of flows, under the names of `schema.COLUMNS`.

    The flags of a record are those of all its packets together, so `state` is what they allow, and counts of flags are known where a
    flag never occurred, or where there was one packet.
    """
    is_tcp = pl.col("protocol") == 6
    has_ports = pl.col("protocol").is_in([6, 17])
    number = {code: PROTOCOLS.get(code, f"ip-{code}") for code in range(256)}
    told = pairs.with_columns(pl.col("flags", "back_flags").cast(pl.Int64))
    told = told.with_columns(
        pl.when(is_tcp).then(pl.col(name)).alias(name) for name in ("flags", "back_flags")
    )
    return told.select(
        pl.col("first_ns").alias("first_seen"),
        pl.col("last_ns").alias("last_seen"),
        "src",
        "dst",
        *(
            pl.when(has_ports).then(pl.col(name).fill_null(0)).alias(name)
            for name in ("src_port", "dst_port")
        ),
        "src_mac",
        "dst_mac",
        "vlan",
        pl.col("protocol").replace_strict(number, return_dtype=pl.String).alias("protocol"),
        _cast().alias("cast"),
        _state(is_tcp).alias("state"),
        _first_flags(is_tcp).alias("flags"),
        _operation().alias("operation"),
        *(
            column
            for side, told_by in (("fwd", ""), ("bwd", "back_"))
            for column in _side(side, told_by, is_tcp)
        ),
    )


def _side(side: str, by: str, is_tcp: pl.Expr) -> list[pl.Expr]:
    """What one direction's packets were."""
    packets, flags = pl.col(f"{by}packets"), pl.col(f"{by}flags")
    found = [
        packets.alias(f"{side}_packets"),
        pl.col(f"{by}bytes").alias(f"{side}_bytes"),
        pl.col(f"{by}smallest").alias(f"{side}_packet_min_bytes"),
        pl.col(f"{by}largest").alias(f"{side}_packet_max_bytes"),
        pl.when(pl.col(f"{by}ttl_min") == pl.col(f"{by}ttl_max"))
        .then(pl.col(f"{by}ttl_min"))
        .alias(f"{side}_ttl"),
    ]
    for name, bit in BITS.items():
        occurs = (flags & bit) > 0
        known = pl.when(~is_tcp | ~occurs).then(0).when(occurs & (packets == 1)).then(1)
        counted = pl.col(f"{by}{name}") if name in SIDED else pl.lit(None)
        found.append(pl.coalesce(counted, known).alias(f"{side}_{name}_packets"))
    return found


def _has(by: str, bit: int) -> pl.Expr:
    return (pl.col(f"{by}flags") & bit) > 0


def _state(is_tcp: pl.Expr) -> pl.Expr:
    """How the conversation went (`schema.STATES`), as far as the flags of both sides together tell it."""
    answered = pl.col("back_packets") > 0
    syn, syn_back = _has("", _SYN), _has("back_", _SYN)
    fin, fin_back = _has("", _FIN), _has("back_", _FIN)
    rst, rst_back = _has("", _RST), _has("back_", _RST)
    open_both = syn & syn_back
    rules: tuple[tuple[pl.Expr, str], ...] = (
        (~is_tcp & answered, "two-way"),
        (~is_tcp & ~answered, "one-way"),
        (open_both & ~_has("", _ACK), "HALF"),
        (open_both & fin & fin_back, "SF"),
        (open_both & rst, "RSTO"),
        (open_both & rst_back, "RSTR"),
        (open_both & fin, "S2"),
        (open_both & fin_back, "S3"),
        (open_both, "S1"),
        (syn & ~answered & _has("", _ACK), "OTH"),
        (syn & ~answered & rst, "RSTOS0"),
        (syn & ~answered & fin, "SH"),
        (syn & ~answered, "S0"),
        (syn & rst_back, "REJ"),
        (is_tcp & pl.col("flags").is_not_null() & pl.col("back_flags").is_not_null(), "OTH"),
    )
    found = pl.lit(None, pl.String)
    for condition, name in reversed(rules):
        found = pl.when(condition).then(pl.lit(name)).otherwise(found)
    return found


def _first_flags(is_tcp: pl.Expr) -> pl.Expr:
    """Flags of the first packet: of the only one, or SYN, which comes first where both sides sent one."""
    letters = {
        code: "".join(letter for bit, letter in enumerate("FSRPAU") if code >> bit & 1) or "none"
        for code in range(64)
    }
    only = (pl.col("packets") == 1) & pl.col("flags").is_not_null()
    alike = (pl.col("flags") & 63) == _SYN
    return (
        pl.when(~is_tcp).then(pl.lit(""))
        .when(only).then((pl.col("flags") & 63).replace_strict(letters, default=None, return_dtype=pl.String))
        .when(alike | (_has("", _SYN) & _has("back_", _SYN))).then(pl.lit("S"))
    )  # fmt: skip


def _operation() -> pl.Expr:
    found = pl.lit("")
    for protocol, names in _OPERATIONS.items():
        kind = (pl.col("icmp") // 256).replace_strict(names, default="other", return_dtype=pl.String)
        said = pl.when(pl.col("icmp").is_not_null()).then(kind)
        found = pl.when(pl.col("protocol") == protocol).then(said).otherwise(found)
    return found


def _cast() -> pl.Expr:
    """By the destination's address alone."""
    is_group = pl.col("dst").str.contains(r"^(22[4-9]|23\d)\.|^ff[0-9a-f]{2}:")
    return (
        pl.when(pl.col("dst") == "255.255.255.255").then(pl.lit("broadcast"))
        .when(is_group).then(pl.lit("multicast"))
        .otherwise(pl.lit("unicast"))
    )  # fmt: skip

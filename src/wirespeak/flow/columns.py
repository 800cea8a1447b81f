"""The meter's rows as the table that `schema.COLUMNS` declares: names for numbers, grades, tenths, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak import _native
from wirespeak._native import texts
from wirespeak.flow.attached import facts, first_packets
from wirespeak.flow.numbers import Numbers
from wirespeak.flow.rows import Rows, context_kinds
from wirespeak.schema import APPLICATIONS, COLUMNS, FIRST_PACKETS, SERVICES, STATES

# As the enums in native.h.
CASTS = ("unicast", "multicast", "broadcast")
OPERATIONS = (
    "", "request", "reply", "announce", "probe", "echo", "unreachable", "exceeded", "redirect", "neighbour",
    "router", "group", "other",
)  # fmt: skip
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmp6", 256: "arp", 257: "802.15.4"}
TUNNELS = ("", "4in4", "4in6", "6in4", "6in6", "gre", "vxlan", "gtp-u")
TCP, UDP, ICMP, ICMP6, SCTP, ARP = 6, 17, 1, 58, 132, 256
SYN, ACK, NO_VLAN = 2, 16, 65535
SHORTEST_S = 1e-6


def flow_table(rows: Rows, *, early: bool = False) -> pl.DataFrame:
    """The meter's rows as a table; columns exactly `schema.COLUMNS` in their order; early: then `FIRST_PACKETS`.

    Counts and grades are Int64, seconds and bits Float64, categories and addresses String; ports and VLAN
    are UInt16, null where there are none. Numbers share a piece of memory (`Numbers`).
    """
    _put_numbers(rows)
    put_context(rows.numbers, rows["context"])
    columns: dict[str, Any] = {
        **_identity(rows),
        **_categories(rows),
        **rows.numbers.series(),
        **facts(rows["attached"]),
    }
    names = [*COLUMNS]
    if early:
        columns |= first_packets(rows["attached"], rows["first_seen"])
        names += [column.name for column in FIRST_PACKETS]
    return pl.DataFrame([columns[name].alias(name) for name in names])


def grade(count: NDArray[Any]) -> NDArray[np.int64]:
    """floor(log2(1 + count)).

    >>> grade(np.array([0, 1, 2, 3, 6, 7])).tolist()
    [0, 1, 1, 2, 2, 3]
    """
    return np.frexp(1.0 + count)[1].astype(np.int64) - 1


def _identity(rows: Rows) -> dict[str, Any]:
    has_ports = np.isin(rows["protocol"], (TCP, UDP, SCTP))
    return {
        "src": texts.addresses(rows["src"], rows["family"]),
        "dst": texts.addresses(rows["dst"], rows["family"]),
        "src_port": _where(has_ports, rows["src_port"]),
        "dst_port": _where(has_ports, rows["dst_port"]),
        "src_mac": texts.macs(rows["src_mac"], rows["has_src_mac"]),
        "dst_mac": texts.macs(rows["dst_mac"], rows["has_dst_mac"]),
        "vlan": _where(rows["vlan"] != NO_VLAN, rows["vlan"]),
        "tunnel_id": _where(rows["tunnel"] == TUNNELS.index("vxlan"), rows["tunnel_id"]),
        "community_id": community_ids(rows.others),
        "history": texts.fixed(rows["history"]),
    }


def _where(known: NDArray[np.bool_], values: NDArray[Any]) -> pl.Series:
    """The values, null where they are not known."""
    series = pl.Series(np.ascontiguousarray(values))
    return series.zip_with(pl.Series(known), pl.Series([None], dtype=series.dtype))


def _named(codes: NDArray[Any], names: Sequence[str]) -> pl.Series:
    """The name of each code."""
    return _names(tuple(names))[codes]


@cache
def _names(names: tuple[str, ...]) -> pl.Series:
    return pl.Series(names, dtype=pl.String)


def community_ids(fields: Mapping[str, NDArray[Any]]) -> pl.Series:
    """The Community ID (version 1, seed 0) of each row, null where it has none. Of the rows' fields it takes those that say who speaks to
    whom: addresses, ports, protocol, family, and type and code of ICMP."""
    wanted = ("src", "dst", "src_port", "dst_port", "protocol", "family", "icmp_type", "icmp_code")
    columns = [np.ascontiguousarray(fields[name]) for name in wanted]
    return texts.column("community_ids", *map(_native.address, columns), len(fields["family"]))


def _categories(rows: Rows) -> dict[str, Any]:
    is_tcp = rows["protocol"] == TCP
    flags = np.where(is_tcp, rows["tcp_flags"], 64)
    return {
        "protocol": _named(rows["protocol"], _protocol_names()),
        "service": _services(rows),
        "application": _named(rows["application"], APPLICATIONS),
        "cast": _named(rows["cast"], CASTS),
        "state": _named(rows["state"], tuple(STATES)),
        "flags": _named(flags, _flag_names()),
        "operation": _named(rows["operation"], OPERATIONS),
        "tunnel": _named(rows["tunnel"], TUNNELS),
    }


@cache
def _protocol_names() -> tuple[str, ...]:
    return tuple(PROTOCOLS.get(number, f"ip-{number}") for number in range(258))


@cache
def _flag_names() -> tuple[str, ...]:
    """Of each set of flags, then of none that could be."""
    letters = (
        "".join(letter for bit, letter in enumerate("FSRPAU") if code >> bit & 1) for code in range(64)
    )
    return (*(found or "none" for found in letters), "")


@cache
def _service_names() -> tuple[tuple[str, ...], NDArray[np.uint8], NDArray[np.bool_]]:
    """All service names, the name of each port as an index, and which ports speak for a service."""
    names = ("", "system", "registered", "ephemeral", *SERVICES)
    ports = np.arange(1 << 16)
    index = np.select([ports < 1024, ports < 32768], [1, 2], 3).astype(np.uint8)
    for name, known in SERVICES.items():
        index[list(known)] = names.index(name)
    return names, index, (index == 1) | (index > 3)


def _services(rows: Rows) -> pl.Series:
    opened = (rows["tcp_flags"] & (SYN | ACK)) == SYN
    tcp, udp = rows["protocol"] == TCP, rows["protocol"] == UDP
    return _service(tcp, udp, rows["src_port"], rows["dst_port"], opened)


def services(
    protocol: pl.Series, src_port: pl.Series, dst_port: pl.Series, *, opened: pl.Series
) -> pl.Series:
    """What each flow's port is for, from columns of a flow table; opened: whether its first packet was a SYN."""
    tcp, udp = ((protocol == name).to_numpy() for name in ("tcp", "udp"))
    ports = [each.fill_null(0).to_numpy() for each in (src_port, dst_port)]
    return _service(tcp, udp, ports[0], ports[1], opened.fill_null(False).to_numpy())


def _service(
    tcp: NDArray[np.bool_],
    udp: NDArray[np.bool_],
    src_port: NDArray[Any],
    dst_port: NDArray[Any],
    opened: NDArray[np.bool_],
) -> pl.Series:
    """The destination port decides when the source opened the connection with a SYN, or when that port has a
    name or lies below 1024. Else the source port decides if it has a name or lies below 1024: the capture
    began after the client spoke, and what we see first is the server. So a client's port never decides.
    """
    names, index, speaks = _service_names()
    from_server = ~(tcp & opened) & ~speaks[dst_port] & speaks[src_port]
    port = np.where(from_server, src_port, dst_port)
    return _named(np.where(tcp | udp, index[port], 0), names)


def _put_numbers(rows: Rows) -> None:
    """The flow's own counts and times that the meter leaves to be computed."""
    numbers = rows.numbers
    duration_s = (numbers["last_seen"] - numbers["first_seen"]) / 1e9
    packets = numbers["fwd_packets"] + numbers["bwd_packets"]
    # Packets that share a timestamp came within the clock's step, not at infinite speed.
    rate = np.where(packets > 1, packets / np.maximum(duration_s, SHORTEST_S), 0)
    numbers["duration_s"] = duration_s
    numbers["duration_grade"] = grade(duration_s * 1e3)
    numbers["packets_per_s"] = np.floor(rate + 0.5)
    numbers["rate_grade"] = grade(numbers["packets_per_s"])
    numbers["gap_grade"] = grade(numbers["iat_max_s"] * 1e3)
    for key in ("src", "dst"):
        numbers[f"{key}_rebinds_60s"] = rows[f"{key}_rebinds"]
    _put_means(numbers, packets, duration_s)


def _put_means(numbers: Numbers, packets: NDArray[np.int64], duration_s: NDArray[np.float64]) -> None:
    """Means, totals and rates, from what the meter counted."""
    seconds = np.maximum(duration_s, SHORTEST_S)
    for side in ("fwd_", "bwd_"):
        count = numbers[f"{side}packets"]
        numbers[f"{side}header_bytes"] = numbers[f"{side}bytes"] - numbers[f"{side}payload_bytes"]
        numbers[f"{side}packets_per_s"] = np.where(packets > 1, count / seconds, 0)
        numbers[f"{side}bytes_per_s"] = np.where(packets > 1, numbers[f"{side}bytes"] / seconds, 0)
        for quantity, total in (("packet", "bytes"), ("payload", "payload_bytes")):
            numbers[f"{side}{quantity}_mean_bytes"] = numbers[f"{side}{total}"] / np.maximum(count, 1)
    numbers["bytes_per_s"] = numbers["fwd_bytes_per_s"] + numbers["bwd_bytes_per_s"]
    answered = numbers["bwd_packets"] > 0
    for quantity, total in (("packet", "bytes"), ("payload", "payload_bytes")):
        least, most = (
            [numbers[f"{side}_{quantity}_{statistic}_bytes"] for side in ("fwd", "bwd")]
            for statistic in ("min", "max")
        )
        one_way = np.where(answered, least[1], least[0])  # a row of a long flow may hold packets back alone
        numbers[f"{quantity}_min_bytes"] = np.where(
            answered & (numbers["fwd_packets"] > 0), np.minimum(*least), one_way
        )
        numbers[f"{quantity}_max_bytes"] = np.maximum(*most)
        numbers[f"{quantity}_mean_bytes"] = (numbers[f"fwd_{total}"] + numbers[f"bwd_{total}"]) / np.maximum(
            packets, 1
        )


def put_context(numbers: Numbers, counts: NDArray[np.uint32]) -> None:
    """Put the columns of `context_kinds`, from counts by key, window, quantity and flow."""
    _native.library().wirespeak_context_columns(
        _native.address(counts), len(numbers), numbers.address(next(iter(context_kinds())))
    )

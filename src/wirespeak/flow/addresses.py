"""Addresses as bytes, and what a flow is called in other tools, for tables of flows."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.flow import columns
from wirespeak.schema import PORTED

_PIECE = 1 << 14


def packed(addresses: pl.Series) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Addresses as 16 bytes each, IPv4 in the last four, and their families (4 or 6). What is no address has family 0 and the beginning of
    its text for bytes."""
    texts = addresses.fill_null("").unique()
    rows = np.zeros((len(texts), 17), np.uint8)
    four = pl.DataFrame({"text": texts}).select(
        pl.col("text").str.split_exact(".", 3).struct.unnest()
    ).select(pl.all().cast(pl.UInt8, strict=False))  # fmt: skip
    known = four.select(pl.all_horizontal(pl.all().is_not_null())).to_series() & (
        texts.str.count_matches(r"\.") == 3
    )
    is_four = known.to_numpy()
    rows[is_four, 12:16] = four.filter(known).to_numpy()
    rows[is_four, 16] = 4
    for at in np.flatnonzero(~is_four).tolist():
        rows[at] = _other(texts[at])
    index = pl.DataFrame({"text": addresses.fill_null("")}).join(
        pl.DataFrame({"text": texts, "row": np.arange(len(texts))}),
        on="text",
        how="left",
        maintain_order="left",
    )["row"]
    found = rows[index.to_numpy()]
    return found[:, :16], found[:, 16]


def _other(text: str) -> NDArray[np.uint8]:
    try:
        address = ip_address(text)
    except ValueError:
        return np.frombuffer(text.encode()[:16].ljust(17, b"\0"), np.uint8)
    return np.frombuffer(address.packed.rjust(16, b"\0") + bytes([address.version]), np.uint8)


def community_ids(flows: pl.DataFrame) -> pl.Series:
    """The Community ID (version 1, seed 0) of each flow, from `src`, `dst`, `src_port`, `dst_port` and `protocol`; null for ICMP, whose types
    a table does not tell, for what is no IP, and where an address is none."""
    known = flows.select("src", "dst", "src_port", "dst_port", "protocol")
    return pl.concat([pl.Series(dtype=pl.String), *(_piece(piece) for piece in known.iter_slices(_PIECE))])


def _piece(flows: pl.DataFrame) -> pl.Series:
    numbers = {name: number for number, name in columns.PROTOCOLS.items()}
    protocol = pl.coalesce(
        pl.col("protocol").replace_strict(numbers, default=None, return_dtype=pl.Int64),
        pl.col("protocol").str.extract(r"^ip-(\d{1,3})$").cast(pl.Int64),
    )
    known = flows.select(
        protocol.fill_null(0).cast(pl.UInt16), pl.col("src_port", "dst_port").fill_null(0).cast(pl.UInt16)
    )
    rows = {name: known[name].to_numpy() for name in known.columns}
    rows["src"], family = packed(flows["src"])
    rows["dst"], other = packed(flows["dst"])
    rows |= {"family": family, "icmp_type": np.zeros_like(family), "icmp_code": np.zeros_like(family)}
    ported = ~flows["protocol"].is_in(PORTED) | (
        flows["src_port"].is_not_null() & flows["dst_port"].is_not_null()
    )
    wanted = (
        ported
        & ~flows["protocol"].is_in(["icmp", "icmp6", "arp", "802.15.4"])
        & pl.Series((family == other) & (family > 0) & (rows["protocol"] > 0))
    )
    return pl.select(pl.when(wanted).then(columns.community_ids(rows))).to_series()

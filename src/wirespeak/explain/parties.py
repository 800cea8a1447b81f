"""Who did it, and to whom: the attackers and victims of an incident as a person would name them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

_LIARS = ("spoof.arp", "spoof.mitm")


def sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who did it and to whom, those with most flows first.

    Whoever spoke first between two hosts is the source, and a host found on both sides stands where it
    stood more often: a victim's error messages go back to the attacker.
    """
    if flows["join"][0] in _LIARS and flows["src_mac"].null_count() < flows.height:
        return _spoofed_sides(flows)
    one, other = pl.min_horizontal("src_no", "dst_no"), pl.max_horizontal("src_no", "dst_no")
    pairs = flows.group_by(one.alias("one"), other.alias("other"), maintain_order=True).agg(
        pl.col("src").first(), pl.col("dst").first(), pl.len().alias("flows")
    )
    as_source = dict(pairs.group_by("src").agg(pl.col("flows").sum()).iter_rows())
    as_target = dict(pairs.group_by("dst").agg(pl.col("flows").sum()).iter_rows())
    sources = {a: n for a, n in as_source.items() if n > as_target.get(a, 0)}
    targets = {a: n for a, n in as_target.items() if n > as_source.get(a, 0)}
    first_source, first_target = str(pairs["src"][0]), str(pairs["dst"][0])
    return _ranked(sources or {first_source: 1}), _ranked(targets or {first_target: 1})


def _spoofed_sides(flows: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The link-layer address that lied, since addresses are what it lied about, and those it lied to.

    It is the one that sent most of the ARP messages; where there are none, the one that stood for most
    addresses: the victim's stands for the victim alone.
    """
    arp = flows.filter((pl.col("protocol") == "arp") & pl.col("src_mac").is_not_null())
    if not arp.is_empty():
        sender, told = (dict(arp[name].value_counts().iter_rows()) for name in ("src_mac", "dst"))
        return _ranked(sender), _ranked(told)
    ends = pl.concat(
        flows.select(pl.col(side).alias("address"), pl.col(f"{side}_mac").alias("mac"))
        for side in ("src", "dst")
    ).drop_nulls()
    stands_for = dict(ends.group_by("mac").agg(pl.col("address").n_unique()).iter_rows())
    liar = max(sorted(stands_for), key=lambda mac: stands_for[mac])
    told = dict(ends.filter(pl.col("mac") != liar)["address"].value_counts().iter_rows())
    return (liar,), _ranked(told or {str(flows["dst"][0]): 1})


def _ranked(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Hosts with most flows first, without the bystanders a few misjudged flows bring in.

    Hosts with under a twentieth of the leader's flows are bystanders when all of them together are, too.
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    few = ranked[0][1] / 20
    minor = sum(n for _, n in ranked if n < few)
    return tuple(str(name) for name, n in ranked if n >= few or minor >= few)

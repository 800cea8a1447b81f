"""Whether flows tell what tshark and nfstream tell of the same captures.

    WIRESPEAK_DATA=... python bench/agreement.py --nfstream PYTHON -o bench/results/agreement.json

Reads every capture of `pcaps/` in the data folder that both sides can read. tshark: packets and bytes of each direction between two
ends, and when the first and the last of their packets came; time-outs cut flows, so rows are summed. nfstream (6.5 or later, in an
environment of its own, since it is LGPL; PYTHON is that environment's): the same, and statistics of the flows that both begin and
end alike. The result holds counts only. Each kind of difference has its reason in docs/flows.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.errors import WirespeakError
from wirespeak.flow import read_flows

ENDS = ["protocol", "src", "src_port", "dst", "dst_port"]
FIELDS = (
    "frame.time_epoch", "frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.len", "ipv6.plen", "tcp.srcport", "tcp.dstport",
    "udp.srcport", "udp.dstport",
)  # fmt: skip
FEED = """
import sys, warnings
warnings.filterwarnings("ignore")
from nfstream import NFStreamer
flows = NFStreamer(sys.argv[1], statistical_analysis=True, accounting_mode=1, idle_timeout=60, active_timeout=300, n_dissections=0, n_meters=1).to_pandas()
flows.to_csv(sys.stdout, index=False)
"""
SIDES = {"": "bidirectional", "fwd_": "src2dst", "bwd_": "dst2src"}
MS = 0.001


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--nfstream", type=Path, help="the Python of an environment that has nfstream")
    reader.add_argument("-o", "--output", type=Path)
    reader.add_argument("-v", "--verbose", action="store_true")
    given = reader.parse_args()
    root = Path(os.environ["WIRESPEAK_DATA"]) / "pcaps"
    captures = [
        path for path in sorted(root.glob("*/*")) if re.search(r"\.(pcap|pcapng|snoop|cap)$", path.name)
    ]
    found: dict[str, Any] = {
        "captures": len(captures),
        "tshark": beside(captures, with_tshark, verbose=given.verbose) | {"version": _version("tshark")},
    }
    if given.nfstream:
        columns: Counter[str] = Counter()
        found["nfstream"] = beside(
            captures,
            lambda path, flows: with_nfstream(path, flows, given.nfstream, columns),
            verbose=given.verbose,
        )
        found["nfstream"]["version"] = subprocess.run(
            [given.nfstream, "-c", "import nfstream; print(nfstream.__version__)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        found["nfstream"]["columns"] = {
            name: [columns[f"{name} alike"], columns[name]]
            for name in sorted({name.removesuffix(" alike") for name in columns})
        }
    text = json.dumps(found, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    else:
        print(text)


def _version(tool: str) -> str:
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"\d+\.\d+\.\d+", said)[0]  # type: ignore[index]


def beside(captures: list[Path], compare: Any, *, verbose: bool) -> dict[str, Any]:
    """How many captures and pairs of ends were compared, and how many differ in what."""
    counts: Counter[str] = Counter()
    differing: dict[str, dict[str, int]] = {}
    for path in captures:
        try:
            flows = read_flows(path).flows.filter(pl.col("protocol").is_in(["tcp", "udp"]))
        except WirespeakError:
            continue
        pairs = compare(path, flows)
        if pairs is None:
            counts["nothing to compare"] += 1
            continue
        kinds = Counter(pairs["kind"].to_list())
        counts["captures"] += 1
        counts["captures alike"] += set(kinds) <= {"alike"}
        counts["pairs"] += len(pairs)
        counts.update(kinds)
        if worse := {kind: count for kind, count in kinds.items() if kind != "alike"}:
            differing[f"{path.parent.name}/{path.name}"] = worse
            if verbose:
                print(path, worse, pairs.filter(pl.col("kind") != "alike").head(2).rows(), flush=True)
    return {"counts": dict(counts), "differing": differing}


def both_ways(flows: pl.DataFrame) -> pl.DataFrame:
    """What each end sent to another, over all rows: packets, bytes, first and last time of the two in seconds."""
    turned = {"src": "dst", "src_port": "dst_port", "dst": "src", "dst_port": "src_port"}
    sides = [
        flows.select(*(pl.col(turned.get(name, name) if side == "bwd" else name).alias(name) for name in ENDS), packets=f"{side}_packets", bytes=f"{side}_bytes", first="first_seen", last="last_seen")
        for side in ("fwd", "bwd")
    ]  # fmt: skip
    return pl.concat(sides).group_by(ENDS).agg(
        pl.col("packets", "bytes").sum(), pl.col("first").min() / 1e9, pl.col("last").max() / 1e9
    )  # fmt: skip


def classify(ours: pl.DataFrame, theirs: pl.DataFrame, *, clock_s: float) -> pl.DataFrame:
    """Each pair of ends that either side knows, and in what they differ, if in anything."""
    met = ours.filter(pl.col("packets") > 0).join(
        theirs.filter(pl.col("packets") > 0), on=ENDS, how="full", coalesce=True, suffix="_theirs"
    )
    return met.with_columns(
        kind=pl.when(pl.col("packets_theirs").is_null()).then(pl.lit("here alone"))
        .when(pl.col("packets").is_null()).then(pl.lit("there alone"))
        .when(pl.col("packets") != pl.col("packets_theirs")).then(pl.lit("packets differ"))
        .when(pl.col("bytes") != pl.col("bytes_theirs")).then(pl.lit("bytes differ"))
        .when(((pl.col("first") - pl.col("first_theirs")).abs() > clock_s) | ((pl.col("last") - pl.col("last_theirs")).abs() > clock_s)).then(pl.lit("times differ"))
        .otherwise(pl.lit("alike"))
    )  # fmt: skip


def with_tshark(path: Path, flows: pl.DataFrame) -> pl.DataFrame | None:
    """The pairs beside tshark's; None where it reads nothing of the file."""
    words = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-Y",
        "(tcp or udp) and not icmp and not icmpv6",
        "-T",
        "fields",
        "-E",
        "occurrence=l",
        "-E",
        "separator=/t",
    ]
    quiet = [
        "-o",
        "ip.defragment:FALSE",
        "-o",
        "ipv6.defragment:FALSE",
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
    ]
    told = subprocess.run(
        [*words, *quiet, *(word for field in FIELDS for word in ("-e", field))],
        capture_output=True,
        check=False,
    ).stdout
    if not told.strip():
        return None if len(flows) == 0 else classify(both_ways(flows), both_ways(flows.clear()), clock_s=1e-6)
    packets = pl.read_csv(
        io.BytesIO(told),
        separator="\t",
        has_header=False,
        new_columns=list(FIELDS),
        infer_schema=False,
        quote_char=None,
    )
    names = pl.col("frame.protocols")
    six = names.str.extract(r"^.*:(ipv6|ip):").eq("ipv6")
    tcp = names.str.extract(r"^.*:(tcp|udp)(?::|$)").eq("tcp")
    number = {"strict": False}
    rows = packets.select(
        protocol=pl.when(tcp).then(pl.lit("tcp")).otherwise(pl.lit("udp")),
        time=pl.col("frame.time_epoch").cast(pl.Float64),
        bytes=pl.when(six).then(pl.col("ipv6.plen").cast(pl.Int64, **number) + 40).otherwise(pl.col("ip.len").cast(pl.Int64, **number)),
        **{end: pl.when(six).then(f"ipv6.{end}").otherwise(f"ip.{end}") for end in ("src", "dst")},
        **{f"{end}_port": pl.when(tcp).then(f"tcp.{end}port").otherwise(f"udp.{end}port").cast(pl.UInt16, **number) for end in ("src", "dst")},
    )  # fmt: skip
    sent = rows.group_by(ENDS).agg(packets=pl.len().cast(pl.Int64), bytes=pl.col("bytes").sum())
    pair = [
        pl.concat_str(
            "protocol",
            pl.concat_list(pl.format("{} {}", "src", "src_port"), pl.format("{} {}", "dst", "dst_port"))
            .list.sort()
            .list.join(" "),
        ).alias("pair")
    ]
    times = (
        rows.with_columns(pair).group_by("pair").agg(first=pl.col("time").min(), last=pl.col("time").max())
    )
    theirs = sent.with_columns(pair).join(times, on="pair").drop("pair")
    return classify(both_ways(flows), theirs, clock_s=1e-6)


def with_nfstream(
    path: Path, flows: pl.DataFrame, python: Path, columns: Counter[str]
) -> pl.DataFrame | None:
    """The pairs beside nfstream's, None where it reads nothing; `columns` counts the flows that were compared, and those alike."""
    try:
        told = subprocess.run(
            [python, "-c", FEED, path], capture_output=True, timeout=300, check=False
        ).stdout
        table = pl.read_csv(io.BytesIO(told), infer_schema_length=None)
    except (pl.exceptions.PolarsError, subprocess.TimeoutExpired):
        return None
    theirs = table.filter(pl.col("protocol").is_in([6, 17])).select(
        protocol=pl.when(pl.col("protocol") == 6).then(pl.lit("tcp")).otherwise(pl.lit("udp")),
        src="src_ip", dst="dst_ip", src_port=pl.col("src_port").cast(pl.UInt16), dst_port=pl.col("dst_port").cast(pl.UInt16),
        first_seen=pl.col("bidirectional_first_seen_ms") * 1_000_000, last_seen=pl.col("bidirectional_last_seen_ms") * 1_000_000,
        duration_s=pl.col("bidirectional_duration_ms") * MS,
        **{f"{side}{quantity}": pl.col(f"{name}_{quantity}") for side, name in SIDES.items() for quantity in ("packets", "bytes") if side},
        **{f"{side}packet_{ours}_bytes": _statistic(name, nf, "ps") for side, name in SIDES.items() for ours, nf in STATISTICS.items()},
        **{f"{side}iat_{ours}_s": _statistic(name, nf, "piat_ms") * MS for side, name in SIDES.items() for ours, nf in STATISTICS.items()},
        **{f"{side}{flag}_packets": pl.col(f"{name}_{nf}_packets") for side, name in SIDES.items() for flag, nf in FLAGS.items() if side},
    )  # fmt: skip
    single = _singles(flows).join(_singles(theirs), on=ENDS, suffix="_theirs")
    single = single.filter(
        (pl.col("fwd_packets") == pl.col("fwd_packets_theirs"))
        & (pl.col("bwd_packets") == pl.col("bwd_packets_theirs"))
    )
    for name in theirs.columns:
        if name in ENDS or name in ("first_seen", "last_seen"):
            continue
        # Milliseconds are cut off there: a gap is known to one, and so is what follows from gaps.
        near = (pl.col(name) - pl.col(f"{name}_theirs")).abs() <= (
            MS * 1.01 if name.endswith("_s") else 1e-6 * pl.col(name).abs() + 1e-6
        )
        columns[name] += len(single)
        columns[f"{name} alike"] += int(single.select(near.sum()).item() or 0)
    return classify(both_ways(flows), both_ways(theirs), clock_s=MS)


STATISTICS = {"min": "min", "mean": "mean", "max": "max", "std": "stddev"}
FLAGS = {
    "syn": "syn",
    "fin": "fin",
    "rst": "rst",
    "push": "psh",
    "ack": "ack",
    "urg": "urg",
    "ece": "ece",
    "cwr": "cwr",
}


def _statistic(side: str, name: str, of: str) -> pl.Expr:
    """One of nfstream's statistics; its deviation, which is that of a sample, as that of the population."""
    found = pl.col(f"{side}_{name}_{of}")
    if name != "stddev":
        return found
    count = pl.col(f"{side}_packets") - (1 if of == "piat_ms" else 0)
    return pl.when(count > 1).then(found * ((count - 1) / count).sqrt()).otherwise(0.0)


def _singles(flows: pl.DataFrame) -> pl.DataFrame:
    """Flows whose ends have no other flow in the capture."""
    return flows.filter(pl.len().over(ENDS) == 1)


if __name__ == "__main__":
    main()

"""How fast flows become export messages, and these flows again.

    python bench/netflow.py -o bench/results/netflow.json [--records N]

CPU seconds of one core for a million records: out (our flows to messages), in (messages to records), met (two records to one flow, in our
columns).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from wirespeak.data.sources.biflow import flows_of, paired, whole
from wirespeak.data.sources.exporting import messages
from wirespeak.data.tables import types
from wirespeak.interfaces.measure import machine
from wirespeak.wire.netflow.decode import Decoder
from wirespeak.wire.netflow.encode import FORMATS, Encoder, Format
from wirespeak.wire.netflow.messages import MessageFile

PIECE = 1 << 16


def made(count: int, seed: int = 7) -> pl.DataFrame:
    """Flows of a network of 65,000 hosts: TCP and UDP, answered."""
    random = np.random.default_rng(seed)
    hosts = pl.Series([f"10.{n >> 8}.{n & 255}.7" for n in range(65_000)])
    first = 1_700_000_000 * 10**9 + np.arange(count) * 1_000_000
    found = {
        "first_seen": first, "last_seen": first + random.integers(0, 10**10, count),
        "src": hosts.gather(random.integers(0, 65_000, count)), "dst": hosts.gather(random.integers(0, 65_000, count)),
        "src_port": random.integers(32_768, 61_000, count), "dst_port": random.choice([53, 80, 443, 1883], count),
        "protocol": np.where(random.random(count) < 0.7, "tcp", "udp"), "flags": np.full(count, "S"), "operation": np.full(count, ""),
        **{name: random.integers(1, 1000, count) for name in ("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes")},
        **{f"{side}_{flag}_packets": random.integers(0, 2, count) for side in ("fwd", "bwd") for flag in ("syn", "fin", "rst", "ack")},
    }  # fmt: skip
    table = pl.DataFrame(found)
    return table.select(
        pl.col(name).cast(kind) if name in table.columns else pl.lit(None, kind).alias(name) for name, kind in types().items()
    )  # fmt: skip


def measured(form: Format, flows: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """CPU seconds of each step for one format."""
    path, encoder, decoder = folder / form, Encoder(form), Decoder()
    began = time.process_time()
    with path.open("wb") as file:
        for message in messages(flows.iter_slices(PIECE), encoder):
            file.write(message)
    written = time.process_time()
    tables: list[pl.DataFrame] = []
    for each in MessageFile(path).messages():
        decoder.take(each)
        tables += decoder.records()
    tables += decoder.records(all=True)
    read = time.process_time()
    back = flows_of(paired(whole(pl.concat(tables, how="diagonal"))))
    met = time.process_time()
    if back.height != flows.height:
        raise SystemExit(f"{form}: {flows.height:,} flows were written and {back.height:,} read.")
    spent = {"out": written - began, "in": read - written, "met": met - read}
    return {
        "flows": flows.height, "records": encoder.records, "bytes": path.stat().st_size,
        "cpu_s": {name: round(each, 2) for name, each in spent.items()},
        "records_per_s": {name: round(encoder.records / each) for name, each in spent.items()},
    }  # fmt: skip


def main() -> None:
    """Measure and write the results."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("-o", type=Path, required=True)
    options.add_argument("--records", type=int, default=1_000_000)
    given = options.parse_args()
    results: dict[str, Any] = {"machine": machine(), "formats": {}}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            count = given.records if form == "ipfix" else given.records // 2
            results["formats"][form] = measured(form, made(count), Path(folder))
    given.o.write_text(json.dumps(results, indent=2) + "\n")
    subprocess.run(["cat", str(given.o)], check=True)


if __name__ == "__main__":
    main()

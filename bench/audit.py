"""What the audit finds, what it makes up, and how long a million rows take. Writes bench/results/audit.json.

    nice python bench/audit.py -o bench/results/audit.json

Flaws are planted by `wirespeak.data.planted` with seeds that no threshold was set on; with WIRESPEAK_DATA set, in
parts of real datasets too. Clean controls are made-up data as they are, at random and by group split.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wirespeak.data.audit import audit
from wirespeak.data.dataset import Dataset, Field
from wirespeak.data.planted import alarms, base, plants
from wirespeak.data.split import folds

SEEDS = (101, 102, 103)
REAL = ("nsl-kdd/KDDTrain+.txt", "unsw-nb15/UNSW_NB15_82332_dev.csv", "ton-iot/train_test_network_dev.csv")


def recall(bases: Sequence[Dataset], seed: int) -> dict[str, Any]:
    """How many of the planted flaws were found, and which were not."""
    planted = list(plants(bases, seed=seed))
    missed = [plant.name for plant in planted if not plant.is_found(audit(plant.dataset, plant.split))]
    return {"seed": seed, "planted": len(planted), "found": len(planted) - len(missed), "missed": missed}


def controls(bases: Sequence[Dataset]) -> dict[str, Any]:
    """What the audit holds against clean data, whole and split."""
    said, count = [], 0
    for made in bases:
        side = pl.Series(np.where(np.random.default_rng(0).random(len(made)) < 0.3, "test", "train"))
        for split in (None, side, folds(made, protocol="group")[0]):
            said += [
                f"{made.name}: {finding.kind} {finding.columns}" for finding in alarms(audit(made, split))
            ]
            count += 1
    return {"controls": count, "false_alarms": len(said), "alarms": said}


def million(rows: int = 1_000_000, columns: int = 41) -> dict[str, Any]:
    """Seconds to audit so many rows with a split, on this machine."""
    made, rng = base(7, rows=rows), np.random.default_rng(7)
    table, fields = made.table, dict(made.fields)
    number = 0
    while table.width < columns:
        name = f"extra_{number}"
        values = (rng.gamma(1, 9, rows).round(3), rng.poisson(2, rows), rng.random(rows).round(2))[number % 3]
        table, fields = table.with_columns(pl.Series(name, values)), fields | {name: Field(name, "number")}
        number += 1
    made = replace(made, table=table, fields=fields)
    side = pl.Series(np.where(rng.random(rows) < 0.3, "test", "train"))
    wall, processor = time.perf_counter(), time.process_time()
    audit(made, side)
    return {
        "rows": rows, "columns": table.width, "seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - processor, 1), "threads": pl.thread_pool_size(),
    }  # fmt: skip


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("-o", "--output", type=Path)
    given = reader.parse_args()
    result: dict[str, Any] = {"million": million(), "made": [], "clean": []}
    for seed in SEEDS:
        bases = [base(seed * 10 + i, rows=3000 + 1500 * i) for i in range(3)]
        result["made"].append(recall(bases, seed))
        result["clean"].append(controls(bases))
    folder = os.environ.get("WIRESPEAK_DATA")
    if folder:
        from wirespeak.data.sources import read_dataset

        real = []
        for path in REAL:
            whole = read_dataset([Path(folder) / path], on_bad_row="skip")
            real.append(whole.take(np.random.default_rng(0).permutation(len(whole))[:6000]))
        result["real"] = [recall(real[i:] + real[:i], seed) for i, seed in enumerate(SEEDS)]
    text = json.dumps(result, indent=1) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

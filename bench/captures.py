"""What the detector says of captures recorded elsewhere: incidents in ordinary ones, families in hostile ones.

    WIRESPEAK_DATA=... python bench/captures.py -o bench/results/captures.json

Reads `pcaps/INDEX.csv` of the data folder. Nothing is trained on these captures. The result holds counts and
labels only.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from wirespeak.detect.language import LanguageDetector
from wirespeak.detect.verdicts import judge
from wirespeak.errors import InputError
from wirespeak.explain.incidents import group
from wirespeak.flow import read_flows

KINDS = ("iot-device", "iot-proto", "ics", "attack")


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--model")
    reader.add_argument("-o", "--output", type=Path)
    reader.add_argument("-v", "--verbose", action="store_true")
    given = reader.parse_args()
    root = Path(os.environ["WIRESPEAK_DATA"]) / "pcaps"
    index = pl.read_csv(root / "INDEX.csv").filter(pl.col("category").is_in(KINDS)).sort("file")
    detector = LanguageDetector.load(given.model)
    floor = detector.model.card["evidence_floor"]  # type: ignore[attr-defined]
    rows: list[dict[str, Any]] = []
    for file, category, label in index.select("file", "category", "label").iter_rows():
        try:
            flows = read_flows([root / file]).flows
        except InputError as error:
            rows.append({"file": file, "category": category, "refused": str(error).replace(str(root), "")})
            continue
        verdicts = judge(detector, flows)
        groups = group(flows, verdicts, evidence_floor=floor)
        rows.append(
            {
                "file": file,
                "category": category,
                "label": label,
                "flows": len(flows),
                "verdicts": dict(Counter(verdicts["label"])),
                "incidents": [f"{g.label} {g.probability:.2f} x{len(g.rows)}" for g in groups],
            }  # fmt: skip
        )
        if given.verbose or (groups and label == "benign") or category == "attack":
            print(file, rows[-1]["verdicts"], rows[-1]["incidents"])
    benign = [row for row in rows if row.get("label") == "benign"]
    summary = {
        "ordinary_captures": len(benign),
        "ordinary_captures_with_incidents": sum(bool(row["incidents"]) for row in benign),
        "ordinary_flows": sum(row["flows"] for row in benign),
        "ordinary_flows_called_hostile": sum(
            n for row in benign for name, n in row["verdicts"].items() if name != "normal"
        ),
    }
    print(summary)
    if given.output:
        given.output.write_text(json.dumps({"summary": summary, "captures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Flow tables made up for tests: ordinary devices, and an attacker who scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from wirespeak.contracts import Detector
from wirespeak.schema import COLUMNS, FEATURES

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def flow(seconds: float, src: str, dst: str, *, lasts: float = 0.1, **values: object) -> dict[str, object]:
    """One flow `seconds` after the start, every column the default but those given."""
    first = START + round(seconds * SECOND)
    made: dict[str, object] = {name: column.default for name, column in COLUMNS.items()}
    made |= {
        "protocol": "tcp",
        "state": "SF",
        "fwd_packets": 4,
        "bwd_packets": 4,
        "fwd_bytes": 240,
        "bwd_bytes": 400,
    }
    made |= {"first_seen": first, "last_seen": first + round(lasts * SECOND), "src": src, "dst": dst}
    made |= {
        "src_port": 40_000,
        "dst_port": 80,
        "src_mac": "02:00:00:00:00:01",
        "dst_mac": "02:00:00:00:00:02",
    }
    return made | values


def table(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Flows in order of time, numbered, grades in step with their counts."""
    ordered = sorted(rows, key=lambda row: int(str(row["first_seen"])))
    flows = pl.DataFrame([row | {"flow_id": i} for i, row in enumerate(ordered)], infer_schema_length=None)
    floats = [name for name, c in COLUMNS.items() if c.kind in ("seconds", "bits") or name == "packets_per_s"]
    flows = flows.with_columns(pl.col(floats).cast(pl.Float64))
    graded = [name for name in FEATURES if f"{name}_grade" in COLUMNS]
    return flows.with_columns(
        (pl.col(name) + 1).log(2).floor().cast(pl.Int64).alias(f"{name}_grade") for name in graded
    )


def judged(flows: pl.DataFrame, labels: Sequence[str], probabilities: Sequence[float]) -> pl.DataFrame:
    """Verdicts with the columns grouping reads."""
    return flows.select("flow_id", "first_seen", "src", "dst").with_columns(
        pl.Series("canonical", labels),
        pl.Series("probability", probabilities),
        pl.lit("made").alias("detector"),
    )


def office(scan_ports: int = 200) -> tuple[pl.DataFrame, list[str]]:
    """Five minutes of a small office in which 10.0.0.66 scans 10.0.0.9, and the true labels."""
    rows = [
        flow(3 * i, f"10.0.0.{10 + i % 5}", "10.0.0.9", dst_port=1883, src_ports_60s=1 + i % 2)
        for i in range(100)
    ]
    for i in range(scan_ports):
        rows.append(
            flow(
                100 + i / 50,
                "10.0.0.66",
                "10.0.0.9",
                dst_port=1000 + i,
                state="REJ",
                src_ports_60s=i,
                src_ports_2s=min(i, 100),
            )
        )
    flows = table(rows)
    return flows, ["recon.port_scan" if src == "10.0.0.66" else "normal" for src in flows["src"]]


class PortCounter(Detector):
    """A detector that looks at one thing: how many ports the source tried."""

    name = "port-counter"
    labels = ("normal", "recon.port_scan")

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Detector:
        """Nothing to learn."""
        return self

    def predict(self, flows: pl.DataFrame) -> np.ndarray:
        """Sure of a scan from about eight ports on."""
        scan = 1 / (1 + np.exp(9 - 3 * flows["src_ports_60s_grade"].to_numpy().astype(np.float32)))
        return np.stack([1 - scan, scan], axis=1).astype(np.float32)

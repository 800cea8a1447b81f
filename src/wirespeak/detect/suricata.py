"""Suricata as a detector: its rules read the packets, and its alerts are brought to the flows they fell on."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.language import UNKNOWN
from wirespeak.errors import InputError, MissingPart, ModelError
from wirespeak.schema import LABELS

RULES = Path(str(files("wirespeak.detect") / "suricata.rules"))
NORMAL = "normal"
_ENDS = ("low", "high", "low_port", "high_port")
# How far an alert's time, in whole microseconds, may lie outside its flow's.
_SLACK_NS = 1_000_000

# What of Suricata's own configuration matters: every address may be home, and IoT protocols are read.
_SETTINGS = """%YAML 1.1
---
vars:
  address-groups: {groups}
  port-groups: {ports}
outputs:
  - eve-log: {{enabled: yes, filetype: regular, filename: eve.json, types: [{{alert: {{metadata: yes}}}}]}}
app-layer:
  protocols: {protocols}
"""
_GROUPS = ("HOME_NET", "EXTERNAL_NET", "HTTP_SERVERS", "SMTP_SERVERS", "SQL_SERVERS", "DNS_SERVERS", "TELNET_SERVERS", "AIM_SERVERS", "DC_SERVERS", "DNP3_SERVER", "DNP3_CLIENT", "MODBUS_CLIENT", "MODBUS_SERVER", "ENIP_CLIENT", "ENIP_SERVER")  # fmt: skip
_PORTS = {
    "HTTP_PORTS": "any", "SHELLCODE_PORTS": "!80", "ORACLE_PORTS": 1521, "SSH_PORTS": 22, "DNP3_PORTS": 20000,
    "MODBUS_PORTS": 502, "FILE_DATA_PORTS": "any", "FTP_PORTS": 21, "GENEVE_PORTS": 6081, "VXLAN_PORTS": 4789,
    "TEREDO_PORTS": 3544,
}  # fmt: skip
_PROTOCOLS = ("http", "mqtt", "modbus", "ssh", "tls", "ftp", "smtp", "dns", "telnet", "smb", "dhcp", "ntp", "tftp", "snmp", "sip")  # fmt: skip


class Suricata:
    """Keeps contracts.Detector with rules: where no alert falls on a flow, it is ordinary.

    An alert stands for the canonical label that its rule's metadata names (`metadata: label web.xss`), or for
    `unknown` where it names none, as rules of others do; of several alerts the lowest sid counts. Rules know no
    probability: the label said has 1. captures: the packets, by the name that the column `recording` of the
    flows holds; one capture needs no such column.
    """

    name = "suricata"

    def __init__(self, captures: Mapping[str, Path], *, rules: Path | None = None) -> None:
        self.captures = dict(captures)
        self.rules = rules or RULES
        self.labels = (NORMAL, *(label for label in LABELS if label not in (NORMAL, UNKNOWN)), UNKNOWN)
        self._alerts: dict[str, pl.DataFrame] = {}

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Suricata:
        """Rules are written, not learnt: nothing happens."""
        return self

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """1 for the label said, float32 [flows, labels]. flows: columns first_seen, last_seen (ns), src, dst, src_port,
        dst_port. Runs Suricata once a capture.

        Raises MissingPart without Suricata, InputError for flows of a recording whose packets are not there,
        ModelError where Suricata refuses its rules.
        """
        said = np.full(len(flows), self.labels.index(NORMAL))
        for name, rows in _by_recording(flows, list(self.captures)):
            if name not in self._alerts:
                self._alerts[name] = alerts(self._capture(name), self.rules)
            labels = _labels(flows[rows], self._alerts[name])
            said[rows] = [self.labels.index(label) for label in labels]
        return np.eye(len(self.labels), dtype=np.float32)[said]

    def save(self, folder: Path) -> None:
        """Write the rules."""
        shutil.copyfile(self.rules, folder / "suricata.rules")

    def _capture(self, name: str) -> Path:
        if name not in self.captures:
            raise InputError(
                f"the packets of recording '{name}' are not there, and Suricata reads packets. Give its folder."
            )
        return self.captures[name]


def alerts(capture: Path, rules: Path) -> pl.DataFrame:
    """What Suricata says of a capture: time_ns, low, high, low_port, high_port, sid, label; a row an alert."""
    program = shutil.which("suricata")
    if program is None:
        raise MissingPart(
            "Suricata is needed for this and is not installed. As root run: apt-get install suricata"
        )
    with tempfile.TemporaryDirectory(prefix="wirespeak-") as name:
        folder = Path(name)
        (folder / "suricata.yaml").write_text(_settings(), "utf-8")
        command: list[str | Path] = [program, "-c", "suricata.yaml", "-r", capture.resolve(), "-S", rules.resolve(), "-l", ".", "-k", "none", "--runmode", "single", "--init-errors-fatal"]  # fmt: skip
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.startswith("E")]
            raise ModelError(
                f"Suricata could not read {capture.name} by {rules.name}: {(said or ['it gave no reason'])[0]}. "
                "Check the rules with 'suricata -T -S FILE'."
            )
        lines = (folder / "eve.json").read_text("utf-8", errors="replace").splitlines()
    return _table(record for line in lines if (record := json.loads(line)).get("event_type") == "alert")


def _settings() -> str:
    return _SETTINGS.format(
        groups=json.dumps(dict.fromkeys(_GROUPS, "any")),
        ports=json.dumps({name: str(ports) for name, ports in _PORTS.items()}),
        protocols=json.dumps({name: {"enabled": "yes"} for name in _PROTOCOLS}),
    )


def _table(records: Any) -> pl.DataFrame:
    rows = []
    for record in records:
        named = record["alert"].get("metadata", {}).get("label", [UNKNOWN])[0]
        port = (record.get("src_port"), record.get("dest_port"))
        low, high = sorted([(_address(record["src_ip"]), port[0]), (_address(record["dest_ip"]), port[1])], key=_order)  # fmt: skip
        label = named if named in LABELS else UNKNOWN
        rows.append((record["timestamp"], low[0], high[0], low[1], high[1], record["alert"]["signature_id"], label))  # fmt: skip
    schema = {"time": pl.String, "low": pl.String, "high": pl.String, "low_port": pl.Int64, "high_port": pl.Int64, "sid": pl.Int64, "label": pl.String}  # fmt: skip
    table = pl.DataFrame(rows, schema=schema, orient="row")
    when = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f%z", time_unit="ns").dt.epoch("ns")
    return table.select(when.alias("time_ns"), *_ENDS, "sid", "label")


def _order(end: tuple[str, int | None]) -> tuple[str, int]:
    return end[0], -1 if end[1] is None else end[1]


def _address(text: str) -> str:
    """The one short form of an address: Suricata writes the zeros of IPv6 out."""
    return str(ip_address(text))


def _by_recording(flows: pl.DataFrame, names: Sequence[str]) -> list[tuple[str, NDArray[np.int64]]]:
    """The rows of each recording."""
    if "recording" not in flows.columns:
        if len(names) != 1:
            raise InputError(
                f"the flows do not say which of {len(names)} captures they are from: column 'recording'."
            )
        return [(names[0], np.arange(len(flows)))]
    of = flows["recording"]
    return [(name, (of == name).arg_true().to_numpy()) for name in of.unique(maintain_order=True)]


def _labels(flows: pl.DataFrame, said: pl.DataFrame) -> list[str]:
    """The label of each flow: that of the alert of the lowest sid between its ends and in its time."""
    ports = pl.col("src_port", "dst_port").cast(pl.Int64).fill_null(-1)
    turned = (pl.col("src") > pl.col("dst")) | ((pl.col("src") == pl.col("dst")) & (pl.col("src_port") > pl.col("dst_port")))  # fmt: skip
    keyed = (
        flows.lazy()
        .select("src", "dst", "first_seen", "last_seen", ports)
        .with_columns(
            low=pl.when(turned).then("dst").otherwise("src"),
            high=pl.when(turned).then("src").otherwise("dst"),
            low_port=pl.when(turned).then("dst_port").otherwise("src_port"),
            high_port=pl.when(turned).then("src_port").otherwise("dst_port"),
            begun=pl.col("first_seen") - _SLACK_NS,
            over=pl.col("last_seen") + _SLACK_NS,
        )
        .with_row_index("row")
        .select("row", *_ENDS, "begun", "over")
        .sort("begun")
    )
    fell = (
        said.lazy()
        .with_columns(pl.col("low_port", "high_port").fill_null(-1))
        .sort("time_ns")
        .join_asof(keyed, left_on="time_ns", right_on="begun", by=list(_ENDS), strategy="backward", check_sortedness=False)
        .filter(pl.col("time_ns") <= pl.col("over"))
        .sort("sid")
        .group_by("row")
        .agg(pl.col("label").first())
        .collect()
    )  # fmt: skip
    found = np.full(len(flows), NORMAL, dtype=object)
    found[fell["row"].to_numpy()] = fell["label"].to_numpy()
    return list(found)

"""CICIDS2017 measured and labelled again with a mended CICFlowMeter (Liu et al., 2022)."""

from __future__ import annotations

from wirespeak.data.dataset import Field
from wirespeak.data.sources import cicids2017
from wirespeak.data.sources.source import Answer, Download, Published, Source

# What the mended generator calls a column, where the name changed.
_RENAMED = {
    "Source IP": "Src IP", "Source Port": "Src Port", "Destination IP": "Dst IP", "Destination Port": "Dst Port",
    "Total Fwd Packets": "Total Fwd Packet", "Total Backward Packets": "Total Bwd packets",
    "Total Length of Fwd Packets": "Total Length of Fwd Packet",
    "Total Length of Bwd Packets": "Total Length of Bwd Packet",
    "Min Packet Length": "Packet Length Min", "Max Packet Length": "Packet Length Max",
    "CWE Flag Count": "CWR Flag Count", "Avg Fwd Segment Size": "Fwd Segment Size Avg",
    "Avg Bwd Segment Size": "Bwd Segment Size Avg", "Fwd Avg Bytes/Bulk": "Fwd Bytes/Bulk Avg",
    "Fwd Avg Packets/Bulk": "Fwd Packet/Bulk Avg", "Fwd Avg Bulk Rate": "Fwd Bulk Rate Avg",
    "Bwd Avg Bytes/Bulk": "Bwd Bytes/Bulk Avg", "Bwd Avg Packets/Bulk": "Bwd Packet/Bulk Avg",
    "Bwd Avg Bulk Rate": "Bwd Bulk Rate Avg", "Init_Win_bytes_forward": "FWD Init Win Bytes",
    "Init_Win_bytes_backward": "Bwd Init Win Bytes", "act_data_pkt_fwd": "Fwd Act Data Pkts",
    "min_seg_size_forward": "Fwd Seg Size Min",
}  # fmt: skip
_MEANINGS = {"Timestamp": "when the flow began"}


def _mended(field: Field) -> Field:
    name = _RENAMED.get(field.name, field.name)
    return Field(name, field.kind, field.role, field.unit, _MEANINGS.get(name, field.meaning))


_OLD = [_mended(field) for field in cicids2017.FIELDS if field.name not in ("Fwd Header Length.1", "Label")]

FIELDS = (
    Field("id", "number", "order", "", "number of the row"),
    *_OLD,
    Field("Fwd RST Flags", "number", "feature", "packets"),
    Field("Bwd RST Flags", "number", "feature", "packets"),
    Field("ICMP Code", "number", "feature", "", "-1 when not ICMP"),
    Field("ICMP Type", "number", "feature", "", "-1 when not ICMP"),
    Field("Total TCP Flow Time", "number", "feature", "microseconds", "of the whole TCP connection"),
    Field("Label", "category", "label", "", "name of the attack, or BENIGN"),
    Field("Attempted Category", "number", "label", "", "why an attack had no effect, or -1"),
)

_EFFECTIVE = {
    "Botnet": "malware.botnet", "DDoS": "flood.http", "DoS GoldenEye": "flood.http", "DoS Hulk": "flood.http",
    "DoS Slowhttptest": "flood.slow", "DoS Slowloris": "flood.slow", "FTP-Patator": "brute_force",
    "SSH-Patator": "brute_force", "Heartbleed": "exploit", "Infiltration": "exploit",
    "Infiltration - Portscan": "recon.port_scan", "Portscan": "recon.port_scan",
    "Web Attack - Brute Force": "brute_force", "Web Attack - SQL Injection": "web.sqli",
    "Web Attack - XSS": "web.xss",
}  # fmt: skip
# An attempt is a flow of an attack that carried none of it; its own label keeps it apart.
CANONICAL = {"BENIGN": "normal", **_EFFECTIVE, **{f"{name} - Attempted": "normal" for name in _EFFECTIVE}}

SOURCE = Source(
    name="cicids2017-corrected",
    title="CICIDS2017, corrected",
    granularity="flow",
    row="one flow, as a mended CICFlowMeter measures it",
    fields=FIELDS,
    answers=(Answer("Label", CANONICAL),),
    infinities=True,
    capture_files=True,
    home="https://intrusion-detection.distrinet-research.be/CNS2022/CICIDS2017.html",
    terms="research, with citation of both papers",
    fetching="No account is needed. Unpack the five CSV files.",
    published=(
        Published("all five files together", 2_099_976, {}, None, "", "a public count of the five files (github.com/xGoldy/nid-datasets)"),
    ),
    downloads=(
        Download(
            "CICIDS2017_improved.zip",
            "https://intrusion-detection.distrinet-research.be/CNS2022/Datasets/CICIDS2017_improved.zip",
        ),
    ),
    levels={
        level: tuple(_RENAMED.get(name, name) for name in names)
        for level, names in cicids2017.SOURCE.levels.items()
    },
    flaws=(
        "No file of this release was at hand when this source was written: its columns and labels come from public listings of the files.",
        "Flows of an attack that carried nothing of it are labelled `... - Attempted`. They count as normal here; their own names stay, so that they can be left out.",
        "`id` counts the rows and `Timestamp` has microseconds: attacks lie in runs. Neither is a feature.",
        "The network, its hosts and its hours are those of CICIDS2017: addresses and ports still give the answer.",
    ),
)  # fmt: skip

"""Farm-Flow: Zeek and CICFlowMeter-like features of attacks in a smart farm (Ferreira et al., 2024)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers

Z_SCORE = "standard deviations"

FIELDS = (
    *numbers(
        "missed_bytes orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes fwd_pkts_per_sec bwd_pkts_per_sec "
        "flow_pkts_per_sec down_up_ratio fwd_header_size_tot fwd_header_size_min fwd_header_size_max "
        "bwd_header_size_tot bwd_header_size_min bwd_header_size_max fwd_pkts_payload.tot fwd_pkts_payload.avg "
        "bwd_pkts_payload.tot bwd_pkts_payload.avg flow_pkts_payload.tot flow_pkts_payload.avg fwd_iat.tot "
        "fwd_iat.avg bwd_iat.tot bwd_iat.avg flow_iat.tot flow_iat.avg pkts_difference data_pkts_difference",
        unit=Z_SCORE,
        meaning="distance from the mean of the training rows",
    ),
    Field("traffic", "category", "label", "", "kind of traffic, 0 to 8"),
    Field("is_attack", "number", "label", "", "0 normal, 1 attack"),
)

NAMES = (
    "Normal", "Arp_Spoofing", "BotNet_DDOS", "HTTP_Flood", "ICMP_Flood", "MQTT_Flood", "Port_Scanning",
    "TCP_Flood", "UDP_Flood",
)  # fmt: skip
CANONICAL = {
    "Normal": "normal", "Arp_Spoofing": "spoof.arp", "BotNet_DDOS": "malware.botnet", "HTTP_Flood": "flood.http",
    "ICMP_Flood": "flood.icmp", "MQTT_Flood": "flood.mqtt", "Port_Scanning": "recon.port_scan",
    "TCP_Flood": "flood.syn", "UDP_Flood": "flood.udp",
}  # fmt: skip
_EACH = 57_611


def inspect(table: pl.DataFrame) -> list[str]:
    """Whether both answers are there, and how much three decimals would erase."""
    notes = []
    if {"traffic", "is_attack"} <= set(table.columns):
        notes.append("A binary file that also carries `traffic`: a label in disguise. It is no feature.")
    if "flow_pkts_per_sec" in table.columns:
        small = int((table["flow_pkts_per_sec"].abs() < 0.0005).sum())
        if small:
            notes.append(f"flow_pkts_per_sec: {small:,} values round to 0 at three decimals.")
    return notes


SOURCE = Source(
    name="farm-flow",
    title="Farm-Flow",
    granularity="flow",
    row="one flow of a smart farm's test network, z-scored",
    fields=FIELDS,
    answers=(
        Answer("traffic", CANONICAL, codes={str(code): name for code, name in enumerate(NAMES)}),
        Answer("is_attack", {"Normal": "normal", "Attack": "other"}, codes={"0": "Normal", "1": "Attack"}),
    ),
    home="https://doi.org/10.5281/zenodo.10964647",
    terms="none stated with the files; see the Zenodo record",
    fetching="Open the record and take the train and test files under 'Files'; no account is needed.",
    published=(
        Published(
            "Train_Multiclass", 405_296,
            {"Normal": 2_019} | {name: _EACH for name in NAMES if name not in ("Normal", "UDP_Flood")},
            "train", "", "counted in the file",
        ),
    ),
    inspect=inspect,
    levels=levels(
        "orig_pkts resp_pkts orig_ip_bytes resp_ip_bytes flow_pkts_per_sec flow_iat.avg",
        "missed_bytes fwd_pkts_per_sec bwd_pkts_per_sec down_up_ratio fwd_pkts_payload.avg bwd_pkts_payload.avg flow_pkts_payload.avg fwd_iat.avg bwd_iat.avg pkts_difference",
    ),
    flaws=(
        "Values are z-scores: their unit is standard deviations. Nothing may call them bytes or seconds, and a change of 5 % leaves zeros as they are and can break min <= avg <= max.",
        "85.31 % of the training rows are duplicates (HTTP 97.23, MQTT 97.16, scan 95.53, ARP 91.39, ICMP 85.91, TCP 46.19, normal 41.16 %): split by group.",
        "The binary files also contain `traffic`: the answer, in disguise.",
        "Each attack in Train_Multiclass was drawn to 57,611 rows, with 2,019 of normal traffic: not how often they occur. UDP_Flood is absent there.",
        "Three decimals erase `flow_pkts_per_sec`, whose values lie close to 0.",
    ),
)  # fmt: skip

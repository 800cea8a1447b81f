"""Farm-Flow: Zeek and CICFlowMeter-like features of attacks in a smart farm (Ferreira et al., 2024)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers
from wirespeak.data.sources.viewing import BWD, FWD, PACKETS, PAYLOAD, SECONDS, per

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


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """Flows of our own (`schema.COLUMNS`) in these columns, z-scored over the rows given, as the dataset is.

    labels: canonical ones; rows of a kind that Farm-Flow has not are left out, and the others get `traffic` and
    `is_attack`. The least and the largest header stand at the mean one, and `data_pkts_difference` and `missed_bytes` at 0:
    docs/language.md was measured so.
    """
    if labels is not None:
        codes = {CANONICAL[name]: code for code, name in enumerate(NAMES)}
        traffic = labels.replace_strict(codes, default=None, return_dtype=pl.Int64).alias("traffic")
        known = traffic.is_not_null()
        answers = pl.DataFrame(
            [traffic.filter(known), (traffic.filter(known) > 0).cast(pl.Int64).alias("is_attack")]
        )
        return view(flows.filter(known)).hstack(answers)
    found: dict[str, pl.Expr] = {
        "missed_bytes": pl.lit(0.0), "orig_pkts": FWD, "orig_ip_bytes": pl.col("fwd_bytes"), "resp_pkts": BWD,
        "resp_ip_bytes": pl.col("bwd_bytes"), "fwd_pkts_per_sec": per(FWD, SECONDS), "bwd_pkts_per_sec": per(BWD, SECONDS),
        "flow_pkts_per_sec": per(PACKETS, SECONDS), "down_up_ratio": per(BWD, FWD),
    }  # fmt: skip
    for way, count in (("fwd", FWD), ("bwd", BWD)):
        header = pl.col(f"{way}_bytes") - pl.col(f"{way}_payload_bytes")
        found |= {
            f"{way}_header_size_tot": header,
            f"{way}_header_size_min": per(header, count),
            f"{way}_header_size_max": per(header, count),
        }
    for way, amount, count in (
        ("fwd", pl.col("fwd_payload_bytes"), FWD),
        ("bwd", pl.col("bwd_payload_bytes"), BWD),
        ("flow", PAYLOAD, PACKETS),
    ):
        found |= {f"{way}_pkts_payload.tot": amount, f"{way}_pkts_payload.avg": per(amount, count)}
    for way, mean, count in (
        ("fwd", "fwd_iat_mean_s", FWD),
        ("bwd", "bwd_iat_mean_s", BWD),
        ("flow", "iat_mean_s", PACKETS),
    ):
        found |= {
            f"{way}_iat.tot": pl.col(mean) * (count - 1).clip(lower_bound=0),
            f"{way}_iat.avg": pl.col(mean),
        }
    found |= {"pkts_difference": FWD.cast(pl.Int64) - BWD.cast(pl.Int64), "data_pkts_difference": pl.lit(0.0)}
    raw = flows.select(value.cast(pl.Float64).alias(name) for name, value in found.items())
    spread = pl.all().std()
    return raw.select(
        pl.when(spread > 0).then((pl.all() - pl.all().mean()) / spread).otherwise(0.0).name.keep()
    ).select(field.name for field in FIELDS if field.role == "feature")


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

"""CICIDS2017: flows of five working days as CICFlowMeter columns (Sharafaldin et al., 2018)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers
from wirespeak.data.sources.viewing import (
    BWD,
    FWD,
    IS_TCP,
    NETWORK_HEADER,
    PACKETS,
    PAYLOAD,
    SECONDS,
    in_columns,
    microseconds,
    per,
    protocol_number,
    sample_deviation,
)

_MICROSECONDS = "microseconds"

FIELDS = (
    Field("Flow ID", "text", "id", "", "both addresses, both ports and the protocol"),
    Field("Source IP", "text", "address"),
    Field("Source Port", "number", "port"),
    Field("Destination IP", "text", "address"),
    Field("Destination Port", "number", "port"),
    Field("Protocol", "category", "feature", "", "number of the IP protocol"),
    Field("Timestamp", "text", "time", "", "when the flow began, to the minute, without am or pm"),
    *numbers("Flow_Duration", unit=_MICROSECONDS),
    *numbers("Total_Fwd_Packets Total_Backward_Packets", unit="packets"),
    *numbers("Total_Length_of_Fwd_Packets Total_Length_of_Bwd_Packets Fwd_Packet_Length_Max Fwd_Packet_Length_Min Fwd_Packet_Length_Mean Fwd_Packet_Length_Std Bwd_Packet_Length_Max Bwd_Packet_Length_Min Bwd_Packet_Length_Mean Bwd_Packet_Length_Std", unit="bytes"),
    *numbers("Flow_Bytes/s", unit="bytes per second", meaning="infinite or NaN when the flow lasted 0"),
    *numbers("Flow_Packets/s", unit="packets per second", meaning="infinite when the flow lasted 0"),
    *numbers("Flow_IAT_Mean Flow_IAT_Std Flow_IAT_Max Flow_IAT_Min Fwd_IAT_Total Fwd_IAT_Mean Fwd_IAT_Std Fwd_IAT_Max Fwd_IAT_Min Bwd_IAT_Total Bwd_IAT_Mean Bwd_IAT_Std Bwd_IAT_Max Bwd_IAT_Min", unit=_MICROSECONDS),
    *numbers("Fwd_PSH_Flags Bwd_PSH_Flags Fwd_URG_Flags Bwd_URG_Flags", unit="packets"),
    *numbers("Fwd_Header_Length Bwd_Header_Length", unit="bytes"),
    *numbers("Fwd_Packets/s Bwd_Packets/s", unit="packets per second"),
    *numbers("Min_Packet_Length Max_Packet_Length Packet_Length_Mean Packet_Length_Std", unit="bytes"),
    *numbers("Packet_Length_Variance", unit="bytes squared"),
    *numbers("FIN_Flag_Count SYN_Flag_Count RST_Flag_Count PSH_Flag_Count ACK_Flag_Count URG_Flag_Count CWE_Flag_Count ECE_Flag_Count", unit="packets"),
    *numbers("Down/Up_Ratio", unit="share"),
    *numbers("Average_Packet_Size Avg_Fwd_Segment_Size Avg_Bwd_Segment_Size", unit="bytes"),
    *numbers("Fwd_Header_Length.1", unit="bytes", meaning="the same column again"),
    *numbers("Fwd_Avg_Bytes/Bulk", unit="bytes"),
    *numbers("Fwd_Avg_Packets/Bulk", unit="packets"),
    *numbers("Fwd_Avg_Bulk_Rate", unit="bytes per second"),
    *numbers("Bwd_Avg_Bytes/Bulk", unit="bytes"),
    *numbers("Bwd_Avg_Packets/Bulk", unit="packets"),
    *numbers("Bwd_Avg_Bulk_Rate", unit="bytes per second"),
    *numbers("Subflow_Fwd_Packets", unit="packets"),
    *numbers("Subflow_Fwd_Bytes", unit="bytes"),
    *numbers("Subflow_Bwd_Packets", unit="packets"),
    *numbers("Subflow_Bwd_Bytes", unit="bytes"),
    *numbers("Init_Win_bytes_forward Init_Win_bytes_backward", unit="bytes", meaning="-1 when not TCP"),
    *numbers("act_data_pkt_fwd", unit="packets"),
    *numbers("min_seg_size_forward", unit="bytes"),
    *numbers("Active_Mean Active_Std Active_Max Active_Min Idle_Mean Idle_Std Idle_Max Idle_Min", unit=_MICROSECONDS),
    Field("Label", "category", "label", "", "name of the attack, or BENIGN"),
)  # fmt: skip

# Three columns are published with underscores; the others with spaces, written above as underscores.
_UNDERSCORED = (
    "Init_Win_bytes_forward",
    "Init_Win_bytes_backward",
    "act_data_pkt_fwd",
    "min_seg_size_forward",
)
FIELDS = tuple(
    field
    if field.name in _UNDERSCORED
    else Field(field.name.replace("_", " "), field.kind, field.role, field.unit, field.meaning)
    for field in FIELDS
)

CANONICAL = {
    "BENIGN": "normal", "Bot": "malware.botnet", "DDoS": "flood.http", "DoS GoldenEye": "flood.http",
    "DoS Hulk": "flood.http", "DoS Slowhttptest": "flood.slow", "DoS slowloris": "flood.slow",
    "FTP-Patator": "brute_force", "SSH-Patator": "brute_force", "Heartbleed": "exploit",
    "Infiltration": "exploit", "PortScan": "recon.port_scan", "Web Attack - Brute Force": "brute_force",
    "Web Attack - Sql Injection": "web.sqli", "Web Attack - XSS": "web.xss",
}  # fmt: skip

_COUNTS = {
    "BENIGN": 2_273_097, "DoS Hulk": 231_073, "PortScan": 158_930, "DDoS": 128_027, "DoS GoldenEye": 10_293,
    "FTP-Patator": 7_938, "SSH-Patator": 5_897, "DoS slowloris": 5_796, "DoS Slowhttptest": 5_499, "Bot": 1_966,
    "Web Attack - Brute Force": 1_507, "Web Attack - XSS": 652, "Infiltration": 36,
    "Web Attack - Sql Injection": 21, "Heartbleed": 11,
}  # fmt: skip


def inspect(table: pl.DataFrame) -> list[str]:
    """Times below zero, and whether the repeated column repeats."""
    notes = []
    durations = table["Flow Duration"] if "Flow Duration" in table.columns else None
    negative = int((durations < 0).sum()) if durations is not None else 0
    if negative:
        notes.append(f"Flow Duration: {negative:,} flows lasted less than 0.")
    if {"Fwd Header Length", "Fwd Header Length.1"} <= set(table.columns):
        same = table["Fwd Header Length"].equals(table["Fwd Header Length.1"])
        notes.append(
            f"`Fwd Header Length` is there twice, {'with the same' if same else 'but with different'} values."
        )
    return notes


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """IP flows of our own (`schema.COLUMNS`) in these columns, as CICFlowMeter measures them: lengths are of payloads, headers of the
    transport, deviations of samples, times in microseconds.

    labels: canonical ones; rows of a kind that CICIDS2017 has not are left out. It was right in fewer cases than this: flags count packets here,
    and no flow ends by its first FIN. The averages of bulks are null.
    """
    packets = ~flows["protocol"].is_in(["arp", "802.15.4"])
    if labels is not None:
        names = {canonical: name for name, canonical in reversed(CANONICAL.items())}
        answers = labels.replace_strict(names, default=None, return_dtype=pl.String).alias("Label")
        known = packets & answers.is_not_null()
        return view(flows.filter(known)).with_columns(answers.filter(known))
    pause, gaps = (
        {"Fwd": "fwd_iat", "Bwd": "bwd_iat", "Flow": "iat"},
        {"Fwd": FWD - 1, "Bwd": BWD - 1, "Flow": PACKETS - 1},
    )
    ports = {end: pl.col(f"{end}_port").fill_null(0) for end in ("src", "dst")}
    sides = {"Fwd": ("fwd", FWD), "Bwd": ("bwd", BWD)}
    found: dict[str, pl.Expr] = {
        "Flow ID": pl.concat_str("src", "dst", *ports.values(), protocol_number(), separator="-"),
        "Source IP": pl.col("src"), "Source Port": ports["src"], "Destination IP": pl.col("dst"), "Destination Port": ports["dst"],
        "Protocol": protocol_number(), "Timestamp": pl.from_epoch("first_seen", time_unit="ns").dt.strftime("%d/%m/%Y %H:%M:%S"),
        "Flow Duration": microseconds(SECONDS), "Total Fwd Packets": FWD, "Total Backward Packets": BWD,
        "Total Length of Fwd Packets": pl.col("fwd_payload_bytes"), "Total Length of Bwd Packets": pl.col("bwd_payload_bytes"),
        "Flow Bytes/s": per(PAYLOAD, SECONDS), "Flow Packets/s": per(PACKETS, SECONDS),
        "Min Packet Length": pl.col("payload_min_bytes"), "Max Packet Length": pl.col("payload_max_bytes"), "Packet Length Mean": pl.col("payload_mean_bytes"),
        "Packet Length Std": sample_deviation(pl.col("payload_std_bytes"), PACKETS),
        "Packet Length Variance": sample_deviation(pl.col("payload_std_bytes"), PACKETS).pow(2),
        "Down/Up Ratio": per(BWD, FWD).floor(), "Average Packet Size": pl.col("payload_mean_bytes"),
        "act_data_pkt_fwd": pl.col("fwd_payload_packets"),
        "min_seg_size_forward": pl.when(FWD > 0).then(pl.col("fwd_header_min_bytes") - NETWORK_HEADER).otherwise(0),
    }  # fmt: skip
    for name, stem in pause.items():
        head = f"{name} IAT "
        found |= {
            f"{head}Mean": pl.col(f"{stem}_mean_s") * 1e6, f"{head}Max": microseconds(pl.col(f"{stem}_max_s")),
            f"{head}Min": microseconds(pl.col(f"{stem}_min_s")),
            f"{head}Std": sample_deviation(pl.col(f"{stem}_std_s"), gaps[name]) * 1e6,
        }  # fmt: skip
    for name, (side, count) in sides.items():
        header = pl.col(f"{side}_header_bytes") - NETWORK_HEADER * count
        found |= {
            f"{name} Packet Length Max": pl.col(f"{side}_payload_max_bytes"), f"{name} Packet Length Min": pl.col(f"{side}_payload_min_bytes"),
            f"{name} Packet Length Mean": pl.col(f"{side}_payload_mean_bytes"),
            f"{name} Packet Length Std": sample_deviation(pl.col(f"{side}_payload_std_bytes"), count),
            f"{name} IAT Total": microseconds(pl.col(f"{side}_iat_mean_s") * (count - 1).clip(lower_bound=0)),
            f"{name} PSH Flags": pl.col(f"{side}_push_packets"), f"{name} URG Flags": pl.col(f"{side}_urg_packets"),
            f"{name} Header Length": header, f"{name} Packets/s": per(count, SECONDS),
            f"Avg {name} Segment Size": pl.col(f"{side}_payload_mean_bytes"),
            f"Subflow {name} Packets": count, f"Subflow {name} Bytes": pl.col(f"{side}_payload_bytes"),
        }  # fmt: skip
    found["Fwd Header Length.1"] = found["Fwd Header Length"]
    flags = {
        "FIN": "fin",
        "SYN": "syn",
        "RST": "rst",
        "PSH": "push",
        "ACK": "ack",
        "URG": "urg",
        "CWE": "cwr",
        "ECE": "ece",
    }
    found |= {
        f"{name} Flag Count": pl.col(f"fwd_{stem}_packets") + pl.col(f"bwd_{stem}_packets")
        for name, stem in flags.items()
    }
    for way, side in (("forward", "fwd"), ("backward", "bwd")):
        seen = IS_TCP & (pl.col(f"{side}_packets") > 0)
        found[f"Init_Win_bytes_{way}"] = pl.when(seen).then(pl.col(f"{side}_window_bytes")).otherwise(-1)
    for period in ("active", "idle"):
        found |= {
            f"{period.title()} {statistic.title()}": microseconds(pl.col(f"{period}_{statistic}_s"))
            for statistic in ("mean", "std", "max", "min")
        }
    return in_columns(flows.filter(packets), (field.name for field in FIELDS if field.name != "Label"), found)


def _one_dash(name: pl.Expr) -> pl.Expr:
    # The dash of "Web Attack - XSS" is byte 0x96 of Windows-1252, or the ruin some tool made of it.
    return name.str.replace(r"^Web Attack\s+[^A-Za-z]*\s*", "Web Attack - ")


SOURCE = Source(
    name="cicids2017",
    title="CICIDS2017",
    granularity="flow",
    row="one flow, as CICFlowMeter measures it",
    fields=FIELDS,
    answers=(Answer("Label", CANONICAL, clean=_one_dash),),
    infinities=True,
    encoding="cp1252",
    capture_files=True,
    home="https://www.unb.ca/cic/datasets/ids-2017.html",
    terms="research, with citation (CIC, University of New Brunswick)",
    fetching="Fill in the form behind 'Download this dataset' on that page and unpack MachineLearningCSV.zip or GeneratedLabelledFlows.zip.",
    published=(
        Published("all eight files together", 2_830_743, _COUNTS, None, "", "a public count of the eight files (github.com/xGoldy/nid-datasets)"),
    ),
    inspect=inspect,
    levels=levels(
        "Protocol, Flow Duration, Total Fwd Packets, Total Backward Packets, Total Length of Fwd Packets, Total Length of Bwd Packets",
        "Flow Bytes/s, Flow Packets/s, Flow IAT Mean, Flow IAT Max, Fwd Packet Length Mean, Bwd Packet Length Mean, SYN Flag Count, RST Flag Count, PSH Flag Count, Init_Win_bytes_forward, Init_Win_bytes_backward", between=", ",
    ),
    flaws=(
        "Column names begin with spaces, `Fwd Header Length` is there twice, and the dash in the 'Web Attack' labels is a byte that is not UTF-8. All three are mended while reading.",
        "`Flow Bytes/s` and `Flow Packets/s` are infinite or NaN where a flow lasted 0. They are read as missing and counted.",
        "In the release with addresses, the file of the web attacks ends in 288,602 empty rows. They are left out.",
        "The flow generator had errors: TCP flows cut short or going on after a reset, attacks labelled that never had an effect, times below zero. Corrected releases exist (Engelen et al. 2021; Liu et al. 2022): prefer the latter, which is `cicids2017-corrected` here.",
        "Each attack has its own hours and its own hosts, and one file a day. `Timestamp`, addresses and `Flow ID` give the answer; `Destination Port` nearly does.",
    ),
)  # fmt: skip

"""CICIoT2023: windows of packets of 105 devices, summed up in 46 or 39 columns (Neto et al., 2023)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers

FIELDS = (
    *numbers("flow_duration", unit="seconds"),
    Field("Header_Length", "number", "feature", "bytes", "of the headers"),
    Field("Protocol Type", "number", "feature", "", "numbers of the IP protocols, averaged over the window"),
    Field("Duration", "number", "ttl", "hops", "time to live, though the column is called a duration"),
    Field("Time_To_Live", "number", "ttl", "hops", "time to live, in the later release"),
    *numbers("Rate Srate Drate", unit="packets per second"),
    *numbers("fin_flag_number syn_flag_number rst_flag_number psh_flag_number ack_flag_number ece_flag_number cwr_flag_number", meaning="flag of the window's packets"),
    *numbers("ack_count syn_count fin_count urg_count rst_count", unit="packets", meaning="with the flag, averaged over the window"),
    *numbers("HTTP HTTPS DNS Telnet SMTP SSH IRC TCP UDP DHCP ARP ICMP IGMP IPv LLC", meaning="whether the protocol occurs"),
    *[Field(name, "number", "feature", "bytes", "of the packets' lengths") for name in ("Tot sum", "Min", "Max", "AVG", "Std", "Tot size")],
    *numbers("IAT", meaning="time between packets, in a unit nobody states"),
    *numbers("Number", unit="packets", meaning="in the window"),
    *numbers("Magnitue Radius Covariance Variance Weight", meaning="of the lengths of incoming and outgoing packets"),
    Field("label", "category", "label", "", "name of the attack, or BenignTraffic"),
)  # fmt: skip

CANONICAL = {
    "BenignTraffic": "normal",
    "DDoS-ACK_Fragmentation": "flood.other", "DDoS-HTTP_Flood": "flood.http", "DDoS-ICMP_Flood": "flood.icmp",
    "DDoS-ICMP_Fragmentation": "flood.icmp", "DDoS-PSHACK_Flood": "flood.other", "DDoS-RSTFINFlood": "flood.other",
    "DDoS-SYN_Flood": "flood.syn", "DDoS-SlowLoris": "flood.slow", "DDoS-SynonymousIP_Flood": "flood.syn",
    "DDoS-TCP_Flood": "flood.other", "DDoS-UDP_Flood": "flood.udp", "DDoS-UDP_Fragmentation": "flood.udp",
    "DoS-HTTP_Flood": "flood.http", "DoS-SYN_Flood": "flood.syn", "DoS-TCP_Flood": "flood.other",
    "DoS-UDP_Flood": "flood.udp",
    "Mirai-greeth_flood": "flood.other", "Mirai-greip_flood": "flood.other", "Mirai-udpplain": "flood.udp",
    "Recon-HostDiscovery": "recon.sweep", "Recon-OSScan": "recon.fingerprint", "Recon-PingSweep": "recon.sweep",
    "Recon-PortScan": "recon.port_scan", "VulnerabilityScan": "recon.vuln_scan",
    "DNS_Spoofing": "spoof.dns", "MITM-ArpSpoofing": "spoof.arp",
    "Backdoor_Malware": "malware.backdoor", "BrowserHijacking": "exploit", "CommandInjection": "web.injection",
    "SqlInjection": "web.sqli", "Uploading_Attack": "web.upload", "XSS": "web.xss",
    "DictionaryBruteForce": "brute_force",
}  # fmt: skip

# The kind of attack, which the authors use as their eight classes.
_STEMS = {"DDoS": "DDoS", "DoS": "DoS", "Mirai": "Mirai", "Recon": "Recon", "MITM": "Spoofing"}
KINDS = {
    "BenignTraffic": "Benign",
    "VulnerabilityScan": "Recon",
    "DNS_Spoofing": "Spoofing",
    "DictionaryBruteForce": "BruteForce",
}
CATEGORIES = {name: KINDS.get(name) or _STEMS.get(name.split("-")[0], "Web") for name in CANONICAL}  # fmt: skip


def inspect(table: pl.DataFrame) -> list[str]:
    """Columns that say the same thing twice."""
    if {"Rate", "Srate"} <= set(table.columns) and table["Rate"].equals(table["Srate"]):
        return ["`Srate` equals `Rate` in every row."]
    return []


SOURCE = Source(
    name="ciciot2023",
    title="CICIoT2023",
    granularity="flow",
    row="one window of 10 or 100 packets between two hosts",
    fields=FIELDS,
    answers=(
        Answer("label", CANONICAL, CATEGORIES, clean=lambda name: name.replace({"BENIGN": "BenignTraffic"})),
    ),
    infinities=True,
    capture_files=True,
    home="https://www.unb.ca/cic/datasets/iotdataset-2023.html",
    terms="research, with citation (CIC, University of New Brunswick)",
    fetching="Fill in the form behind 'Download this dataset' on that page and take the CSV files.",
    published=(
        Published("all files together", 46_686_579, {}, None, "", "a public count of the CSV files (github.com/xGoldy/nid-datasets)"),
    ),
    inspect=inspect,
    levels=levels(
        "flow_duration, Protocol Type, Rate, Tot sum, AVG, IAT",
        "Header_Length, Std, Number, syn_count, ack_count, fin_count, rst_count, HTTP, DNS, TCP, UDP, ARP, ICMP", between=", ",
    ),
    flaws=(
        "No dataset of this name was at hand when this source was written: columns and labels are those of the published files, checked against public listings; the flaws below are from reading columns, not from a measurement.",
        "Comes with 46 columns, or, merged and made again, with 39 (`Time_To_Live` and `IGMP` are new, nine are gone) and labels in capitals, `BENIGN` among them. Both are read; labels get the spelling of the first release.",
        "Rates may be infinite or empty in the later release: read as missing and counted.",
        "`Duration` is a time to live. It has the role `ttl`, since it says who sent the packet rather than what it does.",
        "`IAT` is near 8.3e7 in the first rows of a public listing, whatever the attack: hardly a time between packets. Let `audit` say what it gives away.",
        "A row is a window of packets, so a few packets of a rare attack are one row and a flood is millions; neighbouring windows of one flood are near twins. Split by file, not by row.",
        "`Magnitue` is spelt so in the files.",
    ),
)  # fmt: skip

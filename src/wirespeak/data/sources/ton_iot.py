"""TON-IoT, the network part: Zeek connections of a home and industrial test network (Moustafa, 2021)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers
from wirespeak.data.sources.viewing import BWD, FWD, SECONDS, in_columns, zeek_service, zeek_state


def _categories(names: str, meaning: str) -> list[Field]:
    return [Field(name, "category", "feature", "", meaning) for name in names.split()]


FIELDS = (
    Field("ts", "number", "time", "seconds", "start of the connection, since 1970 UTC"),
    Field("src_ip", "text", "address", "", "of the source"),
    Field("src_port", "number", "port", "", "of the source"),
    Field("dst_ip", "text", "address", "", "of the destination"),
    Field("dst_port", "number", "port", "", "of the destination"),
    Field("proto", "category", "feature", "", "transport protocol"),
    Field("service", "category", "feature", "", "application protocol Zeek recognised"),
    *numbers("duration", unit="seconds", meaning="length of the connection"),
    *numbers("src_bytes dst_bytes", unit="bytes", meaning="payload from the source, from the destination"),
    Field("conn_state", "category", "feature", "", "state of the connection, in Zeek's words"),
    *numbers("missed_bytes", unit="bytes", meaning="missing in the capture"),
    *numbers("src_pkts", unit="packets", meaning="from the source"),
    *numbers("src_ip_bytes", unit="bytes", meaning="from the source, IP headers included"),
    *numbers("dst_pkts", unit="packets", meaning="from the destination"),
    *numbers("dst_ip_bytes", unit="bytes", meaning="from the destination, IP headers included"),
    Field("dns_query", "text", "text", "", "name that was asked for"),
    *_categories(
        "dns_qclass dns_qtype dns_rcode", "numbers of the DNS question and answer; 0 where there is none"
    ),
    *_categories("dns_AA dns_RD dns_RA dns_rejected", "flags of the DNS answer, T or F"),
    *_categories("ssl_version ssl_cipher ssl_resumed ssl_established", "of the TLS handshake"),
    Field("ssl_subject", "text", "text", "", "subject of the certificate"),
    Field("ssl_issuer", "text", "text", "", "issuer of the certificate"),
    *numbers("http_trans_depth", meaning="number of the HTTP request in its connection"),
    Field("http_method", "category", "feature", "", "of the HTTP request"),
    Field("http_uri", "text", "text", "", "of the HTTP request"),
    Field("http_referrer", "text", "text", "", "of the HTTP request"),
    Field("http_version", "category", "feature", "", "of the HTTP request"),
    *numbers("http_request_body_len http_response_body_len", unit="bytes", meaning="of the HTTP bodies"),
    Field("http_status_code", "category", "feature", "", "of the HTTP answer; 0 where there is none"),
    Field("http_user_agent", "text", "text", "", "of the HTTP request"),
    *_categories("http_orig_mime_types http_resp_mime_types", "kinds of the HTTP bodies"),
    *_categories("weird_name weird_addl weird_notice", "what Zeek found strange"),
    Field("label", "number", "label", "", "0 normal, 1 attack"),
    Field("type", "category", "label", "", "kind of the attack, or normal"),
)

CANONICAL = {
    "normal": "normal", "backdoor": "malware.backdoor", "ddos": "flood.other", "dos": "flood.other",
    "injection": "web.injection", "mitm": "spoof.mitm", "password": "brute_force",
    "ransomware": "malware.ransomware", "scanning": "recon", "xss": "web.xss",
}  # fmt: skip

_COUNTS = {name: {"normal": 50_000, "mitm": 1_043}.get(name, 20_000) for name in CANONICAL}


_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "RP": 17, "SIG": 24, "KEY": 25, "AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "CERT": 37, "DNAME": 39, "OPT": 41, "DS": 43, "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99, "TKEY": 249, "TSIG": 250, "IXFR": 251, "AXFR": 252, "ANY": 255, "URI": 256, "CAA": 257}  # fmt: skip
_RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5, "YXDOMAIN": 6, "YXRRSET": 7, "NXRRSET": 8, "NOTAUTH": 9, "NOTZONE": 10, "DSOTYPENI": 11}  # fmt: skip


def _number(name: str, numbers: dict[str, int]) -> pl.Expr:
    """The number of a word of DNS, 0 where there is none, as this dataset has it."""
    other = pl.col(name).str.extract(r"^[A-Z]+(\d+)$").cast(pl.Int64)
    return pl.coalesce(
        pl.col(name).replace_strict(numbers, default=None, return_dtype=pl.Int64), other, pl.lit(0)
    )


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """Flows of our own (`schema.COLUMNS`) in these columns. Of what Zeek's other logs say of DNS, TLS and HTTP, flags of DNS, cipher
    names and certificates of TLS, versions and lengths of HTTP are null.

    labels: canonical ones; rows of a kind that TON-IoT has not are left out.
    """
    connection = flows["protocol"].is_in(["tcp", "udp", "icmp", "icmp6"])
    if labels is not None:
        names = {canonical: name for name, canonical in reversed(CANONICAL.items())}
        answers = labels.replace_strict(names, default=None, return_dtype=pl.String).alias("type")
        known = connection & answers.is_not_null()
        return view(flows.filter(known)).with_columns(
            (answers.filter(known) != "normal").cast(pl.Int64).alias("label"), answers.filter(known)
        )
    found = {
        "ts": pl.col("first_seen") // 1_000_000_000, "src_ip": pl.col("src"), "src_port": pl.col("src_port"), "dst_ip": pl.col("dst"),
        "dst_port": pl.col("dst_port"), "proto": pl.col("protocol").str.replace("^icmp6$", "icmp"), "service": zeek_service().fill_null("-"),
        "duration": SECONDS, "src_bytes": pl.col("fwd_payload_bytes"), "dst_bytes": pl.col("bwd_payload_bytes"), "conn_state": zeek_state(),
        "missed_bytes": pl.col("fwd_missed_bytes") + pl.col("bwd_missed_bytes"), "src_pkts": FWD, "src_ip_bytes": pl.col("fwd_bytes"),
        "dst_pkts": BWD, "dst_ip_bytes": pl.col("bwd_bytes"), "dns_query": pl.col("dns_query"), "dns_qtype": _number("dns_query_type", _TYPES),
        "dns_rcode": _number("dns_rcode", _RCODES), "ssl_version": pl.col("tls_version").str.replace_all(".", "", literal=True),
        "http_method": pl.col("http_method"), "http_uri": pl.col("http_uri"), "http_status_code": pl.col("http_status").fill_null(0),
        "http_user_agent": pl.col("http_user_agent"), "http_resp_mime_types": pl.col("http_content_type").str.extract(r"^([^;\s]+)"),
    }  # fmt: skip
    columns = (field.name for field in FIELDS if field.name not in ("label", "type"))
    return in_columns(flows.filter(connection), columns, found)


SOURCE = Source(
    name="ton-iot",
    title="TON-IoT (network)",
    granularity="connection",
    row="one connection as Zeek logs it",
    fields=FIELDS,
    answers=(
        Answer("type", CANONICAL),
        Answer("label", {"normal": "normal", "attack": "other"}, codes={"0": "normal", "1": "attack"}),
    ),
    missing=("-",),
    home="https://research.unsw.edu.au/projects/toniot-datasets",
    terms="academic research; commercial use needs the authors' agreement",
    fetching="Follow the link to the datasets on that page (a shared folder) and take train_test_network.csv from Train_Test_datasets/Train_Test_Network_dataset.",
    published=(Published("train_test_network", 211_043, _COUNTS, None, "", "counted in the file"),),
    levels=levels(
        "proto service conn_state duration src_bytes dst_bytes src_pkts dst_pkts",
        "src_ip_bytes dst_ip_bytes missed_bytes dns_qtype dns_rcode ssl_version http_method http_status_code",
    ),
    flaws=(
        "A few addresses attack and the others do not: with addresses and ports a forest scores .9999 and has learnt who, not what. They are no features unless asked for.",
        "20,569 of 211,043 rows are exact duplicates, 117,118 once addresses and ports are gone: split by group.",
        "Models that score .99 here fall below .40 on other networks.",
        "A missing value is written `-`, also in columns of numbers; missing DNS and HTTP numbers are written 0.",
        "Comes with 44 columns, or with 46 (`ts` and `http_referrer` too). A clock that ran while one attack after the other was played is an answer: `ts` is no feature.",
        "`ddos` and `dos` differ in the number of attackers, which no column counts.",
        "Names, URIs and user agents were written by the attackers' tools; they have the role `text` and are no features.",
    ),
)  # fmt: skip

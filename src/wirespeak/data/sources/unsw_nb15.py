"""UNSW-NB15, the partition of 45 columns that is published as a training and a testing set (Moustafa and Slay, 2015)."""

from __future__ import annotations

import polars as pl

from wirespeak.data.dataset import Field
from wirespeak.data.sources.looking_back import alike, codes
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers
from wirespeak.data.sources.viewing import PACKETS, SECONDS, in_columns, per
from wirespeak.errors import OptionError

FIELDS = (
    Field("id", "number", "order", "", "number of the row; attacks and normal rows lie in runs"),
    Field("dur", "number", "feature", "seconds", "length of the flow"),
    Field("proto", "category", "feature", "", "transport protocol"),
    Field("service", "category", "feature", "", "application protocol; - for none that is known"),
    Field("state", "category", "feature", "", "state of the flow, in Argus's words"),
    *numbers("spkts dpkts", unit="packets", meaning="from the source, from the destination"),
    *numbers("sbytes dbytes", unit="bytes", meaning="from the source, from the destination"),
    *numbers("rate", unit="packets per second", meaning="both ways"),
    Field("sttl", "number", "ttl", "hops", "time to live of the source's packets"),
    Field("dttl", "number", "ttl", "hops", "time to live of the destination's packets"),
    *numbers("sload dload", unit="bits per second", meaning="from the source, from the destination"),
    *numbers("sloss dloss", unit="packets", meaning="sent again or dropped"),
    *numbers("sinpkt dinpkt", unit="milliseconds", meaning="mean time between packets"),
    *numbers("sjit djit", unit="milliseconds", meaning="jitter"),
    *numbers("swin", unit="bytes", meaning="TCP window the source advertised"),
    Field("stcpb", "number", "id", "", "TCP sequence number the source began with: random"),
    Field("dtcpb", "number", "id", "", "TCP sequence number the destination began with: random"),
    *numbers("dwin", unit="bytes", meaning="TCP window the destination advertised"),
    *numbers("tcprtt", unit="seconds", meaning="time of the TCP handshake"),
    *numbers("synack", unit="seconds", meaning="from SYN to SYN-ACK"),
    *numbers("ackdat", unit="seconds", meaning="from SYN-ACK to ACK"),
    *numbers("smean dmean", unit="bytes", meaning="mean size of a packet"),
    *numbers("trans_depth", meaning="depth of pipelined HTTP requests"),
    *numbers("response_body_len", unit="bytes", meaning="of the HTTP answer"),
    *numbers("ct_srv_src", unit="flows", meaning="with the same service and source among the last 100"),
    Field("ct_state_ttl", "number", "ttl", "", "a code of state and time to live"),
    *numbers("ct_dst_ltm", unit="flows", meaning="to the same destination among the last 100"),
    *numbers(
        "ct_src_dport_ltm",
        unit="flows",
        meaning="with the same source and destination port among the last 100",
    ),
    *numbers(
        "ct_dst_sport_ltm",
        unit="flows",
        meaning="with the same destination and source port among the last 100",
    ),
    *numbers("ct_dst_src_ltm", unit="flows", meaning="between the same two hosts among the last 100"),
    *numbers("is_ftp_login", meaning="1 when an FTP login occurred; other counts occur"),
    *numbers("ct_ftp_cmd", unit="commands", meaning="in an FTP session"),
    *numbers("ct_flw_http_mthd", unit="requests", meaning="HTTP methods such as GET and POST"),
    *numbers("ct_src_ltm", unit="flows", meaning="from the same source among the last 100"),
    *numbers("ct_srv_dst", unit="flows", meaning="with the same service and destination among the last 100"),
    *numbers("is_sm_ips_ports", meaning="1 when both ends have the same address and port"),
    Field("attack_cat", "category", "label", "", "category of the attack, or Normal"),
    Field("label", "number", "label", "", "0 normal, 1 attack"),
)

CANONICAL = {
    "Normal": "normal", "Generic": "other", "Exploits": "exploit", "Fuzzers": "recon.fuzz", "DoS": "dos",
    "Reconnaissance": "recon", "Analysis": "recon.vuln_scan", "Backdoor": "malware.backdoor",
    "Shellcode": "exploit", "Worms": "malware.worm",
}  # fmt: skip


_RECENT = 100


def _state() -> pl.Expr:
    """Argus's word for how a flow stands: FIN, RST, CON, REQ and INT."""
    state, protocol = pl.col("state"), pl.col("protocol")
    answered = pl.col("bwd_packets") > 0
    tcp = (
        pl.when((pl.col("fwd_rst_packets") + pl.col("bwd_rst_packets")) > 0).then(pl.lit("RST"))
        .when((pl.col("fwd_fin_packets") + pl.col("bwd_fin_packets")) > 0).then(pl.lit("FIN"))
        .when(state == "S0").then(pl.lit("REQ"))
        .otherwise(pl.lit("CON"))
    )  # fmt: skip
    return pl.when(protocol == "tcp").then(tcp).when(answered).then(pl.lit("CON")).otherwise(pl.lit("INT"))


def _service() -> pl.Expr:
    """The service in the words of this dataset, `-` for another."""
    known = ("dns", "http", "smtp", "ftp", "ssh", "dhcp", "snmp")
    names = {name: name for name in known} | {"tls": "ssl"}
    return pl.col("application").replace_strict(names, default="-", return_dtype=pl.String)


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """IP flows of our own (`schema.COLUMNS`) in these columns. Sequence numbers, jitter, `ct_state_ttl`, what is said in FTP and the length of HTTP's answers are null.

    Bytes are those of the network layer; the last 100 flows are those that began before. Raises OptionError with labels: ours are finer
    than these.
    """
    if labels is not None:
        raise OptionError("our labels are none of UNSW-NB15's categories. Leave --truth out.")
    kept = flows.filter(~pl.col("protocol").is_in(["arp", "802.15.4"]))
    src, dst = codes(kept["src"].to_numpy()), codes(kept["dst"].to_numpy())
    sport, dport = (codes(kept[f"{end}_port"].fill_null(0).to_numpy()) for end in ("src", "dst"))
    service = codes(kept.select(_service()).to_series().to_numpy())
    ends = {
        "ct_srv_src": (service, src), "ct_dst_ltm": (dst,), "ct_src_dport_ltm": (src, dport), "ct_dst_sport_ltm": (dst, sport),
        "ct_dst_src_ltm": (dst, src), "ct_src_ltm": (src,), "ct_srv_dst": (service, dst),
    }  # fmt: skip
    counts = alike({name: (codes(*columns),) * 2 for name, columns in ends.items()}, most=_RECENT)
    same_end = (pl.col("src") == pl.col("dst")) & (pl.col("src_port") == pl.col("dst_port"))
    http = pl.col("application") == "http"
    found: dict[str, pl.Expr] = {
        "id": pl.col("flow_id") + 1, "dur": SECONDS, "proto": pl.col("protocol"), "service": _service(), "state": _state(), "rate": per(PACKETS - 1, SECONDS),
        "tcprtt": pl.col("handshake_s") + pl.col("handshake_ack_s"), "synack": pl.col("handshake_s"), "ackdat": pl.col("handshake_ack_s"),
        "trans_depth": pl.when(http).then(pl.col("messages")).otherwise(0), "ct_flw_http_mthd": pl.when(http).then(pl.col("messages")).otherwise(0),
        "is_sm_ips_ports": same_end.fill_null(False).cast(pl.Int64),
    }  # fmt: skip
    for letter, side in (("s", "fwd"), ("d", "bwd")):
        total = pl.col(f"{side}_bytes")
        found |= {
            f"{letter}pkts": pl.col(f"{side}_packets"), f"{letter}bytes": total, f"{letter}ttl": pl.col(f"{side}_ttl"),
            f"{letter}load": per(8 * total, SECONDS), f"{letter}loss": pl.col(f"{side}_retransmitted_packets"),
            f"{letter}inpkt": pl.col(f"{side}_iat_mean_s") * 1e3, f"{letter}win": pl.col(f"{side}_window_bytes"),
            f"{letter}mean": pl.col(f"{side}_packet_mean_bytes").round().cast(pl.Int64),
        }  # fmt: skip
    found |= {name: pl.lit(pl.Series(values)) for name, values in counts.items()}
    return in_columns(
        kept, (field.name for field in FIELDS if field.name not in ("attack_cat", "label")), found
    )


def inspect(table: pl.DataFrame) -> list[str]:
    """Rows that occur again and rows that contradict each other, leaving out what tells rows apart by number."""
    if "attack_cat" not in table.columns:
        return []
    features = table.drop(["id", "label", "attack_cat"], strict=False)
    keyed = pl.DataFrame({"row": features.hash_rows(), "label": table["attack_cat"]})
    distinct = keyed.n_unique()
    many = keyed.group_by("row").agg(pl.len(), pl.col("label").n_unique()).filter(pl.col("label") > 1)
    notes = []
    if distinct < table.height:
        notes.append(f"{table.height - distinct:,} rows repeat another one, id aside.")
    if many.height:
        notes.append(f"{int(many['len'].sum()):,} rows share all features with a row of another category.")
    return notes


SOURCE = Source(
    name="unsw-nb15",
    title="UNSW-NB15",
    granularity="flow",
    row="one flow of a test network with a traffic generator",
    fields=FIELDS,
    answers=(
        Answer("attack_cat", CANONICAL, clean=lambda name: name.replace({"Backdoors": "Backdoor"})),
        Answer("label", {"Normal": "normal", "Attack": "other"}, codes={"0": "Normal", "1": "Attack"}),
    ),
    home="https://research.unsw.edu.au/projects/unsw-nb15-dataset",
    terms="academic research; commercial use needs the authors' agreement",
    fetching="Follow the link to the CSV files on that page (a shared folder) and take UNSW_NB15_training-set.csv and UNSW_NB15_testing-set.csv from 'Training and Testing Sets'.",
    published=(
        Published("the training set", 175_341, {}, "train", "", "the dataset's page"),
        Published(
            "the testing set", 82_332,
            {"Normal": 37_000, "Generic": 18_871, "Exploits": 11_132, "Fuzzers": 6_062, "DoS": 4_089, "Reconnaissance": 3_496, "Analysis": 677, "Backdoor": 583, "Shellcode": 378, "Worms": 44},
            "test", "", "the dataset's page; classes counted in the file",
        ),
    ),
    inspect=inspect,
    levels=levels(
        "proto service state dur spkts dpkts sbytes dbytes",
        "rate sload dload sttl dttl sloss dloss smean dmean ct_srv_src ct_dst_ltm ct_src_dport_ltm",
    ),
    flaws=(
        "The two files often carry each other's name: the one called training-set holds the 82,332 rows published as the testing set. The part is told by its rows, never by its name.",
        "The header begins with a byte-order mark, which would make the first column `\\ufeffid`.",
        "`id` counts the rows, and classes lie in runs: it predicts the label. It is no feature.",
        "`attack_cat` is the answer to `label` in more words: neither is a feature of the other.",
        "In the 82,332 rows, 26,387 repeat another one (id aside) and 1,999 were counted that have the features of a row with another label. Split by group.",
        "`sttl` (and `ct_state_ttl`, made from it) tells the attack generator's hosts from the rest: a property of the test network. They have the role `ttl`; `audit` measures what they give away.",
        "Analysis, Backdoor, DoS and Exploits overlap so much that no detector tells them apart by these columns.",
    ),
)  # fmt: skip

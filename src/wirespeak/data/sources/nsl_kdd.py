"""NSL-KDD: the KDD Cup 1999 connections, less their duplicates (Tavallaee et al., 2009)."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.dataset import Field
from wirespeak.data.sources.looking_back import alike, codes, where
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers
from wirespeak.data.sources.viewing import IS_TCP, SECONDS, in_columns, zeek_state
from wirespeak.errors import OptionError

FEATURES = (
    Field("duration", "number", "feature", "seconds", "length of the connection"),
    Field("protocol_type", "category", "feature", "", "tcp, udp or icmp"),
    Field("service", "category", "feature", "", "network service at the destination"),
    Field("flag", "category", "feature", "", "how the connection ended, in Bro's words (SF, S0, REJ ...)"),
    Field("src_bytes", "number", "feature", "bytes", "from source to destination"),
    Field("dst_bytes", "number", "feature", "bytes", "from destination to source"),
    Field("land", "number", "feature", "", "1 when both ends are the same host and port"),
    Field("wrong_fragment", "number", "feature", "fragments", "wrong fragments"),
    Field("urgent", "number", "feature", "packets", "urgent packets"),
    Field("hot", "number", "feature", "", "signs of access to sensitive places, read in the content"),
    Field("num_failed_logins", "number", "feature", "logins", "failed logins"),
    Field("logged_in", "number", "feature", "", "1 when a login succeeded"),
    Field("num_compromised", "number", "feature", "", "conditions that suggest a compromised host"),
    Field("root_shell", "number", "feature", "", "1 when a root shell was obtained"),
    Field("su_attempted", "number", "feature", "", "1 or 2 when `su root` was tried"),
    Field("num_root", "number", "feature", "", "accesses as root"),
    Field("num_file_creations", "number", "feature", "files", "files created"),
    Field("num_shells", "number", "feature", "", "shell prompts"),
    Field("num_access_files", "number", "feature", "", "operations on access control files"),
    Field("num_outbound_cmds", "number", "feature", "", "outbound commands of an FTP session"),
    Field("is_host_login", "number", "feature", "", "1 when the login is on the list of hosts"),
    Field("is_guest_login", "number", "feature", "", "1 when the login is a guest's"),
    *numbers("count", unit="connections", meaning="to the same host in the last 2 s"),
    *numbers("srv_count", unit="connections", meaning="to the same service in the last 2 s"),
    *numbers("serror_rate", unit="share", meaning="of `count` that met a SYN error"),
    *numbers("srv_serror_rate", unit="share", meaning="of `srv_count` that met a SYN error"),
    *numbers("rerror_rate", unit="share", meaning="of `count` that were rejected"),
    *numbers("srv_rerror_rate", unit="share", meaning="of `srv_count` that were rejected"),
    *numbers("same_srv_rate", unit="share", meaning="of `count` to the same service"),
    *numbers("diff_srv_rate", unit="share", meaning="of `count` to other services"),
    *numbers("srv_diff_host_rate", unit="share", meaning="of `srv_count` to other hosts"),
    *numbers("dst_host_count", unit="connections", meaning="to the same host among recent ones, 255 at most"),
    *numbers(
        "dst_host_srv_count",
        unit="connections",
        meaning="to the same host and service among recent ones, 255 at most",
    ),
    *numbers("dst_host_same_srv_rate", unit="share", meaning="of `dst_host_count` to the same service"),
    *numbers("dst_host_diff_srv_rate", unit="share", meaning="of `dst_host_count` to other services"),
    *numbers(
        "dst_host_same_src_port_rate", unit="share", meaning="of `dst_host_srv_count` from the same port"
    ),
    *numbers("dst_host_srv_diff_host_rate", unit="share", meaning="of `dst_host_srv_count` from other hosts"),
    *numbers("dst_host_serror_rate", unit="share", meaning="of `dst_host_count` that met a SYN error"),
    *numbers(
        "dst_host_srv_serror_rate", unit="share", meaning="of `dst_host_srv_count` that met a SYN error"
    ),
    *numbers("dst_host_rerror_rate", unit="share", meaning="of `dst_host_count` that were rejected"),
    *numbers("dst_host_srv_rerror_rate", unit="share", meaning="of `dst_host_srv_count` that were rejected"),
)
NAMES = tuple(field.name for field in FEATURES)

_SERVICES = {
    7: "echo", 9: "discard", 11: "systat", 13: "daytime", 15: "netstat", 20: "ftp_data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp",
    37: "time", 42: "name", 43: "whois", 53: "domain", 70: "gopher", 77: "rje", 79: "finger", 80: "http", 84: "ctf", 87: "link", 95: "supdup",
    101: "hostnames", 102: "iso_tsap", 105: "csnet_ns", 109: "pop_2", 110: "pop_3", 111: "sunrpc", 113: "auth", 117: "uucp_path",
    119: "nntp", 137: "netbios_ns", 138: "netbios_dgm", 139: "netbios_ssn", 143: "imap4", 150: "sql_net", 175: "vmnet", 179: "bgp",
    210: "Z39_50", 389: "ldap", 433: "nnsp", 443: "http_443", 512: "exec", 513: "login", 514: "shell", 515: "printer", 520: "efs",
    530: "courier", 540: "uucp", 543: "klogin", 544: "kshell", 1911: "mtp", 6000: "X11", 6667: "IRC",
}  # fmt: skip
_DATAGRAMS = {53: "domain_u", 69: "tftp_u", 123: "ntp_u"}
_ICMP = {"unreachable": "urp_i", "redirect": "red_i", "exceeded": "tim_i"}
_WINDOW_S, _MOST, _RECENT = 2.0, 511, 255


def _service() -> pl.Expr:
    """The service by the destination's port: `private` where KDD'99 has no name for it."""
    tcp = pl.col("dst_port").replace_strict(_SERVICES, default="private", return_dtype=pl.String)
    udp = pl.col("dst_port").replace_strict(_DATAGRAMS, default="private", return_dtype=pl.String)
    icmp = pl.col("operation").replace_strict(_ICMP, default="eco_i", return_dtype=pl.String)
    return pl.when(IS_TCP).then(tcp).when(pl.col("protocol") == "udp").then(udp).otherwise(icmp)


def _flag() -> pl.Expr:
    """The state in KDD'99's words: what is no TCP is always SF."""
    return pl.when(IS_TCP).then(zeek_state().replace("RSTRH", "RSTR")).otherwise(pl.lit("SF"))


def _rates(flows: pl.DataFrame, service: pl.Series, flag: pl.Series) -> dict[str, pl.Series]:
    """The nineteen counts and shares of connections before each one."""
    src, dst, kind = (codes(column.to_numpy()) for column in (flows["src"], flows["dst"], service))
    port = codes(flows["src_port"].fill_null(0).to_numpy())
    both, start = codes(dst, kind), flows["first_seen"].to_numpy()
    syn, rejected = (flag.is_in(names).to_numpy() for names in (["S0", "S1", "S2", "S3"], ["REJ"]))
    past = alike(
        {
            "host": (dst, dst), "service": (kind, kind), "both": (both, both),
            "host_syn": (dst, where(syn, dst)), "service_syn": (kind, where(syn, kind)),
            "host_rejected": (dst, where(rejected, dst)), "service_rejected": (kind, where(rejected, kind)),
        },
        most=_MOST, time_ns=start, seconds=_WINDOW_S,
    )  # fmt: skip
    last = alike(
        {
            "host": (dst, dst), "both": (both, both), "port": (codes(both, port),) * 2, "source": (codes(both, src),) * 2,
            "host_syn": (dst, where(syn, dst)), "both_syn": (both, where(syn, both)),
            "host_rejected": (dst, where(rejected, dst)), "both_rejected": (both, where(rejected, both)),
        },
        most=_RECENT,
    )  # fmt: skip

    def share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> pl.Series:
        return pl.Series(np.round(part / np.maximum(whole, 1), 2))

    return {
        "count": pl.Series(past["host"]), "srv_count": pl.Series(past["service"]),
        "serror_rate": share(past["host_syn"], past["host"]), "srv_serror_rate": share(past["service_syn"], past["service"]),
        "rerror_rate": share(past["host_rejected"], past["host"]), "srv_rerror_rate": share(past["service_rejected"], past["service"]),
        "same_srv_rate": share(past["both"], past["host"]), "diff_srv_rate": share(past["host"] - past["both"], past["host"]),
        "srv_diff_host_rate": share(past["service"] - past["both"], past["service"]),
        "dst_host_count": pl.Series(last["host"]), "dst_host_srv_count": pl.Series(last["both"]),
        "dst_host_same_srv_rate": share(last["both"], last["host"]), "dst_host_diff_srv_rate": share(last["host"] - last["both"], last["host"]),
        "dst_host_same_src_port_rate": share(last["port"], last["both"]),
        "dst_host_srv_diff_host_rate": share(last["both"] - last["source"], last["both"]),
        "dst_host_serror_rate": share(last["host_syn"], last["host"]), "dst_host_srv_serror_rate": share(last["both_syn"], last["both"]),
        "dst_host_rerror_rate": share(last["host_rejected"], last["host"]), "dst_host_srv_rerror_rate": share(last["both_rejected"], last["both"]),
    }  # fmt: skip


def view(flows: pl.DataFrame, labels: pl.Series | None = None) -> pl.DataFrame:
    """TCP, UDP and ICMP flows of our own (`schema.COLUMNS`) in NSL-KDD's 41 features, less the 13 that were read in the content of sessions and the
    wrong fragments, which are null.

    Connections before are those of the last 2 s (511 at most) and the last 255. Raises OptionError with labels: the names of
    NSL-KDD's attacks are those of its time.
    """
    if labels is not None:
        raise OptionError("our labels are none of NSL-KDD's attacks. Leave --truth out.")
    kept = flows.filter(pl.col("protocol").is_in(["tcp", "udp", "icmp", "icmp6"]))
    service, flag = kept.select(service=_service(), flag=_flag()).get_columns()
    same_end = (pl.col("src") == pl.col("dst")) & (pl.col("src_port") == pl.col("dst_port"))
    found: dict[str, pl.Expr] = {
        "duration": SECONDS.floor().cast(pl.Int64), "protocol_type": pl.col("protocol").str.replace("^icmp6$", "icmp"),
        "service": pl.lit(service), "flag": pl.lit(flag), "src_bytes": pl.col("fwd_payload_bytes"), "dst_bytes": pl.col("bwd_payload_bytes"),
        "land": same_end.fill_null(False).cast(pl.Int64), "urgent": pl.col("fwd_urg_packets") + pl.col("bwd_urg_packets"),
    }  # fmt: skip
    rates = {name: pl.lit(values) for name, values in _rates(kept, service, flag).items()}
    return in_columns(kept, NAMES, found | rates)


CATEGORIES = {"normal": "normal"} | {
    name: category
    for category, names in {
        "dos": "back land neptune pod smurf teardrop mailbomb processtable udpstorm apache2 worm",
        "probe": "ipsweep nmap portsweep satan mscan saint",
        "r2l": "ftp_write guess_passwd imap multihop phf spy warezclient warezmaster sendmail named snmpgetattack "
        "snmpguess xlock xsnoop httptunnel",
        "u2r": "buffer_overflow loadmodule perl rootkit sqlattack xterm ps",
    }.items()
    for name in names.split()
}

CANONICAL = {
    "normal": "normal",
    "apache2": "flood.http", "back": "flood.http", "land": "dos.crash", "mailbomb": "flood.other",
    "neptune": "flood.syn", "pod": "dos.crash", "processtable": "flood.other", "smurf": "flood.icmp",
    "teardrop": "dos.crash", "udpstorm": "flood.udp", "worm": "malware.worm",
    "ipsweep": "recon.sweep", "mscan": "recon.vuln_scan", "nmap": "recon.port_scan", "portsweep": "recon.port_scan",
    "saint": "recon.vuln_scan", "satan": "recon.vuln_scan",
    "ftp_write": "exploit", "guess_passwd": "brute_force", "httptunnel": "malware.c2", "imap": "exploit",
    "multihop": "exploit", "named": "exploit", "phf": "web.injection", "sendmail": "exploit",
    "snmpgetattack": "recon.fingerprint", "snmpguess": "brute_force", "spy": "malware.exfil",
    "warezclient": "malware.exfil", "warezmaster": "exploit", "xlock": "exploit", "xsnoop": "exploit",
    "buffer_overflow": "privilege", "loadmodule": "privilege", "perl": "privilege", "ps": "privilege",
    "rootkit": "privilege", "sqlattack": "privilege", "xterm": "privilege",
}  # fmt: skip

LEVELS = levels(
    "protocol_type service flag src_bytes dst_bytes",
    "duration wrong_fragment urgent count srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate",
)
LABEL = Field("label", "category", "label", "", "name of the attack, or normal")
DIFFICULTY = Field(
    "difficulty", "number", "order", "", "how many of 21 learners got the row right: made from the answer"
)

SOURCE = Source(
    name="nsl-kdd",
    title="NSL-KDD",
    granularity="connection",
    row="one connection of a military network simulated in 1998",
    fields=(*FEATURES, LABEL, DIFFICULTY),
    answers=(Answer("label", CANONICAL, CATEGORIES),),
    headerless=((*NAMES, "label", "difficulty"), (*NAMES, "label"), NAMES),
    aliases={"class": "label", "attack": "label", "attack_type": "label", "difficulty_level": "difficulty", "level": "difficulty"},
    home="https://www.unb.ca/cic/datasets/nsl.html",
    terms="free for research (CIC, University of New Brunswick)",
    fetching="Fill in the form behind 'Download this dataset' on that page and unpack KDDTrain+.txt and KDDTest+.txt.",
    published=(
        Published(
            "KDDTrain+", 125_973, {"normal": 67_343, "dos": 45_927, "probe": 11_656, "r2l": 995, "u2r": 52},
            "train", "1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95", "the dataset's page; sha256 of a copy",
        ),
        Published(
            "KDDTrain+_20Percent", 25_192, {"normal": 13_449, "dos": 9_234, "probe": 2_289, "r2l": 209, "u2r": 11},
            "train-20-percent", "7ea86479faab5ca2190b7f18b4982fb058ce5bf2b46e0e1017d0d9ef90f9c16e", "the dataset's page; sha256 of a copy",
        ),
        Published(
            "KDDTest+", 22_544, {"normal": 9_711, "dos": 7_460, "probe": 2_421, "r2l": 2_885, "u2r": 67},
            "test", "fa46b093", "the dataset's page; sha256 of a copy",
        ),
        Published("KDDTest-21", 11_850, {}, "test-21", "746993ac", "the dataset's page; sha256 of a copy"),
    ),
    levels=LEVELS,
    flaws=(
        "17 of the 38 labels of KDDTest+ (3,750 of its rows) never occur in training. A random split of KDDTrain+ hides that: choose on folds that leave attack names out (`--protocol names-out`), and use KDDTest+ once.",
        "`difficulty` was made by 21 learners from the answer. It is no feature.",
        "The first 25,192 rows of KDDTrain+ are KDDTrain+_20Percent, and KDDTest-21 is part of KDDTest+: read one of each.",
        "`num_outbound_cmds` is 0 in every row.",
        "Rates are rounded to two decimals and counts are capped, so different connections read alike.",
        "The traffic is of 1998 and simulated; what the network was and who was on it stays in the counters.",
    ),
)  # fmt: skip

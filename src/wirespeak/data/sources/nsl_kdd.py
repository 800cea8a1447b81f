"""NSL-KDD: the KDD Cup 1999 connections, less their duplicates (Tavallaee et al., 2009)."""

from __future__ import annotations

from wirespeak.data.dataset import Field
from wirespeak.data.sources.source import Answer, Published, Source, levels, numbers

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

"""What Wireshark exports as CSV (wireshark.org, User's Guide): its packet list, and its conversations.

The packet list tells packets, which become flows here: the same ends and protocol, less than 60 s apart. Ports stand in the information on
bare TCP and UDP packets alone; a column with them says more. Bytes are those of the link layer, of which an Ethernet header is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.sources.flags import of_flags, of_letters, spoken
from wirespeak.data.sources.lines import nanoseconds, number, protocol, tables, whole
from wirespeak.data.sources.log import Log, Told
from wirespeak.errors import InputError
from wirespeak.flow.meter import IDLE_S

_LIST = {
    "time": "Time", "source": "src", "destination": "dst", "protocol": "Protocol", "length": "Length", "info": "Info",
    **dict.fromkeys(("source port", "src port", "srcport"), "src_port"), **dict.fromkeys(("destination port", "dest port", "dst port", "dstport"), "dst_port"),
}  # fmt: skip
_ETHERNET = 14
_PORTS = r"(?:^|\] )(?:[\w.-]+\()?(\d{1,5})\)? (?:→|->|>) (?:[\w.-]+\()?(\d{1,5})\)?(?: \[|\s|$)"
_FLAGS = r"(?:→|->|>) \S+ \[([A-Z, <>a-z]+)\]"
_WORDS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}

# Wireshark's protocols whose transport is certain or nearly so, by how their names begin; and what we call the application.
_TCP = {
    "TCP": "", "HTTP": "http", "TLS": "tls", "SSL": "tls", "MQTT": "mqtt", "SSHv": "ssh", "SSH": "ssh", "FTP": "ftp", "SMTP": "smtp", "IMF": "smtp",
    "TELNET": "telnet", "Modbus": "modbus", "RTSP": "rtsp", "POP": "other", "IMAP": "other", "SMB": "other", "NBSS": "other", "LDAP": "other",
    "WebSocket": "http", "AMQP": "other", "BGP": "other", "RDP": "other", "TPKT": "other", "COTP": "other", "S7COMM": "other", "DNP": "dnp3",
}  # fmt: skip
_UDP = {
    "UDP": "", "DNS": "dns", "MDNS": "mdns", "LLMNR": "other", "NBNS": "other", "BROWSER": "other", "SSDP": "ssdp", "NTP": "ntp", "DHCP": "dhcp",
    "QUIC": "quic", "SNMP": "snmp", "TFTP": "other", "RTP": "rtp", "RTCP": "rtp", "STUN": "stun", "CoAP": "coap", "Syslog": "syslog", "RADIUS": "other",
    "WireGuard": "other", "DTLS": "dtls", "BACnet": "bacnet", "BVLC": "bacnet", "ISAKMP": "other", "SIP": "other",
}  # fmt: skip
_OTHERS = {"ICMPv6": "icmp6", "ICMP": "icmp", "IGMP": "igmp", "ESP": "ip-50", "GRE": "ip-47", "OSPF": "ip-89", "PIM": "ip-103", "VRRP": "ip-112", "SCTP": "ip-132"}  # fmt: skip


def claims(path: Path, head: bytes) -> bool:
    """Whether this is Wireshark's packet list or its conversations in CSV."""
    names = {
        name.strip().strip('"')
        for name in head.removeprefix(b"\xef\xbb\xbf")
        .partition(b"\n")[0]
        .decode(errors="replace")
        .strip()
        .split(",")
    }
    return {"Time", "Source", "Destination", "Protocol", "Info"} <= names or {
        "Address A",
        "Address B",
    } <= names


def read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    """The flows of exported packets or conversations. Raises InputError for an export that lacks what a flow needs."""
    parts = []
    for path in paths:
        found = list(tables(path, told, separator=","))
        if found:
            names, table = found[0][0], pl.concat(rows for _, rows in found)
            parts.append(
                _conversations(path, names, table, told)
                if "Address A" in names
                else _packets(path, names, table, told)
            )
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def _packets(path: Path, names: Sequence[str], table: pl.DataFrame, told: Told) -> pl.DataFrame:
    columns = {_LIST[name.lower()]: name for name in reversed(names) if name.lower() in _LIST}
    if lacking := [
        name
        for name in ("Time", "Source", "Destination", "Protocol", "Length", "Info")
        if _LIST[name.lower()] not in columns
    ]:
        raise InputError(
            f"{path}: has no column '{lacking[0]}' (it has {', '.join(names)[:200]}). Export the packet list with its usual columns."
        )
    ports = [columns.get(name) for name in ("src_port", "dst_port")]
    cell = {name: pl.col(theirs).str.strip_chars() for name, theirs in columns.items()}
    said = {end: cell["Info"].str.extract(_PORTS, group) for end, group in (("src_port", 1), ("dst_port", 2))}
    own = {
        end: pl.col(name).str.strip_chars().replace("", None)
        for end, name in zip(("src_port", "dst_port"), ports, strict=True)
        if name
    }
    rows = table.select(
        time=nanoseconds(cell["Time"]), src=cell["src"], dst=cell["dst"], size=whole(cell["Length"]),
        protocol=_transport(cell["Protocol"], cell["Info"]), application=_application(cell["Protocol"]),
        **{end: whole(pl.coalesce(own[end], said[end]) if end in own else said[end]) for end in said},
        flags=of_letters(cell["Info"].str.extract(_FLAGS), _WORDS), payload=whole(cell["Info"].str.extract(r"\bLen=(\d+)")),
        dated=cell["Time"].str.contains("[-/]"),
    )  # fmt: skip
    has_ports = pl.col("protocol").is_in(["tcp", "udp"])  # what ICMP quotes has some too
    rows = rows.with_columns(pl.when(has_ports).then(pl.col("src_port", "dst_port")))
    if not rows["dated"].any():
        told.warnings.append(
            f"{path.name}: its times are seconds since the capture began; they are counted from 1970"
        )
    rows = told.without(
        rows, pl.col("time").is_null(), "a packet without a time (show it as seconds or as date and time)"
    )
    rows = told.without(rows, ~_is_address("src") | ~_is_address("dst"), "a packet without IP addresses")
    rows = told.without(
        rows, pl.col("protocol").is_null(), "a packet whose transport Wireshark's name for it does not tell"
    )
    rows = told.without(rows, pl.col("size").is_null() | (pl.col("size") < 0), "a packet without a length")
    if rows.is_empty():
        return pl.DataFrame()
    return _metered(_ended(_with_ports(rows, told)))


def _is_address(name: str) -> pl.Expr:
    return pl.col(name).str.contains(r"^[0-9a-fA-F.:]+$") & pl.col(name).str.contains(r"^\d+\.\d+\.\d+\.\d+$|^.*:.*:") & ~pl.col(name).str.contains(r"^(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$")  # fmt: skip


def _begins(name: pl.Expr, known: Mapping[str, str]) -> pl.Expr:
    """What the longest name says that a protocol's begins with."""
    by_length = sorted(known, key=len, reverse=True)
    return pl.coalesce(
        pl.when(name.str.to_uppercase().str.starts_with(start.upper())).then(pl.lit(known[start]))
        for start in by_length
    )


def _transport(name: pl.Expr, info: pl.Expr) -> pl.Expr:
    bare = info.str.contains(_PORTS)
    return (
        pl.when(bare & info.str.contains(r"\bSeq=\d")).then(pl.lit("tcp"))
        .when(_begins(name, _TCP).is_not_null()).then(pl.lit("tcp"))
        .when(_begins(name, _UDP).is_not_null() | bare).then(pl.lit("udp"))
        .otherwise(_begins(name, _OTHERS))
    )  # fmt: skip


def _application(name: pl.Expr) -> pl.Expr:
    """The application of one packet, null of a bare one."""
    return pl.coalesce(_begins(name, _TCP), _begins(name, _UDP)).replace("", None)


def _with_ports(rows: pl.DataFrame, told: Told) -> pl.DataFrame:
    """Packets of TCP that do not say their ports get those of the last one between the same addresses that did."""
    itself = (pl.col("src") == pl.col("dst")) & (pl.col("src_port") > pl.col("dst_port")).fill_null(False)
    rows = rows.with_columns(turned=(pl.col("src") > pl.col("dst")) | itself)
    rows = rows.with_columns(
        low=pl.when("turned").then("dst").otherwise("src"), high=pl.when("turned").then("src").otherwise("dst"),
        low_port=pl.when("turned").then("dst_port").otherwise("src_port"), high_port=pl.when("turned").then("src_port").otherwise("dst_port"),
    ).sort("time", maintain_order=True)  # fmt: skip
    tcp, bare = pl.col("protocol") == "tcp", pl.col("low_port").is_null()
    count = rows.filter(tcp & bare).height
    if count:
        told.warnings.append(
            f"{count:,} packets of TCP do not say their ports and count to the connection last seen between their addresses; "
            "columns 'Source Port' and 'Destination Port' in the export tell them"
        )
    last = [pl.col(name).forward_fill().over("low", "high", "protocol") for name in ("low_port", "high_port")]
    return rows.with_columns(
        pl.when(tcp).then(filled).otherwise(pl.col(name)).alias(name)
        for name, filled in zip(("low_port", "high_port"), last, strict=True)
    )


_KEY = ("protocol", "low", "high", "low_port", "high_port")


def _ended(rows: pl.DataFrame) -> pl.DataFrame:
    """The packets with the number of their flow: a new one after a pause, or with a SYN after FIN or RST."""
    silent = (pl.col("time").diff() > round(IDLE_S * 1e9)).fill_null(True)
    closing = ((pl.col("flags") & 5) != 0).fill_null(False)
    opening = ((pl.col("flags") & 18) == 2).fill_null(False)
    closed = closing.cast(pl.Int64).cum_sum().shift(1, fill_value=0)
    before = pl.when(opening).then(closed).shift(1).forward_fill().fill_null(0)
    fresh = opening & (closed > before)  # something closed since the last SYN
    keyed = rows.with_columns(begun=(silent | fresh).over(_KEY))
    return keyed.with_columns(flow=pl.col("begun").cast(pl.Int64).cum_sum().over(_KEY))


def _metered(rows: pl.DataFrame) -> pl.DataFrame:
    """The flows of numbered packets."""
    network = pl.when(pl.col("src").str.contains(":", literal=True)).then(40).otherwise(20)
    small = rows.select((pl.col("size") < network + _ETHERNET).any()).item()
    first, both = [*_KEY, "flow"], rows.with_columns(size=pl.col("size") - (0 if small else _ETHERNET))
    fwd = pl.col("turned") == pl.col("turned").first()
    gaps = pl.col("time").diff().drop_nulls() / 1e9
    found: dict[str, pl.Expr] = {
        "first_seen": pl.col("time").min(), "last_seen": pl.col("time").max(), "src": pl.col("src").first(), "dst": pl.col("dst").first(),
        "turned": pl.col("turned").first(), "application": pl.col("application").drop_nulls().first(),
        "begun": pl.col("flags").first(), "unsaid": pl.col("flags").null_count(), "paid": pl.col("payload").max(),
        "iat_min_s": gaps.min(), "iat_max_s": gaps.max(), "iat_std_s": gaps.std(ddof=0),
        "packet_min_bytes": pl.col("size").min(), "packet_max_bytes": pl.col("size").max(), "packet_std_bytes": pl.col("size").std(ddof=0),
    }  # fmt: skip
    for side, mine in (("fwd", fwd), ("bwd", ~fwd)):
        size, payload, flags = (pl.col(name).filter(mine) for name in ("size", "payload", "flags"))
        apart = pl.col("time").filter(mine).diff().drop_nulls() / 1e9
        found |= {
            f"{side}_packets": mine.sum(), f"{side}_bytes": size.sum(), f"{side}_sent": flags.drop_nulls().bitwise_or().fill_null(0),
            f"{side}_packet_min_bytes": size.min(), f"{side}_packet_max_bytes": size.max(), f"{side}_packet_std_bytes": size.std(ddof=0),
            f"{side}_iat_min_s": apart.min(), f"{side}_iat_max_s": apart.max(), f"{side}_iat_std_s": apart.std(ddof=0), f"{side}_iat_mean_s": apart.mean(),
            f"{side}_payload_bytes": pl.when(payload.null_count() == 0).then(payload.sum()),
            f"{side}_payload_max_bytes": pl.when(payload.null_count() == 0).then(payload.max()),
        }  # fmt: skip
    flows = both.group_by(first, maintain_order=True).agg(**found)
    states = of_flags(pl.col("fwd_sent"), pl.col("bwd_sent"), answered=pl.col("bwd_packets") > 0)
    state = spoken(states["state"], pl.col("fwd_packets") > 0, pl.col("bwd_packets") > 0)
    sure = {
        name: pl.when(pl.col("unsaid") == 0).then(each)
        for name, each in states.items()
        if name not in ("state", "flags")
    }
    ends = [
        pl.when("turned").then(one).otherwise(other)
        for one, other in (("high_port", "low_port"), ("low_port", "high_port"))
    ]
    begun = pl.when(pl.col("protocol") == "tcp").then(
        pl.when(pl.col("begun") == 2).then(pl.lit("S")).when(pl.col("begun") == 18).then(pl.lit("SA"))
    )
    spoke = pl.when(pl.col("paid") > 0).then(pl.lit("other")).when(pl.col("unsaid") == 0).then(pl.lit("none"))
    return flows.select(
        *(name for name in found if name not in ("turned", "begun", "unsaid", "paid", "fwd_sent", "bwd_sent", "application")), "protocol",
        src_port=ends[0], dst_port=ends[1], state=state, flags=begun, application=pl.coalesce("application", spoke), **sure,
    )  # fmt: skip


def _conversations(path: Path, names: Sequence[str], table: pl.DataFrame, told: Told) -> pl.DataFrame:
    kind = next((name for name in ("tcp", "udp") if name in path.name.lower()), None)
    if "Port A" not in names or kind is None:
        raise InputError(
            f"{path}: conversations that do not say their protocol or ports. Export the TCP or UDP tab, into a file with 'tcp' or 'udp' in its name."
        )
    plain = {name: name.replace("\u2192", "->").replace(" - ", " -> ") for name in names}
    table = table.rename(plain)
    began = next((name for name in ("Abs Start", "Rel Start") if name in table.columns), None)
    needed = ("Packets A -> B", "Packets B -> A", "Bytes A -> B", "Bytes B -> A", "Duration")
    if lacking := [name for name in needed if name not in table.columns] or ([] if began else ["Rel Start"]):
        raise InputError(
            f"{path}: has no column '{lacking[0]}' (it has {', '.join(names[:8])} ...). Copy all columns of the conversations."
        )
    if began == "Rel Start":
        told.warnings.append(
            f"{path.name}: its times are seconds since the capture began; they are counted from 1970"
        )
    told.warnings.append(f"{path.name}: Wireshark's side A is taken for the source")
    packets = {side: whole(f"Packets {way}") for side, way in (("fwd", "A -> B"), ("bwd", "B -> A"))}
    sizes = {
        side: whole(f"Bytes {way}") - packets[side] * _ETHERNET
        for side, way in (("fwd", "A -> B"), ("bwd", "B -> A"))
    }
    return table.select(
        first_seen=nanoseconds(str(began)), duration_s=number("Duration"), src=pl.col("Address A"), dst=pl.col("Address B"),
        src_port=whole("Port A"), dst_port=whole("Port B"), protocol=protocol(pl.lit(kind)),
        **{f"{side}_packets": each for side, each in packets.items()}, **{f"{side}_bytes": each for side, each in sizes.items()},
    ).with_columns(state=spoken(pl.lit(None, pl.String), pl.col("fwd_packets") > 0, pl.col("bwd_packets") > 0))  # fmt: skip


LOG = Log("wireshark", "an export of Wireshark", claims, read)

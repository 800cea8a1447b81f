"""The dictionary: every column of a flow table once, every label once.

Documents, the meter's output, the sentences a model reads and the phrases a person reads are derived
from the declarations below. Feature names follow one grammar, `direction_quantity_statistic_unit`, and
the context features are generated from it.

Words used in the meanings
- The *source* of a flow sent its first packet; `fwd` is source to destination, `bwd` the other way.
- Bytes are counted at the network layer (IP total length; for ARP the 28 bytes of the message), so link
  headers, padding and VLAN tags do not change them. *Payload* is what TCP, UDP or ICMP carries.
- *Context* features describe what happened before the flow's first packet, from strictly earlier
  packets of the capture, in three windows: the last 2 s, the last 60 s, and the last 100 flows.
- A *grade* is floor(log2(1 + count)): 0, 1-2, 3-6, 7-14, 15-30, ... It changes when a count doubles.
- *Tenths* are a share rounded half up to tenths, 0 to 10. Grades and tenths let a long burst of equal
  flows read as one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

Kind = Literal[
    "identity", "category", "count", "bytes", "seconds", "percent", "bits", "grade", "tenths",
    "number", "share", "deviations", "text", "code", "sequence",
]  # fmt: skip
"""What the values of a column are. `number` to `deviations` occur in tables of others: any number, a part of 1, a distance
from the usual in standard deviations. `text` and `code` are what an application said: captured text, and a number that its
protocol gives a meaning. `sequence`: a list, one item a packet."""


@dataclass(frozen=True)
class Column:
    """One column of a flow table.

    kind: what the values are; `identity`, `text` and `code` columns say who, when and in which words, and are never shown
    to a model.
    default: the value meaning "nothing of this kind", which a sentence leaves out.
    phrase: how a person says it; `{}` takes the value with its unit.
    code: the two letters that name the column in a compact sentence ("" when it is not carried there).
    scale: the unit, where the kind does not say it. nullable: whether null is a value of its own; elsewhere it
    counts as the default.
    """

    name: str
    kind: Kind
    meaning: str
    phrase: str = ""
    code: str = ""
    default: float | str | None = 0
    scale: str = ""
    nullable: bool = False

    @property
    def unit(self) -> str:
        """The unit of the values, as written after a number."""
        known = {"bytes": "bytes", "seconds": "s", "percent": "%", "share": "%", "bits": "bits"}
        return self.scale or known.get(self.kind, "")

    @property
    def is_feature(self) -> bool:
        """Whether a detector may see it."""
        return self.kind not in ("identity", "text", "code", "sequence")


PORTED = ("tcp", "udp", "ip-132")
"""Protocols whose flows have ports; the last is SCTP."""

IDENTITY = (
    Column("flow_id", "identity", "number of the flow in order of its first packet, from 0"),
    Column("first_seen", "identity", "time of the first packet, ns since 1970 UTC"),
    Column("last_seen", "identity", "time of the last packet, ns since 1970 UTC"),
    Column("src", "identity", "address that sent the first packet (for ARP the sender's protocol address)"),
    Column("dst", "identity", "address it was sent to (for ARP the target's protocol address)"),
    Column("src_port", "identity", "source port of TCP, UDP or SCTP, else null", default=None),
    Column("dst_port", "identity", "destination port of TCP, UDP or SCTP, else null", default=None),
    Column("src_mac", "identity", "link-layer address the first packet came from, or null", default=None),
    Column("dst_mac", "identity", "link-layer address the first packet went to, or null", default=None),
    Column("vlan", "identity", "VLAN identifier, or null", default=None),
    Column("tunnel_id", "identity", "VXLAN network identifier, or null", default=None),
    Column(
        "community_id", "identity", "the flow's name in other tools too (Community ID, version 1), or null", default=None
    ),
    Column(
        "history", "identity", "what was seen in which order, in Zeek's letters (docs/flows.md), or null", default=None
    ),
)

OWN = (
    Column(
        "protocol",
        "category",
        "tcp, udp, icmp, icmp6, arp, igmp, or ip-N for IP protocol N",
        "the protocol is {}",
        "pr",
        "",
    ),
    Column(
        "service",
        "category",
        "what the well-known port is for (`SERVICES`), else system, registered or ephemeral",
        "the service is {}",
        "se",
        "",
    ),
    Column(
        "application",
        "category",
        "protocol recognised in the payload (`APPLICATIONS`), or none",
        "it speaks {}",
        "ap",
        "none",
    ),
    Column(
        "cast",
        "category",
        "unicast, multicast or broadcast, by the first packet's destination",
        "it goes to {} addresses",
        "ca",
        "unicast",
    ),
    Column("state", "category", "how the conversation went (`STATES`)", "its state is {}", "st", ""),
    Column(
        "flags",
        "category",
        "TCP flags of the first packet in the order FSRPAU, none if it had no flag; empty for other protocols",
        "it opens with the TCP flags {}",
        "fl",
        "",
    ),
    Column(
        "operation",
        "category",
        "ARP: request, reply, announce (sender = target) or probe (sender 0.0.0.0); ICMP: echo, unreachable, exceeded, redirect, neighbour, router, group, other; else empty",
        "the operation is {}",
        "op",
        "",
    ),
    Column(
        "tunnel",
        "category",
        "what the packets were inside of: 4in4, 4in6, 6in4, 6in6, gre, vxlan, gtp-u (the innermost), else empty",
        "it ran in a tunnel ({})",
        "",
        "",
    ),
    Column("duration_s", "seconds", "last packet minus first packet", "it lasted {}"),
    Column("duration_grade", "grade", "grade of the duration in milliseconds", "", "dg"),
    Column("fwd_packets", "count", "packets from source to destination", "it sent {} packets", "fp"),
    Column("bwd_packets", "count", "packets from destination to source", "it got {} packets back", "bp"),
    Column("fwd_bytes", "bytes", "network-layer bytes from source to destination", "it sent {}", "fb"),
    Column("bwd_bytes", "bytes", "network-layer bytes from destination to source", "it got {} back", "bb"),
    Column(
        "fwd_payload_bytes", "bytes", "transport payload from source to destination", "it sent {} of payload"
    ),
    Column(
        "bwd_payload_bytes",
        "bytes",
        "transport payload from destination to source",
        "it got {} of payload back",
    ),
    Column(
        "fwd_payload_max_bytes",
        "bytes",
        "largest payload of a packet from source to destination",
        "its largest packet carried {}",
    ),
    Column(
        "bwd_payload_max_bytes",
        "bytes",
        "largest payload of a packet from destination to source",
        "the largest answer carried {}",
    ),
    Column(
        "packets_per_s",
        "count",
        "packets both ways divided by the duration, 0 for a single packet",
        "it ran at {} packets per second",
    ),
    Column("rate_grade", "grade", "grade of packets_per_s", "", "rg"),
    Column(
        "iat_mean_s",
        "seconds",
        "mean time between packets, 0 for a single packet",
        "packets were {} apart on average",
    ),
    Column(
        "iat_std_s",
        "seconds",
        "standard deviation (population) of the time between packets",
        "the gaps varied by {}",
    ),
    Column("iat_min_s", "seconds", "shortest time between packets", "the shortest gap was {}"),
    Column("iat_max_s", "seconds", "longest time between packets", "the longest gap was {}"),
    Column("gap_grade", "grade", "grade of iat_max_s in milliseconds", "", "gg"),
    Column(
        "fwd_iat_mean_s",
        "seconds",
        "mean time between packets from the source",
        "its own packets were {} apart",
    ),
    Column(
        "bwd_iat_mean_s",
        "seconds",
        "mean time between packets from the destination",
        "the answers were {} apart",
    ),
    Column("fwd_syn_packets", "count", "packets from the source with SYN", "it sent {} SYN packets"),
    Column("fwd_fin_packets", "count", "packets from the source with FIN", "it sent {} FIN packets"),
    Column("fwd_rst_packets", "count", "packets from the source with RST", "it sent {} resets"),
    Column("bwd_rst_packets", "count", "packets from the destination with RST", "it was reset {} times"),
    Column("fwd_push_packets", "count", "packets from the source with PSH", "it pushed {} packets"),
    Column("handshake_s", "seconds", "SYN to SYN-ACK, 0 when there was none", "the handshake took {}"),
    Column(
        "messages",
        "count",
        "application messages recognised from source to destination (requests, connects, publishes, queries)",
        "it made {} requests",
        "me",
    ),
    Column(
        "answers",
        "count",
        "application messages recognised from destination to source",
        "it got {} answers",
        "an",
    ),
    Column(
        "errors",
        "count",
        "answers that report failure: HTTP 400-599, DNS rcode other than 0, MQTT CONNACK other than 0, CoAP 4.xx/5.xx, Modbus exception",
        "{} of the answers were errors",
        "er",
    ),
    Column(
        "logins",
        "count",
        "messages carrying credentials: HTTP Authorization header or a POST body with a password field, MQTT CONNECT with a password",
        "it tried {} logins",
        "lo",
    ),
    Column(
        "refusals",
        "count",
        "answers that refuse a login: HTTP 401/403, MQTT CONNACK 4, 5, 134, 135",
        "{} logins were refused",
        "re",
    ),
    Column(
        "message_bytes",
        "bytes",
        "longest request text (HTTP target plus start of the body, after percent-decoding)",
        "the longest request text has {}",
        "mb",
    ),
    Column(
        "entropy_bits",
        "bits",
        "Shannon entropy per byte of the longest request text, to 0.1",
        "its entropy is {} a byte",
        "en",
    ),
    Column(
        "sql_signs",
        "count",
        "most SQL metacharacters in one request text: ' \" ; -- /* # = ( ) where a quote or comment occurs, else 0",
        "a request holds {} SQL metacharacters",
        "sq",
    ),
    Column(
        "sql_words",
        "count",
        "most SQL keywords in one request text: select union insert update delete drop from where or and sleep benchmark order having like exec",
        "a request holds {} SQL keywords",
        "sw",
    ),
    Column(
        "markup_signs",
        "count",
        "most HTML metacharacters < > in one request text",
        "a request holds {} HTML metacharacters",
        "mu",
    ),
    Column(
        "script_words",
        "count",
        "most script keywords in one request text: script onerror onload onclick onmouseover alert eval javascript document cookie iframe svg img",
        "a request holds {} script keywords",
        "jw",
    ),
    Column(
        "unfinished_requests",
        "count",
        "HTTP requests whose header or announced body had not ended when the flow ended",
        "{} requests were never finished",
        "ur",
    ),
    Column(
        "mac_conflict",
        "count",
        "1 when the source address was last seen, within 300 s, at another link-layer address",
        "its address was just seen at {} other MAC",
        "mc",
    ),
)

_SIDES = {"fwd": "from source to destination", "bwd": "from destination to source"}
_STATISTICS = {
    "min": "smallest", "mean": "mean", "max": "largest", "std": "standard deviation (population) of the",
}  # fmt: skip
_QUANTITIES = {"packet": "network-layer bytes of a packet", "payload": "payload bytes of a packet"}
_TCP_FLAGS = {"fin": "FIN", "syn": "SYN", "rst": "RST", "push": "PSH", "ack": "ACK", "urg": "URG", "ece": "ECE", "cwr": "CWR"}


def _measures() -> tuple[Column, ...]:
    """What is measured of a flow's packets, by direction, beside `OWN`: direction_quantity_statistic_unit."""
    told = {column.name for column in OWN}
    columns: list[Column] = []

    def add(name: str, kind: Kind, meaning: str) -> None:
        if name not in told:
            columns.append(Column(name, kind, meaning))

    for side, way in {**_SIDES, "": "both ways"}.items():
        head = f"{side}_" if side else ""
        for quantity, meaning in _QUANTITIES.items():
            for statistic, word in _STATISTICS.items():
                unit: Kind = "bytes" if statistic in ("min", "max") else "number"
                add(f"{head}{quantity}_{statistic}_bytes", unit, f"{word} {meaning} {way}, 0 without packets")
        if side:
            for statistic, word in _STATISTICS.items():
                add(f"{side}_iat_{statistic}_s", "seconds", f"{word} time between packets {way}, 0 for fewer than two")
            add(f"{side}_header_bytes", "bytes", f"network and transport headers of all packets {way}")
            add(f"{side}_header_min_bytes", "bytes", f"smallest headers of a packet {way}")
            add(f"{side}_header_max_bytes", "bytes", f"largest headers of a packet {way}")
            add(f"{side}_payload_packets", "count", f"packets with payload {way}")
            add(f"{side}_ttl", "identity", f"TTL or hop limit of the first packet {way}, 0 where there is none: it says who rather than what")
            add(f"{side}_packets_per_s", "number", f"packets {way} divided by the duration, 0 for a single packet")
            add(f"{side}_bytes_per_s", "number", f"network-layer bytes {way} divided by the duration, 0 for a single packet")
            for flag, letters in _TCP_FLAGS.items():
                add(f"{side}_{flag}_packets", "count", f"packets with {letters} {way}")
            add(f"{side}_window_bytes", "identity", f"TCP window of the first packet {way}, unscaled: it says which system rather than what")
            add(f"{side}_retransmitted_packets", "count", f"TCP segments {way} whose bytes had been seen")
            add(f"{side}_out_of_order_packets", "count", f"TCP segments {way} that came later than what follows them")
            add(f"{side}_missed_bytes", "bytes", f"TCP bytes {way} that later segments show were sent, and were not seen")
    add("bytes_per_s", "number", "network-layer bytes both ways divided by the duration, 0 for a single packet")
    add("handshake_ack_s", "seconds", "SYN-ACK to the ACK that completes the handshake, 0 when there was none")
    for period, meaning in {"active": "periods with no gap above 5 s", "idle": "gaps above 5 s"}.items():
        for statistic, word in {**_STATISTICS, "min": "shortest", "max": "longest"}.items():
            of = "length of" if statistic in ("mean", "std") else "of"
            add(f"{period}_{statistic}_s", "seconds", f"{word} {of} {meaning}, 0 without any")
    return tuple(columns)


MEASURES = _measures()
KEYS = ("src", "dst", "pair")
WINDOWS = ("2s", "60s", "100")

_WHO = {"src": "this source", "dst": "this destination", "pair": "this pair"}
_WHEN = {"2s": "in the last 2 s", "60s": "in the last 60 s", "100": "over its last 100 flows"}
_COUNTED = {
    "flows": ("flows begun", "{who} had {{}} flows {when}"),
    "ports": ("distinct destination ports", "{who} saw {{}} distinct ports {when}"),
    "hosts": ("distinct hosts at the other end", "{who} met {{}} distinct hosts {when}"),
}
_SHARES = {
    "unanswered": (
        "flows to a unicast address with no packet back so far",
        "{{}} of {of} flows {when} had no answer",
    ),
    "incomplete": (
        "TCP flows opened by a SYN whose handshake is not complete so far, of all flows",
        "{{}} of {of} flows {when} never completed a handshake",
    ),
    "resets": ("flows with a RST so far", "{{}} of {of} flows {when} were reset"),
    "errors": (
        "flows that met an application error or caused an ICMP unreachable so far",
        "{{}} of {of} flows {when} met an error",
    ),
}
_OF = {"src": "this source's", "dst": "this destination's", "pair": "this pair's"}
# Codes of the context columns a compact sentence carries: first letter who, second what and when.
_CODES = {
    "flows_2s": "a", "flows_60s": "b", "ports_2s": "c", "ports_60s": "d", "hosts_2s": "e", "hosts_60s": "f",
    "unanswered_60s": "g", "incomplete_60s": "h", "resets_60s": "i", "errors_60s": "j", "ports_100": "k",
    "hosts_100": "l", "unanswered_100": "m", "errors_100": "n", "rebinds_60s": "o", "incomplete_2s": "p", "errors_2s": "q",
}  # fmt: skip
_CARRIED = {
    "src": "flows_2s ports_2s hosts_2s incomplete_2s flows_60s ports_60s hosts_60s unanswered_60s incomplete_60s resets_60s errors_60s ports_100 hosts_100 unanswered_100 rebinds_60s",
    "dst": "flows_2s hosts_2s incomplete_2s flows_60s ports_60s hosts_60s incomplete_60s rebinds_60s",
    "pair": "flows_2s ports_2s errors_2s flows_60s ports_60s unanswered_60s resets_60s errors_60s errors_100",
}


def _context() -> tuple[Column, ...]:
    columns: list[Column] = []

    def code(key: str, stem: str) -> str:
        return (
            {"src": "x", "dst": "y", "pair": "z"}[key] + _CODES[stem] if stem in _CARRIED[key].split() else ""
        )

    for key, window in product(KEYS, WINDOWS):
        words = {"who": _WHO[key], "of": _OF[key], "when": _WHEN[window]}
        for stem, (meaning, phrase) in _COUNTED.items():
            if stem == "hosts" and key == "pair":
                continue
            name = f"{key}_{stem}_{window}"
            columns.append(
                Column(name, "count", f"{meaning} by {_WHO[key]} {_WHEN[window]}", phrase.format(**words))
            )
            columns.append(
                Column(f"{name}_grade", "grade", f"grade of {name}", "", code(key, f"{stem}_{window}"))
            )
        for stem, (meaning, phrase) in _SHARES.items():
            name = f"{key}_{stem}_{window}"
            text = f"share of {meaning}, for {_WHO[key]} {_WHEN[window]}, in whole percent rounded half up"
            columns.append(Column(name, "percent", text, phrase.format(**words)))
            columns.append(
                Column(f"{name}_tenths", "tenths", f"tenths of {name}", "", code(key, f"{stem}_{window}"))
            )
    for key in ("src", "dst"):
        name = f"{key}_rebinds_60s"
        text = f"times the {'source' if key == 'src' else 'destination'} address changed its link-layer address in the last 60 s"
        columns.append(
            Column(
                name,
                "count",
                text,
                f"{_WHO[key]} changed its MAC address {{}} times in the last 60 s",
                code(key, "rebinds_60s"),
            )
        )
    return tuple(columns)


CONTEXT = _context()

# What the application said, null where it said nothing of the kind: protocol_what. The first in the flow, where nothing else is
# said. Captured text is cut at 255 bytes; every byte of it that is not of a printed character, and a backslash, is written \\xNN.
_FACTS: dict[str, tuple[Kind, str]] = {
    "http_method": ("text", "HTTP, RTSP: method of the first request"),
    "http_host": ("text", "HTTP: Host of the first request"),
    "http_uri": ("text", "HTTP, RTSP: target of the first request, as sent"),
    "http_user_agent": ("text", "HTTP, RTSP: User-Agent of the first request"),
    "http_status": ("code", "HTTP, RTSP: status of the first response"),
    "http_content_type": ("text", "HTTP, RTSP: Content-Type of the first response"),
    "http_server": ("text", "HTTP, RTSP: Server of the first response"),
    "dns_query": ("text", "DNS, mDNS, LLMNR: name of the first question, . for the root"),
    "dns_query_type": ("text", "DNS: type of the first question (A, AAAA, PTR, ...; TYPEn without a name)"),
    "dns_rcode": ("text", "DNS: response code of the first response (NOERROR, NXDOMAIN, ...; RCODEn without a name)"),
    "dns_answers": ("text", "DNS: addresses and names in the answers of the first response, divided by blanks"),
    "mqtt_version": ("code", "MQTT: protocol level of CONNECT (3: 3.1, 4: 3.1.1, 5: 5)"),
    "mqtt_client_id": ("text", "MQTT: client identifier of CONNECT"),
    "mqtt_username": ("text", "MQTT: user name of CONNECT"),
    "mqtt_reason": ("code", "MQTT: return or reason code of CONNACK"),
    "mqtt_topic": ("text", "MQTT: topic of the first PUBLISH, or topic filter of the first SUBSCRIBE"),
    "coap_method": ("text", "CoAP: method of the first request (GET, POST, PUT, DELETE, FETCH, PATCH, iPATCH)"),
    "coap_uri": ("text", "CoAP: path and query of the first request, / without any"),
    "coap_code": ("text", "CoAP: code of the first response, such as 2.05"),
    "modbus_unit": ("code", "Modbus over TCP: unit identifier of the first request"),
    "modbus_function": ("code", "Modbus: function code of the first request"),
    "modbus_address": ("code", "Modbus: starting address of the first request that has one"),
    "modbus_exception": ("code", "Modbus: exception code of the first exception"),
    "dnp3_source": ("code", "DNP3: source of the first link frame"),
    "dnp3_destination": ("code", "DNP3: destination of the first link frame"),
    "dnp3_function": ("code", "DNP3: function code of the first application fragment"),
    "bacnet_service": ("text", "BACnet: service of the first APDU that names one, such as who-Is or readProperty; its number without a name"),
    "bacnet_object": ("text", "BACnet: object identifier of the first request that has one, such as device,1234"),
    "tls_version": ("text", "TLS, DTLS: version of the ServerHello, else the highest the ClientHello offers (TLSv1.3, ...)"),
    "tls_sni": ("text", "TLS, DTLS: server name the ClientHello asks for (RFC 6066)"),
    "tls_alpn": ("text", "TLS, DTLS: application protocols the ClientHello offers, divided by commas (RFC 7301)"),
    "tls_ja4": ("text", "TLS, DTLS: JA4 of the ClientHello (FoxIO, the client's part alone)"),
    "tls_cipher": ("text", "TLS, DTLS: cipher suite of the ServerHello, such as 0x1301"),
    "dhcp_message": ("text", "DHCP: type of the first message (DISCOVER, OFFER, REQUEST, ...)"),
    "dhcp_hostname": ("text", "DHCP: host name the client gives (option 12)"),
    "dhcp_vendor_class": ("text", "DHCP: vendor class of the client (option 60)"),
    "dhcp_parameters": ("text", "DHCP: parameters the client asks for, divided by commas (option 55)"),
    "dhcp_address": ("text", "DHCP: address the client requests (option 50) or is given, whichever came first"),
    "ntp_version": ("code", "NTP: version of the first message"),
    "ntp_mode": ("code", "NTP: mode of the first message"),
    "ntp_stratum": ("code", "NTP: stratum of the first server message"),
    "ntp_reference": ("text", "NTP: reference of the first server message: letters, or an address"),
    "ssdp_method": ("text", "SSDP: M-SEARCH, NOTIFY, or RESPONSE"),
    "ssdp_target": ("text", "SSDP: ST or NT of the first message"),
    "ssdp_server": ("text", "SSDP: SERVER or USER-AGENT of the first message that has one"),
    "ssdp_location": ("text", "SSDP: LOCATION of the first message that has one"),
    "ssh_client": ("text", "SSH: identification of the client (RFC 4253)"),
    "ssh_server": ("text", "SSH: identification of the server"),
    "telnet_banner": ("text", "Telnet: first line the server prints that is not blank, negotiation left out"),
}
FACTS = tuple(Column(name, kind, meaning, default=None, nullable=True) for name, (kind, meaning) in _FACTS.items())
COLUMNS: dict[str, Column] = {column.name: column for column in (*IDENTITY, *OWN, *MEASURES, *CONTEXT, *FACTS)}
FEATURES: tuple[str, ...] = tuple(name for name, column in COLUMNS.items() if column.is_feature)

# The start of a flow packet by packet, where it is asked for (`wirespeak flows --first-packets`): lists of equal length.
FIRST_PACKETS = (
    Column("first_packets_bytes", "sequence", "network-layer bytes of each of the first packets"),
    Column("first_packets_forward", "sequence", "whether each came from the source"),
    Column("first_packets_s", "sequence", "seconds from the flow's first packet to each"),
)

# state: TCP as Zeek's conn_state (docs.zeek.org, base/protocols/conn), others by who spoke.
STATES = {
    "S0": "SYN without an answer",
    "S1": "established, not ended",
    "SF": "established and ended by FIN from both sides",
    "REJ": "SYN answered by RST",
    "S2": "established, only the source asked to close",
    "S3": "established, only the destination asked to close",
    "RSTO": "established, the source reset it",
    "RSTR": "established, the destination reset it",
    "RSTOS0": "SYN, then RST by the source, no SYN-ACK seen",
    "RSTRH": "SYN-ACK, then RST by the destination, no SYN seen",
    "SH": "SYN, then FIN by the source, no SYN-ACK seen",
    "HALF": "SYN and SYN-ACK, handshake never completed (Zeek has no name for it)",
    "OTH": "TCP joined midway, no SYN seen",
    "one-way": "not TCP, nothing came back",
    "two-way": "not TCP, both sides spoke",
}

APPLICATIONS = (
    "none", "http", "mqtt", "tls", "dtls", "dns", "mdns", "ssdp", "dhcp", "ntp", "coap", "modbus", "rtsp", "ssh",
    "telnet", "ftp", "smtp", "snmp", "syslog", "stun", "dnp3", "bacnet", "quic", "rtp", "other",
)  # fmt: skip

# Well-known ports worth a word of their own. The name stands for the use, not for what the payload is.
SERVICES: dict[str, tuple[int, ...]] = {
    "web": (80, 8000, 8008, 8080, 8081, 8088, 8888), "tls": (443, 4443, 8443, 9443), "dns": (53,), "mdns": (5353,),
    "llmnr": (5355,), "ssdp": (1900, 3702), "dhcp": (67, 68, 546, 547), "ntp": (123,), "mqtt": (1883, 1884),
    "mqtts": (8883,), "coap": (5683, 5684), "modbus": (502,), "rtsp": (554, 8554), "ssh": (22, 2222),
    "telnet": (23, 2323), "ftp": (20, 21), "tftp": (69,), "smtp": (25, 465, 587), "mail": (110, 143, 993, 995),
    "snmp": (161, 162), "syslog": (514,), "stun": (3478, 3479), "smb": (139, 445), "netbios": (137, 138),
    "rdp": (3389,), "database": (1433, 1521, 3306, 5432, 6379, 27017), "sip": (5060, 5061), "upnp": (5000, 49152),
    "xmpp": (5222, 5223, 5228), "amqp": (5671, 5672), "s7": (102,), "dnp3": (20000,), "bacnet": (47808,),
    "iec104": (2404,), "opcua": (4840,), "enip": (44818,), "device": (6666, 6667, 6668, 9999, 10001, 56700),
}  # fmt: skip

LABELS: dict[str, str] = {
    "normal": "ordinary traffic",
    "flood": "a flood",
    "flood.syn": "a TCP SYN flood",
    "flood.udp": "a UDP flood",
    "flood.icmp": "an ICMP flood",
    "flood.http": "an HTTP flood",
    "flood.mqtt": "an MQTT flood",
    "flood.slow": "a slow HTTP attack",
    "flood.other": "a flood of another kind",
    "dos": "a denial of service",
    "dos.crash": "an attempt to crash a service",
    "recon": "reconnaissance",
    "recon.port_scan": "a port scan",
    "recon.sweep": "a host sweep",
    "recon.fingerprint": "fingerprinting",
    "recon.vuln_scan": "a vulnerability scan",
    "recon.fuzz": "fuzzing",
    "spoof": "spoofing",
    "spoof.arp": "ARP spoofing",
    "spoof.mitm": "an adversary in the middle",
    "spoof.dns": "DNS spoofing",
    "brute_force": "password guessing",
    "web": "a web attack",
    "web.sqli": "SQL injection",
    "web.xss": "script injection",
    "web.upload": "a hostile upload",
    "web.injection": "command or code injection",
    "exploit": "an exploit",
    "malware": "malware activity",
    "malware.c2": "command and control",
    "malware.botnet": "botnet activity",
    "malware.ransomware": "ransomware",
    "malware.exfil": "data exfiltration",
    "malware.backdoor": "a backdoor",
    "malware.worm": "a worm",
    "privilege": "privilege escalation",
    "other": "another attack",
    "unknown": "hostile or strange, like nothing known",
}


def category(label: str) -> str:
    """The first part of a canonical label: `flood` of `flood.syn`."""
    return label.split(".", 1)[0]


def compact_columns() -> tuple[Column, ...]:
    """The columns a compact sentence carries, in its order. Every number in it keeps 3 significant digits."""
    return tuple(column for column in COLUMNS.values() if column.code)


# Columns of the English levels. A column is said only where it differs from its default.
_BASIC = (
    "protocol",
    "service",
    "state",
    "fwd_packets",
    "bwd_packets",
    "fwd_bytes",
    "bwd_bytes",
    "duration_s",
)
_DETAILED = _BASIC + (
    "application", "cast", "flags", "operation", "packets_per_s", "fwd_payload_max_bytes", "bwd_payload_max_bytes",
    "bwd_rst_packets", "messages", "answers", "errors", "refusals",
    "src_flows_60s", "src_ports_60s", "src_hosts_60s", "src_unanswered_60s", "dst_flows_60s", "pair_flows_60s",
)  # fmt: skip
LEVELS: dict[str, tuple[str, ...]] = {
    "basic": _BASIC,
    "detailed": _DETAILED,
    "rich": tuple(column.name for column in (*OWN, *CONTEXT) if column.phrase),
}

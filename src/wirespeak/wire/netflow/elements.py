"""Information elements that become columns of a record, and the names of others (IANA registry of IPFIX, RFC 7012; RFC 3954, 8).

NetFlow v9 numbers its fields as IPFIX does. What RFC 5103 reverses, in biflows, is under the enterprise number `REVERSE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["count", "ipv4", "ipv6", "mac", "uptime", "s", "ms", "ntp", "ago"]
"""How a value is written: an unsigned number; milliseconds of the exporter's SysUpTime; seconds or milliseconds since 1970; a 64-bit
NTP time (RFC 7011, 6.1.9); microseconds before the export."""

REVERSE = 29305
"""The enterprise number under which RFC 5103 has the elements of the reverse direction."""
VARIABLE = 65535
"""The length by which a template says that each value carries its own."""

RECORD: dict[str, pl.DataType] = {
    "first_ns": pl.Int64(), "last_ns": pl.Int64(), "src": pl.String(), "dst": pl.String(), "src_port": pl.UInt16(),
    "dst_port": pl.UInt16(), "protocol": pl.UInt8(), "icmp": pl.UInt16(), "vlan": pl.UInt16(), "src_mac": pl.String(),
    "dst_mac": pl.String(), "direction": pl.UInt8(), "end_reason": pl.UInt8(),
}  # fmt: skip
"""Columns of a record beside those of `SIDED`. icmp: type x 256 + code; direction: of a biflow's record, 1 the initiator's, 2 the other's."""

SIDED: dict[str, pl.DataType] = {
    "packets": pl.Int64(), "bytes": pl.Int64(), "flags": pl.UInt16(), "ttl_min": pl.UInt8(), "ttl_max": pl.UInt8(),
    "smallest": pl.Int64(), "largest": pl.Int64(), "syn": pl.Int64(), "fin": pl.Int64(), "rst": pl.Int64(), "push": pl.Int64(),
    "ack": pl.Int64(), "urg": pl.Int64(),
}  # fmt: skip
"""Columns that a direction has: those of the reverse one begin with `back_`. flags: those of all its packets, together."""

COLUMNS: dict[str, pl.DataType] = {
    **RECORD,
    **SIDED,
    **{f"back_{name}": kind for name, kind in SIDED.items()},
    "stream": pl.UInt32(),
}
"""Columns of a table of records, null where an exporter did not tell. stream: which exporter's observation domain told it."""


@dataclass(frozen=True)
class Element:
    """An information element: its name in the registry, how it is written, and the column of `COLUMNS` (or of what is said aside) it becomes.

    Of several in one template for the same column, the one declared first here counts.
    """

    name: str
    kind: Kind
    column: str
    rank: int = 0


def _declared() -> dict[tuple[int, int], Element]:
    rows: tuple[tuple[int, str, Kind, str], ...] = (
        (8, "sourceIPv4Address", "ipv4", "src"), (27, "sourceIPv6Address", "ipv6", "src"),
        (12, "destinationIPv4Address", "ipv4", "dst"), (28, "destinationIPv6Address", "ipv6", "dst"),
        (7, "sourceTransportPort", "count", "src_port"), (180, "udpSourcePort", "count", "src_port"),
        (182, "tcpSourcePort", "count", "src_port"), (11, "destinationTransportPort", "count", "dst_port"),
        (181, "udpDestinationPort", "count", "dst_port"), (183, "tcpDestinationPort", "count", "dst_port"),
        (4, "protocolIdentifier", "count", "protocol"), (6, "tcpControlBits", "count", "flags"),
        (2, "packetDeltaCount", "count", "packets"), (86, "packetTotalCount", "count", "packets"),
        (298, "initiatorPackets", "count", "packets"), (24, "postPacketDeltaCount", "count", "packets"),
        (299, "responderPackets", "count", "back_packets"), (1, "octetDeltaCount", "count", "bytes"),
        (85, "octetTotalCount", "count", "bytes"), (231, "initiatorOctets", "count", "bytes"),
        (23, "postOctetDeltaCount", "count", "bytes"), (232, "responderOctets", "count", "back_bytes"),
        (156, "flowStartNanoseconds", "ntp", "first_ns"), (154, "flowStartMicroseconds", "ntp", "first_ns"),
        (152, "flowStartMilliseconds", "ms", "first_ns"), (150, "flowStartSeconds", "s", "first_ns"),
        (22, "flowStartSysUpTime", "uptime", "first_ns"), (158, "flowStartDeltaMicroseconds", "ago", "first_ns"),
        (325, "observationTimeNanoseconds", "ntp", "first_ns"), (324, "observationTimeMicroseconds", "ntp", "first_ns"),
        (323, "observationTimeMilliseconds", "ms", "first_ns"), (322, "observationTimeSeconds", "s", "first_ns"),
        (157, "flowEndNanoseconds", "ntp", "last_ns"), (155, "flowEndMicroseconds", "ntp", "last_ns"),
        (153, "flowEndMilliseconds", "ms", "last_ns"), (151, "flowEndSeconds", "s", "last_ns"),
        (21, "flowEndSysUpTime", "uptime", "last_ns"), (159, "flowEndDeltaMicroseconds", "ago", "last_ns"),
        (162, "flowDurationMicroseconds", "count", "lasted_us"), (161, "flowDurationMilliseconds", "count", "lasted_ms"),
        (32, "icmpTypeCodeIPv4", "count", "icmp"), (139, "icmpTypeCodeIPv6", "count", "icmp"),
        (176, "icmpTypeIPv4", "count", "icmp_type"), (178, "icmpTypeIPv6", "count", "icmp_type"),
        (177, "icmpCodeIPv4", "count", "icmp_code"), (179, "icmpCodeIPv6", "count", "icmp_code"),
        (58, "vlanId", "count", "vlan"), (243, "dot1qVlanId", "count", "vlan"), (59, "postVlanId", "count", "vlan"),
        (56, "sourceMacAddress", "mac", "src_mac"), (81, "postSourceMacAddress", "mac", "src_mac"),
        (80, "destinationMacAddress", "mac", "dst_mac"), (57, "postDestinationMacAddress", "mac", "dst_mac"),
        (239, "biflowDirection", "count", "direction"), (136, "flowEndReason", "count", "end_reason"),
        (192, "ipTTL", "count", "ttl"), (52, "minimumTTL", "count", "ttl_min"), (53, "maximumTTL", "count", "ttl_max"),
        (25, "minimumIpTotalLength", "count", "smallest"), (26, "maximumIpTotalLength", "count", "largest"),
        (218, "tcpSynTotalCount", "count", "syn"), (219, "tcpFinTotalCount", "count", "fin"),
        (220, "tcpRstTotalCount", "count", "rst"), (221, "tcpPshTotalCount", "count", "push"),
        (222, "tcpAckTotalCount", "count", "ack"), (223, "tcpUrgTotalCount", "count", "urg"),
        (160, "systemInitTimeMilliseconds", "count", "boot_ms"), (34, "samplingInterval", "count", "sampling"),
        (305, "samplingPacketInterval", "count", "sampling"), (50, "samplerRandomInterval", "count", "sampling"),
    )  # fmt: skip
    found = {
        (0, number): Element(name, kind, column, rank)
        for rank, (number, name, kind, column) in enumerate(rows)
    }
    reverse = {
        (REVERSE, number): Element(f"reverse {each.name}", each.kind, f"back_{each.column}", each.rank)
        for (_, number), each in found.items()
        if each.column in SIDED
    }
    return {**found, **reverse}


ELEMENTS: dict[tuple[int, int], Element] = _declared()
"""What is read, by enterprise (0: the registry's own) and number."""

UNREAD = {
    3: "deltaFlowCount", 5: "ipClassOfService", 9: "sourceIPv4PrefixLength", 10: "ingressInterface", 13: "destinationIPv4PrefixLength",
    14: "egressInterface", 15: "ipNextHopIPv4Address", 16: "bgpSourceAsNumber", 17: "bgpDestinationAsNumber", 18: "bgpNextHopIPv4Address",
    29: "sourceIPv6PrefixLength", 30: "destinationIPv6PrefixLength", 31: "flowLabelIPv6", 33: "igmpType", 35: "samplingAlgorithm",
    36: "flowActiveTimeout", 37: "flowIdleTimeout", 38: "engineType", 39: "engineId", 40: "exportedOctetTotalCount",
    41: "exportedMessageTotalCount", 42: "exportedFlowRecordTotalCount", 48: "samplerId", 49: "samplerMode", 54: "fragmentIdentification",
    55: "postIpClassOfService", 60: "ipVersion", 61: "flowDirection", 62: "ipNextHopIPv6Address", 70: "mplsTopLabelStackSection",
    82: "interfaceName", 88: "fragmentOffset", 89: "forwardingStatus", 95: "applicationId", 96: "applicationName",
    130: "exporterIPv4Address", 131: "exporterIPv6Address", 137: "commonPropertiesId", 138: "observationPointId", 141: "lineCardId",
    142: "portId", 143: "meteringProcessId", 144: "exportingProcessId", 145: "templateId", 148: "flowId", 149: "observationDomainId",
    189: "ipHeaderLength", 195: "ipDiffServCodePoint", 206: "isMulticast", 210: "paddingOctets", 224: "ipTotalLength",
    225: "postNATSourceIPv4Address", 226: "postNATDestinationIPv4Address", 227: "postNAPTSourceTransportPort",
    228: "postNAPTDestinationTransportPort", 230: "natEvent", 233: "firewallEvent", 234: "ingressVRFID", 235: "egressVRFID",
    252: "ingressPhysicalInterface", 253: "egressPhysicalInterface", 256: "ethernetType", 302: "selectorId", 304: "selectorAlgorithm",
}  # fmt: skip
"""Names of elements that are often exported and have no column of ours."""


def element_name(enterprise: int, number: int) -> str:
    """What an element is called, its number where no name is known.

    >>> element_name(0, 10), element_name(0, 999), element_name(35632, 57590)
    ('ingressInterface', 'element 999', 'element 57590 of enterprise 35632')
    """
    if enterprise == 0:
        return UNREAD.get(number) or (
            known.name if (known := ELEMENTS.get((0, number))) else f"element {number}"
        )
    if enterprise == REVERSE:
        return f"reverse {element_name(0, number)}"
    return f"element {number} of enterprise {enterprise}"

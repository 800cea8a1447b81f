"""Suricata's EVE log (docs.suricata.io, "EVE JSON format"): the events `flow` or `netflow` as flows, with what other events say of them.

Suricata counts bytes of the link layer; the Ethernet header and VLAN tags are taken off, padding is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from wirespeak.data.sources.flags import of_flags, spoken
from wirespeak.data.sources.lines import lines, nanoseconds, number, objects, operation, protocol, whole
from wirespeak.data.sources.log import Log, Told
from wirespeak.data.sources.said import Said, facts, said, there, true
from wirespeak.errors import InputError

_FLOW = (
    "timestamp", "flow_id", "event_type", "src_ip", "src_port", "dest_ip", "dest_port", "proto", "app_proto", "community_id", "icmp_type",
    "vlan[]", "ether.src_macs[]", "ether.dest_macs[]", "tcp.tcp_flags", "tcp.tcp_flags_ts", "tcp.tcp_flags_tc", "flow.start", "flow.end",
    "flow.pkts_toserver", "flow.pkts_toclient", "flow.bytes_toserver", "flow.bytes_toclient", "netflow.start", "netflow.end",
    "netflow.pkts", "netflow.bytes",
)  # fmt: skip

_APPLICATIONS = {
    "http": "http", "http2": "http", "http1": "http", "tls": "tls", "dns": "dns", "mqtt": "mqtt", "ssh": "ssh", "smtp": "smtp",
    "ftp": "ftp", "ftp-data": "ftp", "modbus": "modbus", "dnp3": "dnp3", "dhcp": "dhcp", "ntp": "ntp", "snmp": "snmp", "quic": "quic",
    "telnet": "telnet", "mdns": "mdns", "rtsp": "rtsp",
}  # fmt: skip

_version = (
    pl.col("tls.version").str.replace("^(D?TLS) ?(1)$", "${1}v${2}.0").str.replace("^(D?TLS) ?v?", "${1}v")
)
_status, _reason = number("http.status"), number("mqtt.connack.return_code")
_rcode = pl.when(pl.col("dns.type").is_in(["answer", "response"])).then(
    pl.col("dns.rcode").fill_null("NOERROR")
)
_query = pl.col("dns.type").is_in(["query", "request"])
_banner = {
    f"ssh_{side}": pl.concat_str(
        pl.lit("SSH-"), f"ssh.{side}.proto_version", pl.lit("-"), f"ssh.{side}.software_version"
    )
    for side in ("client", "server")
}
_asked, _answered = ["DISCOVER", "REQUEST", "DECLINE", "RELEASE", "INFORM"], ["OFFER", "ACK", "NAK"]
_dhcp = pl.col("dhcp.dhcp_type").str.to_uppercase()
_MQTT = (
    "connect.client_id",
    "subscribe.message_id",
    "unsubscribe.message_id",
    "publish.topic",
    "pingreq.qos",
)

SAID: dict[str, Said] = {
    "http": Said(
        ("http.http_method", "http.hostname", "http.url", "http.http_user_agent", "http.http_content_type", "http.status"),
        "http",
        facts("http", method="http.http_method", host="http.hostname", uri="http.url", user_agent="http.http_user_agent",
              content_type="http.http_content_type", status="http.status"),
        {
            "messages": there("http.http_method"), "answers": there("http.status"), "errors": true(_status.is_between(400, 599)),
            "refusals": true(_status.is_in([401.0, 403.0])),
        },
    ),
    "dns": Said(
        ("dns.type", "dns.rrname", "dns.rrtype", "dns.queries[].rrname", "dns.queries[].rrtype", "dns.rcode", "dns.answers[].rdata"), None,
        {
            "dns_query": pl.coalesce("dns.rrname", pl.col("dns.queries.rrname").list.first()), "dns_rcode": _rcode,
            "dns_query_type": pl.coalesce("dns.rrtype", pl.col("dns.queries.rrtype").list.first()),
            "dns_answers": pl.when(pl.col("dns.answers.rdata").list.drop_nulls().list.len() > 0)
            .then(pl.col("dns.answers.rdata").list.drop_nulls().list.join(" ")),
        },
        {"messages": true(_query), "answers": true(~_query), "errors": true(_rcode != "NOERROR")},
    ),
    "tls": Said(
        ("tls.version", "tls.sni", "tls.ja4"), "tls", {"tls_version": _version, **facts("tls", sni="tls.sni", ja4="tls.ja4")}
    ),
    "mqtt": Said(
        (*(f"mqtt.{name}" for name in _MQTT), "mqtt.connect.protocol_version", "mqtt.connect.username", "mqtt.connect.flags.password",
         "mqtt.connack.return_code", "mqtt.subscribe.topics[].topic"),
        "mqtt",
        {
            **facts("mqtt", version="mqtt.connect.protocol_version", client_id="mqtt.connect.client_id",
                    username="mqtt.connect.username", reason="mqtt.connack.return_code"),
            "mqtt_topic": pl.coalesce("mqtt.publish.topic", pl.col("mqtt.subscribe.topics.topic").list.first()),
        },
        {
            "errors": true(_reason > 0), "refusals": true(_reason.is_in([4.0, 5.0, 134.0, 135.0])),
            "logins": true(pl.col("mqtt.connect.flags.password") == "true"),
        },
    ),
    "ssh": Said(
        tuple(f"ssh.{side}.{what}_version" for side in ("client", "server") for what in ("proto", "software")), "ssh", _banner
    ),
    "dhcp": Said(
        ("dhcp.dhcp_type", "dhcp.hostname", "dhcp.vendor_class_identifier", "dhcp.requested_ip", "dhcp.assigned_ip"), "dhcp",
        {
            "dhcp_message": _dhcp, "dhcp_hostname": pl.col("dhcp.hostname"), "dhcp_vendor_class": pl.col("dhcp.vendor_class_identifier"),
            "dhcp_address": pl.coalesce("dhcp.requested_ip", pl.col("dhcp.assigned_ip").replace("0.0.0.0", None)),
        },
        {"messages": true(_dhcp.is_in(_asked)), "answers": true(_dhcp.is_in(_answered))},
    ),
    "snmp": Said((), "snmp"), "smtp": Said((), "smtp"), "ftp": Said((), "ftp"), "modbus": Said((), "modbus"), "dnp3": Said((), "dnp3"),
    "quic": Said((), "quic"),
}  # fmt: skip
"""The events that are joined by `flow_id`. An MQTT event does not say who sent its packet, so these are not counted."""

_PATHS = (*_FLOW, *(path for kind in SAID.values() for path in kind.fields))
_ETHERNET, _TAG = 14, 4


def claims(path: Path, head: bytes) -> bool:
    """Whether this is an EVE log."""
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]
    return line.startswith(b"{") and b'"event_type"' in line and b'"timestamp"' in line


def read(paths: Sequence[Path], told: Told) -> pl.DataFrame:
    """The flows of EVE logs. Raises InputError when there is no event of a flow."""
    parts = [objects(piece, _PATHS, told) for path in paths for piece in lines(path, told)]
    events = pl.concat(parts) if parts else pl.DataFrame()
    ends = (
        {kind: events.filter(pl.col("event_type") == kind) for kind in ("flow", "netflow")} if parts else {}
    )
    if not any(table.height for table in ends.values()):
        kinds = events["event_type"].drop_nulls().unique().sort().head(8).to_list() if parts else []
        found = ", ".join(kinds) or "nothing"
        raise InputError(
            f"{paths[0]}: an EVE log without an event of a flow (found: {found}). Add 'flow' to the types of eve-log in suricata.yaml."
        )
    rest = events.filter(~pl.col("event_type").is_in(["flow", "netflow"])).rename(
        {"flow_id": "uid", "timestamp": "ts"}
    )
    alerts = rest.filter(pl.col("event_type") == "alert")
    if alerts.height:
        told.warnings.append(
            f"{alerts.height:,} alerts on {alerts['uid'].n_unique():,} flows are in no column"
        )
    by_kind = rest.partition_by("event_type", as_dict=True)
    heard = said(SAID, {str(kind): table for (kind,), table in by_kind.items()})
    halves = ends["netflow"].join(ends["flow"], on="flow_id", how="anti")
    told.rows -= events.height - ends["flow"].height - halves.height
    both = pl.concat([_of_flow(ends["flow"]), _of_netflow(halves, told)])
    return _flows(
        both.join(heard, left_on="flow_id", right_on="uid", how="left", maintain_order="left"), told
    )


def _of_flow(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(
        *_shared(),
        start=nanoseconds("flow.start"),
        end=nanoseconds("flow.end"),
        fwd_packets=whole("flow.pkts_toserver"),
        bwd_packets=whole("flow.pkts_toclient"),
        fwd_bytes=whole("flow.bytes_toserver"),
        bwd_bytes=whole("flow.bytes_toclient"),
        fwd_flags=_sum("tcp.tcp_flags_ts"),
        bwd_flags=_sum("tcp.tcp_flags_tc"),
    )


def _of_netflow(events: pl.DataFrame, told: Told) -> pl.DataFrame:
    """Two events of one flow, a direction each, as one; the first is the source's."""
    sides = events.select(
        *_shared(),
        start=nanoseconds("netflow.start"),
        end=nanoseconds("netflow.end"),
        packets=whole("netflow.pkts"),
        bytes=whole("netflow.bytes"),
        flags=_sum("tcp.tcp_flags"),
    ).with_columns(at=pl.int_range(pl.len()).over("flow_id"))
    fwd = sides.filter(pl.col("at") == 0).rename(
        {name: f"fwd_{name}" for name in ("packets", "bytes", "flags")}
    )
    bwd = sides.filter(pl.col("at") == 1).select(
        "flow_id", bwd_end="end", bwd_packets="packets", bwd_bytes="bytes", bwd_flags="flags"
    )
    told.rows -= bwd.height
    more = sides.filter(pl.col("at") > 1).height
    if more:
        told.set_aside["a third event of one flow"] += more
    joined = fwd.join(bwd, on="flow_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.max_horizontal("end", "bwd_end").alias("end"),
        pl.col("bwd_packets", "bwd_bytes", "bwd_flags").fill_null(0),
    ).select(*_names(), "start", "end", *(f"{side}_{what}" for what in ("packets", "bytes", "flags") for side in ("fwd", "bwd")))  # fmt: skip


def _names() -> list[str]:
    return [path.replace("[]", "") for path in _FLOW[1 : _FLOW.index("tcp.tcp_flags")]]


def _shared() -> list[pl.Expr]:
    return [pl.col(name) for name in _names()]


def _sum(name: str) -> pl.Expr:
    return pl.col(name).str.to_integer(base=16, strict=False).cast(pl.Int64)


def _flows(events: pl.DataFrame, told: Told) -> pl.DataFrame:
    events = events.with_columns(protocol=protocol("proto"))
    tcp, udp = pl.col("protocol") == "tcp", pl.col("protocol") == "udp"
    states = of_flags(pl.col("fwd_flags"), pl.col("bwd_flags"), answered=pl.col("bwd_packets") > 0)
    state = spoken(states.pop("state"), pl.col("fwd_packets") > 0, pl.col("bwd_packets") > 0)
    icmp = pl.col("protocol").is_in(["icmp", "icmp6"])
    silent = state.is_in(["S0", "REJ", "HALF", "RSTOS0", "SH"]) & tcp
    multicast_dns = (pl.col("app_proto") == "dns") & pl.any_horizontal(
        pl.col("src_port", "dest_port") == "5353"
    )
    application = (
        pl.when(multicast_dns).then(pl.lit("mdns"))
        .when(~(tcp | udp) | silent).then(pl.lit("none"))
        .when(pl.col("app_proto").is_not_null() & ~pl.col("app_proto").is_in(["unknown", ""]))
        .then(pl.col("app_proto").replace_strict(_APPLICATIONS, default="other", return_dtype=pl.String))
    )  # fmt: skip
    tags, link = pl.col("vlan").list.len().fill_null(0), _link(events, told)
    found = {
        "first_seen": pl.col("start"), "last_seen": pl.col("end"), "src": pl.col("src_ip"), "dst": pl.col("dest_ip"),
        "src_port": pl.when(~icmp).then(pl.col("src_port")), "dst_port": pl.when(~icmp).then(pl.col("dest_port")),
        "src_mac": pl.col("ether.src_macs").list.first(), "dst_mac": pl.col("ether.dest_macs").list.first(),
        "vlan": pl.col("vlan").list.last(), "community_id": pl.col("community_id"), "protocol": pl.col("protocol"),
        "application": pl.coalesce(application, "application"), "state": state,
        "operation": pl.when(icmp).then(operation(pl.col("icmp_type"))),
        "fwd_packets": pl.col("fwd_packets"), "bwd_packets": pl.col("bwd_packets"),
        "fwd_bytes": pl.col("fwd_bytes") - pl.col("fwd_packets") * (link + tags * _TAG),
        "bwd_bytes": pl.col("bwd_bytes") - pl.col("bwd_packets") * (link + tags * _TAG),
        **states,
    }  # fmt: skip
    more = [name for name in said({}, {}).columns if name not in ("uid", "application")]
    return events.select(*(expression.alias(name) for name, expression in found.items()), *more)


def _link(events: pl.DataFrame, told: Told) -> int:
    """Bytes of the link header: Ethernet's, unless some flow is too small to have had it."""
    network = pl.when(pl.col("src_ip").str.contains(":", literal=True)).then(40).otherwise(20)
    transport = pl.col("protocol").replace_strict({"tcp": 20, "udp": 8}, default=0, return_dtype=pl.Int64)
    least = _ETHERNET + network + transport
    small = events.select((pl.col("fwd_bytes") < pl.col("fwd_packets") * least).any()).item()
    if small:
        told.warnings.append(
            "bytes are taken as those of the network layer: some packets are too small for an Ethernet header"
        )
    return 0 if small else _ETHERNET


LOG = Log("suricata", "a Suricata EVE log", claims, read)

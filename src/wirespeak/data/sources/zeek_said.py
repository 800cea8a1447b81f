"""What Zeek's logs beside conn.log say of a connection (docs.zeek.org, base/protocols): one entry a log, joined by `uid`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from wirespeak.data.sources.lines import nanoseconds, number
from wirespeak.schema import FACTS


@dataclass(frozen=True)
class Said:
    """What one log says of a flow.

    fields: what is read of it; `[]` is a set or vector. application: in our words, None where conn.log alone says it.
    facts: of the first row, by time, that has one. counts: summed over the rows, each 1 or 0, null where it is not told.
    """

    fields: tuple[str, ...]
    application: str | None = None
    facts: Mapping[str, pl.Expr] = field(default_factory=dict)
    counts: Mapping[str, pl.Expr] = field(default_factory=dict)


_MQTT_VERSIONS = {"3.1": "3", "3.1.1": "4", "5.0": "5"}
_MQTT_REASONS = {
    "Connection Accepted": "0", "Refused: unacceptable protocol version": "1", "Refused: identifier rejected": "2",
    "Refused: server unavailable": "3", "Refused: bad user name or password": "4", "Refused: not authorized": "5",
}  # fmt: skip
# MODBUS Application Protocol 1.1b3, and what Zeek calls it.
_MODBUS_FUNCTIONS = {
    "READ_COILS": "1", "READ_DISCRETE_INPUTS": "2", "READ_HOLDING_REGISTERS": "3", "READ_INPUT_REGISTERS": "4",
    "WRITE_SINGLE_COIL": "5", "WRITE_SINGLE_REGISTER": "6", "READ_EXCEPTION_STATUS": "7", "DIAGNOSTICS": "8",
    "GET_COMM_EVENT_COUNTER": "11", "GET_COMM_EVENT_LOG": "12", "WRITE_MULTIPLE_COILS": "15", "WRITE_MULTIPLE_REGISTERS": "16",
    "REPORT_SLAVE_ID": "17", "READ_FILE_RECORD": "20", "WRITE_FILE_RECORD": "21", "MASK_WRITE_REGISTER": "22",
    "READ_WRITE_MULTIPLE_REGISTERS": "23", "READ_FIFO_QUEUE": "24", "ENCAP_INTERFACE_TRANSPORT": "43",
}  # fmt: skip
_MODBUS_EXCEPTIONS = {
    "ILLEGAL_FUNCTION": "1", "ILLEGAL_DATA_ADDRESS": "2", "ILLEGAL_DATA_VALUE": "3", "SLAVE_DEVICE_FAILURE": "4", "ACKNOWLEDGE": "5",
    "SLAVE_DEVICE_BUSY": "6", "MEMORY_PARITY_ERROR": "8", "GATEWAY_PATH_UNAVAILABLE": "10",
    "GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND": "11",
}  # fmt: skip
# IEEE 1815, 4.2.2.
_DNP3_FUNCTIONS = {
    "CONFIRM": "0", "READ": "1", "WRITE": "2", "SELECT": "3", "OPERATE": "4", "DIRECT_OPERATE": "5", "DIRECT_OPERATE_NR": "6",
    "COLD_RESTART": "13", "WARM_RESTART": "14", "ENABLE_UNSOLICITED": "20", "DISABLE_UNSOLICITED": "21", "ASSIGN_CLASS": "22",
    "DELAY_MEASURE": "23", "RESPONSE": "129", "UNSOLICITED_RESPONSE": "130",
}  # fmt: skip


def _named(column: str, names: Mapping[str, str]) -> pl.Expr:
    return pl.col(column).replace_strict(names, default=None, return_dtype=pl.String)


def _is(condition: pl.Expr) -> pl.Expr:
    return condition.fill_null(False).cast(pl.Int64)


def _there(column: str) -> pl.Expr:
    return _is(pl.col(column).is_not_null() & (pl.col(column) != ""))


def _facts(prefix: str, **names: str) -> dict[str, pl.Expr]:
    return {f"{prefix}_{ours}": pl.col(theirs) for ours, theirs in names.items()}


_status, _rcode = number("status_code"), number("rcode")
_refused = _named("connect_status", _MQTT_REASONS)
_tls = pl.col("version").replace({"TLSv10": "TLSv1.0", "TLSv11": "TLSv1.1", "TLSv12": "TLSv1.2", "TLSv13": "TLSv1.3", "DTLSv10": "DTLSv1.0", "DTLSv12": "DTLSv1.2"})  # fmt: skip
_from_server = number("mode") == 4
_modbus_request = pl.col("pdu_type") == "REQ"
_ROW = pl.lit(1, pl.Int64)

SAID: dict[str, Said] = {
    "http": Said(
        ("ts", "uid", "method", "host", "uri", "user_agent", "status_code", "username"), "http",
        _facts("http", method="method", host="host", uri="uri", user_agent="user_agent", status="status_code"),
        {
            "messages": _there("method"), "answers": _there("status_code"), "errors": _is(_status.is_between(400, 599)),
            "refusals": _is(_status.is_in([401.0, 403.0])), "logins": _there("username"),
        },
    ),
    "dns": Said(
        ("ts", "uid", "query", "qtype_name", "rcode", "rcode_name", "answers[]"), None,
        {
            **_facts("dns", query="query", query_type="qtype_name", rcode="rcode_name"),
            "dns_answers": pl.when(pl.col("answers").list.len() > 0).then(pl.col("answers").list.join(" ")),
        },
        {"messages": _there("query"), "answers": _there("rcode"), "errors": _is(_rcode > 0)},
    ),
    "ssl": Said(
        ("ts", "uid", "version", "server_name", "ja4"), None,
        {"tls_version": _tls, **_facts("tls", sni="server_name", ja4="ja4")},
    ),
    "mqtt_connect": Said(
        ("ts", "uid", "proto_version", "client_id", "connect_status"), "mqtt",
        {"mqtt_version": _named("proto_version", _MQTT_VERSIONS), "mqtt_client_id": pl.col("client_id"), "mqtt_reason": _refused},
        {
            "messages": _ROW, "answers": _there("connect_status"), "errors": _is(number(_refused) > 0),
            "refusals": _is(number(_refused).is_in([4.0, 5.0])),
        },
    ),
    "mqtt_publish": Said(
        ("ts", "uid", "from_client", "topic", "status"), "mqtt", _facts("mqtt", topic="topic"),
        {"messages": _is(pl.col("from_client").is_in(["T", "true"])), "answers": _is(pl.col("from_client").is_in(["F", "false"]))},
    ),
    "mqtt_subscribe": Said(
        ("ts", "uid", "topics[]", "ack"), "mqtt", {"mqtt_topic": pl.col("topics").list.first()},
        {"messages": _ROW, "answers": _is(pl.col("ack").is_in(["T", "true"]))},
    ),
    "dhcp": Said(
        ("ts", "uids[]", "host_name", "requested_addr", "assigned_addr", "msg_types[]"), "dhcp",
        {
            "dhcp_message": pl.col("msg_types").list.first(), "dhcp_hostname": pl.col("host_name"),
            "dhcp_address": pl.coalesce("requested_addr", "assigned_addr"),
        },
    ),
    "ssh": Said(("ts", "uid", "client", "server"), "ssh", _facts("ssh", client="client", server="server")),
    "modbus": Said(
        ("ts", "uid", "unit", "func", "pdu_type", "exception"), "modbus",
        {
            "modbus_unit": pl.col("unit"), "modbus_exception": _named("exception", _MODBUS_EXCEPTIONS),
            "modbus_function": pl.col("func").str.strip_suffix("_EXCEPTION").replace_strict(_MODBUS_FUNCTIONS, default=None, return_dtype=pl.String),
        },
        {
            # Before Zeek 6 a row does not say whether it is a request.
            "messages": _modbus_request.cast(pl.Int64), "answers": (~_modbus_request).cast(pl.Int64), "errors": _there("exception"),
        },
    ),
    "dnp3": Said(
        ("ts", "uid", "fc_request", "fc_reply"), "dnp3",
        {"dnp3_function": pl.coalesce(_named("fc_request", _DNP3_FUNCTIONS), _named("fc_reply", _DNP3_FUNCTIONS))},
        {"messages": _there("fc_request"), "answers": _there("fc_reply")},
    ),
    "ntp": Said(
        ("ts", "uid", "version", "mode", "stratum", "ref_id"), "ntp",
        {
            **_facts("ntp", version="version", mode="mode"), "ntp_stratum": pl.when(_from_server).then(pl.col("stratum")),
            "ntp_reference": pl.when(_from_server).then(pl.col("ref_id")),
        },
        {"messages": _is(~_from_server), "answers": _is(_from_server)},
    ),
    "smtp": Said(("ts", "uid"), "smtp"),
    "ftp": Said(("ts", "uid"), "ftp"),
    "snmp": Said(("ts", "uid"), "snmp"),
    "syslog": Said(("ts", "uid"), "syslog"),
}  # fmt: skip
"""The logs that are joined. http.log's types of content are guessed by Zeek, not sent, so they are no fact."""

COUNTS = ("messages", "answers", "errors", "refusals", "logins")


def said(logs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What logs say of each connection: `uid`, `application`, counts and facts, a row a connection that some log speaks of.

    A count is null where no log of the connection tells it.
    """
    kinds = {fact.name: pl.String() for fact in FACTS}
    schema = {"uid": pl.String(), "application": pl.String(), **dict.fromkeys(COUNTS, pl.Int64()), **kinds}
    parts = [_of_log(SAID[name], logs[name], schema) for name in SAID if name in logs]
    if not parts:
        return pl.DataFrame(schema=schema)
    summed = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in COUNTS]
    first = [pl.col(name).drop_nulls().first() for name in ("application", *kinds)]
    return pl.concat(parts).group_by("uid", maintain_order=True).agg(*first, *summed).select(*schema)


def _of_log(log: Said, rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    if "uids" in rows.columns:
        rows = rows.explode("uids").rename({"uids": "uid"})
    rows = rows.filter(pl.col("uid").is_not_null()).sort(
        nanoseconds("ts"), maintain_order=True, nulls_last=True
    )
    facts = [
        pl.when(fact != "").then(fact).drop_nulls().first().alias(name) for name, fact in log.facts.items()
    ]
    counts = [pl.when(count.count() > 0).then(count.sum()).alias(name) for name, count in log.counts.items()]
    told = rows.group_by("uid", maintain_order=True).agg(*facts, *counts)
    found = {"uid": pl.col("uid"), "application": pl.lit(log.application)} | {
        name: pl.col(name) for name in (*log.facts, *log.counts)
    }
    return told.select(found.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items())

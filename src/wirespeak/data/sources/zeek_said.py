"""What Zeek's logs beside conn.log say of a connection (docs.zeek.org, base/protocols): one entry a log, joined by `uid`."""

from __future__ import annotations

import polars as pl

from wirespeak.data.sources.lines import number
from wirespeak.data.sources.said import Said, facts, named, there, true

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


_status, _rcode = number("status_code"), number("rcode")
_refused = named("connect_status", _MQTT_REASONS)
_tls = pl.col("version").replace({"TLSv10": "TLSv1.0", "TLSv11": "TLSv1.1", "TLSv12": "TLSv1.2", "TLSv13": "TLSv1.3", "DTLSv10": "DTLSv1.0", "DTLSv12": "DTLSv1.2"})  # fmt: skip
_from_server = number("mode") == 4
_modbus_request = pl.col("pdu_type") == "REQ"
_ROW = pl.lit(1, pl.Int64)

SAID: dict[str, Said] = {
    "http": Said(
        ("ts", "uid", "method", "host", "uri", "user_agent", "status_code", "username"), "http",
        facts("http", method="method", host="host", uri="uri", user_agent="user_agent", status="status_code"),
        {
            "messages": there("method"), "answers": there("status_code"), "errors": true(_status.is_between(400, 599)),
            "refusals": true(_status.is_in([401.0, 403.0])), "logins": there("username"),
        },
    ),
    "dns": Said(
        ("ts", "uid", "query", "qtype_name", "rcode", "rcode_name", "answers[]"), None,
        {
            **facts("dns", query="query", query_type="qtype_name", rcode="rcode_name"),
            "dns_answers": pl.when(pl.col("answers").list.len() > 0).then(pl.col("answers").list.join(" ")),
        },
        {"messages": there("query"), "answers": there("rcode"), "errors": true(_rcode > 0)},
    ),
    "ssl": Said(
        ("ts", "uid", "version", "server_name", "ja4"), None,
        {"tls_version": _tls, **facts("tls", sni="server_name", ja4="ja4")},
    ),
    "mqtt_connect": Said(
        ("ts", "uid", "proto_version", "client_id", "connect_status"), "mqtt",
        {"mqtt_version": named("proto_version", _MQTT_VERSIONS), "mqtt_client_id": pl.col("client_id"), "mqtt_reason": _refused},
        {
            "messages": _ROW, "answers": there("connect_status"), "errors": true(number(_refused) > 0),
            "refusals": true(number(_refused).is_in([4.0, 5.0])),
        },
    ),
    "mqtt_publish": Said(
        ("ts", "uid", "from_client", "topic", "status"), "mqtt", facts("mqtt", topic="topic"),
        {"messages": true(pl.col("from_client").is_in(["T", "true"])), "answers": true(pl.col("from_client").is_in(["F", "false"]))},
    ),
    "mqtt_subscribe": Said(
        ("ts", "uid", "topics[]", "ack"), "mqtt", {"mqtt_topic": pl.col("topics").list.first()},
        {"messages": _ROW, "answers": true(pl.col("ack").is_in(["T", "true"]))},
    ),
    "dhcp": Said(
        ("ts", "uids[]", "host_name", "requested_addr", "assigned_addr", "msg_types[]"), "dhcp",
        {
            "dhcp_message": pl.col("msg_types").list.first(), "dhcp_hostname": pl.col("host_name"),
            "dhcp_address": pl.coalesce("requested_addr", "assigned_addr"),
        },
    ),
    "ssh": Said(("ts", "uid", "client", "server"), "ssh", facts("ssh", client="client", server="server")),
    "modbus": Said(
        ("ts", "uid", "unit", "func", "pdu_type", "exception"), "modbus",
        {
            "modbus_unit": pl.col("unit"), "modbus_exception": named("exception", _MODBUS_EXCEPTIONS),
            "modbus_function": pl.col("func").str.strip_suffix("_EXCEPTION").replace_strict(_MODBUS_FUNCTIONS, default=None, return_dtype=pl.String),
        },
        {
            # Before Zeek 6 a row does not say whether it is a request.
            "messages": _modbus_request.cast(pl.Int64), "answers": (~_modbus_request).cast(pl.Int64), "errors": there("exception"),
        },
    ),
    "dnp3": Said(
        ("ts", "uid", "fc_request", "fc_reply"), "dnp3",
        {"dnp3_function": pl.coalesce(named("fc_request", _DNP3_FUNCTIONS), named("fc_reply", _DNP3_FUNCTIONS))},
        {"messages": there("fc_request"), "answers": there("fc_reply")},
    ),
    "ntp": Said(
        ("ts", "uid", "version", "mode", "stratum", "ref_id"), "ntp",
        {
            **facts("ntp", version="version", mode="mode"), "ntp_stratum": pl.when(_from_server).then(pl.col("stratum")),
            "ntp_reference": pl.when(_from_server).then(pl.col("ref_id")),
        },
        {"messages": true(~_from_server), "answers": true(_from_server)},
    ),
    "smtp": Said(("ts", "uid"), "smtp"),
    "ftp": Said(("ts", "uid"), "ftp"),
    "snmp": Said(("ts", "uid"), "snmp"),
    "syslog": Said(("ts", "uid"), "syslog"),
}  # fmt: skip
"""The logs that are joined. http.log's types of content are guessed by Zeek, not sent, so they are no fact."""

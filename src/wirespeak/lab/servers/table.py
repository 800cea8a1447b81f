"""All servers a profile may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wirespeak.lab.devices.device import Device
from wirespeak.lab.servers import daemons, fieldbus, prompts, web

# What a profile may serve -> what starts it. Each runs until the host goes.
SERVERS: dict[str, Callable[[Device], Awaitable[None]]] = {
    "web": web.serve_web,
    "cloud-web": web.serve_cloud,
    "mqtt": daemons.run_broker,
    "cloud-mqtt": daemons.run_cloud_broker,
    "dhcp": daemons.run_dhcp,
    "names": prompts.serve_names,
    "coap": fieldbus.serve_coap,
    "modbus": fieldbus.serve_modbus,
    "rtsp": prompts.serve_rtsp,
    "telnet": prompts.serve_telnet,
    "ssh": daemons.run_ssh,
    "control": prompts.serve_control,
    "readings": prompts.serve_readings,
}

"""The kinds of device the lab knows. A profile says what a host serves and what it does all day.

Periods are seconds. Each call of a profile draws its own habits from the device's dice, so two bulbs of a
recording are alike but not the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wirespeak.lab.devices import cloud, discovery, local
from wirespeak.lab.devices.device import Device
from wirespeak.lab.world import CLOUD_TCP_PORTS, CLOUD_UDP_PORTS, DEVICE_UDP_PORTS

Life = list[Awaitable[None]]


@dataclass(frozen=True)
class Profile:
    """serves: names in `servers.SERVERS`. wired: on a cable, without delay. live: what runs, all at once."""

    live: Callable[[Device], Life]
    serves: tuple[str, ...] = ()
    wired: bool = False


# One habit a line, as in a table.
# fmt: off


def _start(d: Device, *, names: int = 4, clocks: int = 1) -> Life:
    """What nearly every device does first and keeps doing."""
    r = d.random
    return [
        d.after(r.uniform(0, 2), cloud.wake_up_lookups, how_many=names),
        d.after(r.uniform(0.5, 4), cloud.set_clock, servers=clocks, polls=r.choice((1, 1, 4))),
        d.every(r.choice((64, 90, 300)), cloud.set_clock, first_s=r.uniform(40, 80)),
        d.every(r.uniform(60, 200), cloud.wake_up_lookups, how_many=2, first_s=r.uniform(20, 60)),
        d.every(r.uniform(50, 150), discovery.ask_neighbours, how_many=r.choice((1, 2, 5)), jitter=0.5),
        d.every(r.uniform(50, 200), discovery.renew_lease),
        *([d.every(r.uniform(15, 120), cloud.closed_port, address=d.gateway, port=r.choice((80, 80, 443, 8080)))] if d.chance(0.25) else []),
    ]


def bulb(d: Device) -> Life:
    """Short MQTT reports, mDNS, a vendor broadcast, firmware now and then."""
    r = d.random
    discovery.join_groups(d, "224.0.0.251")
    return [
        *_start(d),
        d.every(r.uniform(2, 20), local.mqtt_life, period_s=r.choice((5, 10, 30)), size=r.randint(15, 60), topics=1, keepalive_s=r.choice((10, 15, 60))),
        d.every(r.uniform(20, 60), discovery.broadcast, port=r.choice((6666, 6667, 56700, 38899)), size=r.randint(40, 220), times=r.choice((1, 3, 8)), gap_s=r.choice((0.2, 1, 3))),
        d.after(r.uniform(1, 6), discovery.mdns_announce, "_hap._tcp"),
        d.every(r.uniform(60, 120), cloud.report, size=120, tls=d.chance(0.5), first_s=r.uniform(5, 20)),
        *([d.after(r.uniform(20, 90), cloud.fetch_firmware, size=r.randint(300_000, 1_500_000))] if d.chance(0.4) else []),
    ]


def plug(d: Device) -> Life:
    """Power readings every few seconds, a cloud over TLS, closed ports knocked at."""
    r = d.random
    return [
        *_start(d, names=3),
        d.every(5, local.mqtt_life, period_s=r.choice((2, 5, 10)), size=r.randint(60, 200), topics=4, burst=r.choice((1, 3, 6)), qos=r.choice((0, 1))),
        d.every(r.uniform(30, 100), cloud.hold_tls, beat_s=r.choice((10, 20, 30)), first_s=r.uniform(3, 10)),
        d.every(r.uniform(30, 90), discovery.broadcast, port=r.choice((20560, 9999, 6667)), size=r.randint(60, 300), times=r.choice((1, 4))),
        d.every(r.uniform(60, 150), cloud.closed_port, port=r.choice((8009, 7681, 5000))),
        d.every(r.uniform(40, 150), cloud.absent_neighbour, port=r.choice((1883, 80))),
        *([d.every(r.uniform(2, 15), cloud.closed_port, address=d.gateway, port=1883)] if d.chance(0.25) else []),
        d.every(r.uniform(15, 60), cloud.keep_mapping, beats=r.randint(2, 8), size=r.choice((0, 48)), port=r.choice(CLOUD_UDP_PORTS)),
        d.every(r.uniform(20, 80), cloud.own_protocol, port=r.choice(CLOUD_TCP_PORTS), messages=r.randint(1, 8)),
    ]


def thermostat(d: Device) -> Life:
    """Slow and talkative: TLS reports, QoS 1, a dead cloud it keeps trying."""
    r = d.random
    return [
        *_start(d, names=6, clocks=r.choice((1, 4))),
        d.every(5, local.mqtt_life, period_s=r.choice((15, 30, 60)), size=r.randint(80, 300), qos=1, keepalive_s=60),
        d.every(r.uniform(20, 50), cloud.report, size=r.randint(200, 900), tls=True, requests=r.choice((1, 3)), port=r.choice((0, 8443, 50443))),
        d.every(r.uniform(60, 120), cloud.dead_cloud, port=r.choice((443, 8883, 80))),
        d.every(r.uniform(30, 90), cloud.ping, count=r.choice((1, 3, 5))),
        *([d.after(r.uniform(3, 30), local.mqtt_mistake)] if d.chance(0.5) else []),
    ]


def sensor(d: Device) -> Life:
    """A battery motion sensor: wakes, joins, reports, sleeps; answers CoAP while awake."""
    r = d.random
    return [
        *_start(d, names=2),
        d.every(r.uniform(6, 40), local.mqtt_life, period_s=3, patience_s=r.uniform(1, 5), size=r.randint(20, 80), subscribe=d.chance(0.5), keepalive_s=60, jitter=0.6),
        d.every(r.uniform(20, 60), cloud.report, size=80, jitter=0.5, port=r.choice((0, 8080, 10080))),
        d.every(r.uniform(20, 60), cloud.log_line),
    ]


def camera(d: Device) -> Life:
    """Pictures to the cloud, a stream for whoever watches, discovery in bursts."""
    r = d.random
    discovery.join_groups(d, "239.255.255.250", "224.0.0.251")
    return [
        d.every(5, discovery.ssdp_answer, first_s=0),
        *_start(d, names=7),
        d.every(r.uniform(15, 50), cloud.upload_image, size=r.randint(20_000, 200_000)),
        d.every(r.uniform(20, 60), cloud.hold_tls, beat_s=r.uniform(5, 25)),
        d.every(r.uniform(30, 70), discovery.ssdp_notify, how_many=r.randint(3, 20)),
        d.every(r.uniform(30, 90), discovery.mdns_announce, "_rtsp._tcp", times=r.choice((1, 3))),
        d.every(r.uniform(10, 30), cloud.keep_mapping, beats=r.randint(2, 10), gap_s=r.choice((1, 3)), port=r.choice(CLOUD_UDP_PORTS)),
        d.every(r.uniform(8, 25), discovery.mdns_query, "_rtsp._tcp", "_dcp._tcp", times=r.choice((1, 4))),
        d.every(r.uniform(60, 120), local.voice_call, seconds=r.uniform(5, 15), first_s=r.uniform(20, 60)),
        *([d.after(r.uniform(10, 60), cloud.fetch_firmware, size=r.randint(1_000_000, 4_000_000))] if d.chance(0.5) else []),
    ]


def hub(d: Device) -> Life:
    """Broker, web pages, a set-up of very many small requests, discovery of everything."""
    r = d.random
    discovery.join_groups(d, "239.255.255.250", "224.0.0.251")
    return [
        d.every(5, discovery.ssdp_answer, first_s=0),
        *_start(d, names=9, clocks=r.choice((4, 8))),
        d.after(r.uniform(3, 15), cloud.many_short_calls, how_many=r.randint(40, 140), gap_s=r.choice((0.1, 0.3, 0.8))),
        d.every(r.uniform(40, 100), cloud.many_short_calls, how_many=r.randint(5, 25), gap_s=r.choice((0.05, 0.5))),
        d.every(r.uniform(15, 40), discovery.ssdp_notify, how_many=r.choice((3, 6, 9))),
        d.every(r.uniform(30, 60), discovery.mdns_announce, "_hap._tcp"),
        d.every(r.uniform(40, 90), discovery.mdns_query, "_hap._tcp", "_http._tcp", "_googlecast._tcp", times=3),
        d.every(r.uniform(30, 80), cloud.resumed_tls, how_many=r.randint(2, 6)),
        d.every(r.uniform(15, 50), local.coap_reads),
        d.every(r.uniform(10, 40), local.vendor_control),
        d.every(r.uniform(30, 90), cloud.absent_neighbour),
        d.every(r.uniform(20, 60), cloud.ping, address="203.0.113.10", count=4),
    ]


def bridge(d: Device) -> Life:
    """A hub for one vendor's lamps: web pages and polling, no broker."""
    r = d.random
    discovery.join_groups(d, "239.255.255.250")
    return [
        d.every(5, discovery.ssdp_answer, first_s=0),
        *_start(d, names=5, clocks=4),
        d.after(r.uniform(1, 10), cloud.many_short_calls, how_many=r.randint(60, 160), gap_s=r.choice((0.05, 0.2, 0.5)), service="push"),
        d.every(r.uniform(3, 20), cloud.report, service="data", size=r.randint(100, 600)),
        d.every(r.uniform(5, 20), cloud.keep_mapping, beats=r.randint(20, 120), gap_s=r.choice((0.1, 0.3, 1)), size=r.randint(20, 160), port=r.choice((80, 10086))),
        d.every(r.uniform(20, 60), cloud.own_protocol, port=r.choice(CLOUD_TCP_PORTS), messages=r.randint(4, 30), gap_s=r.choice((0.1, 1, 3))),
        d.every(r.uniform(15, 40), discovery.ssdp_notify, how_many=6),
        d.every(r.uniform(10, 30), discovery.broadcast, port=r.choice((38000, 38001)), size=r.randint(19, 130), times=r.choice((2, 12)), gap_s=0.15),
    ]


def meter(d: Device) -> Life:
    """A power meter: answers Modbus, logs, reports."""
    r = d.random
    return [
        *_start(d, names=2),
        d.every(r.uniform(5, 30), cloud.report, size=r.randint(300, 1500), requests=r.choice((1, 2))),
        d.every(r.uniform(5, 15), cloud.log_line),
        d.every(5, local.mqtt_life, period_s=r.choice((1, 2, 10)), size=r.randint(100, 500), topics=4, burst=r.choice((1, 8)), qos=r.choice((0, 2)), port=r.choice((1883, 18884))),
    ]


def plc(d: Device) -> Life:
    """A controller in a cabinet: answers Modbus and a web page, asks little."""
    r = d.random
    return [
        *_start(d, names=1),
        d.every(r.uniform(20, 60), cloud.log_line),
        d.every(r.uniform(30, 60), local.snmp_poll),
    ]


def console(d: Device) -> Life:
    """The operator's panel: polls PLC and meter, keeps a dashboard open, types at prompts, looks for controllers."""
    r = d.random
    return [
        *_start(d, names=3),
        d.every(r.uniform(1, 8), local.modbus_poll, period_s=r.choice((0.2, 0.5, 1)), rounds=r.randint(30, 120), registers=r.choice((2, 10, 40))),
        d.every(r.uniform(5, 30), local.modbus_poll, period_s=0.05, rounds=r.randint(1, 5)),
        d.every(r.uniform(5, 30), local.dashboard, rounds=r.randint(10, 60)),
        d.every(r.uniform(10, 50), local.read_often, port=r.choice(DEVICE_UDP_PORTS), size=r.randint(12, 120), rounds=r.choice((10, 60, 300)), period_s=r.choice((0.004, 0.05, 0.2, 1)), same_port=d.chance(0.3)),
        d.every(r.uniform(40, 90), local.person_at_prompt),
        d.every(r.uniform(25, 70), local.remote_shell, times=r.choice((1, 1, 2, 8))),
        d.every(r.uniform(20, 50), local.snmp_poll, how_many=4),
        d.every(r.uniform(40, 100), discovery.broadcast, port=r.choice((1740, 5006, 5561, 20000)), size=r.randint(12, 90), times=r.choice((20, 80, 300)), gap_s=r.choice((0.02, 0.1, 0.4))),
    ]


def speaker(d: Device) -> Life:
    """A voice assistant: many TLS connections, discovery, bursts of voice."""
    r = d.random
    discovery.join_groups(d, "224.0.0.251", "239.255.255.250")
    return [
        *_start(d, names=9, clocks=2),
        *(d.every(r.uniform(5, 40), cloud.hold_tls, beat_s=r.uniform(5, 40), service=service) for service in ("push", "data", "log")),
        d.every(r.uniform(15, 60), cloud.resumed_tls, how_many=r.randint(2, 8)),
        d.every(r.uniform(20, 60), local.voice_call, seconds=r.uniform(3, 12)),
        d.every(r.uniform(20, 60), discovery.mdns_query, "_googlecast._tcp", "_spotify-connect._tcp", times=r.randint(1, 4)),
        d.every(r.uniform(30, 80), discovery.ssdp_search, times=r.randint(2, 8)),
        d.every(r.uniform(60, 120), cloud.distrustful_tls),
        d.every(r.uniform(20, 60), cloud.report_over_ipv6),
        d.every(r.uniform(40, 90), cloud.dead_cloud, port=443),
    ]


def lock(d: Device) -> Life:
    """A door lock: CoAP server, rare reports, careful keep-alives."""
    r = d.random
    return [
        *_start(d, names=2),
        d.every(r.uniform(30, 80), cloud.report, size=150, tls=True),
        d.every(r.uniform(10, 20), cloud.ping, count=1, size=r.choice((8, 32, 56))),
        d.every(r.uniform(20, 60), local.coap_reads, to=("sensor", "lock")),
    ]


def tv(d: Device) -> Life:
    """A television: multicast streams, parallel downloads, discovery."""
    r = d.random
    discovery.join_groups(d, "239.1.1.7", "239.255.255.250", "224.0.0.251")
    return [
        d.every(5, discovery.ssdp_answer, first_s=0),
        *_start(d, names=9),
        d.every(r.uniform(40, 90), local.television, seconds=r.uniform(5, 12), rate=r.choice((60, 120, 200))),
        *(d.every(r.uniform(10, 40), cloud.report, service=service, requests=r.randint(1, 8), tls=d.chance(0.7), gap_s=0.05) for service in ("img", "www", "data")),
        d.every(r.uniform(20, 50), discovery.ssdp_search, times=3),
        d.every(r.uniform(30, 80), local.watch_camera, seconds=r.uniform(4, 15)),
        *([d.after(r.uniform(20, 80), cloud.fetch_firmware, size=r.randint(1_000_000, 5_000_000), tls=True)] if d.chance(0.5) else []),
    ]


def phone(d: Device) -> Life:
    """A person's phone: the app pairs, polls, uploads; its owner uses the web pages, slips included."""
    r = d.random
    return [
        *_start(d, names=8),
        d.after(r.uniform(8, 25), local.app_pairing, how_many=r.randint(30, 150), gap_s=r.choice((0.03, 0.08, 0.3))),
        d.every(r.uniform(10, 40), local.app_round, parallel=r.randint(3, 14), requests=r.randint(1, 4)),
        d.every(r.uniform(15, 60), local.app_control, how_many=r.randint(3, 30), gap_s=r.choice((0.1, 0.5, 2)), keep=d.chance(0.3)),
        d.every(r.uniform(30, 80), local.person_on_the_web),
        d.every(r.uniform(20, 60), local.dashboard, period_s=r.choice((0.3, 1, 2)), rounds=r.randint(5, 40)),
        d.every(r.uniform(15, 50), local.mqtt_command, how_many=r.randint(1, 6), qos=r.choice((0, 1, 2))),
        d.every(r.uniform(30, 80), local.watch_camera, seconds=r.uniform(4, 20)),
        d.every(r.uniform(10, 30), cloud.report, service="www", requests=r.randint(1, 6), tls=True),
        d.every(r.uniform(40, 90), discovery.ssdp_search, times=r.randint(2, 6)),
        d.every(r.uniform(60, 150), discovery.ask_neighbours, how_many=8, gap_s=r.choice((0.05, 0.3))),
        d.every(r.uniform(40, 120), local.coap_observe, seconds=r.uniform(20, 60)),
        d.every(r.uniform(30, 90), cloud.closed_port, port=r.choice((5223, 7000))),
        d.every(r.uniform(40, 120), local.try_ports, ports=tuple(r.sample((80, 443, 8080, 8443, 1400, 8008, 8009, 49152, 554), r.randint(2, 6)))),
        d.every(r.uniform(20, 60), cloud.report_over_ipv6, requests=r.randint(1, 5)),
        d.every(r.uniform(60, 150), cloud.absent_neighbour, port=8080),
    ]


def nothing(d: Device) -> Life:
    """The gateway and the cloud only answer."""
    return []


# fmt: on

PROFILES: dict[str, Profile] = {
    "bulb": Profile(bulb, ("control",)),
    "plug": Profile(plug, ("control",)),
    "thermostat": Profile(thermostat),
    "sensor": Profile(sensor, ("coap",)),
    "camera": Profile(camera, ("web", "rtsp")),
    "hub": Profile(hub, ("mqtt", "web", "telnet", "ssh"), wired=True),
    "bridge": Profile(bridge, ("web", "ssh"), wired=True),
    "meter": Profile(meter, ("modbus", "readings"), wired=True),
    "plc": Profile(plc, ("modbus", "readings", "web", "telnet", "ssh"), wired=True),
    "console": Profile(console, wired=True),
    "speaker": Profile(speaker),
    "lock": Profile(lock, ("coap",)),
    "tv": Profile(tv),
    "phone": Profile(phone),
}
INFRASTRUCTURE: dict[str, Profile] = {
    "gateway": Profile(nothing, ("dhcp", "names", "ssh"), wired=True),
    "cloud": Profile(nothing, ("names", "cloud-web", "cloud-mqtt"), wired=True),
}

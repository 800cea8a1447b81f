"""Words for conversations: from who says how much to the bytes of real protocols.

A new protocol is one function in this drawer and one line in `APPLICATIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from wirespeak.errors import InputError
from wirespeak.wire.craft.coap import coap
from wirespeak.wire.craft.datagrams import dhcp, ntp, plain, stun, syslog
from wirespeak.wire.craft.dns import dns, mdns
from wirespeak.wire.craft.http import http, login, rtsp, ssdp
from wirespeak.wire.craft.modbus import modbus
from wirespeak.wire.craft.mqtt import mqtt
from wirespeak.wire.craft.scene import Craft, Scene, Turn
from wirespeak.wire.craft.snmp import snmp
from wirespeak.wire.craft.tls import tls

__all__ = ["APPLICATIONS", "Application", "Scene", "Turn", "speak"]


@dataclass(frozen=True)
class Application:
    """How a protocol travels.

    port: its well-known port, None where a conversation must name one. client_first: whether the side that
    opens must speak first. joined: whether a message may be split over several turns. group: the IPv4
    multicast group or broadcast address it is sent to, "" for unicast. flags: TCP flags of a lone probe.
    """

    protocol: str
    port: int | None
    craft: Craft = plain
    client_first: bool = True
    joined: bool = False
    group: str = ""
    flags: int = 0


_FIN, _PUSH, _URGENT = 0x01, 0x08, 0x20

APPLICATIONS: dict[str, Application] = {
    "announce": Application("arp", 0),
    "arp": Application("arp", 0),
    "claim": Application("arp", 0),
    "coap": Application("udp", 5683, coap),
    "dhcp": Application("udp", 67, dhcp, group="255.255.255.255"),
    "dns": Application("udp", 53, dns),
    "http": Application("tcp", 80, http, joined=True),
    "icmp": Application("icmp", 0),
    "login": Application("tcp", 80, login, joined=True),
    "mdns": Application("udp", 5353, mdns, group="224.0.0.251"),
    "modbus": Application("tcp", 502, modbus),
    "mqtt": Application("tcp", 1883, mqtt),
    "ntp": Application("udp", 123, ntp),
    "rtsp": Application("tcp", 554, rtsp, joined=True),
    "snmp": Application("udp", 161, snmp),
    "ssdp": Application("udp", 1900, ssdp, group="239.255.255.250"),
    "stun": Application("udp", 3478, stun),
    "syslog": Application("udp", 514, syslog),
    "tcp": Application("tcp", None, client_first=False),
    "fin": Application("tcp", None, flags=_FIN),
    "null": Application("tcp", None),
    "xmas": Application("tcp", None, flags=_FIN | _PUSH | _URGENT),
    "tls": Application("tcp", 443, tls, joined=True),
    "udp": Application("udp", None, client_first=False),
}


def speak(application: str, scene: Scene) -> list[bytes]:
    """The payload of every turn of a conversation, in order.

    Each is as long as the scene asks, or as near as the protocol can come to it. Raises InputError where the
    wrong side would speak first.
    """
    kind = APPLICATIONS[application]
    if kind.client_first and scene.turns and not scene.turns[0].from_client:
        raise InputError(
            f"in {application} the side that opens speaks first; here the other one does, with {scene.turns[0].size} bytes."
        )
    if not kind.joined:
        return kind.craft(scene)
    runs = [list(run) for _, run in groupby(scene.turns, key=lambda turn: turn.from_client)]
    joined = tuple(Turn(run[0].from_client, sum(turn.size for turn in run)) for run in runs)
    said: list[bytes] = []
    for run, message in zip(runs, kind.craft(replace(scene, turns=joined)), strict=True):
        said += _split(message, [turn.size for turn in run])
    return said


def _split(message: bytes, sizes: list[int]) -> list[bytes]:
    """The message in pieces of these sizes; the last takes what is over or missing."""
    pieces, start = [], 0
    for size in sizes[:-1]:
        pieces.append(message[start : start + size])
        start += size
    return [*pieces, message[start:]]

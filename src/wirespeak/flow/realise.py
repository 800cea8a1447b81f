"""From packet steps to packets: the way back from words to the wire.

A table of steps says who speaks with whom, how much, which way and when. What protocols and kernels add of
themselves is added here: ARP before first contact, handshakes, segments, acknowledgements, checksums, and the
bytes of real messages in the order their protocol demands (`wire.craft`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import polars as pl

from wirespeak.errors import InputError
from wirespeak.flow.cast import Cast, is_far
from wirespeak.flow.tcp import Connection, Message
from wirespeak.wire.containers import Frames
from wirespeak.wire.craft import APPLICATIONS, Scene, Turn, speak
from wirespeak.wire.craft.packets import BROADCAST_MAC, SYN, End, arp, icmp, udp

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z, unless the caller says otherwise
LARGEST_DATAGRAM = 1472  # bytes of UDP or ICMP payload in one Ethernet frame
LARGEST_MESSAGE = 20_000_000
_ETHERNET = 1
_ECHO, _ECHO_REPLY, _UNREACHABLE = 8, 0, 3

STEPS: dict[str, Any] = {
    "conversation": pl.Int64,  # number of the conversation the step belongs to
    "time_s": pl.Float64,  # since the start of the capture
    "role": pl.String,  # who the device speaks with: gateway, cloud1, broker, group, broadcast, ...
    "application": pl.String,  # a name in wire.craft.APPLICATIONS
    "port": pl.Int64,  # the server's port; null: the application's own
    "opened_by_device": pl.Boolean,
    "spoofed": pl.Boolean,  # whether the device claims an address that is not its own
    "event": pl.String,  # open, message, or one of ENDS; each conversation has one open, first, and one end, last
    "outward": pl.Boolean,  # message: whether the device sends it
    "size": pl.Int64,  # message: bytes of transport payload (ARP: of the message)
}

# close, closed: the device or its peer asks to close a TCP connection; reset, aborted: one of them cuts it off;
# refused: SYN answered by RST; silent: nothing comes back; half: SYN, SYN-ACK, no more; probed: SYN, SYN-ACK, RST
# by the device; unreachable: a datagram answered by ICMP; left: still open, or (not TCP) no end to speak of.
ENDS = ("close", "closed", "reset", "aborted", "refused", "silent", "half", "probed", "unreachable", "left")
NEVER_ANSWERED = ("refused", "silent", "half", "probed")  # TCP: no connection came of it


@dataclass(frozen=True)
class Realised:
    """Frames, and how many of the messages had to be longer or shorter than asked to be well-formed."""

    frames: Frames
    messages: int
    adjusted: int


@dataclass(frozen=True)
class _Conversation:
    role: str
    application: str
    port: int
    by_device: bool
    spoofed: bool
    start_s: float
    messages: list[tuple[float, bool, int]]  # seconds, from the client, bytes
    end: str
    end_s: float


def realise(steps: pl.DataFrame, *, seed: int = 0, start_ns: int = START_NS) -> Realised:
    """The packets of `steps` (columns `STEPS`), as Ethernet frames in the order of time.

    Raises InputError for a step that names an unknown application or end, or a TCP or UDP conversation
    without a port.
    """
    stage = _Stage(seed, start_ns)
    conversations = [_conversation(part) for part in steps.partition_by("conversation", maintain_order=True)]
    for number, conversation in enumerate(conversations):
        stage.play(conversation, _next_cloud(conversations[number:]), Random(f"{seed}:{number}"))
    frames = sorted(stage.frames, key=lambda frame: frame[0])
    return Realised(_as_columns(frames, start_ns), stage.messages, stage.adjusted)


def _conversation(part: pl.DataFrame) -> _Conversation:
    rows = part.to_dicts()
    first, last = rows[0], rows[-1]
    application = APPLICATIONS.get(first["application"])
    if application is None:
        raise InputError(
            f"steps of conversation {first['conversation']}: no application '{first['application']}'. Known: {', '.join(APPLICATIONS)}."
        )
    if first["event"] != "open" or last["event"] not in ENDS:
        raise InputError(
            f"steps of conversation {first['conversation']} go from {first['event']} to {last['event']}, expected from open to one of {', '.join(ENDS)}."
        )
    port = first["port"] if first["port"] is not None else application.port
    if port is None:
        raise InputError(
            f"steps of conversation {first['conversation']}: '{first['application']}' has no port of its own, and none is given."
        )
    by_device = bool(first["opened_by_device"])
    messages = [(row["time_s"], row["outward"] == by_device, row["size"]) for row in rows[1:-1]]
    return _Conversation(
        first["role"], first["application"], port, by_device, bool(first["spoofed"]), first["time_s"], messages, last["event"], last["time_s"]
    )  # fmt: skip


def _next_cloud(conversations: list[_Conversation]) -> str:
    return next((each.role for each in conversations if each.role.startswith("cloud")), "cloud1")


class _Stage:
    """Plays conversations one after another; collects frames as (seconds, bytes)."""

    def __init__(self, seed: int, start_ns: int) -> None:
        self.cast = Cast(seed)
        self.frames: list[tuple[float, bytes]] = []
        self.messages = self.adjusted = 0
        self._start_s = start_ns / 1e9
        self._met: set[str] = set()

    def play(self, talk: _Conversation, pointed_to: str, random: Random) -> None:
        """Add the frames of one conversation."""
        protocol = APPLICATIONS[talk.application].protocol
        device = self.cast.stranger() if talk.spoofed else self.cast.end("device")
        peer = self.cast.target(talk.role, talk.application)
        client, server = (device, peer) if talk.by_device else (peer, device)
        if protocol == "arp":
            self._ask_for(talk, client, server)
            return
        self._meet(talk, peer)
        if protocol == "icmp":
            self._echo(talk, client, server, random)
            return
        payloads = self._words(talk, client, server, pointed_to, random)
        if protocol == "udp":
            self._datagrams(talk, client, server, payloads, random)
        else:
            self._connection(talk, client, server, payloads, random)

    def _words(
        self, talk: _Conversation, client: End, server: End, pointed_to: str, random: Random
    ) -> list[bytes]:
        """The payload of each message; a connection nobody answers never gets to speak."""
        if talk.end in NEVER_ANSWERED and APPLICATIONS[talk.application].protocol == "tcp":
            return []
        most = LARGEST_DATAGRAM if APPLICATIONS[talk.application].protocol == "udp" else LARGEST_MESSAGE
        turns = tuple(Turn(from_client, min(size, most)) for _, from_client, size in talk.messages)
        scene = Scene(
            turns=turns, client=client.address, server=server.address, client_mac=client.mac, points_to=self.cast.end(pointed_to).address,
            server_name=f"{talk.role}.example.com" if is_far(talk.role) else f"{talk.role}.home.arpa",
            unix_s=self._start_s + talk.start_s, end=talk.end, random=random,
        )  # fmt: skip
        payloads = speak(talk.application, scene)
        self.messages += len(payloads)
        self.adjusted += sum(
            len(payload) != size for payload, (_, _, size) in zip(payloads, talk.messages, strict=True)
        )
        return payloads

    def _meet(self, talk: _Conversation, peer: End) -> None:
        """ARP, the first time the device and a host of its link have something to say to each other."""
        hop = peer if self.cast.is_on_link(peer) else self.cast.end("gateway")
        if talk.application == "dhcp" or talk.spoofed or peer.address in self._met or peer.mac[0] & 1:
            return
        self._met |= {peer.address, hop.address}
        device = self.cast.end("device")
        asking, asked = (device, hop) if talk.by_device else (hop, device)
        wait_s = min(self.cast.turnaround_s(talk.role), 0.002)
        start_s = max(0.0, talk.start_s - 1.5 * wait_s)
        self.frames.append((start_s, arp(asking, asked, reply=False)))
        self.frames.append(
            (start_s + 0.9 * min(wait_s, talk.start_s - start_s or wait_s), arp(asked, asking, reply=True))
        )

    def _ask_for(self, talk: _Conversation, client: End, server: End) -> None:
        """Questions and answers by ARP; an announcement of one's own address; a claim to be the gateway."""
        self._met.add(server.address if talk.by_device else client.address)
        for time_s, from_client, _ in talk.messages:
            if talk.application == "announce":
                frame = arp(client, End(BROADCAST_MAC, client.address), reply=True)
            elif talk.application == "claim":
                frame = arp(End(client.mac, self.cast.end("gateway").address), server, reply=True)
            else:
                frame = arp(client, server, reply=False) if from_client else arp(server, client, reply=True)
            self.frames.append((time_s, frame))

    def _echo(self, talk: _Conversation, client: End, server: End, random: Random) -> None:
        """Echo requests; the kernel asked answers each, unless it is silent."""
        identifier = random.randrange(1, 65536)
        wait_s = self.cast.turnaround_s(talk.role if talk.by_device else "device")
        for number, (time_s, _, size) in enumerate(talk.messages):
            rest, payload = (
                struct.pack("!HH", identifier, (number + 1) & 0xFFFF),
                random.randbytes(min(size, LARGEST_DATAGRAM)),
            )
            self.frames.append(
                (time_s, icmp(client, server, _ECHO, 0, rest, payload, identifier=random.getrandbits(16)))
            )
            if talk.end != "silent":
                answer = icmp(
                    server, client, _ECHO_REPLY, 0, rest, payload, identifier=random.getrandbits(16)
                )
                self.frames.append((time_s + wait_s, answer))

    def _datagrams(
        self, talk: _Conversation, client: End, server: End, payloads: list[bytes], random: Random
    ) -> None:
        # mDNS speaks from its own port, DHCP from the one below; an unconfigured client has no address yet.
        client_port = {"mdns": 5353, "dhcp": 68}.get(talk.application) or self.cast.client_port()
        sender, asked = client, server
        if talk.application == "dhcp":
            sender, asked = End(client.mac, "0.0.0.0"), End(BROADCAST_MAC, "255.255.255.255")
        frame = b""
        for (time_s, from_client, _), payload in zip(talk.messages, payloads, strict=True):
            identifier = random.getrandbits(16)
            if from_client:
                frame = udp(sender, asked, client_port, talk.port, payload, identifier=identifier)
            else:
                frame = udp(server, client, talk.port, client_port, payload, identifier=identifier)
            self.frames.append((time_s, frame))
        if talk.end == "unreachable" and frame:
            quoted = frame[14:42]
            self.frames.append(
                (talk.end_s, icmp(server, client, _UNREACHABLE, 3, bytes(4), quoted, identifier=0))
            )

    def _connection(
        self, talk: _Conversation, client: End, server: End, payloads: list[bytes], random: Random
    ) -> None:
        near, far = self.cast.turnaround_s("device"), self.cast.turnaround_s(talk.role)
        turnarounds = (near, far) if talk.by_device else (far, near)
        connection = Connection(
            client, server, self.cast.client_port(), talk.port, turnarounds_s=turnarounds, random=random
        )
        kind = APPLICATIONS[talk.application]
        lone = talk.application in ("fin", "null", "xmas")
        answer_s = talk.start_s + turnarounds[1]
        if lone or talk.end in NEVER_ANSWERED:
            for time_s in (talk.start_s, *(time_s for time_s, _, _ in talk.messages)):
                connection.probe(time_s, kind.flags if lone else SYN)
            if talk.end == "refused":
                connection.refuse(answer_s)
            elif talk.end in ("half", "probed"):
                connection.greet(answer_s)
            if talk.end == "probed":
                connection.abandon(answer_s + turnarounds[0])
        else:
            messages = [
                Message(time_s, from_client, payload)
                for (time_s, from_client, _), payload in zip(talk.messages, payloads, strict=True)
            ]
            connection.talk(talk.start_s, messages, end=talk.end, end_s=talk.end_s)
        self.frames += connection.frames


def _as_columns(frames: list[tuple[float, bytes]], start_ns: int) -> Frames:
    lengths = np.array([len(data) for _, data in frames], np.uint32)
    return Frames(
        time_ns=np.array([start_ns + round(time_s * 1e6) * 1000 for time_s, _ in frames], np.int64),
        data=np.frombuffer(b"".join(data for _, data in frames), np.uint8),
        offset=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)[:-1]])
        if frames
        else np.zeros(0, np.int64),
        captured=lengths,
        length=lengths,
        link_type=np.full(len(frames), _ETHERNET, np.uint16),
    )

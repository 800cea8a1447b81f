"""One TCP connection, played out: handshake, segments, acknowledgements and the end (RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random

from wirespeak.wire.craft.packets import ACK, FIN, PSH, RST, SYN, End, tcp

SEGMENT = 1460
_WINDOW, _SCALE = 64240, 7
_OPTIONS = struct.pack("!BBHBBBBBBBB", 2, 4, SEGMENT, 1, 3, 3, _SCALE, 1, 1, 4, 2)
_IN_FLIGHT = 30  # segments a sender has under way; 30 fit any receiver's window
_SPACING_S = 0.00024
_PIGGYBACK_S = 0.04  # a receiver about to speak within this time sends no acknowledgement of its own
_LEAST_S = 0.00002


@dataclass(frozen=True)
class Message:
    """Bytes one side sends at a time, in seconds."""

    time_s: float
    from_client: bool
    payload: bytes


@dataclass
class _Side:
    end: End
    port: int
    turnaround_s: float
    sequence: int
    window: int = _WINDOW
    sent: int = 0  # bytes of stream sent, FIN included
    acknowledged: int = 0  # bytes of the other side's stream acknowledged
    identifier: int = 0


@dataclass(order=True)
class _Event:
    time_s: float
    order: int
    from_client: bool = field(compare=False)
    payload: bytes = field(compare=False, default=b"")
    flags: int = field(compare=False, default=ACK)


class Connection:
    """Both ends of a connection and the frames that passed between them, as (seconds, bytes)."""

    def __init__(
        self,
        client: End,
        server: End,
        client_port: int,
        server_port: int,
        *,
        turnarounds_s: tuple[float, float],
        random: Random,
    ) -> None:
        self._random = random
        self._sides = {
            True: _Side(
                client,
                client_port,
                turnarounds_s[0],
                random.getrandbits(32),
                identifier=random.getrandbits(16),
            ),
            False: _Side(
                server,
                server_port,
                turnarounds_s[1],
                random.getrandbits(32),
                identifier=random.getrandbits(16),
            ),
        }
        self.frames: list[tuple[float, bytes]] = []

    def probe(self, time_s: float, flags: int = SYN) -> None:
        """The client's first packet, or the same again."""
        self._send(time_s, True, flags, options=_OPTIONS if flags & SYN else b"")

    def refuse(self, time_s: float) -> None:
        """The server's reset in answer to a probe."""
        self._sides[False].sequence = 0
        self._sides[False].acknowledged = 1
        self._send(time_s, False, RST | ACK, window=0)

    def greet(self, time_s: float) -> None:
        """The server's SYN-ACK."""
        self._sides[False].acknowledged = 1
        self._send(time_s, False, SYN | ACK, options=_OPTIONS)

    def abandon(self, time_s: float) -> None:
        """The client's reset after a SYN-ACK it did not want."""
        self._sides[True].sent = 1
        self._send(time_s, True, RST, window=0)

    def talk(self, start_s: float, messages: list[Message], *, end: str, end_s: float) -> None:
        """Handshake at `start_s`, the messages, and the end: close, closed, reset, aborted, or left (open).

        Messages keep their times where the one before them and the handshake allow it.
        """
        first_s = messages[0].time_s if messages else end_s
        now = self._shake_hands(start_s, first_s)
        events: list[_Event] = []
        for number, message in enumerate(messages):
            following = messages[number + 1] if number + 1 < len(messages) else None
            now = self._segments(events, max(message.time_s, now + _LEAST_S), message, following)
        if end != "left":
            self._end(events, max(end_s, now + _LEAST_S), end)
        self._play(events)

    def _shake_hands(self, start_s: float, first_s: float) -> float:
        client, server = self._sides[True], self._sides[False]
        needed = client.turnaround_s + server.turnaround_s
        shrink = min(1.0, max(0.2, 0.9 * (first_s - start_s) / needed))
        self.probe(start_s)
        self.greet(start_s + server.turnaround_s * shrink)
        client.sent = server.sent = 1
        client.acknowledged = 1
        now = start_s + needed * shrink
        self._send(now, True, ACK)
        return now

    def _segments(
        self, events: list[_Event], now: float, message: Message, following: Message | None
    ) -> float:
        """Add the message's segments and its acknowledgements to `events`; returns when the last one passes."""
        receiver = self._sides[not message.from_client]
        spacing = max(_SPACING_S, receiver.turnaround_s / _IN_FLIGHT)
        pieces = [message.payload[i : i + SEGMENT] for i in range(0, len(message.payload), SEGMENT)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            passes = now + number * spacing
            events.append(_Event(passes, len(events), message.from_client, piece, ACK | PSH if last else ACK))
            if number % 2 or last:
                late = _PIGGYBACK_S if last and not number % 2 and self._random.random() < 0.3 else 0.0
                answer_s = (
                    following.time_s - passes
                    if last and following and following.from_client != message.from_client
                    else 9.0
                )
                if answer_s > _PIGGYBACK_S:
                    events.append(
                        _Event(passes + receiver.turnaround_s + late, len(events), not message.from_client)
                    )
        return now + max(0, len(pieces) - 1) * spacing

    def _end(self, events: list[_Event], now: float, end: str) -> None:
        by_client = end in ("close", "reset")
        closer, other = self._sides[by_client], self._sides[not by_client]
        if end in ("reset", "aborted"):
            events.append(_Event(now, len(events), by_client, flags=RST | ACK))
            return
        later = now + other.turnaround_s
        events.append(_Event(now, len(events), by_client, flags=FIN | ACK))
        events.append(_Event(later, len(events), not by_client, flags=FIN | ACK))
        events.append(_Event(later + closer.turnaround_s, len(events), by_client))

    def _play(self, events: list[_Event]) -> None:
        """Send the events in the order of time; an acknowledgement of nothing new is not sent."""
        for event in sorted(events):
            side, other = self._sides[event.from_client], self._sides[not event.from_client]
            if event.flags == ACK and not event.payload and side.acknowledged >= other.sent:
                continue
            side.acknowledged = other.sent
            self._send(event.time_s, event.from_client, event.flags, event.payload)
            if event.flags & RST:
                return
            side.sent += len(event.payload) + bool(event.flags & FIN)

    def _send(
        self,
        time_s: float,
        from_client: bool,
        flags: int,
        payload: bytes = b"",
        *,
        options: bytes = b"",
        window: int = _WINDOW,
    ) -> None:
        side, other = self._sides[from_client], self._sides[not from_client]
        side.identifier += 1
        acknowledged = other.sequence + side.acknowledged if flags & ACK else 0
        frame = tcp(
            side.end, other.end, side.port, other.port, payload, sequence=side.sequence + side.sent, acknowledged=acknowledged,
            flags=flags, window=window if flags & SYN else window >> _SCALE, options=options, identifier=side.identifier,
        )  # fmt: skip
        self.frames.append((time_s, frame))

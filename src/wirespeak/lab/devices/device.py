"""A host's own point of view: who it is, whom it knows, its clock and its dice."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

from wirespeak.lab.world import Host, World

PATIENCE_S = 8.0
# What goes wrong on a network as a matter of course; a device shrugs and tries again.
MISHAPS = (OSError, asyncio.TimeoutError, EOFError, ValueError, IndexError, struct.error)


class Device:
    """One host of the lab, seen from inside its namespace."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.host = host
        self.random: Random = world.random(host.name)
        self.gateway = world.host("gateway").address
        self.password = world.passwords["device"]

    def vendor(self, service: str) -> str:
        """The DNS name of one of the vendor's services: api, ota, time, ..., `dead`, or `lost`."""
        return self.world.services[f"{service}.{self.host.profile}"]

    def neighbour(self, *profiles: str) -> Host | None:
        """Some other device of one of these profiles, or None where there is none."""
        others = [host for host in self.world.all_of(*profiles) if host.name != self.host.name]
        return self.random.choice(others) if others else None

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.random.random() < share

    def bytes_of_its_own(self, size: int) -> bytes:
        """A message of a vendor's own protocol: a fixed start, then what nobody else can read."""
        return b"\x55\xaa" + self.random.randbytes(max(0, size - 2))

    async def every(
        self, period_s: float, action: Callable[..., Awaitable[Any]], /, *arguments: Any,
        jitter: float = 0.1, first_s: float | None = None, **options: Any,
    ) -> None:  # fmt: skip
        """Do `action(self, ...)` about every `period_s` for ever, whatever goes wrong."""
        await asyncio.sleep(self.random.uniform(0, period_s) if first_s is None else first_s)
        while True:
            with suppress(*MISHAPS):
                await action(self, *arguments, **options)
            await asyncio.sleep(period_s * self.random.uniform(1 - jitter, 1 + jitter))

    async def after(
        self, delay_s: float, action: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any
    ) -> None:
        """Do `action(self, ...)` once."""
        await asyncio.sleep(delay_s)
        with suppress(*MISHAPS):
            await action(self, *arguments, **options)

    async def resolve(self, name: str, **options: Any) -> str:
        """An address for a DNS name, asked of the resolver anew. Raises OSError when there is none."""
        from wirespeak.lab.devices.cloud import lookup

        addresses = await lookup(self, name, **options)
        if not addresses:
            raise OSError(f"{name} has no address")
        return self.random.choice(addresses)


def udp_socket(*, broadcast: bool = False, port: int = 0) -> socket.socket:
    """A non-blocking IPv4 UDP socket, of the kind asyncio's sock_ calls take."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if broadcast:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if port:
        opened.bind(("0.0.0.0", port))
    return opened


async def ask_udp(
    address: str, port: int, message: bytes, *, patience_s: float = 2.0, tries: int = 2
) -> bytes:
    """Send a datagram and wait for the answer, again when none comes. Raises TimeoutError at last."""
    loop = asyncio.get_running_loop()
    with udp_socket() as opened:
        opened.connect((address, port))
        for _ in range(tries):
            await loop.sock_sendall(opened, message)
            try:
                return await asyncio.wait_for(loop.sock_recv(opened, 4096), patience_s)
            except TimeoutError:
                continue
    raise TimeoutError(f"no answer from {address}:{port}")

"""Live one host's life inside its namespace: `python -m wirespeak.lab.play WORLD.json HOST`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from wirespeak.lab.devices import discovery
from wirespeak.lab.devices.device import MISHAPS, Device
from wirespeak.lab.devices.profiles import INFRASTRUCTURE, PROFILES
from wirespeak.lab.servers.table import SERVERS
from wirespeak.lab.world import World


async def play(world: World, name: str) -> None:
    """Join the network, serve, and behave, until killed. Raises when a server of the host fails."""
    d = Device(world, world.host(name))
    profile = (PROFILES | INFRASTRUCTURE)[d.host.profile]
    await asyncio.sleep(d.host.joins_s)
    try:
        if d.host.role == "device":
            await discovery.join_network(d)
    except MISHAPS as error:
        sys.stderr.write(f"{name} joined with difficulty: {error}\n")
    await asyncio.gather(
        *(SERVERS[server](d) for server in profile.serves), *profile.live(d), asyncio.Event().wait()
    )


if __name__ == "__main__":
    asyncio.run(play(World.read(Path(sys.argv[1])), sys.argv[2]))

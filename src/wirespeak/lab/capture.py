"""tcpdump on the lab's bridge: whole frames, from the moment it listens to a clean stop."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from pathlib import Path

from wirespeak.errors import WirespeakError
from wirespeak.lab.network import BRIDGE


async def start_capture(path: Path) -> asyncio.subprocess.Process:
    """Start tcpdump on the bridge and wait until it listens."""
    command = ("tcpdump", "-i", BRIDGE, "-n", "-U", "-s", "0", "-B", "16384", "-Z", "root", "-w", str(path))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    while line := (await asyncio.wait_for(process.stderr.readline(), 10)).decode():
        if "listening on" in line:
            return process
    raise WirespeakError("tcpdump did not start to listen on the lab's bridge.")


async def stop_capture(process: asyncio.subprocess.Process) -> dict[str, int]:
    """Stop tcpdump cleanly. Returns its counts of packets: captured, received, dropped."""
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, told = await asyncio.wait_for(process.communicate(), 30)
    counts = {
        word: int(number)
        for number, word in re.findall(r"(\d+) packets? (captured|received|dropped)", told.decode())
    }
    return {"captured": counts.get("captured", 0), "dropped": counts.get("dropped", 0)}

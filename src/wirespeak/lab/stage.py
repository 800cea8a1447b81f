"""The lab itself: process 1 of private process, mount and network namespaces, started by `recorder.py`.

It touches nothing of the host but two pipes. Its standard input is its lifeline: when that closes, because
the recorder is done or dead, it exits and the kernel ends every process and namespace of the lab with it.
On standard output go lines of JSON, then the finished recording as a tar stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from wirespeak.errors import WirespeakError
from wirespeak.lab.attacks.tool import Strike
from wirespeak.lab.attacks.tools import TOOLS
from wirespeak.lab.capture import start_capture, stop_capture
from wirespeak.lab.draw import build_world
from wirespeak.lab.network import build_network, inside, run, start_links
from wirespeak.lab.scenario import Attack, Scenario, read_scenario
from wirespeak.lab.servers.daemons import write_accounts, write_passwords
from wirespeak.lab.truth import TruthRow, truth_csv
from wirespeak.lab.world import World

FOLDER = Path("/run/lab")
LARGEST_CAPTURE = 100 << 20
_TOO_SOON_NS = 300_000_000
_LINGER_S = {"mac": 60.0}  # a poisoned cache outlives the poisoner


@dataclass(frozen=True)
class Played:
    """What came of one attacker's part in an attack."""

    tool: str
    attacker: str
    target: str
    rows: tuple[TruthRow, ...]
    status: int | None
    last_line: str

    def told(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "rows"},
            "label": self.rows[0].label,
        }


class Stage:
    """Everything that runs while a recording is made."""

    def __init__(self, scenario: Scenario, world: World) -> None:
        self.scenario, self.world = scenario, world
        self.hosts: dict[str, asyncio.subprocess.Process] = {}
        self.start = 0.0

    async def build(self) -> None:
        """Network, keys, servers of the gateway and the cloud."""
        _make_key(FOLDER)
        write_passwords(self.world, FOLDER / "passwords")
        write_accounts(self.world, FOLDER)
        self.world.write(FOLDER / "world.json")
        self.links = start_links(build_network(self.world), FOLDER / "links.log")
        await self._enter("gateway", "cloud")
        await asyncio.sleep(1.0)

    async def _enter(self, *names: str) -> None:
        for name in names:
            command = inside(
                name, sys.executable, "-m", "wirespeak.lab.play", str(FOLDER / "world.json"), name
            )
            with (FOLDER / f"{name}.log").open("wb") as log:
                self.hosts[name] = await asyncio.create_subprocess_exec(
                    *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    async def perform(self) -> tuple[list[Played], dict[str, int]]:
        """Devices, capture, attacks. Returns what was done and tcpdump's counts."""
        devices = [host.name for host in self.world.hosts if host.role == "device"]
        if self.scenario.warm_up_s:
            await self._enter(*devices)
            await asyncio.sleep(self.scenario.warm_up_s)
        capture = await start_capture(FOLDER / "capture.pcap")
        self.start = time.monotonic()
        if not self.scenario.warm_up_s:
            await self._enter(*devices)
        parts = [
            asyncio.create_task(self._attack(number, attack, source))
            for number, attack in enumerate(self.scenario.attacks)
            for source in attack.sources
        ]
        try:
            while (left := self.scenario.seconds - (time.monotonic() - self.start)) > 0:
                tell(progress=1 - left / self.scenario.seconds, doing=self._doing())
                await asyncio.sleep(min(1.0, left))
                self._check(capture, parts)
            played = list(await asyncio.gather(*parts))
        finally:
            for part in parts:
                part.cancel()
        return played, await stop_capture(capture)

    def _doing(self) -> str:
        at = time.monotonic() - self.start
        return (
            ", ".join(
                attack.tool
                for attack in self.scenario.attacks
                if attack.at <= at <= attack.at + attack.seconds + 2
            )
            or "ordinary traffic"
        )

    def _check(self, capture: asyncio.subprocess.Process, parts: list[asyncio.Task[Played]]) -> None:
        """Raise WirespeakError when something that should run has stopped."""
        for part in parts:
            if part.done():
                part.result()
        for name, process in self.hosts.items():
            if process.returncode is not None:
                raise WirespeakError(f"the lab's host {name} stopped early: {_tail(FOLDER / f'{name}.log')}")
        if self.links.poll() is not None or capture.returncode is not None:
            raise WirespeakError(
                f"the lab's links or its tcpdump stopped early: {_tail(FOLDER / 'links.log')}"
            )
        if (FOLDER / "capture.pcap").stat().st_size > LARGEST_CAPTURE:
            raise WirespeakError(
                f"the capture grew over {LARGEST_CAPTURE >> 20} MB. Lower the scenario's seconds, rates or number of cameras."
            )

    async def _attack(self, number: int, attack: Attack, source: str) -> Played:
        """One attacker's part: wait for its time, run the tool, note when it began and ended."""
        tool = TOOLS[attack.tool]
        random = self.world.random(f"attack {number} {source}")
        wander = self.world.random(f"attack {number}").uniform(0, 3)
        target = self.world.host("gateway" if attack.target == "lan" else attack.target)
        strike = Strike(self.world, self.world.host(source), target, attack.seconds, random)
        await asyncio.sleep(max(0.0, attack.at + wander - (time.monotonic() - self.start)))
        command = inside(source, *tool.command(strike, **attack.options))
        log = FOLDER / f"attack-{number}-{source}.log"
        start_ns = time.time_ns()
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=FOLDER,
                env=_environment(command),
            )
        await _finish(process, attack.seconds + (14 if tool.reach == "mac" else 2))
        if process.returncode and time.time_ns() - start_ns < _TOO_SOON_NS:
            raise WirespeakError(f"{attack.tool} stopped as soon as it started: {_tail(log)}")
        end_ns = time.time_ns() + int(_LINGER_S.get(tool.reach, 1.0) * 1e9)
        return Played(
            attack.tool,
            source,
            attack.target,
            self._rows(strike, attack, start_ns, end_ns),
            process.returncode,
            _tail(log),
        )

    def _rows(self, strike: Strike, attack: Attack, start_ns: int, end_ns: int) -> tuple[TruthRow, ...]:
        row = self._row(strike, attack, start_ns, end_ns)
        if not TOOLS[attack.tool].routed:
            return (row,)
        # The router asks by ARP for whoever the sweep is after: its flows without ports belong to the sweep.
        return row, replace(row, src=self.world.host("gateway").address, dst_port=0)

    def _row(self, strike: Strike, attack: Attack, start_ns: int, end_ns: int) -> TruthRow:
        tool = TOOLS[attack.tool]
        row = TruthRow(start_ns, end_ns, tool.label, strike.attacker.address, strike.address)
        port = attack.options.get("port", tool.options.get("port")) or None
        if tool.reach == "mac":
            return replace(row, src=f"{strike.attacker.mac}!{strike.attacker.address}", dst="*")
        if tool.reach == "network":
            row = replace(row, dst=str(strike.swept(bool(attack.options.get("far")))))
        if attack.options.get("spoof"):
            return replace(row, src=f"!{self.world.lan}", dst_port=port)
        # A device goes on with its own life while it attacks: only the port tells the two apart.
        return replace(row, dst_port=port) if strike.attacker.role == "device" else row


def _environment(command: list[str]) -> dict[str, str]:
    """Our own tools run as we do; Debian's want Debian's Python and a home of their own."""
    if sys.executable in command:
        return dict(os.environ)
    return {"HOME": str(FOLDER), "LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}


async def _finish(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Let a tool end by itself, else end it and all it started."""
    for patience, number in ((seconds, signal.SIGTERM), (2.0, signal.SIGKILL), (2.0, signal.SIGKILL)):
        try:
            await asyncio.wait_for(process.wait(), patience)
            break
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _make_key(folder: Path) -> None:
    how = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=cloud.example"
    run("sh", "-c", f"openssl req {how} -keyout {folder}/key.pem -out {folder}/cert.pem")


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-2:])[-400:]


def _hosts_csv(world: World) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("address", "address6", "mac", "role", "profile", "name"))
    writer.writerows(
        (host.address, host.address6, host.mac, host.role, host.profile, host.name)
        for host in world.hosts
        if host.place == "lan" or host.role == "attacker"
    )
    return text.getvalue()


def tell(**message: Any) -> None:
    """One line for the recorder."""
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def _hand_over(out: BinaryIO, texts: dict[str, str], capture: Path) -> None:
    with tarfile.open(fileobj=out, mode="w|") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(text.encode()), time.time()
            archive.addfile(entry, io.BytesIO(text.encode()))
        archive.add(capture, arcname="capture.pcap")


async def _record(path: Path, seed: int | None) -> None:
    scenario, text = read_scenario(path), path.read_text(encoding="utf-8")
    scenario = scenario if seed is None else replace(scenario, seed=seed)
    run("mount", "-t", "tmpfs", "-o", "size=768M", "tmpfs", "/run")
    FOLDER.mkdir()
    stage = Stage(scenario, replace(build_world(scenario), folder=str(FOLDER)))
    await stage.build()
    played, counts = await stage.perform()
    capture = FOLDER / "capture.pcap"
    result = {
        "packets": counts["captured"],
        "dropped": counts["dropped"],
        "bytes": capture.stat().st_size,
        "seed": scenario.seed,
        "hosts": len(stage.world.hosts),
        "attacks": [part.told() for part in played],
    }
    tell(recorded=result)
    texts = {
        "truth.csv": truth_csv([row for part in played for row in part.rows]),
        "hosts.csv": _hosts_csv(stage.world),
        "scenario.toml": text,
    }
    _hand_over(sys.stdout.buffer, texts, capture)


async def _main() -> int:
    loop = asyncio.get_running_loop()
    loop.add_reader(0, lambda: os._exit(1) if not os.read(0, 1) else None)
    try:
        await _record(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2] else None)
    except WirespeakError as error:
        tell(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    status = asyncio.run(_main())
    sys.stdout.buffer.flush()
    os._exit(status)  # the kernel ends every other process of the lab

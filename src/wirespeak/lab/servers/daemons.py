"""Real daemons: Mosquitto for MQTT, Dropbear for SSH, dnsmasq for DHCP and router advertisements."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from wirespeak.lab.devices.device import Device
from wirespeak.lab.devices.profiles import PROFILES
from wirespeak.lab.world import World


def write_passwords(world: World, path: Path) -> None:
    """The broker's password file: every profile with the devices' password, the app and the dashboard with theirs."""
    users = dict.fromkeys(PROFILES, world.passwords["device"]) | {
        name: world.passwords[name] for name in ("app", "dashboard", "admin")
    }
    path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)


def write_accounts(world: World, folder: Path) -> None:
    """Give the lab an account "admin" with a password of its own, seen inside the lab's mount namespace only."""
    password = world.passwords["admin"]
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, text=True, check=True, capture_output=True
    ).stdout.strip()
    lines = {"passwd": f"admin:x:0:0::{folder}:/bin/sh", "shadow": f"admin:{hashed}:19000:0:99999:7:::"}
    for name, line in lines.items():
        copy = folder / name
        copy.write_text(Path("/etc", name).read_text() + line + "\n")
        subprocess.run(["mount", "--bind", str(copy), f"/etc/{name}"], check=True)


async def run_ssh(d: Device) -> None:
    """SSH whose only account is "admin", and whose only command prints a few lines."""
    key = Path(d.world.folder) / f"ssh-{d.host.name}"
    subprocess.run(
        ["dropbearkey", "-t", d.random.choice(("rsa", "ed25519")), "-f", str(key)],
        check=True,
        capture_output=True,
    )
    lines = d.random.randint(1, 60)
    await _run(
        "dropbear",
        "dropbear",
        "-F",
        "-E",
        "-r",
        str(key),
        "-p",
        "22",
        "-P",
        f"{key}.pid",
        "-c",
        f"seq {lines}",
    )


async def _run(name: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    code = await process.wait()
    raise RuntimeError(f"{name} ended with status {code}")


async def _run_for(seconds: float, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    await asyncio.sleep(seconds)
    process.terminate()
    await process.wait()


async def _run_mosquitto(d: Device, *listeners: str) -> None:
    settings = Path(d.world.folder) / f"mosquitto-{d.host.name}.conf"
    lines = [
        "user root",
        "persistence false",
        "log_type none",
        "allow_anonymous false",
        f"password_file {d.world.folder}/passwords",
        "max_queued_messages 200",
    ]
    settings.write_text("\n".join((*lines, *listeners)) + "\n")
    if (
        d.host.role == "device"
    ):  # a home's broker is restarted now and then, and every client comes back at once
        await _run_for(d.random.uniform(40, 500), "mosquitto", "-c", str(settings))
        await asyncio.sleep(d.random.uniform(1, 6))
    await _run("mosquitto", "mosquitto", "-c", str(settings))


async def run_broker(d: Device) -> None:
    """The home's broker: port 1883 and one unusual port."""
    await _run_mosquitto(d, "listener 1883 0.0.0.0", "listener 18884 0.0.0.0")


async def run_cloud_broker(d: Device) -> None:
    """The vendors' broker: plain and TLS."""
    folder = d.world.folder
    await _run_mosquitto(
        d,
        "listener 1883 0.0.0.0",
        "listener 8883 0.0.0.0",
        f"certfile {folder}/cert.pem",
        f"keyfile {folder}/key.pem",
    )


async def run_dhcp(d: Device) -> None:
    """DHCP with one fixed address for each host, and IPv6 router advertisements."""
    lan = IPv4Network(d.world.lan)
    hosts = [f"--dhcp-host={host.mac},{host.address}" for host in d.world.hosts if host.join == "dhcp"]
    prefix = d.world.lan6.partition("/")[0]
    await _run(
        "dnsmasq", "dnsmasq", "--keep-in-foreground", "--port=0", "--no-hosts", "--no-resolv", "--conf-file=/dev/null", "--user=root", "--log-facility=/dev/null",
        "--interface=eth0", "--except-interface=lo", "--pid-file=", f"--dhcp-leasefile={d.world.folder}/leases", "--no-ping", "--dhcp-authoritative",
        f"--dhcp-range={lan[1]},static,{lan.netmask},1h", f"--dhcp-option=option:dns-server,{d.host.address}", f"--dhcp-option=option:router,{d.host.address}",
        "--enable-ra", f"--dhcp-range={prefix},ra-stateless,64,1h", *hosts,
    )  # fmt: skip

"""Make the lab's network: namespaces on a bridge, a gateway, and a cloud behind it.

Everything is made inside the private network and mount namespaces `recorder.py` starts the lab in, so names
never clash with another lab's and all of it vanishes with the lab's last process. Nothing routes out:

    br0 (captured) -- hosts, gateway | gateway -- wan -- cloud, far attackers
"""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from wirespeak.errors import WirespeakError
from wirespeak.lab.link import Link
from wirespeak.lab.world import CLOUD, CLOUD6, DARK, FILTERED_TCP_PORTS, Host, World

BRIDGE, WAN = "br0", "wan"

# Without connection tracking, so that a flood costs nothing.
_SILENT = f"""table inet lab {{
  chain inwards {{ type filter hook input priority 0;
    tcp flags & (fin|syn|rst|ack) == syn tcp dport != {{ {", ".join(map(str, FILTERED_TCP_PORTS))} }} drop
    tcp flags & (syn|rst|ack) == 0 drop; }}
  chain outwards {{ type filter hook output priority 0; icmp type destination-unreachable drop; }}
}}
"""
_SILENT_GATEWAY = """table inet lab {
  chain outwards { type filter hook output priority 0; icmp type destination-unreachable icmp code host-unreachable drop; }
}
"""


def run(*command: str, stdin: str | None = None) -> str:
    """Run a system tool to its end. Raises WirespeakError with what it said."""
    result = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if result.returncode:
        raise WirespeakError(
            f"the lab could not run '{' '.join(command)[:200]}': {result.stderr.strip()[:300]}"
        )
    return result.stdout


def inside(namespace: str, *command: str) -> list[str]:
    """The command line that runs a command in a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def build_network(world: World) -> list[Link]:
    """Make bridges, namespaces, cables and addresses. Returns the links that need a delay (`link.py`)."""
    run(
        "ip",
        "-batch",
        "-",
        stdin=f"link set lo up\nlink add {BRIDGE} type bridge mcast_snooping 0\nlink add {WAN} type bridge mcast_snooping 0\n",
    )
    for bridge in (BRIDGE, WAN):
        Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6").write_text("1")
        Path(f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra").write_text("0")
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    run("ip", "-batch", "-", stdin=f"link set {BRIDGE} up promisc on\nlink set {WAN} up\n")
    links = [_plug_in(number, host, world) for number, host in enumerate(world.hosts)]
    links.append(_connect_gateway(world))
    return [link for link in links if link is not None]


def _plug_in(number: int, host: Host, world: World) -> Link | None:
    """A namespace with a cable to its bridge; the cable has a delaying link in its middle when the host is wireless."""
    run("ip", "netns", "add", host.name)
    bridge = BRIDGE if host.place == "lan" else WAN
    outer, delayed = f"o{number}", host.latency_ms > 0
    lines = [f"link add {outer} type veth peer name eth0 address {host.mac} netns {host.name}"]
    if delayed:
        lines += [
            f"link add d{number} type veth peer name b{number}",
            f"link set d{number} up",
            f"link set b{number} master {bridge} up",
        ]
    lines.append(f"link set {outer} up" if delayed else f"link set {outer} master {bridge} up")
    run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")
    _settle(host)
    if host.join != "dhcp":
        run("ip", "-n", host.name, "-batch", "-", stdin="\n".join(_addresses(host, world)) + "\n")
    return Link(outer, f"d{number}", host.latency_ms, host.loss) if delayed else None


def _settle(host: Host) -> None:
    """What makes one kernel look like many: TTL, client ports, IPv6 by EUI-64. Offloads off, so checksums are real."""
    settings = {
        "net/ipv4/ip_default_ttl": host.ttl,
        "net/ipv4/ip_local_port_range": f"{host.ports[0]} {host.ports[1]}",
        "net/ipv4/ping_group_range": "0 0",
        "net/ipv4/icmp_ratelimit": 1000,
        "net/ipv6/conf/default/addr_gen_mode": 0,
        "net/ipv6/conf/eth0/addr_gen_mode": 0,
        "net/ipv6/conf/eth0/disable_ipv6": 0 if host.address6 else 1,
    }
    script = ";".join(f"echo {value} >/proc/sys/{key}" for key, value in settings.items())
    script += ";ethtool -K eth0 tx off sg off tso off gso off gro off >/dev/null 2>&1;ip link set lo up;" + (
        "ip link set eth0 up" if host.join != "dhcp" else "true"
    )
    run(*inside(host.name, "sh", "-c", script))
    if host.filtered or host.role == "gateway":
        run(*inside(host.name, "nft", "-f", "-"), stdin=_SILENT if host.filtered else _SILENT_GATEWAY)


def _addresses(host: Host, world: World) -> list[str]:
    """The `ip` lines that give a host without DHCP its addresses and its way out."""
    if host.place == "cloud" and host.role == "attacker":
        return [f"addr add {host.address}/32 dev eth0", *_way_home(world)]
    if host.role == "cloud":
        lines = [f"addr add {address}/32 dev eth0" for address in world.cloud_addresses()]
        return [*lines, f"addr add {host.address6}/64 dev eth0 nodad", *_way_home(world)]
    lines = [f"addr add {host.address}/{IPv4Network(world.lan).prefixlen} broadcast + dev eth0"]
    if host.role == "gateway":
        return [*lines, f"addr add {IPv6Network(world.lan6)[1]}/64 dev eth0 nodad"]
    return [*lines, f"route add default via {world.host('gateway').address}"]


def _way_home(world: World) -> list[str]:
    return [f"route add {CLOUD[0][1]} dev eth0", f"route add default via {CLOUD[0][1]}"]


def _connect_gateway(world: World) -> Link:
    """The gateway's second leg, through a link that delays by address: the Internet. All else is dropped."""
    run(
        "ip",
        "-batch",
        "-",
        stdin=f"link add ow type veth peer name eth1 netns gateway\nlink add dw type veth peer name bw\nlink set ow up\nlink set dw up\nlink set bw master {WAN} up\n",
    )
    script = ";".join((
        "ethtool -K eth1 tx off sg off tso off gso off gro off >/dev/null 2>&1",
        "echo 0 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6",
        "echo 1 >/proc/sys/net/ipv4/ip_forward",
        "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        "ip link set eth1 up",
        f"ip addr add {CLOUD[0][1]}/32 dev eth1",
        *(f"ip route add {network} dev eth1" for network in CLOUD),
        f"ip -6 addr add {CLOUD6[1]}/64 dev eth1 nodad",
        f"ip route add blackhole {DARK}",
        "ip route add blackhole default",
    ))  # fmt: skip
    run(*inside("gateway", "sh", "-c", script))
    run("ip", "-n", "cloud", "-6", "route", "add", "default", "via", str(CLOUD6[1]))
    return Link("ow", "dw", latency_ms=0, loss=0.0005, by_address=world.cloud_ms)


def start_links(links: list[Link], log: Path) -> subprocess.Popen[bytes]:
    """Start the process that carries frames across all delaying links."""
    lines = "\n".join(link.to_line() for link in links)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wirespeak.lab.link"], stdin=subprocess.PIPE, stderr=output
        )
    assert process.stdin is not None
    process.stdin.write(lines.encode())
    process.stdin.close()
    return process

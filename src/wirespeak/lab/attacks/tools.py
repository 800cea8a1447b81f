"""Every attack tool of the lab: its label, its Debian package, its options, its command line.

A tool is a function from a `Strike` (who attacks whom, for how long) and its keyword options to a command
line that runs in the attacker's namespace. Option names and defaults are the function's own; rates, counts
and times are bounded here, whatever a scenario says.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from random import Random
from typing import Any

from wirespeak.errors import OptionError, unknown_name
from wirespeak.lab.world import DARK, Host, World

MOST_PACKETS_PER_S = 2_000
MOST_PACKETS = 6_000


@dataclass(frozen=True)
class Strike:
    """One use of a tool: one attacker, one target."""

    world: World
    attacker: Host
    target: Host
    seconds: float
    random: Random

    @property
    def address(self) -> str:
        """The target's address."""
        return self.target.address

    @property
    def block(self) -> IPv4Network:
        """The part of the LAN that sweeps cover: the /24 (or less) the gateway is in."""
        lan = IPv4Network(self.world.lan)
        return IPv4Network(f"{self.world.host('gateway').address}/{max(24, lan.prefixlen)}", strict=False)

    def swept(self, far: bool) -> IPv4Network:
        """What a sweep covers: the block, or with `far` addresses outside where nobody answers."""
        return DARK if far else self.block

    def count(self, rate: float) -> int:
        """Packets to send at this rate for the whole time, bounded."""
        return max(1, min(MOST_PACKETS, int(self.seconds * min(rate, MOST_PACKETS_PER_S))))

    def outsider(self) -> str:
        """An address outside the LAN that nobody holds."""
        return f"198.51.100.{self.random.randint(251, 254)}"

    def list_file(self, name: str, lines: list[str]) -> str:
        """A file with these lines, for tools that read lists. Returns its path."""
        path = Path(self.world.folder) / f"{name}-{self.attacker.name}-{self.random.getrandbits(24):x}.txt"
        path.write_text("\n".join(lines) + "\n")
        return str(path)


Command = Callable[..., list[str]]


@dataclass(frozen=True)
class Tool:
    """reach: what the truth names beside the attacker: "host", "network" (a sweep's block) or "mac" (spoofing)."""

    label: str
    command: Command
    package: str = ""
    reach: str = "host"

    @property
    def options(self) -> dict[str, Any]:
        """Option names with their defaults."""
        return {
            name: given.default
            for name, given in inspect.signature(self.command).parameters.items()
            if given.kind is given.KEYWORD_ONLY
        }


TOOLS: dict[str, Tool] = {}


def tool(label: str, *, package: str = "", reach: str = "host") -> Callable[[Command], Command]:
    """Enter a function in the table under its own name, with dashes."""

    def enter(command: Command) -> Command:
        TOOLS[command.__name__.replace("_", "-")] = Tool(label, command, package, reach)
        return command

    return enter


def check_options(place: str, chosen: Tool, options: dict[str, Any]) -> None:
    """Raise OptionError for an option the tool does not have, or one of another type than its default."""
    for name, value in options.items():
        if name not in chosen.options:
            raise unknown_name(f"option of {place}", name, chosen.options)
        default = chosen.options[name]
        fits = (
            isinstance(value, (int, float)) and not isinstance(value, bool)
            if isinstance(default, float)
            else type(value) is type(default)
        )
        if not fits:
            raise OptionError(f"{place}: '{name}' is {value!r}, expected something like {default!r}.")


def own(module: str, function: str, **arguments: Any) -> list[str]:
    """The command line of one of our own tools."""
    return [sys.executable, "-m", f"wirespeak.lab.attacks.{module}", function, json.dumps(arguments)]


def _hping(
    s: Strike, *mode: str, rate: float, port: int = 0, size: int = 0, spoof: str = "", keep: bool = False
) -> list[str]:
    """spoof: "" none, "fixed" one outside address, "random" another for each packet."""
    pace = ["-i", f"u{int(1e6 / min(rate, MOST_PACKETS_PER_S))}", "-c", str(s.count(rate)), "-q", "-n"]
    source = {"": [], "fixed": ["-a", s.outsider()], "random": ["--rand-source"]}[spoof]
    return [
        "hping3",
        *mode,
        *pace,
        *(["-p", str(port)] if port else []),
        *(["-d", str(size)] if size else []),
        *(["-k"] if keep else []),
        *source,
        s.address,
    ]


def _nping(s: Strike, *mode: str, rate: float) -> list[str]:
    return [
        "nping",
        *mode,
        "--rate",
        str(int(min(rate, MOST_PACKETS_PER_S))),
        "-c",
        str(s.count(rate)),
        "-q",
        "-N",
        s.address,
    ]


# ---- floods of packets


@tool("flood.syn", package="hping3")
def hping3_syn(
    s: Strike,
    *,
    port: int = 80,
    rate: float = 300.0,
    size: int = 0,
    spoof: str = "",
    keep: bool = False,
    window: int = 64,
) -> list[str]:
    """SYN after SYN to one port."""
    return [*_hping(s, "-S", rate=rate, port=port, size=size, spoof=spoof, keep=keep), "-w", str(window)]


@tool("flood.syn")
def own_syn(
    s: Strike, *, port: int = 80, rate: float = 300.0, spoof: bool = False, ports: int = 1
) -> list[str]:
    """SYNs with the options a real system sends, to one or several ports."""
    return own(
        "packets",
        "syn_flood",
        target=s.address,
        ports=[port + i for i in range(ports)],
        rate=rate,
        count=s.count(rate),
        source="" if spoof else s.attacker.address,
        seed=s.random.getrandbits(32),
        ttl=s.attacker.ttl,
    )


@tool("flood.syn", package="nmap")
def nping_syn(s: Strike, *, port: int = 80, rate: float = 200.0) -> list[str]:
    """nping's TCP mode."""
    return _nping(s, "--tcp", "--flags", "syn", "-p", str(port), rate=rate)


@tool("flood.udp", package="hping3")
def hping3_udp(
    s: Strike, *, port: int = 53, rate: float = 300.0, size: int = 120, spoof: str = "", keep: bool = False
) -> list[str]:
    """UDP datagrams to one port, a new source port each unless `keep`."""
    return _hping(s, "--udp", rate=rate, port=port, size=size, spoof=spoof, keep=keep)


@tool("flood.udp")
def own_udp(s: Strike, *, port: int = 0, rate: float = 300.0, size: int = 512, sockets: int = 1) -> list[str]:
    """Datagrams from real sockets; port 0 means another random port each time."""
    return own(
        "packets",
        "udp_flood",
        target=s.address,
        port=port,
        rate=rate,
        count=s.count(rate),
        size=size,
        sockets=sockets,
        seed=s.random.getrandbits(32),
    )


@tool("flood.udp", package="nmap")
def nping_udp(s: Strike, *, port: int = 161, rate: float = 200.0, size: int = 64) -> list[str]:
    """nping's UDP mode."""
    return _nping(s, "--udp", "-p", str(port), "--data-length", str(size), rate=rate)


@tool("flood.icmp", package="hping3")
def hping3_icmp(s: Strike, *, rate: float = 300.0, size: int = 56, spoof: str = "") -> list[str]:
    """Echo requests, each with its own sender or not."""
    return _hping(s, "-1", rate=rate, size=size, spoof=spoof)


@tool("flood.icmp", package="iputils-ping")
def ping_flood(s: Strike, *, rate: float = 200.0, size: int = 56) -> list[str]:
    """ping with a small interval."""
    return [
        "ping",
        "-n",
        "-q",
        "-i",
        f"{1 / min(rate, MOST_PACKETS_PER_S):.4f}",
        "-s",
        str(size),
        "-c",
        str(s.count(rate)),
        s.address,
    ]


@tool("flood.icmp")
def own_icmp(s: Strike, *, rate: float = 300.0, size: int = 400, identities: int = 50) -> list[str]:
    """Echo requests with changing identifiers."""
    return own(
        "packets",
        "icmp_flood",
        target=s.address,
        rate=rate,
        count=s.count(rate),
        size=size,
        identities=identities,
        seed=s.random.getrandbits(32),
    )


@tool("flood.icmp", package="nmap")
def nping_icmp(s: Strike, *, rate: float = 200.0) -> list[str]:
    """nping's ICMP mode."""
    return _nping(s, "--icmp", rate=rate)


@tool("flood.icmp", package="fping")
def fping_flood(s: Strike, *, rate: float = 200.0, size: int = 56) -> list[str]:
    """fping in a loop on one host."""
    return [
        "fping",
        "-q",
        "-p",
        str(max(1, int(1000 / rate))),
        "-b",
        str(size),
        "-c",
        str(s.count(rate)),
        s.address,
    ]


# ---- floods of requests


@tool("flood.http")
def own_http(
    s: Strike,
    *,
    port: int = 80,
    rate: float = 120.0,
    workers: int = 20,
    post: bool = False,
    keep: bool = False,
    random_target: bool = True,
) -> list[str]:
    """GETs or POSTs from real sockets, a connection each or kept alive."""
    return own(
        "requests",
        "http_flood",
        target=s.address,
        port=port,
        rate=min(rate, 500),
        workers=workers,
        post=post,
        keep=keep,
        random_target=random_target,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("flood.http", package="apache2-utils")
def ab(s: Strike, *, rate: float = 60.0, clients: int = 3, keep: bool = False) -> list[str]:
    """ApacheBench. It knows no pace: `rate` bounds the number of requests, few clients their speed."""
    count = str(min(1200, s.count(rate)))
    return [
        "ab",
        "-q",
        "-r",
        "-s",
        "5",
        "-n",
        count,
        "-c",
        str(clients),
        *(["-k"] if keep else []),
        f"http://{s.address}/",
    ]


@tool("flood.http", package="wrk")
def wrk(s: Strike) -> list[str]:
    """wrk on one connection at a time for at most five seconds: it knows no pace."""
    return [
        "wrk",
        "-t1",
        "-c1",
        f"-d{int(min(5, s.seconds))}s",
        "-H",
        "Connection: close",
        f"http://{s.address}/",
    ]


@tool("flood.http", package="siege")
def siege(s: Strike, *, clients: int = 8, pause: float = 0.1) -> list[str]:
    """siege: clients that each wait up to `pause` seconds between requests."""
    return [
        "siege",
        "-q",
        f"-c{clients}",
        f"-d{pause}",
        f"-t{int(min(20, s.seconds))}S",
        f"http://{s.address}/api/state",
    ]


@tool("flood.mqtt")
def own_mqtt_connect(
    s: Strike, *, rate: float = 80.0, port: int = 1883, password: bool = True, politely: bool = False
) -> list[str]:
    """Connection after connection to the broker."""
    return own(
        "requests",
        "mqtt_connect_flood",
        target=s.address,
        port=port,
        rate=min(rate, 400),
        seconds=s.seconds,
        password=s.world.passwords["device"] if password else "",
        politely=politely,
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt")
def own_mqtt_publish(
    s: Strike,
    *,
    rate: float = 400.0,
    size: int = 200,
    qos: int = 0,
    clients: int = 10,
    port: int = 1883,
    per_connection: int = 40,
) -> list[str]:
    """Messages as fast as told, from many connections that come and go."""
    return own(
        "requests",
        "mqtt_publish_flood",
        target=s.address,
        port=port,
        rate=min(rate, MOST_PACKETS_PER_S),
        size=size,
        qos=qos,
        clients=clients,
        per_connection=per_connection,
        seconds=s.seconds,
        password=s.world.passwords["device"],
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt")
def own_mqtt_subscribe(s: Strike, *, rate: float = 60.0, port: int = 1883) -> list[str]:
    """Connections that each subscribe to everything, again and again."""
    return own(
        "requests",
        "mqtt_connect_flood",
        target=s.address,
        port=port,
        rate=min(rate, 400),
        seconds=s.seconds,
        password=s.world.passwords["device"],
        politely=False,
        subscriptions=12,
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_pub_storm(s: Strike, *, parallel: int = 8, lines: int = 20) -> list[str]:
    """Many mosquitto_pub processes, each sending lines and leaving."""
    base = f"seq {int(lines)} | mosquitto_pub -h {s.address} -t storm/$1 -l -u bulb -P {s.world.passwords['device']}"
    return [
        "sh",
        "-c",
        f"end=$(($(date +%s)+{int(s.seconds)})); for w in $(seq {int(parallel)}); do (set -- $w; while [ $(date +%s) -lt $end ]; do {base}; done) & done; wait",
    ]


@tool("flood.slow")
def slowloris(
    s: Strike, *, connections: int = 120, interval: float = 4.0, body: bool = False, port: int = 80
) -> list[str]:
    """Requests that never end: a header line, or with `body` a few bytes, now and then."""
    return own(
        "requests",
        "slow_http",
        target=s.address,
        port=port,
        connections=connections,
        interval=interval,
        body=body,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("flood.slow", package="slowhttptest")
def slowhttptest(s: Strike, *, mode: str = "H", connections: int = 100, interval: int = 4) -> list[str]:
    """mode H headers, B body, X slow read."""
    extra = {"H": [], "B": ["-s", "8192"], "X": ["-w", "10", "-y", "20", "-n", "3", "-z", "32", "-k", "3"]}[
        mode
    ]
    return [
        "slowhttptest",
        f"-{mode}",
        "-c",
        str(connections),
        "-i",
        str(interval),
        "-r",
        "40",
        "-l",
        str(int(s.seconds)),
        "-u",
        f"http://{s.address}/",
        "-p",
        "3",
        *extra,
    ]


# ---- reconnaissance


@tool("recon.port_scan", package="nmap")
def nmap_ports(
    s: Strike, *, mode: str = "S", timing: int = 4, ports: str = "1-600", delay_ms: int = 0, options: str = ""
) -> list[str]:
    """mode S SYN, T connect, U UDP, N null, F FIN, X Xmas."""
    pace = ["--scan-delay", f"{delay_ms}ms"] if delay_ms else ["--max-rate", "900"]
    return [
        "nmap",
        f"-s{mode}",
        f"-T{timing}",
        "-n",
        "-Pn",
        "--max-retries",
        "1",
        *pace,
        "-p",
        ports,
        *options.split(),
        s.address,
    ]


@tool("recon.port_scan", package="nmap")
def nmap_top_ports(s: Strike, *, how_many: int = 100, mode: str = "S", timing: int = 4) -> list[str]:
    """The ports nmap finds open most often."""
    return [
        "nmap",
        f"-s{mode}",
        f"-T{timing}",
        "-n",
        "--max-retries",
        "1",
        "--max-rate",
        "900",
        "--top-ports",
        str(how_many),
        s.address,
    ]


@tool("recon.port_scan", package="hping3")
def hping3_scan(s: Strike, *, ports: str = "1-500") -> list[str]:
    """hping3's own scan mode."""
    return ["hping3", "-S", "-n", "--scan", ports, s.address]


@tool("recon.port_scan", package="masscan")
def masscan_ports(s: Strike, *, ports: str = "1-800", rate: float = 300.0) -> list[str]:
    """masscan on one host."""
    return [
        "masscan",
        s.address,
        "-p",
        ports,
        "--rate",
        str(int(min(rate, 1000))),
        "--wait",
        "2",
        "--interface",
        "eth0",
        "--adapter-ip",
        s.attacker.address,
        "--router-mac",
        s.target.mac.replace(":", "-"),
    ]


@tool("recon.port_scan")
def own_connect_scan(
    s: Strike, *, ports: int = 300, first: int = 1, rate: float = 60.0, shuffled: bool = True
) -> list[str]:
    """Full connections to many ports, one after another."""
    return own(
        "requests",
        "connect_scan",
        targets=[s.address],
        ports=list(range(first, first + min(ports, 2000))),
        rate=min(rate, 600),
        shuffled=shuffled,
        seed=s.random.getrandbits(32),
    )


@tool("recon.sweep", package="nmap", reach="network")
def nmap_sweep(s: Strike, *, mode: str = "PR", timing: int = 4, far: bool = False) -> list[str]:
    """mode PR ARP, PE echo, PS SYN to 80 and 443, PA ACK. On the LAN all of them resolve each address by ARP."""
    probe = {
        "PR": ["-PR"],
        "PE": ["-PE", "--disable-arp-ping"],
        "PS": ["-PS80,443", "--disable-arp-ping"],
        "PA": ["-PA80", "--disable-arp-ping"],
    }[mode]
    return [
        "nmap",
        "-sn",
        "-n",
        f"-T{timing}",
        "--max-retries",
        "1",
        "--max-rate",
        "300",
        *probe,
        str(s.swept(far)),
    ]


@tool("recon.sweep", package="fping", reach="network")
def fping_sweep(s: Strike, *, interval_ms: int = 10, far: bool = False) -> list[str]:
    """fping over the block."""
    return ["fping", "-q", "-a", "-r", "0", "-i", str(interval_ms), "-g", str(s.swept(far))]


@tool("recon.sweep", package="arp-scan", reach="network")
def arp_scan(s: Strike, *, interval_ms: int = 10) -> list[str]:
    """arp-scan over the block."""
    return ["arp-scan", "-q", "-I", "eth0", "-i", str(interval_ms), "-r", "1", str(s.block)]


@tool("recon.sweep", reach="network")
def own_tcp_sweep(s: Strike, *, port: int = 80, rate: float = 30.0, far: bool = False) -> list[str]:
    """A connection attempt to one port of every address, as worms look for victims."""
    return own(
        "requests",
        "connect_scan",
        targets=[str(a) for a in s.swept(far).hosts() if str(a) != s.attacker.address],
        ports=[port],
        rate=min(rate, 300),
        shuffled=True,
        seed=s.random.getrandbits(32),
    )


@tool("recon.sweep", reach="network")
def own_arp_sweep(s: Strike, *, rate: float = 40.0, shuffled: bool = False) -> list[str]:
    """Who has every address, one after another."""
    return own(
        "packets",
        "arp_sweep",
        targets=[str(a) for a in s.block.hosts() if str(a) != s.attacker.address],
        rate=min(rate, 500),
        shuffled=shuffled,
        mac=s.attacker.mac,
        address=s.attacker.address,
        seed=s.random.getrandbits(32),
    )


# ---- spoofing, guessing, injection


@tool("spoof.arp", reach="mac")
def own_arp_spoof(
    s: Strike, *, interval: float = 1.0, both: bool = True, request: bool = False, gratuitous: bool = False
) -> list[str]:
    """Tell the target (and with `both` the gateway) that the other is here; relay what arrives."""
    gateway = s.world.host("gateway")
    return own(
        "packets",
        "arp_spoof",
        mac=s.attacker.mac,
        one=[s.target.address, s.target.mac],
        other=[gateway.address, gateway.mac],
        interval=max(0.2, interval),
        both=both,
        request=request,
        gratuitous=gratuitous,
        seconds=s.seconds,
    )


@tool("spoof.arp", package="dsniff", reach="mac")
def arpspoof(s: Strike, *, both: bool = True) -> list[str]:
    """dsniff's arpspoof, with the kernel as relay, which is told not to give the game away by redirects."""
    settings = "/proc/sys/net/ipv4"
    quiet = f"echo 1 >{settings}/ip_forward; for i in all eth0; do echo 0 >{settings}/conf/$i/send_redirects; done"
    return [
        "sh",
        "-c",
        f"{quiet}; exec timeout -s INT {int(s.seconds)} arpspoof -i eth0 -t {s.address} {'-r ' if both else ''}{s.world.host('gateway').address} 2>/dev/null",
    ]


@tool("brute_force")
def own_mqtt_guess(
    s: Strike, *, rate: float = 8.0, workers: int = 4, port: int = 1883, users: int = 1
) -> list[str]:
    """Password after password at the broker."""
    return own(
        "guess",
        "mqtt_guess",
        target=s.address,
        port=port,
        rate=min(rate, 200),
        workers=workers,
        users=users,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force")
def own_http_guess(
    s: Strike, *, rate: float = 8.0, workers: int = 4, form: bool = True, keep: bool = False, port: int = 80
) -> list[str]:
    """Password after password at the login form, or with form = false by basic authentication."""
    return own(
        "guess",
        "http_guess",
        target=s.address,
        port=port,
        rate=min(rate, 200),
        workers=workers,
        form=form,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force")
def own_telnet_guess(s: Strike, *, rate: float = 4.0, workers: int = 3, port: int = 23) -> list[str]:
    """Password after password at a telnet prompt."""
    return own(
        "guess",
        "telnet_guess",
        target=s.address,
        port=port,
        rate=min(rate, 100),
        workers=workers,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force", package="hydra")
def hydra(s: Strike, *, form: bool = False, tasks: int = 4, words: int = 150) -> list[str]:
    """hydra on the login form or on basic authentication."""
    from wirespeak.lab.attacks.guess import words as guesses

    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    where = (
        ["http-post-form", "/login:user=^USER^&password=^PASS^:wrong name"]
        if form
        else ["http-get", "/admin"]
    )
    return ["hydra", "-q", "-I", "-l", "admin", "-P", listed, "-t", str(tasks), s.address, *where]


@tool("brute_force", package="ncrack")
def ncrack(s: Strike, *, service: str = "http", words: int = 120, connections: int = 6) -> list[str]:
    """ncrack on HTTP basic authentication or on MQTT."""
    from wirespeak.lab.attacks.guess import words as guesses

    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    target = f"http://{s.address}:80,path=/admin" if service == "http" else f"mqtt://{s.address}:1883"
    return ["ncrack", "--user", "admin", "-P", listed, "-g", f"CL={connections},to={int(s.seconds)}s", target]


@tool("brute_force", package="mosquitto-clients")
def mosquitto_sub_guess(s: Strike, *, words: int = 200, pause: float = 0.05) -> list[str]:
    """A loop of mosquitto_sub over a word list."""
    from wirespeak.lab.attacks.guess import words as guesses

    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    return [
        "sh",
        "-c",
        f"end=$(($(date +%s)+{int(s.seconds)})); while read -r w && [ $(date +%s) -lt $end ]; do mosquitto_sub -h {s.address} -u admin -P \"$w\" -t '#' -C 1 -W 1 >/dev/null 2>&1; sleep {pause}; done <{listed}",
    ]


@tool("web.sqli")
def own_sqli(
    s: Strike,
    *,
    rate: float = 4.0,
    families: str = "tautology union error",
    encodings: str = "percent plus",
    post: bool = False,
    keep: bool = False,
) -> list[str]:
    """Statements in parameters: families and encodings of `inject.py`."""
    return own(
        "inject",
        "attack",
        target=s.address,
        kind="sqli",
        families=families.split(),
        encodings=encodings.split(),
        rate=min(rate, 50),
        post=post,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("web.sqli", package="sqlmap")
def sqlmap(s: Strike, *, level: int = 1, post: bool = False) -> list[str]:
    """sqlmap on the item page."""
    where = (
        ["-u", f"http://{s.address}/item", "--data", "id=1"]
        if post
        else ["-u", f"http://{s.address}/item?id=1"]
    )
    return [
        "sqlmap",
        *where,
        "--batch",
        f"--level={level}",
        "--risk=1",
        "--threads=1",
        "--technique=BEU",
        "--flush-session",
        "--disable-coloring",
        f"--output-dir={s.world.folder}/sqlmap",
    ]


@tool("web.xss")
def own_xss(
    s: Strike,
    *,
    rate: float = 4.0,
    families: str = "tag event",
    encodings: str = "percent plus",
    post: bool = False,
    keep: bool = False,
) -> list[str]:
    """Scripts in parameters and comments: families and encodings of `inject.py`."""
    return own(
        "inject",
        "attack",
        target=s.address,
        kind="xss",
        families=families.split(),
        encodings=encodings.split(),
        rate=min(rate, 50),
        post=post,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )

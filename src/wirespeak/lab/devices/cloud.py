"""What devices say to the world behind the gateway: DNS, NTP, HTTP, TLS, STUN, ping, and to clouds long dead."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import quote

from wirespeak.lab.devices.device import MISHAPS, PATIENCE_S, Device, ask_udp, udp_socket
from wirespeak.lab.servers.names import answers, query
from wirespeak.lab.world import CLOUD6, PUBLIC_RESOLVER


async def lookup(d: Device, name: str, *, server: str = "", both: bool = False) -> list[str]:
    """Ask for a name's addresses; `both` asks for AAAA as well. [] when there are none or nobody answers."""
    server = server or d.gateway
    if both:
        asyncio.get_running_loop().create_task(_aaaa(d, name, server))
    try:
        return answers(
            await ask_udp(
                server, 53, query(name, 1, d.random.getrandbits(16)), patience_s=d.random.choice((1, 2, 5))
            )
        )
    except MISHAPS:
        return []


async def _aaaa(d: Device, name: str, server: str) -> None:
    with suppress(*MISHAPS):
        await ask_udp(server, 53, query(name, 28, d.random.getrandbits(16)), patience_s=2, tries=1)


async def wake_up_lookups(d: Device, *, how_many: int = 6) -> None:
    """The burst of questions after start: several names, some to a public resolver, some for names that are gone."""
    servers = (
        [d.gateway] * 3
        + [str(PUBLIC_RESOLVER)] * d.random.choice((0, 1, 2))
        + ["192.0.2.53"] * d.random.choice((0, 0, 1))
    )
    services = ["api", "www", "mqtt", "ota", "time", "push", "data", "img", "log", "lost"]
    names = [d.vendor(service) for service in d.random.sample(services, min(how_many, len(services)))]
    names += [
        f"{label}.{names[0]}"
        for label in d.random.sample(
            ("wpad", "_sip", "local", "isatap", "test"), d.random.choice((0, 0, 1, 2))
        )
    ]
    asked = [lookup(d, name, server=d.random.choice(servers), both=d.chance(0.4)) for name in names]
    if d.chance(0.5):
        await asyncio.gather(*asked)
        return
    for question in asked:
        await question
        await asyncio.sleep(d.random.uniform(0, 0.5))


async def set_clock(d: Device, *, servers: int = 1, polls: int = 1) -> None:
    """NTP: one question, or an early burst to a whole pool."""
    names = [f"{number}.pool.ntp.example" for number in range(4)] if servers > 1 else [d.vendor("time")]
    addresses = [address for name in names for address in await lookup(d, name)][:servers] or [d.gateway]
    message = b"\x23" + bytes(39) + d.random.randbytes(8)
    for _ in range(polls):
        await asyncio.gather(
            *(ask_udp(address, 123, message, tries=1) for address in addresses), return_exceptions=True
        )
        await asyncio.sleep(d.random.uniform(1.5, 2.5))


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    target: str
    method: str = "GET"
    body: bytes = b""
    headers: tuple[str, ...] = ()
    kind: str = "application/json"

    def to_bytes(self, host: str, agent: str, *, keep: bool) -> bytes:
        """The request as HTTP/1.1 says it (RFC 9112)."""
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            f"Host: {host}",
            f"User-Agent: {agent}",
            *self.headers,
        ]
        if self.body or self.method == "POST":
            lines += [f"Content-Type: {self.kind}", f"Content-Length: {len(self.body)}"]
        lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
        return "\r\n".join((*lines, "", "")).encode() + self.body


@dataclass
class Web:
    """An HTTP connection that stays open for several requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    agent: str
    statuses: list[int] = field(default_factory=list)

    @classmethod
    async def open(
        cls, address: str, port: int, *, host: str = "", agent: str = "", tls: ssl.SSLContext | None = None
    ) -> Web:
        """Connect. Raises OSError or TimeoutError."""
        connection = asyncio.open_connection(
            address, port, ssl=tls, server_hostname=(host or address) if tls else None
        )
        reader, writer = await asyncio.wait_for(connection, PATIENCE_S)
        return cls(reader, writer, host or address, agent)

    async def ask(self, request: Request, *, keep: bool = True) -> bytes:
        """Send a request and read the whole answer. Returns the body."""
        self.writer.write(request.to_bytes(self.host, self.agent, keep=keep))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S * 2)
        self.statuses.append(int(head[9:12]))
        size = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        return await asyncio.wait_for(self.reader.readexactly(size), 120) if request.method != "HEAD" else b""

    def close(self) -> None:
        """Say goodbye."""
        self.writer.close()


def agent_of(d: Device) -> str:
    """The User-Agent of this kind of device."""
    forms = (
        f"{d.host.profile}/1.{len(d.host.mac)}",
        "curl/7.64.0",
        "okhttp/3.12.1",
        "ESP8266HTTPClient",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36",
        "Go-http-client/1.1",
    )
    return d.world.random(f"agent {d.host.profile}").choice(forms)


def trust_anything() -> ssl.SSLContext:
    """As too many devices do."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def call(
    d: Device,
    address: str,
    *requests: Request,
    port: int = 80,
    host: str = "",
    tls: ssl.SSLContext | None = None,
    gap_s: float = 0.0,
) -> list[int]:
    """Make requests on one connection. Returns the statuses."""
    web = await Web.open(address, port, host=host, agent=agent_of(d), tls=tls)
    try:
        for number, request in enumerate(requests):
            await web.ask(request, keep=number + 1 < len(requests))
            await asyncio.sleep(gap_s * d.random.uniform(0.5, 1.5))
    finally:
        web.close()
    return web.statuses


_FILTER = '{"room":"kitchen","on":true}'


def long_target(d: Device) -> str:
    """The kind of target telemetry makes: long queries, tokens, quotes and percent signs without malice."""
    token = d.random.randbytes(d.random.randint(8, 60)).hex()
    harmless = (
        f"/api/v1/queue?duration=180000&interval=25&sso={token}",
        f"/collect?id={token[:12]}&name={quote(_name(d))}&note={quote(harmless_text(d))}",
        f"/api/items?filter={quote(_FILTER)}&sort=-updated&page={d.random.randint(1, 9)}",
        f"/t.gif?u=http%3A%2F%2Fhome.example%2Findex.html%23top&r={d.random.random()}&s=1920x1080",
        f"/api/{token[:16]}/lights/{d.random.randint(1, 20)}/state",
        f"/search?q={quote(harmless_text(d))}",
    )
    return d.random.choice(harmless)


def _name(d: Device) -> str:
    return d.random.choice(
        ("Kitchen lamp", "O'Brien's plug", 'Café "Blue"', "Heizung (Bad)", "R&D lab #2", "mum's room; left")
    )


def harmless_text(d: Device) -> str:
    """Sentences in which the words and signs of attacks occur as people use them."""
    return d.random.choice((
        "please select a scene from the list and press OK",
        "the union meets on Friday where we met last time",
        "Don't drop the script, it's for the play -- thanks!",
        "update my order: 2 bulbs or 3 plugs, whichever is <cheaper>",
        "I can't delete or insert a schedule; 1=on, 0=off?",
        "see table 4; the \"sleep\" and \"alert\" modes are swapped",
        "5 < 7 > 3 & that's <b>bold</b>",
        "document the load on the cookie tray",
        "image from the garage camera",
        "temperature 21.5 C / humidity 40 %",
    ))  # fmt: skip


async def report(
    d: Device,
    *,
    service: str = "api",
    size: int = 200,
    tls: bool = False,
    port: int = 0,
    requests: int = 1,
    gap_s: float = 0.0,
) -> None:
    """Tell the cloud how things are: a POST or a GET, or several on one connection."""
    name = d.vendor(service)
    address = await d.resolve(name)
    made = [
        Request(long_target(d)) if d.chance(0.4) else Request("/api/report", "POST", _json(d, size)) for _ in range(requests)
    ]  # fmt: skip
    await call(
        d,
        address,
        *made,
        port=port or (443 if tls else 80),
        host=name,
        tls=trust_anything() if tls else None,
        gap_s=gap_s,
    )


def _json(d: Device, size: int) -> bytes:
    text = f'{{"id":"{d.host.mac}","name":"{_name(d)}","note":"{harmless_text(d)}","values":['
    while len(text) < size:
        text += f"{d.random.uniform(0, 400):.2f},"
    return (text + "0]}").encode()


async def report_over_ipv6(d: Device, *, requests: int = 2) -> None:
    """A report to a cloud that has an IPv6 address."""
    await call(d, str(CLOUD6[16]), *(Request(long_target(d)) for _ in range(requests)), host=d.vendor("www"))


async def many_short_calls(
    d: Device, *, how_many: int = 60, gap_s: float = 0.3, service: str = "api"
) -> None:
    """A new connection for each small request, one after the other: how some hubs set themselves up."""
    name = d.vendor(service)
    address = await d.resolve(name)
    for _ in range(how_many):
        request = (
            Request(long_target(d), "POST", d.random.randbytes(d.random.randint(0, 300)).hex().encode())
            if d.chance(0.5)
            else Request(long_target(d))
        )
        await call(d, address, request, host=name)
        await asyncio.sleep(gap_s * d.random.uniform(0.2, 1.8))


async def fetch_firmware(d: Device, *, size: int, tls: bool = False) -> None:
    """Ask for the newest version, then download it."""
    name = d.vendor("ota")
    address = await d.resolve(name)
    await call(
        d,
        address,
        Request("/version.json"),
        Request(f"/firmware/{size}"),
        port=443 if tls else 80,
        host=name,
        tls=trust_anything() if tls else None,
    )


async def upload_image(d: Device, *, size: int) -> None:
    """Send a picture to the cloud."""
    name = d.vendor("img")
    body = os.urandom(size)
    await call(
        d,
        await d.resolve(name),
        Request(f"/upload/{d.random.getrandbits(40):x}.jpg", "POST", body, kind="application/octet-stream"),
        host=name,
    )


async def hold_tls(d: Device, *, beat_s: float = 25.0, service: str = "push", port: int = 443) -> None:
    """A connection held open for push messages, with a small beat now and then, until it breaks."""
    name = d.vendor(service)
    web = await Web.open(await d.resolve(name), port, host=name, agent=agent_of(d), tls=trust_anything())
    try:
        await web.ask(Request("/subscribe"))
        for _ in range(d.random.randint(4, 20)):
            await asyncio.sleep(beat_s * d.random.uniform(0.8, 1.2))
            await web.ask(Request("/beat", "POST", d.random.randbytes(20).hex().encode()))
    finally:
        web.close()


async def resumed_tls(d: Device, *, how_many: int = 3) -> None:
    """Several TLS connections, the later ones resuming the first."""
    name, context = d.vendor("data"), trust_anything()
    address = await d.resolve(name)
    for _ in range(how_many):
        await call(d, address, Request(long_target(d)), port=443, host=name, tls=context)
        await asyncio.sleep(d.random.uniform(0.1, 2))


async def distrustful_tls(d: Device) -> None:
    """A client that checks the certificate, and does not like it."""
    name = d.vendor("log")
    address = await d.resolve(name)
    try:
        await Web.open(address, 443, host=name, tls=ssl.create_default_context())
    except ssl.SSLError:
        await asyncio.sleep(1)


async def dead_cloud(d: Device, *, port: int = 443) -> None:
    """Try a server that is no more: SYN, SYN, SYN, and silence."""
    address = await d.resolve(d.vendor("dead"))
    _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 20)
    writer.close()


async def closed_port(d: Device, *, address: str = "", port: int = 8009) -> None:
    """Knock where nobody listens any more; a reset comes back."""
    _, writer = await asyncio.wait_for(
        asyncio.open_connection(address or await d.resolve(d.vendor("api")), port), 5
    )
    writer.close()


async def absent_neighbour(d: Device, *, port: int = 80) -> None:
    """Call a neighbour that moved out: ARP asks, and asks again, and nobody answers."""
    lan = IPv4Network(d.world.lan)
    address = lan[
        (int(IPv4Address(d.host.address)) - int(lan[0]) & ~255) % lan.num_addresses
        + d.random.randrange(1, min(254, lan.num_addresses - 1))
    ]
    await closed_port(d, address=str(address), port=port)


async def own_protocol(
    d: Device, *, port: int, messages: int = 4, size: int = 60, gap_s: float = 1.0
) -> None:
    """A vendor's own protocol over TCP: small binary questions and answers, on a port nobody else uses."""
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(await d.resolve(d.vendor("data")), port), PATIENCE_S
    )
    try:
        for _ in range(messages):
            writer.write(d.bytes_of_its_own(d.random.randint(size // 3 + 1, size)))
            await asyncio.wait_for(reader.read(2048), PATIENCE_S)
            await asyncio.sleep(gap_s * d.random.uniform(0.6, 1.4))
    finally:
        writer.close()


async def keep_mapping(
    d: Device, *, beats: int = 4, gap_s: float = 5.0, size: int = 0, port: int = 3478
) -> None:
    """UDP keep-alives from one socket to one server, so that the router keeps its mapping: STUN or a vendor's own."""
    address = await d.resolve(d.vendor("stun"))
    loop = asyncio.get_running_loop()
    with udp_socket() as opened:
        opened.connect((address, port))
        for _ in range(beats):
            message = (
                d.bytes_of_its_own(size)
                if size
                else struct.pack(">HHI", 1, 0, 0x2112A442) + d.random.randbytes(12)
            )
            await loop.sock_sendall(opened, message)
            with suppress(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(opened, 2048), 1)
            await asyncio.sleep(gap_s * d.random.uniform(0.9, 1.1))


async def ping(d: Device, *, address: str = "", count: int = 3, size: int = 56, gap_s: float = 1.0) -> None:
    """Echo requests, as a watchdog sends them."""
    address = address or d.gateway
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as opened:
        opened.setblocking(False)
        opened.connect((address, 0))
        for number in range(count):
            await loop.sock_sendall(opened, struct.pack(">BBHHH", 8, 0, 0, 0, number + 1) + bytes(size))
            with suppress(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(opened, 2048), 1)
            await asyncio.sleep(gap_s)


async def log_line(d: Device, *, address: str = "", port: int = 514) -> None:
    """One syslog line over UDP."""
    with udp_socket() as opened:
        line = f"<134>{d.host.profile}: {harmless_text(d)}".encode()
        await asyncio.get_running_loop().sock_sendto(
            opened, line, (address or await d.resolve(d.vendor("log")), port)
        )

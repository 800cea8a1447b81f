"""The web servers of the lab: a home hub with a login, a search that trusts its input, and a vendor's cloud.

The hub's item page puts its parameter into an SQL statement and its comments onto the page unescaped, as
some real hubs do, so that injection tools find something to work on. Its database lives in memory.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus, urlsplit

from wirespeak.lab.devices.device import MISHAPS, Device

Answer = tuple[int, str, bytes]
_REASONS = {
    200: "OK",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    500: "Internal Server Error",
}
_LARGEST_BODY = 4 << 20
_IDLE_S = 120


class Hub:
    """A home hub's or a camera's pages."""

    def __init__(self, d: Device) -> None:
        self.d = d
        self.comments: list[str] = []
        self.pages = {
            path: d.random.randbytes(size).hex().encode()
            for path, size in (("/", 900), ("/style.css", 2200), ("/icon.png", 700), ("/login", 350))
        }
        self.database = sqlite3.connect(":memory:")
        self.database.executescript(
            "create table items (id integer, name text, room text); create table users (name text, password text);"
        )
        self.database.executemany(
            "insert into items values (?, ?, ?)", [(i, f"device {i}", "kitchen") for i in range(12)]
        )
        self.database.execute("insert into users values ('admin', ?)", (d.world.passwords["admin"],))
        self.database.commit()
        self.database.set_progress_handler(lambda: 1, 200_000)  # a statement that runs long is given up

    def __call__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to a request: status, content type, body."""
        parts = urlsplit(target)
        fields = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if method == "POST" and "form" in headers.get("content-type", ""):
            fields |= {
                key: values[0]
                for key, values in parse_qs(body.decode("latin-1"), keep_blank_values=True).items()
            }
        path = parts.path
        if path in self.pages and not (method == "POST" and path == "/login"):
            return 200, "text/html", self.pages[path]
        if path == "/login":
            good = fields.get("user") == "admin" and fields.get("password") == self.d.world.passwords["admin"]
            return (
                (200, "text/html", b"<p>welcome</p>" * 20)
                if good
                else (401, "text/html", b"<p>wrong name or password</p>")
            )
        if path.startswith("/admin"):
            return self._admin(headers.get("authorization", ""))
        if path == "/item":
            return self._item(fields.get("id", ""))
        if path == "/search":
            return 200, "text/html", f"<p>nothing found for {fields.get('q', '')}</p>".encode() + b"<hr>" * 80
        if path == "/comments":
            self.comments = [*self.comments[-20:], unquote_plus(fields.get("text", ""))]
            return (
                200,
                "text/html",
                ("<ul>" + "".join(f"<li>{text}</li>" for text in self.comments) + "</ul>").encode(),
            )
        if path == "/upload":
            return (200, "application/json", b'{"stored":true}')
        if path.startswith(("/api", "/collect", "/t.gif")):
            size = 60 + sum(path.encode()) * 7 % 900
            return (
                200,
                "application/json",
                b'{"state":"' + self.d.random.randbytes(size // 2).hex().encode() + b'"}',
            )
        if path.startswith("/snapshot"):
            return 200, "application/octet-stream", os.urandom(self.d.random.randint(8_000, 40_000))
        return 404, "text/html", b"<h1>404</h1> no such page"

    def _admin(self, authorization: str) -> Answer:
        try:
            _, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        except ValueError:
            password = ""
        if password == self.d.world.passwords["admin"]:
            return 200, "text/html", b"<h1>settings</h1>" * 30
        return 401, "text/html", b"<p>who are you?</p>"

    def _item(self, identity: str) -> Answer:
        try:
            rows = self.database.execute(f"select id, name, room from items where id = {identity}").fetchall()
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            return 500, "text/html", f"<p>database error: {error}</p>".encode()
        page = "".join(
            f"<tr><td>{'</td><td>'.join(str(cell) for cell in row)}</td></tr>" for row in rows[:200]
        )
        return 200, "text/html", f"<table>{page}</table>".encode() + b"<hr>" * 60


class Cloud:
    """A vendor's cloud: takes reports, hands out firmware of the size the path names."""

    def __init__(self, d: Device) -> None:
        self.d = d

    def __call__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to a request."""
        path = urlsplit(target).path
        if path.startswith("/firmware/"):
            return 200, "application/octet-stream", bytes(min(int(path.rpartition("/")[2]), 24 << 20))
        if path.startswith("/upload"):
            return 200, "application/json", b'{"ok":true}'
        chance = self.d.random.random()
        if chance < 0.03:
            return self.d.random.choice(
                (
                    (404, "text/html", b"<h1>not here</h1>"),
                    (401, "application/json", b'{"error":"token expired"}'),
                    (500, "text/plain", b"try later"),
                )
            )
        size = int(self.d.random.lognormvariate(5.0, 1.0))
        return (
            200,
            "application/json",
            b'{"ok":true,"data":"' + self.d.random.randbytes(min(size, 20_000) // 2).hex().encode() + b'"}',
        )


async def _handle(
    d: Device,
    site: Callable[..., Answer],
    slow_s: float,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serve one connection until it closes or idles."""
    try:
        while True:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _IDLE_S)).decode("latin-1")
            first, *lines = head.split("\r\n")
            headers = {
                key.lower(): value.strip()
                for key, _, value in (line.partition(":") for line in lines if line)
            }
            method, target, _ = (first + "  ").split(" ", 2)
            size = int(headers.get("content-length", "0"))
            if size > _LARGEST_BODY:
                raise ValueError("too large")
            body = await asyncio.wait_for(reader.readexactly(size), _IDLE_S) if size else b""
            await asyncio.sleep(d.random.expovariate(1 / slow_s))
            status, kind, content = site(method, target, headers, body)
            keep = headers.get("connection", "").lower() != "close" and first.rstrip().endswith("1.1")
            extra = (
                'WWW-Authenticate: Basic realm="device"\r\n'
                if status == 401 and target.startswith("/admin")
                else ""
            )
            writer.write(
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nServer: {d.host.profile}d\r\n{extra}Content-Type: {kind}\r\n"
                f"Content-Length: {len(content)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
                + (content if method != "HEAD" else b"")
            )
            await writer.drain()
            if not keep:
                return
    except (*MISHAPS, ssl.SSLError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def serve_site(
    d: Device, site: Callable[..., Answer], port: int, *, slow_s: float, tls: ssl.SSLContext | None = None
) -> None:
    """Serve a site on a port for ever."""
    server = await asyncio.start_server(
        lambda reader, writer: _handle(d, site, slow_s, reader, writer), None, port, ssl=tls, backlog=64
    )
    await server.serve_forever()


async def serve_web(d: Device) -> None:
    """The pages of a hub or a camera, on 80 and, on some hosts, on 8080 and 49152."""
    site, slow_s = Hub(d), d.random.uniform(0.001, 0.02)
    ports = (80, 8080, 49152) if d.chance(0.4) else (80,)
    await asyncio.gather(*(serve_site(d, site, port, slow_s=slow_s) for port in ports))


async def serve_cloud(d: Device) -> None:
    """All vendors' clouds, on usual and on unusual ports."""
    served = ((80, False), (8080, False), (10080, False), (443, True), (8443, True), (50443, True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = Path(d.world.folder)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    site = Cloud(d)
    await asyncio.gather(
        *(serve_site(d, site, port, slow_s=0.01, tls=context if safe else None) for port, safe in served)
    )

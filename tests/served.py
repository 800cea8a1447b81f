"""Servers on a free port of this machine: our own API over a model, and one that does as a test tells it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wirespeak.contracts import LanguageModel

Answer = Callable[[str, dict[str, Any]], Any]
"""What a server says to (path, body): an object for JSON, or (status, headers, bytes)."""


@contextmanager
def served(model: LanguageModel, *, key: str | None = None) -> Iterator[str]:
    """The address of `wirespeak serve --openai` over a model."""
    import uvicorn

    from wirespeak.interfaces.openai_api import application

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(model, key=key), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def stubborn(answer: Answer, models: Any = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that answers as told, and the bodies it was sent (with their path and key)."""
    seen: list[dict[str, Any]] = []
    listed = {"data": [{"id": "m"}]} if models is None else models

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.say(listed)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({**body, "path": self.path, "key": self.headers["authorization"]})
            self.say(answer(self.path, body))

        def say(self, told: Any) -> None:
            status, headers, data = told if isinstance(told, tuple) else (200, {}, json.dumps(told).encode())
            self.send_response(status)
            for name, value in {
                "content-type": "application/json", "content-length": str(len(data)), **headers
            }.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # who waited has given up
                self.wfile.write(data)

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refusal(status: int, message: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """An error as OpenAI's API says it."""
    return status, headers, json.dumps({"error": {"message": message}}).encode()

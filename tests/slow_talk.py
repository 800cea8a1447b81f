"""What applications say, heard slowly: one flow's payloads, recognised and counted as docs/flows.md and the standards have it.

Where the documents leave something open, this is the definition:

- A payload without any captured byte is not heard. Once a flow's application is known, all its payloads are taken as that.
- HTTP and RTSP messages begin where a segment begins, with the method, a blank and the first byte of the target, in the
  middle of a body too. All that follows the header in the segment counts as the body.
- A header that the capture cut short is taken as ended, and its body is not waited for.
- A chunked body ends with the segment that ends in its last chunk and the trailer. What a body says is counted as sent, chunk sizes too.
- What was lost on the way is not known: a message in progress goes on with what is heard next. Where no message begins, the
  rest of the segment is left out, and the next segment is tried.
- A request that goes on in another row is unfinished in the former, and its text and login count in the row where it ends.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

TCP, UDP = 6, 17
MOST_ATTEMPTS = 4
MOST_TEXT = 2048

SQL_WORDS = (
    "select", "union", "insert", "update", "delete", "drop", "from", "where", "or", "and", "sleep", "benchmark", "order", "having",
    "like", "exec",
)  # fmt: skip
SCRIPT_WORDS = (
    "script", "onerror", "onload", "onclick", "onmouseover", "alert", "eval", "javascript", "document", "cookie", "iframe", "svg", "img",
)  # fmt: skip
PASSWORD_WORDS = ("password", "passwd", "passwort", "pwd", "pass", "passphrase")


@dataclass(frozen=True)
class Speech:
    """A payload: the bytes that were captured, its size on the wire, and who says it."""

    payload: bytes
    size: int
    src_port: int
    dst_port: int
    protocol: int
    backward: bool

    def at_port(self, *ports: int) -> bool:
        return self.src_port in ports or self.dst_port in ports

    def after(self, known: int) -> Speech:
        """What follows so many bytes."""
        return Speech(
            self.payload[known:],
            self.size - known,
            self.src_port,
            self.dst_port,
            self.protocol,
            self.backward,
        )


@dataclass
class Said:
    """What was said in one row of a flow: columns of the same names."""

    application: str = "none"
    messages: int = 0
    answers: int = 0
    errors: int = 0
    logins: int = 0
    refusals: int = 0
    message_bytes: int = 0
    entropy_bits: float = 0.0
    sql_signs: int = 0
    sql_words: int = 0
    markup_signs: int = 0
    script_words: int = 0
    unfinished_requests: int = 0


@dataclass
class Request:
    """An HTTP request that has not ended."""

    backward: bool
    header: bytes = b""  # the request line too, until the empty line
    body: bytes = b""  # as much of it as counts
    chunks: bytes = b""  # all of the body
    left: int = 0
    chunked: bool = False
    in_body: bool = False


@dataclass
class Voice:
    """One side of a connection whose messages say how long they are."""

    left: int = 0  # bytes of a message that are still to come
    begun: bytes = b""  # too few bytes to tell how long the message is
    open: bytes = b""  # a message that counts by what is still to come


def number(data: bytes, start: int, size: int) -> int:
    """A number of the network; bytes that are not there are 0."""
    return int.from_bytes(data[start : start + size].ljust(size, b"\0"))


class Talk:
    """What is remembered of a flow's application; `said` is what it said in the row at hand."""

    def __init__(self, opened: bool) -> None:
        self.opened = opened  # by its source, with a SYN
        self.said = Said()
        self.attempts = 0
        self.request: Request | None = None
        self.voices = (Voice(), Voice())
        self.rtp: tuple[int, int] | None = None

    def next_row(self) -> Said:
        """The flow goes on in another row."""
        self.said.unfinished_requests += self.request is not None
        self.said = Said(self.said.application)
        return self.said

    def end(self) -> None:
        if self.request:
            self.end_request()
            self.said.unfinished_requests += 1

    def hear(self, s: Speech) -> None:
        if not s.payload:
            return
        if self.said.application in ("none", "other"):
            if self.attempts == MOST_ATTEMPTS:
                return
            self.attempts += 1
            self.said.application = self.recognised(s)
        application = self.said.application
        if application == "other":
            return
        if application in ("http", "rtsp"):
            self.hear_http(s)
        elif s.protocol == TCP and application in SIZES:
            self.hear_stream(s)
        else:
            self.hear_message(s.payload, s)

    def recognised(self, s: Speech) -> str:
        marks = TCP_MARKS if s.protocol == TCP else UDP_MARKS
        for application, speaks in marks:
            if speaks(s):
                return application
        return "rtp" if s.protocol == UDP and self.rtp_goes_on(s.payload) else "other"

    def rtp_goes_on(self, payload: bytes) -> bool:
        """RFC 3550 and 3551: version 2, a type that is in use, and the second packet in sequence of one source."""
        if len(payload) < 12 or payload[0] >> 6 != 2 or 34 < payload[1] & 127 < 96:
            return False
        former, sequence, source = self.rtp, number(payload, 2, 2), number(payload, 8, 4)
        self.rtp = (source, sequence)
        return former is not None and (source, sequence) == (former[0], (former[1] + 1) % 65536)

    def count(self, s: Speech) -> None:
        if s.backward:
            self.said.answers += 1
        else:
            self.said.messages += 1

    def from_client(self, s: Speech, port: int) -> bool:
        """Who opened the connection asks, or else who speaks to that port, or else the flow's source."""
        told = (s.src_port == port) != (s.dst_port == port) and not self.opened
        return s.dst_port == port if told else not s.backward

    # ---- messages ----

    def hear_message(self, message: bytes, s: Speech) -> None:
        """A datagram, a segment, or a message that says how long it is."""
        application = self.said.application
        if application == "ssh" and not message.startswith(b"SSH-"):
            return  # RFC 4253: after the identification comes what is not told
        if application == "coap" and number(message, 1, 1) == 0:
            return  # RFC 7252, 4.1: an empty message only acknowledges
        self.count(s)
        if application in ("dns", "mdns"):  # RFC 1035, 4.1.1
            self.said.errors += bool(number(message, 2, 1) & 128 and number(message, 3, 1) & 15)
        elif application == "coap":  # RFC 7252, 3: the class
            self.said.errors += number(message, 1, 1) >> 5 in (4, 5)
        elif application == "modbus":  # Application Protocol 1.1b3, 7
            self.said.errors += not self.from_client(s, 502) and message[7] >= 128
        elif application == "mqtt":
            self.weigh(mqtt_counts(message), +1)

    def weigh(self, counts: tuple[int, int, int], sign: int) -> None:
        logins, errors, refusals = counts
        self.said.logins += sign * logins
        self.said.errors += sign * errors
        self.said.refusals += sign * refusals

    def hear_stream(self, s: Speech) -> None:
        """Messages that say how long they are, wherever the segments begin."""
        voice, size_of = self.voices[s.backward], SIZES[self.said.application]
        skipped = 2 if self.said.application == "dns" else 0  # RFC 1035, 4.2.2: its length
        if voice.open:
            more = voice.open + s.payload[: voice.left]
            self.weigh(mqtt_counts(voice.open), -1)
            self.weigh(mqtt_counts(more), +1)
            voice.open = more if voice.left > s.size else b""
        rest, at = s.payload[voice.left :], voice.left
        if voice.begun and rest:
            both = voice.begun + rest
            if size_of(both) or self.is_short(both):
                rest, at = both, at - len(voice.begun)
        voice.begun = b""
        while rest and (size := size_of(rest)):
            self.hear_message(rest[skipped:size], s)
            if size > len(rest) and self.said.application == "mqtt":
                voice.open = rest
            rest, at = rest[size:], at + size
        voice.left = max(0, at - s.size)
        if self.is_short(rest) and len(s.payload) == s.size:
            voice.begun = rest

    def is_short(self, rest: bytes) -> bool:
        """Whether more bytes would tell how long the message is."""
        if self.said.application == "mqtt":
            return 0 < len(rest) < 5 and all(byte >= 128 for byte in rest[1:])
        return 0 < len(rest) < {"tls": 5, "modbus": 8, "dns": 14}[self.said.application]

    # ---- HTTP and RTSP: RFC 9112, RFC 7826 ----

    def hear_http(self, s: Speech) -> None:
        request = self.request
        if begins_request(s.payload):
            if request:
                self.end_request()
                self.said.unfinished_requests += 1
            self.count(s)
            self.request = Request(s.backward)
            self.hear_header(self.request, s)
        elif begins_response(s.payload) and not self.has_version_to_come(s):
            self.count(s)
            status = number_at(s.payload[8:])
            self.said.errors += 400 <= status <= 599
            self.said.refusals += status in (401, 403)
        elif request and request.backward == s.backward:
            if request.in_body:
                self.hear_body(request, s.payload, s.size)
            else:
                self.hear_header(request, s)

    def has_version_to_come(self, s: Speech) -> bool:
        """Whether this side is saying a request, and came as far as the blank before the version."""
        request = self.request
        if request is None or request.backward != s.backward or request.in_body:
            return False
        return bool(re.fullmatch(rb"[^ ]+ [^ \n]+ ", request.header))

    def hear_header(self, request: Request, s: Speech) -> None:
        piece = s.payload
        whole = request.header + piece
        end = re.search(rb"\n\r?\n", whole)
        request.header = whole[: end.end()] if end else whole
        if not end:
            if len(s.payload) < s.size:
                self.end_request()
            return
        for line in request.header.split(b"\n"):
            if line.lower().startswith(b"content-length:"):
                request.left = number_at(line[15:])
        request.chunked = self.has_chunks(request.header)
        request.in_body = True
        body = whole[end.end() :]
        self.hear_body(request, body, s.size - len(s.payload) + len(body))

    def has_chunks(self, header: bytes) -> bool:
        lines = [line for line in header.split(b"\n") if line.lower().startswith(b"transfer-encoding:")]
        return any(b"chunked" in line.lower() for line in lines)

    def hear_body(self, request: Request, body: bytes, size: int) -> None:
        request.body = (request.body + body)[:MOST_TEXT]
        if request.chunked:  # RFC 9112, 7.1: of size 0, with an extension perhaps, then a trailer perhaps
            request.chunks += body
            ended = bool(re.search(rb"(\A|\r\n)0+(;[^\r\n]*)?\r\n([^\r\n]+\r\n)*\r\n\Z", request.chunks))
        else:
            ended = request.left <= size
            request.left -= size
        if ended:
            self.end_request()

    def end_request(self) -> None:
        """The request ended, or will not go on: count its text."""
        request, self.request = self.request, None
        assert request
        said, line = self.said, request.header
        target, body = percent_decoded(target_of(line)[:MOST_TEXT]), percent_decoded(request.body)
        if len(target + body) > said.message_bytes:
            said.message_bytes = len(target + body)
            said.entropy_bits = math.floor(entropy(target + body) * 10 + 0.5) / 10
        signs = signs_of(target) + signs_of(body)
        if set(signs) & {b"'", b'"', b"#", b"--", b"/*"}:
            said.sql_signs = max(said.sql_signs, len(signs))
        words = [word for word, _ in words_of(target) + words_of(body)]
        said.sql_words = max(said.sql_words, sum(word in SQL_WORDS for word in words))
        said.script_words = max(said.script_words, sum(word in SCRIPT_WORDS for word in words))
        said.markup_signs = max(said.markup_signs, len(re.findall(rb"[<>]", target + body)))
        named = any(word in PASSWORD_WORDS and after in "=:\"'" for word, after in words_of(body) if after)
        credentials = any(
            line.lower().startswith(b"authorization:") for line in request.header.split(b"\n")[1:]
        )
        posts = request.header.startswith((b"POST", b"PUT", b"PATCH"))
        said.logins += credentials or (posts and named)


# ---- the text of a request ---------------------------------------------------------------------------------


def number_at(text: bytes) -> int:
    """The digits behind blanks, 18 at most; 0 without any."""
    found = re.match(rb"[ \t]*([0-9]{0,18})", text)
    return int(found[1] or 0) if found else 0


def target_of(header: bytes) -> bytes:
    """What stands behind the method, until the next blank (RFC 9112, section 3)."""
    line = header.partition(b"\n")[0].partition(b" ")[2]
    target, blank, _ = line.partition(b" ")
    return target if blank else target.removesuffix(b"\r")


def percent_decoded(text: bytes) -> bytes:
    """Once (RFC 3986, section 2.1); a plus is a blank, as in forms."""

    def decoded(found: re.Match[bytes]) -> bytes:
        return b" " if found[0] == b"+" else bytes.fromhex(found[1].decode())

    return re.sub(rb"%([0-9A-Fa-f]{2})|\+", decoded, text)


def signs_of(text: bytes) -> list[bytes]:
    """Metacharacters of SQL, in their order."""
    return re.findall(rb"--|/\*|['\";#=()]", text)


def words_of(text: bytes) -> list[tuple[str, str]]:
    """Words in lower case, and the byte behind each."""
    found = re.finditer(rb"[A-Za-z0-9_]+", text)
    return [(word[0].decode().lower(), text[word.end() : word.end() + 1].decode("latin1")) for word in found]


def entropy(text: bytes) -> float:
    """Shannon's, in bits a byte."""
    shares = [often / len(text) for _, often in sorted(Counter(text).items())]
    return -sum(share * math.log2(share) for share in shares)


# ---- marks: whether a payload is recognised as this protocol -------------------------------------------------

METHODS = (
    b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"PROPFIND", b"SUBSCRIBE", b"UNSUBSCRIBE",
    b"NOTIFY", b"M-SEARCH", b"PRI", b"DESCRIBE", b"SETUP", b"PLAY", b"PAUSE", b"TEARDOWN", b"ANNOUNCE", b"RECORD", b"GET_PARAMETER",
    b"SET_PARAMETER",
)  # fmt: skip


def begins_request(payload: bytes) -> bool:
    """RFC 9112, 3.2: a path, *, an absolute URI (http, rtsp), or for CONNECT a host."""
    method, blank, target = payload.partition(b" ")
    if not blank or method not in METHODS:
        return False
    return bool(re.match(rb"[/*hr]" if method != b"CONNECT" else rb"[/*A-Za-z0-9_]", target))


def begins_response(payload: bytes) -> bool:
    return payload.startswith((b"HTTP/1.", b"RTSP/1."))


def is_rtsp(payload: bytes) -> bool:
    line = payload.partition(b"\n")[0]
    return b"RTSP/1." in line or b"rtsp://" in line


def mqtt_size(data: bytes) -> int:
    """The bytes of the packet that begins here, 0 when none does (MQTT 5, 2.1): type, flags, and the length in groups of 7 bits."""
    if not data:
        return 0
    kind, flags = divmod(data[0], 16)
    if kind == 0 or (kind != 3 and flags != (2 if kind in (6, 8, 10) else 0)):
        return 0
    rest = 0
    for place, byte in enumerate(data[1:5]):
        rest += (byte & 127) << 7 * place
        if byte < 128:
            return 2 + place + rest
    return 0


def mqtt_body(packet: bytes) -> bytes:
    """What follows the length, as far as it is here."""
    head = 1 + next(place for place, byte in enumerate(packet[1:5], 1) if byte < 128)
    return packet[head:]


def mqtt_counts(packet: bytes) -> tuple[int, int, int]:
    """Logins, errors and refusals that a packet is (MQTT 5, 3.1 and 3.2)."""
    kind, body = packet[0] >> 4, mqtt_body(packet)
    if kind == 1:  # CONNECT: name, level, flags
        return bool(number(body, 2 + number(body, 0, 2) + 1, 1) & 0x40), 0, 0
    code = number(body, 1, 1) if kind == 2 else 0  # CONNACK
    return 0, int(code != 0), int(code in (4, 5, 134, 135))


def mqtt_connects(s: Speech) -> bool:
    return bool(
        mqtt_size(s.payload)
        and s.payload[0] == 0x10
        and mqtt_body(s.payload).startswith((b"\0\4MQTT", b"\0\6MQIsdp"))
    )


def tls_size(data: bytes) -> int:
    """RFC 8446, 5.1 and 5.2: type, version, length."""
    size = number(data, 3, 2)
    known = len(data) >= 5 and 20 <= data[0] <= 24 and data[1] == 3 and data[2] <= 4
    return 5 + size if known and 0 < size <= 2**14 + 256 else 0


def modbus_size(data: bytes) -> int:
    """Messaging on TCP/IP 1.0b, 3.1.3: transaction, protocol 0, length, unit; then the function."""
    size = number(data, 4, 2)
    known = len(data) >= 8 and number(data, 2, 2) == 0 and data[7] != 0
    return 6 + size if known and 2 <= size <= 254 else 0


def modbus_speaks(s: Speech) -> bool:
    """Anywhere a whole message of a public function, at its port any message."""
    size = modbus_size(s.payload)
    public = size and s.payload[7] & 127 in (*range(25), 43)
    return bool((public and size == s.size) or (size and s.at_port(502)))


def dns_size(data: bytes) -> int:
    """RFC 1035, 4.2.2: the length, then at least a header."""
    return 2 + number(data, 0, 2) if len(data) >= 14 else 0


def is_dns(data: bytes) -> bool:
    """RFC 1035, 4.1.1: a header whose reserved bit is 0, with no more questions and answers than there may well be."""
    return len(data) >= 12 and not data[3] & 0x40 and number(data, 4, 2) <= 64 and number(data, 6, 2) <= 512


SIZES: dict[str, Callable[[bytes], int]] = {
    "mqtt": mqtt_size, "tls": tls_size, "modbus": modbus_size, "dns": dns_size,
}  # fmt: skip


def is_stun(data: bytes) -> bool:
    """RFC 8489, 5."""
    return len(data) >= 20 and data[0] < 64 and data[4:8] == bytes.fromhex("2112a442")


def is_dnp3(data: bytes) -> bool:
    """IEEE 1815, 9.2.4."""
    return len(data) >= 10 and data[:2] == b"\x05\x64"


def is_dtls(data: bytes) -> bool:
    """RFC 6347, 4.1: type, version, epoch and sequence, length."""
    version = data[1:3] in (b"\xfe\xff", b"\xfe\xfd")
    return len(data) >= 13 and 20 <= data[0] <= 25 and version and number(data, 11, 2) <= 2**14 + 256


def is_dhcp(data: bytes) -> bool:
    """RFC 2131, 2 and 3."""
    return len(data) >= 240 and data[0] in (1, 2) and data[236:240] == bytes.fromhex("63825363")


def is_snmp(data: bytes) -> bool:
    """RFC 3416, 3: a sequence (X.690, 8.1.3: its length in one byte, or in as many as the first says), then the version."""
    many = number(data, 1, 1)
    head = 2 if many < 128 else 2 + (many & 127)
    return (
        data[:1] == b"\x30"
        and data[head : head + 2] == b"\2\1"
        and data[head + 2 : head + 3] in (b"\0", b"\1", b"\2", b"\3")
    )


def is_quic(data: bytes) -> bool:
    """RFC 9000, 17.2; RFC 9369; drafts: a long header of a known version."""
    known = data[1:5] in (b"\0\0\0\1", bytes.fromhex("6b3343cf")) or data[1:4] == b"\xff\0\0"
    return len(data) >= 7 and data[0] >= 0xC0 and known


def is_syslog(data: bytes) -> bool:
    """RFC 5424, 6.2.1."""
    return bool(re.match(rb"<[0-9]{1,3}>", data))


def is_bacnet(s: Speech) -> bool:
    """ASHRAE 135, annex J.2: BACnet/IP, a function, and the length of all."""
    data = s.payload
    return len(data) >= 6 and data[0] == 0x81 and data[1] <= 12 and number(data, 2, 2) == s.size


def is_ntp(data: bytes) -> bool:
    """RFC 5905, 7.3: versions 1 to 4, and a mode."""
    return len(data) >= 12 and 1 <= data[0] >> 3 & 7 <= 4 and data[0] & 7 != 0


def is_coap(data: bytes) -> bool:
    """RFC 7252, 3, and 8323 (class 7): version, length of the token, class of the code."""
    return len(data) >= 4 and data[0] >> 6 == 1 and data[0] & 15 <= 8 and data[1] >> 5 in (0, 2, 4, 5, 7)


def negotiates(data: bytes) -> bool:
    """RFC 854: IAC, then SB, WILL, WONT, DO or DONT."""
    return len(data) >= 2 and data[0] == 255 and 250 <= data[1] <= 254


def has_word(data: bytes) -> bool:
    return bool(re.match(rb"[A-Za-z0-9_]{3}", data))


Mark = tuple[str, Callable[[Speech], bool]]
TCP_MARKS: list[Mark] = [
    ("rtsp", lambda s: (begins_request(s.payload) or begins_response(s.payload)) and is_rtsp(s.payload)),
    ("http", lambda s: begins_request(s.payload) or begins_response(s.payload)),
    ("mqtt", lambda s: mqtt_connects(s)),
    ("tls", lambda s: tls_size(s.payload) > 0),
    ("ssh", lambda s: s.payload.startswith(b"SSH-")),
    ("dnp3", lambda s: is_dnp3(s.payload)),
    ("stun", lambda s: is_stun(s.payload)),
    ("telnet", lambda s: negotiates(s.payload)),
    ("modbus", lambda s: modbus_speaks(s)),
    ("mqtt", lambda s: s.at_port(1883, 1884) and mqtt_size(s.payload) > 0),
    ("dns", lambda s: s.at_port(53) and dns_size(s.payload) > 0 and is_dns(s.payload[2:])),
    ("ftp", lambda s: s.at_port(21) and has_word(s.payload)),
    ("smtp", lambda s: s.at_port(25, 587) and has_word(s.payload)),
    ("syslog", lambda s: s.at_port(514) and is_syslog(s.payload)),
    ("telnet", lambda s: s.at_port(23, 2323)),
]
"""In the order in which they are tried."""

UDP_MARKS: list[Mark] = [
    ("ssdp", lambda s: s.payload.startswith((b"M-SEARCH *", b"NOTIFY *", b"HTTP/1.1 200"))),
    ("stun", lambda s: is_stun(s.payload)),
    ("dtls", lambda s: is_dtls(s.payload)),
    ("dhcp", lambda s: is_dhcp(s.payload) or s.at_port(547)),
    ("snmp", lambda s: is_snmp(s.payload)),
    ("quic", lambda s: is_quic(s.payload)),
    ("bacnet", is_bacnet),
    ("syslog", lambda s: is_syslog(s.payload)),
    ("dnp3", lambda s: is_dnp3(s.payload)),
    ("mdns", lambda s: s.at_port(5353) and is_dns(s.payload)),
    ("dns", lambda s: s.at_port(53, 5355) and is_dns(s.payload)),
    ("ntp", lambda s: s.at_port(123) and is_ntp(s.payload)),
    ("coap", lambda s: s.at_port(5683) and is_coap(s.payload)),
]

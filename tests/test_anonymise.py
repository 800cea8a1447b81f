"""Anonymised captures and flow tables: published vectors, what a map promises, what is gone, what stays right."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from made_frames import ethernet, icmp, ip, mac, sctp, udp

from wirespeak import _native
from wirespeak.data import tables
from wirespeak.errors import InputError, OptionError
from wirespeak.flow import read_flows
from wirespeak.flow.anonymise import Anonymised, Anonymiser, anonymise_capture, read_key
from wirespeak.flow.anonymised_flows import anonymise_flows
from wirespeak.schema import FACTS
from wirespeak.wire import Frames, decode, read_frames, write_pcap
from wirespeak.wire.craft import packets as craft

KEY = bytes(range(32))
SAMPLE_KEY = bytes(
    [21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16]
    + [216, 152, 143, 131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2]
)
# Of the sample trace that the authors distribute with Crypto-PAn.
SAMPLE = {
    "128.11.68.132": "135.242.180.132", "129.118.74.4": "134.136.186.123", "130.132.252.244": "133.68.164.234",
    "141.223.7.43": "141.167.8.160", "152.163.225.39": "151.140.114.167", "156.29.3.236": "147.225.12.42",
    "165.247.96.84": "162.9.99.234", "192.102.249.13": "252.138.62.131", "205.188.248.25": "242.96.88.27",
    "24.0.250.221": "100.15.198.226", "4.3.88.225": "124.60.155.63", "64.14.118.196": "0.255.183.58", "10.185.25.118": "117.161.29.118",
}  # fmt: skip
SPECIAL = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
)
KEPT = ("0.0.0.0", "127.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255")
SPECIAL6 = (
    "fe80::/64",
    "fc00::/7",
    "ff05::/16",
    "ff02::1:ff00:0/104",
    "2002::/16",
    "::ffff:0:0/96",
    "64:ff9b::/96",
)
KEPT6 = ("::", "::1", "ff02::1", "ff02::fb", "ff02::1:2")


def mapped(anonymiser: Anonymiser, *addresses: str) -> list[str]:
    packed = [ip_address(address).packed for address in addresses]
    kind = "ipv4" if len(packed[0]) == 4 else "ipv6"
    out = anonymiser.stand_ins(kind, b"".join(packed), len(packed[0]))
    return [str(ip_address(out[at : at + len(packed[0])])) for at in range(0, len(out), len(packed[0]))]


def aes(key: bytes, blocks: bytes) -> bytes:
    given, out = np.frombuffer(blocks, np.uint8), np.empty(len(blocks), np.uint8)
    _native.library().wirespeak_aes(key, _native.address(given), len(blocks) // 16, _native.address(out))
    return out.tobytes()


def written(
    folder: Path, frames: list[bytes], *, link_type: int = 1, key: bytes = KEY, **options: object
) -> tuple[Frames, Frames, Anonymised]:
    """Frames as they were, as they are, and what was done."""
    source, target = folder / "was.pcap", folder / "is.pcap"
    write_pcap(
        source, Frames.of(range(1_000_000_000, 1_000_000_000 + len(frames)), frames, link_type=link_type)
    )
    done = anonymise_capture(source, target, Anonymiser(key, **options))  # type: ignore[arg-type]
    return read_frames(source).frames, read_frames(target).frames, done


# ---- maps ------------------------------------------------------------------------------------------------


def test_aes_is_that_of_fips_197_and_sp_800_38a() -> None:
    assert (
        aes(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex()
        == "69c4e0d86a7b0430d8cdb78070b4c55a"
    )
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    coded = "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4"
    assert aes(key, bytes.fromhex(plain)).hex() == coded


def test_plain_addresses_are_those_of_the_published_sample() -> None:
    assert mapped(Anonymiser(SAMPLE_KEY, plain=True), *SAMPLE) == list(SAMPLE.values())


def slow(key: bytes, address: int, bits: int, fixed: int) -> int:
    """Crypto-PAn as its paper says it, a bit at a time; the first `fixed` bits stay."""
    pad = int.from_bytes(aes(key[:16], key[16:]))
    flips = 0
    for at in range(bits):
        head = address >> (bits - at) << (128 - at) if at else 0
        block = head | pad & ((1 << (128 - at)) - 1)
        flips = flips << 1 | (aes(key[:16], block.to_bytes(16))[0] >> 7 if at >= fixed else 0)
    return address ^ flips


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 128) - 1))
def test_plain_addresses_agree_with_a_slow_version(four: int, six: int) -> None:
    anonymiser = Anonymiser(SAMPLE_KEY, plain=True)
    assert mapped(anonymiser, str(IPv4Address(four))) == [str(IPv4Address(slow(SAMPLE_KEY, four, 32, 0)))]
    assert ip_address(mapped(anonymiser, str(IPv6Address(six)))[0]) == IPv6Address(
        slow(SAMPLE_KEY, six, 128, 0)
    )


def forced(address: int) -> int:
    """How many bits of an IPv4 address stay, by walking from the root of the tree of prefixes to it."""
    networks = [
        ip_network(each) for each in (*SPECIAL, "0.0.0.0/8", "240.0.0.0/4", "224.0.0.0/24", "224.0.1.0/24")
    ]
    networks += [ip_network(each) for each in KEPT]
    whole = [ip_network(each) for each in ("127.0.0.0/8", "224.0.0.0/24", "224.0.1.0/24", *KEPT)]
    if any(IPv4Address(address) in each for each in whole):
        return 32
    return max(
        depth + 1
        for depth in range(32)
        for each in networks
        if depth < each.prefixlen and address >> (32 - depth) == int(each.network_address) >> (32 - depth)
    )


@given(st.integers(0, (1 << 32) - 1) | st.sampled_from(SPECIAL).map(lambda text: int(ip_network(text)[77])))
def test_special_ranges_fix_the_bits_on_the_way_to_them(address: int) -> None:
    assert mapped(Anonymiser(KEY), str(IPv4Address(address))) == [
        str(IPv4Address(slow(KEY, address, 32, forced(address))))
    ]


def common(a: bytes, b: bytes) -> int:
    bits = 8 * len(a)
    return bits - (int.from_bytes(a) ^ int.from_bytes(b)).bit_length()


NEAR4 = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 31)).map(
    lambda pair: (IPv4Address(pair[0]), IPv4Address(pair[0] ^ 1 << pair[1]))
)
NEAR6 = st.tuples(
    st.integers(0, (1 << 128) - 1) | st.sampled_from(SPECIAL6).map(lambda text: int(ip_network(text)[9])),
    st.integers(0, 127),
).map(lambda pair: (IPv6Address(pair[0]), IPv6Address(pair[0] ^ 1 << pair[1])))


@given(NEAR4 | NEAR6, st.booleans())
def test_two_addresses_share_as_long_a_prefix_as_before(
    pair: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address], plain: bool
) -> None:
    was, other = (each.packed for each in pair)
    now = [ip_address(text).packed for text in mapped(Anonymiser(KEY, plain=plain), *map(str, pair))]
    assert common(*now) == common(was, other)  # so no two addresses become one


def test_addresses_keep_their_kind() -> None:
    anonymiser = Anonymiser(KEY)
    for text in (*SPECIAL, *SPECIAL6):
        network = ip_network(text)
        some = [str(network[number]) for number in (-300, -3021, -40_001)]
        now = mapped(anonymiser, *some)
        assert all(ip_address(each) in network for each in now), text
        assert len({*now}) == 3 and (network.is_loopback or not {*now} & {*some})
    assert mapped(anonymiser, *KEPT) == list(KEPT)
    assert mapped(anonymiser, *KEPT6) == list(KEPT6)
    for public in ("8.8.8.8", "193.99.144.80", "2001:db8::1"):
        now = ip_address(mapped(anonymiser, public)[0])
        assert not now.is_multicast and not any(
            now in ip_network(text) for text in SPECIAL + SPECIAL6 if ip_network(text).version == now.version
        )


def test_an_address_inside_another_is_the_same_as_alone() -> None:
    anonymiser = Anonymiser(KEY)
    inner = IPv4Address(mapped(anonymiser, "203.0.113.77")[0])
    both = mapped(anonymiser, "::ffff:203.0.113.77", "64:ff9b::203.0.113.77", "2002:cb00:714d::1")
    assert int(IPv6Address(both[0])) & 0xFFFFFFFF == int(inner) == int(IPv6Address(both[1])) & 0xFFFFFFFF
    assert int(IPv6Address(both[2])) >> 80 & 0xFFFFFFFF == int(inner)
    eui = IPv6Address(mapped(anonymiser, "2001:db8::21b:21ff:fe11:2233")[0]).packed
    assert eui[8:] != bytes.fromhex("021b21fffe112233") and eui[11:13] != b"\xff\xfe"


def test_macs_are_permuted_and_keep_their_kind() -> None:
    vendor = [bytes.fromhex("001b21") + number.to_bytes(3) for number in range(2000)]
    for keep_vendor in (False, True):
        anonymiser = Anonymiser(KEY, keep_vendor=keep_vendor)
        out = anonymiser.stand_ins("mac", b"".join(vendor), 6)
        now = [out[at : at + 6] for at in range(0, len(out), 6)]
        assert len({*now}) == len(now)
        assert all((each[:3] == vendor[0][:3]) == keep_vendor for each in now)
        assert keep_vendor or all(each[0] & 3 == 2 for each in now)  # of nobody: locally administered
        for stays in ("ffffffffffff", "000000000000", "01005e0000fb", "333300000001", "0180c200000e"):
            assert anonymiser.stand_ins("mac", bytes.fromhex(stays), 6).hex() == stays
        solicited = anonymiser.stand_ins("mac", bytes.fromhex("3333ff112233"), 6)
        group = IPv6Address(mapped(anonymiser, "ff02::1:ff11:2233")[0]).packed
        assert solicited == b"\x33\x33" + group[12:]
        drawn = anonymiser.stand_ins("mac", bytes.fromhex("da1b21112233"), 6)  # a random one has no vendor
        assert drawn[:3] != bytes.fromhex("da1b21")


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63))
def test_a_word_is_never_itself_and_keeps_its_shape(word: str) -> None:
    now = Anonymiser(KEY).stand_ins("name", word.encode(), len(word)).decode()
    shape = [(each.isdigit(), each.isalpha()) for each in word]
    assert shape == [(each.isdigit(), each.isalpha()) for each in now]
    assert (now == word) == (not word.strip("-_"))


def test_numbers_of_parts_are_replaced_as_one(tmp_path: Path) -> None:
    """Parts of their own would be a code of 256 letters."""
    said = [
        b"<13>from 10.1.2.3 to 10.1.2.4",
        b"<13>from 10.1.2.3 to 20.1.2.3, 00:1b:21:aa:bb:cc",
        b"<13>at 00:1b:21:aa:bb:cd",
    ]
    frames = [craft.udp(ALICE, BOB, 514, 514, each, identifier=0) for each in said]
    _, now, _ = written(tmp_path, frames)
    (one, two), (again, three, mac_one), (mac_two,) = (
        re.findall(rb"[0-9.]{8}|\S*:\S*", now.bytes_of(row)[46:]) for row in range(3)
    )
    assert one == again
    for left, right in ((one, two), (one, three), (mac_one, mac_two)):
        assert [a == b for a, b in zip(left, right, strict=True)].count(True) < 6 + left.count(b":")
    flows = read_flows(tmp_path / "was.pcap").flows.with_columns(
        http_uri=pl.lit("ab://10.1.2.3/ab"), http_host=pl.lit("00:1b:21:aa:bb:cc")
    )
    mapped_flows, _ = anonymise_flows(flows, Anonymiser(KEY))
    word = Anonymiser(KEY).stand_ins("name", b"ab", 2).decode()
    assert mapped_flows["http_uri"][0] == f"{word}://{one.decode()}/{word}"
    assert mapped_flows["http_host"][0] == mac_one.decode()


def test_other_keys_give_others() -> None:
    keys = [KEY, KEY[:-1] + b"\0", b"\1" + KEY[1:]]
    assert len({mapped(Anonymiser(key), "8.8.8.8")[0] for key in keys}) == 3
    assert len({Anonymiser(key).stand_ins("name", b"printer", 7) for key in keys}) == 3


# ---- captures --------------------------------------------------------------------------------------------

ALICE = craft.End(bytes.fromhex("001b21aabbcc"), "192.168.77.5")
BOB = craft.End(bytes.fromhex("3c22fb010203"), "203.0.113.9")
SECRETS = ("alice", "kitchen", "hunter2", "example", "tr0ub4dor", "acme", "serial")


def name(*labels: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def text(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()


def client_hello(host: str) -> bytes:
    names = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host.encode()
    extensions = (
        struct.pack("!HH", 0, len(names))
        + names
        + struct.pack("!HH", 35, 6)
        + b"serial"
        + bytes.fromhex("002b0003020304")
    )
    body = (
        b"\3\3"
        + b"acme" * 8
        + b"\4hunt"
        + b"\0\2\x13\x01"
        + b"\1\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    shake = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(shake)) + shake


def dhcp(hostname: str) -> bytes:
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0) + IPv4Address(ALICE.address).packed + bytes(12)
    options = bytes.fromhex("63825363350103") + b"\x0c" + bytes([len(hostname)]) + hostname.encode()
    return (
        head
        + ALICE.mac
        + bytes(10 + 192)
        + options
        + b"\x3d\x07\x01"
        + ALICE.mac
        + b"\x32\x04"
        + IPv4Address(ALICE.address).packed
        + b"\xff"
    )


MQTT = b"\0\4MQTT\4\xc2\0\x3c" + text("kitchen-serial") + text("alice") + text("hunter2")
DNS = (
    struct.pack("!HHHHHH", 7, 0x8180, 1, 2, 0, 0)
    + name("kitchen", "example", "com")
    + struct.pack("!HH", 1, 1)
)
DNS += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + IPv4Address(BOB.address).packed
DNS += b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 60, 6) + b"\5alice"
HTTP = b"POST /alice/kitchen?q=hunter2 HTTP/1.1\r\nHost: kitchen.example.com\r\nX-Serial: acme\r\nContent-Length: 11\r\n\r\nserial=acme"
SNMP = bytes.fromhex("302902010104056163 6d65 32".replace(" ", "")) + bytes.fromhex(
    "a01d02043ade68b102010002010030 0f300d06092b06010401bf0801010500".replace(" ", "")
)
SAID = [
    (craft.udp, 40000, 53, DNS), (craft.udp, 68, 67, dhcp("kitchen-alice")), (craft.udp, 5683, 5683, b"\x41\1\0\1\x77\xb7kitchen\x05alice\xffhunter2"),
    (craft.udp, 161, 161, SNMP), (craft.udp, 514, 514, b"<13>alice kitchen: hunter2"), (craft.udp, 9000, 9001, b"alice hunter2"),
    (craft.tcp, 40001, 80, HTTP), (craft.tcp, 40002, 443, client_hello("kitchen.example.com")), (craft.tcp, 40003, 1883, b"\x10" + bytes([len(MQTT)]) + MQTT),
    (craft.tcp, 40004, 21, b"USER alice\r\nPASS tr0ub4dor\r\n"), (craft.tcp, 22, 40005, b"SSH-2.0-acme_serial\r\n"),
    (craft.tcp, 40006, 502, b"\0\1\0\0\0\x0b\1\x10\0\4\0\2\4\xca\xfe\xba\xbe"), (craft.tcp, 40007, 4000, b"login alice hunter2"),
]  # fmt: skip


def conversation() -> list[bytes]:
    """A frame of each protocol, checksums right."""
    frames = [craft.arp(ALICE, BOB, reply=False)]
    for number, (make, src_port, dst_port, said) in enumerate(SAID):
        if make is craft.udp:
            frames.append(craft.udp(ALICE, BOB, src_port, dst_port, said, identifier=number))
        else:
            options = bytes.fromhex("0101080a1122334455667788")
            frames.append(
                craft.tcp(
                    ALICE,
                    BOB,
                    src_port,
                    dst_port,
                    said,
                    sequence=1,
                    acknowledged=1,
                    flags=24,
                    window=9,
                    options=options,
                )
            )
    quoted = frames[1][14:42]
    return [*frames, craft.icmp(BOB, ALICE, 3, 1, bytes(4), quoted, identifier=9)]


def test_nothing_that_was_said_is_left(tmp_path: Path) -> None:
    was, now, done = written(tmp_path, conversation())
    out = now.data.tobytes()
    for secret in SECRETS:
        assert secret.encode() in was.data.tobytes()
        assert secret.encode() not in out and secret.upper().encode() not in out
    for end in (ALICE, BOB):
        assert (
            end.mac not in out
            and IPv4Address(end.address).packed not in out
            and end.address.encode() not in out
        )
    assert b"\xca\xfe\xba\xbe" not in out and bytes.fromhex("11223344") not in out
    assert done.remains == {"addresses": 0, "MACs": 0, "words": 0}
    assert now.captured.tolist() == was.captured.tolist() and now.time_ns.tolist() == was.time_ns.tolist()


def test_the_shape_of_messages_stays(tmp_path: Path) -> None:
    _, now, done = written(tmp_path, conversation())
    payloads = [bytes(now.bytes_of(row)) for row in range(len(now))]
    by_port = {said[2]: payload for said, payload in zip(SAID, payloads[1:], strict=False)}
    assert (
        by_port[80].count(b"\r\n") == 5 and b"POST /" in by_port[80] and b" HTTP/1.1\r\nHost: " in by_port[80]
    )
    assert b"Content-Length: 11\r\n" in by_port[80] and by_port[80].endswith(bytes(11))
    assert by_port[443].endswith(bytes.fromhex("002b0003020304")) and b"\x13\x01" in by_port[443]
    assert b"\0\4MQTT\4\xc2\0\x3c\0\x0e" in by_port[1883]
    assert b"USER " in by_port[21] and b"\r\nPASS " in by_port[21]
    assert b"\x01\x10\x00\x04\x00\x02\x04\0\0\0\0" in by_port[502]
    assert set(done.payload) >= {
        "dns",
        "dhcp",
        "coap",
        "snmp",
        "syslog",
        "http-like",
        "tls",
        "mqtt",
        "ssh",
        "modbus",
        "other",
    }


def test_a_name_is_the_same_wherever_it_is_said(tmp_path: Path) -> None:
    _, now, _ = written(tmp_path, conversation())
    (tmp_path / "other").mkdir()
    host = Anonymiser(KEY).stand_ins("name", b"kitchen", 7)
    _, other, _ = written(tmp_path / "other", [craft.udp(BOB, ALICE, 53, 999, DNS, identifier=1)])
    assert now.data.tobytes().count(host) >= 6 and host in other.data.tobytes()
    anonymiser = Anonymiser(KEY)
    inner = IPv4Address(mapped(anonymiser, BOB.address)[0]).packed
    assert inner in other.data.tobytes()[42:]  # in the answer, as in the header


def sums(packet: bytes, family: int = 4) -> list[int]:
    """What the checksums of an Ethernet frame's IPv4 packet add up to: 65535 when right."""

    def added(data: bytes) -> int:
        total = int.from_bytes(data + b"\0" * (len(data) % 2)) % 0xFFFF
        return total or 0xFFFF

    head, body = packet[14:34], packet[34 : 14 + int.from_bytes(packet[16:18])]
    pseudo = head[12:20] + struct.pack("!BBH", 0, head[9], len(body)) if head[9] in (6, 17) else b""
    return [added(head), added(pseudo + body)]


@pytest.mark.parametrize("payload", ["scrub", "keep"])
def test_right_checksums_are_right_and_wrong_ones_wrong(tmp_path: Path, payload: str) -> None:
    frames = conversation()[1:]
    was, now, _ = written(tmp_path, frames, payload=payload)
    for row in range(len(frames)):
        assert sums(was.bytes_of(row)) == sums(now.bytes_of(row)) == [0xFFFF, 0xFFFF], row
    wrong = [frame[:40] + bytes([frame[40] ^ 0x5A]) + frame[41:] for frame in frames if frame[23] == 17]
    _, now, _ = written(tmp_path, wrong, payload=payload)
    assert all(sums(now.bytes_of(row))[1] != 0xFFFF for row in range(len(wrong)))
    none = [frame[:40] + b"\0\0" + frame[42:] for frame in frames if frame[23] == 17]
    _, now, _ = written(tmp_path, none, payload=payload)
    assert all(now.bytes_of(row)[40:42] == b"\0\0" for row in range(len(none)))


def test_sctp_keeps_its_ports_and_nothing_it_carries(tmp_path: Path) -> None:
    """Its checksum covers no address (RFC 9260)."""
    data = b"\0\3\0\x19" + struct.pack("!IHHI", 7, 1, 2, 0) + b"hunter2 a" + bytes(3)
    frames = [ethernet(ip("10.0.0.1", "10.0.0.2", 132, sctp(40_000, 2905, data + b"\x0b\0\0\4")))]
    _, now, _ = written(tmp_path, frames)
    frame = now.bytes_of(0)
    blank = sctp(40_000, 2905, data[:16] + bytes(12) + b"\x0b\0\0\4")
    assert frame[34:] == blank and frame[26:34] != frames[0][26:34]
    wrong = frames[0][:42] + bytes([frames[0][42] ^ 1]) + frames[0][43:]
    _, now, _ = written(tmp_path, [wrong])
    assert now.bytes_of(0)[34:42] == blank[:8] and now.bytes_of(0)[42:46] != blank[8:12]
    _, now, _ = written(tmp_path, frames, payload="keep")
    assert now.bytes_of(0)[34:] == frames[0][34:]


def test_packets_in_packets_are_mapped_too(tmp_path: Path) -> None:
    inner = ip("203.0.113.9", "10.1.2.3", 17, udp(5, 6, b"alice"))
    ether = ethernet(inner, src=mac(7), dst=mac(8))
    frames = [
        ethernet(ip("10.9.9.1", "10.9.9.2", 4, inner)),
        ethernet(ip("10.9.9.1", "10.9.9.2", 47, b"\0\0\x08\0" + inner)),
        ethernet(ip("10.9.9.1", "10.9.9.2", 17, udp(1, 4789, b"\x08\0\0\0\0\0\x09\0" + ether))),
        ethernet(
            ip(
                "10.9.9.1",
                "10.9.9.2",
                17,
                udp(1, 2152, b"\x30\xff" + struct.pack("!HI", len(inner), 0xABCDEF01) + inner),
            )
        ),
        ethernet(ip("2001:db8::5", "2001:db8::6", 4, inner), kind=0x86DD),
        ethernet(ip("10.9.9.1", "10.9.9.2", 1, icmp(11, 0, 0, inner[:28]))),
    ]
    was, now, done = written(tmp_path, frames)
    anonymiser = Anonymiser(KEY)
    rows, before = decode(now).rows, decode(was).rows
    for field in ("src", "dst"):
        expected = [anonymiser.stand_ins("ipv4", bytes(each[12:]), 4) for each in before[field]]
        assert [bytes(each[12:]) for each in rows[field]] == expected
    assert rows["tunnel"].tolist() == before["tunnel"].tolist()
    assert bytes(rows["quoted_src"][5][12:]) == anonymiser.stand_ins("ipv4", bytes([203, 0, 113, 9]), 4)
    out = now.data.tobytes()
    for secret in (
        b"\xcb\0\x71\x09",
        b"\x0a\x01\x02\x03",
        b"\x0a\x09\x09\x01",
        mac(7),
        bytes.fromhex("abcdef01"),
        b"alice",
    ):
        assert secret not in out
    assert not any(done.remains.values())


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    lldp = ethernet(b"\x02\x07\x04alice", kind=0x88CC)
    was, now, done = written(tmp_path, [lldp, *conversation(), lldp])
    assert (done.packets, done.written) == (len(was), len(was) - 2)
    assert done.set_aside == {"ethertype 0x88cc (LLDP)": 2}
    assert len(now) == len(was) - 2
    with pytest.raises(InputError, match="none of the 1 packets could be anonymised"):
        written(tmp_path, [lldp])


def test_neighbours_do_not_leak_their_macs(tmp_path: Path) -> None:
    target = IPv6Address("2001:db8::21b:21ff:fe11:2233").packed
    solicit = b"\x87\0\0\0\0\0\0\0" + target + b"\1\1" + ALICE.mac
    frame = ethernet(
        ip("fe80::21b:21ff:feaa:bbcc", "ff02::1:ff11:2233", 58, solicit),
        kind=0x86DD,
        src=ALICE.mac,
        dst=bytes.fromhex("3333ff112233"),
    )
    _, now, _ = written(tmp_path, [frame])
    out = now.bytes_of(0)
    assert ALICE.mac not in out and b"\x11\x22\x33" not in out and b"\xaa\xbb\xcc" not in out
    assert out[:2] == b"\x33\x33" and out[2:6] == out[50:54]  # the MAC repeats the group
    assert out[-6:] == out[6:12]  # as the option repeats the sender's


def test_cut_ends_packets_before_payload_and_keep_keeps_it(tmp_path: Path) -> None:
    was, now, _ = written(tmp_path, conversation(), payload="cut")
    assert now.length.tolist() == was.length.tolist()
    assert all(found in (42, 54, 66) for found in now.captured.tolist())
    _, now, _ = written(tmp_path, conversation(), payload="keep")
    assert HTTP in now.data.tobytes() and ALICE.mac not in now.data.tobytes()[:60]


def test_the_search_finds_what_remains(tmp_path: Path) -> None:
    was, now, _ = written(tmp_path, conversation())
    anonymiser = Anonymiser(KEY)
    anonymiser.frames(was)
    found, rows = anonymiser.remains([(was, was)])
    assert all(found.values()) and len(rows) == len(was)
    data = now.data.copy()
    at = was.data.tobytes().index(b"hunter2 HTTP")
    data[at : at + 7] = was.data[at : at + 7]
    leaking = Frames(now.time_ns, now.offset, now.captured, now.length, now.link_type, data)
    found, rows = anonymiser.remains([(was, leaking)])
    assert found == {"addresses": 0, "MACs": 0, "words": 1}
    assert rows.tolist() == [next(row for row, said in enumerate(SAID, 1) if said[3] is HTTP)]


def test_a_malformed_message_in_which_a_word_remains_is_blanked(tmp_path: Path) -> None:
    """A name that lies about its size puts text where numbers stand."""
    lying = struct.pack("!HHHHHH", 7, 0x8180, 0, 1, 0, 0) + b"\0" + b" kitchen! " + bytes(40)
    frames = [*conversation(), craft.udp(BOB, ALICE, 53, 999, lying, identifier=1)]
    _, now, done = written(tmp_path, frames)
    assert done.blanked == 1 and not any(done.remains.values())
    assert b"kitchen" not in now.data.tobytes() and not any(now.bytes_of(len(frames) - 1)[42:])
    assert HTTP[:6] in now.data.tobytes()  # the others are as before


def test_times_are_shifted_by_what_the_key_tells(tmp_path: Path) -> None:
    source = tmp_path / "was.pcap"
    write_pcap(source, Frames.of([1_700_000_000 * 10**9, 1_700_000_001 * 10**9 + 7], conversation()[:2]))
    spans = set()
    for key in (KEY, KEY, bytes(32)):
        anonymise_capture(source, tmp_path / "is.pcap", Anonymiser(key, shift_times=True))
        times = read_frames(tmp_path / "is.pcap").frames.time_ns
        assert times[1] - times[0] == 10**9 + 7
        spans.add(1_700_000_000 * 10**9 - int(times[0]))
    write_pcap(source, Frames.of([10**9], conversation()[:1]))
    with pytest.raises(OptionError, match="before 1970"):
        anonymise_capture(source, tmp_path / "is.pcap", Anonymiser(KEY, shift_times=True))
    assert len(spans) == 2 and all(0 < span < 5 * 366 * 86_400 * 10**9 for span in spans)


# ---- real captures -----------------------------------------------------------------------------------------


def captures(real_data: Path) -> list[Path]:
    kinds = (".pcap", ".pcapng", ".gz", ".snoop")
    found = sorted(path for path in (real_data / "pcaps").rglob("*") if path.suffix in kinds)
    assert found
    return found


def anonymised(path: Path, target: Path, **options: object) -> Anonymised | None:
    """What was done, None for captures that hold nothing that can be anonymised; such are refused with one sentence."""
    try:
        return anonymise_capture(path, target, Anonymiser(KEY, **options))  # type: ignore[arg-type]
    except InputError:
        return None


FIELDS = {"src": "address", "dst": "address", "quoted_src": "address", "quoted_dst": "address", "src_mac": "mac", "dst_mac": "mac", "arp_sender_mac": "mac", "arp_target_mac": "mac"}  # fmt: skip
SCRUBBED = ("payload_offset", "arp_target_mac", *FIELDS)


def expected(kind: str, row: np.void, field: str, anonymiser: Anonymiser) -> bytes:
    was = bytes(row[field])
    if kind == "mac":
        return anonymiser.stand_ins("mac", was, 6)
    if field.startswith("quoted") and row["quoted_protocol"] == 65535:
        return was
    if row["family"] == 15:
        network = anonymiser.stand_ins("short", was[6:8], 2) if was[5] or any(was[6:8]) else was[6:8]
        size = was[5]
        tail = (
            anonymiser.stand_ins("eui64" if size == 8 else "short", was[16 - size :], size) if size else b""
        )
        return was[:6] + network + was[8 : 16 - size] + tail
    size = 4 if row["family"] == 4 else 16
    return was[: 16 - size] + anonymiser.stand_ins("ipv4" if size == 4 else "ipv6", was[16 - size :], size)


def test_real_packets_read_as_mapped(real_data: Path, tmp_path: Path) -> None:
    """Decoding what was written gives what decoding the original and mapping its fields gives."""
    seen = 0
    for path in captures(real_data):
        done = anonymised(path, tmp_path / "is.pcap")
        if done is None:
            continue
        assert not any(done.remains.values()), path
        anonymiser = Anonymiser(KEY)
        was, now = decode(read_frames(path).frames), decode(read_frames(tmp_path / "is.pcap").frames)
        assert not now.set_aside and len(now) == len(was) == done.written, path
        for field in was.rows.dtype.names or ():
            if field not in SCRUBBED:
                assert np.array_equal(was[field], now[field]), (path, field)
        for field, kind in FIELDS.items():
            for before, after in zip(was.rows, now.rows, strict=True):
                group = kind == "mac" and before[field][0] & 1
                assert group or expected(kind, before, field, anonymiser) == bytes(after[field]), (
                    path,
                    field,
                )
        seen += len(now)
    assert seen > 20_000


OF_PROTOCOLS = """
    http/1.0 http/1.1 rtsp/1.0 sip/2.0 notify m-search register invite cancel options subscribe describe connection keep-alive content-length content-type
    user-agent x-powered-by accept-encoding server call-id cache-control location accept www-authenticate authorization contact expires max-forwards
    max-age no-cache no-store accept-language deflate referer digest cookie set-cookie upnp:rootdevice ssdp:alive ssdp:discover ssdp:byebye ssdp:all allow pragma
    content-encoding unauthorized accept-charset if-modified-since if-none-match accept-ranges last-modified transfer-encoding chunked request timeout
    proxy-authorization origin identity content-language host date in-addr ip6.arpa _services _dns-sd mqisdp upgrade session transport cseq
    urn:schemas-upnp-org:service: urn:schemas-upnp-org:device: urn:schemas-upnp-org service device rootdevice search post get put delete
"""
TEXT = re.compile(rb"[A-Za-z0-9_.@:/-]{6,}")


def test_no_text_of_real_payload_passes_but_words_of_protocols(real_data: Path, tmp_path: Path) -> None:
    for path in captures(real_data):
        done = anonymised(path, tmp_path / "is.pcap")
        if done is None or done.written < done.packets:
            continue
        was, now = read_frames(path).frames, read_frames(tmp_path / "is.pcap").frames
        packets = decode(was)
        starts = packets["payload_offset"] - was.offset
        for row in np.flatnonzero(packets["payload_captured"] >= 6).tolist():
            before, after = was.bytes_of(row), now.bytes_of(row)
            for found in TEXT.finditer(after, int(starts[row])):
                passed = before[found.start() : found.end()] == found[0]
                assert not passed or found[0].decode().lower().strip(":") in OF_PROTOCOLS.split(), (
                    path,
                    row,
                    found[0],
                )


UNSAID = (
    "entropy_bits", "sql_signs", "sql_words", "markup_signs", "script_words", "message_bytes", "messages", "answers", "errors", "logins", "refusals",
    "unfinished_requests", "application",
)  # fmt: skip
"""What is read in payload, which is gone."""
FACTS_OF_TEXT = {fact.name for fact in FACTS if fact.kind == "text"} - {
    "http_method", "dns_query_type", "dns_rcode", "coap_method", "coap_code", "bacnet_service", "tls_version", "tls_ja4", "tls_cipher",
    "dhcp_message", "dhcp_parameters", "ssdp_method",
}  # fmt: skip
"""Words of applications: a table leaves out some that a capture replaces, and has others escaped. None may stay that names someone."""
OF_PROTOCOLS_ALONE = set(re.findall(r"[^\W\d_]{4,}", OF_PROTOCOLS)) | {"local"}


def test_flows_of_what_was_written_are_the_mapped_flows(real_data: Path, tmp_path: Path) -> None:
    for path in captures(real_data)[::3]:
        if anonymised(path, tmp_path / "is.pcap") is None:
            continue
        flows = read_flows(path).flows
        mapped, remains = anonymise_flows(flows, Anonymiser(KEY))
        found = read_flows(tmp_path / "is.pcap").flows
        assert not any(remains.values())
        for column in mapped.columns:
            if column in UNSAID or "errors" in column:
                continue
            if column in FACTS_OF_TEXT:
                kept = flows.filter((flows[column] == mapped[column]) | (flows[column] == found[column]))[
                    column
                ]
                words = {word.lower() for text in kept for word in re.findall(r"[^\W\d_]{4,}", text)}
                assert words <= OF_PROTOCOLS_ALONE, (path, column, words)
                continue
            left, right = mapped[column], found[column]
            if column == "community_id":
                known = ~mapped["protocol"].is_in(["icmp", "icmp6"])
                left, right = left.filter(known), right.filter(known)
            assert left.equals(right, null_equal=True), (path, column)


NAMES = (
    "dns.qry.name", "http.host", "http.user_agent", "http.authbasic", "mqtt.clientid", "mqtt.username", "mqtt.passwd", "mqtt.topic", "dhcp.option.hostname",
    "tls.handshake.extensions_server_name", "ftp.request.arg", "snmp.community", "sip.from.user", "kerberos.CNameString", "nbns.name", "syslog.msgid",
)  # fmt: skip
PUBLIC = ("local", "service", "device", "services", "rootdevice", "basic")
CHECKS = (
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
)


def dissected(path: Path, *fields: str) -> list[list[str]]:
    """What tshark reads in each packet."""
    checks = [word for each in ("ip", "tcp", "udp") for word in ("-o", f"{each}.check_checksum:TRUE")]
    words = ["tshark", "-n", "-r", str(path), *checks, "-T", "fields"]
    done = subprocess.run(
        [*words, *(word for field in fields for word in ("-e", field))],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_tshark_finds_no_name_and_right_checksums(real_data: Path, tmp_path: Path) -> None:
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed: apt-get install tshark")
    packets = strange = 0
    for path in captures(real_data)[::6]:
        done = anonymised(path, tmp_path / "is.pcap")
        if done is None:
            continue
        was = dissected(path, "frame.protocols", "_ws.malformed", *CHECKS, *NAMES)
        now = dissected(tmp_path / "is.pcap", "frame.protocols", "_ws.malformed", *CHECKS)
        words = {
            word
            for line in was
            for cell in line[2 + len(CHECKS) :]
            for word in cell.replace("<", " ").replace(".", " ").replace("/", " ").split()
        }
        out = (tmp_path / "is.pcap").read_bytes().lower()
        for word in words:
            telling = len(word) >= 5 and not word.isdigit() and word.isascii() and word.isalnum()
            assert not telling or word.lower() in PUBLIC or word.lower().encode() not in out, (
                path,
                word,
            )
        if len(was) != len(now):
            continue  # some were left out: the others are compared by the decoder
        packets += len(now)
        for before, after in zip(was, now, strict=True):
            assert before[2 : 2 + len(CHECKS)] == after[2 : 2 + len(CHECKS)], path
            known = {"ssh", "lwm"} & {*after[0].split(":")}  # read as such by port, or by any bytes at all
            strange += bool(after[1]) and not before[1] and not known
    assert packets > 1000
    assert strange < packets * 0.01


# ---- tables and the verb --------------------------------------------------------------------------------


def test_what_applications_said_is_replaced_in_tables(tmp_path: Path) -> None:
    source = tmp_path / "was.pcap"
    write_pcap(source, Frames.of(range(10**9, 10**9 + 15), conversation()))
    flows = read_flows(source).flows.with_columns(
        dns_query=pl.lit("Kitchen.example.com"), dns_answers=pl.lit("203.0.113.9 alice.example.com"), tls_ja4=pl.lit("t13d1516h2_8daaf6152771_b186095e22b6"),
        telnet_banner=pl.lit("alice's router"), mqtt_username=pl.lit("alice"), dnp3_source=pl.lit(1024),
    )  # fmt: skip
    now, remains = anonymise_flows(flows, Anonymiser(KEY))
    assert not any(remains.values())
    label = Anonymiser(KEY).stand_ins("name", b"kitchen", 7).decode()
    assert now["dns_query"][0].startswith(label.capitalize() + ".")
    assert now["dns_answers"][0].split()[0] == mapped(Anonymiser(KEY), "203.0.113.9")[0]
    assert now["telnet_banner"].null_count() == now.height and now["tls_ja4"][0] == flows["tls_ja4"][0]
    assert now["dnp3_source"][0] not in (1024, None)
    text = now.write_csv().lower()
    assert not any(
        secret in text for secret in ("alice", "kitchen", "203.0.113.9", "192.168.77.5", "00:1b:21")
    )


@pytest.mark.parametrize(
    ("column", "text"), [("src", "alice"), ("dst", "12/34"), ("src_mac", "00:1b"), ("protocol", "ip-x"), ("src", "fe80::1%eth0")]
)  # fmt: skip
def test_tables_that_hold_something_else_are_refused(tmp_path: Path, column: str, text: str) -> None:
    write_pcap(tmp_path / "was.pcap", Frames.of([10**9], conversation()[1:2]))
    flows = read_flows(tmp_path / "was.pcap").flows.with_columns(pl.lit(text).alias(column))
    with pytest.raises(InputError, match=f"column '{column}' is"):
        anonymise_flows(flows, Anonymiser(KEY))


def test_the_verb_writes_whole_files_and_no_key(wirespeak: Run, tmp_path: Path) -> None:
    source = tmp_path / "office.pcap"
    write_pcap(source, Frames.of(range(10**9, 10**9 + 15), conversation()))
    done = wirespeak(
        "anonymise", source, "--key-out", tmp_path / "key", "-o", tmp_path / "shared.pcap", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"in": 15, "out": 15, "set_aside": {}}
    record = (tmp_path / "shared.pcap.run.json").read_text()
    key = (tmp_path / "key").read_text().strip()
    assert stat.S_IMODE(os.stat(tmp_path / "key").st_mode) == 0o600
    assert key not in record + done.stdout + done.stderr and "alice" not in record
    assert json.loads(record)["remains"] == {"addresses": 0, "MACs": 0, "words": 0}
    assert not json.loads(record)["reproducible"]
    again = wirespeak("anonymise", source, "--key", tmp_path / "key", "-o", tmp_path / "again.pcap")
    assert again.returncode == 0 and "none" in again.stdout
    assert (tmp_path / "again.pcap").read_bytes() == (tmp_path / "shared.pcap").read_bytes()
    assert read_key(tmp_path / "key").hex() == key
    twice = wirespeak("anonymise", source, "--key-out", tmp_path / "key", "-o", tmp_path / "more.pcap")
    assert (
        twice.returncode == 1 and "the file exists" in twice.stderr and not (tmp_path / "more.pcap").exists()
    )


def test_the_verb_takes_folders_and_tables(wirespeak: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    frames = Frames.of(range(10**9, 10**9 + 15), conversation())
    write_pcap(folder / "a.pcap", frames)
    write_pcap(folder / "deep" / "b.pcap", frames)
    write_pcap(folder / "lldp.pcap", Frames.of([10**9], [ethernet(b"\x02\x07\x04alice", kind=0x88CC)]))
    (tmp_path / "key").write_bytes(KEY)
    done = wirespeak("anonymise", folder, "--key", tmp_path / "key", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.pcap", "deep-b.pcap", "run.json"]
    assert "left out" in done.stderr and "lldp.pcap" in done.stderr
    tables.write(read_flows(folder / "a.pcap").flows, tmp_path / "flows.parquet")
    done = wirespeak(
        "anonymise", tmp_path / "flows.parquet", "--key", tmp_path / "key", "-o", tmp_path / "mapped.parquet"
    )
    assert done.returncode == 0, done.stderr
    assert (
        tables.read([tmp_path / "mapped.parquet"])["src"].to_list()
        == read_flows(tmp_path / "out" / "a.pcap").flows["src"].to_list()
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"no capture at all, but text", "not a pcap"),
        (b"\xd4\xc3\xb2\xa1", "cut off or broken"),
    ],
)
def test_bad_captures_are_refused_in_one_sentence(
    wirespeak: Run, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "bad.pcap").write_bytes(content)
    done = wirespeak(
        "anonymise", tmp_path / "bad.pcap", "-o", tmp_path / "out.pcap", "--key-out", tmp_path / "key"
    )
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.pcap").exists() and not (tmp_path / "key").exists()


def test_outputs_that_cannot_be_meant_are_refused(wirespeak: Run, tmp_path: Path) -> None:
    source = tmp_path / "was.pcap"
    write_pcap(source, Frames.of([10**9], conversation()[:1]))
    before = source.read_bytes()
    for output, said in ((source, "is the input"), (tmp_path / "x.parquet", "expected a .pcap file")):
        done = wirespeak("anonymise", source, "-o", output)
        assert done.returncode == 1 and said in done.stderr
    assert source.read_bytes() == before and sorted(tmp_path.iterdir()) == [source]


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="16 bytes"):
        Anonymiser(bytes(16))
    with pytest.raises(OptionError, match="Did you mean 'scrub'"):
        Anonymiser(KEY, payload="scrup")
    (tmp_path / "key").write_text("not a key")
    with pytest.raises(InputError, match="64 hexadecimal"):
        read_key(tmp_path / "key")
    with pytest.raises(InputError, match="reads twice"):
        anonymise_capture(Path("-"), tmp_path / "out.pcap", Anonymiser(KEY))

"""Flow tables to flow tables in which nobody can be recognised: as the captures that they were made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

import numpy as np
import polars as pl

from wirespeak import _native
from wirespeak._native import texts
from wirespeak.errors import InputError
from wirespeak.flow.addresses import community_ids
from wirespeak.flow.anonymise import WORD, Anonymiser
from wirespeak.flow.columns import PROTOCOLS
from wirespeak.schema import FACTS

_STAY = {
    "http_method", "dns_query_type", "dns_rcode", "coap_method", "coap_code", "bacnet_service", "tls_version", "tls_ja4",
    "tls_cipher", "dhcp_message", "dhcp_parameters", "ssdp_method",
}  # fmt: skip
"""What applications said that names nobody."""
_NAMES = {
    "http_host", "http_uri", "http_user_agent", "http_server", "dns_query", "dns_answers", "mqtt_client_id", "mqtt_username",
    "mqtt_topic", "coap_uri", "tls_sni", "dhcp_hostname", "dhcp_vendor_class", "dhcp_address", "ssdp_server", "ssdp_location",
}  # fmt: skip
"""What they said in names and addresses: replaced as in captures. Text that is in neither is left out."""
_ADDRESSES = {"dns_answers", "dhcp_address"}
"""Of these, what says addresses as such. Elsewhere they are text, as in captures."""
_PUBLIC = {"dns_query", "dns_answers"}
"""Of these, where words of protocols stay, such as `local` and `_tcp`."""
_STATIONS = {"dnp3_source", "dnp3_destination"}
_CHARACTER = rb"[0-9A-Za-z_\x80-\xff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-]"
# As `parts_of` and `put_text` of scrub.c: numbers of parts are one piece, where they end with a word.
_PIECES = re.compile(
    rb"(?P<parts>(?<!%b)(?:(?>(?=[0-9a-f]+:[0-9a-f]*:)[0-9a-f:]+)|(?>[0-9]+(?:\.+[0-9]+)+))(?!%b))|%b{1,%d}"
    % (_CHARACTER, _CHARACTER, _CHARACTER, WORD),
    re.IGNORECASE,
)
_PAN = re.compile(r"[0-9a-f]{4}/(?:-|[0-9a-f]{4}|[0-9a-f]{16})")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_FORMS = {
    "src": ("an address", _PAN), "dst": ("an address", _PAN), "src_mac": ("a MAC", _MAC), "dst_mac": ("a MAC", _MAC),
    "protocol": ("a protocol", re.compile("|".join([*PROTOCOLS.values(), r"ip-\d{1,3}"]).replace(".", r"\."))),
}  # fmt: skip
"""Columns whose texts are taken apart: what they are, and the form that they have."""
_REVERSED = re.compile(rb"((?:\d{1,3}\.){1,4})in-addr\.arpa$", re.IGNORECASE)


def anonymise_flows(flows: pl.DataFrame, anonymiser: Anonymiser) -> tuple[pl.DataFrame, dict[str, int]]:
    """The flows with what stands for their addresses, MACs and texts, and how many of these remain, by kind.

    What was counted and measured stays. Community IDs are made anew, but those of ICMP, whose types the table does not have.
    Raises InputError where an address, a MAC or a protocol is none.
    """
    shift = anonymiser.shift_ns
    _checked(flows)
    columns = {name: _mapped(flows[name], partial(_address, anonymiser)) for name in ("src", "dst")}
    for side in ("src", "dst"):
        columns[f"{side}_mac"] = _macs(flows[f"{side}_mac"], flows["dst"], columns["dst"], anonymiser)
    for fact in FACTS:
        if fact.name in _NAMES:
            replace = _text if fact.name in _ADDRESSES else _words
            columns[fact.name] = _mapped(
                flows[fact.name], partial(replace, anonymiser, public=fact.name in _PUBLIC)
            )
        elif fact.name in _STATIONS:
            columns[fact.name] = _stations(flows[fact.name], anonymiser)
        elif fact.kind == "text" and fact.name not in _STAY:
            columns[fact.name] = pl.Series([None], dtype=pl.String).new_from_index(0, flows.height)
    mapped = flows.with_columns(
        [series.alias(name) for name, series in columns.items()]
        + [pl.col(name) - shift for name in ("first_seen", "last_seen")]
    )
    mapped = mapped.with_columns(
        pl.when(pl.col("community_id").is_not_null()).then(community_ids(mapped)).alias("community_id")
    )
    return mapped, _remains(flows, mapped, anonymiser)


def _checked(flows: pl.DataFrame) -> None:
    """Raises InputError for the first text that is not what its column says."""
    for name, (what, form) in _FORMS.items():
        for text in flows[name].drop_nulls().unique(maintain_order=True).to_list():
            try:
                known = bool(form.fullmatch(text)) or (
                    name in ("src", "dst") and "%" not in text and bool(ip_address(text))
                )
            except ValueError:
                known = False
            if not known:
                raise InputError(
                    f"column '{name}' is '{text[:60]}', expected {what}. Make the table with 'wirespeak flows'."
                )


def _mapped(values: pl.Series, replace: Callable[[str], str]) -> pl.Series:
    """Each distinct text replaced once."""
    distinct = values.drop_nulls().unique()
    return values.replace_strict(
        distinct, [replace(text) for text in distinct.to_list()], default=None, return_dtype=pl.String
    )


def _address(anonymiser: Anonymiser, text: str) -> str:
    """What stands for an address as tables write it, of 802.15.4 too."""
    if "/" in text:
        return "/".join(_short(anonymiser, part) for part in text.split("/"))
    address = ip_address(text)
    kind = "ipv4" if address.version == 4 else "ipv6"
    return _as_text(anonymiser.stand_ins(kind, address.packed, len(address.packed)))


def _as_text(address: bytes) -> str:
    """An address as tables write it."""
    values = np.frombuffer(address.rjust(16, b"\0"), np.uint8)
    families = np.array([4 if len(address) == 4 else 6], np.uint8)
    return str(texts.addresses(values, families)[0])


def _short(anonymiser: Anonymiser, text: str) -> str:
    """What stands for a network or an address of 802.15.4 in hexadecimal; `-` is none."""
    if text == "-":
        return text
    number = bytes.fromhex(text)
    if len(number) not in (2, 8):
        raise ValueError(text)
    return anonymiser.stand_ins("eui64" if len(number) == 8 else "short", number, len(number)).hex()


def _macs(macs: pl.Series, dst: pl.Series, mapped: pl.Series, anonymiser: Anonymiser) -> pl.Series:
    """What stands for MACs; one of a multicast group repeats what stands for the group's address, as in captures."""
    table = pl.DataFrame({"mac": macs, "dst": dst, "is": mapped})
    pairs = table.unique().drop_nulls("mac")
    found = [_mac(anonymiser, *row) for row in pairs.iter_rows()]
    known = pairs.with_columns(pl.Series("found", found, dtype=pl.String))
    return table.join(known, on=["mac", "dst", "is"], how="left", nulls_equal=True, maintain_order="left")[
        "found"
    ]


def _mac(anonymiser: Anonymiser, mac: str, dst: str | None, mapped: str | None) -> str:
    was = bytes.fromhex(mac.replace(":", ""))
    if was[0] & 1 and dst and mapped and "/" not in dst:
        group, standing = ip_address(dst), ip_address(mapped).packed
        if (
            group.version == 4
            and was[:3] == b"\x01\x00\x5e"
            and int.from_bytes(was[3:]) == int(group) & 0x7FFFFF
        ):
            return (was[:3] + bytes([standing[1] & 0x7F]) + standing[2:]).hex(":")
        if group.version == 6 and was[:2] == b"\x33\x33" and was[2:] == group.packed[12:]:
            return (was[:2] + standing[12:]).hex(":")
    return anonymiser.stand_ins("mac", was, 6).hex(":")


def _text(anonymiser: Anonymiser, text: str, *, public: bool) -> str:
    """What stands for names, words and addresses in a text, blanks between them as they were."""
    return " ".join(_piece(anonymiser, piece, public=public) for piece in text.split(" "))


def _piece(anonymiser: Anonymiser, text: str, *, public: bool) -> str:
    try:
        return _words(anonymiser, text, public=public) if "/" in text else _address(anonymiser, text)
    except ValueError:
        return _words(anonymiser, text, public=public)


def _words(anonymiser: Anonymiser, text: str, *, public: bool) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    if found := _REVERSED.search(raw):
        digits = anonymiser.stand_ins("digits", found[1], len(found[1]))
        return (digits + raw[found.end(1) :]).decode("ascii", "replace")
    return _PIECES.sub(
        lambda piece: _word(anonymiser, piece[0], parts=bool(piece["parts"]), public=public), raw
    ).decode("ascii", "replace")


def _word(anonymiser: Anonymiser, word: bytes, *, parts: bool, public: bool) -> bytes:
    low = word.lower()
    if public and _native.library().wirespeak_is_public(low, len(low)):
        return word
    standing = anonymiser.stand_ins("digits" if parts else "name", low, len(low))
    return bytes(
        new - 32 if 65 <= old <= 90 and 97 <= new <= 122 else new
        for old, new in zip(word, standing, strict=True)
    )


def _stations(numbers: pl.Series, anonymiser: Anonymiser) -> pl.Series:
    distinct = [number for number in numbers.drop_nulls().unique().to_list() if 0 <= number < 1 << 16]
    mapped = [int.from_bytes(anonymiser.stand_ins("short", number.to_bytes(2), 2)) for number in distinct]
    return numbers.replace_strict(distinct, mapped, default=None, return_dtype=pl.Int64)


def _remains(was: pl.DataFrame, now: pl.DataFrame, anonymiser: Anonymiser) -> dict[str, int]:
    """Addresses, MACs and texts that stand where they stood, and do not stand for themselves by rule or chance."""
    kinds = {"addresses": ("src", "dst"), "MACs": ("src_mac", "dst_mac"), "words": tuple(sorted(_NAMES))}
    found = dict.fromkeys(kinds, 0)
    for kind, names in kinds.items():
        for name in names:
            same = was.filter(was[name] == now[name])[name].unique()
            found[kind] += sum(_changes(anonymiser, name, text) for text in same.to_list())
    return found


def _changes(anonymiser: Anonymiser, column: str, text: str) -> bool:
    """Whether something else stands for what a column says."""
    if column in ("src", "dst"):
        return _address(anonymiser, text) != text
    if column in ("src_mac", "dst_mac"):
        mac = bytes.fromhex(text.replace(":", ""))
        return not mac[0] & 1 and anonymiser.stand_ins("mac", mac, 6) != mac
    return _text(anonymiser, text, public=column in _PUBLIC) != text

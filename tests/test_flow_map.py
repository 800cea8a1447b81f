"""Tables of flows that a map describes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from wirespeak.data.sources.flow_map import flow_map
from wirespeak.data.sources.log import Told, read_log
from wirespeak.errors import InputError, OptionError

DOCUMENT = Path(__file__).parent.parent / "docs" / "logs.md"


def mapped(folder: Path, said: str, table: str, name: str = "flows.csv") -> tuple[pl.DataFrame, Told]:
    (described := folder / "map.toml").write_text(said)
    (path := folder / name).write_text(table)
    return read_log(flow_map(described), [path])


def test_the_example_of_the_document(wirespeak: Any, tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(csv|toml)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    flows, told = mapped(tmp_path, blocks["toml"], blocks["csv"])
    assert (told.rows, dict(told.set_aside)) == (2, {})
    first, second = flows.rows(named=True)
    assert first["first_seen"] == 1_709_636_400_250_000_000  # an hour east of Greenwich
    assert (first["duration_s"], first["service"], first["bwd_packets"], first["vlan"]) == (
        1.5,
        "mqtt",
        None,
        7,
    )
    assert (second["protocol"], second["service"], second["packets_per_s"], second["state"]) == (
        "udp",
        "dns",
        100,
        "two-way",
    )
    target = tmp_path / "out.parquet"
    done = wirespeak("flows", tmp_path / "flows.csv", "--map", tmp_path / "map.toml", "-o", target)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(target).equals(flows)


PLAIN = '[columns]\nfirst_seen = {{ column = "t", unit = "{unit}" }}\nsrc = "a"\ndst = "b"\nprotocol = {{ value = "udp" }}\nfwd_bytes = "n"\n'


@pytest.mark.parametrize(
    ("unit", "time"),
    [
        ("s", "1700000000.5"),
        ("ms", "1700000000500"),
        ("us", "1700000000500000.0"),
        ("ns", "1700000000500000000"),
    ],
)
def test_units_and_addresses_as_numbers(unit: str, time: str, tmp_path: Path) -> None:
    flows, _ = mapped(tmp_path, PLAIN.format(unit=unit), f"t,a,b,n\n{time},167772165,::1,12.0\n")
    assert flows.select("first_seen", "src", "dst", "fwd_bytes").row(0) == (
        1_700_000_000_500_000_000,
        "10.0.0.5",
        "::1",
        12,
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("soon,10.0.0.1,10.0.0.2,1", r"line 3: column 't' is 'soon', expected a time in s since 1970"),
        ("1,10.0.0.1,10.0.0.2,1.5", r"line 3: column 'n' is '1.5', expected a whole number"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(cells: str, message: str, tmp_path: Path) -> None:
    table = f"t,a,b,n\n1,10.0.0.1,10.0.0.2,1\n{cells}\n"
    with pytest.raises(InputError, match=message):
        mapped(tmp_path, PLAIN.format(unit="s"), table)
    skipping = PLAIN.format(unit="s") + '[log]\non_bad_row = "skip"\n'
    flows, told = mapped(tmp_path, skipping, table)
    assert flows.height == 1
    assert sum(told.set_aside.values()) == 1


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("[columns]\nsrc = 'a'\n", InputError, r"lacks 'first_seen'"),
        ("[columns]\nsource = 'a'\n", OptionError, "unknown column 'source'"),
        ("[columns]\nsrc = { column = 'a', unit = 's' }\n", OptionError, "which times and durations have"),
        ("[columns]\nfirst_seen = { column = 'a', unit = 'h' }\n", OptionError, "unknown unit"),
        ("[columns]\nsrc = {}\n", OptionError, "either 'column'"),
        ("[columns]\nsrc = 5\n", OptionError, "is 5, expected"),
        ("[cols]\n", OptionError, "unknown table"),
        ("[columns]\n[log]\nseparator = ';;'\n", OptionError, "expected one character"),
        ("no toml", InputError, "not a TOML file"),
        (PLAIN.format(unit="s").replace('"n"', '"bytes"'), InputError, "has no column 'bytes'"),
        (
            PLAIN.format(unit="s").replace('unit = "s"', 'format = "%d", zone = "Mars"'),
            OptionError,
            "Check its formats and zones",
        ),
    ],
)
def test_a_map_that_does_not_fit_says_why(
    said: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        mapped(tmp_path, said, "t,a,b,n\n1,10.0.0.1,10.0.0.2,1\n")


def test_real_flows_of_a_provider(real_data: Path, tmp_path: Path) -> None:
    said = '[columns]\nfirst_seen = { column = "ts", unit = "us" }\nduration_s = "td"\nsrc = "srcip"\ndst = "dstip"\nsrc_port = "srcport"\ndst_port = "dstport"\nprotocol = "proto"\nfwd_packets = "pkt"\nfwd_bytes = "byt"\n'
    (described := tmp_path / "map.toml").write_text(said)
    flows, told = read_log(flow_map(described), [real_data / "netshare-traces" / "ugr16-small-raw.csv"])
    assert flows.height == told.rows == 1000
    assert set(flows["protocol"]) == {"tcp", "udp", "icmp", "ip-50", "ip-47", "ip-4", "ip-41"}
    assert (
        flows.filter(pl.col("protocol") != "tcp", pl.col("protocol") != "udp")["src_port"].null_count() > 300
    )

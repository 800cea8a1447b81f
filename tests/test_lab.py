"""The lab without a network: scenarios, the world drawn from them, and the rule of the truth."""

from __future__ import annotations

import math
import re
from pathlib import Path
from random import Random

import polars as pl
import pytest

from wirespeak.errors import InputError, OptionError
from wirespeak.lab.attacks.inject import ENCODINGS, SQLI, XSS
from wirespeak.lab.attacks.tool import MOST_PACKETS, Strike
from wirespeak.lab.attacks.tools import TOOLS
from wirespeak.lab.draw import build_world
from wirespeak.lab.labelled import LabelledFlows
from wirespeak.lab.scenario import parse_scenario, read_scenario
from wirespeak.lab.truth import TruthRow, label_flows, read_truth, truth_csv
from wirespeak.lab.world import World
from wirespeak.schema import LABELS

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*.toml"))
CAPTURES = Path(__file__).parents[1] / "src" / "wirespeak" / "lab" / "captures"
SMALL = {
    "seconds": 30, "network": {"lan": "192.168.7.0/24"}, "devices": {"hub": 1, "bulb": 2}, "attackers": {"mallory": {}},
    "attacks": [{"at": 5, "seconds": 5, "tool": "hping3-syn", "from": "mallory", "to": "hub-1", "rate": 100.0}],
}  # fmt: skip


PLACES = (
    "ports",
    "page",
    "encodings",
)  # of options: where an attack goes and how it is spelt, not what it is


def changed(**keys: object) -> dict[str, object]:
    return {**SMALL, **keys}


def attack(**keys: object) -> dict[str, object]:
    return changed(attacks=[{**SMALL["attacks"][0], **keys}])  # type: ignore[index]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(secconds=3), "unknown key 'secconds'. Did you mean 'seconds'?"),
        (changed(devices={"blub": 1}), "unknown device profile 'blub'. Did you mean 'bulb'?"),
        (changed(seconds="long"), "'seconds' is 'long', expected a number"),
        (changed(network={"lan": "8.8.8.0/24"}), "not a private network"),
        (attack(tool="hping3-sin"), "Did you mean 'hping3-syn'?"),
        (attack(to="hub-2"), "unknown target ('to') of attack 1 'hub-2'"),
        (attack(rat=3), "unknown option of attack 1 'rat'. Did you mean 'rate'?"),
        (attack(rate="fast"), "attack 1: 'rate' is 'fast'"),
        (attack(**{"from": "mallorca"}), "Did you mean 'mallory'?"),
    ],
)
def test_a_wrong_scenario_says_where_and_what_to_do(document: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as error:
        parse_scenario(document)
    assert message in str(error.value)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("seconds = = 3")
    for path in (broken, tmp_path / "absent.toml"):
        with pytest.raises(InputError, match=path.name):
            read_scenario(path)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_our_scenarios_are_sound(path: Path) -> None:
    scenario = read_scenario(path)
    assert path.stem.startswith(scenario.split) or scenario.split == "demo"
    assert all(attack.at + attack.seconds < scenario.seconds + 2 for attack in scenario.attacks)
    for name in {attack.tool for attack in scenario.attacks}:
        ends = sorted(
            (a.at, a.at + a.seconds) for a in scenario.attacks if TOOLS[a.tool].label == TOOLS[name].label
        )
        assert (
            all(later - earlier > 60 for (_, earlier), (later, _) in zip(ends, ends[1:], strict=False))
            or scenario.split == "train"
        )


def test_every_kind_of_attack_is_trained_validated_and_tested_with_something_new() -> None:
    uses: dict[str, dict[str, dict[str, set[str]]]] = {}
    for path in SCENARIOS:
        scenario = read_scenario(path)
        for use in scenario.attacks:
            chosen = {key: value for key, value in use.options.items() if isinstance(value, str | bool)}
            mode = f"{use.tool} {sorted({key: chosen[key] for key in chosen if key not in PLACES}.items())}"
            uses.setdefault(TOOLS[use.tool].label, {}).setdefault(scenario.split, {}).setdefault(
                mode, set()
            ).add(path.stem)
    assert set(uses) == {tool.label for tool in TOOLS.values()}
    for label, splits in uses.items():
        assert len(set().union(*splits["train"].values())) >= 3, label
        assert set(splits["test"]) - set(splits["train"]) - set(splits["validation"]), label


def test_the_seed_draws_the_world_and_nothing_else_does(tmp_path: Path) -> None:
    world = build_world(parse_scenario(changed(seed=1)))
    assert world == build_world(parse_scenario(changed(seed=1)))
    other = build_world(parse_scenario(changed(seed=2)))
    assert {host.mac for host in world.hosts}.isdisjoint(host.mac for host in other.hosts)
    world.write(tmp_path / "world.json")
    assert World.read(tmp_path / "world.json") == world
    addresses = [host.address for host in world.hosts]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize(
    "name", [name for name, tool in TOOLS.items() if tool.label in ("flood.syn", "flood.udp", "flood.icmp")]
)
def test_floods_are_bounded_whatever_is_asked(name: str, tmp_path: Path) -> None:
    world = build_world(parse_scenario(SMALL))
    strike = Strike(world, world.host("mallory"), world.host("hub-1"), 180, Random(1))
    command = " ".join(TOOLS[name].command(strike, rate=1e9))
    counts = re.findall(
        r'(?:-c |"count": |count=|COUNT |--num |seq |--threshold |-P |-b (?=\d+pps)|-t (?=\d))(\d+)', command
    )
    assert counts and math.prod(map(int, counts)) <= MOST_PACKETS
    assert TOOLS[name].label in LABELS


def test_payloads_decode_to_what_was_written() -> None:
    for families in (SQLI, XSS):
        for make in families.values():
            text = make(Random(3))
            assert ENCODINGS["full"](text, Random(1)).count("%") == len(text.encode())
            assert " " not in ENCODINGS["percent"](text, Random(1))


def flows(*rows: tuple[object, ...]) -> pl.DataFrame:
    names = (
        "first_seen",
        "protocol",
        "src",
        "src_port",
        "dst",
        "dst_port",
        "operation",
        "src_mac",
        "dst_mac",
    )
    return pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], infer_schema_length=None)


def test_the_rule_of_the_truth() -> None:
    m, v, g, bad = "10.0.0.66", "10.0.0.2", "10.0.0.1", "aa:aa:aa:aa:aa:aa"
    truth = [
        TruthRow(100, 200, "flood.syn", m, v),
        TruthRow(100, 200, "recon.sweep", m, "10.0.0.0/24"),
        TruthRow(300, 400, "flood.udp", "!10.0.0.0/24", v, 53),
        TruthRow(500, 600, "spoof.arp", f"{bad}!{m}", "*"),
        TruthRow(700, 800, "flood.http", m, v),
        TruthRow(700, 800, "brute_force", m, v, 1883),
    ]
    cases = [
        ((150, "tcp", m, 1, v, 80, "", bad, "b"), "flood.syn"),  # the address is more specific than the block
        ((150, "tcp", m, 1, "10.0.0.9", 80, "", bad, "b"), "recon.sweep"),
        ((150, "icmp", v, None, m, None, "unreachable", "b", bad), "flood.syn"),  # backscatter
        ((99, "tcp", m, 1, v, 80, "", bad, "b"), "normal"),
        ((200, "tcp", m, 1, v, 80, "", bad, "b"), "flood.syn"),  # both ends of the time are included
        ((201, "tcp", m, 1, v, 80, "", bad, "b"), "normal"),
        ((150, "tcp", g, 1, v, 80, "", "c", "b"), "normal"),
        ((150, "arp", m, None, "10.0.0.9", None, "request", bad, "f"), "recon.sweep"),
        ((150, "arp", "10.0.0.9", None, m, None, "reply", "d", bad), "normal"),  # an answer is ordinary
        ((720, "arp", m, None, v, None, "request", bad, "f"), "normal"),  # so is a question before a flood
        ((350, "udp", "203.0.113.9", 9, v, 53, "", "c", "b"), "flood.udp"),
        ((350, "udp", "10.0.0.5", 9, v, 53, "", "c", "b"), "normal"),
        ((350, "udp", v, 9999, "203.0.113.9", 53, "", "b", "c"), "normal"),  # the victim's own question
        ((350, "udp", "203.0.113.9", 9, v, 54, "", "c", "b"), "normal"),
        ((350, "icmp", v, None, "203.0.113.9", None, "unreachable", "b", "c"), "flood.udp"),  # backscatter
        ((350, "icmp", v, None, "203.0.113.9", None, "echo", "b", "c"), "normal"),
        ((550, "arp", g, None, v, None, "reply", bad.upper(), "b"), "spoof.arp"),
        ((550, "udp", v, 9, "203.0.113.9", 53, "", "b", bad), "spoof.arp"),  # relayed
        ((550, "udp", v, 9, "203.0.113.9", 53, "", "b", "c"), "normal"),
        ((550, "arp", m, None, v, None, "request", bad, "f"), "normal"),  # in its own name
        ((750, "tcp", m, 1, v, 1883, "", bad, "b"), "brute_force"),  # a port is more specific than none
        ((750, "tcp", v, 1883, m, 1, "", "b", bad), "brute_force"),
        ((750, "tcp", m, 1883, v, 80, "", bad, "b"), "flood.http"),  # the port belongs to the victim's end
    ]
    labels = label_flows(flows(*(case for case, _ in cases)), read_truth(truth_csv(truth)))
    assert labels.to_list() == [label for _, label in cases]


def test_a_truth_without_attacks_calls_everything_normal() -> None:
    labels = label_flows(
        flows((1, "arp", "10.0.0.1", None, "10.0.0.2", None, "request", "a", "b")), read_truth(truth_csv([]))
    )
    assert labels.to_list() == ["normal"]


def test_a_kind_left_out_leaves_no_trace() -> None:
    begun = [0, 50, 100, 130, 170, 400]  # seconds; the attack lasts from 100 to 130
    times = pl.Series("first_seen", [second * 10**9 for second in begun])
    labels = pl.Series(["normal", "flood.udp", "spoof.arp", "normal", "normal", "normal"])
    ends = times + pl.Series([10**9, 10**9, 30 * 10**9, 10**9, 10**9, 10**9])
    recording = LabelledFlows("made", pl.DataFrame({"first_seen": times, "last_seen": ends}), labels)
    left = recording.without("spoof.arp")
    assert (left.flows["first_seen"] // 10**9).to_list() == [0, 50, 400]
    assert left.labels.to_list() == ["normal", "flood.udp", "normal"]
    assert recording.without("web.xss") is recording


def test_a_truth_with_a_missing_column_is_refused() -> None:
    with pytest.raises(InputError, match="no column 'dst_port'"):
        read_truth("start_ns,end_ns,label,src,dst\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"), ("{head}x,2,normal,*,*,\n", "cannot be read"), ("{head},2,normal,*,*,\n", "row 2: start_ns is None"),
        ("{head}1,2,normal,*,*,\n1,2,normal,10.0.0.300,*,\n", "row 3: src is '10.0.0.300'"), ("{head}1,2,,*,*,\n", "label is None"),
    ],
)  # fmt: skip
def test_a_truth_with_a_row_that_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_truth(text.format(head="start_ns,end_ns,label,src,dst,dst_port\n"))


def test_an_address_with_five_colons_is_no_mac() -> None:
    truth = read_truth(truth_csv([TruthRow(0, 9, "flood.udp", "2001:db8:1:2::5", "10.0.0.1/8")]))
    table = flows((5, "udp", "2001:db8:1:2::5", 1, "10.9.9.9", 2, "", "a", "b"))
    assert label_flows(table, truth).to_list() == ["flood.udp"]


def test_the_captures_in_the_box_are_small_and_labelled() -> None:
    recordings = sorted(path.parent for path in CAPTURES.glob("*/truth.csv"))
    assert [path.name for path in recordings] == ["demo", "quiet", "tiny"]
    assert sum(path.stat().st_size for path in CAPTURES.rglob("*.*")) < 10_000_000
    labels = {
        path.name: read_truth((path / "truth.csv").read_bytes())["label"].n_unique() for path in recordings
    }
    assert labels == {"demo": 6, "quiet": 0, "tiny": 2}
    for path in recordings:
        assert read_scenario(path / "scenario.toml").split == "demo"
        assert (path / "capture.pcap").read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"

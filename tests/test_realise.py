"""Realised traffic is what was asked for, and independent tools find nothing wrong with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirespeak.errors import InputError
from wirespeak.flow import measure
from wirespeak.flow.realise import STEPS, realise
from wirespeak.generate.life import Life
from wirespeak.generate.script import parse
from wirespeak.wire import decode, write_pcap
from wirespeak.wire.craft import APPLICATIONS, Scene, Turn, speak

DAY = (
    " to broadcast announce up28; waI1 to gateway dhcp upL3 afH1 dnL3.2 afG1 upL3.1 afH1 dnL3.2;"
    " waI1 to gateway arp up28 afG1 dn28; waI3 to gateway dns up38 afH2 dnL1.24; to gateway dns up33 afH2 dn33;"
    " waI5 to clock1 ntp up48 afH2 dn48;"
    " waI5 to hub mqtt afG5 up60 afG4 dn4 afG3 up30 afG3 dn5 afJ1 upL1 afG4 dn4 afJ1 up2 afG4 dn2 more;"
    " waJ5 go hub mqtt dn80 afG3 up4 afJ1 upL2 afG3 dn4 afG3 up4 afG3 dn4 afJ1 up33 afI1 up2 afG1 close;"
    " to cloud1 http afH5 upL3 afI1 dnL9 afJ1 upL7 afI1 dnN5 afI3 dnM2 afI1 closed;"
    " to cloud2 tls afH5 upL5.17 afI1 dnM2.8 afI1 up80 afI1 dnL3 afI2 upN4 afI2 dn31 afI3 up24 afG1 close;"
    " to cloud3 tls afH5 upL5.17 afI1 dn7 afG1 aborted; to cloud4 http silent;"
    " from console modbus afH1 dn12 afH1 up13 afJ1 dn12 afH1 up10 afJ1 dn23 afH1 up12 afJ1 dn12 afH1 up9 afJ1 reset;"
    " from hub coap dn20 afH1 up30 afJ1 dn80 afH1 up8 afJ1 up40 afH1 dn4;"
    " to group mdns up40 afJ1 upL1.4; to group ssdp upL1.2 afJ1 upL1.2; to group ssdp upL3.2;"
    " to broadcast udp at 6667 up80 afI2 upL1.8 ti9 spL2; to hub udp at 38899 up80 afH1 unreachable;"
    " to cloud5 stun up20 afI1 dn32 afJ1 up48; to hub syslog up80; to gateway snmp up43 afH1 dn60;"
    " to gateway icmp up56 afJ1 up56; to hub tcp at 6668 afG3 dn56 afJ1 up56 afG1 close;"
    " to cloud1 icmp up64 ti3 silent; to hub tcp at 23 refused; to hub tcp at 25 afJ1 up0 afJ2 up0 silent;"
)
ATTACK = (
    " to target http half an50 evH1 sources; to target tcp at 1 refused anL1 evG5 ports; to host1 arp up28 an20 evH2 hosts;"
    " to target claim up28 an9 evJ1 same; to target xmas at 80 refused; to target null at 81 silent; to target tcp at 22 probed;"
    " to target login afG5 upL1.6 afG5 dnL1.4 closed an5 evI2 same; to target mqtt afG5 up60 afG5 dn4 closed an3 evI2 same;"
)


def steps_of(script: str, *, seconds: float = 1e6) -> pl.DataFrame:
    life = Life("bulb")
    for conversation in parse(script):
        life.add(conversation)
    return life.steps(seconds)


def need(tool: str, package: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed (apt-get install {package})")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.pcap"
    realised = realise(steps_of(DAY), seed=5)
    assert realised.adjusted == 0 and realised.messages > 70
    write_pcap(path, realised.frames)
    return path


def tshark(path: Path, wanted: str) -> list[str]:
    checks = [f"-o{layer}.check_checksum:TRUE" for layer in ("ip", "tcp", "udp")]
    command = ["tshark", "-r", path, *checks, "-Y", wanted]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    "complaint",
    [
        "_ws.malformed", "_ws.expert.severity == error", "tcp.checksum.status == 0 || ip.checksum.status == 0",
        "udp.checksum.status == 0", "icmp.checksum.status == 0", "arp.duplicate-address-detected",
        "tcp.analysis.flags && !(tcp.flags.syn == 1 && tcp.analysis.retransmission)",
    ],
)  # fmt: skip
def test_tshark_has_no_complaint(day: Path, complaint: str) -> None:
    need("tshark", "tshark")
    assert tshark(day, complaint) == []


def test_tshark_sees_the_conversation_that_was_meant(day: Path) -> None:
    need("tshark", "tshark")
    kinds = subprocess.run(
        ["tshark", "-r", day, "-Y", "mqtt", "-Tfields", "-emqtt.msgtype"],
        capture_output=True,
        text=True,
        check=True,
    )
    # connect, subscribe, publish with quality 1 both ways and with quality 2, ping, disconnect
    assert kinds.stdout.split() == [
        "1",
        "2",
        "8",
        "9",
        "3",
        "4",
        "12",
        "13",
        "3",
        "4",
        "3",
        "5",
        "6",
        "7",
        "3",
        "14",
    ]
    assert len(tshark(day, "tls.handshake.type == 1 && tls.handshake.extensions_server_name")) == 2
    assert len(tshark(day, "modbus.exception_code")) == 1
    assert len(tshark(day, "dhcp.option.dhcp == 5")) == 1


def test_suricata_has_no_complaint(day: Path, tmp_path: Path) -> None:
    need("suricata", "suricata, from bookworm-backports")
    settings_file = tmp_path / "suricata.yaml"
    settings_file.write_text(
        "%YAML 1.1\n---\nvars: {address-groups: {HOME_NET: any, EXTERNAL_NET: any}}\n"
        "outputs: [{eve-log: {enabled: yes, filename: eve.json, types: [stats, {anomaly: {types: {decode: yes, stream: yes, applayer: yes}}}]}}]\n"
        "stream: {checksum-validation: yes}\n"
        "app-layer: {protocols: {mqtt: {enabled: yes}, modbus: {enabled: yes, detection-ports: {dp: 502}}, http: {enabled: yes},"
        " tls: {enabled: yes, detection-ports: {dp: 443}}, dns: {udp: {enabled: yes, detection-ports: {dp: 53}}}, dhcp: {enabled: yes},"
        " ntp: {enabled: yes}, snmp: {enabled: yes}}}\n"
    )
    command = ["suricata", "-c", settings_file, "-S", "/dev/null", "-r", day, "-l", tmp_path, "-k", "all"]
    subprocess.run(command, capture_output=True, check=True)
    events = [json.loads(line) for line in (tmp_path / "eve.json").read_text().splitlines()]
    assert [event for event in events if event["event_type"] == "anomaly"] == []
    decoder = next(event["stats"]["decoder"] for event in reversed(events) if event["event_type"] == "stats")
    assert decoder["invalid"] == 0 and decoder["pkts"] > 200


def test_our_own_meter_reads_it_back() -> None:
    flows = measure(decode(realise(steps_of(DAY), seed=5).frames))
    mqtt = flows.filter(pl.col("application") == "mqtt").row(0, named=True)
    assert mqtt["state"] == "SF" and mqtt["fwd_payload_bytes"] == 60 + 30 + 100 + 2 + 4 + 200 + 4 + 33 + 2
    assert set(flows.filter(pl.col("protocol") == "tcp")["state"]) >= {"SF", "RSTR", "REJ", "S0"}
    assert flows["errors"].sum() >= 2  # no such name, a Modbus exception


def test_an_attack_keeps_its_shape() -> None:
    realised = realise(steps_of(ATTACK), seed=1)
    flows = measure(decode(realised.frames))
    assert flows.filter(pl.col("dst_port") == 80)["src"].n_unique() >= 50  # spoofed sources
    assert flows.filter(pl.col("state") == "REJ")["dst_port"].n_unique() >= 100
    assert (
        flows.filter((pl.col("protocol") == "arp") & (pl.col("operation") == "request"))["dst"].n_unique()
        >= 20
    )
    assert flows["logins"].sum() == flows["refusals"].sum() == 10


def test_same_seed_same_bytes_other_seed_other_hosts() -> None:
    one, two, three = (realise(steps_of(DAY), seed=seed).frames.data.tobytes() for seed in (1, 1, 2))
    assert one == two != three


def test_steps_that_cannot_be_played_are_refused() -> None:
    steps = steps_of(" to hub http afH1 up80;")
    with pytest.raises(InputError, match="no application 'smtp'"):
        realise(steps.with_columns(application=pl.lit("smtp")))
    with pytest.raises(InputError, match="expected from open"):
        realise(steps.head(2))
    with pytest.raises(InputError, match="the side that opens speaks first"):
        realise(steps.with_columns(outward=pl.lit(False)))
    assert len(realise(pl.DataFrame(schema=STEPS)).frames) == 0


TURNS = st.lists(st.tuples(st.booleans(), st.integers(0, 3000)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(APPLICATIONS)), turns=TURNS, seed=st.integers(0, 9))
def test_every_protocol_has_words_for_every_size(name: str, turns: list[tuple[bool, int]], seed: int) -> None:
    turns = [(True, 100), *turns]
    scene = Scene(
        tuple(Turn(*turn) for turn in turns),
        "192.168.1.5",
        "192.168.1.2",
        b"\2" * 6,
        "hub.home.arpa",
        "203.0.113.9",
        1.8e9,
        "close",
        Random(seed),
    )
    said = speak(name, scene)
    assert len(said) == len(turns)
    assert all(len(message) <= max(size, 330) for message, (_, size) in zip(said, turns, strict=True))

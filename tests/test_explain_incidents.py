"""Incidents: what belongs together, what is worth a person's time, who did it to whom."""

from __future__ import annotations

import json
import time

import polars as pl
import pytest
from made_flows import PortCounter, flow, judged, office, table

from wirespeak.explain import as_json, find_incidents, fit_floor, group
from wirespeak.schema import COLUMNS


def groups(rows: list[tuple[dict, str, float]], **options):
    rows = sorted(rows, key=lambda row: row[0]["first_seen"])
    flows = table([row for row, *_ in rows])
    return group(flows, judged(flows, [label for _, label, _ in rows], [p for *_, p in rows]), **options)


def test_ordinary_flows_make_no_incident():
    assert groups([(flow(i, "10.0.0.1", "10.0.0.2"), "normal", 0.99) for i in range(50)]) == []


def test_a_pause_of_over_a_minute_separates_two_attacks():
    first = [(flow(i, "10.0.0.1", "10.0.0.2"), "flood.syn", 0.95) for i in range(20)]
    second = [(flow(19 + 61 + i, "10.0.0.1", "10.0.0.2"), "flood.syn", 0.95) for i in range(20)]
    near = [(flow(19 + 59 + i, "10.0.0.1", "10.0.0.2"), "flood.syn", 0.95) for i in range(20)]
    assert len(groups(first + second)) == 2
    assert len(groups(first + near)) == 1


def test_different_parties_and_labels_are_different_incidents():
    rows = [(flow(i, "10.0.0.1", "10.0.0.2"), "flood.syn", 0.95) for i in range(20)]
    rows += [(flow(i, "10.0.0.3", "10.0.0.4"), "flood.syn", 0.95) for i in range(20)]
    rows += [(flow(i, "10.0.0.5", "10.0.0.6"), "brute_force", 0.95) for i in range(20)]
    assert [g.label for g in groups(rows)] == ["brute_force", "flood.syn", "flood.syn"]


def test_a_forged_flood_groups_at_its_target_and_its_echo_does_not_turn_it_round():
    rows = [
        (flow(i / 100, f"198.51.{i % 100}.{i // 100}", "10.0.0.9", protocol="udp"), "flood.udp", 0.9)
        for i in range(2000)
    ]
    rows += [
        (flow(i / 100 + 0.05, "10.0.0.9", f"198.51.{i % 100}.{i // 100}", protocol="icmp"), "flood.udp", 0.9)
        for i in range(1500)
    ]
    (found,) = groups(rows)
    assert found.targets == ("10.0.0.9",)
    assert len(found.sources) == 2000


def test_arp_spoofing_is_charged_to_the_link_layer_address():
    liar = {"protocol": "arp", "src_mac": "02:00:00:00:00:66", "src_port": None, "dst_port": None}
    rows = [(flow(0, "10.0.0.1", "10.0.0.20", lasts=40, **liar), "spoof.arp", 0.98)]
    rows += [(flow(0, "10.0.0.20", "10.0.0.1", lasts=40, **liar), "spoof.arp", 0.98)]
    rows += [
        (flow(i, "10.0.0.20", "203.0.113.7", src_mac="02:00:00:00:00:66"), "spoof.arp", 0.9)
        for i in range(1, 30)
    ]
    (found,) = groups(rows)
    assert found.sources == ("02:00:00:00:00:66",)
    assert set(found.targets) == {"10.0.0.1", "10.0.0.20"}


def test_without_arp_messages_the_spoofer_is_who_stood_for_others():
    relayed = {"src_mac": "02:00:00:00:00:20", "dst_mac": "02:00:00:00:00:66"}
    rows = [(flow(i, "10.0.0.20", f"203.0.113.{i % 4}", **relayed), "spoof.arp", 0.95) for i in range(12)]
    (found,) = groups(rows)
    assert (found.sources, found.targets) == (("02:00:00:00:00:66",), ("10.0.0.20",))


def test_odd_verdicts_neither_split_an_attack_nor_bridge_two():
    attack = [(flow(100 + i / 20, "10.0.0.1", "10.0.0.2"), "flood.http", 0.95) for i in range(400)]
    later = [(flow(250 + i / 20, "10.0.0.1", "10.0.0.2"), "flood.http", 0.95) for i in range(400)]
    calm = [(flow(i / 2, "10.0.0.3", "10.0.0.2"), "normal", 0.95) for i in range(600)]
    rows = [*attack, *later, *calm]
    odd = [
        (row, "web.xss" if label == "flood.http" else "flood.http", 0.8) if i % 40 == 7 else (row, label, p)
        for i, (row, label, p) in enumerate(rows)
    ]
    assert [(g.label, g.sources) for g in groups(odd)] == [("flood.http", ("10.0.0.1",))] * 2


def test_crumbs_in_ordinary_traffic_are_not_told():
    rows = [(flow(i, "10.0.0.1", "10.0.0.2"), "normal", 0.9) for i in range(200)]
    rows += [(flow(50 * i + 0.5, "10.0.0.1", "10.0.0.2"), "brute_force", 0.9) for i in range(3)]
    assert groups(rows, evidence_floor=5.0) == []


def test_strays_inside_an_attack_are_taken_in():
    rows = [(flow(i / 10, "10.0.0.1", f"10.0.1.{i % 200}"), "recon.sweep", 0.95) for i in range(200)]
    rows += [(flow(5 + i / 10, "10.0.0.1", f"10.0.1.{200 + i}"), "recon.port_scan", 0.9) for i in range(30)]
    (found,) = groups(rows)
    assert (found.label, found.also, len(found.rows)) == ("recon.sweep", {"recon.port_scan": 30}, 230)


def test_one_attack_seen_as_two_of_a_kind_is_one_incident():
    rows = [
        (flow(i / 20, "10.0.0.1", "10.0.0.2"), "web.sqli" if i % 5 < 3 else "web.xss", 0.9)
        for i in range(200)
    ]
    (found,) = groups(rows)
    assert (found.label, found.also) == ("web.sqli", {"web.xss": 80})


def test_a_second_attack_by_the_same_hand_stays_its_own():
    scan = [(flow(i / 50, "10.0.0.1", "10.0.0.2"), "recon.port_scan", 0.95) for i in range(500)]
    guesses = [(flow(30 + i, "10.0.0.1", "10.0.0.2"), "brute_force", 0.95) for i in range(20)]
    assert [g.label for g in groups(scan + guesses)] == ["recon.port_scan", "brute_force"]


def test_one_flow_never_claims_certainty():
    (found,) = groups([(flow(0, "10.0.0.1", "10.0.0.2"), "flood.icmp", 0.999)])
    assert found.probability < 0.98


def test_the_floor_is_fitted_between_attacks_and_crumbs():
    rows = [(flow(i, "10.0.0.1", "10.0.0.2"), "brute_force", 0.9, "brute_force") for i in range(30)]
    rows += [(flow(500 + 100 * i, "10.0.0.3", "10.0.0.4"), "flood.http", 0.8, "normal") for i in range(4)]
    rows.sort(key=lambda row: row[0]["first_seen"])
    flows = table([row[0] for row in rows])
    verdicts = judged(flows, [row[1] for row in rows], [row[2] for row in rows])
    fit = fit_floor([(flows, verdicts, [row[3] for row in rows])])
    assert (fit.attacks, fit.found, fit.false) == (1, 1, 0)
    assert [g.label for g in group(flows, verdicts, evidence_floor=fit.floor)] == ["brute_force"]


def test_57_611_flows_are_grouped_within_two_seconds_of_processor_time():
    many = pl.DataFrame({"i": range(57_611)})
    flows = many.select(
        first_seen=pl.col("i") * 1_000_000, last_seen=pl.col("i") * 1_000_000 + 1,
        src=pl.format("198.{}.{}.7", pl.col("i") % 200, pl.col("i") // 250), dst=pl.lit("10.0.0.9"),
        src_mac=pl.lit("02:00:00:00:00:01"), dst_mac=pl.lit("02:00:00:00:00:02"), protocol=pl.lit("tcp"),
        fwd_packets=pl.lit(1), bwd_packets=pl.lit(0),
    )  # fmt: skip
    verdicts = flows.with_columns(canonical=pl.lit("flood.syn"), probability=pl.lit(0.97))
    begun = time.process_time()
    (found,) = group(flows, verdicts)
    assert len(found.rows) == 57_611
    assert time.process_time() - begun < 2


def test_an_office_with_a_scan_has_one_incident_with_everything_a_person_needs():
    flows, labels = office()
    detector = PortCounter()
    (found,) = find_incidents(flows, judged(flows, labels, [0.97] * len(labels)), detector=detector)
    assert (found.label, found.sources, found.targets, found.flows) == (
        "recon.port_scan",
        ("10.0.0.66",),
        ("10.0.0.9",),
        200,
    )
    assert found.evidence[0].column.startswith("src_ports_") and found.evidence[0].weight > 0.5
    for fact in found.evidence:
        assert flows.row(fact.flow_id, named=True)[fact.column] == fact.value
        assert fact.column in COLUMNS
    assert "10.0.0.66" in found.explanation.text and "SRC" not in found.explanation.text
    assert found.mitigations[0].capec_id == "CAPEC-300"


def test_incidents_json_holds_the_fields_of_the_specification():
    flows, labels = office()
    (found,) = json.loads(as_json(find_incidents(flows, judged(flows, labels, [0.97] * len(labels)))))
    assert found["first_seen"] == "2023-11-14T22:15:00.000000Z"
    assert set(found) == {
        "id", "label", "category", "probability", "first_seen", "last_seen", "sources", "targets", "flows", "packets",
        "bytes", "evidence", "explanation", "mitigations", "detector",
    }  # fmt: skip
    assert {"text", "claims", "sentences_by_model", "sentences_replaced"} == set(found["explanation"])


@pytest.mark.parametrize("labels", [["normal"], []])
def test_nothing_found_is_an_empty_list(labels):
    flows = table([flow(0, "10.0.0.1", "10.0.0.2")]).head(len(labels))
    assert as_json(find_incidents(flows, judged(flows, labels, [0.9] * len(labels)))) == "[]\n"

"""Evidence: values anyone can look up, ranges from this network, weights from judging again."""

from __future__ import annotations

import polars as pl
import pytest
from made_flows import PortCounter, flow, judged, office, table

from wirespeak.explain.evidence import find_evidence, usual_by_protocol
from wirespeak.explain.incidents import group


@pytest.fixture(scope="module")
def scan():
    flows, labels = office()
    return flows, judged(flows, labels, [0.97] * len(labels))


def test_usual_is_what_the_middle_of_this_networks_flows_do():
    rows = [flow(i, "10.0.0.1", "10.0.0.2", fwd_packets=1 + i, protocol="udp") for i in range(100)]
    rows += [flow(i, "10.0.0.1", "10.0.0.2", state="REJ") for i in range(19)]
    usual = usual_by_protocol(table(rows))
    assert usual["udp"]["fwd_packets"] == (6.0, 95.0)
    assert "tcp" not in usual, "19 flows are too few to say what is usual"
    assert usual["all"]["state"] == "REJ or SF"


def test_the_weight_is_what_making_a_fact_usual_takes_from_the_label(scan):
    flows, verdicts = scan
    (found,) = find_evidence(flows, verdicts, group(flows, verdicts), detector=PortCounter())
    ports = next(fact for fact in found if "ports" in fact.column)
    assert ports.weight > 0.9 and ports is found[0]
    assert all(fact.weight == pytest.approx(0, abs=0.01) for fact in found if fact is not ports)


def test_values_are_read_from_the_flow_that_is_named(scan):
    flows, verdicts = scan
    for fact in find_evidence(flows, verdicts, group(flows, verdicts))[0]:
        assert flows.filter(pl.col("flow_id") == fact.flow_id)[fact.column].item() == fact.value
        assert fact.usual is not None and fact.weight == 0


def test_a_capture_of_nothing_but_an_attack_borrows_the_ranges_of_the_model(scan):
    flows, verdicts = scan
    hostile = verdicts["canonical"] != "normal"
    flows, verdicts = flows.filter(hostile), verdicts.filter(hostile)
    reference = {"src_ports_60s": [0, 5], "src_ports_2s": [0, 3]}
    (found,) = find_evidence(flows, verdicts, group(flows, verdicts), reference=reference)
    assert [(fact.column, fact.usual) for fact in found][0] in [
        ("src_ports_60s", (0, 5)),
        ("src_ports_2s", (0, 3)),
    ]
    (unknown,) = find_evidence(flows, verdicts, group(flows, verdicts))
    assert all(fact.usual is None for fact in unknown)


def test_one_fact_a_story(scan):
    flows, verdicts = scan
    (found,) = find_evidence(flows, verdicts, group(flows, verdicts))
    assert len([fact for fact in found if "ports" in fact.column]) == 1

"""Remedies: one for every label, filled with checked values only, accepted by the real tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wirespeak.errors import OptionError
from wirespeak.explain.mitigations import mitigations
from wirespeak.schema import LABELS

HOSTILE = [label for label in LABELS if label != "normal"]
V4 = {"source": "192.0.2.66", "target": "192.0.2.9", "port": 1883}
V6 = {"source": "2001:db8::66", "target": "2001:db8::9", "port": 1883}


@pytest.mark.parametrize("label", HOSTILE)
def test_every_label_has_a_concrete_remedy(label):
    (remedy,) = mitigations(label, **V4)
    assert remedy.title and 3 <= len(remedy.steps) <= 6
    assert remedy.capec_id is None or remedy.capec_id.startswith("CAPEC-")
    assert remedy.attack_id is None or remedy.attack_id.startswith("T")
    assert all(
        "{source" not in c.text and "{target" not in c.text and c.checked_by is None
        for c in remedy.countermeasures
    )


def test_ordinary_traffic_needs_no_remedy():
    with pytest.raises(OptionError, match="unknown label 'normal'"):
        mitigations("normal")


@pytest.mark.parametrize(
    "hostile", ['1.2.3.4"; drop', "192.0.2.1 }\nflush ruleset", "evil.example", "", "1.2.3.4;reboot"]
)
def test_what_is_no_address_never_reaches_a_rule(hostile):
    for label in HOSTILE:
        for remedy in mitigations(label, source=hostile, target=hostile, port=99_999):
            for countermeasure in remedy.countermeasures:
                assert not hostile or hostile not in countermeasure.text
                assert countermeasure.kind not in ("nftables", "suricata")


def test_a_flood_from_many_sources_is_limited_not_blocked():
    (remedy,) = mitigations("flood.syn", target="192.0.2.9", port=80)
    kinds = [c.text for c in remedy.countermeasures if c.kind == "nftables"]
    assert kinds and all("limit rate" in text for text in kinds)


def countermeasures(kind, **values):
    return [
        (label, c.text)
        for label in HOSTILE
        for m in mitigations(label, **values)
        for c in m.countermeasures
        if c.kind == kind
    ]


@pytest.mark.parametrize(
    "values", [V4, V6, V4 | {"port": None}, V4 | {"source": None}, V4 | {"source": "02:00:00:00:00:66"}]
)
def test_nft_accepts_every_rule(values):
    nft = shutil.which("nft")
    if not nft:
        pytest.skip("nft is not installed (Debian package nftables)")
    for label, text in dict.fromkeys(countermeasures("nftables", **values)):
        done = subprocess.run([nft, "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False)
        if "Operation not permitted" in done.stderr:
            pytest.skip("nft -c needs root")
        assert done.returncode == 0, f"{label}: {done.stderr}\n{text}"


@pytest.mark.parametrize("values", [V4, V6])
def test_suricata_accepts_every_rule(values, tmp_path):
    suricata = shutil.which("suricata")
    if not suricata:
        pytest.skip("suricata is not installed (Debian bookworm-backports)")
    rules = tmp_path / "wirespeak.rules"
    rules.write_text("\n".join(sorted({text for _, text in countermeasures("suricata", **values)})) + "\n")
    done = subprocess.run(
        [suricata, "-T", "-S", str(rules), "-l", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_every_label():
    page = (Path(__file__).parent.parent / "docs" / "mitigations.md").read_text(encoding="utf-8")
    for label in HOSTILE:
        (remedy,) = mitigations(label)
        assert f"| `{label}` | {remedy.title} | {remedy.capec_id or ''} | {remedy.attack_id or ''} |" in page

"""The page and the screen: whole, self-contained, and deaf to what attackers write."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from made_flows import PortCounter, judged, office

from wirespeak.explain import find_incidents
from wirespeak.interfaces.report import render, summary, survey
from wirespeak.records import Countermeasure, Evidence, Explanation, Mitigation

HOSTILE = "\"'><script>alert(1)</script>\x1b[2J\u202e&"


@pytest.fixture(scope="module")
def found():
    flows, labels = office()
    verdicts = judged(flows, labels, [0.97] * len(labels))
    incidents = find_incidents(flows, verdicts, detector=PortCounter())
    options = {"packets": 2400, "set_aside": {"ethertype 0x88cc": 7}, "distinct": 0.31, "truth": labels}
    return survey(flows, verdicts, name="office.pcap", **options), incidents


class Page(HTMLParser):
    """Collects tags and attributes, and insists that elements are closed in order."""

    VOID = ("meta", "rect", "circle")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(found):
    text = render(*found)
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert "url(" not in text and "@import" not in text
    for part in (
        "office.pcap",
        "1 incident in",
        "Port scan",
        "10.0.0.66",
        "CAPEC-300",
        "ethertype 0x88cc",
        "Against the truth",
    ):
        assert part in text


def test_the_policy_allows_the_one_style_sheet_and_nothing_more(found):
    text = render(*found)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text


def test_nothing_captured_breaks_out_of_the_page_or_the_terminal(found):
    overview, (incident,) = found
    overview = replace(
        overview,
        name=HOSTILE,
        set_aside={HOSTILE: 1},
        labels={HOSTILE: 1},
        confusion={(HOSTILE, HOSTILE): 1},
        notes=(HOSTILE,),
    )
    incident = replace(
        incident,
        id=HOSTILE, label=HOSTILE, category=HOSTILE, sources=(HOSTILE,), targets=(HOSTILE,),
        evidence=(Evidence("state", HOSTILE, HOSTILE, 0.5),),
        explanation=Explanation(HOSTILE),
        mitigations=(Mitigation(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), (Countermeasure(HOSTILE, HOSTILE, HOSTILE),)),),
    )  # fmt: skip
    page = Page(render(overview, [incident]))
    assert "script" not in page.tags
    for text in (page.text, summary(overview, [incident]).plain):
        assert "\x1b" not in text and "\u202e" not in text and "\\u001b" in text


def test_an_ordinary_capture_says_so(found):
    overview, _ = found
    assert "Nothing but ordinary traffic" in render(overview, [])
    assert "all of it looks ordinary" in summary(overview, []).plain


@pytest.mark.parametrize("count", [1, 5, 16, 40])
def test_the_summary_fits_a_screen(found, count):
    overview, (incident,) = found
    many = [replace(incident, sources=tuple(f"2001:db8::{i:x}:aaaa:bbbb:cccc" for i in range(30)))] * count
    lines = summary(overview, many).plain.split("\n")
    assert len(lines) <= 22 and max(map(len, lines)) < 80
    assert (f"{count} incident" in lines[3]) and ("more in report.html" in "\n".join(lines)) == (count > 15)

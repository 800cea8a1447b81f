"""What a person reads: one HTML file that needs nothing else, and a summary that fits a terminal.

The page holds no script and loads nothing; its Content-Security-Policy allows the one style sheet by its
hash and nothing more, so that even a mistake here could not run what an attacker wrote. Every text passes
`_shown`, which spells out control characters and bidirectional overrides before it is escaped.
"""

from __future__ import annotations

import textwrap
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import log1p

import numpy as np
import polars as pl
from rich.text import Text

from wirespeak import __version__
from wirespeak.explain import moment
from wirespeak.explain.facts import say
from wirespeak.explain.grammar import finish
from wirespeak.records import Countermeasure, Evidence, Explanation, Incident, Mitigation
from wirespeak.schema import COLUMNS, LABELS

BINS = 120
_SHOWN_HOSTS = 3
_SCREEN = (78, 21)  # of 80 by 24, less the line where the report lies and the prompt


@dataclass(frozen=True)
class Overview:
    """A capture and its verdicts at a glance.

    distinct: share of flows whose sentence differs from all others, or None; bins: (ordinary, hostile) flows
    begun in each of `BINS` equal parts of the span; confusion: (truth, answer) -> flows, when the truth is known.
    """

    name: str
    first_seen: int
    last_seen: int
    packets: int
    flows: int
    labels: Mapping[str, int]
    bins: tuple[tuple[int, int], ...]
    distinct: float | None = None
    set_aside: Mapping[str, int] = field(default_factory=dict)
    confusion: Mapping[tuple[str, str], int] | None = None
    detector: str = "language"
    notes: tuple[str, ...] = ()

    @property
    def span_s(self) -> float:
        """Seconds from the first packet to the last."""
        return (self.last_seen - self.first_seen) / 1e9


def survey(
    flows: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    name: str,
    packets: int,
    set_aside: Mapping[str, int] | None = None,
    distinct: float | None = None,
    truth: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Overview:
    """Count what the report shows. flows, verdicts, truth: row i of each is the same flow."""
    answers = verdicts["canonical"].fill_null("no answer")
    start = np.asarray(flows["first_seen"].to_numpy(), dtype=np.int64)
    first = int(start.min()) if len(start) else 0
    last = int(flows["last_seen"].max()) if len(start) else 0  # type: ignore[arg-type]
    place = np.minimum((start - first) * BINS // max(1, last - first), BINS - 1)
    hostile = (~answers.is_in(["normal", "no answer"])).to_numpy()
    counts = [np.bincount(place[mask], minlength=BINS) for mask in (~hostile, hostile)]
    pairs = None
    if truth is not None:
        table = pl.DataFrame({"truth": list(truth), "answer": answers})
        pairs = {(t, a): n for t, a, n in table.group_by("truth", "answer").len().iter_rows()}
    return Overview(
        name=name,
        first_seen=first,
        last_seen=last,
        packets=packets,
        flows=flows.height,
        labels=dict(sorted(answers.value_counts().iter_rows(), key=lambda item: (-item[1], str(item[0])))),
        bins=tuple((int(a), int(b)) for a, b in zip(*counts, strict=True)),
        distinct=distinct,
        set_aside=dict(set_aside or {}),
        confusion=pairs,
        detector=str(verdicts["detector"][0]) if verdicts.height and "detector" in verdicts.columns else "",
        notes=tuple(notes),
    )


def render(overview: Overview, incidents: Sequence[Incident]) -> str:
    """The whole page."""
    style = files("wirespeak.interfaces").joinpath("report.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = f"{_shown(overview.name)} - Wirespeak"
    body = "\n".join(
        part
        for part in (
            _header(overview, incidents),
            _timeline(overview, incidents),
            "".join(_card(incident) for incident in incidents),
            _verdicts(overview),
            _matrix(overview.confusion) if overview.confusion else "",
            _footer(overview),
        )
        if part
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def summary(overview: Overview, incidents: Sequence[Incident]) -> Text:
    """The findings on one screen of 80 columns and 24 lines."""
    width, height = _SCREEN
    text = Text(no_wrap=True)
    text.append(_cut(_plain(overview.name), width), style="bold")
    text.append(f"\n{_cut(_counted(overview), width)}\n")
    if not incidents:
        return text.append("\nNo incident: all of it looks ordinary.", style="green")
    text.append(f"\n{_many(len(incidents), 'incident')}\n", style="bold")
    room = height - 6
    shown = list(incidents[:room]) if len(incidents) <= room else list(incidents[: room - 1])
    for incident in shown:
        clock = moment(incident.first_seen)[11:19]
        line = f"{clock}  {_words(incident.label):<20.20} {_sure(incident.probability):>8}  "
        text.append(line, style="red")
        parties = f"{_hosts(incident.sources, most=1)} > {_hosts(incident.targets, most=1)}"
        text.append(f"{_cut(parties, width - len(line))}\n")
    if len(shown) < len(incidents):
        text.append(f"... and {len(incidents) - len(shown)} more in report.html\n")
    left = room - len(shown) - 1
    if incidents[0].explanation and left >= 2:
        lines = textwrap.wrap(_plain(incidents[0].explanation.text), width)
        text.append("\n" + "\n".join(lines[:left]))
    text.rstrip()
    return text


def _header(overview: Overview, incidents: Sequence[Incident]) -> str:
    span = _span(overview.span_s).replace(" ", "&nbsp;")
    found = f"{_many(len(incidents), 'incident')} in {span} of traffic"
    if not incidents:
        found = f"Nothing but ordinary traffic in {span}"
    figures = [
        ("from", f"{moment(overview.first_seen)[:10]} {moment(overview.first_seen)[11:19]} UTC"),
        ("packets", f"{overview.packets:,}"),
        ("flows", f"{overview.flows:,}"),
        ("distinct sentences", "" if overview.distinct is None else f"{overview.distinct:.0%}"),
        ("set aside", f"{sum(overview.set_aside.values()):,}"),
    ]
    terms = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures if value)
    notes = "".join(f'<p class="note">{_shown(note)}</p>' for note in overview.notes)
    return f'<header>\n<p class="brand">Wirespeak</p>\n<h1>{found}</h1>\n<p class="file">{_shown(overview.name)}</p>\n<dl class="figures">{terms}</dl>\n{notes}</header>'


def _timeline(overview: Overview, incidents: Sequence[Incident]) -> str:
    """A histogram of flows, and under it a bar for each incident on the same scale of time."""
    if not overview.flows:
        return ""
    top = max(log1p(a + b) for a, b in overview.bins)
    step = 100 / BINS
    bars = []
    for place, (ordinary, hostile) in enumerate(overview.bins):
        whole = log1p(ordinary + hostile) / top * 100
        # Heights are logarithmic; within a bar the two kinds share it as they share the flows.
        part = whole * hostile / max(1, ordinary + hostile)
        for kind, size, below in (("hostile", part, 0.0), ("ordinary", whole - part, part)):
            if size > 0:
                bars.append(
                    f'<rect class="{kind}" x="{place * step:.2f}%" width="{step * 0.8:.2f}%" y="{100 - below - size:.2f}%" height="{size:.2f}%"/>'
                )
    span = max(1, overview.last_seen - overview.first_seen)
    ticks = "".join(f"<span>{moment(overview.first_seen + span * i // 4)[11:19]}</span>" for i in range(5))
    rows = "".join(_lane(overview, incident) for incident in incidents)
    busiest = max(a + b for a, b in overview.bins)
    return (
        '<section class="timeline">\n<h2>When</h2>\n'
        f'<svg class="histogram" role="img" aria-label="Flows over time, at most {busiest:,} in one bar">{"".join(bars)}</svg>\n'
        f'<div class="ticks">{ticks}</div>\n{rows}\n'
        '<p class="legend"><span class="key ordinary">flows judged ordinary</span> <span class="key hostile">flows judged hostile</span>'
        f" <span>logarithmic, at most {busiest:,} in {_span(overview.span_s / BINS)}</span></p>\n</section>"
    )


def _lane(overview: Overview, incident: Incident) -> str:
    span = max(1, overview.last_seen - overview.first_seen)
    start = (incident.first_seen - overview.first_seen) / span * 100
    width = max(0.5, (incident.last_seen - incident.first_seen) / span * 100)
    lasted = _span((incident.last_seen - incident.first_seen) / 1e9)
    return (
        f'<a class="lane k-{_shown(incident.category)}" href="#{_shown(incident.id)}"><span>{_shown(_words(incident.label))}'
        f" <small>{moment(incident.first_seen)[11:19]}, {lasted}</small></span>"
        f'<svg aria-hidden="true"><rect class="track" width="100%" height="100%" rx="3"/>'
        f'<rect class="bar" x="{min(start, 99.5):.2f}%" width="{min(width, 100 - min(start, 99.5)):.2f}%" height="100%" rx="3"/></svg></a>'
    )


def _card(incident: Incident) -> str:
    told = incident.explanation
    when = f"{moment(incident.first_seen)[11:19]} to {moment(incident.last_seen)[11:19]} UTC"
    figures = " &middot; ".join(
        (
            _many(incident.flows, "flow"),
            _many(incident.packets, "packet"),
            say(incident.bytes, "bytes"),
            _span((incident.last_seen - incident.first_seen) / 1e9),
        )
    )
    return (
        f'\n<article id="{_shown(incident.id)}" class="k-{_shown(incident.category)}">\n<header><h2>{_shown(_words(incident.label))}</h2>'
        f'<p class="sure"><b>{_sure(incident.probability)}</b> sure</p></header>\n'
        f'<p class="who"><code>{_shown(_hosts(incident.sources))}</code> <span class="arrow">to</span> <code>{_shown(_hosts(incident.targets))}</code></p>\n'
        f'<p class="when">{when} &middot; {figures}</p>\n'
        + (_told(told) if told else "")
        + _evidence(incident.evidence)
        + "".join(_remedy(remedy) for remedy in incident.mitigations)
        + "</article>"
    )


def _told(told: Explanation) -> str:
    wrote = f"{told.sentences_by_model} of {told.sentences_by_model + told.sentences_replaced} sentences written by the model"
    held = sum(claim.holds for claim in told.claims)
    checked = f"{_many(len(told.claims), 'claim')} checked against the capture, {held} hold"
    return f'<p class="told">{_shown(told.text)}</p>\n<p class="note">{wrote}, {checked}.</p>\n'


def _evidence(found: Sequence[Evidence]) -> str:
    if not found:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{_shown(_phrase(fact))}</th><td>{_range(fact)}</td>"
        f"<td class='number'>{_shown(_usual(fact))}</td><td class='number'>{_weight(fact.weight)}</td></tr>"
        for fact in found
    )
    flow = next((fact.flow_id for fact in found if fact.flow_id is not None), None)
    where = f" (read from flow {flow})" if flow is not None else ""
    return (
        f'<h3>What sets it apart{where}</h3>\n<table class="evidence"><thead><tr><th>measured</th>'
        '<th>against the usual range</th><th class="number">usual</th><th class="number">without it</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>\n"
    )


def _range(fact: Evidence) -> str:
    """The usual range as a band and the value as a mark, on a logarithmic scale from nothing."""
    if isinstance(fact.value, str) or fact.usual is None or isinstance(fact.usual, str):
        return ""
    scale = 1000 if COLUMNS[fact.column].kind == "seconds" else 1
    low, high, value = (log1p(max(0.0, number) * scale) for number in (*fact.usual, fact.value))
    top = max(high, value, 0.1) * 1.04
    band, width = low / top * 98, max(1.5, (high - low) / top * 98)
    return (
        f'<svg class="range" role="img" aria-label="{_shown(_said(fact))}, usual {_shown(_usual(fact))}"><rect class="track" y="45%" width="100%" height="10%"/>'
        f'<rect class="usual" x="{band:.1f}%" y="20%" width="{width:.1f}%" height="60%" rx="2"/>'
        f'<circle class="value" cx="{value / top * 98 + 1:.1f}%" cy="50%" r="5"/></svg>'
    )


def _remedy(remedy: Mitigation) -> str:
    ids = " ".join(
        f'<span class="id">{_shown(name)}</span>' for name in (remedy.capec_id, remedy.attack_id) if name
    )
    steps = "".join(f"<li>{_shown(step)}</li>" for step in remedy.steps)
    return f"<h3>{_shown(remedy.title)} {ids}</h3>\n<ol>{steps}</ol>\n{''.join(map(_countermeasure, remedy.countermeasures))}"


def _countermeasure(one: Countermeasure) -> str:
    first, _, rest = one.text.partition("\n")
    # What it does stands in a comment on its first line, in the language of whatever reads it.
    about = first.lstrip("#! ") if rest else ""
    checked = f", checked by {_shown(one.checked_by)}" if one.checked_by else ""
    return (
        f"<details><summary>{_shown(one.kind)} <span>{_shown(about)}{checked}</span></summary>"
        f"<pre>{_shown(one.text, lines=True)}</pre></details>\n"
    )


def _verdicts(overview: Overview) -> str:
    judged = _counts("Verdicts", ((_words(label), n) for label, n in overview.labels.items()))
    aside = _counts("Set aside", overview.set_aside.items()) if overview.set_aside else ""
    return f'<section class="tables">{judged}{aside}</section>'


def _counts(title: str, items: Iterable[tuple[str, int]]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{_shown(name)}</th><td class='number'>{n:,}</td></tr>" for name, n in items
    )
    return f"<div><h2>{title}</h2><table>{rows}</table></div>"


def _matrix(pairs: Mapping[tuple[str, str], int]) -> str:
    """Truth down, answers across; the shade is the share of the row."""
    names = sorted({name for pair in pairs for name in pair}, key=lambda name: (name != "normal", name))
    rows = []
    for truth in (name for name in names if any(t == name for t, _ in pairs)):
        whole = sum(n for (t, _), n in pairs.items() if t == truth)
        cells = []
        for answer in names:
            n = pairs.get((truth, answer), 0)
            shade = -(-10 * n // whole)
            kind = "right" if truth == answer else "wrong"
            cells.append(f'<td class="{kind} s{shade}">{n:,}</td>' if n else "<td></td>")
        rows.append(f"<tr><th scope='row'>{_shown(truth)}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th><span>{_shown(name)}</span></th>" for name in names)
    right = sum(n for (t, a), n in pairs.items() if t == a)
    total = sum(pairs.values())
    return (
        f'<section><h2>Against the truth</h2>\n<p class="note">{right:,} of {total:,} flows judged right. Rows are the truth, columns the answer.</p>'
        f'<div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _footer(overview: Overview) -> str:
    return f'<footer class="note">Wirespeak {_shown(__version__)}, detector {_shown(overview.detector or "none")}. Every number above was read from the capture.</footer>'


def _phrase(fact: Evidence) -> str:
    return finish(COLUMNS[fact.column].phrase.format(_said(fact)))


def _said(fact: Evidence) -> str:
    return fact.value if isinstance(fact.value, str) else say(fact.value, COLUMNS[fact.column].kind)


def _usual(fact: Evidence) -> str:
    if fact.usual is None or isinstance(fact.usual, str):
        return fact.usual or "not known"
    low, high = (say(end, COLUMNS[fact.column].kind) for end in fact.usual)
    return low if low == high else f"{low} to {high}"


def _weight(weight: float) -> str:
    """The change of the probability, in points."""
    return f"&minus;{weight * 100:.0f} points" if weight >= 0.005 else "no change"


def _sure(probability: float) -> str:
    """A probability in percent that never rounds to certainty."""
    return "over 99%" if probability > 0.99 else f"{probability:.0%}"


def _words(label: str) -> str:
    words = LABELS.get(label, label).removeprefix("an ").removeprefix("a ")
    return words[:1].upper() + words[1:]


def _hosts(hosts: Sequence[str], *, most: int = _SHOWN_HOSTS) -> str:
    rest = len(hosts) - most
    return _plain(", ".join(hosts[:most])) + (f" and {rest:,} more" if rest > 0 else "")


def _counted(overview: Overview) -> str:
    distinct = "" if overview.distinct is None else f", {overview.distinct:.0%} distinct"
    aside = sum(overview.set_aside.values())
    left = f", {aside:,} set aside" if aside else ""
    return f"{_span(overview.span_s)}, {overview.packets:,} packets, {overview.flows:,} flows{distinct}{left}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _span(seconds: float) -> str:
    """A duration in the two largest units: `4 min 12 s`."""
    if seconds < 60:
        return say(seconds, "seconds")
    whole = round(seconds)
    sizes = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts: list[str] = []
    for size, unit in sizes:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def _plain(text: str, *, lines: bool = False) -> str:
    """Text without control characters or bidirectional overrides: they are spelled out."""
    return "".join(
        f"\\u{ord(letter):04x}"
        if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") and not (lines and letter == "\n")
        else letter
        for letter in text
    )


def _shown(text: str, *, lines: bool = False) -> str:
    return escape(_plain(text, lines=lines), quote=True)

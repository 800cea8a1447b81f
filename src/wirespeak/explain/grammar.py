"""The sentences an explanation is made of, declared once: written by filling their slots, read by matching.

A template holds `{slots}`. `opening`, `totals` and `evidence` fill them from a record; `read` matches a
finished sentence and gives back what was in each slot, so whatever is written can be checked. Evidence
sentences are put together from an opening, the phrase of a column in `schema`, and a comparison.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from wirespeak.explain.facts import TOTALS, Fact, Record
from wirespeak.schema import COLUMNS, CONTEXT, LABELS

LABEL_WORDS = {label: words for label, words in LABELS.items() if label != "normal"} | {
    "other": "an attack of another kind",
    "unknown": "something hostile or strange that fits no known kind",
}

OPENINGS = (
    "This looks like {label} from {who} against {whom}.",
    "The flows from {who} to {whom} look like {label}.",
    "This is most likely {label} by {who} against {whom}.",
    "{who} sent {whom} traffic that looks like {label}.",
)

# Sentences about the incident as a whole; each needs the totals it names.
TOTAL_SENTENCES = (
    "{flows} flows tried {ports} ports in {duration}.",
    "The {flows} flows were spread over {ports} ports.",
    "{packets} packets came from {sources} sources in {duration}.",
    "{packets} packets reached {targets} hosts in {duration}.",
    "{flows} flows carried {packets} packets and {bytes} in {duration}.",
    "In {duration} it made {flows} flows with {packets} packets.",
    "It took {duration} and {packets} packets in {flows} flows.",
    "It sent {packets} packets to port {port} in {duration}.",
    "All {flows} flows went to port {port} within {duration}.",
    "There were {packets} packets in {flows} flows, {bytes} in all.",
    "There were {flows} flows in {duration}.",
)

CONTEXT_OPENINGS = ("", "In a typical case ")
OWN_OPENINGS = ("Take a typical flow: ", "One typical flow shows it: ")

# Comparisons with the usual range, by what they claim.
TIMES = (", about {times} times the usual {usual}", "; that is about {times} times the usual {usual}")
ABOVE = (", above the usual {usual}", ", more than the usual {usual}")
BELOW = (", below the usual {usual}", ", less than the usual {usual}")
NEUTRAL = ("; usual is {usual}",)
NONE = (", where usually there is none",)

_NUMBER = r"\d+(?:\.\d+)?"
_UNITS = {"bytes": " (?:bytes|byte|kB|MB|GB)", "seconds": " (?:s|ms|us)", "percent": "%", "bits": " bits"}
_QUANTITY = rf"{_NUMBER}(?:%| (?:bytes|byte|kB|MB|GB|s|ms|us|bits)(?!\w))?"
_WINDOWS = {
    "in the last 2 s": "in the last two seconds",
    "in the last 60 s": "in the last minute",
    "over its last 100 flows": "over the last hundred flows",
}
_NOUNS = "flow|port|host|source|packet|reset|time|request|answer|login|metacharacter|keyword"
_ADJECTIVES = "(?:(?:distinct|SYN|FIN|SQL|HTML|script) )?"


@dataclass(frozen=True)
class Reading:
    """What a sentence says. kind: opening, totals, evidence or meaning; slots: slot -> the text in it."""

    kind: str
    slots: Mapping[str, str]
    column: str = ""
    compared: str = ""


@cache
def meanings() -> dict[str, tuple[str, ...]]:
    """For each label the sentences that say what it means."""
    text = files("wirespeak.explain").joinpath("knowledge.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    return {label: tuple(known[label]["means"]) for label in LABEL_WORDS}


def opening(template: str, known: Record) -> str:
    """Who does what to whom."""
    return finish(template.format(label=LABEL_WORDS[known.label], who=_who(known), whom=_whom(known)))


def totals(template: str, known: Record) -> str | None:
    """A sentence about the whole incident, or None when the record lacks what it needs."""
    values = {name: known.get(name) for name in slots(template)}
    if any(found is None for found in values.values()) or not _worth_saying(values):
        return None
    return finish(template.format(**{name: found.said for name, found in values.items() if found}))


def evidence(opener: str, known: Fact, comparison: str) -> str:
    """A sentence about one measured fact and how it compares."""
    compared = comparison.format(times=known.times, usual=known.said_usual)
    return finish(f"{opener}{clause(known.name).format(known.said)}{compared}.")


def openers(name: str) -> tuple[str, ...]:
    """The ways to begin a sentence about a column."""
    return CONTEXT_OPENINGS if name in _CONTEXT else OWN_OPENINGS


def comparisons(known: Fact) -> tuple[str, ...]:
    """The comparisons that are true of a fact, the most telling first."""
    if known.usual is None:
        return ("",)
    if known.usual == (0, 0) and known.kind in ("count", "percent"):
        return (*NONE, ABOVE[0]) if known.side else NEUTRAL
    if known.side == "above":
        return (*TIMES, *ABOVE) if known.times else ABOVE
    return BELOW if known.side == "below" else NEUTRAL


@cache
def clause(name: str) -> str:
    """The phrase of a column with its windows in words, so that every digit is a measured one."""
    phrase = COLUMNS[name].phrase
    for digits, words in _WINDOWS.items():
        phrase = phrase.replace(digits, words)
    return phrase


def finish(sentence: str) -> str:
    """Capital letter and singulars: `1 flows` becomes `1 flow`.

    >>> finish("it tried 1 logins."), finish("1 logins were refused.")
    ('It tried 1 login.', '1 login was refused.')
    """
    sentence = re.sub(rf"(?<![\d.])1 ({_ADJECTIVES})({_NOUNS})s\b", r"1 \1\2", sentence)
    sentence = re.sub(rf"(?<![\d.])1 ({_NOUNS}) were\b", r"1 \1 was", sentence)
    return sentence[:1].upper() + sentence[1:]


def read(sentence: str) -> Iterator[Reading]:
    """Every way to read a sentence; none when it is not one of ours, word for word."""
    plural = re.sub(rf"(?<![\d.])1 ({_ADJECTIVES})({_NOUNS})\b", r"1 \1\2s", sentence)
    plural = re.sub(rf"(?<![\d.])1 ({_NOUNS})s was\b", r"1 \1s were", plural)
    if finish(plural) != sentence:
        return
    for kind, pattern in _patterns():
        if found := pattern.fullmatch(plural):
            yield Reading(kind, {name: text for name, text in found.groupdict().items() if text})
    lower = plural.lower()
    for name in speakable():
        # A pattern is only made for a sentence that has the column's words.
        if not all(words in lower for words in clause(name).lower().split("{}")):
            continue
        if found := _evidence_pattern(name).fullmatch(plural):
            yield _evidence_reading(name, {slot: text for slot, text in found.groupdict().items() if text})
    for label, sentences in meanings().items():
        if sentence in sentences:
            yield Reading("meaning", {"label": label})


def _evidence_reading(name: str, found: dict[str, str]) -> Reading:
    """The slots of an evidence sentence: each comparison has a usual range of its own in the pattern."""
    said: dict[str, str] = {slot: found[slot] for slot in ("value", "times") if slot in found}
    for compared in ("times", "above", "below", "neutral"):
        if usual := found.get(f"{compared}_usual"):
            return Reading("evidence", said | {"usual": usual}, name, compared)
    return Reading("evidence", said, name, "none" if "none" in found else "")


def slots(template: str) -> tuple[str, ...]:
    """Names of the slots of a template."""
    return tuple(re.findall(r"\{(\w+)\}", template))


def vocabulary() -> frozenset[str]:
    """Every word our sentences can hold, in lower case."""
    whole = (OPENINGS, TOTAL_SENTENCES, CONTEXT_OPENINGS, OWN_OPENINGS, TIMES, ABOVE, BELOW, NEUTRAL, NONE)
    texts = [text for group in whole for text in group]
    texts += [clause(name) for name in speakable()]
    texts += [*LABEL_WORDS.values(), *(text for group in meanings().values() for text in group)]
    texts += ["SRC DST sources hosts to s ms us bytes byte kB MB GB bits", _NOUNS.replace("|", " ")]
    return frozenset(
        word.lower() for text in texts for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w*\}", " ", text))
    )


@cache
def speakable() -> tuple[str, ...]:
    """The columns a sentence can state a number of."""
    numeric = ("count", "bytes", "seconds", "percent", "bits")
    return tuple(name for name, column in COLUMNS.items() if column.kind in numeric and "{}" in column.phrase)


_CONTEXT = frozenset(column.name for column in CONTEXT)


def _who(known: Record) -> str:
    sources = known.get("sources")
    return f"{sources.said} sources" if sources and sources.value > 1 else "SRC"


def _whom(known: Record) -> str:
    targets = known.get("targets")
    return f"{targets.said} hosts" if targets and targets.value > 1 else "DST"


def _worth_saying(values: Mapping[str, Fact | None]) -> bool:
    """No empty durations, and no plural where there is one."""
    least = {"duration": 1e-9, "packets": 2, "ports": 2, "targets": 2, "sources": 2, "bytes": 2}
    least["flows"] = 2 if "packets" not in values else 1
    return all(found is not None and found.value >= least.get(name, 0) for name, found in values.items())


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    words = {
        "label": "(?P<label>" + "|".join(re.escape(words) for words in LABEL_WORDS.values()) + ")",
        "who": rf"(?:(?P<source>SRC)|(?P<sources>{_NUMBER}) sources)",
        "whom": rf"(?:(?P<target>DST)|(?P<targets>{_NUMBER}) hosts)",
    }
    for name, kind in TOTALS.items():
        words.setdefault(name, rf"(?P<{name}>{_NUMBER}{_UNITS.get(kind, '')})")
    made = [("opening", _compile(template, words)) for template in OPENINGS]
    return (*made, *(("totals", _compile(template, words)) for template in TOTAL_SENTENCES))


@cache
def _evidence_pattern(name: str) -> re.Pattern[str]:
    begin = "|".join(re.escape(text) for text in openers(name))
    said = f"(?P<value>{_NUMBER}{_UNITS.get(COLUMNS[name].kind, '')})"
    body = said.join(re.escape(part) for part in clause(name).split("{}"))
    return re.compile(rf"(?i:{begin})(?i:{body}){_comparisons()}\.")


@cache
def _comparisons() -> str:
    usual = rf"{_QUANTITY}(?: to {_QUANTITY})?"
    kinds = {"times": TIMES, "above": ABOVE, "below": BELOW, "neutral": NEUTRAL}
    parts = []
    for kind, templates in kinds.items():
        fillers = {"times": rf"(?P<times>{_NUMBER})", "usual": f"(?P<{kind}_usual>{usual})"}
        # Wordings of one kind share their slots, and a pattern may name a slot once.
        parts.append(_one_of(templates, fillers))
    return f"(?:{'|'.join(parts)}|(?P<none>{'|'.join(map(re.escape, NONE))}))?"


def _compile(template: str, fillers: Mapping[str, str]) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(fillers[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)))


def _one_of(templates: tuple[str, ...], fillers: Mapping[str, str]) -> str:
    """A pattern for any of `templates`, which differ in the words before their first slot only."""
    heads = {template[: template.index("{")] for template in templates}
    (tail,) = {template[template.index("{") :] for template in templates}
    parts = re.split(r"\{(\w+)\}", tail)
    rest = "".join(fillers[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
    return f"(?:{'|'.join(re.escape(head) for head in sorted(heads))}){rest}"

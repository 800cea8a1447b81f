"""Explanations written by rule: what the small model learns from, and what stands in where it errs."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from wirespeak.explain import grammar
from wirespeak.explain.facts import FACTS_IN_PROMPT, TOTALS, Fact, Record, fact, prompt
from wirespeak.text.ask import Example


def examples(records: Sequence[Record], *, seed: int, variations: int = 1) -> list[Example]:
    """Prompts and answers to learn from: each record explained in `variations` different wordings."""
    random = Random(seed)
    return [Example(prompt(known), write(known, random)) for known in records for _ in range(variations)]


def write(known: Record, random: Random) -> str:
    """An explanation of two to five sentences, worded by chance; every number in it is the record's."""
    parts = [grammar.opening(random.choice(grammar.OPENINGS), known)]
    whole = [
        (text, template) for template in grammar.TOTAL_SENTENCES if (text := grammar.totals(template, known))
    ]
    if whole:
        # Fewer numbers, fewer slips of a small model.
        weights = [1 / len(grammar.slots(template)) ** 2 for _, template in whole]
        parts.append(random.choices(whole, weights)[0][0])
    for turn, known_fact in enumerate(known.evidence[:FACTS_IN_PROMPT], start=random.randrange(2)):
        openers = grammar.openers(known_fact.name)
        comparison = random.choice(grammar.comparisons(known_fact))
        parts.append(grammar.evidence(openers[turn % len(openers)], known_fact, comparison))
    parts.append(random.choice(grammar.meanings()[known.label]))
    return " ".join(parts)


def plain(known: Record) -> dict[str, str]:
    """One plain sentence for each thing that can be said, in the order to say them.

    Keys: `opening`, `totals`, the column of a fact, `meaning`.
    """
    whole = (grammar.totals(template, known) for template in grammar.TOTAL_SENTENCES)
    total = next((text for text in whole if text), None)
    facts = [(each.name, _plainly(each, turn)) for turn, each in enumerate(known.evidence)]
    said = {"opening": grammar.opening(grammar.OPENINGS[0], known)} | ({"totals": total} if total else {})
    return said | dict(facts[:2]) | {"meaning": grammar.meanings()[known.label][0]} | dict(facts[2:])


def _plainly(known: Fact, turn: int) -> str:
    openers = grammar.openers(known.name)
    return grammar.evidence(openers[turn % len(openers)], known, grammar.comparisons(known)[0])


def invent(count: int, *, seed: int) -> list[Record]:
    """Records with labels, columns and numbers drawn by chance, to learn copying from.

    Real incidents are too few to teach that a number is to be copied and not remembered.
    """
    random = Random(seed)
    return [_invent(random) for _ in range(count)]


def vary(known: Record, random: Random) -> Record:
    """The record of an incident like this one: the same label and columns, other numbers."""
    return Record(known.label, tuple(_vary(each, random) for each in known.facts))


def _vary(known: Fact, random: Random) -> Fact:
    whole = known.kind in ("count", "percent", "bytes") and known.value.is_integer()
    top = {"percent": 100.0, "bits": 8.0}.get(known.kind, 1e12)
    if known.name == "port" or known.value in (0, 1):
        return known

    def scaled(number: float, spread: float) -> float:
        number = min(top, number * 2.0 ** random.gauss(0, spread))
        return float(round(number)) if whole else number

    usual = known.usual and (scaled(known.usual[0], 0.7), scaled(known.usual[1], 0.7))
    made = fact(known.name, max(2.0, scaled(known.value, 1.5)) if whole else scaled(known.value, 1.5), usual)
    in_order = made.usual is None or made.usual[0] <= made.usual[1]
    return made if in_order and made.side == known.side else known


def _invent(random: Random) -> Record:
    label = random.choice(tuple(grammar.LABEL_WORDS))
    flows = _number(random, 1, 60_000)
    packets = flows * _number(random, 1, 40) + _number(random, 0, 9)
    shares = {"sources": 0.25, "targets": 0.3, "ports": 0.35}
    values: dict[str, float] = {
        "flows": flows,
        "packets": packets,
        "bytes": packets * _number(random, 28, 1400),
        "duration": _real(random, 0.01, 900) if random.random() < 0.95 else 0.0,
        **{
            name: _number(random, 2, 60_000) if random.random() < share else 1
            for name, share in shares.items()
        },
    }
    if values["ports"] == 1:
        del values["ports"]
        if random.random() < 0.8:
            values["port"] = random.choice(
                (80, 443, 1883, 8883, 502, 5683, 22, 23, 53, random.randint(1, 65_535))
            )
    totals = [fact(name, values[name]) for name in TOTALS if name in values]
    names = random.sample(grammar.speakable(), random.choice((1, 2, 2, 2)))
    return Record(label, (*totals, *(_invent_fact(name, random) for name in names)))


def _invent_fact(name: str, random: Random) -> Fact:
    kind = fact(name, 0).kind
    top = {"percent": 100.0, "bits": 8.0, "seconds": 300.0, "bytes": 3e7}.get(kind, 50_000.0)
    draw = _real if kind in ("seconds", "bits") else _number
    least = 1e-5 if kind == "seconds" else 0.1 if kind == "bits" else 1

    def number(high: float) -> float:
        return draw(random, least, max(high, 2 * least))

    if random.random() < 0.03:
        return fact(name, number(top))
    shape = random.random()
    if shape < 0.2:
        return fact(name, number(top), (0, 0))
    high = number(top / 20)
    low = 0.0 if random.random() < 0.4 else min(high, number(high))
    if shape < 0.85:
        made = fact(name, min(top, high + number(top)), (low, high))
    else:
        made = fact(name, 0 if random.random() < 0.5 else number(max(low / 2, 2 * least)), (low, high))
    return made if made.side else fact(name, number(top), (0, 0))


def _number(random: Random, low: float, high: float) -> int:
    """A whole number, every order of magnitude as likely."""
    return round(_real(random, max(low, 0.5), high + 0.49))


def _real(random: Random, low: float, high: float) -> float:
    return float(low * (high / low) ** random.random())

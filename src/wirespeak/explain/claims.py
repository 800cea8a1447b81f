"""Explanations that cannot lie: every number and comparison of a sentence is read back from the record.

A sentence is shown as the model wrote it when it is built of words and phrases `grammar` knows, ends in a
full stop, says nothing twice, and every claim in it holds. Otherwise a plain sentence about the same thing,
or about something not yet said, stands in its place and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wirespeak.contracts import LanguageModel
from wirespeak.explain import grammar
from wirespeak.explain.facts import Fact, Record, fact, measure, prompt
from wirespeak.explain.sentences import plain
from wirespeak.records import Claim, Explanation

LEAST_SENTENCES, MOST_SENTENCES, LEAST_CLAIMS = 2, 5, 2
MAX_TOKENS = 200


@dataclass(frozen=True)
class Check:
    """What became of a sentence. about: what it speaks of, '' when it cannot be read; fault: '' when it holds."""

    sentence: str
    about: str
    claims: tuple[Claim, ...]
    fault: str

    @property
    def holds(self) -> bool:
        """Whether it may be shown."""
        return not self.fault


def explain_incident(known: Record, model: LanguageModel | None = None) -> Explanation:
    """Explain one incident; see `explain_incidents`."""
    return explain_incidents([known], model)[0]


def explain_incidents(records: Sequence[Record], model: LanguageModel | None = None) -> list[Explanation]:
    """An explanation of each record in two to five sentences, `SRC` and `DST` standing for the addresses.

    Without a model every sentence is a plain one, counted as replaced.
    """
    if not records:
        return []
    prompts = [prompt(known) for known in records]
    answers = model.generate(prompts, max_tokens=MAX_TOKENS) if model else [""] * len(prompts)
    return [assemble(known, answer) for known, answer in zip(records, answers, strict=True)]


def assemble(known: Record, answer: str) -> Explanation:
    """The explanation a model's answer becomes: its sentences that hold, and plain ones in place of the rest."""
    spare = plain(known)
    shown: list[tuple[Check, bool]] = []
    said: set[str] = set()

    def show(check: Check, by_model: bool) -> None:
        said.add(check.about)
        shown.append((check, by_model))

    def replace(about: str) -> None:
        unsaid = [key for key in spare if key not in said]
        if unsaid:
            show(check_sentence(spare[about if about in unsaid else unsaid[0]], known), False)

    for sentence in split(answer)[:MOST_SENTENCES] or [""] * MOST_SENTENCES:
        check = check_sentence(sentence, known)
        if check.holds and check.about not in said:
            show(check, True)
        else:
            replace(check.about)
    while len(shown) < min(LEAST_SENTENCES, len(spare)):
        replace("")
    if sum(len(check.claims) for check, _ in shown) < LEAST_CLAIMS and len(shown) < MOST_SENTENCES:
        replace(next((key for key in spare if key not in said and key not in ("opening", "meaning")), ""))
    return Explanation(
        text=" ".join(check.sentence for check, _ in shown),
        claims=tuple(claim for check, _ in shown for claim in check.claims),
        sentences_by_model=sum(by_model for _, by_model in shown),
        sentences_replaced=sum(not by_model for _, by_model in shown),
    )


def split(text: str) -> list[str]:
    """Sentences of a text: a full stop followed by white space ends one, the point of a decimal does not."""
    return [part for part in re.split(r"(?<=\.)\s+", text.strip()) if part]


def check_sentence(sentence: str, known: Record) -> Check:
    """Read a sentence and compare what it says with the record. The most favourable reading counts."""
    best: Check | None = None
    for reading in grammar.read(sentence):
        check = _judge(sentence, reading, known)
        if check.holds:
            return check
        best = best or check
    return best or Check(sentence, "", (), _why_unread(sentence))


def _judge(sentence: str, reading: grammar.Reading, known: Record) -> Check:
    said = dict(reading.slots)
    about = reading.column or reading.kind
    label = said.pop("label", known.label)
    if label not in (known.label, grammar.LABEL_WORDS[known.label]):
        return Check(sentence, about, (), "another label")
    for role, many in (("source", "sources"), ("target", "targets")):
        count = known.get(many)
        if said.pop(role, None) and count and count.value > 1:
            return Check(sentence, about, (), f"one {role} where there are more")
    if reading.kind == "evidence":
        claims = tuple(_evidence_claims(reading, known))
    else:
        claims = tuple(_claim(name, text, known.get(name)) for name, text in said.items())
    false = next((claim for claim in claims if not claim.holds), None)
    return Check(sentence, about, claims, f"'{false.text}' does not hold" if false else "")


def _evidence_claims(reading: grammar.Reading, known: Record) -> list[Claim]:
    column, said = reading.column, reading.slots
    found = known.get(column)
    claims = [_claim(column, said["value"], found)]
    if "usual" in said:
        ends = said["usual"].split(" to ")
        usual = found.usual if found else None
        holds = usual is not None and all(
            _same(text, fact(column, end)) for text, end in zip(ends, usual[-len(ends) :], strict=True)
        )
        one_number = found is not None and " to " not in found.said_usual
        claims.append(Claim(column, f"usual {said['usual']}", holds and one_number == (len(ends) == 1)))
    if "times" in said:
        claims.append(
            Claim(column, f"about {said['times']} times", found is not None and found.times == said["times"])
        )
    if reading.compared == "none":
        claims.append(
            Claim(column, "usually none", found is not None and found.usual == (0, 0) and found.value > 0)
        )
    if reading.compared in ("above", "below"):
        claims.append(
            Claim(
                column, f"{reading.compared} the usual", found is not None and found.side == reading.compared
            )
        )
    return claims


def _claim(name: str, text: str, found: Fact | None) -> Claim:
    return Claim(name, text, found is not None and _same(text, found))


def _same(text: str, known: Fact) -> bool:
    """Whether a written quantity is the fact's: the same number, digit for digit, in whatever scale of its unit."""
    return _amount(text) == _amount(known.said)


def _amount(text: str) -> tuple[float, str]:
    number, unit = re.fullmatch(r"([\d.]+) ?(\D*)", text).groups()  # type: ignore[union-attr]
    base = {"ms": "s", "us": "s", "kB": "bytes", "MB": "bytes", "GB": "bytes", "byte": "bytes"}.get(
        unit, unit
    )
    return round(measure(number, unit), 9), base


def _why_unread(sentence: str) -> str:
    if not sentence.endswith("."):
        return "no full stop"
    words = set(re.findall(r"[A-Za-z]+", sentence.lower()))
    strange = sorted(words - grammar.vocabulary())
    return f"unknown word '{strange[0]}'" if strange else "cannot be read"

"""docs/language.md: language models beside trees on the public datasets and the lab, from bench/results alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from wirespeak.interfaces.results import RESULTS, _table
from wirespeak.lm.cards import find_card

_FILE, _LAB, _CASCADE = RESULTS / "language.json", RESULTS / "detection.json", RESULTS / "cascade.json"
_ASKED = ("zero-shot", "few-shot", "open model, tuned")
_NAMES = {
    "language": "small decoder, from scratch",
    "cascade": "cascade around it",
    "tuned": "tuned (our ensemble of trees)",
}
_READING = """\
The small decoder is trained from scratch on each fold, on one core, and reads a row as a compact sentence
([words.md](words.md)); `wirespeak train FILE -o DIR` does the same with every row. The cascade is made around it with
thresholds from rows of the training side ([cascade.md](cascade.md)). Trees have their library's defaults; `tuned` stands
beside them. All are judged on the same rows; protocols, intervals and words are those of [comparison.md](comparison.md). The
decoder's settings were chosen on the folds of that page, above all on NSL-KDD's; here the rows are dealt into folds anew, and these
folds chose nothing, although their rows are the same. Where names are left out, they are dealt into folds twice, and each row is
judged once in each: who is left out beside whom decides much. (Two deals before these were judged when numbers had no order yet, and are why
they have one: [log.md](log.md).)
*Rows/s* are rows judged in a second of one core's time, equal rows included. Cells that need pretrained weights say
`not run` where none were at hand: `wirespeak evaluate detector --detector zero-shot --detector few-shot --detector language
--model Qwen/Qwen2.5-1.5B-Instruct --data FILE` measures them on the same folds where the hub is. Edge-IIoTset and Farm-Flow
join when their files are in the folder of datasets; until then the lab's own flows stand in, shown in Farm-Flow's columns."""


def language_page() -> str:
    """The page; without results it says how to make them."""
    opening = [
        "# Language models beside trees",
        "*Made by `make language` into `bench/results/language.json`, and from there by `make docs`.*",
    ]
    if not _FILE.is_file():
        return "\n\n".join([*opening, "Not run. `make language` measures it."]) + "\n"
    found = json.loads(_FILE.read_text("utf-8"))
    parts = [part for course in found["datasets"] for part in _section(course)]
    return "\n\n".join([*opening, _READING, *parts, *_lab()]) + "\n"


def _section(course: dict[str, Any]) -> Iterator[str]:
    own = ": the lab's own flows in its columns" if course["name"].endswith("-lab") else ""
    yield f"## {course['title']}{own}"
    folds = ", ".join(str(number) for number in course["folds"])
    told = "".join(f" --set {name}={value}" for name, value in course["options"].items())
    yield (
        f"{course['rows']:,} rows judged, protocol `{course['protocol']}`, fold{'s' if len(course['folds']) > 1 else ''} {folds}."
        + (f" Learnt with `{told.strip()}`, which was chosen on a fold of another deal." if told else "")
    )
    rows = [(name, *["not run"] * 7) for name in _ASKED]
    facts = [one["facts"] for one in course["training"]]
    for one in sorted(course["detectors"], key=lambda one: -one["scores"]["macro-F1"][0]):
        name = one["detector"]
        ours = name in ("language", "cascade")
        rows.append(
            (
                _NAMES.get(name, name),
                _cell(one, "macro-F1"),
                _cell(one, "macro-F1 over distinct rows"),
                _cell(one, "accuracy", interval=False),
                _cell(one, "unseen recall at 5 % false alarms", interval=False),
                f"{facts[0]['parameters']:,}; {sum(fact['tokens_seen'] for fact in facts) / len(facts) / 1e6:.1f} M tokens a fold"
                if ours
                else "",
                f"{one['fit_s'] / len(course['folds']):,.0f}",
                f"{one['rows_per_s']:,.0f}" if one["rows_per_s"] else "",
            )
        )
    yield _table(
        (
            "detector", "macro-F1", "over distinct rows", "accuracy", "recall of unseen names", "parameters, read",
            "CPU s a fold", "rows/s",
        ),
        rows,
    )  # fmt: skip
    yield from _differences(course)
    yield from _deals(course)
    stages = [stage for one in course["training"] for stage in one["stages"]]
    total = sum(stage["rows"] for stage in stages)
    shares = {
        name: sum(one["rows"] for one in stages if one["stage"] == name) / total
        for name in ("cache", "tree", "model")
    }
    yield (
        "In the cascade "
        + ", ".join(f"the {name} answered {share:.1%}" for name, share in shares.items())
        + "."
    )
    ours = next(one for one in course["detectors"] if one["detector"] == "language")
    if "novelty ROC area" in ours["scores"]:
        yield (
            f"A low probability of the answer as a sign of attack names left out ({course['unseen_rows']:,} rows): area under the "
            f"ROC curve {_cell(ours, 'novelty ROC area')}."
        )


def _differences(course: dict[str, Any]) -> Iterator[str]:
    """What the language models gain or lose, with paired intervals."""
    against = [name for name in (course["best_plain"], "tuned", "language") if name]
    lines = []
    for ours in ("language", "cascade"):
        for other in against:
            pair = next(
                (one for one in course["pairs"] if {one["better"], one["worse"]} == {ours, other}), None
            )
            if pair is None or ours == other:
                continue
            sign = 1 if pair["better"] == ours else -1
            low, high = sorted((sign * pair["low"], sign * pair["high"]))
            lines.append(
                f"- {_NAMES[ours]} against {_NAMES.get(other, other)}: {sign * pair['difference']:+.3f} macro-F1 ({low:+.3f} to {high:+.3f})"
            )
    best = course["best_plain"]
    if lines:
        yield f"Paired differences; the best of the plain trees is {best}:\n\n" + "\n".join(lines)


def _deals(course: dict[str, Any]) -> Iterator[str]:
    """Macro-F1 by deal, where names were dealt into folds several times."""
    if len(deals := course["deals"]) < 2:  # by the seed that dealt them
        return
    yield "Macro-F1 of each deal of names into folds:"
    scores = list(deals.values())
    order = sorted(scores[0], key=lambda name: -sum(one[name] for one in scores))
    yield _table(
        ("detector", *(f"deal {seed}" for seed in deals)),
        [(_NAMES.get(name, name), *(f"{one[name]:.3f}" for one in scores)) for name in order],
    )


def _cell(one: dict[str, Any], name: str, *, interval: bool = True) -> str:
    if name not in one["scores"]:
        return ""
    value, low, high, _ = one["scores"][name]
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if interval and low is not None else "")


def _lab() -> Iterator[str]:
    """The lab's own recordings: the model in the box and its cascade."""
    if not (_LAB.is_file() and _CASCADE.is_file()):
        return
    found, cascade = (json.loads(path.read_text("utf-8")) for path in (_LAB, _CASCADE))
    yield "## The lab's recordings"
    rows = [(name, *["not run"] * 5) for name in _ASKED]
    said = {
        "language": "the model in the box",
        "forest": "forest",
        "suricata": "Suricata, our rules",
        "random_weights": "random weights",
    }
    size = f"{find_card().parameters:,}"
    fast = cascade["speed"]
    for name, title in said.items():
        if name in found:
            flows, distinct = found[name]["flows"], found[name]["distinct"]
            told = (size, f"{fast['model']['flows_per_s_of_a_core']:,}") if name == "language" else ("", "")
            rows.append((title, _interval(flows), _interval(distinct), f"{flows['accuracy']:.3f}", *told))
    pace = f"{fast['cascade']['flows_per_s_of_a_core']:,}"
    rows.append(("the cascade around it", _interval(cascade["agreement"]["cascade"]), "", "", size, pace))
    yield (
        f"{found['language']['flows']['n']:,} flows of recordings that chose nothing ([results.md](results.md)); "
        f"[cascade.md](cascade.md#measured) says who answers what in the cascade, and how its speed was measured."
    )
    yield _table(
        ("detector", "macro-F1", "over distinct flows", "accuracy", "parameters", "flows/s of a core"), rows
    )


def _interval(one: dict[str, Any]) -> str:
    return f"{one['macro_f1']:.3f} ({one['low']:.3f} to {one['high']:.3f})"

"""docs/comparison.md: every detector on the public datasets, from bench/results/datasets.json and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wirespeak.interfaces.results import RESULTS, _table
from wirespeak.records import Score

_FILE = RESULTS / "datasets.json"
_SPLIT = {
    "group": "rows with equal features all on one side",
    "names-out": "attack names left out: each fold judges some that its training never saw, and no equal rows on both sides",
}
_SHOWN = {
    "macro-F1": "macro-F1",
    "macro-F1 over distinct rows": "over distinct rows",
    "accuracy": "accuracy",
    "binary accuracy": "binary accuracy",
    "unseen recall at 5 % false alarms": "recall of unseen names",
    "false-alarm rate there": "false alarms there",
    "calibration error": "calibration error",
}
_WITH_INTERVAL = (
    "macro-F1",
    "macro-F1 over distinct rows",
    "unseen recall at 5 % false alarms",
)
_READING = """\
Macro-F1 is the mean over the dataset's own labels; *over distinct rows* counts rows with equal features and label
once. Brackets hold 95 % intervals, drawn by groups of equal rows. *Recall of unseen names* is over attacks whose name
the training side did not have, at a threshold set for 5 % false alarms on ordinary training rows that trained nothing;
*false alarms there* is what became of those 5 % on the rows judged. *Random split* is the macro-F1 of a split that lets
copies land on both sides: the number most papers print. Seconds are processor seconds of all folds together, megabytes
are what memory rose by. Detectors run with their defaults; *set* names those that would take longer and what they got
instead.

The whole report of one dataset (tests between detectors, confusion, curves, failures) comes out of the same fold
predictions: `python bench/datasets.py --only nsl-kdd --report`. AutoGluon joins from an environment of its own ([evaluate.md](evaluate.md#autogluon))."""


def comparison_page() -> str:
    """The page; without results it says how to make them."""
    opening = [
        "# Every detector on the public datasets",
        "*Made by `make comparison` into `bench/results/datasets.json`, and from there by `make docs`.*",
    ]
    if not _FILE.is_file():
        return "\n\n".join([*opening, "Not run. `make comparison` measures it."]) + "\n"
    found = json.loads(_FILE.read_text("utf-8"))
    machine = found["machine"]
    spent = sum(one.get("cpu_s", 0) for course in found["datasets"] for one in course["detectors"])
    opening += [
        f"{machine['cores']} cores, {machine['machine']}, Python {machine['python']}; {found['folds']} folds, seed {found['seed']}. "
        f"Two detectors ran at a time, each on one core and within a budget of processor seconds; by the budgets all would take "
        f"{found['budget_of_all_s'] / 60:.0f} minutes, what is shown took {spent / 120:.0f}. "
        "What is wrong with these datasets is on [their own pages](datasets/index.md).",
        _READING,
    ]
    return (
        "\n\n".join([*opening, *(part for course in found["datasets"] for part in _section(course))]) + "\n"
    )


def draw(folder: Path) -> list[Path]:
    """Write one picture a dataset, cost against quality, into `folder`. Needs matplotlib."""
    from wirespeak.evaluate import plots

    if not _FILE.is_file():
        return []
    drawn: list[Path] = []
    for course in json.loads(_FILE.read_text("utf-8"))["datasets"]:
        points = {one["detector"]: (one["predict_us"], _score(one, "macro-F1")) for one in _finished(course)}
        if points:
            figure = plots.cost_quality(points, title=_title(course))
            drawn += plots.save(figure, folder, _picture(course), formats=("png",))
    return drawn


def _section(course: dict[str, Any]) -> Iterator[str]:
    yield f"## {_title(course)}"
    aside = f" ({course['rows_set_aside']:,} set aside)" if course["rows_set_aside"] else ""
    sizes = "; ".join(f"{fold['train']:,} and {fold['test']:,}" for fold in course["folds"])
    yield (
        f"{course['rows']:,} rows{aside}, {course['distinct']:,} of them distinct in their features (the most repeated, of label "
        f"{course['largest']['label']}, occurs {course['largest']['rows']:,} times); {course['labels']} labels; protocol `{course['protocol']}`: {_SPLIT[course['protocol']]}. "
        f"Rows to learn from and to judge, fold by fold: {sizes}."
    )
    finished = _finished(course)
    if not finished:
        yield "No detector has run yet."
        return
    yield _side_by_side(finished)
    stopped = [
        f"{one['detector']} ({one['stopped_after_s']:.0f} s)"
        for one in course["detectors"]
        if "stopped_after_s" in one
    ]
    if stopped:
        yield f"Stopped at the end of their budget: {', '.join(stopped)}."
    yield f"![{_title(course)}: macro-F1 against what a verdict costs](images/{_picture(course)}.png)"
    yield from _beside_the_reference(course, finished)


def _side_by_side(finished: list[dict[str, Any]]) -> str:
    names = [name for name in _SHOWN if any(name in one["scores"] for one in finished)]
    head = [
        "detector",
        *(_SHOWN[name] for name in names),
        "random split",
        "fit s",
        "predict s",
        "MB",
        "set",
    ]
    rows = [
        (
            one["detector"],
            *(_cell(one, name) for name in names),
            "" if one["random_macro_f1"] is None else f"{one['random_macro_f1']:.3f}",
            f"{one['fit_s']:,.0f}",
            f"{one['predict_s']:,.1f}",
            "" if one["peak_mb"] is None else f"{one['peak_mb']:,.0f}",
            "; ".join(f"`{name}` {_plain(value)}" for name, value in one["options"].items()),
        )
        for one in finished
    ]
    return _table(head, rows)


def _beside_the_reference(course: dict[str, Any], finished: list[dict[str, Any]]) -> Iterator[str]:
    reference = course["reference"]
    forest = next((one for one in finished if one["detector"] == "forest"), None)
    if forest and reference["scores"]:
        said = ", ".join(
            f"{name} {value:.4g} (here {'; '.join(_here(forest, name))})"
            for name, value in reference["scores"].items()
        )
        unseen = forest["scores"].get("unseen recall", [0, 0, 0, 0])[3]
        such = f" Of the rows judged here {unseen:,} of {forest['rows']:,} do." if unseen else ""
        yield f"A plain random forest elsewhere, on {reference['on']}: {said}.{such}"
        if course["name"] in _WHY:
            yield _WHY[course["name"]]


def _here(one: dict[str, Any], name: str) -> Iterator[str]:
    """A score, and for macro-F1 the two that a reference may be like."""
    yield f"{one['scores'][name][0]:.3f}"
    if name == "macro-F1":
        yield f"over distinct rows {one['scores']['macro-F1 over distinct rows'][0]:.3f}"
        yield f"random split {one['random_macro_f1']:.3f}"


def _cell(one: dict[str, Any], name: str) -> str:
    if name not in one["scores"]:
        return ""
    score = _score(one, name)
    ends = (
        f" ({score.low:.3f} to {score.high:.3f})" if name in _WITH_INTERVAL and score.low is not None else ""
    )
    return f"{score.value:.3f}{ends}"


def _score(one: dict[str, Any], name: str) -> Score:
    value, low, high, n = one["scores"][name]
    return Score(name, value, n, low, high)


def _finished(course: dict[str, Any]) -> list[dict[str, Any]]:
    """The best macro-F1 first."""
    done = [one for one in course["detectors"] if "scores" in one]
    return sorted(done, key=lambda one: (-one["scores"]["macro-F1"][0], one["detector"]))


def _title(course: dict[str, Any]) -> str:
    return f"{course['title']}{', with addresses and ports' if course['addresses'] else ''}"


def _picture(course: dict[str, Any]) -> str:
    return f"comparison-{course['name']}"


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else f"{value:,}"


_WHY = {
    "nsl-kdd": "As many rows go by unseen names here as there, but other ones: most are of neptune, a flood among floods, "
    "while in KDDTest+ most are r2l, which look ordinary on the wire and of which training holds few. The height of "
    "scores does not carry over. Detectors that lean away from `normal`, as `tuned` does, gain in binary accuracy and lose in macro-F1 "
    "where a name of tens of thousands of rows is left out: it is noticed, and named after another label.",
    "unsw-nb15": "The forest lands near its reference.",
    "ton-iot": "Rows without addresses repeat so often that the plain numbers hang on where a few groups fall: a group of "
    "equal rows is on one side as a whole, so it is judged all right or, as the most repeated one was, all wrong. "
    "In the reference such rows are in training. Over distinct rows the forest lands near it.",
    "ton-iot-addresses": "With addresses it learns who, not what.",
}
"""How a forest stands to its reference, and why."""

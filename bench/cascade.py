"""How fast the cascade is, who answers what, and what it costs against the model alone.

    OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 python bench/cascade.py out/recordings --cascade out/cascade -o bench/results/cascade.json

The tree is taught on train recordings and the thresholds are chosen on validation recordings (where --cascade names
no folder yet, it is made there). Then test recordings are judged, by the cascade and by the model alone, and nothing
is chosen from them. Speeds are rows per second of CPU time, every library on one thread: those of one core, whatever
else the machine does meanwhile; wall time stands beside them. The cascade's cache is empty before the first recording and kept from one to the next; of three runs of cascade and tree the one of least CPU time counts, since a
busy neighbour slows every core of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.abstain import Abstention, Fold, auroc, choose_novelty, novelty
from wirespeak.detect.cascade import STAGES, Budget, Cascade, Report, make_cascade
from wirespeak.detect.distilled import Distilled
from wirespeak.detect.drift import Drift
from wirespeak.detect.language import UNKNOWN, LanguageDetector, judge_examples
from wirespeak.evaluate.intervals import ends, once, resample
from wirespeak.evaluate.judge import MACRO_F1, rates
from wirespeak.interfaces.recipe import split_of
from wirespeak.lab.labelled import LabelledFlows, read_recording
from wirespeak.schema import compact_columns
from wirespeak.text import compact, judge_prompt

Chances = NDArray[np.float32]
CARRIED = [column.name for column in compact_columns()]
ERROR, REPEATS, PACE = 0.05, 3, 20_000


def timed(
    judge: Callable[[pl.DataFrame], Chances], parts: list[LabelledFlows]
) -> tuple[Chances, dict[str, Any]]:
    """The answers to every recording, one after the other, and rows a second."""
    began, worked = perf_counter(), process_time()
    answers = np.concatenate([judge(part.flows) for part in parts])
    wall, cpu = perf_counter() - began, process_time() - worked
    return answers, {
        "flows_per_s_of_a_core": round(len(answers) / cpu), "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3), "flows_per_s_wall": round(len(answers) / wall),
    }  # fmt: skip


def compared(
    answers: dict[str, Chances], labels: tuple[str, ...], parts: list[LabelledFlows]
) -> dict[str, Any]:
    """Macro-F1 of each, and what is lost against the model alone, with paired intervals.

    A group is a run of rows of one label in one recording: one attack, one lull.
    """
    truth = pl.concat([part.labels for part in parts])
    names = [*labels, *sorted(set(truth) - set(labels))]
    real = truth.replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
    runs = pl.concat([part.labels + f" of {part.name}" for part in parts]).rle_id()
    groups = runs.to_numpy().astype(np.int64)
    statistics = {
        name: rates((real, chances.argmax(axis=1)), len(names)) for name, chances in answers.items()
    }
    whole = {name: float(once(statistic, len(real))[MACRO_F1]) for name, statistic in statistics.items()}
    drawn = dict(
        zip(
            statistics,
            (d[:, MACRO_F1] for d in resample(list(statistics.values()), groups, rounds=500)),
            strict=True,
        )
    )
    found: dict[str, Any] = {
        name: {"macro_f1": round(whole[name], 4), **_interval(drawn[name])} for name in statistics
    }
    for name in ("cascade", "paced", "tree"):
        lost = {"macro_f1_lost": round(whole["model"] - whole[name], 4)}
        found[name] |= lost | {
            f"lost_{end}": value for end, value in _interval(drawn["model"] - drawn[name]).items()
        }
        same = answers[name].argmax(axis=1) == answers["model"].argmax(axis=1)
        found[name]["same_label_as_model"] = round(float(same.mean()), 5)
    return found | {"n": len(real), "groups": int(groups.max()) + 1, "seed": 0}


def _interval(drawn: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        name: None if end is None else round(end, 4)
        for name, end in zip(("low", "high"), ends(drawn), strict=True)
    }


def shares(reports: list[Report]) -> list[dict[str, Any]]:
    """The reports of several calls as one, a row a stage."""
    rows = sum(report.rows for report in reports)
    return [
        {
            "stage": name,
            "rows": (answered := sum(report[name].rows for report in reports)),
            "share": round(answered / rows, 5),
            "asked": sum(report[name].asked for report in reports),
            "seconds": round(sum(report[name].seconds for report in reports), 4),
        }
        for name in STAGES
    ]


def distinct(parts: list[LabelledFlows]) -> pl.DataFrame:
    """The distinct rows of judged columns and label, in a random order."""
    rows = pl.concat([part.flows.select(CARRIED).with_columns(label=part.labels) for part in parts])
    return rows.unique(maintain_order=True).sample(fraction=1.0, shuffle=True, seed=0)


def abstention(model: LanguageDetector, validation: pl.DataFrame, test: pl.DataFrame) -> dict[str, Any]:
    """Coverage promised and got, and how right the rows are that are still answered."""
    numbers = {label: place for place, label in enumerate(model.labels)}
    (known, known_truth), (judged, truth) = (
        (
            model.predict(rows),
            rows["label"].replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy(),
        )
        for rows in (validation, test)
    )
    keeps = Abstention.fit(known, known_truth, labels=model.labels, error=ERROR)
    said = keeps.answers(judged)
    answered = (said["reason"] == "").to_numpy()
    right = judged.argmax(axis=1) == truth
    half = len(validation) // 2
    watch = Drift(validation, keeps.novelty(known), columns=CARRIED)
    control = Drift(validation[:half], keeps.novelty(known[:half]), columns=CARRIED)
    watch.see(test, keeps.novelty(judged))
    control.see(validation[half:], keeps.novelty(known[half:]))
    return {
        "error": ERROR, "calibration_rows": len(validation), "rows": len(test), "pooled": keeps.pooled,
        "coverage": keeps.coverage(judged, truth).with_columns(pl.col(pl.Float64).round(4)).to_dicts(),
        "answered": round(float(answered.mean()), 4), "accuracy_of_answered": round(float(right[answered].mean()), 4),
        "accuracy_of_all": round(float(right.mean()), 4),
        "drift": {
            "test": {"alarm_at": watch.alarm, "rows": watch.rows, "moved": watch.moved().with_columns(pl.col("index").round(3)).to_dicts()},
            "validation_shuffled": {"alarm_at": control.alarm, "rows": control.rows},
        },
    }  # fmt: skip


def strange(cascade: Cascade, model: LanguageDetector, parts: list[LabelledFlows]) -> dict[str, Any]:
    """Rows made to be like nothing known: how many of those the model calls unknown the cascade does, too."""
    flows, labels = pl.concat([part.flows for part in parts]), pl.concat([part.labels for part in parts])
    before, after = judge_prompt("\n").split("\n")
    examples = judge_examples(flows, labels.to_list(), seed=7, count=10_000)
    said = [str(example.prompt).removeprefix(before).removesuffix(after) for example in examples]
    rows = compact.decode(said).select(pl.col(name).cast(flows.schema[name]) for name in CARRIED)
    unknown, normal = (model.labels.index(label) for label in (UNKNOWN, "normal"))
    asked, told = (detector.predict(rows).argmax(axis=1) for detector in (model, cascade))
    theirs = told[asked == unknown]
    return {
        "rows": len(rows), "unknown_by_model": len(theirs), "unknown_by_cascade_too": round(float((theirs == unknown).mean()), 4),
        "normal_by_cascade": round(float((theirs == normal).mean()), 4), "same_label": round(float((asked == told).mean()), 4),
    }  # fmt: skip


def left_out(parts: dict[str, list[LabelledFlows]]) -> dict[str, Any]:
    """AUROC of novelty on each kind that a tree was never taught, the score chosen by the other kinds."""
    validation, test = distinct(parts["validation"]), distinct(parts["test"])
    inner: dict[str, Fold] = {}
    judged: dict[str, Chances] = {}
    for kind in sorted(set(test["label"]) & set(validation["label"]) - {"normal"}):
        taught = distinct([part.without(kind) for part in parts["train"]])[:20_000]
        tree = Distilled(rounds=20).fit(taught.select(CARRIED), taught["label"].to_list())
        inner[kind] = Fold(tree.predict(validation), (validation["label"] == kind).to_numpy())
        judged[kind] = tree.predict(test)
    found: dict[str, Any] = {}
    for kind, chances in judged.items():
        by, _ = choose_novelty([fold for other, fold in inner.items() if other != kind])
        strange = (test["label"] == kind).to_numpy()
        found[kind] = {
            "n": int(strange.sum()),
            "by": by,
            "auroc": round(auroc(novelty(chances, by=by), strange), 4),
        }
    mean = round(float(np.mean([one["auroc"] for one in found.values()])), 4)
    return {"kinds": found, "mean": mean}


def _machine() -> dict[str, Any]:
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def tables(found: dict[str, Any]) -> str:
    """What was measured, for the page."""
    speed, agreement, unsure = found["speed"], found["agreement"], found["abstention"]
    lines = [
        f"*Made by `bench/cascade.py` into `bench/results/cascade.json`, on {found['machine']['processor']}, one thread. "
        f"{agreement['n']:,} flows, {found['stages'][1]['asked']:,} of them distinct, of {', '.join(found['recordings'])}, "
        f"from which nothing was learnt or chosen.*\n",
        "| judged by | macro-F1 | lost against the model (95 %) | same label as the model | flows/s of a core |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, called in (
        ("model", "model alone"),
        ("cascade", "cascade"),
        ("paced", f"cascade, budget {PACE:,} flows/s"),
        ("tree", "tree alone"),
    ):
        one = agreement[name]
        cells = [called, f"{one['macro_f1']:.4f} ({one['low']:.4f} to {one['high']:.4f})", "", ""]
        if name != "model":
            cells[2] = f"{one['macro_f1_lost']:+.4f} ({one['lost_low']:+.4f} to {one['lost_high']:+.4f})"
            cells[3] = f"{one['same_label_as_model']:.2%}"
        lines.append(f"| {' | '.join(cells)} | {speed[name]['flows_per_s_of_a_core']:,} |")
    lines += [
        "",
        f"A loss below zero is a gain. The budget is of wall time, a mean of {found['machine']['load']} processes wanting {found['machine']['cores']} cores at the time of measuring: "
        f"within it {found['stages_paced'][2]['asked']:,} rows went to the model, and {found['over_budget']:,} that should have gone there kept the tree's answer. Without one:\n",
        "| stage | answered | share | distinct rows asked |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['stage']} | {one['rows']:,} | {one['share']:.2%} | {one['asked']:,} |"
        for one in found["stages"]
    ]
    odd = found["strange"]
    lines += [
        "",
        f"Of {odd['unknown_by_model']:,} made-up rows that the model calls `unknown` (larger, busier or odder than any recording shows, or "
        f"between two attacks) the cascade calls {odd['unknown_by_cascade_too']:.0%} so, and {odd['normal_by_cascade']:.0%} normal.\n",
        f"Abstention at {unsure['error']:.0%}, calibrated on {unsure['calibration_rows']:,} distinct validation rows, of the model's answers to "
        f"{unsure['rows']:,} distinct test rows: {unsure['answered']:.1%} answered, {unsure['accuracy_of_answered']:.1%} of these right "
        f"(of all rows {unsure['accuracy_of_all']:.1%}).\n",
        "| label | rows | covered (95 %) | promised | broken | answered |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for one in unsure["coverage"]:
        promised = "" if one["promised"] is None else f"{one['promised']:.0%}"
        lines.append(
            f"| {one['label'] or 'all'} | {one['n']:,} | {one['covered']:.1%} ({one['low']:.1%} to {one['high']:.1%}) | "
            f"{promised} | {'yes' if one['broken'] else ''} | {one['answered']:.1%} |"
        )
    drift = unsure["drift"]
    moved = ", ".join(f"{one['column']} ({one['index']:.2f})" for one in drift["test"]["moved"])
    when = "no alarm" if drift["test"]["alarm_at"] is None else f"alarm at row {drift['test']['alarm_at']:,}"
    control = drift["validation_shuffled"]
    quiet = "no alarm" if control["alarm_at"] is None else f"an alarm at row {control['alarm_at']:,}"
    novel = found["novelty_of_kinds_left_out"]
    kinds = ", ".join(
        f"{kind} {one['auroc']:.2f}"
        for kind, one in sorted(novel["kinds"].items(), key=lambda one: -one[1]["auroc"])
    )
    lines += [
        "", f"Drift from the validation recordings to the test ones (other networks): {when}; moved most: {moved}. "
        f"One half of the validation rows after the other, shuffled: {quiet} in {control['rows']:,} rows.\n",
        f"AUROC of novelty on kinds left out of training (trees): mean {novel['mean']:.2f}; {kinds}.",
    ]  # fmt: skip
    return "\n".join(lines)


def write_page(path: Path, found: dict[str, Any]) -> None:
    """Put the tables between the marks of the page."""
    before, _, rest = path.read_text("utf-8").partition("<!-- numbers -->\n")
    _, mark, after = rest.partition("<!-- end -->")
    path.write_text(f"{before}<!-- numbers -->\n{tables(found)}\n{mark}{after}", "utf-8")


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("recordings", type=Path, nargs="?")
    reader.add_argument("--cascade", type=Path, default=Path("out/cascade"))
    reader.add_argument("--page", type=Path)
    reader.add_argument("-o", "--output", type=Path, required=True)
    given = reader.parse_args()
    if given.recordings:
        result = measured(given.recordings, given.cascade)
        given.output.write_text(json.dumps(result, indent=1) + "\n")
    if given.page:
        write_page(given.page, json.loads(given.output.read_text("utf-8")))


def measured(recordings: Path, folder: Path) -> dict[str, Any]:
    """Everything, as it is written."""
    parts: dict[str, list[LabelledFlows]] = {"train": [], "validation": [], "test": []}
    for place in sorted(path.parent for path in recordings.glob("*/truth.csv")):
        if split_of(place) in parts:
            parts[split_of(place)].append(read_recording(place))
    model = LanguageDetector.load(threads=1)
    if not (folder / "card.json").is_file():
        validation = parts["validation"]
        make_cascade(
            model, pl.concat([part.flows for part in parts["train"]]), pl.concat([part.flows for part in validation]),
            pl.concat([part.labels for part in validation]).to_list(), folder, seed=7,
        )  # fmt: skip
    test = parts["test"]
    answers, speeds = {}, {}
    kept: dict[str, list[Report]] = {}
    for _ in range(REPEATS):
        for name, budget in (("cascade", Budget()), ("paced", Budget(flows_per_s=PACE))):
            cascade, reports = Cascade.load(folder, threads=1, budget=budget), []

            def judge(
                flows: pl.DataFrame, cascade: Cascade = cascade, reports: list[Report] = reports
            ) -> Chances:
                answers = cascade.predict(flows)
                reports.append(cascade.report)
                return answers

            cascade.detector.predict(test[0].flows[:100])
            cascade.tree.predict(test[0].flows[:100])
            found, speed = timed(judge, test)
            if name not in speeds or speed["cpu_s"] < speeds[name]["cpu_s"]:
                answers[name], speeds[name], kept[name] = found, speed, reports
        answers["tree"], speed = timed(cascade.tree.predict, test)
        speeds["tree"] = min(speed, speeds.get("tree", speed), key=lambda one: one["cpu_s"])
    cascade = Cascade.load(folder, threads=1)
    answers["model"], speeds["model"] = timed(model.predict, test)
    result = {
        "machine": _machine(), "recordings": [part.name for part in test], "made_from": cascade.card["made_from"],
        "validation": cascade.card["validation"], "thresholds": cascade.thresholds, "stages": shares(kept["cascade"]), "stages_paced": shares(kept["paced"]), "over_budget": sum(report.over_budget for report in kept["paced"]),
        "speed": speeds, "agreement": compared(answers, model.labels, test),
    }  # fmt: skip
    result["times_faster"] = round(
        speeds["cascade"]["flows_per_s_of_a_core"] / speeds["model"]["flows_per_s_of_a_core"], 1
    )
    result["strange"] = strange(cascade, model, test)
    result["abstention"] = abstention(model, distinct(parts["validation"]), distinct(test))
    result["novelty_of_kinds_left_out"] = left_out(parts)
    return result


if __name__ == "__main__":
    main()

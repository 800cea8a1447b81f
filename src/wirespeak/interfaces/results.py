"""docs/results.md: the tables of what was measured, from the files in bench/results and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path("bench/results")
_NAMES = {
    "language": "the model in the box",
    "forest": "random forest (scikit-learn defaults)",
    "suricata": "Suricata 7 with our own rules",
    "random_weights": "same shape, random weights",
}

_PEERS = {
    "wirespeak": "Wirespeak, every feature", "nfpcapd": "nfpcapd (NetFlow fields)", "argus": "argus (flow records)",
    "suricata": "Suricata without rules", "nfstream": "nfstream with statistics", "tshark": "tshark (one field a packet)",
}  # fmt: skip


def results_page() -> str:
    """The page; a part whose file is missing says how to make it."""
    parts = [
        "# Results",
        "*Made by `make docs` from the files in `bench/results/`; each section names the command that measures it again.*",
        "## Recordings never trained on",
        _section(
            "detection.json",
            "python bench/detection.py out/recordings --model out/model",
            _detection,
        ),
        "## Kinds of attack never seen",
        _section("unseen.json", "python bench/unseen.py out/recordings", _unseen),
        "## Captures recorded elsewhere",
        _section("captures.json", "python bench/captures.py", _captures),
        "## Explanations",
        _section("explanations.json", "python bench/explanations.py out/recordings", _explanations),
        "## Captures to flows",
        _section("flows.json", "python bench/flows.py --most 101000000 --nfstream PYTHON", _flows),
        "## Flows beside other tools",
        _section("agreement.json", "python bench/agreement.py --nfstream PYTHON", _agreement),
        "## NetFlow and IPFIX",
        _section("netflow.json", "python bench/netflow.py", _netflow),
        "## Speed",
        _section("bench.json", "wirespeak bench", _speed),
        _section("asking.json", "python bench/asking.py out/model/checkpoint", _asking),
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: str, render: Any) -> str:
    path = RESULTS / name
    target = RESULTS if command.startswith("wirespeak") else path
    if not path.is_file():
        return f"Not run. `{command} -o {target}` measures it."
    return f"{render(json.loads(path.read_text('utf-8')))}\n\n`{command} -o {target}`"


def _detection(found: dict[str, Any]) -> str:
    rows = []
    for name, said in ((name, said) for name, said in _NAMES.items() if name in found):
        for over in ("flows", "distinct"):
            score = found[name][over]
            interval = f"{score['macro_f1']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
            rows.append(
                (
                    said,
                    over,
                    f"{score['n']:,}",
                    interval,
                    f"{score['accuracy']:.4f}",
                    f"{score['calibration_error']:.4f}",
                    score["unknown"],
                    score["no_answer"],
                )
            )
    incidents = [
        (entry["recording"], entry["attacks"], entry["found_once"], entry["false"])
        for entry in found["language"]["incidents"]
    ]
    labels = [
        (e["label"], e["n"], f"{e['precision']:.3f}", f"{e['recall']:.3f}", f"{e['f1']:.3f}")
        for e in found["language"]["per_label"]
    ]
    confused = [(e["truth"], e["answer"], e["n"]) for e in found["language"]["confused"]]
    parts = [
        f"Test recordings {', '.join(found['recordings'])}: other addresses, device mixes and seeds, and for each kind of attack a tool "
        "or mode that no training or validation recording holds. *Distinct* counts each pair of sentence and label once; `unknown` and no "
        "answer are wrong. Intervals: 95 %, bootstrap over runs of flows of one label.",
        _table(
            ("detector", "over", "n", "macro-F1", "accuracy", "calibration error", "unknown", "no answer"),
            rows,
        ),
        "Incidents of the model in the box, attack by attack. How evidence is counted was changed after these counts had been seen once, so they are optimistic ([log.md](log.md)):",
        _table(
            ("recording", "attacks", "found as exactly one incident of the right label", "other incidents"),
            incidents,
        ),
        "Distinct flows, label by label:",
        _table(("label", "n", "precision", "recall", "F1"), labels),
        "Where it errs most (distinct flows):",
        _table(("truth", "answer", "n"), confused),
    ]
    parts.append(
        f"A compact sentence carries {found['columns']} columns; the median flow takes {found['tokens_median']:.0f} tokens."
    )
    if agreement := found.get("int8_against_fp32"):
        parts.append(
            f"The 8-bit weights name the same label as 32-bit ones for {agreement['same_label']:.3%} of {agreement['sentences']:,} distinct sentences."
        )
    return "\n\n".join(parts)


def _unseen(found: dict[str, Any]) -> str:
    rows = [
        (
            kind,
            entry["n"],
            f"{entry['hostile_or_unknown']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})",
            _counts(entry["called"]),
            f"{entry['false_alarms']:.4f}",
        )
        for kind, entry in found["kinds"].items()
    ]
    return (
        f"Each kind was left out of training once ({found['steps']} steps, judging alone), then its flows in the test recordings were judged. "
        f"Mean share called hostile or `unknown`: {found['mean']:.3f}.\n\n"
        + _table(
            (
                "kind left out",
                "flows",
                "called hostile or unknown (Wilson 95 %)",
                "called",
                "ordinary flows called so",
            ),
            rows,
        )
    )


def _captures(found: dict[str, Any]) -> str:
    total = found["summary"]
    hostile = [
        (Path(e["file"]).stem, e["flows"], _counts(e["verdicts"]), "; ".join(e["incidents"]) or "none")
        for e in found["captures"]
        if e["category"] == "attack" and "flows" in e
    ]
    noisy = [
        (Path(e["file"]).stem, e["flows"], "; ".join(e["incidents"]))
        for e in found["captures"]
        if e.get("label") == "benign" and e["incidents"]
    ]
    return "\n\n".join(
        [
            "Captures of real devices and attacks from public collections; nothing was trained on them.",
            f"Ordinary: {total['ordinary_captures_with_incidents']} of {total['ordinary_captures']} captures show an incident; "
            f"{total['ordinary_flows_called_hostile']:,} of {total['ordinary_flows']:,} flows were called hostile or unknown.",
            _table(("ordinary capture with an incident", "flows", "incidents"), noisy) if noisy else "",
            _table(("hostile capture", "flows", "verdicts", "incidents"), hostile),
        ]
    )


def _explanations(found: dict[str, Any]) -> str:
    rows = [
        (e["recording"], e["incidents"], e["sentences"], e["by_model"], e["replaced"], e["claims"], e["hold"])
        for e in found["recordings"]
    ]
    return (
        f"Of {found['sentences']} sentences shown, {found['by_model']} ({found['by_model'] / max(1, found['sentences']):.0%}) are the model's own; the rest replaced what "
        f"did not hold or could not be read. {found['hold']} of {found['claims']} numbers and comparisons shown hold against the record.\n\n"
        + _table(("recording", "incidents", "sentences", "by the model", "replaced", "claims", "hold"), rows)
    )


def _flows(found: dict[str, Any]) -> str:
    order = sorted(found["tools"], key=lambda tool: -tool["packets_per_cpu_s"])
    own = next(tool["packets_per_cpu_s"] for tool in order if tool["tool"] == "wirespeak")
    tools = [
        (
            _PEERS.get(tool["tool"], tool["tool"]),
            f"{tool['packets_per_cpu_s']:,.0f}",
            f"{own / tool['packets_per_cpu_s']:.1f}",
            f"{tool['peak_mib']:,.0f}",
        )
        for tool in order
    ]
    grown = [
        (
            f"{one['packets']:,}",
            one["from"],
            f"{one['cpu_s']:.2f}",
            f"{one['cpu_s'] / one['packets'] * 1e9:,.0f}",
            f"{(one['cpu_s'] - less['cpu_s']) / (one['packets'] - less['packets']) * 1e9:,.0f}"
            if less
            else "",
            f"{one['peak_mib']:,.0f}",
        )
        for less, one in zip([None, *found["growth"]], found["growth"], strict=False)
    ]
    machine = found["machine"]
    walls = found["workers"]["wall_s"]
    times, apart = (
        sorted(times * one / wall for one, wall in zip(walls["1"], walls[who], strict=True))
        for who, times in (("2", 1), ("apart", 2))
    )
    return "\n\n".join(
        [
            f"Made captures: 50,000 flows of 12 packets, and copies of them later in time. {machine['cores']} cores, {machine['machine']}, Python {machine['python']}. Start-up is taken "
            "out of the rates by the difference of two sizes; the middle of three rounds where a tool is quick. The peers do less, each in its own way.",
            _table(("tool", "packets a CPU second", "Wirespeak is faster by", "MiB"), tools),
            f"Two workers took {found['workers']['packets']:,} packets to the same table {times[len(times) // 2]:.2f} times as fast as one "
            f"({times[0]:.2f} to {times[-1]:.2f}, wall clock, the middle of {len(times)} rounds in turn). Two processes of one worker each, at the same time, got "
            f"{apart[len(apart) // 2]:.2f} times as much done as one ({apart[0]:.2f} to {apart[-1]:.2f}): so much the second core of this machine gives. "
            f"Compiling the C, once, when the package is installed, takes {found['compiling']['cpu_s']:.1f} CPU seconds; nothing is compiled later.",
            "What ever larger captures cost, start-up included, and each packet more than in the row above:",
            _table(("packets", "from", "CPU s", "ns a packet", "ns a packet more than above", "MiB"), grown),
            "![Nanoseconds a packet and memory, by the size of the capture](images/flows.png)",
        ]
    )


def _agreement(found: dict[str, Any]) -> str:
    kinds = ("alike", "packets differ", "bytes differ", "times differ", "here alone", "there alone")
    tools = [tool for tool in ("tshark", "nfstream") if tool in found]
    counts = [
        (
            f"{tool} {found[tool]['version']}",
            found[tool]["counts"]["captures"],
            *(f"{found[tool]['counts'].get(kind, 0):,}" for kind in kinds),
        )
        for tool in tools
    ]
    said = (
        f"Every capture of {found['captures']} real ones that both read: what one end of a pair sent to the other over TCP or UDP. "
        "Reasons of the differences are in [flows.md](flows.md#beside-tshark-and-nfstream)."
    )
    parts = [said, _table(("tool", "captures", *kinds), counts)]
    if columns := found.get("nfstream", {}).get("columns"):
        apart = [
            (f"`{name}`", f"{alike:,}", f"{of:,}") for name, (alike, of) in columns.items() if alike < of
        ]
        compared = max(of for _, of in columns.values())
        parts += [
            f"Flows that are alone between their ends and have as many packets there: {compared:,}. Of {len(columns)} columns "
            f"{len(columns) - len(apart)} agree on every one of them"
            + (", the others on most:" if apart else "."),
            *([_table(("column", "alike", "of"), apart)] if apart else []),
        ]
    return "\n\n".join(parts)


def _netflow(found: dict[str, Any]) -> str:
    rows = [
        (form, f"{one['records']:,}", *(f"{one['records_per_s'][way]:,}" for way in ("out", "in", "met")))
        for form, one in found["formats"].items()
    ]
    head = ("format", "records", "written a CPU second", "read", "paired into flows")
    return _table(head, rows)


def _speed(found: dict[str, Any]) -> str:
    rows = [
        (e["what"], "not run" if e["value"] is None else f"{e['value']:,.0f}", f"{e['per']}/s", e["note"])
        for e in found["rates"]
    ]
    machine = found["machine"]
    said = f"{machine['cores']} cores, {machine['machine']}, {machine['system']}, Python {machine['python']}, {machine['threads']} threads; best of a few rounds of one run."
    return said + "\n\n" + _table(("what", "rate", "of", "note"), rows)


def _asking(found: dict[str, Any]) -> str:
    rows = [
        (
            row["way"],
            f"{row['flows_per_s']:,.0f}",
            f"{row['scores_are_times_faster']:g}",
            f"{row['as_they_come_is_times_faster']:g}",
            "" if row["agree"] is None else f"{row['agree']:.0%}",
        )
        for row in found["rows"]
    ]
    head = (
        "way to ask the model in the box",
        "flows/s",
        "scores are faster by",
        "with copies judged once, by",
        "same label",
    )
    return _table(head, rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""Findings as a page and as JSON. The page loads nothing and runs nothing; captured text is escaped on it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from wirespeak.data.audit.finding import SEVERITIES, Finding
from wirespeak.data.dataset import Dataset

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: .2rem; }
article { border-left: .3rem solid #8888; padding: .1rem 0 .4rem 1rem; margin: 1.2rem 0; }
article.serious { border-color: #c62828; } article.warning { border-color: #ef8f00; }
h3 { margin: .2rem 0; font-size: 1rem; } .kind { font-weight: normal; opacity: .75; }
table { border-collapse: collapse; font-size: .85rem; margin: .4rem 0; }
td, th { padding: .1rem .6rem .1rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { background: #8882; padding: 0 .25rem; } .note { opacity: .75; font-size: .9rem; }
"""


def record(dataset: Dataset, findings: Sequence[Finding], *, rows: bool = True) -> dict[str, Any]:
    """What `audit.json` holds. rows: whether findings keep their (at most three) rows of the data."""
    found = [finding.as_dict() for finding in findings]
    if not rows:
        found = [
            {name: value for name, value in one.items() if name != "examples_from_the_data"} for one in found
        ]
    return {
        "dataset": dataset.name,
        "title": dataset.title,
        "granularity": dataset.granularity,
        "rows": len(dataset),
        "columns": len(dataset.fields),
        "set_aside": dataset.set_aside.height,
        "labels": {str(label): n for label, n in sorted(dataset.labels.value_counts().iter_rows())},
        "counts": {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES},
        "findings": found,
    }


def write(dataset: Dataset, findings: Sequence[Finding], output: Path, *, rows: bool = True) -> None:
    """Write `audit.json` and `audit.html` into the folder `output`. rows: as in `record`."""
    text = json.dumps(record(dataset, findings, rows=rows), indent=1, ensure_ascii=False) + "\n"
    (output / "audit.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    page = html(dataset, findings, rows=rows)
    (output / "audit.html").write_text(page, encoding="utf-8", errors="backslashreplace")


def html(dataset: Dataset, findings: Sequence[Finding], *, rows: bool = True) -> str:
    """The whole page."""
    bad = sum(finding.severity == "serious" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    heading = f"{shown(dataset.title)}: {bad} serious, {warnings} to weigh, {len(findings) - bad - warnings} to know"
    body = "".join(_article(finding, rows=rows) for finding in findings)
    plain = ", ".join(_family(findings))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of {shown(dataset.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{heading}</h1>\n"
        f'<p class="note">{len(dataset):,} rows, {len(dataset.fields)} columns, one row a {dataset.granularity}. {plain}</p>\n'
        f"{body}\n</body>\n</html>\n"
    )


def shown(value: object) -> str:
    """Text for a page: no markup, no control characters, no bidirectional overrides."""
    plain = "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter
        for letter in str(value)
    )
    return escape(plain, quote=True)


def _family(findings: Iterable[Finding]) -> list[str]:
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.kind.partition(".")[0]] = counts.get(finding.kind.partition(".")[0], 0) + 1
    return [f"{name}: {n}" for name, n in counts.items()]


def _article(finding: Finding, *, rows: bool) -> str:
    parts = [
        f"<h3>{shown(finding.says)} <span class='kind'>{shown(finding.severity)}, {shown(finding.kind)}</span></h3>"
    ]
    if len(finding.columns) > 1:
        parts.append(
            f"<p class='note'>columns {', '.join(f'<code>{shown(name)}</code>' for name in finding.columns)}</p>"
        )
    if finding.table:
        parts.append(_table(finding.table))
    if finding.numbers:
        said = ", ".join(
            f"{shown(name.replace('_', ' '))} {_cell(value)}" for name, value in finding.numbers.items()
        )
        parts.append(f"<p class='note'>{said}</p>")
    if rows and finding.examples:
        parts.append(
            f"<details><summary class='note'>rows, from the data</summary>{_table(finding.examples)}</details>"
        )
    if finding.remedy:
        parts.append(f"<p>Remedy: <code>wirespeak split {shown(finding.remedy)}</code></p>")
    return f'<article class="{finding.severity}">\n{"".join(parts)}</article>\n'


def _table(lines: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{shown(name)}</th>" for name in lines[0])
    body = "".join(
        "<tr>" + "".join(f"<td{_align(value)}>{_cell(value)}</td>" for value in line.values()) + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _align(value: object) -> str:
    return ' class="number"' if isinstance(value, int | float) else ""


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else shown(value)

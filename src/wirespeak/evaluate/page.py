"""The comparison as one HTML file that needs nothing else: no script, nothing loaded, every text escaped.

It carries counts, shares and medians; no row of a dataset.
"""

from __future__ import annotations

import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import floor
from typing import TYPE_CHECKING

import polars as pl

from wirespeak import __version__
from wirespeak.evaluate.judge import ATTACK, NO_ANSWER, Judgement
from wirespeak.records import Score

if TYPE_CHECKING:
    from wirespeak.evaluate.comparison import Result

_COLUMNS = ("accuracy", "binary accuracy", "attack ROC area", "unseen recall at 5 % false alarms", "calibration error")  # fmt: skip
_SIZE = 240


def render(results: Sequence[Result], tests: pl.DataFrame, *, title: str, notes: Sequence[str]) -> str:
    """The whole page. results: the best first. tests: as `compare` gives them."""
    style = files("wirespeak.evaluate").joinpath("page.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    body = "\n".join(
        (_header(results, title, notes), _side_by_side(results), _tests(tests, results), _curves(results[0]))
        + tuple(_detector(result, opened=not place) for place, result in enumerate(results))
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{shown(title)} - Wirespeak</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n"
        f"<footer>Wirespeak {shown(__version__)}. Intervals hold 95 %: Wilson's for shares, bootstrap by group for the "
        "rest. An answer that is missing is wrong.</footer>\n</main>\n</body>\n</html>\n"
    )


def shown(text: object) -> str:
    """Text for a page: control characters and bidirectional overrides spelled out, the rest escaped."""
    plain = "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter
        for letter in str(text)
    )
    return escape(plain, quote=True)


def _header(results: Sequence[Result], title: str, notes: Sequence[str]) -> str:
    first = results[0].judgement
    figures = {
        "rows judged": f"{first.rows:,}",
        "groups": f"{first.groups:,}",
        "labels": str(len(first.labels)),
        "detectors": str(len(results)),
        "best by macro-F1": shown(results[0].name),
    }
    terms = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    said = "".join(f'<p class="note">{shown(note)}</p>' for note in notes)
    return f'<header><p class="brand">Wirespeak</p><h1>{shown(title)}</h1><dl class="figures">{terms}</dl>{said}</header>'


def _side_by_side(results: Sequence[Result]) -> str:
    columns = [name for name in _COLUMNS if any(result.judgement.score(name) for result in results)]
    random = any(result.random for result in results)
    costs = any(result.fit or result.predict for result in results)
    head = ["", "macro-F1", *columns]
    head += ["macro-F1, random split"] if random else []
    head += ["fit, s", "predict, us a row", "peak, MB"] if costs else []
    low = _lowest(results)
    rows = []
    for place, result in enumerate(results):
        score = result.judgement.score("macro-F1")
        other = result.random.score("macro-F1") if result.random else None
        cells = [f"{_interval(score, other, low)}{_figure(score)}"]
        cells += [_figure(result.judgement.score(name)) for name in columns]
        cells += [_figure(other)] if random else []
        if costs:
            cells += [
                f"{result.fit.wall_s:,.1f}" if result.fit else "",
                f"{result.predict_us:,.1f}" if result.predict_us is not None else "",
                f"{result.peak_mb:,.0f}" if result.peak_mb is not None else "",
            ]
        name = f"{shown(result.name)}{f'<br><small>{shown(result.note)}</small>' if result.note else ''}"
        rows.append(
            (
                f'<tr class="best"><th scope="row">{name}</th>'
                if not place
                else f'<tr><th scope="row">{name}</th>'
            )
            + "".join(f'<td class="number">{cell}</td>' for cell in cells)
            + "</tr>"
        )
    key = " The open mark is the random split, which overstates." if random else ""
    return (
        f'<section><h2>Side by side</h2><div class="wide"><table><thead><tr>{_heads(head)}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="note">The bar is the interval of macro-F1, from {low:g} to 1.{key}</p></section>'
    )


def _lowest(results: Sequence[Result]) -> float:
    """Where the scale of macro-F1 begins: the tenth below everything shown."""
    scores = [one.score("macro-F1") for result in results for one in (result.judgement, result.random) if one]
    return floor(10 * min(score.value if score.low is None else score.low for score in scores if score)) / 10


def _interval(score: Score | None, other: Score | None, start: float) -> str:
    """An interval and its value between `start` and 1; the random-split number as an open mark."""
    if score is None:
        return ""

    def along(value: float) -> float:
        return 100 * (value - start) / max(1e-9, 1 - start)

    low, high = (score.value if end is None else end for end in (score.low, score.high))
    mark = f'<circle class="other" cx="{along(other.value):.1f}%" cy="50%" r="4"/>' if other else ""
    return (
        f'<svg class="interval" role="img" aria-label="{score.value:.3f}, {low:.3f} to {high:.3f}"><rect class="track" y="44%" width="100%" height="12%"/>'
        f'<rect class="span" x="{along(low):.1f}%" y="22%" width="{max(0.6, along(high) - along(low)):.1f}%" height="56%"/>'
        f'<circle class="value" cx="{along(score.value):.1f}%" cy="50%" r="3"/>{mark}</svg>'
    )


def _figure(score: Score | None) -> str:
    if score is None:
        return ""
    ends = f"<small>{score.low:.3f} to {score.high:.3f}</small>" if score.low is not None else ""
    return f"{score.value:.3f}{ends}"


def _tests(tests: pl.DataFrame, results: Sequence[Result]) -> str:
    """The best against each other."""
    best = tests.filter(better=results[0].name)
    if not best.height:
        return ""
    grouped = bool(best["mcnemar_group_p"].is_not_null().any())
    head = [
        "against",
        "macro-F1, better by",
        "p",
        "p, for all pairs",
        "right alone",
        "wrong alone",
        "McNemar p",
    ]
    rows = [
        [
            f"{row['difference']:.3f}<small>{row['low']:.3f} to {row['high']:.3f}</small>" if row["low"] is not None else f"{row['difference']:.3f}",
            _chance(row["p"]),
            _chance(row["p_holm"]),
            f"{row['only_better']:,}",
            f"{row['only_worse']:,}",
            _chance(row["mcnemar_p"]),
            *([_chance(row["mcnemar_group_p"])] if grouped else []),
        ]
        for row in best.iter_rows(named=True)
    ]  # fmt: skip
    table = _table([*head, *(["McNemar by group, p"] if grouped else [])], best["worse"], rows)
    return f"<section><h2>{shown(results[0].name)} against the others, on the same rows</h2>{table}</section>"


def _chance(p: float | None) -> str:
    return "" if p is None else "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _curves(result: Result) -> str:
    curves = result.judgement.curves
    drawn = [
        _chart(curves["roc"].filter(label=ATTACK), "false_alarm_rate", "recall", "attack against normal"),
        _chart(curves["pr"].filter(label=ATTACK), "recall", "precision", "attack against normal"),
        _chart(curves["risk"], "coverage", "risk", "share wrong when the surest are answered"),
        _chart(curves["calibration"], "confidence", "accuracy", "calibration"),
    ]
    return f'<section><h2>{shown(result.name)} in curves</h2><div class="charts">{"".join(drawn)}</div></section>'


def _chart(curve: pl.DataFrame, x: str, y: str, title: str) -> str:
    """A curve in the unit square."""
    if not curve.height:
        return ""
    points = " ".join(
        f"{40 + a * _SIZE:.1f},{20 + (1 - b) * _SIZE:.1f}" for a, b in curve.select(x, y).rows()
    )
    low, side = 20 + _SIZE, 40 + _SIZE
    guide = (
        f'<line class="guide" x1="40" y1="{low}" x2="{side}" y2="20"/>' if y in ("accuracy", "recall") else ""
    )
    ticks = "".join(
        f'<text x="{40 + tick * _SIZE}" y="{low + 15}" text-anchor="middle">{tick:g}</text>'
        f'<text x="34" y="{24 + (1 - tick) * _SIZE}" text-anchor="end">{tick:g}</text>'
        for tick in (0, 0.5, 1)
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_SIZE + 60} {_SIZE + 58}" role="img" aria-label="{shown(y)} over {shown(x.replace("_", " "))}">'
        f'<text x="40" y="12">{shown(title)}</text><rect class="frame" x="40" y="20" width="{_SIZE}" height="{_SIZE}"/>{guide}'
        f'<polyline class="curve" points="{points}"/>{ticks}'
        f'<text x="{40 + _SIZE / 2}" y="{low + 32}" text-anchor="middle">{shown(x.replace("_", " "))}</text>'
        f'<text transform="translate(12 {20 + _SIZE / 2}) rotate(-90)" text-anchor="middle">{shown(y)}</text></svg>'
    )


def _detector(result: Result, *, opened: bool) -> str:
    judgement = result.judgement
    score = judgement.score("macro-F1")
    said = f" macro-F1 {score.value:.3f}" if score else ""
    told = result.failures
    parts = [_labels(judgement), _matrix(judgement), _names(judgement)]
    if told:
        words = "".join(f"<li>{shown(one.words)}</li>" for one in told.typical)
        parts.append(f"<h3>What its wrong rows look like</h3><ul>{words}</ul>" if words else "")
        parts.append(_slices(told.slices))
    return f"<details{' open' if opened else ''}><summary>{shown(result.name)}<span>{said}</span></summary>{''.join(parts)}</details>"


def _labels(judgement: Judgement) -> str:
    rows = [
        [
            f"{row['n']:,}",
            f"{row['answered']:,}",
            *(_share(row, name) for name in ("precision", "recall", "f1")),
        ]
        for row in judgement.per_label.iter_rows(named=True)
    ]
    return f"<h3>By label</h3>{_table(['', 'rows', 'answered', 'precision', 'recall', 'F1'], judgement.per_label['label'], rows)}"


def _share(row: dict[str, float | None], name: str) -> str:
    value, low, high = row[name], row.get(f"{name}_low"), row.get(f"{name}_high")
    if value is None:
        return ""
    return f"{value:.3f}" + (f"<small>{low:.3f} to {high:.3f}</small>" if low is not None else "")


def _matrix(judgement: Judgement) -> str:
    """Truth down, answers across; the shade is the share of the row."""
    pairs = {(str(t), str(a)): int(n) for t, a, n in judgement.confusion.iter_rows()}
    names = [name for name in (*judgement.labels, NO_ANSWER) if any(name in pair for pair in pairs)]
    rows = []
    for truth in names:
        whole = sum(n for (t, _), n in pairs.items() if t == truth)
        if not whole:
            continue
        cells = []
        for answer in names:
            n = pairs.get((truth, answer), 0)
            kind = f"{'right' if truth == answer else 'wrong'} s{-(-10 * n // whole)}"
            cells.append(f'<td class="{kind}">{n:,}</td>' if n else "<td></td>")
        rows.append(f'<tr><th scope="row">{shown(truth)}</th>{"".join(cells)}</tr>')
    head = "".join(f"<th><span>{shown(name)}</span></th>" for name in names)
    return f'<h3>Truth down, answers across</h3><div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _names(judgement: Judgement) -> str:
    table = judgement.per_name
    if not table.height:
        return ""
    rows = [
        [f"{row['n']:,}", "never seen" if row["unseen"] else "", _share({"recall": row["recall"], "recall_low": row["low"], "recall_high": row["high"]}, "recall")]
        for row in table.iter_rows(named=True)
    ]  # fmt: skip
    return f"<h3>Attack names, the least found first</h3>{_table(['', 'rows', 'in training', 'called an attack'], table['name'], rows)}"


def _slices(table: pl.DataFrame) -> str:
    if not table.height:
        return ""
    names = [f"{column} {part}" for column, part in table.select("column", "slice").rows()]
    rows = [
        [
            f"{row['n']:,}",
            f"{row['wrong']:,}",
            f"{row['rate']:.1%}<small>{row['low']:.1%} to {row['high']:.1%}</small>",
        ]
        for row in table.iter_rows(named=True)
    ]
    return f"<h3>Where it fails more than elsewhere</h3>{_table(['rows whose', 'rows', 'wrong', 'share'], names, rows)}"


def _table(head: Sequence[str], names: Iterable[object], rows: Iterable[Sequence[str]]) -> str:
    """A table of figures. Names are escaped here, cells are markup."""
    body = "".join(
        f'<tr><th scope="row">{shown(name)}</th>{"".join(f"""<td class="number">{cell}</td>""" for cell in cells)}</tr>'
        for name, cells in zip(names, rows, strict=True)
    )
    return (
        f'<div class="wide"><table><thead><tr>{_heads(head)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _heads(names: Sequence[str]) -> str:
    return "".join(
        f'<th class="number">{shown(name)}</th>' if place else f"<th>{shown(name)}</th>"
        for place, name in enumerate(names)
    )

"""Pictures for a paper: labelled, legible at the width of a column, told apart without colour.

Every function returns a matplotlib figure; `save` writes it as PNG, SVG and PDF, the same bytes for the same
figure. Needs the extra `plots`. matplotlib's own state is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import polars as pl

from wirespeak.errors import missing_extra
from wirespeak.evaluate.judge import ATTACK, NO_ANSWER, Judgement
from wirespeak.records import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_INK, _SOFT = "#1d2126", "#8a9099"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": _SOFT, "axes.labelcolor": _INK, "axes.titlesize": 10, "axes.titlelocation": "left",
    "xtick.color": _INK, "ytick.color": _INK, "hatch.linewidth": 0.6, "legend.frameon": False,
    "svg.hashsalt": "wirespeak", "text.parse_math": False, "svg.fonttype": "none", "pdf.fonttype": 42, "figure.dpi": 150,
}  # fmt: skip
# Okabe and Ito's colours (2008), from dark to light. Dashes and marks carry the difference without them; the
# three cycles have different lengths, so that dozens of lines differ.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a")
_DASHES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1, 1, 1)),
)
_MARKS = "os^Dv<>P*Xph8"
_ZOOM = 0.1  # false-alarm rates beyond this are of no use to an operator

_Drawing = TypeVar("_Drawing", bound=Callable[..., Any])


def _styled(draw: _Drawing) -> _Drawing:
    """Draw in our style, and leave matplotlib's own settings as they were."""

    @wraps(draw)
    def drawn(*arguments: Any, **options: Any) -> Any:
        try:
            from matplotlib import rc_context
        except ImportError as error:
            raise missing_extra("matplotlib", "plots") from error
        with rc_context(_STYLE):
            return draw(*arguments, **options)

    return cast(_Drawing, drawn)


@_styled
def confusion_matrix(judgement: Judgement, *, title: str = "") -> Figure:
    """Truth down, answers across: the shade is the share of the row, the number is how many rows."""
    labels = [label for label in judgement.labels if label in set(judgement.confusion["truth"]) | set(judgement.confusion["answer"])]  # fmt: skip
    columns = [*labels, NO_ANSWER] if NO_ANSWER in set(judgement.confusion["answer"]) else labels
    rows = [label for label in labels if label in set(judgement.confusion["truth"])]
    table = np.zeros((len(rows), len(columns)), np.int64)
    for truth, answer, n in judgement.confusion.iter_rows():
        table[rows.index(truth), columns.index(answer)] = n
    shares = table / table.sum(axis=1, keepdims=True)
    wide = 1.9 + 0.62 * len(columns)
    figure, axes = _figure(wide, 1.5 + 0.42 * len(rows))
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    for (down, across), n in np.ndenumerate(table):
        if n:
            dark = shares[down, across] > 0.55
            axes.text(
                across, down, _short(int(n)), ha="center", va="center", fontsize=7.5,
                color="white" if dark else _INK,
                fontweight="bold" if rows[down] == columns[across] else "normal",
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#d8d8d8", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="answer", ylabel="truth", title=title)
    return figure


@_styled
def class_bars(judgement: Judgement, *, title: str = "") -> Figure:
    """Precision, recall and F1 of each label with their intervals, the most frequent label first."""
    table = judgement.per_label.filter(pl.col("n") > 0).sort("n", descending=True)
    figure, axes = _figure(max(4.5, 1.4 + 0.62 * table.height), 3.4)
    places = np.arange(table.height)
    kinds = (("precision", "white", "////"), ("recall", "#c4c4c4", ""), ("f1", "#4a4a4a", ""))
    for offset, (name, shade, hatch) in enumerate(kinds):
        values, low, high = (
            table[column].fill_null(0).to_numpy() for column in (name, f"{name}_low", f"{name}_high")
        )
        axes.bar(
            places + (offset - 1) * 0.27, values, 0.25, color=shade, hatch=hatch, edgecolor=_INK, linewidth=0.6,
            label="F1" if name == "f1" else name,
            yerr=np.clip([values - low, high - values], 0, None),
            error_kw={"elinewidth": 0.8, "ecolor": "#8c8c8c" if name == "f1" else _INK, "capsize": 1.5, "capthick": 0.8},
        )  # fmt: skip
    names = [f"{label}\nn={_short(n)}" for label, n in table.select("label", "n").rows()]
    slanted = max(len(label) for label in table["label"]) > 8 and table.height > 4
    slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(places, [name.replace("\n", ", ") for name in names] if slanted else names, **slant)
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 1.02), ylabel="share, 95 % interval")
    _heading(axes, title)
    return figure


@_styled
def score_bars(
    scores: Mapping[str, Score], *, title: str = "", other: Mapping[str, Score] | None = None
) -> Figure:
    """One score of many detectors with its interval, the best on top. other: the random-split number of each."""
    names = sorted(scores, key=lambda name: scores[name].value)
    figure, axes = _figure(5.6, 1.3 + 0.3 * len(names))
    for place, name in enumerate(names):
        score = scores[name]
        if score.low is not None and score.high is not None:
            axes.plot(
                [score.low, score.high], [place, place], color=_INK, linewidth=1.4, solid_capstyle="butt"
            )
        axes.plot(
            score.value, place, "o", color=_INK, markersize=5, label="honest split" if not place else None
        )
        if other and name in other:
            first = name == next(one for one in names if one in other)
            axes.plot(
                other[name].value, place, "D", markerfacecolor="white", color=_INK, markersize=5,
                label="random split" if first else None,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{next(iter(scores.values())).name}, 95 % interval")
    _heading(axes, title)
    return figure


@_styled
def roc(curves: Mapping[str, pl.DataFrame], *, title: str = "") -> Figure:
    """Recall over false-alarm rate of each name; the right part enlarges few false alarms. curves: `false_alarm_rate`, `recall`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    whole, near = figure.subplots(1, 2)
    for axes in (whole, near):
        axes.plot([0, 1], [0, 1], color="#b5b5b5", linewidth=0.8)
        _draw(axes, curves, "false_alarm_rate", "recall", within=_ZOOM if axes is near else 1.0)
        axes.set(xlabel="false-alarm rate", ylabel="recall")
    near.set(
        xlim=(-_ZOOM / 100, _ZOOM * 1.01),
        ylim=(-0.01, 1.01),
        title=f"up to {_ZOOM:.0%} false alarms",
        box_aspect=1,
    )
    whole.set_title(title)
    return _square(figure, whole)


@_styled
def precision_recall(curves: Mapping[str, pl.DataFrame], *, title: str = "") -> Figure:
    """Precision over recall of each name. curves: `recall`, `precision`."""
    figure, axes = _figure(6.0, 3.9)
    _draw(axes, curves, "recall", "precision", steps=True)
    axes.set(xlabel="recall", ylabel="precision", title=title)
    return _square(figure, axes)


@_styled
def risk_coverage(curves: Mapping[str, pl.DataFrame], *, title: str = "") -> Figure:
    """Share wrong among the surest rows, over how many of them are answered. curves: `coverage`, `risk`."""
    figure, axes = _figure(6.0, 3.9)
    _draw(axes, curves, "coverage", "risk")
    axes.set(xlabel="coverage", ylabel="risk (share wrong)", title=title, xlim=(0, 1.01))
    axes.set_ylim(bottom=0)
    _legend(figure, axes)
    return figure


@_styled
def calibration(curves: Mapping[str, pl.DataFrame], *, title: str = "") -> Figure:
    """Accuracy over confidence of each name. curves: `confidence`, `accuracy`, `n`."""
    figure, axes = _figure(6.0, 3.9)
    axes.plot([0, 1], [0, 1], color="#b5b5b5", linewidth=0.8)
    _draw(axes, curves, "confidence", "accuracy", marks=True)
    axes.set(xlabel="confidence", ylabel="accuracy", title=title)
    return _square(figure, axes)


@_styled
def cost_quality(points: Mapping[str, tuple[float, Score]], *, title: str = "") -> Figure:
    """A score over what a verdict costs. points: microseconds a row (prediction), and the score, of each detector."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = _figure(6.4, 4.0)
    for cost, score in points.values():
        if score.low is not None and score.high is not None:
            axes.plot([cost, cost], [score.low, score.high], color=_SOFT, linewidth=1, zorder=1)
        axes.plot(cost, score.value, "o", color=_INK, markersize=5, zorder=2)
    axes.set_xscale("log")
    # Within a decade the decades' own ticks may all lie outside.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.22, y=0.12)
    name = next(iter(points.values()))[1].name
    axes.set(
        xlabel="prediction, microseconds a row (logarithmic)", ylabel=f"{name}, 95 % interval", title=title
    )
    _name_points(figure, axes, {name: (cost, score.value) for name, (cost, score) in points.items()})
    return figure


@_styled
def save(figure: Figure, folder: Path, name: str, *, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write NAME.png, NAME.svg and NAME.pdf. Dates are left out, so that the same figure is the same bytes."""
    empty: dict[str, dict[str, Any]] = {
        "png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None},
    }  # fmt: skip
    paths = [folder / f"{name}.{suffix}" for suffix in formats]
    for path in paths:
        figure.savefig(path, metadata=empty[path.suffix[1:]], bbox_inches="tight", pad_inches=0.06)
    return paths


def _figure(wide: float, high: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes. Sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    return figure, figure.add_subplot()


def _draw(
    axes: Axes,
    curves: Mapping[str, pl.DataFrame],
    x: str,
    y: str,
    *,
    steps: bool = False,
    marks: bool = False,
    within: float = 1.0,
) -> None:
    """Each curve with a colour, dashes and marks of its own. The marks, of curves up to `within`, are staggered."""
    for place, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        length = max(1, int((curve[x] <= within).sum()))
        gap = max(1, length // 3)
        axes.plot(
            curve[x], curve[y], color=colour, linestyle=_DASHES[place % len(_DASHES)], linewidth=1.3, label=name,
            marker=_MARKS[place % len(_MARKS)], markevery=1 if marks else (place * gap // max(1, len(curves)), gap),
            markersize=4.5, markerfacecolor="white" if place % 2 else colour,
            drawstyle="steps-pre" if steps else "default",
        )  # fmt: skip


def _square(figure: Figure, axes: Axes) -> Figure:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal")
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    lines, names = axes.get_legend_handles_labels()
    if lines:
        figure.legend(lines, names, loc="outside right center", fontsize=8, handlelength=3.2)


def _heading(axes: Axes, title: str) -> None:
    """The legend between the title and the axes, in one line."""
    axes.set_title(title, pad=24)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, fontsize=8, borderaxespad=0.2)


def _name_points(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write a name beside each point, at the first of several places where it covers no name and no point."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # now the layout is known
    pixel = figure.dpi / 72
    spots = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [Bbox.from_bounds(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in spots.values()]
    for name in sorted(points, key=lambda name: spots[name][1]):
        x, y = spots[name]
        for across, down, side in _PLACES:
            wide, high = 4.9 * pixel * len(name), 10 * pixel
            left = x + across * pixel - (wide if side == "right" else wide / 2 if side == "center" else 0)
            box = Bbox.from_bounds(left, y + down * pixel - high / 2, wide, high)
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        line = {"arrowstyle": "-", "color": _SOFT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            name, points[name], (across, down), textcoords="offset points", fontsize=8, ha=side, va="center",
            arrowprops=line if abs(down) > 14 else None,
        )  # fmt: skip


_PLACES = (
    (7, 0, "left"), (-7, 0, "right"), (0, 11, "center"), (0, -11, "center"), (9, 14, "left"), (-9, 14, "right"),
    (9, -14, "left"), (-9, -14, "right"), (16, 28, "left"), (-16, 28, "right"), (16, -28, "left"), (-16, -28, "right"),
    (20, 42, "left"), (-20, 42, "right"), (20, -42, "left"), (-20, -42, "right"),
)  # fmt: skip


def _short(n: int) -> str:
    """A count in at most five characters: 812, 12.3k, 1.2M."""
    if n < 10_000:
        return str(n)
    if n < 1_000_000:
        return f"{n / 1000:.1f}k" if n < 100_000 else f"{n / 1000:.0f}k"
    return f"{n / 1e6:.1f}M"


def attack_curves(judgements: Mapping[str, Judgement], kind: str) -> dict[str, pl.DataFrame]:
    """The curves of all attacks against normal, of each detector. kind: `roc` or `pr`."""
    curves = {name: one.curves[kind].filter(label=ATTACK) for name, one in judgements.items()}
    return {name: curve for name, curve in curves.items() if curve.height}


def label_curves(judgement: Judgement, kind: str) -> dict[str, pl.DataFrame]:
    """The curves of each label against the rest, of one detector. kind: `roc` or `pr`."""
    table = judgement.curves[kind].filter(pl.col("label") != ATTACK)
    return {str(label): table.filter(label=label) for label in table["label"].unique(maintain_order=True)}

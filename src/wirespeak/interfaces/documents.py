"""What is derived in the documents: the columns from the dictionary, the verbs from the command line, what the
README shows from a run of the demo.

`python -m wirespeak.interfaces.documents` writes them (`make docs`), or those that are named; tests fail when they
are stale.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from typer.testing import CliRunner

from wirespeak import schema
from wirespeak.data import catalogue
from wirespeak.interfaces.cli import application
from wirespeak.interfaces.commands import VERBS
from wirespeak.interfaces.compared import comparison_page, draw
from wirespeak.interfaces.results import results_page
from wirespeak.interfaces.spoken_page import language_page
from wirespeak.lm.bases import BASES
from wirespeak.lm.memory import USES, need

DOCS = Path("docs")


def columns_page() -> str:
    """docs/columns.md: every column of a flow table, every state, every label."""
    parts = [
        "# The columns of a flow table",
        _MADE_FROM.format("src/wirespeak/schema.py"),
        (schema.__doc__ or "").partition("Words used in the meanings\n")[2].strip(),
        f"`code` is the name of a column in a compact sentence, which carries {len(schema.compact_columns())} of "
        f"the {len(schema.FEATURES)} features. Identity columns say who and when; no model sees them.",
        "## Who and when",
        _column_table(schema.IDENTITY),
        "## The flow itself",
        _column_table(schema.OWN),
        "## Its packets, by direction",
        _column_table(schema.MEASURES),
        "## Context",
        _column_table(schema.CONTEXT),
        "## What the application said",
        "No model sees these: captured text is whatever its sender wrote. Null where nothing of the kind was said. Of several, the "
        "first in the flow. Text is cut at 255 bytes; every byte that is not of a printed character, and a backslash, is written `\\xNN`.",
        _column_table(schema.FACTS),
        "## The first packets",
        "With `--first-packets N` alone: lists, an item for each of the first N packets.",
        _column_table(schema.FIRST_PACKETS),
        "## States",
        _table(("state", "meaning"), ((f"`{name}`", meaning) for name, meaning in schema.STATES.items())),
        "## Services",
        _table(
            ("service", "ports"),
            ((f"`{name}`", ", ".join(map(str, ports))) for name, ports in schema.SERVICES.items()),
        ),
        "## Labels",
        "A label with a dot is a kind of the one before it. Inner nodes are labels too.",
        _table(("label", "meaning"), ((f"`{name}`", meaning) for name, meaning in schema.LABELS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def verbs_page() -> str:
    """docs/verbs.md: each verb as its `--help` says it."""
    runner = CliRunner()
    parts = ["# The verbs", _MADE_FROM.format("src/wirespeak/interfaces/commands.py"), _RULES]
    for verb in VERBS:
        said = runner.invoke(
            application(), [*verb.name.split(), "--help"], prog_name="wirespeak", env={"COLUMNS": "100"}
        )
        parts += [f"## {verb.name}", f"```\n{said.output.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def tuning_page() -> str:
    """docs/tuning.md as it is written, with the table of memory between its two marks."""
    page = (DOCS / "tuning.md").read_text("utf-8")
    before, _, rest = page.partition(_MEMORY_BEGINS)
    _, _, after = rest.partition(_MEMORY_ENDS)
    head = (
        "model", "licence", "adapter weights", "tune: full", "lora", "qlora", "ask: bf16", "int8", "nf4",
    )  # fmt: skip
    rows = []
    for base in BASES:
        needs = (need(base, use) for use in USES)
        cells = [f"{one.gb:.1f} ({one.card_gb or 'more'})" for one in needs]
        rows.append((base.name, base.licence, f"{base.trainable:,}", *cells))
    return f"{before}{_MEMORY_BEGINS}\n{_table(head, rows)}\n{_MEMORY_ENDS}{after}"


def _dataset_page(name: str) -> str:
    """A page of docs/datasets: what is known of a dataset, and what is wrong with it."""
    return catalogue.pages()[name]


PAGES: dict[str, Callable[[], str]] = {
    "columns.md": columns_page,
    "verbs.md": verbs_page,
    "results.md": results_page,
    "comparison.md": comparison_page,
    "language.md": language_page,
    "tuning.md": tuning_page,
    **{f"datasets/{name}": partial(_dataset_page, name) for name in catalogue.pages()},
}

_MADE_FROM = "*Made by `make docs` from `{}`.*"

_RULES = """\
Every verb keeps these rules.

- Results go where `-o` says. A verb with one product (`flows`, `textify`, `generate`) writes that file when the
  name ends in a known extension, with `NAME.run.json` beside it; otherwise the name is a folder that gets the
  files and `run.json`: the command, its options, hashes of the inputs, versions, the seed and the seconds.
- Nothing partial is ever left under a final name, whether the disk fills up or you press Ctrl-C.
- `--json` prints one record on stdout and nothing else there; progress and complaints go to stderr.
- The exit status is 0 when the work was done (whatever was found), 1 for bad input or failed work with one line
  that says what to do, 2 for a command that does not exist or does not fit, 130 when interrupted.
- The same input, options and seed give the same bytes, dates and seconds in `run.json` aside.
- `--truth` takes the `truth.csv` of a recording; how its rows match flows is in [lab.md](lab.md)."""


def _column_table(columns: Iterable[schema.Column]) -> str:
    rows = (
        (f"`{column.name}`", column.unit or column.kind, column.code and f"`{column.code}`", column.meaning)
        for column in columns
    )
    return _table(("column", "unit or kind", "code", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def with_demo(page: str, shown: str) -> str:
    """The README with what the demo shows on a terminal between its two marks."""
    before, _, rest = page.partition(_DEMO_BEGINS)
    _, _, after = rest.partition(_DEMO_ENDS)
    return f"{before}{_DEMO_BEGINS}\n```text\n{shown.strip()}\n```\n{_DEMO_ENDS}{after}"


_MEMORY_BEGINS, _MEMORY_ENDS = "<!-- memory:start -->", "<!-- memory:end -->"
_DEMO_BEGINS, _DEMO_ENDS = "<!-- what `make demo` shows -->", "<!-- until here -->"


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    if find_spec("matplotlib"):
        draw(DOCS / "images")
    if not sys.argv[1:]:
        readme = Path("README.md")
        demo = CliRunner().invoke(application(), ["demo"], prog_name="wirespeak", env={"COLUMNS": "80"})
        readme.write_text(with_demo(readme.read_text("utf-8"), demo.stdout), encoding="utf-8")

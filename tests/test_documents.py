"""Documents that cannot rot: derived pages are current, links lead somewhere, the README's commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from wirespeak.interfaces.commands import VERBS
from wirespeak.interfaces.documents import DOCS, PAGES

ROOT = Path(__file__).parent.parent
PAGES_BY_HAND = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
COMMANDS = [
    line
    for block in BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    for line in block.splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("name", PAGES)
def test_a_derived_page_is_what_make_docs_writes(name: str) -> None:
    assert (ROOT / DOCS / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_example_of_a_verb_names_the_verb_and_its_options(verb: object) -> None:
    example = verb.example  # type: ignore[attr-defined]
    page = (
        (ROOT / DOCS / "verbs.md").read_text("utf-8").partition(f"## {verb.name}\n")[2].partition("\n## ")[0]
    )  # type: ignore[attr-defined]
    assert example.startswith(f"wirespeak {verb.name}")  # type: ignore[attr-defined]
    assert all(word in page for word in shlex.split(example) if word.startswith("-"))


@pytest.mark.parametrize("page", PAGES_BY_HAND, ids=lambda page: page.name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    links = [first or second for first, second in LINK.findall(page.read_text("utf-8"))]
    local = [link.partition("#")[0] for link in links if not link.startswith(("http", "#", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if line.startswith(("wirespeak", ".venv/bin/wirespeak"))]
)
def test_the_commands_of_the_readme_run(command: str, tmp_path: Path) -> None:
    inside = command.removeprefix(".venv/bin/").replace("out/", f"{tmp_path}/")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        inside, shell=True, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_targets_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text("utf-8")))
    assert named <= targets and {"demo", "test", "check"} <= named

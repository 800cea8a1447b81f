"""How far the work has come, on stderr: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

Say = Callable[..., None]
"""Called as say(what) or say(what, share): what is being done, and the share of it done so far, 0 to 1."""

PLAIN_EVERY_S = 10.0


def quiet(what: str, share: float | None = None) -> None:
    """Say nothing: what a verb called from Python does unless told otherwise."""


def on_one_line(text: str) -> str:
    r"""Text that a terminal shows and never obeys: a file's name may hold anything.

    >>> print(on_one_line("a\x1b[2J\n b"))
    a\x1b[2J b
    """
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


class Progress:
    """Says what a verb is doing. Use it in a `with`, and hand it to the verb."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._said = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, what: str, share: float | None = None) -> None:
        """Say that `what` is being done, `share` of it so far."""
        what = on_one_line(what)
        if sys.stderr.isatty():
            self._draw(what, share)
        else:
            self._write(what, share)
        self._what = what

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, what: str, share: float | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        if self._bar is None:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=None)
            self._bar.start()
        self._bar.update(
            self._task, description=what, total=None if share is None else 1.0, completed=share or 0.0
        )

    def _write(self, what: str, share: float | None) -> None:
        now = time.monotonic()
        if what == self._what and now - self._said < PLAIN_EVERY_S:
            return
        self._said = now
        done = "" if share is None or what != self._what else f" ({share:.0%})"
        sys.stderr.write(f"{what}{done}\n")
        sys.stderr.flush()

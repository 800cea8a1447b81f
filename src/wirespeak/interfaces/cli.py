"""The command line: `commands.VERBS`, with the rules every verb keeps. No logic of its own.

Exit status 0 done, 1 bad input or failed work (one line on stderr), 2 usage, 130 interrupted.
"""

from __future__ import annotations

import gc
import inspect
import json
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, get_type_hints

import typer

from wirespeak import __version__
from wirespeak.errors import WirespeakError
from wirespeak.interfaces.commands import GROUPS, VERBS, Verb
from wirespeak.interfaces.output import Outcome
from wirespeak.interfaces.progress import Progress, on_one_line
from wirespeak.records import RunCard

_STYLE: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}
_OBJECTS = 50_000
"""Made before Python looks for cycles among them: a verb imports thousands, which are no garbage."""


def main() -> None:
    """Run the command line on the arguments of this process."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(_OBJECTS)
    try:
        application()(prog_name="wirespeak")
    except KeyboardInterrupt:  # before or after a verb
        sys.exit(130)


def application() -> typer.Typer:
    """The typer application, derived from the list of verbs."""
    app = typer.Typer(
        help="Language models that read and write network traffic: captures to explained incidents, and back.",
        **_STYLE,
    )
    app.callback()(_options_of_all)
    groups = {name: typer.Typer(help=text, **_STYLE) for name, text in GROUPS.items()}
    for name, group in groups.items():
        app.add_typer(group, name=name)
    for verb in VERBS:
        place, _, name = verb.name.rpartition(" ")
        declare = (groups[place] if place else app).command
        declare(name, help=inspect.getdoc(verb.function), epilog=f"\b\nExample:\n  {verb.example}")(
            _as_command(verb)
        )
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wirespeak {__version__}")
        raise typer.Exit


def _options_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that come before a verb."""


_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON record on stdout and nothing else there.")
]


def _as_command(verb: Verb) -> Callable[..., None]:
    """The verb as typer calls it: its own options without `progress`, and `--json`."""

    def command(json: bool, **options: Any) -> None:
        raise typer.Exit(_run(verb, options, as_json=json))

    parameters = _parameters(verb.function)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameters(function: Callable[..., Outcome]) -> list[inspect.Parameter]:
    """The parameters of a verb that a person gives."""
    hints = get_type_hints(function, include_extras=True)
    for hint in hints.values():
        for declared in getattr(hint, "__metadata__", ()):
            # A file one may not read is bad input, not wrong usage: the verb says so, not typer.
            declared.readable = False
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "progress"
    ]
    return [*own, inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Json)]


def _run(verb: Verb, options: dict[str, Any], *, as_json: bool) -> int:
    """Do the work of a verb and say what came of it. Returns the exit status."""
    try:
        with Progress() as progress:
            outcome = verb.function(**options, progress=progress)
    except WirespeakError as error:
        if as_json:
            _print_record(RunCard(verb=verb.name, version=__version__, ok=False))
        _complain(str(error))
        return 1
    except MemoryError:
        _complain("out of memory. Give less input at once, or use a machine with more.")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted; nothing was written.")
        return 130
    for warning in outcome.warnings:
        _complain(f"warning: {warning}")
    if as_json:
        _print_record(outcome.card)
    else:
        _print_summary(outcome)
    return 0


def _print_record(card: RunCard) -> None:
    typer.echo(json.dumps(card.as_dict(), ensure_ascii=False))


def _print_summary(outcome: Outcome) -> None:
    if isinstance(outcome.summary, str):
        typer.echo(outcome.summary)
        return
    from rich.console import Console

    Console(highlight=False).print(outcome.summary)


def _complain(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"wirespeak: {on_one_line(message)}", err=True)


def _terminate(number: int, frame: object) -> NoReturn:
    """End on SIGTERM as on Ctrl-C: what was begun is removed on the way out."""
    raise KeyboardInterrupt

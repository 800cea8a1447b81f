"""The command line: `commands.VERBS`, with the rules every verb keeps. No logic of its own.

Exit status 0 done, 1 bad input or failed work (one line on stderr), 2 usage, 130 interrupted.
"""

from __future__ import annotations

import functools
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
from wirespeak.interfaces.progress import Progress
from wirespeak.records import RunCard

_STYLE: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}


def main() -> None:
    """Run the command line on the arguments of this process."""
    signal.signal(signal.SIGTERM, _terminate)
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


def _as_command(verb: Verb) -> Callable[..., None]:
    """The verb as typer calls it: with `--json`, without `progress`, with errors turned into exit statuses."""
    hints = get_type_hints(verb.function, include_extras=True)
    for hint in hints.values():
        for declared in getattr(hint, "__metadata__", ()):
            declared.readable = (
                False  # a file one may not read is bad input, not wrong usage: the verb says so
            )
    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(verb.function).parameters.items()
        if name != "progress"
    ]
    as_json = Annotated[
        bool, typer.Option("--json", help="Print one JSON record on stdout and nothing else there.")
    ]
    parameters.append(
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=as_json)
    )

    @functools.wraps(verb.function)
    def command(**options: Any) -> None:
        json_wanted = options.pop("json")
        try:
            with Progress() as progress:
                outcome = verb.function(**options, progress=progress)
        except WirespeakError as error:
            if json_wanted:
                _print_record(RunCard(verb=verb.name, version=__version__, ok=False))
            _complain(str(error))
            raise typer.Exit(1) from error
        except MemoryError as error:
            _complain("out of memory. Give less input at once, or a machine with more.")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            _complain("interrupted; nothing was written.")
            raise typer.Exit(130) from interrupt
        for warning in outcome.warnings:
            _complain(f"warning: {warning}")
        _print_record(outcome.card) if json_wanted else _print_summary(outcome)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del command.__wrapped__
    return command


def _print_record(card: RunCard) -> None:
    typer.echo(json.dumps(card.as_dict(), ensure_ascii=False))


def _print_summary(outcome: Outcome) -> None:
    if isinstance(outcome.summary, str):
        typer.echo(outcome.summary)
        return
    from rich.console import Console

    Console(highlight=False).print(outcome.summary)


def _complain(message: str) -> None:
    """One line on stderr. A file's name may hold anything: control characters are shown, never obeyed."""
    line = " ".join(message.split())
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    typer.echo(f"wirespeak: {shown}", err=True)


def _terminate(number: int, frame: object) -> NoReturn:
    """End on SIGTERM as on Ctrl-C: what was begun is removed on the way out."""
    raise KeyboardInterrupt

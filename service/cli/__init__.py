"""The ``polychrony`` command, one verb a file; a call imports no more than its verb needs."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from traceback import format_exception
from typing import Annotated, Any

import typer

from pipeline.errors import UserError
from service.cli.console import LOUDNESS, tell
from service.cli.help_pages import Verb, Verbs
from service.cli.options import heard

VERBS = (
    "analyze", "convert", "info", "stream", "digest", "replay", "serve", "config", "doctor", "demo", "bench",
)  # fmt: skip
_OF_A_SERVICE = frozenset({"serve", "demo", "config", "doctor", "token"})
"""Verbs that read all settings themselves."""
GROUPS = ("train", "models", "token", "presets")
"""Verbs with verbs of their own."""


def application(*names: str) -> typer.Typer:
    """The command with some of its verbs."""
    app = typer.Typer(
        name="polychrony", cls=Verbs, pretty_exceptions_enable=False,
        help="Real-time motion detection and classification for event cameras.", rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback(invoke_without_command=True)(_root)
    for name in names:
        module = import_module(f"service.cli.{name}")
        if name in GROUPS:
            app.add_typer(_with_help(module.app), name=name)
        else:
            app.command(cls=Verb)(heard(getattr(module, name)))
    return app


def _with_help(group: typer.Typer) -> typer.Typer:
    """A group whose verbs explain themselves as all others do, and can be told to say less or more."""
    group.info.cls = Verbs
    for one in group.registered_commands:
        if one.cls is not Verb and one.callback is not None:
            one.cls, one.callback = Verb, heard(one.callback)
    return group


def _root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        typer.echo(version("polychrony"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if context.invoked_subcommand not in _OF_A_SERVICE and (
        Path(_config_file()).is_file() or "POLYCHRONY_PLUGINS" in os.environ
    ):
        from service.cli.configuration import follow_settings  # noqa: PLC0415 - most have no such file

        follow_settings()


def _config_file() -> str:
    return os.environ.get("POLYCHRONY_CONFIG") or "polychrony.toml"


def main(arguments: list[str] | None = None) -> None:
    """Run the command: exit code 0, 1 for a failure, 2 for bad usage; an error is one line."""
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    known = VERBS + GROUPS
    names = (arguments[0],) if arguments and arguments[0] in known else known
    try:
        result: Any = application(*names)(args=arguments, standalone_mode=False)
    except typer.TyperException as problem:
        usage: Any = problem  # the parser that Typer brings along is not public
        said = str(usage.format_message())
        tell(said if said.startswith("Usage:") else f"polychrony: {said}".replace("\n", " "))
        return int(usage.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        tell("polychrony: interrupted")
        return 130
    except _told_in_a_line() as problem:
        _tell_of(problem, str(problem))
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's last flush fails once more
        return 1
    except OSError as problem:
        _tell_of(problem, f"{problem.filename or ''}: {problem.strerror or problem}")
        return 1
    return result if isinstance(result, int) else 0


def _tell_of(problem: BaseException, said: str) -> None:
    if LOUDNESS["verbose"]:
        tell("".join(format_exception(problem)).rstrip())
    tell(f"polychrony: {said}")


def _told_in_a_line() -> tuple[type[Exception], ...]:
    """Failures that say what is wrong; those of the client only where a verb has loaded it."""
    client = sys.modules.get("polychrony_client")
    return (UserError,) if client is None else (UserError, client.PolychronyError)

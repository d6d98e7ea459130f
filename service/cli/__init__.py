"""The ``polychrony`` command, one verb a file."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from polychrony_client import PolychronyError

from pipeline.errors import UserError
from service.cli import (
    analyze,
    bench,
    config,
    convert,
    demo,
    digest,
    doctor,
    info,
    models,
    replay,
    serve,
    stream,
    token,
    train,
)  # fmt: skip
from service.cli.console import note

app = typer.Typer(
    name="polychrony", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Understands event cameras while they look.", rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
for verb in (analyze, convert, info, stream, digest, replay, serve, config, doctor, demo, bench):
    app.command()(getattr(verb, verb.__name__.rpartition(".")[2]))
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(token.app, name="token")


@app.callback(invoke_without_command=True)
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command: exit code 0, 1 for a failure, 2 for bad usage; an error is one line."""
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    try:
        result: Any = app(args=arguments, standalone_mode=False)
    except typer.TyperException as problem:
        usage: Any = problem  # the parser that Typer brings along is not public
        note(f"polychrony: {usage.format_message()}".replace("\n", " "))
        return int(usage.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        note("polychrony: interrupted")
        return 130
    except (UserError, PolychronyError) as problem:
        note(f"polychrony: {problem}")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's last flush fails once more
        return 1
    except OSError as problem:
        note(f"polychrony: {problem.filename or ''}: {problem.strerror or problem}")
        return 1
    return result if isinstance(result, int) else 0

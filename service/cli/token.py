"""``polychrony token``: who may use a service, and for what."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from service.access.tokens import Scope, Token, Tokens
from service.cli.configuration import read_settings
from service.cli.console import note, out, print_json, table
from service.cli.options import AsJson
from service.storage.backends import Backends

app = typer.Typer(
    help="Make, list and revoke tokens of a service; it sees changes at once.", no_args_is_help=True
)
Data = Annotated[Path | None, typer.Option("--data", help="The service's data folder; default .polychrony.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of its owner.")],
    scope: Annotated[
        str,
        typer.Option(
            help="read: view; stream: also send, upload, run jobs; admin: also import models, save pipelines."
        ),
    ] = "stream",
    days: Annotated[
        float | None, typer.Option(min=0.001, help="It ends after so many days.", show_default=False)
    ] = None,
    data_dir: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: once, as only its hash is kept. From then on the service demands one."""
    if scope.upper() not in Scope.__members__:
        raise typer.BadParameter(
            f"allowed are {', '.join(one.name.lower() for one in Scope)}", param_hint="--scope"
        )
    secret, token = _tokens(data_dir).create(name, Scope[scope.upper()], days)
    if as_json:
        print_json(
            {
                "token": secret,
                "id": token.id,
                "name": token.name,
                "scope": token.scope,
                "expires_s": token.expires_s,
            }
        )
        return
    note(f"{token.scope} token {token.id} for {name}; it is not shown again:")
    typer.echo(secret)


@app.command("list")
def list_tokens(data_dir: Data = None, as_json: AsJson = False) -> None:
    """List the tokens that were made."""
    known = _tokens(data_dir).all()
    if as_json:
        print_json([{"id": t.id, "name": t.name, "scope": t.scope, "created_s": t.created_s, "expires_s": t.expires_s}
                    for t in known])  # fmt: skip
        return
    rows = table("id", "name", "scope", "made", "ends")
    for token in known:
        rows.add_row(token.id, token.name, token.scope, _day(token.created_s), _end(token))
    out.print(rows)


@app.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `polychrony token list` shows it.")],
    data_dir: Data = None,
) -> None:
    """Revoke a token."""
    _tokens(data_dir).revoke(id_)
    note(f"token {id_} is revoked")


def _tokens(data_dir: Path | None) -> Tokens:
    settings = read_settings(**({"data_dir": data_dir} if data_dir else {}))
    return Tokens(Backends.embedded(settings).secrets)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")


def _end(token: Token) -> str:
    if token.expires_s is None:
        return "never"
    return f"{_day(token.expires_s)}{' (over)' if token.expires_s < time.time() else ''}"

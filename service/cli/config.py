"""``polychrony config``: every setting, with its value and where that comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from service.access.redaction import masked_all
from service.cli.configuration import read_settings, source_of
from service.cli.console import print_json
from service.cli.options import AsJson
from service.profiles import PROFILES
from service.settings import Settings

_SECRETS = {"token"}


def config(as_json: AsJson = False) -> None:
    """Print every setting of the service, as a file of settings: its value, where that comes from, what it means."""
    settings = read_settings()
    found = {name: _described(settings, name) for name in Settings.model_fields}
    if as_json:
        print_json(found)
        return
    for name, one in found.items():
        # What is not set, and what is not shown as it is, stay comments.
        mark = "# " if one["value"] is None or one["hidden"] else ""
        value = "..." if one["value"] is None else _toml(one["value"])
        typer.echo(f"# {one['what']} (from: {one['from']})\n{mark}{name} = {value}\n")


def _default(name: str) -> Any:
    value = Settings.model_fields[name].default
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """A value as a file of settings has it, on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(value)


def _described(settings: Settings, name: str) -> dict[str, Any]:
    value = settings.model_dump(mode="json")[name]
    source = source_of(name)
    if source == "default" and settings.profile in PROFILES and value != _default(name):
        source = f"profile {settings.profile}"
    shown = "(set)" if name in _SECRETS and value else masked_all(value)
    what = Settings.model_fields[name].description
    return {"value": shown, "hidden": shown != value, "from": source, "what": what}

"""Settings of the verbs that need them, from options, environment and file; what is wrong is said in one line."""

from __future__ import annotations

import os
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.data_paths import take_over
from pipeline.errors import UserError, in_words
from service.access.tokens import admin_token
from service.cli.console import err, tell
from service.settings import DEFAULTS, Settings, config_file
from service.storage.backends import Backends


def read_settings(**given: Any) -> Settings:
    """Settings from options, environment and file.

    Raises:
        BadSetting: one of them is wrong.
    """
    try:
        return Settings(**given)
    except (SettingsError, tomllib.TOMLDecodeError) as problem:
        where = config_file() if isinstance(problem, tomllib.TOMLDecodeError) else _variable_in(str(problem))
        raise BadSetting(f"{where}: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        name, _, inside = path.partition(".")
        source = source_of(name)
        inside = f": {path}" if inside else ""
        where = f"{source}{inside}" if source.startswith("POLYCHRONY_") else f"{config_file()}: {path}"
        raise BadSetting(f"{where}: {in_words(first)}") from problem


def source_of(name: str) -> str:
    """Where the value of a setting comes from, the strongest first: a variable, the file, or "default"."""
    if (variable := f"POLYCHRONY_{name.upper()}") in os.environ:
        return variable
    path = config_file()
    if path.is_file() and name in tomllib.loads(path.read_text()):
        return str(path)
    return brought if (brought := f"{DEFAULTS}{name.upper()}") in os.environ else "default"


def _variable_in(problem: str) -> str:
    """The variable that pydantic could not read, of which it says the field alone."""
    field = re.search(r'field "(\w+)"', problem)
    source = source_of(field[1]) if field else "default"
    return source if source.startswith("POLYCHRONY_") else "environment"


class BadSetting(UserError):
    """A setting, or a data folder that it names, that cannot be used."""


def with_token(settings: Settings) -> Settings:
    """Beyond loopback a token is demanded: the one that was set, else one kept in the data folder."""
    if settings.loopback or settings.token is not None:
        return settings
    token = admin_token(Backends.embedded(settings).secrets)
    if err.is_terminal:
        tell(f"polychrony: token {token}")
    else:
        tell(f"polychrony: the token is in {settings.data_dir / 'token'}")
    return settings.model_copy(update={"token": token})


def follow_settings() -> None:
    """Have models and pipelines where the service has them, and its plug-ins, also where a file of settings says so.

    Raises:
        PluginError: a plug-in cannot be used.
    """
    with suppress(BadSetting):  # said by the verbs that need settings
        settings = read_settings()
        os.environ.setdefault("POLYCHRONY_DATA_DIR", str(settings.data_dir))
        load_plugins(settings)


def load_plugins(settings: Settings) -> None:
    """Load what the setting ``plugins`` names.

    Raises:
        PluginError: one cannot be used.
    """
    if settings.plugins:
        from pipeline import plugins  # noqa: PLC0415 - it imports every stage and format

        plugins.load(settings.plugins)


def take_over_what_users_keep(data_dir: Path) -> None:
    """Have models and pipelines in the data folder; those of an earlier version are moved, and that is said."""
    for kept in ("models", "pipelines"):
        if (old := take_over(kept, data_dir)) is not None:
            tell(f"polychrony: your {kept} were moved from {old} to {data_dir / kept}")

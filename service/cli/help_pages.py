"""How the command explains itself: options and verbs in groups, values in plain words, at 80 columns."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

VERB_GROUPS: dict[str, tuple[str, ...]] = {
    "Recordings and videos": ("analyze", "info", "convert", "digest", "replay"),
    "Live": ("serve", "stream", "demo"),
    "Pipelines and models": ("presets", "models", "train"),
    "This machine and its service": ("doctor", "bench", "config", "token"),
}
MESSAGES = "Messages"
"""The group of options that every verb has."""
_OWN = "Options"
_VALUES = {"int": "N", "float": "NUMBER", "str": "TEXT", "Path": "PATH"}


class Verb(TyperCommand):
    """A verb whose help shows options by what they are about: their ``rich_help_panel``."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The first line, in which arguments are in capitals."""
        for one in self.get_params(ctx):
            if one.metavar is None and (
                one.param_type_name == "argument" or not getattr(one, "is_flag", False)
            ):
                one.metavar = one.name.upper() if one.param_type_name == "argument" else _value_of(one)
        super().format_usage(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the verb's own options, then each group of options in the order in which they come."""
        _write(self, ctx, formatter)


class Verbs(TyperGroup):
    """Verbs in groups, each with the whole first sentence of what it does."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options, then the verbs."""
        _write(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs: those that no group names under one heading."""
        left = {
            name: self.commands[name] for name in self.list_commands(ctx) if not self.commands[name].hidden
        }
        groups = [*VERB_GROUPS.items(), ("Commands", tuple(left))]
        for title, names in groups:
            rows = [(name, first_sentence(left.pop(name).help or "")) for name in names if name in left]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def first_sentence(text: str) -> str:
    """Of a docstring, on one line."""
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def _write(command: Any, ctx: Any, formatter: Any) -> None:
    arguments: list[tuple[str, str]] = []
    groups: dict[str, list[tuple[str, str]]] = {}
    for one in command.get_params(ctx):
        record = one.get_help_record(ctx)
        if record is None:
            continue
        if one.param_type_name == "argument":
            arguments.append((re.sub(r" <.*>$", "", record[0]), _plain(record[1])))
        else:
            group = getattr(one, "rich_help_panel", None) or (MESSAGES if one.name == "help" else _OWN)
            groups.setdefault(group, []).append((record[0], _plain(record[1])))
    # A verb's own options first, what every verb has last.
    if messages := groups.pop(MESSAGES, None):
        groups[MESSAGES] = messages
    if _OWN in groups:
        groups = {_OWN: groups.pop(_OWN), **groups}
    for title, rows in (("Arguments", arguments), *groups.items()):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _plain(text: str) -> str:
    """Ranges in words."""
    text = re.sub(r"(?<=[\[ ])(\S+)<=x<=(\S+?)(?=\]|;)", r"\1 to \2", text)
    return re.sub(r"(?<=[\[ ])x>=(\S+?)(?=\]|;)", r"\1 or more", text)


def _value_of(option: Any) -> str:
    """What stands for an option's value."""
    described = getattr(option, "type_descriptor", None)
    if described is None:
        return "TEXT"
    if described.is_choice:
        return "|".join(map(str, described.choices))
    if described.is_path:
        return "PATH"
    return _VALUES.get(getattr(described.annotation, "__name__", ""), "TEXT")

"""Stages, file formats and live sources of other distributions, through entry points.

    [project.entry-points."polychrony.stages"]
    polarity = "my_package.polarity:Polarity"       # a subclass of pipeline.stage.StageConfig

    [project.entry-points."polychrony.formats"]
    mine = "my_package.format:FORMAT"               # a pipeline.sources.formats.Format

    [project.entry-points."polychrony.live"]
    mine = "my_package.live:SCHEME"                 # a pipeline.sources.live.Scheme

Nothing is loaded unless the setting ``plugins`` names the distribution: a plug-in is code that runs with all rights
of the process. What it adds is known to this process and to the children that it starts, until it ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from typing import Any

from pipeline import stages
from pipeline.errors import UserError, first_line
from pipeline.sources import formats, live

VARIABLE = "POLYCHRONY_PLUGINS"
"""The environment variable of the setting: a JSON list of distributions. Children find it there."""
GROUPS: dict[str, Callable[[Any], str]] = {
    "polychrony.stages": stages.add, "polychrony.formats": formats.add, "polychrony.live": live.add,
}  # fmt: skip
"""Groups of entry points, and what takes in what an entry names; it returns the name that users write."""


class PluginError(UserError):
    """A plug-in that cannot be used."""


@dataclass(frozen=True)
class Plugin:
    """A distribution whose entry points were loaded.

    Attributes:
        name: of the distribution.
        version: likewise.
        adds: what it added, such as ``stage polarity``.
    """

    name: str
    version: str
    adds: tuple[str, ...]


_loaded: dict[str, Plugin] = {}


def load(names: Iterable[str]) -> list[Plugin]:
    """Load the entry points of these distributions; of one that is loaded nothing happens.

    Raises:
        PluginError: one is not installed, adds nothing, cannot be imported, or adds a name that is taken. Then it has
            added nothing.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in _loaded:
            _loaded[name] = _load(name)
    if _loaded:
        os.environ[VARIABLE] = json.dumps(list(_loaded))  # for children, whatever file or option it came from
    return [_loaded[name] for name in wanted]


def load_inherited() -> list[Plugin]:
    """Load what the process that started this one had loaded."""
    return load(json.loads(os.environ.get(VARIABLE) or "[]"))


def _load(name: str) -> Plugin:
    found = _distribution(name)
    entries = [entry for group in GROUPS for entry in found.entry_points if entry.group == group]
    if not entries:
        raise PluginError(f"plugins: {name} has no entry points of the groups {', '.join(GROUPS)}")
    added: list[str] = []
    try:
        for entry in entries:
            what = entry.group.partition(".")[2].removesuffix("s")
            added.append(f"{what} {_add(name, entry)}")
    except PluginError:
        for forget in (stages.forget, formats.forget, live.forget):
            forget(frozenset(one.partition(" ")[2] for one in added))
        raise
    return Plugin(found.name, found.version, tuple(added))


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError) as problem:
        raise PluginError(f"plugins: {name[:100]!r} is not installed in this environment") from problem


def _add(name: str, entry: EntryPoint) -> str:
    where = f"plugins: {name}: {entry.group}: {entry.name}"
    try:
        names = entry.load()
    except Exception as problem:
        raise PluginError(
            f"{where}: cannot be imported: {type(problem).__name__}: {first_line(problem)}"
        ) from problem
    try:
        return GROUPS[entry.group](names)
    except (TypeError, ValueError) as problem:
        raise PluginError(f"{where}: {first_line(problem)}") from problem

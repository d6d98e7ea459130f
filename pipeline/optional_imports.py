"""Libraries that are imported when they are first needed: they are large, most runs need few of them, and a slim
installation leaves them out.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from pipeline.errors import UserError


class NotInstalled(UserError):
    """A library that this installation leaves out."""


class _Later:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str, needed_for: str, extra: str | None) -> None:
        self._name, self._needed_for, self._extra, self._module = name, needed_for, extra, None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            try:
                self._module = importlib.import_module(self._name)
            except ModuleNotFoundError as problem:
                package = self._name.partition(".")[0]
                how = (
                    f"install the extra {self._extra} (pip install 'polychrony[{self._extra}]')"
                    if self._extra
                    else "which this installation leaves out"
                )
                raise NotInstalled(f"{self._needed_for}: needs {package}, {how}") from problem
        return getattr(self._module, name)


def later(name: str, needed_for: str, extra: str | None = None) -> Any:
    """The module ``name``, imported when something of it is first asked for.

    Args:
        name: of the module.
        needed_for: what users are told that it is for, where it is not installed; :class:`NotInstalled` then.
        extra: of the package's, that brings it.
    """
    return _Later(name, needed_for, extra)


def installed(name: str) -> bool:
    """Whether there is a module of this name."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False

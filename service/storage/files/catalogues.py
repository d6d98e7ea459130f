"""Models and pipelines in folders of this machine, which the command line and training read and write, too.

:mod:`pipeline.models.registry` and :mod:`pipeline.library` know how they lie there.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import library
from pipeline.errors import SpecError
from pipeline.models import registry
from pipeline.models.bundle import ModelError

_DIGITS = 10


class ModelFolders:
    """Models; see :class:`service.storage.ports.Catalogue`. A content is the folder of a bundle, which is copied."""

    def names(self) -> list[str]:
        """See the port."""
        zoo = registry.zoo()
        return sorted(name for name in registry.names() if name not in zoo)

    def versions(self, name: str) -> list[str]:
        """See the port."""
        self._demand(name)
        return registry.versions(name)

    def active(self, name: str) -> str:
        """See the port."""
        self._demand(name)
        return registry.load(name).digest[: registry.VERSION_DIGITS]

    def read(self, name: str, version: str | None = None) -> Path:
        """See the port."""
        self._demand(name)
        return registry.folder_of(name if version is None else f"{name}@{version}")

    def put(self, name: str, content: Path) -> str:
        """See the port."""
        return registry.keep(content, name)

    def activate(self, name: str, version: str) -> None:
        """See the port."""
        self._demand(name)
        registry.activate(name, version)

    def remove(self, name: str) -> None:
        """See the port."""
        self._demand(name)
        registry.remove(name)

    def _demand(self, name: str) -> None:
        if name not in (own := self.names()):
            raise ModelError(f"no model of yours is named {name!r}: allowed are {', '.join(own) or 'none'}")


class PipelineFolders:
    """Pipelines; see :class:`service.storage.ports.Catalogue`. A content is YAML; versions are 1, 2, 3 ..."""

    def names(self) -> list[str]:
        """See the port."""
        return library.names()

    def versions(self, name: str) -> list[str]:
        """See the port."""
        return [str(number) for number in library.versions(name)[0]]

    def active(self, name: str) -> str:
        """See the port."""
        return str(library.versions(name)[1])

    def read(self, name: str, version: str | None = None) -> str:
        """See the port."""
        active = library.versions(name)[1]  # presets are none of ours
        return library.text(name, active if version is None else _number(version))

    def put(self, name: str, content: str) -> str:
        """See the port."""
        return str(library.put(name, content))

    def activate(self, name: str, version: str) -> None:
        """See the port."""
        library.activate(name, _number(version))

    def remove(self, name: str) -> None:
        """See the port."""
        library.remove(name)


def _number(version: str) -> int:
    if not (version.isascii() and version.isdecimal() and len(version) < _DIGITS):
        raise SpecError("version", f"{version[:64]!r}: a number is needed")
    return int(version)

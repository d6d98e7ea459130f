"""Pipelines by name, as text: the presets, and those that users keep, of which each change is a version.

A user's lie where :func:`pipeline.data_paths.own_folder` says: a folder a name, in it
``1.yaml``, ``2.yaml`` ... and ``active``, which holds a number.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipeline.data_paths import own_folder
from pipeline.errors import SpecError
from pipeline.reading import read_file
from pipeline.writing import locked, replace_file

PRESETS = Path(__file__).parent / "presets"
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_MOST_VERSIONS, _MOST_BYTES = 1000, 2**20


def presets() -> list[str]:
    """Names of the pipelines that come with Polychrony."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def names() -> list[str]:
    """Names of the user's pipelines."""
    folder = own_folder("pipelines")
    found = [path.parent.name for path in folder.glob("*/active")] if folder.is_dir() else []
    return sorted(name for name in found if _is_name(name))


def versions(name: str) -> tuple[list[int], int]:
    """(all versions of one of the user's pipelines, the active one).

    Raises:
        SpecError: there is none of this name.
    """
    folder = _folder(name)
    found = _versions_in(folder)
    try:
        active = int(read_file(folder / "active", 64))
    except (OSError, ValueError):  # what a power cut left of it: the newest is what was active, most likely
        active = found[-1] if found else 0
    return found, active


def _versions_in(folder: Path) -> list[int]:
    return sorted(
        int(path.stem) for path in folder.glob("*.yaml") if re.fullmatch("[1-9][0-9]{0,8}", path.stem)
    )


def text(name: str, version: int | None = None) -> str:
    """A pipeline as YAML: a preset, or a version of one of the user's, the active one where None.

    Raises:
        SpecError: there is no such pipeline or version.
    """
    if name in presets() and version is None:
        return (PRESETS / f"{name}.yaml").read_text()
    known, active = versions(name)
    wanted = active if version is None else version
    if wanted not in known:
        raise SpecError(
            "version", f"{name} has no version {wanted}: allowed are {', '.join(map(str, known)) or 'none'}"
        )
    try:
        return read_file(_folder(name) / f"{wanted}.yaml", _MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as problem:
        raise SpecError("version", f"version {wanted} of {name} cannot be read: {problem}") from problem


def put(name: str, written: str) -> int:
    """Keep a pipeline in YAML, as a new version that becomes the active one; its number.

    Raises:
        SpecError: the name is a preset's, or there are too many versions.
    """
    if not _is_name(name):
        raise SpecError("name", "lower-case letters, digits, - and _, at most 64")
    if name in presets():
        raise SpecError("name", f"{name} is a preset: give yours another name")
    with locked(own_folder("pipelines")):
        return _put(name, written)


def _put(name: str, written: str) -> int:
    folder = own_folder("pipelines") / name
    known = _versions_in(folder)  # also where `active` was lost: nothing is overwritten
    if known and _is(folder / f"{known[-1]}.yaml", written):
        _activate(name, known[-1])  # the same once more
        return known[-1]
    if len(known) >= _MOST_VERSIONS:
        raise SpecError("name", f"{name} has {_MOST_VERSIONS} versions: delete it, or use another name")
    number = (known[-1] if known else 0) + 1
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{number}.yaml", written)
    _write(folder / "active", str(number))
    return number


def activate(name: str, version: int) -> None:
    """Make a version the one that the name stands for.

    Raises:
        SpecError: there is no such pipeline or version.
    """
    with locked(own_folder("pipelines")):
        _activate(name, version)


def _activate(name: str, version: int) -> None:
    text(name, version)
    _write(_folder(name) / "active", str(version))


def remove(name: str) -> None:
    """Forget a pipeline with all its versions; streams that were opened with it keep their copy.

    Raises:
        SpecError: there is none of this name.
    """
    with locked(own_folder("pipelines")):
        folder = _folder(name)
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)


def _is_name(name: str) -> bool:
    return re.fullmatch(NAME, name) is not None  # `match` would let a final newline through


def _is(path: Path, written: str) -> bool:
    """Whether a version is this one; one that cannot be read is another."""
    try:
        return read_file(path, _MOST_BYTES) == written.encode()
    except OSError:
        return False


def _folder(name: str) -> Path:
    own = names()
    if name not in own:
        raise SpecError(
            "", f"no pipeline is named {name[:64]!r}: allowed are {', '.join([*presets(), *own])}"
        )
    return own_folder("pipelines") / name


def _write(path: Path, written: str) -> None:
    if path.is_dir() and not path.is_symlink():  # nothing of ours, and in the way of what is
        path.rename(path.with_name(f"{path.name}.damaged"))
    # With fsync: a name that a power cut leaves without its content would be in the way.
    replace_file(path, written.encode(), fsync=True, shared=True)

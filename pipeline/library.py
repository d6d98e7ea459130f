"""Pipelines that users keep by name, beside the presets: each change is a version, and one of them is active.

They lie where :func:`pipeline.data_paths.own_folder` says: a folder a name, in it
``1.yaml``, ``2.yaml`` ... and ``active``, which holds a number.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipeline.spec import PipelineSpec, SpecError, own_pipelines, parse, presets
from pipeline.writing import replace_file

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_MOST_VERSIONS = 1000


def names() -> list[str]:
    """Names of the user's pipelines."""
    folder = own_pipelines()
    found = [path.parent.name for path in folder.glob("*/active")] if folder.is_dir() else []
    return sorted(name for name in found if re.match(NAME, name))


def versions(name: str) -> tuple[list[int], int]:
    """(all versions of a pipeline, the active one).

    Raises:
        SpecError: there is none of this name.
    """
    folder = _folder(name)
    found = sorted(int(path.stem) for path in folder.glob("*.yaml") if path.stem.isdigit())
    try:
        active = int((folder / "active").read_text())
    except (OSError, ValueError):  # what a power cut left of it: the newest is what was active, most likely
        active = found[-1] if found else 0
    return found, active


def get(name: str, version: int | None = None) -> PipelineSpec:
    """A version of a pipeline; the active one where None.

    Raises:
        SpecError: there is no such pipeline or version.
    """
    known, active = versions(name)
    if (version or active) not in known:
        raise SpecError(
            "version", f"{name} has no version {version}: allowed are {', '.join(map(str, known))}"
        )
    path = _folder(name) / f"{version or active}.yaml"
    try:
        return parse(path.read_text())
    except (OSError, UnicodeDecodeError) as problem:
        raise SpecError(
            "version", f"version {version or active} of {name} cannot be read: {problem}"
        ) from problem


def put(name: str, spec: PipelineSpec) -> int:
    """Keep a pipeline, as a new version that becomes the active one; its number.

    Raises:
        SpecError: the name is a preset's, or there are too many versions.
    """
    if not re.match(NAME, name):
        raise SpecError("name", "lower-case letters, digits, - and _, at most 64")
    if name in presets():
        raise SpecError("name", f"{name} is a preset: give yours another name")
    folder = own_pipelines() / name
    known = versions(name)[0] if name in names() else []
    document = _plain(spec.model_dump(mode="json", exclude_none=True))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if known and (folder / f"{known[-1]}.yaml").read_bytes() == text.encode():
        activate(name, known[-1])  # the same once more
        return known[-1]
    if len(known) >= _MOST_VERSIONS:
        raise SpecError("name", f"{name} has {_MOST_VERSIONS} versions: delete it, or use another name")
    number = (known[-1] if known else 0) + 1
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{number}.yaml", text)
    _write(folder / "active", str(number))
    return number


def activate(name: str, version: int) -> None:
    """Make a version the one that the name stands for.

    Raises:
        SpecError: there is no such pipeline or version.
    """
    get(name, version)
    _write(_folder(name) / "active", str(version))


def remove(name: str) -> None:
    """Forget a pipeline with all its versions; streams that were opened with it keep their copy.

    Raises:
        SpecError: there is none of this name.
    """
    shutil.rmtree(_folder(name))


def _folder(name: str) -> Path:
    if name not in names():
        raise SpecError(
            "", f"no pipeline of your own is named {name!r}: there are {', '.join(names()) or 'none'}"
        )
    return own_pipelines() / name


def _write(path: Path, text: str) -> None:
    # With fsync: a name that a power cut leaves without its content would be in the way.
    replace_file(path, text.encode(), fsync=True, shared=True)


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value

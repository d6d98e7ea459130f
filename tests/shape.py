"""Figures of the shape of the code: ``python -m tests.shape``.

Methods of each class of the stream core, writes to its fields from other modules, lines of comment, and the files that
name each row kind, stage, format, live source and neuron model: those are what a new one takes.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CODE = ("kernels", "pipeline", "service", "clients/python/polychrony_client")
_EXAMPLES = {
    "row kind": r"movers",
    "stage": r"background_activity|BackgroundActivity",
    "format": r"\bAedat2\b|\baedat2\b|AEDAT ?2",
    "live source": r"\bspif\b|\bSpif\b|\bSPIF\b",
    "neuron model": r"\balif\b|_ALIF\b",
}
"""One of each that exists, and how the code names it."""


@dataclass(frozen=True)
class Class:
    """A class.

    Attributes:
        name: of it.
        path: where it is.
        methods: names of its methods, properties included.
        fields: attributes that it sets on itself, or declares.
    """

    name: str
    path: Path
    methods: tuple[str, ...]
    fields: frozenset[str]


def classes(folder: Path) -> list[Class]:
    """Every class below a folder."""
    return [one for path in sorted(folder.rglob("*.py")) for one in classes_in(path)]


def classes_in(path: Path) -> list[Class]:
    """Every class of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            methods = tuple(
                one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            )
            found.append(Class(node.name, path, methods, frozenset(_fields(node))))
    return found


def _fields(node: ast.ClassDef):
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and _is(one.value, "self"):
            yield one.attr


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def foreign_writes(core: Path, around: Path) -> list[tuple[Path, int, str]]:
    """(file, line, field) of assignments to fields of the classes in ``core`` by other modules than their own.

    A module that has a field of that name itself may write its own. What storage and jobs write are records.
    """
    owners: dict[str, set[Path]] = {}
    for one in classes(core):
        for field in one.fields:
            owners.setdefault(field, set()).add(one.path)
    found = []
    for path in sorted(around.rglob("*.py")):
        if {"storage", "jobs"} & set(path.relative_to(around).parts):
            continue
        own = {field for one in classes_in(path) for field in one.fields}
        for node in ast.walk(ast.parse(path.read_text())):
            written = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if not written or _is(node.value, "self") or node.attr in own:
                continue
            if node.attr in owners and path not in owners[node.attr]:
                found.append((path, node.lineno, node.attr))
    return sorted(found)


def comment_share(folders: tuple[str, ...] = _CODE) -> float:
    """Lines that hold a comment, of all lines that are not blank."""
    comments = lines = 0
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            lines += sum(bool(line.strip()) for line in text.splitlines())
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                said = token.string.lstrip("# ")
                if token.type == tokenize.COMMENT and not said.startswith(
                    ("fmt:", "noqa", "pyright:", "type:")
                ):
                    comments += 1
    return comments / lines


def files_naming(pattern: str) -> list[str]:
    """Files of the code that name something, outside of comments and docstrings' prose in tests and docs."""
    told = re.compile(pattern)
    return sorted(
        str(path.relative_to(ROOT))
        for folder in _CODE
        for path in (ROOT / folder).rglob("*.py")
        if told.search(path.read_text())
    )


def main() -> None:
    """Print all of it."""
    core = ROOT / "service" / "streams"
    print("methods of the stream core:")
    for one in sorted(classes(core), key=lambda one: -len(one.methods))[:8]:
        print(f"  {one.name:20} {len(one.methods):3}  {one.path.relative_to(ROOT)}")
    writes = foreign_writes(core, ROOT / "service")
    print(f"writes to its fields from other modules: {len(writes)}")
    for path, line, field in writes:
        print(f"  {path.relative_to(ROOT)}:{line} {field}")
    print(f"comments: {comment_share():.1%} of the lines that are not blank")
    for what, pattern in _EXAMPLES.items():
        found = files_naming(pattern)
        print(f"files that name a {what} ({pattern}): {len(found)}")
        for path in found:
            print(f"  {path}")


if __name__ == "__main__":
    main()

"""Reading a model's file, in a child process with limits: a request as JSON, the model's description as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.models import registry
from pipeline.models.describe import describe
from pipeline.models.import_options import ImportOptions

REQUEST = "import.json"


def write_request(folder: Path, file: Path, name: str | None, options: dict[str, Any]) -> Path:
    """Write down what a child shall import; its path.

    Args:
        folder: of the request.
        file: the model's file.
        name: of the model; None for the one that a bundle has.
        options: of :class:`ImportOptions`, as they were set.
    """
    path = folder / REQUEST
    path.write_text(json.dumps({"file": str(file), "name": name, "options": options}))
    return path


def run(request: Path) -> int:
    """Do it: the description on stdout and 0, or one line on stderr and 1."""
    asked = json.loads(request.read_text())
    try:
        options = ImportOptions.model_validate(asked["options"])
        model = registry.install(Path(asked["file"]), asked["name"], options.reading, options.encoding)
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"{problem.filename or ''}: {problem.strerror or problem}", file=sys.stderr)
        return 1
    print(json.dumps(describe(model)))
    return 0

"""Reading a model's file, in a child process with limits: a request as JSON, the model's description as JSON.

The child keeps nothing: the bundle that it makes lies beside the request, and whoever asked puts it where models
are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.models import registry
from pipeline.models.describe import describe
from pipeline.models.import_options import ImportOptions
from service.host.child_output import output

REQUEST, BUNDLE = "import.json", "bundle"


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


def run(request: str) -> None:
    """Do it; the model's description comes as JSON on stdout."""
    asked = json.loads(Path(request).read_text())
    options = ImportOptions.model_validate(asked["options"])
    bundle = Path(request).parent / BUNDLE
    bundle.mkdir()
    _, model = registry.prepare(Path(asked["file"]), bundle, asked["name"], options.reading, options.encoding)
    output().write(json.dumps(describe(model)).encode())

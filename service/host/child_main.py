"""``python -m service.host.child_main MEMORY_BYTES CPU_SECONDS FILE_BYTES PROTOCOLS WORK [ARGUMENT...]``.

A process with limits that does one piece of work, see :data:`WORKS`; :mod:`service.host.child` starts it. The limits
are put on before anything is imported that could need them, and the process dies with the service that started it.
Its last line on stderr says why it failed.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
from contextlib import suppress

from service.host.child_output import output

WORKS = {
    "job": "service.jobs.work",
    "import": "service.jobs.importing",
    "fetch": "service.streams.fetch_child",
}
"""Modules whose ``run`` does the work."""
PARENT = "POLYCHRONY_PARENT_PID"
"""The environment variable that says whose child this is."""
_PR_SET_PDEATHSIG = 1


def limit(memory_bytes: int, cpu_seconds: int, file_bytes: int, protocols: str, nice: int) -> None:
    """Limit this process; see :class:`service.host.child.Limits`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ.get(PARENT, os.getppid())):  # it went before that was said
            sys.exit("the service has gone")
    os.nice(nice)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;{protocols}"


def main() -> None:
    """Limit this process, then do what is asked."""
    memory, seconds, file, protocols, nice, work, *arguments = sys.argv[1:]
    limit(int(memory), int(seconds), int(file), protocols, int(nice))
    output()  # before anything is imported that could print
    try:
        importlib.import_module("pipeline.plugins").load_inherited()
        importlib.import_module(WORKS[work]).run(*arguments)
    except importlib.import_module("pipeline.errors").UserError as problem:
        sys.exit(str(problem).replace("\n", " "))
    except OSError as problem:
        sys.exit(f"{problem.filename or ''}: {problem.strerror or problem}")
    with suppress(BrokenPipeError):  # whoever asked has gone
        output().flush()


if __name__ == "__main__":
    main()

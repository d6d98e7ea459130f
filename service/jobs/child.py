"""``python -m service.jobs.child MEMORY_BYTES CPU_SECONDS FILE_BYTES WORK REQUEST``: work under limits, a ``job`` or
the ``import`` of a model, as a file of JSON says.

The limits are put on before anything is imported that could need them, and the job dies with the
service that started it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PARENT = "POLYCHRONY_PARENT_PID"


def environment() -> dict[str, str]:
    """For a child of this process: it ends where this one has ended already (which is no 1 in a container)."""
    return {**os.environ, _PARENT: str(os.getpid())}


def limit(memory_bytes: int, cpu_seconds: int, file_bytes: int, protocols: str = "file") -> None:
    """Limit this process.

    Args:
        memory_bytes: address space.
        cpu_seconds: processor time; 0 for as much as it takes.
        file_bytes: the largest file that it writes.
        protocols: what FFmpeg may open: a playlist in disguise must not reach the network.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ.get(_PARENT, os.getppid())):
            sys.exit("the service has gone")
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;{protocols}"


def main() -> None:
    """Limit this process, then do what is asked."""
    limit(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    module = {"job": "service.jobs.work", "import": "service.jobs.importing"}[sys.argv[4]]
    work = importlib.import_module(module)
    try:
        importlib.import_module("pipeline.plugins").load_inherited()
        work.run(Path(sys.argv[5]))
    except importlib.import_module("pipeline.errors").UserError as problem:
        sys.exit(str(problem))
    except OSError as problem:
        sys.exit(f"{problem.filename or ''}: {problem.strerror or problem}")


if __name__ == "__main__":
    main()

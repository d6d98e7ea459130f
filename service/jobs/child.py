"""``python -m service.jobs.child MEMORY_BYTES CPU_SECONDS ARGUMENTS...``: a job under limits.

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

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Limit this process, then be ``polychrony``."""
    memory_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit("the service has gone")
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    importlib.import_module("service.cli").main(sys.argv[3:])


if __name__ == "__main__":
    main()

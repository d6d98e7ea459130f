"""The real service in a process of its own, that tests may kill."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx


class ServiceProcess:
    """``polychrony serve`` on a free port, and again after a kill."""

    def __init__(self, data: Path, verify=True, **settings):
        self.data, self.settings, self.port, self.verify = data, settings, 0, verify
        self.process = None
        self.log = data.parent / f"{data.name}.log"
        self.start()

    def start(self):
        environment = {
            **os.environ,
            **{f"POLYCHRONY_{key.upper()}": str(v) for key, v in self.settings.items()},
        }
        self.log.touch()
        before = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve", "--port", str(self.port), "--data", str(self.data)],
                stderr=log, env=environment, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            text = self.log.read_text()[before:]
            if found := re.search(r"listening on https?://[^ ]*:(\d+)/", text):
                self.port = int(found[1])
                try:
                    if httpx.get(f"{self.url}/readyz", verify=self.verify).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the service does not become ready: {self.log.read_text()}")

    @property
    def url(self):
        return f"http{'s' if 'tls_certfile' in self.settings else ''}://127.0.0.1:{self.port}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)
        return self.process.returncode

"""``python -m tests.image --run 'COMMAND {env} IMAGE' [--size COMMAND] [--write]``: what the image must be, seen from outside.

COMMAND runs the image's own command with this machine's network; ``{env}`` becomes ``--env NAME=VALUE ...``:

    python -m tests.image --run 'docker run --rm --network host --read-only --tmpfs /tmp --cap-drop ALL {env} polychrony'

Memory is what the service's process holds; times are of that process, not of what makes the container.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from polychrony_client import Client, Rows

from tests.image.overload import Target, capacity, overload
from tests.reliability.tools import MIB, sliced_crc_frames

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "edge.md"
SAMPLE = ROOT / "pipeline" / "samples" / "windows.mp4"
TOKEN = "only-for-this-check-0000"
BEGIN, END = "<!-- figures: python -m tests.image -->", "<!-- end of figures -->"


class Container:
    """The image, running."""

    def __init__(self, command, port=8750, arguments=(), **settings):
        environment = {"POLYCHRONY_TOKEN": TOKEN, "POLYCHRONY_PORT": port,
                       **{f"POLYCHRONY_{name.upper()}": value for name, value in settings.items()}}  # fmt: skip
        words = " ".join(f"--env {shlex.quote(f'{name}={value}')}" for name, value in environment.items())
        self.log = Path("/tmp") / f"polychrony-image-{port}.log"
        with self.log.open("wb") as log:
            self.running = subprocess.Popen(
                [*shlex.split(command.replace("{env}", words)), *arguments], stderr=log, stdout=log
            )
        self.target = Target(f"http://127.0.0.1:{port}", TOKEN)

    def until_ready(self, patience_s=300):
        """Seconds from the start of the service's process until it is ready."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            assert self.running.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.target.url}/readyz", timeout=5).status_code == 200:
                    self.process = self.target.process
                    return time.time() - self.process.create_time()
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"never ready: {self.log.read_text()}")

    def end(self):
        """(seconds from SIGTERM to the end, exit status of whatever ran the container)."""
        self.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        psutil.wait_procs([self.process], 30)
        took = time.monotonic() - started
        return took, self.running.wait(60)


def first_answer(container):
    """Seconds from the first event of a stream to its first motif, events coming as fast as they happen."""
    with Client(container.target.url, TOKEN) as client, client.stream("motion", (640, 480)) as stream:
        results = stream.results("motion", start=True)
        started = time.monotonic()
        for i in range(100):  # an edge that moves right, a hundred events a millisecond
            n = 1000
            t = i * 10_000 + np.sort(np.random.default_rng(i).integers(0, 10_000, n))
            x = (200 + t * 0.0005 + np.random.default_rng(i + 1).normal(0, 0.4, n)).astype(np.uint16)
            stream.send(
                t, x, np.random.default_rng(i + 2).integers(0, 480, n).astype(np.uint16), np.ones(n, bool)
            )
            if i >= 3:
                break
        for result in results:
            if isinstance(result, Rows) and len(result.columns["t"]):
                took = time.monotonic() - started
                break
        stream.end()
        return took


def analyzed(container):
    """Seconds of a job on the bundled clip, and its events."""
    started = time.monotonic()
    with Client(container.target.url, TOKEN) as client:
        job = client.submit(SAMPLE, pipeline="motion")
        job.wait()
        return time.monotonic() - started, job.summary()["events"]


def while_streaming(container, seconds=15):
    """(most memory, share of events that were shed) with one stream of 640x480 at 1 Mev/s."""
    id_ = container.target.create("motion", (640, 480), policy="realtime", max_latency_ms=100, max_stride=16)
    from tests.image.overload import Generator

    frames = sliced_crc_frames(10_000, seconds * 100, 1.0)
    generator, most = Generator(container.target, id_, frames), 0
    import threading

    sending = threading.Thread(target=generator.run, args=(0.01,), daemon=True)
    sending.start()
    while sending.is_alive():
        most = max(most, container.process.memory_info().rss)
        time.sleep(0.1)
    found = container.target.stats(id_)
    container.target.delete(id_)
    return (
        most,
        found["dropped"]["shed"] / max(1, found["events"] + found["dropped"]["shed"]),
        found["stride"],
    )


def confined(command):
    """What a command inside says of its user and its root file system."""
    code = ("import os, sys\ntry:\n open('/opt/polychrony/x', 'w'); w = 'writable'\nexcept OSError as e:\n w = e.strerror\n"
            "print('user', os.getuid(), 'root file system:', w, 'compilers:', [c for c in ('cc', 'gcc', 'pip') if __import__('shutil').which(c, path='/opt/polychrony/bin')])")  # fmt: skip
    words = shlex.split(command.replace("{env}", ""))
    ran = subprocess.run(
        [*words, "/opt/polychrony/bin/python", "-c", code], capture_output=True, text=True, check=False
    )
    return ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ran.stderr.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--inside", help="as --run, for a command of our own in place of the image's")
    parser.add_argument("--size")
    parser.add_argument("--variant", default="full")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows, wrong = [], []

    def say(what, figure, must, good):
        rows.append(f"| {what} | {figure} | {must} |")
        print(f"{'ok   ' if good else 'WRONG'} {what}: {figure} ({must})", flush=True)
        if not good:
            wrong.append(what)

    if asked.size:
        mib = int(
            subprocess.run(
                shlex.split(asked.size), capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        say(f"unpacked size ({asked.variant})", f"{mib} MiB", "under 1,000", mib < 1000)
    if asked.inside:
        said = confined(asked.inside)
        say(
            "inside",
            said,
            "not root, read-only, no compiler",
            "user 0" not in said and "Read-only" in said and "[]" in said,
        )
    container = Container(asked.run)
    ready = container.until_ready()
    say("from start to ready", f"{ready:.1f} s", "within 4", ready < 4)
    time.sleep(2)
    idle = container.process.memory_info().rss / MIB
    say("memory, idle", f"{idle:.0f} MiB", "under 300", idle < 300)
    took = first_answer(container)
    say("first event to first motif", f"{took:.2f} s", "within 1", took < 1)
    compiled = container.target.metric("kernel_compilations_total")
    say("kernels compiled at run time", f"{compiled:.0f}", "none", compiled == 0)
    job_s, events = analyzed(container)
    say("a job: the bundled clip", f"{job_s:.1f} s, {events:,} events", "done", events > 0)
    most, shed, stride = while_streaming(container)
    say("memory with one stream, 640x480, 1 Mev/s, `motion`", f"{most / MIB:.0f} MiB, {shed:.1%} shed, stride {stride['now']}",
        "under 450", most / MIB < 450)  # fmt: skip
    seconds, status = container.end()
    say(
        "SIGTERM",
        f"gone after {seconds:.1f} s, status {status}",
        "within 10 s, status 0",
        seconds < 10 and status == 0,
    )

    container = Container(asked.run, profile="edge", memory_bytes=512 * MIB, ping_s=3600)
    container.until_ready()
    for name, options in (("evaluated less often", {}), ("shed, as strides are off", {"max_stride": 1})):
        fits = capacity(container.target)
        run = overload(container.target, 4, asked.seconds, fits, **options)
        exact = run.stats["events"] + run.stats["dropped"]["shed"] == run.sent
        good = run.p99_ms < 100 and exact and run.growth < 16 * MIB and run.cpu < 0.1
        say(
            f"overload, {name}",
            f"{run}; counted {'exactly' if exact else 'WRONGLY'}",
            "p99 under 100 ms, memory flat, all counted",
            good,
        )
    container.end()
    if asked.write:
        text = PAGE.read_text()
        table = "\n".join(["", "| | seen | must be |", "|---|---|---|", *rows, ""])
        start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:start] + "\n" + table + "\n" + text[stop:])
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.reliability.attack [--write]``: the service attacked over loopback, within ten minutes.

What each attack is held to are tests of their own (tests/integration/test_secrets.py, test_damage.py, test_disk.py,
test_cancellation.py, test_memory.py, test_clocks.py, test_http_semantics.py); here the same is measured at greater length.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

# Networks that the attacks make are nobody's: told before anything is imported that makes them.
os.environ["POLYCHRONY_MODELS"] = tempfile.mkdtemp(prefix="polychrony-attack-")

import httpx

from service.storage.files.frame_log import FrameLog
from tests.integration.service_process import ServiceProcess
from tests.integration.test_cancellation import WORST, busy, crowd, silence
from tests.reliability.tools import COUNTING, MIB, RawSocket, create, frame, random_events
from tests.unit.test_log import FRAMES, damaged_ends, segment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- attack -->", "<!-- end of attack -->"
_TOKEN = "correct-horse-battery"


@contextmanager
def watched(service):
    """How long /healthz takes meanwhile, s."""
    took, done = [], threading.Event()

    def look():
        with httpx.Client(timeout=120) as http:
            while not done.wait(0.05):
                started = time.monotonic()
                assert http.get(f"{service.url}/healthz").status_code == 200
                took.append(time.monotonic() - started)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield took
    finally:
        done.set()
        thread.join()


def chunks(folder):
    """50 bodies in one-byte chunks, 5 MiB/s together, without a token and with one: /healthz under 200 ms."""
    service = ServiceProcess(folder / "data", token=_TOKEN, requests_per_minute=10**6)
    worst = []
    try:
        for authorization in ("", f"Authorization: Bearer {_TOKEN}\r\n"):
            stop, sent = threading.Event(), [0]
            head = (
                f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n{authorization}"
                "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            work = [threading.Thread(target=_dribble, args=(service, head, stop, sent)) for _ in range(50)]
            for one in work:
                one.start()
            with watched(service) as took:
                time.sleep(15)
            stop.set()
            for one in work:
                one.join()
            worst.append((max(took), sent[0] / 15 / MIB))
    finally:
        service.stop()
    says = "; ".join(f"/healthz {t * 1e3:.0f} ms at most beside {rate:.1f} MiB/s" for t, rate in worst)
    return says, all(t < 0.2 for t, _ in worst)


def _dribble(service, head, stop, sent):
    body = b"1\r\nx\r\n" * 700
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", service.port)) as one:
            one.settimeout(5)
            try:
                one.sendall(head.encode())
                while not stop.is_set():
                    started = time.monotonic()
                    one.sendall(body)
                    sent[0] += len(body)
                    time.sleep(max(0, 50 * len(body) / 5 / MIB - time.monotonic() + started))
            except OSError:
                pass  # it was answered and closed: another


def descriptors(folder):
    """1,100 idle connections under a limit of 1,024: acks go on, and the log stays short."""
    service = ServiceProcess(folder / "data")
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
    idle, took = [], []
    try:
        id_ = create(service, COUNTING)
        sender = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        sender.until(1)
        idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(1100)]
        for n in range(1, 200):
            started = time.monotonic()
            sender.send(2, frame(n, random_events(1000, n, n * 1000)))
            while json.loads(sender.until(1)).get("durable", 0) < n:
                pass
            took.append(time.monotonic() - started)
    finally:
        for one in idle:
            one.close()
        service.stop()
    lines = len(service.log.read_text().splitlines())
    return f"acks {max(took) * 1e3:.0f} ms at most, {lines} log lines", max(took) < 1 and lines < 100


def small_frames(folder):
    """A WebSocket that sends nothing but pings, or fragments without a byte: /healthz under 200 ms."""
    service = ServiceProcess(folder / "data", requests_per_minute=10**6, ping_s=3600)
    worst = {}
    try:
        for what, first, piece in (
            ("pings", b"", b"\x89\x80\0\0\0\0"),
            ("empty fragments", b"\x02\x80\0\0\0\0", b"\0\x80\0\0\0\0"),
        ):
            one, stop = RawSocket(service.port, f"/v1/streams/{create(service)}/ingest"), threading.Event()
            one.put(first)
            work = [threading.Thread(target=_flood, args=(one, piece * 200_000, stop)),
                    threading.Thread(target=_drain, args=(one, stop))]  # fmt: skip
            for each in work:
                each.start()
            with watched(service) as took:
                time.sleep(10)
            stop.set()
            one.socket.shutdown(socket.SHUT_RDWR)
            for each in work:
                each.join()
            worst[what] = max(took)
    finally:
        service.stop()
    return "; ".join(f"/healthz {t * 1e3:.0f} ms at most beside {what}" for what, t in worst.items()), all(
        t < 0.2 for t in worst.values()
    )


def _flood(one, data, stop):
    with suppress(OSError):
        while not stop.is_set():
            one.socket.sendall(data)


def _drain(one, stop):
    with suppress(OSError):
        while not stop.is_set() and one.socket.recv(2**20):
            pass


def endless(folder):
    """The worst frames, at every kind of stage: DELETE within 5 s, a stop within 10 s."""
    service = ServiceProcess(folder / "data")
    took = []
    try:
        for kind in WORST:
            for make in (silence, crowd):
                id_, one = busy(service, kind, make())
                started = time.monotonic()
                httpx.delete(f"{service.url}/v1/streams/{id_}", timeout=120)
                took.append(time.monotonic() - started)
                one.end()
        kept = [busy(service, kind, silence()) for kind in ("reservoir", "complexity", "motif")]
        started = time.monotonic()
        service.process.terminate()
        status = service.process.wait(120)
        stopped = time.monotonic() - started
        del kept
    finally:
        service.stop()
    says = f"{len(took)} deleted, {max(took):.1f} s at most; stopped in {stopped:.1f} s, exit {status}"
    return says, max(took) < 5 and stopped < 10


def sensors(folder):
    """Sensors of 8192x4096 until there is no room: 503 with the figure, /healthz under 1 s."""
    service = ServiceProcess(folder / "data", streams_memory_bytes=4096 * MIB)
    body = {"pipeline": {"stages": [{"id": "m", "kind": "motif", "model": "motif8"}]},
            "sensor": {"width": 8192, "height": 4096}}  # fmt: skip
    try:
        with watched(service) as took:
            said = [
                httpx.post(f"{service.url}/v1/streams", json=body, timeout=300).status_code for _ in range(6)
            ]
    finally:
        service.stop()
    says = f"{said.count(201)} opened, {said.count(503)} told 503; /healthz {max(took) * 1e3:.0f} ms at most"
    return says, set(said) <= {201, 503} and 503 in said and max(took) < 1


def tails(folder):
    """Every way in which the last frame of a log may be damaged, at every byte of it: cut back to the last whole one."""
    n = 0
    for data, how in damaged_ends():
        path = folder / f"log-{n}"
        segment(path, data)
        log = FrameLog(path, fsync=False)
        assert [one.number for one, _ in log.replay()] == [1, 2, 3, 4], how
        log.append(FRAMES[4:])
        log.close()
        assert [one.number for one, _ in FrameLog(path, fsync=False).replay()] == [1, 2, 3, 4, 5], how
        n += 1
    return f"{n} ways, all cut back and gone on with", True


def tests_of(*names):
    """An attack whose tests say all that there is to say."""

    def run(folder):
        told = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--basetemp", str(folder / "tests"), *names],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=900,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}"},
        )  # fmt: skip
        dots = sum(line.count(".") for line in told.stdout.splitlines() if line.endswith("%]"))
        return f"{dots} tests", told.returncode == 0

    return run


_HERE = "tests/integration"
ATTACKS: list[tuple[str, Callable[[Path], tuple[str, bool]]]] = [
    ("bodies in one-byte chunks, 50 at a time", chunks),
    ("WebSocket frames without a byte, as fast as they go", small_frames),
    ("1,100 idle connections with 1,024 descriptors", descriptors),
    ("frames of hours of work, every kind of stage", endless),
    ("sensors of 8192x4096", sensors),
    ("a log that ends in damage", tails),
    ("a full and a read-only disk and removed folders, every route", tests_of(f"{_HERE}/test_disk.py")),
    ("two services on one data folder", tests_of(f"{_HERE}/test_damage.py", "-k", "second_service")),
    ("clocks that are set by a day", tests_of(f"{_HERE}/test_clocks.py")),
    ("databases, outboxes and networks that are broken", tests_of(f"{_HERE}/test_damage.py", "-k", "jobs_come or outbox or encoding")),
    ("secrets that are empty or broken, tokens that were revoked", tests_of(f"{_HERE}/test_secrets.py")),
]  # fmt: skip


def main():
    """Attack, print a table, and write it into docs/reliability.md where asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="those attacks whose name holds this")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    asked = parser.parse_args()
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {
        line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines() if line.startswith("| ")
    }
    good = True
    for name, attack in ATTACKS:
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            figure, held = attack(Path(folder))
        good &= held
        rows[name] = f"| {name} | {figure} | {'held' if held else '**failed**'} |"
        print(rows[name], flush=True)
    if asked.write:
        known = [rows[name] for name, _ in ATTACKS if name in rows]
        PAGE.write_text(
            "\n".join(
                [
                    f"{before}{BEGIN}",
                    "| attack | what came of it | |",
                    "|---|---|---|",
                    *known,
                    f"{END}{after}",
                ]
            )
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Line 18: a full disk, and a tiny /dev/shm."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
from polychrony_client import Client

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import CannotRun, check, demand, wait_for
from tests.reliability.tools import MIB, create, random_events, stats


@contextmanager
def small_disk(folder, size):
    """A file system of its own, in memory."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        raise CannotRun("this machine does not let a test mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@check(18, "a full disk, and a /dev/shm of 64 KiB",
       "a readable error, `/readyz` 503, no SIGBUS, recovers when space returns")  # fmt: skip
def full(scale, folder):
    with small_disk(folder / "disk", 24 * MIB) as disk:
        (disk / "data").mkdir()
        service = ServiceProcess(disk / "data", min_free_bytes=0, snapshot_bytes=2**40, retention_bytes=MIB)
        try:
            with Client(service.url, patience_s=600) as client:
                stream = client.stream("denoise", sensor=(640, 480))
                for i in range(4):
                    stream.send(*random_events(30_000, i, i * 30_000))
                stream.flush()
                ballast = disk / "ballast"
                with ballast.open("wb") as file:
                    try:
                        while True:
                            file.write(bytes(65_536))
                            file.flush()
                    except OSError:
                        pass
                stream._put(stream._out.heartbeat(130_000))
                drafts = list(stream._out.events(*random_events(30_000, 9, 140_000)))
                for draft in drafts:
                    stream._live().send(stream._out.take(draft))
                refused = wait_for(lambda: unready(service), what="/readyz does not say 503")
                demand("disk" in refused, refused)
                trouble = wait_for(
                    lambda: stats(service, stream.id)["trouble"],
                    what="the stream does not say what holds it up",
                )
                new = httpx.post(
                    f"{service.url}/v1/streams",
                    json={"pipeline": "denoise", "sensor": {"width": 8, "height": 8}},
                )
                demand(new.status_code == 503, f"a new stream: {new.status_code}")
                demand("disk" in new.json()["detail"], new.text)
                started = time.monotonic()
                ballast.unlink()
                wait_for(
                    lambda: httpx.get(f"{service.url}/readyz").status_code == 200, what="not ready again"
                )
                recovered = time.monotonic() - started
                stream.flush()
                demand(stats(service, stream.id)["trouble"] is None, "still in trouble")
                stream.end()
                demand(stream.stats()["events"] == 150_000, "events were lost")
                demand(create(service, sensor=(8, 8)), "no new stream")
            demand("Traceback" not in service.log.read_text(), "an exception in the log")
        finally:
            demand(service.stop() == 0, "it did not end well")
    shm = tiny_shm(folder)
    return f'"{refused}", stream: "{trouble}"; ready again after {recovered:.1f} s, nothing lost; {shm}'


def unready(service):
    answer = httpx.get(f"{service.url}/readyz")
    return answer.json()["detail"] if answer.status_code == 503 else None


def tiny_shm(folder):
    """Serve, stream and stop with next to no shared memory."""
    script = (
        "mount -t tmpfs -o size=64k tmpfs /dev/shm && head -c 61440 /dev/zero > /dev/shm/full; "
        f"exec {sys.executable} -m tests.reliability.one_stream {folder / 'shm'}"
    )
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
        timeout=1500,
    )
    if "Operation not permitted" in ran.stderr:
        raise CannotRun("this machine does not let a test have a /dev/shm of its own")
    demand(ran.returncode == 0, ran.stderr[-300:])
    return "with /dev/shm full a stream goes through all the same"

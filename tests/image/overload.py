"""Several times what fits, under profile edge: latency, memory, and what becomes of every event."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
from polychrony_client import Client, PolychronyError, Watermark

from tests.reliability.tools import MIB, RawSocket, percentile, sliced_crc_frames

SENSOR, BIN_US = (128, 128), 1000
# Slow on purpose, so that little need be sent: every event asks sixteen banks of 36 motifs, whose answers are none.
BANKS = [f"m{i}" for i in range(16)]
SLOW = {
    "stages": [
        {
            "id": bank,
            "kind": "motif",
            "input": "source",
            "model": "motif36",
            "at": {"every": 1},
            "threshold": {"evidence": 1e5},
        }
        for bank in BANKS
    ],
    "outputs": BANKS,
}


@dataclass
class Target:
    """A service that runs somewhere on this machine."""

    url: str
    token: str | None = None

    def __post_init__(self):
        self.http = httpx.Client(base_url=self.url, headers=self._headers(), timeout=30)
        self.port = int(self.url.rpartition(":")[2].strip("/"))

    def _headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def process(self):
        """The process that listens."""
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == self.port and one.pid:
                return psutil.Process(one.pid)
        raise AssertionError(f"nothing listens on {self.port}")

    def create(self, pipeline, size=SENSOR, **options):
        sensor = {"width": size[0], "height": size[1]}
        answer = self.http.post("/v1/streams", json={"pipeline": pipeline, "sensor": sensor, **options})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def stats(self, id_):
        return self.http.get(f"/v1/streams/{id_}/stats").json()

    def delete(self, id_):
        self.http.delete(f"/v1/streams/{id_}")

    def metric(self, name):
        lines = self.http.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def socket(self, path):
        protocols = "polychrony.v1"
        if self.token:
            import base64

            secret = base64.urlsafe_b64encode(self.token.encode()).decode().rstrip("=")
            protocols += f", polychrony.token.{secret}"
        return RawSocket(self.port, path, protocols=protocols)


class Generator:
    """Sends frames that were made before, at a rate, come what may; it reads what it is told and throws it away."""

    def __init__(self, target, id_, frames):
        self.messages = [b"\x82\xff" + len(one).to_bytes(8, "big") + bytes(4) + one for one in frames]
        self.sent_at, self.cpu_s = {}, 0.0
        self._socket = target.socket(f"/v1/streams/{id_}/ingest")
        self._socket.until(1)
        threading.Thread(target=self._hear, daemon=True).start()

    def run(self, every_s):
        before, started = time.thread_time(), time.monotonic()
        for i, message in enumerate(self.messages):
            if (wait := started + i * every_s - time.monotonic()) > 0:
                time.sleep(wait)
            self.sent_at[i + 1] = time.monotonic()
            self._socket.socket.sendall(message)
        self.cpu_s = time.thread_time() - before

    def _hear(self):
        self._socket.socket.settimeout(None)
        with suppress(OSError):
            while self._socket.socket.recv(65_536):
                pass


@dataclass
class Run:
    """What was seen of one overload."""

    fits: float
    rate: float
    seconds: float
    sent: int
    stats: dict
    latency_ms: np.ndarray
    memory: list = field(default_factory=list)
    cpu: float = 0.0

    @property
    def p99_ms(self):
        return percentile(self.latency_ms, 99)

    @property
    def growth(self):
        """Bytes from the first third, when arenas have settled, to the last."""
        third = max(1, len(self.memory) // 3)
        return max(self.memory[-third:]) - max(self.memory[:third])

    def __str__(self):
        shed, at = self.stats["dropped"]["shed"], self.stats["stride"]
        evaluated = ", ".join(f"{n / self.sent:.0%} at 1/{stride}" for stride, n in at["events"].items() if n)
        return (
            f"{self.seconds:.0f} s at {self.rate:,.0f} events/s, of which {self.fits:,.0f} fit: latency p50 "
            f"{percentile(self.latency_ms, 50):.0f}, p99 {self.p99_ms:.0f}, max {max(self.latency_ms):.0f} ms; "
            f"evaluated {evaluated}; shed {shed / self.sent:.0%}; {at['changes']} changes; memory "
            f"{self.memory[0] / MIB:.0f} -> {self.memory[-1] / MIB:.0f} MiB; the generator took {self.cpu:.3f} of a core"
        )


def capacity(target, per_frame=1000, seconds=3.0, **options):
    """What the slow pipeline can take, events per second, with nothing shed."""
    id_ = target.create(SLOW, policy="lossless", **options)
    frames = sliced_crc_frames(per_frame, 400, 0.1, width=SENSOR[0], height=SENSOR[1])
    generator = Generator(target, id_, frames)
    threading.Thread(target=generator.run, args=(0,), daemon=True).start()
    while target.stats(id_)["frames"] < 10:  # connected, and its kernels loaded
        time.sleep(0.02)
    before, started, events = target.stats(id_)["events"], time.monotonic(), 0
    while time.monotonic() - started < seconds or events <= before:
        time.sleep(0.02)
        events = target.stats(id_)["events"]
    rate = (events - before) / (time.monotonic() - started)
    target.delete(id_)
    return rate


def overload(target, times, seconds, fits, per_frame=None, **options):
    """Send ``times`` as much as fits, for some seconds."""
    rate = times * fits
    per_frame = per_frame or max(20, int(rate / 100))  # a hundred frames a second: four in 40 ms
    per_us = rate / 1e6
    frames = sliced_crc_frames(
        per_frame, int(seconds * rate / per_frame), per_us, width=SENSOR[0], height=SENSOR[1]
    )
    span = int(per_frame / per_us)
    id_ = target.create(SLOW, **options)
    generator, latencies, memory, over = Generator(target, id_, frames), [], [], threading.Event()

    def read():
        with Client(target.url, target.token) as client, suppress(PolychronyError):
            for result in client.results(id_, BANKS[-1]):
                # It says that all bins below it are closed, the last by an event of the bin before its own time.
                if isinstance(result, Watermark) and (
                    sent := generator.sent_at.get(max(0, result.t_us - BIN_US) // span + 1)
                ):
                    latencies.append((time.monotonic() - sent) * 1e3)

    def watch():
        process = target.process
        while not over.wait(0.5):
            memory.append(process.memory_info().rss)

    for one in (read, watch):
        threading.Thread(target=one, daemon=True).start()
    time.sleep(0.3)
    started = time.monotonic()
    generator.run(per_frame / rate)
    took = time.monotonic() - started
    deadline = time.monotonic() + 300
    while (found := target.stats(id_))["frames"] < len(frames) and time.monotonic() < deadline:
        time.sleep(0.1)
    over.set()
    target.delete(id_)
    return Run(
        fits, rate, took, len(frames) * per_frame, found, np.array(latencies), memory, generator.cpu_s / took
    )

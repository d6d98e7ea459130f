"""``python -m tests.reliability.soak [--seconds N]``: eight lossless streams, five million events a second together.

Nothing may be lost, by count and by digest; memory must stay flat. Prints latencies, and writes docs/soak.json for
docs/reliability.md with ``--write``.
"""

import argparse
import json
import struct
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
from polychrony_client import wire

from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import validate
from tests.integration.service_process import ServiceProcess
from tests.reliability.tools import MIB, RawSocket, create, memory, percentile, stats

SPEC = {"stages": [{"id": "clean", "kind": "background_activity", "window_us": 5000}]}
STREAMS, PER_FRAME, EVERY_US = 8, 6250, 10_000
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def scene(seed):
    """One frame's events: noise all over, and a busy corner."""
    rng = np.random.default_rng(seed)
    n, busy = PER_FRAME, PER_FRAME // 5
    t = np.sort(rng.integers(0, EVERY_US, n))
    x, y = rng.integers(0, 640, n), rng.integers(0, 480, n)
    corner = rng.permutation(n)[:busy]
    x[corner], y[corner] = rng.integers(0, 48, busy), rng.integers(0, 48, busy)
    t[0] = 0
    return t, x.astype(np.uint16), y.astype(np.uint16), rng.random(n) < 0.5


class Sender(threading.Thread):
    """Frames of one stream, each when its time has come, and how long until they were durable."""

    def __init__(self, service, id_, seed, frames):
        super().__init__(daemon=True)
        self.events, self.frames, self.acks, self.sent_at = scene(seed), frames, [], {}
        self._payload = wire.pack_events(*self.events)[1]
        self._socket = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        self._limit, self._room, self._durable = (
            json.loads(self._socket.until(1))["limit"],
            threading.Condition(),
            0,
        )
        self.final, self.held_s = None, 0.0
        self._socket.socket.settimeout(None)
        threading.Thread(target=self._hear, daemon=True).start()

    def run(self):
        started, size = time.monotonic(), wire.HEADER.size + len(self._payload)
        head = b"\x82\xff" + struct.pack(">Q", size) + bytes(4)
        for i in range(self.frames):
            if (wait := started + i * EVERY_US * 1e-6 - time.monotonic()) > 0:
                time.sleep(wait)
            if (i + 1) * size > self._limit:
                before = time.monotonic()
                with self._room:
                    self._room.wait_for(lambda i=i: (i + 1) * size <= self._limit)
                self.held_s += time.monotonic() - before
            frame = wire.HEADER.pack(b"PCHY", 1, wire.EVENTS, wire.AER64, i + 1, i * EVERY_US, PER_FRAME, 0)[
                :28
            ]
            sum_ = zlib.crc32(self._payload, zlib.crc32(frame)).to_bytes(4, "little")
            self.sent_at[i + 1] = time.monotonic()
            self._socket.socket.sendall(b"".join((head, frame, sum_, self._payload)))
        end = wire.build(wire.END, 0, self.frames + 1, self.frames * EVERY_US - 1, 0)
        self._socket.send(2, end)

    def _hear(self):
        while (text := self._socket.until(1)) is not None:
            said, now = json.loads(text), time.monotonic()
            if said["type"] == "ack":
                numbers = range(self._durable + 1, min(said["durable"], self.frames) + 1)
                self.acks += [(now, now - self.sent_at[n]) for n in numbers]
                self._durable = said["durable"]
                with self._room:
                    self._limit = said["limit"]
                    self._room.notify()
            elif said["type"] == "end":
                self.final = said


def read_results(service, id_, sender, took):
    """How long from a frame's sending until its results came: a bin's frame closes the one before it."""
    socket = RawSocket(service.port, f"/v1/streams/{id_}/results")
    socket.socket.settimeout(None)
    while True:
        opcode, payload = socket.receive()
        if opcode in {None, 8}:
            return
        if opcode == 2 and payload[5] == wire.WATERMARK:
            t_us = int.from_bytes(payload[16:24], "little", signed=True)
            if since := sender.sent_at.get(t_us // EVERY_US + 1):
                took.append(time.monotonic() - since)


def expected(events, frames):
    """Rows and digest of the same stream, offline."""
    engine = Engine(Graph(validate(SPEC), Sensor(width=640, height=480)))
    t, *rest = events
    together = 20
    for start in range(0, frames, together):
        n = min(together, frames - start)
        shift = np.repeat((np.arange(start, start + n) * EVERY_US), len(t))
        engine.feed((np.tile(t, n) + shift, *(np.tile(column, n) for column in rest)))
    engine.heartbeat(frames * EVERY_US - 1)
    engine.end()
    return dict(engine.rows), engine.digests()


def run(seconds, folder):
    frames = seconds * 1_000_000 // EVERY_US
    service = ServiceProcess(folder / "data", ping_s=3600)  # nobody answers pings here
    took, marks = [], []
    try:
        ids = [create(service, SPEC) for _ in range(STREAMS)]
        senders = [Sender(service, id_, i, frames) for i, id_ in enumerate(ids)]
        threading.Thread(target=read_results, args=(service, ids[0], senders[0], took), daemon=True).start()
        started = time.monotonic()
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            marks.append((time.monotonic() - started, memory(service.process)))
            time.sleep(0.5)
        elapsed = time.monotonic() - started
        deadline = time.monotonic() + 60
        while any(sender.final is None for sender in senders) and time.monotonic() < deadline:
            time.sleep(0.05)
        found = [stats(service, id_) for id_ in ids]
    finally:
        service.stop()
    total = STREAMS * frames * PER_FRAME
    lost = total - sum(one["events"] for one in found)
    wrong = [i for i, sender in enumerate(senders)
             if sender.final is None or (sender.final["rows"], sender.final["digests"]) != expected(sender.events, frames)]  # fmt: skip
    last = [size for at, size in marks if at > elapsed - min(60, elapsed / 2)]
    acks = [one for sender in senders for _, one in sender.acks]
    return {
        "seconds": seconds, "events": total, "mev_s": total / elapsed / 1e6, "lost": lost, "wrong_digests": len(wrong),
        "rows": sum(sum(one["rows"].values()) for one in found),
        "ack_p50_ms": percentile(acks, 50) * 1e3, "ack_p99_ms": percentile(acks, 99) * 1e3,
        "result_p50_ms": percentile(took, 50) * 1e3, "result_p99_ms": percentile(took, 99) * 1e3,
        "memory_mib": last[-1] / MIB, "memory_spread": (max(last) - min(last)) / min(last),
        "held_s": sum(sender.held_s for sender in senders),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=120)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polychrony-soak-") as folder:
        found = run(asked.seconds, Path(folder))
    good = found["lost"] == 0 and found["wrong_digests"] == 0 and found["memory_spread"] <= 0.05
    print(
        f"{STREAMS} streams, {found['mev_s']:.2f} Mev/s together for {found['seconds']} s: {found['events']:,} events, "
        f"{found['lost']} lost, {found['wrong_digests']} digests wrong; send to durable ack p50 {found['ack_p50_ms']:.2f} ms, "
        f"p99 {found['ack_p99_ms']:.2f} ms; send to result p50 {found['result_p50_ms']:.2f} ms, p99 {found['result_p99_ms']:.2f} ms; "
        f"memory {found['memory_mib']:.0f} MiB, within {found['memory_spread']:.1%} in the last minute; "
        f"senders held back {found['held_s']:.1f} s: {'pass' if good else 'FAIL'}"
    )
    return not good


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.benchmarks.reaction [--seconds S]``: reaction times as the service tells them, against a clock outside.

A steady stream of 20,000 events a second, paced in real time in packets of 1.6 ms, goes through ``motion_field`` with windows of
10 ms, then of 5 ms. A client takes the time from sending each packet's first and last event until the row that covers it
arrives. Told: how often the wait is uniform over the window (Kolmogorov-Smirnov on 2,000 or more events), medians and 99th
percentiles from outside and from ``stats``, and what halving the window brings.
"""

from __future__ import annotations

import argparse
import json
import struct
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import kstwo

from tests.benchmarks.latency import message
from tests.integration.service_process import ServiceProcess
from tests.reliability.tools import RawSocket, create, frame, percentile

RATE, PACKET_US, SENSOR = 20_000, 1_618, (64, 48)


def spec(window_us):
    return {
        "stages": [
            {"id": "motion", "kind": "motif", "model": "motif8"},
            {
                "id": "field",
                "kind": "motion_field",
                "input": "motion.evidence",
                "window_us": window_us,
                "min_rows": 1,
            },
        ],
        "outputs": ["field"],
    }


def packets(seconds):
    """(first time, last time, message) of each packet."""
    rng = np.random.default_rng(1)
    n = int(RATE * seconds)
    t = np.sort(rng.integers(0, int(seconds * 1e6), n))
    x, y = rng.integers(0, SENSOR[0], n).astype(np.uint16), rng.integers(0, SENSOR[1], n).astype(np.uint16)
    p, made = rng.random(n) < 0.5, []
    edges = np.searchsorted(t, np.arange(0, int(seconds * 1e6) + 1, PACKET_US))
    for a, b in pairwise(edges):
        if b > a:
            made.append(
                (int(t[a]), int(t[b - 1]), message(frame(len(made) + 1, (t[a:b], x[a:b], y[a:b], p[a:b]))))
            )
    return made


def measured(service, window_us, seconds):
    """(times from outside, s; what ``stats`` says at the end; the histogram of waits)."""
    id_ = create(service, spec(window_us), sensor=SENSOR)
    reader = RawSocket(service.port, f"/v1/streams/{id_}/results?output=field")
    sender = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
    sender.until(1)
    open_, took, lock = [], [], threading.Lock()

    def hear():
        while (data := reader.until(2)) is not None:
            now = time.perf_counter()
            _, _, type_, _, _, _, count, _ = struct.unpack_from("<4sBBHQqII", data)
            if type_ != 18 or not count:
                continue
            newest = int(np.frombuffer(data, "<i8", 1, 32 + (count - 1) * 32)[0])
            with lock:
                while open_ and open_[0][0] < newest:
                    took.append(now - open_.pop(0)[1])

    def listen():
        while sender.until(1) is not None:
            pass

    for work in (hear, listen):
        threading.Thread(target=work, daemon=True).start()
    started = time.perf_counter() + 0.05
    for first, last, data in packets(seconds):
        # A packet is sent when its last event has happened.
        if (wait := started + last * 1e-6 - time.perf_counter()) > 0:
            time.sleep(wait)
        with lock:
            now = time.perf_counter()
            open_ += [(first, now), (last, now)]
        sender.socket.sendall(data)
    time.sleep(0.2)
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/v1/streams/{id_}/stats") as answer:
        told = json.load(answer)["reaction"]["field"]
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    waits = [(float(line.split('le="')[1].split('"')[0]), float(line.split()[-1])) for line in lines
             if line.startswith("streams_reaction_wait_seconds_bucket") and id_ in line and "+Inf" not in line]  # fmt: skip
    return took, told, waits


def uniformity(waits, window_us):
    """(events, distance, p) of a histogram from the uniform distribution over (0, window]."""
    n = waits[-1][1]
    distance = max(abs(passed / n - min(1.0, edge / (window_us * 1e-6))) for edge, passed in waits)
    return int(n), distance, float(kstwo.sf(distance, int(n)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--seconds", type=float, default=9.0, help="of each stream; what stats says is of the last 10"
    )
    seconds = parser.parse_args().seconds
    medians = []
    with TemporaryDirectory() as folder:
        service = ServiceProcess(Path(folder) / "data")
        try:
            for window_us in (10_000, 5_000):
                took, told, waits = measured(service, window_us, seconds)
                n, distance, p = uniformity(waits, window_us)
                medians.append(percentile(took, 50))
                print(
                    f"windows of {window_us / 1000:g} ms: {n:,} events, wait against uniform: D {distance:.4f}, p {p:.3f}; outside "
                    f"p50 {percentile(took, 50) * 1e3:.2f}, p99 {percentile(took, 99) * 1e3:.2f} ms; stats p50 {told['p50_us'] / 1e3:.2f}, "
                    f"p99 {told['p99_us'] / 1e3:.2f} ms, bound {told['bound_us'] / 1e3:.2f} ms; parts, mean us {told['parts_us']}, "
                    f"silent {told['silent']}",
                    flush=True,
                )
        finally:
            service.stop()
    print(f"halving the window lowers the median by {1e3 * (medians[0] - medians[1]):.2f} ms")


if __name__ == "__main__":
    main()

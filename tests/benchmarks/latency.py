"""``python -m tests.benchmarks.latency [RECORDING]``: frame to ack, and event to row, beside a bare echo in the same run.

Frames of 10,000 recorded events, lossless, over loopback, one client; the echo is websockets' sansio protocol on the
same frames, one after the other. Figures are medians of the rounds; ratios are of one round.
"""

import argparse
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline import samples
from pipeline.packets import join
from pipeline.sources import InputOptions, open_source
from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import wait_for
from tests.reliability.load import ECHO, answers, through_echo, through_ours
from tests.reliability.tools import COUNTING, RawSocket, create, frame, percentile

PER_FRAME, ROUNDS, FRAMES = 10_000, 5, 200


def recorded(path):
    """(events of a recording, its sensor)."""
    source = open_source(path, InputOptions())
    events = join([one.events for one in source.batches()])
    return events, (source.info.sensor.width, source.info.sensor.height)


def looped(events, n):
    """At least so many events: the recording over and over, each time behind the one before."""
    t, x, y, p = events
    span = int(t[-1] - t[0]) + 1
    times = -(-n // len(t))
    shifted = np.concatenate([t - t[0] + i * span for i in range(times)])
    return shifted[:n], np.tile(x, times)[:n], np.tile(y, times)[:n], np.tile(p, times)[:n]


def message(raw):
    """A WebSocket message, masked with zero."""
    return b"\x82\xff" + struct.pack(">Q", len(raw)) + bytes(4) + raw


def frames_of(events, per_frame):
    n = len(events[0]) // per_frame
    cut = lambda i: tuple(column[i * per_frame : (i + 1) * per_frame] for column in events)  # noqa: E731
    return [message(frame(i + 1, cut(i))) for i in range(n)]


def echo_times(port, messages):
    """Round trips, one frame after the other; s."""
    one, took = RawSocket(port, "/"), []
    for data in messages:
        started = time.perf_counter()
        one.socket.sendall(data)
        one._exactly(len(data) - 4)
        took.append(time.perf_counter() - started)
    one.end()
    return took


def ack_times(service, messages, sensor):
    """From sending a frame to the ack that says it is durable, one frame after the other; s."""
    id_ = create(service, COUNTING, sensor=sensor)
    one, took = RawSocket(service.port, f"/v1/streams/{id_}/ingest"), []
    one.until(1)
    for n, data in enumerate(messages, 1):
        started = time.perf_counter()
        one.socket.sendall(data)
        while json.loads(one.until(1)).get("durable", 0) < n:
            pass
        took.append(time.perf_counter() - started)
    one.end()
    return took


def row_times(service, events, sensor, rate, bin_us):
    """From sending the event that closes a bin to its row at a subscriber; s."""
    id_ = create(service, "motion", sensor=sensor, policy="realtime", max_latency_ms=10_000)
    per_frame = max(1, int(rate * bin_us * 1e-6))
    messages = frames_of(events, per_frame)
    ends = events[0][per_frame - 1 :: per_frame]
    reader = RawSocket(service.port, f"/v1/streams/{id_}/results?output=motion")
    sender = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
    sender.until(1)
    sent, took = {}, []

    def hear():
        while (data := reader.until(2)) is not None:
            _, _, type_, _, _, _, count, _ = struct.unpack_from("<4sBBHQqII", data)
            now = time.perf_counter()
            if type_ == 16 and count:
                newest = int(np.frombuffer(data, "<i8", 1, len(data) - (len(data) - 32) // count)[0])
                at = int(np.searchsorted(ends, newest))
                if at < len(ends) and at in sent:
                    took.append(now - sent[at])

    def listen():
        while sender.until(1) is not None:
            pass

    for work in (hear, listen):
        threading.Thread(target=work, daemon=True).start()
    started = time.perf_counter()
    for i, data in enumerate(messages):
        if (wait := started + i * per_frame / rate - time.perf_counter()) > 0:
            time.sleep(wait)
        sent[i] = time.perf_counter()
        sender.socket.sendall(data)
    time.sleep(1)
    return took


def rates(service, port, messages):
    """Events per second, one frame after another without waiting: (through us until durable, through the echo)."""

    halves = [(data[: 14 + 32], data[14 + 32 :]) for data in messages]
    return through_ours(service, halves)[0], through_echo(port, halves)


def main():
    """Measure, and print a line a figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recording", nargs="?", type=Path, default=samples.CLIP)
    parser.add_argument("--rate", type=float, default=0, help="events a second of the last figure")
    asked = parser.parse_args()
    events, sensor = recorded(asked.recording)
    messages = frames_of(looped(events, PER_FRAME * FRAMES), PER_FRAME)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        service = ServiceProcess(Path(folder) / "data", window_bytes=64 * 2**20, ping_s=3600)
        echo = subprocess.Popen([sys.executable, "-c", ECHO, str(port)])
        try:
            wait_for(lambda: answers(port), what="the echo does not start")
            rounds = []
            for _ in range(ROUNDS):
                theirs, ours = echo_times(port, messages), ack_times(service, messages, sensor)
                through = rates(service, port, messages)
                rounds.append([percentile(theirs, 50), percentile(theirs, 99), percentile(ours, 50), percentile(ours, 99),
                               through[0] / through[1]])  # fmt: skip
            middle = np.median(np.array(rounds), axis=0)
            print(
                f"frames of {PER_FRAME:,} events of {asked.recording.name}, median of {ROUNDS} rounds of {FRAMES}"
            )
            print(f"echo round trip p50 {middle[0] * 1e3:.2f} ms, p99 {middle[1] * 1e3:.2f} ms")
            print(f"frame to durable ack p50 {middle[2] * 1e3:.2f} ms ({middle[2] / middle[0]:.2f} of the echo's), "
                  f"p99 {middle[3] * 1e3:.2f} ms ({middle[3] / middle[1]:.2f} of the echo's)")  # fmt: skip
            print(f"counting stage, frames without waiting: {middle[4]:.2f} of the echo")
            if asked.rate:
                took = row_times(service, looped(events, int(asked.rate * 10)), sensor, asked.rate, 1000)
                print(f"event to motif row at {asked.rate / 1e6:.2f} Mev/s: p50 {percentile(took, 50) * 1e3:.2f} ms, "
                      f"p99 {percentile(took, 99) * 1e3:.2f} ms, of {len(took):,} messages")  # fmt: skip
        finally:
            echo.kill()
            echo.wait()
            service.stop()


if __name__ == "__main__":
    main()

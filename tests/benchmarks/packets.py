"""A camera's 517 packets at the times at which they came, through the service's WebSocket: ``python -m
tests.benchmarks.packets [SPEED]``.

Says how long after a packet was sent its last event came back decoded, behind a stage that lets all through: an
upper bound of the time from packet sent to events decoded.
"""

from __future__ import annotations

import json
import multiprocessing
import struct
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from polychrony_client import Client
from websockets.sync.client import connect

from kernels.coding import decode
from kernels.coding.decode import Decoder
from pipeline.offline import engine_for, steps
from pipeline.sources import open_source
from pipeline.spec import validate
from tests.benchmarks.inputs import DATA
from tests.integration.service_process import ServiceProcess

PIPELINE = {"stages": [{"id": "all", "kind": "crop", "x": 0, "y": 0, "width": 640, "height": 480}]}
RECORDING = DATA / "recordings" / "evt3_640x480.raw"


def packets():
    """(ns since the first, bytes, events in it) of each packet; the file's header is not sent."""
    listed, raw = np.load(RECORDING.with_name("evt3_640x480.packets.npz")), RECORDING.read_bytes()
    start = 0
    while raw[start : start + 1] == b"%":
        start = raw.index(b"\n", start) + 1
    body, decoder, at = raw[start:], Decoder(2), 0
    if int(listed["size"].sum()) == len(raw):
        raise SystemExit("packets count the header")
    for arrival, size in zip(listed["arrival_ns"] - listed["arrival_ns"][0], listed["size"], strict=True):
        part = body[at : at + int(size)]
        at += int(size)
        yield int(arrival), part, len(decode.decode(decoder, part)[0])


def listen(url, stream, answers):
    """Rows that have come so far, and when; in a process of its own, so that it does not wait for the sender."""
    came = []
    address = f"{url.replace('http', 'ws')}/v1/streams/{stream}/results?output=all&from=start"
    with connect(address, subprotocols=["polychrony.v1"], compression=None) as socket:
        for message in socket:
            now = time.perf_counter()
            if isinstance(message, bytes) and message[5] == 17:
                first, (total,) = (
                    struct.unpack_from("<Q", message, 8)[0],
                    struct.unpack_from("<Q", message, 32),
                )
                came.append((first + total, now))
            elif isinstance(message, str) and json.loads(message)["type"] == "end":
                break
    answers.put(came)


def replay(url, speed=1.0):
    with Client(url) as client:
        stream = client.stream(PIPELINE, (640, 480))
        sent, total = [], 0
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        listener = context.Process(target=listen, args=(url, stream.id, answers))
        listener.start()
        time.sleep(0.5)
        parts = list(packets())
        started = time.perf_counter()
        for arrival, part, n in parts:
            time.sleep(max(0.0, started + arrival * 1e-9 / speed - time.perf_counter()))
            sent.append((total := total + n, time.perf_counter()))
            stream.send_camera_bytes(part, "EVT3")
        final = stream.end()
        came = answers.get(timeout=60)
        listener.join()
    rows, times = (np.array(column) for column in zip(*came, strict=True))
    waits = [times[np.searchsorted(rows, until)] - at for until, at in sent if until <= rows[-1]]
    return final, np.array(waits) * 1e3, total


def digest():
    source = open_source(RECORDING)
    engine = engine_for(source, validate(PIPELINE))
    for _ in steps(engine, source):
        pass
    return engine.digests()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        service = ServiceProcess(Path(folder) / "data")
        try:
            replay(service.url, 10)
            final, waits, total = replay(service.url, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
        finally:
            service.stop()
    print(f"{len(waits)} packets, {total:,} events sent, {final['rows']['all']:,} came back")
    print(f"digest equal to the file's: {final['digests'] == digest()}")
    print("ms from packet sent to its events back: " + ", ".join(
        f"p{p} {np.percentile(waits, p):.2f}" for p in (50, 90, 99, 100)
    ))  # fmt: skip

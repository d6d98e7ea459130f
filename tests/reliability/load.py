"""Lines 9, 10 and 19: more than fits, sources that flap, and how much goes through."""

import json
import math
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx
from polychrony_client import Client, PolychronyError, Watermark

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import Scale, check, demand, wait_for
from tests.reliability.tools import (
    COUNTING,
    MIB,
    RawSocket,
    create,
    memory,
    percentile,
    random_events,
    sliced_crc_frames,
    sliced_crc_heads,
    slope_per_hour,
    stats,
)

# Slow on purpose: every event of a dense scene through the bank of 36 motifs, without pruning.
SLOW = {"stages": [{"id": "motion", "kind": "motif", "model": "motif36", "at": {"every": 1}, "threshold": {"evidence": 0.0}}],
        "outputs": ["motion.evidence"]}  # fmt: skip


class Generator:
    """Sends frames that were made before, at a rate, within the limit; what it hears it only looks through for that."""

    def __init__(self, service, id_, frames):
        self.messages, self.sent_at, self.waited_s = _wrapped(frames), {}, 0.0
        self._socket = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        self._limit, self._room = json.loads(self._socket.until(1))["limit"], threading.Condition()
        threading.Thread(target=self._hear, daemon=True).start()

    def run(self, every_s):
        sent, started = 0, time.monotonic()
        for i, message in enumerate(self.messages):
            if (wait := started + i * every_s - time.monotonic()) > 0:
                time.sleep(wait)
            sent += len(message) - 14
            before = time.monotonic()
            with self._room:
                self._room.wait_for(lambda sent=sent: sent <= self._limit, 600)
            self.waited_s += time.monotonic() - before
            self.sent_at[i + 1] = time.monotonic()
            self._socket.socket.sendall(message)

    def _hear(self):
        self._socket.socket.settimeout(None)
        while (text := self._socket.until(1)) is not None:
            said = json.loads(text)
            if said["type"] == "ack":
                with self._room:
                    self._limit = said["limit"]
                    self._room.notify()


def capacity(service):
    """What the slow pipeline can take, events per second."""
    n, per_frame = 200_000, 2000
    id_ = create(service, SLOW, max_latency_ms=60_000, policy="realtime")
    started = time.monotonic()
    Generator(service, id_, sliced_crc_frames(per_frame, n // per_frame, 1.0)).run(0)
    wait_for(lambda: stats(service, id_)["events"] >= n, 600, "the slow pipeline does not come to an end")
    rate = n / (time.monotonic() - started)
    httpx.delete(f"{service.url}/v1/streams/{id_}")
    return rate


@check(
    9,
    "twice the load that fits, `realtime`",
    "memory under the configured cap, latency under the bound, drop counter exact",
)
def overload(scale, folder):
    seconds, bound_ms, window = scale.of(5, 60, 300), 500, 16 * MIB
    service = ServiceProcess(folder / "data", window_bytes=window, retention_bytes=4 * MIB, ping_s=3600)
    try:
        fits = capacity(service)
        rate, per_frame = 2 * fits, 2000
        id_ = create(service, SLOW, max_latency_ms=bound_ms, policy="realtime")
        generator = Generator(
            service, id_, sliced_crc_frames(per_frame, int(seconds * rate / per_frame), 1.0)
        )
        latencies = []

        def read():
            with Client(service.url) as client, suppress(PolychronyError):  # it is deleted in the end
                for result in client.results(id_, "motion.evidence"):
                    if isinstance(result, Watermark) and (
                        since := generator.sent_at.get(result.t_us // per_frame + 1)
                    ):
                        latencies.append(time.monotonic() - since)

        before, peak, done = memory(service.process), [0], threading.Event()

        def watch():
            while not done.wait(0.05):
                peak[0] = max(peak[0], memory(service.process) - before)

        threads = [threading.Thread(target=one, daemon=True) for one in (read, watch)]
        for thread in threads:
            thread.start()
        generator.run(
            scale.of(0, per_frame / rate, per_frame / rate)
        )  # all at once is too much on any machine
        total = len(generator.messages) * per_frame
        wait_for(
            lambda: stats(service, id_)["frames"] == len(generator.messages),
            600,
            "not all frames are accounted for",
        )
        found = stats(service, id_)
        done.set()
        httpx.delete(f"{service.url}/v1/streams/{id_}")
    finally:
        service.stop()
    shed, p99 = found["dropped"]["shed"], percentile(latencies, 99) * 1e3
    demand(found["events"] + shed == total, f"{found['events']} taken + {shed} shed of {total}")
    demand(
        shed > scale.of(0, total / 10, total / 10), f"only {shed} of {total} were shed: it was no overload"
    )
    demand(peak[0] <= window + 64 * MIB, f"memory grew by {peak[0] / MIB:.0f} MiB")
    demand(
        latencies and p99 <= scale.of(math.inf, bound_ms, bound_ms),
        f"p99 {p99:.0f} ms of {len(latencies)}",
    )
    return (
        f"{seconds} s at {rate / 1e6:.2f} Mev/s, of which {fits / 1e6:.2f} fit: {shed / total:.0%} shed, every one counted; "
        f"p99 {p99:.0f} ms with a bound of {bound_ms}, memory {peak[0] / MIB:+.0f} MiB, "
        f"sender held back {generator.waited_s:.1f} s"
    )


@check(
    10,
    "soak with a source that flaps every 10 s",
    "memory slope under 1 MB/h after warm-up (bounded form: its upper 95 % bound under 20 MB/h)",
)
def soak(scale, folder):
    seconds, every = scale.of(8, 300, 600), scale.of(2, 10, 10)
    service = ServiceProcess(
        folder / "data", retention_bytes=2 * MIB, snapshot_bytes=4 * MIB, window_bytes=4 * MIB
    )
    marks, values, flaps, sent = [], [], 0, 0
    try:
        with Client(service.url) as client:
            stream = client.stream("denoise", sensor=(640, 480))
            parts = [random_events(2000, i, per_us=0.1) for i in range(20)]
            started, start_us, i = time.monotonic(), 0, 0
            while (now := time.monotonic() - started) < seconds or i < 400:
                t, x, y, p = parts[i % 20]
                stream.send(t + start_us, x, y, p)
                start_us, i, sent = start_us + 20_000, i + 1, sent + 2000
                if now > (flaps + 1) * every:
                    flaps += 1
                    stream._socket.socket.shutdown(socket.SHUT_RDWR)
                if i % 10 == 0 and now > seconds * 0.4:  # rings are full, arenas have settled
                    marks.append(now)
                    values.append(memory(service.process))
                time.sleep(0.02)
            stream.end()
            demand(stream.stats()["events"] == sent, "events were lost")
    finally:
        service.stop()
    slope, upper = (value / 1e6 for value in slope_per_hour(marks, values))
    grown = max(values) - values[0]
    if scale is Scale.SHORT:  # in eight seconds a line through memory says next to nothing
        demand(grown <= 32 * MIB, f"memory grew by {grown / MIB:.0f} MiB")
    else:
        demand(upper < 20, f"{slope:.1f} MB/h, at most {upper:.1f}")
    return f"{seconds} s, {flaps} flaps, {sent:,} events: {slope:+.2f} MB/h, 95 % below {upper:.2f}"


ECHO = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "polychrony.v1"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "bytes": message["bytes"]})
uvicorn.run(app, port=int(sys.argv[1]), ws="websockets-sansio", ws_per_message_deflate=False, log_level="error", lifespan="off", ws_max_size=2**26)
"""


@check(
    19,
    "transport: 10,000 events a frame, lossless, log on, one counting stage, no subscriber",
    "at least half of a bare websockets-sansio echo in the same run",
)
def transport(scale, folder):
    rounds, many = scale.of(1, 5, 15), scale.of(200, 12_000, 12_000)
    service = ServiceProcess(folder / "data", window_bytes=64 * MIB, ping_s=3600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    echo = subprocess.Popen([sys.executable, "-c", ECHO, str(port)])
    heads, payload = sliced_crc_heads(10_000, many, 1.0)
    frames = [(head, payload) for head in _wrapped(heads, len(payload))]
    ours, theirs, acks = [], [], []
    try:
        wait_for(lambda: answers(port), what="the echo does not start")
        for _ in range(rounds):
            theirs.append(through_echo(port, frames))
            rate, _ = through_ours(service, frames)
            ours.append(rate)
            acks += _one_at_a_time(service, frames[:200])
    finally:
        echo.kill()
        echo.wait()
        service.stop()
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    ratio = ratios[len(ratios) // 2]
    figure = (f"{sorted(ours)[len(ours) // 2] / 1e6:.0f} Mev/s, the echo {sorted(theirs)[len(theirs) // 2] / 1e6:.0f}: {ratio:.2f} of it; "
              f"frame to durable ack p50 {percentile(acks, 50) * 1e3:.2f} ms, p99 {percentile(acks, 99) * 1e3:.2f} ms")  # fmt: skip
    demand(ratio >= scale.of(0, 0.5, 0.5), figure)  # the suite times nothing
    return figure


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _wrapped(frames, more=0):
    """The bytes of WebSocket messages, masked with zero: nothing is left to compute while they are sent.

    ``more`` bytes follow each.
    """
    return [b"\x82\xff" + struct.pack(">Q", len(one) + more) + bytes(4) + one for one in frames]


def _send(one, message):
    """Send (head, payload), which all messages share: a generator that reads gigabytes would be what is measured."""
    sent = one.socket.sendmsg(message)
    for part in message:
        if sent < len(part):
            one.socket.sendall(memoryview(part)[sent:])
        sent = max(0, sent - len(part))


def _bytes(message):
    return sum(map(len, message))


def through_echo(port, messages):
    """Events per second, each frame sent and received."""
    one = RawSocket(port, "/")
    expected = sum(_bytes(message) - 4 for message in messages)  # what comes back is not masked
    started = time.monotonic()

    def read():
        got, buffer = len(one.data), bytearray(2**20)
        while got < expected:
            got += one.socket.recv_into(buffer)

    reading = threading.Thread(target=read)
    reading.start()
    for message in messages:
        _send(one, message)
    reading.join()
    took = time.monotonic() - started
    one.end()
    return 10_000 * len(messages) / took


def through_ours(service, messages):
    """(events per second until all are durable and worked off, how long each ack took)."""
    id_ = create(service, COUNTING)
    one = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
    ready = json.loads(one.until(1))
    room, limit, durable, sent_at, took = threading.Condition(), ready["limit"], 0, {}, []
    started = time.monotonic()

    def read():
        nonlocal limit, durable
        while durable < len(messages):
            said = json.loads(one.until(1))
            if said["type"] == "ack":
                now = time.monotonic()
                took.extend(now - sent_at[n] for n in range(durable + 1, said["durable"] + 1))
                durable = said["durable"]
                with room:
                    limit = said["limit"]
                    room.notify()

    reading = threading.Thread(target=read)
    reading.start()
    sent = 0
    for i, message in enumerate(messages):
        sent += _bytes(message) - 14
        if sent > limit:
            with room:
                room.wait_for(lambda sent=sent: sent <= limit)
        sent_at[i + 1] = time.monotonic()
        _send(one, message)
    reading.join()
    while stats(service, id_)["events"] < 10_000 * len(messages):
        time.sleep(0.001)
    rate = 10_000 * len(messages) / (time.monotonic() - started)
    one.end()
    httpx.delete(f"{service.url}/v1/streams/{id_}")
    return rate, took


def _one_at_a_time(service, messages):
    """How long each frame took until it was durable, none sent before the one before it was."""
    id_, took = create(service, COUNTING), []
    one = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
    one.until(1)
    for i, message in enumerate(messages):
        started = time.monotonic()
        _send(one, message)
        while json.loads(one.until(1)).get("durable", 0) < i + 1:
            pass
        took.append(time.monotonic() - started)
    one.end()
    httpx.delete(f"{service.url}/v1/streams/{id_}")
    return took

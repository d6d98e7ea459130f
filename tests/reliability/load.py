"""Lines 9, 10 and 19: more than fits, sources that flap, and how much goes through."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
from polychrony_client import Client, Gap, Watermark
from websockets.sync.client import connect

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import check, demand, wait_for
from tests.reliability.tools import (
    COUNTING,
    MIB,
    create,
    memory,
    percentile,
    random_events,
    sliced_crc_frames,
    slope_per_hour,
    stats,
)

# Slow on purpose: every event of a dense scene through the bank of 36 motifs, without pruning.
SLOW = {"stages": [{"id": "motion", "kind": "motif", "model": "motif36", "at": "events", "threshold": {"evidence": 0.0}}],
        "outputs": ["motion.evidence"]}  # fmt: skip


def hear(socket, kind):
    while True:
        said = json.loads(socket.recv(timeout=60))
        if said["type"] == kind:
            return said


def ingest(service, id_):
    url = f"ws://127.0.0.1:{service.port}/v1/streams/{id_}/ingest"
    return connect(url, subprotocols=["polychrony.v1"], compression=None, max_size=2**26)


def capacity(service):
    """What the slow pipeline can take, events per second."""
    n, per_frame = 200_000, 2000
    id_ = create(service, SLOW, max_latency_ms=60_000, policy="realtime")
    frames = sliced_crc_frames(per_frame, n // per_frame, 1.0)
    started = time.monotonic()
    with ingest(service, id_) as socket:
        hear(socket, "ready")
        for one in frames:
            socket.send(one)
        wait_for(lambda: stats(service, id_)["events"] >= n, 60, "the slow pipeline does not come to an end")
    rate = n / (time.monotonic() - started)
    httpx.delete(f"{service.url}/v1/streams/{id_}")
    return rate


@check(
    9,
    "twice the load that fits, `realtime`",
    "memory under the configured cap, latency under the bound, drop counter exact",
)
def overload(scale, folder):
    seconds, bound_ms, window = scale.of(5, 60, 300), 500, 4 * MIB
    service = ServiceProcess(folder / "data", window_bytes=window, retention_bytes=4 * MIB)
    try:
        fits = capacity(service)
        rate, per_frame = 2 * fits, 2000
        id_ = create(service, SLOW, max_latency_ms=bound_ms, policy="realtime")
        frames = sliced_crc_frames(per_frame, int(seconds * rate / per_frame), 1.0)
        sent_at, latencies, gaps, stop = {}, [], [0], threading.Event()

        def read():
            with Client(service.url) as client:
                for result in client.results(id_, "motion.evidence"):
                    if isinstance(result, Gap):
                        gaps[0] += 1
                    if isinstance(result, Watermark) and (since := sent_at.get(result.t_us // per_frame)):
                        latencies.append(time.monotonic() - since)

        reader = threading.Thread(target=read)
        before, peak = memory(service.process), 0
        own = psutil.Process(os.getpid())
        with ingest(service, id_) as socket:
            hear(socket, "ready")
            reader.start()
            used, started = own.cpu_times(), time.monotonic()
            for i, one in enumerate(frames):
                due = started + i * per_frame / rate
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                sent_at[i + 1] = time.monotonic()
                socket.send(one)
                if i % 50 == 0:
                    peak = max(peak, memory(service.process) - before)
            now, elapsed = own.cpu_times(), time.monotonic() - started
            generator = (now.user + now.system - used.user - used.system) / elapsed
            wait_for(
                lambda: stats(service, id_)["frames"] == len(frames), 60, "not all frames are accounted for"
            )
            found = stats(service, id_)
            httpx.delete(f"{service.url}/v1/streams/{id_}")
        stop.set()
        reader.join(20)
    finally:
        service.stop()
    total = len(frames) * per_frame
    demand(
        found["events"] + found["dropped"]["shed"] == total,
        f"{found['events']} taken + {found['dropped']['shed']} shed of {total}",
    )
    demand(
        found["dropped"]["shed"] > total / 10,
        f"only {found['dropped']['shed']} of {total} were shed: it was no overload",
    )
    p99 = percentile(latencies, 99) * 1e3
    cap = window + 64 * MIB
    demand(peak <= cap, f"memory grew by {peak / MIB:.0f} MiB")
    demand(p99 <= bound_ms + 150, f"p99 {p99:.0f} ms")
    return (f"{seconds} s at {rate / 1e6:.2f} Mev/s, of which {fits / 1e6:.2f} fit: {found['dropped']['shed'] / total:.0%} shed, every one counted; "
            f"p99 {p99:.0f} ms of {bound_ms}, memory {peak / MIB:+.0f} MiB")  # fmt: skip


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
            while (now := time.monotonic() - started) < seconds:
                t, x, y, p = parts[i % 20]
                stream.send(t + start_us, x, y, p)
                start_us, i, sent = start_us + 20_000, i + 1, sent + 2000
                if now > (flaps + 1) * every:
                    flaps += 1
                    stream._socket.socket.close()
                if i % 10 == 0 and now > seconds * 0.4:  # rings are full, arenas have settled
                    marks.append(now)
                    values.append(memory(service.process))
                time.sleep(0.02)
            stream.end()
            demand(stream.stats()["events"] == sent, "events were lost")
    finally:
        service.stop()
    slope, upper = (value / 1e6 for value in slope_per_hour(marks, values))
    bounds = {8: 10_000, 300: 20, 600: 20}
    demand(upper < bounds[seconds], f"{slope:.1f} MB/h, at most {upper:.1f}")
    return f"{seconds} s, {flaps} flaps, {sent:,} events: {slope:+.2f} MB/h, 95 % below {upper:.2f}"


_ECHO = """
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
    rounds, many = scale.of(1, 5, 15), scale.of(200, 1500, 1500)
    service = ServiceProcess(folder / "data", window_bytes=64 * MIB)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    echo = subprocess.Popen([sys.executable, "-c", _ECHO, str(port)])
    frames = sliced_crc_frames(10_000, many, 1.0)
    ours, theirs, acks = [], [], []
    try:
        wait_for(lambda: _answers(port), 20, "the echo does not start")
        for _ in range(rounds):
            theirs.append(asyncio.run(_through_echo(port, frames)))
            rate, took = asyncio.run(_through_ours(service, frames))
            ours.append(rate)
            acks += took
    finally:
        echo.kill()
        echo.wait()
        service.stop()
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    ratio = ratios[len(ratios) // 2]
    figure = (f"{sorted(ours)[len(ours) // 2] / 1e6:.0f} Mev/s, the echo {sorted(theirs)[len(theirs) // 2] / 1e6:.0f}: {ratio:.2f} of it; "
              f"frame to durable ack p50 {percentile(acks, 50) * 1e3:.2f} ms, p99 {percentile(acks, 99) * 1e3:.2f} ms")  # fmt: skip
    demand(ratio >= 0.5, figure)
    return figure


def _answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


async def _through_echo(port, frames):
    """Events per second, each frame sent and received; a few are under way at a time."""
    from websockets.asyncio.client import connect as aconnect

    async with aconnect(
        f"ws://127.0.0.1:{port}/",
        subprotocols=["polychrony.v1"],
        compression=None,
        max_size=2**26,
        ping_interval=None,
    ) as socket:
        started = time.monotonic()

        async def read():
            for _ in frames:
                await socket.recv()

        reading = asyncio.create_task(read())
        for one in frames:
            await socket.send(one)
        await reading
        return 10_000 * len(frames) / (time.monotonic() - started)


async def _through_ours(service, frames):
    """(events per second until all are durable and worked off, how long acks took)."""
    from websockets.asyncio.client import connect as aconnect

    id_ = create(service, COUNTING)
    url = f"ws://127.0.0.1:{service.port}/v1/streams/{id_}/ingest"
    async with aconnect(url, subprotocols=["polychrony.v1"], compression=None, ping_interval=None) as socket:
        ready = json.loads(await socket.recv())
        limit, durable, sent_bytes = ready["limit"], 0, 0
        sent_at, took = {}, []
        more = asyncio.Event()
        started = time.monotonic()

        async def read():
            nonlocal limit, durable
            while durable < len(frames):
                said = json.loads(await socket.recv())
                if said["type"] == "ack":
                    now = time.monotonic()
                    took.extend(now - sent_at.pop(n) for n in range(durable + 1, said["durable"] + 1))
                    limit, durable = said["limit"], said["durable"]
                    more.set()

        reading = asyncio.create_task(read())
        for i, one in enumerate(frames):
            while sent_bytes + len(one) > limit:
                more.clear()
                await more.wait()
            sent_at[i + 1] = time.monotonic()
            await socket.send(one)
            sent_bytes += len(one)
        await reading
        while (await asyncio.to_thread(stats, service, id_))["events"] < 10_000 * len(frames):
            await asyncio.sleep(0.002)
        rate = 10_000 * len(frames) / (time.monotonic() - started)
    httpx.delete(f"{service.url}/v1/streams/{id_}")
    return rate, took

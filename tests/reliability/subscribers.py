"""Lines 7, 8 and 20: clients that come and go, that do not read, and that are many."""

import asyncio
import json
import math
import threading
import time

import numpy as np
import psutil
from polychrony_client import AsyncClient, Client, wire
from websockets.asyncio.client import connect

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import check, demand, wait_for
from tests.reliability.tools import (
    EVERYTHING,
    MIB,
    PATIENCE_S,
    RawSocket,
    create,
    descriptors,
    memory,
    percentile,
    random_events,
    stats,
)

_HEAD = wire.HEADER.size


@check(
    7,
    "a client reconnects, on both sides",
    "no gap, no duplicate; file descriptors and memory within 5 %",
    timed=False,
)
def reconnects(scale, folder):
    many = scale.of(30, 1000, 1000)
    service = ServiceProcess(folder / "data")
    try:
        with Client(service.url) as client:
            stream = client.stream("denoise", sensor=(640, 480))
            cursor, rows, sent = -1, 0, 0
            before = None
            for i in range(many):
                events = random_events(500, seed=i, start_us=i * 20_000, per_us=0.025)
                stream.send(*events)
                sent += 500
                stream._socket.socket.shutdown(2)  # broken off in the middle
                stream.heartbeat((i + 1) * 20_000 - 1)
                stream.flush()
                found = next_rows(client, stream.id, cursor)
                for first, n in found:
                    demand(first == cursor + 1, f"row {first} after row {cursor}")
                    cursor, rows = first + n - 1, rows + n
                if i == many // 5:
                    before = descriptors(service.process), memory(service.process)
            most = 1.05 * before[0]  # sockets that were left may close a moment later; a leak stays
            wait_for(
                lambda: descriptors(service.process) <= most,
                what=f"more than {most:.0f} descriptors are left",
            )
            after = descriptors(service.process), memory(service.process)
            final = stream.end()
            for first, n in next_rows(client, stream.id, cursor):
                demand(first == cursor + 1, f"row {first} after row {cursor}")
                cursor, rows = first + n - 1, rows + n
            demand(rows == final["rows"]["clean"], f"{rows} rows of {final['rows']['clean']}")
            demand(stream.reconnects >= many, f"only {stream.reconnects} reconnects")
            demand(
                client.request("GET", f"/v1/streams/{stream.id}/stats").json()["events"] == sent,
                "events were lost",
            )
        files, grown = after[0] - before[0], after[1] / before[1] - 1
        demand(grown <= 0.05, f"memory grew by {grown:.1%}")
    finally:
        service.stop()
    return f"{many:,} reconnects, {rows:,} rows once each; descriptors {files:+d}, memory {grown:+.1%}"


def next_rows(client, id_, cursor):
    """(first, count) of the rows behind a cursor that are there now."""
    query = f"?after=clean:{cursor}" if cursor >= 0 else "?from=start"
    found = []
    with client.connect(f"/v1/streams/{id_}/results{query}") as socket:
        hello = json.loads(socket.recv(timeout=PATIENCE_S))
        due = hello["outputs"][0]["next_row"]
        while cursor + 1 < due:
            message = socket.recv(timeout=PATIENCE_S)
            if isinstance(message, bytes) and message[5] == wire.THINNED_EVENTS:
                head = wire.parse(message)
                total = int.from_bytes(head.payload[:8], "little")
                found.append((head.number, total))
                cursor = head.number + total - 1
    return found


@check(
    8, "a subscriber that stops reading", "+32 MiB at most, others' p99 +20 % at most, drops reported to it"
)
def stalled(scale, folder):
    seconds, frames = scale.of(4, 60, 300), 300  # more than the ring and the sockets between hold
    service = ServiceProcess(folder / "data", retention_bytes=4 * MIB)
    try:
        with Client(service.url) as client:
            stream = client.stream(EVERYTHING, sensor=(640, 480), policy="realtime", max_latency_ms=10_000)
            latencies, since = {"alone": [], "beside": []}, {}
            mode, stop = ["alone"], threading.Event()

            def read():
                with Client(service.url) as other:
                    for result in other.results(stream.id):
                        t_us = getattr(result, "t_us", None)
                        if t_us is not None and t_us in since:
                            latencies[mode[0]].append(time.monotonic() - since.pop(t_us))
                        if stop.is_set():
                            return

            reader = threading.Thread(target=read, daemon=True)
            reader.start()

            def send_for(seconds, start, least=0):
                deadline, i = time.monotonic() + seconds, start
                while time.monotonic() < deadline or i - start < least:
                    events = random_events(4000, seed=i % 50, start_us=i * 20_000, per_us=0.2)
                    events[0][-1] = i * 20_000 + 19_999
                    since[i * 20_000 + 19_999] = time.monotonic()
                    stream.send(*events)
                    i += 1
                    time.sleep(0.02)
                return i

            start = send_for(1, 0)
            latencies["alone"].clear()
            start = send_for(seconds / 2, start)
            before = memory(service.process)
            mode[0] = "beside"
            lazy = RawSocket(service.port, f"/v1/streams/{stream.id}/results?from=start", receive_buffer=4096)
            start = send_for(seconds, start, frames)
            grown = memory(service.process) - before
            told = []
            while not any("lagged" in text for text in told):
                opcode, payload = lazy.receive()
                demand(opcode is not None, "the lazy subscriber was never told what it missed")
                told += [payload.decode()] if opcode == 1 else []
            stop.set()
            stream.end()
            reader.join(PATIENCE_S)
    finally:
        service.stop()
    alone, beside = (percentile(latencies[name], 99) for name in ("alone", "beside"))
    demand(grown <= 32 * MIB, f"memory grew by {grown / MIB:.0f} MiB")
    most = scale.of(math.inf, 1.2 * alone + 0.005, 1.2 * alone + 0.005)
    demand(beside <= most, f"p99 {beside * 1e3:.1f} ms beside it, {alone * 1e3:.1f} ms without")
    return f"{seconds} s: memory {grown / MIB:+.1f} MiB, p99 {alone * 1e3:.1f} ms without it, {beside * 1e3:.1f} ms beside it; told lagged"


@check(20, "fan-out: 100 subscribers, 100 messages a second from one stream", "within half a core")
def fan_out(scale, folder):
    seconds = scale.of(3, 20, 60)
    service = ServiceProcess(folder / "data", requests_per_minute=10**6)
    try:
        id_ = create(service)
        got, rows = np.zeros(100, int), np.zeros(100, int)

        async def run():
            async with AsyncClient(service.url) as client:
                url = f"ws://127.0.0.1:{service.port}/v1/streams/{id_}/results"
                sockets = [
                    await connect(url, subprotocols=["polychrony.v1"], compression=None) for _ in range(100)
                ]

                async def read(i):
                    async for message in sockets[i]:
                        if isinstance(message, bytes) and message[5] == wire.THINNED_EVENTS:
                            got[i] += 1
                            rows[i] += int.from_bytes(message[_HEAD : _HEAD + 8], "little")

                readers = [asyncio.create_task(read(i)) for i in range(100)]
                stream = await client.attach(id_)
                parts = [
                    random_events(1000, seed=i, start_us=i * 10_000, per_us=0.1) for i in range(100 * seconds)
                ]
                process = psutil.Process(service.process.pid)
                used, started = process.cpu_times(), time.monotonic()
                for i, events in enumerate(parts):
                    await stream.send(*events)
                    await asyncio.sleep(max(0.0, started + (i + 1) * 0.01 - time.monotonic()))
                elapsed, now = time.monotonic() - started, process.cpu_times()
                final = await stream.end()
                await asyncio.gather(*readers, return_exceptions=True)
                demand(set(rows) == {final["rows"]["clean"]}, f"{set(rows)} rows of {final['rows']['clean']}")
                return (now.user + now.system - used.user - used.system) / elapsed, elapsed

        load, elapsed = asyncio.run(run())
        wait_for(lambda: stats(service, id_)["state"] == "ended")
    finally:
        service.stop()
    rate = got.min() / elapsed
    demand(rate > scale.of(0, 90, 90), f"only {rate:.0f} messages a second")
    demand(load <= scale.of(math.inf, 0.5, 0.5), f"{load:.2f} of a core")
    return f"{load:.2f} of a core at {rate:.0f} messages a second to each of 100"

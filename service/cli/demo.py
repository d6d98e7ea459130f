"""``polychrony demo``: the service, the bundled sample through it both ways, and what was found."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import typer
from polychrony_client import Client, Refused, Unreachable

from pipeline import packets, samples
from pipeline.errors import UserError
from pipeline.sources import open_source
from service.cli.configuration import load_plugins, read_settings, take_over_what_users_keep, with_token
from service.cli.console import note, out, progress, say_when_compiling, table
from service.serving.server import address, listen, server
from service.settings import Settings
from service.storage.files.data_lock import locked

_PATIENCE_S = 180
"""For one answer of the service, once it is ready."""
_STEP_US, _SLOWED = 4000, 5


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when the sample is through.")] = False,
) -> int:
    """Start the service, send it the bundled sample as a job and as a stream, and show what it found.

    Stays up in a terminal; without one, with --once or with ONCE=1 in the environment it ends.
    """
    settings = with_token(read_settings())
    load_plugins(settings)
    with locked(settings.data_dir):
        take_over_what_users_keep(settings.data_dir)
        return _run(settings, once)


def _run(settings: Settings, once: bool) -> int:
    try:
        listening = listen(settings)
    except OSError:
        note(f"port {settings.port} is taken: using another")
        listening = listen(settings.model_copy(update={"port": 0}))
    url = address(settings, listening)
    running = server(settings, quiet=True)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    say_when_compiling()
    thread.start()
    try:
        with Client(url, settings.token, _PATIENCE_S) as client:
            _wait_until_ready(client, thread)
            right = _send_sample(client)
        note(f"dashboard: {url}")
        if sys.stdout.isatty() and not once and os.environ.get("ONCE", "0") in {"", "0"}:
            note("it shows the sample as a live stream, five times slowed down; press Ctrl-C to stop")
            with suppress(KeyboardInterrupt):
                _play_on(url, settings.token, thread)
    finally:
        running.should_exit = True
        thread.join(15)
    return 0 if right else 1


def _wait_until_ready(client: Client, thread: threading.Thread) -> None:
    """Until kernels are compiled or loaded, however long that takes on this machine.

    Raises:
        DemoFailed: the service has ended, or says that it never will be ready.
    """
    note("starting the service ...")
    why = "the service has ended: its log says why"
    while thread.is_alive():
        try:
            client.request("GET", "/readyz")
        except Refused as refusal:
            if "cannot be prepared" in str(refusal):
                why = str(refusal)
                break
            time.sleep(0.1)
        except Unreachable:
            time.sleep(0.1)
        else:
            return
    raise DemoFailed(f"the service does not become ready: {why}")


def _send_sample(client: Client) -> bool:
    """The sample as a job and as a stream; whether both agree and the answer is the truth."""
    with progress(f"job: {samples.CLIP.name} over HTTP") as advance:
        job = client.submit(samples.CLIP)
        job.wait(lambda said: advance(said["done"], f"{said['state']}, {said['events'] or 0:,} events"))
    summary = job.summary()
    source = open_source(samples.CLIP)
    with progress("stream: its events over WebSocket") as advance:
        stream = client.stream("motion", (source.info.sensor.width, source.info.sensor.height))
        sent = 0
        for (t, x, y, p), fraction, _ in source.batches():
            stream.send(t, x, y, p)
            sent += len(t)
            advance(fraction, f"{sent:,} events")
        final = stream.end()
    motion, field = stream.rows("motion"), stream.rows("field")
    out.print(f"{sent:,} events, {len(motion['t']):,} motion detections, {len(field['t']):,} field rows")
    agree = final["digests"] == summary["digests"]
    out.print(f"job and stream agree: {'yes, digests are equal' if agree else 'NO'}")
    return _show(motion, field, stream.labels("motion")) and agree


def _play_on(url: str, token: str | None, thread: threading.Thread) -> None:
    """The sample over and over as one live stream, for the dashboard to show."""
    events = packets.join([reading.events for reading in open_source(samples.CLIP).batches()])
    t, x, y, p = events
    edges = np.searchsorted(t, np.arange(0, int(t[-1]) + _STEP_US, _STEP_US))
    sensor = samples.truth().width, samples.truth().height
    start = 0
    with Client(url, token) as client:
        # Realtime, as it goes on for ever: a lossless stream keeps a log of all that it was sent.
        stream = client.stream("view", sensor, policy="realtime", max_latency_ms=1000, idle_timeout_s=5)
        while thread.is_alive():
            for k, (a, b) in enumerate(pairwise(edges.tolist())):
                stream.send(t[a:b] + start, x[a:b], y[a:b], p[a:b])
                stream.heartbeat(start + k * _STEP_US)
                time.sleep(_STEP_US * 1e-6 * _SLOWED)
            start += int(t[-1]) + _STEP_US


def _show(motion: dict[str, Any], field: dict[str, Any], labels: list[dict[str, Any]]) -> bool:
    """Truth and answer, window by window; whether every direction is right."""
    rows = table("window", "moves", "found", "px/ms", "found", "detections", "within 45°")
    direction = np.radians([label["direction_deg"] for label in labels])[motion["label"]]
    all_right = True
    for i, window in enumerate(samples.truth().windows):
        truth = math.radians(window.direction_deg)
        seen = np.hypot(motion["x"] - window.x, motion["y"] - window.y) < window.radius
        close = np.cos(direction[seen] - truth) > math.cos(math.radians(46))
        vx, vy = _velocity(field, window)
        off = abs(math.remainder(math.atan2(vy, vx) - truth, 2 * math.pi))
        right = off < math.radians(22.5)
        all_right &= right
        rows.add_row(
            str(i + 1), f"{window.direction_deg:.0f}°",
            f"{math.degrees(math.atan2(vy, vx)) % 360:.0f}°{'' if right else ' WRONG'}",
            f"{window.speed_px_per_ms:.2f}", f"{math.hypot(vx, vy):.2f}",
            f"{int(seen.sum()):,}", f"{close.mean() if len(close) else 0:.0%}",
        )  # fmt: skip
    out.print(rows)
    return all_right


def _velocity(field: dict[str, Any], window: samples.Window) -> tuple[float, float]:
    """Confidence-weighted mean of the field's tiles whose centre lies in a window."""
    inside = np.hypot(field["x"] + 8 - window.x, field["y"] + 8 - window.y) < window.radius
    weight = field["confidence"][inside].astype(float)
    total = max(float(weight.sum()), 1e-9)
    return float((weight * field["vx"][inside]).sum() / total), float(
        (weight * field["vy"][inside]).sum() / total
    )


class DemoFailed(UserError):
    """The demonstration cannot run."""

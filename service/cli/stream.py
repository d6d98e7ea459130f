"""``polychrony stream``: a recording, a video or a live source into a running service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any

import numpy as np
import typer
from polychrony_client import Client
from polychrony_client.streams import Stream

from pipeline.sources import InputOptions, SourceError
from pipeline.sources.live import WAYS, Arrival, Live, LiveOptions, open_live
from pipeline.spec import load, presets
from service.cli.console import Advance, out, print_json, progress, table, tell, warn
from service.cli.options import AsJson, PipelineName, takes_input


@dataclass
class _Sent:
    """What went out."""

    events: int = 0
    triggers: int = 0
    gaps: int = 0
    heartbeats: int = 0
    newest_us: int = -1
    started_s: float = field(default_factory=time.monotonic)


@takes_input
def stream(
    address: Annotated[
        str, typer.Argument(metavar="IN", help="; ".join(f"{way}: {what}" for way, what in WAYS.items()))
    ],
    to: Annotated[str, typer.Option(metavar="URL", help="The service.")] = "http://127.0.0.1:8700",
    token: Annotated[str | None, typer.Option(envvar="POLYCHRONY_TOKEN", help="The service's token.")] = None,
    pipeline: PipelineName = "motion",
    speed: Annotated[
        float,
        typer.Option(
            min=0, max=1e6, help="Playback speed of a file, times real time; 0: as fast as possible."
        ),
    ] = 1.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on reading a file or folder that grows.")
    ] = False,
    give_up_s: Annotated[
        float,
        typer.Option("--give-up", min=0, help="Stop after so many seconds without data; 0: never."),
    ] = 30.0,
    for_s: Annotated[
        float | None, typer.Option("--for", min=0, help="End after so many seconds.", show_default=False)
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Of the stream: lossless or realtime; default: the service's setting."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the stream.", show_default=False)] = None,
    reorder_us: Annotated[int, typer.Option(min=0, help="How late an event may come, us.")] = 0,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Send what an address yields to a service as a stream, as it comes, until it ends or Ctrl-C."""
    if policy not in {None, "lossless", "realtime"}:
        raise typer.BadParameter("allowed are lossless, realtime", param_hint="--policy")
    options = LiveOptions(speed, follow, give_up_s, inputs, inputs.watching)
    source = open_live(address, options)
    try:
        arrivals, sensor = _first(source)
        with Client(to, token) as client:
            left = {key: value for key, value in (("policy", policy), ("name", name)) if value is not None}
            opened = client.stream(
                _pipeline(pipeline), sensor, reorder_us=reorder_us, epoch_ns=source.epoch_ns, **left
            )
            with opened, progress(f"streaming {source.name}", quiet=as_json) as advance:
                sent = _send(arrivals, opened, for_s, _teller(source, advance))
                final = opened.end(sent.newest_us if sent.newest_us >= 0 else None)
                _show(source, sent, final, opened, as_json)
    finally:
        source.close()


def _pipeline(name: str) -> str | dict[str, Any]:
    """A preset's name, or the document of a file, which the service need not have."""
    spec = load(name)
    return name if name in presets() else spec.model_dump(mode="json")


def _first(source: Live) -> tuple[Iterator[Arrival], tuple[int, int]]:
    """What comes, once it has come far enough for the sensor to be known."""
    arrivals = source.arrivals()
    taken: list[Arrival] = []
    while source.sensor is None:
        arrival = next(arrivals, None)
        if arrival is None:
            raise SourceError(f"{source.name}: nothing came")
        taken.append(arrival)
    return chain(taken, arrivals), (source.sensor.width, source.sensor.height)


def _send(
    arrivals: Iterator[Arrival], opened: Stream, for_s: float | None, tell: Callable[[_Sent], None]
) -> _Sent:
    sent = _Sent()
    told = 0.0
    with suppress(KeyboardInterrupt):
        for arrival in arrivals:
            _send_one(arrival, opened, sent)
            now = time.monotonic()
            if now - told > 0.1:
                told = now
                tell(sent)
            if for_s is not None and now - sent.started_s >= for_s:
                break
    return sent


def _send_one(arrival: Arrival, opened: Stream, sent: _Sent) -> None:
    t, x, y, p = arrival.events
    if arrival.gap and len(t):
        opened.gap(max(int(t[0]), sent.newest_us, 0))
        sent.gaps += 1
    if len(t):
        opened.send(t, x, y, p)
        sent.events += len(t)
        sent.newest_us = max(sent.newest_us, int(np.max(t)))
    elif arrival.heartbeat_us is not None and arrival.heartbeat_us > sent.newest_us:
        opened.heartbeat(arrival.heartbeat_us)
        sent.heartbeats += 1
        sent.newest_us = arrival.heartbeat_us
    if len(arrival.triggers):
        marks = arrival.triggers[np.argsort(arrival.triggers[:, 0], kind="stable")]
        opened.send_triggers(marks[:, 0], marks[:, 1], marks[:, 2])
        sent.triggers += len(marks)


def _teller(source: Live, advance: Advance) -> Callable[[_Sent], None]:
    return lambda sent: advance(float(getattr(source, "done", 0.0)), f"{sent.events:,} events")


def _show(source: Live, sent: _Sent, final: dict[str, Any], opened: Stream, as_json: bool) -> None:
    seconds = time.monotonic() - sent.started_s
    stats = opened.stats()
    lost = dict(source.losses)
    unreliable_spans = [list(span) for span in source.unreliable_spans]
    document = {
        "source": source.name, "stream": opened.id, "events": sent.events, "triggers": sent.triggers,
        "gaps": sent.gaps, "seconds": round(seconds, 3), "losses": lost,
        "unnoticed": source.loss_note, "motion_unreliable_us": unreliable_spans,
        "dropped": stats["dropped"], "repaired": stats["repaired"], "filtered": stats["filtered"],
        "rows": final["rows"], "digests": final["digests"], "warnings": source.warnings,
    }  # fmt: skip
    warn(source.name, source.warnings)
    if as_json:
        print_json(document)
        return
    rows = table(source.name, "")
    rows.add_row("events sent", f"{sent.events:,}")
    if sent.triggers:
        rows.add_row("triggers sent", f"{sent.triggers:,}")
    rows.add_row("rate", f"{sent.events / max(seconds, 1e-9) / 1e6:.3f} Mev/s")
    for name, n in final["rows"].items():
        rows.add_row(name, f"{n:,} rows")
    for stage, n in stats["filtered"].items():
        rows.add_row(f"{stage}: filtered out", f"{n:,} events")
    for name, n in {**lost, **stats["dropped"], **stats["repaired"]}.items():
        if n:
            rows.add_row(name.replace("_", " "), f"{n:,}")
    out.print(rows)
    if unreliable_spans:
        seconds = sum(end - start for start, end in unreliable_spans) * 1e-6
        tell(f"motion cannot be told in {seconds:.3f} s of it: frames that could not be bridged")
    tell(f"may be lost unnoticed: {source.loss_note}")

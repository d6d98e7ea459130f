"""The figures of a running service that Prometheus asks for; docs/operations.md lists them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import psutil
from prometheus_client.core import CounterMetricFamily

from service.monitoring.metrics import Family, histogram
from service.streams.lifecycle import OVER
from service.streams.reaction import EDGES_S, PARTS
from service.streams.stream import Stream

if TYPE_CHECKING:
    from service.routes.state import ServiceState

_PROCESS = psutil.Process()


def look(service: ServiceState) -> Iterable[Family]:
    """All of them, now."""
    yield "gauge", "polychrony_ready", "1 where the service takes work", {
        "": float(not service.not_ready and not service.draining)
    }  # fmt: skip
    yield "gauge", "streams", "Streams by state", {k: float(n) for k, n in service.streams.counts().items()}
    streams = service.streams.all()
    yield from _streams([stream.view.stats() for stream in streams])
    yield from _reactions([stream for stream in streams if stream.state not in OVER])
    yield "gauge", "streams_not_restored", "Streams on disk that could not be gone on with", {
        "": float(len(service.streams.not_restored))
    }  # fmt: skip
    yield "gauge", "jobs", "Jobs by state", {k: float(n) for k, n in service.jobs.last_counts.items()}
    yield from _outward(service)
    yield "gauge", "disk_bytes", "The disk that holds the data", _disk(service)
    with _PROCESS.oneshot():
        memory, descriptors = _PROCESS.memory_info().rss, _PROCESS.num_fds()
    yield "gauge", "process_memory_bytes", "Resident memory of the service", {"": float(memory)}
    yield "gauge", "process_open_files", "File descriptors of the service", {"": float(descriptors)}


def _disk(service: ServiceState) -> dict[str, float]:
    try:
        disk = shutil.disk_usage(service.settings.data_dir)
    except OSError:  # the folder is gone; /readyz says so
        return {"free": 0.0, "total": 0.0}
    return {"free": float(disk.free), "total": float(disk.total)}


def _outward(service: ServiceState) -> Iterable[Family]:
    """What the service does by itself."""
    standing = service.standing.describe()
    up = sum(one["stream"] is not None for one in standing)
    yield (
        "gauge",
        "streams_standing",
        "Streams of `autostart`, by whether they run",
        {"up": float(up), "down": float(len(standing) - up)},
    )
    if not (told := service.publishers.describe()):
        return
    for what in ("sent", "waiting", "dropped", "refused", "lost_rows"):
        yield "gauge", f"publishers_{what}", f"Messages to each receiver: {what}", {
            one["name"]: float(one[what]) for one in told
        }  # fmt: skip


def _reactions(streams: list[Stream]) -> Iterable[Family]:
    """How long the answers of streams that run take: docs/operations.md says what the parts are."""
    outputs = [
        ((stream.id, stream.request.name or "", name), output)
        for stream in streams for name, output in stream.runner.reactions.outputs.items()
    ]  # fmt: skip
    labels = ("stream", "name", "output")
    yield histogram(
        "streams_reaction_seconds", "From an event's arrival until the answer that covers it leaves", labels, EDGES_S,
        [(where, output.reaction.counts, output.reaction.sum_s) for where, output in outputs],
    )  # fmt: skip
    yield histogram(
        "streams_reaction_wait_seconds", "Of it, until the interval that the event lies in was over", labels, EDGES_S,
        [(where, output.wait.counts, output.wait.sum_s) for where, output in outputs],
    )  # fmt: skip
    parts = CounterMetricFamily(
        "streams_reaction_part_seconds", "Of it, by part, in all", labels=(*labels, "part")
    )
    for where, output in outputs:
        for part, spent in zip(PARTS, output.parts_s, strict=True):
            parts.add_metric((*where, part), spent)
    yield parts


def _streams(all_stats: list[dict[str, Any]]) -> Iterable[Family]:
    totals = {"events": 0.0, "frames": 0.0}
    dropped, repaired, filtered, losses, rates = (
        dict[str, float](),
        dict[str, float](),
        dict[str, float](),
        dict[str, float](),
        {"events_per_s": 0.0, "bytes_per_s": 0.0},
    )
    subscribers, lagged, lag_us, energy_uj = 0, 0, 0, 0.0
    stride, sparse = 1, 0
    for stats in all_stats:
        totals = {name: totals[name] + stats[name] for name in totals}
        rates = {name: rates[name] + stats["rates"][name] for name in rates}
        for found, what in ((dropped, "dropped"), (repaired, "repaired"), (filtered, "filtered")):
            for reason, n in stats[what].items():
                found[reason] = found.get(reason, 0.0) + n
        for what, n in (stats["source"] or {}).get("losses", {}).items():
            losses[what] = losses.get(what, 0.0) + n
        subscribers, lagged = subscribers + stats["subscribers"], lagged + stats["lagged_rows"]
        lag_us = max(lag_us, stats["lag_us"])
        stride = max(stride, stats["stride"]["now"])
        sparse += sum(n for at, n in stats["stride"]["events"].items() if at != "1")
        energy_uj += sum(float(cost.get("energy_uj") or 0.0) for cost in stats["costs"].values())
    yield "gauge", "streams_taken_in", "What the streams that are kept have taken in", totals
    yield "gauge", "streams_rate", "What they take in per second", rates
    yield "gauge", "streams_events_dropped", "Events that these streams dropped, by reason", dropped
    yield (
        "gauge",
        "streams_events_filtered",
        "Events that filters of these streams took out, by stage",
        filtered,
    )
    yield "gauge", "streams_source_losses", "What their sources lost before it arrived, by kind", losses
    yield "gauge", "streams_repaired", "What was put right in them, by kind", repaired
    yield (
        "gauge",
        "streams_stride",
        "Under load detectors evaluate at one of so many places",
        {"": float(stride)},
    )
    yield "gauge", "streams_events_sparse", "Events that met a stride above 1", {"": float(sparse)}
    yield "gauge", "streams_subscribers", "Sockets that read results", {"": float(subscribers)}
    yield "gauge", "streams_lagged_rows", "Rows that subscribers were too slow for", {"": float(lagged)}
    yield (
        "gauge",
        "streams_lag_seconds",
        "The longest that a frame took to be worked off, lately",
        {"": lag_us * 1e-6},
    )
    yield (
        "gauge",
        "streams_energy_joules",
        "What their networks would have cost in silicon",
        {"": energy_uj * 1e-6},
    )

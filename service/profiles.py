"""``profile: edge``: defaults for a box beside a camera, from its memory and its cores."""

from __future__ import annotations

from typing import Any

from service.host import limits

MIB = 2**20
_AT_REST = 256 * MIB
"""What the service needs before anybody streams."""
_A_STREAM = 96 * MIB
"""What a stream is given: its frames that wait, the state of its stages, answers on their way."""
_SUPPOSED = 512 * MIB
"""Where nothing limits the container."""


def edge(memory_bytes: int | None, cores: int | None) -> dict[str, Any]:
    """Defaults of the edge profile.

    Args:
        memory_bytes: what the service may use; the container's limit where None, and at most 512 MiB of a machine
            that has none.
        cores: processors that it may use; those it has where None.
    """
    memory = memory_bytes or limits.memory_limit() or min(_SUPPOSED, limits.memory_bytes())
    cores = cores or limits.cores()
    streams = max(1, min(16, (memory - _AT_REST) // _A_STREAM))
    waiting = max(MIB, min(16 * MIB, (memory - _AT_REST) // (16 * streams)))
    return {
        "memory_bytes": memory,
        "cores": cores,
        # A sender that sends beyond what fits is answered by shedding, not by memory.
        "stream_policy": "realtime",
        "stream_max_latency_ms": 100.0,
        "stream_max_stride": 16,
        "stream_threads": max(1, cores // streams),
        "max_streams": streams,
        "max_connections": 128,
        "max_frame_bytes": MIB,
        "window_bytes": waiting,
        "retention_bytes": 8 * MIB,
        "snapshot_bytes": 8 * MIB,
        "max_recording_bytes": 256 * MIB,
        "keep_ended_s": 60.0,
        "max_upload_bytes": 512 * MIB,
        "max_uploads_bytes": 1024 * MIB,
        "job_memory_bytes": max(1024 * MIB, 4 * memory),  # of address space, of which a job touches a part
        "job_file_bytes": 1024 * MIB,
        "keep_jobs_bytes": 2048 * MIB,
        "max_queued_jobs": 100,
    }


PROFILES = {"edge": edge}

"""Where events come from. :func:`open_source` tells a file's kind from its content."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources import recording
from pipeline.sources.base import Source, SourceError, SourceInfo
from pipeline.sources.emulator import EmulatorConfig
from pipeline.sources.recording import Recording
from pipeline.sources.video import Video
from pipeline.spec import Sensor

FORMATS = ("EVT2", "EVT3", "DAT", "AEDAT4", "npz", "csv", "ATIS bin", "video")
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".wmv"})

__all__ = ["FORMATS", "EmulatorConfig", "Source", "SourceError", "SourceInfo", "open_source"]


def open_source(
    path: Path,
    sensor: Sensor | None = None,
    emulator: EmulatorConfig | None = None,
    frame_rate: float | None = None,
) -> Source:
    """The source that reads this file.

    Args:
        path: a recording or a video.
        sensor: the pixel grid of a recording that does not say.
        emulator: parameters of the DVS pixel that looks at a video.
        frame_rate: frames per second of a video's scene time, where its file says something else.

    Raises:
        SourceError: there is no such file, or it cannot be read; one line.
    """
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError as problem:
        raise SourceError(f"{path}: {problem.strerror or problem}") from problem
    if not head:
        raise SourceError(f"{path.name}: an empty file")
    if _is_video(head, path):
        return Video(path, emulator or EmulatorConfig(), frame_rate)
    kind = recording.identify(head, path)
    if kind is None:
        raise SourceError(f"{path.name}: of no known format; allowed are {', '.join(FORMATS)}")
    return Recording(path, kind, sensor)


def _is_video(head: bytes, path: Path) -> bool:
    if (
        head[4:8] == b"ftyp"
        or head[:4] == b"\x1a\x45\xdf\xa3"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    ):
        return True
    return path.suffix.lower() in VIDEO_SUFFIXES

"""Where events come from. :func:`open_source` tells a file's kind from its content."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources.base import Policy, Reading, Source, SourceError, SourceInfo
from pipeline.sources.emulator import PRESETS, EmulatorConfig
from pipeline.sources.formats import FORMATS, identify
from pipeline.sources.formats.reader import Options
from pipeline.sources.recording import Recording
from pipeline.sources.video import Video, VideoOptions

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".wmv"})

__all__ = [
    "FORMATS", "PRESETS", "EmulatorConfig", "Options", "Policy", "Reading", "Source", "SourceError", "SourceInfo",
    "VideoOptions", "open_source",
]  # fmt: skip


def open_source(path: Path, options: Options | None = None, video: VideoOptions | None = None) -> Source:
    """The source that reads this file.

    Args:
        path: a recording or a video; a folder is a ROS 2 bag.
        options: what a recording does not say, and what becomes of what is wrong in it.
        video: how a video is seen.

    Raises:
        SourceError: there is no such file, or it cannot be read; one line.
    """
    options, video = options or Options(), video or VideoOptions()
    head = _head(path)
    if options.format is None and _is_video(head, path):
        return Video(path, video, options.policy)
    kind = options.format or identify(head, path)
    if kind is not None and kind in FORMATS:
        return Recording(path, kind, options)
    named = f"of the format {kind}, which is not read" if kind else "of no known format"
    raise SourceError(f"{path.name}: {named}; allowed are {', '.join([*FORMATS, 'video'])}")


def _head(path: Path) -> bytes:
    if (path / "metadata.yaml").is_file():
        return b"#ROSBAG"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SourceError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError as problem:
        raise SourceError(f"{path}: {problem.strerror or problem}") from problem
    if not head:
        raise SourceError(f"{path.name}: an empty file")
    return head


def _is_video(head: bytes, path: Path) -> bool:
    if (
        head[4:8] == b"ftyp"
        or head[:4] == b"\x1a\x45\xdf\xa3"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    ):
        return True
    return path.suffix.lower() in VIDEO_SUFFIXES and identify(head, path) in {None, "csv"}

"""Where events come from. :func:`open_source` tells a file's kind from its content."""

from __future__ import annotations

import os
from pathlib import Path

# Said before cv2 is loaded: its decoders' own words go to stderr, ours go to the user.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))

from pipeline.sources.base import Policy, Reading, Source, SourceError, SourceInfo
from pipeline.sources.emulator import PRESETS, EmulatorConfig
from pipeline.sources.formats import FORMATS
from pipeline.sources.options import InputOptions
from pipeline.sources.recording import Recording
from pipeline.sources.selection import EVERYTHING, Selection, selected
from pipeline.sources.sniff import HEAD_BYTES, check_head, readable, sniff
from pipeline.sources.video import Video, VideoOptions

__all__ = [
    "EVERYTHING", "FORMATS", "HEAD_BYTES", "PRESETS", "EmulatorConfig", "InputOptions", "Policy", "Reading",
    "Selection", "Source", "SourceError", "SourceInfo", "VideoOptions", "check_head", "open_source", "readable",
    "selected", "sniff",
]  # fmt: skip


def open_source(path: Path, options: InputOptions | None = None, video: VideoOptions | None = None) -> Source:
    """The source that reads this file.

    Args:
        path: a recording or a video; a folder is a ROS 2 bag, or holds images.
        options: what it does not say of itself.
        video: how a video is seen; by default as ``options`` say.

    Raises:
        SourceError: there is no such file, or it cannot be read; one line.
    """
    options = options or InputOptions()
    kind = readable(path.name, sniff(path, options))
    if wrong := options.first_inapplicable(kind):
        raise SourceError(f"{path.name}: --{wrong.replace('_', '-')} says nothing of {kind}: leave it out")
    if kind in {"video", "images"}:
        return Video(path, video or options.watching, options.on_fault)
    return Recording(path, kind, options)

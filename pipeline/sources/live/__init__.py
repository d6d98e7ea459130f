"""Where events come from while they happen. :func:`open_live` tells the way from the address."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.sources import InputOptions, SourceError, VideoOptions, open_source
from pipeline.sources.live.base import Arrival, Live
from pipeline.sources.live.capture import Capture
from pipeline.sources.live.dv import DvStream
from pipeline.sources.live.pushed import Pushed
from pipeline.sources.live.replay import Replay
from pipeline.sources.live.tail import Tail
from pipeline.sources.live.udp import Udp
from pipeline.sources.live.usb import Usb

__all__ = ["SCHEMES", "WAYS", "Arrival", "Live", "LiveOptions", "Pushed", "Scheme", "add", "open_live"]

WAYS = {
    "udp://HOST:PORT": "SPIF words that arrive at this address",
    "dv://HOST:PORT": "AEDAT4 over TCP from dv-processing's NetworkWriter (extra dv)",
    "webcam:N": "a webcam, its frames seen by the pixel model",
    "rtsp://... http://... https://...": "video over the network, likewise",
    "usb: or usb:SERIAL": "an event camera, through neuromorphic-drivers (extra camera)",
    "a file or folder": "replayed in real time, or followed while it is written",
}
"""Addresses, and what they are."""


@dataclass(frozen=True)
class LiveOptions:
    """How a live source is read.

    Attributes:
        speed: of a replay: times real time; 0 for as fast as possible.
        follow: go on reading a file or folder that grows.
        give_up_s: end when nothing has come for so long; 0 for never.
        reading: as for files.
        video: as for videos.
    """

    speed: float = 1.0
    follow: bool = False
    give_up_s: float = 30.0
    reading: InputOptions = field(default_factory=InputOptions)
    video: VideoOptions = field(default_factory=VideoOptions)


@dataclass(frozen=True)
class Scheme:
    """A kind of live source of a plug-in (:mod:`pipeline.plugins`).

    Attributes:
        name: its addresses begin with ``name://``.
        what: what it is, in a line of help.
        open: makes the source of an address; raises SourceError where it cannot be reached.
    """

    name: str
    what: str
    open: Callable[[str, LiveOptions], Live]


SCHEMES: dict[str, Scheme] = {}
"""Schemes of plug-ins, by name."""
_BUILT_IN = frozenset(
    {"udp", "dv", "rtsp", "rtsps", "http", "https", "webcam", "usb", "file", "pictures", "sample"}
)


def add(scheme: Any) -> str:
    """Make a scheme known. Returns its name.

    Raises:
        TypeError: it is no :class:`Scheme`.
        ValueError: the name is taken, or cannot be one.
    """
    if not isinstance(scheme, Scheme):
        raise TypeError(f"{scheme!r} is no pipeline.sources.live.Scheme")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,31}", scheme.name):
        raise ValueError(f"scheme {scheme.name!r}: allowed are small letters, digits, +, . and -")
    if scheme.name in _BUILT_IN or SCHEMES.setdefault(scheme.name, scheme) is not scheme:
        raise ValueError(f"there is a scheme of the name {scheme.name!r} already")
    WAYS[f"{scheme.name}://..."] = scheme.what
    return scheme.name


def forget(names: Collection[str]) -> None:
    """Take back schemes that were added."""
    for name in names:
        if SCHEMES.pop(name, None) is not None:
            del WAYS[f"{name}://..."]


def open_live(address: str, options: LiveOptions | None = None) -> Live:
    """The source at an address, see :data:`WAYS`.

    Raises:
        SourceError: there is no such way, or what it needs is missing.
    """
    options = options or LiveOptions()
    if match := re.fullmatch(r"webcam:(\d{1,3})", address):
        return Capture(int(match[1]), options.video, options.give_up_s)
    if match := re.fullmatch(r"usb:(.*)", address):
        return Usb(match[1] or None, options.give_up_s)
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in {"rtsp", "rtsps", "http", "https"}:
        return Capture(address, options.video, options.give_up_s)
    if scheme in {"udp", "dv"}:
        host, port = _host_and_port(address)
        if scheme == "udp":
            return Udp(host, port, options.reading.sensor, options.give_up_s)
        return DvStream(host, port, options.give_up_s)
    if scheme in SCHEMES:
        return SCHEMES[scheme].open(address, options)
    if scheme:
        raise SourceError(f"{scheme}:// is not a supported source; allowed are {', '.join(WAYS)}")
    path = Path(address)
    if options.follow or (path.is_dir() and not (path / "metadata.yaml").is_file()):
        return Tail(path, options.reading, options.give_up_s)
    return Replay(open_source(path, options.reading, options.video), options.speed)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise SourceError(f"{address}: needs a host and a port, such as udp://127.0.0.1:3333")
    return host, port

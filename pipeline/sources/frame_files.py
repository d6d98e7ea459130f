"""Frames of video files, of folders of images and of TIFF stacks, through OpenCV; one frame in memory at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.optional_imports import NotInstalled, later
from pipeline.sources.base import SourceError

pillow = later("PIL.Image", "reading TIFF")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp")
_AS_IT_IS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
_MOST_IMAGES, _MOST_PIXELS = 2**20, 2**26
_MOST_IMAGE_BYTES = 2**28
_GREY_16 = int.from_bytes(b"Y1\x00\x10", "little")
"""FFmpeg's name of 16-bit grey pixels; of everything else OpenCV makes 8-bit BGR."""


TIFF_MAGIC = frozenset({b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"})
"""Also of TIFF with 64-bit offsets."""
_UNDECODED = {
    "AV01": "AV1",
    "HVC1": "HEVC",
    "HEV1": "HEVC",
    "VVC1": "VVC",
    "APCN": "ProRes",
    "APCH": "ProRes",
}
"""Codecs that OpenCV's wheels lack on some platforms, by the container's name for them."""


class FrameFile(Protocol):
    """Frames in order.

    Attributes:
        stated: how many frames the file states; 0 where it does not.
        rate: frames per second that it states; 0 where it does not.
        indexed: the number is counted, not estimated from duration and rate.
        before: of an estimate, the frames that would lie before the first: a cut clip keeps its times.
    """

    before: int
    stated: int
    rate: float
    indexed: bool

    def read(self) -> Any | None:
        """The next frame, grey or BGR, 8 or 16 bit; None at the end."""
        ...

    def time_s(self) -> float | None:
        """The time of the frame that was read last; None where the file holds no times."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_frames(path: Path) -> FrameFile:
    """The frames of a video file, an image folder or a TIFF stack.

    Raises:
        SourceError: it cannot be read.
    """
    if path.is_dir():
        return _Folder(path)
    with path.open("rb") as file:
        head = file.read(128)
    if head[:4] in TIFF_MAGIC:
        return _Tiff(path)
    return _Capture(path, head)


class _Capture:
    """A video file, through FFmpeg."""

    def __init__(self, path: Path, head: bytes) -> None:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise SourceError(f"{path.name}: not a video that OpenCV can read, or one without frames")
        if int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF == _GREY_16:
            capture.release()
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_CONVERT_RGB, 0])
        self._capture = capture
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self._codec = code.to_bytes(4, "little").decode("latin-1")
        self.stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = float(capture.get(cv2.CAP_PROP_FPS))
        if head.startswith(b"YUV4MPEG2") and b" F0:0" in head.partition(b"\n")[0]:
            self.rate = 0.0  # y4m's way to say that it is unknown
        is_gif = head[:4] == b"GIF8"
        self.indexed = head[4:8] == b"ftyp" or (head[:4], head[8:12]) == (b"RIFF", b"AVI ")
        self.stated = 0 if is_gif else self.stated
        self._name, self._seen, self.before = path.name, False, 0

    def read(self) -> Any | None:
        """See :class:`FrameFile`."""
        more, frame = self._capture.read()
        if not more and not self._seen and self._codec.upper() in _UNDECODED:
            self.close()
            codec = _UNDECODED[self._codec.upper()]
            raise SourceError(
                f"{self._name}: {codec} video, which this OpenCV cannot decode: convert it, such as with "
                "ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        if more and not self._seen and not self.indexed:
            self.before = min(self.stated, max(0, int(self._capture.get(cv2.CAP_PROP_PTS))))
        self._seen = True
        return frame if more else None

    def time_s(self) -> float | None:
        """See :class:`FrameFile`."""
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) * 1e-3

    def close(self) -> None:
        """See :class:`FrameFile`."""
        self._capture.release()


class _Folder:
    """Images of one folder in the order of the numbers in their names; links are not followed."""

    def __init__(self, path: Path) -> None:
        entries = [one for one in os.scandir(path) if Path(one.name).suffix.lower() in IMAGE_SUFFIXES]
        files = [Path(one.path) for one in entries if one.is_file(follow_symlinks=False)]
        self.links = len(entries) - len(files)
        if not files:
            raise SourceError(
                f"{path.name}: holds no images ({', '.join(IMAGE_SUFFIXES)}); links are not followed"
            )
        if len(files) > _MOST_IMAGES:
            raise SourceError(f"{path.name}: holds {len(files)} images, more than {_MOST_IMAGES}")
        suffixes = sorted({one.suffix.lower() for one in files})
        if len(suffixes) > 1:
            raise SourceError(f"{path.name}: holds images of several kinds ({', '.join(suffixes)}): keep one")
        self._files = sorted(
            files, key=_by_number if all(map(_is_number, files)) else lambda one: _natural(one.name)
        )
        self._at, self._name = 0, path.name
        self._size: tuple[int, ...] | None = None
        self.stated, self.rate, self.indexed, self.before = len(files), 0.0, True, 0

    def read(self) -> Any | None:
        """See :class:`FrameFile`."""
        if self._at == len(self._files):
            return None
        path = self._files[self._at]
        self._at += 1
        if path.stat().st_size > _MOST_IMAGE_BYTES:
            raise SourceError(f"{self._name}: {path.name} is larger than {_MOST_IMAGE_BYTES} bytes")
        frame = _image(lambda: _read_image(path), self._name, path.name)
        if self._size is not None and self._size != frame.shape[:2]:
            is_, was = (f"{size[1]}x{size[0]}" for size in (frame.shape, self._size))
            raise SourceError(f"{self._name}: {path.name} is {is_}, the images before it are {was}")
        self._size = frame.shape[:2]
        return frame

    def time_s(self) -> float | None:
        """See :class:`FrameFile`."""
        return None

    def close(self) -> None:
        """See :class:`FrameFile`."""


class _Tiff:
    """Pages of a TIFF file, through Pillow: OpenCV's reader does not survive broken ones."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._image = _opened_tiff(path)
        try:
            self.stated = int(getattr(self._image, "n_frames", 1))
        except Exception as problem:  # whatever a broken directory makes it stumble over
            self.close()
            raise SourceError(f"{path.name}: not a readable TIFF: {problem}") from problem
        if not 0 < self.stated <= _MOST_IMAGES:
            self.close()
            raise SourceError(f"{path.name}: holds {self.stated} pages, not 1 .. {_MOST_IMAGES}")
        self.rate, self.indexed, self.before = 0.0, True, 0

    def read(self) -> Any | None:
        """See :class:`FrameFile`."""
        if self._at == self.stated:
            return None
        at, self._at = self._at, self._at + 1

        def page() -> Any:
            self._image.seek(at)
            return _pixels_of(self._image)

        return _image(page, self._path.name, f"page {self._at}")

    def time_s(self) -> float | None:
        """See :class:`FrameFile`."""
        return None

    def close(self) -> None:
        """See :class:`FrameFile`."""
        self._image.close()


def _opened_tiff(path: Path) -> Any:
    try:
        return pillow.open(path, formats=("TIFF",))
    except NotInstalled:
        raise
    except Exception as problem:
        raise SourceError(f"{path.name}: not a readable TIFF: {problem}") from problem


def _pixels_of(image: Any) -> Any:
    """[height, width] of 8 or 16 bits, or [height, width, 3] as BGR."""
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"more than {_MOST_PIXELS} pixels")
    if image.mode in {"L", "I;16", "I;16B", "I;16L"}:
        array = np.asarray(image)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        white_is_zero = image.mode != "L" and dict(getattr(image, "tag_v2", {})).get(262) == 0
        return np.uint16(65535) - array if white_is_zero else array  # of 8 bits Pillow has turned it already
    if image.mode not in {"1", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}:
        raise ValueError(f"holds {np.asarray(image).dtype} pixels; allowed are 8 and 16 bits")
    return np.asarray(image.convert("RGB"))[:, :, ::-1].copy()


def _read_image(path: Path) -> Any:
    if path.suffix.lower() in {".tif", ".tiff"}:
        with _opened_tiff(path) as image:
            if (pages := int(getattr(image, "n_frames", 1))) > 1:
                raise ValueError(f"holds {pages} pages, and a file in a folder has one: read the file itself")
            return _pixels_of(image)
    return cv2.imread(str(path), _AS_IT_IS)


def _image(read: Callable[[], Any], name: str, which: str) -> Any:
    """An image of 8 or 16 bits a channel.

    Raises:
        SourceError: it cannot be read, or holds other numbers.
    """
    try:
        frame = read()
    except (
        Exception
    ) as problem:  # of a library: OpenCV's own error, Pillow's, or what a broken file makes of numbers
        raise SourceError(
            f"{name}: {which} is not a readable image: {(str(problem) or 'broken').splitlines()[0]}"
        ) from problem
    if frame is None:
        raise SourceError(f"{name}: {which} is not an image that OpenCV can read")
    if frame.dtype.name not in {"uint8", "uint16"}:
        raise SourceError(f"{name}: {which} holds {frame.dtype} pixels; allowed are 8 and 16 bits")
    return frame


def _is_number(path: Path) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d{1,3})?", path.stem, re.IGNORECASE) is not None


def _by_number(path: Path) -> float:
    """Files whose whole name is a number, such as a time."""
    return float(path.stem)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """So that 2 comes before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]

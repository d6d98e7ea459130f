"""What a file is, from its first bytes: before anything opens it, and again where it is uploaded."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources.base import SourceError
from pipeline.sources.formats import FORMATS, identify
from pipeline.sources.frame_files import IMAGE_SUFFIXES, TIFF_MAGIC
from pipeline.sources.options import InputOptions

HEAD_BYTES = 65_536
"""Of a file that are looked at."""
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".wmv", ".ts", ".m2ts", ".mts", ".flv",
    ".y4m",
})  # fmt: skip
"""Names of videos whose content does not show what they are."""
_TRANSPORT_PACKET = 188
_VIDEO_MAGIC = {
    b"\x1a\x45\xdf\xa3": "Matroska", b"OggS": "Ogg", b"YUV4MPEG2": "y4m", b"FLV\x01": "FLV", b"GIF87a": "GIF",
    b"GIF89a": "GIF", **dict.fromkeys(TIFF_MAGIC, "TIFF"), b"\x00\x00\x01\xba": "MPEG",
    b"\x00\x00\x01\xb3": "MPEG", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF",
}  # fmt: skip
_MATLAB_73 = "a MATLAB file of version 7.3"
_REMEDIES = {_MATLAB_73: "save it with -v7, or name --format HDF5"}
_KNOWN = {
    b"\x7fELF": "a program", b"%PDF": "a PDF", b"\x1f\x8b": "gzip: unpack it first (tables are read as they are)",
    b"7z\xbc\xaf": "7z: unpack it first", b"Rar!": "rar: unpack it first", b"BZh": "bzip2: unpack it first",
    b"\xfd7zXZ": "xz: unpack it first", b"(\xb5/\xfd": "zstd: unpack it first", b"\x89PNG": "one image, PNG",
    b"\xff\xd8\xff": "one image, JPEG", b"MATLAB 5.0": "mat", b"MATLAB 7.3": _MATLAB_73,
}  # fmt: skip
"""What else people hand in, by the words of the refusal."""


def sniff(path: Path, options: InputOptions | None = None) -> str | None:
    """The format of a file or folder, or what else it is; None where nobody knows.

    Raises:
        SourceError: there is no such file, it is empty, or it is no file.
    """
    stated = options.format if options else None
    if path.is_dir():
        return stated or _folder(path)
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: not a plain file; - reads standard input")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as problem:
        raise SourceError(f"{path}: {problem.strerror or problem}") from problem
    if not head:
        raise SourceError(f"{path.name}: an empty file")
    return stated or sniff_bytes(head, path)


def sniff_bytes(head: bytes, name: Path) -> str | None:
    """The same from the first :data:`HEAD_BYTES` of a file, or all of it, and its name."""
    if _is_video(head):
        return "video"
    kind = identify(head, name)
    if name.suffix.lower() in VIDEO_SUFFIXES and kind in {None, "csv"}:
        return "video"
    return kind or next((what for magic, what in _KNOWN.items() if head.startswith(magic)), None)


def readable(name: str, kind: str | None) -> str:
    """The same format, if it is read.

    Raises:
        SourceError: it is not.
    """
    if kind is not None and (kind in FORMATS or kind in {"video", "images"}):
        return kind
    if kind in _REMEDIES:
        raise SourceError(f"{name}: {kind}, which is not read: {_REMEDIES[kind]}")
    named = f"of the format {kind}, which is not read" if kind else "of an unknown format"
    allowed = ", ".join([*FORMATS, "video", "images"])
    raise SourceError(
        f"{name}: {named}; allowed are {allowed}; --format names one that the content does not show"
    )


def check_head(head: bytes, name: str, stated: str | None = None) -> None:
    """Whether a file that begins so can be read, before all of it has come.

    Raises:
        SourceError: it cannot.
    """
    if head:
        readable(name, stated or sniff_bytes(head, Path(name)))


def _folder(path: Path) -> str:
    if (path / "metadata.yaml").is_file():
        return "ROS bag"
    if any(one.suffix.lower() in IMAGE_SUFFIXES for one in path.iterdir()):
        return "images"
    raise SourceError(
        f"{path}: a folder that is no ROS 2 bag and holds no images ({', '.join(IMAGE_SUFFIXES)})"
    )


def _is_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    starts = [head[i * _TRANSPORT_PACKET : i * _TRANSPORT_PACKET + 1] for i in range(5)]
    if len(head) >= 5 * _TRANSPORT_PACKET and all(one == b"\x47" for one in starts):
        return True
    return any(head.startswith(magic) for magic in _VIDEO_MAGIC)

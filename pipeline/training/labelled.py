"""The user's labelled recordings: a folder a label; each fifth of a label is held out, each fifth validates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import packets
from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.sources import SourceError, open_source

TRAIN, VALIDATION, HELD_OUT = "train", "validation", "held_out"


class NoRecordings(UserError):
    """The folder of labelled recordings is none."""


@dataclass(frozen=True)
class Recording:
    """One of them, whole.

    Attributes:
        name: label/file.
        events: columns, times from 0.
        width: of the sensor.
        height: of the sensor.
    """

    name: str
    events: Events
    width: int
    height: int


def by_label(folder: Path) -> dict[str, dict[str, list[Recording]]]:
    """Recordings by label and split.

    Raises:
        NoRecordings: there are fewer than two labels, or fewer than three recordings of one.
        SourceError: one cannot be read.
    """
    labels = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(labels) < 2:
        raise NoRecordings(f"{folder}: needs at least two folders, one a label, with recordings in them")
    found: dict[str, dict[str, list[Recording]]] = {}
    for label in labels:
        files = sorted(file for file in label.iterdir() if file.is_file())
        if len(files) < 3:
            raise NoRecordings(
                f"{label}: has {len(files)} recordings; at least 3 are needed, to learn, validate and test"
            )
        splits: dict[str, list[Recording]] = {TRAIN: [], VALIDATION: [], HELD_OUT: []}
        for i, file in enumerate(files):
            split = HELD_OUT if i % 5 == 0 else VALIDATION if i % 5 == 1 else TRAIN
            splits[split].append(_read(file, f"{label.name}/{file.name}"))
        found[label.name] = splits
    return found


def _read(path: Path, name: str) -> Recording:
    source = open_source(path)
    t, x, y, p = packets.join([reading.events for reading in source.batches()])
    if len(t) == 0:
        raise SourceError(f"{path}: holds no events")
    return Recording(name, (t - t[0], x, y, p), source.info.sensor.width, source.info.sensor.height)

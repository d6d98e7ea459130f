"""The user's labelled recordings: a folder a label; each fifth of a label is held out, each fifth validates.

Many small ones may lie in one .npz: columns ``t`` (us), ``x``, ``y``, ``p`` of all of them, ``offsets`` (recording
i is [offsets[i]:offsets[i + 1]]) and ``label``; and ``group``, where some belong together, as those of one person.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import packets
from pipeline.archives import BROKEN_ARCHIVE
from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.sources import SourceError, open_source

TRAIN, VALIDATION, HELD_OUT = "train", "validation", "held_out"
_MAX_BYTES = 2**32


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
        group: recordings of one group, such as of one person, are learned from or tested on together.
    """

    name: str
    events: Events
    width: int
    height: int
    group: int | None = None


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


def of(path: Path) -> tuple[tuple[str, ...], list[Recording], list[int]]:
    """(labels, recordings, the label of each) of a folder or an .npz, label by label.

    Raises:
        NoRecordings: it is neither.
        SourceError: a recording cannot be read.
    """
    if path.is_file():
        return _archive(path)
    found = by_label(path)
    pairs = [
        (one, i)
        for i, splits in enumerate(found.values())
        for one in sorted((one for many in splits.values() for one in many), key=lambda one: one.name)
    ]
    return tuple(found), [one for one, _ in pairs], [i for _, i in pairs]


def _archive(path: Path) -> tuple[tuple[str, ...], list[Recording], list[int]]:
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > _MAX_BYTES:
                raise NoRecordings(f"{path.name}: unpacks to more than {_MAX_BYTES} bytes")
        with np.load(path, allow_pickle=False) as saved:
            t, x, y, p, offsets, label = (saved[name] for name in ("t", "x", "y", "p", "offsets", "label"))
            group = saved.get("group")
    except NoRecordings:
        raise
    except BROKEN_ARCHIVE as problem:
        raise NoRecordings(
            f"{path.name}: needs a folder, or an .npz of t, x, y, p, offsets and label"
        ) from problem
    n = len(t)
    whole = len(x) == len(y) == len(p) == n and len(label) == len(offsets) - 1
    whole &= group is None or len(group) == len(label)
    if not whole or n == 0 or offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) <= 0).any():
        raise NoRecordings(f"{path.name}: t, x, y, p, offsets and label do not fit each other")
    names = sorted({str(one) for one in label.tolist()}, key=_by_number)
    width, height = int(x.max()) + 1, int(y.max()) + 1
    order = sorted(range(len(label)), key=lambda i: (names.index(str(label[i])), i))
    recordings: list[Recording] = []
    for i in order:
        a, b = int(offsets[i]), int(offsets[i + 1])
        times = t[a:b].astype(np.int64)
        if (np.diff(times) < 0).any():
            raise NoRecordings(f"{path.name}: the times of recording {i} fall")
        columns = (
            times - times[0], x[a:b].astype(np.uint16), y[a:b].astype(np.uint16), p[a:b].astype(np.bool_)
        )  # fmt: skip
        owner = None if group is None else int(group[i])
        recordings.append(Recording(f"{label[i]}/{i}", columns, width, height, owner))
    return tuple(names), recordings, [names.index(str(label[i])) for i in order]


def _by_number(name: str) -> tuple[float, str]:
    """Labels that are numbers in their order, others behind them in the alphabet's."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


def write(path: Path, recordings: list[Recording], labels: list[str]) -> None:
    """Recordings as such an .npz."""
    t, x, y, p = packets.join([one.events for one in recordings])
    sizes = [len(one.events[0]) for one in recordings]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    groups = [one.group for one in recordings if one.group is not None]
    more = {"group": np.array(groups, np.int64)} if len(groups) == len(recordings) else {}
    with path.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, t=t, x=x, y=y, p=p, offsets=offsets, label=np.array(labels), **more
        )


def _read(path: Path, name: str) -> Recording:
    source = open_source(path)
    t, x, y, p = packets.join([reading.events for reading in source.batches()])
    if len(t) == 0:
        raise SourceError(f"{path}: holds no events")
    return Recording(name, (t - t[0], x, y, p), source.info.sensor.width, source.info.sensor.height)

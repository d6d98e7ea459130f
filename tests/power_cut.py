"""What a disk holds after a power cut, where it did only what it was asked to wait for.

While a :class:`Disk` watches, each fsync and fdatasync is noted with what the disk then knows: of a file its content,
of a folder its names. :meth:`Disk.left` lays out what a cut leaves at one of these moments: names that were never
synced are not there; of a file what was synced last, and behind it nothing, or zeros up to the size that it had.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.writing import sync_folder


@dataclass
class Cut:
    """A moment.

    Attributes:
        contents: by inode, what the disk has of files.
        names: by inode of folders, {name: (inode, whether it is a folder)}.
        sizes: by inode, of all files as the process saw them.
        facts: what was promised to others until the next sync.
    """

    contents: dict[int, bytes]
    names: dict[int, dict[str, tuple[int, bool]]]
    sizes: dict[int, int]
    facts: object = None


class Disk:
    """Watches everything below a folder, whose own name counts as known.

    Args:
        root: the folder.
        facts: what was promised by now.
        monkeypatch: of pytest.
    """

    def __init__(self, root: Path, facts, monkeypatch) -> None:
        self.root, self.cuts, self._facts = root, [], facts
        self._root = root.stat().st_ino
        self._contents, self._names = {}, {self._root: _names(root)}
        self._held: dict[int, int] = {}
        """Files are held open, so that no other gets the inode of one that is removed."""
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, sync):
        def noted(file):
            path = Path(f"/proc/self/fd/{file}").readlink()
            if not path.is_relative_to(self.root):
                return sync(file)
            if self.cuts:
                self.cuts[-1].facts = self._facts()
            about = os.fstat(file)
            if stat.S_ISDIR(about.st_mode):
                self._names[about.st_ino] = _names(path)
            else:
                if about.st_ino not in self._held:
                    self._held[about.st_ino] = os.dup(file)
                self._contents[about.st_ino] = Path(f"/proc/self/fd/{file}").read_bytes()
            sizes = {one.inode(): one.stat().st_size for one in _files(self.root)}
            names = {folder: dict(there) for folder, there in self._names.items()}
            self.cuts.append(Cut(dict(self._contents), names, sizes, self._facts()))
            return sync(file)

        return noted

    def committed(self, store, monkeypatch) -> None:
        """Count each transaction of a store in SQLite as synced when it ends: its own syncs are not seen from here,
        and that it is asked for them is a test of its own.
        """
        do, seen = store._do, None

        async def noted(work):
            nonlocal seen
            result = await do(work)
            files = sorted(store._path.parent.glob(f"{store._path.name}*"))
            now = [
                (path, path.stat().st_size, path.stat().st_mtime_ns)
                for path in files
                if path.suffix != ".sqlite-shm"
            ]
            if now == seen:  # nothing was written
                return result
            seen = now
            for path in files:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(store._path.parent)
            return result

        monkeypatch.setattr(store, "_do", noted)

    def left(self, cut: Cut, to: Path, zeros: bool) -> None:
        """Lay out what a cut leaves in a folder."""
        self._lay(cut, self._root, to, zeros)

    def _lay(self, cut: Cut, folder: int, to: Path, zeros: bool) -> None:
        to.mkdir()
        for name, (inode, is_folder) in cut.names.get(folder, {}).items():
            if is_folder:
                self._lay(cut, inode, to / name, zeros)
            else:
                known = cut.contents.get(inode, b"")
                (to / name).write_bytes(known.ljust(cut.sizes.get(inode, 0), b"\0") if zeros else known)

    def close(self) -> None:
        """Let go of files."""
        while self._held:
            os.close(self._held.popitem()[1])


def _names(folder: Path) -> dict[str, tuple[int, bool]]:
    return {one.name: (one.inode(), one.is_dir(follow_symlinks=False)) for one in os.scandir(folder)}


def _files(folder: Path):
    for one in os.scandir(folder):
        try:
            if one.is_dir(follow_symlinks=False):
                yield from _files(Path(one.path))
            elif one.stat():
                yield one
        except FileNotFoundError:
            continue

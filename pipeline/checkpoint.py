"""The state of something that runs, as one file: a .zip of ``state.json`` and ``state.safetensors``.

A file that came from elsewhere is hostile: its arrays end up as indices in kernels. So whoever writes one signs it
with a key (HMAC-SHA256 over both parts), and a file without the right signature is not opened.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from pipeline.archives import BROKEN_ARCHIVE
from pipeline.errors import UserError
from pipeline.writing import whole_file

VERSION = 1
CARD, ARRAYS, SIGNATURE = "state.json", "state.safetensors", "signature"
_MOST_CARD, _MOST_ARRAYS = 2**24, 2**31
State = dict[str, dict[str, NDArray[Any]]]


class CheckpointError(UserError):
    """A file that is no checkpoint, or none of ours."""


def write(path: Path, card: dict[str, Any], state: State, key: bytes, fsync: bool = False) -> int:
    """Write a checkpoint so that it is whole or not there; its size in bytes.

    Args:
        path: the file.
        card: what JSON can say.
        state: arrays by part and name; names hold no "/".
        key: to sign it with.
        fsync: whether to wait for the disk.
    """
    text = json.dumps({"version": VERSION, **card}).encode()
    flat = {f"{part}/{name}": np.ascontiguousarray(array)
            for part, arrays in state.items() for name, array in arrays.items()}  # fmt: skip
    arrays = safetensors.numpy.save(flat)
    with whole_file(path, fsync) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(CARD, text)
        archive.writestr(ARRAYS, arrays)
        archive.writestr(SIGNATURE, _signature(text, arrays, key))
    return path.stat().st_size


def read(source: Path | bytes, key: bytes) -> tuple[dict[str, Any], State]:
    """(card, state) of a checkpoint that was signed with ``key``.

    Raises:
        CheckpointError: it is none, or it was signed with another key.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            text, arrays = _limited(archive, CARD, _MOST_CARD), _limited(archive, ARRAYS, _MOST_ARRAYS)
            signature = _limited(archive, SIGNATURE, 64)
    except BROKEN_ARCHIVE as problem:
        raise CheckpointError("not a snapshot") from problem
    if not hmac.compare_digest(signature, _signature(text, arrays, key)):
        raise CheckpointError("a snapshot of another service, or changed since: its signature is wrong")
    try:
        card = json.loads(text)
        flat = safetensors.numpy.load(arrays)
    except (ValueError, SafetensorError) as problem:
        raise CheckpointError("not a snapshot") from problem
    if card.get("version") != VERSION:
        raise CheckpointError(f"a snapshot of version {card.get('version')}: allowed is {VERSION}")
    state: State = {}
    for name, array in flat.items():
        part, _, rest = name.partition("/")
        state.setdefault(part, {})[rest] = array
    return card, state


def _signature(text: bytes, arrays: bytes, key: bytes) -> bytes:
    parts = hashlib.sha256(text).digest() + hashlib.sha256(arrays).digest()
    return hmac.new(key, parts, hashlib.sha256).hexdigest().encode()


def _limited(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as packed:
        data = packed.read(most + 1)
    if len(data) > most:
        raise ValueError(name)
    return data

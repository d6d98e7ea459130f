"""The implementations of the storage ports. Another one adds itself to the list, and every test here runs over it."""

import asyncio

import pytest

from service.settings import Settings
from service.storage.backends import Backends


class Storage:
    """One implementation, opened again and again over the same data, as by a service that is killed."""

    def __init__(self, make):
        self._make = make

    def opened(self) -> Backends:
        """What a service that starts now has. Nothing is told to what was opened before."""
        found = self._make()
        found.streams.open()
        return found


def embedded(tmp_path):
    return Storage(lambda: Backends.embedded(Settings(data_dir=tmp_path)))


def embedded_with_fsync(tmp_path):
    return Storage(lambda: Backends.embedded(Settings(data_dir=tmp_path, fsync=True)))


IMPLEMENTATIONS = [embedded, embedded_with_fsync]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda one: one.__name__)
def storage(request, tmp_path, monkeypatch):
    """An implementation."""
    for kept in ("models", "pipelines"):
        monkeypatch.setenv(f"POLYCHRONY_{kept.upper()}", str(tmp_path / kept))
    return request.param(tmp_path)


def run(work):
    """A coroutine to its end."""
    return asyncio.run(work)

"""Where tests find real recordings, and a kernel cache that belongs to these very sources."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import pytest
from hypothesis import settings
from polychrony_client import Client

from tests import real_data
from tests.integration.service_process import ServiceProcess

# A kernel's first call compiles it: no deadline says anything about an example.
settings.register_profile("polychrony", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("polychrony")

ROOT = Path(__file__).parents[1]

# The models and pipelines of whoever runs the tests are none of ours.
for _kept in ("models", "pipelines"):
    _folder = os.environ[f"POLYCHRONY_{_kept.upper()}"] = tempfile.mkdtemp(prefix=f"polychrony-{_kept}-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
# Tests keep all cores busy: jobs that give way would wait for as long as they do.
os.environ.setdefault("POLYCHRONY_JOB_NICE", "0")


_OUTSIDE = {"asyncio", "httpx", "socket", "subprocess", "threading", "time", "Client", "ServiceProcess"}


def pytest_collection_modifyitems(items):
    """Mark what uses clocks, sockets or processes: ``-m timing`` selects it (tests/repeat.py)."""
    for item in items:
        module = getattr(item, "module", None)
        if module and (_OUTSIDE & set(vars(module)) or {"service", "client"} & set(item.fixturenames)):
            item.add_marker("timing")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings: ``POLYCHRONY_DATA``, by default ``../shared/data``; ``required``: that, or fail."""
    folder = real_data.folder()
    if not folder.is_dir() and real_data.required():
        pytest.fail(f"no real recordings at {folder}")
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set POLYCHRONY_DATA")
    return folder


@pytest.fixture
def video_of():
    """Writes frames as a video: ``video_of(path, frames, rate=...)``."""

    def write(path, frames, rate=25.0, size=(32, 24)):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        for frame in frames:
            writer.write(frame)
        writer.release()
        if not path.exists():
            path.write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42\0\0\0\x08free")
        return path

    return write


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """A service that runs as long as the tests do."""
    running = ServiceProcess(tmp_path_factory.mktemp("service") / "data")
    yield running
    running.stop()


@pytest.fixture
def client(service):
    """The Python client of that service."""
    with Client(service.url) as made:
        yield made

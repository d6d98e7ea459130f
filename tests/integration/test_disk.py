"""Every route on a disk that is full, read-only or missing a folder: a problem document, /readyz says it, and recovery."""

import json
import shutil
import subprocess

import httpx
import pytest
from polychrony_client import Client

from tests.integration.service_process import ServiceProcess
from tests.integration.test_damage import CLIP
from tests.integration.test_secrets import until
from tests.reliability.checks import CannotRun
from tests.reliability.disk import small_disk
from tests.reliability.tools import MIB, create, random_events

TUS = {"Tus-Resumable": "1.0.0"}


def fill(folder):
    """Take all room; a function gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return ballast.unlink


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def requests_of(service, stream, upload):
    """One request for each route that reads or writes the data folder."""
    chunk = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    key = {"stages": [{"id": "q", "kind": "refractory", "period_us": 5}]}
    return [
        ("POST", "/v1/streams", {"json": {"pipeline": "denoise", "sensor": {"width": 8, "height": 8}}}),
        ("GET", "/v1/streams", {}),
        ("GET", f"/v1/streams/{stream}", {}),
        ("GET", f"/v1/streams/{stream}/stats", {}),
        ("GET", f"/v1/streams/{stream}/snapshot", {}),
        ("GET", f"/v1/streams/{stream}/recording", {}),
        ("POST", "/v1/jobs", {"files": {"file": ("a.csv", CLIP)}, "data": {"pipeline": "denoise", "sensor": "64x48"}}),
        ("GET", "/v1/jobs", {}),
        ("POST", "/v1/uploads", {"headers": {**TUS, "Upload-Length": "100000"}}),
        ("PATCH", upload, {"headers": chunk, "content": CLIP[:100_000].ljust(100_000, b"\n")}),
        ("HEAD", upload, {"headers": TUS}),
        ("GET", "/v1/models", {}),
        ("GET", "/v1/models/motif8/export", {}),
        ("GET", "/v1/models/motif8/drawing", {}),
        ("POST", "/v1/models", {"files": {"file": ("a.zip", b"PK\x03\x04")}}),
        ("PUT", "/v1/pipelines/mine", {"json": {"pipeline": key}}),
        ("GET", "/v1/pipelines/mine", {}),
        ("GET", "/v1/pipelines", {}),
        ("GET", "/metrics", {}),
        ("GET", "/healthz", {}),
        ("GET", "/readyz", {}),
        ("DELETE", f"/v1/jobs/{'0' * 16}", {}),
        ("DELETE", f"/v1/streams/{stream}", {}),
    ]  # fmt: skip


def ask_all(service, stream, upload):
    """What each answers: never 500, never nothing, and an error is a problem document."""
    said = {}
    for method, path, options in requests_of(service, stream, upload):
        answer = httpx.request(method, service.url + path, timeout=120, **options)
        said[f"{method} {path.replace(stream, 'ID')}"] = answer.status_code
        assert answer.status_code != 500, (method, path, answer.text)
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json", (method, path)
            assert json.loads(answer.text)["detail"]
    return said


@pytest.fixture
def on_small_disk(tmp_path, monkeypatch):
    for name in ("POLYCHRONY_MODELS", "POLYCHRONY_PIPELINES"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    try:
        with small_disk(tmp_path / "disk", 48 * MIB) as disk:
            service = ServiceProcess(
                disk / "data", min_free_bytes=0, retention_bytes=MIB, max_upload_bytes=2 * MIB
            )
            try:
                yield service, disk
            finally:
                service.stop()
    except CannotRun as problem:
        pytest.skip(str(problem))


def prepared(service):
    with Client(service.url, patience_s=300) as client:
        stream = client.stream("denoise", sensor=(64, 48), record=True)
        stream.send(*random_events(1000, 1, width=64, height=48))
        stream.flush()
    upload = httpx.post(f"{service.url}/v1/uploads", headers={**TUS, "Upload-Length": "100000"}, timeout=60)
    return stream.id, upload.headers["location"]


def ready(service):
    return httpx.get(f"{service.url}/readyz", timeout=60)


@pytest.mark.threat(
    "a full disk", "507 and a problem document on every route that writes; /readyz says it; recovery"
)
def test_every_route_on_a_full_disk(on_small_disk):
    service, disk = on_small_disk
    stream, upload = prepared(service)
    make_room = fill(disk)
    assert until(lambda: ready(service).status_code == 503)
    said = ask_all(service, stream, upload)
    full = [f"PATCH {upload}", "GET /v1/models/motif8/export", "GET /v1/streams/ID/snapshot"]
    assert {name: said[name] for name in full} == dict.fromkeys(full, 507)
    assert said["PUT /v1/pipelines/mine"] in {503, 507}
    make_room()
    assert until(lambda: ready(service).status_code == 200)
    assert create(service)


def test_a_disk_that_is_read_only_is_named_at_the_start(on_small_disk):
    """A disk with files that are open for writing cannot be made read-only here, so the start is what is tried."""
    service, disk = on_small_disk
    prepared(service)
    service.stop()
    service.log = disk.parent / "start.log"
    remount(disk, "ro")
    try:
        with pytest.raises(AssertionError):
            service.start()
        last = service.log.read_text().splitlines()[-1]
        assert "Read-only file system" in last
        assert str(service.data) in last
        assert "Traceback" not in service.log.read_text()
    finally:
        remount(disk, "rw")
    service.start()
    assert until(lambda: ready(service).status_code == 200)


@pytest.mark.long
@pytest.mark.parametrize("folder", ["streams", "jobs", "uploads", "scratch", "models", "pipelines"])
def test_every_route_without_a_folder(tmp_path, monkeypatch, folder):
    for name in ("POLYCHRONY_MODELS", "POLYCHRONY_PIPELINES"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    service = ServiceProcess(tmp_path / "data")
    try:
        stream, upload = prepared(service)
        shutil.rmtree(service.data / folder, ignore_errors=True)
        ask_all(service, stream, upload)
        assert until(lambda: ready(service).status_code == 200)
        assert create(service)
        assert httpx.post(
            f"{service.url}/v1/jobs", files={"file": ("a.csv", CLIP)}, timeout=60,
            data={"pipeline": "denoise", "sensor": "64x48"},
        ).status_code == 202  # fmt: skip
    finally:
        service.stop()

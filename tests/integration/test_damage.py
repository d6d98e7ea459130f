"""What lies on the disk is not what was written: cut back, set aside, rebuilt or refused, and never without a word."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from polychrony_client import Client

from pipeline.models import registry
from pipeline.models.bundle import ModelError
from service.streams.admission import Gate
from service.streams.progress import Progress
from service.streams.session import Session
from tests.contract import examples
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import ROOT, until

MADE = registry.own()
"""Where the contract's examples are, which are made when they are imported."""
assert examples.SENSOR
FRAMES = [([i * 1000, i * 1000 + 500], [1, 2], [3, 4], [1, 0]) for i in range(5)]


@pytest.fixture
def service(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    yield service
    service.stop()


def log_of(service, id_):
    [path] = (service.data / "streams" / id_).glob("frames-*.log")
    return path


def filled(service):
    """(a client, a stream that is killed behind five frames, the bytes of its log)."""
    client = Client(service.url, patience_s=300)
    stream = client.stream("denoise", sensor=(8, 8))
    for frame in FRAMES:
        stream.send(*frame)
        stream.flush()
    service.kill()
    return client, stream, log_of(service, stream.id).read_bytes()


@pytest.mark.parametrize("how", ["zeros", "wrong"])
def test_a_stream_whose_log_ends_in_damage_goes_on(service, how):
    client, stream, data = filled(service)
    last = data.rindex(b"PCHY")
    spoiled = (
        bytes(len(data) - last - 3) if how == "zeros" else bytes([data[last + 40] ^ 1]) + data[last + 41 :]
    )
    start = last + 3 if how == "zeros" else last + 40
    log_of(service, stream.id).write_bytes(data[:start] + spoiled)
    service.start()
    with client:
        about = client.request("GET", f"/v1/streams/{stream.id}/stats").json()
        assert about["state"] == "open"
        assert about["repaired"]["log_bytes_cut"] == len(data) - last
        assert about["events"] == 8
    assert re.search(
        r"damaged and is cut off.*%s|%s.*damaged and is cut off" % ((stream.id,) * 2), service.log.read_text()
    )


def test_a_stream_that_cannot_go_on_says_why_and_keeps_its_files(service):
    client, stream, data = filled(service)
    spoiled = bytearray(data)
    spoiled[40] ^= 1
    log_of(service, stream.id).write_bytes(spoiled)
    service.start()
    with client:
        assert until(lambda: client.request("GET", f"/v1/streams/{stream.id}").json()["state"] == "failed")
        failure = client.request("GET", f"/v1/streams/{stream.id}/stats").json()["failure"]
    assert "whole frames follow" in failure["detail"]
    assert log_of(service, stream.id).read_bytes() == spoiled
    [line] = [line for line in service.log.read_text().splitlines() if "stream failed" in line]
    assert stream.id in line
    assert "whole frames follow" in line


def test_a_second_service_on_a_data_folder_is_refused(service):
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(service.data)],
        capture_output=True, text=True, timeout=600, cwd=ROOT, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"process {service.process.pid}" in ended.stderr
    assert "--data" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    service.kill()
    service.start()  # a lock of the dead holds nobody back


def test_what_is_durable_was_received():
    """Read at any moment between two writes of the runner's thread."""

    class Between(Progress):
        """Moves on between two looks, as another thread does."""

        looks = 0

        def __getattribute__(self, name):
            if name in {"received", "durable"}:
                Between.looks += 1
                return Between.looks
            return super().__getattribute__(name)

    ack = Session(Gate(1, 1), Between(), 1, logged=True, final=dict).ack()
    assert ack["durable"] <= ack["received"]


DAMAGE = {
    "empty": lambda data: b"",
    "text": lambda data: b"not a database at all, and longer than a header of one hundred bytes " * 4,
    "zeros": lambda data: bytes(len(data)),
    "cut": lambda data: data[: len(data) // 2],
    "page": lambda data: data[:4096] + b"\xff" * 4096 + data[8192:],
}
CLIP = b"t,x,y,p\n" + b"".join(b"%d,%d,%d,1\n" % (i * 10, i % 64, i % 48) for i in range(2000))


def submit(service, key=None, clip=CLIP, **fields):
    headers = {} if key is None else {"Idempotency-Key": key}
    fields = {"pipeline": "denoise", "sensor": "64x48", **fields}
    return httpx.post(
        f"{service.url}/v1/jobs", files={"file": ("a.csv", clip)}, data=fields, headers=headers, timeout=300
    )


def job(service, id_):
    return httpx.get(f"{service.url}/v1/jobs/{id_}", timeout=300)


def three_jobs(service):
    """One that is done, one that failed, one that waits (the service is killed amid them)."""
    done, failed = submit(service).json()["id"], submit(service, from_s="5").json()["id"]
    assert until(lambda: job(service, done).json()["state"] == "done", 300)
    assert until(lambda: job(service, failed).json()["state"] == "failed", 300)
    waits = submit(service, clip=CLIP * 50).json()["id"]
    service.kill()
    return done, failed, waits


@pytest.mark.long
@pytest.mark.parametrize("how", [*DAMAGE, "missing", "no table"])
def test_jobs_come_back_from_their_folders(service, how):
    done, failed, waits = three_jobs(service)
    artifacts = sorted(path.name for path in (service.data / "jobs" / done / "answers").iterdir())
    database = service.data / "jobs.sqlite"
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if how == "no table":
            db.execute("ALTER TABLE jobs RENAME COLUMN state TO condition")
    db.close()
    data = database.read_bytes()
    for part in service.data.glob("jobs.sqlite-*"):
        part.unlink()
    if how == "missing":
        database.unlink()
    elif how in DAMAGE:
        database.write_bytes(DAMAGE[how](data))
    service.start()
    assert until(lambda: httpx.get(f"{service.url}/readyz", timeout=300).status_code == 200, 300)
    found = job(service, done).json()
    assert (found["state"], found["name"]) == ("done", "a.csv")
    assert sorted(one["name"] for one in found["artifacts"]) == artifacts
    assert httpx.get(service.url + found["artifacts"][0]["url"], timeout=300).status_code == 200
    assert job(service, failed).json()["state"] == "failed"
    assert until(lambda: job(service, waits).json()["state"] in {"done", "failed"}, 300)
    log = service.log.read_text()
    assert "taken back from its folder" in log
    assert "Traceback" not in log
    assert bool(list(service.data.glob("jobs.sqlite.damaged-1"))) == (how not in {"missing", "empty"})


@pytest.mark.long
@pytest.mark.parametrize("how", [*DAMAGE, "no table"])
def test_a_damaged_outbox_is_set_aside(tmp_path, how):
    publish = '[{"name": "hook", "to": "http://127.0.0.1:9/in"}]'
    service = ServiceProcess(tmp_path / "data", publish=publish)
    try:
        service.stop()
        database = service.data / "outbox.sqlite"
        data = database.read_bytes()
        if how == "no table":
            with sqlite3.connect(database) as db:
                db.execute("ALTER TABLE messages RENAME COLUMN receiver TO other")
            db.close()
        else:
            database.write_bytes(DAMAGE[how](data))
        service.start()
        assert until(lambda: httpx.get(f"{service.url}/readyz", timeout=300).status_code == 200, 300)
        assert "Traceback" not in service.log.read_text()
    finally:
        service.stop()


def test_an_idempotency_key_holds_its_body(service):
    assert submit(service, "").status_code == 422, (
        "an empty key would join what has nothing to do with each other"
    )
    first = submit(service, "a")
    assert first.status_code == 202
    assert submit(service, "a").json()["id"] == first.json()["id"]
    for other in ({"clip": CLIP + b"99999,1,1,1\n"}, {"priority": "3"}):
        refused = submit(service, "a", **other)
        assert refused.status_code == 422
        assert "another body" in refused.json()["detail"]
    assert len(list((service.data / "jobs").iterdir())) == 1
    body = {"pipeline": "denoise", "sensor": {"width": 8, "height": 8}}
    post = lambda body, key: httpx.post(  # noqa: E731
        f"{service.url}/v1/streams", json=body, headers={"Idempotency-Key": key}, timeout=300
    )
    made = post(body, "s")
    assert post(body, "s").json()["id"] == made.json()["id"]
    assert post({**body, "name": "other"}, "s").status_code == 422
    assert post(body, "").status_code == 422
    service.stop()
    service.start()
    assert post(body, "s").json()["id"] == made.json()["id"]
    assert post({**body, "name": "other"}, "s").status_code == 422
    assert submit(service, "a").json()["id"] == first.json()["id"]


def test_a_network_whose_encoding_does_not_fit_is_not_taken_in(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYCHRONY_MODELS", str(tmp_path / "own"))
    for name in ("timed", "changes"):
        folder = Path(tmp_path / name)
        shutil.copytree(MADE / name, folder)
        card = json.loads((folder / "model.json").read_text())
        # A Delta network may read several steps in channels of their own.
        halved = [] if name == "changes" else [{"polarities": 1}]
        for more in (*halved, {"width": 41}, {"height": 16}):
            spoilt = {**card, "name": "spoilt", "encoding": {**card["encoding"], **more}}
            (folder / "model.json").write_text(json.dumps(spoilt))
            with pytest.raises(ModelError, match="encoding makes|encoding"):
                registry.install(folder)


def test_a_format_that_is_no_file_format_is_refused_when_it_is_asked_for(service):
    refused = submit(service, format="atis")
    assert refused.status_code == 422
    assert "format" in refused.json()["detail"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("token", "no regular file"), ("snapshot.key", "no regular file"),
        (".lock", "Is a directory"), ("streams", "is no folder: move it away"), ("uploads", "is no folder: move it away"),
    ],
)  # fmt: skip
def test_what_is_of_the_wrong_kind_is_named_in_one_line(tmp_path, name, says):
    data = tmp_path / "data"
    data.mkdir()
    if name in {"streams", "uploads"}:
        (data / name).write_text("x")
    else:
        (data / name).mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--host", "0.0.0.0", "--data", str(data)],
        capture_output=True, text=True, timeout=600, cwd=ROOT, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert says in ended.stderr
    assert str(data / name) in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.long
def test_a_folder_in_place_of_a_database_is_set_aside(service):
    service.stop()
    for part in service.data.glob("jobs.sqlite*"):
        part.unlink()
    (service.data / "jobs.sqlite").mkdir()
    service.start()
    assert until(lambda: httpx.get(f"{service.url}/readyz", timeout=300).status_code == 200, 300)
    assert (service.data / "jobs.sqlite.damaged-1").is_dir()
    assert submit(service).status_code == 202

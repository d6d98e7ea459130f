"""Resumable uploads (tus 1.0), and what becomes of jobs: priorities, retries, sums, retention, databases of old."""

import asyncio
import base64
import hashlib
import json
import sqlite3
import time

import httpx
import pytest
from polychrony_client import AsyncClient, Client, PolychronyError, Refused

from pipeline import samples
from service.storage.files.job_queue import SCHEMA, JobStore, NewerData
from tests.integration.service_process import ServiceProcess

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A service with little room."""
    settings = {
        "max_upload_bytes": 2**20,
        "max_uploads_bytes": 2**20 + 2**19,
        "keep_uploads_s": 3,
        "keep_jobs_s": 6,
    }
    service = ServiceProcess(tmp_path_factory.mktemp("small") / "data", **settings)
    yield service
    service.stop()


def create(service, length, **headers):
    return httpx.post(f"{service.url}/v1/uploads", headers={**TUS, "Upload-Length": str(length), **headers})


@pytest.mark.threat(
    "path traversal in an upload's name, offsets that lie",
    "names are for people only; offsets must be the file's length",
)
def test_an_upload_goes_on_where_it_broke_off(service, client):
    data = samples.CLIP.read_bytes()
    name = base64.b64encode(b"../../etc/windows.mp4").decode()
    made = create(service, len(data), **{"Upload-Metadata": f"filename {name}"})
    assert (made.status_code, made.headers["upload-offset"]) == (201, "0")
    url = service.url + made.headers["location"]

    def part(a, b):
        return httpx.patch(url, content=data[a:b], headers={**PART, "Upload-Offset": str(a)})

    assert part(0, 1000).status_code == 204
    assert part(500, 900).status_code == 409
    assert part(2000, 3000).status_code == 409
    assert httpx.head(url, headers=TUS).headers["upload-offset"] == "1000"
    with pytest.raises(Refused, match="has 1000 of"):
        client.request("POST", "/v1/jobs", json={"upload": made.json()["id"]})
    too_much = httpx.patch(url, content=data[1000:] + b"x", headers={**PART, "Upload-Offset": "1000"})
    assert too_much.status_code == 413
    offset = int(httpx.head(url, headers=TUS).headers["upload-offset"])
    assert part(offset, len(data)).headers["upload-offset"] == str(len(data))
    job = client.request("POST", "/v1/jobs", json={"upload": made.json()["id"], "pipeline": "denoise"}).json()
    assert job["name"] == "windows.mp4"
    assert httpx.head(url, headers=TUS).status_code == 404, "it belongs to the job now"
    done = client.job(job["id"])
    done.wait()
    assert done.summary()["input"]["name"] == "windows.mp4"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Upload-Length": "5"}, 412),
        ("POST", TUS, 400),
        ("POST", {**TUS, "Upload-Length": "-5"}, 400),
        ("POST", {**TUS, "Upload-Length": "9" * 30}, 422),
        ("POST", {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename !!!"}, 400),
        ("PATCH", {**PART, "Upload-Offset": "x"}, 400),
        ("PATCH", {**TUS, "Upload-Offset": "0"}, 415),
        ("PATCH", {"Upload-Offset": "0"}, 412),
        ("DELETE", {}, 412),
    ],
)
def test_what_is_no_tus_is_refused(service, method, headers, status):
    url = f"{service.url}/v1/uploads"
    if method != "POST":
        url = service.url + create(service, 5).headers["location"]
    assert httpx.request(method, url, headers=headers).status_code == status


def test_options_say_what_can_be_done(service):
    answer = httpx.options(f"{service.url}/v1/uploads")
    assert answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation", "creation-with-upload", "expiration", "termination"
    }  # fmt: skip


@pytest.mark.threat(
    "filling the disk with uploads", "413 and 507 by size, number and free space; uploads expire"
)
def test_room_is_bounded_and_comes_back(small):
    assert create(small, 2**20 + 1).status_code == 413
    made = create(small, 2**20)
    assert made.status_code == 201
    assert create(small, 2**20).status_code == 507
    assert httpx.delete(small.url + made.headers["location"], headers=TUS).status_code == 204
    first = create(small, 2**20)
    assert first.status_code == 201
    deadline = time.monotonic() + 120
    while create(small, 2**20).status_code != 201:  # nobody went on with the first
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert httpx.head(small.url + first.headers["location"], headers=TUS).status_code == 404


@pytest.mark.long
def test_an_upload_survives_a_kill_byte_for_byte(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    data = samples.CLIP.read_bytes()
    try:
        made = create(service, len(data))
        url, offset, kills = service.url + made.headers["location"], 0, 0
        step = len(data) // 7
        while offset < len(data):
            part = data[offset : offset + step]
            httpx.patch(url, content=part, headers={**PART, "Upload-Offset": str(offset)})
            if kills < 2:
                service.kill()
                service.start()
                kills += 1
            offset = int(httpx.head(url, headers=TUS).headers["upload-offset"])
        [stored] = (service.data / "uploads").glob("*.bin")
        assert hashlib.sha256(stored.read_bytes()).digest() == hashlib.sha256(data).digest()
    finally:
        service.stop()


def test_artifacts_carry_sums(client, tmp_path):
    job = client.submit(samples.CLIP, "denoise")
    job.wait()
    for artifact in job.description["artifacts"]:
        answer = client.http.get(artifact["url"])
        assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]
        assert answer.headers["etag"] == f'"{artifact["sha256"]}"'
        assert answer.headers["repr-digest"].startswith("sha-256=:")
    assert len(job.download(tmp_path)) == len(job.description["artifacts"])


def test_progress_says_how_long_it_takes(client):
    job = client.submit(samples.CLIP, "motion36")
    said = list(job.events())
    assert any(one["eta_s"] is not None and one["eta_s"] > 0 for one in said)
    assert said[-1]["state"] == "done"


def test_a_job_that_failed_runs_again_and_remembers_why(client, tmp_path):
    (tmp_path / "note.mp4").write_bytes(b"no video\n")
    job = client.submit(tmp_path / "note.mp4")
    with pytest.raises(PolychronyError):
        job.wait()
    job.retry()
    assert job.description["state"] in {"queued", "running"}
    with pytest.raises(PolychronyError, match="not a video"):
        job.wait()
    assert job.description["attempts"] == 2
    assert "not a video" in job.description["history"][0]["error"]
    done = client.submit(samples.CLIP, "denoise")
    done.wait()
    with pytest.raises(Refused, match="409"):
        done.retry()


@pytest.mark.long
def test_jobs_of_a_higher_priority_run_first(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    try:
        with Client(service.url) as client:
            jobs = [client.submit(samples.CLIP, "motion36")]  # keeps the one worker busy
            jobs += [client.submit(samples.CLIP, "denoise", priority=p) for p in (-1, 0, 5)]
            for job in jobs:
                job.wait()
            finished = [client.job(job.id).description["finished_s"] for job in jobs]
            assert finished[3] < finished[2] < finished[1]
            with pytest.raises(Refused, match="priority: allowed are -10 to 10"):
                client.submit(samples.CLIP, priority=99)
    finally:
        service.stop()


@pytest.mark.long
def test_old_jobs_go(small):
    with Client(small.url) as client:
        job = client.submit(samples.CLIP, "denoise")
        job.wait()
        deadline = time.monotonic() + 120
        while (small.data / "jobs" / job.id).exists():
            assert time.monotonic() < deadline
            time.sleep(0.3)
        with pytest.raises(Refused, match="404"):
            client.job(job.id)


def test_a_database_of_before_is_brought_up_and_one_of_later_is_refused(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE jobs (id VARCHAR PRIMARY KEY, created_s FLOAT NOT NULL, finished_s FLOAT, state VARCHAR NOT NULL,"
            " name VARCHAR NOT NULL, options JSON NOT NULL, error VARCHAR, attempts INTEGER NOT NULL,"
            " idempotency_key VARCHAR UNIQUE)"
        )
        db.execute("INSERT INTO jobs VALUES ('a', 1.0, NULL, 'running', 'x.mp4', '{}', NULL, 1, NULL)")

    async def look():
        store = JobStore(path)
        await store.open(3)
        job = await store.get("a")
        store.close()
        return job

    job = asyncio.run(look())
    assert (job.state, job.priority, job.history[0]["error"]) == (
        "queued",
        0,
        "interrupted: the service ended",
    )
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(NewerData, match="written by a newer Polychrony"):
        asyncio.run(look())


def test_a_job_that_takes_the_service_down_is_not_begun_for_ever(tmp_path):
    async def interrupt():
        store = JobStore(tmp_path / "jobs.sqlite")
        await store.open(2)
        job = await store.claim(60)
        store.close()
        return job

    async def look():
        store = JobStore(tmp_path / "jobs.sqlite")
        await store.open(2)
        job = await store.get("a")
        store.close()
        return job

    asyncio.run(look())
    with sqlite3.connect(tmp_path / "jobs.sqlite") as db:
        db.execute(
            "INSERT INTO jobs (id, created_s, state, name, options, attempts) VALUES ('a', 1.0, 'queued', 'x', '{}', 0)"
        )
    assert asyncio.run(interrupt()).attempts == 1
    assert asyncio.run(interrupt()).attempts == 2
    job = asyncio.run(look())
    assert (job.state, job.error) == ("failed", "the service ended during each of 2 attempts")
    assert len(job.history) == 2


def test_the_async_client_does_all_that(service, tmp_path):
    async def run():
        async with AsyncClient(service.url) as client:
            came = []
            job = await client.submit(samples.CLIP, "denoise", progress=lambda a, b: came.append((a, b)))
            said = []
            await job.wait(lambda one: said.append(one["state"]))
            assert came[-1][0] == came[-1][1] == samples.CLIP.stat().st_size
            assert said[-1] == "done"
            files = await job.download(tmp_path)
            assert json.loads((tmp_path / "summary.json").read_text()) == await job.summary()
            assert len(files) == len(job.description["artifacts"])
            await job.cancel()
            with pytest.raises(Refused, match="404"):
                await client.job(job.id)

    asyncio.run(run())


def test_what_nobody_can_read_is_refused_while_it_is_uploaded(client, tmp_path):
    program = tmp_path / "tool.raw"
    program.write_bytes(b"\x7fELF" + bytes(200_000))
    with pytest.raises(Refused, match=r"tool\.raw: of the format a program, which is not read") as caught:
        client.upload(program)
    assert caught.value.status == 415
    bare = tmp_path / "bare.raw"
    bare.write_bytes(bytes(range(8, 200)) * 2000)
    with pytest.raises(Refused, match="--format names one.*as format in Upload-Metadata"):
        client.upload(bare)
    assert client.upload(bare, format_="EVT3")
    with httpx.Client(base_url=client.url) as plain:
        answer = plain.post("/v1/jobs", files={"file": ("note.pdf", b"%PDF-1.7 and more")})
        assert answer.status_code == 415
        assert "note.pdf: of the format a PDF, which is not read" in answer.text
        stated = plain.post(
            "/v1/jobs", files={"file": ("bare.raw", bare.read_bytes())}, data={"format": "EVT3"}
        )
        assert stated.status_code == 202

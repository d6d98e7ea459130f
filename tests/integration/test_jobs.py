"""Jobs through the real service: uploads, progress, artifacts, failures, and a kill in the middle."""

import json

import httpx
import pytest
from polychrony_client import Client, PolychronyError, Refused

from pipeline import samples
from pipeline.offline import engine_for, steps
from pipeline.sinks.tables import read_digest
from pipeline.sources import open_source
from pipeline.spec import load
from tests.integration.service_process import ServiceProcess


def offline_digests(path, pipeline="motion"):
    source = open_source(path)
    engine = engine_for(source, load(pipeline))
    list(steps(engine, source))
    return engine.digests()


@pytest.mark.long
def test_a_video_becomes_artifacts_with_the_digests_of_an_offline_run(client, tmp_path):
    job = client.submit(samples.CLIP)
    assert job.description["state"] in {"queued", "running"}
    seen = []
    job.wait(lambda said: seen.append((said["state"], said["done"])))
    assert seen[-1] == ("done", 1.0)
    assert len({done for _, done in seen}) > 3
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    files = {path.name: path for path in job.download(tmp_path / "answers")}
    assert set(files) == {
        "events.parquet", "field.json", "field.parquet", "motion.json", "motion.parquet", "report.html", "summary.json"
    }  # fmt: skip
    summary = json.loads(files["summary.json"].read_text())
    assert summary["digests"] == offline_digests(samples.CLIP)
    assert read_digest(files["motion.parquet"]) == summary["digests"]["motion"]
    assert summary["input"]["name"] == samples.CLIP.name
    assert summary["artifacts"] == sorted(files)


def test_a_recording_with_options(client, data_dir):
    path = data_dir / "recordings" / "davis346.aedat4"
    spec = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 900}]}
    job = client.submit(path, spec, roi="10,20,100,80")
    job.wait()
    summary = job.summary()
    assert summary["selection"]["roi"] == [10, 20, 100, 80]
    assert 0 < summary["events"] < 78_830
    assert list(summary["digests"]) == ["quiet"]


@pytest.mark.threat(
    "path traversal in an artifact's name", "only names that the job made are served, sandboxed"
)
def test_artifacts_are_served_in_ranges(client):
    job = client.submit(samples.CLIP, "denoise")
    job.wait()
    url = f"/v1/jobs/{job.id}/artifacts/summary.json"
    whole = client.request("GET", url).content
    part = client.http.get(url, headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, whole[5:15])
    assert client.http.get(url, headers={"Range": "bytes=9999999-"}).status_code == 416
    assert "sandbox" in part.headers["content-security-policy"]
    for name in ("none.txt", "..%2F..%2Fjobs.sqlite", "%2e%2e"):
        assert client.http.get(f"/v1/jobs/{job.id}/artifacts/{name}").status_code == 404
    job.cancel()  # one that is over is forgotten
    with pytest.raises(Refused, match="404"):
        client.job(job.id)


BAD_FILES = [
    ("note.mp4", b"this is text\n", "note.mp4: not a video that OpenCV can read"),
    ("cut.raw", b"% evt 3.0\n% end\n\x01", "holds no events"),
]


def test_an_empty_upload_is_refused_at_once(client, tmp_path):
    (tmp_path / "empty.aedat4").write_bytes(b"")
    with pytest.raises(Refused, match=r"415: empty\.aedat4: an empty file"):
        client.submit(tmp_path / "empty.aedat4")


@pytest.mark.parametrize(("name", "content", "problem"), BAD_FILES)
def test_a_bad_upload_fails_with_one_clear_line(client, tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    job = client.submit(tmp_path / name)
    with pytest.raises(PolychronyError) as caught:
        job.wait()
    assert problem in str(caught.value)
    assert job.description["state"] == "failed"
    assert job.description["artifacts"] == []
    assert "Traceback" not in job.description["error"]


@pytest.mark.parametrize(
    ("pipeline", "options", "problem"),
    [
        (
            {"stages": [{"id": "m", "kind": "motiv"}]},
            {},
            "pipeline: stages[0].kind: 'motiv' is no stage; allowed are crop",
        ),
        (
            "motions",
            {},
            "no pipeline is named 'motions': allowed are denoise, digits, egomotion, motion, motion36, view",
        ),
        ("motion", {"threshold": 99}, "threshold: input should be less than or equal to 10"),
        ("motion", {"colour": "red"}, "colour: extra inputs are not permitted; fields are file, format"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(client, pipeline, options, problem):
    with pytest.raises(Refused) as caught:
        client.submit(samples.CLIP, pipeline, **options)
    assert caught.value.status == 422
    assert problem in str(caught.value)
    assert caught.value.errors[0]["path"]


@pytest.mark.threat("malformed multipart bodies", "400, 413, 415 or 422, nothing is kept")
def test_malformed_bodies_are_refused(client, service):
    post = client.http.post
    assert post("/v1/jobs", content=b"x").status_code == 415
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert post("/v1/jobs", content=b"garbage", headers=headers).status_code == 400
    assert post("/v1/jobs", data={"pipeline": "motion"}, files={"other": b"x"}).status_code == 422
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    assert post("/v1/jobs", content=head + b"cut off", headers=headers).status_code == 400
    document = post("/v1/jobs", content=b"x").json()
    assert document["status"] == 415
    assert set(document) == {"type", "title", "status", "detail"}
    assert len(list((service.data / "jobs").iterdir())) == len(
        client.request("GET", "/v1/jobs?limit=200").json()["jobs"]
    )


def test_the_same_idempotency_key_gives_the_same_job(client):
    def submit():
        with samples.CLIP.open("rb") as file:
            return client.request(
                "POST", "/v1/jobs", data={"pipeline": "denoise"}, files={"file": file}, headers={"Idempotency-Key": "one"}
            ).json()["id"]  # fmt: skip

    assert submit() == submit()


@pytest.mark.long
def test_jobs_are_listed_page_by_page(client):
    for _ in range(3):
        client.submit(samples.CLIP, "denoise").wait()
    first = client.request("GET", "/v1/jobs?limit=2").json()
    second = client.request("GET", f"/v1/jobs?limit=2&after={first['next']}").json()
    names = [job["id"] for job in first["jobs"] + second["jobs"]]
    assert names == sorted(set(names))
    assert len(first["jobs"]) == 2


def test_a_running_job_is_cancelled(client, data_dir):
    job = client.submit(data_dir / "video" / "bikes.mp4")
    for said in job.events():
        if said["state"] == "running" and said["done"] > 0:
            break
    job.cancel()
    with pytest.raises(PolychronyError, match="cancelled"):
        job.wait()


@pytest.mark.long
def test_a_job_survives_the_death_of_the_service(tmp_path, data_dir):
    service = ServiceProcess(tmp_path / "data")
    try:
        with Client(service.url) as client:
            job = client.submit(data_dir / "video" / "carphone_pristine.mp4")
            for said in job.events():
                if said["state"] == "running" and said["done"] > 0:
                    break
            service.kill()
            assert not list((service.data / "jobs").glob("*/answers/*"))
            service.start()
            described = client.job(job.id)
            described.wait()
            assert described.description["attempts"] == 2
            assert described.summary()["events"] > 100_000
            assert not list((service.data / "jobs").glob("*/.*.part"))
    finally:
        service.stop()


def test_a_job_may_not_take_more_memory_or_time_than_allowed(tmp_path, data_dir):
    service = ServiceProcess(tmp_path / "data", job_memory_bytes=2**30, job_seconds=1)
    try:
        with Client(service.url) as client:
            job = client.submit(data_dir / "video" / "bikes.mp4")
            with pytest.raises(PolychronyError, match="more (processor time|memory)|killed|allocate"):
                job.wait()
            assert httpx.get(f"{service.url}/healthz").status_code == 200
    finally:
        service.stop()


def test_an_upload_that_is_too_large_is_refused(tmp_path):
    service = ServiceProcess(tmp_path / "data", max_upload_bytes=2**20)
    try:
        with Client(service.url) as client:
            big = tmp_path / "big.mp4"
            big.write_bytes(bytes(3 * 2**20))
            with pytest.raises(PolychronyError, match="413|no answer"):
                client.submit(big)
            assert list((service.data / "jobs").iterdir()) == []
    finally:
        service.stop()


def test_a_job_that_is_asked_for_once_more_with_the_same_file_is_the_same_job(service, client, tmp_path):
    """A client that never heard of its job, as the service was killed meanwhile, uploads its file anew."""
    clip, other = tmp_path / "a.csv", tmp_path / "b.csv"
    clip.write_text("t,x,y,p\n1,1,1,1\n2,2,2,0\n")
    other.write_text("t,x,y,p\n1,1,1,1\n2,3,3,0\n")
    asked = {"pipeline": "denoise", "key": "once more", "sensor": "8x8"}
    job = client.submit(clip, **asked)
    job.wait()

    def waiting():
        return len(list((service.data / "uploads").glob("*.json")))

    before = waiting()
    assert client.submit(clip, **asked).id == job.id
    assert waiting() == before, "the upload that nobody needs is gone"
    other.rename(clip)
    with pytest.raises(Refused, match="another body"):
        client.submit(clip, **asked)
    with pytest.raises(Refused, match="another body"):
        client.submit(clip, **{**asked, "sensor": "9x9"})

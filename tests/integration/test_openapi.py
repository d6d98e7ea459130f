"""Answers are what the OpenAPI document says, and a client that is generated from it is of use."""

import importlib
import io
import json
import subprocess
import sys
import time
import venv

import httpx
import numpy as np
import pytest
from polychrony_client import Client

from pipeline import samples
from service.routes import answers

OVERRIDES = """content_type_overrides:
  application/offset+octet-stream: application/octet-stream
  application/jsonl: text/plain
  application/zip: application/octet-stream
  image/png: application/octet-stream
"""
SENSOR = {"width": 64, "height": 48}


def events(n=20_000):
    rng = np.random.default_rng(5)
    t = np.sort(rng.integers(0, 300_000, n))
    return t, rng.integers(0, 64, n), rng.integers(0, 48, n), rng.integers(0, 2, n)


@pytest.fixture(scope="module")
def document(service):
    """The OpenAPI document."""
    return httpx.get(f"{service.url}/v1/openapi.json", timeout=60).json()


@pytest.fixture(scope="module")
def used(service):
    """A stream that has ended, a job that is done, an upload, a pipeline; their ids."""
    with Client(service.url) as client:
        with client.stream("motion", (64, 48), name="looked-at", record=True) as stream:
            stream.send(*events())
            stream.end()
        job = client.submit(samples.CLIP, pipeline="denoise")
        job.wait()
    made = {"stream": stream.id, "job": job.id}
    head = {"Tus-Resumable": "1.0.0", "Upload-Length": "100"}
    made["upload"] = httpx.post(f"{service.url}/v1/uploads", headers=head, timeout=60).json()
    kept = {"pipeline": {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500}]}}
    made["put"] = httpx.put(f"{service.url}/v1/pipelines/openapi", json=kept, timeout=60).json()
    yield made
    httpx.delete(f"{service.url}/v1/pipelines/openapi", timeout=60)


ANSWERS = [
    ("/healthz", answers.StatusAnswer),
    ("/readyz", answers.StatusAnswer),
    ("/v1/streams", answers.StreamsAnswer),
    ("/v1/streams/{stream}", answers.StreamAnswer),
    ("/v1/streams/{stream}/stats", answers.StatsAnswer),
    ("/v1/jobs", answers.JobsAnswer),
    ("/v1/jobs/{job}", answers.JobAnswer),
    ("/v1/models", answers.ModelsAnswer),
    ("/v1/models/motif8", answers.ModelAnswer),
    ("/v1/models/nmnist", answers.ModelAnswer),
    ("/v1/models/flow36", answers.ModelAnswer),
    ("/v1/pipelines", answers.PipelinesAnswer),
    ("/v1/pipelines/view", answers.PipelineAnswer),
    ("/v1/pipelines/openapi", answers.PipelineAnswer),
    ("/v1/session", answers.SessionAnswer),
    ("/v1/publishers", answers.PublishersAnswer),
    ("/v1/autostart", answers.AutostartAnswer),
]


@pytest.mark.parametrize(("path", "model"), ANSWERS, ids=[path for path, _ in ANSWERS])
def test_an_answer_has_what_its_model_says_and_nothing_else(service, used, path, model):
    path = path.format(**{name: one for name, one in used.items() if isinstance(one, str)})
    model.model_validate_json(httpx.get(service.url + path, timeout=60).content)


def test_what_is_made_is_what_its_model_says(service, used):
    answers.UploadAnswer.model_validate(used["upload"])
    answers.PipelineAnswer.model_validate(used["put"])
    asked = {
        "pipeline": {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 5}]},
        "sensor": "64x48",
    }
    wrong = httpx.post(
        f"{service.url}/v1/pipelines/validate", json={**asked, "sensor": "640 x 480"}, timeout=60
    ).json()
    assert wrong["detail"].startswith("sensor: '640 x 480' is no size such as 640x480")
    valid = httpx.post(f"{service.url}/v1/pipelines/validate", json=asked, timeout=60).json()
    assert answers.ValidAnswer.model_validate(valid).outputs[0].kind == "events"


def test_every_json_answer_is_a_named_model(document):
    refused = {"$ref": "#/components/schemas/Problem"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for kind, content in response.get("content", {}).items():
                    where = (method, path, status)
                    if kind == "application/json" and method != "head":
                        assert set(content["schema"]) == {"$ref"}, where
                    elif kind == "application/problem+json":
                        assert content["schema"] == refused, where


def test_a_job_that_is_done_says_what_it_found(service, used):
    job = httpx.get(f"{service.url}/v1/jobs/{used['job']}", timeout=60).json()
    [summary] = [one["url"] for one in job["artifacts"] if one["name"] == "summary.json"]
    found = httpx.get(service.url + summary, timeout=60).json()
    assert (job["events"], job["rows"]) == (found["events"], found["rows"])
    assert job["events"] > 0


@pytest.fixture(scope="module")
def generated(tmp_path_factory, document):
    """A client that openapi-python-client made, importable."""
    folder = tmp_path_factory.mktemp("generated")
    tool = folder / "tool"
    venv.create(tool, with_pip=True)
    install = [tool / "bin" / "python", "-m", "pip", "install", "-q", "openapi-python-client==0.29.1"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"no generator can be installed: {installed.stderr.strip().splitlines()[-1]}")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yml").write_text(OVERRIDES)
    generate = [
        tool / "bin" / "openapi-python-client", "generate", "--path", folder / "openapi.json", "--meta", "none",
        "--output-path", folder / "generated_polychrony", "--config", folder / "config.yml",
    ]  # fmt: skip
    made = subprocess.run(
        generate, capture_output=True, text=True, check=False, env={"PATH": f"{tool / 'bin'}:/usr/bin:/bin"}
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr, "every endpoint and answer can be generated"
    # What it needs and is not here comes from the generator's environment, as the last resort.
    [packages] = (tool / "lib").glob("python*/site-packages")
    added = [str(folder), str(packages)]
    sys.path += added
    yield lambda name: importlib.import_module(f"generated_polychrony.{name}")
    for path in added:
        sys.path.remove(path)


@pytest.mark.long
def test_a_generated_client_runs_a_stream_and_a_job(service, generated):
    with generated("client").Client(base_url=service.url, timeout=60) as client:
        run_a_stream(service, generated, client)
        run_a_job(generated, client)


def run_a_stream(service, generated, client):
    request = generated("models").StreamRequest(pipeline="motion", sensor="64x48", name="generated")
    stream = generated("api.streams.create_stream").sync(client=client, body=request)
    assert (stream.name, stream.sensor.width, stream.outputs) == ("generated", 64, ["motion", "field"])
    with Client(service.url) as own, own.attach(stream.id) as sending:
        sending.send(*events())
        sending.end()
    stats = generated("api.streams.get_stats").sync(stream.id, client=client)
    assert (stats.state, stats.events, stats.failure) == ("ended", 20_000, None)
    assert stats.rows.additional_properties["motion"] > 0
    assert generated("api.streams.delete_stream").sync_detailed(stream.id, client=client).status_code == 204
    gone = generated("api.streams.get_stream").sync(stream.id, client=client)
    assert (type(gone).__name__, gone.status, gone.detail) == ("Problem", 404, "no such stream")


def run_a_job(generated, client):
    sent = generated("types").File(payload=io.BytesIO(samples.CLIP.read_bytes()), file_name="windows.mp4")
    body = generated("models").CreateJobFilesBody(file=sent, pipeline="denoise")
    job = generated("api.jobs.create_job").sync(client=client, body=body)
    until = time.monotonic() + 600
    while job.state not in {"done", "failed"} and time.monotonic() < until:
        time.sleep(0.2)
        job = generated("api.jobs.get_job").sync(job.id, client=client)
    assert (job.state, job.error) == ("done", None)
    assert job.events > 0
    report = generated("api.jobs.get_artifact").sync(job.id, "report.html", client=client)
    assert report.payload.read().startswith(b"<!doctype html>")

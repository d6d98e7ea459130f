"""A distribution that Polychrony does not know adds a stage, a format and a live source, once it is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import until

ROOT = Path(__file__).parents[2]
PIPELINE = {"stages": [{"id": "on", "kind": "polarity"}, {"id": "half", "kind": "downsample", "factor": 2}]}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the example was installed into, by pip."""
    folder = tmp_path_factory.mktemp("site")
    install = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        folder,
    ]
    subprocess.run([sys.executable, *install, ROOT / "tests" / "plugin"], check=True, capture_output=True)
    return folder


@pytest.fixture
def environment(installed, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{installed}:{ROOT}:{ROOT / 'clients' / 'python'}")
    monkeypatch.setenv("POLYCHRONY_PLUGINS", '["polychrony-example"]')


@pytest.fixture
def recording(tmp_path):
    """In the format of the plug-in: 100 events."""
    rows = np.zeros(100, [("t", "<u4"), ("x", "<u2"), ("y", "<u2")])
    rows["t"], rows["x"] = np.arange(100) * 500, np.arange(100) % 30
    path = tmp_path / "seen.pairs"
    path.write_bytes(b"pairs 40 30\n" + rows.tobytes())
    return path


def polychrony(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)], capture_output=True, text=True, timeout=600,
        check=False, env={**os.environ, **more},
    )  # fmt: skip


def test_the_command_uses_it(environment, recording, tmp_path):
    spec = tmp_path / "p.yaml"
    spec.write_text(json.dumps(PIPELINE))
    info = json.loads(polychrony("info", recording, "--json").stdout)
    assert (info["format"], info["events"], info["width"], info["height"]) == ("pairs", 100, 40, 30)
    ran = polychrony("analyze", recording, "-p", spec, "--out", tmp_path / "out", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["rows"] == {"half": 100}
    listed = {one["part"]: one for one in json.loads(polychrony("doctor", "--no-kernels", "--json").stdout)}
    assert listed["plug-in"]["level"] == "ok"
    assert listed["plug-in"]["said"] == "polychrony-example 1.2: stage polarity, format pairs, live diagonal"


@pytest.mark.threat(
    "code of a distribution that happens to be installed",
    "entry points are loaded of the distributions alone that `plugins` names; none by default",
)
def test_what_is_not_named_is_not_loaded(environment, recording, tmp_path):
    spec = tmp_path / "p.yaml"
    spec.write_text(json.dumps(PIPELINE))
    unnamed = polychrony("analyze", recording, "-p", spec, POLYCHRONY_PLUGINS="[]")
    assert unnamed.returncode == 1
    assert "stages[0].kind: 'polarity' is no stage" in unnamed.stderr
    assert "unknown format" in polychrony("info", recording, POLYCHRONY_PLUGINS="[]").stderr


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["not-there"], "plugins: 'not-there' is not installed in this environment"),
        (["numpy"], "plugins: numpy has no entry points of the groups"),
    ],
)
def test_one_that_cannot_be_used_is_said_in_a_line(environment, names, said, tmp_path):
    for verb in (["serve", "--port", "0", "--data", tmp_path / "data"], ["info", "x.raw"]):
        ran = polychrony(*verb, POLYCHRONY_PLUGINS=json.dumps(names))
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert said in ran.stderr


def test_the_service_its_jobs_and_its_sources_use_it(environment, recording, tmp_path):
    """Jobs and sources run in processes of their own."""
    service = ServiceProcess(tmp_path / "data", allowed_sources='["diagonal://64"]')
    try:
        with httpx.Client(base_url=service.url, timeout=60) as http:
            assert "polarity" in http.get("/v1/pipelines").json()["kinds"]
            files = {"file": ("seen.pairs", recording.read_bytes()), "pipeline": (None, json.dumps(PIPELINE))}
            job = http.post("/v1/jobs", files=files).raise_for_status().json()["id"]
            assert until(lambda: http.get(f"/v1/jobs/{job}").json()["state"] in {"done", "failed"})
            assert http.get(f"/v1/jobs/{job}").json()["state"] == "done"
            body = {"pipeline": PIPELINE, "sensor": {"width": 32, "height": 32}}
            refused = http.post("/v1/streams", json={**body, "source": {"address": "diagonal://65"}})
            assert refused.status_code in {403, 422}
            stream = http.post("/v1/streams", json={**body, "source": {"address": "diagonal://64"}})
            path = f"/v1/streams/{stream.raise_for_status().json()['id']}"
            assert until(lambda: http.get(path).json()["state"] == "ended")
            assert http.get(f"{path}/stats").json()["rows"] == {"half": 32}
    finally:
        assert service.stop() == 0


def test_the_contract_suite_runs_on_it(environment, tmp_path):
    (tmp_path / "test_polarity.py").write_text(
        "from pipeline import plugins\nfrom pipeline.testing import stage_contract\n\nplugins.load_inherited()\n"
        'TestPolarity = stage_contract({"polarity": [[{"kind": "polarity", "keep": "off"}]]})\n'
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, tmp_path / "test_polarity.py"],
        capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert "8 passed" in ran.stdout

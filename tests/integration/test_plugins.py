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


class Faulty:
    """Distributions that are not what they should be, each a folder with a `.dist-info`."""

    def __init__(self, folder):
        self.folder = folder

    def make(self, name, entries, **modules):
        info = self.folder / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            "\n".join(f"[polychrony.{group}]\n{line}" for group, line in entries)
        )
        for module, text in modules.items():
            (self.folder / f"{module}.py").write_text(text)


STAGE = """
from collections.abc import Callable
from typing import Any, Literal
from pipeline.stage import Context, Stage, StageConfig

class One(StageConfig):
    kind: Literal["{kind}"] = "{kind}"
    {field}
    def build(self, context: Context) -> Stage:
        raise NotImplementedError
"""


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    folder = tmp_path / "faulty"
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}:{ROOT / 'clients' / 'python'}")
    return Faulty(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            STAGE.format(kind="mine", field="how: Callable[[int], int] | None = None"),
            "One: PydanticInvalidForJsonSchema",
        ),
        (STAGE.format(kind="mine", field="how: 'Undefined' = None"), "One: PydanticU"),
        (STAGE.format(kind="crop", field=""), "there is a stage of the kind 'crop' already"),
        (STAGE.format(kind="Mine!", field=""), "allowed are small letters"),
        ("raise ValueError()", "cannot be imported: ValueError: ValueError"),
        ("One = 3", "is no subclass of pipeline.stage.StageConfig"),
        ("import not_there", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_plug_in_that_would_spoil_others_is_refused_in_a_line(faulty, text, said):
    faulty.make("bad", [("stages", "one = bad_one:One")], bad_one=text)
    ran = polychrony("info", "x.raw", POLYCHRONY_PLUGINS='["bad"]')
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert "plugins: bad: polychrony.stages: one" in ran.stderr
    assert said in ran.stderr


def test_what_is_refused_has_added_nothing(faulty):
    good = STAGE.format(kind="good_one", field="")
    faulty.make(
        "half", [("stages", "a = half_good:One\nb = half_bad:One")],
        half_good=good, half_bad=STAGE.format(kind="crop", field=""),
    )  # fmt: skip
    code = (
        "from pipeline import plugins, stages\ntry:\n    plugins.load(['half'])\nexcept plugins.PluginError:\n"
        "    print('good_one' in stages.KINDS, 'crop' in stages.KINDS)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False True\n"


def test_a_plug_in_that_prints_or_fails_at_other_files_is_in_nobodys_way(faulty, tmp_path):
    faulty.make(
        "loud", [("formats", "mine = loud_one:FORMAT")],
        loud_one="from pipeline.sources.formats import Format\nprint('hello', flush=True)\n"
        "FORMAT = Format('loud', None, lambda head, path: head[10**6] > 0)\n",
    )  # fmt: skip
    table = tmp_path / "t.csv"
    table.write_text("t,x,y,p\n" + "".join(f"{i * 100},{i},1,1\n" for i in range(20)))
    (tmp_path / "empty.xyz").write_bytes(b"\x01" * 8)
    ran = polychrony("info", tmp_path / "empty.xyz", POLYCHRONY_PLUGINS='["loud"]')
    assert "format loud: identify failed" in ran.stderr
    service = ServiceProcess(tmp_path / "data", plugins='["loud"]')
    try:
        with httpx.Client(base_url=service.url, timeout=60) as http:
            formats = http.get("/v1/openapi.json").text
            assert '"loud"' in formats
            stream = http.post("/v1/streams", json={"pipeline": "denoise", "source": {"address": "sample:"}})
            path = f"/v1/streams/{stream.raise_for_status().json()['id']}"
            assert until(lambda: http.get(f"{path}/stats").json()["events"] > 1000)
            http.delete(path).raise_for_status()
    finally:
        assert service.stop() == 0

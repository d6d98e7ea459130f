"""A box that nobody watches: streams that stand by themselves, loads that do not fit, newer data."""

import itertools
import json
import os
import resource
import sqlite3
import subprocess
import sys

import httpx
import numpy as np
import pytest
from polychrony_client import Client

from pipeline.replay import Admission, ReplayError, read_admission, replay
from tests.image.overload import SLOW, Generator, Target, capacity, overload
from tests.integration.service_process import ServiceProcess
from tests.integration.test_publishing import until
from tests.reliability.tools import MIB, sliced_crc_frames

CAMERA = {
    "name": "camera",
    "pipeline": "motion",
    "source": {"address": "sample:", "speed": 4},
    "policy": "realtime",
}


def standing(running):
    return httpx.get(f"{running.url}/v1/autostart").json()["autostart"]


def streams(running):
    return httpx.get(f"{running.url}/v1/streams").json()["streams"]


def edge(tmp_path, **settings):
    return ServiceProcess(tmp_path / "data", profile="edge", memory_bytes=512 * MIB, **settings)


@pytest.mark.long
def test_a_standing_stream_is_there_at_the_start_and_again_when_it_ends(tmp_path):
    running = edge(tmp_path, autostart=json.dumps([CAMERA]))
    try:
        first = until(lambda: standing(running)[0]["stream"])
        described = httpx.get(f"{running.url}/v1/streams/{first}").json()
        assert (described["name"], described["policy"]) == ("camera", "realtime")
        assert described["source"]["address"] == "sample:"
        second = until(lambda: (now := standing(running)[0]["stream"]) not in {None, first} and now, 240)
        assert standing(running)[0]["opened"] == 2
        assert (
            httpx.get(f"{running.url}/v1/streams/{first}").json()["state"] == "ended"
        )  # its results stay for a while
        running.kill()
        running.start()
        third = until(lambda: standing(running)[0]["stream"])
        assert third != second  # a realtime stream ends with its process
        assert 'streams_standing{what="up"} 1.0' in httpx.get(f"{running.url}/metrics").text
    finally:
        assert running.stop() == 0


@pytest.mark.long
def test_a_lossless_one_goes_on_through_a_kill_and_another_takes_its_place_when_its_entry_changes(tmp_path):
    slow = {**CAMERA, "policy": "lossless", "source": {"address": "sample:", "speed": 0.2}}
    running = edge(tmp_path, autostart=json.dumps([slow]))
    try:
        first = until(lambda: standing(running)[0]["stream"])
        until(lambda: httpx.get(f"{running.url}/v1/streams/{first}/stats").json()["events"] > 0)
        running.kill()
        running.start()
        assert until(lambda: standing(running)[0]["stream"]) == first
        running.kill()
        running.settings["autostart"] = json.dumps([{**slow, "pipeline": "denoise"}])
        running.start()
        other = until(lambda: standing(running)[0]["stream"])
        assert other != first
        assert [one["id"] for one in streams(running)] == [other]
    finally:
        running.stop()


@pytest.mark.long
def test_one_that_cannot_be_opened_says_why_and_is_tried_again(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    entry = {**CAMERA, "source": {"address": str(folder / "film.mp4")}}
    running = edge(tmp_path, autostart=json.dumps([entry]), allowed_sources=json.dumps([str(folder)]))
    try:
        found = until(lambda: (one := standing(running)[0])["error"] and one)
        assert found["stream"] is None
        assert httpx.get(f"{running.url}/readyz").status_code == 200  # clients may use it all the same
        (folder / "film.mp4").write_bytes(
            (
                __import__("pathlib").Path(__file__).parents[2] / "pipeline" / "samples" / "windows.mp4"
            ).read_bytes()
        )
        until(lambda: standing(running)[0]["opened"] == 1, 240)
    finally:
        running.stop()


@pytest.mark.long
def test_one_that_fails_again_and_again_takes_one_place(tmp_path):
    running = edge(tmp_path, autostart=json.dumps([{**CAMERA, "record": True}]))
    try:
        # No recording fits any more, and unlike a full disk that does not pass.
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        until(lambda: (one := standing(running)[0])["opened"] >= 3 and one, 240)
        assert len(streams(running)) <= 1
        assert len(list((running.data / "streams").iterdir())) <= 2  # one may be going
        until(lambda: "File too large" in (standing(running)[0]["error"] or ""))
    finally:
        assert running.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"pipeline": "motion", "source": {"address": "sample:"}}, "autostart[0].name: needed"),
        ({"name": "a", "pipeline": "motion"}, "autostart[0].source: needed"),
        ({"name": "a", "pipeline": "nothing", "source": {"address": "sample:"}}, "autostart[0].pipeline"),
        ({"name": "a", "pipeline": "motion", "source": {"adress": "x"}}, "autostart[0].source"),
        ({"name": "a b", "pipeline": "motion", "source": {"address": "sample:"}}, "autostart[0].name"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_at_the_start(entry, said, tmp_path):
    ran = polychrony(
        "serve", "--port", "0", "--data", tmp_path / "d", POLYCHRONY_AUTOSTART=json.dumps([entry])
    )
    assert ran.returncode == 1
    assert said in ran.stderr, ran.stderr
    assert "Traceback" not in ran.stderr


def polychrony(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_more_than_fits_is_evaluated_less_often_before_it_is_shed(tmp_path):
    running = edge(tmp_path)
    try:
        with Target(running.url) as target:
            fits = capacity(target, seconds=1.5)
            for times in (4, 8, 16):  # a machine that was busy while this was measured fits more
                run = overload(target, times, 6, fits)
                at = {int(stride): n for stride, n in run.stats["stride"]["events"].items()}
                if max(at) > 1:
                    break
            sparse = target.metric("streams_events_sparse")
        assert run.stats["events"] + run.stats["dropped"]["shed"] == run.sent
        assert sum(at.values()) == run.stats["events"]
        assert max(at) > 1  # timings of this box say how much; that less was evaluated is sure
        assert sparse >= 0
    finally:
        running.stop()


def test_a_replay_with_the_admission_log_has_the_same_digest(tmp_path):
    running = edge(tmp_path)
    target = Target(running.url)
    try:
        fits = capacity(target, seconds=1.5)
        frames = sliced_crc_frames(1000, 200, 0.2, width=128, height=128)
        answering = {"stages": [{**stage, "threshold": {"evidence": -5.0}} for stage in SLOW["stages"]],
                     "outputs": SLOW["outputs"]}  # fmt: skip
        id_ = target.create(answering, policy="realtime", max_stride=16, max_latency_ms=60, record=True)
        Generator(target, id_, frames).run(1000 / (8 * fits))
        with Client(running.url) as client:
            stream = client.attach(id_)
            final = stream.end()
            stats = stream.stats()
        (tmp_path / "r.pchy").write_bytes(target.http.get(f"/v1/streams/{id_}/recording").content)
        (tmp_path / "a.jsonl").write_bytes(target.http.get(f"/v1/streams/{id_}/admission").content)
        admission = read_admission(tmp_path / "a.jsonl")
        assert admission.strides, "nothing was evaluated less often: it was no overload"
        intake = replay(tmp_path / "r.pchy", admission)
        assert intake.engine.digests() == final["digests"]
        assert intake.engine.rows["m3"] > 1000
        assert {str(k): n for k, n in intake.events_at.items()} == stats["stride"]["events"]
        assert intake.shed_events == stats["dropped"]["shed"]
        assert replay(tmp_path / "r.pchy", Admission()).engine.digests() != final["digests"]
    finally:
        target.http.close()
        running.stop()


@pytest.mark.parametrize(
    "line", ['{"stride": 0, "from": 1}', '{"stride": 2}', '{"stride": "x", "from": 1}', "[]", "7"]
)
def test_a_log_that_is_none_is_refused(line, tmp_path):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(ReplayError, match="line 1"):
        read_admission(tmp_path / "a.jsonl")


def test_newer_data_are_refused_in_one_line(tmp_path):
    running = ServiceProcess(tmp_path / "data")
    running.stop()
    with sqlite3.connect(tmp_path / "data" / "jobs.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    ran = polychrony("serve", "--port", "0", "--data", tmp_path / "data")
    assert ran.returncode == 1
    assert "written by a newer Polychrony" in ran.stderr
    looked = polychrony("doctor", "--data", tmp_path / "data", "--no-kernels", "--json")
    assert looked.returncode == 1
    found = {one["part"]: one for one in json.loads(looked.stdout)}
    assert found["data"]["level"] == "wrong"
    assert "99" in found["data"]["said"]


def doctor(*arguments, **environment):
    ran = polychrony("doctor", "--json", *arguments, **environment)
    found = {}
    for one in json.loads(ran.stdout):
        found.setdefault(one["part"], []).append(one)
    return ran.returncode, found


def test_the_doctor_finds_a_sound_box_sound(tmp_path):
    status, found = doctor("--data", tmp_path / "data", POLYCHRONY_PORT="0")
    assert status == 0, found
    assert found["kernels"][0]["level"] in {"ok", "note"}
    assert {"processor", "memory", "clock", "disk", "data", "port", "camera", "extras"} <= set(found)


def test_the_doctor_says_what_is_wrong(tmp_path):
    taken = ServiceProcess(tmp_path / "other")
    (tmp_path / "file").write_text("no folder")
    try:
        status, found = doctor(
            "--data", tmp_path / "file" / "data", "--no-kernels",
            POLYCHRONY_PORT=str(taken.port), POLYCHRONY_MIN_FREE_BYTES="1", POLYCHRONY_HOST="127.0.0.1",
            POLYCHRONY_AUTOSTART=json.dumps([{**CAMERA, "source": {"address": "udp://10.1.2.3:99"}}]),
            POLYCHRONY_PUBLISH=json.dumps([{"name": "hub", "to": "http://127.0.0.1:1/x"}]),
        )  # fmt: skip
    finally:
        taken.stop()
    assert status == 1
    assert found["disk"][0]["level"] == "wrong"
    assert found["autostart"][0]["level"] == "wrong"
    assert "allowed_sources" in found["autostart"][0]["mend"]
    assert found["publish"][0]["level"] == "warning"
    assert "it is ready" in found["port"][0]["said"]


def test_the_doctor_tells_a_wrong_setting_in_one_line(tmp_path):
    ran = polychrony("doctor", POLYCHRONY_PROFILE="edgy")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "POLYCHRONY_PROFILE" in ran.stderr


def test_a_stride_does_not_depend_on_how_the_stream_was_cut():
    from pipeline import packets
    from pipeline.engine import Engine
    from pipeline.graph import Graph
    from pipeline.sensor import Sensor
    from pipeline.spec import validate

    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 30, 6000))
    columns = (t, *(rng.integers(0, 40, 6000).astype(np.uint16) for _ in "xy"), rng.random(6000) < 0.5)
    for at in ({"every": 1}, {"grid": 1}, {"random": 0.5}):
        stages = [{"id": "m", "kind": "motif", "model": "motif8", "at": at, "threshold": {"evidence": -1000.0}},
                  {"id": "e", "kind": "motion_energy", "input": "source", "at": at}]  # fmt: skip
        spec = validate({"stages": stages, "outputs": ["m", "e"]})
        digests, rows = set(), []
        for cuts in ([], [100, 2000, 2001], sorted(rng.integers(0, 6000, 30).tolist())):
            engine = Engine(Graph(spec, Sensor(width=40, height=40)))
            assert engine.graph.has_stride
            bounds = sorted({0, *cuts, 2500, 4500, 6000})
            for a, b in itertools.pairwise(bounds):
                if a in (2500, 4500):
                    engine.graph.set_stride({2500: 4, 4500: 1}[a])
                engine.feed(packets.cut(columns, a, b))
            engine.end()
            digests.add(tuple(engine.digests().values()))
            rows.append(engine.rows["m"])
        assert len(digests) == 1
        plain = Engine(Graph(spec, Sensor(width=40, height=40)))
        plain.feed(columns)
        plain.end()
        assert rows[0] < plain.rows["m"] * 0.85

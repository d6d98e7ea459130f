"""A frame that means more work than anybody waits for: it is broken off, whatever stage works on it."""

import time

import httpx
import numpy as np
import pytest

from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import SpecError, validate
from tests.contract.examples import EXAMPLES, SENSOR
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import until
from tests.reliability.tools import RawSocket, create, frame, stats

WORST = {
    **{kind: pipelines[0] for kind, pipelines in EXAMPLES.items()},
    "reservoir": [{"kind": "reservoir", "neurons": 4096, "step_us": 100, "window_steps": 1}],
    "complexity": [{"kind": "complexity", "tile": 1, "bin_us": 2, "window_bins": 2}],
    "spiking_classifier": [{"kind": "spiking_classifier", "model": "firing"}],
}
"""The dearest second of stream time that the limits allow each kind, or nearly."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = ServiceProcess(tmp_path_factory.mktemp("endless") / "data")
    yield service
    service.stop()


def silence():
    """A frame of a few bytes: 400 events, each almost a gap behind the one before."""
    t = np.arange(400, dtype=np.int64) * 9_990_000
    return frame(1, (t, np.arange(400) % SENSOR[0], np.arange(400) % SENSOR[1], np.arange(400) % 2 == 0))


def crowd():
    """As many events as a frame holds, in a tenth of a second."""
    n = 500_000
    rng = np.random.default_rng(0)
    t = np.arange(n, dtype=np.int64) // 5
    return frame(1, (t, rng.integers(0, SENSOR[0], n), rng.integers(0, SENSOR[1], n), rng.random(n) < 0.5))


def busy(service, kind, raw):
    stages = [{"id": f"s{i}", **stage} for i, stage in enumerate(WORST[kind])]
    id_ = create(service, {"stages": stages}, sensor=SENSOR)
    socket = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
    socket.until(1)
    socket.send(2, raw)
    assert until(lambda: stats(service, id_)["events"] > 0, 120)  # it has begun
    return id_, socket


@pytest.mark.threat(
    "a frame of a few bytes that means hours of work",
    "stages work in bounded parts, between which DELETE and a stop are heard",
)
@pytest.mark.parametrize("make", [silence, crowd])
@pytest.mark.parametrize("kind", WORST)
def test_a_stream_amid_an_endless_frame_is_deleted_at_once(service, kind, make):
    id_, socket = busy(service, kind, make())
    started = time.monotonic()
    assert httpx.delete(f"{service.url}/v1/streams/{id_}", timeout=60).status_code == 204
    assert time.monotonic() - started < 60, "2 s, on a machine that is not busy with something else"
    assert not (service.data / "streams" / id_).exists()
    assert until(lambda: not list((service.data / "streams").glob(f"*{id_}*")))
    socket.end()


@pytest.mark.long
def test_a_service_with_endless_frames_stops_and_what_was_deleted_stays_so(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    try:
        kept, one = busy(service, "reservoir", silence())
        gone, other = busy(service, "reservoir", silence())
        httpx.delete(f"{service.url}/v1/streams/{gone}", timeout=60)
        service.process.terminate()
        assert service.process.wait(60) == 0, "10 s, on a machine that is not busy with something else"
        service.start()
        assert [
            stream["id"] for stream in httpx.get(f"{service.url}/v1/streams", timeout=60).json()["streams"]
        ] == [kept]
        assert httpx.delete(f"{service.url}/v1/streams/{kept}", timeout=60).status_code == 204
        one.end()
        other.end()
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ({"kind": "reservoir", "step_us": 1}, "step_us"),
        ({"kind": "reservoir", "step_us": 99}, "step_us"),
        ({"kind": "complexity", "tile": 1, "bin_us": 1, "window_bins": 2}, "bin_us"),
    ],
)
def test_a_second_that_would_cost_too_many_steps_is_refused(stage, key):
    with pytest.raises(SpecError, match=rf"{key}.*allowed are"):
        Graph(validate({"stages": [{"id": "s", **stage}]}), Sensor(width=100, height=100))

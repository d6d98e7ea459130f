"""What lies on the disk is not what was written: cut back, set aside, rebuilt or refused, and never without a word."""

import re
import subprocess
import sys

import httpx
import pytest
from polychrony_client import Client

from service.streams.runner import Progress
from service.streams.stream import Stream
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import ROOT, until

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
    stream = Stream.__new__(Stream)

    class Between(Progress):
        """Moves on between two looks, as another thread does."""

        looks = 0

        def __getattribute__(self, name):
            if name in {"received", "durable"}:
                Between.looks += 1
                return Between.looks
            return super().__getattribute__(name)

    stream._runner = type("Runner", (), {"progress": Between()})()
    stream._shelf = type("Shelf", (), {"log": object()})()
    stream._settings = type("Settings", (), {"window_bytes": 1, "max_frame_bytes": 1})()
    stream.gate = type("Gate", (), {"limit": 10**9})()
    Between.received_bytes = 0
    ack = stream.ack()
    assert ack["durable"] <= ack["received"]

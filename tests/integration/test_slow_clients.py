"""Clients that are slow on purpose, and what nobody waits for."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pipeline.models import bundle, registry
from service.streams.rtsp_relay import Relay
from tests.integration.service_process import ServiceProcess

GIB = 2**30
FORM = '--b\nContent-Disposition: form-data; name="file"; filename="a.bin"\n\n'


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A service of little patience, whose disk has room for a gibibyte more."""
    data = tmp_path_factory.mktemp("patient") / "data"
    service = ServiceProcess(
        data, body_timeout_s=1, slowest_body_bytes_s=1000, slow_subscriber_s=1, max_upload_bytes=8 * GIB,
        min_free_bytes=shutil.disk_usage("/tmp").free - GIB, models=data / "models",
    )  # fmt: skip
    yield service
    service.stop()


def connected(service, head, **options):
    sock = socket.create_connection(("127.0.0.1", service.port), 20)
    for option, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    sock.sendall(head.replace("\n", "\r\n").encode())
    return sock


@pytest.mark.threat("a body that trickles for ever", "408 below `slowest_body_bytes_s`")
@pytest.mark.parametrize(
    ("kind", "start"), [("application/json", "{"), ("multipart/form-data; boundary=b", FORM)]
)
def test_a_body_that_trickles_is_given_up(patient, kind, start):
    head = f"POST /v1/jobs HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: 500000\n\n{start}"
    with connected(patient, head) as sock:
        sock.setblocking(False)
        began = time.monotonic()
        answer = b""
        while not answer and time.monotonic() - began < 120:
            with contextlib.suppress(BlockingIOError):
                sock.send(b"x")
            time.sleep(0.2)
            try:
                answer = sock.recv(4096)
            except BlockingIOError:
                answer = b""
    assert b" 408 " in answer.split(b"\r\n")[0]


@pytest.mark.threat("a client that does not read its answer", "cut after `slow_subscriber_s`")
def test_a_client_that_does_not_read_is_cut(patient):
    head = "GET /v1/openapi.json HTTP/1.1\nHost: localhost\n\n"
    with connected(patient, "", SO_RCVBUF=4096) as sock:
        began, cut = time.monotonic(), False
        while not cut and time.monotonic() - began < 120:
            try:
                sock.sendall(head.replace("\n", "\r\n").encode())
            except (ConnectionError, TimeoutError):
                cut = True
            time.sleep(0.05)
        assert cut


@pytest.mark.threat(
    "uploads that fill the disk", "507 before the first byte; room is reserved, and looked at meanwhile"
)
@pytest.mark.parametrize("path", ["jobs", "models"])
def test_a_multipart_body_for_which_the_disk_has_no_room_is_refused_before_it_comes(patient, path):
    head = (
        f"POST /v1/{path} HTTP/1.1\nHost: localhost\nContent-Type: multipart/form-data; boundary=b\n"
        f"Content-Length: {4 * GIB}\n\n"
    )
    with connected(patient, head) as sock:
        assert b" 507 " in sock.recv(4096)


ANSWERS = [
    b"RTSP/1.0 302 Moved\r\nLocation: rtsp://10.0.0.1/\r\n\r\n",
    b"RTSP/1.0 \t +0302 Moved\r\n\r\n",
    b"rtsp/1.0\r 301\n\n",
    b"RTSP/1.0 200 OK\nCSeq: 1\nlocation : rtsp://10.0.0.1/\n\n",
    b"x" * 200_000 + b"RTSP/1.0 302 Moved\r\n\r\n",
]


@pytest.mark.threat(
    "a camera that redirects elsewhere", "FFmpeg speaks through a relay that ends a connection at a redirect"
)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("piece", [1_000_000, 7])
def test_the_relay_passes_no_redirect_however_it_is_written(answer, piece):
    with socket.create_server(("127.0.0.1", 0)) as camera:
        relay = Relay(*camera.getsockname())
        with socket.create_connection(("127.0.0.1", relay.port), 5) as player:
            near, _ = camera.accept()
            with near:
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                body = answer if piece > 7 else answer[-100:]
                for start in range(0, len(body), piece):
                    try:
                        near.sendall(body[start : start + piece])
                    except ConnectionError:
                        break
                    time.sleep(0.002)
                got = b""
                while data := player.recv(65_536):
                    got += data
    assert relay.redirects == 1
    assert b"302" not in got.replace(b"\r", b"") or b"Moved" not in got


def test_the_relay_passes_what_is_no_redirect():
    said = b"RTSP/1.0 200 OK\r\nContent-Base: rtsp://10.0.0.1/\r\n\r\n$\x00\x00\x04abcd"
    with socket.create_server(("127.0.0.1", 0)) as camera:
        relay = Relay(*camera.getsockname())
        with socket.create_connection(("127.0.0.1", relay.port), 5) as player:
            near, _ = camera.accept()
            with near:
                near.sendall(said)
                assert player.recv(65_536) == said
    assert relay.redirects == 0


def test_one_broken_model_or_pipeline_hides_no_other(tmp_path, monkeypatch):
    models, pipelines = tmp_path / "models", tmp_path / "pipelines"
    (models / "broken").mkdir(parents=True)
    (models / "broken" / bundle.CARD).write_text("{")
    (pipelines / "odd").mkdir(parents=True)
    (pipelines / "odd" / "active").write_text("x")
    monkeypatch.setenv("POLYCHRONY_MODELS", str(models))
    monkeypatch.setenv("POLYCHRONY_PIPELINES", str(pipelines))
    service = ServiceProcess(tmp_path / "data")
    try:
        found = httpx.get(f"{service.url}/v1/models").json()["models"]
        assert [one["name"] for one in found if "error" in one] == ["broken"]
        assert len(found) > 3
        answer = httpx.get(f"{service.url}/v1/pipelines").json()
        assert [one["name"] for one in answer["own"]] == ["odd"]
        assert answer["own"][0]["error"]
    finally:
        service.stop()


IMPORTING = """
import sys
from pathlib import Path
from pipeline.models import registry
while True:
    registry.install(Path(sys.argv[1]))
"""


@pytest.mark.long
def test_a_model_that_is_replaced_by_many_and_through_kills_is_always_there(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYCHRONY_MODELS", str(tmp_path / "own"))
    source = tmp_path / "bundle"
    shutil.copytree(registry.ZOO / "motif8", source)
    card = (source / bundle.CARD).read_text().replace('"motif8"', '"mine"', 1)
    (source / bundle.CARD).write_text(card)
    registry.install(source)
    root = Path(__file__).parents[2]
    for round_ in range(4):
        writers = [subprocess.Popen([sys.executable, "-c", IMPORTING, str(source)], cwd=root, env=os.environ)
                   for _ in range(2)]  # fmt: skip
        began = time.monotonic()
        while time.monotonic() - began < 2.5 + 0.13 * round_:
            time.sleep(0.05)
        assert all(writer.poll() is None for writer in writers)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        assert "mine" in registry.names()
        assert registry.load("mine").card.name == "mine"
    assert not list((tmp_path / "own").glob(".*.old"))

"""What an attack by somebody who had not seen the code found, a test for each kind of fault."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipeline import wire
from service.access.redaction import masked
from service.access.tokens import TokenError, Tokens
from service.monitoring.logs import masked_within
from service.storage.files import secret_files
from service.storage.files.secret_files import SecretFiles
from service.storage.records import BadSecret
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import until
from tests.reliability.tools import RawSocket, create, descriptors, frame, memory, random_events

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def word(peer):
    """The next message in words, as an object; empty at the end."""
    while True:
        opcode, payload = peer.receive()
        if opcode in {None, 8}:
            return {}
        if opcode == 1:
            return json.loads(payload)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = ServiceProcess(tmp_path_factory.mktemp("thrice") / "data", slow_subscriber_s=3, ping_s=1)
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text(), service.log.read_text()[-4000:]


def said(service, head, body=b"", first="GET /v1/streams HTTP/1.1"):
    """What the service answers until it closes; the descriptors it has then are checked by another test."""
    with socket.create_connection(("127.0.0.1", service.port)) as one:
        one.settimeout(30)
        one.sendall(f"{first}\r\nHost: 127.0.0.1:{service.port}\r\n{head}{UPGRADE}\r\n".encode() + body)
        answer = b""
        while part := one.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize(
    ("status", "head", "body", "first"),
    [
        (431, f"X: {'y' * 8300}\r\n", b"", "GET /x HTTP/1.1"),
        (431, "", b"", f"GET /x?{'y' * 8300} HTTP/1.1"),
        (431, "X: y\r\n" * 129, b"", "GET /x HTTP/1.1"),
        (400, "Content-Length: 2\r\n", b"{}", "GET /x HTTP/1.1"),
        (400, "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", "GET /x HTTP/1.1"),
        (400, "", b"", "POST /v1/streams HTTP/1.1"),
        (400, "", b"", "GET /x HTTP/1.0"),
    ],
)
def test_an_upgrade_that_cannot_be_read_is_answered_and_closed(service, status, head, body, first):
    assert said(service, head, body, first).startswith(f"HTTP/1.1 {status} ".encode())


def test_an_upgrade_where_no_socket_is_gets_a_document(service):
    answer = said(service, "")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"application/problem+json" in answer


@pytest.mark.threat(
    "upgrades that a WebSocket library does not read",
    "answered with 400 or 431 and closed; nothing is left of them",
)
def test_upgrades_that_cannot_be_read_leave_no_connection_behind(service):
    before = descriptors(service.process)
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", service.port)) as one:
            one.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {'y' * 20000}\r\n{UPGRADE}\r\n".encode())
    assert until(lambda: descriptors(service.process) <= before + 5)
    assert httpx.get(f"{service.url}/healthz", timeout=60).status_code == 200


@pytest.mark.threat("pings of a peer that does not read", "not answered until it reads")
def test_pongs_do_not_pile_up_for_a_peer_that_does_not_read(service):
    with RawSocket(service.port, f"/v1/streams/{create(service)}/results") as peer:
        before, pings = memory(service.process), (b"\x89\xfd" + bytes(4) + b"x" * 125) * 2000
        peer.socket.settimeout(10)
        with suppress(OSError):  # where it is cut, that is fine, too
            for _ in range(400):  # 100 MiB
                peer.socket.sendall(pings)
        assert memory(service.process) - before < 40 * 2**20


def test_a_length_of_thousands_of_digits_is_no_fault(service):
    with socket.create_connection(("127.0.0.1", service.port)) as one:
        one.settimeout(30)
        head = f"Host: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
        one.sendall(f"POST /v1/session HTTP/1.1\r\n{head}Content-Length: {'0' * 5000}2\r\n\r\n{{}}".encode())
        assert one.recv(100).split()[1] in {b"400", b"422"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/streams", {"pipeline": "\ud800", "sensor": {"width": 4, "height": 4}}),
        (
            "PUT",
            "/v1/pipelines/zz",
            {"pipeline": {"stages": [{"id": "a", "kind": "motif", "model": "\ud800"}]}},
        ),
    ],
)
def test_half_of_a_character_is_refused(service, method, path, body):
    answer = httpx.request(
        method, f"{service.url}{path}", content=json.dumps(body), headers={"content-type": "application/json"},
        timeout=60,
    )  # fmt: skip
    assert answer.status_code == 422
    listed = httpx.get(f"{service.url}/v1/pipelines", timeout=60)
    assert listed.status_code == 200
    assert "zz" not in {one["name"] for one in listed.json()["own"]}


@pytest.mark.threat(
    "a folder of the service removed under it",
    "what can no longer be kept is not acknowledged; the stream fails and says why",
)
def test_frames_of_a_stream_whose_folder_was_removed_are_not_acknowledged(service):
    id_ = create(service)
    with RawSocket(service.port, f"/v1/streams/{id_}/ingest") as sender:
        assert word(sender)["type"] == "ready"
        sender.send(2, frame(1, random_events(10, 0)))
        assert until(lambda: word(sender).get("durable") == 1)
        shutil.rmtree(service.data / "streams" / id_)
        sender.send(2, frame(2, random_events(10, 1, start_us=1_000_000)))
        told = list(iter(lambda: word(sender), {}))
    assert all(one.get("durable", 0) < 2 for one in told)
    assert "log was removed" in service.log.read_text()


def test_a_pipeline_whose_active_version_was_lost_is_the_newest(service):
    with httpx.Client(base_url=service.url, timeout=60) as http:
        body = {"pipeline": {"stages": [{"id": "a", "kind": "refractory"}]}}
        assert http.put("/v1/pipelines/mine", json=body).status_code in {200, 201}
        folder = Path(os.environ.get("POLYCHRONY_PIPELINES", service.data / "pipelines")) / "mine"
        (folder / "active").write_text("")
        assert http.get("/v1/pipelines/mine").status_code == 200
        assert http.post("/v1/pipelines/mine/activate", json={"version": 1}).status_code == 200
        (folder / "1.yaml").write_bytes(b"\xff\xfe")
        assert http.get("/v1/pipelines/mine").status_code == 422
        assert http.put("/v1/pipelines/mine", json=body).status_code in {200, 201}
        assert http.delete("/v1/pipelines/mine").status_code == 204


# -- what lies in the data folder ------------------------------------------------------------------


def durable_stream(service, frames=3):
    """A stream with so many acknowledged frames; its name."""
    id_ = create(service)
    with RawSocket(service.port, f"/v1/streams/{id_}/ingest") as sender:
        word(sender)
        for n in range(1, frames + 1):
            sender.send(2, frame(n, random_events(20, n, start_us=n * 100_000)))
        assert until(lambda: word(sender).get("durable") == frames)
    return id_


@pytest.mark.long
@pytest.mark.threat(
    "damaged or foreign files in the data folder",
    "set aside or left, named in the log; the service starts, and what is whole goes on",
)
def test_what_is_wrong_with_one_file_is_in_the_way_of_nothing_else(tmp_path):
    """One start of a service finds every one of these; each is named, none is removed, and it works."""
    service = ServiceProcess(tmp_path / "data")
    good, whole, no_log, key, shape = (durable_stream(service) for _ in range(5))
    job = httpx.post(
        f"{service.url}/v1/jobs", files={"file": ("a.csv", b"t,x,y,p\n1,1,1,1\n2,2,2,0\n")},
        data={"pipeline": "denoise", "sensor": "8x8"}, headers={"Idempotency-Key": "once"}, timeout=60,
    ).json()["id"]  # fmt: skip
    assert until(lambda: httpx.get(f"{service.url}/v1/jobs/{job}").json()["state"] == "done")
    assert service.stop() == 0
    data = service.data
    streams = data / "streams"
    for id_ in (whole, no_log):
        (snapshot,) = (streams / id_).glob("snapshot-*.zip")
        snapshot.write_bytes(bytes(snapshot.stat().st_size))
    (streams / no_log / "frames-00000000000000000001.log").unlink()
    (streams / key / "key").write_bytes(b"\xff\xfe")
    (streams / shape / "request.json").write_text("[]")
    (data / "uploads" / "lost+found").mkdir()
    (data / "uploads" / f"{'a' * 32}.bin").write_bytes(b"x" * 20_000)
    (data / "uploads" / f"{'a' * 32}.json").write_bytes(bytes(40))
    (data / "jobs" / "lost+found" / "x").mkdir(parents=True)
    (data / "jobs" / job / "answers" / "folder").mkdir()
    torn = data / "jobs" / ("b" * 16)
    (torn / "answers").mkdir(parents=True)
    (torn / "request.json").write_bytes(b"{")
    (torn / "answers" / "summary.json").write_text("{}")
    (data / "jobs.sqlite").unlink()
    service.start()
    found = {one["id"] for one in httpx.get(f"{service.url}/v1/streams", timeout=60).json()["streams"]}
    assert {good, whole, key} <= found
    assert {no_log, shape}.isdisjoint(found)
    with RawSocket(service.port, f"/v1/streams/{whole}/ingest") as sender:
        assert word(sender)["resume_from"] == 4
    assert (data / "uploads" / f"{'a' * 32}.bin.damaged").stat().st_size == 20_000
    assert (data / "jobs" / "lost+found" / "x").is_dir()
    assert (data / "jobs" / f"damaged-{'b' * 16}" / "answers" / "summary.json").is_file()
    again = httpx.post(
        f"{service.url}/v1/jobs", files={"file": ("a.csv", b"t,x,y,p\n1,1,1,1\n2,2,2,0\n")},
        data={"pipeline": "denoise", "sensor": "8x8"}, headers={"Idempotency-Key": "once"}, timeout=60,
    )  # fmt: skip
    assert again.json()["id"] == job
    log = service.log.read_text()
    for name in (no_log, shape, key, "a" * 32, "b" * 16, "lost+found"):
        assert name in log, name
    assert service.stop() == 0


@pytest.mark.long
@pytest.mark.threat("files that are waited for without end (FIFOs)", "what is no regular file is not read")
def test_a_fifo_in_the_data_folder_holds_nothing_up(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    id_ = durable_stream(service)
    assert service.stop() == 0
    request = service.data / "streams" / id_ / "request.json"
    request.unlink()
    os.mkfifo(request)
    service.start()
    assert httpx.get(f"{service.url}/v1/streams/{id_}", timeout=60).status_code == 404
    os.mkfifo(service.data / "tokens.json")
    assert httpx.get(f"{service.url}/v1/streams", timeout=60).status_code == 503
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("name", ["token", "snapshot.key"])
def test_a_fifo_in_place_of_a_secret_is_named(tmp_path, name):
    os.mkfifo(tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--host", "0.0.0.0", "--data", str(tmp_path)],
        capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert "no regular file" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_that_is_none_is_said_and_floods_no_log(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    shutil.rmtree(service.data / "jobs")
    (service.data / "jobs").write_text("")
    ready = f"{service.url}/readyz"
    assert until(lambda: "jobs" in httpx.get(ready).text and httpx.get(ready).status_code == 503)
    for _ in range(60):
        httpx.post(f"{service.url}/v1/jobs", files={"file": ("a.csv", b"t,x,y,p\n")}, timeout=60)
    assert service.log.read_text().count("the system refused") <= 6
    (service.data / "jobs").unlink()
    assert until(lambda: httpx.get(ready).status_code == 200)
    assert service.stop() == 0


def test_tokens_that_were_lost_let_nobody_in(tmp_path):
    tokens = Tokens(SecretFiles(tmp_path))
    assert not tokens.demanded
    (tmp_path / "tokens.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TokenError, match="not there"):
        _ = tokens.demanded
    (tmp_path / "tokens.json").unlink()
    (tmp_path / "tokens.lock").touch()
    assert Tokens(SecretFiles(tmp_path)).demanded


def test_a_secret_of_zeros_is_none(tmp_path):
    (tmp_path / "snapshot.key").write_bytes(bytes(32))
    with pytest.raises(BadSecret, match="over and over"):
        secret_files.read(tmp_path / "snapshot.key", 32)


@pytest.mark.parametrize(
    "address",
    ["https://lab.example/in#s3cret", "rtsp:me:s3cret@10.0.0.9/live", "http://c:4318/?a=1#tok=s3cret"],
)
def test_addresses_hide_what_lets_in_wherever_it_stands(address):
    assert "s3cret" not in masked(address)


def test_lines_of_libraries_hide_it_too():
    line = "Transient error HTTPConnectionPool(host='c', port=9): with url: /in?key=s3cret (Caused by x)"
    assert "s3cret" not in masked_within(line)
    assert "http://***" not in masked_within("see https://docs.example/page for more")
    assert masked_within("see https://docs.example/page for more").endswith("page for more")


@pytest.mark.threat("very many tiny frames", "65,536 wait at once; the rest waits in the sender")
def test_many_tiny_frames_wait_in_the_sender(service):
    """The window counts bytes; a frame of 32 costs twenty times that while it waits."""
    stages = [{"id": "r", "kind": "reservoir", "neurons": 64, "step_us": 100, "window_steps": 1}]
    body = {"pipeline": {"stages": stages}, "sensor": {"width": 64, "height": 48}, "policy": "lossless"}
    id_ = httpx.post(f"{service.url}/v1/streams", json=body, timeout=60).json()["id"]
    with RawSocket(service.port, f"/v1/streams/{id_}/ingest") as sender:
        word(sender)
        one = np.ones(400, np.uint16)
        sender.send(2, frame(1, (np.arange(400) * 9_990_000, one, one, one > 0)))
        beats = b"".join(
            b"\x82\xa0" + bytes(4) + wire.build(wire.HEARTBEAT, 0, n, 5_000_000_000, 0)
            for n in range(2, 150_000)
        )
        sender.socket.settimeout(5)
        with suppress(OSError):  # it is not taken: what is held up is the sender
            sender.socket.sendall(beats)
        stats = httpx.get(f"{service.url}/v1/streams/{id_}/stats", timeout=60).json()
        assert stats["waiting_frames"] <= 65_537
    assert httpx.delete(f"{service.url}/v1/streams/{id_}", timeout=60).status_code == 204

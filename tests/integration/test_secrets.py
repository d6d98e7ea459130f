"""Secrets that are missing, empty or broken, and what becomes of those whom they let in: the door stays shut."""

import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import HTTPServer
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service.access.redaction import masked
from service.access.tokens import Scope, TokenError, Tokens, admin_token
from service.storage.files.secret_files import SecretFiles
from service.storage.files.snapshots import key_of
from service.storage.records import BadSecret
from tests.integration.service_process import ServiceProcess
from tests.integration.test_access import STREAM, ask
from tests.integration.test_service import Collector

ROOT = Path(__file__).parents[2]
ADMIN = "correct-horse-battery"


def serve(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", *arguments],
        capture_output=True, text=True, timeout=600, cwd=ROOT, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **environment},
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.threat(
    "a secret that a full disk or a power cut left empty or cut short",
    "the service does not start: secrets are written whole or not at all, and their length is checked",
)
@pytest.mark.parametrize("left", [b"", b"\n", b" \n \n", b"short", b"\0" * 64, b"\xff" * 64])
def test_an_empty_or_broken_token_opens_nothing(tmp_path, left):
    (tmp_path / "token").write_bytes(left)
    ended = serve("--host", "0.0.0.0", "--data", str(tmp_path))
    assert ended.returncode == 1
    assert f"{tmp_path / 'token'}: holds" in ended.stderr
    assert "remove it" in ended.stderr
    assert "listening" not in ended.stderr


@pytest.mark.parametrize("left", [b"", b"k" * 31])
def test_an_empty_key_signs_nothing(tmp_path, left):
    (tmp_path / "snapshot.key").write_bytes(left)
    with pytest.raises(BadSecret, match="at least 32"):
        key_of(SecretFiles(tmp_path))
    ended = serve("--data", str(tmp_path))
    assert ended.returncode == 1
    assert "snapshot.key: holds" in ended.stderr


def test_a_secret_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for make in (admin_token, key_of):
        with pytest.raises(OSError, match="No space left"):
            make(SecretFiles(tmp_path))
    assert list(tmp_path.iterdir()) == [], "a file that is left would be taken for a secret"
    monkeypatch.undo()
    assert len(admin_token(SecretFiles(tmp_path))) >= 16
    assert len(key_of(SecretFiles(tmp_path))) == 32
    assert key_of(SecretFiles(tmp_path)) == key_of(SecretFiles(tmp_path))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("short", ["", " " * 20, "fifteen letters"])
def test_no_way_leads_to_a_service_with_a_short_token(tmp_path, short):
    with pytest.raises(TokenError, match="at least 16"):
        Tokens(SecretFiles(tmp_path), short)
    assert Tokens(SecretFiles(tmp_path), open_to_all=False).demanded


BROKEN = [
    b"",
    b"{",
    b"{}",
    b"null",
    b'"x"',
    b"[1]",
    b'[{"id": 1}]',
    b'[{"id":"a","name":"a","scope":"root","sha256":"' + b"0" * 64 + b'","created_s":0}]',
    b'[{"id":"a","name":"a","scope":"admin","sha256":"","created_s":0}]',
]


@pytest.mark.threat(
    "a broken file of tokens", "nobody gets in by it, /readyz names it, and /healthz still answers"
)
@pytest.mark.parametrize("left", BROKEN)
def test_a_broken_file_of_tokens_lets_nobody_in(tmp_path, left):
    (tmp_path / "tokens.json").write_bytes(left)
    tokens = Tokens(SecretFiles(tmp_path))
    with pytest.raises(TokenError):
        tokens.find("x")
    with pytest.raises(TokenError):
        _ = tokens.demanded


def test_a_service_says_that_its_tokens_are_broken(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    try:
        (tmp_path / "data" / "tokens.json").write_bytes(b"{")
        assert until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503)
        assert until(lambda: "tokens" in httpx.get(f"{service.url}/readyz").json()["detail"])
        assert httpx.get(f"{service.url}/healthz").status_code == 200
        assert ask(service, "GET", "/v1/streams").status_code == 503
        assert service.log.read_text().count("not a file of tokens") == 1
        (tmp_path / "data" / "tokens.json").write_bytes(b"[]")
        assert until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
        assert ask(service, "GET", "/v1/streams").status_code == 401
    finally:
        service.stop()


@pytest.mark.long
@pytest.mark.threat(
    "revoking the last token, or losing the file of tokens, opens a service",
    "once a token was made, one is needed",
)
def test_revoking_the_last_token_opens_nothing(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    try:
        assert ask(service, "GET", "/v1/streams").status_code == 200, "loopback is open until a token is made"
        tokens = Tokens(SecretFiles(service.data))
        secret, token = tokens.create("only", Scope.STREAM)
        assert ask(service, "GET", "/v1/streams").status_code == 401
        assert ask(service, "GET", "/v1/streams", secret).status_code == 200
        tokens.revoke(token.id)
        for _ in range(2):
            assert ask(service, "GET", "/v1/streams").status_code == 401
            service.stop()
            service.start()
        service.stop()
        (service.data / "tokens.json").unlink()
        service.start()
        assert ask(service, "GET", "/v1/streams").status_code == 401, "a file that is lost opens nothing"
        service.stop()
        (service.data / "tokens.lock").unlink()
        service.start()
        assert ask(service, "GET", "/v1/streams").status_code == 200, "as at the first start"
        tokens.create("again", Scope.STREAM)
        assert ask(service, "GET", "/v1/streams").status_code == 401
        (service.data / "tokens.json").unlink()
        assert ask(service, "GET", "/v1/streams").status_code == 401, "it did not go by itself"
    finally:
        service.stop()


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def sockets_of(stack, service, stream, **headers):
    """Ingest, results and pictures, opened until the end of ``stack``."""
    opened = []
    for id_, path in ((stream[0], "ingest"), (stream[0], "results"), (stream[1], "pictures")):
        address = f"{service.url.replace('http', 'ws', 1)}/v1/streams/{id_}/{path}"
        socket = connect(address, subprotocols=["polychrony.v1"], additional_headers=headers, open_timeout=60)
        opened.append(stack.enter_context(socket))
    return opened


def closing(socket):
    """(what an error message says, the code) of a socket that is closed from the other side."""
    said = None
    try:
        while True:
            message = socket.recv(timeout=60)
            if isinstance(message, str) and json.loads(message)["type"] == "error":
                said = json.loads(message)["code"]
    except ConnectionClosed as closed:
        return said, closed.rcvd.code


@pytest.fixture
def guarded(tmp_path):
    service = ServiceProcess(tmp_path / "data", token=ADMIN)
    yield service
    service.stop()


def two_streams(service):
    pictures = {**STREAM, "policy": "realtime", "source": {"address": "pictures:"}}
    return [ask(service, "POST", "/v1/streams", ADMIN, json=one).json()["id"] for one in (STREAM, pictures)]


@pytest.mark.threat(
    "sockets that were opened with a token that was revoked since, or by a browser that signed out",
    "closed within a second, with 1008",
)
def test_sockets_end_with_the_token_that_opened_them(guarded):
    tokens = Tokens(SecretFiles(guarded.data))
    streams = two_streams(guarded)
    secret, token = tokens.create("camera", Scope.STREAM)
    with ExitStack() as stack:
        other = sockets_of(stack, guarded, streams, Authorization=f"Bearer {ADMIN}")[1]
        mine = sockets_of(stack, guarded, streams, Authorization=f"Bearer {secret}")
        tokens.revoke(token.id)
        assert [closing(socket) for socket in mine] == [("access_ended", 1008)] * 3
        assert other.ping().wait(60), "those of another token stay"


def test_sockets_end_when_their_browser_signs_out(guarded):
    streams = two_streams(guarded)
    with ExitStack() as stack, httpx.Client(base_url=guarded.url, headers={"Origin": guarded.url}) as browser:
        assert browser.post("/v1/session", json={"token": ADMIN}).is_success
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        mine = sockets_of(stack, guarded, streams, Cookie=cookie)
        assert browser.delete("/v1/session").status_code == 204
        assert [closing(socket) for socket in mine] == [("access_ended", 1008)] * 3


def test_events_of_a_job_end_with_the_token_that_asked(guarded, tmp_path):
    tokens = Tokens(SecretFiles(guarded.data))
    secret, token = tokens.create("watcher", Scope.STREAM)
    clip = tmp_path / "clip.csv"
    clip.write_text("t,x,y,p\n" + "".join(f"{i * 10},{i % 8},{i % 6},1\n" for i in range(400_000)))
    made = httpx.post(
        f"{guarded.url}/v1/jobs", files={"file": ("clip.csv", clip.read_bytes())}, data={"pipeline": "motion", "sensor": "64x48"},
        headers={"Authorization": f"Bearer {secret}"}, timeout=120,
    )  # fmt: skip
    assert made.status_code == 202, made.text
    events = f"{guarded.url}/v1/jobs/{made.json()['id']}/events"
    with httpx.stream("GET", events, headers={"Authorization": f"Bearer {secret}"}, timeout=120) as answer:
        lines = answer.iter_lines()
        next(lines)
        tokens.revoke(token.id)
        last = [line for line in lines if line.startswith("data:")]
    state = ask(guarded, "GET", f"/v1/jobs/{made.json()['id']}", ADMIN, timeout=120).json()["state"]
    assert state in {"queued", "running"}, f"too quick to tell: {last}"


@pytest.mark.threat(
    "passwords and keys in addresses that are shown, logged or traced",
    "`polychrony config`, stats and spans hide users, passwords and queries",
)
def test_addresses_are_shown_without_what_lets_in(tmp_path):
    (tmp_path / "polychrony.toml").write_text(
        'autostart = [{name = "door", pipeline = "motion", source = {address = "rtsp://me:hun@ter2@10.0.0.9/live?key=s3cret"}}]\n'
        'publish = [{name = "hook", to = "https://lab.example/in?token=s3cret"}]\n'
        'otlp_endpoint = "http://u:hunter2@collector:4318"\n'
    )
    for more in ([], ["--json"]):
        shown = subprocess.run(
            [sys.executable, "-m", "service", "config", *more], cwd=tmp_path, capture_output=True, text=True,
            timeout=600, check=True, env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "PYTHONPATH": str(ROOT)},
        ).stdout  # fmt: skip
        assert "10.0.0.9/live" in shown
        assert "lab.example/in" in shown
        assert not [secret for secret in ("ter2", "s3cret", "hun") if secret in shown]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:pass@cam/live", "rtsp://cam/live"),
        ("rtsp://me:p@ss/w:ord@cam/live?a=b#c", "rtsp://cam/live?***"),
        ("https://host/in?token=x", "https://host/in?***"),
        ("udp://0.0.0.0:3333", "udp://0.0.0.0:3333"),
        ("sample:", "sample:"),
    ],
)
def test_an_address_is_masked(address, shown):
    assert masked(address) == shown


def test_traces_carry_no_query(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    seen = []
    collector = HTTPServer(("127.0.0.1", 0), type("Own", (Collector,), {"seen": seen}))
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    service = ServiceProcess(tmp_path / "data", otlp_endpoint=f"http://127.0.0.1:{collector.server_port}")
    try:
        httpx.get(f"{service.url}/v1/streams?after=s3cret-in-a-query")
        assert until(lambda: any(b"/v1/streams" in body for _, body in seen))
    finally:
        service.stop()
        collector.shutdown()
        collector.server_close()
    assert not any(b"s3cret" in body for _, body in seen)

"""Who may do what: tokens and scopes, signing in, other origins, and how often."""

import json
import re
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from polychrony_client import Client, Refused

from service.access.tokens import Scope, Tokens
from service.cli import main
from service.storage.files.secret_files import SecretFiles
from tests.integration.service_process import ServiceProcess

ADMIN = "correct-horse-battery"


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A service that demands tokens, of which there is one of each scope."""
    data = tmp_path_factory.mktemp("closed") / "data"
    service = ServiceProcess(
        data, token=ADMIN, failures_per_minute=1000, allowed_origins='["https://lab.example"]'
    )
    tokens = Tokens(SecretFiles(data))
    service.tokens = {scope.name.lower(): tokens.create(f"a {scope.name}", scope)[0] for scope in Scope}
    yield service
    service.stop()


def ask(service, method, path, token=None, **options):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.request(
        method, service.url + path, headers={**headers, **options.pop("headers", {})}, **options
    )


STREAM = {"pipeline": "denoise", "sensor": {"width": 8, "height": 8}}
MATRIX = [
    ("GET", "/v1/streams", None, "read"),
    ("GET", "/v1/jobs", None, "read"),
    ("GET", "/v1/models", None, "read"),
    ("GET", "/metrics", None, "read"),
    ("GET", "/v1/openapi.json", None, "read"),
    ("POST", "/v1/pipelines/validate", {"pipeline": {}}, "read"),
    ("POST", "/v1/streams", STREAM, "stream"),
    ("DELETE", "/v1/streams/0123456789abcdef", None, "stream"),
    ("GET", "/v1/streams/0123456789abcdef/snapshot", None, "stream"),
    ("POST", "/v1/uploads", None, "stream"),
    ("POST", "/v1/jobs", None, "stream"),
    ("DELETE", "/v1/jobs/0123456789abcdef", None, "stream"),
    ("PUT", "/v1/pipelines/mine", {"pipeline": {}}, "admin"),
    ("POST", "/v1/models", None, "admin"),
    ("DELETE", "/v1/models/mine", None, "admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "needed"), MATRIX)
@pytest.mark.threat(
    "somebody without a token, or with insufficient scope",
    "401 or 403 for every route; scopes read, stream, admin",
)
def test_each_request_takes_its_scope(closed, method, path, body, needed):
    assert ask(closed, method, path, json=body).status_code == 401
    assert ask(closed, method, path, "wrong" * 9, json=body).status_code == 401
    for scope in Scope:
        status = ask(closed, method, path, closed.tokens[scope.name.lower()], json=body).status_code
        assert (status == 403) == (scope < Scope[needed.upper()]), (scope, status)
        assert status != 401
    assert ask(closed, method, path, ADMIN, json=body).status_code not in {401, 403}


@pytest.mark.threat(
    "a WebSocket without a token, or with insufficient scope", "401 or 403 before the upgrade"
)
def test_sockets_take_theirs(closed):
    with (
        Client(closed.url, closed.tokens["stream"]) as sender,
        Client(closed.url, closed.tokens["read"]) as reader,
    ):
        stream = sender.stream("denoise", sensor=(8, 8))
        with pytest.raises(Refused, match="403"):
            reader.attach(stream.id)
        stream.send([1], [1], [1], [1])
        stream.end()
        assert list(reader.results(stream.id, start=True))
        with Client(closed.url) as stranger, pytest.raises(Refused, match="401"):
            stranger.connect(f"/v1/streams/{stream.id}/results")


@pytest.mark.threat("finding out which streams there are", "401 comes before 404, with the same words")
def test_unknown_and_forbidden_look_alike_to_a_stranger(closed):
    with Client(closed.url, closed.tokens["stream"]) as sender:
        stream = sender.stream("denoise", sensor=(8, 8))
    there, not_there = (ask(closed, "GET", f"/v1/streams/{id_}") for id_ in (stream.id, "0" * 16))
    assert there.json() == not_there.json()


@pytest.mark.threat(
    "tokens that leak through addresses and logs",
    "tokens are read from headers alone; logs carry no query and no token",
)
def test_a_token_in_the_address_counts_for_nothing_and_is_logged_nowhere(closed):
    secret = closed.tokens["admin"]
    assert httpx.get(f"{closed.url}/v1/streams?token={secret}").status_code == 401
    assert httpx.get(
        f"{closed.url}/v1/streams?after={secret}", headers={"Authorization": f"Bearer {secret}"}
    ).is_success
    log = closed.log.read_text()
    for token in (*closed.tokens.values(), ADMIN):
        assert token not in log
    assert '"event": "request"' in log


@pytest.mark.threat(
    "a stolen data folder",
    "tokens that were made are stored as hashes alone; the first admin token, in `token`, is plain text; all mode 0600",
)
def test_tokens_are_kept_as_hashes_by_their_owner_alone(closed):
    path = closed.data / "tokens.json"
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in closed.tokens.values():
        assert secret not in path.read_text()


@pytest.mark.threat("a token that got out", "revoked or expired tokens are worthless at once")
def test_a_token_that_is_revoked_or_over_is_worthless_at_once(closed, capsys):
    def polychrony(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data", str(closed.data)])
        return ended.value.code, capsys.readouterr().out

    code, out = polychrony("token", "create", "camera", "--scope", "read", "--json")
    made = json.loads(out)
    assert code == 0
    assert ask(closed, "GET", "/v1/streams", made["token"]).is_success
    assert made["id"] in polychrony("token", "list")[1]
    assert made["token"] not in polychrony("token", "list", "--json")[1]
    assert polychrony("token", "revoke", made["id"])[0] == 0
    assert ask(closed, "GET", "/v1/streams", made["token"]).status_code == 401
    assert polychrony("token", "revoke", made["id"])[0] == 1
    assert polychrony("token", "create", "x", "--scope", "all")[0] == 2
    expired, _ = Tokens(SecretFiles(closed.data)).create("old", Scope.READ, days=1e-9)
    assert ask(closed, "GET", "/v1/streams", expired).status_code == 401


@pytest.mark.threat(
    "cookies stolen by scripts, requests forged by other sites",
    "HttpOnly, SameSite=Strict, Origin checked; the cookie is not the token",
)
def test_a_browser_signs_in_and_out(closed):
    own = {"Origin": closed.url}
    with httpx.Client(base_url=closed.url, headers=own) as browser:
        assert browser.get("/v1/session").json() == {"token_needed": True, "name": None, "scope": None}
        assert browser.post("/v1/session", json={"token": "wrong"}).status_code == 401
        answer = browser.post("/v1/session", json={"token": closed.tokens["read"]})
        cookie = answer.headers["set-cookie"]
        assert answer.json()["scope"] == "read"
        assert re.search("HttpOnly", cookie)
        assert re.search("SameSite=strict", cookie, re.IGNORECASE)
        assert closed.tokens["read"] not in cookie
        assert browser.get("/v1/streams").is_success
        assert browser.post("/v1/streams", json=STREAM).status_code == 403
        foreign = browser.post("/v1/streams", json=STREAM, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
        kept = dict(browser.cookies)
        assert browser.delete("/v1/session").status_code == 204
        browser.cookies.update(kept)
        assert browser.get("/v1/streams").status_code == 401


@pytest.mark.threat("pages of other origins", "refused unless `allowed_origins` lists them")
def test_another_origin_is_let_in_only_where_that_was_said(closed):
    lab = {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{closed.url}/v1/streams", headers=lab)
    assert answer.status_code == 204
    answer = ask(closed, "POST", "/v1/streams", closed.tokens["stream"], json=STREAM, headers=lab)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    evil = httpx.options(f"{closed.url}/v1/streams", headers={**lab, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in evil.headers


@pytest.mark.threat("pages of other origins that read answers", "no CORS header unless it was asked for")
def test_cors_is_off_by_default(service):
    answer = httpx.get(f"{service.url}/v1/streams", headers={"Origin": "https://lab.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.threat(
    "guessing tokens, and floods of requests", "429 after `failures_per_minute` and `requests_per_minute`"
)
def test_too_many_requests_and_too_many_wrong_tokens_are_put_off(tmp_path):
    service = ServiceProcess(tmp_path / "data", token=ADMIN, requests_per_minute=20, failures_per_minute=5)
    try:
        wrong = [ask(service, "GET", "/v1/streams", "guess" * 5).status_code for _ in range(8)]
        assert wrong == [401] * 5 + [429] * 3
        assert ask(service, "GET", "/v1/streams", ADMIN).status_code == 429, (
            "who guesses is not heard for a while"
        )
        statuses = [ask(service, "GET", "/v1/streams").status_code for _ in range(30)]
        assert statuses[-1] == 429
        assert ask(service, "GET", "/healthz").is_success
    finally:
        service.stop()


@pytest.mark.threat("eavesdropping", "https and wss with `tls_certfile`")
def test_tls_is_spoken_where_a_certificate_is_given(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(certificate))
    service = ServiceProcess(tmp_path / "data", verify=context, tls_certfile=certificate, tls_keyfile=key)
    try:
        assert service.url.startswith("https://")
        with Client(service.url, verify=context) as client:
            stream = client.stream("denoise", sensor=(8, 8))
            stream.send([1], [1], [1], [1])
            assert stream.end()["rows"] == {"clean": 0}
        health = subprocess.run(
            [sys.executable, Path(__file__).parents[2] / "docker" / "health.py"],
            env={"POLYCHRONY_PORT": str(service.port), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (health.returncode, json.loads(health.stdout)["status"]) == (0, "ready")
    finally:
        service.stop()


@pytest.mark.threat("forged X-Forwarded-For", "believed of `trusted_proxies` alone")
def test_proxy_headers_are_believed_only_of_proxies_that_were_named(tmp_path):
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    for trusted, seen in (("[]", "127.0.0.1"), ('["127.0.0.1"]', "203.0.113.9")):
        service = ServiceProcess(tmp_path / f"data{len(seen)}", trusted_proxies=trusted)
        try:
            httpx.post(f"{service.url}/v1/streams", json=STREAM, headers=forwarded)
            lines = [json.loads(line) for line in service.log.read_text().splitlines() if '"request"' in line]
            assert [line["client"] for line in lines] == [seen]
        finally:
            service.stop()


def test_settings_come_from_file_environment_and_options_in_this_order(tmp_path, monkeypatch, capsys):
    (tmp_path / "polychrony.toml").write_text(
        'port = 1000\nmax_streams = 7\nhost = "127.0.0.2"\ntoken = "from-the-file-of-settings"\n'
    )
    monkeypatch.setenv("POLYCHRONY_CONFIG", str(tmp_path / "polychrony.toml"))
    monkeypatch.setenv("POLYCHRONY_PORT", "2000")

    def config():
        with pytest.raises(SystemExit):
            main(["config", "--json"])
        return capsys.readouterr()

    found = json.loads(config().out)
    assert (found["port"]["value"], found["port"]["from"]) == (2000, "POLYCHRONY_PORT")
    assert (found["max_streams"]["value"], found["max_streams"]["from"]) == (
        7,
        str(tmp_path / "polychrony.toml"),
    )
    assert found["fsync"]["from"] == "default"
    assert found["token"]["value"] == "(set)"
    with (tmp_path / "polychrony.toml").open("a") as file:
        file.write("prot = 5\n")
    assert "prot: Extra inputs are not permitted" in config().err
    monkeypatch.setenv("POLYCHRONY_PORT", "far")
    assert "POLYCHRONY_PORT: Input should be a valid integer" in config().err


def test_what_config_prints_is_a_file_of_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYCHRONY_JOB_NICE")  # which the suite sets
    printed = subprocess.run(
        [sys.executable, "-m", "service", "config"], check=True, capture_output=True, text=True
    )
    (tmp_path / "all.toml").write_text(printed.stdout)
    monkeypatch.setenv("POLYCHRONY_CONFIG", str(tmp_path / "all.toml"))
    again = subprocess.run(
        [sys.executable, "-m", "service", "config", "--json"], check=True, capture_output=True, text=True
    )
    assert {one["from"] for one in json.loads(again.stdout).values()} <= {
        "default",
        str(tmp_path / "all.toml"),
    }


@pytest.mark.threat(
    "paths that a route takes for another than the guard does",
    "400 for a path with characters that do not print",
)
def test_a_newline_behind_a_path_widens_no_scope(closed):
    with (
        Client(closed.url, closed.tokens["stream"]) as sender,
        Client(closed.url, closed.tokens["read"]) as reader,
    ):
        stream = sender.stream("denoise", sensor=(8, 8))
        assert (
            ask(closed, "GET", f"/v1/streams/{stream.id}/snapshot%0A", closed.tokens["read"]).status_code
            == 400
        )
        with pytest.raises(Refused, match="400"):
            reader.connect(f"/v1/streams/{stream.id}/ingest%0A")


@pytest.mark.threat(
    "a pipeline or a body that takes all memory",
    "pixels times stages and bodies that are no uploads are bounded",
)
def test_neither_a_huge_sensor_nor_an_endless_body_takes_memory(service):
    body = {
        "pipeline": {"stages": [{"id": "a", "kind": "refractory"}]},
        "sensor": {"width": 65536, "height": 32768},
    }
    for path in ("/v1/pipelines/validate", "/v1/streams"):
        assert ask(service, "POST", path, json=body).status_code == 422
    json_ = {"Content-Type": "application/json"}
    assert (
        ask(service, "POST", "/v1/jobs", content=iter([b" " * 65_536] * 64), headers=json_).status_code == 413
    )

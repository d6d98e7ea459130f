"""What surrounds streams and jobs: health, metrics, problems, guard, tokens, the page."""

import gzip
import json
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import pytest
import yaml
from polychrony_client import Client, Refused

from pipeline.models.bundle import CARD, WEIGHTS, save
from tests.integration.service_process import ServiceProcess

ROOT = Path(__file__).parents[2]


def test_health_and_readiness(client):
    assert client.request("GET", "/healthz").json() == {"status": "ok"}
    assert client.request("GET", "/readyz").json() == {"status": "ready"}


def test_metrics_count_what_happens_and_nothing_is_compiled_after_readiness(client):
    def metric(name):
        text = client.request("GET", "/metrics").text
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.MULTILINE))

    before, compiled = metric("streams_taken_in"), metric("kernel_compilations_total")
    with client.stream("view", sensor=(64, 48)) as stream:
        stream.send([1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 0, 1])
    assert metric("streams_taken_in") >= before + 3
    side_by_side = {
        "threads": 2,
        "stages": [
            {"id": "motion", "kind": "motif", "model": "motif8"},
            {"id": "field", "kind": "optical_flow", "input": "source", "min_events": 1},
            {"id": "camera", "kind": "global_motion"},
            {"id": "movers", "kind": "movers", "input": "field", "camera": "still", "min_confidence": 0},
        ],
        "outputs": ["motion", "motion.evidence", "field", "camera", "movers"],
    }
    k = np.arange(30_000)
    with client.stream(
        side_by_side, sensor=(128, 96)
    ) as second:  # a line of 40 pixels that walks to the right
        second.send(10 * k, 10 + k // 500, 20 + k % 40, k % 2)
    assert second.stats()["rows"]["field"] > 0
    assert metric("kernel_compilations_total") == compiled
    stream.delete()
    second.delete()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "blamed"),
    [
        ("GET", "/v1/nothing", None, 404, None),
        ("PUT", "/v1/streams", {}, 405, None),
        ("POST", "/v1/streams", {}, 422, "pipeline"),
        ("POST", "/v1/streams", {"pipeline": "motion", "sensors": 1}, 422, "sensors"),
        ("POST", "/v1/streams", {"pipeline": "motion"}, 422, "pipeline.sensor"),
        (
            "POST",
            "/v1/streams",
            {"pipeline": {"stages": [{"id": "a", "kind": "b"}]}},
            422,
            "pipeline.stages[0].kind",
        ),
        ("POST", "/v1/streams", {"pipeline": "motion", "policy": "fast"}, 422, "policy"),
        ("GET", "/v1/streams/../../etc/passwd", None, 404, None),
        ("GET", "/v1/streams/0123456789abcdef", None, 404, None),
        ("GET", "/v1/streams/nothex", None, 422, "stream_id"),
        ("GET", "/v1/jobs/0123456789abcdef/events", None, 404, None),
        ("GET", "/v1/streams?limit=0", None, 422, "limit"),
        ("POST", "/v1/pipelines/validate", {"pipeline": {"stages": []}}, 422, "pipeline.stages"),
    ],
)
def test_errors_are_problem_documents(client, method, path, body, status, blamed):
    response = client.http.request(method, path, json=body)
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (response.status_code, document["status"]) == (status, status)
    assert document["title"]
    assert "\n" not in document["detail"]
    if blamed:
        assert document["errors"][0]["path"] == blamed


def test_pipelines_are_listed_and_validated(client):
    listed = client.request("GET", "/v1/pipelines").json()
    assert {preset["name"] for preset in listed["presets"]} == {
        "denoise",
        "digits",
        "egomotion",
        "motion",
        "motion36",
        "view",
    }
    assert "motif" in listed["kinds"]
    answer = client.request(
        "POST", "/v1/pipelines/validate",
        json={"pipeline": listed["presets"][3]["pipeline"], "sensor": {"width": 64, "height": 48}},
    ).json()  # fmt: skip
    assert [output["name"] for output in answer["outputs"]] == ["motion", "field"]
    assert len(answer["outputs"][0]["labels"]) == 16


def test_openapi_describes_every_route(client):
    paths = client.request("GET", "/v1/openapi.json").json()["paths"]
    assert {"/v1/streams", "/v1/jobs", "/v1/jobs/{job_id}/artifacts/{name}", "/healthz", "/metrics"} <= set(
        paths
    )
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            assert all(response.get("description") for response in operation["responses"].values())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "192.0.2.7:80"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "{own}"}, 422),
        ({}, 422),
    ],
)
@pytest.mark.threat(
    "DNS rebinding, and pages of another site or port",
    "Host is checked on everything (421), Origin on what changes something and on upgrades (403)",
)
def test_host_and_origin_are_checked(service, headers, status):
    headers = {key: value.format(own=service.url) for key, value in headers.items()}
    method = "GET" if "Host" in headers else "POST"
    path = "/healthz" if method == "GET" else "/v1/streams"
    assert httpx.request(method, service.url + path, json={}, headers=headers).status_code == status


def test_a_token_that_was_set_is_demanded_everywhere_but_at_the_door(tmp_path):
    token = "correct-horse-battery"
    service = ServiceProcess(tmp_path / "data", token=token)
    try:
        assert httpx.get(f"{service.url}/").status_code == 200
        assert httpx.get(f"{service.url}/v1/streams").status_code == 401
        assert httpx.get(f"{service.url}/v1/streams/0123456789abcdef").status_code == 401
        with Client(service.url) as stranger, pytest.raises(Refused, match="401"):
            stranger.connect("/v1/streams/0123456789abcdef/ingest")
        with Client(service.url, "wrong-" + token) as wrong, pytest.raises(Refused, match="401"):
            wrong.stream("denoise", sensor=(64, 48))
        with Client(service.url, token) as known, known.stream("denoise", sensor=(64, 48)) as stream:
            stream.send([1], [1], [1], [1])
        assert token not in service.log.read_text()
    finally:
        service.stop()


@pytest.mark.threat(
    "a service that is opened to a network by mistake",
    "beyond loopback a token is demanded, made at the first start, mode 0600",
)
def test_beyond_loopback_a_token_is_made_and_kept_private(tmp_path):
    service = ServiceProcess(tmp_path / "data", host="0.0.0.0")
    try:
        path = tmp_path / "data" / "token"
        assert path.stat().st_mode & 0o777 == 0o600
        assert httpx.get(f"{service.url}/v1/streams").status_code == 401
        assert path.read_text() not in service.log.read_text()
        with Client(service.url, path.read_text()) as known:
            assert known.request("GET", "/v1/streams").json() == {"streams": [], "next": None}
    finally:
        service.stop()


@pytest.mark.threat(
    "scripts injected into the page", "a content security policy that starts with default-src 'none'"
)
def test_the_page_and_its_files_are_served_under_a_strict_policy(client):
    page = client.request("GET", "/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in re.findall(r'"(/static/[^"]+)"', page.text):
        assert client.request("GET", name).status_code == 200
    assert not re.search(r"https?://", page.text)


def test_the_dashboard_of_grafana_asks_for_figures_that_there_are(client):
    dashboard = json.loads((ROOT / "docker" / "grafana" / "polychrony.json").read_text())
    asked = {
        re.sub("_(bucket|count|sum)$", "", name)
        for panel in dashboard["panels"] for target in panel["targets"]
        for name in re.findall(r"\b(?:polychrony|streams|jobs|disk|process|kernel)\w*", target["expr"])
    }  # fmt: skip
    assert len(asked) >= 17
    alerts = yaml.safe_load((ROOT / "docker/grafana/provisioning/alerting/polychrony.yaml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert len({rule["uid"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        query, threshold = rule["data"]
        assert (query["datasourceUid"], threshold["model"]["expression"]) == ("prometheus", query["refId"])
        assert rule["condition"] == threshold["refId"]
        asked |= set(re.findall(r"\b(?:polychrony|streams|disk)\w*(?=[ {\[)]|$)", query["model"]["expr"]))
    text = client.request("GET", "/metrics").text
    given = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) | set(
        re.findall(r"^(\w+)[ {]", text, re.MULTILINE)
    )
    assert asked <= given


def test_the_log_is_lines_of_json(service):
    lines = [line for line in service.log.read_text().splitlines() if not line.startswith("polychrony:")]
    assert lines
    for line in lines:
        said = json.loads(line)
        assert {"event", "level", "timestamp"} <= set(said)


class Collector(BaseHTTPRequestHandler):
    """Takes in traces."""

    seen: ClassVar[list] = []

    def do_POST(self):
        self.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_traces_go_where_they_are_sent(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv(
        "OTEL_BSP_SCHEDULE_DELAY", "100"
    )  # ms; the stop alone would not wait for a slow machine
    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    service = ServiceProcess(tmp_path / "data", otlp_endpoint=f"http://127.0.0.1:{collector.server_port}")
    try:
        httpx.get(f"{service.url}/v1/streams")
        deadline = time.monotonic() + 120
        while not Collector.seen:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        service.stop()
        collector.shutdown()
        collector.server_close()
    [(path, body), *_] = Collector.seen
    assert path == "/v1/traces"
    assert b"/v1/streams" in gzip.decompress(body) if body[:2] == b"\x1f\x8b" else b"/v1/streams" in body


def test_pipelines_are_kept_in_versions(client):
    first = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500}]}
    second = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 900}]}
    put = lambda document: client.request("PUT", "/v1/pipelines/mine", json={"pipeline": document}).json()  # noqa: E731
    assert (put(first)["active"], put(second)["active"], put(second)["versions"]) == (1, 2, [1, 2])
    period = lambda: client.request("GET", "/v1/pipelines/mine").json()["pipeline"]["stages"][0]["period_us"]  # noqa: E731
    assert period() == 900
    stream = client.stream("mine", sensor=(64, 48))
    client.request("POST", "/v1/pipelines/mine/activate", json={"version": 1})
    assert period() == 500
    stream.send([1, 700], [1, 1], [1, 1], [1, 1])
    assert stream.end()["rows"] == {"quiet": 1}, "a stream keeps what it was opened with"
    with pytest.raises(Refused, match="404"):
        client.request("GET", "/v1/pipelines/mine?version=9")
    with pytest.raises(Refused, match="409"):
        client.request("PUT", "/v1/pipelines/motion", json={"pipeline": first})
    client.request("DELETE", "/v1/pipelines/mine")
    with pytest.raises(Refused, match="no pipeline is named 'mine'"):
        client.stream("mine", sensor=(64, 48))


def test_a_model_in_use_stays_and_its_versions_are_told_apart(client, tmp_path):
    def bundle(name, scale):
        from pipeline.models import registry

        model = registry.load_bank("motif8")
        card = model.card.model_copy(update={"name": name, "version": str(scale)})
        weight = model.weight.astype(np.float32).copy()
        weight[0, 0, 0, 0, 0] = scale
        tensors = {"weight": weight, "bias": model.bias.astype(np.float32)}
        save(tmp_path / name, card, tensors)
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file in (CARD, WEIGHTS):
                archive.write(tmp_path / name / file, file)
        with (tmp_path / f"{name}.zip").open("rb") as file:
            return client.request("POST", "/v1/models", files={"file": (f"{name}.zip", file)}).json()

    one, two = bundle("mine", 3), bundle("mine", 4)
    assert one["digest"] != two["digest"]
    versions = client.request("GET", "/v1/models/mine").json()["versions"]
    assert versions == [one["digest"][:12], two["digest"][:12]]
    pipeline = {
        "stages": [{"id": "motion", "kind": "motif", "model": "mine", "threshold": {"evidence": 1.0}}]
    }
    stream = client.stream(pipeline, sensor=(64, 48))
    with pytest.raises(Refused, match=f"409: in use by stream {stream.id}"):
        client.request("DELETE", "/v1/models/mine")
    again = client.request("POST", "/v1/models/mine/activate", json={"version": versions[0]}).json()
    assert again["digest"] == one["digest"]
    stream.send([1], [1], [1], [1])
    stream.end()
    client.request("DELETE", "/v1/models/mine")
    with pytest.raises(Refused, match="404"):
        client.request("GET", "/v1/models/mine")

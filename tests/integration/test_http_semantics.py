"""What HTTP and whoever reads the log expect: HEAD, Allow, 304, a mute reader's close code, no flood of one line."""

import json
import re
import resource
import socket
import threading

import httpx
import pytest
from polychrony_client import Client

from pipeline import library
from pipeline.spec import validate, written
from service.monitoring.repeated_lines import SAID, WINDOW_S, Repeats
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import until
from tests.reliability.tools import EVERYTHING, RawSocket, create, frame, random_events, stats


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = ServiceProcess(tmp_path_factory.mktemp("manners") / "data", slow_subscriber_s=3, ping_s=1)
    yield service
    service.stop()


def gets(service):
    document = httpx.get(f"{service.url}/v1/openapi.json", timeout=60).json()
    return sorted(path for path, item in document["paths"].items() if "get" in item)


def test_head_answers_as_get_does_without_a_body(service):
    made = {"stream_id": create(service), "name": "motif8", "job_id": "0" * 16, "upload_id": "0" * 32}
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for template in gets(service):
            path = re.sub(r"{(\w+)}", lambda found: made.get(found[1], "x"), template)
            got, head = http.get(path), http.head(path)
            assert head.status_code == got.status_code, path
            assert head.content == b"", path
            for name in ("content-type", "etag", "content-length"):
                if name != "content-length" or "no-store" not in got.headers.get("cache-control", ""):
                    assert (name in head.headers) == (name in got.headers), (path, name)


def test_what_was_made_for_an_answer_goes_with_it(service):
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for method in ("HEAD", "GET"):
            assert http.request(method, "/v1/models/motif8/export").status_code == 200
    assert until(lambda: not list((service.data / "scratch").iterdir()))


@pytest.mark.parametrize("next_", ["", "GET /healthz HTTP/1.1\r\n"])
def test_an_answer_before_the_body_leaves_a_connection_that_goes_on(service, next_):
    """The rest of a body that nobody wanted is read over, and a next request is answered; then it idles and ends."""
    with socket.create_connection(("127.0.0.1", service.port)) as one:
        one.settimeout(60)
        head = f"Host: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
        one.sendall(f"PATCH /v1/streams HTTP/1.1\r\n{head}Content-Length: 100000\r\n\r\n".encode())
        said = b""
        while b"Not Allowed" not in said.partition(b"\r\n\r\n")[2]:
            said += one.recv(65_536)
        assert said.startswith(b"HTTP/1.1 405 ")
        one.sendall(bytes(100_000) + (f"{next_}{head}\r\n".encode() if next_ else b""))
        said = b""
        while more := one.recv(65_536):
            said += more
        assert said.count(b"HTTP/1.1 ") == bool(next_), (
            "closed without a word: 408 would answer what nobody asked"
        )
        assert said.endswith(b'{"status":"ok"}' if next_ else b"")


def test_allow_names_every_method(service):
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for path, allowed in (
            ("/v1/streams", "GET, HEAD, POST"), ("/v1/pipelines/mine", "DELETE, GET, HEAD, PUT"),
            (f"/v1/uploads/{'0' * 32}", "DELETE, HEAD, PATCH"), ("/healthz", "GET, HEAD"),
        ):  # fmt: skip
            refused = http.request("TRACE", path)
            assert refused.status_code == 405, path
            assert refused.headers["allow"] == allowed


def test_what_is_known_is_not_sent_again(service):
    with httpx.Client(base_url=service.url, timeout=60) as http:
        page = http.get("/")
        tag = page.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = http.get("/", headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert "content-length" not in again.headers
        assert http.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_reader_that_does_not_read_is_closed_with_1008(service):
    """Long before it is cut for that, pings go unanswered: they lie behind what it does not read."""
    motif = {
        "id": "m",
        "kind": "motif",
        "model": "motif8",
        "at": {"every": 1},
        "threshold": {"evidence": -1e6},
    }
    with Client(service.url, patience_s=600) as client:
        stream = client.stream({"stages": [motif]}, sensor=(640, 480))
        for n in range(8):
            stream.send(*random_events(50_000, n, n * 50_000))
        stream.flush()
        path = f"/v1/streams/{stream.id}/results?from=start"
        assert until(lambda: stats(service, stream.id)["rows"]["m"] > 300_000, 300)
    codes = []
    while (
        1008 not in codes and len(codes) < 3
    ):  # it is told for two seconds: a busy machine may miss them once
        reader = RawSocket(service.port, path, receive_buffer=4096)
        assert until(lambda: stats(service, stream.id)["cut_subscribers"] == len(codes) + 1)
        codes.append(reader.close_code())
    assert 1008 in codes


def test_figures_are_told_without_the_data_folder(tmp_path):
    service = ServiceProcess(tmp_path / "data")
    try:
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        assert httpx.get(f"{service.url}/metrics", timeout=60).status_code == 200
        assert until(lambda: httpx.get(f"{service.url}/readyz", timeout=60).status_code == 503)
        (tmp_path / "elsewhere").rename(tmp_path / "data")
        assert until(lambda: httpx.get(f"{service.url}/readyz", timeout=60).status_code == 200)
    finally:
        service.stop()


def test_lines_of_one_cause_are_summed():
    now, said = [0.0], []
    repeats = Repeats(lambda: now[0])
    assert [repeats.says("a", said.append) for _ in range(SAID + 95)] == [True] * SAID + [False] * 95
    assert repeats.says("b", said.append)
    now[0] += WINDOW_S
    repeats.flush()
    assert said == [95]
    assert repeats.says("a", said.append)
    for i in range(5000):
        repeats.says(i, said.append)
    assert len(repeats._seen) <= 1001


@pytest.mark.long
def test_refusals_over_and_over_are_a_few_lines_and_a_sum(tmp_path):
    service = ServiceProcess(tmp_path / "data", token="correct-horse-battery", failures_per_minute=10_000)
    try:
        with httpx.Client(base_url=service.url, timeout=60) as http:
            for _ in range(300):
                assert http.post("/v1/streams", headers={"Authorization": "Bearer no"}).status_code == 401
            assert until(lambda: '"repeated"' in service.log.read_text())
    finally:
        service.stop()
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if '"status": 401' in line]
    sums = [one["repeated"] for one in lines if "repeated" in one]
    assert len(lines) < 100
    assert sum(sums) + len(lines) - len(sums) == 300


def test_idle_connections_take_no_descriptor_that_work_needs(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        service = ServiceProcess(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    idle = []
    try:
        # As a box without a higher hard limit: the service raises its soft one by itself.
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        id_ = create(service, EVERYTHING)
        sender = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        sender.until(1)
        idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(1100)]
        for n in range(1, 20):
            sender.send(2, frame(n, random_events(1000, n, n * 1000)))
        assert until(lambda: json.loads(sender.until(1) or "{}").get("durable") == 19)
    finally:
        for one in idle:
            one.close()
        service.stop()
    text = service.log.read_text()
    assert "out of system resource" not in text
    assert len(text.splitlines()) < 200


@pytest.mark.long
def test_models_and_pipelines_move_into_the_data_folder_once(tmp_path, monkeypatch):
    for name in ("POLYCHRONY_MODELS", "POLYCHRONY_PIPELINES"):
        monkeypatch.delenv(name)
    old = tmp_path / "home" / "polychrony"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    kept = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500}]}
    monkeypatch.setenv("POLYCHRONY_DATA_DIR", str(tmp_path / "data"))
    (old / "pipelines").mkdir(parents=True)
    library.put("mine", written(validate(kept)))
    assert (old / "pipelines" / "mine").is_dir(), "until a service moves them they are used where they are"
    service = ServiceProcess(tmp_path / "data")
    try:
        assert httpx.get(f"{service.url}/v1/pipelines/mine", timeout=60).status_code == 200
        assert (tmp_path / "data" / "pipelines" / "mine").is_dir()
        assert not (old / "pipelines").exists()
        service.stop()
        service.start()
        assert httpx.get(f"{service.url}/v1/pipelines/mine", timeout=60).status_code == 200
    finally:
        service.stop()
    assert library.names() == ["mine"]
    assert service.log.read_text().count("your pipelines were moved from") == 1


def test_a_service_below_a_prefix_answers_with_it_and_without(tmp_path):
    service = ServiceProcess(tmp_path / "data", root_path="/lab/dvs", token="correct-horse-battery")
    try:
        for base in (
            service.url,
            f"{service.url}/lab/dvs",
        ):  # a proxy that strips the prefix, and one that does not
            assert httpx.get(f"{base}/healthz", timeout=60).status_code == 200
            assert httpx.get(f"{base}/v1/streams", timeout=60).status_code == 401
            page = httpx.get(f"{base}/", timeout=60)
            [script] = re.findall(r'src="\./([^"]+)"', page.text)
            assert httpx.get(f"{base}/{script}", timeout=60).status_code == 200
            with Client(base, "correct-horse-battery") as client:
                made = client.request(
                    "POST", "/v1/streams", json={"pipeline": "denoise", "sensor": {"width": 8, "height": 8}}
                )
                assert made.headers["location"] == f"/lab/dvs/v1/streams/{made.json()['id']}"
                assert made.json()["ingest_url"].startswith("/lab/dvs/v1/streams/")
                stream = client.stream("denoise", sensor=(8, 8))
                stream.send([1, 2], [1, 2], [1, 2], [1, 0])
                assert stream.end()["rows"]
        assert httpx.get(f"{service.url}/lab/dvs", timeout=60).headers["location"] == "/lab/dvs/"
        assert httpx.get(f"{service.url}/lab/dvs2/healthz", timeout=60).status_code in {401, 404}
    finally:
        service.stop()


@pytest.mark.threat(
    "floods of pings or of frames without a byte", "64 frames of a socket, then others have their turn"
)
def test_many_small_frames_are_all_answered_some_at_a_time(service):
    """Pings and frames that come at once are more than a turn's worth, and the last of them counts like the first."""
    one = RawSocket(service.port, f"/v1/streams/{create(service)}/ingest")
    one.until(1)
    pings = b"".join(b"\x89\x84\0\0\0\0" + n.to_bytes(4, "big") for n in range(5000))
    frames = [frame(n, random_events(3, n)) for n in range(1, 301)]
    head = b"".join(b"\x82\xfe" + len(raw).to_bytes(2, "big") + bytes(4) + raw for raw in frames)
    reading = threading.Thread(target=one.put, args=(pings + head + pings[-10:],))
    reading.start()
    ponged, acknowledged = [], 0
    while len(ponged) < 5001 or acknowledged < 300:
        opcode, payload = one.receive()
        assert opcode is not None
        if opcode == 10:
            ponged.append(int.from_bytes(payload, "big"))
        elif opcode == 1:
            acknowledged = json.loads(payload)["durable"]
    reading.join()
    one.end()
    assert ponged == [*range(5000), 4999]

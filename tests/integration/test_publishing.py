"""Answers that the service tells others: a real broker, a real web server, and both away for a while."""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

import aiomqtt
import httpx
import jinja2
import numpy as np
import pytest
from polychrony_client import Client, Rows

from pipeline.row_kinds import ROW_KINDS, Published
from service.publishing.home_assistant import announcement
from service.publishing.webhook import headers
from service.storage.records import Message
from tests.integration.service_process import ServiceProcess

SENSOR = (34, 34)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(condition, seconds=120, what="it does not happen"):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class Broker:
    """Mosquitto, and everything that was ever published to it."""

    def __init__(self, folder):
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            if os.environ.get("POLYCHRONY_BROKER") == "required":
                raise AssertionError("mosquitto is not installed")
            pytest.skip("mosquitto is not installed")
        self.port, self.heard, self.process = free_port(), [], None
        self._config = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "box", "of bricks"], check=True)
        passwords.chmod(0o644)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
            f"persistence true\npersistence_location {folder}/\nuser root\n"
        )
        self._program = program

    def start(self):
        self.process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        until(self._answers)
        self._over, ready = threading.Event(), threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(ready,), daemon=True)
        self._listener.start()
        assert ready.wait(120)

    def _answers(self):
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self._over.set()
        self._listener.join(120)
        self.process.terminate()
        self.process.wait(120)
        self.process = None

    def _listen(self, ready):
        import asyncio

        async def hear():
            async with aiomqtt.Client("127.0.0.1", self.port, username="box", password="of bricks") as client:
                await client.subscribe("#", qos=1)
                ready.set()

                async def keep():
                    async for message in client.messages:
                        self.heard.append((str(message.topic), message.payload))

                keeping = asyncio.create_task(keep())
                while not self._over.is_set() and not keeping.done():
                    await asyncio.sleep(0.05)
                keeping.cancel()

        asyncio.run(hear())

    def documents(self, topic):
        return [json.loads(payload) for at, payload in list(self.heard) if at == topic]


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    made = Broker(folder)
    yield made
    if made.process:
        made.stop()


class Hook:
    """A web server that answers what it is told to, and keeps what it got."""

    def __init__(self):
        self.got, self.answers = [], []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, said = hook.answers.pop(0) if hook.answers else (204, {})
                hook.got.append((status, dict(self.headers.items()), body))
                self.send_response(status)
                for name, value in said.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def accepted(self):
        return [json.loads(body) for status, _, body in list(self.got) if status < 300]


@pytest.fixture
def hook():
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def service(tmp_path, *receivers, **settings):
    return ServiceProcess(tmp_path / "data", publish=json.dumps(receivers), **settings)


def recording(i, n=300):
    rng = np.random.default_rng(i)
    t = i * 1_000_000 + np.sort(rng.integers(0, 80_000, n))
    return t, *(rng.integers(0, 34, n).astype(np.uint16) for _ in "xy"), rng.random(n) < 0.5


def decide(stream, numbers):
    """A decision for each of these recordings."""
    for i in numbers:
        stream.send(*recording(i))
        stream.gap((i + 1) * 1_000_000 - 1)


def told(documents):
    """(first rows, all rows) of documents, which must follow on each other."""
    rows, following = [], 0
    for one in documents:
        assert one["first_row"] == following, "rows were lost or told twice"
        rows += one["rows"]
        following += len(one["rows"])
    return rows


def publishers(running):
    return httpx.get(f"{running.url}/v1/publishers").json()["publishers"]


def to_broker(broker, tmp_path, **more):
    secret = tmp_path / "secret"
    secret.write_text("of bricks\n")
    return {"name": "hub", "to": f"mqtt://127.0.0.1:{broker.port}/lab/box1", "user": "box",
            "secret_file": str(secret), "every_s": 0.02, **more}  # fmt: skip


def test_decisions_come_to_a_broker(broker, tmp_path):
    broker.start()
    running = service(tmp_path, to_broker(broker, tmp_path))
    try:
        with (
            Client(running.url) as client,
            client.stream("digits", SENSOR, name="gate", epoch_ns=7) as stream,
        ):
            topic, started = "lab/box1/gate/digit", time.monotonic()
            for n in range(5):
                decide(stream, [n])
                until(lambda n=n: len(broker.documents(topic)) >= n)  # the last is decided by what follows
            final = stream.end()
            assert final["rows"]["digit"] == 5
            rows = until(lambda: len(found := told(broker.documents(topic))) == 5 and found)
            shown = [one for one in client.results(stream.id, "digit", start=True) if isinstance(one, Rows)]
        assert [row["t_us"] for row in rows] == [int(one.columns["t"][0]) for one in shown]
        assert [row["class"] for row in rows] == [int(one.columns["label"][0]) for one in shown]
        assert [row["label"] for row in rows] == [one.labels[int(one.columns["label"][0])] for one in shown]
        first = broker.documents(topic)[0]
        assert (first["stream"], first["name"], first["output"], first["epoch_ns"]) == (
            stream.id,
            "gate",
            "digit",
            7,
        )
        assert ("lab/box1/status", b"online") in broker.heard
        # Nothing waited between two decisions, but who was just told something is not asked whether it is there.
        assert broker.heard.count(("lab/box1/status", b"online")) <= 2 + (time.monotonic() - started) / 5
        metrics = httpx.get(f"{running.url}/metrics").text
        assert 'publishers_sent{what="hub"}' in metrics
    finally:
        assert running.stop() == 0
    until(lambda: ("lab/box1/status", b"offline") in broker.heard)


def test_outputs_appear_in_home_assistant_by_themselves(broker, tmp_path):
    broker.start()
    hub = to_broker(broker, tmp_path, home_assistant="homeassistant", kinds=["decisions", "field"])
    running = service(tmp_path, hub)
    try:
        with Client(running.url) as client, client.stream("digits", SENSOR, name="gate.1") as stream:
            decide(stream, range(3))
            stream.end()
            until(lambda: len(told(broker.documents("lab/box1/gate.1/digit"))) == 3)
    finally:
        assert running.stop() == 0
    heard = list(broker.heard)
    configured = [
        (at, json.loads(payload)) for at, payload in heard if at.startswith("homeassistant/sensor/")
    ]
    assert len(configured) == 1, "once for a connection"
    [(where, one)] = configured
    topics = [at for at, _ in heard]
    assert topics.index(where) < topics.index(one["state_topic"]), "known before it says anything"
    assert (one["state_topic"], one["availability_topic"]) == ("lab/box1/gate.1/digit", "lab/box1/status")
    assert (one["name"], one["device"]["name"]) == ("digit", "gate.1")
    assert one["payload_available"].encode() in [
        payload for at, payload in heard if at == one["availability_topic"]
    ]
    # What Home Assistant does with a message.
    last = broker.documents("lab/box1/gate.1/digit")[-1]
    shown = jinja2.Environment(autoescape=True).from_string(one["value_template"]).render(value_json=last)
    assert shown == last["rows"][-1]["label"]
    template = jinja2.Environment(autoescape=True).from_string(one["json_attributes_template"])
    assert json.loads(template.render(value_json=last)) == last["rows"][-1]


@pytest.mark.parametrize("kind", get_args(Published))
def test_every_kind_that_is_told_has_a_state_in_home_assistant(kind):
    row = dict.fromkeys(ROW_KINDS[kind].columns, 3) | {"vx": 3.0, "vy": 4.0, "label": "up", "level": 1}
    said = {"name": "gate", "stream": "0123", "output": "out", "kind": kind}
    said["rows"] = [{**row, "t_us": t_us} for t_us in (10, 20, 20)]
    where, payload = announcement(
        "homeassistant", "lab", Message("1", "gate/out", json.dumps(said).encode(), 3)
    )
    assert re.fullmatch(r"homeassistant/sensor/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/config", where)
    template = jinja2.Environment(autoescape=True).from_string(json.loads(payload)["value_template"])
    expected = {
        "decisions": "up",
        "detections": "up",
        "triggers": "1",
        "motion": "5.0",
        "movers": "2",
        "field": "2",
    }
    assert template.render(value_json=said) == expected[kind]


def test_no_two_outputs_are_one_in_home_assistant_and_none_stays_that_nobody_removes():
    def made(topic, name, output):
        said = {
            "name": name,
            "stream": "0123",
            "output": output,
            "kind": "decisions",
            "rows": [{"label": "a"}],
        }
        message = Message("1", f"{name or '0123'}/{output}", json.dumps(said).encode(), 1)
        return announcement("homeassistant", topic, message)

    places = [
        ("lab", "cam.1", "s.p"), ("lab", "cam_1", "s.p"), ("lab", "cam_1", "s_p"), ("lab", "a", "b_c"),
        ("lab", "a_b", "c"), ("lab/x", "a", "c"), ("lab_x", "a", "c"),
    ]  # fmt: skip
    told = [made(*place) for place in places]
    assert len({where for where, _ in told}) == len(places)
    assert len({json.loads(payload)["unique_id"] for _, payload in told}) == len(places)
    assert made("lab", None, "digit") is None


def test_nothing_is_lost_while_the_broker_is_away_and_the_service_is_killed(broker, tmp_path):
    running = service(tmp_path, to_broker(broker, tmp_path))
    try:
        client = Client(running.url)
        stream = client.stream("digits", SENSOR)
        decide(stream, range(10))
        until(lambda: publishers(running)[0]["waiting"] > 0 and publishers(running)[0]["error"])
        running.kill()
        running.start()
        decide(stream, range(10, 20))
        stream.end()
        broker.start()
        topic = f"lab/box1/{stream.id}/digit"

        def all_of_them():
            seen = {one["first_row"]: one for one in broker.documents(topic)}  # at least once: by its number
            return sum(len(one["rows"]) for one in seen.values()) == 20 and seen

        seen = until(all_of_them, 240)
        assert len(told([seen[first] for first in sorted(seen)])) == 20
        until(lambda: publishers(running)[0]["waiting"] == 0)
        assert publishers(running)[0]["error"] is None
        assert publishers(running)[0]["lost_rows"] == publishers(running)[0]["dropped"] == 0
        client.close()
    finally:
        running.stop()


def test_the_outbox_is_bounded_and_says_what_went(tmp_path):
    nobody = {"name": "away", "to": f"http://127.0.0.1:{free_port()}/x", "kinds": ["detections"], "every_s": 0.02,
              "keep_bytes": 65_536, "rows": 50}  # fmt: skip
    running = service(tmp_path, nobody)
    try:
        with Client(running.url) as client, client.stream("motion", (64, 48)) as stream:
            rng = np.random.default_rng(0)
            for i in range(40):
                t = i * 50_000 + np.sort(rng.integers(0, 50_000, 3000))
                x, y = (
                    rng.integers(0, 64, 3000).astype(np.uint16),
                    rng.integers(0, 48, 3000).astype(np.uint16),
                )
                stream.send(t, x, y, rng.random(3000) < 0.5)
            rows = stream.end()["rows"]["motion"]
        assert rows > 2000
        found = until(
            lambda: (one := publishers(running)[0])["dropped"] > 0 and one["state"] == "waiting" and one
        )
        assert found["waiting_bytes"] <= 65_536
        assert (tmp_path / "data" / "outbox.sqlite").stat().st_size < 4 * 2**20
    finally:
        running.stop()


def test_messages_that_waited_too_long_go_though_nothing_new_comes(tmp_path):
    away = {"name": "away", "to": f"http://127.0.0.1:{free_port()}/x", "every_s": 0.02, "keep_s": 2}
    running = service(tmp_path, away)
    try:
        with Client(running.url) as client, client.stream("digits", SENSOR) as stream:
            decide(stream, range(3))
            stream.end()
        found = until(lambda: (one := publishers(running)[0])["dropped"] and not one["waiting"] and one)
        assert (found["waiting_bytes"], found["sent"]) == (0, 0)
        until(lambda: "waited too long" in running.log.read_text())
    finally:
        running.stop()


@pytest.mark.long
def test_the_last_answers_before_a_stop_wait_in_the_outbox(hook, tmp_path):
    running = service(tmp_path, {"name": "web", "to": hook.url, "every_s": 3600})
    with Client(running.url) as client, client.stream("digits", SENSOR) as stream:
        decide(stream, range(5))
        stream.end()
    assert running.stop() == 0
    running.settings["publish"] = json.dumps([{"name": "web", "to": hook.url, "every_s": 3600}])
    with sqlite3.connect(tmp_path / "data" / "outbox.sqlite") as outbox:
        bodies = [json.loads(body) for (body,) in outbox.execute("select body from messages order by number")]
    assert len(told(bodies)) == 5
    running.start()
    try:
        until(lambda: len(told(hook.accepted())) == 5)
    finally:
        running.stop()


@pytest.mark.long
def test_after_a_power_cut_rows_that_come_again_are_told_again(hook, tmp_path):
    running = service(tmp_path, {"name": "web", "to": hook.url, "every_s": 0.02})

    def decisions():
        return sum(len(one["rows"]) for one in hook.accepted())

    try:
        with Client(running.url) as client:
            stream = client.stream("digits", SENSOR)
            decide(stream, range(3))
            stream.flush()
            until(lambda: decisions() == 3)
        running.stop()
        shutil.copytree(running.data / "streams", tmp_path / "before")
        running.start()
        with Client(running.url) as client:
            decide(client.attach(stream.id), range(3, 6))
            until(lambda: decisions() == 6)
        running.stop()
        # What the disk had not written yet is gone; the outbox's file had its turn.
        shutil.rmtree(running.data / "streams")
        shutil.copytree(tmp_path / "before", running.data / "streams")
        running.start()
        with Client(running.url) as client:
            again = client.attach(stream.id)
            decide(again, range(3, 6))
            assert again.end()["rows"]["digit"] == 6
        until(lambda: decisions() >= 9)
        assert "rows come again" in running.log.read_text()
        assert max(one["first_row"] + len(one["rows"]) for one in hook.accepted()) == 6
        rows = {one["first_row"] + i for one in hook.accepted() for i in range(len(one["rows"]))}
        assert rows == set(range(6))
        by_id = {}
        for one in hook.accepted():  # whoever drops what it has had by the id drops nothing else
            assert by_id.setdefault(one["id"], one) == one
        assert publishers(running)[0]["lost_rows"] == 0
    finally:
        running.stop()


SLOW_RESOLVER = """
import socket, time
at_once = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host in ("dead.example", b"dead.example"):
        time.sleep(3600)
    return at_once(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.long
def test_names_that_nobody_resolves_hold_up_neither_work_nor_the_end(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW_RESOLVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    dead = [{"name": f"dead{i}", "to": f"{way}://dead.example/x", "every_s": 0.02}
            for i, way in enumerate(["mqtt", "http"] * 6)]  # fmt: skip
    running = service(tmp_path, *dead)
    try:
        with Client(running.url) as client, client.stream("digits", SENSOR) as stream:
            decide(stream, range(3))
            assert stream.end()["rows"]["digit"] == 3
            # Threads that all of the service shares are free: these are read in them.
            assert client.request("GET", "/v1/models").is_success
        told = until(lambda: all(one["error"] for one in publishers(running)) and publishers(running))
        assert all("was not resolved" in one["error"] for one in told if one["to"].startswith("mqtt"))
        assert all(one["waiting"] > 0 for one in told)
    finally:
        began = time.monotonic()
        assert running.stop() == 0
    assert time.monotonic() - began < 120
    assert "left while something still waited" in running.log.read_text()


def test_a_webhook_is_signed_and_tried_again(hook, tmp_path):
    key = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    (tmp_path / "key").write_text(key)
    hook.answers = [(500, {}), (429, {"Retry-After": "1"}), (302, {"Location": "http://127.0.0.1:1/"})]
    running = service(
        tmp_path, {"name": "web", "to": hook.url, "secret_file": str(tmp_path / "key"), "every_s": 0.02}
    )
    try:
        with Client(running.url) as client, client.stream("digits", SENSOR) as stream:
            decide(stream, range(3))
            stream.end()
        until(lambda: sum(len(one["rows"]) for one in hook.accepted()) == 3, 60)
        assert len(told(hook.accepted())) == 3
        assert [status for status, _, _ in hook.got][:4] == [500, 429, 302, 204]
        for _, said, body in hook.got:
            signed = f"{said['webhook-id']}.{said['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()).decode()
            assert said["webhook-signature"] == f"v1,{mac}"
        assert len({said["webhook-id"] for status, said, _ in hook.got[:4]}) == 1
    finally:
        running.stop()


def test_a_message_that_is_not_wanted_holds_up_no_other(hook, tmp_path):
    hook.answers = [(422, {})] * 3
    running = service(tmp_path, {"name": "web", "to": hook.url, "every_s": 0.02, "rows": 1})
    try:
        with Client(running.url) as client, client.stream("digits", SENSOR) as stream:
            decide(stream, range(3))
            stream.end()
        until(lambda: [one["first_row"] for one in hook.accepted()] == [1, 2], 60)
        found = until(lambda: (one := publishers(running)[0])["sent"] == 2 and one)
        assert (found["refused"], found["waiting"]) == (1, 0)
    finally:
        running.stop()


def test_the_signature_is_the_one_of_the_published_example():
    # standard-webhooks, spec: its worked example of a symmetric signature
    one = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", "", b'{"test": 2432232314}', 1)
    said = headers(one, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330)
    assert said["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        ({"name": "a", "to": "ftp://x/y"}, "publish.0.to"),
        ({"name": "a", "to": "mqtt://u:p@x/y"}, "user and secret_file"),
        ({"name": "a", "to": "mqtt://x/+/y"}, "neither"),
        ({"name": "A!", "to": "http://x/"}, "publish.0.name"),
        ({"name": "a", "to": "http://x/", "secret_file": "/nowhere/at/all"}, "secret_file: cannot be read"),
        ({"name": "a", "to": "http://x:99999/"}, "port"),
        ({"name": "a", "to": "http://x/", "what": 1}, "what"),
    ],
)
def test_a_receiver_that_cannot_be_told_anything_is_refused_at_the_start(receiver, said, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(tmp_path / "d")],
        env={**os.environ, "POLYCHRONY_PUBLISH": json.dumps([receiver])}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert said in ran.stderr, ran.stderr
    assert "Traceback" not in ran.stderr

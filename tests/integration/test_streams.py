"""Live streams through the real service, over real sockets."""

import contextlib
import itertools
import json
import socket
import threading
import time

import numpy as np
import pytest
from polychrony_client import Client, Gap, Refused, Rows, Watermark, wire
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline import packets
from pipeline.offline import engine_for, steps
from pipeline.sources import open_source
from pipeline.spec import load
from tests.integration.service_process import ServiceProcess

DAVIS = "davis346.aedat4"


def recording(data_dir, name=DAVIS):
    source = open_source(data_dir / "recordings" / name)
    return packets.join([reading.events for reading in source.batches()]), source


def expected(data_dir, name=DAVIS, pipeline="motion"):
    _, source = recording(data_dir, name)
    engine = engine_for(source, load(pipeline))
    list(steps(engine, source))
    return dict(engine.rows), engine.digests()


def send_in_random_batches(stream, events, seed):
    rng = np.random.default_rng(seed)
    places = np.unique(np.concatenate([[0, len(events[0])], rng.integers(0, len(events[0]), 200)])).tolist()
    for a, b in itertools.pairwise(places):
        stream.send(*(column[a:b] for column in events))
        if rng.random() < 0.2:
            stream.heartbeat(int(events[0][b - 1]))


def ingest(service, id_, **options):
    url = f"ws://127.0.0.1:{service.port}/v1/streams/{id_}/ingest"
    return connect(url, subprotocols=["polychrony.v1"], compression=None, **options)


def drain(socket):
    """Everything until the connection is closed."""
    while True:
        socket.recv(timeout=60)


def hear(socket, kind):
    while True:
        document = json.loads(socket.recv(timeout=60))
        if document["type"] == kind:
            return document


@pytest.mark.parametrize("seed", [1, 2])
def test_a_stream_in_random_batches_gives_the_digests_of_an_offline_run(client, data_dir, seed):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    stream = client.stream("motion", sensor=(346, 260))
    send_in_random_batches(stream, events, seed)
    final = stream.end()
    assert (final["rows"], final["digests"]) == (rows, digests)
    stats = stream.stats()
    assert (stats["state"], stats["events"]) == ("ended", len(events[0]))
    motion = stream.rows("motion")
    assert len(motion["t"]) == rows["motion"]
    assert np.all(np.diff(motion["t"]) >= 0)
    stream.delete()
    with pytest.raises(Refused, match="404"):
        stream.stats()


def test_camera_bytes_cut_anywhere_give_the_digests_of_the_file(client, data_dir):
    name = "evt3_640x480.raw"
    rows, digests = expected(data_dir, name, "denoise")
    raw = (data_dir / "recordings" / name).read_bytes()
    while raw.startswith(b"%"):
        raw = raw[raw.index(b"\n") + 1 :]
    stream = client.stream("denoise", sensor=(640, 480))
    places = np.unique(np.random.default_rng(3).integers(0, len(raw), 50)).tolist()
    for a, b in zip([0, *places], [*places, len(raw)], strict=True):
        stream.send_camera_bytes(raw[a:b], "EVT3")
    final = stream.end()
    assert (final["rows"], final["digests"]) == (rows, digests)
    assert stream.stats()["repaired"]["ignored_triggers"] == 4157


def test_results_come_while_the_stream_runs(client, data_dir):
    events, _ = recording(data_dir)
    half = len(events[0]) // 2
    stream = client.stream("motion", sensor=(346, 260))
    got, enough = [], threading.Event()

    def read():
        with Client(client.url) as other:
            for result in other.results(stream.id, "motion", start=True):
                got.append(result)
                if isinstance(result, Watermark):
                    enough.set()

    reader = threading.Thread(target=read)
    reader.start()
    stream.send(*(column[:half] for column in events))
    assert enough.wait(120)
    assert any(isinstance(result, Rows) for result in got)
    stream.send(*(column[half:] for column in events))
    final = stream.end()
    reader.join(120)
    rows = [result for result in got if isinstance(result, Rows)]
    assert [row.first_row for row in rows] == np.cumsum([0, *(len(row) for row in rows)])[:-1].tolist()
    assert sum(len(row) for row in rows) == final["rows"]["motion"]


def test_reaction_times_are_told_per_output(client, service, data_dir):
    """Paced as it was recorded: the parts add up, and the wait is that of windows of 20 ms."""
    events, _ = recording(data_dir)
    t = events[0] - events[0][0]
    stream = client.stream("motion", sensor=(346, 260))
    with connect(
        f"{service.url.replace('http', 'ws')}/v1/streams/{stream.id}/results", subprotocols=["polychrony.v1"]
    ) as reader:
        hello = json.loads(reader.recv())
        of = {output["id"]: (output["tile"], output["window_us"]) for output in hello["outputs"]}
        assert of == {"motion": (1, 1000), "field": (16, 20_000)}

        def read():
            with contextlib.suppress(ConnectionClosed):
                drain(reader)

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        started, at = time.monotonic(), 0
        while at < len(t) and t[at] < 1_500_000:
            to = int(np.searchsorted(t, t[at] + 4_000))
            time.sleep(max(0.0, started + t[to - 1] * 1e-6 - time.monotonic()))
            stream.send(*packets.cut(events, at, to))
            at = to
        stream.flush()
        deadline = time.monotonic() + 120
        while (told := stream.stats()["reaction"])["field"][
            "events"
        ] <= 300:  # acknowledged is not yet answered
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        lines = client.request("GET", "/metrics").text.splitlines()
        stream.end()
    assert set(told) == {"motion", "field"}
    field = told["field"]
    assert field["events"] > 300
    assert field["given_up"] == 0
    assert 0 < field["p50_us"] <= field["p90_us"] <= field["p99_us"]
    assert field["horizon_us"] == 20_000
    assert field["bound_us"] > 20_000
    assert 7_000 < field["parts_us"]["wait"] < 13_000
    assert told["motion"]["parts_us"]["wait"] < 1_000
    assert all(part >= 0 for part in field["parts_us"].values())
    counted = [
        float(line.split()[-1])
        for line in lines
        if line.startswith("streams_reaction_seconds_count") and stream.id in line
    ]
    assert sum(counted) >= field["events"] + told["motion"]["events"]


def test_subscribers_start_where_they_ask(client, data_dir):
    events, _ = recording(data_dir)
    with client.stream("motion", sensor=(346, 260)) as stream:
        stream.send(*events)
    total = stream.end()["rows"]["motion"]
    after = [r for r in client.results(stream.id, "motion", after={"motion": 99}) if isinstance(r, Rows)]
    assert (after[0].first_row, sum(map(len, after))) == (100, total - 100)
    assert [r for r in client.results(stream.id, "motion") if isinstance(r, Rows)] == []


def test_events_are_thinned_for_viewing_but_counted_in_full(client, data_dir):
    events, _ = recording(data_dir)
    with client.stream("denoise", sensor=(346, 260)) as stream:
        stream.send(*events)
    parts = [r for r in stream.results("clean") if isinstance(r, Rows)]
    assert sum(part.total for part in parts) == stream.end()["rows"]["clean"]
    assert sum(map(len, parts)) < sum(part.total for part in parts)
    assert {int(v) for part in parts for v in np.unique(part.columns["p"])} == {0, 1}


def test_a_gap_is_told(client):
    stream = client.stream("denoise", sensor=(64, 48))
    one = np.zeros(1, np.uint16)
    stream.send(np.array([1000]), one, one, one)
    stream.gap(9000)
    stream.send(np.array([9500]), one, one, one)
    stream.end()
    assert [(g.from_us, g.to_us) for g in stream.results("clean") if isinstance(g, Gap)] == [(1000, 9000)]


def test_events_outside_the_sensor_are_dropped_and_counted(client):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.send([1, 2, 3], [1, 64, 5], [1, 1, 48], [1, 0, 1])
    stream.send([2], [1], [1], [1])
    stream.end()
    assert stream.stats()["dropped"] == {"late": 1, "out_of_sensor": 2, "shed": 0}


def test_a_late_event_ends_a_stream_that_wants_it_so(client, service):
    stream = client.stream("denoise", sensor=(64, 48), late="error")
    stream.send([5], [1], [1], [1])
    with pytest.raises(Exception, match="late_event"):
        stream.send([2], [1], [1], [1]), stream.end()
    assert stream.stats()["state"] == "failed"
    assert stream.stats()["failure"]["code"] == "late_event"


def broken(frame, at, value):
    data = bytearray(frame)
    data[at : at + len(value)] = value
    return bytes(data)


GOOD = wire.build(wire.EVENTS, 0, 1, 0, 1, bytes(8))
BAD_FRAMES = [
    (broken(GOOD, 0, b"EVIL"), 4400, "wrong magic"),
    (broken(GOOD, 4, b"\x02"), 4400, "version 2"),
    (broken(GOOD, 28, b"\0\0\0\0"), 4400, "wrong checksum"),
    (broken(GOOD, 24, b"\x05"), 4400, "length"),
    (GOOD + b"\0", 4400, "length"),
    (b"short", 4400, "at least 32 bytes"),
    ("text", 4400, "binary"),
    (wire.build(wire.HEARTBEAT, 0, 7, 0, 0), 4409, "expected frame 1, got 7"),
    (bytes(4 * 2**20 + 1), 1009, "at most 4194304 bytes"),
]


@pytest.mark.parametrize(("message", "close", "detail"), BAD_FRAMES)
@pytest.mark.threat("hostile frames", "4400 or 1009, nothing of them is applied, the stream goes on")
def test_a_bad_frame_closes_its_connection_with_a_reason_and_nothing_else(
    client, service, message, close, detail
):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.close()
    with ingest(service, stream.id) as socket:
        hear(socket, "ready")
        socket.send(message)
        error = hear(socket, "error")
        assert detail in error["detail"]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=60)
        assert caught.value.rcvd.code == close
    with ingest(service, stream.id) as socket:  # the stream takes up where it was
        assert hear(socket, "ready")["resume_from"] == 1
        socket.send(GOOD)
        while hear(socket, "ack")["received"] < 1:
            pass
    client.request("DELETE", f"/v1/streams/{stream.id}")


def test_a_newer_connection_takes_over(client, service):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.close()
    with ingest(service, stream.id) as old, ingest(service, stream.id) as new:
        hear(new, "ready")
        with pytest.raises(ConnectionClosed) as caught:
            drain(old)
        assert caught.value.rcvd.code == 4410
    client.request("DELETE", f"/v1/streams/{stream.id}")


def test_a_deleted_stream_closes_its_sockets(client, service):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.close()
    with ingest(service, stream.id) as socket:
        hear(socket, "ready")
        client.request("DELETE", f"/v1/streams/{stream.id}")
        with pytest.raises(ConnectionClosed) as caught:
            drain(socket)
        assert caught.value.rcvd.code == 4404


def test_an_ended_stream_says_so_again(client, service):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.send([1], [1], [1], [1])
    final = stream.end()
    with ingest(service, stream.id) as socket:
        assert hear(socket, "ready")["ended"] is True
        assert hear(socket, "end")["digests"] == final["digests"]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=60)
        assert caught.value.rcvd.code == 1000


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/v1/streams/0123456789abcdef/ingest", {"subprotocols": ["polychrony.v1"]}, 404),
        ("/v1/streams/{id}/ingest", {}, 400),
        (
            "/v1/streams/{id}/ingest",
            {"subprotocols": ["polychrony.v1"], "origin": "http://evil.example"},
            403,
        ),
        ("/v1/streams/{id}/results?output=none", {"subprotocols": ["polychrony.v1"]}, 400),
        ("/v1/streams/{id}/results?after=clean:x", {"subprotocols": ["polychrony.v1"]}, 400),
    ],
)
def test_upgrades_are_refused_with_a_status(client, service, path, options, status):
    stream = client.stream("denoise", sensor=(64, 48))
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{service.port}{path.format(id=stream.id)}", **options)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body)["status"] == status
    stream.delete()


def test_a_stream_without_sender_ends_by_itself(client):
    stream = client.stream("denoise", sensor=(64, 48), idle_timeout_s=0.3)
    stream.send([1], [1], [1], [1])
    stream.close()
    deadline = time.monotonic() + 120
    while stream.stats()["state"] != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stream.delete()


def test_a_stream_that_ended_by_itself_takes_no_frame_for_its_own_end(client, service):
    """What was sent after the end is refused in words, never acknowledged."""
    stream = client.stream("denoise", sensor=(64, 48), idle_timeout_s=3)
    stream.send([1], [1], [1], [1])
    stream.close()
    deadline = time.monotonic() + 120
    while stream.stats()["state"] != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with ingest(service, stream.id) as socket:
        assert hear(socket, "ready")["resume_from"] == 2
    stream.delete()


def test_a_killed_service_loses_no_durable_frame(tmp_path, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    service = ServiceProcess(tmp_path / "data")
    try:
        with Client(service.url) as client:
            stream = client.stream("motion", sensor=(346, 260))
            for i, part in enumerate(np.array_split(np.arange(len(events[0])), 60)):
                if i in {20, 40}:
                    service.kill()
                    service.start()
                stream.send(*(column[part] for column in events))
            final = stream.end()
            assert (final["rows"], final["digests"]) == (rows, digests)
            assert len(stream.rows("motion")["t"]) == rows["motion"]
    finally:
        assert service.stop() == 0


class CuttingProxy:
    """A TCP proxy whose connections can be cut at any moment, or after so many bytes."""

    def __init__(self, port):
        self.target, self.pairs, self.cuts = port, [], 0
        self.after, self.passed, self.lock = iter(()), 0, threading.Lock()
        self.due = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.pairs.append((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
                self.count(len(data))
        for end in (one, other):  # a close alone would not end what the other thread still reads
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut_after(self, many_bytes):
        """Cut after so many bytes, then after so many more, and so on."""
        with self.lock:
            self.after, self.passed = iter(many_bytes), 0
            self.due = next(self.after, None)

    def count(self, n):
        with self.lock:
            self.passed += n
            over = self.due is not None and self.passed >= self.due
            if over:
                self.passed, self.due = 0, next(self.after, None)
        if over:
            self.cut()

    def cut(self):
        self.cuts += 1
        while self.pairs:
            for end in self.pairs.pop():
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_cut_again_and_again_loses_and_repeats_nothing(service, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    proxy = CuttingProxy(service.port)
    with Client(proxy.url) as client:
        stream = client.stream("motion", sensor=(346, 260))
        proxy.cut_after(np.random.default_rng(5).integers(200, 20_000, 40).tolist())
        try:
            for part in np.array_split(np.arange(len(events[0])), 200):
                stream.send(*(column[part] for column in events))
                time.sleep(0.003)
            final = stream.end()
        finally:
            proxy.listener.close()
    assert proxy.cuts > 5
    assert (final["rows"], final["digests"]) == (rows, digests)


@pytest.mark.parametrize("encoding", ["EVT2", "EVT3"])
def test_any_bytes_from_a_camera_are_survived(client, encoding):
    stream = client.stream("motion", sensor=(64, 48))
    stream.send_camera_bytes(
        bytes(1) + np.random.default_rng(0).bytes(300_000), encoding, t_zero_us=2**53 - 10
    )
    stream.end()
    stats = stream.stats()
    assert stats["state"] == "ended"
    assert stats["dropped"]["beyond_time"] > 0
    assert stats["repaired"]["ignored_unknown_words"] > 0
    stream.delete()


def test_realtime_sheds_what_is_too_old_counts_it_and_goes_on(client):
    rng = np.random.default_rng(0)
    n = 400_000
    t = np.sort(rng.integers(0, 2_000_000, n))
    x, y = rng.integers(0, 128, n), rng.integers(0, 128, n)
    stream = client.stream("motion", sensor=(128, 128), policy="realtime", max_latency_ms=5)
    stream.send(t, x, y, rng.random(n) < 0.5)
    stream.end()
    stats = stream.stats()
    assert stats["dropped"]["shed"] > 0
    assert stats["events"] + stats["dropped"]["shed"] == n
    stream.delete()


def test_a_reader_that_asks_for_it_is_waited_for(tmp_path):
    """Rows flow through a store far smaller than they are; the reader misses none."""
    service = ServiceProcess(tmp_path / "data", retention_bytes=2**20, window_bytes=2**20)
    try:
        with Client(service.url) as client:
            stream = client.stream("denoise", sensor=(64, 64))
            got = []

            def read():
                for result in client.results(stream.id, "clean", start=True, lossless=True):
                    if isinstance(result, Rows):
                        got.append((result.first_row, result.total))
                        time.sleep(0.002)

            reader = threading.Thread(target=read)
            reader.start()
            deadline = time.monotonic() + 120
            while stream.stats()["subscribers"] == 0:
                assert time.monotonic() < deadline
            rng = np.random.default_rng(0)
            t = np.arange(400_000, dtype=np.int64) * 2
            x, y = rng.integers(0, 64, len(t)), rng.integers(0, 64, len(t))
            for part in np.array_split(np.arange(len(t)), 100):
                stream.send(t[part], x[part], y[part], x[part] > 31)
            final = stream.end()
            reader.join(120)
            assert sum(total for _, total in got) == final["rows"]["clean"] > 100_000
            late = [type(r).__name__ for r in client.results(stream.id, "clean", start=True)]
            assert "Lagged" in late  # one that comes afterwards is told what is gone
    finally:
        service.stop()


def test_shutdown_is_quick_and_clean_whatever_clients_do(tmp_path):
    service = ServiceProcess(tmp_path / "data", slow_subscriber_s=3600, ping_s=3600)
    with Client(service.url) as client:
        stream = client.stream("denoise", sensor=(64, 48))
        sockets = [client.connect(f"/v1/streams/{stream.id}/results") for _ in range(20)]
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 60
        for socket in sockets:
            with pytest.raises(ConnectionClosed) as caught:
                drain(socket)
            assert caught.value.rcvd.code in {1001, 1012}
    assert [path.name for path in (tmp_path / "data" / "streams").iterdir()] == [stream.id]


def test_subscribers_that_leave_while_rows_come_leave_no_traceback(tmp_path):
    """Each cuts its connection at another moment of what is being sent to it."""
    running = ServiceProcess(tmp_path / "data")
    try:
        with Client(running.url) as client:
            stream = client.stream("view", (640, 480))
            stop = threading.Event()

            def leave_again_and_again():
                address = f"{running.url.replace('http', 'ws')}/v1/streams/{stream.id}/results?from=start"
                while not stop.is_set():
                    with connect(address, subprotocols=["polychrony.v1"]) as subscriber:
                        for _ in range(3):
                            subscriber.recv()

            threads = [threading.Thread(target=leave_again_and_again) for _ in range(4)]
            for thread in threads:
                thread.start()
            rng, t = np.random.default_rng(0), np.arange(2000)
            for k in range(150):
                x, y = rng.integers(0, 640, 2000), rng.integers(0, 480, 2000)
                stream.send(t + 2000 * k, x, y, x > 320)
            stop.set()
            for thread in threads:
                thread.join()
            stream.end()
    finally:
        running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def hurried(tmp_path_factory):
    service = ServiceProcess(tmp_path_factory.mktemp("hurried") / "data", message_timeout_s=1)
    yield service
    service.stop()


class TestSlowMessages:
    """A message comes in time or the connection is closed; one on which nothing comes stays."""

    def opened(self, service):
        from tests.reliability.tools import RawSocket, create

        socket = RawSocket(service.port, f"/v1/streams/{create(service, sensor=(64, 48))}/ingest")
        socket.until(1)
        return socket

    def test_a_quiet_connection_stays(self, hurried):
        socket = self.opened(hurried)
        for number in (1, 2):
            socket.send(2, wire.build(wire.EVENTS, 0, number, 0, 1, bytes(8)))
            time.sleep(1.6)
        socket.send(9, b"still there?")
        assert socket.until(10) == b"still there?"

    @pytest.mark.parametrize("sent", [b"\x82", b"\x82\xa8", b"\x82\xa8\0\0\0\0half"])
    def test_half_a_frame_is_not_waited_for(self, hurried, sent):
        socket = self.opened(hurried)
        started = time.monotonic()
        socket.put(sent)
        assert socket.close_code() == 1008
        assert time.monotonic() - started > 0.8

    def test_nor_is_a_message_in_fragments_however_steadily_they_drip(self, hurried):
        socket = self.opened(hurried)
        started = time.monotonic()
        socket.send(2, b"x", fin=False)
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                time.sleep(0.2)
                socket.send(0, b"x", fin=False)
        assert socket.close_code() in {
            1008,
            None,
        }  # what was sent after the close may have reset the connection
        assert time.monotonic() - started < 100, "it was not the time of one message that ended it"

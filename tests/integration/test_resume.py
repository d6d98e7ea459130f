"""Streams that go on: after a kill, from a snapshot, in another stream, once more from a recording."""

import asyncio
import io
import json
import threading
import time
import zipfile

import numpy as np
import pytest
from polychrony_client import AsyncClient, Client, Refused, Rows, RowsGone

from service.cli import main
from tests.integration.service_process import ServiceProcess
from tests.integration.test_streams import DAVIS, expected, recording


@pytest.fixture
def own(tmp_path):
    """Starts services of the test's own."""
    running = []

    def start(**settings):
        running.append(ServiceProcess(tmp_path / f"data{len(running)}", **settings))
        return running[-1]

    yield start
    for service in running:
        service.stop()


def shortened(folder, most, seconds=120):
    """Bytes of a stream's log once snapshots have cut it, however long they take."""
    deadline = time.monotonic() + seconds
    while (size := sum(path.stat().st_size for path in folder.glob("frames-*.log"))) >= most:
        assert time.monotonic() < deadline, f"the log still holds {size} bytes"
        time.sleep(0.05)
    return size


def parts_of(events, n):
    for part in np.array_split(np.arange(len(events[0])), n):
        yield tuple(column[part] for column in events)


def test_snapshots_keep_the_log_short_and_a_killed_service_goes_on_from_them(own, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    service = own(snapshot_bytes=65_536)
    with Client(service.url) as client:
        stream = client.stream("motion", sensor=(346, 260))
        folder = service.data / "streams" / stream.id
        sizes = []
        for i, part in enumerate(parts_of(events, 60)):
            stream.send(*part)
            stream.flush()  # so that no batch holds all of them, after which there were nothing to forget
            if i in {15, 31, 48}:
                sizes.append(shortened(folder, 500_000))
                service.kill()
                service.start()
        final = stream.end()
        assert list(folder.glob("snapshot-*.zip"))
        assert (final["rows"], final["digests"]) == (rows, digests)
        motion = stream.rows("motion")
        assert len(motion["t"]) == rows["motion"]
        assert np.all(np.diff(motion["t"]) >= 0)
        assert stream.reconnects == 3
        assert max(sizes) < 500_000 < 8 * len(events[0])
        assert len(list(folder.glob("snapshot-*.zip"))) in {1, 2}


def test_a_stop_leaves_a_snapshot_so_that_the_next_start_has_nothing_to_repeat(own, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    service = own()
    sent = 0
    with Client(service.url) as client:
        stream = client.stream("motion", sensor=(346, 260))
        for i, part in enumerate(parts_of(events, 10)):
            stream.send(*part)
            sent += len(part[0])
            if i == 4:
                stream.flush()
                deadline = time.monotonic() + 120
                while stream.stats()["events"] < sent:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                assert service.stop() == 0
                assert max((service.data / "streams").glob("*/frames-*.log")).stat().st_size == 0
                service.start()
        final = stream.end()
        assert (final["rows"], final["digests"]) == (rows, digests)


def test_a_subscriber_gets_every_row_once_through_a_kill(own, data_dir):
    rows, _ = expected(data_dir)
    events, _ = recording(data_dir)
    service = own(snapshot_bytes=65_536)
    got, connected = [], threading.Event()
    with Client(service.url) as client:
        stream = client.stream("motion", sensor=(346, 260))

        def read():
            with Client(service.url) as other:
                results = other.results(stream.id, "motion", start=True)
                connected.set()  # whoever asks for the first time is told where nobody answers
                got.extend(one for one in results if isinstance(one, Rows))

        reader = threading.Thread(target=read)
        reader.start()
        assert connected.wait(30)
        for i, part in enumerate(parts_of(events, 40)):
            stream.send(*part)
            if i in {13, 27}:
                stream.flush()
                service.kill()
                service.start()
        stream.end()
        reader.join(120)
    starts = np.cumsum([0, *(len(one) for one in got)])
    assert [one.first_row for one in got] == starts[:-1].tolist()
    assert starts[-1] == rows["motion"]


def test_another_stream_goes_on_from_a_snapshot(client, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    first, *rest = parts_of(events, 3)
    stream = client.stream("motion", sensor=(346, 260))
    stream.send(*first)
    stream.flush()
    deadline = time.monotonic() + 120
    while stream.stats()["events"] < len(first[0]):
        assert time.monotonic() < deadline
    snapshot = stream.snapshot()
    stream.delete()
    other = client.restore(snapshot)
    assert other.id != stream.id
    for part in rest:
        other.send(*part)
    final = other.end()
    assert (final["rows"], final["digests"]) == (rows, digests)
    with pytest.warns(RowsGone, match="rows of motion any more"):
        assert other.rows("motion")["t"][0] > first[0][-1] - 20_000, "rows before the snapshot are not there"
    with pytest.raises(Refused, match="409"):
        other.snapshot()


def resigned(data):
    """The same with other arrays, and the old signature."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:-1] + b"\x01" if name == "state.safetensors" else content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda data: b"not a zip", "unknown format"),
        (lambda data: data.replace(b'"number": ', b'"number":9', 1), "not a snapshot"),
        (resigned, "its signature is wrong"),
    ],
)
@pytest.mark.threat(
    "a forged snapshot, whose arrays become indices in kernels",
    "snapshots are signed (HMAC-SHA256) with a key of the service",
)
def test_a_snapshot_of_somebody_else_is_not_opened(client, spoil, problem):
    stream = client.stream("denoise", sensor=(64, 48))
    stream.send([1], [1], [1], [1])
    stream.flush()
    data = stream.snapshot()
    stream.delete()
    with pytest.raises(Refused, match=problem):
        client.restore(spoil(data))


def test_a_snapshot_brings_everything_but_its_source(client):
    with pytest.raises(Refused, match="no complete upload"):
        client.request("POST", "/v1/streams", json={"snapshot": "0" * 32})
    stream = client.stream("denoise", sensor=(64, 48))
    id_ = client.upload_bytes(stream.snapshot())
    with pytest.raises(Refused, match="reorder_us: comes with the snapshot"):
        client.request("POST", "/v1/streams", json={"snapshot": id_, "reorder_us": 5})
    stream.delete()


def test_a_realtime_stream_is_replayed_with_what_it_shed(client, data_dir, tmp_path, capsys):
    events, _ = recording(data_dir)
    # Forty times over, faster than it can be worked off: much is shed.
    stream = client.stream("motion36", sensor=(346, 260), policy="realtime", max_latency_ms=5, record=True)
    events = (events[0] - events[0][0], *events[1:])
    step = int(events[0][-1]) + 1
    for i in range(6):
        for part in parts_of(events, 20):
            stream.send(part[0] + i * step, *part[1:])
    final = stream.end()
    stats = stream.stats()
    assert stats["dropped"]["shed"] > 0
    assert stats["recording"]["left_out_frames"] == 0
    (tmp_path / "a.pchy").write_bytes(stream.recording())
    (tmp_path / "a.jsonl").write_text(stream.admission())
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tmp_path / "a.pchy"), "--admission", str(tmp_path / "a.jsonl"), "--json"])
    assert ended.value.code == 0
    again = json.loads(capsys.readouterr().out)
    assert again["digests"] == final["digests"]
    assert again["dropped"]["shed"] == stats["dropped"]["shed"]
    assert again["rows"] == final["rows"]


def test_both_clients_give_the_same_of_a_stream(client, data_dir):
    events, _ = recording(data_dir)
    stream = client.stream("motion", sensor=(346, 260), policy="realtime", record=True)
    stream.send(*next(iter(parts_of(events, 20))))
    stream.end()

    async def by_the_other():
        async with AsyncClient(client.url) as other:
            same = await other.attach(stream.id)
            return await same.labels("motion"), await same.recording(), await same.admission()

    assert asyncio.run(by_the_other()) == (stream.labels("motion"), stream.recording(), stream.admission())


def test_a_recording_of_a_stream_is_a_recording_like_any_other(client, data_dir, tmp_path, capsys):
    _, digests = expected(data_dir)
    events, _ = recording(data_dir)
    stream = client.stream("motion", sensor=(346, 260), record=True)
    for part in parts_of(events, 7):
        stream.send(*part)
    stream.end()
    (tmp_path / "a.pchy").write_bytes(stream.recording())
    for command in (["digest", "--pipeline", "motion"], ["replay"]):
        with pytest.raises(SystemExit):
            main([command[0], str(tmp_path / "a.pchy"), *command[1:], "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found.get("digests", found) == digests
    with pytest.raises(SystemExit):
        main(["info", str(tmp_path / "a.pchy"), "--json"])
    assert json.loads(capsys.readouterr().out)["format"] == "PCHY"


def test_a_recording_survives_a_kill_whole(own, data_dir, tmp_path, capsys):
    _, digests = expected(data_dir)
    events, _ = recording(data_dir)
    service = own(snapshot_bytes=100_000)
    with Client(service.url) as client:
        stream = client.stream("motion", sensor=(346, 260), record=True)
        for i, part in enumerate(parts_of(events, 30)):
            stream.send(*part)
            if i in {9, 19}:
                service.kill()
                service.start()
        stream.end()
        (tmp_path / "a.pchy").write_bytes(stream.recording())
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "a.pchy"), "--json"])
    assert json.loads(capsys.readouterr().out)["digests"] == digests


def test_another_client_goes_on_where_the_first_left_off(client, data_dir):
    _, digests = expected(data_dir)
    events, _ = recording(data_dir)
    first, second = parts_of(events, 2)
    stream = client.stream("motion", sensor=(346, 260))
    stream.send(*first)
    stream.flush()
    stream.close()
    other = client.attach(stream.id)
    other.send(*second)
    assert other.end()["digests"] == digests


def test_the_same_idempotency_key_gives_the_same_stream(client):
    def create(key):
        body = {"pipeline": "denoise", "sensor": {"width": 8, "height": 8}}
        return client.request("POST", "/v1/streams", json=body, headers={"Idempotency-Key": key}).json()["id"]

    assert create("a") == create("a") != create("b")


def test_a_stream_whose_model_has_changed_is_not_gone_on_with(own, tmp_path, monkeypatch):
    """It is said, and nothing else is lost."""
    service = own()
    with Client(service.url) as client:
        stream = client.stream("denoise", sensor=(64, 48))
        stream.send([1], [1], [1], [1])
        stream.flush()
        service.stop()
        path = service.data / "streams" / stream.id / "request.json"
        document = json.loads(path.read_text())
        document["request"]["sensor"]["width"] += 1
        path.write_text(json.dumps(document))
        service.start()
        with pytest.raises(Refused, match="404"):
            stream.stats()
        assert "another than it was" in service.log.read_text()
        assert "streams_not_restored 1.0" in client.request("GET", "/metrics").text


def test_rows_are_read_from_the_start_while_the_log_is_long_gone(own, data_dir):
    events, _ = recording(data_dir, DAVIS)
    service = own(snapshot_bytes=65_536)
    with Client(service.url) as client:
        stream = client.stream("denoise", sensor=(346, 260))
        stream.send(*events)
        stream.flush()
        service.kill()
        service.start()
        total = stream.end()["rows"]["clean"]
        assert sum(one.total for one in stream.results("clean") if isinstance(one, Rows)) == total


def test_a_damaged_snapshot_is_made_up_for_by_the_one_before_it(own, data_dir):
    rows, digests = expected(data_dir)
    events, _ = recording(data_dir)
    service = own(snapshot_bytes=100_000)
    with Client(service.url) as client:
        stream = client.stream("motion", sensor=(346, 260))
        folder = service.data / "streams" / stream.id
        spoiled = False
        for part in parts_of(events, 40):
            stream.send(*part)
            stream.flush()
            if not spoiled and len(list(folder.glob("snapshot-*.zip"))) == 2:
                service.kill()
                newest = max(folder.glob("snapshot-*.zip"))
                newest.write_bytes(newest.read_bytes()[:1000])
                service.start()
                spoiled = True
        final = stream.end()
    assert spoiled
    assert (final["rows"], final["digests"]) == (rows, digests)

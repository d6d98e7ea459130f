"""What was acknowledged is there after any end: a stop while the log is replayed, a full disk, a kill in between."""

import asyncio
import errno
import functools
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernels.coding.events import pack_aer64
from pipeline import frame_file, wire
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.replay import Admission, ReplayError, read_admission, replay
from pipeline.sensor import Sensor
from pipeline.spec import preset
from service.jobs.runner import Jobs
from service.settings import Settings
from service.storage.backends import Backends
from service.storage.files.recording import Recorder
from service.storage.files.secret_files import SecretFiles
from service.storage.files.snapshots import Snapshots
from service.storage.files.stream_files import StreamFiles, StreamFolders
from service.storage.records import Job
from service.streams.opening import open_stream
from service.streams.registry import Streams, TooManyStreams
from service.streams.request import StreamRequest
from service.streams.runner import Runner
from service.streams.stream import Opened

N = 200


def columns(n, events=N, step_us=1000):
    rng = np.random.default_rng(n)
    t = np.sort(rng.integers(0, step_us, events)) + n * step_us
    x, y = (rng.integers(0, 32, events).astype(np.uint16) for _ in "xy")
    return t, x, y, rng.integers(0, 2, events).astype(bool)


def frame(n, events=N, step_us=1000):
    packed = pack_aer64(*columns(n, events, step_us), n * step_us)
    return wire.build(wire.EVENTS, wire.AER64, n, n * step_us, events, packed.tobytes())


def asked(**options):
    return StreamRequest(pipeline="denoise", sensor={"width": 32, "height": 32}, **options)


def expected(numbers):
    """The digests of an engine that no stop ever touched."""
    engine = Engine(Graph(preset("denoise"), Sensor(width=32, height=32)))
    for n in numbers:
        engine.feed(columns(n))
    engine.end()
    return engine.digests()


def in_a_loop(test):
    """Run an async test to its end."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class Box:
    """The streams of one data folder, started and stopped as a service does."""

    def __init__(self, data):
        self.data = data
        self.streams = None

    async def start(self):
        settings = Settings(data_dir=self.data)
        self.streams = Streams(settings, Backends.embedded(settings).streams)
        await self.streams.open()
        return self.streams

    async def stop(self):
        await self.streams.close()

    def killed(self, to):
        """The folder as a kill would leave it now."""
        shutil.copytree(self.data, to)
        return Box(to)


@pytest.fixture
def box(tmp_path):
    (tmp_path / "data").mkdir()
    return Box(tmp_path / "data")


async def create(streams, request, snapshot=None, key=None):
    return await open_stream(streams, streams._settings, request, key, snapshot)


def admitted(stream, raw):
    """A frame that is let in, from a connection of its own."""
    sender = stream.session.take_over()
    found = sender.offer(raw)
    sender.leave()
    return found


async def send(stream, numbers):
    for n in numbers:
        stream.push(admitted(stream, frame(n)))
    await at_rest(stream, numbers[-1])


async def at_rest(stream, number):
    """Until a snapshot behind frame ``number`` is written, too, which is after the frame is counted."""
    await until(lambda: stream.runner.intake.frames >= number or stream.failure or stream.trouble)
    turn = stream.runner.mailbox.ask(lambda: None)
    await until(lambda: turn.done() or stream.failure or stream.trouble)


async def finished(stream, last):
    stream.push(admitted(stream, wire.build(wire.END, 0, last + 1, 0, 0)))
    await until(lambda: stream.view.final()["digests"])
    return stream.view.final()["digests"]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@in_a_loop
async def test_a_stop_while_the_log_is_replayed_loses_nothing(box, tmp_path, monkeypatch):
    stream = await create(await box.start(), asked())
    await send(stream, range(1, 101))
    assert stream.session.ack()["durable"] == 100
    later = box.killed(tmp_path / "killed")
    await box.stop()

    real = Runner.replay

    def slowly(self, one, size):
        real(self, one, size)
        time.sleep(0.01)

    monkeypatch.setattr(Runner, "replay", slowly)
    await later.start()
    await asyncio.sleep(0.2)
    await later.stop()
    monkeypatch.undo()
    found = (await later.start()).get(stream.id)
    await found.restored.wait()
    assert found.session.accepted == found.session.ack()["durable"] == 100
    assert await finished(found, 100) == expected(range(1, 101))
    await later.stop()


@pytest.mark.parametrize("where", ["recorder", "feed"])
@in_a_loop
async def test_a_stop_while_the_disk_is_full_loses_nothing_that_was_acknowledged(box, where):
    stream = await create(await box.start(), asked(record=True))
    await send(stream, range(1, 11))
    if where == "recorder":
        stream.durability.recording.append = full
    else:
        next(iter(stream.outputs.values())).write = full
    for n in range(11, 21):
        stream.push(admitted(stream, frame(n)))
    await until(lambda: stream.trouble)
    durable = stream.session.ack()["durable"]
    assert durable > 10
    await box.stop()
    found = (await box.start()).get(stream.id)
    await found.restored.wait()
    assert found.session.accepted >= durable
    await send(found, range(found.session.accepted + 1, 31))
    name, feed = next(iter(found.outputs.items()))
    assert feed.head.next_row == found.view.stats()["rows"][name]
    assert (feed.read(0, feed.head.next_row)["t"] > 0).all()
    assert await finished(found, 30) == expected(range(1, 31))
    assert sum(one.type == wire.EVENTS for one in frame_file.frames(found.durability.recording.path)) == 30
    await box.stop()


@in_a_loop
async def test_a_disk_that_is_full_at_the_start_costs_no_stream(box, monkeypatch):
    stream = await create(await box.start(), asked(record=True))
    await send(stream, range(1, 11))
    await box.stop()
    monkeypatch.setattr("service.storage.files.stream_files.FrameLog", full)
    streams = await box.start()
    assert stream.id in streams.not_restored
    monkeypatch.undo()
    await until(lambda: streams.get(stream.id))
    assert streams.not_restored == {}
    assert await finished(streams.get(stream.id), 10) == expected(range(1, 11))
    await box.stop()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("fails", ["snapshot", "segment"])
@in_a_loop
async def test_a_snapshot_that_cannot_be_written_costs_nothing(box, tmp_path, monkeypatch, code, fails):
    stream = await create(await box.start(), asked())
    stream.durability.checkpoint_bytes = 5000

    def cannot(*_):
        raise OSError(code, os.strerror(code))

    if fails == "snapshot":
        monkeypatch.setattr(Snapshots, "write", cannot)
    else:
        stream.durability.log.checkpoint = cannot
    await send(stream, range(1, 31))
    await until(lambda: stream.view.stats()["snapshot_failures"] > 0)
    assert stream.failure is None
    assert not list(stream.store._folder.glob(".*.part"))
    later = box.killed(tmp_path / "killed")
    monkeypatch.undo()
    await box.stop()
    found = (await later.start()).get(stream.id)
    await found.restored.wait()
    assert await finished(found, 30) == expected(range(1, 31))
    await later.stop()


@in_a_loop
async def test_a_stream_from_a_snapshot_knows_after_a_kill_that_it_has_not_the_rows_of_the_other(
    box, tmp_path
):
    streams = await box.start()
    first = await create(streams, asked(record=True))
    await send(first, range(1, 11))
    snapshot = streams.read_snapshot((await first.between_frames(first.checkpoints.packed))[1])
    second = await create(streams, StreamRequest.model_validate(snapshot.card["request"]), snapshot)
    await send(second, range(11, 21))
    rows = next(iter(first.outputs.values())).head.next_row
    with pytest.raises(ReplayError, match="behind frame 10"):
        replay(second.durability.recording.path, Admission())
    assert [one.number for one in frame_file.frames(second.durability.recording.path)][1:] == list(
        range(11, 21)
    )
    later = box.killed(tmp_path / "killed")
    await box.stop()
    found = (await later.start()).get(second.id)
    await found.restored.wait()
    feed = next(iter(found.outputs.values()))
    assert feed.oldest == rows
    assert len(feed.read(rows, 5)) == 5
    assert [one.number for one in frame_file.frames(found.durability.recording.path)][1:] == list(
        range(11, 21)
    )
    assert await finished(found, 20) == expected(range(1, 21))
    await later.stop()


@in_a_loop
async def test_what_a_realtime_stream_shed_is_written_down_while_it_runs(box):
    stream = await create(await box.start(), asked(policy="realtime", record=True, max_latency_ms=60_000))
    await send(stream, range(1, 11))
    for n in range(11, 16):  # an hour old, as they come
        one = admitted(stream, frame(n))
        stream.push(replace(one, at_s=one.at_s - 3600))
    await at_rest(stream, 15)
    await stream.flush_shed_log()
    assert read_admission(stream.durability.shed_log.path).shed == [(11, 15)]
    await send(stream, range(16, 21))
    intake = replay(stream.durability.recording.path, read_admission(stream.durability.shed_log.path))
    assert intake.engine.events == stream.view.stats()["events"] == 15 * N
    assert intake.shed_events == 5 * N
    await box.stop()


class LateLog:
    """A log whose frames become durable when somebody says so, as one on other machines does."""

    def __init__(self, log):
        self._log, self._held = log, []

    def __getattr__(self, name):
        return getattr(self._log, name)

    def append(self, frames, last, durable):
        self._log.append(frames, last, lambda number: self._held.append((durable, number)))

    def release(self):
        """From another thread, as it will be."""
        held, self._held = self._held, []
        told = threading.Thread(target=lambda: [durable(number) for durable, number in held])
        told.start()
        told.join()


@in_a_loop
async def test_rows_are_shown_when_their_frames_are_durable_and_not_before(box, monkeypatch):
    logs, real = [], StreamFiles.log
    monkeypatch.setattr(
        StreamFiles, "log", lambda self, after: logs.append(LateLog(real(self, after))) or logs[-1]
    )
    stream = await create(await box.start(), asked())
    stream.durability.checkpoint_bytes = 1
    store = next(iter(stream.outputs.values()))
    await send(stream, range(1, 11))
    await until(lambda: store.computed.next_row == stream.view.stats()["rows"][store.name])
    assert stream.session.ack()["received"] == 10
    assert (stream.session.ack()["durable"], store.head.next_row, stream.view.stats()["snapshots"]) == (
        0,
        0,
        0,
    )
    rows = store.computed.next_row
    assert rows > 0
    logs[0].release()
    await until(lambda: stream.session.ack()["durable"] == 10)
    assert store.head.next_row == rows
    await send(stream, range(11, 21))
    assert (stream.session.ack()["durable"], store.head.next_row) == (10, rows)
    logs[0].release()
    await until(lambda: store.head.next_row > rows)
    assert stream.session.ack()["durable"] == 20
    digests = await finished(stream, 20)
    assert stream.state == "draining", "the end is told when it is durable"
    logs[0].release()
    await until(lambda: stream.state == "ended")
    assert digests == stream.view.final()["digests"] == expected(range(1, 21))
    await box.stop()


def test_a_recording_with_a_hole_says_so_for_ever(tmp_path):
    path = tmp_path / "r.pchy"
    recorder = Recorder(path, {"a": 1}, 2500)
    recorder.append([frame(1)])
    recorder.append([frame(2)])
    assert recorder.left_out == 1
    size, left_out = recorder.size, recorder.left_out
    recorder.close()
    recorder = Recorder(path, {"a": 1, "another": "key"}, 2500)
    recorder.cut_back(size, left_out)
    recorder.append([wire.build(wire.HEARTBEAT, 0, 3, 9000, 0)])
    recorder.close()
    assert recorder.left_out == 2
    assert [one.number for one in frame_file.frames(path)] == [0, 1]


@in_a_loop
async def test_streams_that_cannot_be_made_leave_nothing(box, monkeypatch):
    streams = await box.start()
    first = await create(streams, asked())
    await send(first, range(1, 3))
    snapshot = streams.read_snapshot((await first.between_frames(first.checkpoints.packed))[1])
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(Snapshots, "write", full)
    for _ in range(5):
        with pytest.raises(OSError, match="No space"):
            await create(streams, StreamRequest.model_validate(snapshot.card["request"]), snapshot, "key")
    monkeypatch.undo()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    assert [one.id for one in streams.all()] == [first.id]
    assert len(list((box.data / "streams").iterdir())) == 1
    await box.stop()


@in_a_loop
async def test_time_that_a_restart_takes_is_no_idleness(box, tmp_path, monkeypatch):
    stream = await create(await box.start(), asked(idle_timeout_s=60.0))
    await send(stream, range(1, 101))
    later = box.killed(tmp_path / "killed")
    await box.stop()
    real, go_on = Runner.replay, threading.Event()
    monkeypatch.setattr(Runner, "replay", lambda self, one, size: (go_on.wait(), real(self, one, size)))
    streams = await later.start()
    found, began = streams.get(stream.id), time.monotonic()
    await streams._upkeep.look_after(found, began + 3600)
    assert not found.restored.is_set()
    go_on.set()
    await found.restored.wait()
    since = found.session._left_s
    assert since >= began
    await streams._upkeep.look_after(found, since + 59)
    assert not found.session.ended
    await streams._upkeep.look_after(found, since + 61)
    assert found.session.ended
    await later.stop()


@in_a_loop
async def test_a_folder_that_was_half_removed_is_no_stream(box):
    streams = await box.start()
    stream = await create(streams, asked())
    await send(stream, range(1, 3))
    await box.stop()
    stream.store.hide()
    streams = await box.start()
    assert streams.all() == []
    assert streams.not_restored == {}
    assert not list((box.data / "streams").iterdir())
    await box.stop()


@in_a_loop
async def test_a_worker_outlives_a_queue_that_cannot_be_written_to(tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path)
    jobs = Jobs(settings, Backends.embedded(settings).jobs)
    await jobs.open()

    tried = asyncio.Event()

    async def cannot(*_, **__):
        tried.set()
        raise RuntimeError("database or disk is full")

    monkeypatch.setattr(jobs.store, "finish", cannot)
    id_, _ = jobs.new_folder()  # without an upload: it cannot run
    await jobs.store.add(Job(id_, "x", {"pipeline": preset("motion").model_dump(mode="json")}))
    async with asyncio.timeout(120):
        await tried.wait()
        assert jobs.alive
        monkeypatch.undo()
        while (await jobs.store.get(id_)).state != "failed":
            await asyncio.sleep(0.01)
    await jobs.close()


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@in_a_loop
async def test_an_epoch_that_cannot_be_written_keeps_no_stream_from_coming_back(box):
    stream = await create(await box.start(), asked(), key="k")
    await send(stream, range(1, 4))
    await box.stop()
    epoch = box.data / "streams" / stream.id / "epoch"
    epoch.unlink()
    epoch.mkdir()
    streams = await box.start()
    assert streams.with_key("k").id == stream.id
    await box.stop()


@in_a_loop
async def test_a_stream_that_waits_for_the_disk_keeps_its_key(box, monkeypatch):
    stream = await create(await box.start(), asked(), key="k")
    await send(stream, range(1, 4))
    await box.stop()
    monkeypatch.setattr("service.storage.files.stream_files.FrameLog", full)
    streams = await box.start()
    with pytest.raises(TooManyStreams, match="waits for the disk"):
        await create(streams, asked(), key="k")
    monkeypatch.undo()
    await until(lambda: streams.get(stream.id))
    assert (await create(streams, asked(), key="k")).id == stream.id
    await box.stop()


@in_a_loop
async def test_a_deletion_that_nobody_waits_for_any_more_is_brought_to_its_end(box):
    streams = await box.start()
    files = open_files()
    stream = await create(streams, asked())
    deleting = asyncio.create_task(streams.delete(stream.id))
    await asyncio.sleep(0)
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    await until(lambda: not list((box.data / "streams").iterdir()))
    await until(lambda: open_files() <= files)
    assert streams._memory.held_bytes == 0
    await box.stop()


@in_a_loop
async def test_a_pipeline_that_nobody_waits_for_any_more_holds_no_memory(box):
    streams = await box.start()
    for delay in (0, 0.001, 0.005, 0.02):
        building = asyncio.create_task(streams.build(asked()))
        await asyncio.sleep(delay)
        building.cancel()
        with suppress(asyncio.CancelledError):
            _, hold = await building
            hold.release()
    await until(lambda: streams._memory.held_bytes == 0, 30)
    await asyncio.sleep(0.3)
    assert streams._memory.held_bytes == 0
    await box.stop()


@in_a_loop
async def test_files_that_cannot_be_read_are_not_left_open(box, monkeypatch):
    stream = await create(await box.start(), asked(record=True))
    await send(stream, range(1, 31))
    await box.stop()
    store = StreamFolders(box.data / "streams", SecretFiles(box.data), False, 2**30)
    store.open()

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    before = open_files()
    monkeypatch.setattr("service.storage.files.row_file.os.pread", broken)
    for _ in range(5):
        with pytest.raises(OSError, match="Input"):
            store.open_stream(stream.id).recording({})
    snapshot = None
    monkeypatch.undo()
    snapshot = store.open_stream(stream.id).newest()
    assert snapshot is not None
    monkeypatch.setattr("service.storage.files.row_file.os.pread", broken)
    graph = Graph(preset("denoise"), Sensor(width=32, height=32))
    for _ in range(5):
        with pytest.raises(OSError, match="Input"):
            Opened(asked(), Settings(data_dir=box.data), store.open_stream(stream.id), graph, snapshot)
    monkeypatch.undo()
    assert open_files() == before


@in_a_loop
async def test_workers_end_though_a_job_comes_at_that_moment(tmp_path):
    settings = Settings(data_dir=tmp_path)
    jobs = Jobs(settings, Backends.embedded(settings).jobs)
    await jobs.open()
    await asyncio.sleep(0.2)  # they wait for work
    for _ in range(settings.parallel_jobs):
        jobs.store._more.release()
    async with asyncio.timeout(30):
        await jobs.close()


def test_parts_of_snapshots_go_with_the_failure(tmp_path, monkeypatch):
    from pipeline import checkpoint

    monkeypatch.setattr("pipeline.writing.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(tmp_path / "a.zip", {}, {}, b"k" * 32, fsync=True)
    assert not list(Path(tmp_path).iterdir())

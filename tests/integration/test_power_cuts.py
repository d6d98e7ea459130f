"""With `fsync`, whatever was promised before a power cut is there after it, and nothing is told that never was."""

import asyncio
import resource
import shutil
from contextlib import suppress

import numpy as np
import pytest

from pipeline import frame_file, wire
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import preset
from pipeline.writing import sync_folder
from service.jobs import Jobs, lost, work
from service.jobs.request import JobOptions
from service.settings import Settings
from service.storage.backends import Backends
from service.storage.files.job_queue import JobStore
from service.storage.files.outbox import Outbox
from service.storage.records import DONE, FAILED, OVER, QUEUED, Job, Message
from service.streams.registry import Streams
from service.uploads import Uploads
from tests.integration.test_durability import (
    admitted,
    asked,
    at_rest,
    columns,
    create,
    frame,
    in_a_loop,
    until,
)
from tests.power_cut import Disk

FRAMES = 40
MANY = {"events": 3000, "step_us": 10_000}


@pytest.fixture(scope="module")
def rows():
    """All rows of the output, as an engine gives them that no cut ever touched."""
    engine = Engine(Graph(preset("denoise"), Sensor(width=32, height=32)))
    return np.concatenate([one.rows for n in range(1, FRAMES + 1) for one in engine.feed(columns(n, **MANY))])


def settings(folder):
    return Settings(data_dir=folder, fsync=True, snapshot_bytes=200_000, retention_bytes=2**20)


@pytest.mark.parametrize("zeros", [False, True], ids=["short", "zeros"])
@in_a_loop
async def test_what_was_promised_outlives_a_power_cut(rows, tmp_path, monkeypatch, zeros):
    data = tmp_path / "data"
    data.mkdir()
    found = []

    def promised():
        """Frames that were acknowledged, and rows that a subscriber may have seen."""
        return [
            (one.session.ack()["durable"], next(iter(one.outputs.values())).head.next_row) for one in found
        ]

    disk = Disk(data, promised, monkeypatch)
    streams = Streams(settings(data), Backends.embedded(settings(data)).streams)
    await streams.open()
    found.append(await create(streams, asked(record=True)))
    stream = found[0]
    for n in range(1, FRAMES + 1):
        stream.push(admitted(stream, frame(n, **MANY)))
        await until(lambda n=n: stream.session.ack()["durable"] >= n or stream.failure)
    await at_rest(stream, FRAMES)
    assert stream.view.stats()["snapshots"] >= 3
    head = next(iter(stream.outputs.values())).head.next_row
    assert head * rows.dtype.itemsize > 2**20, "old rows are overwritten"
    monkeypatch.undo()
    await streams.close()
    raw = [frame(n, **MANY) for n in range(1, FRAMES + 1)]
    for number, cut in enumerate(disk.cuts):
        there = tmp_path / f"cut-{number}"
        disk.left(cut, there, zeros)
        await look(there, stream.id, cut.facts, rows, raw)
        shutil.rmtree(there)
    disk.close()


async def look(folder, id_, facts, rows, raw):
    """A service that starts from what is left has all that was promised."""
    streams = Streams(settings(folder), Backends.embedded(settings(folder)).streams)
    await streams.open()
    durable, seen = facts[0] if facts else (0, 0)
    stream = streams.get(id_)
    if durable == 0 and stream is None:  # it was not promised yet
        await streams.close()
        return
    assert stream is not None, streams.not_restored
    await stream.restored.wait()
    assert not stream.failure
    assert stream.session.accepted == stream.session.ack()["durable"] >= durable
    feed = next(iter(stream.outputs.values()))
    assert feed.lost_rows == 0
    assert feed.head.next_row >= seen
    np.testing.assert_array_equal(feed.read(feed.oldest, 2**30), rows[feed.oldest : feed.head.next_row])
    assert feed.oldest <= max(0, feed.head.next_row - 2**20 // rows.dtype.itemsize) + 2**14
    kept = [*frame_file.frames(stream.durability.recording.path)][1:]
    assert [one.number for one in kept] == list(range(1, stream.session.accepted + 1))
    assert all(bytes(one.payload) == raw[one.number - 1][wire.HEADER_BYTES :] for one in kept)
    await streams.close()


@pytest.mark.parametrize("zeros", [False, True], ids=["short", "zeros"])
@in_a_loop
async def test_what_an_upload_was_told_to_have_come_is_there_after_a_power_cut(tmp_path, monkeypatch, zeros):
    data = tmp_path / "data"
    content = (
        "t,x,y,p\n" + "".join(f"{100 * i},{i % 32},{i % 24},{i % 2}\n" for i in range(10_000))
    ).encode()
    data.mkdir()
    told = {}
    disk = Disk(data, lambda: dict(told), monkeypatch)
    uploads = Uploads(settings(data), Backends.embedded(settings(data)).uploads)
    await uploads.open()
    upload = await uploads.create(len(content), {"filename": "a.csv"})
    told[upload.id] = 0

    async def part(start, size):
        for at in range(start, min(start + size, len(content)), 5000):
            yield content[at : min(at + 5000, start + size, len(content))]

    while told[upload.id] < len(content):
        await uploads.append(upload.id, told[upload.id], part(told[upload.id], 30_000))
        told[upload.id] = (await uploads.find(upload.id)).offset
    sync_folder(data)  # a last look at what was told
    monkeypatch.undo()
    assert disk.cuts[-1].facts == {upload.id: len(content)}
    for number, cut in enumerate(disk.cuts):
        there = tmp_path / f"cut-{number}"
        disk.left(cut, there, zeros)
        found = Uploads(settings(there), Backends.embedded(settings(there)).uploads)
        await found.open()
        for id_, offset in cut.facts.items():
            one = await found.find(id_)
            assert one is not None
            assert one.offset >= offset
            assert (await found.file(id_)).read_bytes()[:offset] == content[:offset]
        shutil.rmtree(there)
    disk.close()


def a_job(jobs, content):
    """A job whose upload is in its folder, as a request leaves it."""
    id_, folder = jobs.new_folder()
    (folder / "upload.csv").write_bytes(content)
    options = JobOptions(pipeline="denoise", sensor="64x48").model_dump(mode="json")
    return Job(id_, "a.csv", {**options, "pipeline": preset("denoise").model_dump(mode="json")}, f"key-{id_}")


async def over(jobs, told):
    """Wait until all jobs are; notes what each was told to be."""
    while told and not all(state in OVER for state, _ in told.values()):
        for id_ in told:
            now = await jobs.store.get(id_)
            told[id_] = now.state, {one["name"]: one["sha256"] for one in now.artifacts}
        await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("zeros", [False, True], ids=["short", "zeros"])
@in_a_loop
async def test_jobs_that_were_taken_in_outlive_a_power_cut(tmp_path, monkeypatch, zeros):
    """They run again with what was sent, or are done with what they made."""
    data = tmp_path / "data"
    data.mkdir()
    told, sent = {}, {}
    disk = Disk(data, lambda: dict(told), monkeypatch)
    jobs = Jobs(settings(data), Backends.embedded(settings(data)).jobs)
    disk.committed(jobs.store, monkeypatch)
    await jobs.open()
    for n, what in enumerate((b"t,x,y,p\n10,3,4,1\n20,4,4,1\n", b"t,x,y,p\nthis is no number,1,1,1\n")):
        job = a_job(jobs, what * (n + 1))
        sent[job.id] = what * (n + 1)
        await jobs.submit(job)
        told[job.id] = QUEUED, {}
    await over(jobs, told)
    sync_folder(data)  # a last look at what was told
    monkeypatch.undo()
    await jobs.close()
    assert [state for state, _ in told.values()] == [DONE, FAILED]
    ran = 0
    for number, cut in enumerate(disk.cuts):
        there = tmp_path / f"cut-{number}"
        disk.left(cut, there, zeros)
        again = Jobs(settings(there), Backends.embedded(settings(there)).jobs)
        monkeypatch.setattr(again, "_work", asyncio.Event().wait)
        await again.open()
        for id_, (state, made) in cut.facts.items():
            one = await again.store.get(id_)
            assert one is not None
            assert (await again.store.with_key(f"key-{id_}")).id == id_
            assert (again.folder(id_) / "upload.csv").read_bytes() == sent[id_]
            if state in OVER:
                assert one.state == state
                assert {a["name"]: a["sha256"] for a in lost.artifacts(again.answers(id_))} == made
            ran += state not in OVER
        await again.close()
        shutil.rmtree(there)
    assert ran > 0
    disk.close()


@pytest.mark.parametrize("how", ["folder", "database"])
@in_a_loop
async def test_a_job_comes_back_from_either_of_what_a_power_cut_leaves(tmp_path, monkeypatch, how):
    """Its folder alone brings it back where the database is lost, and whole."""
    data = tmp_path / "data"
    data.mkdir()
    jobs = Jobs(settings(data), Backends.embedded(settings(data)).jobs)
    monkeypatch.setattr(jobs, "_work", asyncio.Event().wait)
    await jobs.open()
    job = await jobs.submit(a_job(jobs, b"t,x,y,p\n10,3,4,1\n"))
    await jobs.close()
    if how == "folder":
        for path in data.glob("jobs.sqlite*"):
            path.unlink()
    again = Jobs(settings(data), Backends.embedded(settings(data)).jobs)
    monkeypatch.setattr(again, "_work", asyncio.Event().wait)
    await again.open()
    found = await again.store.get(job.id)
    assert (found.state, found.options, found.idempotency_key) == (QUEUED, job.options, job.idempotency_key)
    await again.close()


@pytest.mark.parametrize("what", ["request", "over"])
def test_what_brings_a_job_back_is_never_half_written(tmp_path, what):
    """A disk that is full at the second writing, as any death amid of it, leaves the first."""
    (tmp_path / "upload.csv").write_bytes(b"t,x,y,p\n")

    def write():
        if what == "request":
            work.write_request(tmp_path, tmp_path / "upload.csv", "a.csv", tmp_path / "answers", {})
        else:
            lost.mark_over(tmp_path, FAILED, "why")

    write()
    path = tmp_path / (work.REQUEST if what == "request" else lost.OVER)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with suppress(OSError):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


@pytest.mark.parametrize("zeros", [False, True], ids=["short", "zeros"])
@in_a_loop
async def test_what_waits_for_a_receiver_outlives_a_power_cut(tmp_path, monkeypatch, zeros):
    """Each message whose rows were counted as read is there, once, until it was delivered."""
    data = tmp_path / "data"
    data.mkdir()
    taken, delivered = [], []
    disk = Disk(data, lambda: (list(taken), list(delivered)), monkeypatch)
    outbox = Outbox(data / "outbox.sqlite", True)
    disk.committed(outbox, monkeypatch)
    await outbox.open({"hook"})
    for n in range(12):
        message = Message(f"s/o/{n}", "t", b"row %d" % n, 1)
        await outbox.add("hook", [message], {("s", "o"): n + 1}, 2**20)
        taken.append(message.id)
        if n % 3 == 2:
            (first,) = await outbox.oldest("hook", 1)
            delivered.append(first.message.id)
            await outbox.remove([first.number])
    sync_folder(data)
    monkeypatch.undo()
    outbox.close()
    for number, cut in enumerate(disk.cuts):
        there = tmp_path / f"cut-{number}"
        disk.left(cut, there, zeros)
        again = Outbox(there / "outbox.sqlite", True)
        await again.open({"hook"})
        ids = [one.message.id for one in await again.oldest("hook", 100)]
        known = (await again.cursors("hook")).get(("s", "o"), 0)
        were, gone = cut.facts
        assert len(set(ids)) == len(ids)
        assert set(were) - set(gone) <= set(ids)
        assert known >= len(were)
        assert set(ids) | set(gone) >= {f"s/o/{n}" for n in range(known)}
        again.close()
        shutil.rmtree(there)
    disk.close()


@in_a_loop
async def test_with_fsync_a_transaction_is_on_the_disk_before_it_counts(tmp_path):
    """Whether a job is queued, and what waits for a receiver."""
    for fsync, expected in ((True, 2), (False, 1)):
        folder = tmp_path / str(fsync)
        folder.mkdir()
        for store in (JobStore(folder / "jobs.sqlite", fsync), Outbox(folder / "outbox.sqlite", fsync)):
            with store._engine.connect() as db:
                assert db.exec_driver_sql("PRAGMA synchronous").scalar() == expected
            store._engine.dispose()

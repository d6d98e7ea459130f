"""With `fsync`, whatever was promised before a power cut is there after it, and nothing is told that never was."""

import shutil

import numpy as np
import pytest

from pipeline import frame_file, wire
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.spec import Sensor, preset
from service.jobs.store import JobStore
from service.publishing.outbox import Outbox
from service.settings import Settings
from service.streams.registry import Streams
from service.uploads.store import Uploads
from service.writing import sync_folder
from tests.integration.test_durability import asked, columns, create, frame, in_a_loop, until
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
        return [(one.ack()["durable"], next(iter(one.feeds.values())).head.next_row) for one in found]

    disk = Disk(data, promised, monkeypatch)
    streams = Streams(settings(data))
    await streams.open()
    found.append(await create(streams, asked(record=True)))
    stream = found[0]
    for n in range(1, FRAMES + 1):
        stream.push(stream.gate.admit(frame(n, **MANY)))
        await until(lambda n=n: stream.ack()["durable"] >= n or stream.failure)
    await until(lambda: stream._runner.intake.frames >= FRAMES)
    assert stream.stats()["snapshots"] >= 3
    head = next(iter(stream.feeds.values())).head.next_row
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
    streams = Streams(settings(folder))
    await streams.open()
    durable, seen = facts[0] if facts else (0, 0)
    stream = streams.get(id_)
    if durable == 0 and stream is None:  # it was not promised yet
        await streams.close()
        return
    assert stream is not None, streams.not_restored
    await stream.restored.wait()
    assert not stream.failure
    assert stream.gate.accepted == stream.ack()["durable"] >= durable
    feed = next(iter(stream.feeds.values()))
    assert feed.lost_rows == 0
    assert feed.head.next_row >= seen
    np.testing.assert_array_equal(feed.read(feed.oldest, 2**30), rows[feed.oldest : feed.head.next_row])
    assert feed.oldest <= max(0, feed.head.next_row - 2**20 // rows.dtype.itemsize) + 2**14
    kept = [*frame_file.frames(stream.recording)][1:]
    assert [one.number for one in kept] == list(range(1, stream.gate.accepted + 1))
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
    uploads = Uploads(settings(data))
    uploads.open()
    upload = uploads.create(len(content), {"filename": "a.csv"})
    told[upload.id] = 0

    async def part(start, size):
        for at in range(start, min(start + size, len(content)), 5000):
            yield content[at : min(at + 5000, start + size, len(content))]

    while upload.offset < len(content):
        told[upload.id] = await uploads.append(upload, upload.offset, part(upload.offset, 30_000))
    sync_folder(data)  # a last look at what was told
    monkeypatch.undo()
    assert disk.cuts[-1].facts == {upload.id: len(content)}
    for number, cut in enumerate(disk.cuts):
        there = tmp_path / f"cut-{number}"
        disk.left(cut, there, zeros)
        found = Uploads(settings(there))
        found.open()
        for id_, offset in cut.facts.items():
            one = found.get(id_)
            assert one is not None
            assert one.offset >= offset
            assert one.path.read_bytes()[:offset] == content[:offset]
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

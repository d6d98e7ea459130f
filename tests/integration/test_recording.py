"""A stream is recorded while somebody wants that: turned on and off as it runs, over kills and full disks."""

import errno
import threading

import httpx
import pytest
from polychrony_client import Client

from kernels.coding import encode
from kernels.coding.encode import Encoder
from pipeline import frame_file, wire
from service.storage.files.recording import Recorder
from service.storage.files.stream_files import StreamFiles
from tests.integration.test_durability import (
    admitted,
    asked,
    at_rest,
    box,
    columns,
    create,
    finished,
    full,
    in_a_loop,
    send,
)
from tests.reliability.tools import random_events

__all__ = ["box"]  # a fixture


def turn(stream, on):
    return stream.between_frames(lambda: stream.recording_switch.turn(on))


def kept(stream):
    """What the recording holds: numbers of frames, and "gap"."""
    found = [*frame_file.frames(stream.durability.recording.path)]
    assert found[0].type == wire.STREAM
    return ["gap" if one.type == wire.GAP else one.number for one in found[1:]]


@in_a_loop
async def test_what_comes_while_it_is_on_is_recorded_and_a_pause_is_a_gap(box):
    stream = await create(await box.start(), asked())
    assert stream.view.stats()["recording"] is None
    await send(stream, range(1, 4))
    await turn(stream, True)
    await turn(stream, True)
    await send(stream, range(4, 7))
    assert stream.view.stats()["recording"]["on"]
    await turn(stream, False)
    await turn(stream, False)
    await send(stream, range(7, 10))
    assert not stream.view.stats()["recording"]["on"]
    assert kept(stream) == [4, 5, 6]
    await turn(stream, True)
    await send(stream, range(10, 12))
    await finished(stream, 11)
    assert kept(stream) == [4, 5, 6, "gap", 10, 11, 12]
    assert frame_file.about(stream.durability.recording.path)["after_frame"] == 3
    with pytest.raises(RuntimeError, match="ended"):
        await turn(stream, False)
    await box.stop()


@in_a_loop
async def test_a_kill_loses_no_frame_for_which_it_was_on_and_what_was_turned_off_stays_off(box, tmp_path):
    stream = await create(await box.start(), asked())
    await send(stream, range(1, 4))
    await turn(stream, True)
    await send(stream, range(4, 7))
    later = box.killed(tmp_path / "on")
    await turn(stream, False)
    await send(stream, range(7, 9))
    last = box.killed(tmp_path / "off")
    await box.stop()

    found = (await later.start()).get(stream.id)
    await found.restored.wait()
    assert found.view.stats()["recording"]["on"]
    await send(found, range(7, 9))
    frames = kept(found)
    assert frames == sorted(set(frames))  # those before it may be there, too; none twice
    assert set(range(4, 9)) <= set(frames)
    await later.stop()

    found = (await last.start()).get(stream.id)
    await found.restored.wait()
    assert not found.view.stats()["recording"]["on"]
    await send(found, range(9, 11))
    assert kept(found) == [4, 5, 6]
    await last.stop()


@in_a_loop
async def test_a_disk_that_is_full_turns_nothing(box, monkeypatch):
    stream = await create(await box.start(), asked())
    await send(stream, range(1, 4))
    monkeypatch.setattr(StreamFiles, "recording", full)
    with pytest.raises(OSError) as said:  # noqa: PT011 - the number is looked at
        await turn(stream, True)
    assert said.value.errno == errno.ENOSPC
    assert stream.view.stats()["recording"] is None
    monkeypatch.undo()
    reveal = StreamFiles.reveal
    monkeypatch.setattr(StreamFiles, "reveal", full)
    with pytest.raises(OSError):  # noqa: PT011
        await turn(stream, True)
    await send(stream, range(4, 7))
    assert not stream.view.stats()["recording"]["on"]
    monkeypatch.setattr(StreamFiles, "reveal", reveal)
    await turn(stream, True)
    await send(stream, range(7, 9))
    assert kept(stream)[-2:] == [7, 8]
    assert 4 not in kept(stream)
    await at_rest(stream, 8)
    await box.stop()


def test_over_rest(service):
    with Client(service.url) as client:
        stream = client.stream("view", sensor=(64, 48), policy="realtime")
        put = f"{service.url}/v1/streams/{stream.id}/recording"
        assert httpx.get(put).status_code == 404
        for body in ({}, {"on": 1}, {"on": "yes"}, {"off": True}):
            answer = httpx.put(put, json=body)
            assert answer.status_code == 422, (body, answer.text)
        stream.record()
        assert stream.stats()["recording"]["on"]
        stream.heartbeat(1000)
        stream.record(False)
        stream.end()
        assert httpx.put(put, json={"on": True}).status_code == 409
        assert len(stream.recording()) > 0
        stream.delete()
        assert httpx.put(put, json={"on": True}).status_code == 404


@in_a_loop
async def test_a_pause_stays_a_gap_over_a_kill(box, tmp_path):
    stream = await create(await box.start(), asked(record=True))
    await send(stream, range(1, 4))
    await turn(stream, False)
    await send(stream, range(4, 7))
    await stream.between_frames(stream.runner.keep)
    await turn(stream, True)
    await send(stream, range(7, 10))
    assert kept(stream) == [1, 2, 3, "gap", 7, 8, 9]
    later = box.killed(tmp_path / "killed")
    await box.stop()
    found = (await later.start()).get(stream.id)
    await found.restored.wait()
    assert kept(found) == [1, 2, 3, "gap", 7, 8, 9]
    await later.stop()


@in_a_loop
async def test_camera_bytes_are_recorded_from_their_start_or_not_at_all(box):
    stream = await create(await box.start(), asked())
    raw = encode.encode(Encoder(4), columns(1))
    stream.push(admitted(stream, wire.build(wire.EVENTS, wire.EVT2, 1, 0, len(raw), raw)))
    await at_rest(stream, 1)
    with pytest.raises(RuntimeError, match="from its start"):
        await turn(stream, True)
    await box.stop()


@in_a_loop
async def test_what_was_recorded_is_on_the_disk_when_it_is_turned_off(box, monkeypatch):
    stream = await create(await box.start(), asked(record=True))
    await send(stream, range(1, 4))
    synced = []
    monkeypatch.setattr(Recorder, "sync", lambda self: synced.append(self.size))
    await turn(stream, False)
    assert synced == [stream.durability.recording.size]
    await box.stop()


def test_a_recording_that_grows_is_fetched_up_to_now(service):
    with Client(service.url) as client:
        stream = client.stream("denoise", sensor=(640, 480), record=True)
        over = threading.Event()

        def feed():
            n = 0
            while not over.is_set():
                stream.send(*random_events(20_000, n, n * 20_000))
                n += 1

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            for _ in range(5):
                answer = httpx.get(f"{service.url}/v1/streams/{stream.id}/recording", timeout=60)
                assert len(answer.content) == int(answer.headers["content-length"])
        finally:
            over.set()
            feeding.join()
        stream.delete()


def test_a_recording_that_cannot_be_read_now_is_not_emptied(tmp_path, monkeypatch):
    path = tmp_path / "recording.pchy"
    one = Recorder(path, {"what": "it was"}, 2**20)
    one.append([b"x" * 100])
    one.close()
    size = path.stat().st_size
    monkeypatch.setattr("service.storage.files.recording.os.pread", full)
    with pytest.raises(OSError):  # noqa: PT011
        Recorder(path, {"what": "it was"}, 2**20)
    assert path.stat().st_size == size

"""StreamLog, RowFile, Recording, ShedLog, StreamStore and Directory."""

import io
import threading
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import frame_file, wire
from pipeline.checkpoint import CheckpointError
from pipeline.replay import read_admission
from service.storage.records import Snapshot

ID, OTHER = "0" * 16, "1" * 16
DOCUMENT = {"created_s": 1.5, "request": {"pipeline": "motion"}}


def frame(n, size=100):
    return wire.build(wire.EVENTS, wire.EVT3, n, 0, size, bytes([n % 251]) * size)


class Durable:
    """Hears of frames that became durable."""

    def __init__(self):
        self.told, self._more = [], threading.Condition()

    def __call__(self, number):
        with self._more:
            self.told.append(number)
            self._more.notify_all()

    def wait(self, number, seconds=30):
        with self._more:
            assert self._more.wait_for(lambda: self.told and self.told[-1] >= number, seconds)


def append(log, first, last, durable=None):
    durable = durable or Durable()
    log.append([frame(n) for n in range(first, last + 1)], last, durable)
    durable.wait(last)
    return durable


def numbers(log):
    return [one.number for one, _ in log.replay()]


def snapshot(number, **card):
    return Snapshot(number, {"fingerprint": "f", **card}, {"part": {"a": np.arange(number)}})


def made(storage, id_=ID, document=DOCUMENT):
    """A stream that starts find."""
    store = storage.opened().streams.create(id_)
    store.reveal(document)
    return store


def again(storage, id_=ID):
    """A stream as the next owner opens it."""
    return storage.opened().streams.open_stream(id_)


@pytest.fixture
def store(storage):
    return made(storage)


def test_what_is_durable_is_replayed_by_the_next_owner(storage, store):
    log = store.log(0)
    assert log.trouble is None
    heard = append(log, 1, 3)
    append(log, 4, 4, heard)
    assert heard.told == sorted(heard.told)
    later = again(storage)
    found = list(later.log(0).replay())
    assert [one.number for one, _ in found] == [1, 2, 3, 4]
    assert [bytes(one.payload) for one, _ in found] == [frame(n)[wire.HEADER_BYTES :] for n in range(1, 5)]
    assert [size for _, size in found] == [len(frame(n)) for n in range(1, 5)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["append", "checkpoint", "reopen", "forget"]), max_size=14))
def test_a_log_has_what_lies_behind_each_snapshot_that_is_kept(storage, actions):
    id_ = f"{time.monotonic_ns():016x}"[-16:]
    held = made(storage, id_)
    log, last, kept = held.log(0), 0, [0]
    for action in actions:
        if action == "append":
            append(log, last + 1, last + 2)
            last += 2
        elif action == "checkpoint":
            log.checkpoint(last)
            kept.append(last)
        elif action == "forget":
            log.forget(kept[-2] if len(kept) > 1 else 0)
            kept = kept[-2:]
        else:
            log.close()
            held = again(storage, id_)
            log = held.log(kept[-1])
            assert numbers(log) == list(range(kept[-1] + 1, last + 1))
    log.close()
    for after in kept:
        held = again(storage, id_)
        found = held.log(after)
        assert numbers(found) == list(range(after + 1, last + 1))
        found.close()


def test_rows_are_where_they_were_written_until_they_are_overwritten(storage, store):
    rows, capacity = store.rows(0, 8, 10, None, True), 10
    data = np.arange(25, dtype="<i8")
    for n in range(25):
        rows.write(n % capacity, memoryview(data[n : n + 1].tobytes()))
    assert np.frombuffer(rows.read(5, 5) + rows.read(0, 5), "<i8").tolist() == list(range(15, 25))
    sums = rows.snapshot()
    rows.sync()
    rows.close()
    rows.close()
    with pytest.raises(OSError, match="gone"):
        rows.read(0, 1)
    later = again(storage)
    rows = later.rows(0, 8, capacity, sums, False)
    assert rows.known
    first, damaged = rows.first_intact(25)
    assert not damaged
    assert 15 <= first <= 15 + rows.slack()
    rows.close()
    assert not later.rows(1, 8, capacity, None, False).known


def test_a_recording_is_a_file_of_frames_that_can_be_cut_back(storage, store):
    recording = store.recording({"what": "it was"})
    recording.append([frame(1), frame(2)])
    size = recording.size
    recording.append([frame(3)])
    recording.sync()
    recording.close()
    later = again(storage)
    recording = later.recording({"what": "another"})
    recording.cut_back(size)
    recording.append([frame(3), frame(4)])
    found = [*frame_file.frames(recording.path)]
    assert [one.number for one in found] == [0, 1, 2, 3, 4]
    assert b"it was" in bytes(found[0].payload)
    recording.cut_back(0)
    assert [one.number for one in frame_file.frames(recording.path)] == [0]
    recording.close()


def test_a_shed_log_holds_runs_and_strides(store):
    log = store.shed_log()
    for n in (3, 4, 5, 9):
        log.shed(n, 10)
    log.stride(12, 4)
    log.shed(14, 1)
    log.flush()
    found = read_admission(log.path)
    assert found.shed == [(3, 5), (9, 9), (14, 14)]
    assert not log.full


def test_the_newest_snapshot_comes_back_with_the_number_of_the_one_before(storage, store):
    log = store.log(0)
    assert store.newest() is None
    append(log, 1, 10)
    log.checkpoint(10)
    assert store.checkpoint(snapshot(10, feeds={}), [], None) == 0
    append(log, 11, 20)
    log.checkpoint(20)
    assert store.checkpoint(snapshot(20, feeds={"a": 1}), [], None) == 10
    later = again(storage)
    found = later.newest()
    assert (found.number, found.card["feeds"]) == (20, {"a": 1})
    np.testing.assert_array_equal(found.state["part"]["a"], np.arange(20))


def test_a_packed_snapshot_is_read_by_the_same_service_alone(storage, store, tmp_path):
    directory = storage.opened().streams
    packed = store.packed(snapshot(7))
    assert directory.unpacked(packed).number == 7
    path = tmp_path / "sent.zip"
    path.write_bytes(packed)
    assert directory.unpacked(path).number == 7
    with zipfile.ZipFile(io.BytesIO(packed)) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    for name in parts:  # changed, and a whole archive all the same
        forged = io.BytesIO()
        with zipfile.ZipFile(forged, "w") as made:
            for other, data in parts.items():
                made.writestr(other, data[:-1] + bytes([data[-1] ^ 1]) if other == name else data)
        with pytest.raises(CheckpointError, match="signature"):
            directory.unpacked(forged.getvalue())
    refused = 0
    for i in range(0, len(packed), 3):
        try:
            found = directory.unpacked(packed[:i] + bytes([packed[i] ^ 1]) + packed[i + 1 :])
        except CheckpointError:
            refused += 1
        else:  # a date, say, of a file in the archive
            assert (found.number, found.card["fingerprint"]) == (7, "f")
            np.testing.assert_array_equal(found.state["part"]["a"], np.arange(7))
    assert refused > len(packed) // 6


def test_a_snapshot_of_another_service_is_refused(request, storage, store, tmp_path):
    (tmp_path / "another").mkdir()
    other = request.node.callspec.params["storage"](tmp_path / "another").opened().streams
    packed = other.create(ID).packed(snapshot(7))
    assert other.unpacked(packed).number == 7
    with pytest.raises(CheckpointError, match="another service"):
        storage.opened().streams.unpacked(packed)


def test_an_epoch_only_grows(storage, store):
    epochs = [store.epoch] + [again(storage).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))


def test_streams_are_listed_until_they_are_hidden(storage, store):
    directory = storage.opened().streams
    other = made(storage, OTHER, {**DOCUMENT, "created_s": 2.5})
    assert directory.names() == [ID, OTHER]
    assert storage.opened().streams.document(OTHER) == {**DOCUMENT, "created_s": 2.5}
    other.hide()
    assert storage.opened().streams.names() == [ID], "no start finds it, though it was not deleted yet"
    with pytest.raises((OSError, ValueError)):
        directory.document(OTHER)
    store.hide()
    store.delete()
    assert storage.opened().streams.names() == []
    made(storage, OTHER)
    storage.opened().streams.remove(OTHER)
    assert storage.opened().streams.names() == []


def test_a_kill_while_a_stream_is_made_leaves_nothing(storage):
    directory = storage.opened().streams
    store = directory.create(ID)
    log = store.log(7)
    store.rows(0, 8, 10, None, True)
    directory.set_key(ID, "a key", "sum")
    store.checkpoint(snapshot(7), [], None)
    log.close()
    directory = storage.opened().streams
    assert directory.names() == []
    assert directory.key_of(ID) is None


def test_a_key_names_its_stream_until_it_is_forgotten(storage, store):
    directory = storage.opened().streams
    assert directory.key_of(ID) is None
    directory.set_key(ID, "a key", "sum")
    assert storage.opened().streams.key_of(ID) == ("a key", "sum")
    directory.set_key(ID, "another", None)
    assert storage.opened().streams.key_of(ID) == ("another", None)
    directory.forget_key(ID)
    directory.forget_key(ID)
    assert storage.opened().streams.key_of(ID) is None

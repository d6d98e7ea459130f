import os
import sys

import pytest

from pipeline import wire
from service.storage.files.frame_log import FrameLog

FRAMES = [wire.build(wire.EVENTS, wire.EVT3, i + 1, 0, 10 * i, b"x" * (10 * i)) for i in range(5)]


def append(log, frames):
    """Frames are durable when this returns, and then alone."""
    durable = []
    try:
        log.append(frames, 7, durable.append)
    finally:
        assert durable == ([] if sys.exc_info()[0] else [7])


def segment(folder, data):
    folder.mkdir()
    path = folder / f"frames-{1:020d}.log"
    path.write_bytes(data)
    return path


def replayed(path):
    log = FrameLog(path, fsync=False)
    return [frame.number for frame, _ in log.replay()]


def test_frames_come_back(tmp_path):
    log = FrameLog(tmp_path / "log", fsync=True)
    append(log, FRAMES[:2])
    append(log, FRAMES[2:])
    assert replayed(tmp_path / "log") == [1, 2, 3, 4, 5]


def test_damage_in_the_middle_is_an_error_and_removes_nothing(tmp_path):
    data = bytearray(b"".join(FRAMES))
    data[40] ^= 1
    path = segment(tmp_path / "log", data)
    with pytest.raises(OSError, match="its log is damaged"):
        replayed(tmp_path / "log")
    assert path.stat().st_size == len(data)


def damaged_ends():
    """Every way in which the last frame may have come to the disk: a part of it, the rest zeros or missing or wrong."""
    whole, last = b"".join(FRAMES[:-1]), FRAMES[-1]
    for kept in range(len(last)):
        yield whole + last[:kept], f"cut at {kept}"
        if any(last[kept:]):
            yield whole + last[:kept] + bytes(len(last) - kept), f"zeros from {kept}"
        yield whole + last[:kept] + bytes([last[kept] ^ 0xFF]) + last[kept + 1 :], f"wrong at {kept}"
    yield whole + bytes(4096), "a page of zeros"
    yield whole + b"PCHY" * 1000, "garbage that looks like frames"


@pytest.mark.parametrize(("data", "how"), [pytest.param(*one, id=one[1]) for one in damaged_ends()])
def test_a_damaged_end_is_cut_off_and_the_log_goes_on(tmp_path, data, how):
    path, good = tmp_path / "log", len(b"".join(FRAMES[:-1]))
    segment(path, data)
    log = FrameLog(path, fsync=False)
    assert [frame.number for frame, _ in log.replay()] == [1, 2, 3, 4], how
    assert log.cut_bytes == len(data) - good
    append(log, FRAMES[4:])
    log.close()
    assert replayed(path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("behind", [b"", bytes(100), FRAMES[4][:-1]])
def test_a_damaged_end_before_an_empty_segment_is_cut_off(tmp_path, behind):
    path = tmp_path / "log"
    segment(path, b"".join(FRAMES[:3]) + FRAMES[3][:-5] + bytes(5))
    (path / f"frames-{5:020d}.log").write_bytes(behind)
    log = FrameLog(path, fsync=False)
    assert [frame.number for frame, _ in log.replay()] == [1, 2, 3]
    append(log, FRAMES[3:])
    log.close()
    assert replayed(path) == [1, 2, 3, 4, 5]


def test_damage_before_another_segment_is_an_error(tmp_path):
    path = tmp_path / "log"
    segment(path, b"".join(FRAMES[:3])[:-1])
    (path / f"frames-{4:020d}.log").write_bytes(b"".join(FRAMES[3:]))
    with pytest.raises(OSError, match="whole frames follow"):
        replayed(path)
    assert len(list(path.iterdir())) == 2


@pytest.mark.parametrize("torn", [1, 20, 41, 71])
def test_a_torn_tail_is_removed_and_the_log_goes_on(tmp_path, torn):
    path = tmp_path / "log"
    segment(path, b"".join(FRAMES)[:-torn])
    whole = replayed(path)
    assert whole == [1, 2, 3, 4]
    append(FrameLog(path, fsync=False), FRAMES[4:])
    assert replayed(path) == [1, 2, 3, 4, 5]


def test_a_snapshot_makes_earlier_segments_needless(tmp_path):
    log = FrameLog(tmp_path / "log", fsync=False)
    append(log, FRAMES[:3])
    log.checkpoint(3)
    append(log, FRAMES[3:])
    assert replayed(tmp_path / "log") == [1, 2, 3, 4, 5], "the snapshot may prove damaged"
    assert [frame.number for frame, _ in FrameLog(tmp_path / "log", False, after=3).replay()] == [4, 5]
    log.checkpoint(5)
    log.forget(3)
    assert [frame.number for frame, _ in FrameLog(tmp_path / "log", False, after=3).replay()] == [4, 5]
    with pytest.raises(
        OSError, match="begins at frame 4"
    ):  # without the snapshot, what came before is missing
        replayed(tmp_path / "log")


def test_a_kill_between_snapshot_and_new_segment_repeats_nothing(tmp_path):
    append(FrameLog(tmp_path / "log", fsync=False), FRAMES[:3])
    log = FrameLog(tmp_path / "log", fsync=False, after=3)
    assert list(log.replay()) == []
    append(log, FRAMES[3:])
    assert [frame.number for frame, _ in FrameLog(tmp_path / "log", False, after=3).replay()] == [4, 5]


def test_frames_that_the_disk_did_not_take_whole_leave_nothing(tmp_path, monkeypatch):
    log = FrameLog(tmp_path / "log", fsync=False)
    append(log, FRAMES[:2])

    def half(file, parts):
        os.write(file, b"".join(parts)[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.storage.files.frame_log.write_all", half)
    with pytest.raises(OSError, match="No space"):
        append(log, FRAMES[2:])
    monkeypatch.undo()
    append(log, FRAMES[2:])
    log.close()
    log = FrameLog(tmp_path / "log", fsync=False)
    assert [frame.number for frame, _ in log.replay()] == [1, 2, 3, 4, 5]
    assert log.cut_bytes == 0


def test_with_fsync_a_frame_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    for fsync in (True, False):
        log = FrameLog(tmp_path / f"log-{fsync}", fsync=fsync)
        append(log, FRAMES[:1])
        append(log, FRAMES[1:3])
        log.close()
    assert synced == [len(FRAMES[0]), sum(map(len, FRAMES[:3]))]

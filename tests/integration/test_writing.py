"""Where recordings are written to, several inputs into one, and standard input and output."""

import json
import os
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sinks import recordings
from pipeline.sources import Reading, SourceError, merge, open_source
from tests.integration.test_cli import answer, polychrony

SENSOR = Sensor(width=64, height=48)


def recording(path, t, x=None):
    t = np.asarray(t, np.int64)
    x = np.arange(len(t)) % 64 if x is None else x
    events = (
        t,
        np.asarray(x, np.uint16),
        (np.arange(len(t)) % 48).astype(np.uint16),
        np.arange(len(t)) % 2 > 0,
    )
    recordings.write(path, [Reading(events, 1.0)], SENSOR)
    return events


def events_of(path):
    return packets.join([reading.events for reading in open_source(path).batches()])


def test_a_link_is_written_through_and_stays_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    events = recording(tmp_path / "link.csv", [5, 6, 7])
    assert (tmp_path / "link.csv").is_symlink()
    np.testing.assert_array_equal(events_of(tmp_path / "real.csv")[0], events[0])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.csv", "real.csv"]


@pytest.mark.parametrize("name", ["EVT2", "EVT3", "DAT", "csv"])
def test_a_fifo_is_written_to_and_stays_one(tmp_path, name):
    fifo, read = tmp_path / "pipe", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    events = np.arange(100), np.arange(100, dtype=np.uint16), np.ones(100, np.uint16), np.ones(100, np.bool_)
    recordings.write(fifo, [Reading(events, 1.0)], Sensor(width=100, height=2), name)
    reader.join()
    assert fifo.is_fifo()
    recordings.write(tmp_path / "plain", [Reading(events, 1.0)], Sensor(width=100, height=2), name)
    assert read[0] == (tmp_path / "plain").read_bytes()


@pytest.mark.parametrize("name", ["AEDAT4", "ES", "HDF5", "npz", "Parquet"])
def test_what_needs_seeking_is_not_written_to_a_fifo_or_device(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    one = Reading((np.zeros(1, np.int64), *(np.zeros(1, np.uint16),) * 2, np.zeros(1, np.bool_)), 1.0)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(recordings.CannotWrite, match="not a plain file|a folder"):
            recordings.write(path, [one], SENSOR, name)
    assert (tmp_path / "pipe").is_fifo()


def test_standard_input_and_output(tmp_path):
    recording(tmp_path / "a.csv", range(50))
    command = [sys.executable, "-m", "service", "convert", "-", "-", "--to-format", "EVT2"]
    ran = subprocess.run(command, input=(tmp_path / "a.csv").read_bytes(), capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "b.raw").write_bytes(ran.stdout)
    np.testing.assert_array_equal(events_of(tmp_path / "b.raw")[0], np.arange(50))
    command = [sys.executable, "-m", "service", "info", "-", "--json"]
    said = subprocess.run(command, input=ran.stdout, capture_output=True, check=False)
    assert json.loads(said.stdout)["events"] == 50
    for bad in (
        ["convert", "-", "-"],
        ["convert", "a.csv", "-", "--to-format", "EVT2", "--json"],
        ["convert", "a.csv"],
    ):
        assert polychrony(*bad, cwd=tmp_path).returncode == 2


def test_inputs_are_merged_by_time_and_ties_keep_the_order_of_the_arguments(tmp_path):
    recording(tmp_path / "a.npz", [1, 5, 5, 9], x=[1, 2, 3, 4])
    recording(tmp_path / "b.npz", [5, 9, 12], x=[11, 12, 13])
    answer("convert", "a.npz", "b.npz", "ab.npz", "--merge", "time", cwd=tmp_path)
    t, x, _, _ = events_of(tmp_path / "ab.npz")
    assert (t.tolist(), x.tolist()) == ([1, 5, 5, 5, 9, 9, 12], [1, 2, 3, 11, 4, 12, 13])
    answer("convert", "b.npz", "a.npz", "ba.npz", "--merge", "time", cwd=tmp_path)
    assert events_of(tmp_path / "ba.npz")[1].tolist() == [1, 11, 2, 3, 12, 4, 13]
    refused = polychrony("convert", "a.npz", "b.npz", "c.npz", cwd=tmp_path)
    assert (refused.returncode, "--merge" in refused.stderr) == (2, True)


def test_inputs_are_appended_and_a_clock_that_begins_again_is_moved(tmp_path):
    recording(tmp_path / "a.npz", [100, 200])
    recording(tmp_path / "b.npz", [300, 400])
    recording(tmp_path / "c.npz", [0, 50])
    said = json.loads(
        answer("convert", "a.npz", "b.npz", "c.npz", "o.npz", "--merge", "append", "--json", cwd=tmp_path)
    )
    assert events_of(tmp_path / "o.npz")[0].tolist() == [100, 200, 300, 400, 401, 451]
    assert said["moved_by_us"] == {"c.npz": 401}


def test_large_inputs_are_merged_in_parts_and_equal_a_sort(tmp_path):
    rng = np.random.default_rng(0)
    times = [np.sort(rng.integers(0, 400_000, n)) for n in (300_000, 10, 200_000)]
    for i, t in enumerate(times):
        recording(tmp_path / f"{i}.npz", t, x=np.full(len(t), i))
    sources = [open_source(tmp_path / f"{i}.npz") for i in range(3)]
    parts = [reading.events for reading in merge.merged(sources, "time")]
    assert max(len(part[0]) for part in parts) < 200_000
    t, x, _, _ = packets.join(parts)
    whole, owner = np.concatenate(times), np.repeat(np.arange(3), [len(one) for one in times])
    order = np.argsort(whole, kind="stable")
    np.testing.assert_array_equal(t, whole[order])
    np.testing.assert_array_equal(x, owner[order])


def test_inputs_of_different_sensors_are_not_merged(tmp_path):
    recording(tmp_path / "a.npz", [1])
    one = Reading((np.ones(1, np.int64), *(np.ones(1, np.uint16),) * 2, np.ones(1, np.bool_)), 1.0)
    recordings.write(tmp_path / "b.npz", [one], Sensor(width=10, height=10))
    with pytest.raises(SourceError, match="its sensor is 10x10, that of a.npz 64x48: give --sensor"):
        merge.merged([open_source(tmp_path / "a.npz"), open_source(tmp_path / "b.npz")], "time")


@pytest.mark.parametrize("t", [[7_000_500, 7_000_900, 7_003_100], [0], [5, 5, 5, 2_000_000]])
def test_the_index_of_milliseconds_is_dsecs(tmp_path, t):
    recording(tmp_path / "a.npz", t)
    answer("convert", "a.npz", "a.h5", "--ms-index", cwd=tmp_path)
    with h5py.File(tmp_path / "a.h5") as file:
        relative, index, offset = file["events/t"][:], file["ms_to_idx"][:], int(file["t_offset"][()])
    assert offset == t[0]
    assert (relative + offset).tolist() == t
    for ms, at in enumerate(index.tolist()):
        assert at == len(t) or relative[at] >= ms * 1000
        assert at == 0 or relative[at - 1] < ms * 1000
    np.testing.assert_array_equal(events_of(tmp_path / "a.h5")[0], t)
    refused = polychrony("convert", "a.npz", "b.npz", "--ms-index", cwd=tmp_path)
    assert (refused.returncode, "no index of milliseconds" in refused.stderr) == (1, True)


def test_text_keeps_the_size_of_the_sensor(tmp_path):
    for name in ("a.csv", "a.txt"):
        recording(tmp_path / name, [1, 2, 3])
        source = open_source(tmp_path / name)
        assert (source.info.sensor, source.info.sensor_from) == (SENSOR, "file")

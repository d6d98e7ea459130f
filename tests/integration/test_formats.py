"""Formats for which there is no real recording at hand, made to their definitions and read by others too; and
what becomes of what is wrong in a file."""

import struct

import eventcv
import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from kernels.coding.encode import Encoder, encode
from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, SourceError, open_source
from pipeline.sources.recording import HELD_BACK

RNG = np.random.default_rng(5)
N = 5000
T = np.sort(RNG.integers(0, 2_000_000, N))
X, Y = RNG.integers(0, 240, N).astype(np.uint16), RNG.integers(0, 180, N).astype(np.uint16)
P = RNG.random(N) < 0.5
EVENTS = (T, X, Y, P)


def events_of(source):
    return packets.join([reading.events for reading in source.batches()])


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def aedat2(path, chip, address, t):
    rows = np.stack([address, t], axis=1).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# AEChip: " + chip + b"\r\n#End Of ASCII Header\r\n" + rows.tobytes())
    return path


def davis_address(x, y, p, height, width=240):
    return (
        (height - 1 - y.astype(np.int64)) << 22
        | (width - 1 - x.astype(np.int64)) << 12
        | p.astype(np.int64) << 11
    )


def test_aedat2_of_a_davis_equals_eventcv_but_for_the_mirror(tmp_path):
    """jAER stores columns mirrored, as a recording with known motion shows; eventcv does not turn them back."""
    address = davis_address(X, Y, P, 180)
    address[::97] |= 0x80000000  # frames and motion sensor stand between
    path = aedat2(tmp_path / "a.aedat", b"eu.seebetter.ini.chips.davis.DAVIS240C", address, T)
    source = open_source(path)
    found = events_of(source)
    assert (source.info.format, source.info.sensor) == ("AEDAT2", Sensor(width=240, height=180))
    theirs = eventcv.load(str(path)).numpy()
    assert_equal(found, (theirs[:, 2].astype(np.int64), 239 - theirs[:, 0], theirs[:, 1], theirs[:, 3] > 0))
    kept = np.arange(N) % 97 > 0
    assert_equal(found, tuple(column[kept] for column in EVENTS))


def test_aedat2_of_a_dvs128_counts_columns_from_the_right_and_rows_from_below(tmp_path):
    x, y = X % 128, Y % 128
    address = (127 - x.astype(np.int64)) << 1 | (127 - y.astype(np.int64)) << 8 | ~P & 1
    path = aedat2(tmp_path / "a.aedat", b"ch.unizh.ini.jaer.chip.retina.DVS128", address, T)
    assert_equal(events_of(open_source(path)), (T, x, y, P))


@pytest.mark.parametrize("start", [2**32 - 1000, 2**33 + 2**32 - 5])
def test_clocks_of_32_bits_wrap(tmp_path, start):
    low = (T + start) % 2**32
    path = aedat2(tmp_path / "a.aedat", b"DAVIS240C", davis_address(X, Y, P, 180), low)
    found = events_of(open_source(path))[0]
    np.testing.assert_array_equal(found, T + start % 2**32)
    dat = tmp_path / "a.dat"
    rows = np.stack([low, X.astype(np.int64) | Y.astype(np.int64) << 14], axis=1).astype("<u4")
    dat.write_bytes(b"% Version 2\n% Width 240\n% Height 180\n" + bytes([12, 8]) + rows.tobytes())
    source = open_source(dat)
    np.testing.assert_array_equal(events_of(source)[0], T + start % 2**32)
    assert source.info.details["clock_wraps"] == 1


@pytest.mark.parametrize(("kind", "wrap"), [("EVT3", 2**24), ("EVT2", 2**34)])
def test_clocks_of_prophesee_wrap(tmp_path, kind, wrap):
    t = T + wrap - 1_000_000
    path = tmp_path / "a.raw"
    recordings.write(path, [packets_of((t, X, Y, P))], Sensor(width=240, height=180), kind)
    source = open_source(path)
    assert_equal(events_of(source), (t, X, Y, P))
    assert source.info.details["clock_wraps"] == 1


def packets_of(events):
    from pipeline.sources import Reading

    return Reading(events, 1.0)


HDF5 = {
    "group": lambda f: [f.create_dataset(f"events/{n}", data=c) for n, c in zip("txyp", EVENTS, strict=True)],
    "dsec": lambda f: [
        f.create_dataset("t_offset", data=np.int64(7)),
        *[f.create_dataset(f"events/{n}", data=c) for n, c in zip("txyp", (T - 7, X, Y, P), strict=True)],
    ],
    "ros names": lambda f: [
        f.create_dataset(f"a/b/{n}", data=c)
        for n, c in zip(("timestamps", "x_coordinates", "y_coordinates", "polarities"), EVENTS, strict=True)
    ],
    "seconds": lambda f: [
        f.create_dataset(n, data=c) for n, c in zip("txyp", (T / 1e6, X, Y, P * 2.0 - 1), strict=True)
    ],
    "compound": lambda f: f.create_dataset(
        "CD/events",
        data=np.array(
            list(zip(X, Y, P, T, strict=True)), [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
        ),
    ),
}


@pytest.mark.parametrize("layout", HDF5)
def test_hdf5_in_the_layouts_of_the_field(tmp_path, layout):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        HDF5[layout](file)
        file.attrs["geometry"] = "240x180"
    source = open_source(path)
    assert_equal(events_of(source), EVENTS)
    assert source.info.sensor == Sensor(width=240, height=180)


def test_hdf5_with_a_codec_that_no_package_brings_says_so(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((100,))
        plist.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL, (0,))
        kind = h5py.h5t.py_create(np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]))
        space = h5py.h5s.create_simple((100,))
        h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, plist)
    with pytest.raises(SourceError, match="ECF codec, which no package brings"):
        open_source(path)


TABLES = {
    "named.csv": lambda: ("x,y,polarity,timestamp_us\n", ",", (X, Y, P, T), {}),
    "bare.txt": lambda: ("", " ", (T, X, Y, P), {}),
    "given.csv": lambda: ("", ",", (X, Y, T, P), {"columns": "xytp"}),
    "skipped.csv": lambda: ("", ";", (X, X, Y, T, P), {"columns": "_xytp"}),
    "tabs.tsv": lambda: ("# made by hand\nt\tx\ty\tp\n", "\t", (T, X, Y, P), {}),
    "e2vid.txt": lambda: ("240 180\n", " ", (T / 1e6, X, Y, P), {}),
    "milli.csv": lambda: ("t_ms,x,y,p\n", ",", (T // 1000, X, Y, P), {}),
    "nano.csv": lambda: ("t,x,y,p\n", ",", (T * 1000, X, Y, P), {"time_unit": "ns"}),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_in_the_orders_and_units_of_the_field(tmp_path, name):
    header, separator, columns, options = TABLES[name]()
    lines = []
    for row in zip(*columns, strict=True):
        lines.append(separator.join(f"{v:.6f}" if isinstance(v, np.floating) else str(int(v)) for v in row))
    path = tmp_path / name
    path.write_text(header + "\n".join(lines) + "\n")
    source = open_source(path, InputOptions(**options))
    truth = (T // 1000 * 1000 if name == "milli.csv" else T, X, Y, P)
    assert_equal(events_of(source), truth)
    if name == "e2vid.txt":
        assert (source.info.sensor, source.info.sensor_from) == (Sensor(width=240, height=180), "file")


def test_npy_and_structured_npz(tmp_path):
    rows = np.empty(N, [("x", "<u2"), ("y", "<u2"), ("ts", "<i8"), ("pol", "i1")])
    rows["x"], rows["y"], rows["ts"], rows["pol"] = X, Y, T, np.where(P, 1, -1)
    np.save(tmp_path / "a.npy", rows)
    np.savez_compressed(tmp_path / "b.npz", events=rows)
    np.save(tmp_path / "c.npy", np.stack([X, Y, T, P], axis=1).astype(np.int64))
    np.save(tmp_path / "d.npy", np.stack([X, Y, T / 1e6, P], axis=1))
    assert_equal(events_of(open_source(tmp_path / "a.npy")), EVENTS)
    assert_equal(events_of(open_source(tmp_path / "b.npz")), EVENTS)
    assert_equal(events_of(open_source(tmp_path / "c.npy", InputOptions(columns="xytp"))), EVENTS)
    assert_equal(events_of(open_source(tmp_path / "d.npy", InputOptions(columns="xytp"))), EVENTS)
    with pytest.raises(SourceError, match=r"fit x,y,t,p \(--columns xytp\), not the usual t,x,y,p"):
        open_source(tmp_path / "c.npy")
    with pytest.raises(ValidationError, match="must name t, x, y and p once each"):
        InputOptions(columns="xyzp")


def ros1_array(t, x, y, p):
    packed = np.empty(len(t), [("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
    packed["x"], packed["y"], packed["p"] = x, y, p
    packed["s"], packed["ns"] = t // 10**6, t % 10**6 * 1000
    return (
        struct.pack("<IIII3sII", 1, 5, 6, 3, b"cam", 180, 240) + struct.pack("<I", len(t)) + packed.tobytes()
    )


def ros2_array(t, x, y, p):
    body = bytearray(struct.pack("<iI", 5, 6) + struct.pack("<I", 4) + b"cam\0")
    body += struct.pack("<III", 180, 240, len(t))
    for row in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        body += b"\0" * (-len(body) % 2) + struct.pack("<HH", row[1], row[2])
        body += b"\0" * (-len(body) % 4) + struct.pack("<iI", row[0] // 10**6, row[0] % 10**6 * 1000)
        body += struct.pack("<B", row[3])
    return b"\0\1\0\0" + bytes(body)


DVS = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    "bool is_bigendian\nuint8[] events\n"
)


def packet(t, x, y, p, ros1, encoder, base_ns):
    raw = encode(encoder, (t, x, y, p))
    body = bytearray(struct.pack("<I", 1) if ros1 else b"")
    body += struct.pack("<II", 5, 6) + (
        struct.pack("<I3s", 3, b"cam") if ros1 else struct.pack("<I4s", 4, b"cam\0")
    )
    if not ros1:
        body += b"\0" * (-len(body) % 4)
    body += struct.pack("<II", 180, 240)
    if not ros1:
        body += b"\0" * (-len(body) % 8)
    body += struct.pack("<QQ", 7, base_ns)
    body += struct.pack("<I4s", 4, b"evt3") if ros1 else struct.pack("<I5s", 5, b"evt3\0")
    body += b"\0"
    if not ros1:
        body += b"\0" * (-len(body) % 4)
    body += struct.pack("<I", len(raw)) + raw
    return bytes(body) if ros1 else b"\0\1\0\0" + bytes(body)


@pytest.mark.parametrize("ros", [1, 2])
@pytest.mark.parametrize("kind", ["EventArray", "EventPacket"])
def test_bags_of_both_generations(tmp_path, ros, kind):
    rosbags = pytest.importorskip("rosbags")
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    assert rosbags
    store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
    event = EVENT if ros == 1 else EVENT.replace("time ts", "builtin_interfaces/Time ts")
    types = {
        **get_types_from_msg(DVS, "dvs_msgs/msg/EventArray"),
        **get_types_from_msg(event, "dvs_msgs/msg/Event"),
    }
    types |= get_types_from_msg(PACKET, "event_camera_msgs/msg/EventPacket")
    store.register(types)
    name = "dvs_msgs/msg/EventArray" if kind == "EventArray" else "event_camera_msgs/msg/EventPacket"
    path = tmp_path / ("a.bag" if ros == 1 else "a")
    writer = Writer1(path) if ros == 1 else Writer2(path, version=9)
    base, encoder = 1_700_000_000_000_000, Encoder(2)
    with writer:
        connection = writer.add_connection("/cam/events", name, typestore=store)
        for at in range(0, N, 701):
            part = tuple(column[at : at + 701] for column in EVENTS)
            if kind == "EventArray":
                make = ros1_array if ros == 1 else ros2_array
                body = make(part[0] + base, *part[1:])
            else:
                body = packet(*part, ros == 1, encoder, base * 1000)
            writer.write(connection, int(part[0][0] + base) * 1000, body)
    source = open_source(path)
    assert_equal(events_of(source), EVENTS)
    assert source.info.sensor == Sensor(width=240, height=180)
    # EVT3 holds the sensor's own clock, which begins when the sensor does; nobody knows its epoch.
    assert source.info.epoch_ns == (base * 1000 if kind == "EventArray" else 0)
    with pytest.raises(SourceError, match="choose one of its event topics with --topic: /cam/events"):
        open_source(path, InputOptions(topic="/other"))


FAULTS = {
    "truncated_bytes": lambda d: (d / "recordings" / "evt3_640x480.raw").read_bytes()[:-1],
    "broken_off": lambda d: (d / "recordings" / "davis346.aedat4").read_bytes()[: 3 * 2**20],
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_cut_off_is_read_as_far_as_it_goes_and_counted(data_dir, tmp_path, what):
    path = tmp_path / "cut"
    path.write_bytes(FAULTS[what](data_dir))
    source = open_source(path)
    assert len(events_of(source)[0]) > 10_000
    assert source.info.repaired == {what: 1}
    with pytest.raises(SourceError, match="truncated|broken off"):
        events_of(open_source(path, InputOptions(on_fault="error")))


def test_a_video_that_is_broken_off_is_counted(tmp_path, video_of):
    rng = np.random.default_rng(0)
    path = video_of(
        tmp_path / "a.avi", [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(60)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(path)
    events_of(source)
    read = source.info.details["frames_read"]
    assert source.info.repaired["missing_frames"] == source.info.details["frames"] - read > 10
    with pytest.raises(SourceError, match=f"of 60 frames that it states {read} can be read"):
        events_of(open_source(path, InputOptions(on_fault="error")))


def test_rows_that_are_no_events_are_left_out_and_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n1,2,3,1\n2,-2,3,1\n3,70000,3,1\n-4,1,1,1\nfour,1,1,1\n4,1\n5,6,7,0\n")
    source = open_source(path)
    assert events_of(source)[0].tolist() == [1, 5]
    assert source.info.repaired["dropped_unusable_rows"] == 4
    assert source.info.repaired["dropped_beyond_time"] == 1
    with pytest.raises(SourceError, match="2 lines such as 'four,1,1,1'"):
        open_source(path, InputOptions(on_fault="error"))


@pytest.mark.parametrize("n", [1000, 300_000, HELD_BACK + 400_000])
def test_time_that_falls_is_sorted_in_bounded_memory(tmp_path, n):
    """Every hundredth event comes 40 events late; ties keep the order of the file."""
    t = np.arange(n) // 2
    order = np.argsort(np.arange(n) + np.where(np.arange(n) % 100 == 0, 40.5, 0), kind="stable")
    x = (np.arange(n) % 200).astype(np.uint16)
    path = tmp_path / "a.npz"
    np.savez(path, t=t[order], x=x[order], y=x[order], p=x[order] > 3)
    source = open_source(path)
    found = events_of(source)
    expected = np.argsort(t[order], kind="stable")
    np.testing.assert_array_equal(found[0], t)
    np.testing.assert_array_equal(found[1], x[order][expected])
    assert set(source.info.repaired) == {"sorted_falls_of_time"}
    assert source.info.repaired["sorted_falls_of_time"] == np.count_nonzero(np.diff(t[order]) < 0)


def test_events_too_late_to_be_sorted_are_left_out_and_counted(tmp_path):
    n = 3 * HELD_BACK
    t = np.arange(n)
    t[-1] = 5
    zeros = np.zeros(n, np.uint16)
    np.savez(tmp_path / "a.npz", t=t, x=zeros, y=zeros, p=zeros)
    source = open_source(tmp_path / "a.npz")
    assert len(events_of(source)[0]) == n - 1
    assert source.info.repaired["dropped_too_late"] == 1


def test_memory_is_bounded_whatever_the_length(tmp_path):
    """A recording of 40 million events is read in far less memory than it would fill."""
    import subprocess
    import sys

    n = 500_000
    t = np.arange(n)
    events = (t, (t % 640).astype(np.uint16), (t % 480).astype(np.uint16), t % 2 == 0)
    encoder = Encoder(2)
    with (tmp_path / "long.raw").open("wb") as file:
        file.write(b"% evt 3.0\n% geometry 640x480\n% end\n")
        for k in range(80):
            file.write(encode(encoder, (events[0] + k * n, *events[1:])))
    code = (
        "import sys; from pathlib import Path; from pipeline.sources import open_source\n"
        "n = sum(len(r.events[0]) for r in open_source(Path(sys.argv[1])).batches())\n"
        # Not ru_maxrss: that starts at what the process which ran this one held.
        "status = Path('/proc/self/status').read_text()\n"
        "print(n, next(line.split()[1] for line in status.splitlines() if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "long.raw")], capture_output=True, text=True, check=True
    )
    found, peak_kib = map(int, done.stdout.split())
    assert found == 80 * n
    assert peak_kib < 600 * 1024  # its columns alone would take 520 MB


def test_events_late_around_a_wrap_step_back_and_are_sorted(tmp_path):
    low = np.array([2**32 - 1, 2, 2**32 - 3, 5])
    address = davis_address(X[:4], Y[:4], P[:4], 180)
    source = open_source(aedat2(tmp_path / "a.aedat", b"DAVIS240C", address, low))
    assert events_of(source)[0].tolist() == [2**32 - 3, 2**32 - 1, 2**32 + 2, 2**32 + 5]
    assert source.info.repaired == {"sorted_falls_of_time": 1}


def test_parquet_with_nothing_in_a_row_keeps_its_unit(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"t": pa.array([1, None, 9], pa.int64()), "x": [1, 2, 3], "y": [1, 2, 3], "p": [0, 1, 1]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert events_of(source)[0].tolist() == [1, 9]
    assert source.info.repaired == {"dropped_unusable_rows": 1}


def test_files_that_point_at_other_files_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(800))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "txyp":
            file.create_dataset(name, (100,), "<i8", external=[(str(tmp_path / "secret"), 0, 800)])
    with pytest.raises(SourceError, match="keeps its data in other files"):
        open_source(tmp_path / "a.h5")


def test_times_offset_in_their_own_unit(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in zip("txyp", (T / 1e6, X, Y, P), strict=True):
            file.create_dataset(name, data=column)
        file["t_offset"] = 12.5
    np.testing.assert_array_equal(events_of(open_source(tmp_path / "a.h5"))[0], T + 12_500_000)


def test_a_span_that_no_sensor_has_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n1,2,3,1\n2,65535,32767,0\n")
    with pytest.raises(SourceError, match="span 65536x32768 px, more than any sensor"):
        open_source(path)


def test_one_line_without_end_marks_and_quotes(tmp_path):
    for name, text in (
        ("a.csv", "0.5,10,20,1"),
        ("b.csv", "\ufefft,x,y,p\n500000,1,2,1\n"),
        ("c.csv", '"t","x","y","p"\n500000,1,2,1\n'),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert events_of(open_source(tmp_path / name))[0].tolist() == [500_000]


def test_many_events_at_zero_do_not_grow_memory(tmp_path):
    """One in each part, far too late: left out and counted, not merged with all that waits."""
    n = 6 * HELD_BACK
    t = np.arange(n)
    t[50_000::100_000] = 0
    zeros = np.zeros(n, np.uint16)
    np.savez(tmp_path / "a.npz", t=t, x=zeros, y=zeros, p=zeros)
    source = open_source(tmp_path / "a.npz")
    assert np.all(np.diff(events_of(source)[0]) >= 0)
    assert source.info.repaired["dropped_too_late"] > 30

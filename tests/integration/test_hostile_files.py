"""What an attack with files of its own choosing found to be read wrongly, one test for each kind of fault."""

import gzip
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import pipeline
from pipeline.arrays import ArrayError
from pipeline.sensor import Sensor
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, Reading, SourceError, open_source
from tests.integration.test_formats import EVENTS, N, P, T, X, Y, assert_equal, davis_address, events_of
from tests.integration.test_more_formats import SMALL, lines, packet31

OFF = {"frame_interpolation": "off"}


@pytest.mark.parametrize("comment", ["Übung", "a – b", "王芳", "caf\xe9".encode("latin-1").decode("latin-1")])
def test_headers_in_any_language_are_headers(tmp_path, comment):
    rows = np.stack([davis_address(X, Y, P, 180), T], axis=1).astype(">u4").tobytes()
    for end in (b"#End Of ASCII Header\r\n", b""):
        path = tmp_path / "a.aedat"
        path.write_bytes(
            b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n# " + comment.encode() + b"\r\n" + end + rows
        )
        assert_equal(events_of(open_source(path)), EVENTS)
    recordings.write(tmp_path / "a.raw", [Reading(EVENTS, 1.0)], Sensor(width=240, height=180))
    raw = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "b.raw").write_bytes(b"% user " + comment.encode() + b"\n" + raw)
    assert_equal(events_of(open_source(tmp_path / "b.raw")), EVENTS)


def test_the_format_is_what_its_own_lines_name(tmp_path):
    recordings.write(tmp_path / "a.raw", [Reading(EVENTS, 1.0)], Sensor(width=240, height=180), "EVT2")
    raw = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "b.raw").write_bytes(b"% filename my_evt3_test.raw\n" + raw)
    source = open_source(tmp_path / "b.raw")
    assert_equal(events_of(source), EVENTS)
    assert source.info.format == "EVT2"


def words31(events):
    _, x, y, p = events
    return x.astype(np.uint32) << 17 | y.astype(np.uint32) << 2 | p.astype(np.uint32) << 1 | 1


def test_frames_between_events_of_aedat31_lose_nothing(tmp_path):
    t = SMALL[0]
    rows = np.stack([words31(SMALL), t], axis=1)
    frame = struct.pack("<hhiiiiii", 2, 1, 36, 12, 0, 2, 2, 2) + bytes(72)
    body = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n" + frame
    path = tmp_path / "a.aedat"
    path.write_bytes(body + packet31(1, rows[:2000]) + frame + packet31(1, rows[2000:]))
    source = open_source(path)
    assert_equal(events_of(source), SMALL)
    assert source.info.repaired == {}


def test_two_cameras_in_one_file_are_refused_until_one_is_chosen(tmp_path):
    t = SMALL[0]
    rows = np.stack([words31(SMALL), t], axis=1)
    other = struct.pack("<hhiiiiii", 1, 2, 8, 4, 0, 2, 2, 2) + rows[:2].astype("<u4").tobytes()
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Source 2: DAVIS240C\r\n#!END-HEADER\r\n"
    path = tmp_path / "a.aedat"
    path.write_bytes(header + packet31(1, rows) + other)
    with pytest.raises(SourceError, match="the sources 1 and 2: choose one with --group"):
        events_of(open_source(path))
    source = open_source(path, InputOptions(group="1"))
    assert_equal(events_of(source), SMALL)
    assert source.info.sensor == Sensor(width=128, height=128)
    rows = np.empty(N, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    rows["t"], rows["x"], rows["y"], rows["p"] = EVENTS
    np.savez(tmp_path / "two.npz", left=rows, right=rows[:9])
    with pytest.raises(SourceError, match="several arrays, left, right: choose one with --group"):
        open_source(tmp_path / "two.npz")
    assert len(events_of(open_source(tmp_path / "two.npz", InputOptions(group="right")))[0]) == 9


def test_every_connection_of_a_topic_is_read_and_no_other_bag(tmp_path):
    pytest.importorskip("rosbags")
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from tests.integration.test_formats import DVS, EVENT, ros1_array

    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(DVS, "dvs_msgs/msg/EventArray"))
    store.register(get_types_from_msg(EVENT, "dvs_msgs/msg/Event"))
    path = tmp_path / "a.bag"
    with Writer(path) as writer:
        connections = [
            writer.add_connection("/e", "dvs_msgs/msg/EventArray", typestore=store, callerid=name)
            for name in "ab"
        ]
        for i, at in enumerate(range(0, N, 500)):
            part = tuple(column[at : at + 500] for column in EVENTS)
            writer.write(connections[i * 2 // 10], int(part[0][0]) * 1000, ros1_array(*part))
    assert_equal(events_of(open_source(path)), EVENTS)
    other = tmp_path / "folder"
    other.mkdir()
    (other / "metadata.yaml").write_text("  relative_file_paths:\n    - mine.mcap\n")
    (other / "yours.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(100))
    with pytest.raises(SourceError, match=r"no metadata\.yaml beside it lists it"):
        open_source(other / "yours.mcap")


@pytest.mark.parametrize("unit", ["Nanoseconds since start", "[ns]", "nsec", ["ns"]])
def test_units_in_attributes_are_understood_or_refused(tmp_path, unit):
    def write(path, unit):
        with h5py.File(path, "w") as file:
            for name, column in zip("txyp", (T * 1000, X, Y, P), strict=True):
                file[f"events/{name}"] = column
            file["events/t"].attrs["units"] = unit

    write(tmp_path / "a.h5", unit)
    source = open_source(tmp_path / "a.h5")
    assert_equal(events_of(source), EVENTS)
    assert source.info.warnings == []
    write(tmp_path / "b.h5", "fortnights")
    with pytest.raises(SourceError, match="'fortnights', which is not known: give --time-unit"):
        open_source(tmp_path / "b.h5")


@pytest.mark.parametrize(
    "header", ["# t [ns], x, y, p", "# time (ns), x, y, p", "# time unit: ns\nt,x,y,p", "t (µs),x,y,p"]
)
def test_units_in_comments_and_headers_are_understood(tmp_path, header):
    factor = 1 if "µ" in header else 1000
    rows = "\n".join(
        f"{t * factor},{x},{y},{int(p)}" for t, x, y, p in zip(*(c.tolist() for c in EVENTS), strict=True)
    )
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}\n", encoding="utf-8")
    assert_equal(events_of(open_source(tmp_path / "a.csv")), EVENTS)


def test_a_type_that_states_its_unit_is_not_overruled(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"t": pa.array(T, pa.timestamp("us")), "x": X, "y": Y, "p": P})
    pq.write_table(table, tmp_path / "a.parquet")
    assert_equal(events_of(open_source(tmp_path / "a.parquet")), EVENTS)
    with pytest.raises(SourceError, match="states its unit: leave out --time-unit"):
        events_of(open_source(tmp_path / "a.parquet", InputOptions(time_unit="us")))


@pytest.mark.parametrize(
    "comment",
    [
        "sensor Gen4 1280x720",
        "sensor 2, 1280x720",
        "batch size: 32, 4 workers",
        "time resolution: 1, 1000 us",
    ],
)
def test_a_comment_is_no_sensor(tmp_path, comment):
    (tmp_path / "a.csv").write_text(f"# {comment}\nt,x,y,p\n{lines()}\n")
    source = open_source(tmp_path / "a.csv")
    assert_equal(events_of(source), EVENTS)
    assert source.info.sensor_from == "events"
    (tmp_path / "b.csv").write_text(f"# sensor: 100x100\nt,x,y,p\n{lines()}\n")
    source = open_source(tmp_path / "b.csv")
    events_of(source)
    assert (
        "of its events lie outside the 100x100 sensor that it states; give --sensor"
        in source.info.warnings[0]
    )


def test_markers_of_the_recorders_clock_are_no_events(tmp_path):
    def row(t, x, y, p):
        return (x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big")

    (tmp_path / "a.bin").write_bytes(row(5, 1, 2, 1) + row(0, 0, 240, 0) + row(7, 3, 4, 0))
    source = open_source(tmp_path / "a.bin")
    t, x, y, p = events_of(source)
    assert (t.tolist(), x.tolist(), y.tolist(), p.tolist()) == ([5, 7 + 2**13], [1, 3], [2, 4], [True, False])
    assert source.info.details["clock_overflows"] == 1


def test_a_dat_larger_than_version_1_is_version_2(tmp_path):
    rows = np.array([[100, 600 | 3 << 14], [200, 5 | 2 << 14]], "<u4")
    path = tmp_path / "a.dat"
    path.write_bytes(b"% Height 480\n% Width 640\n" + bytes([0, 8]) + rows.tobytes())
    assert events_of(open_source(path))[2].tolist() == [3, 2]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_that_are_no_8_or_16_bits_are_refused(tmp_path, kind):
    pillow = pytest.importorskip("PIL.Image")
    images = [pillow.fromarray(np.full((20, 20), i, kind)) for i in range(4)]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    with pytest.raises(SourceError, match="pixels; allowed are 8 and 16 bits"):
        open_source(tmp_path / "a.tif", InputOptions(frame_rate=100))


def test_what_is_damaged_in_a_table_is_counted(tmp_path):
    (tmp_path / "a.csv").write_text(lines().replace("\n", "\nabc,1,2,1\n", 1))
    source = open_source(tmp_path / "a.csv")
    assert_equal(events_of(source), EVENTS)
    assert source.info.repaired == {"dropped_unusable_rows": 1}
    packed = gzip.compress(f"t,x,y,p\n{lines()}\n".encode())
    (tmp_path / "b.csv.gz").write_bytes(packed[: len(packed) * 3 // 4])
    source = open_source(tmp_path / "b.csv.gz")
    n = len(events_of(source)[0])
    assert N // 2 < n < N
    assert source.info.repaired["broken_off"] == 1
    (tmp_path / "c.csv.gz").write_bytes(packed + b"junk")
    assert_equal(events_of(open_source(tmp_path / "c.csv.gz")), EVENTS)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a.csv", f"t,x,y,p\n{lines()}\n")
        archive.writestr("__MACOSX/._a.csv", b"\0\5\26\7")
    assert_equal(events_of(open_source(tmp_path / "d.zip")), EVENTS)


def test_the_commonest_array_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", events=np.array([T, X, Y, P]).T)  # Fortran order
    assert_equal(events_of(open_source(tmp_path / "a.npz")), EVENTS)


def test_names_of_images_that_are_numbers_are_ordered_by_them(tmp_path):
    import cv2

    for i in range(1, 8):
        cv2.imwrite(str(tmp_path / f"{i * 0.05:g}.png"), np.full((24, 24), 20 * i, np.uint8))
    t, _, _, p = events_of(open_source(tmp_path, InputOptions(frame_rate=100, **OFF)))
    assert p.all()  # it only grows brighter
    assert len(t) > 100


def test_a_link_to_itself_is_one_line(tmp_path):
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    one = Reading((np.zeros(1, np.int64), *(np.zeros(1, np.uint16),) * 2, np.zeros(1, np.bool_)), 1.0)
    with pytest.raises(recordings.CannotWrite, match=r"loop\.csv"):
        recordings.write(tmp_path / "loop.csv", [one], Sensor(width=4, height=4))
    with pytest.raises(recordings.CannotWrite, match="No space left on device"):
        recordings.write(Path("/dev/full"), [one], Sensor(width=4, height=4), "csv")


def test_arrays_say_their_unit_and_what_is_masked():
    named = pipeline.run("denoise", {"t_ns": T * 1000, "x": X, "y": Y, "p": P}, (240, 180))
    assert named.digests == pipeline.run("denoise", EVENTS, (240, 180)).digests
    masked = np.ma.masked_array(T, mask=T > 1000)
    with pytest.raises(ArrayError, match="masked arrays"):
        pipeline.run("denoise", (masked, X, Y, P), (240, 180))
    for preset in ("denoise", "view", "motion"):
        empty = pipeline.run(preset, ([], [], [], []), (64, 48))
        assert all(len(columns["t"]) == 0 for columns in empty.values())


def test_a_sensor_that_was_given_and_is_too_small_is_doubted(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("t,x,y,p\n" + "".join(f"{i},{i % 200},{i % 100},{i % 2}\n" for i in range(1000)))
    source = open_source(path, InputOptions(sensor="100x100"))
    assert sum(len(reading.events[0]) for reading in source.batches()) == 500
    assert source.info.warnings == [
        "50% of its events lie outside the 100x100 sensor that was given; is --sensor right?"
    ]

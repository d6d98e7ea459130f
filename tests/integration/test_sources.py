"""Real recordings against the truth that several independent decoders agree on, and bad files."""

import itertools

import eventcv
import faery
import numpy as np
import pyarrow.parquet as pq
import pytest

import pipeline
from kernels.coding import decode
from kernels.coding.decode import Decoder
from pipeline import packets
from pipeline.offline import engine_for, steps
from pipeline.sensor import Sensor
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, Reading, SourceError, open_source
from pipeline.sources.video import Video
from pipeline.spec import load, validate

TRUTH = {
    "davis346.aedat4": ("AEDAT4", (346, 260), 78_830, 2.36),
    "dvxplorer_320x240.aedat4": ("AEDAT4", (320, 240), 111_954, 0.59),
    "evt2_640x480_noheader.raw": ("EVT2", (640, 480), 521_252, 0.096),
    "evt3_1280x720_25mevs.raw": ("EVT3", (1280, 720), 219_596, 0.0088),
    "evt3_640x480.raw": ("EVT3", (640, 480), 343_474, 2.08),
    "ncaltech101_faces.bin": ("ATIS bin", None, 67_445, 0.3),
    "ncars.dat": ("DAT", None, 2_009, 0.1),
    "nmnist.bin": ("ATIS bin", (34, 34), 4_325, 0.3),
}


def events_of(source):
    return packets.join([reading.events for reading in source.batches()])


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", TRUTH)
def test_recordings_hold_exactly_what_they_should(data_dir, name):
    kind, sensor, events, seconds = TRUTH[name]
    source = open_source(data_dir / "recordings" / name)
    t, x, y, _ = events_of(source)
    assert (source.info.format, source.info.events, len(t)) == (kind, events, events)
    if sensor:
        assert (source.info.sensor.width, source.info.sensor.height) == sensor
    # the truth is stated to two digits
    assert (source.info.t_last_us - source.info.t_first_us) / 1e6 == pytest.approx(seconds, rel=0.05)
    assert np.all(np.diff(t) >= 0)
    assert x.max() < source.info.sensor.width
    assert y.max() < source.info.sensor.height


@pytest.mark.parametrize(
    "name", ["evt2_640x480_noheader.raw", "evt3_1280x720_25mevs.raw", "evt3_640x480.raw"]
)
def test_the_byte_decoder_equals_the_library_at_the_cuts_of_a_real_camera(data_dir, name):
    path = data_dir / "recordings" / name
    raw = path.read_bytes()
    while raw.startswith(b"%"):
        raw = raw[raw.index(b"\n") + 1 :]
    sizes = np.random.default_rng(0).integers(1, 50_000, 2000)
    if name == "evt3_640x480.raw":
        sizes = np.load(path.with_name("evt3_640x480.packets.npz"))["size"]
    places = [0, *(int(v) for v in np.cumsum(sizes) if v < len(raw)), len(raw)]
    decoder = Decoder(2 if name.startswith("evt3") else 4)
    parts = [decode.decode(decoder, raw[a:b]) for a, b in itertools.pairwise(places)]
    table = eventcv.load(str(path), sensor_size=(1280, 720)).numpy().astype(np.int64)
    t, x, y, p = packets.join(parts)
    assert_equal(
        (t, x, y, p.astype(np.int64)), (table[:, 2], table[:, 0], table[:, 1], (table[:, 3] > 0).astype(int))
    )
    if name == "evt3_640x480.raw":
        assert decoder.ignored["triggers"] == 4157


def through_us(path, options=None):
    return events_of(open_source(path, options))


def through_pyarrow(path):
    table = pq.read_table(path)
    return tuple(table[name].to_numpy() for name in "txyp")


def through_faery(path):
    rows = np.concatenate(list(faery.events_stream_from_file(path)))
    return tuple(rows[name] for name in ("t", "x", "y", "on"))


def through_eventcv(path):
    rows = eventcv.load(str(path), sensor_size=(16384, 16384)).numpy()
    return rows[:, 2].astype(np.int64), rows[:, 0], rows[:, 1], rows[:, 3] > 0


OTHERS = {
    "EVT2": ("raw", [through_eventcv, through_faery]),
    "EVT3": ("raw", [through_eventcv, through_faery]),
    "DAT": ("dat", [through_eventcv, through_faery]),
    "AEDAT4": ("aedat4", [through_eventcv, through_faery]),
    "ES": ("es", [through_faery]),
    "HDF5": ("h5", [through_eventcv]),
    "npz": ("npz", [lambda path: tuple(np.load(path)[name] for name in "txyp")]),
    "csv": ("csv", [lambda path: tuple(np.loadtxt(path, np.int64, delimiter=",", skiprows=2).T)]),
    "Parquet": ("parquet", [through_pyarrow]),
}


@pytest.mark.parametrize("kind", recordings.FORMATS)
def test_what_is_written_reads_back_equal_here_and_elsewhere(data_dir, tmp_path, kind):
    suffix, readers = OTHERS[kind]
    source = open_source(data_dir / "recordings" / "evt3_640x480.raw")
    readings = list(source.batches())
    path = tmp_path / f"out.{suffix}"
    written = recordings.write(path, readings, source.info.sensor, kind)
    assert written.events == source.info.events == 343_474
    truth = packets.join([reading.events for reading in readings])
    ours = open_source(path)
    assert_equal(events_of(ours), truth)
    assert ours.info.format == kind
    if kind != "csv":
        assert (ours.info.sensor, ours.info.sensor_from) == (source.info.sensor, "file")
    for reader in readers:
        assert_equal(reader(path), truth)
    kept = 4157 if recordings.FORMATS[kind][0] else 0
    assert (ours.info.triggers, written.triggers_left_out) == (kept, 4157 - kept)


def test_triggers_pass_through(data_dir, tmp_path):
    source = open_source(data_dir / "recordings" / "evt3_640x480.raw")
    readings = list(source.batches())
    marks = np.concatenate([reading.triggers for reading in readings])
    assert source.info.triggers == len(marks) == 4157
    assert np.all(np.diff(marks[:, 0]) >= 0)
    assert set(marks[:, 2].tolist()) == {0, 1}
    path = tmp_path / "copy.raw"
    recordings.write(path, readings, source.info.sensor, "EVT2")
    np.testing.assert_array_equal(
        np.concatenate([reading.triggers for reading in open_source(path).batches()]), marks
    )
    davis = open_source(data_dir / "recordings" / "davis346.aedat4")
    assert sum(len(reading.triggers) for reading in davis.batches()) == 236


def test_triggers_are_an_output_where_a_pipeline_asks(data_dir):
    source = open_source(data_dir / "recordings" / "evt3_640x480.raw")
    spec = validate(
        {"stages": [{"id": "a", "kind": "refractory", "period_us": 5}], "outputs": ["a", "triggers"]}
    )
    engine = engine_for(source, spec)
    rows = [r.rows for step in steps(engine, source) for r in step.results if r.output == "triggers"]
    assert engine.rows["triggers"] == sum(map(len, rows)) == 4157
    assert (
        np.concatenate(rows)["channel"].tolist() == [1] * 4157
        or len(set(np.concatenate(rows)["channel"])) <= 2
    )


def test_a_format_whose_clock_is_too_small_says_so(tmp_path):
    one = np.ones(1, np.uint16)
    far = Reading((np.array([2**45]), one, one, np.ones(1, bool)), 1.0)
    for name, problem in (
        ("out.es", "holds times below"),
        ("out.raw", "would wrap"),
        ("out.dat", "cannot hold a step"),
    ):
        with pytest.raises(recordings.CannotWrite, match=f"{problem}.*--zero-time"):
            recordings.write(tmp_path / name, [far], Sensor(width=4, height=4))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_of_nothing(tmp_path):
    with pytest.raises(recordings.CannotWrite, match="no events to write"):
        recordings.write(tmp_path / "out.npz", [], Sensor(width=4, height=4))
    assert list(tmp_path.iterdir()) == []


def text(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cut(data_dir, tmp_path, name, remove):
    return text(tmp_path / name, (data_dir / "recordings" / name).read_bytes()[:-remove])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda d, p: text(p / "note.mp4", "not a video at all\n"),
            "note.mp4: not a video that OpenCV can read",
        ),
        (lambda d, p: text(p / "empty.aedat4", ""), "empty.aedat4: an empty file"),
        (lambda d, p: text(p / "head.aedat4", "#!AER-DAT4.0\r\n"), "head.aedat4: "),
        (lambda d, p: text(p / "junk.aedat4", b"#!AER-DAT4.0\r\n" + bytes(range(256)) * 40), "junk.aedat4: "),
        (lambda d, p: text(p / "header.raw", "% evt 3.0\n% end\n"), "header.raw: holds no events"),
        (lambda d, p: text(p / "words.txt", "hello world\n"), "of an unknown format; allowed are EVT2"),
        (
            lambda d, p: text(p / "a.csv", "t,x,y,p\n1,2,three,1\n"),
            "a.csv: not a table of t, x, y, p: 1 lines",
        ),
        (
            lambda d, p: text(p / "b.csv", "t,x,y,p\n1,2,-3,1\n"),
            "y is -3.0 in row 1; allowed are whole numbers",
        ),
        (lambda d, p: text(p / "c.csv", "9 5 1 1\n8 5 2 0\n7 5 3 1\n"), "state the order with --columns"),
        (lambda d, p: text(p / "d.csv", "a;b;c;d\n1;2;3;1\n"), "its header names a, b, c, d"),
        (lambda d, p: text(p / "e.csv", "t;x;y;on;q\n1;2\n"), "e.csv: not a table of t, x, y, p: 1 lines"),
        (lambda d, p: text(p / "x.aedat", "#!AER-DAT3.1\r\n"), "its header has no end"),
        (lambda d, p: text(p / "y.aedat", "#!AER-DAT2.0\r\n# nothing\r\n"), "names no chip: give --chip"),
        (lambda d, p: text(p / "z.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)), "z.h5: not a readable HDF5 file"),
        (lambda d, p: text(p / "z.es", b"Event Stream" + bytes(9)), "z.es: not a readable ES file"),
        (lambda d, p: text(p / "z.bag", b"#ROSBAG V2.0\n"), "z.bag: not a readable ROS bag file"),
        (lambda d, p: text(p / "z.parquet", b"PAR1" + bytes(20)), "not a readable Parquet file"),
        (lambda d, p: text(p / "z.npy", b"\x93NUMPY" + bytes(20)), "not a readable npy file"),
        (lambda d, p: text(p / "c.npz", b"PK\x03\x04rest is missing"), "c.npz: not a readable npz file"),
        (lambda d, p: p / "missing.raw", "No such file"),
        (lambda d, p: p, "a folder that is no ROS 2 bag and holds no images"),
    ],
)
def test_a_bad_file_gives_one_clear_line(data_dir, tmp_path, make, problem):
    path = make(data_dir, tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_video_of_zero_frames_is_refused(tmp_path, video_of):
    path = video_of(tmp_path / "none.mp4", [])
    with pytest.raises(SourceError, match="without frames|not a video"):
        open_source(path)


def test_npz_with_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, t=np.array([object()]), x=[1], y=[1], p=[1])
    with pytest.raises(SourceError, match=r"evil\.npz"):
        open_source(path)


def test_time_that_falls_is_put_in_order_and_counted(tmp_path):
    path = text(tmp_path / "falls.csv", "t,x,y,p\n5,1,1,1\n3,2,2,0\n9,3,3,1\n")
    source = open_source(path)
    assert events_of(source)[0].tolist() == [3, 5, 9]
    assert source.info.repaired == {"sorted_falls_of_time": 1}
    source = open_source(path, InputOptions(on_fault="drop"))
    assert events_of(source)[0].tolist() == [5, 9]
    assert source.info.repaired == {"dropped_falls_of_time": 1}
    with pytest.raises(SourceError, match="time falls to 3 us after 5 us"):
        events_of(open_source(path, InputOptions(on_fault="error")))


def test_columns_of_a_csv_are_found_by_their_names(tmp_path):
    path = text(tmp_path / "named.csv", "x,y,p,t\n7,8,1,100\n9,10,0,200\n")
    assert [column.tolist() for column in events_of(open_source(path))] == [
        [100, 200],
        [7, 9],
        [8, 10],
        [True, False],
    ]


def test_a_video_takes_no_more_memory_for_more_frames(data_dir):
    source = open_source(data_dir / "video" / "carphone_pristine.mp4")
    assert isinstance(source, Video)
    assert source.info.sensor == Sensor(width=176, height=144)
    sizes = [len(reading.events[0]) for reading in source.batches()]
    assert source.info.details["frames_read"] == source.info.details["frames"] == 120
    assert len(sizes) == 120 + source.info.details["frames_inserted"]
    assert sum(sizes) > 100_000


def test_geometry_that_no_header_states_is_that_of_the_camera_or_of_the_events(data_dir, tmp_path):
    raw = (data_dir / "recordings" / "evt3_1280x720_25mevs.raw").read_bytes()
    body = raw[raw.rindex(b"% system_ID") :].split(b"\n", 1)[1]
    cases = {
        b"% evt 3.0\n": ("events", None),
        b"% evt 3.0\n% plugin_name hal_plugin_imx636_evk4\n": ("file", (1280, 720)),
        b"% evt 3.0\n% format EVT3;height=800;width=1300\n% end\n": ("file", (1300, 800)),
        b"% evt 3.0\n% geometry 640x480\n% end\n": ("file", (640, 480)),
    }
    for header, (origin, size) in cases.items():
        source = open_source(text(tmp_path / "x.raw", header + body))
        info, n = source.info, len(events_of(source)[0])
        left_out = info.repaired.get("dropped_outside_sensor", 0)
        assert (n + left_out, info.sensor_from) == (219_596, origin)
        assert size in {None, (info.sensor.width, info.sensor.height)}
    assert left_out > 100_000  # more than the last header allows: said, not hidden
    with pytest.raises(SourceError, match=r"events lie outside its 640x480 sensor"):
        events_of(open_source(tmp_path / "x.raw", InputOptions(on_fault="error")))
    bare = text(tmp_path / "bare.raw", body)
    source = open_source(bare, InputOptions(format="EVT3", sensor=Sensor(width=1280, height=720)))
    assert len(events_of(source)[0]) == 219_596


def test_columns_at_hand_give_the_same_answers(data_dir):
    source = open_source(data_dir / "recordings" / "davis346.aedat4")
    events = events_of(source)
    answers = pipeline.run("motion", events, (346, 260))
    engine = engine_for(open_source(data_dir / "recordings" / "davis346.aedat4"), load("motion"))
    list(steps(engine, source))
    assert {name: len(columns["t"]) for name, columns in answers.items()} == engine.rows
    assert answers["motion"]["score"].dtype == np.float32


def test_done_is_what_has_been_handed_on(data_dir):
    source = open_source(data_dir / "recordings" / "evt3_640x480.raw")
    seen, fractions = 0, []
    for reading in source.batches():
        seen += len(reading.events[0])
        fractions.append((seen, reading.done))
    assert all(done == pytest.approx(n / 343_474) for n, done in fractions)
    assert fractions[-1][1] == 1.0

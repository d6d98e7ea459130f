"""Real recordings against the truth that several independent decoders agree on, and bad files."""

import itertools

import eventcv
import faery
import numpy as np
import pyarrow.parquet as pq
import pytest

import pipeline
from kernels import decode
from kernels.decode import Decoder
from pipeline import packets
from pipeline.offline import engine_for, steps
from pipeline.sinks import recordings
from pipeline.sources import SourceError, open_source
from pipeline.sources.video import Video
from pipeline.spec import Sensor, load

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
    return packets.join([batch for batch, _ in source.batches()])


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", TRUTH)
def test_recordings_hold_exactly_what_they_should(data_dir, name):
    kind, sensor, events, seconds = TRUTH[name]
    source = open_source(data_dir / "recordings" / name)
    assert (source.info.format, source.info.events) == (kind, events)
    if sensor:
        assert (source.info.sensor.width, source.info.sensor.height) == sensor
    # the truth is stated to two digits
    assert (source.info.t_last_us - source.info.t_first_us) / 1e6 == pytest.approx(seconds, rel=0.05)
    t, x, y, _ = events_of(source)
    assert len(t) == events
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


def through_us(path, sensor):
    return events_of(open_source(path, sensor))


def through_pyarrow(path, _):
    table = pq.read_table(path)
    return tuple(table[name].to_numpy() for name in "txyp")


def through_faery(path, _):
    rows = np.concatenate(list(faery.events_stream_from_file(path)))
    return tuple(rows[name] for name in ("t", "x", "y", "on"))


READERS = {".parquet": through_pyarrow, ".es": through_faery}


@pytest.mark.parametrize("suffix", recordings.SUFFIXES)
def test_what_is_written_reads_back_equal(data_dir, tmp_path, suffix):
    source = open_source(data_dir / "recordings" / "evt3_640x480.raw")
    batches = [batch for batch, _ in source.batches()]
    path = tmp_path / f"out{suffix}"
    assert recordings.write(path, batches, source.info.sensor) == source.info.events
    assert_equal(READERS.get(suffix, through_us)(path, source.info.sensor), packets.join(batches))


def test_a_format_whose_clock_is_too_small_says_so(tmp_path):
    one = np.ones(1, np.uint16)
    events = (np.array([2**40]), one, one, np.ones(1, bool))
    with pytest.raises(recordings.CannotWrite, match="holds times below 4294967296 us.*--zero-time"):
        recordings.write(tmp_path / "out.dat", [events], Sensor(width=4, height=4))


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
        (
            lambda d, p: cut(d, p, "evt3_640x480.raw", 1),
            "truncated, its last 1 bytes are no whole 2-byte word",
        ),
        (
            lambda d, p: cut(d, p, "evt2_640x480_noheader.raw", 3),
            "truncated, its last 1 bytes are no whole 4-byte word",
        ),
        (lambda d, p: cut(d, p, "ncars.dat", 5), "truncated"),
        (lambda d, p: cut(d, p, "nmnist.bin", 2), "no whole 40-bit events"),
        (lambda d, p: text(p / "empty.aedat4", ""), "empty.aedat4: an empty file"),
        (lambda d, p: text(p / "head.aedat4", "#!AER-DAT4.0\r\n"), "head.aedat4: "),
        (lambda d, p: text(p / "junk.aedat4", b"#!AER-DAT4.0\r\n" + bytes(range(256)) * 40), "junk.aedat4: "),
        (lambda d, p: text(p / "header.raw", "% evt 3.0\n% end\n"), "header.raw: holds no events"),
        (lambda d, p: text(p / "words.txt", "hello world\n"), "of no known format; allowed are EVT2"),
        (lambda d, p: text(p / "a.csv", "t,x,y,p\n1,2,three,1\n"), "not a table of t, x, y, p"),
        (lambda d, p: text(p / "b.csv", "1,2,-3,1\n"), "b.csv: y must lie in 0 .. 32767"),
        (lambda d, p: text(p / "c.npz", b"PK\x03\x04rest is missing"), "c.npz: not a readable npz file"),
        (lambda d, p: p / "missing.raw", "No such file"),
        (lambda d, p: p, "Is a directory"),
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
    assert source.info.repaired == {"sorted_falls_of_time": 1}
    assert events_of(source)[0].tolist() == [3, 5, 9]


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
    sizes = [len(batch[0]) for batch, _ in source.batches()]
    assert len(sizes) == source.info.details["frames"]
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
        info = open_source(text(tmp_path / "x.raw", header + body)).info
        assert (info.events, info.sensor_from) == (219_596, origin)
        assert size in {None, (info.sensor.width, info.sensor.height)}
    assert info.details["events_outside_sensor"] > 0  # more than the last header allows: said, not hidden


def test_columns_at_hand_give_the_same_answers(data_dir):
    source = open_source(data_dir / "recordings" / "davis346.aedat4")
    events = events_of(source)
    answers = pipeline.run("motion", events, (346, 260))
    engine = engine_for(open_source(data_dir / "recordings" / "davis346.aedat4"), load("motion"))
    list(steps(engine, source))
    assert {name: len(columns["t"]) for name, columns in answers.items()} == engine.rows
    assert answers["motion"]["score"].dtype == np.float32

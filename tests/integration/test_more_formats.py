"""Formats of other people's tools, made to their definitions: what they hold comes out, and nothing else."""

import gzip
import struct
import zipfile

import cv2
import h5py
import numpy as np
import pytest

from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, SourceError, open_source
from tests.integration.test_formats import EVENTS, PACKET, N, P, T, X, Y, assert_equal, events_of

DVS128 = Sensor(width=128, height=128)
SMALL = (T, X % 128, Y % 128, P)


def test_aedat1_is_read_as_a_dvs128(tmp_path):
    t, x, y, p = SMALL
    rows = np.empty(N, [("address", ">u2"), ("t", ">u4")])
    rows["address"], rows["t"] = (127 - y) << 8 | (127 - x) << 1 | ~p, t
    path = tmp_path / "a.dat"
    path.write_bytes(b"#!AER-DAT1.0\r\n# made for a test\r\n" + rows.tobytes())
    source = open_source(path)
    assert_equal(events_of(source), SMALL)
    assert (source.info.format, source.info.sensor) == ("AEDAT1", DVS128)


def packet31(kind, rows, wraps=0):
    data = np.asarray(rows, "<u4")
    return struct.pack("<hhiiiiii", kind, 1, 8, 4, wraps, len(data), len(data), len(data)) + data.tobytes()


def test_aedat31_holds_events_and_edges(tmp_path):
    t, x, y, p = SMALL
    words = x.astype(np.uint32) << 17 | y.astype(np.uint32) << 2 | p.astype(np.uint32) << 1 | 1
    body = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: now\r\n#!END-HEADER\r\n"
    for at in range(0, N, 300):
        body += packet31(1, np.stack([words[at : at + 300], t[at : at + 300]], axis=1))
    body += packet31(0, [[2 << 1 | 1, 500_000], [3 << 1 | 1, 600_000], [1 << 1 | 1, 700_000]])
    body += packet31(3, [[1, 2]])  # of another kind: passed over
    body += packet31(1, [[words[0] & ~np.uint32(1), 9], [words[1], 5]], wraps=1)
    path = tmp_path / "a.aedat"
    path.write_bytes(body)
    source = open_source(path)
    parts = list(source.batches())
    found = tuple(np.concatenate([part.events[i] for part in parts]) for i in range(4))
    assert_equal(tuple(column[:-1] for column in found), SMALL)
    assert (int(found[0][-1]), int(found[1][-1])) == (2**31 + 5, int(x[1]))
    assert np.concatenate([part.triggers for part in parts]).tolist() == [[500_000, 0, 1], [600_000, 0, 0]]
    assert (source.info.sensor, source.info.repaired) == (DVS128, {"dropped_invalid_events": 1})
    path.write_bytes(body[:-3])
    with pytest.raises(SourceError, match="truncated, its last packet lacks 3 bytes"):
        events_of(open_source(path, InputOptions(on_fault="error")))


@pytest.mark.parametrize(("version", "stated"), [(1, True), (1, False), (2, True), (2, False)])
def test_dat_of_both_versions(tmp_path, version, stated):
    t, x, y, p = T, X, Y, P
    shift = 14 if version == 2 else 9
    word = (
        x.astype(np.int64) | y.astype(np.int64) << shift | p.astype(np.int64) << (28 if version == 2 else 17)
    )
    rows = np.stack([t, word], axis=1).astype("<u4")
    line = f"% Version {version}\n" if stated else ""
    path = tmp_path / "a.dat"
    path.write_bytes(
        f"% Data file\n{line}% Height 180\n% Width 240\n".encode() + bytes([0, 8]) + rows.tobytes()
    )
    assert_equal(events_of(open_source(path)), EVENTS)


def evt21(swapped):
    high, words = -1, []
    for t, x, y, p in zip(T.tolist(), X.tolist(), Y.tolist(), P.tolist(), strict=True):
        if t >> 6 != high:
            high = t >> 6
            words.append((8 << 60) | high << 32)
        base = x // 32 * 32
        words.append((int(p) << 60) | (t & 63) << 54 | base << 43 | y << 32 | 1 << (x - base))
    made = np.array(words, np.uint64)
    return (made >> np.uint64(32) | made << np.uint64(32) if swapped else made).astype("<u8").tobytes()


@pytest.mark.parametrize("header", ["endianness=legacy", "endianness=little", "legacy, unsaid"])
def test_evt21_in_both_orders(tmp_path, header):
    legacy = "legacy" in header
    said = "" if "unsaid" in header else f"% format EVT21;{header};height=180;width=240\n"
    path = tmp_path / "a.raw"
    path.write_bytes(f"% evt 2.1\n% geometry 240x180\n{said}% end\n".encode() + evt21(legacy))
    assert_equal(events_of(open_source(path)), EVENTS)


def bag(path, encoding, payloads, base_ns, big=False):
    rosbags = pytest.importorskip("rosbags")
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    assert rosbags
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(PACKET, "event_camera_msgs/msg/EventPacket"))
    with Writer(path, version=9) as writer:
        connection = writer.add_connection("/e", "event_camera_msgs/msg/EventPacket", typestore=store)
        for i, raw in enumerate(payloads):
            body = bytearray(b"\0\1\0\0" + struct.pack("<iII", 5, 6, 4) + b"cam\0")
            body += b"\0" * (-(len(body) - 4) % 4) + struct.pack("<II", 180, 240)
            body += b"\0" * (-(len(body) - 4) % 8) + struct.pack("<QQ", i, base_ns[i])
            body += struct.pack("<I", len(encoding) + 1) + encoding.encode() + b"\0" + struct.pack("<B", big)
            body += b"\0" * (-(len(body) - 4) % 4) + struct.pack("<I", len(raw)) + raw
            writer.write(connection, 1_700_000_000_000_000_000 + i, bytes(body))
    return path


def test_packets_in_mono_and_libcaer(tmp_path):
    starts = range(0, N, 900)
    mono, caer = [], []
    for at in starts:
        t, x, y, p = (column[at : at + 900].astype(np.uint64) for column in EVENTS)
        relative = (t - t[0]) * np.uint64(1000)
        mono.append(
            (relative | x << np.uint64(32) | y << np.uint64(48) | p << np.uint64(63)).astype("<u8").tobytes()
        )
        word = (x << np.uint64(17) | y << np.uint64(2) | p << np.uint64(1) | np.uint64(1)).astype("<u4")
        caer.append(np.stack([word, (t - t[0]).astype("<u4")], axis=1).tobytes())
    first = [int(T[at]) * 1000 for at in starts]
    source = open_source(bag(tmp_path / "mono", "mono", mono, first))
    assert_equal(events_of(source), EVENTS)
    assert source.info.epoch_ns == 0
    epoch = 1_700_000_000
    source = open_source(bag(tmp_path / "caer", "libcaer", caer, [epoch * 10**9 + one for one in first]))
    assert_equal(events_of(source), EVENTS)
    assert source.info.epoch_ns == epoch * 10**9
    for name, big in (("libcaer_cmp", False), ("mono", True)):
        with pytest.raises(SourceError, match="allowed are evt2, evt3, mono, libcaer, little-endian"):
            open_source(bag(tmp_path / f"{name}-no", name, mono, first, big))


def test_mat_in_its_layouts(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    t, x, y, p = EVENTS
    columns = {"x": x, "y": y, "p": p.astype(np.int8), "ts": t}
    scipy_io.savemat(tmp_path / "a.mat", columns, do_compression=True)
    scipy_io.savemat(tmp_path / "b.mat", {"TD": columns})
    scipy_io.savemat(tmp_path / "c.mat", {"events": np.stack([t, x, y, p], axis=1).astype(float)})
    for name, options in (("a", {}), ("b", {}), ("c", {"columns": "txyp", "time_unit": "us"})):
        source = open_source(tmp_path / f"{name}.mat", InputOptions(**options))
        assert_equal(events_of(source), EVENTS)
        assert source.info.format == "mat"
    scipy_io.savemat(tmp_path / "d.mat", {"gt": np.zeros((5, 5))})
    with pytest.raises(SourceError, match=r"needs x, y, t, p.*it holds gt"):
        open_source(tmp_path / "d.mat")


def lines(separator=","):
    return "\n".join(
        separator.join(map(str, row))
        for row in zip(T.tolist(), X.tolist(), Y.tolist(), P.astype(int).tolist(), strict=True)
    )


def test_packed_text(tmp_path):
    text = f"t,x,y,p\n{lines()}\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("calib.txt", "1 2 3 4\n")
        archive.writestr("events.txt", text)
        archive.writestr("images/1.png", b"none")
    for name in ("a.csv.gz", "b.zip"):
        assert_equal(events_of(open_source(tmp_path / name)), EVENTS)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("one.txt", text)
        archive.writestr("two.txt", text)
    with pytest.raises(SourceError, match=r"holds one\.txt, two\.txt, not one table of events: unpack it"):
        open_source(tmp_path / "c.zip")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"t,x,y,p\n" + b"\n" * 2**28))
    with pytest.raises(SourceError, match="unpacks to more than .* 100 times its size"):
        events_of(open_source(tmp_path / "d.csv.gz"))
    (tmp_path / "e.raw.gz").write_bytes(gzip.compress(bytes(range(256)) * 99))
    with pytest.raises(SourceError, match="gzip: unpack it first"):
        open_source(tmp_path / "e.raw.gz")


def test_hdf5_of_several_cameras_and_of_the_field(tmp_path):
    with h5py.File(tmp_path / "mvsec.hdf5", "w") as file:
        for side, shift in (("left", 0), ("right", 7)):
            rows = np.stack([X, Y, (T + shift) / 1e6 + 1.5e9, np.where(P, 1, -1)], axis=1)
            file.create_dataset(f"davis/{side}/events", data=rows)
            file.create_dataset(f"davis/{side}/image_raw_ts", data=np.zeros(3))
    with pytest.raises(SourceError, match="2 cameras, davis/left, davis/right: choose one with --group"):
        open_source(tmp_path / "mvsec.hdf5")
    for side, shift in (("left", 0), ("right", 7)):
        source = open_source(tmp_path / "mvsec.hdf5", InputOptions(group=f"davis/{side}", sensor="240x180"))
        t, *rest = events_of(source)
        assert np.abs(t - (T + shift + 1_500_000_000_000_000)).max() <= 1
        assert_equal(rest, EVENTS[1:])
    with h5py.File(tmp_path / "rvt.h5", "w") as file:
        for name, column in zip("txyp", EVENTS, strict=True):
            file.create_dataset(f"events/{name}", data=column)
        file["events/height"], file["events/width"] = 180, 240
        file["events/t"].attrs["units"] = "microseconds"
    source = open_source(tmp_path / "rvt.h5")
    assert_equal(events_of(source), EVENTS)
    assert (source.info.sensor, source.info.sensor_from) == (Sensor(width=240, height=180), "file")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        for name in "txyp":
            file.create_dataset(name, (2**40,), "<i8", chunks=(65536,))
    with pytest.raises(SourceError, match=r"unpacks to \d+ bytes, more than \d+ \(1000 times its size\)"):
        open_source(tmp_path / "bomb.h5")


FRAMES = [np.full((24, 32), 40 + 15 * (i % 9), np.uint8) for i in range(12)]
OFF = {"frame_interpolation": "off"}


def of_frames(path, frames=None, rate=100.0, bits=8):
    """The events of the very frames, through a folder of PNG files."""
    path.mkdir()
    for i, frame in enumerate(FRAMES if frames is None else frames):
        cv2.imwrite(str(path / f"frame_{i}.png"), frame)
    return events_of(open_source(path, InputOptions(frame_rate=rate, **OFF)))


def test_folders_of_images_are_ordered_by_number_and_need_a_rate(tmp_path):
    expected = of_frames(tmp_path / "a")
    assert len(expected[0]) > 1000
    with pytest.raises(SourceError, match="images hold no times: give --frame-rate"):
        open_source(tmp_path / "a")
    (tmp_path / "a" / "frame_99.png").symlink_to(tmp_path / "a" / "frame_0.png")
    source = open_source(tmp_path / "a", InputOptions(frame_rate=100.0, **OFF))
    assert_equal(events_of(source), expected)
    assert (source.info.format, source.info.details["frames"]) == ("images", 12)
    cv2.imwrite(str(tmp_path / "a" / "frame_50.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(SourceError, match=r"frame_50\.png is 10x10, the images before it are 32x24"):
        events_of(open_source(tmp_path / "a", InputOptions(frame_rate=100.0)))


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_stacks(tmp_path, bits):
    frames = FRAMES if bits == 8 else [frame.astype(np.uint16) * 257 for frame in FRAMES]
    cv2.imwritemulti(str(tmp_path / "a.tif"), frames)
    source = open_source(tmp_path / "a.tif", InputOptions(frame_rate=100.0, **OFF))
    assert_equal(events_of(source), of_frames(tmp_path / "b", frames))
    assert source.info.details["bits"] == bits


def test_gif_y4m_and_transport_streams(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    grey = [pillow.fromarray(frame) for frame in FRAMES]
    grey[0].save(tmp_path / "a.gif", save_all=True, append_images=grey[1:], duration=20, loop=0)
    y4m = b"YUV4MPEG2 W32 H24 F100:1 Ip A1:1 Cmono\n" + b"".join(
        b"FRAME\n" + frame.tobytes() for frame in FRAMES
    )
    (tmp_path / "a.y4m").write_bytes(y4m)
    writer = cv2.VideoWriter(
        str(tmp_path / "a.ts"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mpg2"), 25.0, (64, 48)
    )
    for i in range(40):
        writer.write(np.full((48, 64, 3), 40 + 5 * (i % 20), np.uint8))
    writer.release()
    for name in ("a.gif", "a.y4m", "a.ts"):
        source = open_source(tmp_path / name, InputOptions(**OFF))
        t, *_ = events_of(source)
        assert len(t) > 500, name
        assert source.info.repaired == {}, name
    t = events_of(open_source(tmp_path / "a.y4m", InputOptions(**OFF)))[0]
    assert 100_000 < t[-1] <= 110_000


def test_a_video_that_starts_late_lacks_nothing(tmp_path, data_dir):
    """vfr.mkv varies its rate; a range of a video counts from its first frame."""
    path = data_dir / "cases" / "vfr.mkv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    source = open_source(path, InputOptions(**OFF))
    events_of(source)
    assert (source.info.details["frames_read"], source.info.repaired) == (20, {})

"""Every way in that is live, over real sockets, files that grow and processes that are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import eventcv
import numpy as np
import pytest

from kernels.coding.decode import SpifDecoder, decode_spif
from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, SourceError, VideoOptions, open_source
from pipeline.sources.live import LiveOptions, open_live

ROOT = Path(__file__).parents[2]
GRID = Sensor(width=640, height=480)


def events_of(source):
    return packets.join([reading.events for reading in source.batches()])


def collect(live, until, seconds=20.0):
    """Arrivals until ``until(events so far)``, and those that carried a gap."""
    parts, n, gaps, end = [], 0, 0, time.monotonic() + seconds
    for arrival in live.arrivals():
        parts.append(arrival.events)
        n += len(arrival.events[0])
        gaps += arrival.gap
        if until(n) or time.monotonic() > end:
            break
    live.close()
    return packets.join(parts), gaps


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def udp(**options):
    return open_live("udp://127.0.0.1:0", LiveOptions(reading=InputOptions(sensor=GRID), **options))


@pytest.mark.parametrize("timestamps", [True, False])
def test_spif_from_eventcv_s_own_sender(data_dir, timestamps):
    truth = events_of(open_source(data_dir / "recordings" / "evt3_640x480.raw"))
    n = 20_000
    table = np.stack([truth[1][:n], truth[2][:n], truth[0][:n], truth[3][:n]], axis=1).astype(np.int64)
    live = udp()
    sender = eventcv.UdpSender(f"127.0.0.1:{live.port}", timestamps=timestamps)

    def send():
        for at in range(0, n, 1000):
            part = eventcv.from_numpy(table[at : at + 1000], sensor_size=(640, 480), time_unit="us")
            sender.send(part)
            time.sleep(0.005)

    thread = threading.Thread(target=send)
    thread.start()
    (t, x, y, p), gaps = collect(live, lambda found: found >= n)
    thread.join()
    assert (gaps, live.losses) == (0, {})
    assert_equal((x, y, p), tuple(column[:n] for column in truth[1:]))
    if timestamps:
        np.testing.assert_array_equal(t, truth[0][:n])
    else:
        assert np.all(np.diff(t) >= 0)
        assert t[-1] < 20e6
        assert abs(live.epoch_ns / 1e9 - time.time()) < 60


def test_spif_words_that_make_no_sense_cost_nothing_else():
    decoder = SpifDecoder()
    good = np.array([5 << 16 | 1 << 15 | 7, 2**32 - 10, 6 << 16 | 8, 4], "<u4").tobytes()
    t, x, y, p = decode_spif(decoder, [good, b"\1\2\3", b"", good[:4]], [1, 2, 3, 4])
    assert t.tolist() == [2**32 - 10, 2**32 + 4]  # the clock wrapped
    assert (x.tolist(), y.tolist(), p.tolist()) == ([5, 6], [7, 8], [True, False])
    assert decoder.state[2] == 1


def test_datagrams_that_this_machine_drops_are_counted():
    live = udp(give_up_s=5)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram = np.full(300, 1 << 31, "<u4").tobytes()
    for _ in range(60_000):  # far more than the socket's buffer holds, before anybody reads
        sender.sendto(datagram, ("127.0.0.1", live.port))
    found, again = 0, False
    for arrival in live.arrivals():
        found += len(arrival.events[0])
        if len(arrival.events[0]) == 0 and not again:
            sender.sendto(
                datagram, ("127.0.0.1", live.port)
            )  # the next to come tells what was dropped before it
            again = True
    sender.close()
    live.close()
    assert live.losses["dropped_datagrams"] > 0
    assert found // 300 + live.losses["dropped_datagrams"] == 60_001


def test_an_address_that_cannot_be_listened_on_says_so():
    with pytest.raises(SourceError, match="give it"):
        open_live("udp://127.0.0.1:0")
    with pytest.raises(SourceError, match="udp://203.0.113.7:1: "):
        open_live("udp://203.0.113.7:1", LiveOptions(reading=InputOptions(sensor=GRID)))
    with pytest.raises(SourceError, match="needs a host and a port"):
        open_live("dv://nowhere")
    with pytest.raises(SourceError, match="ftp:// is not a supported source"):
        open_live("ftp://host/file")


DV_SENDER = """
import sys, time, numpy as np, dv_processing as dv
port, path, first, last = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
columns = np.load(path)
writer = dv.io.NetworkWriter("127.0.0.1", port, dv.io.Stream.EventStream(0, "events", "TEST", (640, 480)))
print("listening", flush=True)
while writer.getClientCount() == 0:
    time.sleep(0.01)
time.sleep(0.2)
for at in range(first, last, 2000):
    store = dv.EventStore()
    for t, x, y, p in zip(*(columns[c][at:min(at + 2000, last)].tolist() for c in "txyp")):
        store.push_back(t, x, y, p)
    writer.writeEvents(store)
    time.sleep(0.01)
print("sent", flush=True)
time.sleep(60)
"""


@contextmanager
def dv_sender(port, path, first, last):
    process = subprocess.Popen(
        [sys.executable, "-c", DV_SENDER, str(port), str(path), str(first), str(last)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline().strip() == b"listening"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_aedat4_over_tcp_from_a_real_network_writer_that_is_killed_and_comes_back(data_dir, tmp_path):
    pytest.importorskip("dv_processing")
    truth = events_of(open_source(data_dir / "recordings" / "evt3_640x480.raw"))
    n = 20_000
    path = tmp_path / "events.npz"
    np.savez(path, **dict(zip("txyp", (column[:n] for column in truth), strict=True)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SourceError, match="nothing answers there"):
        open_live(f"dv://127.0.0.1:{port}")
    found, gaps = [], 0
    with dv_sender(port, path, 0, n // 2):
        live = open_live(f"dv://127.0.0.1:{port}", LiveOptions(give_up_s=110))
        assert live.sensor == GRID
        arrivals = live.arrivals()
        while sum(len(part[0]) for part in found) < n // 2:
            found.append(next(arrivals).events)
    with dv_sender(port, path, n // 2, n):
        while sum(len(part[0]) for part in found) < n:
            arrival = next(arrivals)
            found.append(arrival.events)
            gaps += arrival.gap
    assert_equal(packets.join(found), tuple(column[:n] for column in truth))
    assert (gaps, live.losses) == (1, {"reconnects": 1})


@contextmanager
def growing(path, raw, step=50_000):
    """Writes a file bit by bit."""

    def write():
        with path.open("wb", buffering=0) as file:
            for at in range(0, len(raw), step + 7):
                file.write(raw[at : at + step + 7])
                time.sleep(0.002)

    thread = threading.Thread(target=write)
    path.touch()
    thread.start()
    yield
    thread.join()


def test_a_file_is_followed_while_it_is_written(data_dir, tmp_path):
    recording = data_dir / "recordings" / "evt3_640x480.raw"
    with growing(tmp_path / "now.raw", recording.read_bytes()):
        live = open_live(str(tmp_path / "now.raw"), LiveOptions(follow=True, give_up_s=30))
        found, gaps = collect(live, lambda n: n >= 343_474)
    assert_equal(found, events_of(open_source(recording)))
    assert (gaps, live.losses, live.sensor) == (0, {}, GRID)


def test_a_file_that_is_cut_short_is_begun_again_behind_a_gap(data_dir, tmp_path):
    raw = (data_dir / "recordings" / "evt3_640x480.raw").read_bytes()
    path = tmp_path / "now.raw"
    path.write_bytes(raw)
    live = open_live(str(path), LiveOptions(follow=True, give_up_s=2))
    n = gaps = 0
    for arrival in live.arrivals():
        n += len(arrival.events[0])
        gaps += arrival.gap
        if n == 343_474 and gaps == 0 and path.stat().st_size == len(raw):
            path.write_bytes(raw[:100_001])
    assert n > 343_474
    assert (gaps, live.losses) == (
        1,
        {"files_cut_short": 1, "truncated_bytes": live.losses["truncated_bytes"]},
    )


def test_a_folder_into_which_recordings_come(data_dir, tmp_path):
    names = ["davis346.aedat4", "davis346_copy.raw"]
    truth = events_of(open_source(data_dir / "recordings" / names[0]))
    live = open_live(
        str(tmp_path), LiveOptions(give_up_s=4, reading=InputOptions(sensor=Sensor(width=346, height=260)))
    )
    (tmp_path / names[0]).write_bytes((data_dir / "recordings" / names[0]).read_bytes())
    (tmp_path / "notes.txt").write_text("nothing of interest\n")
    found, _ = collect(live, lambda n: n >= len(truth[0]))
    assert_equal(found, truth)


@contextmanager
def http_folder(folder):
    """A real web server that can be stopped; each connection of a client is cut when it is."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def moving(n, size=(64, 48)):
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (200, 400)).astype(np.uint8), (0, 0), 2)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    return [cv2.cvtColor(scene[20 : 20 + size[1], i : i + size[0]], cv2.COLOR_GRAY2BGR) for i in range(n)]


def test_video_over_http_is_watched_and_connected_to_again_when_it_ends(tmp_path, video_of):
    video_of(tmp_path / "clip.mp4", moving(30), rate=100.0, size=(64, 48))
    with http_folder(tmp_path) as url:
        options = LiveOptions(give_up_s=30, video=VideoOptions(interpolation="off"))
        live = open_live(f"{url}/clip.mp4", options)
        assert live.sensor == Sensor(width=64, height=48)
        n = gaps = 0
        times = []
        for arrival in live.arrivals():
            n += len(arrival.events[0])
            gaps += arrival.gap
            times += arrival.events[0].tolist()
            if gaps == 2:
                break
        live.close()
    assert n > 1000
    assert live.losses["reconnects"] >= 2
    assert times == sorted(times)


class RtspCamera(threading.Thread):
    """A camera that speaks RTSP 1.0 and sends JPEG over RTP (RFC 2435) inside the same connection."""

    def __init__(self, frames, port=0):
        super().__init__(daemon=True)
        self._frames, self.served = frames, 0
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]

    def run(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._serve(connection)
            self.served += 1

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, connection):
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=t\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track\r\n"
        with connection.makefile("rb") as lines:
            while True:
                request = lines.readline().decode().split()
                headers = {}
                while line := lines.readline().strip():
                    key, _, value = line.decode().partition(":")
                    headers[key.lower()] = value.strip()
                if not request:
                    return
                extra = {
                    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                }.get(request[0], "Session: 1\r\n")
                body = sdp if request[0] == "DESCRIBE" else ""
                connection.sendall(
                    f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode()
                )
                if request[0] == "PLAY":
                    self._play(connection)
                    return

    def _play(self, connection):
        sequence = 0
        for i, frame in enumerate(self._frames):
            _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])
            raw = jpeg.tobytes()
            at = raw.index(b"\xff\xda")
            scan = raw[at + 2 + int.from_bytes(raw[at + 2 : at + 4], "big") : -2]
            for offset in range(0, len(scan), 1200):
                part, last = scan[offset : offset + 1200], offset + 1200 >= len(scan)
                rtp = bytes([0x80, 26 | (128 if last else 0)]) + sequence.to_bytes(2, "big")
                rtp += (i * 900).to_bytes(4, "big") + b"\0\0\0\1"
                header = (
                    b"\0"
                    + offset.to_bytes(3, "big")
                    + bytes([1, 80, frame.shape[1] // 8, frame.shape[0] // 8])
                )
                packet = rtp + header + part
                connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                sequence = (sequence + 1) % 65536
            time.sleep(0.01)


def test_video_over_rtsp_is_watched_and_connected_to_again_when_the_camera_goes():
    camera = RtspCamera(moving(60, (96, 64)))
    camera.start()
    options = LiveOptions(give_up_s=30, video=VideoOptions(interpolation="off"))
    live = open_live(f"rtsp://127.0.0.1:{camera.port}/live", options)
    assert live.sensor == Sensor(width=96, height=64)
    n = gaps = 0
    for arrival in live.arrivals():
        n += len(arrival.events[0])
        gaps += arrival.gap
        if gaps == 1:
            break
    live.close()
    camera.close()
    assert n > 1000
    assert live.losses["reconnects"] >= 1


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(SourceError, match="99: OpenCV can open no video there"):
        open_live("webcam:99")
    with pytest.raises(SourceError, match="rtsp://127.0.0.1:1/x: OpenCV can open no video there"):
        open_live("rtsp://127.0.0.1:1/x")


def test_an_event_camera_on_usb_that_is_not_there_is_named():
    pytest.importorskip("neuromorphic_drivers")
    with pytest.raises(SourceError, match="usb:12345: "):
        open_live("usb:12345")


@pytest.mark.parametrize("missing", ["dv_processing", "neuromorphic_drivers"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    address = {"dv_processing": "dv://127.0.0.1:7777", "neuromorphic_drivers": "usb:"}[missing]
    with pytest.raises(SourceError, match="install polychrony with the extra"):
        open_live(address)


def test_a_replay_keeps_time(data_dir):
    live = open_live(str(data_dir / "recordings" / "dvxplorer_320x240.aedat4"), LiveOptions(speed=2))
    started = time.monotonic()
    found, _ = collect(live, lambda _: False)
    assert time.monotonic() - started > 0.28  # 0.59 s at twice the speed
    assert len(found[0]) == 111_954


def run_cli(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=600, check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_camera_s_own_packets_arrive_whole_and_in_order(data_dir, service):
    """517 packets of a real camera, twenty times faster than they came."""
    from tests.benchmarks import packets as replayed

    assert data_dir == replayed.DATA
    final, waits, total = replayed.replay(service.url, 20)
    assert (len(waits), total, final["rows"]["all"]) == (517, 343_474, 343_474)
    assert final["digests"] == replayed.digest()


def test_stream_gives_the_digest_of_analyze(data_dir, service):
    path = str(data_dir / "recordings" / "davis346.aedat4")
    sent = run_cli("stream", path, "--to", service.url, "--speed", "0", "--json")
    assert sent["events"] == 78_830
    assert sent["digests"] == run_cli("digest", path, "--json")
    assert (sent["losses"], sent["triggers"]) == ({}, 236)


def test_triggers_go_through_the_service_like_through_a_file(data_dir, service, tmp_path):
    """Of camera bytes and of columns alike."""
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("stages: [{id: a, kind: refractory, period_us: 100}]\noutputs: [a, triggers]\n")
    for name, n in (("davis346.aedat4", 236), ("evt3_640x480.raw", 4157)):
        path = str(data_dir / "recordings" / name)
        sent = run_cli(
            "stream", path, "--to", service.url, "--speed", "0", "--pipeline", str(pipeline), "--json"
        )
        assert sent["rows"]["triggers"] == n
        assert sent["digests"] == run_cli("digest", path, "--pipeline", str(pipeline), "--json")


def test_what_is_wrong_in_a_followed_file_is_counted_or_refused(tmp_path):
    words = np.array([0x2001, 0x7000, 0x1000, 0x8001, 0x6005, 0x0003, 0x2001], "<u2").tobytes() + b"x"
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% geometry 64x48\n% end\n" + words)
    live = open_live(str(tmp_path / "a.raw"), LiveOptions(follow=True, give_up_s=0.3))
    assert len(collect(live, lambda _: False)[0][0]) == 1
    assert live.losses == {"dropped_untimed": 1, "dropped_unknown_words": 1, "truncated_bytes": 1}
    strict = LiveOptions(follow=True, give_up_s=0.3, reading=InputOptions(on_fault="error"))
    with pytest.raises(SourceError, match="truncated"):
        collect(open_live(str(tmp_path / "a.raw"), strict), lambda _: False)


def test_a_header_that_is_still_being_written_is_waited_for(data_dir, tmp_path):
    raw = (data_dir / "recordings" / "evt3_640x480.raw").read_bytes()
    end = raw.index(b"% end") + 6 if b"% end" in raw[:4096] else raw.rindex(b"%", 0, 4096)
    with growing(tmp_path / "now.raw", raw[: end + 2000], step=5):
        (tmp_path / "whole.raw").write_bytes(raw[: end + 2000])
        whole = events_of(open_source(tmp_path / "whole.raw"))
        live = open_live(str(tmp_path / "now.raw"), LiveOptions(follow=True, give_up_s=60))
        found, _ = collect(live, lambda n: n >= len(whole[0]))
    assert_equal(found, whole)


def test_files_of_a_folder_whose_clocks_begin_again_follow_each_other(data_dir, tmp_path):
    whole = (data_dir / "recordings" / "evt3_1280x720_25mevs.raw").read_bytes()
    (tmp_path / "0.raw").write_bytes(b"")
    for name in ("a.raw", "b.raw"):
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04broken")
    live = open_live(str(tmp_path), LiveOptions(give_up_s=30))
    (t, *_), gaps = collect(live, lambda n: n >= 2 * 219_596 and "unreadable_files" in live.losses)
    assert len(t) == 2 * 219_596
    assert np.all(t[219_596:] > t[:219_596].max())
    assert (gaps, live.losses["clocks_begun_again"], live.losses["unreadable_files"]) == (1, 1, 1)


def test_a_replay_over_a_silence_can_be_ended(tmp_path):
    one = np.ones(2, np.uint16)
    np.savez(tmp_path / "a.npz", t=np.array([0, 9_000_000_000_000_000]), x=one, y=one, p=one)
    live = open_live(str(tmp_path / "a.npz"))
    started, n = time.monotonic(), 0
    for arrival in live.arrivals():
        n += len(arrival.events[0])
        if time.monotonic() - started > 0.5:
            break
    assert n == 1


def test_stream_says_in_one_line_what_the_service_refuses(tmp_path, service):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n")
    for arguments, problem in (
        (["--to", "http://127.0.0.1:1"], "127.0.0.1"),
        (["--to", service.url, "--reorder-us", "99999999999"], "reorder_us"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "service", "stream", str(tmp_path / "a.csv"), "--speed", "0", *arguments],
            capture_output=True, text=True, cwd=ROOT, timeout=600, check=False,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python'}"},
        )  # fmt: skip
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert problem in done.stderr

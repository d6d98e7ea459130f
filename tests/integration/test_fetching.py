"""Sources that the service fetches events from itself, and what it must not fetch."""

import contextlib
import socket
import struct
import threading
import time

import cv2
import numpy as np
import pytest
from polychrony_client import Client, Gap, Refused

from pipeline.samples import CLIP
from service.access import allowed_sources
from service.access.allowed_sources import NotAllowed
from tests.integration.service_process import ServiceProcess
from tests.integration.test_live import RtspCamera, moving
from tests.integration.test_streams import DAVIS, expected


@pytest.fixture(scope="module")
def fetching(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("fetching")
    recordings = request.getfixturevalue("data_dir") / "recordings"
    sources = f'["udp://127.0.0.1", "rtsp://127.0.0.1", "dv://127.0.0.1", "{recordings}"]'
    service = ServiceProcess(folder / "data", allowed_sources=sources)
    yield service
    service.stop()


def wait_for(stream, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition(stats := stream.stats()):
        assert time.monotonic() < deadline, stats
        time.sleep(0.05)
    return stats


def open_source(client, pipeline, address, **options):
    source = {"address": str(address), **options.pop("source", {})}
    return client.stream(pipeline, source=source, **options)


def spif(t, x, y):
    words = np.array([[1 << 31 | x << 16 | 1 << 15 | y] for x, y in zip(x, y, strict=True)], "<u4")
    return words.tobytes() if t is None else struct.pack("<I", t) + words.tobytes()


def test_a_file_is_fetched_with_the_digests_of_an_offline_run(fetching, data_dir):
    rows, digests = expected(data_dir)
    with Client(fetching.url) as client:
        stream = open_source(client, "motion", data_dir / "recordings" / DAVIS, source={"speed": 0})
        assert stream.description["sensor"] == {"width": 346, "height": 260}
        stats = wait_for(stream, lambda s: s["state"] == "ended")
        assert (stats["rows"], stats["digests"]) == (rows, digests)
        assert stats["source"]["state"] == "ended"


@pytest.mark.long
def test_a_file_goes_on_exactly_where_a_kill_left_it(fetching, data_dir):
    rows, digests = expected(data_dir)
    with Client(fetching.url) as client:
        stream = open_source(client, "motion", data_dir / "recordings" / DAVIS, source={"speed": 0.2})
        wait_for(stream, lambda s: s["events"] > 8000)
        fetching.kill()
        fetching.start()
        stats = wait_for(stream, lambda s: s["state"] == "ended")
        assert (stats["rows"], stats["digests"]) == (rows, digests)


def evt2(t, x, y):
    """Words of ON events within one turn of the high counter."""
    high = (8 << 28 | t[0] >> 6,)
    return np.array(
        [*high, *(1 << 28 | (a & 63) << 22 | b << 11 | c for a, b, c in zip(t, x, y, strict=True))], "<u4"
    ).tobytes()


@pytest.mark.long
def test_a_file_that_grows_is_read_once_through_a_kill(tmp_path):
    path = tmp_path / "grows.raw"
    path.write_bytes(b"% evt 2.0\n% geometry 64x48\n% end\n" + evt2([64, 65, 66], [1, 2, 3], [4, 5, 6]))
    service = ServiceProcess(tmp_path / "data", allowed_sources=f'["{tmp_path}"]')
    try:
        with Client(service.url) as client:
            stream = open_source(client, "denoise", path, source={"follow": True}, sensor=(64, 48))
            wait_for(stream, lambda s: s["events"] == 3)
            service.kill()
            with path.open("ab") as file:
                file.write(evt2([128, 129], [7, 8], [9, 10]))
            service.start()
            wait_for(stream, lambda s: s["events"] == 5)
            time.sleep(1)
            assert stream.stats()["events"] == 5
            assert stream.stats()["watermark_us"] == 129
    finally:
        service.stop()


def test_the_sample_may_always_be_asked_for_and_begins_again_behind_a_gap(fetching):
    with Client(fetching.url) as client:
        stream = open_source(client, "denoise", "sample:", source={"speed": 0, "repeat": True})
        assert stream.description["sensor"] == {"width": 256, "height": 128}
        wait_for(stream, lambda s: s["watermark_us"] and s["watermark_us"] > 450_000)
        assert any(isinstance(result, Gap) for result in client.results(stream.id, start=True))
        stream.delete()


@pytest.mark.threat(
    "hostile pictures",
    "4 MiB and 16 million pixels at most, decoded in a process with limits; counted, not echoed",
)
def test_pictures_that_a_client_pushes_become_events(fetching):
    with Client(fetching.url) as client:
        stream = open_source(client, "denoise", "pictures:", sensor=(64, 48), policy="realtime")
        wait_for(stream, lambda s: s["source"]["state"] == "connecting")
        other = open_source(client, "denoise", "sample:", sensor=(256, 128))
        with pytest.raises(Refused, match="409"):
            client.connect(f"/v1/streams/{other.id}/pictures")
        other.delete()
        socket_ = client.connect(f"/v1/streams/{stream.id}/pictures")
        sent = 0
        deadline = time.monotonic() + 120
        while stream.stats()["events"] <= 1000:  # the newest few are kept until the decoder has started
            assert time.monotonic() < deadline
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[10:30, sent % 40 : sent % 40 + 12] = 255
            _, data = cv2.imencode(".jpg", picture)
            socket_.send((sent * 33_000).to_bytes(8, "little") + data.tobytes())
            sent += 1
            time.sleep(0.02)
        huge = cv2.imencode(".png", np.zeros((5000, 5000), np.uint8))[
            1
        ].tobytes()  # 25 million pixels in 25 kB
        for i, bad in enumerate((b"no picture", huge, b"\xff\xd8\xff\xe0" + bytes(1000))):
            socket_.send(((sent + i) * 33_000).to_bytes(8, "little") + bad)
            stats = wait_for(
                stream, lambda s, so_far=i: s["source"]["losses"].get("pictures_not_decoded", 0) > so_far
            )
        assert stats["source"]["losses"]["pictures_not_decoded"] == 3
        assert stats["failure"] is None
        socket_.send("end")
        wait_for(stream, lambda s: s["state"] == "ended")
        stream.delete()


def test_udp_is_listened_to_and_comes_back_behind_a_gap(fetching):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(fetching.url) as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        stream = open_source(client, "denoise", f"udp://127.0.0.1:{port}", sensor=(64, 48))

        def feed(until):
            deadline = time.monotonic() + 120
            while not until(stream.stats()):
                assert time.monotonic() < deadline, stream.stats()
                sender.sendto(spif(None, [1, 2, 3], [4, 5, 6]), ("127.0.0.1", port))
                time.sleep(0.02)

        feed(lambda s: s["events"] >= 30)
        with pytest.raises(Refused, match="409"):  # nobody else may feed it
            client.connect(f"/v1/streams/{stream.id}/ingest")
        before = stream.stats()["events"]
        fetching.kill()
        fetching.start()
        feed(lambda s: s["events"] >= before + 30)
        assert stream.stats()["source"]["state"] == "running"
        assert any(isinstance(result, Gap) for result in first(client.results(stream.id, start=True), 50))
        stream.delete()


def first(results, n):
    """The first results, until a gap is among them."""
    for _, result in zip(range(n), results, strict=False):
        yield result


def test_a_camera_over_rtsp_is_watched_and_connected_to_again(fetching):
    camera = RtspCamera(moving(200, (96, 64)))
    camera.start()
    with Client(fetching.url) as client:
        stream = open_source(client, "denoise", f"rtsp://user:secret@127.0.0.1:{camera.port}/live")
        assert stream.description["sensor"] == {"width": 96, "height": 64}
        stats = wait_for(stream, lambda s: s["events"] > 100)
        assert "secret" not in str(stats)
        assert stats["source"]["address"] == f"rtsp://127.0.0.1:{camera.port}/live"
        stream.delete()
    assert "secret" not in fetching.log.read_text()


def test_a_source_that_is_not_there_yet_is_waited_for(fetching):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Client(fetching.url) as client:
        stream = open_source(client, "denoise", f"rtsp://127.0.0.1:{port}/live", sensor=(96, 64))
        stats = wait_for(stream, lambda s: s["source"]["restarts"] > 0)
        assert "can open no video there" in stats["source"]["error"]
        assert stats["state"] in {"created", "open"}
        camera = RtspCamera(moving(200, (96, 64)), port)
        camera.start()
        wait_for(stream, lambda s: s["events"] > 0)
        stream.delete()


def test_a_source_of_another_size_fails_its_stream_in_words(fetching, data_dir):
    with Client(fetching.url) as client:
        stream = open_source(client, "denoise", data_dir / "recordings" / DAVIS, sensor=(64, 48))
        stats = wait_for(stream, lambda s: s["state"] == "failed")
        assert stats["failure"]["detail"] == "the source is 346x260, the stream 64x48"


REFUSED = [
    "file:///etc/passwd", "exec:ls", "concat:/etc/passwd", "pipe:0", "http://127.0.0.1/x.mp4", "https://example.org/",
    "rtsp://169.254.169.254/latest", "rtsp://[::1]/x", "rtsp://[fe80::1]/x", "rtsp://10.0.0.1/x", "rtsp://0.0.0.0/x",
    "rtsp://[::ffff:10.0.0.1]/x", "rtsp://localhost.evil.invalid/x", "/etc/passwd", "../../etc/passwd", "webcam:0",
    "usb:", "rtsp://2130706434/", "udp://0.0.0.0:9", "rtsp://127.0.0.1@10.0.0.1/",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.threat(
    "SSRF: file:, exec:, metadata and private addresses, in any spelling",
    "422; only what `allowed_sources` lists is fetched",
)
def test_what_was_not_allowed_is_not_fetched(fetching, address):
    with Client(fetching.url) as client, pytest.raises(Refused) as caught:
        open_source(client, "denoise", address, sensor=(64, 48))
    assert caught.value.status == 422
    assert caught.value.errors[0]["path"] == "source.address"
    assert address not in str(caught.value)


@pytest.mark.threat("SSRF by default", "the list is empty by default")
def test_nothing_is_allowed_unless_it_was_said(client):
    for address in (str(CLIP), "udp://127.0.0.1:3333", "rtsp://127.0.0.1/x"):
        with pytest.raises(Refused, match="allowed_sources"):
            open_source(client, "denoise", address, sensor=(64, 48))


@pytest.mark.threat("symbolic links out of an allowed folder", "the real path must lie within it")
def test_a_link_out_of_the_allowed_folder_leads_nowhere(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.raw").symlink_to("/etc/passwd")
    with pytest.raises(NotAllowed):
        allowed_sources.check(str(tmp_path / "in" / "link.raw"), (str(tmp_path / "in"),))


@pytest.mark.threat(
    "DNS rebinding of a source",
    "a name is looked up once, checked, and the number is connected to; names never lead to loopback or link-local",
)
def test_a_name_leads_only_to_machines_elsewhere_and_is_looked_up_once(monkeypatch):
    """A name that is rebound to loopback is refused; what is connected to is the number that was checked."""
    answers = iter(["203.0.113.7", "127.0.0.1"])
    monkeypatch.setattr(
        allowed_sources.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (next(answers), 0))]
    )
    target = allowed_sources.check("rtsp://camera.example:8554/live?x=1", ("rtsp://camera.example",))
    assert target.address == "rtsp://203.0.113.7:8554/live?x=1"
    with pytest.raises(NotAllowed):
        allowed_sources.check("rtsp://camera.example:8554/live", ("rtsp://camera.example",))


@pytest.mark.threat(
    "a camera that redirects elsewhere", "FFmpeg speaks through a relay that ends a connection at a redirect"
)
def test_a_camera_that_redirects_is_left(fetching):
    """FFmpeg would follow it anywhere."""
    hits = []
    with (
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
        socket.create_server(("127.0.0.1", 0)) as camera,
    ):
        elsewhere.settimeout(0.2)
        there, here = elsewhere.getsockname()[1], camera.getsockname()[1]

        def answer():
            camera.settimeout(20)
            for _ in range(2):
                try:
                    near, _address = camera.accept()
                except OSError:
                    return
                with near:
                    while request := near.recv(4096):
                        cseq = request.decode().split("CSeq: ")[1].split("\r\n")[0]
                        where = f"Location: rtsp://127.0.0.1:{there}/secret"
                        near.sendall(f"RTSP/1.0 302 Found\r\nCSeq: {cseq}\r\n{where}\r\n\r\n".encode())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with Client(fetching.url) as client, pytest.raises(Refused):
            open_source(client, "denoise", f"rtsp://127.0.0.1:{here}/x")
        with contextlib.suppress(TimeoutError):
            hits.append(elsewhere.accept())
    assert hits == []

"""Lines 11 and 12: what is too large, and what is too slow."""

import math
import socket
import threading
import time
import zlib
from contextlib import suppress

import httpx

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import check, demand
from tests.reliability.tools import MIB, PATIENCE_S, RawSocket, create, memory, poll


@check(11, "oversized frames, endless fragments, a decompression bomb, headers that claim 1 TiB",
       "closed 1009 / 413, growth at most twice the largest message")  # fmt: skip
def large(scale, folder):
    service = ServiceProcess(folder / "data", max_streams=1000)
    most = 5 * MIB  # the largest message that uvicorn takes whole
    try:
        id_ = create(service, sensor=(64, 48))
        warm = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        warm.send(2, bytes(4 * MIB + 1))
        warm.close_code()
        warm.end()
        before, peak, watching = memory(service.process), [0], threading.Event()

        def watch():
            while not watching.is_set():
                peak[0] = max(peak[0], memory(service.process))
                time.sleep(0.005)

        thread = threading.Thread(target=watch)
        thread.start()

        def closed(act):
            one = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
            with suppress(ConnectionError):
                act(one)
            code = one.close_code()
            one.end()
            return code

        def endless(one):
            one.send(2, b"x" * 65_536, fin=False)
            for _ in range(2000):
                one.send(0, b"x" * 65_536, fin=False)

        bomb = zlib.compress(bytes(64 * MIB), 9)[2:-4]
        codes = {
            "a message of 64 MiB": closed(lambda one: one.send(2, bytes(64 * MIB), chop=MIB)),
            "a header that claims 1 TiB": closed(lambda one: one.send(2, b"x" * 1000, length=2**40)),
            "endless fragments": closed(endless),
            "a compressed bomb": closed(lambda one: one.send(2, bomb, rsv=4)),
        }
        post = lambda path, **options: httpx.post(service.url + path, **options).status_code  # noqa: E731
        statuses = {
            "a body of 2 MiB": post(
                "/v1/streams", content=b" " * 2 * MIB, headers={"Content-Type": "application/json"}
            ),
            "a body without length": post(
                "/v1/streams",
                content=iter([b" " * 65_536] * 64),
                headers={"Content-Type": "application/json"},
            ),
            "a length of 1 TiB": declared(service, "/v1/streams", 2**40),
            "an upload of 1 TiB": post(
                "/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(2**40)}
            ),
            "a header of 1 MiB": header(service, MIB),
        }
        # A body that says it is gzip is taken as the bytes it is, and those are no JSON.
        gzipped = post(
            "/v1/streams",
            content=bomb,
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        watching.set()
        thread.join()
        grown = peak[0] - before
    finally:
        service.stop()
    wanted = dict.fromkeys(codes, 1009) | {"a compressed bomb": 1002}
    demand(codes == wanted, f"{codes}")
    allowed = {"a header of 1 MiB": 431}
    demand(all(status == allowed.get(name, 413) for name, status in statuses.items()), f"{statuses}")
    demand(gzipped in {400, 422}, f"gzip: {gzipped}")
    demand(grown <= 2 * most, f"memory grew by {grown / MIB:.1f} MiB")
    return f"{len(codes) + len(statuses) + 1} attacks refused (compression is not spoken: 1002); memory {grown / MIB:+.1f} MiB at its peak"


def declared(service, path, length):
    """The status of a request that only says how long its body is."""
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as one:
        one.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        return int(one.recv(100).split()[1])


def header(service, n):
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as one:
        with suppress(ConnectionError):
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * n)
        try:
            return int(one.recv(100).split()[1])
        except ConnectionError:
            return 400


@check(12, "500 connections that dribble a header", "`/healthz` under 200 ms all along, cut within 30 s")
def dribble(scale, folder):
    many, longest_s = scale.of(100, 500, 500), scale.of(240, 30, 30)
    service = ServiceProcess(folder / "data", **({"header_timeout_s": 2} if many < 500 else {}))
    try:
        opened = time.monotonic()
        sockets = []
        for _ in range(many):
            one = socket.create_connection(("127.0.0.1", service.port), PATIENCE_S)
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-")
            one.setblocking(False)
            sockets.append(one)
        took, cut = [], threading.Event()
        watching = threading.Thread(
            target=lambda: [took.extend(poll(f"{service.url}/healthz", 0.3)) for _ in iter(cut.is_set, True)]
        )
        watching.start()
        left = set(sockets)
        while left and time.monotonic() - opened < longest_s + 10:
            for one in list(left):
                try:
                    one.send(b"y")
                except BlockingIOError:
                    continue
                except OSError:
                    left.discard(one)
            time.sleep(0.5)
        gone = time.monotonic() - opened
        cut.set()
        watching.join()
        for one in sockets:
            one.close()
    finally:
        service.stop()
    demand(not left, f"{len(left)} are still held after {longest_s + 10} s")
    demand(gone < longest_s, f"cut only after {gone:.0f} s")
    demand(max(took) < scale.of(math.inf, 0.2, 0.2), f"/healthz took {max(took) * 1e3:.0f} ms")
    return f"{many} cut within {gone:.1f} s; /healthz took {max(took) * 1e3:.0f} ms at most, of {len(took)}"

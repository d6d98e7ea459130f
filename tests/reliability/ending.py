"""Line 13: told to end, it ends in time, whatever its clients do."""

import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import check, demand
from tests.reliability.tools import PATIENCE_S, RawSocket, create, sliced_crc_frames


@check(
    13,
    "SIGTERM with 100 sockets, some of which never read",
    "`/readyz` 503 within 1 s, closes with 1012 or 1001, exit within 10 s",
)
def ending(scale, folder):
    many = scale.of(30, 100, 100)
    service = ServiceProcess(folder / "data", requests_per_minute=10**6)
    try:
        id_ = create(service, "view")
        feeder = RawSocket(service.port, f"/v1/streams/{id_}/ingest")
        silent = many // 4
        sockets = [
            RawSocket(service.port, f"/v1/streams/{id_}/results?from=start", 4096 if i < silent else None)
            for i in range(many)
        ]
        for one in sliced_crc_frames(30_000, 60, 1.0):  # much more than a socket's buffers hold
            feeder.send(2, one)
        with ThreadPoolExecutor(many) as pool, httpx.Client(timeout=PATIENCE_S) as http:
            closes = [pool.submit(one.close_code) for one in sockets[silent:]]  # these read all along
            http.get(f"{service.url}/readyz")  # connects
            time.sleep(1)
            started = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            unready = None
            while unready is None and time.monotonic() - started < 3:
                try:
                    if http.get(f"{service.url}/readyz").status_code == 503:
                        unready = time.monotonic() - started
                except httpx.TransportError:
                    time.sleep(0.01)
            codes = [one.result() for one in closes]
        status = service.process.wait(PATIENCE_S)
        took = time.monotonic() - started
    finally:
        service.stop()
    demand(unready is not None and unready < scale.of(math.inf, 1, 1), f"/readyz says 503 after {unready} s")
    demand(set(codes) <= {1001, 1012}, f"closed with {set(codes)}")
    demand(took < scale.of(math.inf, 10, 10), f"took {took:.1f} s")
    demand(status == 0, f"status {status}")
    return f"/readyz 503 after {unready * 1e3:.0f} ms, {len(codes)} readers closed with {sorted(set(codes))}, {silent} silent ones cut, exit 0 after {took:.1f} s"

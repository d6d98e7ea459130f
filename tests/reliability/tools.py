"""What the checks share: frames, figures of a process, raw sockets."""

import base64
import hashlib
import os
import socket
import struct
import time

import httpx
import numpy as np
import psutil
from polychrony_client import wire

MIB = 2**20
PATIENCE_S = 120
"""How long an answer may take on a machine that is busy with something else; the lines have bounds of their own."""
DENOISE = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500},
                      {"id": "clean", "kind": "background_activity", "window_us": 5000}]}  # fmt: skip
COUNTING = {"stages": [{"id": "none", "kind": "crop", "x": 0, "y": 0, "width": 1, "height": 1}]}
"""A stage that looks at every event and answers (almost) none."""
EVERYTHING = {"stages": [{"id": "all", "kind": "crop", "x": 0, "y": 0, "width": 640, "height": 480}]}


def random_events(n, seed=0, start_us=0, per_us=1.0, width=640, height=480):
    rng = np.random.default_rng(seed)
    t = start_us + np.sort(rng.integers(0, max(1, int(n / per_us)), n))
    return (
        t,
        rng.integers(0, width, n).astype(np.uint16),
        rng.integers(0, height, n).astype(np.uint16),
        rng.random(n) < 0.5,
    )


def frame(number, events):
    """An aer64 frame as bytes."""
    t_us, payload = wire.pack_events(*events)
    return wire.build(wire.EVENTS, wire.AER64, number, t_us, len(events[0]), payload)


def memory(process):
    """Resident bytes of a process."""
    return psutil.Process(process.pid).memory_info().rss


def descriptors(process):
    return psutil.Process(process.pid).num_fds()


def sliced_crc_frames(events_per_frame, frames, per_us, seed=0, **sensor):
    """Frames whose events only differ in time: quick to make, and to send without computing."""
    heads, payload = sliced_crc_heads(events_per_frame, frames, per_us, seed, **sensor)
    return [head + payload for head in heads]


def sliced_crc_heads(events_per_frame, frames, per_us, seed=0, **sensor):
    """(the headers of such frames, the payload of all of them)."""
    events = random_events(events_per_frame, seed, per_us=per_us, **sensor)
    span = int(events_per_frame / per_us)
    _, payload = wire.pack_events(events[0] - 0, *events[1:])
    offset = int(events[0][0])
    heads = [
        wire.build(wire.EVENTS, wire.AER64, i + 1, offset + i * span, events_per_frame, payload)[
            : -len(payload)
        ]
        for i in range(frames)
    ]
    return heads, payload


def create(service, pipeline="denoise", sensor=(640, 480), **options):
    body = {"pipeline": pipeline, "sensor": {"width": sensor[0], "height": sensor[1]}, **options}
    answer = httpx.post(f"{service.url}/v1/streams", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def stats(service, id_):
    return httpx.get(f"{service.url}/v1/streams/{id_}/stats", timeout=PATIENCE_S).json()


class RawSocket:
    """A WebSocket by hand: every bit of a frame can be wrong."""

    def __init__(self, port, path, receive_buffer=None, protocols="polychrony.v1"):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n")  # fmt: skip
        self.socket.sendall(head.encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self.data += self._more()
        answer, _, self.data = self.data.partition(b"\r\n\r\n")
        assert b" 101 " in answer, answer
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        assert base64.b64encode(digest) in answer

    def send(self, opcode, payload=b"", fin=True, rsv=0, masked=True, chop=None, length=None):
        head = bytes([fin << 7 | rsv << 4 | opcode])
        n = len(payload) if length is None else length
        bit = masked << 7
        if n < 126:
            head += bytes([bit | n])
        elif n < 65_536:
            head += bytes([bit | 126]) + struct.pack(">H", n)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", n)
        if masked:
            mask = os.urandom(4)
            padded = np.frombuffer(payload + bytes(-len(payload) % 4), np.uint8)
            covered = (padded ^ np.tile(np.frombuffer(mask, np.uint8), len(padded) // 4)).tobytes()
            payload = mask + covered[: len(payload)]
        self.put(head + payload, chop)

    def put(self, data, chop=None):
        for start in range(0, len(data), chop or max(1, len(data))):
            self.socket.sendall(data[start : start + (chop or len(data))])

    def receive(self):
        """(opcode, payload) of the next frame; (None, b"") where the connection ended."""
        try:
            head = self._exactly(2)
            n = head[1] & 127
            if n > 125:
                n = int.from_bytes(self._exactly(2 if n == 126 else 8), "big")
            return head[0] & 15, self._exactly(n)
        except (ConnectionError, EOFError):
            return None, b""

    def until(self, wanted):
        """The payload of the next frame of an opcode."""
        while True:
            opcode, payload = self.receive()
            if opcode in {wanted, None}:
                return None if opcode is None else payload

    def close_code(self):
        """The code that the server closes with; None where it just ends."""
        payload = self.until(8)
        return None if payload is None else int.from_bytes(payload[:2], "big") if payload else 1005

    def end(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def __del__(self):
        self.end()

    def _more(self):
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        return data

    def _exactly(self, n):
        while len(self.data) < n:
            self.data += self._more()
        taken, self.data = self.data[:n], self.data[n:]
        return taken


def percentile(values, q):
    return float(np.percentile(np.array(values), q)) if len(values) else 0.0


def slope_per_hour(seconds, values):
    """(slope per hour, upper end of its 95 % confidence interval) of a line through values."""
    t, y = np.array(seconds) / 3600, np.array(values, float)
    t = t - t.mean()
    slope = float((t * (y - y.mean())).sum() / (t * t).sum())
    residuals = y - y.mean() - slope * t
    error = float(np.sqrt((residuals**2).sum() / max(1, len(t) - 2) / (t * t).sum()))
    return slope, slope + 1.96 * error


def poll(url, seconds, every_s=0.05):
    """How long each GET took, over some seconds."""
    took, deadline = [], time.monotonic() + seconds
    with httpx.Client(timeout=PATIENCE_S) as http:
        while time.monotonic() < deadline:
            started = time.monotonic()
            assert http.get(url).status_code == 200
            took.append(time.monotonic() - started)
            time.sleep(every_s)
    return took

"""Lines 1 to 4: WebSocket, OpenAPI, decoders, and streams against an offline oracle."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from polychrony_client import Client

from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import preset
from pipeline.wire import EVENTS, build
from tests.fuzz import __main__ as fuzzing
from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import Scale, check, demand
from tests.reliability.tools import RawSocket, create

TEXT, BINARY, CONTINUE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
GOOD = build(EVENTS, 0, 1, 0, 1, bytes(8))


def sized(n):
    """A good frame whose message is n bytes long."""
    rows = (n - 32) // 8
    return build(EVENTS, 0, 1, 0, rows, bytes(8 * rows))


def acknowledged(socket):
    while True:
        payload = socket.until(TEXT)
        if payload is None:
            return False
        said = json.loads(payload)
        if said["type"] == "ack" and said["received"] >= 1:
            return True


def cases():
    """(name, what to do on a fresh ingest socket, what must come of it): a close code, or "ack", or bytes of a pong."""
    # 1 framing: every length field, in any chop
    for n in (32, 40, 120, 128, 65_528, 65_536, 65_544, 262_144, 2**20, 2**22):
        for chop in (None, 1, 997) if n <= 128 else (None, 997):
            yield (
                f"1 binary of {n}, chopped by {chop}",
                lambda s, n=n, c=chop: s.send(BINARY, sized(n), chop=c),
                "ack",
            )
    yield "1 an empty binary message", lambda s: s.send(BINARY), 4400
    yield "1 an empty text message", lambda s: s.send(TEXT), 4400
    # 2 pings
    for n in (0, 1, 125):
        yield f"2 a ping of {n}", lambda s, n=n: s.send(PING, b"p" * n), b"p" * n
    yield "2 a ping in single bytes", lambda s: s.send(PING, b"abc", chop=1), b"abc"
    yield "2 a ping of 126", lambda s: s.send(PING, b"p" * 126), 1002
    yield "2 a pong that nobody asked for", lambda s: (s.send(PONG, b"x"), s.send(BINARY, GOOD)), "ack"
    yield "2 ten pings", lambda s: [s.send(PING, bytes([48 + i])) for i in range(10)], b"9"
    # 3 reserved bits
    for rsv in range(1, 8):
        yield f"3 reserved bits {rsv}", lambda s, r=rsv: s.send(BINARY, GOOD, rsv=r), 1002
    yield "3 reserved bits of a ping", lambda s: s.send(PING, rsv=4), 1002
    # 4 opcodes
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"x"):
            yield f"4 opcode {opcode} with {len(payload)}", lambda s, o=opcode, p=payload: s.send(o, p), 1002
    # 5 fragments
    for pieces in (2, 3, 40):
        yield f"5 in {pieces} fragments", lambda s, p=pieces: fragments(s, GOOD, p), "ack"
        yield (
            f"5 in {pieces} fragments with pings between",
            lambda s, p=pieces: fragments(s, GOOD, p, ping=True),
            "ack",
        )
    yield (
        "5 fragments of nothing",
        lambda s: (s.send(BINARY, fin=False), s.send(CONTINUE, fin=False), s.send(CONTINUE, GOOD)),
        "ack",
    )
    yield "5 fragments chopped", lambda s: fragments(s, GOOD, 3, chop=1), "ack"
    yield "5 a fragmented ping", lambda s: s.send(PING, b"x", fin=False), 1002
    yield "5 a fragmented pong", lambda s: s.send(PONG, b"x", fin=False), 1002
    yield "5 a fragmented close", lambda s: s.send(CLOSE, b"", fin=False), 1002
    yield "5 a continuation of nothing", lambda s: s.send(CONTINUE, GOOD), 1002
    yield "5 a continuation of nothing, more to come", lambda s: s.send(CONTINUE, GOOD, fin=False), 1002
    yield (
        "5 a message within another",
        lambda s: (s.send(BINARY, GOOD[:9], fin=False), s.send(BINARY, GOOD)),
        1002,
    )
    yield (
        "5 a text within a binary",
        lambda s: (s.send(BINARY, GOOD[:9], fin=False), s.send(TEXT, b"x")),
        1002,
    )
    yield (
        "5 after a whole message a continuation",
        lambda s: (fragments(s, GOOD, 2), s.send(CONTINUE, b"x")),
        1002,
    )
    # 6 UTF-8: text is not for ingest (4400), but it must be text
    for text in ("plain", "κόσμε", "\U0001f600", "\ufffe", "\ud7ff\ue000"):
        yield f"6 {text!a}", lambda s, t=text: s.send(TEXT, t.encode()), 4400
        yield (
            f"6 {text!a} in single bytes",
            lambda s, t=text: fragments(s, t.encode(), len(t.encode()), TEXT),
            4400,
        )
    for bad in (b"\xff", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80",
                b"\xf4\x90\x80\x80", b"\xe2\x82", b"abc\x80", b"\xed\xbf\xbf"):  # fmt: skip
        yield f"6 not UTF-8: {bad!r}", lambda s, b=bad: s.send(TEXT, b), 1007
        yield f"6 not UTF-8, in fragments: {bad!r}", lambda s, b=bad: fragments(s, b + b"x", 2, TEXT), 1007
    # 7 close
    yield "7 a close without a word", lambda s: s.send(CLOSE), 1005
    yield "7 a close of one byte", lambda s: s.send(CLOSE, b"\x03"), 1002
    yield "7 a close with 123 of reason", lambda s: s.send(CLOSE, code(1000) + b"r" * 123), 1000
    yield "7 a close with 124 of reason", lambda s: s.send(CLOSE, code(1000) + b"r" * 124), 1002
    yield "7 a reason that is not UTF-8", lambda s: s.send(CLOSE, code(1000) + b"\xce\xba\xff"), 1007
    yield "7 a close, then more", lambda s: (s.send(CLOSE, code(1000)), s.send(BINARY, b"x")), 1000
    yield (
        "7 a close within fragments",
        lambda s: (s.send(BINARY, GOOD[:9], fin=False), s.send(CLOSE, code(1000))),
        (1000, 1002),  # to break a message off is no clean end: websockets says so, and may
    )
    for n in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7 close {n}", lambda s, n=n: s.send(CLOSE, code(n)), n
    for n in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield f"7 close {n}, which nobody may send", lambda s, n=n: s.send(CLOSE, code(n)), 1002
    # masks and limits
    yield "8 a frame that is not masked", lambda s: s.send(BINARY, GOOD, masked=False), 1002
    yield "9 a message of 5 MiB and 1", lambda s: s.send(BINARY, bytes(5 * 2**20 + 1)), 1009
    yield "9 a message over 4 MiB", lambda s: s.send(BINARY, bytes(4 * 2**20 + 1)), 1009
    yield "9 a header that claims 1 TiB", lambda s: s.send(BINARY, b"x", length=2**40), 1009
    yield "9 a header that claims 2^63", lambda s: s.send(BINARY, b"x", length=2**63), (1002, 1009)
    yield (
        "9 fragments that add up",
        lambda s: (s.send(BINARY, bytes(3 * 2**20), fin=False), s.send(CONTINUE, bytes(3 * 2**20))),
        1009,
    )


def code(n):
    return n.to_bytes(2, "big")


def fragments(socket, data, pieces, opcode=BINARY, ping=False, chop=None):
    parts = [bytes(part) for part in np.array_split(np.frombuffer(data, np.uint8), pieces)]
    for i, part in enumerate(parts):
        socket.send(opcode if i == 0 else CONTINUE, part, fin=i == len(parts) - 1, chop=chop)
        if ping and i < len(parts) - 1:
            socket.send(PING, b"between")


@check(
    1,
    "WebSocket conformance: the framing, fragment, UTF-8, close and limit cases of the Autobahn suite",
    "no wrong answer",
    timed=False,
)
def websocket(scale, folder):
    service, done, wrong = ServiceProcess(folder / "websocket", max_streams=1000), 0, []
    try:
        for name, act, wanted in cases():
            socket = RawSocket(service.port, f"/v1/streams/{create(service, sensor=(64, 48))}/ingest")
            socket.until(TEXT)  # ready
            act_quietly(act, socket)
            found = outcome(socket, wanted)
            if found not in (wanted if isinstance(wanted, tuple) else (wanted,)):
                wrong.append(f"{name}: {found} instead of {wanted}")
            socket.end()
            done += 1
    finally:
        service.stop()
    demand(not wrong, "; ".join(wrong[:5]))
    return f"{done} cases, none wrong"


def act_quietly(act, socket):
    with suppress(ConnectionError):  # closed before all was said: what it was closed with is looked at next
        act(socket)


def outcome(socket, wanted):
    if wanted == "ack":
        return "ack" if acknowledged(socket) else "no ack"
    if isinstance(wanted, bytes):
        while (pong := socket.until(PONG)) not in {wanted, None}:
            pass
        return pong
    return socket.close_code()


@check(
    2,
    "schemathesis over the OpenAPI document, all phases",
    "2,000 cases, no 5xx, no undocumented answer",
    timed=False,
)
def openapi(scale, folder):
    models = {"models": folder / "models", "pipelines": folder / "pipelines"}
    service = ServiceProcess(
        folder / "openapi", max_streams=100_000, requests_per_minute=10**7, keep_ended_s=5, **models
    )
    try:
        phases = scale.of(
            "coverage", "examples,coverage,fuzzing,stateful", "examples,coverage,fuzzing,stateful"
        )
        ran = subprocess.run(
            [str(Path(sys.executable).parent / "schemathesis"), "run", f"{service.url}/v1/openapi.json", "--no-color",
             "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
             "--phases", phases, "--max-examples", str(scale.of(2, 40, 200)), "--seed", "1",
             *(["--include-path-regex", "/v1/(streams|uploads|session)"] if scale is Scale.SHORT else [])],
            capture_output=True, text=True, check=False, timeout=scale.of(1500, 1500, 7200),
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.reliability.schemathesis_hooks", "PYTHONPATH": "."},
        )  # fmt: skip
        generated = re.search(r"([\d,]+) generated", ran.stdout)
        n = int(generated[1].replace(",", "")) if generated else 0
        demand(ran.returncode == 0, ran.stdout[-1500:])
        demand(n >= scale.of(50, 2000, 2000), f"only {n} cases")
        logged = service.log.read_text()
        demand(
            "Traceback" not in logged, f"an exception in the log: {logged[logged.find('Traceback') :][-500:]}"
        )
    finally:
        service.stop()
    return f"{n:,} cases"


@check(
    3,
    "every decoder under mutated input, in children with limits",
    "no crash, no hang, no overrun, memory bounded; any cut gives the same events",
    timed=False,
)
def decoders(scale, folder):
    started = time.monotonic()
    names = ("PCHY", "EVT3") if scale is Scale.SHORT else fuzzing.FORMATS
    with ThreadPoolExecutor(2) as pool:  # two cores; each input runs in a child of its own
        found = list(pool.map(lambda name: _fuzzed(name, scale), names))
    faults = [fault for _, faults in found for fault in faults]
    demand(not faults, str(faults[:3]))
    total = sum(n for n, _ in found)
    return (
        f"{total:,} inputs of {len(names)} decoders in {time.monotonic() - started:.0f} s; "
        "cuts: tests/property/test_decode_kernels.py"
    )


def _fuzzed(name, scale):
    """(how many inputs, faults) of a decoder, in the time that it has."""
    own = name in fuzzing.ON_BYTES + fuzzing.OWN_FILES
    deadline = time.monotonic() + scale.of(0, 60, 600) / (1 if own else 6)
    total, seed, faults = 0, 0, []
    while seed == 0 or time.monotonic() < deadline:
        n = 200 if scale is Scale.SHORT else 50_000 if name in fuzzing.ON_BYTES else 2_000 if own else 200
        _, found = fuzzing.fuzz(name, n, seed=seed, tell=lambda _: None)
        total, seed = total + n, seed + 1
        faults += [f"{name} {one}" for one in found]
    return total, faults


_SENSOR = Sensor(width=16, height=12)


class _TwoStreams(RuleBasedStateMachine):
    """Two streams beside each other, against two engines that no socket ever touched."""

    service = None
    runs = 0

    @initialize()
    def open(self):
        type(self).runs += 1
        self.client = Client(self.service.url)
        self.streams = [self.client.stream("denoise", sensor=(16, 12)) for _ in range(2)]
        self.oracles = [Engine(Graph(preset("denoise"), _SENSOR)) for _ in range(2)]
        self.now = [0, 0]

    @rule(
        which=st.integers(0, 1), n=st.integers(0, 60), step=st.integers(0, 3000), seed=st.integers(0, 2**16)
    )
    def feed(self, which, n, step, seed):
        rng = np.random.default_rng(seed)
        t = self.now[which] + np.sort(rng.integers(0, step + 1, n))
        events = (t, *(rng.integers(0, high, n).astype(np.uint16) for high in (17, 12)), rng.random(n) < 0.5)
        self.streams[which].send(*events)
        if n:
            self.oracles[which].feed(events)
            self.now[which] = int(t[-1])

    @rule(which=st.integers(0, 1))
    def drop(self, which):
        with suppress(OSError):  # broken off already
            self.streams[which]._socket.socket.shutdown(2)

    @rule(which=st.integers(0, 1), step=st.integers(0, 20_000_000))
    def heartbeat(self, which, step):
        self.now[which] += step
        self.streams[which].heartbeat(self.now[which])
        self.oracles[which].heartbeat(self.now[which])

    @rule(which=st.integers(0, 1), step=st.integers(0, 5000))
    def gap(self, which, step):
        self.now[which] += step
        self.streams[which].gap(self.now[which])
        self.oracles[which].gap(self.now[which])

    @rule(which=st.integers(0, 1))
    def resume(self, which):
        id_ = self.streams[which].id
        self.streams[which].flush()
        self.streams[which].close()
        self.streams[which] = self.client.attach(id_)

    def teardown(self):
        if not hasattr(self, "streams"):
            return
        for stream, oracle, now in zip(self.streams, self.oracles, self.now, strict=True):
            final = stream.end(now)
            oracle.heartbeat(now)
            oracle.end()
            assert final["digests"] == oracle.digests()
            assert final["rows"] == dict(oracle.rows)
            stream.delete()
        self.client.close()


@check(
    4,
    "hypothesis state machine: open, feed, drop, resume, close, two streams at a time",
    "1,000 runs equal an offline oracle",
    timed=False,
)
def machine(scale, folder):
    service = ServiceProcess(folder / "machine", requests_per_minute=10**7)
    try:
        _TwoStreams.service, _TwoStreams.runs = service, 0
        runs = scale.of(15, 1000, 1000)
        run_state_machine_as_test(
            _TwoStreams,
            settings=hypothesis.settings(
                max_examples=runs, stateful_step_count=8, deadline=None, database=None, derandomize=True,
                suppress_health_check=list(HealthCheck), phases=[hypothesis.Phase.generate], print_blob=False,
            ),
        )  # fmt: skip
    finally:
        service.stop()
    demand(_TwoStreams.runs >= runs, f"only {_TwoStreams.runs} runs")
    return f"{_TwoStreams.runs:,} runs of two streams each"

"""Hostile bytes for every decoder: ``python -m tests.fuzz [FORMAT...] [--inputs N] [--seed N]``.

Real or self-written recordings are mutated and read, in child processes with limits on memory and time per input.
What must hold: it is decoded or refused in one line (SourceError); no crash, no hang, no event outside the sensor
or out of order, at most 5 s and 512 MiB each. Decoders of our own get a million inputs, those of libraries 20,000.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

OWN, THEIRS = 1_000_000, 20_000
BATCH = 500
MEMORY, GROWTH, SECONDS = 6 * 2**30, 512 * 2**20, 5
"""Bytes of address space of a child, by how many its memory may grow, and seconds of one input."""
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """One to six changes of the kinds that break decoders."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        kind, at = rng.randrange(8), rng.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, rng.randrange(256)))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.randint(1, 16)]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.randint(1, 16))
        elif kind == 5:
            end = min(len(data), at + rng.randint(1, 64))
            data[at:at] = data[at:end]
        elif kind == 6:
            width = rng.choice((2, 4, 8))
            data[at : at + width] = rng.choice(
                (0, 2**31 - 1, 2**32 - 1, 2**63 - 1, rng.getrandbits(64))
            ).to_bytes(8, "little")[:width]
        else:
            other = rng.randrange(len(data))
            n = rng.randint(1, 32)
            data[at : at + n] = data[other : other + n]
    return bytes(data)


# ---- what is fed ---------------------------------------------------------------------------------------------


def small_events(n=200):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 40_000, n))
    return (
        t,
        rng.integers(0, 64, n).astype(np.uint16),
        rng.integers(0, 48, n).astype(np.uint16),
        rng.random(n) < 0.5,
    )


def in_memory(name):
    """(seed, run) of a decoder that takes bytes; run gives its columns."""
    from kernels.coding import decode
    from kernels.coding.decode import Decoder, SpifDecoder
    from kernels.coding.encode import Encoder, encode

    events = small_events()
    if name == "SPIF":
        words = np.stack([events[1].astype(np.uint32) << 16 | events[2], events[0].astype(np.uint32)], 1)
        return words.astype("<u4").tobytes(), lambda data: decode.decode_spif(
            SpifDecoder(), [data[: len(data) // 3], data[len(data) // 3 :]], [1, 2]
        )
    word_bytes = {"EVT2 bytes": 4, "EVT2.1 bytes": 8, "EVT3 bytes": 2}[name]
    seed = encode(Encoder(min(word_bytes, 4)), events)
    if word_bytes == 8:
        upper = np.frombuffer(seed, "<u4").astype(np.uint64)
        seed = (upper << np.uint64(32) | np.uint64(0b1001)).astype("<u8").tobytes()

    def run(data):
        decoder, cut = Decoder(word_bytes), len(data) // 2
        parts = [decode.decode(decoder, data[:cut], 7), decode.decode(decoder, data[cut:], 7)]
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    return seed, run


def seed_file(name, folder):
    """A small file of a format."""
    from pipeline.sensor import Sensor
    from pipeline.sinks import recordings
    from pipeline.sources import Reading

    events, sensor = small_events(), Sensor(width=64, height=48)
    path = Path(folder) / "seed"
    writers = {
        "EVT2": ".raw", "EVT3": ".raw", "DAT": ".dat", "AEDAT4": ".aedat4", "ES": ".es", "HDF5": ".h5", "npz": ".npz",
        "csv": ".csv", "Parquet": ".parquet",
    }  # fmt: skip
    if name == "AEDAT4":
        return aedat4(path.with_suffix(".aedat4"), events, sensor)
    if name in writers:
        path = path.with_suffix(writers[name])
        recordings.write(path, [Reading(events, 1.0)], sensor, name)
        return path
    t, x, y, p = events
    if name == "EVT2.1":
        seed, _ = in_memory("EVT2.1 bytes")
        path = path.with_suffix(".raw")
        path.write_bytes(b"% evt 2.1\n% geometry 64x48\n% end\n" + seed)
    elif name == "PCHY":
        from polychrony_client import wire

        about = b'{"sensor": {"width": 64, "height": 48}}'
        path = path.with_suffix(".pchy")
        frames = [wire.build(64, 0, 0, 0, len(about), about)]
        for i, at in enumerate(range(0, len(t), 50)):
            t_us, payload = wire.pack_events(*(column[at : at + 50] for column in events))
            frames.append(wire.build(wire.EVENTS, wire.AER64, i + 1, t_us, 50, payload))
        path.write_bytes(b"".join(frames))
    elif name == "EVT2.1 legacy":
        seed, _ = in_memory("EVT2.1 bytes")
        halves = np.frombuffer(seed, "<u4").reshape(-1, 2)[:, ::-1]
        path = path.with_suffix(".raw")
        head = b"% evt 2.1\n% format EVT21;endianness=legacy;height=48;width=64\n% end\n"
        path.write_bytes(head + halves.tobytes())
    elif name == "DAT 1":
        path = path.with_suffix(".dat")
        word = x.astype(np.int64) | y.astype(np.int64) << 9 | p.astype(np.int64) << 17
        rows = np.stack([t, word], 1).astype("<u4")
        path.write_bytes(b"% Height 48\n% Width 64\n" + bytes([0, 8]) + rows.tobytes())
    elif name == "AEDAT1":
        path = path.with_suffix(".dat")
        rows = np.empty(len(t), [("address", ">u2"), ("t", ">u4")])
        rows["address"], rows["t"] = (127 - y) << 8 | (127 - x) << 1 | ~p, t
        path.write_bytes(b"#!AER-DAT1.0\r\n# made for a test\r\n" + rows.tobytes())
    elif name == "AEDAT3.1":
        path = path.with_suffix(".aedat")
        body = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: DVS128\r\n#!END-HEADER\r\n"
        for i, at in enumerate(range(0, len(t), 20)):
            rows = np.empty((20, 2), "<u4")
            rows[:, 0] = x[at : at + 20].astype(np.uint32) << 17 | y[at : at + 20].astype(np.uint32) << 2
            rows[:, 0] |= p[at : at + 20].astype(np.uint32) << 1 | 1
            rows[:, 1] = t[at : at + 20]
            kind = 0 if i == 3 else 1
            body += struct.pack("<hhiiiiii", kind, 1, 8, 4, 0, 20, 20, 20) + rows.tobytes()
        path.write_bytes(body)
    elif name == "mat":
        import scipy.io

        path = path.with_suffix(".mat")
        scipy.io.savemat(path, {"x": x, "y": y, "t": t, "p": p.astype(np.int8)}, do_compression=True)
    elif name == "csv.gz":
        path = path.with_suffix(".gz")
        lines = [f"{a},{b},{c},{int(d)}" for a, b, c, d in zip(*events, strict=True)]
        path.write_bytes(gzip.compress("\n".join(["t,x,y,p", *lines]).encode()))
    elif name == "npz table":
        path = path.with_suffix(".npz")
        np.savez(path, events=np.stack([t + 100_000, x, y, p], axis=1))
    elif name == "TIFF":
        import cv2

        path = path.with_suffix(".tif")
        rng = np.random.default_rng(0)
        cv2.imwritemulti(str(path), [rng.integers(0, 256, (16, 16)).astype(np.uint8) for _ in range(4)])
    elif name == "AEDAT2":
        path = path.with_suffix(".aedat")
        address = (259 - y.astype(np.int64)) << 22 | x.astype(np.int64) << 12 | p.astype(np.int64) << 11
        rows = np.stack([address, t], 1).astype(">u4")
        path.write_bytes(b"#!AER-DAT2.0\r\n# AEChip: eu.DAVIS346\r\n" + rows.tobytes())
    elif name == "ATIS bin":
        path = path.with_suffix(".bin")
        word = x.astype(np.int64) << 32 | y.astype(np.int64) << 24 | p.astype(np.int64) << 23 | t
        path.write_bytes(b"".join(int(w).to_bytes(5, "big") for w in word))
    elif name == "npy":
        path = path.with_suffix(".npy")
        rows = np.empty(len(t), [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
        rows["t"], rows["x"], rows["y"], rows["p"] = events
        np.save(path, rows)
    elif name == "ROS bag":
        from rosbags.rosbag1 import Writer
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        from tests.integration.test_formats import DVS, EVENT, ros1_array

        path = path.with_suffix(".bag")
        path.unlink(missing_ok=True)
        store = get_typestore(Stores.ROS1_NOETIC)
        store.register(get_types_from_msg(DVS, "dvs_msgs/msg/EventArray"))
        store.register(get_types_from_msg(EVENT, "dvs_msgs/msg/Event"))
        with Writer(path) as writer:
            connection = writer.add_connection("/e", "dvs_msgs/msg/EventArray", typestore=store)
            for at in range(0, len(t), 50):
                part = tuple(column[at : at + 50] for column in events)
                writer.write(connection, int(part[0][0]) * 1000, ros1_array(*part))
    elif name.startswith("video"):
        import cv2

        suffix, codec = {"video mp4": (".mp4", "mp4v"), "video avi": (".avi", "MJPG")}[name]
        path = path.with_suffix(suffix)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 100.0, (32, 32))
        rng = np.random.default_rng(0)
        for _ in range(6):
            writer.write(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
        writer.release()
    return path


ON_BYTES = ("EVT2 bytes", "EVT2.1 bytes", "EVT3 bytes", "SPIF")
OWN_FILES = (
    "EVT2", "EVT2.1", "EVT2.1 legacy", "EVT3", "DAT", "DAT 1", "AEDAT1", "AEDAT2", "AEDAT3.1", "AEDAT4", "ATIS bin",
    "PCHY",
)  # fmt: skip
LIBRARY_FILES = (
    "ES", "HDF5", "npz", "npz table", "npy", "mat", "csv", "csv.gz", "Parquet", "ROS bag", "video mp4", "video avi",
    "TIFF",
)  # fmt: skip
FORMATS = ON_BYTES + OWN_FILES + LIBRARY_FILES


def aedat4(path, events, sensor):
    """Twenty packets that are not compressed, so that changes reach what is inside."""
    import faery
    from faery.extension import aedat

    text = lambda value: aedat.DescriptionAttribute("string", value)  # noqa: E731
    number = lambda value: aedat.DescriptionAttribute("int", value)  # noqa: E731
    info = aedat.DescriptionNode(
        "info", None, {"sizeX": number(sensor.width), "sizeY": number(sensor.height)}, []
    )
    attributes = {"typeIdentifier": text("EVTS"), "compression": text("NONE")}
    root = aedat.DescriptionNode(
        "outInfo", "/mainloop/", {}, [aedat.DescriptionNode("0", None, attributes, [info])]
    )
    rows = np.empty(len(events[0]), faery.EVENTS_DTYPE)
    rows["t"], rows["x"], rows["y"], rows["on"] = events
    with aedat.Encoder(path, [root], None) as encoder:
        for at in range(0, len(rows), 10):
            encoder.write(0, rows[at : at + 10])
    return path


def read_file(path):
    """One input through a source; how it ended."""
    from pipeline.sources import InputOptions, SourceError, open_source

    try:
        options = InputOptions(frame_rate=100) if path.suffix == ".tif" else None
        source = open_source(path, options)
        last, n = -1, 0
        for reading in source.batches():
            t, x, y, _ = reading.events
            if len(t):
                assert int(t[0]) >= last, "out of order"
                assert np.all(np.diff(t) >= 0), "out of order"
                assert int(x.max()) < source.info.sensor.width, "outside"
                assert int(y.max()) < source.info.sensor.height, "outside"
                last, n = int(t[-1]), n + len(t)
    except SourceError as problem:
        return "refused" if "\n" not in str(problem) else "refused in more than one line"
    return "repaired" if source.info.repaired else "read"


def batch(name, seed, first, count, folder, progress):
    """In a child: ``count`` inputs from number ``first`` on."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    ended = Counter()
    before = None
    if name in ON_BYTES:
        original, run = in_memory(name)
        path = None
    else:
        original_path = seed_file(name, folder)
        original = original_path.read_bytes()
        path = original_path.with_name(f"input{original_path.suffix}")
    for number in range(first, first + count):
        progress.value = number
        data = mutated(original, random.Random(f"{name}{seed}{number}"))
        signal.alarm(SECONDS)
        if path is None:
            t, x, y, p = run(data)
            assert len(t) == len(x) == len(y) == len(p)
            ended["decoded" if len(t) else "empty"] += 1
        else:
            path.write_bytes(data)
            ended[read_file(path)] += 1
        signal.alarm(0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        before = grown if before is None else before  # what the first one loads is no input's doing
        assert grown - before < GROWTH, f"memory grew by {(grown - before) >> 20} MiB"
    return ended


def _child(name, seed, first, count, folder, progress, answers):
    try:
        answers.put(batch(name, seed, first, count, folder, progress))
    except BaseException as problem:
        answers.put(f"{type(problem).__name__}: {problem}")


def fuzz(name, inputs, seed=0, tell=print):
    """(how inputs ended, faults); a fault is (number of the input, what happened)."""
    # Not "fork": libraries have threads by now, and a child that is made while one of them holds a lock waits for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.__main__"])
    ended, faults, first = Counter(), [], 0
    started = time.monotonic()
    size = 50_000 if name in ON_BYTES else 5_000 if name in OWN_FILES else BATCH
    with TemporaryDirectory(dir=SCRATCH) as folder:
        while first < inputs:
            count = min(size, inputs - first)
            progress, answers = context.Value("q", first), context.Queue()
            child = context.Process(target=_child, args=(name, seed, first, count, folder, progress, answers))
            child.start()
            answer = None
            while child.is_alive() and answer is None:
                try:
                    answer = answers.get(timeout=0.5)
                except Exception:
                    continue
            child.join()
            if answer is None and not answers.empty():
                answer = answers.get()
            if isinstance(answer, Counter):
                ended += answer
                first += count
            else:
                faults.append((progress.value, answer or f"killed by signal {-(child.exitcode or 0)}"))
                ended["fault"] += 1
                first = progress.value + 1
                if len(faults) > 20:
                    break
    tell(f"{name}: {first:,} inputs in {time.monotonic() - started:.0f} s: {dict(ended)}")
    for number, what in faults:
        tell(f"  FAULT input {number}: {what}")
    return ended, faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*", choices=[*FORMATS, []], default=[])
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    from pipeline.warm import warm

    warm()
    bad = 0
    for name in asked.formats or FORMATS:
        own = name in ON_BYTES + OWN_FILES
        _, faults = fuzz(
            name, asked.inputs or (OWN if own else THEIRS), asked.seed, lambda s: print(s, flush=True)
        )
        bad += len(faults)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()

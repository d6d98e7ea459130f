"""Deliberate faults, and the tests that must notice them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One line that is made wrong.

    Attributes:
        path: of the file, from the repository's root.
        was: what it says, once in the file.
        becomes: what it says then.
        tests: what pytest is given; one of them must fail.
    """

    path: str
    was: str
    becomes: str
    tests: tuple[str, ...]


def _of(path: str, tests: str, *changes: tuple[str, str]) -> tuple[Fault, ...]:
    return tuple(Fault(path, was, becomes, tuple(shlex.split(tests))) for was, becomes in changes)


_STORAGE = "tests/contract/storage"
_SESSION = "tests/unit/test_session.py"
_FEED = "tests/unit/test_row_store.py"
_LOG = "tests/unit/test_frame_log.py"
_POWER = "tests/integration/test_power_cuts.py"
_FLOW = "tests/property/test_flow_kernels.py"
_WARP = "tests/property/test_warp_kernels.py"
_MOTION = "tests/property/test_global_motion_kernels.py"
_APPROACH = "tests/integration/test_motion.py -k 'nears or approach'"

FAULTS: tuple[Fault, ...] = (
    *_of(
        "service/storage/files/frame_log.py", _LOG,
        ("                os.fdatasync(self._file)", "                pass"),
        ("            os.ftruncate(self._file, before)\n", ""),
        (" or any(_holds_frame(one, 0) for one in later)", ""),
        ("            if first <= number:", "            if first <= number + 1:"),
        ("        if found and found[0][0] != self._after + 1:", "        if False:"),
    ),
    *_of(
        "service/streams/row_store.py", _FEED,
        ('        self.gaps.extend(GapMark(*gap) for gap in known["gaps"])\n', ""),
        ("        self.oldest = max(self.oldest, first + n - self._capacity)\n", ""),
        ("        while computed and computed[0].frame <= durable:", "        while computed:"),
        ("            self.gaps_so_far += len(one.gaps)\n", ""),
    ),
    *_of(
        "service/storage/files/row_file.py", _FEED,
        ("            if zlib.crc32(self.read(slot, rows)) != crc:", "            if False:"),
        ("                self._sums.forget_behind(next_row, first)\n", ""),
    ),
    *_of(
        "service/storage/files/stream_files.py", _POWER,
        ("                file.sync()", "                pass"),
        ("                recording.sync()", "                pass"),
        ("            sync_folder(self._folder)\n            sync_folder(self._folder.parent)", "            pass"),
    ),
    *_of(
        "service/jobs/runner.py", _POWER,
        ("job.idempotency_key, job.asked, self._settings.fsync,", "job.idempotency_key, job.asked, False,"),
        ("lost.artifacts, self.answers(job.id), self._settings.fsync", "lost.artifacts, self.answers(job.id), False"),
    ),
    *_of(
        "service/jobs/work.py", _POWER,
        ("        sync_file(upload)", "        pass"),
        ("        sync_folder(folder.parent)", "        pass"),
    ),
    *_of("pipeline/writing.py", _POWER, ("        part.replace(path)", "        path.write_bytes(part.read_bytes())")),
    *_of("service/storage/files/sqlite.py", _POWER, ('"FULL" if fsync else "NORMAL"', '"NORMAL"')),
    *_of(
        "service/storage/files/upload_files.py", f"{_STORAGE}/test_uploads.py {_POWER} -k upload",
        ("st_size) != offset:", "st_size) < offset:"),
        ("            if self._fsync:", "            if False:"),
    ),
    *_of("service/storage/files/recording.py", _POWER, ("        if self.start == 0:", "        if False:")),
    *_of(
        "service/storage/files/stream_files.py", _STORAGE,
        ("b\"%020d\" % (before + 1)", "b\"%020d\" % before"),
        ("            self._folder.rename(self._hidden)", "            pass"),
    ),
    *_of(
        "service/storage/files/snapshots.py", _STORAGE,
        ("return before[-1][0] if before else 0", "return before[0][0] if before else snapshot.number"),
    ),
    *_of("pipeline/checkpoint.py", _STORAGE, ("    if not hmac.compare_digest(signature,", "    if False and (signature,")),
    *_of(
        "service/storage/files/job_queue.py", _STORAGE,
        ("_JOBS.c.priority.desc()", "_JOBS.c.priority.asc()"),
        ("            if attempt is not None:", "            if False:"),
        (" and now.attempts == job.attempts", ""),
        ("        if job.attempts >= self._most_attempts:", "        if job.attempts > self._most_attempts:"),
        ("if until < now]", "if False]"),
        ("                self._leases[job.id] = time.monotonic() + lease_s\n            return held", "                pass\n            return held"),
    ),
    *_of(
        "service/storage/files/outbox.py", _STORAGE,
        ("        while self._held[receiver].bytes > keep_bytes", "        while self._held[receiver].bytes > 2 * keep_bytes"),
        ("    sqlite_autoincrement=True,", "    sqlite_autoincrement=False,"),
    ),
    *_of(
        "service/streams/session.py", _SESSION,
        ("        self._gate.roll_back(progress.received, progress.received_bytes, encoding)\n", ""),
        ("        durable = min(durable, received) if self._logged else received", "        durable = received"),
        ("            self._again = True", "            pass"),
        ("wire.build(wire.END, 0, self._gate.accepted, 0, 0)", "wire.build(wire.END, 0, self._gate.accepted + 1, 0, 0)"),
        ("        if self._sender is sender:\n", "        if True:\n"),
        ("        if self._sender is not sender:\n", "        if False:\n"),
    ),
    *_of(
        "service/streams/mailbox.py", "tests/unit/test_mailbox.py",
        ("            if self._refusal is None or self._working:", "            if self._refusal is None:"),
        ("            self._frames.clear()\n            return refusal", "            return refusal"),
        ("            closed = self._stopping or self._closed", "            closed = self._stopping"),
    ),
    *_of(
        "service/streams/runner.py", "tests/integration/test_durability.py",
        ("        progress.took(last, size, durable=at_once)", "        progress.took(last, size, durable=last)"),
        ("        if self._pending_appends:", "        if False:"),
        ("        if self.intake.ended and self._pending_appends == 0:", "        if self.intake.ended:"),
        ("            self._step(frames)\n", "            self._step(frames[:1])\n"),
    ),
    *_of(
        "pipeline/clock.py", "tests/property/test_clock.py",
        ("                kept &= part[0] >= self._floor", "                pass"),
        ("watermark = max(self._running_max - self._reorder_us, self._floor)", "watermark = self._running_max"),
        ("        self._running_max = self._floor = gap.to_us", "        self._running_max = gap.to_us"),
    ),
    *_of(
        "service/streams/admission.py", "tests/unit/test_admission.py",
        ("size, encoding, False", "size, encoding, self.ended"),
        ("            self.duplicates += 1\n", ""),
        ("        if self.accepted_bytes + size > self.limit:", "        if False:"),
        ("        if frame.number > self.accepted + 1:", "        if frame.number > self.accepted + 2:"),
    ),
    *_of(
        "service/access/sessions.py", "tests/unit/test_sessions.py",
        ("        if time.monotonic() > until:", "        if False:"),
        ("        return self._tokens.find(secret)\n", "        return self._tokens.all()[0]\n"),
    ),
    *_of(
        "kernels/video/warp.py", _WARP,
        ("np.float32((k * c - j * steps) / steps)", "np.float32(0)"),
        ("            if j != begun[row, column]:", "            if j > begun[row, column]:"),
        ("(ss * bx - rs * fx), py", "(ss * bx + rs * fx), py"),
        ("_within(seen_one, np.float32(0.01)", "_within(seen_one, np.float32(0.1)"),
    ),
    *_of("kernels/video/_cubic.py", _WARP, ("(1.5, -2.25, 1.5, -0.75)", "(1.5, -2.5, 1.5, -0.5)")),
    *_of(
        "kernels/motion/flow.py", _FLOW,
        ("RHO, LAMBDA = 179, 128", "RHO, LAMBDA = 180, 128"),
        ("TEMPER = 2.0", "TEMPER = 1.0"),
        ("            if top[i] + top[m] - both < agree:", "            if top[i] + top[m] - both <= 2 * agree:"),
        ("_SHRINK, _FLOOR = 4.0, 0.3", "_SHRINK, _FLOOR = 0.0, 0.3"),
        ("PASSES = 4", "PASSES = 0"),
    ),
    *_of(
        "kernels/motion/global_motion.py", _MOTION,
        ("_BETTER = 0.35, 2.0, 0.85", "_BETTER = 0.35, 2.0, 0.0"),
        ("float(motion[3]) * rho)", "0.0)"),
        ("motion[1] + motion[2] * y + motion[3] * x", "motion[1] + motion[2] * y - motion[3] * x"),
    ),
    *_of(
        "pipeline/stages/looming.py", _APPROACH,
        ('            & (c["growth"] >= config.growth)\n', ""),
        ("self._agreed + 1 if one else 0", "0"),
    ),
    *_of(
        "kernels/filters.py", "tests/property/test_events_kernels.py",
        ("        if t[i] - last[y[i], x[i]] > period_us:", "        if t[i] - last[y[i], x[i]] >= period_us:"),
        ("        kept[i] = t[i] - newest <= window_us", "        kept[i] = t[i] - newest < window_us"),
        ("        last[row + 1, column + 1] = NEVER\n", ""),
    ),
    *_of(
        "kernels/motion/groups.py", "tests/property/test_group_kernels.py",
        ("                if apart <= alike * speed:", "                if apart < alike * speed * 0.9:"),
        ("            for step in range(9):", "            for step in range(1, 8):"),
    ),
    *_of(
        "kernels/networks/encoding.py", "tests/property/test_encoding_kernels.py",
        ("    end[:] = (np.arange(first, first + steps) + 1) * step_us", "    end[:] = np.arange(first, first + steps) * step_us"),
    ),
    *_of(
        "kernels/motifs/gain.py", "tests/property/test_gain_kernels.py",
        ("    left = (1 - share) * off", "    left = off"),
        ("        if levels.bin_us[k] != t[i]:", "        if True:"),
    ),
    *_of(
        "service/storage/files/secret_files.py", "tests/contract/storage/test_secrets.py",
        ("            fcntl.flock(lock, fcntl.LOCK_EX)\n", ""),
        ("        os.link(part, path)  # whoever is first", "        part.replace(path); os.link(path, part)"),
        ('        return self._tokens.exists() or self._tokens.with_suffix(".lock").exists()', "        return False"),
    ),
    *_of(
        "service/access/scopes.py", "tests/unit/test_scopes.py",
        ("        return Access(Scope.READ if harmless else Scope.ADMIN)", "        return Access(Scope.READ)"),
        ("        if undeclared:", "        if False:"),
    ),
    *_of(
        "service/host/child.py", "tests/unit/test_child.py",
        ("                while await self.stdout.read(2**20):\n                    pass\n", ""),
    ),
    *_of(
        "pipeline/intake.py", "tests/unit/test_intake.py",
        ("        self._drop_cut_word()\n        newest", "        newest"),
        ("        self.cut_words = sum(counts[7:])", "        self.cut_words = counts[7]"),
    ),
    *_of(
        "tests/bounds/__main__.py", "tests/unit/test_bounds.py",
        ("    for module in [one for one in found if isinstance(one, ModuleType)]:", "    for module in []:"),
    ),
    *_of(
        "pipeline/library.py", "tests/contract/storage/test_catalogues.py",
        ('    with locked(own_folder("pipelines")):\n        return _put(name, written)', "    return _put(name, written)"),
        ("        _activate(name, known[-1])  # the same once more\n", ""),
    ),
    *_of(
        "pipeline/models/registry.py", "tests/contract/storage/test_catalogues.py",
        ("    if not at:\n", "    if not version:\n"),
        ("    _demand_own(name)\n    model = read(folder)\n", "    model = read(folder)\n"),
    ),
    *_of(
        "service/streams/recording_switch.py", "tests/integration/test_recording.py",
        ("        recording.append([wire.build(wire.GAP, 0, self._progress.received, t_us, 0)])\n", "        del t_us\n"),
        ("        self._store.reveal(self._document(on))  # what a start reads\n", ""),
    ),
    *_of(
        "service/streams/stream.py", "tests/integration/test_recording.py",
        ("            if request.record:  # what lies behind", "            if True:  # what lies behind"),
    ),
    *_of(
        "pipeline/engine.py", "tests/unit/test_filtered.py",
        ("        self.graph.removed.update(zip(self.graph.removed, map(int, removed), strict=True))\n", ""),
    ),
    *_of(
        "pipeline/intake.py", "tests/unit/test_intake.py",
        ("        yield from self._answers_to(unpack_frames(frames))\n        self.frames += len(frames)",
         "        self.frames += len(frames)\n        yield from self._answers_to(unpack_frames(frames))"),
    ),
    *_of(
        "pipeline/warm.py", "tests/integration/test_warm.py",
        ('            {"id": "even", "kind": "gain"},\n', ""),
    ),
)  # fmt: skip

"""A wall clock that is set, forward or back: nothing that has a duration minds."""

import os
import time
from pathlib import Path

import httpx
import pytest

from service.access.rate_limiter import PerMinute
from service.host.ages import Ages
from tests.integration.service_process import ServiceProcess
from tests.integration.test_secrets import until

DAY = 86_400
CLIP = b"t,x,y,p\n" + b"".join(b"%d,%d,%d,1\n" % (i * 10, i % 64, i % 48) for i in range(1000))
FAKETIME = next((path for path in (Path("/usr/lib") / f"{machine}-linux-gnu/faketime/libfaketimeMT.so.1"
                                   for machine in ("x86_64", "aarch64")) if path.exists()), None)  # fmt: skip


def test_a_limit_goes_by_a_clock_that_nobody_sets():
    now = [1000.0]
    limiter = PerMinute(2, lambda: now[0])
    assert [limiter.hit("a") for _ in range(4)] == [True, True, False, False]
    assert limiter.test("b")
    assert not limiter.test("a")
    now[0] += 59
    assert not limiter.hit("a")
    now[0] += 1
    assert limiter.hit("a")


def test_a_limiter_of_many_addresses_forgets():
    now = [0.0]
    limiter = PerMinute(1, lambda: now[0])
    for i in range(25_000):
        now[0] += 0.1
        limiter.hit(str(i))
    assert len(limiter._counts) <= 10_001


@pytest.mark.parametrize("step", [-DAY, DAY, -50 * 365 * DAY])
def test_an_age_survives_a_clock_that_is_set(step):
    wall, steady = [2e9], [0.0]
    ages = Ages(lambda: wall[0], lambda: steady[0])
    assert ages.age_s("old", 2e9 - 100) == 100
    ages.begin("new")
    wall[0] += step
    for clock in (wall, steady):
        clock[0] += 10
    assert ages.age_s("old", 2e9 - 100) == 110
    assert ages.age_s("new", 2e9) == 10
    assert ages.age_s("from the future", wall[0] + 500) == 0
    assert ages.age_s("before anybody knew", 5.0) == 0


@pytest.fixture
def stepped(tmp_path, monkeypatch):
    """A service whose wall clock a file sets, as Debian's faketime does, and the file."""
    if FAKETIME is None:
        if os.environ.get("POLYCHRONY_FAKETIME") == "required":
            pytest.fail("libfaketime is not installed")
        pytest.skip("libfaketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("DONT_FAKE_MONOTONIC", "1")
    service = ServiceProcess(tmp_path / "data", requests_per_minute=40, keep_jobs_s=3600, keep_uploads_s=3600)
    monkeypatch.delenv("LD_PRELOAD")
    yield service, clock
    service.stop()


@pytest.mark.long
@pytest.mark.parametrize("step", ["-1d", "+1d"])
def test_a_step_of_a_day_neither_shuts_nobody_out_nor_removes_anything(stepped, step):
    service, clock = stepped
    with httpx.Client(base_url=service.url, timeout=120) as http:
        made = http.post(
            "/v1/jobs", files={"file": ("a.csv", CLIP)}, data={"pipeline": "denoise", "sensor": "64x48"}
        )
        assert made.status_code == 202, made.text
        job = f"/v1/jobs/{made.json()['id']}"
        assert until(lambda: http.get(job).json()["state"] == "done" or time.sleep(3), 300)
        asked = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
        upload = http.post("/v1/uploads", headers=asked).headers["location"]
        clock.write_text(step)
        time.sleep(3)  # the service looks after its jobs and uploads meanwhile
        assert http.head(upload, headers=asked).status_code == 200
        assert http.get(job).status_code == 200
        while http.get("/v1/streams").status_code != 429:
            pass
        assert until(lambda: http.get("/v1/streams").status_code == 200 or time.sleep(5), 180), (
            "429 for a minute, no longer"
        )

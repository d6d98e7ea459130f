"""Lines 5 and 6: kill -9 during streams, uploads and jobs."""

import math
import random
import sqlite3
import threading
import time

import httpx
import numpy as np
from polychrony_client import Client, Rows

from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import preset
from tests.integration.service_process import ServiceProcess
from tests.reliability.checks import check, demand, wait_for
from tests.reliability.tools import PATIENCE_S, random_events

_SENSOR = Sensor(width=64, height=48)


@check(5, "kill -9 of the server during lossless streams",
       "no acknowledged frame lost, results equal an undisturbed run, serving again within 5 s")  # fmt: skip
def streams(scale, folder):
    kills, chance = scale.of(2, 50, 50), random.Random(5)
    service = ServiceProcess(folder / "data", snapshot_bytes=200_000)
    oracles = [Engine(Graph(preset("motion"), _SENSOR)) for _ in range(2)]
    got, down = {0: [], 1: []}, []
    stop = threading.Event()
    clients = [Client(service.url, patience_s=600) for _ in range(2)]
    try:
        opened = [client.stream("motion", sensor=(64, 48)) for client in clients]

        def read(i):
            with Client(service.url, patience_s=600) as other:
                rows = other.results(opened[i].id, "motion", start=True)
                got[i].extend((one.first_row, len(one)) for one in rows if isinstance(one, Rows))

        def feed(i):
            number = 0
            while not stop.is_set():
                events = random_events(
                    4000, seed=10 * number + i, start_us=number * 20_000, per_us=0.2, width=64, height=48
                )
                opened[i].send(*events)
                oracles[i].feed(events)
                number += 1
                time.sleep(0.01)

        threads = [threading.Thread(target=one, args=(i,)) for i in range(2) for one in (read, feed)]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.6))
            service.kill()
            started = time.monotonic()
            service.start()
            down.append(time.monotonic() - started)
        stop.set()
        for thread in threads[1::2]:
            thread.join(600)
        for i, stream in enumerate(opened):
            final = stream.end()
            oracles[i].heartbeat(stream._out.newest_us)
            oracles[i].end()
            demand(final["digests"] == oracles[i].digests(), "results differ from an undisturbed run")
        for thread in threads[::2]:
            thread.join(600)
        for i in range(2):
            starts = np.cumsum([0, *(n for _, n in got[i])])
            demand(
                [first for first, _ in got[i]] == starts[:-1].tolist(),
                "a subscriber missed rows, or got some twice",
            )
            demand(int(starts[-1]) == oracles[i].rows["motion"], "a subscriber did not get all rows")
    finally:
        stop.set()
        service.stop()
        for client in clients:
            client.close()
    demand(max(down) < scale.of(math.inf, 5, 5), f"serving again only after {max(down):.1f} s")
    events = sum(oracle.events for oracle in oracles)
    return f"{kills} kills, {events:,} events, {sum(o.rows['motion'] for o in oracles):,} rows; serving again after {np.median(down):.1f} s, at most {max(down):.1f}"


@check(6, "kill -9 during uploads and jobs",
       "every job done, none twice visible, `integrity_check` ok, no partial artifact visible", timed=False)  # fmt: skip
def jobs(scale, folder):
    many, chance = scale.of(4, 200, 200), random.Random(6)
    kills = scale.of(1, 12, 50)
    t, x, y, p = random_events(300, width=64, height=48)
    content = "t,x,y,p\n" + "".join(f"{a},{b},{c},{int(d)}\n" for a, b, c, d in zip(t, x, y, p, strict=True))
    (folder / "small.csv").write_text(content)
    service = ServiceProcess(
        folder / "data", parallel_jobs=2, max_queued_jobs=1000, requests_per_minute=10**6, job_attempts=100
    )
    partial, seen, stop = [], {}, threading.Event()

    def submit():
        """The same key until it was answered: what was accepted is one job."""
        with Client(service.url, patience_s=600) as client:
            for i in range(many):
                while not stop.is_set():
                    try:
                        job = client.submit(folder / "small.csv", "denoise", key=f"job {i}", sensor="64x48")
                        seen[i] = job.id
                        break
                    except Exception:
                        time.sleep(0.2)

    def watch():
        """Artifacts of a job that is done are whole, whenever one looks."""
        with httpx.Client(base_url=service.url, timeout=10) as http:
            while not stop.is_set():
                try:
                    done = http.get("/v1/jobs", params={"state": "done", "limit": 200}).json()["jobs"]
                    for job in chance.sample(done, min(2, len(done))):
                        for one in job["artifacts"]:
                            answer = http.get(one["url"])
                            if answer.status_code != 200 or len(answer.content) != one["bytes"]:
                                partial.append((job["id"], one["name"], answer.status_code))
                except (httpx.TransportError, ValueError, KeyError):
                    pass
                time.sleep(0.3)

    threads = [threading.Thread(target=one) for one in (submit, watch)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(chance.uniform(0.3, 6 if many > 10 else 1))
            service.kill()
            service.start()
        threads[0].join(many * 5 + 600)

        def all_done():
            counts = httpx.get(f"{service.url}/metrics", timeout=PATIENCE_S).text
            return f'jobs{{what="done"}} {float(many)}' in counts

        wait_for(all_done, many * 6 + 600, "jobs are not all done")
        listed, after = [], None
        while True:
            page = httpx.get(
                f"{service.url}/v1/jobs",
                params={"limit": 200, **({"after": after} if after else {})},
                timeout=PATIENCE_S,
            ).json()
            listed += page["jobs"]
            if (after := page["next"]) is None:
                break
    finally:
        stop.set()
        threads[1].join(PATIENCE_S)
        service.stop()
    with sqlite3.connect(folder / "data" / "jobs.sqlite") as db:
        [(verdict,)] = db.execute("PRAGMA integrity_check").fetchall()
    demand(verdict == "ok", f"integrity_check: {verdict}")
    demand(len(listed) == many == len({job["id"] for job in listed}), f"{len(listed)} jobs of {many} sent")
    demand({job["state"] for job in listed} == {"done"}, f"{ {job['state'] for job in listed} }")
    demand(set(seen.values()) == {job["id"] for job in listed}, "a job that was accepted is not there")
    demand(not partial, f"partial artifacts: {partial[:3]}")
    digests = {
        str([(one["name"], one["sha256"]) for one in job["artifacts"] if one["name"].endswith(".parquet")])
        for job in listed
    }
    demand(len(digests) == 1, "the same input gave different artifacts")
    again = sum(job["attempts"] > 1 for job in listed)
    return f"{many} jobs done through {kills} kills, {again} of them begun more than once"

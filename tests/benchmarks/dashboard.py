"""``python -m tests.benchmarks.dashboard [--write] [--minutes N]``: how many pictures a second the dashboard draws.

In Chromium with software GL, beside the service and a generator, on whatever cores there are. Lag is how far the
picture is behind the event that was sent last; the longest pause is between two pictures.
"""

import argparse
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import sync_playwright
from polychrony_client import Client

from tests.browser.conftest import ARGUMENTS
from tests.integration.service_process import ServiceProcess
from tests.reliability.tools import random_events

PAGE = Path(__file__).parents[2] / "docs" / "dashboard.md"
SENSOR, SLICE_US = (346, 260), 10_000
PASSES_ALL = {
    "stages": [{"id": "all", "kind": "crop", "x": 0, "y": 0, "width": 346, "height": 260}],
    "outputs": ["all"],
}
RATES = 0.1e6, 1e6, 5e6
START, END = "<!-- figures -->", "<!-- end of figures -->"

GAPS = """() => {
  window.gaps = []; let last = performance.now();
  const look = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


class Sender:
    """Sends events at a rate, in slices of 10 ms."""

    def __init__(self, url, rate):
        self._client = Client(url)
        self.stream = self._client.stream(PASSES_ALL, sensor=SENSOR, policy="realtime", max_latency_ms=1000)
        self._parts = [self._slice(rate, i) for i in range(20)]
        self.newest_us, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _slice(self, rate, i):
        n = max(1, int(rate * SLICE_US * 1e-6))
        t, x, y, p = random_events(n, i, width=SENSOR[0], height=SENSOR[1], per_us=n / SLICE_US)
        return np.minimum(t - t[0], SLICE_US - 1), x, y, p

    def _run(self):
        started, k = time.monotonic(), 0
        while not self._over.is_set():
            t, x, y, p = self._parts[k % len(self._parts)]
            self.stream.send(t + k * SLICE_US, x, y, p)
            self.stream.heartbeat((k + 1) * SLICE_US)
            k += 1
            self.newest_us = k * SLICE_US
            if (wait := started + k * SLICE_US * 1e-6 - time.monotonic()) > 0:
                time.sleep(wait)

    def close(self):
        self._over.set()
        self._thread.join()
        self.stream.delete()
        self._client.close()


def drawn(page):
    return int(page.locator(".events").get_attribute("data-drawn"))


def shown_us(page):
    return float(re.search(r"([\d.]+) s", page.locator(".corner.left").inner_text())[1]) * 1e6


def measure(browser, service, rate, seconds):
    sender = Sender(service.url, rate)
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=service.url)
    page = context.new_page()
    try:
        page.goto(f"/#/live/{sender.stream.id}")
        page.locator(".events").wait_for()
        time.sleep(3)
        page.evaluate(GAPS)
        before, started, lags = drawn(page), time.monotonic(), []
        while time.monotonic() - started < seconds:
            time.sleep(0.5)
            lags.append(sender.newest_us - shown_us(page))
        took = time.monotonic() - started
        fps = (drawn(page) - before) / took
        gaps = page.evaluate("window.gaps")
        thinned = page.locator(".corner.right").inner_text() or "all"
    finally:
        context.close()
        sender.close()
    return {
        "rate": rate, "fps": fps, "lag_ms": float(np.median(lags)) * 1e-3, "p99_ms": float(np.percentile(gaps, 99)),
        "longest_ms": max(gaps[5:]), "thinned": thinned,
    }  # fmt: skip


def memory(browser, service, minutes):
    """(MiB of the page's process after warm-up and at the end, MiB of its heap likewise), at 1 Mev/s."""
    sender = Sender(service.url, 1e6)
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=service.url)
    page = context.new_page()
    marks = []
    try:
        page.goto(f"/#/live/{sender.stream.id}")
        page.locator(".events").wait_for()
        started = time.monotonic()
        while time.monotonic() - started < minutes * 60:
            time.sleep(5)
            marks.append(
                (
                    time.monotonic() - started,
                    renderer_mib(),
                    page.evaluate("performance.memory.usedJSHeapSize") / 2**20,
                )
            )
    finally:
        context.close()
        sender.close()
    late = [mark for mark in marks if mark[0] > 60]
    third = max(1, len(late) // 3)
    return [
        (float(np.mean([m[i] for m in late[:third]])), float(np.mean([m[i] for m in late[-third:]])))
        for i in (1, 2)
    ]


def renderer_mib():
    found = [
        one
        for one in psutil.process_iter(["cmdline", "memory_info"])
        if "--type=renderer" in (one.info["cmdline"] or [])
    ]
    return max((one.info["memory_info"].rss for one in found), default=0) / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="into docs/dashboard.md")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--minutes", type=float, default=5, help="of the look at memory; 0 for none")
    asked = parser.parse_args()
    lines = [
        "| events per second | pictures per second | lag, median | between pictures, 99 % | longest pause | shown |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        service = ServiceProcess(Path(folder) / "data")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*ARGUMENTS, "--enable-precise-memory-info"]
        )
        try:
            for rate in RATES:
                found = measure(browser, service, rate, asked.seconds)
                lines.append(
                    f"| {rate / 1e6:g} M | {found['fps']:.0f} | {found['lag_ms']:.0f} ms | {found['p99_ms']:.0f} ms "
                    f"| {found['longest_ms']:.0f} ms | {found['thinned']} |"
                )
                print(lines[-1], flush=True)
            if asked.minutes:
                (rss, rss_end), (heap, heap_end) = memory(browser, service, asked.minutes)
                lines += ["", f"Memory of the page over {asked.minutes:g} minutes at 1 Mev/s, after the first minute and in the end: "
                          f"process {rss:.0f} and {rss_end:.0f} MiB, heap {heap:.1f} and {heap_end:.1f} MiB."]  # fmt: skip
                print(lines[-1], flush=True)
        finally:
            browser.close()
            service.stop()
    if asked.write:
        text = PAGE.read_text()
        head, _, rest = text.partition(START)
        PAGE.write_text(head + START + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()

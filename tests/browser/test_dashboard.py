"""The page in a real browser, against the real service."""

import re
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from polychrony_client import Client

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def dom(url, profile):
    """The page after five seconds of its life, and what it wrote to the console."""
    result = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr",
         "--timeout=6000", "--virtual-time-budget=5000", "--dump-dom", url],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    complaints = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, complaints


def test_the_page_shows_a_live_stream(service, tmp_path):
    stop = threading.Event()
    client = Client(service.url)
    stream = client.stream("view", sensor=(96, 64))

    def play():
        rng, t = np.random.default_rng(0), 0
        while not stop.is_set():
            n = 400
            since = np.sort(rng.integers(0, 5000, n))
            stream.send(t + since, rng.integers(0, 96, n), rng.integers(0, 64, n), rng.random(n) < 0.5)
            t += 5000
            time.sleep(0.01)

    sender = threading.Thread(target=play)
    sender.start()
    try:
        page, complaints = dom(f"{service.url}/", tmp_path)
    finally:
        stop.set()
        sender.join()
        stream.delete()
        client.close()
    assert complaints == []
    assert stream.id in page
    assert 'aria-pressed="true"' in page
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]*)</dd>", page))
    assert figures["state"] == "open"
    assert int(figures["events"].replace(",", "")) > 0
    assert figures["dropped"] == "0"
    assert re.fullmatch(r"[\d.]+ s", figures["stream time"])


def test_without_a_stream_the_page_says_what_to_do(tmp_path, service):
    with Client(service.url) as client:
        for stream in client.request("GET", "/v1/streams?limit=200").json()["streams"]:
            client.request("DELETE", f"/v1/streams/{stream['id']}")
    page, complaints = dom(f"{service.url}/", tmp_path)
    assert complaints == []
    assert re.search(r'<p id="no-streams">No stream is open', page)

"""A real browser: the system's Chromium, without a window, with WebGL in software."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.integration.service_process import ServiceProcess

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
SHOTS = Path(__file__).parents[2] / "out" / "screenshots"
expect.set_options(timeout=120_000)  # whatever else the machine does
ARGUMENTS = [
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    # Not for the whole session: Playwright keeps an event loop running, beside which no other can.
    if CHROMIUM is None:
        if os.environ.get("POLYCHRONY_BROWSER") == "required":
            pytest.fail("no Chromium on the path")
        pytest.skip("no Chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    service = ServiceProcess(folder / "data", models=folder / "models", pipelines=folder / "pipelines")
    yield service
    service.stop()


class Watched:
    """A page, and all that it asked for and complained of."""

    def __init__(self, page, origin):
        self.page, self.foreign, self.complaints = page, [], []
        page.on(
            "request",
            lambda request: self.foreign.append(request.url) if not self._own(request.url, origin) else None,
        )
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @staticmethod
    def _own(url, origin):
        return url.startswith((origin, origin.replace("http", "ws", 1), "data:", "blob:"))


@pytest.fixture
def page(chromium, served):
    """A page that may not complain, nor ask any other host."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 860}, base_url=served.url, color_scheme="dark"
    )
    one = context.new_page()
    one.set_default_timeout(120_000)
    watched = Watched(one, served.url)
    yield one
    context.close()
    assert watched.foreign == []
    assert [text for text in watched.complaints if "status of 4" not in text] == []


@pytest.fixture(scope="session")
def shoot():
    SHOTS.mkdir(parents=True, exist_ok=True)

    def shot(page, name):
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return shot

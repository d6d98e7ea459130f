"""Kernels are compiled before the service is ready, whatever a pipeline then asks for."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
import numpy as np
from kernels._jit import KERNELS
from pipeline import warm
from pipeline import testing
from tests.contract.examples import EXAMPLES, SENSOR

def known():
    return {(k.py_func.__module__, k.py_func.__name__, str(one)) for k in KERNELS for one in k.signatures}

warm.warm()
rng, n, late = np.random.default_rng(1), 4000, {}
t = np.cumsum(rng.integers(0, 20, n))
x, y = (rng.integers(0, size, n).astype(np.uint16) for size in SENSOR)
for kind, examples in EXAMPLES.items():
    for stages in examples:
        before = known()
        testing.whole(stages, (t, x, y, rng.random(n) < 0.5))
        late.setdefault(kind, []).extend(sorted(".".join(one[:2]) for one in known() - before))
print(json.dumps(late))
"""


def test_no_stage_of_any_kind_compiles_a_kernel_after_the_service_is_ready(tmp_path):
    """Counted by signatures: what comes from the disk's cache here would be compiled elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}"},
    )  # fmt: skip
    late = json.loads(done.stdout)
    assert len(late) > 15
    assert {kind: names for kind, names in late.items() if names} == {}

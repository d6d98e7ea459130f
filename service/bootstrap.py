"""The ``polychrony`` command's first step: settles what must be settled before numba is imported."""

from __future__ import annotations

from service.host import shipped_kernels


def main() -> None:
    """Be ``polychrony``."""
    shipped_kernels.use()
    from service.cli import main as command  # noqa: PLC0415 - numba reads its environment when it is imported

    command()

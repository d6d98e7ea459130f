"""What a check of the service's reliability is, and the list of them all."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Scale(enum.Enum):
    """How long a check may take: in the test suite, in half an hour with all others, or as long as it is held to.

    The test suite holds nothing to a time: it may run on a machine that is busy with something else.
    """

    SHORT, BOUNDED, FULL = "short", "bounded", "full"

    def of(self, short, bounded, full):
        return {Scale.SHORT: short, Scale.BOUNDED: bounded, Scale.FULL: full}[self]


class CannotRun(Exception):
    """Something that this machine does not let a check do; no failure, and no pass."""


class Failed(AssertionError):
    """What was demanded does not hold."""


@dataclass(frozen=True)
class Check:
    """One line.

    Attributes:
        number: of the line.
        title: what is done.
        demand: what must hold.
        run: does it: takes a scale and a folder, and gives the figure; raises where it does not hold.
        timed: whether it looks at the clock, or at what the machine is busy with, so that nothing may go on beside it.
    """

    number: int
    title: str
    demand: str
    run: Callable[[Scale, Path], str]
    timed: bool = True


CHECKS: dict[int, Check] = {}


def check(number, title, demand, timed=True):
    """Put a function on the list."""

    def put(run):
        CHECKS[number] = Check(number, title, demand, run, timed)
        return run

    return put


def demand(condition, what):
    if not condition:
        raise Failed(what)


def wait_for(condition, seconds=120, what="it does not happen"):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} within {seconds} s")
        time.sleep(0.02)
    return found


def every():
    """All checks, in order."""
    from tests.reliability import attacks, conformance, disk, ending, kills, load, selected, subscribers  # noqa: F401

    return [CHECKS[number] for number in sorted(CHECKS)]

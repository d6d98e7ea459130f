"""A child is gone once it was ended, whatever it had written and nobody had read."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from service.host.child import Child, Limits
from service.settings import Settings

LEAVES = """
import os, subprocess, sys
os.setpgid(0, 0)
subprocess.Popen(["sleep", "600"], stdout=None if {inherit} else subprocess.DEVNULL)
os.write(2, b"last words\\n")
sys.exit(3)
"""
FORKS = """
import os, time
os.setpgid(0, 0)
os.write(1, b"a line\\n")
if os.fork() == 0:
    time.sleep(600)
os._exit(0)
"""
FLOOD = "import os\nwhile True: os.write(1, b'x' * 65536)"
COMPLAIN = "import os, sys\nos.write(2, {!r})\nsys.exit(3)"


async def started(code, limit=65_536):
    pipe = asyncio.subprocess.PIPE
    return Child(
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=pipe, stderr=pipe, limit=limit
        )
    )


def test_one_whose_pipe_is_full_is_ended():
    async def work():
        child = await started(FLOOD)
        await asyncio.sleep(0.5)  # the pipe is full by now, and is not looked at any more
        before = time.monotonic()
        async with asyncio.timeout(8):
            await child.end()
            assert await child.wait() == -9
        return time.monotonic() - before

    assert asyncio.run(work()) < 8


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"one\ntwo\n", "two"),
        (b"one\ntwo\n\n \n", "two"),
        (b"polychrony: why", "why"),
        ("a\u2028b\n".encode(), "a\u2028b"),
        (b"", ""),
        (b"first " + b"x" * 100_000, "first " + "x" * 1994),
        (b"first " + b"x" * 100_000 + b"\nlast\n", "last"),
    ],
)
def test_its_last_line_is_why(written, said):
    async def work():
        child = await started(COMPLAIN.format(written))
        await child.stdout.read()
        return await child.last_words(), await child.wait()

    assert asyncio.run(work()) == (said, 3)


@pytest.mark.parametrize("inherit", [False, True], ids=["stderr", "both"])
def test_one_that_leaves_a_process_behind_is_over_all_the_same(inherit):
    async def work():
        child = await started(LEAVES.format(inherit=inherit))
        async with asyncio.timeout(30):
            said, status = await child.last_words(), await child.wait()
        os.killpg(child._process.pid, signal.SIGKILL)
        await child.end()
        return said, status

    assert asyncio.run(work()) == ("last words", 3)


@pytest.mark.parametrize("read", ["lines", "rest"])
def test_one_that_forked_is_read_to_its_own_end(read):
    """What it forked holds its stdout, too."""

    async def work():
        child = await started(FORKS)
        async with asyncio.timeout(30):
            if read == "rest":
                found = await child.rest()
            else:
                found = b""
                while line := await child.line():
                    found += line
            status = await child.wait()
        os.killpg(child._process.pid, signal.SIGKILL)
        await child.end()
        return found, status

    assert asyncio.run(work()) == (b"" if read == "rest" else b"a line\n", 0)


def test_a_reader_that_is_cancelled_leaves_it_to_be_ended():
    """As a job's worker is when the service stops: that it was cancelled must not be lost."""

    async def work():
        child = await started("import time\ntime.sleep(600)")

        async def follow():
            try:
                while await child.line():
                    pass
            finally:
                await child.end()

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.3)
        following.cancel()
        await asyncio.wait({following}, timeout=20)
        return following.cancelled(), await child.wait()

    assert asyncio.run(work()) == (True, -9)


@pytest.mark.parametrize("nice", [0, 10])
def test_what_somebody_waits_for_gives_way_to_nobody(nice):
    """On a busy machine what gives way gets a tenth: a camera would lose events, an import take minutes."""
    look = (
        "import os, sys, types\nfrom service.host import child_main\n"
        "sys.modules['looks'] = types.SimpleNamespace(run=lambda: os.write(2, b'%d' % os.nice(0)))\n"
        "child_main.WORKS['job'] = 'looks'\n"
        f"sys.argv[1:] = [str(2**34), '60', str(2**30), 'file', '{nice}', 'job']\nchild_main.main()"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, check=True)
    assert int(found.stderr) == os.nice(0) + nice
    assert (Limits(1, 1).nice, Settings.model_fields["job_nice"].default) == (0, 10)

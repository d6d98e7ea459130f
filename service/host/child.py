"""Work in a process of its own, with limits: jobs, imports of models, live sources."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.host.child_main import PARENT

_MOST_SAID = 2000
"""Characters of the last line that are kept."""
_LOOK_S = 0.5
"""So often it is looked whether a child has ended whose pipes somebody else holds."""
_GOES_S = 10
"""How long a child that was killed is waited for: somebody else may hold its pipes."""


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: address space.
        file_bytes: the largest file that it writes.
        cpu_seconds: processor time; 0 for as much as it takes.
        protocols: what FFmpeg may open: a playlist in disguise must not reach the network.
        nice: how far it leaves the processor to others, 0 to 19; where somebody waits for it, not at all.
    """

    memory_bytes: int
    file_bytes: int
    cpu_seconds: int = 0
    protocols: str = "file"
    nice: int = 0


class Child:
    """A child that was started; :func:`start` makes it.

    Attributes:
        stdin: None unless it takes input.
        stdout: what it writes.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("a child was started without pipes")
        self._process = process
        self.stdin, self.stdout = process.stdin, process.stdout
        self._last_line = _LastLine()
        # Read from the start: a child must not wait for room to complain in.
        self._reading = asyncio.create_task(self._last_line.read(process.stderr))

    async def line(self) -> bytes:
        """The next line of what it writes; empty at the end. ValueError: it is longer than may wait."""
        return await self._read(self.stdout.readline())

    async def rest(self) -> bytes:
        """All that it writes from here on."""
        return await self._read(self.stdout.read())

    async def _read(self, what: Coroutine[Any, Any, bytes]) -> bytes:
        reading = asyncio.ensure_future(what)
        try:
            await self._unless_it_ends(reading)
            return reading.result() if reading.done() else b""
        finally:
            # Until it has let go: nobody else may read meanwhile, and `end` does.
            reading.cancel()
            await asyncio.wait({reading})

    async def wait(self) -> int:
        """Its status, once it has ended."""
        waiting = asyncio.ensure_future(self._process.wait())
        try:
            await self._unless_it_ends(waiting)
        finally:
            waiting.cancel()
        return waiting.result() if self._process.returncode is None else self._process.returncode

    async def last_words(self) -> str:
        """The last line of what it wrote to stderr, once it has closed that, or has ended and others hold it open."""
        await self._unless_it_ends(self._reading)
        return self._last_line.said

    async def _unless_it_ends(self, task: asyncio.Future[Any]) -> None:
        """Wait for what comes with the end of its pipes; a process that it started may hold those for ever."""
        ended = False
        while not ended:
            ended = self._process.returncode is not None
            done, _ = await asyncio.wait({task}, timeout=_LOOK_S)
            ended = ended or bool(done)

    async def end(self) -> None:
        """End it at once, where it still runs, and let go of it."""
        self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOES_S):
                # A pipe that is full of what nobody read is not looked at, so that its end is never seen, and `wait`
                # waits for that end.
                while await self.stdout.read(2**20):
                    pass
                await self.wait()
        # What somebody else holds open would keep its descriptors for ever; there is no public way.
        self._process._transport.close()  # pyright: ignore
        await asyncio.wait({self._reading}, timeout=_LOOK_S)

    def kill(self) -> None:
        """End it at once, where it still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


async def start(
    work: str, *arguments: str, limits: Limits, takes_input: bool = False, most_bytes: int = 2**16,
    environment: dict[str, str] | None = None,
) -> Child:  # fmt: skip
    """Start a child.

    Args:
        work: a name of :data:`service.host.child_main.WORKS`.
        arguments: of its ``run``.
        limits: what it may use.
        takes_input: whether its stdin is a pipe.
        most_bytes: of its stdout that wait here to be read; also the longest line.
        environment: variables beside those of this process.
    """
    pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.host.child_main",
        str(limits.memory_bytes), str(limits.cpu_seconds), str(limits.file_bytes), limits.protocols, str(limits.nice),
        work, *arguments,
        stdin=pipe if takes_input else none, stdout=pipe, stderr=pipe, limit=most_bytes,
        # It ends where this process has ended already, which is no 1 in a container.
        env={**os.environ, PARENT: str(os.getpid()), **(environment or {})},
    )  # fmt: skip
    return Child(process)


class _LastLine:
    """The last line of what a stream has brought so far."""

    def __init__(self) -> None:
        self._rest, self._last = b"", b""

    async def read(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(65_536):
            *whole, rest = (self._rest + data).split(b"\n")
            self._last = next((line for line in reversed(whole) if line.strip()), self._last)[
                : 4 * _MOST_SAID
            ]
            self._rest = rest[: 4 * _MOST_SAID]  # of a line without end the beginning is kept

    @property
    def said(self) -> str:
        said = (self._rest if self._rest.strip() else self._last).decode(errors="replace").strip()
        return said.removeprefix("polychrony: ")[:_MOST_SAID]

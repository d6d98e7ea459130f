"""What stages on networks share: events cut into the steps of an encoding, as time goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kernels.networks import encoding
from kernels.networks.encoding import Encoded
from pipeline import cancellation, packets
from pipeline.models.spiking import Encoding
from pipeline.packets import Events, Packet, no_events
from pipeline.stage import Arrays, ConfigMismatch, Context, check_steps

_PART_STEPS = 256
"""Steps of a network between two looks whether to go on."""


def fitting(how: Encoding | None, context: Context, model: str) -> Encoding:
    """How events become a network's input.

    Raises:
        ConfigMismatch: it does not say, or looks at fewer pixels than there are.
    """
    if how is None:
        raise ConfigMismatch("model", f"{model} does not say how events become its input")
    if how.step_us:
        check_steps("model", how.step_us)
    if context.upstream.width > how.width or context.upstream.height > how.height:
        raise ConfigMismatch(
            "model",
            f"{model} looks at {how.width}x{how.height} pixels, and the events come from "
            f"{context.upstream.width}x{context.upstream.height}; crop or downsample them",
        )
    return how


def in_parts(
    columns: Events, encoder: encoding.Encoder, step_us: int, until: int, most: int,
    encode: Callable[[Events, int], Encoded],
) -> Iterator[Encoded]:  # fmt: skip
    """Steps of time that end before step ``until``, in calls of ``encode`` that complete ``most`` at most.

    A silence is many steps: between two calls the work may be broken off (:mod:`pipeline.cancellation`).

    Args:
        columns: events, in order of time.
        encoder: what ``encode`` keeps.
        step_us: length of a step.
        until: steps before this one are complete.
        most: steps of a call.
        encode: takes events, and the step up to which it completes.
    """
    while True:
        t, opened = columns[0], int(encoder.open[0])
        first = opened if opened != encoding.NO_STEP else int(t[0]) // step_us if len(t) else until
        target = min(until, first + most)
        n = len(t) if target >= until else int(np.searchsorted(t, target * step_us))
        yield encode(packets.cut(columns, 0, n), target)
        if target >= until:
            return
        columns = packets.cut(columns, n, len(t))
        cancellation.checkpoint()


class Stepper:
    """The step that is open, and how far time has come."""

    def __init__(self, how: Encoding) -> None:
        self._how = how
        self._encoder = encoding.new_encoder(how.width * how.height * how.polarities)
        self._times = np.zeros(2, np.int64)  # of the last event, and of the watermark

    def closed(self, packet: Packet) -> tuple[Iterator[Encoded], int]:
        """(the steps that this packet completes, part by part; no later step ends before this)."""
        if len(packet):
            self._times[0] = packet.columns["t"][-1]
        self._times[1] = max(self._times[1], packet.watermark_us)
        step_us = self._how.step_us
        if not step_us:
            return self._encoded(packet, 0), packet.watermark_us
        until = packet.watermark_us // step_us
        return self._encoded(packet, until), (until + 1) * step_us

    def rest(self) -> tuple[Iterator[Encoded], int]:
        """(what is still open at the end, how far time has come): steps up to the last event, or a part of one."""
        how, now = self._how, int(self._times.max())
        t, x, y, p = no_events()
        nothing = Packet("events", {"t": t, "x": x, "y": y, "p": p}, 0)
        if how.step_us:
            opened = int(self._encoder.open[0])
            last = max(opened, int(self._times[0]) // how.step_us + 1) if opened != encoding.NO_STEP else 0
            return self._encoded(nothing, last), now
        held = int(self._encoder.open[1])
        if held == 0:
            return self._encoded(nothing, 0), now
        spikes = encoding.close(self._encoder, how.most)
        return iter([Encoded(spikes, np.array([now], np.int64), np.array([held], np.int64))]), now

    def forget(self) -> None:
        """Nothing seen yet."""
        encoding.forget(self._encoder)
        self._times[:] = 0

    def snapshot(self) -> Arrays:
        """All state, as arrays that are not changed later."""
        arrays = {f"step_{name}": array.copy() for name, array in self._encoder._asdict().items()}
        return {**arrays, "step_times": self._times.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a snapshot."""
        for name, array in self._encoder._asdict().items():
            array[:] = arrays[f"step_{name}"]
        self._times[:] = arrays["step_times"]

    def _encoded(self, packet: Packet, until: int) -> Iterator[Encoded]:
        c, how = packet.columns, self._how
        columns = c["t"], c["x"], c["y"], c["p"]
        if how.step_us:
            return in_parts(columns, self._encoder, how.step_us, until, _PART_STEPS, self._by_time)
        return self._by_count(columns)

    def _by_time(self, columns: Events, until: int) -> Encoded:
        how = self._how
        return encoding.by_time(
            *columns, self._encoder, how.width, how.polarities, how.most, how.step_us or 1, until
        )

    def _by_count(self, columns: Events) -> Iterator[Encoded]:
        how, n = self._how, len(columns[0])
        at_once = max(1, _PART_STEPS * (how.step_events or 1))
        for start in range(0, max(n, 1), at_once):
            part = packets.cut(columns, start, min(n, start + at_once))
            yield encoding.by_count(
                *part, self._encoder, how.width, how.polarities, how.most, how.step_events or 1
            )
            cancellation.checkpoint()

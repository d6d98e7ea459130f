"""What stages on networks share: events cut into the steps of an encoding, as time goes on."""

from __future__ import annotations

import numpy as np

from kernels import encoding
from kernels.encoding import Encoded
from pipeline.models.spiking import Encoding
from pipeline.packets import Packet, no_events
from pipeline.stage import Arrays, Context, Misfit


def fitting(how: Encoding | None, context: Context, model: str) -> Encoding:
    """How events become a network's input.

    Raises:
        Misfit: it does not say, or looks at fewer pixels than there are.
    """
    if how is None:
        raise Misfit("model", f"{model} does not say how events become its input")
    if context.upstream.width > how.width or context.upstream.height > how.height:
        raise Misfit(
            "model",
            f"{model} looks at {how.width}x{how.height} pixels, and the events come from "
            f"{context.upstream.width}x{context.upstream.height}; crop or downsample them",
        )
    return how


class Stepper:
    """The step that is open, and how far time has come."""

    def __init__(self, how: Encoding) -> None:
        self._how = how
        self._encoder = encoding.new_encoder(how.width * how.height * how.polarities)
        self._times = np.zeros(2, np.int64)  # of the last event, and of the watermark

    def closed(self, packet: Packet) -> tuple[Encoded, int]:
        """(the steps that this packet completes, no later step ends before this)."""
        if len(packet):
            self._times[0] = packet.columns["t"][-1]
        self._times[1] = max(self._times[1], packet.watermark_us)
        step_us = self._how.step_us
        if not step_us:
            return self._encoded(packet, 0), packet.watermark_us
        until = packet.watermark_us // step_us
        return self._encoded(packet, until), (until + 1) * step_us

    def rest(self) -> tuple[Encoded, int]:
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
        return Encoded(spikes, np.array([now], np.int64), np.array([held], np.int64)), now

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

    def _encoded(self, packet: Packet, until: int) -> Encoded:
        c, how = packet.columns, self._how
        columns = c["t"], c["x"], c["y"], c["p"]
        if how.step_us:
            return encoding.by_time(
                *columns, self._encoder, how.width, how.polarities, how.most, how.step_us, until
            )
        return encoding.by_count(
            *columns, self._encoder, how.width, how.polarities, how.most, how.step_events or 1
        )

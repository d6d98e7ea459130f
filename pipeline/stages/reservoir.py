"""``reservoir``: random neurons that hear each other and adjust themselves; their spike counts are features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.networks import encoding, reservoir
from kernels.networks.encoding import Encoded
from kernels.networks.reservoir import Rules
from pipeline.models.bundle import MotifLabel
from pipeline.packets import Columns, Events, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig, check_steps
from pipeline.stages.stepping import in_parts

_PART_WORK = 2**20
"""Neurons times steps between two looks whether to go on."""


class Reservoir(StageConfig):
    """A row a window: how many spikes each neuron sent in it; t is the window's end.

    The synapses are random, and go on adjusting themselves on the stream: inhibition by each neuron's rate, and,
    with ``astrocyte``, excitation by pairs of spikes; the rules: :mod:`kernels.networks.reservoir`. A linear
    readout of these counts classifies; ``polychrony train classifier --method reservoir`` makes one.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "evidence"}

    kind: Literal["reservoir"] = "reservoir"
    neurons: int = Field(default=200, ge=5, le=4096)
    seed: int = Field(default=1, ge=0, lt=2**31)
    step_us: int = Field(default=5000, ge=1, le=10_000_000, description="length of a step")
    window_steps: int = Field(default=20, ge=1, le=100_000, description="steps of a window")
    target: float = Field(default=0.05, gt=0, lt=1, description="spikes a step that each neuron aims at")
    balance: float = Field(default=0.01, ge=0, le=1, description="how fast inhibition moves; 0: not at all")
    astrocyte: bool = Field(default=False, description="whether excitation learns")
    gain: float = Field(default=4.0, gt=0, le=1000, description="of the input")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        inputs = context.upstream.width * context.upstream.height * 2
        return 4 * inputs * self.neurons + 48 * self.neurons**2 + 5 * inputs

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        check_steps("step_us", self.step_us)
        inputs = context.upstream.width * context.upstream.height * 2
        if inputs * self.neurons > 2**28:
            raise ConfigMismatch(
                "neurons", f"{self.neurons} neurons at {inputs} inputs are more than {2**28} synapses"
            )
        return _ReservoirStage(self, context)


class _ReservoirStage(Stage):
    def __init__(self, config: Reservoir, context: Context) -> None:
        width, height = context.upstream.width, context.upstream.height
        labels = tuple(MotifLabel(name=f"neuron {i}") for i in range(config.neurons))
        super().__init__(main=Port("evidence", width, height, labels))
        self._config, self._width = config, width
        self._rules = Rules(
            target=config.target, eta=config.balance, a_plus=1e-3 if config.astrocyte else 0.0
        )
        inputs = width * height * 2
        self._weights = reservoir.new_weights(inputs, config.neurons, config.seed, gain=config.gain)
        self._first = self._weights.own.copy()
        self._state = reservoir.new_state(config.neurons, config.target)
        self._encoder = encoding.new_encoder(inputs)
        self._counts = np.zeros(config.neurons, np.float32)
        # Steps in the window, last event, whether any event fell into the window.
        self._place = np.zeros(3, np.int64)

    def work(self, packet: Packet) -> list[Packet]:
        if len(packet):
            self._place[1] = packet.columns["t"][-1]
        until = packet.watermark_us // self._config.step_us
        return self._go(self._encode(packet, until), (until + 1) * self._config.step_us)

    def flush(self) -> list[Packet]:
        opened = int(self._encoder.open[0])
        if opened == encoding.NO_STEP:
            return []
        empty = np.empty(0, np.int64)
        none = empty.astype(np.uint16)
        columns = {"t": empty, "x": none, "y": none, "p": none.astype(np.bool_)}
        last = max(opened, int(self._place[1]) // self._config.step_us + 1)
        return self._go(self._encode(Packet("events", columns, 0), last), (last + 1) * self._config.step_us)

    def reset(self, packet: Packet) -> None:
        self._weights.own[:] = self._first
        self._state = reservoir.new_state(self._config.neurons, self._config.target)
        encoding.forget(self._encoder)
        self._counts[:] = 0
        self._place[:] = 0

    def snapshot(self) -> Arrays:
        encoder = {f"encoder_{name}": array.copy() for name, array in self._encoder._asdict().items()}
        state = {f"state_{name}": array.copy() for name, array in self._state._asdict().items()}
        return {
            **encoder, **state, "own": self._weights.own.copy(), "counts": self._counts.copy(),
            "place": self._place.copy(),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        for name, array in self._encoder._asdict().items():
            array[:] = arrays[f"encoder_{name}"]
        for name, array in self._state._asdict().items():
            array[:] = arrays[f"state_{name}"]
        self._weights.own[:], self._counts[:] = arrays["own"], arrays["counts"]
        self._place[:] = arrays["place"]

    def _encode(self, packet: Packet, until: int) -> Iterator[Encoded]:
        c, step_us = packet.columns, self._config.step_us

        def encode(columns: Events, until: int) -> Encoded:
            return encoding.by_time(*columns, self._encoder, self._width, 2, 1, step_us, until)

        most = max(1, _PART_WORK // self._config.neurons)
        return in_parts((c["t"], c["x"], c["y"], c["p"]), self._encoder, step_us, until, most, encode)

    def _go(self, parts: Iterable[Encoded], watermark_us: int) -> list[Packet]:
        times: list[int] = []
        counts: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        for steps in parts:
            sent = reservoir.advance(steps.spikes, self._weights, self._state, self._rules)
            for k in range(sent.steps):
                self._counts[sent.index[sent.offsets[k] : sent.offsets[k + 1]]] += 1
                self._place[0] += 1
                self._place[2] |= steps.events[k] > 0
                if self._place[0] == self._config.window_steps:
                    if self._place[2]:
                        times.append(int(steps.end[k]))
                        counts.append(self._counts.copy())
                    self._counts[:] = 0
                    self._place[0] = self._place[2] = 0
        zero = np.zeros(len(times), np.uint16)
        columns: Columns = {
            "t": np.array(times, np.int64), "x": zero, "y": zero, "flags": zero,
            "evidence": np.array(counts, np.float32).reshape(-1, self._config.neurons),
        }  # fmt: skip
        return [Packet("evidence", columns, watermark_us)]

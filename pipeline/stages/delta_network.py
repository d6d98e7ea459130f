"""``delta_network``: an ordinary network that computes only what changed since the step before."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.columns import F32
from kernels.networks import delta
from kernels.networks.encoding import Encoded
from pipeline import cancellation
from pipeline.models import confidence, cost, registry
from pipeline.models.bundle import ModelError
from pipeline.models.delta import DeltaNetwork, DeltaRun
from pipeline.models.spiking import Encoding
from pipeline.packets import Columns, Packet, decisions
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.stages.stepping import Stepper, fitting


class DeltaNetworkStage(StageConfig):
    """A decision after every n-th step; port ``evidence``: the answers of each step.

    What comes in is the number of events per pixel and polarity over the last ``window_steps`` steps, or, as a
    voxel grid, each of those steps in channels of its own: (oldest OFF, oldest ON, ... newest ON). The answers
    equal those of the whole quantised network evaluated anew in every step, bit for bit; see
    :mod:`kernels.networks.delta`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "decisions", "evidence": "evidence"}

    kind: Literal["delta_network"] = "delta_network"
    model: str = Field(description="name of a Delta network")
    representation: Literal["histogram", "voxel_grid"] = "histogram"
    window_steps: int = Field(default=1, ge=1, le=4096, description="steps that the input is about")
    every_steps: int = Field(default=1, ge=1, le=1_000_000, description="steps from one decision to the next")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        card = self._network().card
        inputs = math.prod(card.input)
        layers = sum(math.prod(layer.shape) for layer in card.layers)
        return (8 * self.window_steps + 13) * inputs + 24 * layers

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        network = self._network()
        how = fitting(network.card.encoding, context, self.model)
        if how.width * how.height * how.polarities * self.window_steps > 2**27:
            raise ConfigMismatch(
                "window_steps",
                f"{self.window_steps} steps of {how.width}x{how.height} are more than {2**27} counts",
            )
        channels = how.polarities * (self.window_steps if self.representation == "voxel_grid" else 1)
        if network.card.input != (channels, how.height, how.width):
            raise ConfigMismatch(
                "representation",
                f"gives {channels} x {how.height} x {how.width}, and {self.model} reads "
                f"{' x '.join(map(str, network.card.input))} (channels, rows, columns)",
            )
        outputs = int(np.prod(network.card.layers[-1].shape))
        if outputs != len(network.card.labels):
            raise ConfigMismatch(
                "model", f"{self.model} answers with a map of {outputs} values, not with a label"
            )
        return _DeltaStage(self, context, network, how)

    def model_digests(self) -> tuple[str, ...]:
        """See :class:`pipeline.stage.StageConfig`."""
        return (self._network().digest,)

    def _network(self) -> DeltaNetwork:
        try:
            return registry.load_delta(self.model)
        except ModelError as problem:
            raise ConfigMismatch("model", str(problem)) from problem


class _DeltaStage(Stage):
    def __init__(
        self, config: DeltaNetworkStage, context: Context, network: DeltaNetwork, how: Encoding
    ) -> None:
        port = (context.upstream.width, context.upstream.height, network.card.labels)
        super().__init__(main=Port("decisions", *port), evidence=Port("evidence", *port))
        self._config, self._wanted, self._network, self._how = config, context.wanted, network, how
        self._run = DeltaRun(network)
        inputs = how.width * how.height * how.polarities
        self._stepper = Stepper(how)
        self._past = np.zeros((config.window_steps, inputs), np.float32)
        self._events = np.zeros(config.window_steps, np.int64)
        self._levels = np.zeros(np.prod(network.card.input), np.float32)
        # Steps done, end of the last step, end of the step before it.
        self._state = np.zeros(3, np.int64)
        self._classes = len(network.card.labels)

    def work(self, packet: Packet) -> list[Packet]:
        return self._go(*self._stepper.closed(packet))

    def flush(self) -> list[Packet]:
        steps, now = self._stepper.rest()
        return self._go(steps, now + 1)

    def reset(self, packet: Packet) -> None:
        self._run.forget()
        self._stepper.forget()
        for array in (self._past, self._events, self._levels, self._state):
            array[:] = 0

    def snapshot(self) -> Arrays:
        run = {f"run/{name}": array for name, array in self._run.snapshot().items()}
        return {
            **self._stepper.snapshot(), **run, "past": self._past.copy(), "events": self._events.copy(),
            "levels": self._levels.copy(), "state": self._state.copy(),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        self._stepper.restore(arrays)
        self._run.restore({name[4:]: array for name, array in arrays.items() if name.startswith("run/")})
        self._past[:], self._events[:] = arrays["past"], arrays["events"]
        self._levels[:], self._state[:] = arrays["levels"], arrays["state"]

    def activity(self) -> dict[str, Any]:
        """See :meth:`pipeline.stage.Stage.activity`."""
        return cost.of_delta_run(self._network, self._run)

    def _go(self, parts: Iterable[Encoded], watermark_us: int) -> list[Packet]:
        """Answers after each step."""
        scores: list[F32] = []
        ends: list[int] = []
        decided: list[tuple[Any, ...]] = []
        for steps in parts:
            for k in range(len(steps.end)):
                cancellation.checkpoint()
                answers = self._step(steps, k)
                scores.append(answers)
                ends.append(int(steps.end[k]))
                if self._state[0] % self._config.every_steps == 0:
                    decided.append(self._decision(answers, steps, k))
        return self._packets(ends, scores, decided, watermark_us)

    def _step(self, steps: Encoded, k: int) -> F32:
        """The network's answers after one step: a long silence is many, which would not fit into memory at once."""
        slot, spikes = int(self._state[0]) % self._config.window_steps, steps.spikes
        a, b = spikes.offsets[k], spikes.offsets[k + 1]
        self._past[slot] = 0
        self._past[slot, spikes.index[a:b]] = spikes.value[a:b]
        self._events[slot] = steps.events[k]
        levels = self._input(slot)
        answers = self._run.advance(delta.changes(levels, self._levels))[0]
        self._levels = levels
        self._state[2] = self._state[1]
        self._state[:2] = self._state[0] + 1, steps.end[k]
        return answers

    def _decision(self, answers: F32, steps: Encoded, k: int) -> tuple[Any, ...]:
        share = confidence.certainties(answers, 1.0)
        label = int(share.argmax())
        return (
            int(steps.end[k]), self._from(steps, k), label, 0, float(share[label]), int(self._events.sum()),
            int(min(self._state[0], self._config.window_steps)),
        )  # fmt: skip

    def _input(self, slot: int) -> F32:
        """The levels of the input, newest step in ``slot``."""
        card, how = self._network.card, self._how
        if self._config.representation == "voxel_grid":
            order = (np.arange(len(self._past)) + slot + 1) % len(self._past)
            stacked = self._past[order].reshape(len(order), -1, how.polarities).transpose(1, 0, 2)
            return np.minimum(np.ascontiguousarray(stacked).reshape(-1), np.float32(card.input_top))
        return np.minimum(self._past.sum(axis=0), np.float32(card.input_top))

    def _from(self, steps: Encoded, k: int) -> int:
        """When what the input is about began; of steps of events, when the newest of them did."""
        if self._how.step_us:
            return int(steps.end[k]) - self._how.step_us * int(min(self._state[0], self._config.window_steps))
        return int(self._state[2])

    def _packets(
        self, end: Any, scores: list[F32], decided: list[tuple[Any, ...]], watermark_us: int
    ) -> list[Packet]:
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("decisions", decisions(decided), watermark_us))
        if "evidence" in self._wanted:
            zero = np.zeros(len(scores), np.uint16)
            columns: Columns = {
                "t": np.asarray(end, np.int64), "x": zero, "y": zero, "flags": zero,
                "evidence": np.array(scores, np.float32).reshape(-1, self._classes),
            }  # fmt: skip
            out.append(Packet("evidence", columns, watermark_us, port="evidence"))
        return out

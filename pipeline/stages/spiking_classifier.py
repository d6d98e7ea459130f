"""``spiking_classifier``: what a recording, or each window of a stream, is, as early as that is sure enough."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import F32, I64
from kernels.networks.encoding import Encoded
from pipeline.models import confidence, cost, registry
from pipeline.models.bundle import ModelError
from pipeline.models.spiking import Encoding, Run, SpikingNetwork, dense
from pipeline.packets import EARLY, Columns, Packet, decisions, events
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.stages.stepping import Stepper, fitting

_FAR = 2**60


class Stop(BaseModel):
    """When an answer may come before the window is over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float | None = Field(
        default=None, gt=0, le=1, description="as sure as this; default: as the model's calibration says"
    )


class SpikingClassifier(StageConfig):
    """A decision a recording or a window; port ``evidence``: the score of each class after each step.

    Port ``spikes``: what the layer ``raster`` sends, as events of a grid with one pixel a neuron: neuron n at
    x = n mod W, y = n div W, with the port's width W; t is the end of the step.

    The score S[t] of a class is its neuron's potential, how many spikes it sent, or how many steps ago it sent the
    first; its share of the confidence is softmax(S / temperature), with the temperature that the model was
    calibrated to (:mod:`pipeline.models.confidence`). A window begins with the first step that holds an event.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "decisions", "evidence": "evidence", "spikes": "events"}

    kind: Literal["spiking_classifier"] = "spiking_classifier"
    model: str = Field(description="name of a spiking network")
    decide: Literal["stream", "recording"] = Field(
        default="stream", description="window after window, or once until the stream ends or breaks off"
    )
    window_steps: int | None = Field(
        default=None, ge=1, le=1_000_000, description="steps until an answer must come; default: the model's"
    )
    stop: Stop | None = Field(
        default=None, description="{confidence: c}, {} for the model's; default: never early"
    )
    readout: Literal["potential", "spike_count", "first_spike"] | None = Field(
        default=None, description="default: potential where the last layer sends it, else spike_count"
    )
    leak: float | None = Field(
        default=None, ge=0, lt=1,
        description="of the scores, what stays after a decision, while the neurons go on; default: all start anew",
    )  # fmt: skip

    raster: str | None = Field(
        default=None,
        description="layer whose spikes port `spikes` sends; default: the first that sends spikes",
    )

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        card = self._network().card
        return 16 * sum(math.prod(layer.shape) for layer in card.layers) + 5 * math.prod(card.input)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        network = self._network()
        firing = [layer.name for layer in network.card.layers if not layer.neuron.sends_potential]
        if self.raster is not None and self.raster not in firing:
            raise ConfigMismatch(
                "raster",
                f"{self.model} has no layer of this name that spikes; allowed are {', '.join(firing)}",
            )
        if "spikes" in context.wanted and not firing:
            raise ConfigMismatch("raster", f"no layer of {self.model} sends spikes")
        how = fitting(network.card.encoding, context, self.model)
        potentials = network.card.layers[-1].neuron.sends_potential
        if self.readout == "potential" and not potentials:
            raise ConfigMismatch(
                "readout", f"{self.model} sends spikes; allowed are spike_count and first_spike"
            )
        if self.readout in {"spike_count", "first_spike"} and potentials:
            raise ConfigMismatch("readout", f"{self.model} sends potentials; allowed is potential")
        if (
            self.stop is not None
            and self.stop.confidence is None
            and "threshold" not in network.card.confidence
        ):
            raise ConfigMismatch("stop", f"{self.model} was never calibrated; state a confidence")
        return _ClassifierStage(self, context, network, how)

    def model_digests(self) -> tuple[str, ...]:
        """See :class:`pipeline.stage.StageConfig`."""
        return (self._network().digest,)

    def _network(self) -> SpikingNetwork:
        try:
            return registry.load_network(self.model)
        except ModelError as problem:
            raise ConfigMismatch("model", str(problem)) from problem


class _ClassifierStage(Stage):
    def __init__(
        self, config: SpikingClassifier, context: Context, network: SpikingNetwork, how: Encoding
    ) -> None:
        port = (context.upstream.width, context.upstream.height, network.card.labels)
        shown = next((layer for layer in network.card.layers
                      if layer.name == config.raster or (config.raster is None and not layer.neuron.sends_potential)),
                     network.card.layers[-1])  # fmt: skip
        neurons = int(np.prod(shown.shape))
        self._side = math.ceil(math.sqrt(neurons))
        grid = Port("events", self._side, math.ceil(neurons / self._side))
        super().__init__(main=Port("decisions", *port), evidence=Port("evidence", *port), spikes=grid)
        self._shown = shown.name
        self._fired: list[tuple[I64, NDArray[np.int32]]] = []
        self._config, self._wanted, self._network, self._how = config, context.wanted, network, how
        self._run = Run(network)
        self._stepper = Stepper(how)
        self._classes = len(network.card.labels)
        self._window = config.window_steps or how.steps or (_FAR if config.decide == "recording" else 1)
        calibration = network.card.confidence
        self._temperature = float(calibration.get("temperature", 1.0))
        self._least = (
            None if config.stop is None else config.stop.confidence or float(calibration["threshold"])
        )
        potentials = network.card.layers[-1].neuron.sends_potential
        self._readout = config.readout or ("potential" if potentials else "spike_count")
        self._scores = np.zeros(self._classes, np.float32)
        # Steps and events of the window, where it began, whether it is over, end of the last step.
        self._state = np.zeros(5, np.int64)

    def work(self, packet: Packet) -> list[Packet]:
        parts, watermark_us = self._stepper.closed(packet)
        return self._packets([row for steps in parts for row in self._go(steps)], watermark_us)

    def flush(self) -> list[Packet]:
        parts, now = self._stepper.rest()
        rows = [row for steps in parts for row in self._go(steps)]
        if not self._how.step_us:
            self._state[4] = max(self._state[4], now)
        if self._state[0] and self._state[1] and not self._state[3]:
            rows.append(self._decided(early=False))
            self._begin()
        return self._packets(rows, int(self._state[4]) + 1)

    def reset(self, packet: Packet) -> None:
        self._run.forget()
        self._stepper.forget()
        self._scores[:] = 0
        self._state[:] = 0

    def snapshot(self) -> Arrays:
        run = {f"run/{name}": array for name, array in self._run.snapshot().items()}
        return {**self._stepper.snapshot(), **run, "scores": self._scores.copy(), "state": self._state.copy()}

    def restore(self, arrays: Arrays) -> None:
        self._stepper.restore(arrays)
        self._run.restore({name[4:]: array for name, array in arrays.items() if name.startswith("run/")})
        self._scores[:], self._state[:] = arrays["scores"], arrays["state"]

    def activity(self) -> dict[str, Any]:
        """See :meth:`pipeline.stage.Stage.activity`."""
        return cost.of_run(self._network, self._run)

    def _go(self, steps: Encoded) -> list[tuple[Any, ...]]:
        """Rows of what was decided in these steps, and of the evidence after each."""
        rows: list[tuple[Any, ...]] = []
        done, total = 0, len(steps.end)
        while done < total:
            if self._state[0] == 0:  # between windows: nothing begins before an event
                while done < total and steps.events[done] == 0:
                    done += 1
                if done == total:
                    break
                self._state[2] = self._start_of(steps, done)
            if self._state[3]:
                self._state[4] = steps.end[-1]
                break
            # Where an answer may come at any step, none is computed behind it.
            most = 1 if self._least is not None else total - done
            n = int(min(most, self._window - self._state[0]))
            self._through(steps, done, done + n, rows)
            done += n
        return rows

    def _through(self, steps: Encoded, a: int, b: int, rows: list[tuple[Any, ...]]) -> None:
        """Run some steps of a window, and decide where it ends or is sure."""
        spikes = steps.spikes
        first, last = spikes.offsets[a], spikes.offsets[b]
        part = type(spikes)(
            spikes.offsets[a : b + 1] - first, spikes.index[first:last], spikes.value[first:last]
        )
        all_sent = self._run.advance(part)
        sent = dense(all_sent[self._network.output], self._classes)
        if "spikes" in self._wanted:
            fired = all_sent[self._shown]
            self._fired.append((np.repeat(steps.end[a:b], np.diff(fired.offsets)), fired.index))
        for k in range(a, b):
            self._read(sent[k - a])
            self._state[0] += 1
            self._state[1] += steps.events[k]
            self._state[4] = steps.end[k]
            rows.append((False, int(steps.end[k]), self._scores.copy()))
        sure = self._least is not None and self._certainty()[0] >= self._least
        if sure or self._state[0] >= self._window:
            rows.append(self._decided(early=self._state[0] < self._window))
            self._begin()

    def _read(self, sent: F32) -> None:
        """The scores after a step, from what the last layer sent in it."""
        if self._readout == "potential":
            self._scores[:] = sent
        elif self._readout == "spike_count":
            self._scores += sent
        else:
            self._scores += (self._scores > 0) | (sent > 0)

    def _certainty(self) -> tuple[float, int]:
        share = confidence.certainties(self._scores, self._temperature)
        label = int(share.argmax())
        return float(share[label]), label

    def _decided(self, early: bool) -> tuple[Any, ...]:
        sure, label = self._certainty()
        return (
            True, int(self._state[4]), int(self._state[2]), label, EARLY if early else 0, sure,
            int(self._state[1]), int(self._state[0]),
        )  # fmt: skip

    def _begin(self) -> None:
        """What stays after a decision."""
        if self._config.decide == "recording":
            self._state[3] = 1
            return
        leak = self._config.leak
        self._state[:2] = 0
        if leak is None:
            self._run.forget()
            self._scores[:] = 0
            return
        self._scores *= np.float32(leak)
        if self._readout == "potential":
            self._run.states[self._network.output].v[:] *= np.float32(leak)

    def _start_of(self, steps: Encoded, k: int) -> int:
        if self._how.step_us:
            return int(steps.end[k]) - self._how.step_us
        return int(self._state[4]) if k == 0 else int(steps.end[k - 1])

    def _raster(self, watermark_us: int) -> Packet:
        """What the neurons of the chosen layer sent since the last one."""
        fired, self._fired = self._fired, []
        t = np.concatenate([one[0] for one in fired]) if fired else np.empty(0, np.int64)
        neuron = np.concatenate([one[1] for one in fired]) if fired else np.empty(0, np.int32)
        x, y = (neuron % self._side).astype(np.uint16), (neuron // self._side).astype(np.uint16)
        return replace(events((t, x, y, np.ones(len(t), np.bool_)), watermark_us), port="spikes")

    def _packets(self, rows: list[tuple[Any, ...]], watermark_us: int) -> list[Packet]:
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("decisions", decisions([row[1:] for row in rows if row[0]]), watermark_us))
        if "spikes" in self._wanted:
            out.append(self._raster(watermark_us))
        if "evidence" in self._wanted:
            scores = [row for row in rows if not row[0]]
            zero = np.zeros(len(scores), np.uint16)
            columns: Columns = {
                "t": np.array([row[1] for row in scores], np.int64), "x": zero, "y": zero,
                "evidence": np.array([row[2] for row in scores], np.float32).reshape(-1, self._classes),
                "flags": zero,
            }  # fmt: skip
            out.append(Packet("evidence", columns, watermark_us, port="evidence"))
        return out

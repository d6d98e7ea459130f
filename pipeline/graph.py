"""From a spec to stages that run: the DAG is checked, ordered, and computes only what is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from pipeline import cancellation
from pipeline.packets import Packet
from pipeline.row_kinds import Kind
from pipeline.sensor import Sensor
from pipeline.spec import PipelineSpec, SpecError
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.workers import Workers, processors

MOST_PIXELS = 2**26
"""Pixels of the sensor times stages: each stage may keep some bytes for every pixel."""
SOURCE = "source"
TRIGGERS = "triggers"
"""The output of what a camera saw on its trigger inputs; no stage touches it."""
Read = tuple[str, str]
"""(stage id, port) of something that is read."""


class Graph:
    """A pipeline that is ready to run; one per stream.

    Args:
        spec: what to build.
        sensor: the source's pixel grid; the spec's where None.
        stopwatch: a clock in seconds, where each stage's time shall be summed in ``seconds``.
        take: told before each stage how much memory all so far will hold, bytes; it may raise what says that there is
            no room.
        threads: how many work on it; where None what the spec says, at most the processors there are. Answers do not
            depend on it.

    Raises:
        SpecError: it cannot be built, with the path of what is wrong.
    """

    def __init__(
        self, spec: PipelineSpec, sensor: Sensor | None = None,
        stopwatch: Callable[[], float] | None = None, take: Callable[[int], None] | None = None,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.holds_bytes = 0
        """About how much memory its stages hold."""
        self.seconds: dict[str, float] = {}
        self._stopwatch = stopwatch or (lambda: 0.0)
        self._workers = Workers(threads or min(spec.threads or 1, processors()))
        self.sensor = _agree(spec.sensor, sensor)
        if (held := self.sensor.width * self.sensor.height * len(spec.stages)) > MOST_PIXELS:
            raise SpecError("sensor", f"{held} pixels over all stages; allowed are {MOST_PIXELS}")
        configs: dict[str, StageConfig] = {config.id: config for config in spec.stages}
        if len(configs) < len(spec.stages):
            raise _duplicate(spec)
        reads = _inputs(spec, configs)
        self.outputs: dict[str, Port] = {}
        self._reads = reads
        self._answers = _answers(spec, configs, reads)
        self._order = _ordered(spec, reads, [stage for stage, _ in self._answers.values()])
        self._stages = self._build(configs, take or (lambda _: None))
        self.removed: dict[str, int] = {
            name: 0
            for name in self._order
            if configs[name].accepts == "events" and configs[name].sends.get("") == "events"
        }
        """Events that each filter took out, by stage, in the order in which they run."""
        for name in spec.outputs or tuple(self._answers):
            if name == TRIGGERS:
                self.outputs[name] = Port("triggers", self.sensor.width, self.sensor.height)
                continue
            stage, port = self._answers[name]
            self.outputs[name] = self._stages[stage].ports[port]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the spec, the sensor and the models: what a snapshot must agree with."""
        parts = [self.spec.fingerprint, str(self.sensor)]
        parts += [digest for config in self.spec.stages for digest in config.model_digests()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def process(self, packet: Packet) -> list[tuple[str, Packet]]:
        """Answers to one packet of events, as (output, packet)."""
        return self._run([packet], closing=False)

    def flush(self) -> list[tuple[str, Packet]]:
        """The end of the stream: close what is open."""
        return self._run([], closing=True)

    def teach(self, name: str, label: str | None, from_us: int, to_us: int) -> bool:
        """Tell a stage what was seen in (from_us, to_us]; whether it learned from it."""
        stage = self._stages.get(name)
        return stage is not None and stage.teach(label, from_us, to_us)

    def activity(self) -> dict[str, dict[str, Any]]:
        """What each stage has cost so far, of those that count it."""
        costs = {name: stage.activity() for name, stage in self._stages.items()}
        return {name: one for name, one in costs.items() if one}

    @property
    def has_stride(self) -> bool:
        """Whether there is a stage that can evaluate less often."""
        return any(stage.has_stride for stage in self._stages.values())

    def set_stride(self, stride: int) -> None:
        """Evaluate at a ``stride``-th of the places from the next packet on, where a stage can."""
        for stage in self._stages.values():
            stage.set_stride(stride)

    def close(self) -> None:
        """Let go of the stages, and so of nearly all memory; nothing can be processed any more."""
        self._stages.clear()

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages that run."""
        return list(self._stages)

    def snapshot(self) -> dict[str, Arrays]:
        """The state of every stage."""
        return {name: stage.snapshot() for name, stage in self._stages.items()}

    def restore(self, states: dict[str, Arrays]) -> None:
        """Go on from a snapshot."""
        for name, stage in self._stages.items():
            stage.restore(states[name])

    def _run(self, packets: Iterable[Packet], closing: bool) -> list[tuple[str, Packet]]:
        flowing: dict[Read, list[Packet]] = {(SOURCE, ""): list(packets)}
        for name in self._order:
            stage, started = self._stages[name], self._stopwatch()
            sent: list[Packet] = []
            for packet in flowing.get(self._reads[name], []):
                cancellation.checkpoint()
                sent += stage.process(packet)
            if closing:
                sent += stage.flush()
            self.seconds[name] = self.seconds.get(name, 0.0) + self._stopwatch() - started
            if name in self.removed:
                came, passed = flowing.get(self._reads[name], []), [one for one in sent if one.port == ""]
                self.removed[name] += _rows(came) - _rows(passed)
            for packet in sent:
                flowing.setdefault((name, packet.port), []).append(packet)
        return [(name, packet) for name, read in self._answers.items() for packet in flowing.get(read, [])]

    def _build(self, configs: dict[str, StageConfig], take: Callable[[int], None]) -> dict[str, Stage]:
        source = Port("events", self.sensor.width, self.sensor.height)
        built: dict[str, Stage] = {}
        read = {self._reads[name] for name in self._order} | set(self._answers.values())
        for name in self._order:
            above, port = self._reads[name]
            upstream = source if above == SOURCE else built[above].ports[port]
            wanted = frozenset(port for stage, port in read if stage == name)
            context = Context(upstream, wanted, self._workers)
            try:
                self.holds_bytes += configs[name].holds_bytes(context)
                take(self.holds_bytes)
                built[name] = configs[name].build(context)
            except ConfigMismatch as problem:
                raise SpecError(f"{_path(self.spec, name)}.{problem.key}", str(problem)) from problem
        return built


def _rows(packets: list[Packet]) -> int:
    return sum(len(packet.columns["t"]) for packet in packets)


def _agree(stated: Sensor | None, actual: Sensor | None) -> Sensor:
    if stated and actual and stated != actual:
        raise SpecError("sensor", f"says {stated}, but the source is {actual}")
    sensor = stated or actual
    if sensor is None:
        raise SpecError("sensor", "needed, as the source does not know its size: {width: ..., height: ...}")
    return sensor


def _path(spec: PipelineSpec, name: str) -> str:
    return f"stages[{[config.id for config in spec.stages].index(name)}]"


def _duplicate(spec: PipelineSpec) -> SpecError:
    names = [config.id for config in spec.stages]
    second = next(i for i, name in enumerate(names) if name in names[:i])
    return SpecError(
        f"stages[{second}].id", f"{names[second]!r} is taken by stages[{names.index(names[second])}]"
    )


def _inputs(spec: PipelineSpec, configs: dict[str, StageConfig]) -> dict[str, Read]:
    """What each stage reads, with kinds that fit."""
    reads: dict[str, Read] = {}
    before = SOURCE
    for i, config in enumerate(spec.stages):
        if config.id in {SOURCE, TRIGGERS}:
            raise SpecError(f"stages[{i}].id", f"{config.id!r} is the name of what comes in")
        text = config.input or before
        reads[config.id], kind = _resolve(text, configs, f"stages[{i}].input")
        if kind != config.accepts:
            fitting = [SOURCE] * (config.accepts == "events") + [
                f"{c.id}.{port}" if port else c.id
                for c in spec.stages for port, sent in c.sends.items()
                if sent == config.accepts and c.id != config.id
            ]  # fmt: skip
            allowed = f"allowed are {', '.join(fitting)}" if fitting else "no stage here sends that"
            raise SpecError(
                f"stages[{i}].input",
                f"{text} sends {kind}, {config.kind_name()} reads {config.accepts}; {allowed}",
            )
        before = config.id
    return reads


def _resolve(text: str, configs: dict[str, StageConfig], path: str) -> tuple[Read, Kind]:
    name, _, port = text.partition(".")
    if name == SOURCE and not port:
        return (SOURCE, ""), "events"
    if name not in configs:
        raise SpecError(path, f"no stage is named {name!r}; allowed are {', '.join([SOURCE, *configs])}")
    sends = configs[name].sends
    if port not in sends:
        raise SpecError(
            path, f"{name} has no port {port!r}; allowed are {', '.join(p or name for p in sends)}"
        )
    return (name, port), sends[port]


def _answers(spec: PipelineSpec, configs: dict[str, StageConfig], reads: dict[str, Read]) -> dict[str, Read]:
    """What is an output; by default the main ports of the stages that nobody reads."""
    if spec.outputs is None:
        taken = {stage for stage, _ in reads.values()}
        return {config.id: (config.id, "") for config in spec.stages if config.id not in taken}
    answers: dict[str, Read] = {}
    for i, text in enumerate(spec.outputs):
        if text in spec.outputs[:i]:
            raise SpecError(f"outputs[{i}]", f"{text!r} is named twice")
        if text == TRIGGERS:  # they pass by all stages
            continue
        answers[text], _ = _resolve(text, configs, f"outputs[{i}]")
        if answers[text][0] == SOURCE:
            raise SpecError(f"outputs[{i}]", f"{SOURCE!r} is no stage; allowed are {', '.join(configs)}")
    return answers


def _ordered(spec: PipelineSpec, reads: dict[str, Read], wanted: list[str]) -> list[str]:
    """The stages that answers depend on, each after what it reads."""
    order: list[str] = []
    for name in wanted:
        chain: list[str] = []
        at = name
        while at != SOURCE and at not in order:
            if at in chain:
                raise SpecError(f"{_path(spec, at)}.input", f"a cycle: {' <- '.join([*chain, at])}")
            chain.append(at)
            at = reads[at][0]
        order += reversed(chain)
    for name in reads:  # a cycle that no answer depends on is a mistake all the same
        seen = [name]
        while (above := reads[seen[-1]][0]) != SOURCE:
            if above in seen:
                raise SpecError(f"{_path(spec, above)}.input", f"a cycle: {' <- '.join([*seen, above])}")
            seen.append(above)
    return order

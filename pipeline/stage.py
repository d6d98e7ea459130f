"""The contract of a stage: a frozen config that builds a small object that holds state.

To add one, copy the shape of ``pipeline/stages/refractory.py``, name it in ``pipeline/stages/__init__.py``,
and add an example to the contract suite (docs/add-a-stage.md). What the suite demands:

- answers do not depend on how the stream was cut into packets;
- input columns are not changed; packets without rows are fine;
- ``snapshot`` and ``restore`` in mid-stream change nothing;
- a fresh object knows nothing of the last recording;
- a gap closes what is open and resets what is remembered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.models.bundle import MotifLabel
from pipeline.packets import Packet
from pipeline.row_kinds import Kind
from pipeline.workers import Workers

MOST_STEPS = 10_000
"""Steps that a second of stream time may cost a stage that goes through time step by step."""


def check_steps(key: str, step_us: int) -> None:
    """Refuse steps that are so short that silence alone would keep a stage busy.

    Raises:
        ConfigMismatch: a second is more than :data:`MOST_STEPS` of them.
    """
    if step_us * MOST_STEPS < 1_000_000:
        raise ConfigMismatch(
            key, f"steps of {step_us} us are {1_000_000 // step_us:,} a second; allowed are {MOST_STEPS:,}, "
            f"{1_000_000 // MOST_STEPS} us each"
        )  # fmt: skip


Arrays = dict[str, NDArray[Any]]


class ConfigMismatch(ValueError):
    """A stage cannot be built on what it is given.

    Attributes:
        key: the key of the stage's config that is to blame.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Port:
    """What comes out of a port.

    Attributes:
        kind: of its packets.
        width: of the pixel grid that its rows lie on.
        height: likewise.
        labels: of the classes, for detections and evidence.
        tile: side of the square of pixels that a row stands for; 1 where it is a pixel.
        window_us: time that a row stands for, us; 0 where it is a moment.
    """

    kind: Kind
    width: int
    height: int
    labels: tuple[MotifLabel, ...] = ()
    tile: int = 1
    window_us: int = 0


@dataclass(frozen=True)
class Context:
    """What a stage is told when it is built.

    Attributes:
        upstream: the port that it reads.
        wanted: which of its own ports anybody reads; others are never computed.
        workers: threads that may help it.
    """

    upstream: Port
    wanted: frozenset[str] = frozenset({""})
    workers: Workers = field(default_factory=Workers)


class Stage(ABC):
    """What a config builds."""

    has_stride: ClassVar[bool] = False
    """Whether it can be told to evaluate less often."""

    def __init__(self, **ports: Port) -> None:
        self.ports = {"" if name == "main" else name: port for name, port in ports.items()}

    @abstractmethod
    def work(self, packet: Packet) -> list[Packet]:
        """Answers to a packet that has no gap."""

    def process(self, packet: Packet) -> list[Packet]:
        """Answers to a packet; a gap first closes what is open and resets what is remembered."""
        if not packet.gaps:
            return self.work(packet)
        closing = self.flush()
        self.reset(packet)
        out = self.work(replace(packet, gaps=()))
        firsts = {p.port: i for i, p in reversed(list(enumerate(out)))}
        return closing + [
            replace(p, gaps=packet.gaps) if firsts[p.port] == i else p for i, p in enumerate(out)
        ]

    def flush(self) -> list[Packet]:
        """The end of the stream, or of what is known before a gap: close what is open."""
        return []

    def reset(self, packet: Packet) -> None:
        """Forget the past: ``packet`` comes after a gap."""

    def activity(self) -> dict[str, Any]:
        """What it has cost so far, where it counts that: operations, sparsity, energy."""
        return {}

    def teach(self, label: str | None, from_us: int, to_us: int) -> bool:
        """Learn that a label was seen in (from_us, to_us], or with None forget what labels taught.

        Returns:
            Whether this stage had anything to learn from it.
        """
        del label, from_us, to_us
        return False

    def set_stride(self, stride: int) -> None:
        """Evaluate at a ``stride``-th of the places from the next packet on; 1 is what the pipeline says.

        A load that does not fit sets it, between two frames; it is no state: a snapshot goes on at 1.
        """

    def snapshot(self) -> Arrays:
        """All state, as arrays that are not changed later."""
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a snapshot."""


class StageConfig(BaseModel, ABC):
    """What a pipeline says of a stage; each kind adds its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepts: ClassVar[Kind] = "events"
    """The kind of packets that it reads."""
    sends: ClassVar[dict[str, Kind]] = {"": "events"}
    """The kind of packets of each port; "" is the main one."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="name of the stage, unique")]
    input: str | None = Field(
        None, description="stage or stage.port to read, or `source`; default: the stage before"
    )

    @classmethod
    def kind_name(cls) -> str:
        """Its name in YAML: the default of its key ``kind``, "" where it has none."""
        field = cls.model_fields.get("kind")
        return field.default if field is not None and isinstance(field.default, str) else ""

    def holds_bytes(self, context: Context) -> int:
        """About how much memory its stage will hold, at least what grows with the sensor or with its settings.

        Asked before it is built, so that nothing is allocated that there is no room for.
        """
        del context
        return 0

    @abstractmethod
    def build(self, context: Context) -> Stage:
        """A fresh stage.

        Raises:
            ConfigMismatch: it does not fit what it would read.
        """

    def model_digests(self) -> tuple[str, ...]:
        """SHA-256 of the models that it reads: what a snapshot must agree with."""
        return ()

"""How each framework's neurons step, and what its NIR files leave out.

A NIR graph holds differential equations, but no time step, no kind of reset and no strictness, and each
framework writes its own discrete neurons into it in its own way. A profile says how to get them back; what was
used is written into the bundle's card. The facts come from the frameworks' sources, and from running them.

============  ========  =====  ==========  =================  ==========================================
source        dt        decay  threshold   reset              input gain
============  ========  =====  ==========  =================  ==========================================
nir           stated    Euler  gt          hard               r dt / tau
snntorch      1e-4 s    Euler  gt          delayed_subtract   1 (r = tau / dt)
norse         1e-3 s    Euler  gt          hard               dt / tau; IF: 1; the file's tau is dt times it
sinabs        1 step    exact  ge, many    subtract           1 - decay where inputs are normalised, else 1
spikingjelly  1e-4 s    Euler  ge          hard               r dt / tau
============  ========  =====  ==========  =================  ==========================================

sinabs' LIF with tau_syn (CubaLIF here) keeps i = a (i + x) with a = exp(-1 / tau_syn). What an exporter leaves out
without a trace is in :data:`DROPPED` and said on import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kernels.networks.neurons import Method, Reset
from pipeline.errors import in_words
from pipeline.models.bundle import ModelError, Tensors

Source = Literal["nir", "snntorch", "norse", "sinabs", "spikingjelly"]
SOURCES: tuple[Source, ...] = get_args(Source)

_DT: dict[Source, float] = {"snntorch": 1e-4, "norse": 1e-3, "sinabs": 1.0, "spikingjelly": 1e-4}
_RESET: dict[Source, Reset] = {
    "nir": "hard", "snntorch": "delayed_subtract", "norse": "hard", "sinabs": "subtract", "spikingjelly": "hard",
}  # fmt: skip


class Reading(BaseModel):
    """What a NIR file does not say; see :mod:`pipeline.models.profiles`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source | None = Field(
        default=None, description="the framework that wrote it; nir: as the equations say"
    )
    dt: float | None = Field(
        default=None, gt=0, description="time step in the file's unit; default: the source's"
    )
    method: Method | None = Field(default=None, description="euler or exact decay")
    reset: (
        Literal["hard", "subtract", "delayed_hard", "delayed_clear", "delayed_subtract", "residual", "none"]
        | None
    ) = Field(
        default=None,
        description="what a spike does to the potential; residual: reset_delay=False of snntorch",
    )
    v_reset: float | None = Field(
        default=None, description="the potential after a hard reset, where the file has another or none"
    )
    threshold: Literal["gt", "ge"] | None = Field(
        default=None, description="a spike where the potential is > (gt) or >= (ge) the threshold"
    )
    many: bool | None = Field(
        default=None, description="several spikes a step, as many as the potential holds thresholds"
    )
    normalised: bool = Field(default=True, description="sinabs: norm_input of its LIF and ExpLeak layers")
    floor: float | None = Field(default=None, le=0, description="minimum of the potential, sinabs' min_v_mem")


class Resolved(BaseModel):
    """A reading with nothing left open; it is what the bundle's card records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    dt: float
    method: Method
    reset: Reset
    threshold: Literal["gt", "ge"]
    many: bool
    normalised: bool
    floor: float | None
    v_reset: float | None = None
    stated: list[str] = Field(description="what the user said")
    from_metadata: list[str] = Field(description="what the file said; all else is what the source decides")


def resolve(reading: Reading, metadata: Mapping[str, Any] | None = None) -> Resolved:
    """What is stated, else what the file's metadata say, else what the source decides.

    Raises:
        ModelError: something is open that nobody should guess.
    """
    told = {key: _plain(value) for key, value in (metadata or {}).items() if key in Reading.model_fields}
    try:
        stated = Reading.model_validate({**told, **reading.model_dump(exclude_unset=True)})
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ModelError(f"metadata: {'.'.join(map(str, first['loc']))}: {in_words(first)}") from problem
    source = stated.source
    if source is None:
        raise ModelError(
            "source: the same graph means other spikes in each framework, and the file does not say which one wrote "
            f"it; allowed are {', '.join(SOURCES)}"
        )
    dt = stated.dt or _DT.get(source)
    if dt is None:
        raise ModelError("dt: the graph holds no time step; state it, in the file's unit of time")
    sinabs = source == "sinabs"
    return Resolved(
        source=source, dt=dt, method=stated.method or ("exact" if sinabs else "euler"),
        reset=stated.reset or _RESET[source],
        threshold=stated.threshold or ("ge" if source in {"sinabs", "spikingjelly"} else "gt"),
        many=sinabs if stated.many is None else stated.many, normalised=stated.normalised, floor=stated.floor,
        v_reset=stated.v_reset,
        stated=sorted(reading.model_fields_set), from_metadata=sorted(told.keys() - reading.model_fields_set),
    )  # fmt: skip


DROPPED: dict[Source, tuple[tuple[frozenset[str], str | None, str], ...]] = {
    "snntorch": (
        (
            frozenset({"LIF", "CubaLIF"}), "reset",
            "its files do not hold reset_mechanism and reset_delay: subtract, delayed, is assumed; state --reset "
            "delayed_hard (zero), residual (reset_delay=False), hard (both) or none",
        ),
    ),
    "norse": (
        (
            frozenset({"LIF", "CubaLIF", "IF"}), "v_reset",
            "its files do not hold v_reset: 0 is assumed; state --v-reset where it is another",
        ),
    ),
    "sinabs": (
        (
            frozenset({"LIF"}), None,
            "its exporter leaves tau_syn out: a layer with one is written as LIF and read as one without; write such "
            "layers as CubaLIF",
        ),
        (
            frozenset({"LIF", "LI", "IF"}), "floor",
            "its files do not hold min_v_mem: none is assumed; state --floor where there is one",
        ),
        (
            frozenset({"LIF", "LI"}), "normalised",
            "its files do not hold norm_input: true is assumed; state --no-normalised where it is false",
        ),
    ),
}  # fmt: skip
"""Of each framework: kinds of nodes, the option that states what is missing, and what to tell."""


def warnings_of(kinds: set[str], how: Resolved) -> list[str]:
    """What the exporter may have left out of a graph with nodes of these kinds, and nobody stated."""
    known = {*how.stated, *how.from_metadata}
    return [
        f"{how.source}: {sentence}"
        for concerned, option, sentence in DROPPED.get(how.source, ())
        if concerned & kinds and option not in known
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0 else value


def coefficients(kind: str, values: dict[str, Any], how: Resolved) -> Tensors:
    """The coefficients of a node's neurons in float32, as the source itself would compute them.

    Args:
        kind: ``LIF``, ``IF``, ``LI``, ``I``, ``CubaLIF`` or ``CubaLI``.
        values: the node's parameters, by NIR's names.
        how: the profile.
    """
    made: Tensors = {}
    leak = np.asarray(values.get("v_leak", 0.0), np.float32)
    if kind in {"IF", "I"}:
        gain = np.asarray(values["r"], np.float64) * how.dt
        made["decay"] = np.ones((), np.float32)
        made["gain"] = (
            np.ones((), np.float32) if how.source in {"norse", "sinabs"} else gain.astype(np.float32)
        )
    else:
        tau, r = values.get("tau", values.get("tau_mem")), values["r"]
        made["decay"], made["gain"] = _leak(tau, r, how)
        rest = np.float32(1) - made["decay"]
        if np.any(leak != 0):
            made["constant"] = (leak * rest).astype(np.float32)
    if kind.startswith("Cuba"):
        kept, _ = _leak(values["tau_syn"], 1.0, how)
        made["syn_decay"] = kept
        weight = np.asarray(values["w_in"], np.float64) * how.dt / np.asarray(values["tau_syn"], np.float64)
        if how.source == "norse":
            made["syn_gain"] = np.ones((), np.float32)
        elif how.source == "sinabs":  # i = a (i + x): what arrives decays at once
            made["syn_gain"] = (kept * np.asarray(values["w_in"], np.float32)).astype(np.float32)
        else:
            made["syn_gain"] = _whole(weight).astype(np.float32)
    if how.floor is not None:
        made["floor"] = np.asarray(how.floor, np.float32)
    if "v_threshold" in values:
        level = np.asarray(values["v_threshold"], np.float32)
        after = np.asarray(values.get("v_reset", 0.0) if how.v_reset is None else how.v_reset, np.float32)
        made["threshold"] = level
        made["reset_to"] = level if "subtract" in how.reset or how.reset == "residual" else after
        if how.source == "norse":
            made["start"] = leak
        elif how.source == "spikingjelly":
            made["start"] = after
    elif how.source == "norse":
        made["start"] = leak
    return made


def _leak(tau: Any, r: Any, how: Resolved) -> tuple[Any, Any]:
    """(decay, gain) of a time constant; an infinite one, as snnTorch writes beta = 1, does not leak."""
    constant = np.asarray(tau)
    if how.source == "norse":
        constant = constant / how.dt
    if how.method == "exact":
        with np.errstate(divide="ignore"):
            decay = np.exp(-how.dt / constant.astype(np.float64))
    else:
        # In the precision of the file: 1 - dt / tau rounds back to the decay that it was made from.
        kind = constant.dtype if constant.dtype.kind == "f" else np.dtype(np.float64)
        decay = kind.type(1) - kind.type(how.dt) / constant.astype(kind)
    decay = np.asarray(decay)
    if how.source == "snntorch":
        gain = np.ones_like(decay)
    elif how.source == "sinabs":
        gain = 1 - decay if how.normalised else np.ones_like(decay)
    elif how.method == "exact":
        gain = np.asarray(r, np.float64) * (1 - decay)
    else:
        gain = _whole(np.asarray(r, np.float64) * how.dt / constant.astype(np.float64))
    return decay.astype(np.float32), np.asarray(gain).astype(np.float32)


def _whole(gain: Any) -> Any:
    """1 where rounding of r dt / tau = 1 left a little beside it."""
    return np.where(np.abs(gain - 1) < 1e-6, 1.0, gain)

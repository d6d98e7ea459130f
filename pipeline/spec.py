"""The YAML that says what a stream goes through, and errors that say where it is wrong.

version: 1
sensor: {width: 346, height: 260}
stages:
  - {id: clean, kind: background_activity, window_us: 5000}
  - {id: motion, kind: motif, model: motif8, threshold: {evidence: 2.0}}
outputs: [motion]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, SerializeAsAny, ValidationError
from yaml.composer import ComposerError

from pipeline import library
from pipeline.errors import SpecError, first_line, in_words
from pipeline.library import presets
from pipeline.sensor import Sensor
from pipeline.stage import StageConfig
from pipeline.stages import KINDS, config_of
from pipeline.workers import MOST_THREADS

MAX_BYTES = 64 * 1024
_MOST_STAGES = 64


class PipelineSpec(BaseModel):
    """Stages, in an order that their inputs decide, and which of them answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    sensor: Sensor | None = Field(default=None, description="where the source does not know")
    stages: tuple[SerializeAsAny[InstanceOf[StageConfig]], ...] = Field(min_length=1, max_length=_MOST_STAGES)
    outputs: tuple[str, ...] | None = Field(
        None, min_length=1, max_length=64, description="stage or stage.port; default: the leaves"
    )

    threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="that work on a stream; default: what the service says, else 1",
    )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the spec's canonical JSON, without what answers do not depend on."""
        document = self.model_dump(mode="json", exclude={"threads"})
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def preset(name: str, version: int | None = None) -> PipelineSpec:
    """The pipeline of this name: a preset, or one of the user's, the active version of it where ``version`` is None.

    Raises:
        SpecError: there is none.
    """
    return parse(library.text(name, version))


def load(name_or_file: str) -> PipelineSpec:
    """The pipeline of this name, else the YAML file at this path.

    Raises:
        SpecError: neither exists, or it is wrong.
    """
    if name_or_file in presets() or name_or_file in library.names():
        return preset(name_or_file)
    path = Path(name_or_file)
    if not path.is_file():
        known = ", ".join([*presets(), *library.names()])
        raise SpecError("", f"{name_or_file!r} is neither a file nor the name of a pipeline ({known})")
    if path.stat().st_size > MAX_BYTES:
        raise SpecError("", f"{name_or_file} is larger than {MAX_BYTES} bytes")
    return parse(path.read_text(errors="replace"))


def written(spec: PipelineSpec) -> str:
    """A pipeline as YAML, which :func:`parse` reads."""
    document = spec.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def resolve(pipeline: Any) -> PipelineSpec:
    """The pipeline that a request states: by its name, or as a document.

    Raises:
        SpecError: there is none of this name, or it cannot be used.
    """
    return preset(pipeline) if isinstance(pipeline, str) else validate(pipeline)


def parse(text: str) -> PipelineSpec:
    """A spec from YAML (or JSON, which is YAML).

    Raises:
        SpecError: it is not YAML, or not a pipeline.
    """
    if len(text) > MAX_BYTES:
        raise SpecError("", f"longer than {MAX_BYTES} characters")
    try:
        document = yaml.load(text, _NoAliases)  # noqa: S506 - a SafeLoader
    except RecursionError as problem:
        raise SpecError("", "not YAML: too deep") from problem
    # Tags and dates that hold nothing such come out of the reader as Python's own errors.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        why = getattr(problem, "problem", None) or getattr(problem, "reason", None) or first_line(problem)
        raise SpecError(where, f"not YAML: {str(why)[:200]}") from problem
    return validate(document)


def validate(document: Any) -> PipelineSpec:
    """A spec from a parsed document.

    Raises:
        SpecError: the first thing that is wrong, with its path and what is allowed.
    """
    if not isinstance(document, dict):
        raise SpecError("", "must be a mapping with the keys version, sensor, stages, outputs, threads")
    if (path := _half_character(document)) is not None:
        raise SpecError(_dotted(path), "holds half of a character (a lone surrogate), which no file can keep")
    stages = document.get("stages")
    if isinstance(stages, Iterable) and not isinstance(stages, str | bytes | dict):
        stages = list(islice(stages, _MOST_STAGES + 1))
        if len(stages) > _MOST_STAGES:
            raise SpecError("stages", f"at most {_MOST_STAGES} are allowed")
        try:
            document = {**document, "stages": [_stage(i, one) for i, one in enumerate(stages)]}
        except SpecError as wrong:
            raise _before_stages(document) or wrong from None
    try:
        return PipelineSpec.model_validate(document)
    except ValidationError as problems:
        raise _explain(problems) from None


def _before_stages(document: dict[str, Any]) -> SpecError | None:
    """What is wrong with the keys before ``stages``: people mend a file from its top."""
    try:
        PipelineSpec.model_validate({**document, "stages": ()})
    except ValidationError as problems:
        found = _explain(problems)
        return found if found.path.partition(".")[0] in {"version", "sensor"} else None
    return None


def _stage(number: int, document: Any) -> StageConfig:
    try:
        return config_of(document)
    except ValidationError as problems:
        raise _explain(problems, ("stages", number)) from None


def _half_character(document: Any) -> list[Any] | None:
    """Where a document holds a text that cannot be written; JSON can name halves of characters."""
    waiting: list[tuple[Any, list[Any]]] = [(document, [])]
    seen = set[int]()
    while waiting:  # not by recursion: how deep a document is, is not ours to say
        value, path = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) in seen:  # YAML's aliases name the same part many times
                continue
            seen.add(id(value))
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            return path
        if isinstance(value, dict):
            waiting += [(key, path) for key in value]
            waiting += [(one, [*path, key]) for key, one in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(one, [*path, i]) for i, one in enumerate(value)]
    return None


def _explain(problems: ValidationError, inside: tuple[Any, ...] = ()) -> SpecError:
    first = problems.errors()[0]
    location = whole = [*inside, *first["loc"]]
    if len(location) > 2 and location[0] == "stages" and location[2] in KINDS:
        location = [*whole[:2], *whole[3:]]  # the tag of the union is no key of the document
    kind, context = first["type"], first.get("ctx", {})
    if kind == "union_tag_invalid":
        return SpecError(
            _dotted([*location, "kind"]), f"{context['tag']!r} is no stage; allowed are {', '.join(KINDS)}"
        )
    if kind == "union_tag_not_found":
        return SpecError(_dotted([*location, "kind"]), f"missing; allowed are {', '.join(KINDS)}")
    if kind == "extra_forbidden":
        allowed = ", ".join(_keys_beside(whole))
        return SpecError(_dotted(location), f"unknown key; allowed are {allowed}")
    return SpecError(
        _dotted([part for part in location if not str(part)[:1].isupper()]), _lower(in_words(first))
    )


def _keys_beside(location: list[Any]) -> list[str]:
    """The keys that the model around an unknown key has."""
    if location[0] == "stages" and len(location) > 3 and location[2] in KINDS:
        config = KINDS[str(location[2])]
        if len(location) == 4:
            return list(config.model_fields)
        return ["evidence", "probability"]
    return list(Sensor.model_fields if location[0] == "sensor" else PipelineSpec.model_fields)


def _dotted(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


class _NoAliases(yaml.SafeLoader):
    """YAML without anchors, whose expansion could be larger than any memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

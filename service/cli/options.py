"""Options that several verbs share; how an input is read comes from :class:`~pipeline.sources.InputOptions`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.sensor import Sensor
from pipeline.sources import InputOptions
from pipeline.sources.options import first_problem, option_name
from service.cli.console import hear
from service.cli.help_pages import MESSAGES

InputFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A video or an event recording; - for standard input.", show_default=False
    ),
]


def _pipelines(begun: str) -> list[str]:
    """Names that a shell offers behind ``-p``."""
    from pipeline import library  # noqa: PLC0415 - of no use but here

    return [name for name in [*library.presets(), *library.names()] if name.startswith(begun)]


PipelineName = Annotated[
    str,
    typer.Option(
        "--pipeline", "-p", metavar="NAME|FILE", autocompletion=_pipelines,
        help="A pipeline's name (see `polychrony presets list`), or a YAML file.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Model = TypeVar("_Model", bound=BaseModel)
RANGE = ("from_s", "to_s", "absolute", "roi")
"""Options of verbs that can take a part of an input."""
_GROUPS = {
    "Reading the input": (
        "format", "sensor", "chip", "columns", "time_unit", "zero_time", "topic", "group", "on_fault",
    ),
    "Video as events": (
        "frame_rate", "frame_interpolation", "dvs", "dvs_model", "seed", "camera", "fit", "timing", "threshold",
    ),
    "Part of the input": RANGE,
}  # fmt: skip
"""What options are about, in help."""
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}
_VALUES = {
    "format": "FORMAT", "sensor": "WxH", "columns": "ORDER", "topic": "TOPIC", "group": "GROUP", "frame_rate": "FPS",
    "frame_interpolation": "auto|off|N", "seed": "N", "from_s": "SECONDS", "to_s": "SECONDS", "roi": "X,Y,W,H",
}  # fmt: skip
"""What stands for an option's value in help, where its type says too little."""


def takes_input(verb: Callable[..., Any], part: bool = False) -> Callable[..., Any]:
    """Give a verb the fields of :class:`InputOptions` as options; it takes them as its parameter ``inputs``.

    Args:
        verb: the command.
        part: whether it can take a part of an input.
    """
    return takes(InputOptions, "inputs", () if part else RANGE)(verb)


def takes(
    model: type[BaseModel], parameter: str, without: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the fields of a model as options; it takes the model, checked, as one parameter.

    Args:
        model: whose descriptions are the options' help.
        parameter: of the verb.
        without: fields that are no options.
    """
    fields = {name: one for name, one in model.model_fields.items() if name not in without}
    groups = _GROUP_OF if model is InputOptions else {}

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(verb, eval_str=True)

        @wraps(verb)
        def command(**values: Any) -> Any:
            said = {name: values.pop(name) for name in fields}
            given = {
                name: one for name, one in said.items() if one is not None and one != fields[name].default
            }
            return verb(**values, **{parameter: _checked(model, given)})

        kept = [one for name, one in own.parameters.items() if name != parameter]
        made = [_parameter(name, field, groups.get(name)) for name, field in fields.items()]
        keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in [*kept, *made]]
        signature = own.replace(parameters=keyword)
        command.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        command.__annotations__ = {one.name: one.annotation for one in keyword}
        return command

    return decorate


def takes_part(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The same, with a range of time and a rectangle."""
    return takes_input(verb, part=True)


def _checked(model: type[_Model], values: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        field, message = first_problem(problem)
        raise typer.BadParameter(
            message, param_hint=f"--{option_name(field)}" if field else None
        ) from problem


def _parameter(name: str, field: FieldInfo, group: str | None) -> inspect.Parameter:
    kind = _plain_type(field.annotation)
    default = field.default
    flag = f"--{option_name(name)}"
    if kind is bool and field.default is not False:  # open, or on where nothing is said
        flag += f"/--no-{option_name(name)}"
    choices = _choices(field.annotation)
    option = typer.Option(
        flag, help=_sentence(field.description or name),
        metavar="|".join(choices) if 0 < len(choices) <= 6 else _VALUES.get(name),
        show_default=default is not None and kind is not bool, rich_help_panel=group,
    )  # fmt: skip
    annotation = Annotated[kind if default is not None else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _plain_type(annotation: Any) -> type:
    """What the command line's parser makes of a value before it is checked."""
    parts = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    for part in parts:
        if part is not NoneType and part in {bool, int, float}:
            return part
    return str


def _choices(annotation: Any) -> list[str]:
    parts = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return [value for part in parts if get_origin(part) is Literal for value in get_args(part)]


def heard(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``-q`` and ``-v``."""
    own = inspect.signature(verb, eval_str=True)
    said = (
        ("quiet", "-q", "Say nothing but results, warnings and errors."),
        ("verbose", "-v", "Say more: kernels as they are compiled, and where in the code an error arose."),
    )

    @wraps(verb)
    def command(**values: Any) -> Any:
        hear(values.pop("quiet"), values.pop("verbose"))
        return verb(**values)

    made = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False,
            annotation=Annotated[bool, typer.Option(f"--{name}", flag, help=about, rich_help_panel=MESSAGES)],
        )
        for name, flag, about in said
    ]  # fmt: skip
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in [*own.parameters.values(), *made]]
    command.__signature__ = own.replace(parameters=keyword)  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {one.name: one.annotation for one in keyword}
    return command


def parse_sensor(text: str | None) -> Sensor | None:
    """``640x480`` as a sensor."""
    return None if text is None else _checked(InputOptions, {"sensor": text}).sensor

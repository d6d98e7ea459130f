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

InputFile = Annotated[
    Path, typer.Argument(help="A video or an event recording; - for standard input.", show_default=False)
]
PipelineName = Annotated[str, typer.Option("--pipeline", "-p", help="A preset or a YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Model = TypeVar("_Model", bound=BaseModel)
RANGE = ("from_s", "to_s", "absolute", "roi")
"""Options of verbs that can take a part of an input."""


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
        made = [_parameter(name, field) for name, field in fields.items()]
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


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _plain_type(field.annotation)
    default = field.default
    flag = f"--{option_name(name)}"
    if kind is bool and field.default is not False:  # open, or on where nothing is said
        flag += f"/--no-{option_name(name)}"
    choices = _choices(field.annotation)
    option = typer.Option(
        flag, help=field.description, metavar="|".join(choices) if 0 < len(choices) <= 6 else None,
        show_default=default is not None and kind is not bool,
    )  # fmt: skip
    annotation = Annotated[kind if default is not None else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


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


def parse_sensor(text: str | None) -> Sensor | None:
    """``640x480`` as a sensor."""
    return None if text is None else _checked(InputOptions, {"sensor": text}).sensor

"""Command-line options out of pydantic models: a setting's name, default, limits and help are written once."""

import argparse
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mien.model.errors import ConfigError
from mien.model.training.config import OPTION

Config = TypeVar("Config", bound=BaseModel)


def add_config_options(parser: argparse.ArgumentParser, config: type[BaseModel], prefix: str = "") -> None:
    """Give ``parser`` one option for each field of ``config``; a nested model's have its field's name in front."""
    for name, field in config.model_fields.items():
        if field.json_schema_extra == {OPTION: False}:
            continue
        kind = _plain(field.annotation)
        dotted = f"{prefix}{name}"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            add_config_options(parser, kind, f"{dotted}.")
            continue
        parser.add_argument(
            "--" + dotted.replace(".", "-").replace("_", "-"),
            dest=dotted,
            default=argparse.SUPPRESS,
            help=_help(field),
            **_form(kind),
        )


def given_options(arguments: argparse.Namespace, config: type[BaseModel]) -> dict[str, Any]:
    """The options of ``config`` that were given on the command line, nested as the model is."""
    return _given(vars(arguments), config, "")


def read_options(arguments: argparse.Namespace, config: type[Config], base: Config | None = None) -> Config:
    """A ``config`` with the options that were given; the rest is as in ``base``, or has its default.

    Raises:
        ConfigError: a value is out of its limits.
    """
    given = given_options(arguments, config)
    try:
        return config.model_validate(_over(base.model_dump(), given) if base is not None else given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        if first["type"] == "value_error":  # a rule of a whole model, which says itself what came
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from None
        raise ConfigError(f"{option}: {first['msg']}, got {first['input']!r}") from None


def _given(values: dict[str, Any], config: type[BaseModel], prefix: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        kind = _plain(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested[name] = _given(values, kind, f"{prefix}{name}.")
        elif f"{prefix}{name}" in values:
            nested[name] = values[f"{prefix}{name}"]
    return nested


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, each nested as the model is."""
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = _over(base[name], value) if isinstance(value, dict) else value
    return merged


def _plain(annotation: Any) -> Any:
    """The type without None and without what ``Annotated`` adds."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return next(kind for kind in get_args(annotation) if kind is not NoneType)
    return annotation


def _form(kind: Any) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is tuple:
        return {"nargs": "+", "type": _plain(get_args(kind)[0]), "metavar": "N"}
    return {"type": kind, "metavar": {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")}


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True) if field.default_factory is None else "the one that ships"
    if isinstance(default, tuple):
        default = " ".join(str(part) for part in default)
    shown = f" (default: {default})" if default is not None else ""
    return f"{field.description}{shown}".replace("%", "%%")

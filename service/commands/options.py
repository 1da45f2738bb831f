"""Command-line options out of pydantic models, so that name, default, limits and help are written once."""

import argparse
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from mien.model.errors import ConfigError
from mien.model.training.config import OPTION

Config = TypeVar("Config", bound=BaseModel)


def add_config_options(parser: argparse.ArgumentParser, config: type[BaseModel], prefix: str = "") -> None:
    """Add an option for each field of ``config``; the options of a nested model begin with the name of its field."""
    for name, field in config.model_fields.items():
        if field.json_schema_extra == {OPTION: False}:
            continue
        kind = _base_type(field.annotation)
        dotted = f"{prefix}{name}"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            add_config_options(parser, kind, f"{dotted}.")
            continue
        parser.add_argument(
            "--" + dotted.replace(".", "-").replace("_", "-"),
            dest=dotted,
            default=argparse.SUPPRESS,
            help=_help(field),
            **_argument(kind, field),
        )


def given_options(arguments: argparse.Namespace, config: type[BaseModel]) -> dict[str, Any]:
    """The options of ``config`` on the command line, nested as the model is."""
    return _given(vars(arguments), config, "")


def read_options(arguments: argparse.Namespace, config: type[Config], base: Config | None = None) -> Config:
    """A ``config`` with the options on the command line; other fields are those of ``base``, or have their defaults.

    Raises:
        ConfigError: a value is out of its limits.
    """
    given = given_options(arguments, config)
    try:
        return config.model_validate(_merge(base.model_dump(), given) if base is not None else given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        if first["type"] == "value_error":  # a rule for several fields, whose message is complete
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from None
        raise ConfigError(f"{option}: {first['msg']}, got {first['input']!r}") from None


def _given(values: dict[str, Any], config: type[BaseModel], prefix: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        kind = _base_type(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested[name] = _given(values, kind, f"{prefix}{name}.")
        elif f"{prefix}{name}" in values:
            nested[name] = values[f"{prefix}{name}"]
    return nested


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``; both are nested as the model is."""
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = _merge(base[name], value) if isinstance(value, dict) else value
    return merged


def _base_type(annotation: Any) -> Any:
    """The type without ``None`` and ``Annotated``."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return next(kind for kind in get_args(annotation) if kind is not NoneType)
    return annotation


def _argument(kind: Any, field: FieldInfo) -> dict[str, Any]:
    """The arguments of ``add_argument`` for a field of a type."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        former_names = [each.func for each in field.metadata if isinstance(each, BeforeValidator)]
        return {"choices": get_args(kind), "type": former_names[0] if former_names else str}
    if get_origin(kind) is tuple:
        return {"nargs": "+", "type": _base_type(get_args(kind)[0]), "metavar": "N"}
    return {"type": kind, "metavar": {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")}


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True) if field.default_factory is None else "the one that ships"
    if isinstance(default, tuple):
        default = " ".join(str(part) for part in default)
    suffix = f" (default: {default})" if default is not None else ""
    return f"{field.description}{suffix}".replace("%", "%%")

import argparse
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from mien.model.errors import ConfigError
from mien.model.training.config import OPTION
from mien.service.commands.options import add_config_options, given_options, read_options


class Inner(BaseModel):
    widths: tuple[int, ...] = Field((1, 2), description="Widths.")


class Outer(BaseModel):
    inner: Inner = Inner()
    learning_rate: float = Field(0.5, gt=0, description="Rate in % of a step.")
    mirror: bool = Field(True, description="Mirror.")
    kind: Literal["a", "b"] = Field("a", description="Kind.")
    path: Path | None = Field(None, description="Path.")


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_config_options(parser, Outer)
    return parser


def test_no_options_give_the_defaults(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args([])
    assert read_options(arguments, Outer) == Outer()
    assert given_options(arguments, Outer) == {"inner": {}}


def test_each_type_of_option_is_read(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args(
        ["--inner-widths", "3", "4", "5", "--learning-rate", "0.25", "--no-mirror", "--kind", "b", "--path", "x/y"]
    )
    assert read_options(arguments, Outer) == Outer(
        inner=Inner(widths=(3, 4, 5)), learning_rate=0.25, mirror=False, kind="b", path=Path("x/y")
    )


def test_options_change_the_base(parser: argparse.ArgumentParser) -> None:
    base = Outer(inner=Inner(widths=(9,)), learning_rate=0.1, kind="b")
    assert read_options(parser.parse_args([]), Outer, base) == base
    changed = read_options(parser.parse_args(["--learning-rate", "0.2"]), Outer, base)
    assert changed == base.model_copy(update={"learning_rate": 0.2})
    widths = read_options(parser.parse_args(["--inner-widths", "7", "8"]), Outer, base)
    assert widths == base.model_copy(update={"inner": Inner(widths=(7, 8))})


def test_fields_marked_as_no_option_have_none() -> None:
    class Found(BaseModel):
        setting: int = Field(1, description="A setting.")
        found: str | None = Field(None, description="Found out.", json_schema_extra={OPTION: False})

    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_config_options(parser, Found)
    assert "--setting" in parser.format_help()
    assert "found" not in parser.format_help().lower()


def test_help_names_every_option_with_its_default(parser: argparse.ArgumentParser) -> None:
    text = " ".join(parser.format_help().split())
    for part in (
        "--inner-widths N [N ...]",
        "(default: 1 2)",
        "Rate in % of a step. (default: 0.5)",
        "{a,b}",
        "--path PATH",
    ):
        assert part in text


def test_value_out_of_its_limits_is_an_error(parser: argparse.ArgumentParser) -> None:
    with pytest.raises(ConfigError, match=r"--learning-rate: Input should be greater than 0, got -1\.0"):
        read_options(parser.parse_args(["--learning-rate", "-1"]), Outer)


@pytest.mark.parametrize("wrong", [["--learning", "1"], ["--kind", "c"], ["--inner-widths", "x"], ["--colour", "1"]])
def test_misspelt_options_and_values_are_errors(parser: argparse.ArgumentParser, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(wrong)
    assert stop.value.code == 2

"""The base of answers: how they become rows, a table of pandas, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from mien.model.errors import ConfigError

if TYPE_CHECKING:
    import pandas

_BOX = ("x", "y", "width", "height")


class Answer(BaseModel):
    """An answer: as the service sends it, and as a client reads it.

    A newer service may have fields that this version does not know: they are ignored. Fields with a default are those
    that an older service lacks, or that are null; the service sends all of them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_serialization_defaults_required=True)

    def rows(self) -> list[dict[str, Any]]:
        """The answer as rows without nesting: one for each face, or for each match of a retrieval.

        A box is four columns (x, y, width, height), a posterior one for each emotion, an embedding one for each number;
        reasons are words with spaces between.
        """
        return [flatten(self.model_dump())]

    def to_frame(self) -> pandas.DataFrame:
        """``rows`` as a table of pandas.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise ConfigError("to_frame needs pandas, which is not installed: pip install pandas") from None
        return DataFrame(self.rows())

    def to_json(self) -> str:
        """The answer as JSON, as the service sends it."""
        return self.model_dump_json()


def flatten(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without nesting: those that have several values come last, a column for each value."""
    flat = {name: _text(value) for name, value in fields.items() if not _is_wide(name, value)}
    for name, value in fields.items():
        if not _is_wide(name, value):
            continue
        if name == "box":
            flat |= dict(zip(_BOX, value, strict=True))
        elif name == "posterior":
            flat |= value
        else:
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            flat |= {f"{name}_{part}": each for part, each in parts}
    return flat


def _text(value: Any) -> Any:
    """Words as one text, anything else as it is."""
    is_words = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return " ".join(value) if is_words else value


def _is_wide(name: str, value: Any) -> bool:
    """Whether a field becomes several columns; metadata have other keys on each face, so they stay one."""
    if isinstance(value, dict):
        return name != "metadata"
    return name == "box" or (isinstance(value, list) and bool(value) and isinstance(value[0], float))
